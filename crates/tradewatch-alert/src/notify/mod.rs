//! The notifier: from alerts to deliveries, with grouping, waits, inhibition and silences.
//!
//! A state machine on `now`. The caller tells it alerts ([`Notifier::update`]), asks for what is to
//! be sent ([`Notifier::poll`]), writes down what changed ([`Notifier::take_changes`]) *before* it
//! sends, and says how it went. Built again from what was written down, it sends what was not
//! settled once more, under the same key and with the next attempt number.
//!
//! The meaning is Alertmanager's but for four things: a group that is all resolved says so at once;
//! an alert that still fires when a silence or mute ends is told at that moment; the all-clear of an
//! alert that was told goes out even when it is silenced by then; an alert that was over before it
//! was to be told is written into the ledger.

mod api;
mod flush;
mod inhibit;
mod lanes;
mod message;
mod pace;
mod queue;
mod silence;
mod state;
mod view;
mod warning;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::Timestamp;

pub use api::{AlertStatus, GettableAlert, PostableAlert, ReceiverName};
pub(crate) use message::owned;
pub use message::{Message, MessageAlert};
pub use queue::{Delivery, Failure};
pub use silence::{Silence, SilenceMatcher, SilenceStatus};
pub use state::{Ack, Change, GroupState, Options, Outcome, Queued, RECORD_ALERTS_MAX, Record};
pub use view::{AlertView, GroupView, QueuedView};
pub use warning::{SILENCE_ENDS, SILENCE_WARNING};

use crate::alert::{Alert, Fingerprint, Severity};
use crate::error::Error;
use crate::route::Config;
use inhibit::Inhibitor;
use lanes::Lanes;
use silence::Active;
use state::Table;

/// Silences held, those that are over included.
const SILENCES_MAX: usize = 10_000;
/// How long a resolved alert is remembered.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);
/// How often what is over is forgotten.
const CLEANING: Duration = Duration::from_secs(60);

/// The notifier.
#[derive(Clone, Debug)]
pub struct Notifier {
    config: Arc<Config>,
    options: Options,
    alerts: Table<Alert>,
    groups: Table<GroupState, String>,
    queue: Lanes,
    silences: Table<Silence, String>,
    acks: Table<Ack>,
    records: Table<Record, u64>,
    next_number: u64,
    next_number_changed: bool,
    inhibitor: Inhibitor,
    active_silences: BTreeMap<String, Active>,
    /// When groups are due.
    timers: BTreeSet<(Timestamp, String)>,
    /// Groups that a time interval holds back.
    muted: BTreeSet<String>,
    /// When firing alerts end unless they are sent again.
    expiries: BTreeSet<(Timestamp, Fingerprint)>,
    last_poll: Timestamp,
    /// The latest time that it was told.
    latest: Timestamp,
    last_cleaning: Timestamp,
    refused: u64,
}

impl Notifier {
    /// A notifier that knows nothing yet.
    pub fn new(config: Arc<Config>, options: Options) -> Notifier {
        let inhibitor = Inhibitor::new(&config.inhibit_rules, &Table::default());
        Notifier {
            config,
            options,
            alerts: Table::default(),
            groups: Table::default(),
            queue: Lanes::default(),
            silences: Table::default(),
            acks: Table::default(),
            records: Table::default(),
            next_number: 1,
            next_number_changed: false,
            inhibitor,
            active_silences: BTreeMap::new(),
            timers: BTreeSet::new(),
            muted: BTreeSet::new(),
            expiries: BTreeSet::new(),
            last_poll: Timestamp::MIN,
            latest: Timestamp::MIN,
            last_cleaning: Timestamp::MIN,
            refused: 0,
        }
    }

