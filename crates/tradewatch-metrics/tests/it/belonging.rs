//! What one scrape shows of a histogram belongs together, while any number of threads write to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use tradewatch_metrics::parse::{self, HistogramValue, Value};
use tradewatch_metrics::*;

use crate::fixture::{text, value};

/// One value for each bucket, each a sum of few powers of two: sums of them are exact.
const VALUES: [f64; 4] = [0.25, 0.75, 4.5, 96.0];

#[derive(Metrics, Clone)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Waits.
    #[buckets(0.5, 1, 10)]
    wait_seconds: Histogram,
    /// Fills.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram,
    /// Fills, with edges beside.
    #[native(schema = 3)]
    #[buckets(0.5, 1, 10)]
    both_seconds: NativeHistogram,
    /// Queueing.
    #[quantiles(0.5)]
    queue_seconds: Summary,
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each bucket's own count, of cumulative ones.
fn own_counts(histogram: &HistogramValue<'_>) -> Vec<f64> {
    let mut before = 0.0;
    let own = |(_, count, _): &(f64, f64, _)| count - std::mem::replace(&mut before, *count);
    histogram.classic.iter().map(own).collect()
}

/// The sum that these counts must have, and their count.
fn expected(counts: &[f64]) -> (f64, f64) {
    let sum = counts.iter().zip(VALUES).map(|(count, value)| count * value).sum();
    (sum, counts.iter().sum())
}

fn check(body: &[u8]) -> Result<(), TestCaseError> {
    for family in parse::protobuf(body) {
        let family = family.unwrap();
        for metric in family.metrics() {
            match metric.unwrap().value {
                Value::Histogram(histogram) => {
                    if !histogram.classic.is_empty() {
                        let counts = own_counts(&histogram);
                        prop_assert!(counts.iter().all(|count| *count >= 0.0), "{}", family.name);
                        prop_assert_eq!(
                            expected(&counts),
                            (histogram.sum, histogram.count),
                            "{}",
                            family.name
                        );
                    }
                    if let Some(native) = &histogram.native {
                        let counts: Vec<f64> =
                            native.positive.iter().copied().filter(|count| *count > 0.0).collect();
                        if counts.len() == VALUES.len() {
                            prop_assert_eq!(
                                expected(&counts),
                                (histogram.sum, histogram.count),
                                "{}",
                                family.name
                            );
                        }
                        prop_assert_eq!(counts.iter().sum::<f64>(), histogram.count, "{}", family.name);
                    }
                }
                // Threads observe 0.25 only.
                Value::Summary { count, sum, .. } => prop_assert_eq!(sum, 0.25 * count as f64),
                _ => {}
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// From one thread to more than have cells of their own, in turns of their own.
    #[test]
    fn count_sum_and_buckets_are_of_the_same_moment(
        turns in prop::collection::vec(prop::collection::vec(0..VALUES.len(), 1..7), 1..9),
    ) {
        let registry = Registry::new();
        let m = Desk::register(&registry).unwrap();
        let stop = AtomicBool::new(false);
        let write = |turn: &[usize]| {
            for at in turn {
                let value = VALUES[*at];
                m.wait_seconds.observe(value);
                m.fill_seconds.observe(value);
                m.both_seconds.observe(value);
                m.queue_seconds.observe(0.25);
            }
        };
        let result = thread::scope(|scope| {
            for turn in &turns {
                let (write, stop) = (&write, &stop);
                scope.spawn(move || {
                    // At least once: on a busy machine a thread may first run after the last scrape.
                    loop {
                        write(turn);
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            // Ends the writers however this ends, or a failure would hang the test.
            let _end = EndOnDrop(&stop);
            let mut body = Vec::new();
            (0..20).try_for_each(|_| {
                body.clear();
                registry.encode(Format::Protobuf, &mut body);
                check(&body)?;
                let shown = text(&registry, Format::Text004);
                let get = |series: &str| -> f64 {
                    shown.lines().find_map(|line| line.strip_prefix(series)).unwrap().trim().parse().unwrap()
                };
                let infinite = get("desk_wait_seconds_bucket{le=\"+Inf\"}");
                prop_assert_eq!(infinite, get("desk_wait_seconds_count"));
                Ok(())
            })
        });
        result?;
        // All threads have ended: whatever was shown before, now everything is.
        let count = value(&registry, "desk_wait_seconds_count").unwrap();
        prop_assert!(count > 0.0);
        for metric in ["fill_seconds", "both_seconds", "queue_seconds"] {
            prop_assert_eq!(value(&registry, &format!("desk_{metric}_count")), Some(count), "{}", metric);
        }
    }
}
