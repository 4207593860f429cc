//! The broker's moods, all from one seed: latency and rejections.

use crate::runtime::{Rng, Seed};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long things take and how often orders are rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Median seconds from an order's arrival to its answer; log-normal around it.
    pub order_latency_median: f64,
    /// Spread of it: standard deviation of its logarithm.
    pub order_latency_sigma: f64,
    /// Share of orders that take longer by an exponential time.
    pub order_latency_tail_share: f64,
    /// Mean of that time in seconds.
    pub order_latency_tail_mean: f64,
    /// No order takes longer, in seconds.
    pub order_latency_max: f64,
    /// Median seconds of every other answer.
    pub read_latency_median: f64,
    /// Mean seconds from the venue's acknowledgement to the first attempt to fill.
    pub fill_delay_mean: f64,
    /// Share of orders that are rejected.
    pub reject_share: f64,
    /// Share of those that are first accepted with 200 and rejected on the stream afterwards.
    pub reject_late_share: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            order_latency_median: 0.2,
            order_latency_sigma: 0.4,
            order_latency_tail_share: 0.01,
            order_latency_tail_mean: 1.2,
            order_latency_max: 8.0,
            read_latency_median: 0.004,
            fill_delay_mean: 0.06,
            reject_share: 0.03,
            reject_late_share: 0.3,
        }
    }
}

/// What happens to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the venue.
    Accept,
    /// Refused with 403.
    Deny,
    /// Accepted, then rejected on the stream.
    RejectLate,
}

/// Draws latencies and verdicts.
#[derive(Debug)]
pub struct Chance {
    behaviour: Behaviour,
    latency: Rng,
    verdict: Rng,
    ids: Rng,
}

impl Chance {
    /// The draws of `seed`.
    pub fn new(behaviour: Behaviour, seed: Seed) -> Chance {
        Chance {
            behaviour,
            latency: seed.stream("broker/latency"),
            verdict: seed.stream("broker/verdict"),
            ids: seed.stream("broker/ids"),
        }
    }

    /// Goes on with other draws, so that an account that is taken up again gives no id twice.
    pub fn resume(&mut self, seed: Seed, orders_seen: u64) {
        self.ids = seed.stream(&format!("broker/ids/{orders_seen}"));
        self.verdict = seed.stream(&format!("broker/verdict/{orders_seen}"));
    }

    /// A new UUID.
    pub fn id(&mut self) -> String {
        self.ids.uuid()
    }

    /// Whether something with probability `share` happens.
    pub fn happens(&mut self, share: f64) -> bool {
        self.verdict.chance(share)
    }

    /// Time from an order's arrival to its answer.
    pub fn order_latency(&mut self) -> Duration {
        let b = &self.behaviour;
        let mut seconds = b.order_latency_median * (b.order_latency_sigma * self.latency.normal()).exp();
        if self.latency.chance(b.order_latency_tail_share) {
            seconds += self.latency.exponential(b.order_latency_tail_mean);
        }
        Duration::from_secs_f64(seconds.clamp(0.0, b.order_latency_max.clamp(0.0, 3600.0)))
    }

    /// Time from any other request's arrival to its answer.
    pub fn read_latency(&mut self) -> Duration {
        let seconds = self.behaviour.read_latency_median * (0.3 * self.latency.normal()).exp();
        Duration::from_secs_f64(seconds.clamp(0.0, 1.0))
    }

    /// Time from receipt to the venue's acknowledgement.
    pub fn ack_delay(&mut self) -> Duration {
        Duration::from_secs_f64(self.latency.range(0.002, 0.02))
    }

    /// Time from the acknowledgement to the first attempt to fill.
    pub fn fill_delay(&mut self) -> Duration {
        Duration::from_secs_f64(0.005 + self.latency.exponential(self.behaviour.fill_delay_mean).min(5.0))
    }

    /// What happens to the next order.
    pub fn verdict(&mut self) -> Verdict {
        if !self.verdict.chance(self.behaviour.reject_share) {
            Verdict::Accept
        } else if self.verdict.chance(self.behaviour.reject_late_share) {
            Verdict::RejectLate
        } else {
            Verdict::Deny
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_and_rejections_are_as_documented() {
        let mut chance = Chance::new(Behaviour::default(), Seed(1));
        let mut latencies: Vec<f64> = (0..10_000).map(|_| chance.order_latency().as_secs_f64()).collect();
        latencies.sort_by(f64::total_cmp);
        assert!((0.09..0.13).contains(&latencies[500]), "5 %: {}", latencies[500]);
        assert!((0.18..0.22).contains(&latencies[5_000]), "median: {}", latencies[5_000]);
        assert!((0.35..0.5).contains(&latencies[9_500]), "95 %: {}", latencies[9_500]);
        assert!(latencies[9_999] > 2.0 && latencies[9_999] <= 8.0, "longest: {}", latencies[9_999]);
        let verdicts: Vec<Verdict> = (0..10_000).map(|_| chance.verdict()).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert!((150..270).contains(&count(Verdict::Deny)), "{}", count(Verdict::Deny));
        assert!((50..140).contains(&count(Verdict::RejectLate)), "{}", count(Verdict::RejectLate));
    }
}
