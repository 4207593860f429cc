//! What is refused at start, and what bad values do at run time.

#![allow(dead_code)] // Structs that are refused are never moved.

use expect_test::{Expect, expect};
use tradewatch_metrics::*;

use crate::fixture::*;

fn refused<M: Metrics>(expected: Expect) {
    let registry = Registry::new();
    let error = M::register(&registry).err().expect("the declaration is wrong");
    expected.assert_eq(&error.to_string());
    assert!(registry.describe().is_empty(), "a struct is registered as a whole or not at all");
}

#[test]
fn the_same_struct_twice() {
    let registry = Registry::new();
    let _first = GatewayMetrics::register(&registry).unwrap();
    let error = GatewayMetrics::register(&registry).err().unwrap();
    assert!(error.is_duplicate() && !error.is_invalid());
    expect![
        "metric gateway_orders_total: is registered already (gateway_orders); register it once and clone it"
    ]
    .assert_eq(&error.to_string());
}

#[test]
fn names_that_meet_in_open_metrics() {
    #[derive(Metrics)]
    struct Clash {
        /// A histogram.
        #[buckets(1.0)]
        wait_seconds: Histogram,
        /// A counter whose name is one of its series.
        #[metric(name = "wait_seconds_count", legacy_name = "to collide")]
        other: Counter,
    }
    refused::<Clash>(expect![
        "metric wait_seconds_count: wait_seconds already exposes wait_seconds_count; choose another name for one of the two"
    ]);
}

/// What is said of a declaration that no compiler saw: a collector's.
fn said_of(change: impl FnOnce(&mut Descriptor)) -> String {
    let mut descriptor = Descriptor::new("depth", MetricKind::Gauge, "How deep.");
    change(&mut descriptor);
    descriptor.check().expect_err("the declaration is wrong").to_string()
}

#[test]
fn base_units() {
    expect![[
        r#"metric order_latency_ms: is in ms; metrics are in base units: measure in seconds and write order_latency_seconds, or #[metric(legacy_name = "why")]"#
    ]]
    .assert_eq(&said_of(|descriptor| descriptor.name = "order_latency_ms".to_owned()));
    expect![[
        r#"metric depth: has the unit seconds and its name does not say so; write depth_seconds, or #[metric(legacy_name = "why")]"#
    ]]
    .assert_eq(&said_of(|descriptor| descriptor.unit = "seconds".to_owned()));
    expect![[
        r#"metric depth: a histogram needs a unit; write depth_seconds (or _bytes, _ratio), or #[metric(unit = "…")]"#
    ]]
    .assert_eq(&said_of(|descriptor| descriptor.kind = MetricKind::Histogram));
    #[derive(Metrics)]
    struct Legacy {
        /// Latency.
        #[metric(legacy_name = "as the panels know it")]
        #[buckets(1.0)]
        http_server_duration_milliseconds: Histogram,
    }
    assert!(Legacy::register(&Registry::new()).is_ok());
}

#[test]
fn quantiles_and_labels_of_what_no_compiler_saw() {
    expect!["metric depth_seconds: has 0 quantiles; write #[quantiles(0.5, 0.9, 0.99)] with 1 to 16"]
        .assert_eq(&said_of(|descriptor| {
            *descriptor = Descriptor::new("depth_seconds", MetricKind::Summary, "How deep.");
        }));
    expect![[r#"metric depth: label "order_id" tells which one and not which kind; leave it out, and put it into an exemplar or a log"#]].assert_eq(
        &said_of(|descriptor| {
            let name = "order_id".to_owned();
            descriptor.labels = vec![LabelDescriptor { name, values: None, budget: Some(100) }];
        }),
    );
}

#[test]
fn edges_from_a_constant() {
    const FALLING: [f64; 3] = [1.0, 3.0, 2.0];
    #[derive(Metrics)]
    struct Edges {
        /// Wait.
        #[buckets(FALLING)]
        wait_seconds: Histogram,
    }
    refused::<Edges>(expect!["metric wait_seconds: edges ascend; 3 comes before 2"]);
    const ENDLESS: [f64; 2] = [1.0, f64::INFINITY];
    const MILLIS: [f64; 4] = [5.0, 100.0, 250.0, 1000.0];
    #[derive(Metrics)]
    struct Other {
        /// Wait.
        #[buckets(MILLIS)]
        wait_seconds: Histogram,
    }
    refused::<Other>(expect![
        "metric wait_seconds: the edges 5, 100, 250, 1000 look like milliseconds and the unit is seconds; divide them by 1000"
    ]);
    #[derive(Metrics)]
    struct Infinite {
        /// Wait.
        #[buckets(ENDLESS)]
        wait_seconds: Histogram,
    }
    refused::<Infinite>(expect![
        "metric wait_seconds: edge inf is not a finite number; +Inf is added by itself"
    ]);
}

#[test]
fn labels_that_cannot_be() {
    #[derive(Metrics)]
    struct Twice {
        /// Transfers.
        transfers_total: Counter<(Symbol, Symbol)>,
    }
    refused::<Twice>(expect![[
        r#"metric transfers_total: label "symbol" occurs twice; each label type once in a tuple"#
    ]]);
    #[derive(Label)]
    enum Le {
        A,
    }
    #[derive(Metrics)]
    struct Reserved {
        /// Wait.
        #[buckets(1.0)]
        wait_seconds: Histogram<(Le,)>,
    }
    let _ = Le::A;
    refused::<Reserved>(expect![[
        r#"metric wait_seconds: label "le" is a histogram's own; choose another name"#
    ]]);
}

#[test]
fn too_many_series() {
    open_label!(struct A("a"), budget = 4000);
    open_label!(struct B("b"), budget = 4000);
    #[derive(Metrics)]
    struct Explosion {
        /// Events.
        events_total: Counter<(A, B)>,
    }
    refused::<Explosion>(expect![
        "metric events_total: its labels make 16008001 series, more than 1048576; drop a label or lower a budget"
    ]);
}

#[test]
fn values_that_no_instrument_takes_are_counted() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let rejected = |metric: &str| {
        value(&registry, &format!("tradewatch_sdk_rejected_values_total{{metric=\"{metric}\"}}"))
    };
    assert_eq!(rejected("bus_messages_total"), None);
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        m.bus.messages_total.add(bad);
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        m.run_duration_seconds.observe(bad);
        m.pnl_dollars.add(bad);
    }
    assert_eq!(rejected("bus_messages_total"), Some(4.0));
    assert_eq!(rejected("gateway_run_duration_seconds"), Some(3.0));
    assert_eq!(rejected("gateway_pnl_dollars"), Some(3.0));
    assert_eq!(value(&registry, "bus_messages_total"), Some(0.0));
    assert_eq!(value(&registry, "gateway_run_duration_seconds_count"), Some(0.0));
}

