//! Condenses a session list into the tables of this crate:
//!
//! ```text
//! cargo run -p tradewatch-calendar --example condense -- XNYS America/New_York \
//!     "New York Stock Exchange" XNYS.csv data/XNYS.txt tests/data/XNYS.txt
//! ```
//!
//! The input is a CSV of `exchange_calendars` or `pandas_market_calendars` as described in `data/NOTICE`.
//! The first output says regular hours in local time and names the exceptions; the second lists every
//! session in UTC without any logic, for the tests to compare with. Neither is edited by hand: what the
//! source has wrong stands in `data/corrections.txt` and is applied to both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// Hours that hold for at least this many sessions in a row are regular; half days never do.
const REGULAR_RUN_MIN: usize = 5;

/// One session of the source.
struct Row {
    date: Date,
    open: Timestamp,
    close: Timestamp,
    recess: Option<(Timestamp, Timestamp)>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mic, zone, name, input, table, oracle] = args.as_slice() else {
        panic!("usage: condense MIC ZONE NAME INPUT.csv TABLE.txt ORACLE.txt");
    };
    let text = std::fs::read_to_string(input).expect("input CSV");
    let corrections = include_str!("../data/corrections.txt");
    let closed: BTreeSet<&str> = corrections
        .lines()
        .filter_map(|line| line.strip_prefix(mic.as_str())?.trim_start().strip_prefix("closed "))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    let rows: Vec<Row> =
        read(&text).into_iter().filter(|row| !closed.contains(row.date.to_string().as_str())).collect();
    let zone_name = zone;
    let zone = TimeZone::get(zone).expect("zone");
    std::fs::write(table, condense(mic, zone_name, name, &zone, &rows)).expect("table is writable");
    std::fs::write(oracle, list(&rows)).expect("oracle is writable");
}

fn read(text: &str) -> Vec<Row> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("header").split(',').collect();
    let column = |names: [&str; 2]| header.iter().position(|h| names.contains(h)).expect("known column");
    let (open, close) = (column(["open_utc", "market_open"]), column(["close_utc", "market_close"]));
    let (from, to) = (column(["break_start_utc", "break_start"]), column(["break_end_utc", "break_end"]));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let at = |i: usize| cells[i].parse::<Timestamp>().expect("time stamp");
            let recess = (!cells[from].is_empty()).then(|| (at(from), at(to)));
            Row {
                date: cells[0].parse().expect("date"),
                open: at(open),
                close: at(close),
                recess: recess.filter(|(from, to)| from < to),
            }
        })
        .collect()
}

/// Hours of a session in local time: `09:30-16:00`, `09:00-11:30,12:30-15:00`, `-17:00-16:00` (from the day before).
fn hours(row: &Row, zone: &TimeZone) -> String {
    let local = |ts: Timestamp| {
        let at = zone.to_datetime(ts);
        let day = match at.date().since(row.date).expect("near").get_days() {
            0 => "",
            -1 => "-",
            other => panic!("session {} has a bound {other} days away", row.date),
        };
        format!("{day}{:02}:{:02}", at.hour(), at.minute())
    };
    match row.recess {
        None => format!("{}-{}", local(row.open), local(row.close)),
        Some((from, to)) => {
            format!("{}-{},{}-{}", local(row.open), local(from), local(to), local(row.close))
        }
    }
}

fn condense(mic: &str, zone_name: &str, name: &str, zone: &TimeZone, rows: &[Row]) -> String {
    let hours: Vec<String> = rows.iter().map(|row| hours(row, zone)).collect();
    let mut regular: Vec<(Date, &str)> = Vec::new();
    let mut special: Vec<(Date, &str)> = Vec::new();
    let mut i = 0;
    while i < rows.len() {
        let current = regular.last().map_or("", |(_, hours)| *hours);
        let run = hours[i..].iter().take_while(|h| **h == hours[i]).count();
        // A lone exception inside a run must not hide that the regular hours changed.
        let weekday = !matches!(rows[i].date.weekday(), Weekday::Saturday | Weekday::Sunday);
        if hours[i] != current && weekday && (run >= REGULAR_RUN_MIN || regular.is_empty()) {
            regular.push((rows[i].date, &hours[i]));
        } else if hours[i] != current || !weekday {
            special.push((rows[i].date, &hours[i]));
        }
        i += 1;
    }
    let (first, last) = (Date::constant(2015, 1, 1), Date::constant(2027, 12, 31));
    let sessions: BTreeSet<Date> = rows.iter().map(|row| row.date).collect();
    let mut closed: BTreeMap<i16, Vec<Date>> = BTreeMap::new();
    let mut day = first;
    while day <= last {
        let weekday = !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        if weekday && !sessions.contains(&day) {
            closed.entry(day.year()).or_default().push(day);
        }
        day = day.checked_add(1.day()).expect("in range");
    }
    let mut out = format!("mic {mic}\nname {name}\nzone {zone_name}\nspan {first} {last}\n");
    for (date, hours) in regular {
        writeln!(out, "regular {date} {hours}").expect("to a string");
    }
    for dates in closed.values() {
        let dates: Vec<String> = dates.iter().map(Date::to_string).collect();
        writeln!(out, "closed {}", dates.join(" ")).expect("to a string");
    }
    for (date, hours) in special {
        writeln!(out, "hours {date} {hours}").expect("to a string");
    }
    out
}

/// Every session in UTC: one line per month and hours, in minutes from midnight UTC of the session's date.
fn list(rows: &[Row]) -> String {
    let mut lines: BTreeMap<(String, String), Vec<i8>> = BTreeMap::new();
    for row in rows {
        let midnight = row.date.to_zoned(TimeZone::UTC).expect("in range").timestamp();
        let minutes = |ts: Timestamp| (ts.as_second() - midnight.as_second()) / 60;
        let hours = match row.recess {
            None => format!("{}..{}", minutes(row.open), minutes(row.close)),
            Some((from, to)) => {
                format!("{}..{},{}..{}", minutes(row.open), minutes(from), minutes(to), minutes(row.close))
            }
        };
        let month = format!("{:04}-{:02}", row.date.year(), row.date.month());
        lines.entry((month, hours)).or_default().push(row.date.day());
    }
    let mut out = String::new();
    for ((month, hours), days) in lines {
        let days: Vec<String> = days.iter().map(|day| format!("{day:02}")).collect();
        writeln!(out, "{month} {hours} {}", days.join(" ")).expect("to a string");
    }
    out
}
