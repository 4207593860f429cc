//! Alerts from pending to their end.

use std::collections::HashMap;

use tradewatch_tsdb::{Labels, Timestamp};

use super::EPISODES_MAX;
use crate::alert::State;
use crate::rules::AlertChange;

/// One alert, from the first evaluation that saw its condition to the one that saw it end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its rule: an index into [`Report::rules`](super::Report::rules).
    pub rule: usize,
    /// Its labels, with `alertname`.
    pub labels: Labels,
    /// Since when the condition held.
    pub active_at: Timestamp,
    /// When it began to fire; `None` if it never did.
    pub fired_at: Option<Timestamp>,
    /// When it ended; `None` if it goes on at the end of the replay.
    pub ended_at: Option<Timestamp>,
    /// When the first receiver was told of it.
    pub told_at: Option<Timestamp>,
}

/// Gathers episodes from changes of state.
pub(super) struct Episodes {
    from: Timestamp,
    open: HashMap<(usize, Labels), Episode>,
    closed: Vec<Episode>,
    dropped: u64,
}

impl Episodes {
    pub fn new(from: Timestamp) -> Episodes {
        Episodes { from, open: HashMap::new(), closed: Vec::new(), dropped: 0 }
    }

    pub fn take(&mut self, rule: usize, at: Timestamp, change: &AlertChange) {
        let key = (rule, change.alert.labels.clone());
        let episode = self.open.entry(key.clone()).or_insert_with(|| Episode {
            rule,
            labels: change.alert.labels.clone(),
            active_at: change.alert.active_at,
            fired_at: None,
            ended_at: None,
            told_at: None,
        });
        match change.to {
            State::Pending => {}
            State::Firing => episode.fired_at = change.alert.fired_at.or(Some(at)),
            State::Inactive => {
                episode.ended_at = Some(at);
                let episode = self.open.remove(&key).expect("entered above");
                self.close(episode);
            }
        }
    }

    fn close(&mut self, episode: Episode) {
        if episode.ended_at.is_some_and(|end| end < self.from) {
            return;
        }
        if self.closed.len() >= EPISODES_MAX {
            self.dropped += 1;
        } else {
            self.closed.push(episode);
        }
    }

    /// All of them by rule and time, and how many were too many.
    pub fn finish(mut self) -> (Vec<Episode>, u64) {
        let open: Vec<Episode> = std::mem::take(&mut self.open).into_values().collect();
        open.into_iter().for_each(|episode| self.close(episode));
        self.closed.sort_by(|a, b| (a.rule, a.active_at, &a.labels).cmp(&(b.rule, b.active_at, &b.labels)));
        (self.closed, self.dropped)
    }
}
