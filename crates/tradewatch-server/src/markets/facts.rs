//! Facts that people lay over the calendar while the monitor runs; bytes in `docs/formats/jsonl.md`.

use std::path::Path;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp as Instant};
use serde::{Deserialize, Serialize};
use tradewatch_calendar::{Calendar, Change, Entry, Halt, Overlay};
use tradewatch_tsdb::Timestamp;

use crate::audit::Actor;
use crate::error::Error;
use crate::jsonl::JsonLines;

/// Facts that people may have added at a time; more are refused.
pub const FACTS_MAX: usize = 2_000;
/// The longest halt that is taken: a halt that nobody lifts holds alerts back.
pub const HALT_MAX: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A halt that is over is forgotten after this time, a day's hours that long after the day: the charts of the past show
/// them until then.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Where a venue has no session to end a halt with.
const HALT_DEFAULT: SignedDuration = SignedDuration::from_hours(24);
/// Longest reason, and longest name of a symbol.
const REASON_BYTES_MAX: usize = 500;
const SYMBOL_BYTES_MAX: usize = 100;

/// One fact that somebody added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// From 1 on, never used twice while it is kept.
    pub id: u64,
    /// When it was added, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Who added it.
    pub actor: Actor,
    /// What is so.
    pub entry: Entry,
}

/// A fact as it is written down.
#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    at: i64,
    #[serde(flatten)]
    actor: Actor,
    fact: String,
}

/// What somebody asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct Asked {
    /// Their name; set by the caller.
    #[serde(skip, default = "nobody")]
    pub actor: Actor,
    mic: String,
    kind: Kind,
    date: Option<String>,
    hours: Option<String>,
    symbol: Option<String>,
    from: Option<String>,
    until: Option<String>,
    reason: String,
}

fn nobody() -> Actor {
    Actor::said("unknown")
}

#[derive(Copy, Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Closed,
    Hours,
    Halt,
}

impl Asked {
    /// The fact that is asked for. A halt without a beginning begins now; without an end it ends with the session, or
    /// the next one: a halt that is forgotten must not hold alerts back for ever.
    pub(super) fn entry(&self, calendar: &Calendar, now: Timestamp) -> Result<Entry, Error> {
        let bad = |message: String| Err(Error::query(message));
        let reason = self.reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            return bad(format!(
                "\"reason\" is one line of 1 to {REASON_BYTES_MAX} bytes: somebody will ask why"
            ));
        }
        let date = || -> Result<Date, Error> {
            let text = self.date.as_deref().unwrap_or("");
            text.parse().map_err(|_| Error::query(format!("\"date\" is {text:?}, not a date as 2026-11-27")))
        };
        let time = |name: &str, text: &str| -> Result<Instant, Error> {
            text.parse().map_err(|_| {
                Error::query(format!(
                    "{name:?} is {text:?}, not a time with offset as 2026-11-20T10:31:00-05:00"
                ))
            })
        };
        if calendar.horizon(&self.mic).is_none() {
            return bad(format!(
                "{:?} is not a venue that is known; known are {}",
                self.mic,
                calendar.mics().join(", ")
            ));
        }
        let instant = Instant::from_millisecond(now.as_millis()).unwrap_or(Instant::UNIX_EPOCH);
        if !matches!(self.kind, Kind::Halt) && calendar.horizon_left(&self.mic, instant).is_none() {
            return bad(format!(
                "{} has no table of days here that could change; only a halt is possible",
                self.mic
            ));
        }
        let change = match self.kind {
            Kind::Closed => Change::Closed(date()?),
            Kind::Hours => Change::Hours(date()?, self.hours.clone().unwrap_or_default()),
            Kind::Halt => {
                let symbol = self.symbol.clone().filter(|symbol| !symbol.is_empty() && symbol != "*");
                if symbol
                    .as_ref()
                    .is_some_and(|s| s.len() > SYMBOL_BYTES_MAX || s.chars().any(char::is_whitespace))
                {
                    return bad(format!("\"symbol\" has at most {SYMBOL_BYTES_MAX} bytes and no spaces"));
                }
                let from = self.from.as_deref().map_or(Ok(instant), |text| time("from", text))?;
                let until = match &self.until {
                    Some(text) => time("until", text)?,
                    None => calendar.next_close(&self.mic, from).unwrap_or(from + HALT_DEFAULT),
                };
                if until <= from || until.duration_since(from) > HALT_MAX {
                    return bad(format!(
                        "a halt from {from} until {until}: it lasts up to {} days",
                        HALT_MAX.as_hours() / 24
                    ));
                }
                Change::Halt(Halt { symbol, from, to: Some(until) })
            }
        };
        let entry = Entry { mic: self.mic.clone(), change, reason: reason.to_owned() };
        // The overlay reads what it is given: hours that are none are refused there.
        Overlay::default().push(entry.clone()).map_err(|error| Error::query(error.message().to_owned()))?;
        Ok(entry)
    }
}

