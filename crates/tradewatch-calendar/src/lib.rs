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
//! Sessions before and after the regular one are known for New York only, where a published source has them; elsewhere
//! [`Calendar::knows_extended_hours`] says that the time outside regular hours was not looked into. What happens after
//! the tables were made (a closure announced the day before, a halt) is laid over them as an [`Overlay`].
//!
//! ```
//! use tradewatch_calendar::{Calendar, Phase};
//!
//! let calendar = Calendar::new();
//! let day_after_thanksgiving = "2026-11-27T13:00-05:00[America/New_York]".parse::<jiff::Zoned>().unwrap();
//! assert_eq!(calendar.phase("XNYS", day_after_thanksgiving.timestamp()), Phase::Post);
//! assert_eq!(calendar.phase("CRYPTO", day_after_thanksgiving.timestamp()), Phase::Open);
//! ```

mod clock;
mod overlay;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

pub use clock::SessionClock;
pub use overlay::{Change, Entry, Halt, OVERLAY_ENTRIES_MAX, Overlay, OverlayError};
use table::Table;

/// The venue that never closes.
pub const CRYPTO: &str = "CRYPTO";

/// Foreign exchange, traded around the clock from Sunday 17:00 to Friday 17:00 in New York.
///
/// That is the week of the interbank market; it has no holidays in common, only thin days.
pub const FOREX: &str = "FOREX";

/// How long before the end of its table a venue should be complained about.
pub const HORIZON_WARNING: SignedDuration = SignedDuration::from_hours(60 * 24);

/// What a venue does at an instant.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// The session before the regular one, where it is known.
    Pre,
    /// Continuous trading.
    Open,
    /// The break in the middle of a session.
    Break,
    /// The session after the regular one, where it is known.
    Post,
    /// Trading of the whole venue is suspended within a session.
    Halted,
    /// No trading: night, weekend, holiday.
    Closed,
    /// The venue is not known, or the instant lies beyond the horizon of its table.
    Unknown,
}

impl Phase {
    /// Every phase, in the order of a day.
    pub const ALL: [Phase; 7] =
        [Phase::Pre, Phase::Open, Phase::Break, Phase::Post, Phase::Halted, Phase::Closed, Phase::Unknown];

    /// As it stands in labels: `pre`, `open`, `break`, `post`, `halted`, `closed`, `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Pre => "pre",
            Phase::Open => "open",
            Phase::Break => "break",
            Phase::Post => "post",
            Phase::Halted => "halted",
            Phase::Closed => "closed",
            Phase::Unknown => "unknown",
        }
    }

    /// Whether there is regular trading, where that is known.
    pub const fn is_open(self) -> Option<bool> {
        match self {
            Phase::Open => Some(true),
            Phase::Pre | Phase::Break | Phase::Post | Phase::Halted | Phase::Closed => Some(false),
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
    /// When the session before it begins and the one after it ends, where a source says so.
    pub extended: Option<(Timestamp, Timestamp)>,
    /// Whether its hours are not the regular ones of its time: a half day, or a special session.
    pub is_special: bool,
}

impl Session {
    /// Whether there is trading at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.parts().any(|(from, to)| from <= now && now < to)
    }

    /// The one or two intervals of trading, half-open.
    pub fn parts(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> + use<> {
        let (morning, afternoon) = match self.recess {
            None => ((self.open, self.close), None),
            Some((from, to)) => ((self.open, from), Some((to, self.close))),
        };
        std::iter::once(morning).chain(afternoon)
    }
}

/// Where a venue stands in its day.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Standing {
    /// What it does.
    pub phase: Phase,
    /// While there is trading: since when. Infinite (`None` inside) at a venue that never closes.
    pub trading: Option<(Option<Timestamp>, Option<Timestamp>)>,
}

impl Standing {
    /// Seconds since trading began, or began again after a break: `None` outside trading, infinite at a venue that
    /// never closes, so that "more than five minutes after the open" holds there.
    pub fn seconds_since_open(&self, now: Timestamp) -> Option<f64> {
        let (since, _) = self.trading?;
        Some(since.map_or(f64::INFINITY, |since| now.duration_since(since).as_secs_f64()))
    }

