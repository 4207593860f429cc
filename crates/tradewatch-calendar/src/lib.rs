//! Trading sessions of exchanges, with an explicit horizon.
//!
//! Tables beat rules here: ad hoc closures are what rules get wrong, and what a table does not know it
//! can say. Within its horizon each venue has a list of sessions, taken from published tables
//! (`data/NOTICE`) and compared session by session with them in the tests; beyond it, and for a venue
//! that is not known, every answer is [`Phase::Unknown`].
//!
//! All intervals are half-open: at the very instant of the open the market is open, at that of the
//! close it is closed.
//!
//! ```
//! use tradewatch_calendar::{Calendar, Phase};
//!
//! let calendar = Calendar::new();
//! let day_after_thanksgiving = "2026-11-27T13:00-05:00[America/New_York]".parse::<jiff::Zoned>().unwrap();
//! assert_eq!(calendar.phase("XNYS", day_after_thanksgiving.timestamp()), Phase::Closed);
//! assert_eq!(calendar.phase("CRYPTO", day_after_thanksgiving.timestamp()), Phase::Open);
//! ```

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use table::Table;

/// The venue that never closes.
pub const CRYPTO: &str = "CRYPTO";

/// What a venue does at an instant.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Continuous trading.
    Open,
    /// No trading: night, weekend, holiday, lunch break.
    Closed,
    /// The venue is not known, or the instant lies beyond the horizon of its table.
    Unknown,
}

impl Phase {
    /// As it stands in labels: `open`, `closed`, `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Closed => "closed",
            Phase::Unknown => "unknown",
        }
    }

    /// Whether it is open, where that is known.
    pub const fn is_open(self) -> Option<bool> {
        match self {
            Phase::Open => Some(true),
            Phase::Closed => Some(false),
            Phase::Unknown => None,
        }
    }
}

/// One trading session: `[open, close)` without `recess`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Session {
    /// The trading date, which the session may begin the evening before.
    pub date: Date,
    /// The first instant of trading.
    pub open: Timestamp,
    /// The first instant after it.
    pub close: Timestamp,
    /// The break in its middle, half-open as well.
    pub recess: Option<(Timestamp, Timestamp)>,
    /// Whether its hours are not the regular ones of its time: a half day, or a special session.
    pub is_special: bool,
}

impl Session {
    /// Whether there is trading at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.open <= now && now < self.close && self.recess.is_none_or(|(from, to)| now < from || to <= now)
    }
}

/// The first instant that a table covers, and the first after it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Horizon {
    /// The first instant covered.
    pub from: Timestamp,
    /// The first instant not covered any more.
    pub to: Timestamp,
}

impl Horizon {
    const FOREVER: Horizon = Horizon { from: Timestamp::MIN, to: Timestamp::MAX };

    fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.to
    }
}

/// Every venue that is known, by market identifier code (ISO 10383), and `CRYPTO`.
///
/// # Cost
/// The first question about a venue expands its table (about a millisecond); each further one is a
/// binary search. Clones share the tables.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    virtuals: BTreeMap<String, Virtual>,
}

/// A session that repeats for ever: the equity market of a demonstration.
#[derive(Copy, Clone, Debug)]
struct Virtual {
    open_at: Timestamp,
    session: SignedDuration,
    period: SignedDuration,
}

impl Calendar {
    /// The calendar of the committed tables.
    pub fn new() -> Calendar {
        Calendar::default()
    }

    /// The same calendar with a virtual session at `mic`: open from `open_at` for `session_length`, closed
    /// for `closed_length`, open again, and so on for ever. Before `open_at` it is closed.
    ///
    /// Broker, feed and rules read one such calendar, so that they agree. A session lasts at least a second.
    pub fn with_virtual_session(
        mut self,
        mic: &str,
        open_at: Timestamp,
        session_length: Duration,
        closed_length: Duration,
    ) -> Calendar {
        let signed = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
        let session = signed(session_length).max(SignedDuration::from_secs(1));
        let period = session.saturating_add(signed(closed_length));
        self.virtuals.insert(mic.to_owned(), Virtual { open_at, session, period });
        self
    }

    /// The venues that are known, sorted.
    pub fn mics(&self) -> Vec<&str> {
        let mut mics: Vec<&str> = table::mics().chain([CRYPTO]).collect();
        mics.extend(self.virtuals.keys().map(String::as_str));
        mics.sort_unstable();
        mics.dedup();
        mics
    }

    /// The full name of a venue.
    pub fn name(&self, mic: &str) -> Option<&str> {
        if mic == CRYPTO { Some("Crypto, around the clock") } else { table::get(mic).map(|table| table.name) }
    }

