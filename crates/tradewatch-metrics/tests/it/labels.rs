//! Labels that cannot explode: budgets of labels and registries, ids that arrive all the same, and who is told.

#![allow(dead_code)] // What is declared here is counted, and only some of it moves.

use std::sync::{Arc, Mutex};

use expect_test::expect;
use tradewatch_metrics::*;

use crate::fixture::*;

open_label!(
    /// Where an order goes.
    struct Venue("venue"), budget = 3
);

#[derive(Metrics, Clone)]
#[metrics(prefix = "router")]
struct Router {
    /// Orders routed.
    orders_total: Counter<(Venue, Side)>,
    /// Depth of the book.
    #[metric(unit = "shares")]
    depth: Gauge<(Venue,)>,
    /// Orders in flight.
    in_flight_current: UpDownCounter<(Venue,)>,
    /// Time of an answer.
    #[buckets(0.1, 1)]
    answer_seconds: Histogram<(Venue,)>,
    /// Time of a fill.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram<(Venue,)>,
    /// Time in the queue.
    #[quantiles(0.5, 0.9)]
    queue_seconds: Summary<(Venue, Side)>,
    /// What runs.
    #[labels("version", "commit")]
    build_info: Info<2>,
}

type Told = Arc<Mutex<Vec<Problem>>>;

fn told(registry: &Registry) -> Told {
    let told = Told::default();
    let sink = Arc::clone(&told);
    registry.on_problem(move |problem| sink.lock().unwrap().push(problem.clone()));
    told
}

fn overflow_events(registry: &Registry, metric: &str) -> Option<f64> {
    value(registry, &format!("tradewatch_sdk_overflow_events_total{{metric=\"router_{metric}\"}}"))
}

#[test]
fn what_does_not_fit_is_counted_for_each_family() {
    open_label!(struct Pair("pair"), budget = 1);
    #[derive(Metrics)]
    struct Pairs {
        /// Trades.
        trades_total: Counter<(Pair,)>,
        /// Prices.
        #[metric(unit = "usd")]
        last_usd: Gauge<(Pair,)>,
        /// Sizes.
        #[buckets(1)]
        size_bytes: Histogram<(Pair,)>,
        /// Times.
        #[quantiles(0.5)]
        wait_seconds: Summary<(Pair,)>,
        /// Times.
        #[native(schema = 3)]
        fill_seconds: NativeHistogram<(Pair,)>,
        /// In flight.
        in_flight_current: UpDownCounter<(Pair,)>,
    }
    let registry = Registry::new();
    let m = Pairs::register(&registry).unwrap();
    for pair in ["BTC-USD", "ETH-USD", "SOL-USD"] {
        let pair = (Pair::intern(pair),);
        m.trades_total.at(pair).inc_by(5);
        m.last_usd.at(pair).set(1.0);
        m.size_bytes.at(pair).observe(1.0);
        m.wait_seconds.at(pair).observe(1.0);
        m.fill_seconds.at(pair).observe(1.0);
        m.in_flight_current.at(pair).inc();
    }
    // One of three pairs fits.
    let body = text(&registry, Format::Text004);
    for (metric, events) in [
        ("trades_total", 10),
        ("last_usd", 2),
        ("size_bytes", 2),
        ("wait_seconds", 2),
        ("fill_seconds", 2),
        ("in_flight_current", 2),
    ] {
        let line = format!("tradewatch_sdk_overflow_events_total{{metric=\"{metric}\"}} {events}\n");
        assert!(body.contains(&line), "{line}{body}");
    }
    assert!(body.contains("tradewatch_sdk_label_overflow_total{label=\"pair\"} 2\n"), "{body}");
}

