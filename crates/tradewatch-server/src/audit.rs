//! What people did: one line for each acknowledgement, silence, note, annotation, fact about the calendar and reload.
//!
//! A note on an alert is an entry of this log that names the alert, and nothing else: there is one place where
//! what people said is kept, and it is never changed afterwards. Bytes in `docs/formats/jsonl.md`.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tradewatch_alert::Fingerprint;

use crate::error::Error;
use crate::jsonl::JsonLines;

/// Entries that are kept; the oldest tenth goes when there are more.
pub const ENTRIES_MAX: usize = 20_000;
/// Alerts that one entry names; `alert_count` says how many there were.
pub const ENTRY_ALERTS_MAX: usize = 20;
/// Longest comment or note.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Longest name of a person.
pub const NAME_CHARS_MAX: usize = 100;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name.
    pub by: String,
    /// Whether a password proved the name; otherwise it was merely given.
    pub proven: bool,
}

impl Actor {
    /// A name that somebody gave; without control characters, cut at [`NAME_CHARS_MAX`].
    pub fn said(name: &str) -> Actor {
        let by: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
        Actor { by, proven: false }
    }
}

/// What was done.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An alert was acknowledged.
    Acknowledge,
    /// An acknowledgement was taken back.
    Unacknowledge,
    /// A note was left on an alert.
    Note,
    /// A silence was made.
    SilenceCreate,
    /// A silence was changed.
    SilenceChange,
    /// A silence was ended before its time.
    SilenceExpire,
    /// A mark was set on the charts.
    Annotate,
    /// Drills were run, and what they showed was handed in.
    Drill,
    /// A fact was laid over the calendar: a closure, other hours, a halt.
    CalendarAdd,
    /// Such a fact was taken back.
    CalendarRemove,
    /// The configuration was read again.
    Reload,
    /// The monitor was asked to end.
    Quit,
}

