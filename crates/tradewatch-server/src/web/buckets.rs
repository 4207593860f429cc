//! The buckets of a native histogram with their bounds, in the order and form of the Prometheus API.

use tradewatch_tsdb::Histogram;
use tradewatch_tsdb::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

/// One populated bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Which bounds belong to it: 0 the upper, 1 the lower, 2 none, 3 both.
    pub bounds: u8,
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
}

/// The populated buckets from the lowest to the highest.
pub fn of(histogram: &Histogram) -> Vec<Bucket> {
    let mut buckets = Vec::new();
    for (index, count) in indexed(&histogram.negative_spans, &histogram.negative_buckets).into_iter().rev() {
        let (lower, upper) = (-bound(histogram, index), -bound(histogram, index - 1));
        buckets.push(Bucket { bounds: 1, lower, upper, count });
    }
    if histogram.zero_count > 0.0 {
        let width = histogram.zero_threshold;
        buckets.push(Bucket { bounds: 3, lower: -width, upper: width, count: histogram.zero_count });
    }
    for (index, count) in indexed(&histogram.positive_spans, &histogram.positive_buckets) {
        let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
        let bounds = if histogram.schema == CUSTOM_BUCKETS_SCHEMA && index == 0 { 3 } else { 0 };
        buckets.push(Bucket { bounds, lower, upper, count });
    }
    buckets.retain(|bucket| bucket.count != 0.0);
    buckets
}

fn indexed(spans: &[Span], counts: &[f64]) -> Vec<(i32, f64)> {
    let mut found = Vec::with_capacity(counts.len());
    let (mut index, mut counts) = (0i32, counts.iter());
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { return found };
            found.push((index, *count));
            index = index.saturating_add(1);
        }
    }
    found
}

/// The upper bound of the bucket `index`.
fn bound(histogram: &Histogram, index: i32) -> f64 {
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => histogram.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
        };
    }
    // 2^(index · 2^-schema); the fraction is taken apart so that whole powers are exact.
    let exponent = f64::from(index) * f64::from(-histogram.schema).exp2();
    exponent.exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_come_from_the_lowest_to_the_highest() {
        let histogram = Histogram {
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 10.0,
            sum: 3.0,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 2.0, 4.0],
            negative_buckets: vec![1.0],
            ..Histogram::default()
        };
        let shown: Vec<_> =
            of(&histogram).into_iter().map(|b| (b.bounds, b.lower, b.upper, b.count)).collect();
        assert_eq!(
            shown,
            [
                (1, -2.0, -1.0, 1.0),
                (3, -0.001, 0.001, 2.0),
                (0, 0.5, 1.0, 1.0),
                (0, 1.0, 2.0, 2.0),
                (0, 4.0, 8.0, 4.0)
            ]
        );
    }
}
