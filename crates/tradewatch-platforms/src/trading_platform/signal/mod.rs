//! x
 pub mod metrics;
