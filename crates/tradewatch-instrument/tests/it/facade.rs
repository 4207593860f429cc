//! A codebase that moves over: macros of `metrics` and typed instruments in one registry.

use expect_test::expect;
use tradewatch_instrument::{FAMILY_SERIES_MAX, Recorder};
use tradewatch_metrics::{Counter, Format, Metrics, Registry};

use crate::world::{moved_with_prefix, value};

#[derive(Metrics)]
struct Moved {
    /// Orders, moved over already.
    orders_total: Counter,
}

#[test]
fn macros_and_typed_instruments_share_a_page() {
    let registry = Registry::new();
    let recorder = Recorder::new(&registry).expect("no names yet").with_edges("broker.rtt", &[0.1, 1.0]);
    let m = Moved::register(&registry).expect("free");
    metrics::with_local_recorder(&recorder, || {
        metrics::describe_counter!("fills", metrics::Unit::Count, "Fills.");
        for _ in 0..3 {
            metrics::counter!("fills", "venue" => "XNAS", "side" => "buy").increment(2);
        }
        metrics::counter!("seen").absolute(7);
        metrics::counter!("seen").absolute(5);
        let gauge = metrics::gauge!("queue.length");
        gauge.set(3.0);
        gauge.increment(2.5);
        gauge.decrement(1.0);
        let rtt = metrics::histogram!("broker.rtt", "venue" => "XNAS");
        [0.05, 0.1, 0.5, 3.0, f64::NAN, f64::INFINITY].into_iter().for_each(|value| rtt.record(value));
        metrics::counter!("orders_total").increment(100);
        metrics::gauge!("fills").set(9.0);
    });
    m.orders_total.inc();
    let mut body = Vec::new();
    registry.encode(Format::Text004, &mut body);
    let text = String::from_utf8(body).expect("text");
    let of_the_bridge = text.split("# HELP ").filter(|family| !family.contains("_sdk_"));
    expect![[r#"
        orders_total Orders, moved over already.
        # TYPE orders_total counter
        orders_total 1
        broker_rtt Counted by the metrics facade.
        # TYPE broker_rtt histogram
        broker_rtt_bucket{venue="XNAS",le="0.1"} 2
        broker_rtt_bucket{venue="XNAS",le="1.0"} 3
        broker_rtt_bucket{venue="XNAS",le="+Inf"} 4
        broker_rtt_sum{venue="XNAS"} 3.65
        broker_rtt_count{venue="XNAS"} 4
        fills Fills.
        # TYPE fills counter
        fills{side="buy",venue="XNAS"} 6
        queue_length Counted by the metrics facade.
        # TYPE queue_length gauge
        queue_length 4.5
        seen Counted by the metrics facade.
        # TYPE seen counter
        seen 7
    "#]]
    .assert_eq(&of_the_bridge.collect::<String>());
    assert_eq!(
        value(&registry, "fills_total{side=\"buy\",venue=\"XNAS\"}"),
        6.0,
        "OpenMetrics is valid, too"
    );
}

#[test]
fn series_are_bounded() {
    let registry = Registry::new();
    let recorder = Recorder::new(&registry).expect("no names yet");
    metrics::with_local_recorder(&recorder, || {
        for n in 0..FAMILY_SERIES_MAX + 50 {
            metrics::counter!("orders", "id" => n.to_string()).increment(1);
        }
        metrics::counter!("notes", "text" => "x".repeat(500)).increment(1);
    });
    assert_eq!(value(&registry, "orders_total{id=\"__overflow__\"}"), 50.0);
    assert_eq!(value(&registry, "notes_total{text=\"__overflow__\"}"), 1.0);
    assert_eq!(moved_with_prefix(&registry, "orders_total").lines().count(), FAMILY_SERIES_MAX + 1);
}
