//! The field's own linter on our output.

use std::io::Write;
use std::process::{Command, Stdio};

use tradewatch_metrics::*;

use crate::fixture::*;

/// Every kind of metric, then the linter's remarks: exactly those on the one legacy name.
#[test]
fn promtool_remarks_on_legacy_names_only() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.orders_total.at((Symbol::OVERFLOW, Side::Buy, OrderStatus::Failed)).inc();
    m.order_placement_duration_seconds.at((Side::Buy,)).observe(0.2);
    m.model_info.set(["v1", "alpha"]);
    m.pnl_dollars.add(f64::NAN);
    let body = text(&registry, Format::Text004);
    assert_eq!(
        remarks(&body),
        ["orders_commission_total_usd counter metrics should have \"_total\" suffix"],
        "{body}"
    );
}

/// The names that the documents' platforms must keep although they break the rules, and every other kind of metric.
#[derive(Metrics)]
#[allow(dead_code)] // Only declared.
struct Kept {
    /// Commission paid.
    #[metric(unit = "usd", legacy_name = "as the dashboards know it")]
    orders_commission_total_usd: Counter,
    /// Connections in the pool.
    #[metric(legacy_name = "as the dashboards know it")]
    db_connections_total: Gauge,
    /// Orders that are open.
    #[metric(legacy_name = "as the dashboards know it")]
    active_orders_total: Gauge,
    /// Strategies that run.
    #[metric(legacy_name = "as the dashboards know it")]
    active_strategies_total: UpDownCounter,
    /// Positions that are open.
    #[metric(legacy_name = "as the dashboards know it")]
    active_positions_count: Gauge,
    /// Time of a request.
    #[metric(legacy_name = "as the dashboards know it", unit = "milliseconds")]
    #[buckets(5, 10, 100, 1000)]
    http_server_duration_milliseconds: Histogram,
    /// Time of a fill.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram,
    /// Time in the queue.
    #[quantiles(0.5, 0.99)]
    queue_seconds: Summary,
    /// Orders.
    orders_total: Counter,
    /// Share of fills.
    #[metric(unit = "ratio")]
    fill_ratio: ObservableGauge,
    /// What runs.
    #[labels("version")]
    build_info: Info<1>,
}

#[test]
fn promtool_remarks_on_exactly_the_names_that_say_why() {
    let registry = Registry::new();
    let m = Kept::register(&registry).unwrap();
    m.fill_ratio.read_with(|| Ok::<_, String>(0.5));
    m.build_info.set(["v1"]);
    m.orders_total.add(f64::NAN);
    let said = remarks(&text(&registry, Format::Text004));
    let mut remarked: Vec<&str> = said.iter().filter_map(|line| line.split(' ').next()).collect();
    remarked.sort_unstable();
    remarked.dedup();
    let declared = registry.describe();
    let legacy: Vec<&str> = declared
        .iter()
        .filter(|descriptor| descriptor.legacy_name.is_some())
        .map(|descriptor| descriptor.name.as_str())
        .collect();
    assert_eq!((remarked.len(), remarked), (6, legacy), "{said:#?}");
}

/// What `promtool check metrics` says of an exposition, line by line.
fn remarks(body: &str) -> Vec<String> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: apt-get install prometheus");
    let mut stdin = promtool.stdin.take().expect("stdin is piped");
    let body = body.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(body.as_bytes()));
    let output = promtool.wait_with_output().unwrap();
    writer.join().expect("the writer does not panic").expect("promtool reads everything");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Names of many words, with every kind: what our rules let pass without a reason, the linter lets pass too.
#[test]
fn what_our_rules_let_pass_promtool_does_not_remark_on() {
    const WORDS: &[&str] = &[
        "order",
        "orders",
        "queue",
        "seconds",
        "second",
        "milliseconds",
        "ms",
        "minutes",
        "hours",
        "d",
        "bytes",
        "kilobytes",
        "kb",
        "bits",
        "ratio",
        "percent",
        "meters",
        "miles",
        "celsius",
        "kelvins",
        "grams",
        "pounds",
        "volts",
        "millivolts",
        "joules",
        "calories",
        "total",
        "count",
        "sum",
        "bucket",
        "info",
        "gauge",
        "counter",
        "histogram",
        "summary",
        "openPosition",
        "usd",
        "bps",
        "s",
        "m",
        "h",
        "b",
        "sec",
        "created",
    ];
    let kinds = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram, MetricKind::Summary];
    let mut body = String::new();
    let (mut passed, mut refused) = (0, 0);
    for (at, kind) in kinds.into_iter().enumerate() {
        for first in WORDS {
            for last in WORDS {
                // Names differ between kinds, or the linter would see one family twice.
                let name = format!("desk{at}_{first}_{last}");
                let mut descriptor = Descriptor::new(&name, kind, "Something.");
                if matches!(kind, MetricKind::Histogram | MetricKind::Summary) && descriptor.unit.is_empty() {
                    descriptor.unit = "things".to_owned();
                }
                (descriptor.buckets, descriptor.quantiles) = (vec![1.0], vec![0.5]);
                if descriptor.check().is_err() {
                    refused += 1;
                    continue;
                }
                passed += 1;
                body += &format!("# HELP {name} Something.\n# TYPE {name} {kind}\n");
                body += &match kind {
                    MetricKind::Histogram => {
                        format!("{name}_bucket{{le=\"+Inf\"}} 0\n{name}_sum 0\n{name}_count 0\n")
                    }
                    MetricKind::Summary => format!("{name}_sum 0\n{name}_count 0\n"),
                    _ => format!("{name} 0\n"),
                };
            }
        }
    }
    assert!(passed > 300 && refused > 3_000, "{passed} {refused}");
    assert_eq!(remarks(&body), [""; 0]);
}
