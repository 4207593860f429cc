//! Logs and checkpoints that are cut, flipped or overwritten at every kind of place: the report names the
//! place, nothing wrong is ever answered, and what can be read safely is.

use std::sync::Arc;

use tradewatch_tsdb::{Damage, Db, Error, MemDir, Metadata, MetricKind, Options, Recovery, Timestamp};

use crate::{Contents, Random, contents, labels, same};

fn options() -> Options {
    Options { segment_bytes_max: 4000, chunk_samples_max: 40, ..Options::default() }
}

fn open(dir: &MemDir) -> Result<(Db, Recovery), Error> {
    Db::open(Arc::new(dir.clone()), options())
}

/// A directory with a block, a checkpoint and several segments behind them, and what it holds.
fn sample_dir() -> (Vec<(String, Vec<u8>)>, Contents) {
    let dir = MemDir::new(1);
    let (db, _) = open(&dir).expect("opens");
    let mut random = Random(99);
    for i in 0..240 {
        if i == 100 {
            db.checkpoint().expect("the disk works");
        }
        if i == 150 {
            let metadata = Metadata { kind: MetricKind::Counter, unit: String::new(), help: "Ticks.".into() };
            db.set_metadata("ticks", &metadata);
        }
        let mut appender = db.appender();
        for n in 0..10 {
            // A new series now and then, so that definitions stand in many records.
            let id = appender.series(&labels(n + i / 60));
            let ts = Timestamp::from_millis(1_700_000_000_000 + i as i64 * 1000);
            appender.append(id, ts, random.below(1_000_000) as f64 / 100.0).expect("in order");
        }
        appender.commit().expect("the disk works");
    }
    db.sync().expect("the disk works");
    let all = contents(&db);
    drop(db);
    let names = tradewatch_tsdb::Dir::list(&dir).expect("lists");
    let files = names.into_iter().map(|name| (name.clone(), dir.bytes(&name).expect("listed"))).collect();
    (files, all)
}

fn restore(files: &[(String, Vec<u8>)]) -> MemDir {
    let dir = MemDir::new(1);
    files.iter().for_each(|(name, bytes)| dir.set_bytes(name, bytes.clone()));
    dir
}

/// Opens a damaged directory; checks that nothing wrong is answered; returns what was lost and reported.
///
/// Only where the newest file ends between two records may samples be lost without a word: nobody can
/// know that there was more.
fn check(dir: &MemDir, all: &Contents, what: &str, may_be_silent: bool) -> (u64, Recovery) {
    let (db, mut recovery) = open(dir).unwrap_or_else(|e| panic!("{what}: must open, but {e}"));
    let corruptions = db.stats().wal.expect("it has a disk").corruptions;
    assert_eq!(corruptions, recovery.damage.len() as u64, "{what}");
    let found = contents(&db);
    // A damaged chunk of a block comes to light when it is read.
    for damage in db.damage() {
        if !recovery.damage.contains(&damage) {
            recovery.damage.push(damage);
        }
    }
    assert_eq!(db.stats().blocks.corruptions, db.damage().len() as u64);
    let mut lost = all.values().map(|samples| samples.len() as u64).sum::<u64>();
    for (series, samples) in &found {
        for (ts, bits) in samples {
            assert_eq!(all.get(series).and_then(|s| s.get(ts)), Some(bits), "{what}: wrong {series} {ts}");
            lost -= 1;
        }
    }
    if lost > 0 && !may_be_silent {
        assert!(!recovery.damage.is_empty(), "{what}: {lost} samples lost without a word");
    }
    for damage in &recovery.damage {
        let text = damage.to_string();
        assert!(
            text.contains(&damage.file) && text.contains("offset") && !damage.reason.is_empty(),
            "{what}: {text}"
        );
        assert!(text.lines().count() == 1, "{what}: {text}");
    }
    // The store works on: it takes samples, and after a checkpoint nothing is damaged any more.
    let mut appender = db.appender();
    let id = appender.series(&labels(1));
    appender.append(id, Timestamp::from_millis(1_800_000_000_000), 1.0).expect("newer than all");
    appender.commit().expect("the disk works");
    let before = contents(&db);
    db.checkpoint().expect("the disk works");
    db.compact(Timestamp::from_millis(1_700_000_300_000)).expect("the disk works");
    drop(db);
    let (db, again) = open(dir).expect("opens");
    // Only of a block that cannot be read at all nothing could be saved; it stays for whoever knows more.
    let is_whole = |damage: &&Damage| damage.file.contains("block-") && !damage.reason.contains("header");
    assert_eq!(again.damage.iter().find(|damage| !is_whole(damage)), None, "{what}");
    assert_eq!(db.verify(), [], "{what}");
    same(&contents(&db), &before);
    (lost, recovery)
}

#[test]
fn the_untouched_directory_has_no_damage() {
    let (files, all) = sample_dir();
    assert!(files.len() >= 7, "a block, a checkpoint and segments: {}", files.len());
    assert!(files.iter().any(|(name, _)| name.starts_with("block-")));
    let (lost, recovery) = check(&restore(&files), &all, "untouched", false);
    assert_eq!((lost, recovery.damage), (0, vec![]));
}

/// Where the records of a file begin, and where the last one ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut all = vec![0, 32];
    while let Some(header) = bytes.get(all[all.len() - 1]..).filter(|rest| rest.len() >= 24) {
        let len = u32::from_le_bytes(header[4..8].try_into().expect("four bytes")) as usize;
        all.push(all[all.len() - 1] + 24 + len);
    }
    all
}

