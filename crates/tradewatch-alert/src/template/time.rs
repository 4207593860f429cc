//! Times and durations inside templates: how they print and what can be asked of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value as Go;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// The key under which a time hides in a map: seconds since the epoch.
const TIME: &str = "\u{1}time";
/// The key under which a duration hides in a map: seconds.
const DURATION: &str = "\u{1}duration";
/// Beside [`TIME`]: the zone in which the time prints, UTC where there is none.
const ZONE: &str = "\u{1}zone";

/// Year 1, Go's time that was never set.
pub(super) const NO_TIME: f64 = -62_135_596_800.0;

pub(super) fn time(secs: f64) -> Go {
    Go::Map(Arc::new(BTreeMap::from([(Arc::from(TIME), Go::Float(secs))])))
}

/// The same time as people in `zone` say it; `None` for what is no time.
pub(super) fn in_zone(value: &Go, zone: &str) -> Option<Go> {
    let secs = hidden(value, TIME)?;
    let map = [(Arc::from(TIME), Go::Float(secs)), (Arc::from(ZONE), Go::String(zone.into()))];
    Some(Go::Map(Arc::new(BTreeMap::from(map))))
}

/// Seconds since the epoch of a time.
pub(super) fn as_time(value: &Go) -> Option<f64> {
    hidden(value, TIME)
}

pub(super) fn duration(secs: f64) -> Go {
    Go::Map(Arc::new(BTreeMap::from([(Arc::from(DURATION), Go::Float(secs))])))
}

fn hidden(value: &Go, key: &str) -> Option<f64> {
    match value {
        Go::Map(map) => map.get(key).and_then(Go::as_float),
        _ => None,
    }
}

/// A duration as a number of seconds.
pub(super) fn as_duration(value: &Go) -> Option<f64> {
    hidden(value, DURATION)
}

/// How a time or a duration prints; `None` for anything else.
pub(super) fn print(value: &Go) -> Option<String> {
    if let Some(at) = moment(value) {
        return Some(print_zoned(&at));
    }
    hidden(value, DURATION).map(print_duration)
}

fn print_duration(secs: f64) -> String {
    let text = crate::duration::format_go(std::time::Duration::from_secs_f64(secs.abs().min(9e9)));
    if secs < 0.0 { format!("-{text}") } else { text }
}

/// Prometheus keeps milliseconds.
fn zoned(secs: f64) -> Option<Zoned> {
    let millis = (secs * 1000.0).round();
    jiff::Timestamp::from_millisecond(millis as i64).ok().map(|t| t.to_zoned(TimeZone::UTC))
}

/// The time that hides in `value`, in its zone.
fn moment(value: &Go) -> Option<Zoned> {
    let at = zoned(hidden(value, TIME)?)?;
    let zone = match value {
        Go::Map(map) => map.get(ZONE).and_then(Go::as_str).and_then(|name| TimeZone::get(name).ok()),
        _ => None,
    };
    Some(zone.map_or(at.clone(), |zone| at.with_time_zone(zone)))
}

/// `2006-01-02 15:04:05.999999999 -0700 MST`, in UTC.
pub(super) fn print_time(secs: f64) -> String {
    zoned(secs).map_or_else(|| format!("{secs}"), |at| print_zoned(&at))
}

fn print_zoned(at: &Zoned) -> String {
    let fraction = match at.subsec_nanosecond() {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    format!("{}{fraction} {}", at.strftime("%Y-%m-%d %H:%M:%S"), at.strftime("%z %Z"))
}

/// A method of a time or a duration.
pub(super) fn method(value: &Go, name: &str, args: &[Go]) -> Option<Result<Go, String>> {
    if let Some(secs) = hidden(value, DURATION) {
        return Some(match name {
            "Seconds" => Ok(Go::Float(secs)),
            "Minutes" => Ok(Go::Float(secs / 60.0)),
            "Hours" => Ok(Go::Float(secs / 3600.0)),
            "Milliseconds" => Ok(Go::Int((secs * 1e3) as i64)),
            "String" => Ok(Go::String(print_duration(secs).into())),
            _ => Err(format!("can't evaluate field {name} in type time.Duration")),
        });
    }
    let secs = hidden(value, TIME)?;
    let Some(at) = moment(value) else { return Some(Err(format!("the time {secs} is out of range"))) };
    Some(match (name, args) {
        ("Unix", []) => Ok(Go::Int(at.timestamp().as_second())),
        ("UnixMilli", []) => Ok(Go::Int(at.timestamp().as_millisecond())),
        ("UTC" | "Local", []) => Ok(time(secs)),
        ("IsZero", []) => Ok(Go::Bool(secs == NO_TIME)),
        ("Year", []) => Ok(Go::Int(at.year().into())),
        ("Month", []) => Ok(Go::String(at.strftime("%B").to_string().into())),
        ("Day", []) => Ok(Go::Int(at.day().into())),
        ("Hour", []) => Ok(Go::Int(at.hour().into())),
        ("Minute", []) => Ok(Go::Int(at.minute().into())),
        ("Second", []) => Ok(Go::Int(at.second().into())),
        ("YearDay", []) => Ok(Go::Int(at.day_of_year().into())),
        ("Weekday", []) => Ok(Go::String(at.strftime("%A").to_string().into())),
        ("String", []) => Ok(Go::String(print_zoned(&at).into())),
        ("Format", [Go::String(layout)]) => Ok(Go::String(format(&at, layout).into())),
        ("Format", _) => Err("wrong number of args for Format: want 1".to_owned()),
        _ => Err(format!("can't evaluate field {name} in type *time.Time")),
    })
}

/// The parts of Go's reference time, the longer ones first where one begins another.
const LAYOUT: [(&str, &str); 25] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Z07:00", "%:z"),
    (".000000000", "%.9f"),
    (".000000", "%.6f"),
    (".000", "%.3f"),
    (".999999999", "%.f"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("2", "%-d"),
    ("3", "%-I"),
];

pub(super) fn format_value(value: &Go, layout: &str) -> Option<String> {
    moment(value).map(|at| format(&at, layout))
}

fn format(at: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    'next: while let Some(c) = rest.chars().next() {
        for (part, directive) in LAYOUT {
            if let Some(after) = rest.strip_prefix(part) {
                // Go writes Z where the offset is nothing.
                let directive = if part == "Z07:00" && at.offset().is_zero() { "Z" } else { directive };
                out += &at.strftime(directive).to_string();
                rest = after;
                continue 'next;
            }
        }
        if let Some(after) = rest.strip_prefix('1') {
            out += &at.month().to_string();
            rest = after;
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}
