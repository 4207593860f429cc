//! The store from outside: against a model, a faulty disk, damaged files, and `kill -9`.

mod blocks;
mod crash;
mod damage;
mod kill;
mod model;
mod store;

use std::collections::BTreeMap;

use tradewatch_tsdb::{Db, Labels, Timestamp};

/// Milliseconds to the bits of a float.
pub type Samples = BTreeMap<i64, u64>;

/// Label sets printed, to their samples: what a store holds, in a form that compares.
pub type Contents = BTreeMap<String, Samples>;

/// Everything a store holds.
pub fn contents(db: &Db) -> Contents {
    let mut all = Contents::new();
    for series in db.select(&[], Timestamp::MIN, Timestamp::MAX) {
        let samples: Samples = series
            .samples
            .iter()
            .map(|sample| (sample.ts.as_millis(), sample.value.as_float().expect("floats only").to_bits()))
            .collect();
        assert_eq!(samples.len(), series.samples.len(), "time stamps are distinct");
        assert!(all.insert(series.labels.to_string(), samples).is_none(), "label sets are distinct");
    }
    all
}

/// Fails with the first difference, and not with megabytes.
#[track_caller]
pub fn same(got: &Contents, expected: &Contents) {
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "the same series");
    for (labels, expected) in expected {
        let got = &got[labels];
        let differs = |(ts, bits): &(&i64, &u64)| got.get(*ts) != Some(*bits);
        assert_eq!(expected.iter().find(differs), None, "{labels}: missing or different");
        let surplus = got.iter().find(|(ts, _)| !expected.contains_key(*ts));
        assert_eq!(surplus, None, "{labels}: never committed, or gone already");
    }
}

/// The labels of the `n`-th series of a test.
pub fn labels(n: u64) -> Labels {
    Labels::from_pairs([("__name__", "ticks_total"), ("n", n.to_string().as_str())])
}

/// SplitMix64: a seed gives the same test on every machine.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
