//! Exemplars and the time when counting began.

use expect_test::expect;
use tradewatch_metrics::parse::{self, Entry};
use tradewatch_metrics::*;

use crate::fixture::*;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

fn lines(registry: &Registry, with: &str) -> String {
    let body = text(registry, Format::OpenMetrics1);
    body.lines().filter(|line| line.contains(with)).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_last_example_of_each_series_and_bucket_is_shown() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = GatewayMetrics::register(&registry).unwrap();
    hand.set(1_500);
    m.bus.messages_total.inc_with_exemplar(1, &Exemplar::trace(1));
    m.bus.messages_total.inc_with_exemplar(2, &Exemplar::trace(TRACE).span(0x00f0_67aa_0ba9_02b7));
    let buy = m.order_placement_duration_seconds.at((Side::Buy,));
    buy.observe_with_exemplar(0.07, &Exemplar::of("order_id", "a \"7\""));
    hand.set(2_000);
    buy.observe_with_exemplar(9.5, &Exemplar::trace(TRACE));
    buy.observe(9.75);
    expect![[r##"
        bus_messages_total 3 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736",span_id="00f067aa0ba902b7"} 2 1763640001.500
        gateway_order_placement_duration_seconds_bucket{side="buy",le="0.1"} 1 # {order_id="a \"7\""} 0.07 1763640001.500
        gateway_order_placement_duration_seconds_bucket{side="buy",le="+Inf"} 3 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 9.5 1763640002
    "##]].assert_eq(&lines(&registry, " # {"));
    assert!(!text(&registry, Format::Text004).contains(" # {"), "text 0.0.4 knows no exemplars");

    let body = text(&registry, Format::OpenMetrics1);
    let mut parser = parse::openmetrics(body.as_bytes());
    let mut exemplars = 0;
    while let Some(entry) = parser.next() {
        if let Entry::Sample(sample) = entry.unwrap() {
            exemplars += usize::from(sample.exemplar.is_some());
        }
    }
    assert_eq!(exemplars, 3);
}

#[test]
fn what_no_format_can_show_is_counted_and_the_value_all_the_same() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let long = Exemplar::of("order_id", &"7".repeat(121));
    assert!(!long.is_valid() && Exemplar::of("order_id", &"7".repeat(120)).is_valid());
    m.bus.messages_total.inc_with_exemplar(1, &long);
    m.run_duration_seconds.observe_with_exemplar(1.0, &long);
    // What is no measurement is no example either.
    m.run_duration_seconds.observe_with_exemplar(f64::NAN, &Exemplar::trace(1));
    assert_eq!(lines(&registry, " # {"), "");
    assert_eq!(value(&registry, "bus_messages_total"), Some(1.0));
    assert_eq!(value(&registry, "gateway_run_duration_seconds_count"), Some(1.0));
    for metric in ["bus_messages_total", "gateway_run_duration_seconds"] {
        let series = format!("tradewatch_sdk_rejected_exemplars_total{{metric=\"{metric}\"}}");
        assert_eq!(value(&registry, &series), Some(1.0), "{metric}");
    }
}

#[test]
fn created_is_when_a_series_was_first_asked_for() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = GatewayMetrics::register(&registry).unwrap();
    hand.set(90_060);
    m.order_placement_duration_seconds.at((Side::Sell,)).observe(0.2);
    hand.set(100_000);
    m.order_placement_duration_seconds.at((Side::Buy,)).observe(0.2);
    m.order_placement_duration_seconds.at((Side::Sell,)).observe(0.2);
    // Down to a tenth of a second, so that nothing is counted before.
    expect![[r#"
        bus_messages_created 1763640000
        gateway_drift_seconds_created 1763640000
        gateway_order_placement_duration_seconds_created{side="buy"} 1763640100
        gateway_order_placement_duration_seconds_created{side="sell"} 1763640090
        gateway_run_duration_seconds_created 1763640000
        orders_commission_usd_created 1763640000
    "#]]
    .assert_eq(&lines(&registry, "_created"));
}