    /// Seconds until trading ends, for good or for a break: `None` outside trading, infinite at a venue that never
    /// closes.
    pub fn seconds_to_close(&self, now: Timestamp) -> Option<f64> {
        let (_, until) = self.trading?;
        Some(until.map_or(f64::INFINITY, |until| until.duration_since(now).as_secs_f64()))
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

/// Every venue that is known, by market identifier code (ISO 10383), and [`CRYPTO`] and [`FOREX`].
///
/// # Cost
/// The first question about a venue expands its table (about a millisecond); each further one is a
/// binary search. Clones share the tables.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    virtuals: BTreeMap<String, Virtual>,
    /// The tables that an overlay changed.
    changed: BTreeMap<String, Arc<Table>>,
    overlay: Overlay,
    halts: clock::Halts,
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

    /// The same calendar with the facts of `overlay` laid over its tables, in place of an earlier overlay.
    ///
    /// A fact about a venue that never closes, or beyond the horizon, changes nothing.
    ///
    /// # Cost
    /// A copy of the table (about 300 KB) for each venue with other sessions.
    pub fn with_overlay(mut self, overlay: Overlay) -> Calendar {
        self.changed.clear();
        for entry in overlay.entries() {
            let (date, hours) = match &entry.change {
                Change::Closed(date) => (*date, None),
                Change::Hours(date, hours) => (*date, table::parse_hours(hours)),
                Change::Halt(_) => continue,
            };
            let Some(original) = table::get(&entry.mic) else { continue };
            let table = self.changed.entry(entry.mic.clone()).or_insert_with(|| Arc::new(original.clone()));
            let table = Arc::make_mut(table);
            table.sessions.retain(|session| session.date != date);
            if let Some(hours) = hours
                && let Some(session) = table::session(date, &hours, true, &table.zone)
                && table.horizon.contains(session.open)
            {
                let at = table.sessions.partition_point(|other| other.date < date);
                table.sessions.insert(at, session);
            }
        }
        self.halts = clock::Halts::of(&overlay);
        self.overlay = overlay;
        self
    }

    /// The facts that are laid over the tables.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The venues that are known, sorted.
    pub fn mics(&self) -> Vec<&str> {
        let mut mics: Vec<&str> = table::mics().chain([CRYPTO, FOREX]).collect();
        mics.extend(self.virtuals.keys().map(String::as_str));
        mics.sort_unstable();
        mics.dedup();
        mics
    }

    /// The full name of a venue.
    pub fn name(&self, mic: &str) -> Option<&str> {
        match mic {
            CRYPTO => Some("Crypto, around the clock"),
            FOREX => Some("Foreign exchange, Sunday to Friday"),
            _ => table::get(mic).map(|table| table.name),
        }
    }

    /// The time zone in which a venue speaks of its hours.
    pub fn zone(&self, mic: &str) -> Option<TimeZone> {
        match mic {
            CRYPTO => Some(TimeZone::UTC),
            FOREX => table::get("XNYS").map(|table| table.zone.clone()),
            _ => table::get(mic).map(|table| table.zone.clone()),
        }
    }

    /// The time that the table of a venue covers; `None` if the venue is not known.
    pub fn horizon(&self, mic: &str) -> Option<Horizon> {
        match self.venue(mic)? {
            Venue::Always | Venue::Weekly | Venue::Virtual(_) => Some(Horizon::FOREVER),
            Venue::Table(table) => Some(table.horizon),
        }
    }

    /// How much of the table of a venue is left; `None` if it needs none, or the venue is not known.
    ///
    /// Below [`HORIZON_WARNING`] somebody should be told that newer tables are needed.
    pub fn horizon_left(&self, mic: &str, now: Timestamp) -> Option<SignedDuration> {
        match self.venue(mic)? {
            Venue::Table(table) => Some(table.horizon.to.duration_since(now)),
            Venue::Always | Venue::Weekly | Venue::Virtual(_) => None,
        }
    }

    /// Whether the sessions before and after the regular one are known at a venue. Where they are not, [`Phase::Closed`]
    /// says only that there is no regular trading.
    pub fn knows_extended_hours(&self, mic: &str) -> bool {
        match self.venue(mic) {
            None => false,
            Some(Venue::Always | Venue::Weekly | Venue::Virtual(_)) => true,
            Some(Venue::Table(table)) => table.sessions.iter().any(|session| session.extended.is_some()),
        }
    }

    /// What a venue does at `now`.
    pub fn phase(&self, mic: &str, now: Timestamp) -> Phase {
        let phase = match self.venue(mic) {
            None => Phase::Unknown,
            Some(Venue::Always) => Phase::Open,
            Some(Venue::Table(table)) => {
                if !table.horizon.contains(now) {
                    return Phase::Unknown;
                }
                let next = table.sessions.partition_point(|session| session.close <= now);
                let before = next.checked_sub(1).and_then(|i| table.sessions.get(i));
                match table.sessions.get(next) {
                    Some(session) if session.contains(now) => Phase::Open,
                    Some(session) if session.open <= now => Phase::Break,
                    Some(session) if session.extended.is_some_and(|(pre, _)| pre <= now) => Phase::Pre,
                    _ if before.and_then(|s| s.extended).is_some_and(|(_, post)| now < post) => Phase::Post,
                    _ => Phase::Closed,
                }
            }
            Some(Venue::Weekly | Venue::Virtual(_)) => {
                if self.session_at(mic, now).is_some() {
                    Phase::Open
                } else {
                    Phase::Closed
                }
            }
        };
        if phase == Phase::Open && self.halts(mic, now).any(|halt| halt.symbol.is_none()) {
            return Phase::Halted;
        }
        phase
    }

    /// The halts that hold at a venue at `now`, of symbols and of the whole venue.
    pub fn halts(&self, mic: &str, now: Timestamp) -> impl Iterator<Item = &Halt> {
        self.overlay.entries().iter().filter_map(move |entry| match &entry.change {
            Change::Halt(halt) if entry.mic == mic && halt.contains(now) => Some(halt),
            _ => None,
        })
    }

    /// Whether a symbol is halted at `now`, alone or with its venue.
    pub fn is_halted(&self, mic: &str, symbol: &str, now: Timestamp) -> bool {
        self.halt(mic, symbol, now).is_some()
    }

    /// The fact that halts a symbol at `now`, alone or with its venue; the first one of several.
    pub fn halt(&self, mic: &str, symbol: &str, now: Timestamp) -> Option<&Entry> {
        self.overlay.entries().iter().find(|entry| match &entry.change {
            Change::Halt(halt) => {
                let concerns = halt.symbol.as_deref().is_none_or(|halted| halted == symbol);
                entry.mic == mic && concerns && halt.contains(now)
            }
            Change::Closed(_) | Change::Hours(..) => false,
        })
    }

    /// Where a venue stands in its day at `now`.
    pub fn standing(&self, mic: &str, now: Timestamp) -> Standing {
        let phase = self.phase(mic, now);
        let trading = (phase == Phase::Open).then(|| {
            let part = self
                .session_at(mic, now)
                .and_then(|session| session.parts().find(|(from, to)| *from <= now && now < *to));
            part.map_or((None, None), |(from, to)| (Some(from), Some(to)))
        });
        Standing { phase, trading }
    }

    /// How long there was regular trading within `[from, to)`. Halts of the whole venue are taken out. `None` if any of it lies beyond the horizon, or the venue is not known.
    pub fn trading_time(&self, mic: &str, from: Timestamp, to: Timestamp) -> Option<SignedDuration> {
        if to > from
            && let Venue::Table(table) = self.venue(mic)?
            && (!table.horizon.contains(from) || to > table.horizon.to)
        {
            return None;
        }
        self.venue(mic).map(|_| self.clock(mic, None).counted(from, to))
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
    pub fn sessions(&self, mic: &str, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Session> + '_ {
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
    fn sessions_from(&self, mic: &str, from: Timestamp) -> Box<dyn Iterator<Item = Session> + '_> {
        match self.venue(mic) {
            None | Some(Venue::Always) => Box::new(std::iter::empty()),
            Some(Venue::Weekly) => Box::new(weeks_from(from)),
            Some(Venue::Table(table)) => {
                let first = table.sessions.partition_point(|session| session.close <= from);
                Box::new(table.sessions[first..].iter().copied())
            }
            Some(Venue::Virtual(virtual_session)) => Box::new(virtual_session.sessions_from(from)),
        }
    }

    fn venue(&self, mic: &str) -> Option<Venue<'_>> {
        if let Some(virtual_session) = self.virtuals.get(mic) {
            return Some(Venue::Virtual(*virtual_session));
        }
        match mic {
            CRYPTO => Some(Venue::Always),
            FOREX => Some(Venue::Weekly),
            _ => self.changed.get(mic).map(Arc::as_ref).or_else(|| table::get(mic)).map(Venue::Table),
        }
    }
}

enum Venue<'a> {
    Always,
    Weekly,
    Virtual(Virtual),
    Table(&'a Table),
}

/// The weeks of [`FOREX`] that end after `from`; their trading date is the Friday.
fn weeks_from(from: Timestamp) -> impl Iterator<Item = Session> {
    let zone = TimeZoneDatabase::bundled().get("America/New_York").ok();
    let first = zone.as_ref().map(|zone| zone.to_datetime(from).date());
    let nth = move |week: i64| {
        let near = first?.checked_add((7 * (week - 1)).days()).ok()?;
        let friday = near.nth_weekday(1, Weekday::Friday).ok()?;
        let sunday = friday.checked_sub(5.days()).ok()?;
        let at = |date: Date| Some(zone.as_ref()?.to_zoned(date.at(17, 0, 0, 0)).ok()?.timestamp());
        Some(Session {
            date: friday,
            open: at(sunday)?,
            close: at(friday)?,
            recess: None,
            extended: None,
            is_special: false,
        })
    };
    // The first ones may be over already, since `from` may be any day of the week.
    (0i64..).map_while(nth).skip_while(move |session| session.close <= from)
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
            extended: None,
            is_special: false,
        })
    }
}
