//! Comparisons: can the value ever be there, and does anything show it when it is?

use tradewatch_promql::ast::{Binary, BinaryOp};
use tradewatch_promql::{Span, format_float};

use super::abs::{Abs, Meaning, Unit};
use super::{Comparison, Interpreter};
use crate::finding::Severity;

/// How far an edge may lie from a threshold to tell both sides apart, as a share of the threshold.
const EDGE_NEAR: f64 = 0.1;

impl Interpreter<'_> {
    pub(super) fn comparison(
        &mut self,
        binary: &Binary,
        left: &Abs,
        right: &Abs,
        span: Span,
        joined: bool,
    ) -> Abs {
        let (value, op, constant) = match (left.constant, right.constant) {
            (None, Some(c)) => (left, binary.op, Some(c)),
            (Some(c), None) => (right, mirrored(binary.op), Some(c)),
            _ => (left, binary.op, None),
        };
        if let Some(constant) = constant {
            let judged =
                value.tainted || !joined || self.judge(value, op, constant, binary.return_bool, span);
            self.facts.comparisons.push(Comparison { span, op, constant, value: value.clone(), judged });
        } else if joined {
            self.check_mixed(binary.op, left, right, span);
        }
        if binary.return_bool {
            return Abs {
                meaning: Meaning::Gauge,
                unit: Unit::Bool,
                low: 0.0,
                high: 1.0,
                edges: Vec::new(),
                ..value.clone()
            };
        }
        let Some(c) = constant else { return value.clone() };
        let (low, high) = match op {
            BinaryOp::Gtr | BinaryOp::Gte => (value.low.max(c), value.high),
            BinaryOp::Lss | BinaryOp::Lte => (value.low, value.high.min(c)),
            BinaryOp::Eq => (c, c),
            _ => (value.low, value.high),
        };
        Abs { low, high, ..value.clone() }
    }

    /// Says what is wrong with comparing `value` with `c`; `true` if something is.
    fn judge(&mut self, value: &Abs, op: BinaryOp, c: f64, as_bool: bool, span: Span) -> bool {
        self.judge_range(value, op, c, as_bool, span)
            || self.judge_edges(value, c, span, "threshold")
            || self.judge_unit(value, op, c, span)
    }

    fn judge_range(&mut self, value: &Abs, op: BinaryOp, c: f64, as_bool: bool, span: Span) -> bool {
        let integral = value.unit == Unit::Bool && value.meaning == Meaning::Gauge;
        let (low, high) = (value.low, value.high);
        let (never, always) = match op {
            BinaryOp::Gtr => (high <= c, low > c),
            BinaryOp::Gte => (high < c, low >= c),
            BinaryOp::Lss => (low >= c, high < c),
            BinaryOp::Lte => (low > c, high <= c),
            BinaryOp::Eq => (c < low || c > high || integral && c.fract() != 0.0, low == high && low == c),
            BinaryOp::Neq => (low == high && low == c, c < low || c > high),
            _ => (false, false),
        };
        let shown = format_float(c);
        let bounds = match (low.is_finite(), high.is_finite()) {
            (true, true) => format!("from {} to {}", format_float(low), format_float(high)),
            (true, false) => format!("{} or more", format_float(low)),
            _ => format!("at most {}", format_float(high)),
        };
        if never {
            let quantile = value.meaning == Meaning::Quantile;
            let tally = value.meaning == Meaning::Tally && low >= 1.0;
            let (why, fix) = if quantile {
                let top = format_float(value.edges.last().copied().unwrap_or(high));
                (
                    format!("the highest bucket ends at {top}: whatever took longer is shown as {top}"),
                    format!("add a bucket edge at {shown} and one above it, or lower the threshold"),
                )
            } else if tally {
                (
                    "where nothing is counted there is no result, not 0".to_owned(),
                    "use absent(…), or compare a sum: sum(up) == 0".to_owned(),
                )
            } else if value.unit == Unit::Ratio && c > 1.0 {
                (
                    format!("the value is a ratio, {bounds}"),
                    format!("write {} for {shown} %", format_float(c / 100.0)),
                )
            } else {
                (format!("the value is always {bounds}"), String::new())
            };
            self.say(
                "TW014",
                Severity::Error,
                span,
                format!("{} {shown} can never be true", op.symbol()),
                why,
                fix,
            );
            return true;
        }
        if always
            && !as_bool
            && !(value.meaning == Meaning::Tally && low >= 1.0)
            && value.meaning != Meaning::Info
            && value.meaning != Meaning::Constant
        {
            let why = format!("the value is always {bounds}: this holds whenever there is data");
            let fix = if op == BinaryOp::Gte && c == 0.0 { "write > 0".to_owned() } else { String::new() };
            self.say(
                "TW018",
                Severity::Error,
                span,
                format!("{} {shown} is always true", op.symbol()),
                why,
                fix,
            );
            return true;
        }
        false
    }

    /// A threshold between the edges of a histogram.
    pub(super) fn judge_edges(&mut self, value: &Abs, c: f64, span: Span, what: &str) -> bool {
        let Some((message, why, fix)) = edge_problem(value, c, what) else { return false };
        self.say("TW015", Severity::Warning, span, message, why, fix);
        true
    }

    fn judge_unit(&mut self, value: &Abs, op: BinaryOp, c: f64, span: Span) -> bool {
        let shown = format_float(c);
        let problem = match value.unit {
            Unit::Ratio
                if c > 1.0
                    && c <= 100.0
                    && value.meaning != Meaning::Rate
                    && value.meaning != Meaning::Unknown =>
            {
                Some((
                    format!("a ratio compared with {shown}"),
                    "the value is a share of 1, where 0.1 is 10 %".to_owned(),
                    format!("write {}, or multiply by 100", format_float(c / 100.0)),
                ))
            }
            Unit::Percent if c > 0.0 && c < 1.0 && matches!(op, BinaryOp::Lss | BinaryOp::Lte) => Some((
                format!("percent compared with {shown}"),
                "the value is a share of 100".to_owned(),
                format!("write {}", format_float(c * 100.0)),
            )),
            _ if value.meaning == Meaning::Timestamp
                && value.labels != Default::default()
                && (0.0..1e8).contains(&c)
                && c > 0.0 =>
            {
                Some((
                    format!("a point in time compared with {shown}"),
                    "the value is in seconds since 1970, about 1.8 thousand million now".to_owned(),
                    "compare its age: time() - …".to_owned(),
                ))
            }
            _ => None,
        };
        let Some((message, why, fix)) = problem else { return false };
        self.say("TW014", Severity::Error, span, message, why, fix);
        true
    }
}