    /// A notifier as it was when `changes` were written down, in that order.
    ///
    /// What was under way is due at once: nobody knows whether it arrived. The time without a
    /// notifier does not count towards the end of an alert that nobody could send again.
    pub fn restore(
        config: Arc<Config>,
        options: Options,
        changes: impl IntoIterator<Item = Change>,
        now: Timestamp,
    ) -> Notifier {
        let mut notifier = Notifier::new(config.clone(), options);
        let mut seen = now;
        for change in changes {
            match change {
                Change::Alert { key, row } => notifier.alerts.restore(key, row),
                Change::Group { key, row } => notifier.groups.restore(key, row.map(|row| *row)),
                Change::Queued { key, row } => notifier.queue.restore(key, row.map(|row| *row)),
                Change::Silence { key, row } => notifier.silences.restore(key, row),
                Change::Ack { key, row } => notifier.acks.restore(key, row),
                Change::Record { key, row } => notifier.records.restore(key, row.map(|row| *row)),
                Change::Seen { at } => seen = at,
                Change::Next { number } => notifier.next_number = number.max(notifier.next_number),
            }
        }
        notifier.extend_alerts(now.since(seen), seen);
        notifier.queue.restored(now);
        let last = notifier.queue.rows().keys().chain(notifier.records.keys()).max().copied();
        notifier.next_number = notifier.next_number.max(last.unwrap_or(0) + 1);
        for silence in notifier.silences.values() {
            if let Ok(matchers) = silence.compile() {
                let active = Active { silence: silence.clone(), matchers };
                notifier.active_silences.insert(silence.id.clone(), active);
            }
        }
        let firing = notifier.alerts.iter().filter(|(_, alert)| !alert.is_resolved(now));
        notifier.expiries = firing.map(|(key, alert)| (alert.ends_at, *key)).collect();
        notifier.last_poll = now;
        notifier.latest = now;
        notifier.reconfigure(config, now);
        notifier
    }

    /// Alerts that fired when the notifier ended go on for as long as they had left.
    fn extend_alerts(&mut self, outage: Duration, seen: Timestamp) {
        let alive = self.alerts.iter().filter(|(_, alert)| alert.ends_at > seen);
        let alive: Vec<Fingerprint> = alive.map(|(fingerprint, _)| *fingerprint).collect();
        for fingerprint in alive {
            let alert = self.alerts.get_mut(&fingerprint).expect("listed above");
            alert.ends_at = alert.ends_at + outage;
        }
    }

