//! Exemplars: single observations with labels of their own, a trace id most often, beside the series they belong to.
//!
//! They are kept in memory alone, the newest [`EXEMPLARS_MAX`] of all: an exemplar leads from a graph to a trace while
//! somebody looks at it, and is no part of what the store promises to keep. A restart begins without any.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::db::Db;
use crate::{Labels, Matcher, Timestamp};

/// The most exemplars held; the oldest go first.
pub const EXEMPLARS_MAX: usize = 100_000;
/// The most characters that the names and values of an exemplar's labels may have, as in OpenMetrics 1.0.
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// One observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What it tells beside the labels of its series.
    pub labels: Labels,
    /// The value observed.
    pub value: f64,
    /// When it was observed.
    pub ts: Timestamp,
}

/// The exemplars of all series, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    ring: VecDeque<(Labels, Exemplar)>,
    /// The newest one of each series in the ring.
    newest: HashMap<Labels, Exemplar>,
}

impl Exemplars {
    fn add(&mut self, series: &Labels, exemplar: Exemplar) -> bool {
        let chars = |labels: &Labels| -> usize {
            labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum()
        };
        // A target shows its last exemplar again and again.
        let is_older = self.newest.get(series).is_some_and(|newest| exemplar.ts <= newest.ts);
        if is_older || chars(&exemplar.labels) > EXEMPLAR_CHARS_MAX {
            return false;
        }
        if self.ring.len() >= EXEMPLARS_MAX
            && let Some((series, oldest)) = self.ring.pop_front()
            && self.newest.get(&series).is_some_and(|newest| newest.ts == oldest.ts)
        {
            self.newest.remove(&series);
        }
        self.newest.insert(series.clone(), exemplar.clone());
        self.ring.push_back((series.clone(), exemplar));
        true
    }
}

impl Db {
    /// Keeps an exemplar of a series; `false` if it is not newer than the one before, or its labels are too long.
    ///
    /// # Cost
    /// A look at a table; it waits for no disk.
    pub fn add_exemplar(&self, series: &Labels, exemplar: Exemplar) -> bool {
        self.inner.exemplars.lock().expect("no panic while exemplars are locked").add(series, exemplar)
    }

    /// The exemplars from `start` to `end` (both inclusive) of the series that match one of `selectors`: by series,
    /// which are sorted, and in the order of time.
    ///
    /// # Cost
    /// A look at each exemplar.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let exemplars = self.inner.exemplars.lock().expect("no panic while exemplars are locked");
        let mut found: BTreeMap<&Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &exemplars.ring {
            let matches = |one: &Vec<Matcher>| {
                one.iter().all(|matcher| matcher.matches(series.get(matcher.name()).unwrap_or("")))
            };
            if exemplar.ts >= start && exemplar.ts <= end && selectors.iter().any(matches) {
                found.entry(series).or_default().push(exemplar.clone());
            }
        }
        found.into_iter().map(|(series, list)| (series.clone(), list)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(trace: &str, ts: i64) -> Exemplar {
        let labels = Labels::from_pairs([("trace_id", trace)]);
        Exemplar { labels, value: 0.5, ts: Timestamp::from_millis(ts) }
    }

    #[test]
    fn exemplars_are_found_by_series_and_time() {
        let db = Db::in_memory();
        let series = |le: &str| Labels::from_pairs([("__name__", "a_bucket"), ("le", le)]);
        assert!(db.add_exemplar(&series("1"), exemplar("x", 10)));
        // The same again, and an older one.
        assert!(!db.add_exemplar(&series("1"), exemplar("x", 10)));
        assert!(!db.add_exemplar(&series("1"), exemplar("w", 5)));
        assert!(db.add_exemplar(&series("1"), exemplar("y", 20)));
        assert!(db.add_exemplar(&series("0.5"), exemplar("z", 15)));
        assert!(!db.add_exemplar(&series("0.5"), exemplar(&"long".repeat(40), 30)));
        let ask = |matcher: Matcher, start: i64, end: i64| {
            let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
            let found = db.exemplars(&[vec![matcher]], start, end);
            found
                .iter()
                .map(|(series, list)| format!("{} {}", series.get("le").unwrap_or(""), list.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(ask(Matcher::equal("__name__", "a_bucket"), 0, 100), ["0.5 1", "1 2"]);
        assert_eq!(ask(Matcher::equal("le", "1"), 11, 20), ["1 1"]);
        assert!(ask(Matcher::equal("le", "2"), 0, 100).is_empty());
    }

    #[test]
    fn the_oldest_go_first() {
        let db = Db::in_memory();
        let series = Labels::from_pairs([("__name__", "a")]);
        for ts in 0..EXEMPLARS_MAX as i64 + 10 {
            db.add_exemplar(&series, exemplar("x", ts));
        }
        let all = db.exemplars(&[vec![Matcher::equal("__name__", "a")]], Timestamp::MIN, Timestamp::MAX);
        assert_eq!((all[0].1.len(), all[0].1[0].ts.as_millis()), (EXEMPLARS_MAX, 10));
    }
}
