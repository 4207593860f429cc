//! Groups of label sets: by the labels of `by`, `without`, `on` and `ignoring`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use tradewatch_tsdb::Labels;

/// Which labels tell groups apart.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Key<'a> {
    pub names: &'a [String],
    /// The named labels rather than all others (and never the metric name).
    pub only: bool,
}

impl Key<'_> {
    pub fn keeps(&self, name: &str) -> bool {
        if self.only {
            return self.names.iter().any(|n| n == name);
        }
        name != "__name__" && !self.names.iter().any(|n| n == name)
    }

    /// The labels that all members of the group share.
    pub fn labels(&self, labels: &Labels) -> Labels {
        if self.only && self.names.is_empty() {
            return Labels::empty();
        }
        Labels::from_pairs(labels.iter().filter(|(name, _)| self.keeps(name)))
    }

    fn hash(&self, state: &RandomState, labels: &Labels) -> u64 {
        let mut hasher = state.build_hasher();
        for (name, value) in labels.iter().filter(|(name, _)| self.keeps(name)) {
            name.hash(&mut hasher);
            value.hash(&mut hasher);
        }
        hasher.finish()
    }

    fn same(&self, a: &Labels, b: &Labels) -> bool {
        let (a, b) = (a.iter(), b.iter());
        a.filter(|(name, _)| self.keeps(name)).eq(b.filter(|(name, _)| self.keeps(name)))
    }
}

/// Numbers groups in the order in which they are first seen, without building their labels.
pub(crate) struct Groups<'a> {
    key: Key<'a>,
    state: RandomState,
    by_hash: HashMap<u64, Vec<usize>>,
    /// One member of each group.
    pub members: Vec<Labels>,
}

impl<'a> Groups<'a> {
    pub fn new(key: Key<'a>) -> Groups<'a> {
        Groups { key, state: RandomState::new(), by_hash: HashMap::new(), members: Vec::new() }
    }

    pub fn of(&mut self, labels: &Labels) -> usize {
        let hash = self.key.hash(&self.state, labels);
        let candidates = self.by_hash.entry(hash).or_default();
        for &group in candidates.iter() {
            if self.key.same(&self.members[group], labels) {
                return group;
            }
        }
        candidates.push(self.members.len());
        self.members.push(labels.clone());
        self.members.len() - 1
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }
}
