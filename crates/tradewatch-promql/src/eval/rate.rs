//! `rate`, `increase`, `delta`, `irate`, `idelta`: change over a window.

use std::sync::Arc;

use tradewatch_tsdb::histogram::{Combined, CounterResetHint, IncompatibleSchema};
use tradewatch_tsdb::{Histogram, Value};

use super::windows::Window;
use crate::annotate::Annotations;
use crate::error::Span;

/// What is asked of a change.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Change<'a> {
    /// Falls are resets.
    pub counter: bool,
    /// Per second.
    pub per_second: bool,
    pub range_ms: i64,
    /// The metric and the place of the range expression, for remarks.
    pub name: &'a str,
    pub span: Span,
}

/// Whether a start timestamp tells of a reset between two samples.
pub(crate) fn is_start_reset(start_before: i64, before: i64, start: i64, now: i64) -> bool {
    // Not set, invalid, or "unknown" as OpenTelemetry writes it.
    if start == 0 || start >= now || start < before {
        return false;
    }
    if start > before {
        return true;
    }
    // Starting at the sample before: a delta, unless that one's own start is unknown or invalid.
    start_before <= before && start_before != 0 && start_before != before
}

/// Whether a sample begins before the previous one ended without being its continuation.
fn overlaps((start_before, before, start): (i64, i64, i64)) -> bool {
    start != 0 && start < before && start != start_before
}

