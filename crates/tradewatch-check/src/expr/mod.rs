//! An abstract interpreter: what an expression can give, without any sample.
//!
//! Each node becomes an [`Abs`]: the labels its series can have, what its values mean, their unit and range. What
//! contradicts itself on the way is said at once; what an alert or a panel concludes from the whole is left to them.

pub mod abs;
mod binary;
mod calls;
mod compare;
mod select;
pub mod site;

use std::collections::BTreeSet;

use tradewatch_promql::ast::{AggregateOp, BinaryOp};
use tradewatch_promql::{Expr, ExprKind, Span};

use crate::finding::{Finding, Severity};
use crate::world::World;
use abs::{Abs, Label, LabelSet, Meaning, Unit, Values};
pub use binary::same_shape;
pub use compare::edge_problem;
use site::{Role, Site};

/// Operators in one expression beyond which it is not followed.
const NODES_MAX: usize = 400;

/// A comparison with a number, as an alert or a panel makes it.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Where it stands.
    pub span: Span,
    /// The operator, with the number on its right.
    pub op: BinaryOp,
    /// The number.
    pub constant: f64,
    /// What is compared.
    pub value: Abs,
    /// Something has been said about it already.
    pub judged: bool,
}

/// What was met on the way.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Comparisons with numbers.
    pub comparisons: Vec<Comparison>,
    /// A trading calendar or the time of day is asked.
    pub calendar: bool,
    /// Families whose absence is looked for.
    pub absent: BTreeSet<String>,
    /// Nothing counts as zero: `or vector(0)`.
    pub defaulted: bool,
    /// Names of series that are read.
    pub names: BTreeSet<String>,
    /// Jobs whose `up` is compared; empty text for all.
    pub watched_jobs: BTreeSet<String>,
}

/// Follows one expression.
pub struct Interpreter<'a> {
    world: &'a World,
    site: &'a Site<'a>,
    /// Every rule file is known, so a name with a colon that no rule records is missing.
    recorded: bool,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was met.
    pub facts: Facts,
    /// Within `histogram_quantile`.
    quantile: bool,
    /// Beside an alternative of `or`: a missing metric may be the other name of a present one.
    alternative: bool,
}

