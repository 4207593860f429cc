//! Operators between two operands: what meets, and what it means.

use std::collections::BTreeSet;

use tradewatch_promql::ast::{Binary, BinaryOp, Cardinality, Matching};
use tradewatch_promql::{Expr, ExprKind, Span, ValueType};
use tradewatch_tsdb::Matcher;

use super::Interpreter;
use super::abs::{Abs, Label, LabelSet, Meaning, Unit, Values};
use super::calls::is_mean;
use crate::finding::Severity;

impl Interpreter<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, span: Span) -> Abs {
        let alternative = binary.op == BinaryOp::Or;
        let outer = self.alternative;
        self.alternative |= alternative && !is_default(&binary.lhs) && !is_default(&binary.rhs);
        let left = self.eval(&binary.lhs);
        let right = self.eval(&binary.rhs);
        self.alternative = outer;
        if alternative && (is_default(&binary.lhs) || is_default(&binary.rhs)) {
            self.facts.defaulted = true;
        }
        let scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
        if let (Some(a), Some(b)) = (left.constant, right.constant)
            && scalar(&binary.lhs)
            && scalar(&binary.rhs)
        {
            return fold(binary.op, a, b);
        }
        // An impossible join is said before what would be computed from it.
        let joined = match &binary.matching {
            Some(matching) if binary.op != BinaryOp::Or => {
                self.check_self(binary, &left, &right, matching, span)
                    && self.check_join(binary, &left, &right, matching, span)
            }
            _ => true,
        };
        let mut result = if binary.op.is_set() {
            match binary.op {
                BinaryOp::Or => left.or(&right),
                _ => left.clone(),
            }
        } else if binary.op.is_comparison() {
            self.comparison(binary, &left, &right, span, joined)
        } else if let Some(c) = right.constant {
            by_constant(binary.op, &left, c)
        } else if let Some(c) = left.constant {
            from_constant(binary.op, c, &right)
        } else {
            self.arithmetic(binary, &left, &right, span)
        };
        if let Some(matching) = binary.matching.as_ref().filter(|_| !binary.op.is_set()) {
            result.labels = joined_labels(&left.labels, &right.labels, matching);
        }
        result.tainted |= !joined;
        result
    }

    fn arithmetic(&mut self, binary: &Binary, left: &Abs, right: &Abs, span: Span) -> Abs {
        let families = left.families.union(&right.families).cloned().collect();
        let words = left.words.union(&right.words).cloned().collect();
        let base = Abs {
            families,
            words,
            // A scalar such as time() has no labels; the result has those of the other side.
            labels: if binary.lhs.value_type() == ValueType::Scalar { right } else { left }.labels.clone(),
            aggregated: left.aggregated || right.aggregated,
            tainted: left.tainted || right.tainted,
            window_ms: left.window_ms,
            lazy: left.lazy || right.lazy,
            ..Abs::default()
        };
        self.check_mixed(binary.op, left, right, span);
        let nonnegative = left.low >= 0.0 && right.low >= 0.0;
        match binary.op {
            BinaryOp::Div => {
                if is_mean(left, right) {
                    return Abs { meaning: Meaning::Mean, unit: unit_of_sum(left), ..base };
                }
                let alike =
                    left.meaning == right.meaning || left.unit == right.unit && left.unit != Unit::Unknown;
                if !alike {
                    return base;
                }
                if left.meaning == Meaning::Counter && right.meaning == Meaning::Counter && !base.tainted {
                    let why = "both count since their process started: after weeks a bad hour does not move the share, and a restart resets it".to_owned();
                    let fix = "divide rates: sum(rate(a[5m])) / sum(rate(b[5m]))".to_owned();
                    self.say("TW009", Severity::Warning, span, "ratio of raw counters".to_owned(), why, fix);
                }
                let share = is_share(&binary.lhs, &binary.rhs);
                let factor = left.factor / right.factor;
                // Orders for each position are no share of anything; what is a part of its divisor is.
                let unit = match (share, factor) {
                    (true, 1.0) => Unit::Ratio,
                    (true, 100.0) => Unit::Percent,
                    _ => Unit::Unknown,
                };
                let high = if share { factor } else { f64::INFINITY };
                let low = if nonnegative { 0.0 } else { f64::NEG_INFINITY };
                Abs { meaning: Meaning::Ratio, unit, low, high, factor, ..base }
            }
            BinaryOp::Sub if left.meaning == Meaning::Timestamp && right.meaning == Meaning::Timestamp => {
                Abs { meaning: Meaning::Age, unit: Unit::Seconds, labels: wider(left, right), ..base }
            }
            BinaryOp::Add | BinaryOp::Sub => {
                let same = left.meaning == right.meaning;
                let plus = binary.op == BinaryOp::Add;
                Abs {
                    meaning: if same { left.meaning } else { Meaning::Unknown },
                    unit: if left.unit == right.unit { left.unit } else { Unit::Unknown },
                    low: if plus { left.low + right.low } else { left.low - right.high },
                    high: if plus { left.high + right.high } else { left.high - right.low },
                    ..base
                }
            }
            _ => Abs { low: if nonnegative { 0.0 } else { f64::NEG_INFINITY }, ..base },
        }
    }

    /// Two different measures of the same thing, or two units, in one expression.
    pub(super) fn check_mixed(&mut self, op: BinaryOp, left: &Abs, right: &Abs, span: Span) {
        if left.tainted || right.tainted || op == BinaryOp::Mul {
            return;
        }
        let pair = |a: Meaning, b: Meaning| {
            (left.meaning, right.meaning) == (a, b) || (left.meaning, right.meaning) == (b, a)
        };
        if pair(Meaning::Rate, Meaning::Increase)
            || pair(Meaning::Rate, Meaning::Counter)
            || pair(Meaning::Increase, Meaning::Counter)
        {
            let what = |abs: &Abs| match abs.meaning {
                Meaning::Rate => "events per second",
                Meaning::Increase => "events in the window",
                _ => "events since the start",
            };
            let why = format!("the left side gives {}, the right side {}", what(left), what(right));
            let fix = "take rate, or increase over the same window, on both sides".to_owned();
            self.say(
                "TW016",
                Severity::Error,
                span,
                format!("{} mixes a rate with a count", op.symbol()),
                why,
                fix,
            );
            return;
        }
        let same_needed = op.is_comparison() || matches!(op, BinaryOp::Add | BinaryOp::Sub);
        let clash = matches!(
            (left.unit, right.unit),
            (Unit::Seconds, Unit::Milliseconds | Unit::Bytes | Unit::Percent)
                | (Unit::Milliseconds, Unit::Seconds | Unit::Bytes)
                | (Unit::Ratio, Unit::Percent)
                | (Unit::Percent, Unit::Ratio)
                | (Unit::Bytes, Unit::Seconds | Unit::Milliseconds)
        );
        if same_needed && clash {
            let why = format!(
                "the left side is in {}, the right side in {}",
                left.unit.as_str(),
                right.unit.as_str()
            );
            self.say(
                "TW014",
                Severity::Error,
                span,
                format!("{} between different units", op.symbol()),
                why,
                "bring both to one unit".to_owned(),
            );
        }
    }

    /// A series against itself. `false` if so.
    fn check_self(
        &mut self,
        binary: &Binary,
        left: &Abs,
        right: &Abs,
        matching: &Matching,
        span: Span,
    ) -> bool {
        if !matches!(binary.op, BinaryOp::Div | BinaryOp::Sub | BinaryOp::Mod)
            || matching.cardinality != Cardinality::OneToOne
        {
            return true;
        }
        let mut differing = BTreeSet::new();
        if !same_shape(&binary.lhs, &binary.rhs, &mut differing) {
            return true;
        }
        let matched = |label: &String| {
            let kept = left.labels.can_have(label) && right.labels.can_have(label);
            kept && matching.on == matching.labels.contains(label)
        };
        // With `on` every label that tells series apart has to be named, or others may meet.
        let whole = !matching.on && matching.labels.iter().all(|label| !left.labels.can_have(label))
            || matching.on
                && left.labels.known.keys().all(|label| matching.labels.contains(label))
                && !left.labels.open;
        if !whole || !differing.iter().all(matched) || disjoint(left, right) {
            return true;
        }
        let result = if binary.op == BinaryOp::Div { "1" } else { "0" };
        let word = if binary.op == BinaryOp::Div { "ratio divides" } else { "difference takes" };
        let message =
            format!("{word} each series by itself").replace("takes each series by", "takes each series from");
        let why = match differing.iter().next() {
            None => format!("both sides are the same: the result is always {result}"),
            Some(_) => {
                let list = differing.iter().cloned().collect::<Vec<_>>().join(", ");
                format!(
                    "both sides keep {{{list}}}, so every matching pair is the same series: the result is always {result}"
                )
            }
        };
        let fix = format!("sum({}) {} sum({})", strip(&binary.lhs), binary.op.symbol(), strip(&binary.rhs));
        let fix = if differing.is_empty() { String::new() } else { fix };
        self.say("TW012", Severity::Error, span, message, why, fix);
        false
    }

    /// Whether series of both sides can meet. `false` if they cannot.
    fn check_join(
        &mut self,
        binary: &Binary,
        left: &Abs,
        right: &Abs,
        matching: &Matching,
        span: Span,
    ) -> bool {
        let sides = [(left, right, "left", "right"), (right, left, "right", "left")];
        let compared = compared_labels(&left.labels, &right.labels, matching);
        for label in &compared {
            for (one, other, one_name, other_name) in sides {
                if one.labels.must_have(label) && !other.labels.can_have(label) {
                    let why = format!(
                        "every series on the {one_name} has {label}, none on the {other_name} has: {} against {}",
                        braces(&one.labels),
                        braces(&other.labels)
                    );
                    let shared: Vec<&str> =
                        left.labels.names().into_iter().filter(|name| right.labels.can_have(name)).collect();
                    let fix = if shared.is_empty() {
                        "aggregate both sides, or join with on ()".to_owned()
                    } else {
                        format!("aggregate both sides to what they share: sum by ({}) (…)", shared.join(", "))
                    };
                    return self.never_joins(binary, span, why, fix);
                }
            }
            if let (Some(a), Some(b)) = (left.labels.known.get(label), right.labels.known.get(label))
                && let (Values::Closed(x), Values::Closed(y)) = (&a.values, &b.values)
                && a.always
                && b.always
                && !x.is_empty()
                && !y.is_empty()
                && x.is_disjoint(y)
            {
                let why = format!(
                    "{label} is {} on the left and {} on the right",
                    super::select::list(x),
                    super::select::list(y)
                );
                let fix =
                    format!("leave {label} out of the match: ignoring ({label}), or aggregate both sides");
                return self.never_joins(binary, span, why, fix);
            }
        }
        self.check_many(binary, left, right, matching, span)
            && self.check_included(left, right, matching, span)
    }

    fn never_joins(&mut self, binary: &Binary, span: Span, why: String, fix: String) -> bool {
        let (severity, message) = match binary.op {
            BinaryOp::Unless => (Severity::Warning, "unless that can never exclude anything".to_owned()),
            op => (Severity::Error, format!("the two sides of {} can never match", op.symbol())),
        };
        self.say("TW013", severity, span, message, why, fix);
        binary.op == BinaryOp::Unless
    }

    /// One-to-one matching where one side surely has several series for one of the other's.
    fn check_many(
        &mut self,
        binary: &Binary,
        left: &Abs,
        right: &Abs,
        matching: &Matching,
        span: Span,
    ) -> bool {
        if binary.op.is_set() || matching.fill_left.is_some() || matching.fill_right.is_some() {
            return true;
        }
        let sides: &[(&Abs, &str)] = match matching.cardinality {
            Cardinality::OneToOne => &[(left, "left"), (right, "right")],
            Cardinality::ManyToOne => &[(right, "right")],
            Cardinality::OneToMany => &[(left, "left")],
            Cardinality::ManyToMany => &[],
        };
        for (side, name) in sides {
            let is_matched = |label: &str| matching.on == matching.labels.iter().any(|known| known == label);
            let several =
                |label: &Label| label.always && label.listed().is_some_and(|values| values.len() > 1);
            if side.labels.open
                || side.tainted
                || side.labels.known.iter().any(|(label, known)| is_matched(label) && several(known))
            {
                continue;
            }
            let many = side.labels.known.iter().find(|(label, known)| !is_matched(label) && several(known));
            let Some((label, known)) = many else { continue };
            let values = known.listed().map(super::select::list).unwrap_or_default();
            let why = format!(
                "the {name} side has a series for each {label} ({values}), which the match leaves out: the evaluation fails"
            );
            let fix = match matching.cardinality {
                Cardinality::OneToOne => format!(
                    "aggregate the {name} side, or say which side has many: group_left or group_right"
                ),
                _ => format!("aggregate the {name} side to the matched labels"),
            };
            self.say(
                "TW013",
                Severity::Error,
                span,
                format!("{} between sides that are not one to one", binary.op.symbol()),
                why,
                fix,
            );
            return false;
        }
        true
    }

    /// Labels that `group_left (…)` takes from a side that lacks them.
    fn check_included(&mut self, left: &Abs, right: &Abs, matching: &Matching, span: Span) -> bool {
        let (one, name) = match matching.cardinality {
            Cardinality::ManyToOne => (right, "right"),
            Cardinality::OneToMany => (left, "left"),
            _ => return true,
        };
        for label in &matching.include {
            if !one.labels.can_have(label) {
                let why = format!("the {name} side has {}", braces(&one.labels));
                let at = self.find_in(span, label);
                self.say(
                    "TW004",
                    Severity::Error,
                    at,
                    format!("{label:?} is taken from a side that does not have it"),
                    why,
                    String::new(),
                );
            }
        }
        true
    }
}

