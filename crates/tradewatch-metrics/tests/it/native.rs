//! Native histograms: every value in its bucket, whatever its size, whoever observed it.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;
use tradewatch_metrics::*;

use crate::fixture::{Side, text};

#[derive(Metrics)]
struct Native {
    /// Plain.
    #[native(schema = 3)]
    wait_seconds: NativeHistogram,
    /// Finest.
    #[native(schema = 8, zero_threshold = 1e-6)]
    fine_seconds: NativeHistogram,
    /// Coarsest.
    #[native(schema = -4)]
    coarse_seconds: NativeHistogram,
    /// With edges beside it.
    #[native(schema = 5)]
    #[buckets(0.1, 0.5, 1.0)]
    both_seconds: NativeHistogram<(Side,)>,
}

/// What the snapshot must be, by the definition of the buckets.
fn expected(
    schema: i8,
    zero_threshold: f64,
    values: &[f64],
) -> (u64, BTreeMap<i32, u64>, BTreeMap<i32, u64>) {
    let (mut zero, mut positive, mut negative) = (0, BTreeMap::new(), BTreeMap::new());
    for value in values {
        let size = value.abs();
        if size <= zero_threshold {
            zero += 1;
            continue;
        }
        let near = (size.log2() * f64::from(schema).exp2()).ceil() as i32;
        let key = (near - 2..).find(|key| native_bucket_edge(schema, *key) >= size).unwrap();
        *(if *value < 0.0 { &mut negative } else { &mut positive }).entry(key).or_default() += 1;
    }
    (zero, positive, negative)
}

fn check(handle: &NativeHistogramHandle<'_>, zero_threshold: f64, values: &[f64]) -> NativeSnapshot {
    let shown = handle.snapshot().expect("nobody is writing");
    let (zero, positive, negative) = expected(shown.schema, zero_threshold, values);
    assert_eq!((shown.zero_count, shown.zero_threshold), (zero, zero_threshold));
    assert_eq!(shown.positive, positive.into_iter().collect::<Vec<_>>());
    assert_eq!(shown.negative, negative.into_iter().collect::<Vec<_>>());
    assert_eq!(shown.count, values.len() as u64);
    shown
}

