//! When equities trade: one clock for broker, feed and services.

use crate::runtime::clock::SECOND;
use crate::runtime::{Clock, Nanos};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tradewatch_calendar::{Calendar, Change, Halt, Overlay};

/// The venue of the equities.
pub const MIC: &str = "XNYS";
/// What stands for "not within the calendar's horizon".
const YEAR: Nanos = 366 * 86_400 * SECOND;

/// How sessions are decided; part of every service's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MarketClockConfig {
    /// The real sessions of New York.
    Wall,
    /// The real sessions of New York, with ad hoc closures, other hours and halts.
    Overlaid {
        /// As [`Overlay::parse`] reads it.
        #[serde(deserialize_with = "overlay")]
        overlay: String,
    },
    /// A session that opens at a given time and repeats, so that a demo never meets a closed market at its start.
    Virtual {
        /// First opening, in seconds since the Unix epoch.
        opens_at: i64,
        /// Length of a session in seconds.
        #[serde(default = "session_seconds")]
        open_seconds: i64,
        /// Seconds from one close to the next opening.
        #[serde(default = "closed_seconds")]
        closed_seconds: i64,
    },
}

fn overlay<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    Overlay::parse(&text).map_err(serde::de::Error::custom)?;
    Ok(text)
}

fn session_seconds() -> i64 {
    6 * 3600 + 1800
}

fn closed_seconds() -> i64 {
    24 * 3600 - session_seconds()
}

impl MarketClockConfig {
    /// The calendar that this is, for whoever else has to agree with it.
    pub fn calendar(&self) -> Calendar {
        match self {
            MarketClockConfig::Wall => Calendar::new(),
            // What was read has been checked; what a program made up wrongly changes nothing.
            MarketClockConfig::Overlaid { overlay } => {
                Calendar::new().with_overlay(Overlay::parse(overlay).unwrap_or_default())
            }
            &MarketClockConfig::Virtual { opens_at, open_seconds, closed_seconds } => {
                let opens_at = stamp(opens_at.saturating_mul(SECOND));
                let seconds = |count: i64| Duration::from_secs(count.max(0).unsigned_abs());
                Calendar::new().with_virtual_session(
                    MIC,
                    opens_at,
                    seconds(open_seconds),
                    seconds(closed_seconds),
                )
            }
        }
    }

    /// A virtual session of New York's length that opens at `now`.
    pub fn opening_now(clock: &Clock) -> MarketClockConfig {
        MarketClockConfig::Virtual {
            opens_at: clock.now() / SECOND,
            open_seconds: session_seconds(),
            closed_seconds: closed_seconds(),
        }
    }
}

/// One session: open at `open`, closed again at `close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// First nanosecond of trading.
    pub open: Nanos,
    /// First nanosecond after it.
    pub close: Nanos,
}

/// Answers when equities trade: [`tradewatch_calendar::Calendar`] at one venue, in nanoseconds.
///
/// The rules of the monitor read the same calendar, so that broker, feed and alerts agree.
#[derive(Clone, Debug)]
pub struct MarketClock {
    calendar: Calendar,
    /// The symbol whose halts count besides those of the venue.
    symbol: Option<String>,
}

impl MarketClock {
    /// The clock that `config` describes. A session of no length is taken as one second.
    pub fn new(config: &MarketClockConfig) -> MarketClock {
        MarketClock { calendar: config.calendar(), symbol: None }
    }

    /// The same clock as one symbol meets it: with the halts of that symbol.
    pub fn of(&self, symbol: &str) -> MarketClock {
        MarketClock { symbol: Some(symbol.to_owned()), ..self.clone() }
    }

    /// Whether equities trade at `at`: in a session, and not halted. Beyond the calendar's horizon they are taken not to.
    pub fn is_open(&self, at: Nanos) -> bool {
        self.session_at(at).is_some() && self.halt(at).is_none()
    }

    /// The halt that holds at `at`, of the whole venue or of this clock's symbol.
    fn halt(&self, at: Nanos) -> Option<&Halt> {
        self.calendar.halts(MIC, stamp(at)).find(|halt| self.concerns(halt))
    }

    fn concerns(&self, halt: &Halt) -> bool {
        halt.symbol.is_none() || halt.symbol == self.symbol
    }

    /// The session that holds `at`.
    pub fn session_at(&self, at: Nanos) -> Option<Session> {
        self.calendar.session_at(MIC, stamp(at)).map(|session| Session::of(&session))
    }

    /// The next opening after `at`, or the next end of a halt; a year later where the calendar's horizon ends before it.
    pub fn next_open(&self, at: Nanos) -> Nanos {
        let opening = self.calendar.next_open(MIC, stamp(at)).map_or(at.saturating_add(YEAR), nanos);
        let halts = self.calendar.overlay().entries().iter().filter_map(|entry| match &entry.change {
            Change::Halt(halt) if entry.mic == MIC && self.concerns(halt) => halt.to.map(nanos),
            _ => None,
        });
        let resumed = halts.filter(|end| *end > at && self.is_open(*end)).min();
        resumed.map_or(opening, |resumed| resumed.min(opening))
    }

