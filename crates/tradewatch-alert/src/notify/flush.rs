//! Groups: who belongs together, when they are told, what they are told.

use std::collections::BTreeSet;

use tradewatch_tsdb::{Labels, Timestamp};

use super::message::Message;
use super::state::{GroupState, Outcome, Queued, Told};
use super::{Notifier, queue};
use crate::alert::{Alert, Fingerprint, Severity};
use crate::route::{Integration, Route};

/// The alerts of a group as they stand at a flush.
struct Standing {
    /// Firing and not held back.
    firing: BTreeSet<Fingerprint>,
    /// Firing and silenced.
    silenced: BTreeSet<Fingerprint>,
    /// Firing and inhibited.
    inhibited: BTreeSet<Fingerprint>,
    /// Resolved, not held back.
    resolved: BTreeSet<Fingerprint>,
    /// Resolved and held back; told only to those who know of them.
    resolved_held: BTreeSet<Fingerprint>,
}

impl Notifier {
    /// The group of an alert in `route`.
    fn group_id(&self, route: &Route, alert: &Alert) -> (String, Labels) {
        let group_labels = route.group_labels(&alert.labels);
        let id = format!("{}:{group_labels}", route.id);
        if self.groups.contains(&id) {
            return (id, group_labels);
        }
        // A storm: what has no group yet shares one, rather than being dropped, and stays there.
        let overflow = format!("{}:overflow", route.id);
        let shares = self.groups.get(&overflow).is_some_and(|g| g.alerts.contains(&alert.fingerprint()));
        if shares || self.groups.len() >= super::room(self.options.groups_max, alert) {
            return (overflow, Labels::empty());
        }
        (id, group_labels)
    }

    pub(super) fn in_a_group(&self, fingerprint: &Fingerprint, alert: &Alert) -> bool {
        self.config.matching(&alert.labels).into_iter().all(|at| {
            let (id, _) = self.group_id(&self.config.routes[at], alert);
            self.groups.get(&id).is_some_and(|group| group.alerts.contains(fingerprint))
        })
    }

    /// Puts a firing alert into the groups of its routes.
    pub(super) fn join_groups(&mut self, alert: &Alert, now: Timestamp) {
        let config = self.config.clone();
        for at in config.matching(&alert.labels) {
            let route = &config.routes[at];
            let (id, labels) = self.group_id(route, alert);
            // An alert that is older than the wait need not wait, as after a restart.
            let due = now.max(alert.starts_at + route.group_wait).min(now + route.group_wait);
            if !self.groups.contains(&id) {
                let group = GroupState {
                    route: route.id.clone(),
                    key: config.group_key(route, &labels),
                    labels,
                    alerts: BTreeSet::new(),
                    next_flush: due,
                    flushed: false,
                    held: BTreeSet::new(),
                    silenced: false,
                    muted: false,
                    again: false,
                    told: Default::default(),
                };
                self.timers.insert((due, id.clone()));
                self.groups.insert(id.clone(), group);
            }
            let group = self.groups.get_mut(&id).expect("made above");
            group.alerts.insert(alert.fingerprint());
            if !group.flushed && due < group.next_flush {
                self.flush_at(&id, due);
            }
        }
    }

