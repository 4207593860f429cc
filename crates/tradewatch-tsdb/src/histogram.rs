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