    /// The next close after `at`; a year later where the calendar's horizon ends before it.
    pub fn next_close(&self, at: Nanos) -> Nanos {
        self.calendar.next_close(MIC, stamp(at)).map_or(at.saturating_add(YEAR), nanos)
    }

    /// Sessions that touch `from..until`, at most `max`.
    pub fn sessions(&self, from: Nanos, until: Nanos, max: usize) -> Vec<Session> {
        let sessions = self.calendar.sessions(MIC, stamp(from), stamp(until));
        sessions.take(max).map(|session| Session::of(&session)).collect()
    }
}

impl Session {
    fn of(session: &tradewatch_calendar::Session) -> Session {
        Session { open: nanos(session.open), close: nanos(session.close) }
    }
}

fn stamp(at: Nanos) -> Timestamp {
    // 64 bits of nanoseconds reach from 1677 to 2262, well inside what a Timestamp holds.
    Timestamp::from_nanosecond(i128::from(at)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn nanos(ts: Timestamp) -> Nanos {
    Nanos::try_from(ts.as_nanosecond()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::parse_rfc3339;

    fn at(text: &str) -> Nanos {
        parse_rfc3339(text).expect("a stamp")
    }

    #[test]
    fn virtual_sessions_open_and_repeat() {
        let config = MarketClockConfig::Virtual { opens_at: 1000, open_seconds: 60, closed_seconds: 40 };
        let clock = MarketClock::new(&config);
        let open = |seconds: i64| clock.is_open(seconds * SECOND);
        assert!(!open(999) && open(1000) && open(1059) && !open(1060) && !open(1099) && open(1100));
        assert_eq!(clock.next_open(0), 1000 * SECOND);
        assert_eq!(clock.next_open(1000 * SECOND), 1100 * SECOND);
        assert_eq!(clock.next_close(1000 * SECOND), 1060 * SECOND);
        assert_eq!(clock.next_close(1060 * SECOND), 1160 * SECOND);
        assert_eq!(clock.sessions(0, 1300 * SECOND, 10).len(), 3);
        assert_eq!(clock.sessions(0, 1300 * SECOND, 2).len(), 2);
    }

    #[test]
    fn a_zero_gap_is_open_for_ever() {
        let config = MarketClockConfig::Virtual { opens_at: 0, open_seconds: 60, closed_seconds: 0 };
        let clock = MarketClock::new(&config);
        assert!((0..1000).all(|second| clock.is_open(second * SECOND)));
        let config = MarketClockConfig::Virtual { opens_at: -5, open_seconds: -1, closed_seconds: i64::MIN };
        assert!(MarketClock::new(&config).is_open(0), "nonsense is taken as a session of one second");
    }

    #[test]
    fn halts_stop_trading_and_it_resumes() {
        let overlay = "XNYS halt * 2026-11-20T10:00:00-05:00 2026-11-20T10:15:00-05:00 circuit breaker\n\
                       XNYS halt TSLA 2026-11-20T11:00:00-05:00 2026-11-20T11:05:00-05:00 news\n";
        let clock = MarketClock::new(&MarketClockConfig::Overlaid { overlay: overlay.to_owned() });
        let (halted, resumed) = (at("2026-11-20T15:10:00Z"), at("2026-11-20T15:15:00Z"));
        assert!(!clock.is_open(halted) && clock.is_open(resumed));
        assert_eq!(clock.next_open(halted), resumed);
        assert_eq!(clock.next_open(at("2026-11-20T14:59:00Z")), resumed, "asked before the halt");
        assert_eq!(clock.next_open(resumed), at("2026-11-23T14:30:00Z"));
        let news = at("2026-11-20T16:01:00Z");
        assert!(clock.is_open(news) && clock.of("AAPL").is_open(news) && !clock.of("TSLA").is_open(news));
        let wrong = serde_json::from_str::<MarketClockConfig>(r#"{"kind":"overlaid","overlay":"XNYS shut"}"#);
        assert!(wrong.is_err(), "{wrong:?}");
    }

    #[test]
    fn wall_sessions_follow_new_york() {
        let clock = MarketClock::new(&MarketClockConfig::Wall);
        assert!(clock.is_open(at("2026-11-20T15:00:00Z")));
        assert!(!clock.is_open(at("2026-11-20T21:00:00Z")));
        assert!(!clock.is_open(at("2026-11-21T15:00:00Z")), "a Saturday");
        assert_eq!(clock.next_open(at("2026-11-20T21:00:00Z")), at("2026-11-23T14:30:00Z"));
        assert_eq!(clock.next_open(at("2026-07-01T00:00:00Z")), at("2026-07-01T13:30:00Z"), "summer time");
        assert!(!clock.is_open(at("2026-11-26T15:00:00Z")), "Thanksgiving");
        assert_eq!(clock.next_close(at("2026-11-27T15:00:00Z")), at("2026-11-27T18:00:00Z"), "a half day");
        let far = at("2200-01-01T00:00:00Z");
        assert!(!clock.is_open(far) && clock.next_open(far) > far, "beyond the horizon");
    }
}
