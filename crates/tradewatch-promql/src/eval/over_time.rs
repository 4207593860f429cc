//! Functions of range vectors, one window at a time.

use std::sync::Arc;

use tradewatch_tsdb::{Labels, Value};

use super::aggregate::{FloatSum, HistogramSum, quantile_of};
use super::rate::{Change, is_start_reset};
use super::select::RangeInput;
use super::smooth;
use super::windows::{Extremes, RangeSeries, Sliding, Window};
use super::{Evaluator, Out, metric_name};
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::error::Span;
use crate::frame::{Frame, Grid, is_absent};
use crate::number::kahan_inc;

/// Functions that take `anchored`, in the order of error messages.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
/// Functions that take `smoothed`.
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

impl Evaluator<'_> {
    /// A function with a range vector among its arguments.
    pub fn over_time(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let name = call.function.name;
        let names_are_unseen = std::mem::take(&mut self.names_are_unseen);
        let is_range = |arg: &Expr| arg.value_type() == ValueType::Matrix;
        let at = call.args.iter().position(is_range).expect("the caller looked");
        let mut scalars = Vec::new();
        let input = self.range_input(&call.args[at], grid)?;
        for (_, arg) in call.args.iter().enumerate().filter(|(i, _)| *i != at) {
            scalars.push(self.scalar(arg, grid)?);
        }
        check_extended(name, input.extended)?;
        if name == "absent_over_time" {
            return self.absent_over_time(&call.args[at], &input, grid);
        }
        let function = RangeFunction::of(name)?;
        let keeps_name = matches!(function, RangeFunction::First | RangeFunction::Last);
        let extreme = match function {
            RangeFunction::Min => Some(false),
            RangeFunction::Max => Some(true),
            _ => None,
        };
        let scalar_span = call.args[0].span;
        self.charge(input.len() * grid.steps)?;
        let mut frame = Frame::with_capacity(grid.steps, input.len());
        let lookback = self.lookback_ms();
        let mut buffer = RangeSeries::default();
        for at in 0..input.len() {
            self.check_deadline()?;
            let series = self.read_series(&input, at, &mut buffer)?;
            let metric = metric_name(&series.labels);
            let row = frame.push(series.labels.clone(), series.drop_name);
            let mut sliding = Sliding::new(series, &input, lookback);
            if let Some(max) = extreme.filter(|_| series.columns.histogram_ts.is_empty()) {
                let mut extremes = Extremes::new(&series.columns.values, max);
                for step in 0..grid.steps {
                    let window = sliding.window(grid, step);
                    if let Some(value) = extremes.of(window.first, window.first + window.values.len()) {
                        frame.set_float(row, step, value);
                    }
                }
                frame.pop_if_empty();
                continue;
            }
            for step in 0..grid.steps {
                let window = sliding.window(grid, step);
                if window.is_empty() {
                    continue;
                }
                let args = Args {
                    scalars: [scalar_at(&scalars, 0, step), scalar_at(&scalars, 1, step)],
                    name: metric,
                    span: input.span,
                    scalar_span,
                    range_ms: input.range_ms,
                    extended: input.extended,
                };
                if let Some(value) = self.window_value(function, &window, &args)? {
                    frame.set(row, step, value);
                }
            }
            if matches!(function, RangeFunction::Rate | RangeFunction::Increase) {
                self.remark_on_name(&frame, row, metric, input.span);
            }
            frame.pop_if_empty();
        }
        match keeps_name {
            true => {}
            false if names_are_unseen => self.hide_names(&mut frame)?,
            false => self.drop_names(&mut frame)?,
        }
        Ok(Out::Vector(frame))
    }

    fn remark_on_name(&mut self, frame: &Frame, row: usize, metric: &str, span: Span) {
        let counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !metric.is_empty() && !counter && frame.floats(row).iter().any(|&v| !is_absent(v)) {
            self.annotations.possible_non_counter(span, metric);
        }
    }

    fn absent_over_time(&mut self, arg: &Expr, input: &RangeInput, grid: &Grid) -> Result<Out> {
        let mut present = vec![false; grid.steps];
        let lookback = self.lookback_ms();
        let mut buffer = RangeSeries::default();
        for at in 0..input.len() {
            let series = self.read_series(input, at, &mut buffer)?;
            let mut sliding = Sliding::new(series, input, lookback);
            for (step, present) in present.iter_mut().enumerate() {
                *present |= !sliding.window(grid, step).is_empty();
            }
        }
        let mut frame = Frame::new(grid.steps);
        if present.iter().any(|p| !p) {
            let row = frame.push(labels_of_absent(arg), false);
            for (step, _) in present.iter().enumerate().filter(|(_, present)| !**present) {
                frame.set_float(row, step, 1.0);
            }
        }
        Ok(Out::Vector(frame))
    }

    fn window_value(
        &mut self,
        function: RangeFunction,
        w: &Window<'_>,
        args: &Args<'_>,
    ) -> Result<Option<Value>> {
        use RangeFunction::*;
        let notes = &mut self.annotations;
        let change = |counter: bool, per_second: bool| Change {
            counter,
            per_second,
            range_ms: args.range_ms,
            name: args.name,
            span: args.span,
        };
        let float = |value: f64| Ok(Some(Value::Float(value)));
        match function {
            Rate | Increase | Delta => {
                let change = change(function != Delta, function == Rate);
                return Ok(match args.extended {
                    None => change.extrapolated(w, notes),
                    Some(kind) => smooth::extended_change(&change, w, kind, notes),
                });
            }
            Irate => return Ok(change(true, true).instant(w, notes)),
            Idelta => return Ok(change(false, false).instant(w, notes)),
            Resets | Changes => {
                return Ok(transitions(w, args, function == Resets).map(Value::Float));
            }
            Count => return float((w.ts.len() + w.histogram_ts.len()) as f64),
            Present => return float(1.0),
            First => return Ok(edge(w, true).map(|(_, value)| value)),
            Last => return Ok(edge(w, false).map(|(_, value)| value)),
            TsOfFirst | TsOfLast => {
                let found = edge(w, function == TsOfFirst);
                return Ok(found.map(|(ts, _)| Value::Float(ts as f64 / 1000.0)));
            }
            Sum | Avg => {
                return Ok(sum_over_time(w, args, function == Avg, notes));
            }
            _ => {}
        }
        // From here on only floats count, and histograms beside them are remarked upon.
        let needed = match function {
            Deriv | PredictLinear | DoubleExponentialSmoothing => 2,
            _ => 1,
        };
        if !w.values.is_empty() && !w.histogram_ts.is_empty() {
            notes.histogram_ignored_in_range(args.span, args.name);
        }
        if function == DoubleExponentialSmoothing {
            check_factors(args.scalars)?;
        }
        if w.values.len() < needed {
            return Ok(None);
        }
        let value = match function {
            Min => extreme(w, |now, best| now < best).1,
            Max => extreme(w, |now, best| now > best).1,
            TsOfMin => extreme(w, |now, best| now <= best).0 as f64 / 1000.0,
            TsOfMax => extreme(w, |now, best| now >= best).0 as f64 / 1000.0,
            Stddev => variance(w.values).sqrt(),
            Stdvar => variance(w.values),
            Mad => median_deviation(w.values),
            Quantile => {
                let q = args.scalars[0];
                if !(0.0..=1.0).contains(&q) {
                    notes.invalid_quantile(args.scalar_span, q);
                }
                quantile_of(q, &mut w.values.to_vec())
            }
            Deriv => regression(w, w.ts[0]).0,
            PredictLinear => {
                let (slope, intercept) = regression(w, w.now);
                slope * args.scalars[0] + intercept
            }
            DoubleExponentialSmoothing => smoothing(w.values, args.scalars),
            _ => return Ok(None),
        };
        float(value)
    }
}