/// All facts that people added, kept in a file.
#[derive(Debug)]
pub(super) struct Facts {
    file: JsonLines,
    all: Vec<Fact>,
    next_id: u64,
}

impl Facts {
    pub fn open(folder: Option<&Path>) -> Result<Facts, Error> {
        let (file, lines) = match folder {
            None => (JsonLines::in_memory(), Vec::new()),
            Some(folder) => JsonLines::open::<Line>(&folder.join("calendar.jsonl"))?,
        };
        let next_id = lines.iter().map(|line| line.id).max().unwrap_or(0) + 1;
        let read = |line: Line| match Overlay::parse(&line.fact) {
            Ok(overlay) => overlay.entries().first().map(|entry| Fact {
                id: line.id,
                at: line.at,
                actor: line.actor.clone(),
                entry: entry.clone(),
            }),
            Err(error) => {
                tracing::warn!("calendar.jsonl: skipped {:?}: {error}", line.fact);
                None
            }
        };
        Ok(Facts { file, all: lines.into_iter().filter_map(read).collect(), next_id })
    }

    /// In the order in which they were added.
    pub fn all(&self) -> &[Fact] {
        &self.all
    }

    pub fn add(&mut self, entry: Entry, asked: &Asked, now: Timestamp) -> Result<Fact, Error> {
        let mut all = self.all.clone();
        let instant = Instant::from_millisecond(now.as_millis()).unwrap_or(Instant::UNIX_EPOCH);
        all.retain(|fact| over(&fact.entry).is_none_or(|over| instant.duration_since(over) <= KEPT));
        if all.len() >= FACTS_MAX {
            return Err(Error::query(format!(
                "{FACTS_MAX} facts are held already; remove those that are past"
            )));
        }
        let fact = Fact { id: self.next_id, at: now.as_millis(), actor: asked.actor.clone(), entry };
        all.push(fact.clone());
        self.replace(all)?;
        self.next_id += 1;
        Ok(fact)
    }

    pub fn remove(&mut self, id: u64) -> Result<Fact, Error> {
        let mut all = self.all.clone();
        let Some(at) = all.iter().position(|fact| fact.id == id) else {
            return Err(Error::not_found(format!(
                "there is no fact {id}; those of the overlay file are changed there"
            )));
        };
        let fact = all.remove(at);
        self.replace(all)?;
        Ok(fact)
    }

    /// On disk first: what is in force outlives the process.
    fn replace(&mut self, all: Vec<Fact>) -> Result<(), Error> {
        let line = |fact: &Fact| Line {
            id: fact.id,
            at: fact.at,
            actor: fact.actor.clone(),
            fact: fact.entry.to_string(),
        };
        let lines: Vec<Line> = all.iter().map(line).collect();
        self.file.rewrite(lines.iter())?;
        self.all = all;
        Ok(())
    }
}

