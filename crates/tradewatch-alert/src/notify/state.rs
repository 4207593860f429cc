//! The notifier's tables: what must outlive the process, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::{Labels, Timestamp};

use super::message::Message;
use super::silence::Silence;
use crate::alert::{Alert, Fingerprint, Severity, labels_as_map, millis, optional_millis};

/// Rows by key that remember which of them changed.
#[derive(Clone, Debug)]
pub(super) struct Table<V, K: Ord = Fingerprint> {
    rows: BTreeMap<K, V>,
    changed: BTreeSet<K>,
}

impl<V, K: Ord> Default for Table<V, K> {
    fn default() -> Table<V, K> {
        Table { rows: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<V, K: Ord + Clone> Table<V, K> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// The row with its key as the table holds it.
    pub fn get_pair(&self, key: &K) -> Option<(&K, &V)> {
        self.rows.get_key_value(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    pub fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.rows.remove(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().inspect(|_| work::count_row())
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, row)| row)
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.keys()
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows that changed since the last call, `None` for those that are gone.
    pub fn take_changes(&mut self) -> Vec<(K, Option<V>)>
    where
        V: Clone,
    {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| {
                let row = self.rows.get(&key).cloned();
                (key, row)
            })
            .collect()
    }

    /// Sets a row that was read from disk, which is no change.
    pub fn restore(&mut self, key: K, row: Option<V>) {
        match row {
            Some(row) => self.rows.insert(key, row),
            None => self.rows.remove(&key),
        };
    }

    /// Marks everything as changed.
    pub fn mark_all(&mut self) {
        self.changed.extend(self.rows.keys().cloned());
    }
}

/// Counts the rows that walks over tables visit, so that a test can bound work rather than time.
pub(super) mod work {
    #[cfg(test)]
    thread_local! {
        pub static ROWS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[inline]
    pub fn count_row() {
        #[cfg(test)]
        ROWS.set(ROWS.get() + 1);
    }
}

/// One row of the notifier's state, as it goes to disk. Later rows with the same key win.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An alert; gone when `row` is null, as in all others.
    Alert {
        /// Its identity.
        key: Fingerprint,
        /// The alert.
        row: Option<Alert>,
    },
    /// A group of alerts and what its receivers were told.
    Group {
        /// Route and group labels.
        key: String,
        /// The group.
        row: Option<Box<GroupState>>,
    },
    /// A notification that is not settled.
    Queued {
        /// Number.
        key: u64,
        /// The notification.
        row: Option<Box<Queued>>,
    },
    /// A silence.
    Silence {
        /// Its id.
        key: String,
        /// The silence.
        row: Option<Silence>,
    },
    /// An acknowledgement.
    Ack {
        /// The alert.
        key: Fingerprint,
        /// Who and when.
        row: Option<Ack>,
    },
    /// A settled notification.
    Record {
        /// Number.
        key: u64,
        /// The entry of the ledger.
        row: Option<Box<Record>>,
    },
    /// Up to when the notifier lived; what is valid beyond it is valid for as long after a restart.
    Seen {
        /// Milliseconds since the epoch.
        #[serde(with = "millis")]
        at: Timestamp,
    },
    /// The next number.
    Next {
        /// The number.
        number: u64,
    },
}

/// A group of alerts that are told together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupState {
    /// The route's id.
    pub(super) route: String,
    /// Alertmanager's group key.
    pub(super) key: String,
    #[serde(with = "labels_as_map")]
    pub(super) labels: Labels,
    pub(super) alerts: BTreeSet<Fingerprint>,
    #[serde(with = "millis")]
    pub(super) next_flush: Timestamp,
    pub(super) flushed: bool,
    /// Alerts that were held back at the last flush that saw them fire: their end is no news.
    pub(super) held: BTreeSet<Fingerprint>,
    /// A firing alert of it was held back by a silence at the last flush.
    pub(super) silenced: bool,
    /// It was held back by a time interval at the last flush.
    pub(super) muted: bool,
    /// Flush again when the delivery under way is settled.
    pub(super) again: bool,
    /// By position of the integration in its receiver.
    pub(super) told: BTreeMap<usize, Told>,
}

impl GroupState {
    /// When a receiver last acknowledged a notification of it.
    pub(super) fn last_told(&self) -> Option<Timestamp> {
        self.told.values().filter_map(|told| told.at).max()
    }
}

/// What one integration was told about a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// It knows that these fire.
    pub firing: BTreeSet<Fingerprint>,
    /// It was told last that these are resolved.
    pub resolved: BTreeSet<Fingerprint>,
    /// It knows that these fire, and they were held back since: they are told again.
    pub again: BTreeSet<Fingerprint>,
    /// It may know of these, since an attempt to tell it ended without an answer.
    pub unsure: BTreeSet<Fingerprint>,
    #[serde(with = "optional_millis")]
    pub at: Option<Timestamp>,
}

