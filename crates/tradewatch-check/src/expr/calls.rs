//! Functions: do they fit what they are given?

use tradewatch_promql::ast::Call;
use tradewatch_promql::{Expr, ExprKind, Span};

use super::Interpreter;
use super::abs::{Abs, Label, LabelSet, Meaning, Part, Unit};
use super::site::Role;
use crate::finding::Severity;

/// Prometheus needs two samples in a window; four intervals survive one lost scrape and an uneven one.
const WINDOW_INTERVALS: u32 = 4;

impl Interpreter<'_> {
    pub(super) fn call(&mut self, call: &Call, span: Span) -> Abs {
        let name = call.function.name;
        match name {
            "rate" | "irate" | "increase" => self.growth(name, &call.args[0], span),
            "resets" | "changes" | "delta" | "idelta" | "deriv" | "predict_linear" => {
                self.change(name, call, span)
            }
            "histogram_quantile" => self.histogram_quantile(call, span),
            "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev"
            | "histogram_stdvar" | "histogram_fraction" => self.native_only(name, call, span),
            "absent" | "absent_over_time" => self.absent(call),
            "time" => Abs {
                meaning: Meaning::Timestamp,
                unit: Unit::Seconds,
                labels: LabelSet::default(),
                ..Abs::default()
            },
            "timestamp" => {
                let value = self.first(call);
                Abs { meaning: Meaning::Timestamp, unit: Unit::Seconds, low: 0.0, ..value.blurred() }
            }
            "vector" => {
                let value = self.first(call);
                Abs { labels: LabelSet::default(), ..value }
            }
            "scalar" => Abs { labels: LabelSet::default(), ..self.first(call) },
            "hour" | "minute" | "day_of_week" | "day_of_month" | "month" | "day_of_year" | "year"
            | "days_in_month" => {
                self.facts.calendar = true;
                let labels = if call.args.is_empty() { LabelSet::default() } else { self.first(call).labels };
                Abs { labels, low: 0.0, ..Abs::default() }
            }
            "label_replace" | "label_join" => self.relabelled(call),
            "clamp" | "clamp_min" | "clamp_max" => self.clamped(name, call),
            "round" | "ceil" | "floor" | "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                let value = self.first(call);
                Abs { edges: Vec::new(), ..value }
            }
            "abs" => {
                let value = self.first(call);
                Abs { low: 0.0, high: value.high.abs().max(value.low.abs()), ..value }
            }
            "info" => Abs { labels: LabelSet { open: true, ..self.first(call).labels }, ..Abs::default() },
            name if name.ends_with("_over_time") => self.over_time(name, call, span),
            _ => {
                let values: Vec<Abs> = call.args.iter().map(|arg| self.eval(arg)).collect();
                let vector = values.into_iter().find(|value| value.constant.is_none());
                vector.map_or_else(
                    || Abs { labels: LabelSet::default(), ..Abs::default() },
                    |value| value.blurred(),
                )
            }
        }
    }

    /// The first argument; the others are looked at too.
    fn first(&mut self, call: &Call) -> Abs {
        let mut values = call.args.iter().map(|arg| self.eval(arg)).collect::<Vec<_>>().into_iter();
        values.next().unwrap_or_default()
    }

    /// The length of a range, in milliseconds, where it is no variable.
    fn window(&mut self, arg: &Expr, function: &str, samples: u32) -> Option<i64> {
        let arg = arg.unparen();
        match &arg.kind {
            ExprKind::Matrix(matrix) if !self.site.has_variable(arg.span) => {
                let window = matrix.range.literal_ms()?;
                let name = matrix
                    .selector
                    .matchers
                    .iter()
                    .find(|m| m.name() == "__name__")
                    .map(|m| m.value().to_owned());
                self.check_window(name.as_deref().unwrap_or(""), window, function, samples, arg.span);
                Some(window)
            }
            ExprKind::Subquery(subquery) if !self.site.has_variable(arg.span) => subquery.range.literal_ms(),
            _ => None,
        }
    }

    fn check_window(&mut self, name: &str, window_ms: i64, function: &str, samples: u32, span: Span) {
        let intervals = self.world.find(name).iter().filter_map(|series| series.interval);
        let Some(interval) = intervals.min() else { return };
        let step = interval.as_millis() as i64;
        if step == 0 || window_ms >= step * i64::from(if samples > 1 { WINDOW_INTERVALS } else { 1 }) {
            return;
        }
        let shown =
            |ms: i64| tradewatch_alert::duration::format(std::time::Duration::from_millis(ms.max(0) as u64));
        let never = window_ms < step * i64::from(samples);
        let message = format!(
            "a window of {} is {} {name}, which has a sample each {}",
            shown(window_ms),
            if never { "too short for" } else { "short for" },
            shown(step)
        );
        let why = if never {
            format!(
                "{function} needs {samples} sample{} in its window: most often there is no answer",
                if samples > 1 { "s" } else { "" }
            )
        } else {
            format!("{function} needs two samples in its window; one late or lost scrape leaves a gap")
        };
        let fix = format!("write [{}] or more", shown(step * i64::from(WINDOW_INTERVALS)));
        let severity = if never { Severity::Error } else { Severity::Warning };
        self.say("TW019", severity, span, message, why, fix);
    }

    /// `rate`, `irate`, `increase`: for counters only.
    fn growth(&mut self, function: &str, arg: &Expr, span: Span) -> Abs {
        let value = self.eval(arg);
        let window_ms = self.window(arg, function, 2);
        let subquery = matches!(arg.unparen().kind, ExprKind::Subquery(_));
        let meaning = match (value.meaning, function) {
            (Meaning::Bucket, _) => Meaning::BucketRate,
            (_, "increase") => Meaning::Increase,
            _ => Meaning::Rate,
        };
        let unit = match (function, value.unit) {
            // Buckets are counts; their unit is that of what was observed, and comes back with the quantile.
            (_, unit) if value.part == Part::Bucket || value.meaning == Meaning::Bucket => unit,
            ("increase", unit) => unit,
            (_, Unit::Seconds) => Unit::Ratio,
            (_, Unit::Bytes) => Unit::Unknown,
            _ => Unit::PerSecond,
        };
        if !value.tainted {
            self.check_growth(function, &value, subquery, arg, span);
        }
        Abs { meaning, unit, low: 0.0, high: f64::INFINITY, constant: None, window_ms, ..value }
    }

    fn check_growth(&mut self, function: &str, value: &Abs, subquery: bool, arg: &Expr, span: Span) {
        let of = value.families.iter().next().cloned().unwrap_or_else(|| "this".to_owned());
        let wrong = |what: &str| format!("{function} of {what}");
        match value.meaning {
            Meaning::Gauge | Meaning::Timestamp
                if value.unit != Unit::Unknown || !value.families.is_empty() =>
            {
                let why = format!(
                    "{of} goes up and down; {function} takes every fall for a restart of a counter and adds what was there before"
                );
                let fix = "use delta or deriv, or the gauge itself".to_owned();
                self.say("TW006", Severity::Error, span, wrong(&format!("the gauge {of}")), why, fix);
            }
            Meaning::Info => {
                let why = format!("{of} is always 1");
                self.say(
                    "TW006",
                    Severity::Error,
                    span,
                    wrong(&format!("{of}, which never changes")),
                    why,
                    "leave it out".to_owned(),
                );
            }
            Meaning::SummaryQuantile => {
                let why = format!("{of} holds quantiles, which go up and down");
                let fix = format!("use {of}_count or {of}_sum");
                self.say("TW006", Severity::Error, span, wrong("a quantile"), why, fix);
            }
            Meaning::Rate
            | Meaning::Increase
            | Meaning::BucketRate
            | Meaning::Quantile
            | Meaning::Ratio
            | Meaning::Tally => {
                let why = "what is inside is no counter any more: it goes up and down".to_owned();
                let fix = format!("take {function} of the counter itself");
                self.say("TW006", Severity::Error, span, wrong("something that is no counter"), why, fix);
            }
            Meaning::Counter | Meaning::Bucket if value.aggregated => {
                let why = "when one process restarts the sum falls, and the whole sum counts as new growth: a spike that never happened".to_owned();
                let inner = match &arg.unparen().kind {
                    ExprKind::Subquery(sub) => format!("sum({function}({}[5m]))", innermost(&sub.expr)),
                    _ => format!("record sum({function}(…[5m])) instead of the sum"),
                };
                let message = if subquery {
                    format!("{function} of a sum")
                } else {
                    format!("{function} of {of}, summed before")
                };
                self.say("TW011", Severity::Error, span, message, why, inner);
            }
            _ => {}
        }
    }

    fn change(&mut self, function: &str, call: &Call, span: Span) -> Abs {
        let value = self.eval(&call.args[0]);
        for arg in &call.args[1..] {
            self.eval(arg);
        }
        let window_ms = self.window(
            &call.args[0],
            function,
            if matches!(function, "changes" | "resets") { 1 } else { 2 },
        );
        let of = value.families.iter().next().cloned().unwrap_or_default();
        let counter = matches!(value.meaning, Meaning::Counter | Meaning::Bucket);
        if counter && !value.tainted && !matches!(function, "resets" | "changes" | "predict_linear") {
            let why = format!(
                "{of} is a counter: it falls to zero when its process restarts, and {function} takes that for a change"
            );
            let instead = if function == "deriv" { "rate" } else { "increase" };
            self.say(
                "TW006",
                Severity::Warning,
                span,
                format!("{function} of the counter {of}"),
                why,
                format!("use {instead}"),
            );
        }
        if function == "resets" && value.meaning == Meaning::Gauge && !value.tainted {
            let why = format!("{of} goes up and down: each fall counts as a reset");
            self.say(
                "TW006",
                Severity::Error,
                span,
                format!("resets of the gauge {of}"),
                why,
                "use changes".to_owned(),
            );
        }
        match function {
            "resets" | "changes" => Abs {
                meaning: Meaning::Increase,
                unit: Unit::Count,
                low: 0.0,
                high: f64::INFINITY,
                window_ms,
                ..value.blurred()
            },
            "predict_linear" => Abs { meaning: Meaning::Gauge, unit: value.unit, ..value.blurred() },
            _ => Abs { window_ms, ..value.blurred() },
        }
    }

    fn histogram_quantile(&mut self, call: &Call, span: Span) -> Abs {
        let q = self.eval(&call.args[0]).constant;
        if let Some(q) = q.filter(|q| !(0.0..=1.0).contains(q)) {
            self.quantile_out_of_range(q, span);
        }
        let outer = std::mem::replace(&mut self.quantile, true);
        let value = self.eval(&call.args[1]);
        self.quantile = outer;
        let mut labels = value.labels.clone();
        let of = value.families.iter().next().cloned().unwrap_or_default();
        // A native histogram has its buckets inside; only plain numbers need le.
        let plain = value.plain || names_buckets(&call.args[1]);
        if plain && !value.labels.can_have("le") && (!value.tainted || is_aggregated(&call.args[1])) {
            // Without buckets among its labels the argument is either no histogram, or lost them.
            let histogram = matches!(value.meaning, Meaning::Bucket | Meaning::BucketRate | Meaning::Unknown);
            let (id, message, why, fix) = if histogram || is_aggregated(&call.args[1]) {
                (
                    "TW008",
                    "histogram_quantile without le".to_owned(),
                    "the buckets are told apart by le, which is not kept here: there is nothing to take a quantile of".to_owned(),
                    "keep it: sum by (le, …) (rate(…_bucket[5m]))".to_owned(),
                )
            } else {
                (
                    "TW006",
                    format!("histogram_quantile of {of}, which has no buckets"),
                    "only the _bucket series of a histogram have le".to_owned(),
                    "use a histogram, or the value itself".to_owned(),
                )
            };
            self.say(id, Severity::Error, span, message, why, fix);
            return Abs { tainted: true, labels, ..Abs::default() };
        }
        if value.meaning == Meaning::Bucket && !value.tainted {
            let why =
                "these are all observations since the process started: what happens now is lost among them"
                    .to_owned();
            let fix = format!("rate({of}_bucket[5m])");
            self.say(
                "TW007",
                Severity::Warning,
                span,
                "quantile over buckets without rate".to_owned(),
                why,
                fix,
            );
        }
        labels.known.remove("le");
        let own: Vec<String> = own_labels(self, &value);
        if !value.aggregated && !own.is_empty() && !value.tainted && self.site.role != Role::Record {
            let why = format!(
                "the buckets are not added up: each {} has a quantile of its own, from its few observations",
                own.join(" and ")
            );
            let fix =
                "if one figure is meant: histogram_quantile(q, sum by (le) (rate(…_bucket[5m])))".to_owned();
            self.say("TW008", Severity::Info, span, "a quantile for each single series".to_owned(), why, fix);
        }
        let top = value.edges.last().copied().unwrap_or(f64::INFINITY);
        let low = if value.edges.first().is_some_and(|edge| *edge > 0.0) { 0.0 } else { f64::NEG_INFINITY };
        Abs { meaning: Meaning::Quantile, labels, low, high: top, constant: None, ..value }
    }

    fn native_only(&mut self, function: &str, call: &Call, span: Span) -> Abs {
        let values: Vec<Abs> = call.args.iter().map(|arg| self.eval(arg)).collect();
        let value = values.into_iter().next_back().unwrap_or_default();
        let float = matches!(
            value.meaning,
            Meaning::Bucket
                | Meaning::BucketRate
                | Meaning::Counter
                | Meaning::Gauge
                | Meaning::SummaryQuantile
                | Meaning::Info
        ) || matches!(value.meaning, Meaning::Rate | Meaning::Increase) && value.plain;
        if float && !value.tainted {
            let why = "it reads native histograms only; series of plain numbers give no answer".to_owned();
            let fix = match function {
                "histogram_avg" => "rate(…_sum[5m]) / rate(…_count[5m])",
                "histogram_fraction" => "sum(rate(…_bucket{le=\"…\"}[5m])) / sum(rate(…_count[5m]))",
                _ => "use the _sum, _count and _bucket series",
            };
            self.say(
                "TW006",
                Severity::Error,
                span,
                format!("{function} of plain numbers"),
                why,
                fix.to_owned(),
            );
        }
        value.blurred()
    }

    fn absent(&mut self, call: &Call) -> Abs {
        let value = self.eval(&call.args[0]);
        self.facts.absent.extend(value.families.iter().cloned());
        if let ExprKind::Vector(selector) = &call.args[0].unparen().kind {
            self.facts.absent.extend(selector.name.clone());
        }
        if let ExprKind::Matrix(matrix) = &call.args[0].unparen().kind {
            self.facts.absent.extend(matrix.selector.name.clone());
        }
        let closed = value.labels.known.into_iter().filter(|(_, label)| {
            label.listed().is_some_and(|values| values.len() == 1)
                && matches!(label.values, super::abs::Values::Closed(_))
        });
        // Only what an equality matcher pins comes back as a label; a label of the target is not one of those.
        let pinned = pinned(&call.args[0]);
        let known = closed.filter(|(name, _)| pinned.contains(name)).collect();
        Abs {
            labels: LabelSet { known, open: false },
            meaning: Meaning::Constant,
            low: 1.0,
            high: 1.0,
            ..Abs::default()
        }
    }

    fn relabelled(&mut self, call: &Call) -> Abs {
        let value = self.first(call);
        let mut labels = value.labels.clone();
        if let Some(ExprKind::String(name)) = call.args.get(1).map(|arg| &arg.unparen().kind) {
            labels.known.insert(name.clone(), Label { always: false, ..Label::any() });
        }
        Abs { labels, ..value }
    }

    fn clamped(&mut self, function: &str, call: &Call) -> Abs {
        let value = self.eval(&call.args[0]);
        let bounds: Vec<Option<f64>> = call.args[1..].iter().map(|arg| self.eval(arg).constant).collect();
        let (mut low, mut high) = (value.low, value.high);
        match (function, bounds.as_slice()) {
            ("clamp_min", [Some(min)]) => (low, high) = (low.max(*min), high.max(*min)),
            ("clamp_max", [Some(max)]) => (low, high) = (low.min(*max), high.min(*max)),
            ("clamp", [Some(min), Some(max)]) => {
                (low, high) = (low.clamp(*min, min.max(*max)), high.clamp(*min, min.max(*max)))
            }
            _ => {}
        }
        Abs { low, high, edges: Vec::new(), ..value }
    }

    fn over_time(&mut self, function: &str, call: &Call, span: Span) -> Abs {
        let mut matrix = Abs::default();
        for arg in &call.args {
            let value = self.eval(arg);
            if value.constant.is_none() {
                self.window(arg, function, 1);
                matrix = value;
            }
        }
        let of = matrix.families.iter().next().cloned().unwrap_or_default();
        let averages = matches!(
            function,
            "avg_over_time"
                | "stddev_over_time"
                | "stdvar_over_time"
                | "quantile_over_time"
                | "sum_over_time"
                | "mad_over_time"
        );
        if averages && !matrix.tainted {
            if matches!(matrix.meaning, Meaning::Counter | Meaning::Bucket) {
                let why = format!(
                    "{of} only grows: its {} over time says when the process started, not what happened",
                    &function[..3]
                );
                self.say(
                    "TW006",
                    Severity::Warning,
                    span,
                    format!("{function} of the counter {of}"),
                    why,
                    "use rate or increase".to_owned(),
                );
            }
            if matches!(matrix.meaning, Meaning::Quantile | Meaning::SummaryQuantile)
                && matches!(function, "avg_over_time" | "sum_over_time")
            {
                let why =
                    "a quiet minute weighs as much as a busy one: quantiles cannot be averaged".to_owned();
                let fix = "take the quantile over a longer rate window, or max_over_time".to_owned();
                self.say("TW010", Severity::Warning, span, format!("{function} of quantiles"), why, fix);
            }
        }
        match function {
            "count_over_time" => {
                Abs { meaning: Meaning::Tally, unit: Unit::Count, low: 1.0, ..matrix.blurred() }
            }
            "present_over_time" => Abs { low: 1.0, high: 1.0, ..matrix.blurred() },
            "sum_over_time" => Abs {
                low: if matrix.low >= 0.0 { matrix.low } else { f64::NEG_INFINITY },
                high: f64::INFINITY,
                ..matrix
            },
            "stddev_over_time" | "stdvar_over_time" | "mad_over_time" => Abs { low: 0.0, ..matrix.blurred() },
            "avg_over_time" if matrix.unit == Unit::Bool => Abs { unit: Unit::Ratio, ..matrix },
            _ => matrix,
        }
    }
}