/// When a fact has nothing more to say.
fn over(entry: &Entry) -> Option<Instant> {
    let day = |date: &Date| {
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp() + SignedDuration::from_hours(48))
    };
    match &entry.change {
        Change::Closed(date) | Change::Hours(date, _) => day(date),
        Change::Halt(halt) => halt.to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Asked {
        serde_json::from_str(json).expect("a request")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<Instant>().expect("a time").as_millisecond())
    }

    #[test]
    fn what_is_asked_becomes_a_fact_with_an_end() {
        let calendar = Calendar::new();
        let now = at("2026-11-20T15:31:00Z");
        for (json, expected) in [
            (
                r#"{"mic":"XNYS","kind":"halt","symbol":"AAPL","reason":"LULD"}"#,
                "XNYS halt AAPL 2026-11-20T15:31:00Z 2026-11-20T21:00:00Z LULD",
            ),
            (
                r#"{"mic":"CRYPTO","kind":"halt","symbol":"*","from":"2026-11-20T16:00:00Z","reason":"exchange down"}"#,
                "CRYPTO halt * 2026-11-20T16:00:00Z 2026-11-21T16:00:00Z exchange down",
            ),
            (
                r#"{"mic":"XNYS","kind":"closed","date":"2026-11-23","reason":"mourning"}"#,
                "XNYS closed 2026-11-23 mourning",
            ),
            (
                r#"{"mic":"XNYS","kind":"hours","date":"2026-11-24","hours":"09:30-13:00","reason":"storm"}"#,
                "XNYS hours 2026-11-24 09:30-13:00 storm",
            ),
        ] {
            assert_eq!(asked(json).entry(&calendar, now).expect(json).to_string(), expected);
        }
        for (json, wrong) in [
            (
                r#"{"mic":"NYSE","kind":"closed","date":"2026-11-23","reason":"x"}"#,
                "is not a venue that is known",
            ),
            (
                r#"{"mic":"CRYPTO","kind":"closed","date":"2026-11-23","reason":"x"}"#,
                "only a halt is possible",
            ),
            (r#"{"mic":"XNYS","kind":"closed","date":"23 Nov","reason":"x"}"#, "not a date"),
            (r#"{"mic":"XNYS","kind":"hours","date":"2026-11-23","reason":"x"}"#, "hours"),
            (r#"{"mic":"XNYS","kind":"halt","reason":" "}"#, "somebody will ask why"),
            (r#"{"mic":"XNYS","kind":"halt","reason":"a\nXNYS closed 2026-11-23 b"}"#, "one line"),
            (r#"{"mic":"XNYS","kind":"halt","symbol":"A B","reason":"x"}"#, "no spaces"),
            (r#"{"mic":"XNYS","kind":"halt","until":"2026-11-20T15:00:00Z","reason":"x"}"#, "up to 90 days"),
            (r#"{"mic":"XNYS","kind":"halt","until":"2027-11-20T15:00:00Z","reason":"x"}"#, "up to 90 days"),
        ] {
            let error = asked(json).entry(&calendar, now).expect_err(json).to_string();
            assert!(error.contains(wrong), "{json}: {error}");
        }
    }

    #[test]
    fn facts_outlive_the_process_and_are_forgotten_long_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let calendar = Calendar::new();
        let add = |facts: &mut Facts, json: &str, now: Timestamp| {
            let asked = asked(json);
            facts.add(asked.entry(&calendar, now).expect(json), &asked, now)
        };
        let mut facts = Facts::open(Some(folder.path())).expect("opens");
        let now = at("2026-11-20T15:31:00Z");
        add(&mut facts, r#"{"mic":"XNYS","kind":"halt","symbol":"AAPL","reason":"a"}"#, now).expect("taken");
        add(&mut facts, r#"{"mic":"XNYS","kind":"closed","date":"2027-03-01","reason":"b"}"#, now)
            .expect("taken");
        drop(facts);
        let mut facts = Facts::open(Some(folder.path())).expect("opens");
        assert_eq!(facts.all().iter().map(|fact| fact.id).collect::<Vec<_>>(), [1, 2]);
        assert!(facts.remove(7).expect_err("none").is_not_found());
        let later = at("2027-03-20T15:31:00Z");
        let third = add(&mut facts, r#"{"mic":"XLON","kind":"halt","symbol":"VOD","reason":"c"}"#, later)
            .expect("taken");
        assert_eq!(third.id, 3);
        assert_eq!(
            facts.all().iter().map(|fact| fact.id).collect::<Vec<_>>(),
            [2, 3],
            "the halt of November is past"
        );
        assert_eq!(facts.remove(2).expect("there").entry.reason, "b");
        assert_eq!(Facts::open(Some(folder.path())).expect("opens").all().len(), 1);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut facts = Facts::open(None).expect("in memory");
        let (calendar, now) = (Calendar::new(), at("2026-11-20T15:31:00Z"));
        let one = asked(r#"{"mic":"XNYS","kind":"halt","symbol":"AAPL","reason":"a"}"#);
        let entry = one.entry(&calendar, now).expect("well-formed");
        let fact = Fact { id: 1, at: 0, actor: nobody(), entry: entry.clone() };
        facts.all = vec![fact; FACTS_MAX];
        assert!(facts.add(entry, &one, now).expect_err("full").to_string().contains("2000 facts"));
    }
}
