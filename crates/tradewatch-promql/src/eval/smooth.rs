//! `anchored` and `smoothed`: ranges with real or interpolated samples at both ends.

use std::sync::Arc;

use tradewatch_tsdb::histogram::{CounterResetHint, IncompatibleSchema};
use tradewatch_tsdb::{Histogram, Sample, Timestamp, Value};

use super::rate::Change;
use super::windows::{RangeSeries, Window};
use super::{Evaluator, metric_name};
use crate::annotate::Annotations;
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::error::Span;
use crate::frame::{Frame, Grid};

/// Where `anchored` begins: at the newest sample at or before the start of the range, of either kind.
///
/// `None` if no sample lies inside the range.
pub(crate) fn anchor(w: &Window<'_>) -> Option<(usize, usize)> {
    let floats = w.ts.partition_point(|&ts| ts <= w.start);
    let histograms = w.histogram_ts.partition_point(|&ts| ts <= w.start);
    if floats == w.ts.len() && histograms == w.histogram_ts.len() {
        return None;
    }
    Some(match (floats, histograms) {
        (0, 0) => (0, 0),
        (f, 0) => (f - 1, 0),
        (0, h) => (0, h - 1),
        (f, h) if w.ts[f - 1] >= w.histogram_ts[h - 1] => (f - 1, h),
        (f, h) => (f, h - 1),
    })
}

/// The samples of an extended range: from the last one at or before its start to the last one inside it, or for
/// `smoothed` to the first one at or after its end.
fn bounds(ts: &[i64], start: i64, end: i64, smoothed: bool) -> Option<(usize, usize)> {
    let last = ts.len().checked_sub(1)?;
    let first = ts[..last].partition_point(|&t| t <= start).saturating_sub(1);
    let last = if smoothed { ts[..last].partition_point(|&t| t < end) } else { last };
    if ts[last] <= start || (smoothed && ts[first] > end) {
        return None;
    }
    Some((first, last))
}

/// The value on the line between two samples. A counter that fell counts from zero.
fn interpolate((t0, v0): (i64, f64), (t1, v1): (i64, f64), t: i64, counter: bool) -> f64 {
    let v0 = if counter && v1 < v0 { 0.0 } else { v0 };
    v0 + (v1 - v0) * (t - t0) as f64 / (t1 - t0) as f64
}

/// The values at both ends of the range.
fn float_ends(
    ts: &[i64],
    v: &[f64],
    (first, last): (usize, usize),
    range: (i64, i64),
    smoothed: bool,
    counter: bool,
) -> (f64, f64) {
    let point = |at: usize| (ts[at], v[at]);
    let left = if smoothed && ts[first] < range.0 {
        interpolate(point(first), point(first + 1), range.0, counter)
    } else {
        v[first]
    };
    let right = if smoothed && last > 0 && ts[last] > range.1 {
        interpolate(point(last - 1), point(last), range.1, counter)
    } else {
        v[last]
    };
    (left, right)
}

