//! The notifier on virtual time: what receivers would have been told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tradewatch_tsdb::Timestamp;

use super::{EPISODES_MAX, Options};
use crate::alert::{Alert, Fingerprint};
use crate::notify::{self, Notifier};
use crate::route::Config;

/// One notification.
#[derive(Clone, Debug)]
pub struct Notice {
    /// When it would have been sent.
    pub at: Timestamp,
    /// To whom.
    pub receiver: String,
    /// The labels that make its group.
    pub group: BTreeMap<String, String>,
    /// The firing alerts in it.
    pub firing: Vec<Fingerprint>,
    /// The resolved alerts in it.
    pub resolved: Vec<Fingerprint>,
    /// Whether every firing alert in it had been told to this receiver before: a reminder.
    pub repeated: bool,
}

/// The notifier, and what it gave so far.
pub(super) struct Notices {
    notifier: Notifier,
    from: Timestamp,
    latest: Timestamp,
    given: Vec<Notice>,
    /// What a receiver knows to fire.
    known: BTreeMap<String, BTreeSet<Fingerprint>>,
    dropped: u64,
}

impl Notices {
    pub fn new(options: &Options) -> Notices {
        let config = options.routes.clone().unwrap_or_else(|| Arc::new(Config::terminal()));
        Notices {
            notifier: Notifier::new(config, notify::Options::default()),
            from: options.from,
            latest: Timestamp::MIN,
            given: Vec::new(),
            known: BTreeMap::new(),
            dropped: 0,
        }
    }

    /// Tells the notifier what an evaluation at `at` gave.
    pub fn take(&mut self, at: Timestamp, alerts: &[Alert]) {
        if at > self.latest {
            self.advance(at);
        }
        self.notifier.update(at, alerts);
        self.latest = at;
    }

    /// Polls whenever there is something to do, before `end`.
    pub fn advance(&mut self, end: Timestamp) {
        if self.latest > Timestamp::MIN {
            self.poll(self.latest);
        }
        while let Some(next) = self.notifier.next_wakeup().filter(|next| *next < end) {
            let next = next.max(self.latest);
            self.poll(next);
            self.latest = next;
        }
    }

    fn poll(&mut self, now: Timestamp) {
        // What is sent may make room for more.
        loop {
            let deliveries = self.notifier.poll(now);
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                let of = |firing: bool| -> Vec<Fingerprint> {
                    let alerts = delivery.message.alerts.iter();
                    let alerts = alerts.filter(|alert| (alert.status == "firing") == firing);
                    alerts.filter_map(|alert| Fingerprint::parse(&alert.fingerprint)).collect()
                };
                let (firing, resolved) = (of(true), of(false));
                let known = self.known.entry(delivery.receiver.clone()).or_default();
                let fresh = firing.iter().filter(|alert| known.insert(**alert)).count();
                resolved.iter().for_each(|alert| {
                    known.remove(alert);
                });
                let repeated = fresh == 0 && resolved.is_empty();
                self.notifier.delivered(now, delivery.id);
                if now < self.from {
                    continue;
                }
                if self.given.len() >= EPISODES_MAX {
                    self.dropped += 1;
                    continue;
                }
                let (receiver, group) = (delivery.receiver, delivery.message.group_labels);
                self.given.push(Notice { at: now, receiver, group, firing, resolved, repeated });
            }
            // Nobody writes them down here.
            self.notifier.take_changes();
        }
    }

    /// All of them by time, and how many were too many.
    pub fn finish(mut self, end: Timestamp) -> (Vec<Notice>, u64) {
        self.advance(end);
        (self.given, self.dropped)
    }
}