impl Action {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Acknowledge => "acknowledge",
            Action::Unacknowledge => "unacknowledge",
            Action::Note => "note",
            Action::SilenceCreate => "silence_create",
            Action::SilenceChange => "silence_change",
            Action::SilenceExpire => "silence_expire",
            Action::Annotate => "annotate",
            Action::Drill => "drill",
            Action::CalendarAdd => "calendar_add",
            Action::CalendarRemove => "calendar_remove",
            Action::Reload => "reload",
            Action::Quit => "quit",
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1 on, never used twice while it is kept.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// Who.
    #[serde(flatten)]
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// On what: the name of an alert, the matchers of a silence, the text of a mark.
    pub subject: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The alerts that it concerned; at most [`ENTRY_ALERTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Fingerprint>,
    /// All alerts that it concerned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alert_count: usize,
    /// The silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// `refused` with the reason, where what was asked did not happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Entry {
    /// An entry without alerts; [`Audit::record`] gives it its number.
    pub fn new(at: i64, actor: Actor, action: Action, subject: impl Into<String>) -> Entry {
        Entry {
            id: 0,
            at,
            actor,
            action,
            subject: cut(subject.into()),
            text: String::new(),
            alerts: Vec::new(),
            alert_count: 0,
            silence: None,
            refused: None,
        }
    }

    /// With what was said.
    pub fn text(mut self, text: &str) -> Entry {
        self.text = cut(text.trim().to_owned());
        self
    }

    /// About these alerts.
    pub fn alerts(mut self, alerts: &[Fingerprint]) -> Entry {
        self.alert_count = alerts.len();
        self.alerts = alerts.iter().take(ENTRY_ALERTS_MAX).copied().collect();
        self
    }

    /// About this silence.
    pub fn silence(mut self, id: &str) -> Entry {
        self.silence = Some(id.to_owned());
        self
    }

    /// It did not happen, for this reason.
    pub fn refused(mut self, reason: impl Into<String>) -> Entry {
        self.refused = Some(cut(reason.into()));
        self
    }
}

/// The text, cut at [`TEXT_BYTES_MAX`] between two characters.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    text
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those before this number.
    pub before: Option<u64>,
    /// Only those of this person.
    pub by: Option<String>,
    /// Only those of this kind.
    pub action: Option<String>,
    /// Only those about this alert.
    pub alert: Option<Fingerprint>,
    /// At most so many.
    pub limit: usize,
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: JsonLines,
    entries: VecDeque<Entry>,
    next_id: u64,
    /// Numbers of the notes on each alert.
    notes: BTreeMap<Fingerprint, Vec<u64>>,
    /// Whether the file took the last line.
    writable: bool,
}

impl Audit {
    /// Opens `audit.jsonl` in the data directory; without one nothing outlives the process.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(folder: Option<&Path>) -> Result<Audit, Error> {
        let (file, entries) = match folder {
            None => (JsonLines::in_memory(), Vec::new()),
            Some(folder) => JsonLines::open::<Entry>(&folder.join("audit.jsonl"))?,
        };
        let next_id = entries.iter().map(|entry| entry.id).max().unwrap_or(0) + 1;
        let mut kept =
            Kept { file, entries: entries.into(), next_id, notes: BTreeMap::new(), writable: true };
        kept.index();
        Ok(Audit { kept: Mutex::new(kept) })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Writes down what was done; gives the entry with its number.
    ///
    /// A disk that takes nothing keeps nobody from acknowledging: it is said in the log of the process, the
    /// entry stays in memory, and goes to the disk with the next one that it takes.
    pub fn record(&self, entry: Entry) -> Entry {
        let mut kept = self.kept();
        let entry = Entry { id: kept.next_id, ..entry };
        kept.next_id += 1;
        if entry.action == Action::Note {
            entry.alerts.iter().for_each(|alert| kept.notes.entry(*alert).or_default().push(entry.id));
        }
        kept.entries.push_back(entry.clone());
        let surplus = kept.entries.len() > ENTRIES_MAX;
        if surplus {
            kept.entries.drain(..ENTRIES_MAX / 10);
            kept.index();
        }
        let Kept { file, entries, writable, .. } = &mut *kept;
        let written = match surplus || !*writable {
            true => file.rewrite(entries.iter()),
            false => file.append(&entry),
        };
        if let Err(error) = &written
            && *writable
        {
            tracing::error!("what people do cannot be written down: {error}");
        }
        *writable = written.is_ok();
        entry
    }

    /// The entries that are wanted, the newest first, and whether there are older ones.
    pub fn find(&self, wanted: &Wanted) -> (Vec<Entry>, bool) {
        let kept = self.kept();
        let fits = |entry: &&Entry| {
            wanted.before.is_none_or(|before| entry.id < before)
                && wanted.by.as_ref().is_none_or(|by| entry.actor.by == *by)
                && wanted.action.as_ref().is_none_or(|action| entry.action.as_str() == action)
                && wanted.alert.is_none_or(|alert| entry.alerts.contains(&alert))
        };
        let mut found: Vec<Entry> =
            kept.entries.iter().rev().filter(fits).take(wanted.limit.saturating_add(1)).cloned().collect();
        let more = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        (found, more)
    }

    /// How many notes each alert has, and the newest one of each.
    pub fn notes(&self) -> BTreeMap<Fingerprint, (usize, Entry)> {
        let kept = self.kept();
        let newest = |ids: &Vec<u64>| {
            let last = kept.entries.binary_search_by_key(ids.last()?, |entry| entry.id).ok()?;
            Some((ids.len(), kept.entries[last].clone()))
        };
        kept.notes.iter().filter_map(|(alert, ids)| Some((*alert, newest(ids)?))).collect()
    }

    /// Makes all lines survive a loss of power.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn sync(&self) -> Result<(), Error> {
        self.kept().file.sync()
    }
}

impl Kept {
    fn index(&mut self) {
        self.notes.clear();
        for entry in self.entries.iter().filter(|entry| entry.action == Action::Note) {
            entry.alerts.iter().for_each(|alert| self.notes.entry(*alert).or_default().push(entry.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(by: &str, text: &str, alert: u64) -> Entry {
        Entry::new(5, Actor::said(by), Action::Note, "A").text(text).alerts(&[Fingerprint(alert)])
    }

    #[test]
    fn what_people_did_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(Some(folder.path())).expect("opens");
        assert_eq!(audit.record(note("ada", "looking", 1)).id, 1);
        audit
            .record(Entry::new(6, Actor { by: "bob".into(), proven: true }, Action::Reload, "").refused("x"));
        audit.record(note("ada", "broker confirms", 1));
        drop(audit);
        let audit = Audit::open(Some(folder.path())).expect("opens");
        assert_eq!(audit.record(note("eve", "other", 2)).id, 4);
        let ids = |wanted: Wanted| -> Vec<u64> { audit.find(&wanted).0.iter().map(|e| e.id).collect() };
        assert_eq!(ids(Wanted { limit: 10, ..Wanted::default() }), [4, 3, 2, 1]);
        assert_eq!(ids(Wanted { limit: 10, alert: Some(Fingerprint(1)), ..Wanted::default() }), [3, 1]);
        assert_eq!(ids(Wanted { limit: 10, by: Some("bob".into()), ..Wanted::default() }), [2]);
        assert_eq!(
            ids(Wanted { limit: 10, action: Some("note".into()), before: Some(4), ..Wanted::default() }),
            [3, 1]
        );
        assert!(audit.find(&Wanted { limit: 1, ..Wanted::default() }).1);
        let notes = audit.notes();
        let (count, newest) = &notes[&Fingerprint(1)];
        assert_eq!((*count, newest.text.as_str()), (2, "broker confirms"));
    }

    #[test]
    fn the_log_is_bounded_in_length_and_in_each_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(Some(folder.path())).expect("opens");
        let many: Vec<Fingerprint> = (0..1_000).map(Fingerprint).collect();
        let long = Entry::new(1, Actor::said(&"n".repeat(500)), Action::Note, "A")
            .text(&"ü".repeat(9_000))
            .alerts(&many);
        let kept = audit.record(long);
        assert_eq!((kept.alerts.len(), kept.alert_count), (ENTRY_ALERTS_MAX, 1_000));
        assert_eq!((kept.actor.by.len(), kept.text.len()), (NAME_CHARS_MAX, TEXT_BYTES_MAX));
        for number in 0..ENTRIES_MAX {
            audit.record(Entry::new(number as i64, Actor::said("a"), Action::Annotate, "m"));
        }
        let (all, _) = audit.find(&Wanted { limit: usize::MAX, ..Wanted::default() });
        assert!(all.len() <= ENTRIES_MAX && all.len() > ENTRIES_MAX / 2, "{}", all.len());
        assert!(audit.notes().is_empty(), "the note was among the oldest");
        let lines =
            std::fs::read_to_string(folder.path().join("audit.jsonl")).expect("reads").lines().count();
        assert_eq!(lines, all.len());
    }
}
