//! Native histograms: exponential buckets by schema, or custom bounds.

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
