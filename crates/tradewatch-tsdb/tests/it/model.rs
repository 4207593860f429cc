//! The store against a map of maps: any order of operations, the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tradewatch_tsdb::{Db, Labels, MatchOp, Matcher, MemDir, Options, STALE_NAN, Timestamp};

use crate::Samples;

#[derive(Clone, Debug)]
enum Op {
    /// Appends to each series of the list at a time relative to the newest so far, and commits.
    Append(Vec<(usize, i64, f64)>),
    /// The same, rolled back.
    Rollback(Vec<(usize, i64, f64)>),
    /// A scrape: one value for each series but the one that is left out, at a time relative to the newest so far.
    Row(usize, i64, Vec<f64>),
    Delete(usize, i64, i64),
    Checkpoint,
    /// Merges blocks, or rewrites those in which samples were deleted.
    Compact,
    Clean,
    Reopen,
    Query(Vec<(usize, usize, usize)>, i64, i64),
}

const NAMES: &[&str] = &["__name__", "side", "symbol"];
const VALUES: &[&str] = &["", "buy", "sell", "AAPL", "BTC/USD", "orders_total", "b.*", "buy|sell", ".+"];
const OPS: &[MatchOp] = &[MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

fn all_labels() -> Vec<Labels> {
    let mut all = Vec::new();
    for name in ["orders_total", "fills_total"] {
        for side in ["", "buy", "sell"] {
            for symbol in ["AAPL", "BTC/USD"] {
                all.push(Labels::from_pairs([("__name__", name), ("side", side), ("symbol", symbol)]));
            }
        }
    }
    all
}

fn samples() -> impl Strategy<Value = Vec<(usize, i64, f64)>> {
    let value = prop_oneof![4 => (0i64..50).prop_map(|n| n as f64), 1 => any::<f64>(), 1 => Just(STALE_NAN)];
    proptest::collection::vec((0usize..12, -3i64..12, value), 1..25)
}

fn row() -> impl Strategy<Value = Op> {
    let value = prop_oneof![8 => (0i64..50).prop_map(|n| n as f64), 1 => any::<f64>(), 1 => Just(STALE_NAN)];
    let left_out = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..12];
    let after = prop_oneof![8 => Just(0i64), 1 => -9i64..3];
    (left_out, after, proptest::collection::vec(value, 13))
        .prop_map(|(n, after, values)| Op::Row(n, after, values))
}

fn op() -> impl Strategy<Value = Op> {
    let matchers = proptest::collection::vec((0..NAMES.len(), 0..OPS.len(), 0..VALUES.len()), 0..3);
    prop_oneof![
        8 => samples().prop_map(Op::Append),
        1 => samples().prop_map(Op::Rollback),
        8 => row(),
        1 => (0usize..12, 0i64..200, 0i64..60).prop_map(|(n, start, len)| Op::Delete(n, start, start + len)),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Compact),
        1 => Just(Op::Clean),
        1 => Just(Op::Reopen),
        4 => (matchers, 0i64..250, 0i64..250).prop_map(|(matchers, a, b)| Op::Query(matchers, a.min(b), a.max(b))),
    ]
}

type Model = BTreeMap<Labels, Samples>;

/// What the store says must be what the model says, refusals included.
fn append(
    db: &Db,
    model: &mut Model,
    batch: &[(usize, i64, f64)],
    now: i64,
    commits: bool,
    takes_late: bool,
) {
    let all = all_labels();
    let mut next = model.clone();
    let mut appender = db.appender();
    for (n, after, value) in batch {
        let (ts, labels) = (now + after, &all[*n]);
        let id = appender.series(labels);
        let outcome = appender.append(id, Timestamp::from_millis(ts), *value);
        let last =
            next.get(labels).and_then(|samples| samples.last_key_value()).map(|(ts, bits)| (*ts, *bits));
        match last {
            Some((last, _)) if ts < last && takes_late => {
                let samples = next.get_mut(labels).expect("it has a last one");
                match samples.get(&ts) {
                    Some(bits) if *bits != value.to_bits() => {
                        assert!(outcome.is_err_and(|e| e.is_duplicate()))
                    }
                    _ => {
                        outcome.expect("it is within the window");
                        samples.insert(ts, value.to_bits());
                    }
                }
            }
            Some((last, _)) if ts < last => assert!(outcome.is_err_and(|e| e.is_out_of_order())),
            Some((last, bits)) if ts == last && bits != value.to_bits() => {
                assert!(outcome.is_err_and(|e| e.is_duplicate()));
            }
            _ => {
                outcome.expect("it fits");
                next.entry(labels.clone()).or_default().insert(ts, value.to_bits());
            }
        }
    }
    if commits {
        assert_eq!(appender.commit().expect("the disk works").refused, 0);
        *model = next;
    }
}