/// `vector(0)` and its like.
fn is_default(expr: &Expr) -> bool {
    match &expr.unparen().kind {
        ExprKind::Call(call) => matches!(call.function.name, "vector" | "absent" | "absent_over_time"),
        ExprKind::Binary(binary) => is_default(&binary.lhs) || is_default(&binary.rhs),
        ExprKind::Number(_) => true,
        _ => false,
    }
}

fn fold(op: BinaryOp, a: f64, b: f64) -> Abs {
    use BinaryOp::*;
    let truth = |holds: bool| f64::from(u8::from(holds));
    Abs::number(match op {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Mod => a % b,
        Pow => a.powf(b),
        Atan2 => a.atan2(b),
        Eq => truth(a == b),
        Neq => truth(a != b),
        Lss => truth(a < b),
        Lte => truth(a <= b),
        Gtr => truth(a > b),
        Gte => truth(a >= b),
        _ => return Abs::default(),
    })
}

fn by_constant(op: BinaryOp, left: &Abs, c: f64) -> Abs {
    match op {
        BinaryOp::Mul if c != 0.0 => left.scaled(c),
        BinaryOp::Div if c != 0.0 => left.scaled(1.0 / c),
        BinaryOp::Add => left.shifted(c),
        BinaryOp::Sub => left.shifted(-c),
        _ => left.blurred(),
    }
}

