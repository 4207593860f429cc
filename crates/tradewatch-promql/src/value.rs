//! What a query gives back.

use tradewatch_tsdb::{Labels, Series, Timestamp, Value};

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The answer itself.
    pub value: QueryValue,
    /// What is likely wrong, each with the line and column of the query that it is about.
    pub warnings: Vec<String>,
    /// What may be worth knowing, likewise.
    pub infos: Vec<String>,
    /// What the query cost.
    pub stats: QueryStats,
}

/// What a query cost.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct QueryStats {
    /// Series read from the store.
    pub series: usize,
    /// Samples read from the store.
    pub samples: usize,
}

/// The kinds of answer.
#[derive(Clone, Debug)]
pub enum QueryValue {
    /// A number.
    Scalar {
        /// The time of the evaluation.
        ts: Timestamp,
        /// The number.
        value: f64,
    },
    /// A string.
    String {
        /// The time of the evaluation.
        ts: Timestamp,
        /// The string.
        value: String,
    },
    /// One sample per series at one time; sorted only where the query sorts.
    Vector(Vec<VectorSample>),
    /// Samples over time, sorted by labels.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// The labels of the result.
    pub labels: Labels,
    /// The time of the evaluation.
    pub ts: Timestamp,
    /// Its value.
    pub value: Value,
}
