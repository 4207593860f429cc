//! Groups of label sets: by the labels of `by`, `without`, `on` and `ignoring`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

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

    fn hash(&self, seed: u64, labels: &Labels) -> u64 {
        let mut hash = seed;
        for (name, value) in labels.iter().filter(|(name, _)| self.keeps(name)) {
            hash = mix(mix(hash, name.as_bytes()), value.as_bytes());
        }
        hash
    }

    fn same(&self, a: &Labels, b: &Labels) -> bool {
        let (a, b) = (a.iter(), b.iter());
        a.filter(|(name, _)| self.keeps(name)).eq(b.filter(|(name, _)| self.keeps(name)))
    }
}

/// Folds bytes into a hash, eight at a time. The seed is random, so collisions cannot be prepared.
fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut fold = |word: u64| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        hash = (product as u64) ^ ((product >> 64) as u64);
    };
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        fold(u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    let mut last = [0u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(u64::from_le_bytes(last));
    fold(bytes.len() as u64);
    hash
}

/// Numbers groups in the order in which they are first seen, without building their labels.
pub(crate) struct Groups<'a> {
    key: Key<'a>,
    seed: u64,
    by_hash: HashMap<u64, Vec<usize>>,
    /// One member of each group.
    pub members: Vec<Labels>,
}

impl<'a> Groups<'a> {
    pub fn new(key: Key<'a>) -> Groups<'a> {
        let seed = RandomState::new().hash_one(0u8);
        Groups { key, seed, by_hash: HashMap::new(), members: Vec::new() }
    }

    pub fn of(&mut self, labels: &Labels) -> usize {
        let hash = self.key.hash(self.seed, labels);
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
