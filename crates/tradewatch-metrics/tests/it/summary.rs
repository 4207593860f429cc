//! Summaries against an oracle that keeps every value.

use proptest::prelude::*;
use tradewatch_metrics::*;

use crate::fixture::*;

#[derive(Metrics, Clone)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Time of a fill.
    #[quantiles(0, 0.5, 0.9, 0.99, 1)]
    #[metric(window = "10s")]
    fill_seconds: Summary<(Side,)>,
    /// Size of a message.
    #[quantiles(0.5)]
    #[metric(smallest = 64)]
    message_bytes: Summary,
}

const QUANTILES: [(f64, &str); 5] = [(0.0, "0.0"), (0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (1.0, "1.0")];

/// By nearest rank.
fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

fn fill(registry: &Registry, quantile: &str) -> Option<f64> {
    value(registry, &format!("desk_fill_seconds{{side=\"buy\",quantile=\"{quantile}\"}}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Scrapes every second, so that the window is at least ten seconds and at most twelve.
    #[test]
    fn quantiles_are_of_the_window_and_within_the_bound(
        seconds in prop::collection::vec(prop::collection::vec((-5.0..3.0f64).prop_map(|e| 10f64.powf(e)), 0..6), 1..40),
    ) {
        let hand = Hand::default();
        let registry = hand.registry();
        let m = Desk::register(&registry).unwrap();
        let buy = m.fill_seconds.at((Side::Buy,));
        for second in 0..seconds.len() {
            hand.set(1000 * second as u64);
            seconds[second].iter().for_each(|value| buy.observe(*value));
            let body = text(&registry, Format::Text004);
            let get = |series: &str| -> f64 {
                body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap().parse().unwrap()
            };
            // What was observed between scrapes a and b belongs to the scrape at b.
            let sorted = |back: usize| {
                let mut values: Vec<f64> = seconds[(second + 1).saturating_sub(back)..=second].concat();
                values.sort_by(f64::total_cmp);
                values
            };
            let windows: Vec<Vec<f64>> = (10..=12).map(sorted).collect();
            let fits = |values: &Vec<f64>| QUANTILES.iter().all(|(q, name)| {
                let shown = get(&format!("desk_fill_seconds{{side=\"buy\",quantile=\"{name}\"}}"));
                if values.is_empty() {
                    return shown.is_nan();
                }
                let exact = quantile(values, *q);
                (shown - exact).abs() <= exact / 33.0 * 1.000_001
            });
            prop_assert!(windows.iter().any(fits), "second {}:\n{}", second, body);
            let all = seconds[..=second].concat();
            prop_assert_eq!(get("desk_fill_seconds_count{side=\"buy\"}"), all.len() as f64);
            let sum: f64 = all.iter().sum();
            let shown = get("desk_fill_seconds_sum{side=\"buy\"}");
            prop_assert!((shown - sum).abs() <= sum * 1e-12);
        }
    }
}

#[test]
fn an_empty_window_is_nan_and_nothing_falls_between_rare_scrapes() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = Desk::register(&registry).unwrap();
    let buy = m.fill_seconds.at((Side::Buy,));
    assert!(fill(&registry, "0.5").unwrap().is_nan());
    buy.observe(2.0);
    let near = |shown: Option<f64>, exact: f64| {
        let shown = shown.unwrap();
        assert!((shown - exact).abs() <= exact / 33.0, "{shown} {exact}");
    };
    near(fill(&registry, "0.5"), 2.0);
    // An hour without a scrape: what came since the last one is in the window.
    buy.observe(3.0);
    hand.set(3_600_000);
    near(fill(&registry, "1.0"), 3.0);
    hand.set(3_610_000);
    assert!(fill(&registry, "0.5").unwrap().is_nan());
    // The clock goes back: the window begins again, the total stays.
    buy.observe(4.0);
    hand.set(5);
    near(fill(&registry, "0.0"), 4.0);
    assert_eq!(value(&registry, "desk_fill_seconds_count{side=\"buy\"}"), Some(3.0));
}

#[test]
fn values_that_are_no_sizes_and_those_out_of_range() {
    let registry = Registry::new();
    let m = Desk::register(&registry).unwrap();
    for bad in [-0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        m.message_bytes.observe(bad);
    }
    assert_eq!(value(&registry, "desk_message_bytes_count"), Some(0.0));
    let rejected = "tradewatch_sdk_rejected_values_total{metric=\"desk_message_bytes\"}";
    assert_eq!(value(&registry, rejected), Some(4.0));
    for small in [0.0, -0.0, 63.9] {
        m.message_bytes.observe(small);
    }
    let median = "desk_message_bytes{quantile=\"0.5\"}";
    assert_eq!(value(&registry, median), Some(0.0));
    for _ in 0..4 {
        m.message_bytes.observe(1e300);
    }
    assert_eq!(value(&registry, median), Some(64.0 * 2f64.powi(31)), "the largest that is told apart");
}