    /// What changed since the last call; to be written down before anything is sent.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.next_number_changed) {
            changes.push(Change::Next { number: self.next_number });
        }
        changes.extend(self.alerts.take_changes().into_iter().map(|(key, row)| Change::Alert { key, row }));
        let groups = self.groups.take_changes();
        changes.extend(groups.into_iter().map(|(key, row)| Change::Group { key, row: row.map(Box::new) }));
        let queue = self.queue.take_changes();
        changes.extend(queue.into_iter().map(|(key, row)| Change::Queued { key, row: row.map(Box::new) }));
        changes
            .extend(self.silences.take_changes().into_iter().map(|(key, row)| Change::Silence { key, row }));
        changes.extend(self.acks.take_changes().into_iter().map(|(key, row)| Change::Ack { key, row }));
        let records = self.records.take_changes();
        changes.extend(records.into_iter().map(|(key, row)| Change::Record { key, row: row.map(Box::new) }));
        if !changes.is_empty() {
            changes.push(Change::Seen { at: self.latest });
        }
        changes
    }

    /// The whole state as changes, to begin a new file with. What [`Notifier::take_changes`] would
    /// give is contained and counts as taken.
    pub fn snapshot(&mut self) -> Vec<Change> {
        self.next_number_changed = true;
        self.alerts.mark_all();
        self.groups.mark_all();
        self.queue.mark_all();
        self.silences.mark_all();
        self.acks.mark_all();
        self.records.mark_all();
        self.take_changes()
    }

    /// The routes in use.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Alerts refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes a new configuration: alerts are routed anew, groups that still exist go on.
    pub fn reconfigure(&mut self, config: Arc<Config>, now: Timestamp) {
        self.config = config;
        self.inhibitor = Inhibitor::new(&self.config.inhibit_rules, &self.alerts);
        let groups: Vec<String> = self.groups.keys().cloned().collect();
        for id in &groups {
            let route = self.groups.get(id).map(|group| group.route.clone()).unwrap_or_default();
            let Some(route) = self.config.routes.iter().find(|r| r.id == route) else {
                self.drop_group(id, "its route is gone from the configuration", now);
                continue;
            };
            let receiver = route.receiver.clone();
            let integrations = self.config.receiver(&receiver).map_or(0, |r| r.integrations.len());
            let stale = |number: u64| {
                let queued = self.queue.get(number);
                queued.is_some_and(|q| q.receiver != receiver || q.integration >= integrations)
            };
            let stale: Vec<u64> = self.queue.of_group(id).into_iter().filter(|n| stale(*n)).collect();
            for number in stale {
                self.settle(number, Outcome::Folded, "its receiver changed in the configuration", now);
            }
            if let Some(group) = self.groups.get_mut(id) {
                group.told.retain(|integration, _| *integration < integrations);
            }
        }
        self.timers = self.groups.iter().map(|(id, group)| (group.next_flush, id.clone())).collect();
        self.muted = self.groups.iter().filter(|(_, group)| group.muted).map(|(id, _)| id.clone()).collect();
        let firing: Vec<Alert> = self.alerts.values().filter(|a| !a.is_resolved(now)).cloned().collect();
        for alert in firing {
            self.join_groups(&alert, now);
        }
    }

    /// Takes alerts: new ones, those that still fire, those that are resolved.
    ///
    /// Cheap for an alert that is known and goes on. Gives how many were refused because
    /// [`Options::alerts_max`] is reached; those that are held already are never refused.
    pub fn update(&mut self, now: Timestamp, alerts: &[Alert]) -> usize {
        self.latest = self.latest.max(now);
        let mut refused = 0;
        let mut ended = BTreeSet::new();
        for alert in alerts {
            let fingerprint = alert.fingerprint();
            let known = self.alerts.get(&fingerprint).cloned();
            let alert = match &known {
                None if alert.is_resolved(now) => continue,
                None if self.alerts.len() >= room(self.options.alerts_max, alert) => {
                    refused += 1;
                    continue;
                }
                None => alert.clone(),
                Some(known) => merge(known, alert, now),
            };
            if let Some(known) = &known {
                self.expiries.remove(&(known.ends_at, fingerprint));
            } else {
                self.inhibitor.insert(fingerprint, &alert.labels);
            }
            let changed = known.as_ref() != Some(&alert);
            let was_firing = known.as_ref().is_some_and(|known| !known.is_resolved(now));
            if changed {
                self.alerts.insert(fingerprint, alert.clone());
            }
            if !alert.is_resolved(now) {
                self.expiries.insert((alert.ends_at, fingerprint));
                if !was_firing || !self.in_a_group(&fingerprint, &alert) {
                    self.join_groups(&alert, now);
                }
            } else if was_firing {
                self.acks.remove(&fingerprint);
                ended.insert(fingerprint);
            }
        }
        self.after_end(&ended, now);
        self.refused += refused as u64;
        refused
    }

    /// Advances to `now` and gives what is to be sent, worst first.
    ///
    /// What is given out is under way until [`Notifier::delivered`] or [`Notifier::failed`] says
    /// otherwise; it must be written down ([`Notifier::take_changes`]) before it is sent.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Delivery> {
        self.latest = self.latest.max(now);
        self.expire(now);
        self.wake_released(now);
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                break;
            }
            let (_, id) = self.timers.pop_first().expect("just seen");
            self.flush(&id, now);
        }
        if self.last_cleaning == Timestamp::MIN || now.since(self.last_cleaning) >= CLEANING {
            self.clean(now);
            self.last_cleaning = now;
        }
        self.last_poll = now;
        self.hand_out(now)
    }

    /// When [`Notifier::poll`] next has something to do, unless something is told before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let silences =
            self.silences.values().flat_map(|s| [s.starts_at, s.ends_at]).filter(|at| *at > self.last_poll);
        let minute = (!self.muted.is_empty()).then(|| {
            let millis = self.last_poll.as_millis();
            Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(60_000)).saturating_add(60_000))
        });
        let timer = self.timers.first().map(|(at, _)| *at);
        let attempt = self.queue.next(self.options.in_flight_max, self.last_poll);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        silences.chain(minute).chain(timer).chain(expiry).chain(attempt).min()
    }

    /// Adds a silence, or changes the one whose id it carries; gives its id.
    ///
    /// # Errors
    /// `is_invalid` for a silence that hides everything, ends in the past or has a broken matcher;
    /// `is_not_found` for an unknown id, `is_full` when there are too many.
    pub fn set_silence(&mut self, mut silence: Silence, now: Timestamp) -> Result<String, Error> {
        silence.starts_at = silence.starts_at.max(Timestamp::from_millis(0));
        let matchers = silence.check(now)?;
        if self.silences.len() >= SILENCES_MAX {
            return Err(Error::full(format!("there are {SILENCES_MAX} silences already; let some expire")));
        }
        if silence.id.is_empty() {
            silence.id = self.new_silence_id();
            silence.starts_at = silence.starts_at.max(now);
        } else {
            let old = self.silences.get(&silence.id).cloned();
            let old = old.ok_or_else(|| Error::not_found(format!("silence {:?} not found", silence.id)))?;
            let same = old.matchers == silence.matchers && old.state(now) != "expired";
            let started = old.state(now) == "active" && silence.starts_at != old.starts_at;
            if !same || started {
                // History is kept: the old one ends, and a new one begins.
                if old.state(now) != "expired" {
                    self.expire_silence(&old.id, now)?;
                }
                silence.id = self.new_silence_id();
                silence.starts_at = silence.starts_at.max(now);
            }
        }
        silence.updated_at = now;
        silence.status = SilenceStatus::default();
        let id = silence.id.clone();
        self.active_silences.insert(id.clone(), Active { silence: silence.clone(), matchers });
        self.silences.insert(id.clone(), silence);
        self.wake_silenced(now);
        Ok(id)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// `is_not_found` for an unknown id, `is_invalid` when it is over already.
    pub fn expire_silence(&mut self, id: &str, now: Timestamp) -> Result<(), Error> {
        let silence = self.silences.get_mut(&id.to_owned());
        let silence = silence.ok_or_else(|| Error::not_found(format!("silence {id:?} not found")))?;
        if silence.state(now) == "expired" {
            return Err(Error::invalid(format!("silence {id:?} has already ended")));
        }
        if silence.state(now) == "pending" {
            silence.starts_at = now;
        }
        silence.ends_at = now;
        silence.updated_at = now;
        if let Some(active) = self.active_silences.get_mut(id) {
            active.silence = silence.clone();
        }
        self.wake_silenced(now);
        Ok(())
    }

    /// Notes that somebody has seen an alert: it is not told again while nothing changes.
    ///
    /// # Errors
    /// `is_not_found` unless the alert fires.
    pub fn acknowledge(
        &mut self,
        alert: Fingerprint,
        by: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.alerts.get(&alert).is_none_or(|a| a.is_resolved(now)) {
            return Err(Error::not_found(format!("no alert {alert} fires")));
        }
        if self.acks.len() >= self.options.alerts_max {
            return Err(Error::full("too many acknowledgements"));
        }
        self.acks.insert(alert, Ack { by: by.to_owned(), comment: comment.to_owned(), at: now });
        Ok(())
    }

    /// Takes an acknowledgement back.
    ///
    /// # Errors
    /// `is_not_found` when there is none.
    pub fn unacknowledge(&mut self, alert: Fingerprint) -> Result<(), Error> {
        let none = || Error::not_found(format!("alert {alert} is not acknowledged"));
        self.acks.remove(&alert).map(|_| ()).ok_or_else(none)
    }

    fn new_silence_id(&mut self) -> String {
        let number = self.take_number();
        let (a, b) = (queue::mix(self.options.seed, number, 1), queue::mix(self.options.seed, number, 2));
        // The form of a random UUID, which API clients expect.
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.next_number_changed = true;
        number
    }

    /// Alerts that nobody sent again in time are over.
    fn expire(&mut self, now: Timestamp) {
        let mut ended = BTreeSet::new();
        while let Some((at, fingerprint)) = self.expiries.first().copied() {
            if at > now {
                break;
            }
            self.expiries.pop_first();
            self.acks.remove(&fingerprint);
            ended.insert(fingerprint);
        }
        self.after_end(&ended, now);
    }

    /// Groups that a silence or a time interval held back and that may be free now.
    fn wake_released(&mut self, now: Timestamp) {
        let last = self.last_poll;
        let passed = |at: Timestamp| at > last && at <= now;
        if self.silences.values().any(|s| passed(s.ends_at) || passed(s.starts_at)) {
            self.wake_silenced(now);
        }
        let free = self.muted.iter().filter(|id| {
            let group = self.groups.get(id);
            let route = group.and_then(|group| self.config.routes.iter().find(|r| r.id == group.route));
            route.is_some_and(|route| self.config.muted_by(route, now).is_none())
        });
        let free: Vec<String> = free.cloned().collect();
        free.iter().for_each(|id| self.flush_at(id, now));
    }

    fn wake_silenced(&mut self, now: Timestamp) {
        let held: Vec<String> =
            self.groups.iter().filter(|(_, group)| group.silenced).map(|(id, _)| id.clone()).collect();
        held.iter().for_each(|id| self.flush_at(id, now));
    }

    /// Forgets what is over.
    fn clean(&mut self, now: Timestamp) {
        let used: BTreeSet<Fingerprint> =
            self.groups.values().flat_map(|g| g.alerts.iter().copied()).collect();
        let over = |alert: &Alert| alert.is_resolved(now) && now.since(alert.ends_at) > RESOLVED_RETENTION;
        let gone: Vec<(Fingerprint, Alert)> = self
            .alerts
            .iter()
            .filter(|(fingerprint, alert)| over(alert) && !used.contains(fingerprint))
            .map(|(fingerprint, alert)| (*fingerprint, alert.clone()))
            .collect();
        for (fingerprint, alert) in gone {
            self.inhibitor.remove(fingerprint, &alert.labels);
            self.alerts.remove(&fingerprint);
        }
        let retention = self.options.silence_retention;
        let over: Vec<String> = self
            .silences
            .iter()
            .filter(|(_, s)| s.state(now) == "expired" && now.since(s.ends_at) > retention)
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.silences.remove(&id);
            self.active_silences.remove(&id);
        }
        let surplus = self.records.len().saturating_sub(self.options.records_max);
        let oldest: Vec<u64> = self.records.keys().take(surplus).copied().collect();
        oldest.iter().for_each(|number| {
            self.records.remove(number);
        });
    }
}

/// How many alerts or groups there may be for `alert` to be one more: a storm of small ones, however big, leaves
/// room for what is critical.
fn room(max: usize, alert: &Alert) -> usize {
    match alert.severity() {
        Severity::Critical => max.saturating_add(max / 10),
        _ => max,
    }
}

/// What is known of an alert after it was sent once more.
fn merge(known: &Alert, new: &Alert, now: Timestamp) -> Alert {
    let mut merged = new.clone();
    if known.is_resolved(now) {
        if new.is_resolved(now) {
            return known.clone();
        }
        return merged;
    }
    merged.starts_at = known.starts_at.min(new.starts_at);
    if merged.annotations.is_empty() {
        merged.annotations.clone_from(&known.annotations);
    }
    if merged.generator_url.is_empty() {
        merged.generator_url.clone_from(&known.generator_url);
    }
    merged
}

#[cfg(test)]
mod tests;