/// Every byte of the first records and of the end, and samples of what is between.
fn places(bytes: &[u8], step: usize) -> impl Iterator<Item = usize> + use<> {
    let len = bytes.len();
    (0..70).chain((70..len).step_by(step)).chain(boundaries(bytes)).filter(move |at| *at < len)
}

#[test]
fn every_kind_of_place_may_be_cut() {
    let (files, all) = sample_dir();
    let newest = files.last().expect("some").0.clone();
    for (name, bytes) in &files {
        for at in places(bytes, 331) {
            let dir = restore(&files);
            dir.set_bytes(name, bytes[..at].to_vec());
            let what = format!("{name} cut at {at}");
            let is_clean = boundaries(bytes).contains(&at);
            let (_, recovery) = check(&dir, &all, &what, is_clean && *name == newest);
            let [damage] = recovery.damage.as_slice() else {
                assert!(is_clean && *name == newest, "{what}: {:?}", recovery.damage);
                continue;
            };
            if name.starts_with("block-") {
                assert!(damage.file.ends_with(name.as_str()), "{what}: {damage}");
                continue;
            }
            if is_clean {
                assert_eq!(damage.bytes, 0, "{what}: {damage}");
            } else {
                assert!(damage.file.ends_with(name.as_str()), "{what}: {damage}");
                assert_eq!(damage.offset + damage.bytes, at as u64, "{what}: up to the end");
                assert_eq!(damage.is_torn_tail, *name == newest, "{what}");
            }
        }
    }
}

#[test]
fn every_kind_of_place_may_be_flipped() {
    let (files, all) = sample_dir();
    let mut random = Random(5);
    let mut worst = 0;
    for (name, bytes) in &files {
        for at in places(bytes, 211) {
            let dir = restore(&files);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << random.below(8);
            dir.set_bytes(name, damaged);
            let what = format!("{name} flipped at {at}");
            let (lost, recovery) = check(&dir, &all, &what, false);
            let [damage] = recovery.damage.as_slice() else { panic!("{what}: {:?}", recovery.damage) };
            assert!(damage.file.ends_with(name.as_str()), "{what}: {damage}");
            let range = damage.offset..damage.offset + damage.bytes;
            assert!(range.contains(&(at as u64)), "{what}: {damage}");
            if name.starts_with("block-") {
                assert!(lost <= 100, "{what}: at most one chunk, but {lost} samples");
            }
            worst = worst.max(lost);
        }
    }
    let total: u64 = all.values().map(|samples| samples.len() as u64).sum();
    assert!(worst < total, "one bit never costs everything: {worst} of {total}");
}

#[test]
fn several_places_at_once_and_rubbish() {
    let (files, all) = sample_dir();
    for seed in 0..100 {
        let mut random = Random(seed);
        let dir = restore(&files);
        for _ in 0..1 + random.below(4) {
            let (name, bytes) = &files[random.below(files.len() as u64) as usize];
            let Some(mut damaged) = dir.bytes(name).filter(|bytes| !bytes.is_empty()) else { continue };
            let at = random.below(damaged.len() as u64) as usize;
            let len = (random.below(600) as usize).min(damaged.len() - at);
            match random.below(4) {
                0 => damaged[at..at + len].fill(0),
                1 => damaged[at..at + len].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
                // A piece of the log in the wrong place: right checksums, wrong position.
                2 => {
                    let from = random.below((bytes.len() - len) as u64) as usize;
                    damaged[at..at + len].copy_from_slice(&bytes[from..from + len]);
                }
                _ => drop(damaged.drain(at..at + len)),
            }
            dir.set_bytes(name, damaged);
        }
        check(&dir, &all, &format!("seed {seed}"), true);
    }
}

#[test]
fn a_missing_file_gives_no_wrong_answer() {
    let (files, all) = sample_dir();
    for missing in 0..files.len() {
        let rest: Vec<_> =
            files.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, f)| f.clone()).collect();
        let (db, recovery) = open(&restore(&rest)).expect("opens");
        let is_newest = missing == files.len() - 1;
        assert_eq!(
            recovery.damage.is_empty(),
            is_newest,
            "without {}: {:?}",
            files[missing].0,
            recovery.damage
        );
        for (series, samples) in contents(&db) {
            for (ts, bits) in samples {
                assert_eq!(
                    all.get(&series).and_then(|s| s.get(&ts)),
                    Some(&bits),
                    "without {}",
                    files[missing].0
                );
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused_in_one_line_and_left_alone() {
    let (files, _) = sample_dir();
    for (name, bytes) in &files {
        let dir = restore(&files);
        let mut newer = bytes.clone();
        newer[8..12].copy_from_slice(&3u32.to_le_bytes());
        let crc = crc32fast::hash(&newer[..28]);
        newer[28..32].copy_from_slice(&crc.to_le_bytes());
        dir.set_bytes(name, newer.clone());
        let error = open(&dir).expect_err("newer");
        assert!(error.is_newer_format(), "{error}");
        let text = error.to_string();
        assert!(text.contains(name.as_str()) && text.lines().count() == 1, "{text}");
        assert_eq!(dir.bytes(name), Some(newer), "left alone");
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let (files, all) = sample_dir();
    let dir = restore(&files);
    for name in ["notes.txt", "wal-1", "wal-000000000x", "checkpoint-0000000001.bak", "export.tmp"] {
        dir.set_bytes(name, b"mine".to_vec());
    }
    check(&dir, &all, "foreign files", false);
    for name in ["notes.txt", "wal-1", "wal-000000000x", "checkpoint-0000000001.bak", "export.tmp"] {
        assert_eq!(dir.bytes(name).as_deref(), Some(b"mine".as_slice()), "{name}");
    }
}
