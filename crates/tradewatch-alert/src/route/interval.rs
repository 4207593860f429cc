//! Time intervals: when a route is muted or active.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tradewatch_tsdb::Timestamp;

use crate::yaml::{Node, Reader};

/// A named interval: holds when any of its parts holds.
#[derive(Clone, Debug)]
pub struct NamedInterval {
    /// The name that routes use.
    pub name: String,
    /// Alternatives.
    pub parts: Vec<TimeInterval>,
}

/// Every field that is set must hold; an empty one holds always.
#[derive(Clone, Debug, Default)]
pub struct TimeInterval {
    /// Minutes of the day, end exclusive.
    times: Vec<(u16, u16)>,
    /// 0 is Sunday; inclusive.
    weekdays: Vec<(i64, i64)>,
    /// Inclusive; negative counts from the month's end.
    days_of_month: Vec<(i64, i64)>,
    months: Vec<(i64, i64)>,
    years: Vec<(i64, i64)>,
    location: Option<TimeZone>,
    /// The exchange whose session must be open.
    calendar: Option<UsedCalendar>,
}

/// A use of `trading_calendar`.
#[derive(Clone, Debug)]
pub(super) struct UsedCalendar {
    pub mic: String,
    pub line: usize,
    pub column: usize,
}

/// Answers whether an exchange's session is open at a time; `None` beyond what is known.
#[derive(Clone)]
pub struct Calendars(Arc<dyn Fn(&str, Timestamp) -> Option<bool> + Send + Sync>);

impl Calendars {
    /// Calendars that answer by `open`, which is told an exchange's MIC.
    pub fn new(open: impl Fn(&str, Timestamp) -> Option<bool> + Send + Sync + 'static) -> Calendars {
        Calendars(Arc::new(open))
    }
}

impl Default for Calendars {
    fn default() -> Calendars {
        Calendars::new(|_, _| None)
    }
}

impl fmt::Debug for Calendars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calendars")
    }
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl NamedInterval {
    /// Whether `at` lies inside; `None` where only a calendar that does not know could say.
    pub fn contains(&self, at: Timestamp, calendars: &Calendars) -> Option<bool> {
        let answers: Vec<Option<bool>> = self.parts.iter().map(|part| part.contains(at, calendars)).collect();
        if answers.contains(&Some(true)) {
            return Some(true);
        }
        (!answers.contains(&None)).then_some(false)
    }
}

impl TimeInterval {
    /// Whether `at` lies inside; `None` where the calendar does not know.
    pub fn contains(&self, at: Timestamp, calendars: &Calendars) -> Option<bool> {
        match &self.calendar {
            _ if !self.by_clock(at) => Some(false),
            Some(used) => (calendars.0)(&used.mic, at),
            None => Some(true),
        }
    }

    pub(super) fn calendar(&self) -> Option<&UsedCalendar> {
        self.calendar.as_ref()
    }

    fn by_clock(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return false };
        let local = instant.to_zoned(self.location.clone().unwrap_or(TimeZone::UTC));
        let within = |ranges: &[(i64, i64)], value: i64| {
            ranges.is_empty() || ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
        };
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let days = i64::from(local.days_in_month());
        let day = i64::from(local.day());
        (self.times.is_empty() || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && within(&self.weekdays, i64::from(local.weekday().to_sunday_zero_offset()))
            && within(&self.months, i64::from(local.month()))
            && within(&self.years, i64::from(local.year()))
            && (self.days_of_month.is_empty()
                || self.days_of_month.iter().any(|(from, to)| {
                    let real = |d: i64| if d < 0 { days + d + 1 } else { d };
                    (real(*from).max(1)..=real(*to).min(days)).contains(&day)
                }))
    }

    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> TimeInterval {
        let mut interval = TimeInterval::default();
        let Some(mut fields) = reader.fields(node, "a time interval") else { return interval };
        if let Some(times) = fields.take("times") {
            for item in reader.list(times, "times").to_vec() {
                if let Some(range) = read_times(&item, reader) {
                    interval.times.push(range);
                }
            }
        }
        let mut ranges = |name: &'static str, names: &[&str], first: i64, low: i64, high: i64| {
            let Some(node) = fields.take(name) else { return Vec::new() };
            let mut ranges = Vec::new();
            for item in reader.list(node, name).to_vec() {
                match read_range(item.text().unwrap_or(""), names, first) {
                    Ok((from, to))
                        if from < low || to > high || from == 0 && low < 0 || to == 0 && low < 0 =>
                    {
                        let message = format!("{name}: {} is out of range", item.describe());
                        reader.error(&item, message, format!("use {low} to {high}"));
                    }
                    Ok((from, to)) if from > to && (from < 0) == (to < 0) => {
                        let message = format!("{name}: {} ends before it starts", item.describe());
                        reader.error(&item, message, "write the earlier one first");
                    }
                    Ok(range) => ranges.push(range),
                    Err(message) => reader.error(&item, format!("{name}: {message}"), ""),
                }
            }
            ranges
        };
        interval.weekdays = ranges("weekdays", &WEEKDAYS, 0, 0, 6);
        interval.days_of_month = ranges("days_of_month", &[], 0, -31, 31);
        interval.months = ranges("months", &MONTHS, 1, 1, 12);
        interval.years = ranges("years", &[], 0, 1, 9999);
        if let Some(node) = fields.take("location") {
            let name = node.text().unwrap_or("");
            match TimeZone::get(name) {
                // The file asks for the machine's own zone.
                _ if name == "Local" => interval.location = Some(TimeZone::system()),
                Ok(zone) => interval.location = Some(zone),
                Err(_) => reader.error(
                    node,
                    format!("unknown time zone {name:?}"),
                    "write a name of the IANA database, for example America/New_York",
                ),
            }
        }
        if let Some(node) = fields.take("trading_calendar") {
            let mic = reader.text(node, "trading_calendar").unwrap_or_default();
            interval.calendar = Some(UsedCalendar { mic, line: node.line, column: node.column });
        }
        fields.finish(reader);
        interval
    }
}