fn from_constant(op: BinaryOp, c: f64, right: &Abs) -> Abs {
    match op {
        BinaryOp::Mul if c != 0.0 => right.scaled(c),
        BinaryOp::Add => right.shifted(c),
        BinaryOp::Sub => right.negated().shifted(c),
        _ => right.blurred(),
    }
}

/// The unit of a mean: what was added up.
fn unit_of_sum(sum: &Abs) -> Unit {
    // The rate of a sum in seconds has been called a ratio.
    match (sum.meaning, sum.unit) {
        (Meaning::Rate, Unit::Ratio) => Unit::Seconds,
        (_, unit) => unit,
    }
}

/// Whether the left side is a part of the right one: the same with more matchers, or one of what is added up there.
fn is_share(left: &Expr, right: &Expr) -> bool {
    let (left, right) = (unscaled(left), unscaled(right));
    if let ExprKind::Binary(sum) = &right.kind
        && matches!(sum.op, BinaryOp::Add | BinaryOp::Or)
    {
        return is_share(left, &sum.lhs) || is_share(left, &sum.rhs);
    }
    let mut differing = BTreeSet::new();
    if !same_shape(left, right, &mut differing) {
        return false;
    }
    let (left, right) = (left.selectors(), right.selectors());
    left.iter().zip(&right).all(|(left, right)| {
        right.selector.matchers.iter().all(|matcher| left.selector.matchers.contains(matcher))
    })
}

