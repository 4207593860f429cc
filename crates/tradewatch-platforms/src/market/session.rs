//! When equities trade: one clock for broker, feed and services.

use crate::runtime::clock::SECOND;
use crate::runtime::{Clock, Nanos};
use serde::{Deserialize, Serialize};

/// How sessions are decided; part of every service's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MarketClockConfig {
    /// The real sessions of New York.
    Wall,
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

fn session_seconds() -> i64 {
    6 * 3600 + 1800
}

fn closed_seconds() -> i64 {
    24 * 3600 - session_seconds()
}

impl MarketClockConfig {
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

/// Answers when equities trade.
#[derive(Clone, Debug)]
pub struct MarketClock {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Wall,
    Virtual { first: Nanos, length: Nanos, period: Nanos },
}

impl MarketClock {
    /// The clock that `config` describes. A session of no length is taken as one second.
    pub fn new(config: &MarketClockConfig) -> MarketClock {
        let kind = match *config {
            MarketClockConfig::Wall => Kind::Wall,
            MarketClockConfig::Virtual { opens_at, open_seconds, closed_seconds } => {
                let length = open_seconds.max(1) * SECOND;
                Kind::Virtual {
                    first: opens_at * SECOND,
                    length,
                    period: length + closed_seconds.max(0) * SECOND,
                }
            }
        };
        MarketClock { kind }
    }

    /// Whether equities trade at `at`.
    pub fn is_open(&self, at: Nanos) -> bool {
        self.session_at(at).is_some()
    }

    /// The session that holds `at`.
    pub fn session_at(&self, at: Nanos) -> Option<Session> {
        let session = self.session_ending_after(at);
        (session.open <= at).then_some(session)
    }

    /// The next opening after `at`.
    pub fn next_open(&self, at: Nanos) -> Nanos {
        let session = self.session_ending_after(at);
        if session.open > at { session.open } else { self.session_ending_after(session.close).open }
    }

    /// The next close after `at`.
    pub fn next_close(&self, at: Nanos) -> Nanos {
        self.session_ending_after(at).close
    }

    /// Sessions that touch `from..until`, at most `max`.
    pub fn sessions(&self, from: Nanos, until: Nanos, max: usize) -> Vec<Session> {
        let mut sessions = Vec::new();
        let mut session = self.session_ending_after(from);
        while session.open < until && sessions.len() < max {
            sessions.push(session);
            session = self.session_ending_after(session.close);
        }
        sessions
    }

    /// The first session whose close is after `at`.
    fn session_ending_after(&self, at: Nanos) -> Session {
        match self.kind {
            Kind::Virtual { first, length, period } => {
                let number = (at - first - length).div_euclid(period) + 1;
                let open = first + number.max(0) * period;
                Session { open, close: open + length }
            }
            Kind::Wall => wall_session_ending_after(at),
        }
    }
}

/// Regular hours of New York, Monday to Friday.
fn wall_session_ending_after(at: Nanos) -> Session {
    let zone = jiff::tz::TimeZone::get("America/New_York").expect("the time zone database is in the binary");
    let ts = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::MIN);
    let mut date = ts.to_zoned(zone.clone()).date();
    loop {
        let stamp = |hour, minute| {
            let local = date.at(hour, minute, 0, 0).to_zoned(zone.clone()).expect("a date in range");
            local.timestamp().as_nanosecond() as Nanos
        };
        let session = Session { open: stamp(9, 30), close: stamp(16, 0) };
        if session.close > at && date.weekday().to_monday_zero_offset() < 5 {
            return session;
        }
        date = date.tomorrow().expect("a date in range");
    }
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
    }

    #[test]
    fn wall_sessions_follow_new_york() {
        let clock = MarketClock::new(&MarketClockConfig::Wall);
        assert!(clock.is_open(at("2026-11-20T15:00:00Z")));
        assert!(!clock.is_open(at("2026-11-20T21:00:00Z")));
        assert!(!clock.is_open(at("2026-11-21T15:00:00Z")), "a Saturday");
        assert_eq!(clock.next_open(at("2026-11-20T21:00:00Z")), at("2026-11-23T14:30:00Z"));
        assert_eq!(clock.next_open(at("2026-07-01T00:00:00Z")), at("2026-07-01T13:30:00Z"), "summer time");
    }
}
