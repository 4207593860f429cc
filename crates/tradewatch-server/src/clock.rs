//! The wall clock, in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tradewatch_tsdb::Timestamp;

/// Now, in milliseconds since the Unix epoch.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is until `at`; nothing if it is over.
pub fn until(at: Timestamp) -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Duration::from_millis(at.as_millis().max(0) as u64).saturating_sub(since)
}
