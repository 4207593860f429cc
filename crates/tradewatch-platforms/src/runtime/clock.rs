//! The one clock of a platform.
//!
//! Wall time is a base plus tokio's monotonic clock, so it never jumps while a process runs, and it is
//! virtual wherever tokio's time is paused.

use std::time::Duration;
use tokio::time::Instant;

/// Nanoseconds since the Unix epoch.
pub type Nanos = i64;

/// Nanoseconds in one second.
pub const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds in one millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// Wall and monotonic time for everything in this crate.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use tradewatch_platforms::runtime::Clock;
/// let clock = Clock::starting_at(1_700_000_000_000_000_000);
/// tokio::time::sleep(std::time::Duration::from_secs(3600)).await;      // takes no time at all
/// assert_eq!(clock.now(), 1_700_003_600_000_000_000);
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Nanos,
    start: Instant,
}

impl Clock {
    /// The operating system's wall clock, read once; from then on monotonic.
    pub fn wall() -> Clock {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Clock::starting_at(since.as_nanos() as Nanos)
    }

    /// A clock that shows `base` now. With tokio's time paused this is the virtual clock.
    ///
    /// Every task of a virtual run is handed a copy of one such clock.
    pub fn starting_at(base: Nanos) -> Clock {
        Clock { base, start: Instant::now() }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn now(&self) -> Nanos {
        self.base + self.elapsed().as_nanos() as Nanos
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.now() / MILLISECOND
    }

    /// Seconds since the Unix epoch.
    pub fn now_seconds(&self) -> f64 {
        self.now() as f64 / SECOND as f64
    }

    /// Time since the clock was made: monotonic, for durations.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The tokio instant at which this clock shows `at` (now, if that is past).
    pub fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at.saturating_sub(self.base).max(0) as u64)
    }

    /// Waits until the clock shows `at`; at once if that is past.
    pub async fn sleep_until(&self, at: Nanos) {
        tokio::time::sleep_until(self.instant(at)).await;
    }
}

/// `at` as RFC 3339 in UTC with nanoseconds, the form Alpaca uses: `2026-11-20T14:30:00.123456789Z`.
pub fn rfc3339(at: Nanos) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at)) {
        Ok(ts) => format!("{ts:.9}"),
        Err(_) => String::from("1970-01-01T00:00:00.000000000Z"),
    }
}

/// The inverse of [`rfc3339`]; any RFC 3339 offset, and a bare date as its midnight in UTC.
pub fn parse_rfc3339(text: &str) -> Option<Nanos> {
    if let Ok(ts) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(ts.as_nanosecond()).ok();
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let ts = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    i64::try_from(ts.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_day_passes_at_once() {
        let clock = Clock::starting_at(1_000 * SECOND);
        clock.sleep_until(1_000 * SECOND + 86_400 * SECOND).await;
        assert_eq!(clock.now(), 87_400 * SECOND);
        clock.sleep_until(5).await;
        assert_eq!(clock.now(), 87_400 * SECOND);
    }

    #[test]
    fn stamps_read_back() {
        let at = 1_723_161_253_940_123_456;
        assert_eq!(rfc3339(at), "2024-08-08T23:54:13.940123456Z");
        assert_eq!(parse_rfc3339(&rfc3339(at)), Some(at));
        assert_eq!(parse_rfc3339("2024-08-08T19:54:13.940123456-04:00"), Some(at));
        assert_eq!(parse_rfc3339("1970-01-02"), Some(86_400 * SECOND));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
