//! Inhibition: alerts held back by other alerts.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_tsdb::{Labels, Timestamp};

use super::Table;
use crate::alert::{Alert, Fingerprint};
use crate::route::{InhibitRule, InhibitSource};

/// For each rule the alerts that hold back, by the values in which source and target must agree.
#[derive(Clone, Debug, Default)]
pub(super) struct Inhibitor {
    rules: Vec<InhibitRule>,
    /// By rule and source.
    sources: Vec<Vec<Found>>,
}

/// The alerts of one source by the values of its `equal` labels.
type Found = BTreeMap<Vec<String>, BTreeSet<Fingerprint>>;

impl Inhibitor {
    pub fn new(rules: &[InhibitRule], alerts: &Table<Alert>) -> Inhibitor {
        let sources = rules.iter().map(|rule| vec![Found::new(); rule.sources.len()]).collect();
        let mut inhibitor = Inhibitor { rules: rules.to_vec(), sources };
        for (fingerprint, alert) in alerts.iter() {
            inhibitor.insert(*fingerprint, &alert.labels);
        }
        inhibitor
    }

    pub fn insert(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, found) in self.rules.iter().zip(&mut self.sources) {
            for (source, found) in rule.sources.iter().zip(found) {
                if source.matches(labels) {
                    found.entry(source.equal_values(labels)).or_default().insert(fingerprint);
                }
            }
        }
    }

    pub fn remove(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, found) in self.rules.iter().zip(&mut self.sources) {
            for (source, found) in rule.sources.iter().zip(found) {
                let values = source.equal_values(labels);
                if let Some(set) = found.get_mut(&values) {
                    set.remove(&fingerprint);
                    if set.is_empty() {
                        found.remove(&values);
                    }
                }
            }
        }
    }

    /// The alert that holds `target` back.
    ///
    /// One that was resolved goes on for the interval of the target's rule: when both end by the
    /// same cause, the one that is evaluated later must not be told in between.
    pub fn inhibited_by(&self, target: &Alert, alerts: &Table<Alert>, now: Timestamp) -> Option<Fingerprint> {
        let own = target.fingerprint();
        let holds = |rule: &InhibitRule, source: &InhibitSource, found: &Found| {
            let both = source.matches(&target.labels);
            let set = found.get(&source.equal_values(&target.labels))?;
            set.iter().copied().find(|fingerprint| {
                let Some(other) = alerts.get(fingerprint).filter(|_| *fingerprint != own) else {
                    return false;
                };
                let holds = !other.is_resolved(now)
                    || (!target.every.is_zero() && now < other.ends_at + target.every);
                // An alert that is source and target at once is held back only by a mere source.
                holds && !(both && rule.is_target(&other.labels))
            })
        };
        for (rule, found) in self.rules.iter().zip(&self.sources) {
            if !rule.is_target(&target.labels) {
                continue;
            }
            // Every source of the rule must have an alert that holds; the first one is named.
            let mut each = rule.sources.iter().zip(found).map(|(source, found)| holds(rule, source, found));
            if let Some(Some(first)) = each.next()
                && each.all(|found| found.is_some())
            {
                return Some(first);
            }
        }
        None
    }
}