/// A feed that goes mad: each value is new. Nothing grows, everything is counted, and it is told once.
#[test]
fn thousands_of_new_label_values_a_second_cost_nothing_but_a_count() {
    open_label!(struct Strategy("strategy"), budget = 100);
    #[derive(Metrics)]
    struct M {
        /// Signals.
        signals_total: Counter<(Strategy,)>,
    }
    let registry = Registry::new();
    let m = M::register(&registry).unwrap();
    let told = told(&registry);
    for number in 0..100_000 {
        m.signals_total.at((Strategy::intern(&format!("strategy {number}")),)).inc();
    }
    let body = text(&registry, Format::Text004);
    assert_eq!(body.lines().filter(|line| line.starts_with("signals_total{")).count(), 101);
    assert!(body.contains("signals_total{strategy=\"__overflow__\"} 99900\n"));
    let problems = told.lock().unwrap().clone();
    expect![[r#"label strategy: 99900 values did not fit and count as __overflow__; raise its budget or label by something else (such as "strategy 100")"#]]
        .assert_eq(&problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"));
    text(&registry, Format::Text004);
    assert_eq!(told.lock().unwrap().len(), 1, "nothing new, nothing told");
}

#[test]
fn ids_are_refused_where_they_arrive_and_told() {
    open_label!(struct Reason("reason"), budget = 100);
    #[derive(Metrics)]
    struct M {
        /// Rejects.
        rejects_total: Counter<(Reason,)>,
    }
    let registry = Registry::new();
    let m = M::register(&registry).unwrap();
    let told = told(&registry);
    for reason in ["0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a", "1763640000", "order-12345", "no margin", ""] {
        m.rejects_total.at((Reason::intern(reason),)).inc();
    }
    let body = text(&registry, Format::Text004);
    for line in [
        "rejects_total{reason=\"__overflow__\"} 4",
        "rejects_total{reason=\"no margin\"} 1",
        "tradewatch_sdk_label_overflow_total{label=\"reason\"} 4",
        "tradewatch_sdk_identifier_label_values_total{label=\"reason\"} 3",
    ] {
        assert!(body.contains(&format!("{line}\n")), "{line} in\n{body}");
    }
    let texts: Vec<String> = told.lock().unwrap().iter().map(Problem::to_string).collect();
    expect![[r#"
        label reason: 3 values name one thing each and count as __overflow__; put ids into exemplars or logs (such as "0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a")
        label reason: 1 values did not fit and count as __overflow__; raise its budget or label by something else (such as "")"#]].assert_eq(&texts.join("\n"));
}

#[test]
fn every_problem_is_told_once_a_scrape_and_may_use_the_registry() {
    let registry = Registry::new();
    let m = Router::register(&registry).unwrap();
    let (told, inside) = (Told::default(), registry.clone());
    let sink = Arc::clone(&told);
    registry.on_problem(move |problem| {
        assert!(inside.describe().len() > 3);
        sink.lock().unwrap().push(problem.clone());
    });
    for _ in 0..3 {
        m.answer_seconds.at((Venue::OVERFLOW,)).observe(f64::NAN);
    }
    m.orders_total.at((Venue::OVERFLOW, Side::Buy)).inc_with_exemplar(1, &Exemplar::of("no name", ""));
    text(&registry, Format::Text004);
    m.answer_seconds.at((Venue::OVERFLOW,)).observe(f64::INFINITY);
    text(&registry, Format::OpenMetrics1);
    let texts: Vec<String> = told.lock().unwrap().iter().map(Problem::to_string).collect();
    expect![[r#"
        metric router_answer_seconds: 3 values left out that are not finite, or negative where only growth is possible
        metric router_orders_total: 1 exemplars left out that no format can show
        metric router_answer_seconds: 1 values left out that are not finite, or negative where only growth is possible"#]].assert_eq(&texts.join("\n"));
    assert_eq!(overflow_events(&registry, "orders_total"), Some(1.0));
    assert_eq!(overflow_events(&registry, "depth"), None, "nobody asked for it");
}

#[test]
fn the_overview_tells_the_most_series_at_the_start() {
    let registry = Registry::new();
    let _m = Router::register(&registry).unwrap();
    registry.set_series_max(1_000);
    expect![[r#"
        metric                    kind          series  labels
        router_queue_seconds      summary           32  venue (at most 4) × side (2) × 2 quantiles
        router_answer_seconds     histogram         20  venue (at most 4) × 2 edges
        router_fill_seconds       histogram         12  venue (at most 4) × native
        router_orders_total       counter            8  venue (at most 4) × side (2)
        router_depth              gauge              4  venue (at most 4)
        router_in_flight_current  gauge              4  venue (at most 4)
        router_build_info         info               1  version × commit
        at most, in 7 families                      81  of a budget of 1000
    "#]]
    .assert_eq(&registry.overview());
}

#[test]
fn a_registry_has_a_budget() {
    let registry = Registry::new();
    registry.set_series_max(80);
    let error = Router::register(&registry).err().expect("81 is more than 80");
    expect!["metric router_orders_total: the registry's metrics could make 81 series, more than its budget of 80; the largest are router_queue_seconds (32), router_answer_seconds (20), router_fill_seconds (12): drop a label, lower the budget of one, or raise that of the registry with set_series_max"].assert_eq(&error.to_string());
    assert!(registry.describe().is_empty());
    registry.set_series_max(81);
    let _m = Router::register(&registry).unwrap();
    // The budget is of all registrations together.
    assert!(BusMetrics::register(&registry).is_err());
    registry.set_series_max(REGISTRY_SERIES_MAX);
    assert!(BusMetrics::register(&registry).is_ok());
}