/// `rate`, `increase` and `delta` of an extended range: the difference of its ends, without extrapolation.
pub(crate) fn extended_change(
    change: &Change<'_>,
    w: &Window<'_>,
    kind: Extended,
    notes: &mut Annotations,
) -> Option<Value> {
    let smoothed = kind == Extended::Smoothed;
    if !w.ts.is_empty() && !w.histogram_ts.is_empty() {
        notes.mixed_floats_histograms(change.span, change.name);
        return None;
    }
    let seconds = change.range_ms as f64 / 1000.0;
    if !w.histogram_ts.is_empty() {
        let mut result = histogram_change(change, w, smoothed, notes)?;
        if change.per_second {
            result.div(seconds);
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact();
        return Some(Value::Histogram(Arc::new(result)));
    }
    let (mut first, last) = bounds(w.ts, w.start, w.end, smoothed)?;
    let (left, right) = float_ends(w.ts, w.values, (first, last), (w.start, w.end), smoothed, change.counter);
    let mut result = right - left;
    if change.counter {
        if w.ts[first] <= w.start {
            first += 1;
        }
        let end = if w.ts[last] >= w.end { last } else { last + 1 };
        let mut previous = left;
        for &value in w.values.get(first..end).unwrap_or(&[]).iter().chain([&right]) {
            if value < previous {
                result += previous;
            }
            previous = value;
        }
    }
    Some(Value::Float(if change.per_second { result / seconds } else { result }))
}

fn interpolate_histograms(
    (t0, h0): (i64, &Histogram),
    (t1, h1): (i64, &Histogram),
    t: i64,
    counter: bool,
    span: Span,
    notes: &mut Annotations,
) -> std::result::Result<Histogram, IncompatibleSchema> {
    if t == t0 || t == t1 {
        return Ok(if t == t0 { h0 } else { h1 }.clone());
    }
    let fraction = (t - t0) as f64 / (t1 - t0) as f64;
    let mut result = h1.clone();
    if counter && h1.detect_reset(h0) {
        result.mul(fraction);
        return Ok(result);
    }
    if result.sub(h0)?.bounds_reconciled {
        notes.mismatched_custom_buckets(span, "subtraction");
    }
    result.mul(fraction);
    if result.add(h0)?.bounds_reconciled {
        notes.mismatched_custom_buckets(span, "addition");
    }
    Ok(result)
}

fn histogram_change(
    change: &Change<'_>,
    w: &Window<'_>,
    smoothed: bool,
    notes: &mut Annotations,
) -> Option<Histogram> {
    let (ts, h) = (w.histogram_ts, w.histograms);
    let (first, last) = bounds(ts, w.start, w.end, smoothed)?;
    let custom = h[first].uses_custom_buckets();
    for point in &h[first..=last] {
        if point.uses_custom_buckets() != custom {
            notes.mixed_exponential_custom(change.span, change.name);
            return None;
        }
        if change.counter && point.counter_reset_hint == CounterResetHint::Gauge {
            notes.not_a_counter(change.span, change.name);
        }
    }
    let point = |at: usize| (ts[at], &*h[at]);
    let mut between = |a: usize, b: usize, t: i64| {
        let found = interpolate_histograms(point(a), point(b), t, change.counter, change.span, notes);
        if found.is_err() {
            notes.mixed_exponential_custom(change.span, change.name);
        }
        found.ok()
    };
    let left = if smoothed && ts[first] < w.start {
        between(first, first + 1, w.start)?
    } else {
        (*h[first]).clone()
    };
    let right = if smoothed && last > 0 && ts[last] > w.end {
        between(last - 1, last, w.end)?
    } else {
        (*h[last]).clone()
    };
    let is_gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
    if !(change.counter || is_gauge(&left) && is_gauge(&right)) {
        notes.not_a_gauge(change.span, change.name);
    }
    let mut result = right.clone();
    change.noted(result.sub(&left), "subtraction", notes)?;
    if change.counter {
        for lost in lost_in_resets(w, first, last, &left, &right, smoothed) {
            change.noted(result.add(lost), "addition", notes)?;
        }
    }
    Some(result)
}

/// The histograms right before each reset between both ends.
fn lost_in_resets<'a>(
    w: &'a Window<'_>,
    first: usize,
    last: usize,
    left: &'a Histogram,
    right: &Histogram,
    smoothed: bool,
) -> Vec<&'a Histogram> {
    let (ts, h) = (w.histogram_ts, w.histograms);
    let mut from = first + 1;
    let mut previous = left;
    if smoothed && ts[first] < w.start && h[first + 1].detect_reset(&h[first]) {
        // The interpolation at the left end has dealt with this reset.
        previous = &h[first + 1];
        from += 1;
    }
    // The last sample is what the right end is made of, so it is looked at once, as that end.
    if from > last {
        return Vec::new();
    }
    let mut lost = Vec::new();
    for point in &h[from..last] {
        if point.detect_reset(previous) {
            lost.push(previous);
        }
        previous = point;
    }
    if right.detect_reset(previous) {
        lost.push(previous);
    }
    lost
}

