//! Whose beats are awaited, and who fell silent: a state machine on `now`, and its file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::Timestamp;

use crate::error::Error;

/// A sender whose beats are awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its name, and the last part of the address it posts to.
    pub name: String,
    /// A beat comes at least this often.
    pub every: Duration,
    /// How much later than that it may be.
    pub grace: Duration,
}

impl Expected {
    /// Reads `desk=30s`, `30s` or `every 30s`; without a name it is `monitor`, without a grace half the interval.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn parse(text: &str, grace: Option<Duration>) -> Result<Expected, String> {
        let (name, rest) = text.split_once('=').unwrap_or(("monitor", text));
        let rest = rest.trim();
        let rest = rest.strip_prefix("every ").unwrap_or(rest).trim();
        let hint = |why: &str| format!("{text:?} {why}; write for example 30s or desk=30s");
        let every = tradewatch_alert::duration::parse(rest).map_err(|_| hint("names no interval"))?;
        if every.is_zero() {
            return Err(hint("names an interval of nothing"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = name.trim();
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            return Err(hint("names a sender with other signs than letters, digits, -, _ and ."));
        }
        Ok(Expected { name: name.to_owned(), every, grace: grace.unwrap_or(every / 2) })
    }

    fn patience(&self) -> Duration {
        self.every + self.grace
    }
}

/// What is known of one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its last beat, in milliseconds.
    pub last_beat: Option<i64>,
    /// When it fell silent, in milliseconds; absent while it beats.
    pub silent_since: Option<i64>,
    /// Why it counts as silent, where that is not the mere lack of beats.
    #[serde(default)]
    pub reason: String,
    /// By webhook: since when the receiver knows that it is silent; absent where it was told all is well.
    #[serde(default)]
    pub told: BTreeMap<String, i64>,
}

/// What turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A sender fell silent.
    Silent(String),
    /// It beats again; it was silent from then on.
    Back(String, Timestamp),
}