impl Change<'_> {
    /// The change from the first to the last sample, extrapolated to the window where they come close to its ends.
    pub fn extrapolated(&self, w: &Window<'_>, notes: &mut Annotations) -> Option<Value> {
        if !w.ts.is_empty() && !w.histogram_ts.is_empty() {
            notes.mixed_floats_histograms(self.span, self.name);
            return None;
        }
        if !w.histogram_ts.is_empty() {
            return self.of_histograms(w, notes);
        }
        let (first, last) = (*w.values.first()?, *w.values.last()?);
        let mut change = last - first;
        if self.counter {
            change += self.float_resets(w, notes);
        }
        let zero = (change > 0.0 && first >= 0.0).then(|| first / change);
        let (add_first, factor) = self.factor(w.ts, w.starts, w, zero)?;
        if add_first {
            change += first;
        }
        Some(Value::Float(change * factor))
    }

    fn float_resets(&self, w: &Window<'_>, notes: &mut Annotations) -> f64 {
        let mut correction = 0.0;
        if w.starts.is_empty() {
            let after = w.falls.partition_point(|&fall| fall <= w.first);
            for fall in w.falls[after..].iter().map(|fall| fall - w.first) {
                if fall >= w.values.len() {
                    break;
                }
                correction += w.values[fall - 1];
            }
            return correction;
        }
        let mut warned = false;
        for at in 1..w.values.len() {
            let (before, start_before, start) = (w.ts[at - 1], w.starts[at - 1], w.starts[at]);
            if !warned && overlaps((start_before, before, start)) {
                notes.start_time_overlap(self.span, self.name);
                warned = true;
            }
            if w.values[at] < w.values[at - 1] || is_start_reset(start_before, before, start, w.ts[at]) {
                correction += w.values[at - 1];
            }
        }
        correction
    }

    /// Whether the value of the first sample counts as part of the change, and by what the change is multiplied.
    ///
    /// `zero` is the part of the sampled interval after which (backwards) a counter would reach zero.
    fn factor(&self, ts: &[i64], starts: &[i64], w: &Window<'_>, zero: Option<f64>) -> Option<(bool, f64)> {
        let (first, last) = (*ts.first()?, *ts.last()?);
        let mut to_start = (first - w.start) as f64 / 1000.0;
        let mut to_end = (w.end - last) as f64 / 1000.0;
        let mut sampled = (last - first) as f64 / 1000.0;
        let gaps = (ts.len() - 1) as f64;
        let average = if gaps > 0.0 { sampled / gaps } else { 0.0 };
        let threshold = average * 1.1;
        let start = starts.first().copied().unwrap_or(0);
        let from_start = self.counter && start != 0 && start > w.start && start < first;
        if from_start {
            // The counter was zero at a known time inside the window.
            to_start = 0.0;
            sampled = (last - start) as f64 / 1000.0;
        } else if gaps == 0.0 {
            return None;
        } else {
            if to_start >= threshold {
                to_start = average / 2.0;
            }
            if self.counter
                && let Some(part) = zero
            {
                to_start = to_start.min(sampled * part);
            }
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if self.per_second {
            factor /= self.range_ms as f64 / 1000.0;
        }
        Some((from_start, factor))
    }

    fn of_histograms(&self, w: &Window<'_>, notes: &mut Annotations) -> Option<Value> {
        let first = w.histograms.first()?;
        let mut change = None;
        if w.histograms.len() > 1 {
            change = Some(self.histogram_change(w, notes)?);
        }
        let zero = change
            .as_ref()
            .and_then(|c: &Histogram| (c.count > 0.0 && first.count >= 0.0).then(|| first.count / c.count));
        let (add_first, factor) = self.factor(w.histogram_ts, w.histogram_starts, w, zero)?;
        if add_first {
            match &mut change {
                None => change = Some((**first).clone()),
                Some(change) => self.noted(change.add(first), "addition", notes)?,
            }
        }
        let mut change = change?;
        change.mul(factor);
        Some(Value::Histogram(Arc::new(change)))
    }

    fn histogram_change(&self, w: &Window<'_>, notes: &mut Annotations) -> Option<Histogram> {
        let points = w.histograms;
        let is_gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
        let (first, last) = (&*points[0], &*points[points.len() - 1]);
        if self.counter && (is_gauge(first) || is_gauge(last)) {
            notes.not_a_counter(self.span, self.name);
        }
        let start_reset = |at: usize| {
            !w.histogram_starts.is_empty()
                && is_start_reset(
                    w.histogram_starts[at - 1],
                    w.histogram_ts[at - 1],
                    w.histogram_starts[at],
                    w.histogram_ts[at],
                )
        };
        let empty;
        let mut previous = first;
        if self.counter && (start_reset(1) || points[1].detect_reset(first)) {
            // The first sample does not matter then, nor does its layout.
            empty = Histogram {
                schema: points[1].schema,
                custom_values: points[1].custom_values.clone(),
                ..Histogram::default()
            };
            previous = &empty;
        }
        let custom = previous.uses_custom_buckets();
        if last.uses_custom_buckets() != custom {
            notes.mixed_exponential_custom(self.span, self.name);
            return None;
        }
        let mut schema = last.schema.min(previous.schema);
        if self.counter {
            for point in &points[1..points.len() - 1] {
                if is_gauge(point) {
                    notes.not_a_counter(self.span, self.name);
                }
                schema = schema.min(point.schema);
                if point.uses_custom_buckets() != custom {
                    notes.mixed_exponential_custom(self.span, self.name);
                    return None;
                }
            }
        } else if !is_gauge(first) || !is_gauge(last) {
            notes.not_a_gauge(self.span, self.name);
        }
        let mut change = last.to_schema(schema);
        self.noted(change.sub(previous), "subtraction", notes)?;
        if self.counter {
            let mut warned = w.histogram_starts.is_empty();
            for (at, point) in points.iter().enumerate().skip(1) {
                let starts =
                    |at: usize| (w.histogram_starts[at - 1], w.histogram_ts[at - 1], w.histogram_starts[at]);
                if !warned && overlaps(starts(at)) {
                    notes.start_time_overlap(self.span, self.name);
                    warned = true;
                }
                if start_reset(at) || point.detect_reset(previous) {
                    self.noted(change.add(previous), "addition", notes)?;
                }
                previous = point;
            }
        }
        change.counter_reset_hint = CounterResetHint::Gauge;
        change.compact();
        Some(change)
    }

    /// Remarks on how two histograms went together; `None` if they did not.
    pub fn noted(
        &self,
        combined: Result<Combined, IncompatibleSchema>,
        operation: &str,
        notes: &mut Annotations,
    ) -> Option<()> {
        match combined {
            Err(_) => {
                notes.mixed_exponential_custom(self.span, self.name);
                return None;
            }
            Ok(found) if found.bounds_reconciled => notes.mismatched_custom_buckets(self.span, operation),
            Ok(_) => {}
        }
        Some(())
    }

    /// The change between the last two samples.
    pub fn instant(&self, w: &Window<'_>, notes: &mut Annotations) -> Option<Value> {
        let mut last: Vec<(i64, i64, Value)> = Vec::new();
        let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
        for at in w.ts.len().saturating_sub(2)..w.ts.len() {
            last.push((w.ts[at], start(w.starts, at), Value::Float(w.values[at])));
        }
        for at in w.histogram_ts.len().saturating_sub(2)..w.histogram_ts.len() {
            let value = Value::Histogram(w.histograms[at].clone());
            last.push((w.histogram_ts[at], start(w.histogram_starts, at), value));
        }
        last.sort_by_key(|sample| sample.0);
        let [.., (t0, s0, first), (t1, s1, second)] = &last[..] else { return None };
        if t0 == t1 {
            return None;
        }
        let seconds = (t1 - t0) as f64 / 1000.0;
        let start_reset = is_start_reset(*s0, *t0, *s1, *t1);
        match (first, second) {
            (Value::Float(x), Value::Float(y)) => {
                let reset = self.counter && (y < x || start_reset);
                let change = if reset { *y } else { y - x };
                Some(Value::Float(if self.per_second { change / seconds } else { change }))
            }
            (Value::Histogram(x), Value::Histogram(y)) => {
                let is_gauge = |h: &Histogram| h.counter_reset_hint == CounterResetHint::Gauge;
                if self.counter && (is_gauge(x) || is_gauge(y)) {
                    notes.not_a_counter(self.span, self.name);
                }
                if !(self.counter || is_gauge(x) && is_gauge(y)) {
                    notes.not_a_gauge(self.span, self.name);
                }
                let mut change = (**y).clone();
                if !self.counter || (!start_reset && !y.detect_reset(x)) {
                    self.noted(change.sub(x), "subtraction", notes)?;
                }
                change.counter_reset_hint = CounterResetHint::Gauge;
                change.compact();
                if self.per_second {
                    change.div(seconds);
                }
                Some(Value::Histogram(Arc::new(change)))
            }
            _ => {
                notes.mixed_floats_histograms(self.span, self.name);
                None
            }
        }
    }
}