/// The functions of range vectors, told apart once rather than in every window.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Resets,
    Changes,
    Count,
    Present,
    First,
    Last,
    TsOfFirst,
    TsOfLast,
    Sum,
    Avg,
    Min,
    Max,
    TsOfMin,
    TsOfMax,
    Stddev,
    Stdvar,
    Mad,
    Quantile,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
}

impl RangeFunction {
    fn of(name: &str) -> Result<RangeFunction> {
        use RangeFunction::*;
        Ok(match name {
            "rate" => Rate,
            "increase" => Increase,
            "delta" => Delta,
            "irate" => Irate,
            "idelta" => Idelta,
            "resets" => Resets,
            "changes" => Changes,
            "count_over_time" => Count,
            "present_over_time" => Present,
            "first_over_time" => First,
            "last_over_time" => Last,
            "ts_of_first_over_time" => TsOfFirst,
            "ts_of_last_over_time" => TsOfLast,
            "sum_over_time" => Sum,
            "avg_over_time" => Avg,
            "min_over_time" => Min,
            "max_over_time" => Max,
            "ts_of_min_over_time" => TsOfMin,
            "ts_of_max_over_time" => TsOfMax,
            "stddev_over_time" => Stddev,
            "stdvar_over_time" => Stdvar,
            "mad_over_time" => Mad,
            "quantile_over_time" => Quantile,
            "deriv" => Deriv,
            "predict_linear" => PredictLinear,
            "double_exponential_smoothing" => DoubleExponentialSmoothing,
            _ => return Err(EvalError::data(format!("function {name} does not take a range vector"))),
        })
    }
}

