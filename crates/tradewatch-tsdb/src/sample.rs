//! One value at one instant, and the series they form.

use std::sync::Arc;

use crate::{Histogram, Labels, Timestamp};

/// The NaN that marks the end of a series: its target is gone, or the target no longer exposes it.
///
/// # Source
/// Prometheus `model/value`: one signalling pattern among the NaNs, so it is compared bit by bit.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the staleness marker, and not just any NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// What a sample holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float, kept bit for bit (NaN payloads included).
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Whether this ends the series: the staleness marker itself, or a histogram whose sum is it.
    pub fn is_stale(&self) -> bool {
        match self {
            Value::Float(value) => is_stale(*value),
            Value::Histogram(histogram) => is_stale(histogram.sum),
        }
    }

    /// The float, unless it is a histogram.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Histogram(_) => None,
        }
    }

    /// Equality bit by bit: two NaNs of one pattern are the same, `0.0` and `-0.0` are not.
    pub fn same_bits(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Histogram(a), Value::Histogram(b)) => Arc::ptr_eq(a, b) || same_histogram(a, b),
            _ => false,
        }
    }
}

fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b));
    a.schema == b.schema
        && same(a.zero_threshold, b.zero_threshold)
        && same(a.zero_count, b.zero_count)
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && all(&a.positive_buckets, &b.positive_buckets)
        && all(&a.negative_buckets, &b.negative_buckets)
        && all(&a.custom_values, &b.custom_values)
        && a.counter_reset_hint == b.counter_reset_hint
}

/// One value at one instant.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was observed.
    pub ts: Timestamp,
    /// What was observed.
    pub value: Value,
    /// Since when the counter counts, where the source tells (OpenMetrics `_created`, OTLP start time). The store
    /// takes 1970-01-01T00:00:00Z for unknown, as Prometheus does.
    pub start: Option<Timestamp>,
}

impl Sample {
    /// A float without a start timestamp, as a plain scrape yields.
    pub fn float(ts: Timestamp, value: f64) -> Sample {
        Sample { ts, value: Value::Float(value), start: None }
    }
}

/// A label set and its samples in ascending order of time, staleness markers included.
#[derive(Clone, Debug)]
pub struct Series {
    /// The identity.
    pub labels: Labels,
    /// Strictly ascending in `ts`.
    pub samples: Vec<Sample>,
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}