    /// The time zone in which a venue speaks of its hours.
    pub fn zone(&self, mic: &str) -> Option<TimeZone> {
        if mic == CRYPTO { Some(TimeZone::UTC) } else { table::get(mic).map(|table| table.zone.clone()) }
    }

    /// The time that the table of a venue covers; `None` if the venue is not known.
    pub fn horizon(&self, mic: &str) -> Option<Horizon> {
        match self.venue(mic)? {
            Venue::Always | Venue::Virtual(_) => Some(Horizon::FOREVER),
            Venue::Table(table) => Some(table.horizon),
        }
    }

    /// What a venue does at `now`.
    pub fn phase(&self, mic: &str, now: Timestamp) -> Phase {
        match self.venue(mic) {
            None => Phase::Unknown,
            Some(Venue::Always) => Phase::Open,
            Some(Venue::Table(table)) if !table.horizon.contains(now) => Phase::Unknown,
            Some(_) => match self.session_at(mic, now) {
                Some(session) if session.contains(now) => Phase::Open,
                _ => Phase::Closed,
            },
        }
    }

    /// The session around `now`, its break included; `None` outside sessions and at a venue that never closes.
    pub fn session_at(&self, mic: &str, now: Timestamp) -> Option<Session> {
        self.sessions_from(mic, now).next().filter(|session| session.open <= now)
    }

    /// The next instant after `now` at which trading begins, or begins again after a break.
    ///
    /// `None` if the venue is not known, never closes, or the answer lies beyond the horizon.
    pub fn next_open(&self, mic: &str, now: Timestamp) -> Option<Timestamp> {
        self.edges(mic, now, |session| [Some(session.open), session.recess.map(|(_, to)| to)])
    }

    /// The next instant after `now` at which trading ends, for good or for a break. `None` as for [`Calendar::next_open`].
    pub fn next_close(&self, mic: &str, now: Timestamp) -> Option<Timestamp> {
        self.edges(mic, now, |session| [session.recess.map(|(from, _)| from), Some(session.close)])
    }

    /// The sessions that have any instant in `[from, to)`, in order; none at a venue that never closes.
    pub fn sessions(&self, mic: &str, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Session> {
        self.sessions_from(mic, from).take_while(move |session| session.open < to)
    }

    fn edges(
        &self,
        mic: &str,
        now: Timestamp,
        edges: impl Fn(&Session) -> [Option<Timestamp>; 2],
    ) -> Option<Timestamp> {
        if let Venue::Table(table) = self.venue(mic)?
            && !table.horizon.contains(now)
        {
            return None;
        }
        self.sessions_from(mic, now).flat_map(|session| edges(&session)).flatten().find(|edge| *edge > now)
    }

    /// The sessions that close after `from`.
    fn sessions_from(&self, mic: &str, from: Timestamp) -> Box<dyn Iterator<Item = Session>> {
        match self.venue(mic) {
            None | Some(Venue::Always) => Box::new(std::iter::empty()),
            Some(Venue::Table(table)) => {
                let first = table.sessions.partition_point(|session| session.close <= from);
                Box::new(table.sessions[first..].iter().copied())
            }
            Some(Venue::Virtual(virtual_session)) => Box::new(virtual_session.sessions_from(from)),
        }
    }

    fn venue(&self, mic: &str) -> Option<Venue> {
        if let Some(virtual_session) = self.virtuals.get(mic) {
            return Some(Venue::Virtual(*virtual_session));
        }
        if mic == CRYPTO { Some(Venue::Always) } else { table::get(mic).map(Venue::Table) }
    }
}

enum Venue {
    Always,
    Virtual(Virtual),
    Table(&'static Table),
}

impl Virtual {
    fn sessions_from(self, from: Timestamp) -> impl Iterator<Item = Session> {
        let period = self.period.as_millis().max(1);
        let passed = from.as_millisecond().saturating_sub(self.open_at.as_millisecond());
        // One earlier than the division says, and then those that are over are skipped: no rounding to get wrong.
        let first = (i128::from(passed) / period - 1).max(0);
        (0i128..).map_while(move |k| self.nth(first + k)).skip_while(move |session| session.close <= from)
    }

    fn nth(&self, index: i128) -> Option<Session> {
        let after = SignedDuration::from_millis(i64::try_from(index * self.period.as_millis()).ok()?);
        let open = self.open_at.checked_add(after).ok()?;
        let close = open.checked_add(self.session).ok()?;
        Some(Session {
            date: TimeZone::UTC.to_datetime(open).date(),
            open,
            close,
            recess: None,
            is_special: false,
        })
    }
}
