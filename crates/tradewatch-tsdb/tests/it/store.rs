//! The interface: what is refused, what comes back, what the retention takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::histogram::{CounterResetHint, Span};
use tradewatch_tsdb::{
    Db, Error, FsDir, Histogram, LABELS_PER_SERIES_MAX, Labels, MatchOp, Matcher, MemDir, Metadata,
    MetricKind, Options, Recovery, Sample, SeriesId, Timestamp, Value,
};

use crate::{contents, labels, same};

fn ts(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn open(dir: &MemDir) -> (Db, Recovery) {
    open_with(dir, Options::default())
}

fn open_with(dir: &MemDir, options: Options) -> (Db, Recovery) {
    Db::open(Arc::new(dir.clone()), options).expect("the directory opens")
}

/// Commits one sample for each of `series`.
fn commit(db: &Db, series: std::ops::Range<u64>, at: i64, value: f64) {
    let mut appender = db.appender();
    for n in series {
        let id = appender.series(&labels(n));
        appender.append(id, ts(at), value).expect("in order");
    }
    appender.commit().expect("the disk works");
}

#[test]
fn what_was_committed_is_there_after_a_reopen() {
    let dir = MemDir::new(1);
    let (db, recovery) = open(&dir);
    assert_eq!(recovery, Recovery::default());
    for i in 0..1000 {
        commit(&db, 0..20, i * 1000, i as f64 / 7.0);
    }
    let metadata = Metadata { kind: MetricKind::Counter, unit: "ticks".into(), help: "Ticks seen.".into() };
    db.set_metadata("ticks", &metadata);
    db.close().expect("closes");
    assert!(db.appender().commit().is_err_and(|e| e.is_closed()));
    let before = contents(&db);

    let (db, recovery) = open(&dir);
    assert_eq!((recovery.samples, recovery.series, recovery.damage.len()), (20_000, 20, 0));
    same(&contents(&db), &before);
    assert_eq!(db.metadata()["ticks"], metadata);

    // And from a checkpoint, and with more behind it.
    db.checkpoint().expect("the disk works");
    commit(&db, 10..30, 2_000_000, 1.0);
    let stats = db.stats().wal.expect("it has a disk");
    assert_eq!((stats.segments, stats.checkpoints), (1, 1));
    let before = contents(&db);
    drop(db);
    let (db, recovery) = open(&dir);
    assert_eq!((recovery.samples, recovery.series), (20_020, 30));
    same(&contents(&db), &before);
    assert_eq!(db.metadata()["ticks"], metadata);
}

#[test]
fn histograms_and_start_timestamps_survive() {
    let dir = MemDir::new(1);
    let (db, _) = open(&dir);
    let histogram = |n: u32| {
        Value::Histogram(Arc::new(Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count: 5.0 + f64::from(n),
            sum: 0.1 * f64::from(n),
            positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 2 }],
            negative_spans: vec![],
            positive_buckets: vec![1.0, 1.0, 1.0 + f64::from(n)],
            negative_buckets: vec![],
            custom_values: vec![],
            counter_reset_hint: CounterResetHint::NotReset,
        }))
    };
    let mut samples = Vec::new();
    for n in 0..50u32 {
        let value = if n % 10 == 9 { Value::Float(f64::from(n)) } else { histogram(n) };
        samples.push(Sample { ts: ts(i64::from(n)), value, start: Some(ts(i64::from(n / 20) - 100)) });
    }
    for sample in &samples {
        let mut appender = db.appender();
        let id = appender.series(&labels(0));
        appender.append_sample(id, sample.clone()).expect("in order");
        appender.commit().expect("the disk works");
    }
    let check = |db: &Db| {
        let got = &db.select(&[], ts(0), ts(100))[0].samples;
        assert_eq!(got.len(), samples.len());
        for (a, b) in got.iter().zip(&samples) {
            assert!(a.ts == b.ts && a.start == b.start && a.value.same_bits(&b.value), "{a:?} {b:?}");
        }
    };
    check(&db);
    drop(db);
    let (db, _) = open(&dir);
    check(&db);
    db.checkpoint().expect("the disk works");
    drop(db);
    let (db, _) = open(&dir);
    check(&db);
    // The same histogram once more is no duplicate, another one at its time is.
    let mut appender = db.appender();
    let id = appender.series(&labels(0));
    appender.append_sample(id, samples[49].clone()).expect("the same");
    assert!(appender.append_sample(id, Sample::float(ts(49), 1.0)).is_err_and(|e| e.is_duplicate()));
}

