//! The committed tables: regular hours in local time and the exceptions to them, expanded to sessions.
//!
//! A table is text, one fact a line:
//!
//! ```text
//! mic XTKS
//! name Tokyo Stock Exchange
//! zone Asia/Tokyo
//! span 2015-01-01 2027-12-31                    the first and the last date it knows
//! regular 2024-11-05 09:00-11:30,12:30-15:30    hours from this date on, with the break between
//! closed 2015-01-01 2015-01-02                  weekdays without a session
//! hours 2015-11-27 09:30-13:00                  other hours on one date, or a session on a weekend
//! ```
//!
//! A time with a minus sign in front is on the day before: `-17:00-16:00`. Behind the hours may stand when the
//! session before them begins and the one after them ends: `09:30-16:00 extended 04:00-20:00`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use crate::{Horizon, Session};

/// One venue, expanded.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: &'static str,
    pub zone: TimeZone,
    pub horizon: Horizon,
    /// In order, without overlap.
    pub sessions: Vec<Session>,
}

/// MIC, table, and its expansion once somebody asked.
struct Entry(&'static str, &'static str, OnceLock<Table>);

macro_rules! table {
    ($mic:literal from $file:literal) => {
        Entry($mic, include_str!(concat!("../data/", $file, ".txt")), OnceLock::new())
    };
}

// Sorted by MIC. Nasdaq keeps the days and hours of the New York Stock Exchange.
static TABLES: [Entry; 17] = [
    table!("BVMF" from "BVMF"),
    table!("CMES" from "CMES"),
    table!("XAMS" from "XAMS"),
    table!("XASX" from "XASX"),
    table!("XBOM" from "XBOM"),
    table!("XETR" from "XETR"),
    table!("XFRA" from "XFRA"),
    table!("XHKG" from "XHKG"),
    table!("XKRX" from "XKRX"),
    table!("XLON" from "XLON"),
    table!("XNAS" from "XNYS"),
    table!("XNYS" from "XNYS"),
    table!("XPAR" from "XPAR"),
    table!("XSES" from "XSES"),
    table!("XSWX" from "XSWX"),
    table!("XTKS" from "XTKS"),
    table!("XTSE" from "XTSE"),
];

/// The venues that have a table.
pub fn mics() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|Entry(mic, ..)| *mic)
}

/// The table of a venue.
pub fn get(mic: &str) -> Option<&'static Table> {
    let at = TABLES.binary_search_by(|Entry(name, ..)| (*name).cmp(mic)).ok()?;
    let Entry(mic, text, table) = &TABLES[at];
    Some(table.get_or_init(|| {
        let mut table =
            expand(text).expect("committed tables are well-formed, and a test expands each of them");
        if *mic == "XNAS" {
            table.name = "Nasdaq";
        }
        table
    }))
}

/// Trading hours in local time.
#[derive(Copy, Clone, Debug)]
pub struct Hours {
    open: Moment,
    recess: Option<(Moment, Moment)>,
    close: Moment,
    /// Begin of the session before, end of the session behind.
    extended: Option<(Moment, Moment)>,
}

/// A time of the trading date, or of the day before.
#[derive(Copy, Clone, Debug)]
struct Moment {
    is_day_before: bool,
    time: Time,
}

