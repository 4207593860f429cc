//! Inhibition: alerts held back by other alerts.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_tsdb::{Labels, Timestamp};

use super::Table;
use crate::alert::{Alert, Fingerprint};
use crate::route::InhibitRule;

/// For each rule the alerts that hold back, by the values in which source and target must agree.
#[derive(Clone, Debug, Default)]
pub(super) struct Inhibitor {
    rules: Vec<InhibitRule>,
    sources: Vec<BTreeMap<Vec<String>, BTreeSet<Fingerprint>>>,
}

impl Inhibitor {
    pub fn new(rules: &[InhibitRule], alerts: &Table<Alert>) -> Inhibitor {
        let mut inhibitor = Inhibitor { rules: rules.to_vec(), sources: vec![BTreeMap::new(); rules.len()] };
        for (fingerprint, alert) in alerts.iter() {
            inhibitor.insert(*fingerprint, &alert.labels);
        }
        inhibitor
    }

    pub fn insert(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            if rule.is_source(labels) {
                sources.entry(rule.equal_values(labels)).or_default().insert(fingerprint);
            }
        }
    }

    pub fn remove(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            let values = rule.equal_values(labels);
            if let Some(set) = sources.get_mut(&values) {
                set.remove(&fingerprint);
                if set.is_empty() {
                    sources.remove(&values);
                }
            }
        }
    }

    /// The alert that holds `target` back.
    ///
    /// One that was resolved goes on for the interval of the target's rule: when both end by the
    /// same cause, the one that is evaluated later must not be told in between.
    pub fn inhibited_by(&self, target: &Alert, alerts: &Table<Alert>, now: Timestamp) -> Option<Fingerprint> {
        let mut own = None;
        for (rule, sources) in self.rules.iter().zip(&self.sources) {
            if !rule.is_target(&target.labels) {
                continue;
            }
            let both = rule.is_source(&target.labels);
            let Some(set) = sources.get(&rule.equal_values(&target.labels)) else { continue };
            let own = *own.get_or_insert_with(|| target.fingerprint());
            let found = set.iter().find(|fingerprint| {
                let Some(source) = alerts.get(fingerprint).filter(|_| **fingerprint != own) else {
                    return false;
                };
                let holds = !source.is_resolved(now)
                    || (!target.every.is_zero() && now < source.ends_at + target.every);
                // An alert that is source and target at once is held back only by a mere source.
                holds && !(both && rule.is_target(&source.labels))
            });
            if let Some(found) = found {
                return Some(*found);
            }
        }
        None
    }
}
