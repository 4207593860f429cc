//! What became known after the tables were made: ad hoc closures, other hours, halts.
//!
//! One fact a line, the grammar of `data/corrections.txt` and halts besides; `#` begins a comment line:
//!
//! ```text
//! XNYS closed 2018-12-05 national day of mourning
//! XNYS hours 2026-11-27 09:30-13:00 half day, announced late
//! XNYS halt AAPL 2026-11-20T10:31:00-05:00 2026-11-20T10:36:00-05:00 LULD pause
//! XNYS halt * 2026-11-20T10:31:00-05:00 - market-wide circuit breaker, end not known yet
//! ```
//!
//! Dates are trading dates and hours local time of the venue; the times of a halt are RFC 3339. The reason at the end
//! of each line is required: somebody will ask.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::{CRYPTO, FOREX, table};

/// The facts that an overlay may hold; more are refused.
pub const OVERLAY_ENTRIES_MAX: usize = 10_000;

/// Facts that take precedence over the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    entries: Vec<Entry>,
}

/// One fact of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The venue, by market identifier code.
    pub mic: String,
    /// What is so.
    pub change: Change,
    /// Why, for the people who read it; never empty.
    pub reason: String,
}

/// What a fact says of its venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// No session on this trading date.
    Closed(Date),
    /// These hours on this trading date, as in `09:30-13:00`, `09:00-11:30,12:30-15:00`.
    Hours(Date, String),
    /// No trading in `[from, to)`, of one symbol or of the whole venue.
    Halt(Halt),
}

/// Trading that is suspended within a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The symbol that is halted; `None` for the whole venue.
    pub symbol: Option<String>,
    /// The first instant without trading.
    pub from: Timestamp,
    /// The first instant with trading again; `None` while nobody knows.
    pub to: Option<Timestamp>,
}

impl Halt {
    /// Whether it holds at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }
}

/// A line of an overlay that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayError {
    /// The line, from 1.
    pub line: usize,
    /// The column of what is wrong, from 1, in characters.
    pub column: usize,
    message: String,
}

impl OverlayError {
    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for OverlayError {}

impl Overlay {
    /// Reads a file of facts.
    ///
    /// # Errors
    /// At the first line that is not a fact: its place, the offending word, and what belongs there.
    pub fn parse(text: &str) -> Result<Overlay, OverlayError> {
        let mut entries = Vec::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let fail = |column, message| OverlayError { line: i + 1, column, message };
            if entries.len() == OVERLAY_ENTRIES_MAX {
                return Err(fail(
                    1,
                    format!("more than {OVERLAY_ENTRIES_MAX} facts; remove those that are past"),
                ));
            }
            entries.push(parse_line(line).map_err(|(column, message)| fail(column, message))?);
        }
        Ok(Overlay { entries })
    }

    /// Adds one fact.
    ///
    /// # Errors
    /// As [`Overlay::parse`], for a venue or hours that are not known, a missing reason, or one fact too many.
    pub fn push(&mut self, entry: Entry) -> Result<(), OverlayError> {
        // What is printed must be readable again; reading it is the check.
        let line = entry.to_string();
        let fail = |column, message| OverlayError { line: self.entries.len() + 1, column, message };
        if self.entries.len() >= OVERLAY_ENTRIES_MAX {
            return Err(fail(
                1,
                format!("more than {OVERLAY_ENTRIES_MAX} facts; remove those that are past"),
            ));
        }
        let read = parse_line(&line).map_err(|(column, message)| fail(column, message))?;
        if read != entry {
            return Err(fail(
                1,
                format!("`{line}` would be read as something else: no spaces in symbols, one line"),
            ));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Removes the fact at `index` of [`Overlay::entries`].
    pub fn remove(&mut self, index: usize) -> Option<Entry> {
        (index < self.entries.len()).then(|| self.entries.remove(index))
    }

    /// The facts in their order; where two contradict each other, the later one holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { mic, change, reason } = self;
        match change {
            Change::Closed(date) => write!(f, "{mic} closed {date} {reason}"),
            Change::Hours(date, hours) => write!(f, "{mic} hours {date} {hours} {reason}"),
            Change::Halt(Halt { symbol, from, to }) => {
                let to = to.map_or_else(|| "-".to_owned(), |to| to.to_string());
                write!(f, "{mic} halt {} {from} {to} {reason}", symbol.as_deref().unwrap_or("*"))
            }
        }
    }
}

/// Takes words off a line and remembers where they stood.
struct Words<'a> {
    line: &'a str,
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn column(&self) -> usize {
        let consumed = self.line.len() - self.rest.trim_start().len();
        self.line[..consumed].chars().count() + 1
    }

    fn next<T>(&mut self, what: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Result<T, (usize, String)> {
        let column = self.column();
        let rest = self.rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            return Err((column, format!("the line ends where {what} is expected")));
        }
        read(word).ok_or_else(|| (column, format!("`{word}` is not {what}")))
    }
}

fn parse_line(line: &str) -> Result<Entry, (usize, String)> {
    let mut words = Words { line, rest: line };
    let mic = words.next("a venue that is known, as XNYS", |word| {
        (table::get(word).is_some() || [CRYPTO, FOREX].contains(&word)).then(|| word.to_owned())
    })?;
    let at = words.column();
    let kind = words.next("`closed`, `hours` or `halt`", |word| {
        ["closed", "hours", "halt"].into_iter().find(|kind| *kind == word)
    })?;
    if kind != "halt" && table::get(&mic).is_none() {
        return Err((
            at,
            format!("{mic} has no table of days that could change; only a halt is possible there"),
        ));
    }
    let date = |words: &mut Words| words.next("a date, as 2026-11-27", |word| word.parse::<Date>().ok());
    let change = match kind {
        "closed" => Change::Closed(date(&mut words)?),
        "hours" => {
            let date = date(&mut words)?;
            let hours = words.next("hours, as 09:30-13:00 or 09:00-11:30,12:30-15:00", |word| {
                table::parse_hours(word).map(|_| word.to_owned())
            })?;
            Change::Hours(date, hours)
        }
        _ => {
            let symbol = words.next("a symbol, or * for the whole venue", |word| Some(word.to_owned()))?;
            let time = "a time with offset, as 2026-11-20T10:31:00-05:00";
            let from = words.next(time, |word| word.parse::<Timestamp>().ok())?;
            let end = words.column();
            let to = words.next(&format!("{time}, or - if it is not known yet"), |word| match word {
                "-" => Some(None),
                word => word.parse::<Timestamp>().ok().map(Some),
            })?;
            if to.is_some_and(|to| to <= from) {
                return Err((end, "the halt ends before it begins".to_owned()));
            }
            Change::Halt(Halt { symbol: (symbol != "*").then_some(symbol), from, to })
        }
    };
    let reason = words.rest.trim();
    if reason.is_empty() {
        return Err((words.column(), "the line ends where the reason is expected".to_owned()));
    }
    Ok(Entry { mic, change, reason: reason.to_owned() })
}