/// What is wrong with a threshold `c` on a quantile: message, why, fix.
pub fn edge_problem(value: &Abs, c: f64, what: &str) -> Option<(String, String, String)> {
    if value.meaning != Meaning::Quantile || value.edges.is_empty() || c <= 0.0 || !c.is_finite() {
        return None;
    }
    let near = value.edges.iter().any(|edge| (edge - c).abs() <= EDGE_NEAR * c);
    if near {
        return None;
    }
    let below = value.edges.iter().rev().find(|edge| **edge < c).copied().unwrap_or(0.0);
    let above = value.edges.iter().find(|edge| **edge > c).copied()?;
    let (shown, below, above) = (format_float(c), format_float(below), format_float(above));
    let message = format!("no bucket edge near the {what} {shown}");
    let why = format!(
        "the nearest edges are {below} and {above}: what lies between them is guessed on a straight line, so {shown} is crossed by chance"
    );
    let fix = format!("add an edge at {shown}, or move the {what} to {below} or {above}");
    Some((message, why, fix))
}

/// The operator with its sides exchanged.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Lss => BinaryOp::Gtr,
        BinaryOp::Lte => BinaryOp::Gte,
        BinaryOp::Gtr => BinaryOp::Lss,
        BinaryOp::Gte => BinaryOp::Lte,
        op => op,
    }
}
