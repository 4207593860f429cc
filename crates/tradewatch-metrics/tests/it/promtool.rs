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

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: apt-get install prometheus");
    promtool.stdin.take().expect("stdin is piped").write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let remarks: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        remarks,
        ["orders_commission_total_usd counter metrics should have \"_total\" suffix"],
        "{said}"
    );
}