/// What window functions know beside the window.
#[derive(Copy, Clone)]
struct Args<'a> {
    scalars: [f64; 2],
    name: &'a str,
    span: Span,
    scalar_span: Span,
    range_ms: i64,
    extended: Option<Extended>,
}

fn scalar_at(scalars: &[Vec<f64>], at: usize, step: usize) -> f64 {
    scalars.get(at).map_or(f64::NAN, |values| values[step])
}

fn check_extended(name: &str, extended: Option<Extended>) -> Result<()> {
    let (word, allowed) = match extended {
        None => return Ok(()),
        Some(Extended::Anchored) => ("anchored", &ANCHORED[..]),
        Some(Extended::Smoothed) => ("smoothed", &SMOOTHED[..]),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(EvalError::data(format!("{word} modifier can only be used with: {allowed} - not with {name}")))
}

/// The labels that the result of `absent` can know from the selector: those matched exactly, and once.
pub(crate) fn labels_of_absent(arg: &Expr) -> Labels {
    let matchers = match &arg.unparen().kind {
        ExprKind::Vector(v) => &v.matchers,
        ExprKind::Matrix(m) => &m.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut found: Vec<(&str, Option<&str>)> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != "__name__") {
        let equal = matcher.op() == tradewatch_tsdb::MatchOp::Equal;
        match found.iter_mut().find(|(name, _)| *name == matcher.name()) {
            Some((_, value)) => *value = None,
            None => {
                if equal {
                    found.push((matcher.name(), Some(matcher.value())));
                }
            }
        }
    }
    Labels::from_pairs(found.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// The first or last sample of a window, of either kind.
fn edge(w: &Window<'_>, first: bool) -> Option<(i64, Value)> {
    let pick = |len: usize| if first { 0 } else { len - 1 };
    let float = (!w.ts.is_empty()).then(|| {
        let at = pick(w.ts.len());
        (w.ts[at], Value::Float(w.values[at]))
    });
    let histogram = (!w.histogram_ts.is_empty()).then(|| {
        let at = pick(w.histogram_ts.len());
        (w.histogram_ts[at], Value::Histogram(w.histograms[at].clone()))
    });
    match (float, histogram) {
        (Some(f), Some(h)) => Some(if (f.0 < h.0) == first { f } else { h }),
        (f, h) => f.or(h),
    }
}

fn sum_over_time(
    w: &Window<'_>,
    args: &Args<'_>,
    average: bool,
    notes: &mut crate::annotate::Annotations,
) -> Option<Value> {
    if !w.ts.is_empty() && !w.histogram_ts.is_empty() {
        notes.mixed_floats_histograms(args.span, args.name);
        return None;
    }
    if w.histogram_ts.is_empty() {
        let mut sum = FloatSum::default();
        w.values.iter().for_each(|&value| sum.add(value, average));
        return Some(Value::Float(if average { sum.average() } else { sum.sum() }));
    }
    let mut sum = HistogramSum::default();
    for histogram in w.histograms {
        let found = sum.add(histogram, average, false);
        if found.bounds_reconciled {
            notes.mismatched_custom_buckets(args.span, "aggregation");
        }
        if found.incompatible {
            notes.mixed_exponential_custom(args.span, args.name);
            return None;
        }
    }
    if sum.collision() {
        notes.counter_reset_collision(args.span, "aggregation");
    }
    let value = if average { sum.average() } else { sum.sum() }?;
    Some(Value::Histogram(Arc::new(value)))
}

fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let mut best = (w.ts[0], w.values[0]);
    for (&ts, &value) in w.ts.iter().zip(w.values) {
        if better(value, best.1) || best.1.is_nan() {
            best = (ts, value);
        }
    }
    best
}

fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_lost) = (0.0, 0.0);
    let (mut sum, mut sum_lost) = (0.0, 0.0);
    for &value in values {
        count += 1.0;
        let delta = value - (mean + mean_lost);
        (mean, mean_lost) = kahan_inc(delta / count, mean, mean_lost);
        (sum, sum_lost) = kahan_inc(delta * (value - (mean + mean_lost)), sum, sum_lost);
    }
    (sum + sum_lost) / count
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile_of(0.5, &mut values)
}

