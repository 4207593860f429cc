//! What a scrape shows.

use std::time::Duration;

use expect_test::expect;
use tradewatch_metrics::*;

use crate::fixture::*;

fn moved() -> (Registry, GatewayMetrics) {
    let unix = || Duration::from_millis(1_763_640_000_250);
    let registry = Registry::with_clocks(|| Duration::ZERO, unix);
    let m = GatewayMetrics::register(&registry).unwrap();
    m.orders_total.at((Symbol::intern("AAPL"), Side::Buy, OrderStatus::Success)).inc_by(3);
    m.orders_total.at((Symbol::intern("AAPL"), Side::Sell, OrderStatus::Failed)).inc();
    m.orders_total.at((Symbol::OVERFLOW, Side::Sell, OrderStatus::Rejected)).inc();
    m.order_placement_duration_seconds.at((Side::Sell,)).observe(0.25);
    m.order_placement_duration_seconds.at((Side::Sell,)).observe(7.0);
    m.circuit_breaker_status.set_bool(true);
    m.positions_current.at((Symbol::intern("AAPL"),)).set(-2.5);
    m.pnl_dollars.set(1e22);
    m.commission.add(0.25);
    m.commission.add(2.0);
    m.model_info.set(["v1.0.0", "alpha \"baseline\""]);
    (registry, m)
}

