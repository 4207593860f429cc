//! Metrics moved by short names, as the users of text-only interfaces know it.

#![allow(dead_code)] // What is declared here is moved by name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use expect_test::expect;
use tradewatch_metrics::*;

use crate::fixture::*;

open_label!(struct Source("source"), budget = 4);

/// The data plane's metrics, as a service declares them.
#[derive(Metrics, Clone)]
#[metrics(prefix = "data")]
struct DataPlane {
    /// Tick events received.
    ticks_received_total: Counter<(Source, Symbol)>,
    /// Age of the newest event.
    #[buckets(0.1, 1)]
    freshness_seconds: Histogram<(Symbol,)>,
    /// Time of a write.
    #[native(schema = 3)]
    storage_write_latency_seconds: NativeHistogram,
    /// Time of a request.
    #[quantiles(0.5)]
    request_seconds: Summary,
    /// Share of expected events that came.
    completeness_score: Gauge<(Side,)>,
    /// Writers at work.
    writers_current: UpDownCounter,
    /// Bytes written.
    storage_written_bytes_total: Counter,
    /// Rows.
    #[metric(unit = "rows")]
    rows: ObservableGauge,
    #[metrics(flatten)]
    order: OrderPlane,
}

#[derive(Metrics, Clone)]
#[metrics(prefix = "orders")]
struct OrderPlane {
    /// Orders received.
    received_total: Counter,
    /// Time of a request.
    #[buckets(1)]
    request_seconds: Histogram,
}

#[test]
fn short_names_move_the_typed_metrics() {
    let registry = Registry::new();
    let m = DataPlane::register(&registry).unwrap();
    let metrics = registry.dynamic();
    let labels = [("symbol", "SPY"), ("source", "ibkr_rt")]; // In any order.
    for name in ["ticks_received", "data_ticks_received", "ticks_received_total", "data_ticks_received_total"]
    {
        metrics.inc(name, &labels);
    }
    m.ticks_received_total.at((Source::intern("ibkr_rt"), Symbol::intern("SPY"))).inc();
    metrics.inc_by("storage_written", 4096.5, &[]);
    metrics.observe("freshness", 0.5, &[("symbol", "SPY")]);
    metrics.observe("storage_write_latency", 0.5, &[]);
    metrics.observe("data_request", 0.5, &[]);
    metrics.set("completeness_score", 0.95, &[("side", "buy")]);
    metrics.inc_by("completeness_score", 0.5, &[("side", "sell")]);
    metrics.inc_by("writers_current", -2.0, &[]);
    metrics.inc("received", &[]);
    for (series, shown) in [
        ("data_ticks_received_total{source=\"ibkr_rt\",symbol=\"SPY\"}", 5.0),
        ("data_storage_written_bytes_total", 4096.5),
        ("data_freshness_seconds_count{symbol=\"SPY\"}", 1.0),
        ("data_storage_write_latency_seconds_sum", 0.5),
        ("data_request_seconds_count", 1.0),
        ("data_completeness_score{side=\"buy\"}", 0.95),
        ("data_completeness_score{side=\"sell\"}", 0.5),
        ("data_writers_current", -2.0),
        ("orders_received_total", 1.0),
    ] {
        assert_eq!(value(&registry, series), Some(shown), "{series}\n{}", text(&registry, Format::Text004));
    }
    assert!(!text(&registry, Format::Text004).contains("tradewatch_sdk_unknown_names_total"));
}

#[test]
fn what_nobody_declared_is_counted_and_told_and_moves_nothing() {
    let registry = Registry::new();
    let _m = DataPlane::register(&registry).unwrap();
    let before = text(&registry, Format::Text004);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&told);
    registry.on_problem(move |problem| sink.lock().unwrap().push(problem.to_string()));
    let metrics = registry.dynamic();
    metrics.inc("tick_received", &[]);
    metrics.observe("request", 1.0, &[]);
    metrics.inc("ticks_received", &[("symbol", "SPY")]);
    metrics.inc("ticks_received", &[("symbol", "SPY"), ("venue", "XNAS")]);
    metrics.inc("ticks_received", &[("symbol", "SPY"), ("symbol", "SPY")]);
    metrics.inc("received", &[("symbol", "SPY")]);
    metrics.set("completeness_score", 1.0, &[("side", "long")]);
    metrics.set("received", 1.0, &[]);
    metrics.observe("completeness_score", 1.0, &[("side", "buy")]);
    metrics.inc("freshness", &[("symbol", "SPY")]);
    metrics.set("rows", 1.0, &[]);
    for reason in ["name 1", "ambiguous 1", "labels 5", "kind 4"] {
        let (reason, count) = reason.split_once(' ').unwrap();
        let series = format!("tradewatch_sdk_unknown_names_total{{reason=\"{reason}\"}}");
        assert_eq!(value(&registry, &series), Some(count.parse().unwrap()), "{reason}");
    }
    expect![[r#"11 calls by a name, label or value that nobody declared (such as "no metric is called tick_received; request is any of data_request_seconds, orders_request_seconds; write which; data_ticks_received_total needs the label source; data_ticks_received_total has no label venue; orders_received_total has no label symbol; data_completeness_score: label side is one of buy, sell, not long; orders_received_total is a counter and cannot be set; data_completeness_score is a gauge and cannot be observed; data_freshness_seconds is a histogram and cannot be added to; data_rows is a gauge and cannot be set")"#]]
        .assert_eq(&told.lock().unwrap().join("\n"));
    let after = text(&registry, Format::Text004);
    let own = |line: &&str| !line.contains("tradewatch_sdk_");
    assert_eq!(before.lines().filter(own).collect::<Vec<_>>(), after.lines().filter(own).collect::<Vec<_>>());
}

#[test]
fn bad_values_are_refused_by_the_instrument() {
    let registry = Registry::new();
    let _m = DataPlane::register(&registry).unwrap();
    let metrics = registry.dynamic();
    metrics.inc_by("received", -1.0, &[]);
    metrics.inc_by("writers_current", 0.5, &[]);
    metrics.observe("freshness", f64::NAN, &[("symbol", "SPY")]);
    metrics.observe("data_request", -1.0, &[]);
    for metric in
        ["orders_received_total", "data_writers_current", "data_freshness_seconds", "data_request_seconds"]
    {
        let series = format!("tradewatch_sdk_rejected_values_total{{metric=\"{metric}\"}}");
        assert_eq!(value(&registry, &series), Some(1.0), "{metric}");
    }
}

/// The original's separate exporter processes served registries that nobody moved.
#[test]
fn the_exporter_serves_the_registry_that_is_moved() {
    let registry = Registry::new();
    let metrics = registry.dynamic();
    let exporter = endpoint::listen("127.0.0.1:0", registry.clone(), Health::new()).unwrap();
    metrics.inc("received", &[]); // Nobody declared it yet.
    let _m = DataPlane::register(&registry).unwrap();
    metrics.inc("received", &[]); // The names of later registrations are known at once.
    let mut stream = TcpStream::connect(exporter.addr()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\norders_received_total 1\n"), "{answer}");
    assert!(answer.contains("\ntradewatch_sdk_unknown_names_total{reason=\"name\"} 1\n"), "{answer}");
}
