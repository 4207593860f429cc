//! x
pub mod metrics;
use serde::{Deserialize, Serialize};
/// x
#[derive(Clone, Debug, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Options {
    pub model_poll_ms: u64,
}