/// The labels that a metric itself has: not those that every series of its target has.
fn own_labels(interpreter: &Interpreter<'_>, value: &Abs) -> Vec<String> {
    if value.families.is_empty() || value.labels.open {
        return Vec::new();
    }
    let target: Vec<&str> =
        interpreter.world.find("up").iter().flat_map(|series| series.abs.labels.names()).collect();
    let single = |name: &str| value.labels.known[name].listed().is_some_and(|values| values.len() == 1);
    let own = value
        .labels
        .names()
        .into_iter()
        .filter(|name| *name != "le" && !target.contains(name) && !single(name));
    own.map(str::to_owned).collect()
}

/// Whether an expression reads series that are called like buckets.
fn names_buckets(expr: &Expr) -> bool {
    expr.selectors()
        .iter()
        .any(|info| info.selector.name.as_ref().is_some_and(|name| name.ends_with("_bucket")))
}

fn is_aggregated(expr: &Expr) -> bool {
    matches!(expr.unparen().kind, ExprKind::Aggregate(_))
}

/// The selector at the bottom of an expression, as text.
fn innermost(expr: &Expr) -> String {
    expr.selectors().first().map_or_else(
        || "…".to_owned(),
        |info| {
            let name = info.selector.name.clone().unwrap_or_default();
            let others: Vec<String> = info
                .selector
                .matchers
                .iter()
                .filter(|m| m.name() != "__name__")
                .map(|m| m.to_string())
                .collect();
            if others.is_empty() { name } else { format!("{name}{{{}}}", others.join(",")) }
        },
    )
}

/// Labels that equality matchers of a selector pin.
fn pinned(expr: &Expr) -> Vec<String> {
    let selectors = expr.selectors();
    let matchers = selectors.iter().flat_map(|info| &info.selector.matchers);
    let equal = matchers.filter(|m| m.op() == tradewatch_tsdb::MatchOp::Equal && m.name() != "__name__");
    equal.map(|m| m.name().to_owned()).collect()
}

/// Whether a value is a part of a histogram or summary that can make a mean.
pub(super) fn is_mean(left: &Abs, right: &Abs) -> bool {
    left.part == Part::Sum && right.part == Part::Count && left.families == right.families
}
