//! The queue of notifications that are not settled: order, attempts, back-off.

use std::time::Duration;

use tradewatch_tsdb::Timestamp;

use super::lanes::Lane;
use super::pace::Pace;
use super::state::{GroupState, Outcome, Queued, RECORD_ALERTS_MAX, Record};
use super::{Message, Notifier};
use crate::alert::{Fingerprint, Severity};

/// One attempt to tell a receiver something.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names it towards the notifier.
    pub id: u64,
    /// Names it towards the receiver; the same in every attempt.
    pub key: String,
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// Position in the receiver's integrations.
    pub integration: usize,
    /// From 1.
    pub attempt: u32,
    /// When it was written down, its route's waits behind it.
    pub created: Timestamp,
    /// When this attempt became due.
    pub not_before: Timestamp,
    /// How bad the worst alert in it is.
    pub severity: Severity,
    /// What to say.
    pub message: Message,
}

/// Why an attempt did not work.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Whether it may work later: a time-out, a 5xx, a 429; not a 400.
    pub retriable: bool,
    /// For the ledger and the page; without secrets.
    pub reason: String,
    /// What the receiver asks to wait.
    pub retry_after: Option<Duration>,
}

impl Notifier {
    /// Gives out what is due, worst first, and marks it as under way.
    pub(super) fn hand_out(&mut self, now: Timestamp) -> Vec<Delivery> {
        let config = self.config.clone();
        let pace = |lane: &Lane| {
            let receiver = config.receiver(&lane.0);
            let found = receiver.and_then(|receiver| receiver.integrations.get(lane.1));
            found.map_or_else(Pace::default, |integration| Pace {
                rate: integration.rate_limit,
                folds: integration.folds(),
                max_alerts: integration.max_alerts,
            })
        };
        let started = self.queue.start(now, self.options.in_flight_max, self.options.seed, pace);
        let delivery = |id: u64| {
            let queued = self.queue.get(id)?;
            let (key, attempt, message) = match &queued.bundle {
                Some(bundle) => (&bundle.key, bundle.attempt, &bundle.message),
                None => (&queued.key, queued.attempt, &queued.message),
            };
            Some(Delivery {
                id,
                key: key.clone(),
                receiver: queued.receiver.clone(),
                integration: queued.integration,
                attempt,
                created: queued.created,
                not_before: queued.not_before,
                severity: queued.severity,
                message: message.clone(),
            })
        };
        started.into_iter().filter_map(delivery).collect()
    }

    /// The receiver has acknowledged a delivery. An unknown id is ignored.
    pub fn delivered(&mut self, now: Timestamp, id: u64) {
        self.settle_bundle(id, Outcome::Delivered, "", now);
    }

    /// An attempt failed. It is tried again unless the receiver refused it for good; an unknown id
    /// is ignored.
    pub fn failed(&mut self, now: Timestamp, id: u64, failure: &Failure) {
        if !failure.retriable {
            self.settle_bundle(id, Outcome::Refused, &failure.reason, now);
            return;
        }
        let (seed, least, most) = (self.options.seed, self.options.retry_min, self.options.retry_max);
        let Some(queued) = self.queue.get(id) else { return };
        let doubled = least.saturating_mul(1 << queued.failures.min(20)).min(most);
        // Between half and the whole: a receiver that comes back is not met by all at once.
        let jitter = mix(seed, id, u64::from(queued.attempt)) % 1000;
        let wait = doubled / 2 + doubled.mul_f64(jitter as f64 / 2000.0);
        let carried = queued.bundle.iter().flat_map(|bundle| &bundle.members);
        let told = std::iter::once(&id).chain(carried).filter_map(|id| self.queue.get(*id));
        let groups: Vec<String> = told.map(|queued| queued.group.clone()).collect();
        self.queue.retry(id, now + wait.max(failure.retry_after.unwrap_or_default()), &failure.reason);
        for group in groups {
            if self.groups.get(&group).is_some_and(|g| g.again) {
                self.flush_at(&group, now);
            }
        }
    }

