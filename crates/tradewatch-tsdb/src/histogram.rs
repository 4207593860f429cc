//! Native histograms: exponential buckets by schema, or custom bounds.
//!
//! The type holds absolute float counts. Arithmetic works on lists of (bucket index, count): both sides become
//! lists, the lists are merged, and the result becomes spans again. A custom-bounds histogram (schema -53) has
//! positive buckets only, whose index is the position in `custom_values`.

mod arithmetic;
mod buckets;
mod trim;

use std::fmt;

pub use arithmetic::{Combined, IncompatibleSchema};
pub use buckets::Bucket;

/// A run of adjacent buckets.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    /// Gap to the end of the previous span; for the first span, the index of its first bucket.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// What the source says about resets between this histogram and the one before it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum CounterResetHint {
    /// Nothing is known: compare the buckets.
    #[default]
    Unknown,
    /// The counter was reset before this sample.
    Reset,
    /// It was not reset.
    NotReset,
    /// A gauge histogram: it has no resets.
    Gauge,
}

/// The schema number of histograms with custom bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A native histogram with absolute (not delta encoded) float counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histogram {
    /// Resolution: bucket bounds grow by 2^(2^-schema); -53 means custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations within the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of the observations; the staleness marker in a stale sample.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Count of each positive bucket.
    pub positive_buckets: Vec<f64>,
    /// Count of each negative bucket.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds where the schema is custom; +Inf is implied.
    pub custom_values: Vec<f64>,
    /// What is known about resets.
    pub counter_reset_hint: CounterResetHint,
}

impl Histogram {
    /// Whether the bounds are custom ones rather than powers of two.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Equality of data: the same layout, empty buckets included, and the same bits in every number.
    pub fn equals(&self, other: &Histogram) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let lists = |a: Vec<(i32, f64)>, b: Vec<(i32, f64)>| {
            a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x.0 == y.0 && same(x.1, y.1))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && lists(self.negative_list(), other.negative_list())
            && lists(self.positive_list(), other.positive_list())
    }
}

