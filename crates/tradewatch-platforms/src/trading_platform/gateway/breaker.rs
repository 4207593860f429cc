//! The circuit breaker: what stops new risk when the account, the data or the broker go wrong.
//!
//! ```text
//!            trip(reason)             reset by a person            quiet period over
//!  Trading ───────────────▶ Tripped ───────────────────▶ Quiet ──────────────────────▶ Trading
//!                              ▲                            │ trip(reason)
//!                              └────────────────────────────┘
//! ```
//! In Tripped and in Quiet only orders that reduce a position pass. A reset is refused while what tripped
//! the breaker still holds: it would trip again with the next check, and the page that follows teaches
//! people to press the button twice.

use crate::runtime::Nanos;
use crate::trading_platform::money::Money;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Why the breaker tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripCause {
    /// Equity fell below the day's start by more than the limit.
    DailyLossExceeded,
    /// Equity fell below its peak by more than the limit.
    MaxDrawdown,
    /// A held symbol had no fresh price for too long while its market was open.
    DataStale,
    /// The broker could not be reached too often within the window.
    BrokerErrors,
    /// A person asked for it.
    Manual,
}

impl TripCause {
    /// The name in the API, the database and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TripCause::DailyLossExceeded => "daily_loss_exceeded",
            TripCause::MaxDrawdown => "max_drawdown",
            TripCause::DataStale => "data_stale",
            TripCause::BrokerErrors => "broker_errors",
            TripCause::Manual => "manual",
        }
    }
}

/// Where the breaker stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Orders pass.
    Trading,
    /// Only orders that reduce a position pass, until a person resets.
    Tripped {
        /// Why.
        cause: TripCause,
        /// When, in nanoseconds since the epoch.
        at: Nanos,
        /// What was measured against which limit.
        detail: String,
    },
    /// After a reset: only orders that reduce a position pass, until the time is over.
    Quiet {
        /// When trading resumes, in nanoseconds since the epoch.
        until: Nanos,
    },
}

/// What the breaker watches, and for how long it stays quiet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest loss since the start of the day.
    pub daily_loss_max: Money,
    /// Largest fall from the peak of equity, in parts of one.
    pub drawdown_ratio_max: f64,
    /// Oldest price of a held symbol, in milliseconds.
    pub price_age_ms_max: u64,
    /// Broker errors within the window that trip.
    pub broker_errors_max: usize,
    /// The window, in milliseconds.
    pub broker_errors_window_ms: u64,
    /// Time from a reset to trading, in milliseconds.
    pub quiet_period_ms: u64,
}

impl Default for Limits {
    /// The limits of the platform's documents.
    fn default() -> Limits {
        Limits {
            daily_loss_max: Money::whole(5_000),
            drawdown_ratio_max: 0.10,
            price_age_ms_max: 30_000,
            broker_errors_max: 10,
            broker_errors_window_ms: 60_000,
            quiet_period_ms: 300_000,
        }
    }
}

/// What one check of the account saw.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Equity now minus equity at the start of the day.
    pub day_pnl: Money,
    /// Fall from the peak of equity, in parts of one.
    pub drawdown_ratio: f64,
    /// The held symbol with the oldest price whose market is open, and that age.
    pub oldest_price: Option<(String, Duration)>,
}

/// Why a reset was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetRefused {
    /// There is nothing to reset.
    #[error("the breaker is not tripped")]
    NotTripped,
    /// It would trip again at once.
    #[error("what would trip it still holds: {0}")]
    StillHolds(String),
}

/// The breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    state: State,
    broker_errors: VecDeque<Nanos>,
    last: Observation,
}