    /// Settles a notification with all that its message carried.
    fn settle_bundle(&mut self, id: u64, outcome: Outcome, reason: &str, now: Timestamp) {
        let Some(queued) = self.queue.get(id) else { return };
        let Some(bundle) = queued.bundle.clone() else {
            self.settle(id, outcome, reason, now);
            return;
        };
        let with =
            format!("in one message with {} more, since the rate limit held them up", bundle.members.len());
        let reason = if reason.is_empty() { with } else { format!("{reason}; {with}") };
        for member in &bundle.members {
            self.settle(*member, outcome, &reason, now);
        }
        self.settle(id, outcome, &reason, now);
    }

    /// Takes a notification out of the queue and writes it into the ledger.
    pub(super) fn settle(&mut self, id: u64, outcome: Outcome, reason: &str, now: Timestamp) {
        let carrier = self.queue.get(id).and_then(|queued| queued.carried_by);
        let told_by = carrier.and_then(|carrier| self.queue.get(carrier)).and_then(|q| q.bundle.as_ref());
        let told_by = told_by.map(|bundle| bundle.key.clone());
        let Some(queued) = self.queue.remove(id) else { return };
        let own = queued.bundle.as_ref().map_or(&queued.key, |bundle| &bundle.key);
        let key = told_by.unwrap_or_else(|| own.clone());
        let kind =
            self.config.receiver(&queued.receiver).and_then(|r| r.integrations.get(queued.integration));
        let record = Record {
            key,
            receiver: queued.receiver.clone(),
            integration: kind.map_or_else(String::new, |k| k.kind.clone()),
            group_key: queued.message.group_key.clone(),
            alerts: named(queued.firing.union(&queued.resolved)),
            alert_count: queued.firing.len() + queued.resolved.len(),
            status: queued.message.status.clone(),
            outcome,
            reason: reason.to_owned(),
            attempts: queued.attempt,
            created: queued.created,
            settled: now,
        };
        self.records.insert(id, record);
        let again = match self.groups.get_mut(&queued.group) {
            Some(group) => {
                note(group, &queued, outcome, now);
                group.again
            }
            None => return,
        };
        if matches!(outcome, Outcome::Delivered | Outcome::Refused) {
            if again {
                self.flush_at(&queued.group, now);
            } else {
                self.prune(&queued.group, now);
            }
        }
    }

    /// Writes into the ledger that a group was over before it was to be told.
    pub(super) fn record_never_sent(
        &mut self,
        receiver: &str,
        group: &GroupState,
        reason: &str,
        now: Timestamp,
    ) {
        if group.alerts.is_empty() {
            return;
        }
        let number = self.take_number();
        let begun = group.alerts.iter().filter_map(|f| self.alerts.get(f)).map(|a| a.starts_at).min();
        let record = Record {
            key: String::new(),
            receiver: receiver.to_owned(),
            integration: String::new(),
            group_key: group.key.clone(),
            alerts: named(group.alerts.iter()),
            alert_count: group.alerts.len(),
            status: "resolved".to_owned(),
            outcome: Outcome::NeverSent,
            reason: reason.to_owned(),
            attempts: 0,
            created: begun.unwrap_or(now),
            settled: now,
        };
        self.records.insert(number, record);
    }
}

fn named<'a>(alerts: impl Iterator<Item = &'a Fingerprint>) -> Vec<Fingerprint> {
    alerts.take(RECORD_ALERTS_MAX).copied().collect()
}

/// What the receiver knows of the group after a notification is settled.
fn note(group: &mut GroupState, queued: &Queued, outcome: Outcome, now: Timestamp) {
    let told = group.told.entry(queued.integration).or_default();
    match outcome {
        // A refused one counts as told too: the same words would be refused again.
        Outcome::Delivered | Outcome::Refused => {
            told.firing.retain(|f| !queued.resolved.contains(f));
            told.firing.extend(queued.firing.iter().copied());
            told.again.retain(|f| !queued.firing.contains(f) && !queued.resolved.contains(f));
            told.unsure.retain(|f| !queued.firing.contains(f) && !queued.resolved.contains(f));
            told.resolved.clone_from(&queued.resolved);
            told.at = Some(now);
        }
        Outcome::Folded | Outcome::NeverSent => {
            if queued.attempt > 0 {
                told.unsure.extend(queued.firing.iter().copied());
            }
        }
    }
}

/// A well mixed number out of three (splitmix64).
pub(super) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut x = seed
        .wrapping_add(a.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(b.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
