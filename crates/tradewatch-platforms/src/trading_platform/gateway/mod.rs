//! x
pub mod breaker; pub mod checks; pub mod ledger; pub mod metrics;
