//! How fast a receiver may be told: a bucket of turns that fills evenly.

use std::time::Duration;

use tradewatch_tsdb::Timestamp;

use crate::route::RateLimit;

/// What one integration asks of its sender.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Pace {
    pub rate: Option<RateLimit>,
    /// Whether what the rate holds up may share one message.
    pub folds: bool,
    /// Alerts in one message; 0 is no limit.
    pub max_alerts: usize,
}

/// The turns left; full at first.
#[derive(Copy, Clone, Debug)]
pub(super) struct Bucket {
    pub rate: RateLimit,
    turns: f64,
    at: Timestamp,
}

impl Bucket {
    pub fn new(rate: RateLimit, now: Timestamp) -> Bucket {
        Bucket { rate, turns: f64::from(rate.count), at: now }
    }

    fn turns(&self, now: Timestamp) -> f64 {
        let filled = now.since(self.at).as_secs_f64() / self.rate.per.as_secs_f64();
        let most = f64::from(self.rate.count);
        (self.turns + filled * most).min(most)
    }

    /// Whole turns that may be taken now.
    pub fn whole(&self, now: Timestamp) -> usize {
        // Millisecond steps must not leave a turn short by rounding.
        (self.turns(now) + 1e-6) as usize
    }

    pub fn take(&mut self, now: Timestamp) {
        *self = Bucket { turns: (self.turns(now) - 1.0).max(0.0), at: now, ..*self };
    }

    /// When there is a whole turn again.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        let short = (1.0 - self.turns(now)).max(0.0);
        let wait = short * self.rate.per.as_secs_f64() / f64::from(self.rate.count);
        now + Duration::from_millis((wait * 1000.0).ceil() as u64)
    }
}