/// Parses and expands one table; `None` if it is not well-formed.
fn expand(text: &'static str) -> Option<Table> {
    let (mut name, mut zone, mut span) = ("", None, None);
    let mut regular: Vec<(Date, Hours)> = Vec::new();
    let mut special: BTreeMap<Date, Hours> = BTreeMap::new();
    let mut closed: BTreeSet<Date> = BTreeSet::new();
    for line in text.lines() {
        let (key, rest) = line.split_once(' ')?;
        match key {
            "mic" => {}
            "name" => name = rest,
            // The bundled database, so that every machine gives the same answer.
            "zone" => zone = Some(TimeZoneDatabase::bundled().get(rest).ok()?),
            "span" => {
                let (first, last) = rest.split_once(' ')?;
                span = Some((first.parse::<Date>().ok()?, last.parse::<Date>().ok()?));
            }
            "regular" | "hours" => {
                let (date, hours) = rest.split_once(' ')?;
                let (date, hours) = (date.parse().ok()?, parse_hours(hours)?);
                if key == "regular" {
                    regular.push((date, hours));
                } else {
                    special.insert(date, hours);
                }
            }
            "closed" => {
                for date in rest.split(' ') {
                    closed.insert(date.parse().ok()?);
                }
            }
            _ => return None,
        }
    }
    let (zone, (first, last)) = (zone?, span?);
    let mut sessions = Vec::new();
    let mut day = first;
    while day <= last {
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        let exception = special.get(&day);
        let is_trading = exception.is_some() || (!weekend && !closed.contains(&day));
        // Before the first regular line there is no session, since the span may begin with a holiday.
        let usual = regular.iter().rev().find(|(from, _)| *from <= day).map(|(_, hours)| hours);
        if let Some(hours) = exception.or(usual).filter(|_| is_trading) {
            sessions.push(session(day, hours, exception.is_some(), &zone)?);
        }
        day = day.checked_add(1.day()).ok()?;
    }
    let midnight = |date: Date| at(&zone, date.at(0, 0, 0, 0));
    let horizon = Horizon { from: midnight(first)?, to: midnight(last.checked_add(1.day()).ok()?)? };
    Some(Table { name, zone, horizon, sessions })
}

/// The session of a date; `None` if an instant is out of the range of time.
pub fn session(date: Date, hours: &Hours, is_special: bool, zone: &TimeZone) -> Option<Session> {
    let instant = |moment: Moment| {
        let day = if moment.is_day_before { date.checked_sub(1.day()).ok()? } else { date };
        at(zone, day.to_datetime(moment.time))
    };
    let pair = |pair: Option<(Moment, Moment)>| match pair {
        Some((from, to)) => Some(Some((instant(from)?, instant(to)?))),
        None => Some(None),
    };
    let (open, close) = (instant(hours.open)?, instant(hours.close)?);
    Some(Session {
        date,
        open,
        close,
        recess: pair(hours.recess)?,
        extended: pair(hours.extended)?,
        is_special,
    })
}

fn at(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    Some(zone.to_zoned(local).ok()?.timestamp())
}

/// `09:30-16:00`, with a break `09:00-11:30,12:30-15:00`, from the evening before `-17:00-16:00`; each of them with
/// ` extended 04:00-20:00` behind it. `None` for anything else, and where the times do not follow each other.
pub fn parse_hours(text: &str) -> Option<Hours> {
    let part = |text: &str| -> Option<(Moment, Moment)> {
        // The dash between the two times is the one behind five characters and a possible sign.
        let (open, close) = text.split_at_checked(if text.starts_with('-') { 6 } else { 5 })?;
        Some((moment(open)?, moment(close.strip_prefix('-')?)?))
    };
    let (regular, extended) = match text.split_once(" extended ") {
        Some((regular, extended)) => (regular, Some(part(extended)?)),
        None => (text, None),
    };
    let hours = match regular.split_once(',') {
        None => {
            let (open, close) = part(regular)?;
            Hours { open, recess: None, close, extended }
        }
        Some((morning, afternoon)) => {
            let ((open, from), (to, close)) = (part(morning)?, part(afternoon)?);
            Hours { open, recess: Some((from, to)), close, extended }
        }
    };
    let (pre, post) = extended.unwrap_or((hours.open, hours.close));
    let (from, to) = hours.recess.unwrap_or((hours.close, hours.close));
    let order = [pre, hours.open, from, to, hours.close, post].map(|m| (!m.is_day_before, m.time));
    (order.is_sorted() && order[1] < order[4]).then_some(hours)
}

fn moment(text: &str) -> Option<Moment> {
    let (is_day_before, time) = match text.strip_prefix('-') {
        Some(time) => (true, time),
        None => (false, text),
    };
    let (hour, minute) = time.split_once(':')?;
    Some(Moment { is_day_before, time: Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()? })
}
