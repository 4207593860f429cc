//! Sums, differences, scaling, and the detection of resets.

use std::cmp::Ordering;
use std::fmt;

use super::buckets::{bound_exponential, spans};
use super::{CounterResetHint, Histogram};

/// What was noticed while two histograms were combined.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Combined {
    /// One side says that there was a reset, the other that there was none.
    pub reset_collision: bool,
    /// Custom bounds differed and were reduced to those that both sides have.
    pub bounds_reconciled: bool,
}

/// One side has exponential buckets, the other custom ones.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct IncompatibleSchema;

impl fmt::Display for IncompatibleSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot combine a histogram with exponential buckets and one with custom buckets")
    }
}

impl std::error::Error for IncompatibleSchema {}

/// One step of Kahan's summation in Neumaier's form: the new sum and the new compensation.
pub(super) fn kahan(add: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + add;
    if total.is_infinite() {
        (total, 0.0)
    } else if sum.abs() >= add.abs() {
        (total, compensation + ((sum - total) + add))
    } else {
        (total, compensation + ((add - total) + sum))
    }
}

/// A bucket and its compensation.
type Exact = (i32, f64, f64);

fn exact(list: Vec<(i32, f64)>, compensation: Option<&[f64]>) -> Vec<Exact> {
    let lost = |at: usize| compensation.and_then(|c| c.get(at)).copied().unwrap_or(0.0);
    list.into_iter().enumerate().map(|(at, (index, count))| (index, count, lost(at))).collect()
}

/// The bucket of a coarser schema that this bucket falls into.
fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    let shift = from.saturating_sub(to).clamp(0, 31);
    (index.saturating_sub(1) >> shift).saturating_add(1)
}

fn reduce(list: Vec<Exact>, from: i32, to: i32) -> Vec<Exact> {
    if from <= to {
        return list;
    }
    let mut out: Vec<Exact> = Vec::with_capacity(list.len());
    for (index, count, lost) in list {
        let index = coarser_index(index, from, to);
        match out.last_mut() {
            Some(last) if last.0 == index => {
                (last.1, last.2) = kahan(count, last.1, last.2);
                (last.1, last.2) = kahan(lost, last.1, last.2);
            }
            _ => out.push((index, count, lost)),
        }
    }
    out
}

/// Merges two lists, adding where both have a bucket.
fn add_lists(a: Vec<Exact>, b: Vec<Exact>) -> Vec<Exact> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.0.cmp(&y.0),
        };
        match order {
            Ordering::Less => out.extend(a.next()),
            Ordering::Greater => out.extend(b.next()),
            Ordering::Equal => {
                if let (Some(x), Some(y)) = (a.next(), b.next()) {
                    let (mut sum, mut lost) = kahan(y.1, x.1, x.2);
                    if y.2 != 0.0 {
                        (sum, lost) = kahan(y.2, sum, lost);
                    }
                    out.push((x.0, sum, lost));
                }
            }
        }
    }
}