#[test]
fn text_004_is_complete_and_in_order() {
    let (registry, _m) = moved();
    expect![[r##"
        # HELP bus_messages_total Messages published.
        # TYPE bus_messages_total counter
        bus_messages_total 0
        # HELP gateway_circuit_breaker_status 1 while the breaker blocks.
        # TYPE gateway_circuit_breaker_status gauge
        gateway_circuit_breaker_status 1
        # HELP gateway_drift_seconds Drift of a clock.
        # TYPE gateway_drift_seconds histogram
        gateway_drift_seconds_bucket{le="+Inf"} 0
        gateway_drift_seconds_sum 0
        gateway_drift_seconds_count 0
        # HELP gateway_model_info The model loaded.
        # TYPE gateway_model_info gauge
        gateway_model_info{version="v1.0.0",strategy="alpha \"baseline\""} 1
        # HELP gateway_order_placement_duration_seconds Time from receiving an order request to its answer.
        # TYPE gateway_order_placement_duration_seconds histogram
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.1"} 0
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.25"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.5"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="1.0"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="2.5"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="+Inf"} 2
        gateway_order_placement_duration_seconds_sum{side="sell"} 7.25
        gateway_order_placement_duration_seconds_count{side="sell"} 2
        # HELP gateway_orders_total Orders handled, by outcome.
        # TYPE gateway_orders_total counter
        gateway_orders_total{symbol="__overflow__",side="sell",status="rejected"} 1
        gateway_orders_total{symbol="AAPL",side="buy",status="success"} 3
        gateway_orders_total{symbol="AAPL",side="sell",status="failed \"hard\"\\\n"} 1
        # HELP gateway_pnl_dollars Profit in \\ dollars.
        # TYPE gateway_pnl_dollars gauge
        gateway_pnl_dollars 1e22
        # HELP gateway_positions_current Position, by symbol.
        # TYPE gateway_positions_current gauge
        gateway_positions_current{symbol="AAPL"} -2.5
        # HELP gateway_run_duration_seconds Time of a run.
        # TYPE gateway_run_duration_seconds histogram
        gateway_run_duration_seconds_bucket{le="0.5"} 0
        gateway_run_duration_seconds_bucket{le="10.0"} 0
        gateway_run_duration_seconds_bucket{le="2e+06"} 0
        gateway_run_duration_seconds_bucket{le="+Inf"} 0
        gateway_run_duration_seconds_sum 0
        gateway_run_duration_seconds_count 0
        # HELP orders_commission_total_usd Commission paid.
        # TYPE orders_commission_total_usd counter
        orders_commission_total_usd 2.25
        # HELP tradewatch_sdk_label_overflow_total Label values that did not fit into the budget of their label.
        # TYPE tradewatch_sdk_label_overflow_total counter
        tradewatch_sdk_label_overflow_total{label="symbol"} 0
        # HELP tradewatch_sdk_overflow_events_total What was counted under labels that did not fit into their budget.
        # TYPE tradewatch_sdk_overflow_events_total counter
        tradewatch_sdk_overflow_events_total{metric="gateway_orders_total"} 1
    "##]].assert_eq(&text(&registry, Format::Text004));
}

#[test]
fn open_metrics_has_units_and_an_end() {
    let (registry, _m) = moved();
    expect![[r##"
        # HELP bus_messages Messages published.
        # TYPE bus_messages counter
        bus_messages_total 0
        bus_messages_created 1763640000.250
        # HELP gateway_circuit_breaker_status 1 while the breaker blocks.
        # TYPE gateway_circuit_breaker_status gauge
        gateway_circuit_breaker_status 1
        # HELP gateway_drift_seconds Drift of a clock.
        # TYPE gateway_drift_seconds histogram
        # UNIT gateway_drift_seconds seconds
        gateway_drift_seconds_bucket{le="+Inf"} 0
        gateway_drift_seconds_sum 0
        gateway_drift_seconds_count 0
        gateway_drift_seconds_created 1763640000.250
        # HELP gateway_model The model loaded.
        # TYPE gateway_model info
        gateway_model_info{version="v1.0.0",strategy="alpha \"baseline\""} 1
        # HELP gateway_order_placement_duration_seconds Time from receiving an order request to its answer.
        # TYPE gateway_order_placement_duration_seconds histogram
        # UNIT gateway_order_placement_duration_seconds seconds
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.1"} 0
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.25"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="0.5"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="1.0"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="2.5"} 1
        gateway_order_placement_duration_seconds_bucket{side="sell",le="+Inf"} 2
        gateway_order_placement_duration_seconds_sum{side="sell"} 7.25
        gateway_order_placement_duration_seconds_count{side="sell"} 2
        gateway_order_placement_duration_seconds_created{side="sell"} 1763640000.250
        # HELP gateway_orders Orders handled, by outcome.
        # TYPE gateway_orders counter
        gateway_orders_total{symbol="__overflow__",side="sell",status="rejected"} 1
        gateway_orders_created{symbol="__overflow__",side="sell",status="rejected"} 1763640000.250
        gateway_orders_total{symbol="AAPL",side="buy",status="success"} 3
        gateway_orders_created{symbol="AAPL",side="buy",status="success"} 1763640000.250
        gateway_orders_total{symbol="AAPL",side="sell",status="failed \"hard\"\\\n"} 1
        gateway_orders_created{symbol="AAPL",side="sell",status="failed \"hard\"\\\n"} 1763640000.250
        # HELP gateway_pnl_dollars Profit in \\ dollars.
        # TYPE gateway_pnl_dollars gauge
        gateway_pnl_dollars 1e22
        # HELP gateway_positions_current Position, by symbol.
        # TYPE gateway_positions_current gauge
        gateway_positions_current{symbol="AAPL"} -2.5
        # HELP gateway_run_duration_seconds Time of a run.
        # TYPE gateway_run_duration_seconds histogram
        # UNIT gateway_run_duration_seconds seconds
        gateway_run_duration_seconds_bucket{le="0.5"} 0
        gateway_run_duration_seconds_bucket{le="10.0"} 0
        gateway_run_duration_seconds_bucket{le="2e+06"} 0
        gateway_run_duration_seconds_bucket{le="+Inf"} 0
        gateway_run_duration_seconds_sum 0
        gateway_run_duration_seconds_count 0
        gateway_run_duration_seconds_created 1763640000.250
        # HELP orders_commission_usd Commission paid.
        # TYPE orders_commission_usd counter
        # UNIT orders_commission_usd usd
        orders_commission_usd_total 2.25
        orders_commission_usd_created 1763640000.250
        # HELP tradewatch_sdk_label_overflow Label values that did not fit into the budget of their label.
        # TYPE tradewatch_sdk_label_overflow counter
        tradewatch_sdk_label_overflow_total{label="symbol"} 0
        # HELP tradewatch_sdk_overflow_events What was counted under labels that did not fit into their budget.
        # TYPE tradewatch_sdk_overflow_events counter
        tradewatch_sdk_overflow_events_total{metric="gateway_orders_total"} 1
        # EOF
    "##]]
    .assert_eq(&text(&registry, Format::OpenMetrics1));
}

#[test]
fn two_scrapes_of_the_same_state_are_the_same() {
    let (registry, _m) = moved();
    assert_eq!(text(&registry, Format::Text004), text(&registry, Format::Text004));
}

#[test]
fn removed_gauges_disappear_and_come_back() {
    let (registry, m) = moved();
    let handle = m.positions_current.at((Symbol::intern("AAPL"),)).into_owned();
    let series = "gateway_positions_current{symbol=\"AAPL\"}";
    m.positions_current.remove((Symbol::intern("AAPL"),));
    assert_eq!(value(&registry, series), None);
    handle.set(4.0);
    assert_eq!(value(&registry, series), Some(4.0));
}

#[test]
fn expose_all_shows_every_known_combination_at_zero() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.order_placement_duration_seconds.expose_all();
    for side in ["buy", "sell"] {
        let series = format!("gateway_order_placement_duration_seconds_count{{side=\"{side}\"}}");
        assert_eq!(value(&registry, &series), Some(0.0));
    }
}

#[test]
fn accept_headers_choose_the_format() {
    let cases = [
        ("", Format::Text004),
        ("*/*", Format::Text004),
        ("text/html, */*;q=0.1", Format::Text004),
        ("application/openmetrics-text", Format::OpenMetrics1),
        ("application/openmetrics-text;version=2.0.0", Format::Text004),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.3", Format::Text004),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            Format::OpenMetrics1,
        ),
        // Prometheus 2.42 and 3 with native histograms.
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::Protobuf,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::Protobuf,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            Format::Text004,
        ),
        ("application/vnd.google.protobuf", Format::Text004),
        ("Text/Plain; Version=0.0.4; q=0.3, Application/OpenMetrics-Text; Q=0.2", Format::Text004),
        ("text/plain;q=NaN, application/openmetrics-text;q=0.1", Format::OpenMetrics1),
    ];
    for (accept, format) in cases {
        assert_eq!(Format::from_accept(accept), format, "{accept}");
    }
}
