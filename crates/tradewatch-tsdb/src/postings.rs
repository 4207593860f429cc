//! The inverted index: (label name, value) → ascending series ids.
//!
//! Ids are handed out in ascending order and never twice, so adding is a push at the end of each list.

use std::collections::{BTreeMap, HashMap};

use crate::{Labels, Matcher};

/// Lists of series by label.
#[derive(Debug, Default)]
pub struct Postings {
    /// The place of each list.
    names: HashMap<String, BTreeMap<String, u32>>,
    lists: Vec<Vec<u32>>,
    /// Places of lists that are gone.
    free: Vec<u32>,
    all: Vec<u32>,
    /// The series that was added last, with the places of its lists: the next one shares most of them.
    last: (Labels, Vec<u32>),
}

impl Postings {
    /// Adds a series whose id is greater than every id before.
    pub fn add(&mut self, id: u32, labels: &Labels) {
        debug_assert!(self.all.last().is_none_or(|last| *last < id), "ids ascend");
        self.all.push(id);
        let (before, mut places) = std::mem::take(&mut self.last);
        let mut before = before.iter();
        for (at, pair) in labels.iter().enumerate() {
            let known = before.next().filter(|before| *before == pair).and_then(|_| places.get(at).copied());
            let place = known.unwrap_or_else(|| self.place(pair));
            self.lists[place as usize].push(id);
            match places.get_mut(at) {
                Some(known) => *known = place,
                None => places.push(place),
            }
        }
        places.truncate(labels.len());
        self.last = (labels.clone(), places);
    }