#[test]
fn gauges_take_nan_and_infinities() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    for (set, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")] {
        m.pnl_dollars.set(set);
        let body = text(&registry, Format::Text004);
        assert!(body.contains(&format!("\ngateway_pnl_dollars {shown}\n")), "{body}");
    }
}

#[test]
fn a_counter_past_the_largest_u64_starts_again() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.bus.messages_total.inc_by(u64::MAX);
    m.bus.messages_total.inc_by(6);
    assert_eq!(value(&registry, "bus_messages_total"), Some(5.0));
}

#[test]
fn values_beyond_the_budget_are_counted_not_exposed() {
    open_label!(struct Venue("venue"), budget = 2);
    #[derive(Metrics)]
    struct M {
        /// Trades.
        trades_total: Counter<(Venue,)>,
    }
    let registry = Registry::new();
    let m = M::register(&registry).unwrap();
    let overflow = "tradewatch_sdk_label_overflow_total{label=\"venue\"}";
    assert_eq!(value(&registry, overflow), Some(0.0));
    let long = "x".repeat(LABEL_VALUE_BYTES_MAX + 1);
    let refused = ["", "0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a", OVERFLOW, &long];
    for venue in ["XNAS", "XNYS", "XNAS", "XLON"].iter().chain(&refused) {
        m.trades_total.at((Venue::intern(venue),)).inc();
    }
    assert_eq!(value(&registry, "trades_total{venue=\"XNAS\"}"), Some(2.0));
    assert_eq!(value(&registry, "trades_total{venue=\"XLON\"}"), None);
    assert_eq!(value(&registry, "trades_total{venue=\"__overflow__\"}"), Some(5.0));
    assert_eq!(value(&registry, overflow), Some(5.0));
    assert_eq!(Venue::get("XNYS").map(Venue::as_str), Some("XNYS"));
    assert_eq!(Venue::get("XPAR"), None);
    assert_eq!(format!("{} {:?}", Venue::intern("XNYS"), Venue::OVERFLOW), "XNYS Venue(\"__overflow__\")");
}

#[test]
fn descriptors_say_what_was_declared() {
    let registry = Registry::new();
    let _m = GatewayMetrics::register(&registry).unwrap();
    let mut declared = GatewayMetrics::descriptors();
    declared.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(registry.describe(), declared);
    let orders = declared.iter().find(|d| d.name == "gateway_orders_total").unwrap();
    expect![[r#"
        Descriptor {
            name: "gateway_orders_total",
            kind: Counter,
            unit: "",
            help: "Orders handled, by outcome.",
            labels: [
                LabelDescriptor {
                    name: "symbol",
                    values: None,
                    budget: Some(
                        8,
                    ),
                },
                LabelDescriptor {
                    name: "side",
                    values: Some(
                        [
                            "buy",
                            "sell",
                        ],
                    ),
                    budget: None,
                },
                LabelDescriptor {
                    name: "status",
                    values: Some(
                        [
                            "success",
                            "rejected",
                            "failed \"hard\"\\\n",
                        ],
                    ),
                    budget: None,
                },
            ],
            buckets: [],
            native: None,
            quantiles: [],
            expires: None,
            service: Some(
                "execution_gateway",
            ),
            event: None,
            legacy_name: None,
        }
    "#]]
    .assert_debug_eq(orders);
}
