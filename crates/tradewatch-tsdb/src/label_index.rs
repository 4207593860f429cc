//! Series by label set: a table of ids, since the labels stand with the series already.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hashbrown::HashTable;

use crate::Labels;
use crate::series_map::SeriesMap;

/// Finds the id of a label set among the series it is given.
#[derive(Debug, Default)]
pub struct LabelIndex {
    /// Half of the hash, and the id: a table that grows need not look at the labels again, nor a search at those of
    /// others.
    ids: HashTable<(u32, u32)>,
}

impl LabelIndex {
    pub fn get(&self, series: &SeriesMap, labels: &Labels) -> Option<u32> {
        let hash = hash(labels);
        let found = self.ids.find(spread(hash), |(other, id)| *other == hash && is(series, *id, labels));
        found.map(|(_, id)| *id)
    }

    /// Adds a series that is in `series` and was not in the table.
    pub fn insert(&mut self, series: &SeriesMap, id: u32) {
        let hash = hash(&series[id].labels);
        self.ids.insert_unique(spread(hash), (hash, id), |(hash, _)| spread(*hash));
    }

    /// Forgets a series that is still in `series`.
    pub fn remove(&mut self, series: &SeriesMap, id: u32) {
        if let Ok(entry) = self.ids.find_entry(spread(hash(&series[id].labels)), |(_, other)| *other == id) {
            entry.remove();
        }
    }
}

/// As many bits as the table wants, the high ones different too.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn is(series: &SeriesMap, id: u32, labels: &Labels) -> bool {
    series.get(id).is_some_and(|series| series.labels == *labels)
}

/// 32 bits over the text of a set, under a key of this process, so that nobody can choose sets that collide.
fn hash(labels: &Labels) -> u32 {
    static KEY: OnceLock<[u64; 3]> = OnceLock::new();
    let key = KEY.get_or_init(|| std::array::from_fn(|at| RandomState::new().hash_one(at) | 1));
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let bytes = labels.as_encoded();
    let mut state = key[0] ^ bytes.len() as u64;
    let (parts, rest) = bytes.as_chunks::<16>();
    for part in parts {
        state = fold(state ^ word(&part[..8]), key[1] ^ word(&part[8..]));
    }
    let mut last = [0u8; 16];
    last[..rest.len()].copy_from_slice(rest);
    state = fold(state ^ word(&last[..8]), key[1] ^ word(&last[8..]));
    (fold(state, key[2]) >> 32) as u32
}