/// What fits into the table of a family: 21 octaves above zero and 7 below.
fn ordinary() -> impl Strategy<Value = f64> {
    prop_oneof![9 => (-10.0..10.0f64).prop_map(f64::exp2), 1 => (-3.0..3.0f64).prop_map(|log2| -log2.exp2())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_value_is_in_its_bucket(values in prop::collection::vec(ordinary(), 0..200)) {
        let m = Native::register(&Registry::new()).unwrap();
        values.iter().for_each(|value| m.wait_seconds.observe(*value));
        let shown = check(&m.wait_seconds, ZERO_THRESHOLD_MIN, &values);
        let sum: f64 = values.iter().sum();
        prop_assert_eq!(shown.schema, 3);
        prop_assert!((shown.sum - sum).abs() <= 1e-9 * sum.abs().max(1.0));
    }

    /// More than a table holds: coarser, but every value is there, and in its bucket.
    #[test]
    fn any_number_at_all_finds_its_bucket(values in prop::collection::vec(any::<f64>(), 0..300)) {
        let registry = Registry::new();
        let m = Native::register(&registry).unwrap();
        let (counted, refused): (Vec<f64>, Vec<f64>) = values.iter().partition(|value| value.is_finite());
        for (histogram, zero_threshold) in
            [(&m.wait_seconds, ZERO_THRESHOLD_MIN), (&m.fine_seconds, 1e-6), (&m.coarse_seconds, ZERO_THRESHOLD_MIN)]
        {
            values.iter().for_each(|value| histogram.observe(*value));
            check(histogram, zero_threshold, &counted);
        }
        let rejected = format!("tradewatch_sdk_rejected_values_total{{metric=\"wait_seconds\"}} {}\n", refused.len());
        prop_assert_eq!(text(&registry, Format::Text004).contains(&rejected), !refused.is_empty());
    }
}

#[test]
fn a_series_becomes_coarser_only_by_its_own_values() {
    let m = Native::register(&Registry::new()).unwrap();
    // 40 octaves do not fit into 256 buckets of schema 3; one bucket of the next grid is an octave.
    let wide: Vec<f64> = (-20..20).map(|octave| f64::from(octave).exp2() * 1.5).collect();
    wide.iter().for_each(|value| m.wait_seconds.observe(*value));
    assert_eq!(check(&m.wait_seconds, ZERO_THRESHOLD_MIN, &wide).schema, 0);
    // Schema 5: 256 buckets are eight octaves.
    let (buy, sell) = (m.both_seconds.at((Side::Buy,)), m.both_seconds.at((Side::Sell,)));
    let near: Vec<f64> = (0..100).map(|step| 1.0 + f64::from(step) / 100.0).collect();
    near.iter().for_each(|value| sell.observe(*value));
    let far: Vec<f64> = (-15..15).map(|octave| f64::from(octave).exp2() * 1.5).collect();
    far.iter().for_each(|value| buy.observe(*value));
    assert_eq!(check(&sell, ZERO_THRESHOLD_MIN, &near).schema, 5);
    assert_eq!(check(&buy, ZERO_THRESHOLD_MIN, &far).schema, 2);
}

#[test]
fn classic_buckets_are_counted_and_not_derived() {
    let registry = Registry::new();
    let m = Native::register(&registry).unwrap();
    // 0.1 and its neighbours share a native bucket and not a classic one.
    for value in [0.1f64.next_down(), 0.1, 0.1f64.next_up(), 0.7, 3.0, f64::NAN] {
        m.both_seconds.at((Side::Buy,)).observe(value);
    }
    let shown = m.both_seconds.at((Side::Buy,)).snapshot().unwrap();
    assert_eq!((shown.classic, shown.count), (vec![2, 1, 1, 1], 5));
    let body = text(&registry, Format::Text004);
    for line in [
        "both_seconds_bucket{side=\"buy\",le=\"0.1\"} 2",
        "both_seconds_bucket{side=\"buy\",le=\"+Inf\"} 5",
        "both_seconds_count{side=\"buy\"} 5",
        "# TYPE wait_seconds histogram",
        "wait_seconds_bucket{le=\"+Inf\"} 0",
        "wait_seconds_count 0",
        "wait_seconds_sum 0",
    ] {
        assert!(body.lines().any(|shown| shown == line), "{line}\n{body}");
    }
}

#[test]
fn the_sum_over_threads_is_what_was_observed() {
    const EACH: usize = 2_000;
    // More than have cells of their own, so that some share.
    let threads = 8 + 3 * thread::available_parallelism().map_or(1, usize::from);
    let all_alive = Barrier::new(threads);
    let m = Native::register(&Registry::new()).unwrap();
    let values = |number: usize| {
        (0..EACH)
            .map(move |step| f64::from((step * 7 + number) as u32 % 40) - 20.0)
            .map(|log2| log2.exp2() * 1.1)
    };
    thread::scope(|scope| {
        for number in 0..threads {
            let (m, all_alive) = (&m, &all_alive);
            scope.spawn(move || {
                all_alive.wait();
                for (step, value) in values(number).enumerate() {
                    m.wait_seconds.observe(value);
                    m.fine_seconds.start().discard();
                    if step % 500 == number {
                        // In the middle of it: count and sum of the same moment.
                        let shown = m.wait_seconds.snapshot();
                        assert!(shown.is_none_or(|shown| shown.sum > 0.0));
                    }
                }
            });
        }
    });
    let all: Vec<f64> = (0..threads).flat_map(values).collect();
    let shown = check(&m.wait_seconds, ZERO_THRESHOLD_MIN, &all);
    let sum: f64 = all.iter().sum();
    assert!((shown.sum - sum).abs() < 1e-6 * sum);
    assert_eq!(shown.schema, 0, "40 octaves");
}

#[test]
fn sum_and_count_of_one_snapshot_belong_together() {
    let m = Native::register(&Registry::new()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    struct EndOnDrop<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for EndOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // Three blocks, one of them on a coarser grid: 2.5 on average, in this order.
                    [0.5, 2.0, 5.0].iter().for_each(|value| m.wait_seconds.observe(*value));
                }
            });
        }
        let _end = EndOnDrop(&done);
        let (mut last, mut seen) = (0, 0);
        while seen < 500 || last < 10_000 {
            let Some(shown) = m.wait_seconds.snapshot() else { continue };
            let value = |index: i32| match index {
                -8 => 0.5,
                8 => 2.0,
                19 => 5.0,
                other => panic!("nothing was observed in {other}"),
            };
            let sum: f64 = shown.positive.iter().map(|(index, count)| value(*index) * *count as f64).sum();
            assert_eq!((shown.sum, shown.zero_count), (sum, 0));
            assert!(shown.count >= last, "a count never goes back");
            (last, seen) = (shown.count, seen + 1);
        }
    });
}

#[test]
fn a_handle_outlives_its_family_and_cells_come_back_clean() {
    for _ in 0..100 {
        let registry = Registry::new();
        let m = Native::register(&registry).unwrap();
        let kept = m.both_seconds.at((Side::Sell,)).into_owned();
        m.wait_seconds.observe(3.0);
        check(&m.wait_seconds, ZERO_THRESHOLD_MIN, &[3.0]);
        drop((registry, m));
        thread::spawn(move || {
            kept.observe(0.25);
            check(&kept, ZERO_THRESHOLD_MIN, &[0.25]);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_schema_that_is_none_is_refused_at_start() {
    let mut descriptor = Native::descriptors().remove(0);
    assert_eq!(descriptor.native, Some(NativeBuckets { schema: 3, zero_threshold: ZERO_THRESHOLD_MIN }));
    descriptor.native = Some(NativeBuckets { schema: 9, ..NativeBuckets::DEFAULT });
    let message = descriptor.check().unwrap_err().to_string();
    assert!(message.contains("schema 9 is none; write #[native(schema = 3)]"), "{message}");
    descriptor.native = Some(NativeBuckets { zero_threshold: 0.0, ..NativeBuckets::DEFAULT });
    assert!(descriptor.check().unwrap_err().to_string().contains("zero threshold 0e0"));
}
