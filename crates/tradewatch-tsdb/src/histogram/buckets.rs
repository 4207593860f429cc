//! Buckets of a histogram with their bounds.

use std::fmt;

use super::{Histogram, Span};

/// One bucket.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations in the bucket.
    pub count: f64,
    /// Index of the bucket within its side; 0 for the zero bucket.
    pub index: i32,
}

impl Bucket {
    /// How much of the bucket (0 to 1) lies at or below `value`, which is strictly inside the bounds.
    ///
    /// Exponential buckets are interpolated on a logarithmic scale.
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        write!(f, "{open}{},{}{close}:{}", g(self.lower), g(self.upper), g(self.count))
    }
}

/// A number as `%g` of Go writes it.
pub(super) fn g(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..6).contains(&e) => {
            let sign = if e < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", e.abs())
        }
        _ => format!("{value}"),
    }
}

/// The upper bound of a bucket with this index, as an absolute value.
pub(super) fn bound_exponential(index: i32, schema: i32) -> f64 {
    // No known schema lies outside of this, and shifts stay within their words.
    let schema = schema.clamp(-9, 52);
    if schema < 0 {
        let exponent = i64::from(index) << schema.unsigned_abs();
        return if exponent == 1024 { f64::MAX } else { power_of_two(exponent) };
    }
    let per_octave = 1i64 << schema;
    let (octave, rest) = (i64::from(index).div_euclid(per_octave), i64::from(index).rem_euclid(per_octave));
    if rest == 0 && octave == 1024 {
        return f64::MAX;
    }
    // The fraction is at least one half, so that the bounds of the highest octave stay finite.
    let fraction = 0.5 * (rest as f64 / per_octave as f64).exp2();
    fraction * 2.0 * power_of_two(octave)
}

fn power_of_two(exponent: i64) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        -1074..=-1023 => f64::from_bits(1u64 << (exponent + 1074)),
        _ => 0.0,
    }
}

/// Spans and counts as a list of index and count. Counts that no span covers are left out.
pub(super) fn list(spans: &[Span], counts: &[f64]) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(counts.len());
    let mut index = 0i32;
    let mut counts = counts.iter();
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(&count) = counts.next() else { return out };
            out.push((index, count));
            index = index.saturating_add(1);
        }
    }
    out
}

/// The reverse of [`list`]; indexes ascend.
pub(super) fn spans(indexes: impl Iterator<Item = i32>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    let mut next = 0;
    for index in indexes {
        match out.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => out.push(Span { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
    }
    out
}

impl Histogram {
    pub(super) fn positive_list(&self) -> Vec<(i32, f64)> {
        list(&self.positive_spans, &self.positive_buckets)
    }

    pub(super) fn negative_list(&self) -> Vec<(i32, f64)> {
        list(&self.negative_spans, &self.negative_buckets)
    }

    pub(super) fn set_positive(&mut self, list: &[(i32, f64)]) {
        self.positive_spans = spans(list.iter().map(|b| b.0));
        self.positive_buckets = list.iter().map(|b| b.1).collect();
    }

    pub(super) fn set_negative(&mut self, list: &[(i32, f64)]) {
        self.negative_spans = spans(list.iter().map(|b| b.0));
        self.negative_buckets = list.iter().map(|b| b.1).collect();
    }

    /// The upper bound of the positive bucket with this index.
    fn bound(&self, index: i32) -> f64 {
        if !self.uses_custom_buckets() {
            return bound_exponential(index, self.schema);
        }
        if index < 0 {
            return f64::NEG_INFINITY;
        }
        self.custom_values.get(index as usize).copied().unwrap_or(f64::INFINITY)
    }

    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count, index }
    }

    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (-self.bound(index), -self.bound(index.saturating_sub(1)));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count, index }
    }

    /// The bucket around zero.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        }
    }

    /// Positive buckets from low to high.
    pub fn positive_buckets_ascending(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        self.positive_list().into_iter().map(|(index, count)| self.positive_bucket(index, count))
    }

    /// Negative buckets from low to high.
    pub fn negative_buckets_ascending(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        self.negative_list().into_iter().rev().map(|(index, count)| self.negative_bucket(index, count))
    }

    /// All buckets from low to high, cut where they overlap the zero bucket; the zero bucket only if populated.
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let threshold = self.zero_threshold;
        let cut = |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            } else if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        };
        let mut out: Vec<Bucket> = self.negative_buckets_ascending().map(cut).collect();
        if self.zero_count > 0.0 {
            out.push(self.zero_bucket());
        }
        out.extend(self.positive_buckets_ascending().map(cut));
        out
    }
}
