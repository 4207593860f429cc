//! x
pub mod sizing;