/// An extended range as the result of an instant query: its samples with one at each end.
pub(crate) fn extend(series: &RangeSeries, start: i64, end: i64, kind: Extended) -> Result<Vec<Sample>> {
    let smoothed = kind == Extended::Smoothed;
    if !series.columns.histogram_ts.is_empty() {
        let word = if smoothed { "smoothed" } else { "anchored" };
        return Err(EvalError::data(format!("{word} modifier is not supported with histograms")));
    }
    let (ts, values) = (&series.columns.ts, &series.columns.values);
    let Some((first, last)) = bounds(ts, start, end, smoothed) else { return Ok(Vec::new()) };
    let (left, right) = float_ends(ts, values, (first, last), (start, end), smoothed, false);
    let sample = |ts: i64, value: f64| Sample::float(Timestamp::from_millis(ts), value);
    let inside = (first..=last).filter(|&at| ts[at] > start && ts[at] < end);
    let mut out = vec![sample(start, left)];
    out.extend(inside.map(|at| sample(ts[at], values[at])));
    out.push(sample(end, right));
    Ok(out)
}

impl Evaluator<'_> {
    /// An instant vector selector whose values lie on the line between the samples before and after.
    pub fn smoothed_selector(&mut self, v: &VectorSelector, span: Span, grid: &Grid) -> Result<Frame> {
        let reference = self.reference(&v.offset, v.at, span)?;
        let lookback = self.lookback_ms();
        let from = reference.first(grid).saturating_sub(lookback).saturating_add(1);
        let found = self.select(&v.matchers, from, reference.last(grid).saturating_add(lookback))?;
        self.charge(found.len() * grid.steps)?;
        let mut frame = Frame::with_capacity(grid.steps, found.len());
        let mut series = RangeSeries::default();
        for at in 0..found.len() {
            self.check_deadline()?;
            self.read_selected(&found, at, &mut series)?;
            let row = frame.push(series.labels.clone(), false);
            for step in 0..grid.steps {
                let now = reference.at(grid, step);
                let within = |ts: &[i64]| {
                    let low = ts.partition_point(|&t| t <= now - lookback);
                    let high = ts.partition_point(|&t| t <= now + lookback);
                    (low, high)
                };
                let (f0, f1) = within(&series.columns.ts);
                let (h0, h1) = within(&series.columns.histogram_ts);
                let name = metric_name(&series.labels);
                if f1 > f0 && h1 > h0 {
                    self.annotations.mixed_floats_histograms(span, name);
                    continue;
                }
                if h1 > h0 {
                    let (ts, h) = (&series.columns.histogram_ts[h0..h1], &series.columns.histograms[h0..h1]);
                    if let Some(value) = self.smoothed_histogram(ts, h, now, span, name) {
                        frame.set_histogram(row, step, value);
                    }
                    continue;
                }
                let (ts, values) = (&series.columns.ts[f0..f1], &series.columns.values[f0..f1]);
                let next = ts.partition_point(|&t| t < now);
                if next < ts.len() && ts[next] == now {
                    frame.set_float(row, step, values[next]);
                } else if next > 0 && next < ts.len() {
                    let (a, b) = ((ts[next - 1], values[next - 1]), (ts[next], values[next]));
                    frame.set_float(row, step, interpolate(a, b, now, false));
                } else if next > 0 {
                    frame.set_float(row, step, values[next - 1]);
                }
            }
            frame.pop_if_empty();
        }
        Ok(frame)
    }

    fn smoothed_histogram(
        &mut self,
        ts: &[i64],
        h: &[Arc<Histogram>],
        now: i64,
        span: Span,
        name: &str,
    ) -> Option<Arc<Histogram>> {
        let next = ts.partition_point(|&t| t < now);
        if next < ts.len() && ts[next] == now {
            return Some(h[next].clone());
        }
        let before = next.checked_sub(1)?;
        if next == ts.len() {
            let mut value = (*h[before]).clone();
            value.counter_reset_hint = CounterResetHint::Unknown;
            return Some(Arc::new(value));
        }
        let is_gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
        let counter = !is_gauge(&h[before]) || !is_gauge(&h[next]);
        let (a, b) = ((ts[before], &*h[before]), (ts[next], &*h[next]));
        match interpolate_histograms(a, b, now, counter, span, &mut self.annotations) {
            Ok(value) if a.1.uses_custom_buckets() == b.1.uses_custom_buckets() => Some(Arc::new(value)),
            _ => {
                self.annotations.mixed_exponential_custom(span, name);
                None
            }
        }
    }
}