impl Told {
    pub fn may_know(&self, fingerprint: &Fingerprint) -> bool {
        self.firing.contains(fingerprint) || self.unsure.contains(fingerprint)
    }
}

/// A notification that waits, is under way or is tried again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queued {
    pub(super) key: String,
    pub(super) group: String,
    pub(super) receiver: String,
    pub(super) integration: usize,
    pub(super) message: Message,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
    pub(super) severity: Severity,
    pub(super) attempt: u32,
    /// Failures in a row of this group at this receiver, those of folded notifications included.
    pub(super) failures: u32,
    #[serde(with = "millis")]
    pub(super) created: Timestamp,
    #[serde(with = "millis")]
    pub(super) not_before: Timestamp,
    pub(super) in_flight: bool,
    pub(super) last_error: Option<String>,
    /// One message for this notification and those that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bundle: Option<Box<Bundle>>,
    /// The notification whose bundle tells this one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) carried_by: Option<u64>,
}

/// Notifications of several groups in one message, since the receiver's rate held them up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// Names it towards the receiver; the same in every attempt.
    pub key: String,
    pub message: Message,
    /// Those that are carried.
    pub members: Vec<u64>,
    pub attempt: u32,
}

/// Somebody has seen an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// What they say.
    pub comment: String,
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

/// How a notification ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver has acknowledged it.
    Delivered,
    /// The receiver has refused it for good.
    Refused,
    /// A newer one about the same group took its place before it was delivered.
    Folded,
    /// It was over before it was to be told.
    NeverSent,
}

/// An entry of the ledger: a notification that is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key that the receiver saw.
    pub key: String,
    /// The receiver.
    pub receiver: String,
    /// The kind of delivery.
    pub integration: String,
    /// The group.
    pub group_key: String,
    /// The alerts; at most [`RECORD_ALERTS_MAX`].
    pub alerts: Vec<Fingerprint>,
    /// All alerts.
    pub alert_count: usize,
    /// `firing` or `resolved`.
    pub status: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where that needs saying.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was written down.
    #[serde(with = "millis")]
    pub created: Timestamp,
    /// When it ended.
    #[serde(with = "millis")]
    pub settled: Timestamp,
}

/// Alerts named in one entry of the ledger.
pub const RECORD_ALERTS_MAX: usize = 20;

/// Bounds and habits of a notifier.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the monitor is reached; goes into messages.
    pub external_url: String,
    /// Seeds the jitter of retries and the ids of silences.
    pub seed: u64,
    /// Deliveries under way at once per receiver.
    pub in_flight_max: usize,
    /// Wait before the second attempt; doubles each time.
    pub retry_min: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
    /// Alerts held; further new ones are refused. Critical ones get a tenth more.
    pub alerts_max: usize,
    /// Groups held; further alerts of a route share one group. Critical ones get a tenth more.
    pub groups_max: usize,
    /// Settled notifications remembered.
    pub records_max: usize,
    /// How long expired silences are remembered.
    pub silence_retention: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            external_url: String::new(),
            seed: 0,
            in_flight_max: 4,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            alerts_max: 100_000,
            groups_max: 20_000,
            records_max: 5_000,
            silence_retention: Duration::from_secs(120 * 3600),
        }
    }
}