#[test]
fn refusals_are_typed_and_counted() {
    let options = Options { series_max: 2, future_max: Duration::from_secs(60), ..Options::default() };
    let db = Db::in_memory_with(options);
    commit(&db, 0..1, 1000, 1.0);
    let mut appender = db.appender_at(ts(100_000));
    let id = appender.series(&labels(0));
    let mut refused = |id: SeriesId, at: i64, value: f64, is: fn(&Error) -> bool| {
        let error = appender.append(id, ts(at), value).expect_err("refused");
        assert!(is(&error), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    };
    refused(id, 999, 1.0, Error::is_out_of_order);
    refused(id, 1000, 2.0, Error::is_duplicate);
    refused(id, 1000, f64::NAN, Error::is_duplicate);
    refused(id, 160_001, 2.0, Error::is_too_far_in_future);
    appender.append(id, ts(1000), 1.0).expect("the same sample is no error");
    appender.append(id, ts(2000), 5.0).expect("newer");
    // Against what waits in the same batch, too.
    assert!(appender.append(id, ts(1500), 5.0).is_err_and(|e| e.is_out_of_order()));
    assert!(appender.append(id, ts(2000), 6.0).is_err_and(|e| e.is_duplicate()));
    appender.append(id, ts(2000), 5.0).expect("the same sample is no error");

    let wide = Labels::from_pairs((0..=LABELS_PER_SERIES_MAX).map(|i| (format!("l{i}"), "x")));
    let long = Labels::from_pairs([("a", "x".repeat(70_000))]);
    let nameless = Labels::from_pairs([("", "x")]);
    for bad in [wide, long, nameless] {
        let id = appender.series(&bad);
        let error = appender.append(id, ts(3000), 1.0).expect_err("refused");
        assert!(error.is_bad_labels() && error.to_string().len() < 400, "{error}");
    }
    let second = appender.series(&labels(1));
    appender.append(second, ts(3000), 1.0).expect("within the limit");
    let third = appender.series(&labels(2));
    assert!(appender.append(third, ts(3000), 1.0).is_err_and(|e| e.is_too_many_series()));
    assert_eq!(appender.commit().expect("in memory").samples, 2);

    let stats = db.stats();
    let refused = stats.refused;
    assert_eq!((refused.out_of_order, refused.duplicate, refused.too_far_in_future), (2, 3, 1));
    assert_eq!((refused.too_many_series, refused.bad_labels, refused.unknown_series), (1, 3, 0));
    assert_eq!((stats.series, stats.samples, stats.samples_appended), (2, 3, 3));
    assert_eq!((stats.min_time, stats.max_time), (Some(ts(1000)), Some(ts(3000))));
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    let db = Db::in_memory();
    let mut appender = db.appender();
    let ids: Vec<SeriesId> = (0..10).map(|n| appender.series(&labels(n))).collect();
    for id in &ids {
        appender.append(*id, ts(1), 1.0).expect("in order");
    }
    assert!(contents(&db).is_empty(), "before the commit nothing is visible");
    drop(appender);
    assert!(contents(&db).is_empty(), "dropped is rolled back");

    // One thread commits the same value to all series, another must never see two values.
    let writer = {
        let db = db.clone();
        std::thread::spawn(move || (0..500).for_each(|i| commit(&db, 0..10, i, i as f64)))
    };
    loop {
        let is_done = writer.is_finished();
        let lens: Vec<usize> = db.select(&[], ts(0), ts(1000)).iter().map(|s| s.samples.len()).collect();
        assert!(lens.is_empty() || (lens.len() == 10 && lens.iter().all(|len| *len == lens[0])), "{lens:?}");
        if is_done {
            break;
        }
    }
    writer.join().expect("no panic");
}

#[test]
fn writers_readers_syncs_and_checkpoints_at_once() {
    let dir = MemDir::new(1);
    let options = Options { segment_bytes_max: 5000, checkpoint_bytes: 20_000, ..Options::default() };
    let (db, _) = open_with(&dir, options.clone());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|n| {
                let db = &db;
                scope.spawn(move || (0..700).for_each(|i| commit(db, 3 * n..3 * n + 3, i, (i % 9) as f64)))
            })
            .collect();
        let mut checkpoints = 0;
        let mut seen = BTreeMap::new();
        while !writers.iter().all(|writer| writer.is_finished()) {
            db.sync().expect("the disk works");
            checkpoints += u64::from(db.compact(ts(1000)).expect("the disk works").is_checkpointed);
            // What a query has seen, no later one misses.
            for (series, samples) in contents(&db) {
                let held = samples.len();
                assert_eq!(*samples.last_key_value().expect("some").0, held as i64 - 1, "no gap");
                assert!(held >= seen.insert(series, held).unwrap_or(0));
            }
        }
        assert_eq!(db.stats().wal.expect("it has a disk").checkpoints, checkpoints);
    });
    db.checkpoint().expect("the disk works");
    let before = contents(&db);
    assert_eq!(db.stats().samples, 9 * 700);
    drop(db);
    let (db, recovery) = open_with(&dir, options);
    same(&contents(&db), &before);
    assert_eq!(recovery.damage, []);
}

