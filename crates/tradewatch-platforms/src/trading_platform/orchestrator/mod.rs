//! x
pub mod sizing; pub mod metrics;