impl Breaker {
    /// A breaker in `state`, as it was saved, or trading.
    pub fn new(limits: Limits, state: Option<State>) -> Breaker {
        Breaker {
            limits,
            state: state.unwrap_or(State::Trading),
            broker_errors: VecDeque::new(),
            last: Observation::default(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What it watches.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Watches other limits from now on; whether they trip is seen at the next look.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether orders that add risk are blocked.
    pub fn blocks(&self) -> bool {
        !matches!(self.state, State::Trading)
    }

    /// Trips by hand or by a check. Returns whether that is news.
    ///
    /// A tripped breaker stays tripped for its first cause: that is what a person must look at.
    pub fn trip(&mut self, cause: TripCause, detail: impl Into<String>, now: Nanos) -> bool {
        if matches!(self.state, State::Tripped { .. }) {
            return false;
        }
        self.state = State::Tripped { cause, at: now, detail: detail.into() };
        true
    }

    /// A person resets: quiet for the quiet period, then trading.
    ///
    /// # Errors
    /// If it is not tripped, or if a condition that trips still holds by the last observation.
    pub fn reset(&mut self, now: Nanos) -> Result<(), ResetRefused> {
        let State::Tripped { .. } = self.state else { return Err(ResetRefused::NotTripped) };
        if let Some((_, detail)) = self.violation(&self.last) {
            return Err(ResetRefused::StillHolds(detail));
        }
        self.broker_errors.clear();
        let quiet = i64::try_from(self.limits.quiet_period_ms).unwrap_or(i64::MAX / 1_000_000) * 1_000_000;
        self.state = State::Quiet { until: now.saturating_add(quiet) };
        Ok(())
    }

    /// Looks at the account. Returns the new cause if this check tripped the breaker.
    pub fn observe(&mut self, observation: Observation, now: Nanos) -> Option<TripCause> {
        let violation = self.violation(&observation);
        self.last = observation;
        let (cause, detail) = violation?;
        self.trip(cause, detail, now).then_some(cause)
    }

    /// One order, cancel or query that did not reach the broker. Returns the cause if it was one too many.
    pub fn broker_error(&mut self, now: Nanos) -> Option<TripCause> {
        let window = self.limits.broker_errors_window_ms as i64 * 1_000_000;
        while self.broker_errors.front().is_some_and(|at| now - at > window) {
            self.broker_errors.pop_front();
        }
        self.broker_errors.push_back(now);
        if self.broker_errors.len() < self.limits.broker_errors_max {
            return None;
        }
        let detail = format!(
            "{} broker errors within {} s",
            self.broker_errors.len(),
            self.limits.broker_errors_window_ms / 1_000
        );
        self.broker_errors.clear();
        self.trip(TripCause::BrokerErrors, detail, now).then_some(TripCause::BrokerErrors)
    }

    /// Time passes: ends the quiet period. Returns whether trading resumed.
    pub fn tick(&mut self, now: Nanos) -> bool {
        match self.state {
            State::Quiet { until } if now >= until => {
                self.state = State::Trading;
                true
            }
            _ => false,
        }
    }

    fn violation(&self, seen: &Observation) -> Option<(TripCause, String)> {
        let limits = &self.limits;
        if seen.day_pnl <= -limits.daily_loss_max {
            let detail = format!(
                "loss of {:.2} USD today, limit {:.2} USD",
                -seen.day_pnl.to_f64(),
                limits.daily_loss_max.to_f64()
            );
            return Some((TripCause::DailyLossExceeded, detail));
        }
        if seen.drawdown_ratio >= limits.drawdown_ratio_max {
            let detail = format!(
                "drawdown of {:.2} %, limit {:.2} %",
                seen.drawdown_ratio * 100.0,
                limits.drawdown_ratio_max * 100.0
            );
            return Some((TripCause::MaxDrawdown, detail));
        }
        if let Some((symbol, age)) = &seen.oldest_price
            && age.as_millis() > u128::from(limits.price_age_ms_max)
        {
            let detail = format!(
                "price of {symbol} is {:.1} s old, limit {:.1} s",
                age.as_secs_f64(),
                limits.price_age_ms_max as f64 / 1e3
            );
            return Some((TripCause::DataStale, detail));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn loss(dollars: i64) -> Observation {
        Observation { day_pnl: Money::whole(-dollars), ..Observation::default() }
    }

    #[test]
    fn each_condition_trips_at_its_limit_and_not_before() {
        let cases: [(Observation, Option<TripCause>); 7] = [
            (loss(4_999), None),
            (loss(5_000), Some(TripCause::DailyLossExceeded)),
            (Observation { drawdown_ratio: 0.0999, ..Default::default() }, None),
            (Observation { drawdown_ratio: 0.1, ..Default::default() }, Some(TripCause::MaxDrawdown)),
            (
                Observation {
                    oldest_price: Some(("AAPL".into(), Duration::from_secs(30))),
                    ..Default::default()
                },
                None,
            ),
            (
                Observation {
                    oldest_price: Some(("AAPL".into(), Duration::from_millis(30_001))),
                    ..Default::default()
                },
                Some(TripCause::DataStale),
            ),
            (Observation::default(), None),
        ];
        for (observation, cause) in cases {
            let mut breaker = Breaker::new(Limits::default(), None);
            assert_eq!(breaker.observe(observation.clone(), 1), cause, "{observation:?}");
            assert_eq!(breaker.blocks(), cause.is_some());
        }
    }

    #[test]
    fn a_reset_waits_until_the_condition_is_gone_then_stays_quiet() {
        let mut breaker = Breaker::new(Limits::default(), None);
        assert_eq!(breaker.reset(0), Err(ResetRefused::NotTripped));
        breaker.observe(loss(6_000), SECOND);
        assert!(
            matches!(breaker.reset(2 * SECOND), Err(ResetRefused::StillHolds(why)) if why.contains("6000.00 USD"))
        );
        assert_eq!(
            breaker.observe(loss(100), 3 * SECOND),
            None,
            "a tripped breaker does not clear by itself"
        );
        assert!(breaker.blocks());
        breaker.reset(4 * SECOND).expect("the loss is gone");
        assert_eq!(breaker.state(), &State::Quiet { until: 304 * SECOND });
        assert!(breaker.blocks() && !breaker.tick(303 * SECOND));
        assert!(breaker.tick(304 * SECOND) && !breaker.blocks());
        assert!(!breaker.tick(305 * SECOND), "resuming is told once");
    }

    #[test]
    fn the_quiet_period_can_be_interrupted() {
        let mut breaker = Breaker::new(Limits::default(), None);
        assert!(breaker.trip(TripCause::Manual, "drill", 0));
        assert!(!breaker.trip(TripCause::MaxDrawdown, "later", 1), "the first cause stays");
        breaker.reset(1).expect("nothing holds");
        assert_eq!(breaker.observe(loss(9_999), 2), Some(TripCause::DailyLossExceeded));
        assert!(!breaker.tick(1_000 * SECOND));
    }

    #[test]
    fn broker_errors_count_within_their_window_only() {
        let limits = Limits { broker_errors_max: 3, broker_errors_window_ms: 10_000, ..Limits::default() };
        let mut breaker = Breaker::new(limits, None);
        assert_eq!(breaker.broker_error(0), None);
        assert_eq!(breaker.broker_error(9 * SECOND), None);
        assert_eq!(breaker.broker_error(11 * SECOND), None, "the first is out of the window");
        assert_eq!(breaker.broker_error(12 * SECOND), Some(TripCause::BrokerErrors));
        breaker.reset(13 * SECOND).expect("errors are forgotten by a reset");
    }

    #[test]
    fn state_reads_back_from_its_text() {
        for state in [
            State::Trading,
            State::Quiet { until: 5 },
            State::Tripped { cause: TripCause::DataStale, at: 7, detail: "x".into() },
        ] {
            let text = serde_json::to_string(&state).expect("plain data");
            assert_eq!(serde_json::from_str::<State>(&text).expect(&text), state);
        }
    }
}