#[test]
fn two_appenders_race_and_nothing_breaks() {
    let dir = MemDir::new(1);
    let (db, _) = open(&dir);
    let (mut one, mut two) = (db.appender(), db.appender());
    // The first makes the series, the second is the first to commit: its record must bring the labels.
    let id = one.series(&labels(0));
    assert_eq!(two.series(&labels(0)), id);
    one.append(id, ts(5), 1.0).expect("in order");
    two.append(id, ts(9), 2.0).expect("in order");
    assert_eq!(two.commit().expect("the disk works").samples, 1);
    let commit = one.commit().expect("the disk works");
    assert_eq!((commit.samples, commit.refused), (0, 1), "it came too late");
    let before = contents(&db);
    drop(db);
    let (db, recovery) = open(&dir);
    same(&contents(&db), &before);
    assert_eq!(recovery.samples_without_series, 0);
}

#[test]
fn a_compaction_between_series_and_commit_takes_nothing() {
    let dir = MemDir::new(1);
    let (db, _) = open(&dir);
    let (mut one, mut two) = (db.appender(), db.appender());
    let id = one.series(&labels(0));
    two.series(&labels(0));
    one.append(id, ts(1), 1.0).expect("in order");
    for _ in 0..3 {
        db.compact(ts(1)).expect("the disk works");
    }
    assert_eq!(db.stats().series, 0, "it was empty");
    two.append(id, ts(2), 2.0).expect("the appender knows its labels");
    assert_eq!(one.commit().expect("the disk works").samples, 1);
    assert_eq!(two.commit().expect("the disk works").samples, 1);
    let before = contents(&db);
    assert_eq!(db.stats().samples, 2);
    assert!(db.appender().append(id, ts(3), 1.0).is_err_and(|e| e.is_unknown_series()), "it has another id");
    drop(db);
    let (db, _) = open(&dir);
    same(&contents(&db), &before);
}