/// An operand without a constant factor.
fn unscaled(expr: &Expr) -> &Expr {
    let expr = expr.unparen();
    let ExprKind::Binary(binary) = &expr.kind else { return expr };
    let number = |expr: &Expr| matches!(expr.unparen().kind, ExprKind::Number(_));
    match binary.op {
        BinaryOp::Mul if number(&binary.lhs) => unscaled(&binary.rhs),
        BinaryOp::Mul | BinaryOp::Div if number(&binary.rhs) => unscaled(&binary.lhs),
        _ => expr,
    }
}

/// Whether two expressions differ in the matchers of their selectors only; collects the labels in which they do.
pub fn same_shape(a: &Expr, b: &Expr, differing: &mut BTreeSet<String>) -> bool {
    let (a, b) = (a.unparen(), b.unparen());
    match (&a.kind, &b.kind) {
        (ExprKind::Vector(x), ExprKind::Vector(y)) => same_selector(x, y, differing),
        (ExprKind::Matrix(x), ExprKind::Matrix(y)) => {
            x.range == y.range && same_selector(&x.selector, &y.selector, differing)
        }
        (ExprKind::Call(x), ExprKind::Call(y)) => {
            x.function == y.function
                && x.args.len() == y.args.len()
                && x.args.iter().zip(&y.args).all(|(x, y)| same_shape(x, y, differing))
        }
        (ExprKind::Aggregate(x), ExprKind::Aggregate(y)) => {
            let set = |labels: &[String]| labels.iter().cloned().collect::<BTreeSet<_>>();
            x.op == y.op
                && x.without == y.without
                && set(&x.grouping) == set(&y.grouping)
                && x.param == y.param
                && same_shape(&x.expr, &y.expr, differing)
        }
        (ExprKind::Binary(x), ExprKind::Binary(y)) => {
            x.op == y.op && same_shape(&x.lhs, &y.lhs, differing) && same_shape(&x.rhs, &y.rhs, differing)
        }
        (ExprKind::Subquery(x), ExprKind::Subquery(y)) => {
            x.range == y.range
                && x.step == y.step
                && x.offset == y.offset
                && same_shape(&x.expr, &y.expr, differing)
        }
        (ExprKind::Unary(p, x), ExprKind::Unary(q, y)) => p == q && same_shape(x, y, differing),
        (x, y) => x == y,
    }
}

