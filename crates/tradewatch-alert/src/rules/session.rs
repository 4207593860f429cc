//! `for` in session time: what the rule label `trading_calendar` asks for.

use jiff::SignedDuration;
use std::time::Duration;

use tradewatch_calendar::{Calendar, Phase, SessionClock};
use tradewatch_tsdb::{Labels, Timestamp};

use super::file::{RuleSpec, TRADING_CALENDAR};
use crate::yaml;

/// By what the `for` of an alert is counted.
pub(super) enum Clock<'a> {
    /// By the time of day, as in Prometheus.
    Wall,
    /// By the session of a venue, without the halts of the alert's symbol.
    Session(SessionClock<'a>),
}

impl<'a> Clock<'a> {
    /// The clock of an alert with these labels.
    pub fn of(rule: &RuleSpec, labels: &'a Labels, calendar: &'a Calendar) -> Clock<'a> {
        match venue(rule, labels) {
            Some(mic) => Clock::Session(calendar.clock(mic, labels.get("symbol"))),
            None => Clock::Wall,
        }
    }

    pub fn is_session(&self) -> bool {
        matches!(self, Clock::Session(_))
    }

    /// When a `for` that began at `from` is over; without one, when the clock goes for the first time.
    pub fn end(&self, from: Timestamp, hold: Duration) -> Timestamp {
        match self {
            Clock::Wall => from + hold,
            Clock::Session(clock) => {
                let hold = SignedDuration::try_from(hold).unwrap_or(SignedDuration::MAX);
                clock.reaches(instant(from), hold).map_or(Timestamp::MAX, timestamp)
            }
        }
    }

    /// The beginning that leaves at `now` as much of `for` as was left at `last`, when it had begun at `from`: what
    /// nobody watched does not count.
    pub fn resumed(&self, from: Timestamp, last: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Clock::Wall => from + now.since(last),
            Clock::Session(clock) => {
                let counted = clock.counted(instant(from), instant(last));
                timestamp(clock.began(instant(from), instant(now), counted))
            }
        }
    }
}

/// The venue that the rule's label names for an alert with these labels.
fn venue<'a>(rule: &RuleSpec, labels: &'a Labels) -> Option<&'a str> {
    rule.labels.contains_key(TRADING_CALENDAR).then(|| labels.get(TRADING_CALENDAR)).flatten()
}

/// Why `for` counts all time although its rule asks for a session's, if that is so.
pub(super) fn ignorance(
    rule: &RuleSpec,
    labels: &Labels,
    calendar: &Calendar,
    now: Timestamp,
) -> Option<String> {
    let mic = venue(rule, labels)?;
    (calendar.phase(mic, instant(now)) == Phase::Unknown)
        .then(|| format!("rule {:?}: nobody knows what {mic} does now: `for` counts all time", rule.name))
}

/// What is wrong with a calendar's name: message and remedy.
pub(super) fn unknown_calendar(name: &str) -> Option<(String, String)> {
    let calendar = Calendar::new();
    let known = calendar.mics();
    // A template is known only when the alert is there.
    if known.contains(&name) || name.contains("{{") {
        return None;
    }
    let far = |mic: &&str| yaml::distance(&name.to_ascii_uppercase(), mic);
    let mut near: Vec<&str> = known.iter().copied().filter(|mic| far(mic) <= 2).collect();
    near.sort_by_key(far);
    near.truncate(3);
    let meant = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
    Some((format!("unknown {TRADING_CALENDAR} {name:?}"), format!("{meant}known are {}", known.join(", "))))
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    let outside = if at.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(outside)
}

/// The first millisecond that is not before `at`.
fn timestamp(at: jiff::Timestamp) -> Timestamp {
    let whole = at.as_millisecond();
    let later = i64::from(jiff::Timestamp::from_millisecond(whole).is_ok_and(|floor| floor < at));
    Timestamp::from_millis(whole + later)
}