    /// The place of the list of a pair, which is made if there is none.
    fn place(&mut self, (name, value): (&str, &str)) -> u32 {
        let values = match self.names.get_mut(name) {
            Some(values) => values,
            None => self.names.entry(name.to_owned()).or_default(),
        };
        if let Some(place) = values.get(value) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.lists.push(Vec::new());
            self.lists.len() as u32 - 1
        });
        values.insert(value.to_owned(), place);
        place
    }

    /// Removes series; `gone` holds their ids (ascending) and label sets.
    pub fn remove(&mut self, gone: &[(u32, Labels)]) {
        let is_gone = |id: &u32| gone.binary_search_by_key(id, |(id, _)| *id).is_ok();
        self.last = Default::default();
        self.all.retain(|id| !is_gone(id));
        let mut touched: Vec<(&str, &str)> = gone.iter().flat_map(|(_, labels)| labels.iter()).collect();
        touched.sort_unstable();
        touched.dedup();
        for (name, value) in touched {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(place) = values.get(value).copied() {
                let ids = &mut self.lists[place as usize];
                ids.retain(|id| !is_gone(id));
                if ids.is_empty() {
                    *ids = Vec::new();
                    self.free.push(place);
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The series that satisfy every matcher, ascending.
    ///
    /// # Cost
    /// The smallest list decides: it is intersected with the others, then what a negative matcher
    /// excludes is taken away. A matcher on many values looks at each value once.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let mut wanted: Vec<Vec<u32>> = Vec::new();
        let mut unwanted: Vec<Vec<u32>> = Vec::new();
        for matcher in matchers {
            if matcher.matches_empty() {
                // Series without the label match as well, so only the opposite can be looked up.
                unwanted.push(self.with_value(matcher, false));
            } else {
                let ids = self.with_value(matcher, true);
                if ids.is_empty() {
                    return Vec::new();
                }
                wanted.push(ids);
            }
        }
        wanted.sort_by_key(Vec::len);
        let mut wanted = wanted.into_iter();
        let mut result = wanted.next().unwrap_or_else(|| self.all.clone());
        for ids in wanted {
            retain(&mut result, &ids, true);
        }
        for ids in unwanted {
            retain(&mut result, &ids, false);
        }
        result
    }

    /// The series whose (present) label satisfies the matcher, or does not, as `wanted` says.
    fn with_value(&self, matcher: &Matcher, wanted: bool) -> Vec<u32> {
        let Some(values) = self.names.get(matcher.name()) else { return Vec::new() };
        let list = |place: &u32| self.lists[*place as usize].as_slice();
        let lists: Vec<&[u32]> = match matcher.set() {
            Some(set) if wanted => set.iter().filter_map(|value| values.get(*value)).map(list).collect(),
            _ => {
                let fits = values.iter().filter(|(value, _)| matcher.matches(value) == wanted);
                fits.map(|(_, place)| list(place)).collect()
            }
        };
        match lists.as_slice() {
            [] => Vec::new(),
            [one] => one.to_vec(),
            many => {
                // A series has one value for the name, so the lists are disjoint.
                let mut ids = many.concat();
                ids.sort_unstable();
                ids
            }
        }
    }

    /// Label names in use, unsorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The values of a label in order, each with the number of its series.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, &[u32])> {
        let values = self.names.get(name).into_iter().flatten();
        values.map(|(value, place)| (value.as_str(), self.lists[*place as usize].as_slice()))
    }

    /// The number of pairs of name and value.
    pub fn pairs(&self) -> usize {
        self.names.values().map(BTreeMap::len).sum()
    }

    /// A rough count of the bytes the lists and names take.
    pub fn memory_bytes(&self) -> usize {
        let list = |ids: &Vec<u32>| ids.capacity() * 4;
        let values =
            |values: &BTreeMap<String, u32>| -> usize { values.keys().map(|value| value.len() + 64).sum() };
        let lists: usize = self.lists.iter().map(list).sum();
        list(&self.all)
            + lists
            + self.names.iter().map(|(name, v)| name.len() + 96 + values(v)).sum::<usize>()
    }
}

/// Keeps the ids of `ids` that are (or are not) in `other`; both ascend.
fn retain(ids: &mut Vec<u32>, other: &[u32], present: bool) {
    let mut rest = other;
    ids.retain(|id| {
        // Gallop: lists often differ in length by orders of magnitude.
        let mut step = 1;
        while step < rest.len() && rest[step - 1] < *id {
            step *= 2;
        }
        let from = if step > 1 { step / 2 - 1 } else { 0 };
        let at = from + rest[from..step.min(rest.len())].partition_point(|other| other < id);
        rest = &rest[at.min(rest.len())..];
        (rest.first() == Some(id)) == present
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MatchOp;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const VALUES: &[&str] = &["x", "y", "xy", "x|y", "[xyz]", "x.*", "", ".+", ".*", "x|", "zz"];

    proptest! {
        #[test]
        fn retain_is_set_algebra(a in proptest::collection::btree_set(0u32..200, 0..80),
                                 b in proptest::collection::btree_set(0u32..200, 0..80)) {
            let as_vec = |set: BTreeSet<u32>| set.into_iter().collect::<Vec<_>>();
            let other = as_vec(b.clone());
            let mut both = as_vec(a.clone());
            retain(&mut both, &other, true);
            prop_assert_eq!(both, as_vec(&a & &b));
            let mut only = as_vec(a.clone());
            retain(&mut only, &other, false);
            prop_assert_eq!(only, as_vec(&a - &b));
        }

        #[test]
        fn select_is_a_filter_over_all_series(
            sets in proptest::collection::vec(proptest::collection::btree_map("[ab]", "[xyz]{1,2}", 0..3), 0..30),
            matchers in proptest::collection::vec(("[abc]", 0usize..4, proptest::sample::select(VALUES)), 0..4)) {
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<Matcher> =
                matchers.iter().map(|(n, op, v)| Matcher::new(n, ops[*op], v).expect("valid")).collect();
            let mut postings = Postings::default();
            let mut all = Vec::new();
            for (id, set) in sets.iter().enumerate() {
                let labels = Labels::from_pairs(set.iter());
                postings.add(id as u32, &labels);
                all.push((id as u32, labels));
            }
            let naive = |all: &[(u32, Labels)]| -> Vec<u32> {
                let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
                all.iter().filter(|(_, labels)| fits(labels)).map(|(id, _)| *id).collect()
            };
            prop_assert_eq!(postings.select(&matchers), naive(&all));
            let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(id, _)| id % 3 == 0);
            postings.remove(&gone);
            prop_assert_eq!(postings.select(&matchers), naive(&left));
        }
    }
}
