//! x
pub mod metrics;
pub mod sizing;
use serde::{Deserialize, Serialize};
/// x
#[derive(Clone, Debug, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Options {
    pub interval_ms: u64,
}