impl fmt::Display for Histogram {
    /// `{count:5, sum:18.4, [-1,-0.5):1, (1,2]:4}`: populated buckets from low to high.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", buckets::g(self.count), buckets::g(self.sum))?;
        for bucket in self.negative_buckets_ascending().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        if self.zero_count != 0.0 {
            write!(f, ", {}", self.zero_bucket())?;
        }
        for bucket in self.positive_buckets_ascending().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A histogram from schema, first index and counts; the sum is arbitrary.
    fn histogram(schema: i32, offset: i32, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: counts.iter().sum(),
            sum: 1.0,
            positive_spans: vec![Span { offset, length: counts.len() as u32 }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn bounds_are_powers_of_two_and_their_parts() {
        let bounds = |schema, index| histogram(schema, index, &[1.0]).all_buckets()[0];
        assert_eq!((bounds(0, 1).lower, bounds(0, 1).upper), (1.0, 2.0));
        assert_eq!((bounds(0, -1).lower, bounds(0, -1).upper), (0.25, 0.5));
        assert_eq!((bounds(-1, 1).lower, bounds(-1, 1).upper), (1.0, 4.0));
        assert_eq!(bounds(1, 1).upper, 2f64.sqrt());
        assert_eq!(bounds(0, 1024).upper, f64::MAX);
        assert_eq!(bounds(3, 8 * 1024).upper, f64::MAX);
        assert_eq!(bounds(0, -1074).upper, f64::from_bits(1));
    }

    #[test]
    fn sums_take_the_coarser_schema_and_keep_all_counts() {
        let mut sum = histogram(1, 1, &[1.0, 2.0, 3.0, 4.0]);
        sum.add(&histogram(0, 0, &[10.0, 20.0, 30.0])).unwrap();
        assert_eq!(sum.schema, 0);
        assert_eq!(sum.positive_list(), [(0, 10.0), (1, 23.0), (2, 37.0)]);
        assert_eq!(sum.count, 70.0);
        sum.sub(&histogram(0, 0, &[10.0, 20.0, 30.0])).unwrap();
        assert_eq!(sum.positive_list(), [(0, 0.0), (1, 3.0), (2, 7.0)]);
        sum.compact();
        assert_eq!(sum.positive_spans, [Span { offset: 1, length: 2 }]);
    }

    #[test]
    fn zero_buckets_grow_to_the_wider_one() {
        let mut narrow =
            Histogram { zero_count: 5.0, zero_threshold: 0.1, ..histogram(0, -1, &[1.0, 2.0, 3.0]) };
        let wide = Histogram { zero_count: 7.0, zero_threshold: 0.7, ..histogram(0, 1, &[4.0]) };
        narrow.add(&wide).unwrap();
        // 0.7 lies inside the populated bucket up to 1, which therefore goes into the zero bucket as a whole.
        assert_eq!((narrow.zero_threshold, narrow.zero_count), (1.0, 15.0));
        assert_eq!(narrow.positive_list(), [(1, 7.0)]);
    }

    #[test]
    fn custom_bounds_are_reduced_to_the_common_ones() {
        let custom = |bounds: &[f64], counts: &[f64]| Histogram {
            custom_values: bounds.to_vec(),
            ..histogram(CUSTOM_BUCKETS_SCHEMA, 0, counts)
        };
        let mut sum = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
        let found = sum.add(&custom(&[2.0, 3.0, 5.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
        assert!(found.bounds_reconciled);
        assert_eq!(sum.custom_values, [2.0, 5.0]);
        assert_eq!(sum.positive_buckets, [13.0, 53.0, 44.0]);
        assert!(sum.add(&histogram(0, 0, &[1.0])).is_err());
    }

    #[test]
    fn resets_show_in_any_bucket() {
        let before = histogram(1, 0, &[1.0, 2.0, 3.0]);
        assert!(!histogram(1, 0, &[1.0, 2.0, 4.0]).detect_reset(&before));
        assert!(histogram(1, 0, &[2.0, 1.0, 4.0]).detect_reset(&before));
        assert!(histogram(1, 1, &[3.0, 4.0]).detect_reset(&before));
        assert!(!histogram(0, 0, &[1.0, 6.0]).detect_reset(&before));
        assert!(histogram(2, 0, &[9.0; 8]).detect_reset(&before));
        let said = Histogram { counter_reset_hint: CounterResetHint::NotReset, ..histogram(1, 0, &[0.0]) };
        assert!(!said.detect_reset(&before));
    }

    #[test]
    fn trimming_interpolates_the_bucket_around_the_limit() {
        let mut below = histogram(0, 1, &[4.0, 4.0]);
        below.trim(2f64.sqrt() * 2.0, true);
        assert_eq!(below.positive_buckets[0], 4.0);
        assert!((below.positive_buckets[1] - 2.0).abs() < 1e-9 && (below.count - 6.0).abs() < 1e-9);
        let mut above = histogram(0, 1, &[4.0, 4.0]);
        above.trim(2.0, false);
        assert_eq!((above.positive_list(), above.count), (vec![(2, 4.0)], 4.0));
    }

    #[test]
    fn extremes_of_index_and_schema_do_no_harm() {
        for schema in [i32::MIN, -54, -9, -4, 0, 8, 52, 53, i32::MAX] {
            for offset in [i32::MIN, -1, 0, 1, i32::MAX - 1, i32::MAX] {
                let mut h = Histogram { zero_threshold: 1e-3, ..histogram(schema, offset, &[1.0, 2.0]) };
                h.negative_spans = h.positive_spans.clone();
                h.negative_buckets = vec![1.0];
                for width in [f64::NAN, f64::INFINITY, -1.0] {
                    let odd = Histogram { zero_threshold: width, ..h.clone() };
                    let _ = (
                        h.clone().add(&odd),
                        odd.clone().sub(&h),
                        h.detect_reset(&odd),
                        odd.detect_reset(&h),
                    );
                }
                let other = Histogram { zero_threshold: 0.5, ..histogram(3, 7, &[1.0, 0.0, 2.0]) };
                let mut sum = other.clone();
                let _ = sum.add(&h);
                let _ = h.clone().sub(&other);
                let _ = h.detect_reset(&other) || other.detect_reset(&h);
                let _ = (h.all_buckets(), h.to_string(), h.to_schema(-4));
                h.trim(0.5, true);
                h.compact();
            }
        }
    }
}