/// Slope per second, and value at `origin`, of the line of least squares.
fn regression(w: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = w.values[0];
    if w.values.iter().all(|&v| v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut n = 0.0;
    let (mut x_sum, mut x_lost) = (0.0, 0.0);
    let (mut y_sum, mut y_lost) = (0.0, 0.0);
    let (mut xy_sum, mut xy_lost) = (0.0, 0.0);
    let (mut xx_sum, mut xx_lost) = (0.0, 0.0);
    for (&ts, &y) in w.ts.iter().zip(w.values) {
        n += 1.0;
        let x = (ts - origin) as f64 / 1e3;
        (x_sum, x_lost) = kahan_inc(x, x_sum, x_lost);
        (y_sum, y_lost) = kahan_inc(y, y_sum, y_lost);
        (xy_sum, xy_lost) = kahan_inc(x * y, xy_sum, xy_lost);
        (xx_sum, xx_lost) = kahan_inc(x * x, xx_sum, xx_lost);
    }
    let (x_sum, y_sum) = (x_sum + x_lost, y_sum + y_lost);
    let (xy_sum, xx_sum) = (xy_sum + xy_lost, xx_sum + xx_lost);
    let covariance = xy_sum - x_sum * y_sum / n;
    let spread = xx_sum - x_sum * x_sum / n;
    let slope = covariance / spread;
    (slope, y_sum / n - slope * x_sum / n)
}

fn check_factors([smoothing, trend]: [f64; 2]) -> Result<()> {
    for (what, factor, letter) in [("smoothing", smoothing, "sf"), ("trend", trend, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(EvalError::data(format!(
                "invalid {what} factor. Expected: 0 < {letter} < 1, got: {factor:.6}"
            )));
        }
    }
    Ok(())
}

/// Holt's linear smoothing: level and trend.
fn smoothing(values: &[f64], [factor, trend_factor]: [f64; 2]) -> f64 {
    let mut before = 0.0;
    let mut level = values[0];
    let mut trend = values[1] - values[0];
    for (at, &value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = factor * value + (1.0 - factor) * (level + trend);
        (before, level) = (level, next);
    }
    level
}

/// How often a series fell (`resets`) or changed in a window.
fn transitions(w: &Window<'_>, args: &Args<'_>, resets: bool) -> Option<f64> {
    let (mut float, mut histogram) = (0, 0);
    if args.extended == Some(Extended::Anchored) {
        (float, histogram) = smooth::anchor(w)?;
    }
    let mut count = 0;
    let mut before: Option<(i64, i64, Value)> = None;
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    while float < w.ts.len() || histogram < w.histogram_ts.len() {
        let float_next = histogram >= w.histogram_ts.len()
            || (float < w.ts.len() && w.ts[float] < w.histogram_ts[histogram]);
        let now = if float_next {
            float += 1;
            (w.ts[float - 1], start(w.starts, float - 1), Value::Float(w.values[float - 1]))
        } else {
            histogram += 1;
            let value = Value::Histogram(w.histograms[histogram - 1].clone());
            (w.histogram_ts[histogram - 1], start(w.histogram_starts, histogram - 1), value)
        };
        if let Some((t0, s0, previous)) = &before {
            let start_reset = || is_start_reset(*s0, *t0, now.1, now.0);
            let changed = match (previous, &now.2) {
                (Value::Float(x), Value::Float(y)) if resets => y < x || start_reset(),
                (Value::Float(x), Value::Float(y)) => x != y && !(x.is_nan() && y.is_nan()),
                (Value::Histogram(x), Value::Histogram(y)) if resets => start_reset() || y.detect_reset(x),
                (Value::Histogram(x), Value::Histogram(y)) => !x.equals(y),
                _ => true,
            };
            count += u64::from(changed);
        }
        before = Some(now);
    }
    Some(count as f64)
}