fn read_times(node: &Node, reader: &mut Reader<'_>) -> Option<(u16, u16)> {
    let mut fields = reader.fields(node, "a time range")?;
    let start = fields.take("start_time");
    let end = fields.take("end_time");
    fields.finish(reader);
    let (Some(start), Some(end)) = (start, end) else {
        reader.error(node, "a time range needs both start_time and end_time", "add the missing one");
        return None;
    };
    let mut minutes = |node: &Node| {
        let found = node.text().and_then(clock);
        if found.is_none() {
            reader.error(
                node,
                format!("{} is not a time of day", node.describe()),
                "write 00:00 to 24:00 in quotes",
            );
        }
        found
    };
    let (from, to) = (minutes(start)?, minutes(end)?);
    if from >= to {
        reader.error(
            node,
            "the time range ends before it starts",
            "an interval over midnight is written as two: one to 24:00, one from 00:00",
        );
        return None;
    }
    Some((from, to))
}

/// `09:30` as minutes of the day; `24:00` is the end.
fn clock(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

/// `monday:friday`, `1:5`, `-3:-1`, `may`; `names` count from `first`.
fn read_range(text: &str, names: &[&str], first: i64) -> Result<(i64, i64), String> {
    let one = |text: &str| -> Result<i64, String> {
        let text = text.trim().to_lowercase();
        let named = names.iter().position(|name| *name == text).map(|at| at as i64 + first);
        named.or_else(|| text.parse().ok()).ok_or_else(|| format!("{text:?} is not understood"))
    };
    match text.split_once(':') {
        Some((from, to)) => Ok((one(from)?, one(to)?)),
        None => one(text).map(|value| (value, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, at: &str) -> bool {
        let (node, _) = crate::yaml::parse("t.yml", yaml).expect("yaml");
        let mut reader = Reader::new("t.yml", yaml);
        let interval = TimeInterval::read(&node.expect("node"), &mut reader);
        assert!(reader.errors.is_empty(), "{:?}", reader.errors);
        let at: jiff::Timestamp = at.parse().expect("time");
        let open = |mic: &str, at: Timestamp| match mic {
            "XNYS" => Some(at.as_millis().rem_euclid(86_400_000) >= 14 * 3_600_000),
            _ => None,
        };
        interval.contains(Timestamp::from_millis(at.as_millisecond()), &Calendars::new(open)) == Some(true)
    }

    #[test]
    fn a_trading_calendar_holds_while_its_session_is_open() {
        assert!(check("{trading_calendar: XNYS}", "2026-11-20T14:00:00Z"));
        assert!(!check("{trading_calendar: XNYS}", "2026-11-20T13:59:00Z"));
        assert!(!check("{trading_calendar: XNYS, weekdays: [monday]}", "2026-11-20T14:00:00Z"));
        assert!(!check("{trading_calendar: XLON}", "2026-11-20T14:00:00Z"), "unknown is not open");
    }

    #[test]
    fn fields_join_by_and_alternatives_by_or() {
        let hours = "{times: [{start_time: '09:30', end_time: '16:00'}], weekdays: ['monday:friday'], location: America/New_York}";
        assert!(check(hours, "2026-11-20T14:30:00Z"));
        assert!(!check(hours, "2026-11-20T14:29:59Z"));
        assert!(!check(hours, "2026-11-20T21:00:00Z"), "the end is exclusive");
        assert!(!check(hours, "2026-11-21T15:00:00Z"), "Saturday");
        assert!(check("{days_of_month: ['-1']}", "2028-02-29T12:00:00Z"));
        assert!(!check("{days_of_month: ['-1']}", "2028-02-28T12:00:00Z"));
        assert!(check("{months: ['may:july', 12], years: ['2026:2027']}", "2026-12-24T00:00:00Z"));
        assert!(!check("{months: ['may:july', 12], years: ['2026:2027']}", "2028-06-01T00:00:00Z"));
        assert!(check("{times: [{start_time: '22:00', end_time: '24:00'}]}", "2026-01-01T23:59:59Z"));
    }
}