/// The same of a row, in which one series may stand twice.
fn append_row(db: &Db, model: &mut Model, left_out: usize, ts: i64, values: &[f64], takes_late: bool) {
    let mut all = all_labels();
    all.push(all[left_out % 12].clone());
    if left_out >= all.len() {
        all.pop();
    } else {
        all.remove((left_out + 1) % 12);
    }
    let mut appender = db.appender();
    let ids: Vec<_> = all.iter().map(|labels| appender.series(labels)).collect();
    let mut refused = Vec::new();
    let values = &values[..ids.len()];
    let commit = appender.commit_row(Timestamp::from_millis(ts), &ids, values, &mut refused);
    assert_eq!(commit.expect("the disk works").refused, 0);
    let mut refused: BTreeMap<usize, tradewatch_tsdb::Error> = refused.into_iter().collect();
    for (at, (labels, value)) in all.iter().zip(values).enumerate() {
        let samples = model.entry(labels.clone()).or_default();
        let last = samples.last_key_value().map_or(i64::MIN, |(ts, _)| *ts);
        let known = samples.get(&ts);
        let refused = refused.remove(&at);
        if last > ts && !takes_late {
            assert!(refused.is_some_and(|error| error.is_out_of_order()));
        } else if known.is_some_and(|bits| *bits != value.to_bits()) {
            assert!(refused.is_some_and(|error| error.is_duplicate()));
        } else {
            assert!(refused.is_none(), "{refused:?}");
            samples.insert(ts, value.to_bits());
        }
        if samples.is_empty() {
            model.remove(labels);
        }
    }
    assert!(refused.is_empty());
}

fn query(db: &Db, model: &Model, matchers: &[Matcher], start: i64, end: i64) {
    let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
    let expected: Vec<(&Labels, Vec<(i64, u64)>)> = model
        .iter()
        .filter(|(labels, _)| fits(labels))
        .map(|(labels, samples)| {
            (labels, samples.range(start..=end).map(|(ts, bits)| (*ts, *bits)).collect())
        })
        .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
        .collect();
    let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
    let found = db.select(matchers, from, to);
    let found: Vec<(&Labels, Vec<(i64, u64)>)> = found
        .iter()
        .map(|series| {
            let bits = |value: &tradewatch_tsdb::Value| value.as_float().expect("floats only").to_bits();
            (&series.labels, series.samples.iter().map(|s| (s.ts.as_millis(), bits(&s.value))).collect())
        })
        .collect();
    assert_eq!(found, expected);
    let mut newest = db.select_last(matchers, from, to);
    newest.sort_by(|a, b| a.0.cmp(&b.0));
    let newest: Vec<(&Labels, (i64, u64))> = newest
        .iter()
        .map(|(labels, s)| (labels, (s.ts.as_millis(), s.value.as_float().expect("floats only").to_bits())))
        .collect();
    let last = expected.iter().map(|(labels, samples)| (*labels, *samples.last().expect("not empty")));
    assert_eq!(newest, last.collect::<Vec<_>>());
    // The lists of label sets may only err on the side of a series with a gap over the whole range.
    let listed = db.series(matchers, from, to);
    assert!(expected.iter().all(|(labels, _)| listed.contains(labels)));
    assert!(listed.iter().all(|labels| fits(labels) && model.contains_key(labels)));
    assert!(listed.is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_of_maps(ops in proptest::collection::vec(op(), 1..80), takes_late in any::<bool>()) {
        let mut dir = MemDir::new(7);
        let options = Options {
            segment_bytes_max: 600,
            checkpoint_bytes: 1200,
            chunk_samples_max: 3,
            block_span: Duration::from_millis(40),
            out_of_order_window: Duration::from_secs(if takes_late { 3600 } else { 0 }),
            ..Options::default()
        };
        let open = |dir: &MemDir| Db::open(Arc::new(dir.clone()), options.clone()).expect("opens");
        let (mut db, _) = open(&dir);
        let (mut model, mut now) = (Model::new(), 0i64);
        for op in &ops {
            match op {
                Op::Append(batch) | Op::Rollback(batch) => {
                    append(&db, &mut model, batch, now, matches!(op, Op::Append(_)), takes_late);
                    now += 4;
                }
                Op::Row(left_out, after, values) => {
                    append_row(&db, &mut model, *left_out, now + after, values, takes_late);
                    now += 4;
                }
                Op::Delete(n, start, end) => {
                    let labels = &all_labels()[*n];
                    // The end of a series may be forgotten at a restart, and with it what is out of order: keep it.
                    let last = model.get(labels).and_then(|s| s.last_key_value()).map_or(0, |(ts, _)| *ts);
                    let end = (*end).min(last - 1);
                    let matchers: Vec<Matcher> = NAMES
                        .iter()
                        .map(|name| Matcher::equal(name, labels.get(name).unwrap_or("")))
                        .collect();
                    let (from, to) = (Timestamp::from_millis(*start), Timestamp::from_millis(end));
                    let count = db.delete(&matchers, from, to).expect("the disk works");
                    let mut expected = 0;
                    if let Some(samples) = model.get_mut(labels) {
                        let before = samples.len();
                        samples.retain(|ts, _| ts < start || *ts > end);
                        expected = before - samples.len();
                    }
                    assert_eq!(count, expected as u64);
                }
                Op::Compact => drop(db.compact(Timestamp::from_millis(now)).expect("the disk works")),
                Op::Clean => drop(db.clean_tombstones().expect("the disk works")),
                Op::Checkpoint => db.checkpoint().expect("the disk works"),
                Op::Reopen => {
                    dir = dir.kill();
                    let (next, recovery) = open(&dir);
                    assert_eq!((recovery.damage.len(), recovery.samples_without_series), (0, 0));
                    assert_eq!(recovery.samples_out_of_order, 0);
                    db = next;
                }
                Op::Query(matchers, start, end) => {
                    let matchers: Vec<Matcher> = matchers
                        .iter()
                        .map(|(n, op, v)| Matcher::new(NAMES[*n], OPS[*op], VALUES[*v]).expect("valid"))
                        .collect();
                    query(&db, &model, &matchers, *start, *end);
                }
            }
            let held: usize = model.values().map(|samples| samples.len()).sum();
            assert_eq!(db.stats().samples, held as u64);
        }
        query(&db, &model, &[], i64::MIN, i64::MAX);
    }
}