fn same_selector(
    x: &tradewatch_promql::ast::VectorSelector,
    y: &tradewatch_promql::ast::VectorSelector,
    differing: &mut BTreeSet<String>,
) -> bool {
    let name = |selector: &tradewatch_promql::ast::VectorSelector| -> Vec<String> {
        selector.matchers.iter().filter(|m| m.name() == "__name__").map(Matcher::to_string).collect()
    };
    if name(x) != name(y) || x.offset != y.offset || x.at != y.at || x.extended != y.extended {
        return false;
    }
    for (one, other) in [(x, y), (y, x)] {
        for matcher in &one.matchers {
            if !other.matchers.contains(matcher) {
                differing.insert(matcher.name().to_owned());
            }
        }
    }
    true
}

/// Sides whose selectors exclude each other do not meet at all; that is another finding.
fn disjoint(left: &Abs, right: &Abs) -> bool {
    left.labels.known.iter().any(|(name, label)| {
        let other = right.labels.known.get(name);
        matches!((&label.values, other.map(|label| &label.values)),
            (Values::Closed(a), Some(Values::Closed(b))) if a.is_disjoint(b))
    })
}

/// The labels that have to agree.
fn compared_labels(left: &LabelSet, right: &LabelSet, matching: &Matching) -> BTreeSet<String> {
    if matching.on {
        return matching.labels.iter().cloned().collect();
    }
    left.known
        .keys()
        .chain(right.known.keys())
        .filter(|name| !matching.labels.contains(name))
        .cloned()
        .collect()
}

/// The labels of the result.
fn joined_labels(left: &LabelSet, right: &LabelSet, matching: &Matching) -> LabelSet {
    let (many, one) = match matching.cardinality {
        Cardinality::OneToMany => (right, left),
        _ => (left, right),
    };
    let mut labels = match matching.cardinality {
        Cardinality::OneToOne if matching.on => many.keep(&matching.labels),
        Cardinality::OneToOne => many.drop(&matching.labels),
        _ => many.clone(),
    };
    for name in &matching.include {
        match one.known.get(name) {
            Some(label) => labels.known.insert(name.clone(), label.clone()),
            None if one.open => {
                labels.known.insert(name.clone(), Label { values: Values::Any, always: false })
            }
            None => None,
        };
    }
    labels
}

/// The side that has labels, of `time() - x` and its like.
fn wider(left: &Abs, right: &Abs) -> LabelSet {
    if left.labels.known.is_empty() && !left.labels.open { right.labels.clone() } else { left.labels.clone() }
}

fn braces(labels: &LabelSet) -> String {
    format!("{{{}}}", labels.names().join(", "))
}

/// An operand without its own parentheses.
fn strip(expr: &Expr) -> String {
    expr.unparen().to_string()
}
