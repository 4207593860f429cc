//! x
pub mod breaker;
pub mod checks;
pub mod ledger;
pub mod metrics;
use serde::{Deserialize, Serialize};
/// x
#[derive(Clone, Debug, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Options {
    pub breaker: breaker::Limits,
    pub dry_run: bool,
    pub retry_base_ms: u64,
    pub retry_cap_ms: u64,
    pub reconcile_ms: u64,
    pub stream_reconnect_base_ms: u64,
}
