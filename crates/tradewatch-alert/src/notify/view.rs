//! What the pages and the API show of the notifier.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_tsdb::{Labels, Matcher, Timestamp};

use super::state::{Ack, GroupState, Queued, Record};
use super::{Notifier, Silence, SilenceStatus};
use crate::alert::{Alert, Fingerprint};
use crate::route::matchers;

/// An alert and what happens to it.
#[derive(Clone, Debug)]
pub struct AlertView<'a> {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// The alert.
    pub alert: &'a Alert,
    /// Whether it fires.
    pub firing: bool,
    /// Silences that hide it.
    pub silenced_by: Vec<String>,
    /// The alert that holds it back.
    pub inhibited_by: Option<Fingerprint>,
    /// The time interval that mutes all of its routes.
    pub muted_by: Option<String>,
    /// Who is told.
    pub receivers: Vec<String>,
    /// Who has seen it.
    pub acknowledged: Option<&'a Ack>,
    /// When a receiver last acknowledged a notification of its group.
    pub last_notified: Option<Timestamp>,
}

/// A group of alerts that are told together.
#[derive(Clone, Debug)]
pub struct GroupView<'a> {
    /// The receiver.
    pub receiver: &'a str,
    /// The labels that make the group.
    pub labels: &'a Labels,
    /// Its alerts.
    pub alerts: Vec<Fingerprint>,
}

/// A notification that is not settled.
#[derive(Clone, Debug)]
pub struct QueuedView<'a> {
    /// Names it towards the receiver.
    pub key: &'a str,
    /// The receiver.
    pub receiver: &'a str,
    /// The group.
    pub group_key: &'a str,
    /// Alerts in it.
    pub alerts: usize,
    /// Attempts made.
    pub attempts: u32,
    /// Whether one is under way.
    pub in_flight: bool,
    /// When it was written down.
    pub created: Timestamp,
    /// When the next attempt is due.
    pub not_before: Timestamp,
    /// Why the last attempt failed.
    pub last_error: Option<&'a str>,
}

impl Notifier {
    /// All alerts, those that fire and those lately resolved.
    pub fn alerts(&self, now: Timestamp) -> Vec<AlertView<'_>> {
        let told = self.last_told();
        self.alerts.iter().map(|(key, alert)| self.view(*key, alert, told.get(key).copied(), now)).collect()
    }

    /// One alert.
    pub fn alert(&self, fingerprint: Fingerprint, now: Timestamp) -> Option<AlertView<'_>> {
        let groups = self.groups.values().filter(|group| group.alerts.contains(&fingerprint));
        let last_notified = groups.filter_map(GroupState::last_told).max();
        self.alerts.get(&fingerprint).map(|alert| self.view(fingerprint, alert, last_notified, now))
    }

    /// Whether it holds an alert, firing or lately resolved.
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.alerts.contains(&fingerprint)
    }

    /// When a receiver last acknowledged a group of each alert: one pass, where asking every group for every
    /// alert would be their product, in a storm of ungrouped alerts its square.
    fn last_told(&self) -> BTreeMap<Fingerprint, Timestamp> {
        let mut last = BTreeMap::new();
        for group in self.groups.values() {
            let Some(told) = group.last_told() else { continue };
            for fingerprint in &group.alerts {
                let known = last.entry(*fingerprint).or_insert(told);
                *known = told.max(*known);
            }
        }
        last
    }

    fn view<'a>(
        &'a self,
        fingerprint: Fingerprint,
        alert: &'a Alert,
        last_notified: Option<Timestamp>,
        now: Timestamp,
    ) -> AlertView<'a> {
        let silenced = self.active_silences.iter().filter(|(_, s)| s.hides(&alert.labels, now));
        let routes: Vec<_> =
            self.config.matching(&alert.labels).into_iter().map(|at| &self.config.routes[at]).collect();
        let receivers: BTreeSet<&str> = routes.iter().map(|r| r.receiver.as_str()).collect();
        let muted: Vec<_> = routes.iter().map(|route| self.config.muted_by(route, now)).collect();
        AlertView {
            fingerprint,
            alert,
            firing: !alert.is_resolved(now),
            silenced_by: silenced.map(|(id, _)| id.clone()).collect(),
            inhibited_by: self.inhibitor.inhibited_by(alert, &self.alerts, now),
            muted_by: if muted.iter().all(Option::is_some) {
                muted.first().copied().flatten().map(str::to_owned)
            } else {
                None
            },
            receivers: receivers.into_iter().map(str::to_owned).collect(),
            acknowledged: self.acks.get(&fingerprint),
            last_notified,
        }
    }

    /// All groups.
    pub fn groups(&self) -> Vec<GroupView<'_>> {
        let receiver =
            |route: &str| self.config.routes.iter().find(|r| r.id == route).map_or("", |r| &r.receiver);
        let view = |group: &GroupState| group.alerts.iter().copied().collect();
        self.groups
            .values()
            .map(|group| GroupView {
                receiver: receiver(&group.route),
                labels: &group.labels,
                alerts: view(group),
            })
            .collect()
    }

    /// All silences with their state filled in, the latest change first.
    pub fn silences(&self, now: Timestamp) -> Vec<Silence> {
        let stated =
            |s: &Silence| Silence { status: SilenceStatus { state: s.state(now).to_owned() }, ..s.clone() };
        let mut all: Vec<Silence> = self.silences.values().map(stated).collect();
        all.sort_by_key(|s| std::cmp::Reverse(s.updated_at));
        all
    }

    /// One silence with its state filled in.
    pub fn silence(&self, id: &str, now: Timestamp) -> Option<Silence> {
        self.silences(now).into_iter().find(|s| s.id == id)
    }

    /// The firing alerts that a silence with these matchers would hide.
    pub fn preview(&self, matchers: &[Matcher], now: Timestamp) -> Vec<&Alert> {
        let hit = |alert: &&Alert| !alert.is_resolved(now) && matchers::all_match(matchers, &alert.labels);
        self.alerts.values().filter(hit).collect()
    }

    /// What waits, is under way or is tried again, worst first.
    pub fn queued(&self) -> Vec<QueuedView<'_>> {
        let mut all: Vec<&Queued> = self.queue.rows().values().collect();
        all.sort_by_key(|q| (q.severity, q.created));
        all.into_iter()
            .map(|q| QueuedView {
                key: &q.key,
                receiver: &q.receiver,
                group_key: &q.message.group_key,
                alerts: q.firing.len() + q.resolved.len(),
                attempts: q.attempt,
                in_flight: q.in_flight,
                created: q.created,
                not_before: q.not_before,
                last_error: q.last_error.as_deref(),
            })
            .collect()
    }

    /// The ledger of what is settled, in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }
}