/// All senders.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    expected: Vec<Expected>,
    /// Nobody could be heard before: a beat that was missed until then proves nothing.
    #[serde(skip)]
    listening_since: i64,
    known: BTreeMap<String, Known>,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl State {
    /// What `text`, the file of before, says about those that are expected from `now` on.
    ///
    /// # Errors
    /// The text is not what [`State::write`] writes.
    pub fn new(expected: Vec<Expected>, text: &str, now: Timestamp) -> Result<State, String> {
        let mut state: State = match text.trim() {
            "" => State::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        state.known.retain(|name, _| expected.iter().any(|one| one.name == *name));
        for one in &expected {
            state.known.entry(one.name.clone()).or_default();
        }
        (state.expected, state.listening_since) = (expected, now.as_millis());
        Ok(state)
    }

    /// Those that are expected, each with what is known of it.
    pub fn all(&self) -> impl Iterator<Item = (&Expected, &Known)> {
        self.expected.iter().map(|one| (one, &self.known[&one.name]))
    }

    /// Whether `name` is expected.
    pub fn expects(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// A beat of `name`.
    pub fn beat(&mut self, name: &str, now: Timestamp) -> Option<Turn> {
        let known = self.known.get_mut(name)?;
        known.last_beat = Some(now.as_millis());
        known.reason.clear();
        let since = known.silent_since.take()?;
        Some(Turn::Back(name.to_owned(), Timestamp::from_millis(since)))
    }

    /// `name` itself says that its watchdog has ended.
    pub fn gave_up(&mut self, name: &str, now: Timestamp) -> Option<Turn> {
        let known = self.known.get_mut(name)?;
        if known.silent_since.is_some() {
            return None;
        }
        known.silent_since = Some(now.as_millis());
        known.reason = "it says itself that its watchdog has ended".to_owned();
        Some(Turn::Silent(name.to_owned()))
    }

    /// Who fell silent by `now`.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Turn> {
        let mut turns = Vec::new();
        for one in &self.expected {
            let known = self.known.get_mut(&one.name).expect("made with the expected");
            let heard = known.last_beat.unwrap_or(0).max(self.listening_since);
            if known.silent_since.is_none() && now.as_millis() >= heard.saturating_add(ms(one.patience())) {
                known.silent_since = Some(now.as_millis());
                turns.push(Turn::Silent(one.name.clone()));
            }
        }
        turns
    }

    /// When [`State::tick`] next has something to say, if nobody beats before.
    pub fn next_tick(&self) -> Option<Timestamp> {
        let beating = self.all().filter(|(_, known)| known.silent_since.is_none());
        let due = beating.map(|(one, known)| {
            known.last_beat.unwrap_or(0).max(self.listening_since).saturating_add(ms(one.patience()))
        });
        due.min().map(Timestamp::from_millis)
    }

    /// What the receiver `webhook` must still hear: a sender, and whether it is silent.
    ///
    /// While a sender is silent that is said again after `repeat`.
    pub fn owed(&self, webhook: &str, repeat: Duration, now: Timestamp) -> Vec<(Expected, Known)> {
        let owed = |(_, known): &(&Expected, &Known)| match (known.silent_since, known.told.get(webhook)) {
            (Some(_), None) | (None, Some(_)) => true,
            (Some(_), Some(told)) => now.as_millis() >= told.saturating_add(ms(repeat)),
            (None, None) => false,
        };
        self.all().filter(owed).map(|(one, known)| (one.clone(), known.clone())).collect()
    }

    /// The receiver has heard it.
    pub fn told(&mut self, webhook: &str, name: &str, silent: bool, now: Timestamp) {
        let Some(known) = self.known.get_mut(name) else { return };
        if silent {
            known.told.insert(webhook.to_owned(), now.as_millis());
        } else {
            known.told.remove(webhook);
        }
    }

    /// Writes all of it to `path`, atomically.
    ///
    /// # Errors
    /// The disk does not take it; the old file stays.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::internal(format!("{}: {error}", path.display()));
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside).map_err(failed)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_183_200_000 + seconds * 1_000)
    }

    fn one() -> Vec<Expected> {
        vec![Expected::parse("desk=every 30s", None).expect("valid")]
    }

    #[test]
    fn silence_is_noticed_once_and_so_is_its_end() {
        let mut state = State::new(one(), "", at(0)).expect("new");
        let silent = || Turn::Silent("desk".into());
        assert_eq!(state.next_tick(), Some(at(45)));
        assert!(state.beat("desk", at(10)).is_none());
        assert!(state.beat("other", at(10)).is_none());
        assert!(state.tick(at(54)).is_empty());
        assert_eq!(state.tick(at(55)), [silent()]);
        assert!(state.tick(at(600)).is_empty() && state.next_tick().is_none());
        assert_eq!(state.beat("desk", at(700)), Some(Turn::Back("desk".into(), at(55))));
        assert_eq!(state.gave_up("desk", at(701)), Some(silent()));
        assert_eq!(state.gave_up("desk", at(702)), None);
    }

    #[test]
    fn one_that_never_beats_is_silent_too() {
        let mut state = State::new(one(), "", at(0)).expect("new");
        assert!(state.tick(at(44)).is_empty());
        assert_eq!(state.tick(at(45)).len(), 1);
    }

    #[test]
    fn each_receiver_is_told_until_it_knows_and_again_after_a_while() {
        let mut state = State::new(one(), "", at(0)).expect("new");
        let hour = Duration::from_secs(3600);
        let owed = |state: &State, who, now| state.owed(who, hour, at(now)).len();
        assert_eq!(owed(&state, "a", 10), 0);
        state.tick(at(45));
        assert_eq!((owed(&state, "a", 46), owed(&state, "b", 46)), (1, 1));
        state.told("a", "desk", true, at(46));
        assert_eq!((owed(&state, "a", 47), owed(&state, "b", 47)), (0, 1));
        assert_eq!(owed(&state, "a", 46 + 3600), 1, "it is said again");
        state.beat("desk", at(50));
        // The second one was never told of the silence and need not hear of its end.
        assert_eq!((owed(&state, "a", 51), owed(&state, "b", 51)), (1, 0));
        state.told("a", "desk", false, at(51));
        assert_eq!(owed(&state, "a", 52), 0);
    }

    #[test]
    fn a_restart_forgets_nothing_and_accuses_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deadman.json");
        let mut state = State::new(one(), "", at(0)).expect("new");
        state.beat("desk", at(10));
        state.write(&path).expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        // Ten minutes away: whatever was sent in between could not be heard.
        let mut state = State::new(one(), &text, at(610)).expect("reads");
        assert!(state.tick(at(611)).is_empty());
        assert_eq!(state.tick(at(655)).len(), 1);
        state.told("a", "desk", true, at(656));
        state.write(&path).expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        let mut state = State::new(one(), &text, at(700)).expect("reads");
        assert!(state.tick(at(1_000)).is_empty(), "it is known already");
        assert!(state.owed("a", Duration::from_secs(3600), at(1_000)).is_empty());
        assert_eq!(state.beat("desk", at(1_001)), Some(Turn::Back("desk".into(), at(655))));
        assert!(State::new(one(), "{\"torn", at(0)).is_err());
    }

    #[test]
    fn what_is_expected_is_read_or_refused() {
        let read = |text: &str| Expected::parse(text, None).map(|one| (one.name, one.every.as_millis()));
        assert_eq!(read("30s"), Ok(("monitor".into(), 30_000)));
        assert_eq!(read("every 1m"), Ok(("monitor".into(), 60_000)));
        assert_eq!(read("desk-2=500ms"), Ok(("desk-2".into(), 500)));
        for wrong in ["", "desk", "desk=", "desk=0s", "a/b=30s", "=30s"] {
            assert!(read(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