impl<'a> Interpreter<'a> {
    /// An interpreter for the expression at `site`.
    pub fn new(world: &'a World, site: &'a Site<'a>, recorded: bool) -> Interpreter<'a> {
        Interpreter {
            world,
            site,
            recorded,
            findings: Vec::new(),
            facts: Facts::default(),
            quantile: false,
            alternative: false,
        }
    }

    /// What the whole expression gives.
    pub fn run(&mut self, expr: &Expr) -> Abs {
        if nodes(expr) > NODES_MAX {
            return Abs::default();
        }
        self.eval(expr)
    }

    /// Says that something is wrong.
    fn say(
        &mut self,
        id: &'static str,
        severity: Severity,
        span: Span,
        message: String,
        why: String,
        fix: String,
    ) {
        let place = self.site.place(span);
        let same =
            |finding: &Finding| finding.id == id && finding.place == place && finding.message == message;
        if !self.findings.iter().any(same) {
            self.findings.push(Finding { id, severity, message, why, fix, place, suppressed: None });
        }
    }

    fn eval(&mut self, expr: &Expr) -> Abs {
        match &expr.kind {
            ExprKind::Number(number) => Abs::number(number.value),
            ExprKind::String(_) => Abs { labels: LabelSet::default(), ..Abs::default() },
            ExprKind::Vector(selector) => self.select(selector, expr.span),
            ExprKind::Matrix(matrix) => self.select(&matrix.selector, matrix.inner_span),
            ExprKind::Subquery(subquery) => self.eval(&subquery.expr),
            ExprKind::Paren(inner) => self.eval(inner),
            ExprKind::Unary(op, inner) => {
                let value = self.eval(inner);
                match op {
                    tradewatch_promql::ast::UnaryOp::Plus => value,
                    tradewatch_promql::ast::UnaryOp::Minus => {
                        Abs { constant: value.constant.map(|c| -c), ..value.negated() }
                    }
                }
            }
            ExprKind::Binary(binary) => self.binary(binary, expr.span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span),
            ExprKind::Call(call) => self.call(call, expr.span),
        }
    }

    fn aggregate(&mut self, aggregate: &tradewatch_promql::ast::Aggregate, span: Span) -> Abs {
        if let Some(param) = &aggregate.param {
            let param = self.eval(param);
            let share = matches!(aggregate.op, AggregateOp::Quantile);
            if let Some(q) = param.constant.filter(|q| share && !(0.0..=1.0).contains(q)) {
                self.quantile_out_of_range(q, span);
            }
        }
        let value = self.eval(&aggregate.expr);
        let labels = if aggregate.op.selects() {
            value.labels.clone()
        } else if aggregate.without {
            value.labels.drop(&aggregate.grouping)
        } else {
            self.check_grouping(aggregate, &value, span);
            let mut kept = value.labels.keep(&aggregate.grouping);
            if aggregate.grouping.iter().any(|name| name == site::VARIABLE_NAME) {
                kept.open = true;
            }
            kept
        };
        self.check_aggregated(aggregate, &value, &labels, span);
        let many = value.labels.open || labels.known.len() < value.labels.known.len();
        let base = Abs { labels, aggregated: value.aggregated || many, ..value.clone() };
        use AggregateOp::*;
        match aggregate.op {
            Sum => {
                let meaning = match value.meaning {
                    Meaning::Info => Meaning::Tally,
                    Meaning::Gauge if value.unit == Unit::Bool => Meaning::Tally,
                    Meaning::Quantile | Meaning::SummaryQuantile | Meaning::Timestamp => Meaning::Unknown,
                    meaning => meaning,
                };
                let unit = if value.unit == Unit::Bool { Unit::Count } else { value.unit };
                let low = if value.low >= 0.0 { value.low } else { f64::NEG_INFINITY };
                Abs {
                    meaning,
                    unit,
                    low,
                    high: if value.high <= 0.0 { value.high } else { f64::INFINITY },
                    edges: keep_edges(&base),
                    ..base
                }
            }
            Count | Group | CountValues => {
                let mut labels = base.labels.clone();
                if aggregate.op == CountValues
                    && let Some(Expr { kind: ExprKind::String(name), .. }) = &aggregate.param
                {
                    labels.known.insert(name.clone(), Label::any());
                }
                let high = if aggregate.op == Group { 1.0 } else { f64::INFINITY };
                Abs {
                    meaning: Meaning::Tally,
                    unit: Unit::Count,
                    labels,
                    low: 1.0,
                    high,
                    edges: Vec::new(),
                    constant: None,
                    ..base
                }
            }
            Stddev | Stdvar => Abs { low: 0.0, ..base.blurred() },
            Avg | Min | Max | Quantile | Topk | Bottomk | Limitk | LimitRatio => {
                Abs { constant: None, ..base }
            }
        }
    }

    fn check_grouping(&mut self, aggregate: &tradewatch_promql::ast::Aggregate, value: &Abs, span: Span) {
        let absent: Vec<&String> = aggregate
            .grouping
            .iter()
            .filter(|name| *name != site::VARIABLE_NAME && !value.labels.can_have(name))
            .filter(|name| !(self.quantile && *name == "le"))
            .collect();
        let [first, ..] = absent.as_slice() else { return };
        if value.tainted || aggregate.op.selects() {
            return;
        }
        let all = absent.len() == aggregate.grouping.len();
        let list = absent.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" and ");
        let names = value.labels.names();
        let has = if names.is_empty() {
            "no labels at all".to_owned()
        } else {
            format!("only {}", names.join(", "))
        };
        let severity = if all || self.site.role == Role::Alert { Severity::Error } else { Severity::Warning };
        let why = format!(
            "what is grouped has {has}: {}",
            if all {
                "the answer is one series without labels"
            } else {
                "the grouping by it changes nothing"
            }
        );
        let near = tradewatch_catalog::nearest(first, names.iter().copied());
        let fix = near.map_or_else(
            || "group by a label that exists, or leave it out".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        let at = self.find_in(span, first);
        self.say(
            "TW004",
            severity,
            at,
            format!("no series has the label {list} that this groups by"),
            why,
            fix,
        );
    }

    fn check_aggregated(
        &mut self,
        aggregate: &tradewatch_promql::ast::Aggregate,
        value: &Abs,
        labels: &LabelSet,
        span: Span,
    ) {
        use AggregateOp::*;
        if value.tainted {
            return;
        }
        let op = aggregate.op.name();
        if matches!(aggregate.op, Avg | Sum | Stddev)
            && matches!(value.meaning, Meaning::Quantile | Meaning::SummaryQuantile)
        {
            let why = "a quantile says nothing about how many observations lie behind it, so quantiles cannot be averaged or added: \
                       the result is the quantile of nothing"
                .to_owned();
            let fix = match value.meaning {
                Meaning::Quantile => {
                    "add the buckets first: histogram_quantile(q, sum by (le) (rate(…_bucket[5m])))"
                }
                _ => "use a histogram, whose buckets can be added, or take max instead",
            };
            self.say("TW010", Severity::Error, span, format!("{op} of quantiles"), why, fix.to_owned());
        }
        let buckets = matches!(value.meaning, Meaning::Bucket | Meaning::BucketRate);
        let pinned = value
            .labels
            .known
            .get("le")
            .is_some_and(|le| matches!(&le.values, Values::Closed(v) if v.len() == 1));
        if buckets
            && !self.quantile
            && aggregate.op == Sum
            && !labels.can_have("le")
            && value.labels.can_have("le")
            && !pinned
        {
            let why = "buckets are cumulative: each observation is counted once in every bucket above it"
                .to_owned();
            let fix = "count observations with the _count series, or keep le".to_owned();
            self.say(
                "TW008",
                Severity::Warning,
                span,
                "sum over all buckets without le".to_owned(),
                why,
                fix,
            );
        }
    }

    /// The place of a word within a part, or the whole part.
    fn find_in(&self, span: Span, word: &str) -> Span {
        let text = self.site.slice(span);
        let whole_word = text.match_indices(word).find(|(at, _)| {
            let edge = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            edge(text[..*at].chars().next_back()) && edge(text[at + word.len()..].chars().next())
        });
        match whole_word {
            Some((at, _)) => Span::new(span.start as usize + at, span.start as usize + at + word.len()),
            None => span,
        }
    }

    fn quantile_out_of_range(&mut self, q: f64, span: Span) {
        let why = "a quantile is a share of 1: below 0 the answer is -Inf, above 1 it is +Inf".to_owned();
        let fix = if q > 1.0 && q <= 100.0 {
            format!("write {}", q / 100.0)
        } else {
            "write a number from 0 to 1".to_owned()
        };
        self.say("TW014", Severity::Error, span, format!("quantile {q} is outside 0 to 1"), why, fix);
    }
}

/// Sums keep their edges only while buckets are on their way into a quantile.
fn keep_edges(value: &Abs) -> Vec<f64> {
    match value.meaning {
        Meaning::Bucket | Meaning::BucketRate => value.edges.clone(),
        _ => Vec::new(),
    }
}

/// How many nodes there are, counted without recursion.
fn nodes(expr: &Expr) -> usize {
    let (mut open, mut count) = (vec![expr], 0);
    while let Some(expr) = open.pop() {
        count += 1;
        if count > NODES_MAX {
            break;
        }
        open.extend(expr.children());
    }
    count
}