#[test]
fn queries() {
    let db = Db::in_memory();
    let mut appender = db.appender();
    for (i, (job, status)) in
        [("gateway", "ok"), ("gateway", "error"), ("signal", "ok"), ("signal", "")].iter().enumerate()
    {
        let id = appender.series(&Labels::from_pairs([
            ("__name__", "requests_total"),
            ("job", job),
            ("status", status),
        ]));
        appender.append(id, ts(1000 * i as i64), i as f64).expect("in order");
    }
    appender.commit().expect("in memory");
    let all = (Timestamp::MIN, Timestamp::MAX);
    let found = |op: MatchOp, value: &str| -> Vec<String> {
        let matcher = Matcher::new("status", op, value).expect("valid");
        db.series(&[matcher], all.0, all.1).iter().map(|l| l.without(&["__name__"]).to_string()).collect()
    };
    assert_eq!(
        found(MatchOp::Equal, "ok"),
        [r#"{job="gateway", status="ok"}"#, r#"{job="signal", status="ok"}"#]
    );
    assert_eq!(found(MatchOp::NotEqual, "ok").len(), 2);
    assert_eq!(found(MatchOp::Regex, "ok|error").len(), 3);
    assert_eq!(found(MatchOp::Equal, ""), [r#"{job="signal"}"#]);
    assert_eq!(found(MatchOp::NotRegex, "o.*"), [r#"{job="gateway", status="error"}"#, r#"{job="signal"}"#]);
    assert_eq!(db.label_names(&[], all.0, all.1), ["__name__", "job", "status"]);
    assert_eq!(db.label_values("status", &[], all.0, all.1), ["error", "ok"]);
    assert_eq!(db.label_values("status", &[Matcher::equal("job", "signal")], all.0, all.1), ["ok"]);
    assert_eq!(db.label_values("job", &[], ts(0), ts(1500)), ["gateway"]);
    assert_eq!(db.select(&[], ts(1000), ts(2000)).len(), 2, "both bounds are inclusive");
    let cardinality = db.cardinality(1);
    assert_eq!(cardinality.series_by_metric, [("requests_total".to_owned(), 4)]);
    assert_eq!(cardinality.values_by_label[0].1, 2);
    assert_eq!(db.stats().label_pairs, 5);
}

#[test]
fn retention_by_time_takes_chunks_then_series_and_the_log_follows() {
    let dir = MemDir::new(1);
    let options = Options { retention: Duration::from_secs(1000), ..Options::default() };
    let (db, _) = open_with(&dir, options.clone());
    for i in 0..5000 {
        commit(&db, 0..if i < 2000 { 2 } else { 1 }, i * 1000, i as f64);
    }
    let mut appender = db.appender();
    let idle = appender.series(&labels(1));
    let done = db.compact(ts(5_000_000)).expect("the disk works");
    assert!(done.chunks_dropped > 10, "{done:?}");
    let left = contents(&db);
    assert_eq!(left.len(), 1);
    let oldest = *left.values().next().expect("one").keys().next().expect("some");
    assert!((3_500_000..=4_000_000).contains(&oldest), "whole chunks: {oldest}");
    assert_eq!(db.stats().series, 2, "an empty series stays for one more round");
    assert_eq!(db.compact(ts(5_000_000)).expect("the disk works").series_dropped, 1);
    assert!(appender.append(idle, ts(6_000_000), 1.0).is_err_and(|e| e.is_unknown_series()));
    // It may come back, under another id.
    commit(&db, 1..2, 5_000_000, 1.0);
    let before = contents(&db);
    drop((appender, db));
    let (db, recovery) = open_with(&dir, options.clone());
    assert_eq!((recovery.samples_without_series, recovery.samples_out_of_order), (0, 0));
    db.compact(ts(5_000_000)).expect("the disk works");
    same(&contents(&db), &before);
    db.checkpoint().expect("the disk works");
    let stats = db.stats();
    assert!(dir.total_bytes() < 20_000, "the log holds what is left: {}", dir.total_bytes());
    drop(db);
    let (db, _) = open_with(&dir, options);
    same(&contents(&db), &before);
    assert_eq!(db.stats().samples, stats.samples);
}

#[test]
fn retention_by_bytes_takes_the_oldest() {
    let dir = MemDir::new(1);
    let options = Options { retention_bytes: Some(20_000), checkpoint_bytes: 1, ..Options::default() };
    let (db, _) = open_with(&dir, options);
    for i in 0..20_000 {
        commit(&db, 0..2, i * 1000, (i * i % 1013) as f64);
        if i % 1000 == 999 {
            db.compact(ts(i * 1000)).expect("the disk works");
        }
    }
    assert!(dir.total_bytes() < 60_000, "{}", dir.total_bytes());
    let left = contents(&db);
    assert_eq!(left.len(), 2);
    for samples in left.values() {
        assert_eq!(samples.last_key_value().expect("some").0, &19_999_000);
        assert!(samples.len() > 1000 && samples.len() < 10_000, "{}", samples.len());
    }
}

#[test]
fn deleted_samples_stay_deleted() {
    let dir = MemDir::new(1);
    let (db, _) = open(&dir);
    for i in 0..2000 {
        commit(&db, 0..3, i, i as f64);
    }
    let matcher = Matcher::new("n", MatchOp::Regex, "0|1").expect("valid");
    assert_eq!(db.delete(&[matcher], ts(500), ts(1799)).expect("the disk works"), 2600);
    assert_eq!(db.delete(&[Matcher::equal("n", "2")], ts(0), ts(5000)).expect("the disk works"), 2000);
    let check = |db: &Db| {
        let left = contents(db);
        assert_eq!(left.len(), 2);
        let expected: crate::Samples =
            (0..2000).filter(|i| *i < 500 || *i > 1799).map(|i| (i, (i as f64).to_bits())).collect();
        assert!(left.values().all(|samples| *samples == expected));
        assert_eq!(db.stats().samples, 1400);
    };
    check(&db);
    drop(db);
    let (db, _) = open(&dir);
    check(&db);
    db.checkpoint().expect("the disk works");
    drop(db);
    let (db, _) = open(&dir);
    check(&db);
    commit(&db, 0..2, 2000, 1.0);
    assert_eq!(db.stats().samples, 1402);
}

#[test]
fn a_directory_has_one_owner() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = || Arc::new(FsDir::new(temporary.path().join("data")).expect("made"));
    let (db, _) = Db::open(dir(), Options::default()).expect("free");
    let error = Db::open(dir(), Options::default()).expect_err("taken");
    assert!(error.is_locked(), "{error}");
    let text = error.to_string();
    let pid = std::process::id().to_string();
    assert!(text.contains(&pid) && text.contains("data") && text.lines().count() == 1, "{text}");
    commit(&db, 0..3, 1, 1.0);
    db.close().expect("closes");
    let (again, recovery) = Db::open(dir(), Options::default()).expect("closing gave it free");
    assert_eq!(recovery.samples, 3);
    drop(again);
    Db::open(dir(), Options::default()).expect("dropping gave it free");
}
