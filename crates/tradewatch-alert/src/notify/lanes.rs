//! The queue's order: per receiver the worst first, what is in back-off apart.
//!
//! A storm may leave ten thousand notifications here; nothing looks at all of them.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_tsdb::Timestamp;

use super::state::{Queued, Table};
use crate::alert::Severity;

/// A receiver and the position of the integration in it.
type Lane = (String, usize);

/// Notifications that are not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    rows: Table<Queued, u64>,
    by_group: BTreeMap<String, BTreeMap<usize, u64>>,
    /// Due, worst first.
    ready: BTreeMap<Lane, BTreeSet<(Severity, Timestamp, u64)>>,
    /// In back-off.
    waiting: BTreeSet<(Timestamp, u64)>,
    under_way: BTreeMap<Lane, usize>,
}

/// Deliveries of critical alerts that may be under way to one integration beyond the usual number.
const CRITICAL_EXTRA: usize = 2;

fn allowed(severity: Severity, in_flight_max: usize) -> usize {
    in_flight_max + if severity == Severity::Critical { CRITICAL_EXTRA } else { 0 }
}

fn lane(queued: &Queued) -> Lane {
    (queued.receiver.clone(), queued.integration)
}

impl Lanes {
    /// The rows, to read and to write down.
    pub fn rows(&self) -> &Table<Queued, u64> {
        &self.rows
    }

    pub fn take_changes(&mut self) -> Vec<(u64, Option<Queued>)> {
        self.rows.take_changes()
    }

    pub fn mark_all(&mut self) {
        self.rows.mark_all();
    }

    /// Sets a row that was read from disk; [`Lanes::restored`] ends this.
    pub fn restore(&mut self, id: u64, row: Option<Queued>) {
        self.rows.restore(id, row);
    }

    /// Everything is read: what was under way is due at once.
    pub fn restored(&mut self, now: Timestamp) {
        let ids: Vec<u64> = self.rows.keys().copied().collect();
        for id in ids {
            let mut queued = self.rows.get(&id).expect("listed above").clone();
            if queued.in_flight {
                queued.in_flight = false;
                queued.not_before = now;
                self.rows.insert(id, queued.clone());
            }
            self.index(id, &queued);
        }
    }

    pub fn insert(&mut self, id: u64, queued: Queued) {
        self.index(id, &queued);
        self.rows.insert(id, queued);
    }

    fn index(&mut self, id: u64, queued: &Queued) {
        self.by_group.entry(queued.group.clone()).or_default().insert(queued.integration, id);
        self.waiting.insert((queued.not_before, id));
    }

    pub fn get(&self, id: u64) -> Option<&Queued> {
        self.rows.get(&id)
    }

    /// The notifications of a group.
    pub fn of_group(&self, group: &str) -> Vec<u64> {
        self.by_group.get(group).map(|ids| ids.values().copied().collect()).unwrap_or_default()
    }

    /// The notification of a group to one integration.
    pub fn of(&self, group: &str, integration: usize) -> Option<u64> {
        self.by_group.get(group)?.get(&integration).copied()
    }

    pub fn remove(&mut self, id: u64) -> Option<Queued> {
        let queued = self.rows.remove(&id)?;
        if let Some(ids) = self.by_group.get_mut(&queued.group) {
            ids.remove(&queued.integration);
            if ids.is_empty() {
                self.by_group.remove(&queued.group);
            }
        }
        self.waiting.remove(&(queued.not_before, id));
        if let Some(ready) = self.ready.get_mut(&lane(&queued)) {
            ready.remove(&(queued.severity, queued.created, id));
        }
        if queued.in_flight {
            self.land(&queued);
        }
        Some(queued)
    }

    fn land(&mut self, queued: &Queued) {
        if let Some(count) = self.under_way.get_mut(&lane(queued)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes out what is due and may go, at most `in_flight_max` per integration at a time; marks it
    /// as under way, with the number of its attempt.
    ///
    /// [`CRITICAL_EXTRA`] more may be under way for what is critical: it does not wait until a slow receiver has
    /// answered to what is not.
    pub fn start(&mut self, now: Timestamp, in_flight_max: usize) -> Vec<u64> {
        while let Some((at, id)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, id));
            let queued = self.rows.get(&id).expect("indexed");
            self.ready.entry(lane(queued)).or_default().insert((queued.severity, queued.created, id));
        }
        let mut started = Vec::new();
        for (lane, ready) in &mut self.ready {
            let count = self.under_way.entry(lane.clone()).or_default();
            while let Some(next) =
                ready.first().filter(|next| *count < allowed(next.0, in_flight_max)).copied()
            {
                ready.remove(&next);
                *count += 1;
                started.push(next);
            }
        }
        self.ready.retain(|_, ready| !ready.is_empty());
        started.sort();
        for (_, _, id) in &started {
            let queued = self.rows.get_mut(id).expect("indexed");
            queued.in_flight = true;
            queued.attempt += 1;
        }
        started.into_iter().map(|(_, _, id)| id).collect()
    }

    /// An attempt has failed; the next one is due at `not_before`.
    pub fn retry(&mut self, id: u64, not_before: Timestamp, error: &str) {
        let Some(queued) = self.rows.get_mut(&id) else { return };
        let was_under_way = std::mem::take(&mut queued.in_flight);
        queued.failures += 1;
        queued.not_before = not_before;
        queued.last_error = Some(error.to_owned());
        let queued = queued.clone();
        self.waiting.insert((not_before, id));
        if was_under_way {
            self.land(&queued);
        }
    }

    /// When an attempt is due; at once if one is ready and its receiver is free.
    pub fn next(&self, in_flight_max: usize, now: Timestamp) -> Option<Timestamp> {
        let free = |(lane, ready): (&Lane, &BTreeSet<(Severity, Timestamp, u64)>)| {
            let Some((worst, ..)) = ready.first() else { return false };
            self.under_way.get(lane).is_none_or(|count| *count < allowed(*worst, in_flight_max))
        };
        let ready = self.ready.iter().any(free).then_some(now);
        ready.into_iter().chain(self.waiting.first().map(|(at, _)| *at)).min()
    }
}
