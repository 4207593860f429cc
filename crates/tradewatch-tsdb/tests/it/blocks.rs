//! Blocks from outside: what is in them, what becomes of them, and copies of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::histogram::Span;
use tradewatch_tsdb::{
    Db, Dir, FsDir, Histogram, Labels, Matcher, MemDir, Options, STALE_NAN, Sample, Timestamp, Value, restore,
};

use crate::{Random, contents, labels, same};

const DAY_MS: i64 = 24 * 3600 * 1000;
const FROM_MS: i64 = 1_760_000_400_000;

fn ts(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn options() -> Options {
    Options { chunk_samples_max: 120, ..Options::default() }
}

fn open(dir: &MemDir) -> Db {
    let (db, recovery) = Db::open(Arc::new(dir.clone()), options()).expect("it opens");
    assert_eq!(recovery.damage, []);
    db
}

/// Hours of eight series each 15 s, compacted each minute as a server does.
fn fill(db: &Db, from: i64, hours: i64) {
    let mut random = Random(from as u64);
    let mut price = 10_000;
    for step in 0..hours * 240 {
        let at = from + step * 15_000;
        let mut appender = db.appender();
        for n in 0..8 {
            price += random.below(201) as i64 - 100;
            let value = match n {
                0 => 1.0,
                1..4 => (step * (n as i64 + 1)) as f64,
                4 if step % 700 == 699 => STALE_NAN,
                _ => price as f64 / 100.0,
            };
            let id = appender.series(&labels(n));
            appender.append(id, ts(at), value).expect("in order");
        }
        appender.commit().expect("the disk works");
        if step % 4 == 0 {
            db.compact(ts(at)).expect("the disk works");
        }
    }
}

#[test]
fn a_day_becomes_blocks_of_two_hours_and_then_one() {
    let dir = MemDir::new(1);
    let db = open(&dir);
    fill(&db, FROM_MS, 9);
    let stats = db.stats();
    assert!((2..=6).contains(&stats.blocks.count), "{stats:?}");
    let before = contents(&db);
    assert_eq!(before.values().map(BTreeMap::len).sum::<usize>(), 8 * 9 * 240);
    assert!(stats.memory_bytes < 100_000, "memory holds what is open: {}", stats.memory_bytes);
    let wal = stats.wal.expect("it has a disk");
    assert!(wal.bytes + wal.checkpoint_bytes < 100_000, "{wal:?}");
    drop(db);
    let db = open(&dir);
    same(&contents(&db), &before);
    fill(&db, FROM_MS + 9 * 3_600_000, 20);
    let before = contents(&db);
    assert_eq!(before.values().map(BTreeMap::len).sum::<usize>(), 8 * 29 * 240);
    let stats = db.stats();
    assert!(stats.blocks.count < 6, "{stats:?}");
    let per_sample = stats.blocks.bytes as f64 / stats.samples as f64;
    assert!(per_sample < 1.2, "{per_sample} bytes a sample, of eight series, with all indexes");
    drop(db);
    same(&contents(&open(&dir)), &before);
}

#[test]
fn retention_takes_whole_blocks_and_then_the_series() {
    let dir = MemDir::new(1);
    let with = |retention: Duration, bytes: Option<u64>| {
        let options = Options { retention, retention_bytes: bytes, ..options() };
        Db::open(Arc::new(dir.clone()), options).expect("it opens").0
    };
    let db = with(Duration::from_secs(30 * 24 * 3600), None);
    fill(&db, FROM_MS, 10);
    let (samples, bytes) = (db.stats().samples, db.stats().blocks.bytes);
    drop(db);
    let db = with(Duration::from_secs(4 * 3600), None);
    let done = db.compact(ts(FROM_MS + 10 * 3_600_000)).expect("the disk works");
    assert!(done.blocks_dropped > 0, "{done:?}");
    let left = db.stats().samples;
    assert!(left >= 8 * 4 * 240 && left < samples, "{left} of {samples}");
    let before = contents(&db);
    drop(db);
    let db = with(Duration::from_secs(4 * 3600), Some(bytes / 5));
    same(&contents(&db), &before);
    db.compact(ts(FROM_MS + 10 * 3_600_000)).expect("the disk works");
    assert!(db.stats().samples < left);
    for _ in 0..3 {
        db.compact(ts(FROM_MS + 2 * DAY_MS)).expect("the disk works");
    }
    assert_eq!((db.stats().series, db.stats().blocks.count, db.stats().samples), (0, 0, 0));
    db.close().expect("closes");
    // What the log still has is as old.
    let db = with(Duration::from_secs(4 * 3600), None);
    db.compact(ts(FROM_MS + 2 * DAY_MS)).expect("the disk works");
    assert!(contents(&db).is_empty());
}

#[test]
fn deleted_samples_stay_hidden_and_then_go() {
    let dir = MemDir::new(1);
    let db = open(&dir);
    fill(&db, FROM_MS, 7);
    let (from, to) = (FROM_MS + 3_600_000, FROM_MS + 6 * 3_600_000 + 7);
    let before = contents(&db);
    let removed = db.delete(&[Matcher::equal("n", "2")], ts(from), ts(to)).expect("the disk works");
    assert_eq!(removed, 5 * 240 + 1);
    let mut expected = before;
    let name = labels(2).to_string();
    expected.get_mut(&name).expect("it is there").retain(|ts, _| *ts < from || *ts > to);
    same(&contents(&db), &expected);
    assert_eq!(db.delete(&[Matcher::equal("n", "2")], ts(from), ts(to)).expect("the disk works"), 0);
    let samples = db.stats().samples;
    drop(db);
    let db = open(&dir);
    same(&contents(&db), &expected);
    assert_eq!(db.stats().samples, samples);
    assert!(db.clean_tombstones().expect("the disk works") > 0);
    assert_eq!(db.clean_tombstones().expect("the disk works"), 0);
    same(&contents(&db), &expected);
    db.checkpoint().expect("the disk works");
    drop(db);
    let db = open(&dir);
    same(&contents(&db), &expected);
    assert_eq!(db.stats().samples, samples);
}

#[test]
fn histograms_and_start_timestamps_are_kept_in_blocks() {
    let dir = MemDir::new(1);
    let db = open(&dir);
    let histogram = |n: u32| Histogram {
        schema: 3,
        count: f64::from(n),
        sum: 0.5 * f64::from(n),
        positive_spans: vec![Span { offset: -2, length: 2 }],
        positive_buckets: vec![f64::from(n), 1.0],
        ..Histogram::default()
    };
    let mut samples = Vec::new();
    for n in 0..1000u32 {
        let value = match n % 400 {
            200..300 => Value::Histogram(Arc::new(histogram(n))),
            _ => Value::Float(f64::from(n) / 3.0),
        };
        let start = (n > 500).then(|| ts(i64::from(n / 300)));
        samples.push(Sample { ts: ts(i64::from(n) * 1000), value, start });
    }
    let mut appender = db.appender();
    let id = appender.series(&labels(0));
    samples.iter().for_each(|sample| appender.append_sample(id, sample.clone()).expect("in order"));
    appender.commit().expect("the disk works");
    let check = |db: &Db| {
        for (from, to) in [(0, 999), (190, 310), (505, 505), (600, 950)] {
            let found = db.select(&[], ts(from * 1000), ts(to * 1000));
            let expected = &samples[from as usize..=to as usize];
            assert_eq!(found[0].samples.len(), expected.len());
            for (a, b) in found[0].samples.iter().zip(expected) {
                assert!(a.ts == b.ts && a.start == b.start && a.value.same_bits(&b.value), "{a:?} {b:?}");
            }
            let (_, newest) = db.select_last(&[], ts(from * 1000), ts(to * 1000)).pop().expect("one");
            assert!(newest.value.same_bits(&samples[to as usize].value));
        }
    };
    check(&db);
    db.checkpoint().expect("the disk works");
    assert_eq!(db.stats().blocks.count, 1);
    check(&db);
    drop(db);
    check(&open(&dir));
}

#[test]
fn a_snapshot_can_be_opened_and_restored() {
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| FsDir::new(place.path().join(name)).expect("a directory");
    let (db, _) = Db::open(Arc::new(at("data")), options()).expect("it opens");
    fill(&db, FROM_MS, 3);
    let before = contents(&db);
    let copied = db.snapshot(&at("snapshot")).expect("the disk works");
    assert!(copied.files >= 2 && copied.bytes > 1000, "{copied:?}");
    // What comes later is not in it, and nothing that happens to the store changes it.
    fill(&db, FROM_MS + 3 * 3_600_000, 3);
    db.delete(&[], Timestamp::MIN, Timestamp::MAX).expect("the disk works");
    db.clean_tombstones().expect("the disk works");
    assert!(contents(&db).is_empty());
    let (copied_back, recovery) =
        restore(&at("snapshot"), Arc::new(at("restored"))).expect("it can be restored");
    assert_eq!((copied_back, recovery.damage), (copied, vec![]));
    let (restored, _) = Db::open(Arc::new(at("restored")), options()).expect("it opens");
    same(&contents(&restored), &before);
    drop(restored);
    let error = restore(&at("snapshot"), Arc::new(at("restored"))).expect_err("there is a store");
    assert!(error.is_not_empty() && error.to_string().lines().count() == 1, "{error}");
    assert!(restore(&at("nothing"), Arc::new(at("new"))).is_err());
    // A copy for lack of links, too.
    let memory = MemDir::new(3);
    let (other, _) = Db::open(Arc::new(at("restored")), options()).expect("it opens");
    other.snapshot(&memory).expect("the disk works");
    same(&contents(&open(&memory)), &before);
}

#[test]
fn imported_samples_fill_gaps_and_replace_nothing() {
    let dir = MemDir::new(1);
    let db = open(&dir);
    fill(&db, FROM_MS, 3);
    let before = contents(&db);
    let other = Db::in_memory_with(Options { out_of_order_window: Duration::MAX, ..Options::default() });
    let mut appender = other.appender();
    let old = Labels::from_pairs([("__name__", "ticks_total"), ("n", "old")]);
    let (known, new) = (appender.series(&labels(1)), appender.series(&old));
    let mut expected = before.clone();
    for i in (0..5000i64).rev() {
        // Two days back to an hour ahead, half of it at times that are taken.
        let at = FROM_MS + (i - 4800) * 30_000;
        for (id, name) in [(known, labels(1)), (new, old.clone())] {
            appender.append(id, ts(at), i as f64).expect("late, but within the window");
            expected.entry(name.to_string()).or_default().entry(at).or_insert((i as f64).to_bits());
        }
    }
    appender.commit().expect("in memory");
    let done = db.import(&other).expect("the disk works");
    assert_eq!((done.series, done.samples, done.known), (2, 9800, 200));
    assert!((2..=3).contains(&done.blocks), "a block for each day: {done:?}");
    same(&contents(&db), &expected);
    drop(db);
    let db = open(&dir);
    same(&contents(&db), &expected);
    // Once more changes nothing.
    let again = db.import(&other).expect("the disk works");
    assert_eq!((again.samples, again.blocks), (0, 0));
    fill(&db, FROM_MS + 3 * 3_600_000, 1);
    db.compact(ts(FROM_MS + 4 * 3_600_000)).expect("the disk works");
    for (series, samples) in &expected {
        let found = contents(&db);
        assert!(samples.iter().all(|(ts, bits)| found[series].get(ts) == Some(bits)));
    }
    assert!(db.stats().read_only.is_none() && dir.list().expect("lists").len() > 3);
}