    /// Alerts have ended: groups that are all resolved say so at once.
    pub(super) fn after_end(&mut self, ended: &BTreeSet<Fingerprint>, now: Timestamp) {
        if ended.is_empty() {
            return;
        }
        let touched: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, group)| !group.alerts.is_disjoint(ended))
            .map(|(id, _)| id.clone())
            .collect();
        for id in touched {
            let Some(group) = self.groups.get(&id) else { continue };
            let fires = |f: &Fingerprint| self.alerts.get(f).is_some_and(|a| !a.is_resolved(now));
            if group.alerts.iter().any(fires) {
                continue;
            }
            let told = group.told.values().any(|t| !t.firing.is_empty() || !t.unsure.is_empty());
            if told || !self.queue.of_group(&id).is_empty() {
                self.flush_at(&id, now);
            } else {
                let reason = match (group.silenced, group.muted, group.flushed) {
                    _ if !self.is_deliverable(&group.route) => {
                        "this version does not deliver to its receiver"
                    }
                    (true, ..) => "resolved while it was silenced",
                    (_, true, _) => "resolved while its route was muted",
                    (_, _, true) => "resolved while it was inhibited",
                    _ => "resolved within group_wait",
                };
                self.drop_group(&id, reason, now);
            }
        }
    }

    fn is_deliverable(&self, route: &str) -> bool {
        let route = self.config.routes.iter().find(|r| r.id == route);
        let receiver = route.and_then(|route| self.config.receiver(&route.receiver));
        receiver.is_some_and(|r| r.integrations.iter().any(Integration::is_delivered))
    }

    /// Sets the timer of a group.
    pub(super) fn flush_at(&mut self, id: &str, at: Timestamp) {
        let id = id.to_owned();
        if let Some(group) = self.groups.get_mut(&id) {
            self.timers.remove(&(group.next_flush, id.clone()));
            group.next_flush = at;
            self.timers.insert((at, id));
        }
    }

    /// Forgets a group; what it would have said is written into the ledger.
    pub(super) fn drop_group(&mut self, id: &str, reason: &str, now: Timestamp) {
        let id = id.to_owned();
        let queued = self.queue.of_group(&id);
        let Some(group) = self.groups.remove(&id) else { return };
        self.muted.remove(&id);
        self.timers.remove(&(group.next_flush, id));
        if queued.is_empty() && !reason.is_empty() {
            let route = self.config.routes.iter().find(|r| r.id == group.route);
            let receiver = route.map(|r| r.receiver.clone()).unwrap_or_default();
            self.record_never_sent(&receiver, &group, reason, now);
        }
        for number in queued {
            self.settle(number, Outcome::Folded, reason, now);
        }
    }

    /// Looks at a group and queues what its receiver must hear.
    pub(super) fn flush(&mut self, id: &str, now: Timestamp) {
        let id = id.to_owned();
        let config = self.config.clone();
        let Some(group) = self.groups.get(&id) else { return };
        let Some(route) = config.routes.iter().find(|r| r.id == group.route) else { return };
        let standing = self.standing(group, now);
        let muted = config.muted_by(route, now).is_some();
        let integrations = config.receiver(&route.receiver).map_or(&[][..], |r| &r.integrations);
        let group = self.groups.get_mut(&id).expect("just seen");
        group.flushed = true;
        group.again = false;
        if muted {
            group.held.extend(&standing.firing);
        } else {
            group.held.retain(|f| !standing.firing.contains(f));
        }
        group.held.extend(standing.silenced.union(&standing.inhibited));
        group.held.retain(|f| group.alerts.contains(f));
        group.silenced = !standing.silenced.is_empty();
        group.muted = muted;
        if muted {
            self.muted.insert(id.clone());
        } else {
            self.muted.remove(&id);
        }
        group.next_flush = now + route.group_interval;
        self.timers.insert((group.next_flush, id.clone()));
        for (position, integration) in integrations.iter().enumerate() {
            if integration.is_delivered() {
                self.flush_integration(&id, route, position, integration, &standing, muted, now);
            }
        }
        self.prune(&id, now);
    }

    fn standing(&self, group: &GroupState, now: Timestamp) -> Standing {
        let mut standing = Standing {
            firing: BTreeSet::new(),
            silenced: BTreeSet::new(),
            inhibited: BTreeSet::new(),
            resolved: BTreeSet::new(),
            resolved_held: BTreeSet::new(),
        };
        for fingerprint in &group.alerts {
            let Some(alert) = self.alerts.get(fingerprint) else { continue };
            let silenced = self.active_silences.values().any(|s| s.hides(&alert.labels, now));
            let inhibited = self.inhibitor.inhibited_by(alert, &self.alerts, now).is_some();
            let was_held = group.held.contains(fingerprint);
            let set = match (alert.is_resolved(now), silenced, inhibited) {
                (true, false, false) if !was_held => &mut standing.resolved,
                (true, ..) => &mut standing.resolved_held,
                (false, true, _) => &mut standing.silenced,
                (false, false, true) => &mut standing.inhibited,
                (false, false, false) => &mut standing.firing,
            };
            set.insert(*fingerprint);
        }
        standing
    }

    fn flush_integration(
        &mut self,
        id: &String,
        route: &Route,
        position: usize,
        integration: &Integration,
        standing: &Standing,
        muted: bool,
        now: Timestamp,
    ) {
        let queued = self.queue.of(id, position);
        let queued = queued.and_then(|number| Some((number, self.queue.get(number)?.clone())));
        let group = self.groups.get_mut(id).expect("the caller holds it");
        let told = group.told.entry(position).or_default();
        let held = |f: &&Fingerprint| standing.silenced.contains(f) || (muted && standing.firing.contains(f));
        let held: Vec<Fingerprint> = told.firing.iter().filter(held).copied().collect();
        told.again.extend(held);
        if muted {
            return;
        }
        if !integration.send_resolved {
            // The end of a single alert is not told; when it fires again, that is news.
            let over = |f: &Fingerprint| standing.resolved.contains(f) || standing.resolved_held.contains(f);
            if !standing.firing.is_empty() {
                told.firing.retain(|f| !over(f));
            }
        }
        if let Some((_, q)) = &queued
            && q.attempt > 0
        {
            told.unsure.extend(q.firing.iter().copied());
        }
        let told = told.clone();
        let mut resolved = standing.resolved.clone();
        resolved.extend(standing.resolved_held.iter().filter(|f| told.may_know(f)));
        if standing.firing.is_empty() {
            // Nobody needs to hear the end of what they never heard of.
            resolved.retain(|f| told.may_know(f));
        }
        if !self.needs_telling(&told, &standing.firing, &resolved, route, integration.send_resolved, now) {
            if let Some((number, q)) = queued
                && !q.in_flight
                && standing.firing.is_empty()
                && resolved.is_empty()
            {
                self.settle(number, Outcome::NeverSent, "resolved before the first attempt", now);
            }
            return;
        }
        if !integration.send_resolved {
            if standing.firing.is_empty() {
                let told =
                    self.groups.get_mut(id).and_then(|g| g.told.get_mut(&position)).expect("made above");
                *told = Told { at: Some(now), ..Told::default() };
                return;
            }
            resolved.clear();
        }
        let mut failures = 0;
        let mut not_before = now;
        if let Some((number, q)) = queued {
            if q.firing == standing.firing && q.resolved == resolved {
                return;
            }
            if q.in_flight {
                self.groups.get_mut(id).expect("the caller holds it").again = true;
                return;
            }
            // The receiver is still in its back-off; the newer message waits as long.
            (failures, not_before) = (q.failures, q.not_before.max(now));
            self.settle(number, Outcome::Folded, "a newer notification of the group took its place", now);
        }
        self.enqueue(
            id,
            route,
            position,
            integration,
            standing.firing.clone(),
            resolved,
            now,
            failures,
            not_before,
        );
    }

    /// Alertmanager's decision whether a receiver must hear of a group.
    fn needs_telling(
        &self,
        told: &Told,
        firing: &BTreeSet<Fingerprint>,
        resolved: &BTreeSet<Fingerprint>,
        route: &Route,
        send_resolved: bool,
        now: Timestamp,
    ) -> bool {
        if firing.iter().any(|f| !told.firing.contains(f) || told.again.contains(f)) {
            return true;
        }
        if firing.is_empty() {
            return resolved.iter().any(|f| told.may_know(f));
        }
        if send_resolved && resolved.iter().any(|f| !told.resolved.contains(f)) {
            return true;
        }
        let due = told.at.is_none_or(|at| at + route.repeat_interval <= now);
        due && !firing.iter().all(|f| self.acks.contains(f))
    }

    fn enqueue(
        &mut self,
        id: &str,
        route: &Route,
        position: usize,
        integration: &Integration,
        firing: BTreeSet<Fingerprint>,
        resolved: BTreeSet<Fingerprint>,
        now: Timestamp,
        failures: u32,
        not_before: Timestamp,
    ) {
        let number = self.take_number();
        let group = self.groups.get(&id.to_owned()).expect("the caller holds it");
        let alerts: Vec<&Alert> = firing.union(&resolved).filter_map(|f| self.alerts.get(f)).collect();
        let severity = alerts.iter().map(|a| a.severity()).min().unwrap_or(Severity::Info);
        let max_alerts = integration.max_alerts;
        let url = &self.options.external_url;
        let message = Message::new(&route.receiver, &group.key, &group.labels, url, alerts, max_alerts, now);
        let queued = Queued {
            key: format!("{:016x}-{number}", queue::mix(self.options.seed, number, 0)),
            group: id.to_owned(),
            receiver: route.receiver.clone(),
            integration: position,
            message,
            firing,
            resolved,
            severity,
            attempt: 0,
            created: now,
            failures,
            not_before,
            in_flight: false,
            last_error: None,
            bundle: None,
            carried_by: None,
        };
        self.queue.insert(number, queued);
    }

    /// Takes alerts that are over out of a group once everybody knows, and drops an empty group.
    pub(super) fn prune(&mut self, id: &String, now: Timestamp) {
        let Some(group) = self.groups.get(id) else { return };
        let queued: Vec<&Queued> =
            self.queue.of_group(id).into_iter().filter_map(|n| self.queue.get(n)).collect();
        let waiting = |f: &Fingerprint| queued.iter().any(|q| q.firing.contains(f) || q.resolved.contains(f));
        // While a mute holds the all-clear back, nobody knows yet.
        let over = |f: &Fingerprint| {
            self.alerts.get(f).is_none_or(|a| a.is_resolved(now))
                && !group.told.values().any(|told| told.may_know(f))
                && !waiting(f)
        };
        let over: Vec<Fingerprint> = group.alerts.iter().filter(|f| over(f)).copied().collect();
        if over.is_empty() {
            return;
        }
        let group = self.groups.get_mut(id).expect("just seen");
        group.alerts.retain(|f| !over.contains(f));
        for told in group.told.values_mut() {
            told.resolved.retain(|f| !over.contains(f));
        }
        if group.alerts.is_empty() && self.queue.of_group(id).is_empty() {
            self.drop_group(id, "", now);
        }
    }
}
