//! A line: its head, and the fields of an event and its spans.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};

use super::trace::TraceContext;

/// Names that a line has itself; a field of one of them is written as `field_<name>`.
const RESERVED: [&str; 7] = ["timestamp", "level", "service", "event", "target", "trace_id", "span_id"];

/// Fields in their order, each name once.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some(known) => known.1 = value,
            None => self.0.push((field.name(), value)),
        }
    }

    /// Takes over what is not there yet: the fields of a span around.
    pub(super) fn add_missing(&mut self, around: &Fields) {
        for (name, value) in &around.0 {
            if !self.0.iter().any(|(known, _)| known == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    /// Takes out what says which trace this is.
    pub(super) fn take_trace(&mut self) -> Option<TraceContext> {
        let mut take = |wanted: &str| {
            let at = self.0.iter().position(|(name, _)| *name == wanted)?;
            match self.0.remove(at).1 {
                Value::String(text) => Some(text),
                _ => None,
            }
        };
        let parent = take("traceparent").and_then(|text| TraceContext::parse(&text)).map(TraceContext::child);
        parent.or_else(|| TraceContext::of_trace(&take("trace_id")?))
    }

    /// Takes out the message; an event without one is called by its place.
    pub(super) fn message(&mut self, name: &str) -> String {
        match self.0.iter().position(|(name, _)| *name == "message") {
            Some(at) => match self.0.remove(at).1 {
                Value::String(text) => text,
                other => other.to_string(),
            },
            None => name.to_owned(),
        }
    }

    pub(super) fn write(&self, line: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            // A macro's `r#type = …` is the field `type`.
            let name = name.strip_prefix("r#").unwrap_or(name);
            line.extend_from_slice(b",");
            if RESERVED.contains(&name) {
                text(line, &format!("field_{name}"));
            } else {
                text(line, name);
            }
            line.push(b':');
            serde_json::to_writer(&mut *line, value).expect("a JSON value is written to a Vec");
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        let number = serde_json::Number::from_f64(value).map(Value::Number);
        self.set(field, number.unwrap_or_else(|| Value::String(value.to_string())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.set(field, value.to_string().into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.set(field, value.to_string().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(text, ": {error}"); // Writing to a String does not fail.
            source = error.source();
        }
        self.set(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

fn text(line: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(line, value).expect("a text is written to a Vec");
}

/// What every line begins with.
pub(super) struct Head<'a> {
    pub(super) timestamp: SystemTime,
    pub(super) level: &'a str,
    pub(super) service: &'a str,
    pub(super) event: String,
    pub(super) target: &'a str,
    pub(super) trace: Option<TraceContext>,
}

impl Head<'_> {
    /// The line up to where its fields begin.
    pub(super) fn begin(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(b"{\"timestamp\":\"");
        write_rfc3339(&mut line, self.timestamp);
        line.extend_from_slice(b"\",\"level\":\"");
        line.extend_from_slice(self.level.as_bytes());
        for (name, value) in [("service", self.service), ("event", &self.event), ("target", self.target)] {
            line.extend_from_slice(if name == "service" { b"\",\"" } else { b",\"" });
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b"\":");
            text(&mut line, value);
        }
        if let Some(trace) = self.trace {
            let ids = format!(",\"trace_id\":\"{}\",\"span_id\":\"{}\"", trace.trace_id(), trace.span_id());
            line.extend_from_slice(ids.as_bytes());
        }
        line
    }

    /// Ends a line that was too long: without its fields, or, if the head alone is too long, without the event's text.
    pub(super) fn end_shortened(line: &mut Vec<u8>, head_len: usize, bytes: usize) {
        if line.len() < head_len {
            line.clear();
            line.extend_from_slice(b"{\"level\":\"warn\",\"event\":\"log_line_too_long\"");
        }
        line.extend_from_slice(format!(",\"bytes_left_out\":{bytes}}}\n").as_bytes());
    }
}

/// `2026-11-20T09:26:09.123456Z`.
pub(super) fn write_rfc3339(line: &mut Vec<u8>, time: SystemTime) {
    let since = super::since_epoch(time);
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Days to a date by eras of 400 years that begin in March: Hinnant, "chrono-compatible low-level date algorithms".
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:06}Z",
        second % 60,
        since.subsec_micros()
    )
    .expect("writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_told_in_utc() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_798_761_599_999_999, "2026-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            let mut line = Vec::new();
            write_rfc3339(&mut line, UNIX_EPOCH + Duration::from_micros(micros));
            assert_eq!(String::from_utf8(line).expect("text"), expected);
        }
    }
}