/// Leaves out the leading buckets that lie inside the zero bucket.
fn beyond(list: Vec<Exact>, schema: i32, threshold: f64) -> Vec<Exact> {
    let inside = |bucket: &Exact| bound_exponential(bucket.0, schema) <= threshold;
    list.into_iter().skip_while(inside).collect()
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

/// Moves counts to the buckets of fewer bounds.
fn rebucket(list: Vec<Exact>, bounds: &[f64], target: &[f64]) -> Vec<Exact> {
    let mut out: Vec<Exact> = Vec::with_capacity(target.len() + 1);
    for (index, count, lost) in list {
        let bound = usize::try_from(index).ok().and_then(|at| bounds.get(at));
        let to = bound.and_then(|bound| target.iter().position(|t| t >= bound)).unwrap_or(target.len());
        let to = to as i32;
        match out.last_mut() {
            Some(last) if last.0 == to => {
                (last.1, last.2) = kahan(count, last.1, last.2);
                (last.1, last.2) = kahan(lost, last.1, last.2);
            }
            _ => out.push((to, count, lost)),
        }
    }
    out
}

impl Histogram {
    /// Multiplies all counts and the sum. A negative factor makes a gauge of it.
    pub fn mul(&mut self, factor: f64) {
        self.each_number(|n| *n *= factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. Division by zero removes the buckets.
    pub fn div(&mut self, divisor: f64) {
        self.each_number(|n| *n /= divisor);
        if divisor == 0.0 {
            self.positive_buckets.clear();
            self.negative_buckets.clear();
            self.positive_spans.clear();
            self.negative_spans.clear();
        } else if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    fn each_number(&mut self, change: impl Fn(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(change);
    }

    /// Whether any number is infinite, as sums of huge numbers become.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .chain(&self.custom_values)
            .any(|n| n.is_infinite())
    }

    /// Removes empty buckets.
    pub fn compact(&mut self) {
        let populated = |list: Vec<(i32, f64)>| -> Vec<(i32, f64)> {
            list.into_iter().filter(|bucket| bucket.1 != 0.0).collect()
        };
        let (positive, negative) = (populated(self.positive_list()), populated(self.negative_list()));
        self.set_positive(&positive);
        self.set_negative(&negative);
    }

    /// The same histogram at a coarser resolution; custom buckets and finer schemas leave it as it is.
    pub fn to_schema(&self, schema: i32) -> Histogram {
        let mut out = self.clone();
        if self.uses_custom_buckets() || schema >= self.schema {
            return out;
        }
        let reduced = |list: Vec<(i32, f64)>| -> Vec<(i32, f64)> {
            let list = reduce(exact(list, None), self.schema, schema);
            list.into_iter().map(|(index, count, _)| (index, count)).collect()
        };
        out.set_positive(&reduced(self.positive_list()));
        out.set_negative(&reduced(self.negative_list()));
        out.schema = schema;
        out.counter_reset_hint = CounterResetHint::Unknown;
        out
    }

    /// Adds another histogram, at the coarser of both resolutions and the wider of both zero buckets.
    ///
    /// # Errors
    /// If one has exponential and the other custom buckets; the histogram is then unchanged.
    pub fn add(&mut self, other: &Histogram) -> Result<Combined, IncompatibleSchema> {
        self.combine(other, None, 1.0)
    }

    /// Subtracts another histogram; otherwise as [`Histogram::add`].
    ///
    /// # Errors
    /// As [`Histogram::add`].
    pub fn sub(&mut self, other: &Histogram) -> Result<Combined, IncompatibleSchema> {
        self.combine(other, None, -1.0)
    }

    /// Adds with Kahan's summation; `lost` holds what rounding took and has the layout of `self`.
    ///
    /// # Errors
    /// As [`Histogram::add`].
    pub fn kahan_add(
        &mut self,
        other: &Histogram,
        lost: &mut Option<Histogram>,
    ) -> Result<Combined, IncompatibleSchema> {
        let lost = lost.get_or_insert_with(|| self.zeroed());
        self.combine(other, Some(lost), 1.0)
    }

    /// The same layout with nothing in it.
    fn zeroed(&self) -> Histogram {
        let mut out = self.clone();
        out.each_number(|n| *n = 0.0);
        out
    }

    fn combine(
        &mut self,
        other: &Histogram,
        lost: Option<&mut Histogram>,
        sign: f64,
    ) -> Result<Combined, IncompatibleSchema> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchema);
        }
        let mut scratch;
        let lost = match lost {
            Some(lost) => lost,
            None => {
                scratch = self.zeroed();
                &mut scratch
            }
        };
        let mut found = Combined { reset_collision: self.adjust_hint(other), ..Combined::default() };
        if !self.uses_custom_buckets() {
            let (zero, zero_lost) = self.reconcile_zero_buckets(other, lost);
            (self.zero_count, lost.zero_count) = kahan(sign * zero, self.zero_count, lost.zero_count);
            (self.zero_count, lost.zero_count) = kahan(sign * zero_lost, self.zero_count, lost.zero_count);
        }
        (self.count, lost.count) = kahan(sign * other.count, self.count, lost.count);
        (self.sum, lost.sum) = kahan(sign * other.sum, self.sum, lost.sum);

        let signed =
            |list: Vec<(i32, f64)>| exact(list.into_iter().map(|(i, n)| (i, sign * n)).collect(), None);
        let mut mine = exact(self.positive_list(), Some(&lost.positive_buckets));
        let mut theirs = signed(other.positive_list());
        if self.uses_custom_buckets() {
            if self.custom_values != other.custom_values {
                found.bounds_reconciled = true;
                let bounds = common_bounds(&self.custom_values, &other.custom_values);
                mine = rebucket(mine, &self.custom_values, &bounds);
                theirs = rebucket(theirs, &other.custom_values, &bounds);
                self.custom_values = bounds;
                let mut sum = add_lists(mine, theirs);
                sum.retain(|bucket| bucket.1 != 0.0 || bucket.2 != 0.0);
                self.store_positive(sum, lost);
            } else {
                self.store_positive(add_lists(mine, theirs), lost);
            }
            lost.custom_values.clone_from(&self.custom_values);
            return Ok(found);
        }
        let schema = self.schema.min(other.schema);
        let threshold = self.zero_threshold;
        let mine_negative = exact(self.negative_list(), Some(&lost.negative_buckets));
        let theirs_negative = signed(other.negative_list());
        let sum = |mine: Vec<Exact>, theirs: Vec<Exact>, from: i32| {
            let theirs = beyond(reduce(theirs, other.schema, schema), schema, threshold);
            add_lists(reduce(mine, from, schema), theirs)
        };
        let positive = sum(mine, theirs, self.schema);
        let negative = sum(mine_negative, theirs_negative, self.schema);
        self.schema = schema;
        self.store_positive(positive, lost);
        self.negative_spans = spans(negative.iter().map(|b| b.0));
        self.negative_buckets = negative.iter().map(|b| b.1).collect();
        lost.negative_spans.clone_from(&self.negative_spans);
        lost.negative_buckets = negative.iter().map(|b| b.2).collect();
        lost.schema = schema;
        lost.zero_threshold = self.zero_threshold;
        Ok(found)
    }

    fn store_positive(&mut self, list: Vec<Exact>, lost: &mut Histogram) {
        self.positive_spans = spans(list.iter().map(|b| b.0));
        self.positive_buckets = list.iter().map(|b| b.1).collect();
        lost.positive_spans.clone_from(&self.positive_spans);
        lost.positive_buckets = list.iter().map(|b| b.2).collect();
    }

    /// The hint of a sum; `true` if the two contradict each other.
    fn adjust_hint(&mut self, other: &Histogram) -> bool {
        use CounterResetHint::*;
        let (hint, collision) = match (self.counter_reset_hint, other.counter_reset_hint) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.counter_reset_hint = hint;
        collision
    }

    /// Widens the zero bucket of `self` until no populated bucket of either side lies across its bounds.
    ///
    /// Gives the zero count that `other` has at that width, and what rounding took from it.
    fn reconcile_zero_buckets(&mut self, other: &Histogram, lost: &mut Histogram) -> (f64, f64) {
        let (mut count, mut count_lost, mut threshold) = (other.zero_count, 0.0, other.zero_threshold);
        // A width that is not a number equals nothing, not even itself.
        while threshold != self.zero_threshold && !threshold.is_nan() && !self.zero_threshold.is_nan() {
            if self.zero_threshold > threshold {
                (count, threshold, count_lost) = other.zero_count_within(self.zero_threshold, None);
            }
            if threshold > self.zero_threshold {
                let (zero, wider, zero_lost) = self.zero_count_within(threshold, Some(lost));
                (self.zero_count, self.zero_threshold, lost.zero_count) = (zero, wider, zero_lost);
                self.remove_buckets_within_zero(lost);
            }
        }
        (count, count_lost)
    }

    /// The zero count at a larger threshold, the threshold moved up to the next bucket bound, and what rounding took.
    fn zero_count_within(&self, threshold: f64, lost: Option<&Histogram>) -> (f64, f64, f64) {
        let mut threshold = threshold;
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold, lost.map_or(0.0, |l| l.zero_count));
        }
        'again: loop {
            let mut sum = (self.zero_count, lost.map_or(0.0, |l| l.zero_count));
            let sides = [
                (self.positive_list(), lost.map(|l| &l.positive_buckets), true),
                (self.negative_list(), lost.map(|l| &l.negative_buckets), false),
            ];
            for (list, lost, positive) in sides {
                for (at, (index, count)) in list.into_iter().enumerate() {
                    let lower = bound_exponential(index.saturating_sub(1), self.schema);
                    let upper = bound_exponential(index, self.schema);
                    if lower >= threshold {
                        break;
                    }
                    sum = kahan(count, sum.0, sum.1);
                    if let Some(lost) = lost {
                        sum = kahan(lost[at], sum.0, sum.1);
                    }
                    if upper > threshold {
                        if count != 0.0 {
                            threshold = upper;
                            if !positive {
                                continue 'again;
                            }
                        }
                        break;
                    }
                }
            }
            return (sum.0, threshold, sum.1);
        }
    }

    fn remove_buckets_within_zero(&mut self, lost: &mut Histogram) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let outside = |list: Vec<Exact>| -> Vec<Exact> {
            let inside = |bucket: &Exact| bound_exponential(bucket.0.saturating_sub(1), schema) < threshold;
            let rest = list.into_iter().skip_while(inside);
            rest.filter(|bucket| bucket.1 != 0.0 || bucket.2 != 0.0).collect()
        };
        let positive = outside(exact(self.positive_list(), Some(&lost.positive_buckets)));
        let negative = outside(exact(self.negative_list(), Some(&lost.negative_buckets)));
        self.store_positive(positive, lost);
        self.negative_spans = spans(negative.iter().map(|b| b.0));
        self.negative_buckets = negative.iter().map(|b| b.1).collect();
        lost.negative_spans.clone_from(&self.negative_spans);
        lost.negative_buckets = negative.iter().map(|b| b.2).collect();
    }

    /// Whether the counter was reset between `previous` and this histogram.
    ///
    /// The hint decides if there is one. Else a reset shows in any count that went down, in a populated bucket that
    /// is gone, in a finer resolution and in a smaller zero bucket.
    pub fn detect_reset(&self, previous: &Histogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            return self.detect_reset_of_custom_buckets(previous);
        }
        if previous.uses_custom_buckets() || self.schema > previous.schema {
            return true;
        }
        if self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold, _) = previous.zero_count_within(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let shrank = |now: Vec<(i32, f64)>, before: Vec<(i32, f64)>| {
            let beyond_zero = |list, schema| {
                let list = reduce(exact(list, None), schema, self.schema);
                beyond(list, self.schema, self.zero_threshold)
            };
            any_shrank(&beyond_zero(now, self.schema), &beyond_zero(before, previous.schema))
        };
        shrank(self.positive_list(), previous.positive_list())
            || shrank(self.negative_list(), previous.negative_list())
    }

    fn detect_reset_of_custom_buckets(&self, previous: &Histogram) -> bool {
        let mut now = exact(self.positive_list(), None);
        let mut before = exact(previous.positive_list(), None);
        if self.custom_values != previous.custom_values {
            let bounds = common_bounds(&self.custom_values, &previous.custom_values);
            now = rebucket(now, &self.custom_values, &bounds);
            before = rebucket(before, &previous.custom_values, &bounds);
        }
        any_shrank(&now, &before)
    }
}

/// Whether any bucket holds less than before.
fn any_shrank(now: &[Exact], before: &[Exact]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|bucket| {
        while now.next_if(|b| b.0 < bucket.0).is_some() {}
        let count = now.peek().filter(|b| b.0 == bucket.0).map_or(0.0, |b| b.1);
        count < bucket.1
    })
}
