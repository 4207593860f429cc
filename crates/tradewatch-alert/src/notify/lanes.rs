//! The queue's order: per receiver the worst first, what is in back-off apart.
//!
//! A storm may leave ten thousand notifications here; nothing looks at all of them. Where a receiver's
//! rate holds several up, the last turn takes all of them in one message: one of them is sent with the
//! bundle, the others are carried by it and settled with it.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_tsdb::Timestamp;

use super::Message;
use super::pace::{Bucket, Pace};
use super::queue::mix;
use super::state::{Bundle, Queued, Table};
use crate::alert::Severity;

/// A receiver and the position of the integration in it.
pub(super) type Lane = (String, usize);

/// Notifications in one bundle.
const BUNDLE_MAX: usize = 1_000;
/// Alerts named in the message of a bundle.
const BUNDLE_ALERTS_MAX: usize = 500;

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
    /// Of the integrations with a rate.
    buckets: BTreeMap<Lane, Bucket>,
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

    /// Everything is read: what was under way is due at once. Who carries whom is what bundles say.
    pub fn restored(&mut self, now: Timestamp) {
        let ids: Vec<u64> = self.rows.keys().copied().collect();
        let mut carried = BTreeMap::new();
        for id in &ids {
            let bundle = self.rows.get(id).and_then(|queued| queued.bundle.as_deref());
            let members = bundle.map(|bundle| bundle.members.clone()).unwrap_or_default();
            carried.extend(members.into_iter().map(|member| (member, *id)));
        }
        for id in ids {
            let mut queued = self.rows.get(&id).expect("listed above").clone();
            let carrier = carried.get(&id).copied();
            if queued.in_flight || queued.carried_by != carrier {
                queued.in_flight = false;
                queued.not_before = now;
                queued.carried_by = carrier;
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
        if queued.carried_by.is_none() {
            self.waiting.insert((queued.not_before, id));
        }
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

    /// Takes a notification out. A bundle that loses a part is undone, unless it is under way.
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
        if queued.in_flight && queued.carried_by.is_none() {
            self.land(&queued);
        }
        if let Some(bundle) = &queued.bundle {
            self.set_free(&bundle.members, queued.not_before);
        }
        if let Some(carrier) = queued.carried_by.and_then(|id| self.rows.get_mut(&id)) {
            let members = match &mut carrier.bundle {
                Some(bundle) if carrier.in_flight => {
                    bundle.members.retain(|member| *member != id);
                    Vec::new()
                }
                bundle => bundle.take().map(|bundle| bundle.members).unwrap_or_default(),
            };
            let due = carrier.not_before;
            self.set_free(&members, due);
        }
        Some(queued)
    }

    /// Lets carried notifications go their own way.
    fn set_free(&mut self, members: &[u64], not_before: Timestamp) {
        for member in members {
            let Some(queued) = self.rows.get_mut(member) else { continue };
            queued.carried_by = None;
            queued.in_flight = false;
            queued.not_before = not_before;
            self.waiting.insert((not_before, *member));
        }
    }

    fn land(&mut self, queued: &Queued) {
        if let Some(count) = self.under_way.get_mut(&lane(queued)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes out what is due and may go, at most `in_flight_max` per integration at a time and no faster
    /// than its pace; marks it as under way, with the number of its attempt.
    ///
    /// [`CRITICAL_EXTRA`] more may be under way for what is critical: it does not wait until a slow receiver has
    /// answered to what is not.
    pub fn start(
        &mut self,
        now: Timestamp,
        in_flight_max: usize,
        seed: u64,
        pace: impl Fn(&Lane) -> Pace,
    ) -> Vec<u64> {
        while let Some((at, id)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, id));
            let queued = self.rows.get(&id).expect("indexed");
            self.ready.entry(lane(queued)).or_default().insert((queued.severity, queued.created, id));
        }
        let mut started = Vec::new();
        let lanes: Vec<Lane> = self.ready.keys().cloned().collect();
        for lane in lanes {
            let pace = pace(&lane);
            self.keep_bucket(&lane, pace, now);
            loop {
                let under_way = self.under_way.entry(lane.clone()).or_default();
                let turns = self.buckets.get(&lane).map_or(usize::MAX, |bucket| bucket.whole(now));
                let Some(ready) = self.ready.get_mut(&lane) else { break };
                let Some(next) = ready.first().copied() else { break };
                if *under_way >= allowed(next.0, in_flight_max) || turns == 0 {
                    break;
                }
                ready.remove(&next);
                *under_way += 1;
                if let Some(bucket) = self.buckets.get_mut(&lane) {
                    bucket.take(now);
                }
                if pace.folds && turns == 1 {
                    self.fold(&lane, next.2, pace.max_alerts, mix(seed, next.2, now.as_millis() as u64));
                }
                started.push(next);
            }
        }
        self.ready.retain(|_, ready| !ready.is_empty());
        started.sort();
        for (_, _, id) in &started {
            self.mark_under_way(*id);
        }
        started.into_iter().map(|(_, _, id)| id).collect()
    }

    fn keep_bucket(&mut self, lane: &Lane, pace: Pace, now: Timestamp) {
        match pace.rate {
            None => drop(self.buckets.remove(lane)),
            Some(rate) => {
                let bucket = self.buckets.entry(lane.clone()).or_insert_with(|| Bucket::new(rate, now));
                if bucket.rate != rate {
                    *bucket = Bucket::new(rate, now);
                }
            }
        }
    }

    fn mark_under_way(&mut self, id: u64) {
        let queued = self.rows.get_mut(&id).expect("indexed");
        queued.in_flight = true;
        queued.attempt += 1;
        let Some(bundle) = &mut queued.bundle else { return };
        bundle.attempt += 1;
        for member in bundle.members.clone() {
            if let Some(member) = self.rows.get_mut(&member) {
                member.in_flight = true;
                member.attempt += 1;
            }
        }
    }

    /// Puts everything that waits for its turn into one message, which `id` carries.
    fn fold(&mut self, lane: &Lane, id: u64, max_alerts: usize, key: u64) {
        // A message that was tried already goes again as it was.
        let is_fresh = |id: &u64| self.rows.get(id).is_some_and(|queued| queued.bundle.is_none());
        if !is_fresh(&id) {
            return;
        }
        let Some(ready) = self.ready.get(lane) else { return };
        let fresh = ready.iter().filter(|(_, _, id)| is_fresh(id));
        let taken: BTreeSet<(Severity, Timestamp, u64)> = fresh.take(BUNDLE_MAX - 1).copied().collect();
        if taken.is_empty() {
            return;
        }
        let members: Vec<u64> = taken.iter().map(|(_, _, id)| *id).collect();
        let all = std::iter::once(&id).chain(&members).filter_map(|id| self.rows.get(id));
        let messages: Vec<&Message> = all.map(|queued| &queued.message).collect();
        let most = if max_alerts == 0 { BUNDLE_ALERTS_MAX } else { max_alerts.min(BUNDLE_ALERTS_MAX) };
        let message = Message::merged(&messages, most);
        if let Some(ready) = self.ready.get_mut(lane) {
            ready.retain(|one| !taken.contains(one));
        }
        for member in &members {
            if let Some(queued) = self.rows.get_mut(member) {
                queued.carried_by = Some(id);
            }
        }
        let queued = self.rows.get_mut(&id).expect("indexed");
        let key = format!("{key:016x}-{id}+{}", members.len());
        queued.bundle = Some(Box::new(Bundle { key, message, members, attempt: 0 }));
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
        for member in queued.bundle.iter().flat_map(|bundle| &bundle.members) {
            if let Some(member) = self.rows.get_mut(member) {
                member.in_flight = false;
                member.failures += 1;
                member.not_before = not_before;
                member.last_error = Some(error.to_owned());
            }
        }
    }

    /// When an attempt is due; at once if one is ready and its receiver is free.
    pub fn next(&self, in_flight_max: usize, now: Timestamp) -> Option<Timestamp> {
        let free = |(lane, ready): &(&Lane, &BTreeSet<(Severity, Timestamp, u64)>)| {
            let Some((worst, ..)) = ready.first() else { return false };
            self.under_way.get(*lane).is_none_or(|count| *count < allowed(*worst, in_flight_max))
        };
        let turn =
            |(lane, _): (&Lane, &BTreeSet<_>)| self.buckets.get(lane).map_or(now, |bucket| bucket.next(now));
        let ready = self.ready.iter().filter(free).map(turn).min();
        ready.into_iter().chain(self.waiting.first().map(|(at, _)| *at)).min()
    }
}
