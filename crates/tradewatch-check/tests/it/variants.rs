//! Other faulty and right rules than those of the corpus, on a platform that is in none of its rows: for each check some
//! that it must find and some near misses that it must not.

use tradewatch_check::{Content, Input, Options, Project, World, check};

const CATALOG: &str = r#"
platform = "harbour"
title = "A made-up venue"

[[metric]]
name = "matching_engine_trades_total"
type = "counter"
unit = "trades"
help = "Trades by side and result"
labels = [{ name = "side", values = ["bid", "ask"] }, { name = "result", values = ["matched", "busted"] }]
service = "matching_engine"

[[metric]]
name = "matching_engine_busts_total"
type = "counter"
unit = "trades"
help = "Busted trades by cause"
labels = [{ name = "cause", values = ["price", "size"] }]
service = "matching_engine"

[[metric]]
name = "matching_engine_heartbeats_total"
type = "counter"
unit = "heartbeats"
help = "Heartbeats sent"
service = "matching_engine"

[[metric]]
name = "matching_engine_cross_duration_seconds"
type = "histogram"
unit = "seconds"
help = "Time of a cross"
labels = [{ name = "book", values = ["lit", "dark"] }]
buckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5]
service = "matching_engine"

[[metric]]
name = "matching_engine_depth_lots"
type = "gauge"
unit = "lots"
help = "Lots resting in the book"
labels = [{ name = "book", values = ["lit", "dark"] }]
service = "matching_engine"

[[metric]]
name = "matching_engine_ready"
type = "gauge"
unit = "bool"
help = "1 while it takes orders"
service = "matching_engine"

[[metric]]
name = "matching_engine_build_info"
type = "info"
unit = ""
help = "What was built"
labels = [{ name = "version", values = ["1.0"] }]
service = "matching_engine"

[[metric]]
name = "clearing_sync_timestamp_seconds"
type = "gauge"
unit = "seconds"
help = "When positions were last synced"
service = "clearing"

[[metric]]
name = "clearing_fill_ratio"
type = "gauge"
unit = "ratio"
help = "Share of intents that were filled"
service = "clearing"

[[metric]]
name = "clearing_wait_seconds"
type = "summary"
unit = "seconds"
help = "Time until cleared"
labels = [{ name = "pool", values = ["a", "b"] }]
service = "clearing"

[[metric]]
name = "clearing_bytes_total"
type = "counter"
unit = "bytes"
help = "Bytes written"
service = "clearing"
"#;

const SCRAPE: &str = r#"
global: {scrape_interval: 10s, evaluation_interval: 30s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['am:9093']}]}]}
scrape_configs:
  - {job_name: matching-engine, static_configs: [{targets: ['e1:9000', 'e2:9000'], labels: {service: matching_engine, zone: east}}]}
  - {job_name: clearing, static_configs: [{targets: ['c1:9000'], labels: {service: clearing, zone: east}}]}
"#;

/// The ids found in these files, errors, warnings and information alike.
fn ids(files: &[(&str, &str)], options: Options) -> Vec<&'static str> {
    let mut inputs = vec![
        Input { path: "catalog.toml".into(), text: CATALOG.into() },
        Input { path: "prometheus.yml".into(), text: SCRAPE.into() },
    ];
    let given = |name: &str| files.iter().any(|(path, _)| *path == name);
    inputs.retain(|input| !given(&input.path));
    inputs.extend(files.iter().map(|(path, text)| Input { path: (*path).into(), text: (*text).into() }));
    let mut options = options;
    for name in ["catalog.toml", "prometheus.yml"] {
        if !given(name) {
            options.context.insert(name.into());
        }
    }
    let project = Project::read(inputs);
    let scrape = project.scrape().map(|(_, file)| file);
    let mut world = World::new(scrape);
    for document in &project.documents {
        if let Content::Catalog(catalog) = &document.content {
            world.add_catalog(catalog, scrape);
        }
    }
    check(&project, world, &options).open().map(|finding| finding.id).collect()
}

fn rule(expr: &str) -> String {
    format!(
        "groups:\n- name: g\n  rules:\n  - alert: Up\n    expr: up == 0\n    labels: {{severity: high}}\n    annotations: {{summary: s, runbook_url: r}}\n  - alert: Probe\n    expr: |\n      {expr}\n    labels: {{severity: low}}\n    annotations: {{summary: s, runbook_url: r}}\n"
    )
}

/// Each expression, as an alert, is found by `id`.
fn finds(id: &str, exprs: &[&str]) {
    for expr in exprs {
        let found = ids(&[("rules.yml", &rule(expr))], Options::default());
        assert!(found.contains(&id), "{id} does not find {expr}; found {found:?}");
    }
}

/// None of the expressions, as an alert, is found by `id`.
fn spares(id: &str, exprs: &[&str]) {
    for expr in exprs {
        let found = ids(&[("rules.yml", &rule(expr))], Options::default());
        assert!(!found.contains(&"TW001"), "{expr} does not parse");
        assert!(!found.contains(&id), "{id} wrongly finds {expr}");
    }
}

#[test]
fn tw003_metrics_that_nothing_emits() {
    finds(
        "TW003",
        &[
            "matching_engine_trade_total > 0",
            "rate(matching_engine_trades[5m]) > 1",
            "sum(rate(matching_engine_latency_seconds_bucket[5m])) > 1",
            "absent(matching_engine_is_ready)",
            "clearing_wait_seconds_bucket > 1",
            "matching_engine_ready == 0 and on (instance) matching_engine_halted == 1",
        ],
    );
    spares(
        "TW003",
        &[
            "absent(matching_engine_ready)",
            "rate(clearing_wait_seconds_sum[5m]) / rate(clearing_wait_seconds_count[5m]) > 1",
            "rate(process_cpu_seconds_total[5m]) > 0.9",
            "scrape_duration_seconds > 1",
            "rate(matching_engine_cross_duration_seconds_count[5m]) > 100",
            "ALERTS{alertstate=\"firing\"} == 1",
        ],
    );
}

#[test]
fn tw004_labels_that_the_metric_does_not_have() {
    finds(
        "TW004",
        &[
            "sum by (venue) (rate(matching_engine_trades_total[5m])) > 1",
            "rate(matching_engine_trades_total{outcome=\"busted\"}[5m]) > 1",
            "matching_engine_ready{book=\"lit\"} == 0",
            "sum by (zone, bok) (matching_engine_depth_lots) < 1",
            "matching_engine_ready * on (instance) group_left (release) matching_engine_build_info == 0",
        ],
    );
    spares(
        "TW004",
        &[
            "sum by (side) (rate(matching_engine_trades_total[5m])) > 1",
            "sum by (zone, instance) (matching_engine_depth_lots) < 1",
            "sum without (pod) (matching_engine_depth_lots) < 1",
            "matching_engine_ready{canary!=\"yes\"} == 0",
            "matching_engine_ready * on (instance) group_left (version) matching_engine_build_info == 0",
            "sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m])) > 1000",
        ],
    );
}

#[test]
fn tw005_values_that_nothing_emits() {
    finds(
        "TW005",
        &[
            "rate(matching_engine_trades_total{result=\"bust\"}[5m]) > 1",
            "rate(matching_engine_trades_total{side=~\"buy|sell\"}[5m]) > 1",
            "up{job=\"matchingengine\"} == 0",
            "matching_engine_ready{instance=\"e3:9000\"} == 0",
            "rate(matching_engine_cross_duration_seconds_bucket{le=\"0.02\"}[5m]) > 1000",
        ],
    );
    spares(
        "TW005",
        &[
            "rate(matching_engine_trades_total{result=\"busted\"}[5m]) > 1",
            "rate(matching_engine_trades_total{side=~\"b.*\"}[5m]) > 1",
            "rate(matching_engine_trades_total{side!=\"buy\"}[5m]) > 1",
            "up{job=~\"matching.*|other\"} == 0",
            "rate(matching_engine_cross_duration_seconds_bucket{le=\"0.010\"}[5m]) > 1000",
            "rate(matching_engine_cross_duration_seconds_bucket{le=\"+Inf\"}[5m]) > 1000",
        ],
    );
}

#[test]
fn tw006_functions_that_do_not_fit() {
    finds(
        "TW006",
        &[
            "rate(matching_engine_depth_lots[5m]) > 1",
            "increase(matching_engine_ready[1h]) > 1",
            "irate(clearing_fill_ratio[5m]) > 1",
            "delta(matching_engine_trades_total[5m]) > 1",
            "histogram_quantile(0.9, matching_engine_depth_lots) > 1",
            "histogram_avg(rate(matching_engine_trades_total[5m])) > 1",
            "rate(sum(rate(matching_engine_trades_total[1m]))[5m:1m]) > 1",
            "rate(matching_engine_build_info[5m]) > 0",
        ],
    );
    spares(
        "TW006",
        &[
            "deriv(matching_engine_depth_lots[5m]) > 1",
            "rate(matching_engine_trades_total[5m]) > 100",
            "max_over_time(matching_engine_depth_lots[5m]) > 1",
            "rate(clearing_wait_seconds_count[5m]) > 100",
            "changes(matching_engine_ready[1h]) > 5",
            "resets(matching_engine_trades_total[1h]) > 5",
            "increase(matching_engine_cross_duration_seconds_count[5m]) > 5",
        ],
    );
}

#[test]
fn tw007_and_tw008_histograms() {
    finds(
        "TW007",
        &[
            "matching_engine_cross_duration_seconds > 1",
            "avg(matching_engine_cross_duration_seconds) > 1",
            "histogram_quantile(0.9, matching_engine_cross_duration_seconds) > 0.1",
            "rate(matching_engine_cross_duration_seconds[5m]) > 0.1",
            "histogram_quantile(0.9, sum by (le) (matching_engine_cross_duration_seconds_bucket)) > 0.1",
        ],
    );
    spares(
        "TW007",
        &[
            "clearing_wait_seconds{quantile=\"0.99\"} > 1",
            "histogram_quantile(0.9, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "rate(matching_engine_cross_duration_seconds_sum[5m]) > 0.1",
            "matching_engine_depth_lots > 1",
            "histogram_quantile(0.9, sum by (le) (increase(matching_engine_cross_duration_seconds_bucket[1h]))) > 0.1",
        ],
    );
    finds(
        "TW008",
        &[
            "histogram_quantile(0.9, sum(rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "histogram_quantile(0.9, sum by (book) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "histogram_quantile(0.9, sum without (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "histogram_quantile(0.9, avg by (instance) (rate(unknown_duration_bucket[5m]))) > 0.1",
            "sum(rate(matching_engine_cross_duration_seconds_bucket[5m])) > 100",
        ],
    );
    spares(
        "TW008",
        &[
            "histogram_quantile(0.9, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "histogram_quantile(0.9, sum without (instance) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "sum(rate(matching_engine_cross_duration_seconds_bucket{le=\"0.1\"}[5m])) > 100",
            "sum(rate(matching_engine_cross_duration_seconds_count[5m])) > 100",
            "histogram_quantile(0.9, sum by (le) (rate(unknown_duration_bucket[5m]))) > 0.1",
            "histogram_quantile(0.9, sum(rate(unknown_native_duration_seconds[5m]))) > 0.1",
        ],
    );
}

#[test]
fn tw009_tw010_tw011_counters_and_quantiles() {
    finds(
        "TW009",
        &[
            "matching_engine_trades_total > 1000",
            "sum(matching_engine_trades_total{result=\"busted\"}) > 5",
            "clearing_wait_seconds_count > 100",
            "max by (cause) (matching_engine_busts_total) >= 1",
            "sum(matching_engine_trades_total{result=\"busted\"}) / sum(matching_engine_trades_total) > 0.1",
        ],
    );
    spares(
        "TW009",
        &[
            "increase(matching_engine_trades_total[1h]) > 1000",
            "matching_engine_depth_lots > 1000",
            "time() - clearing_sync_timestamp_seconds > 600",
            "count(matching_engine_trades_total) > 100",
            "matching_engine_trades_total offset 1h unless matching_engine_trades_total",
        ],
    );
    finds(
        "TW010",
        &[
            "avg(histogram_quantile(0.9, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m])))) > 0.1",
            "avg(clearing_wait_seconds{quantile=\"0.9\"}) > 1",
            "sum by (pool) (clearing_wait_seconds) > 1",
            "sum(histogram_quantile(0.5, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m])))) > 0.1",
            "avg_over_time(histogram_quantile(0.9, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m])))[1h:]) > 0.1",
        ],
    );
    spares(
        "TW010",
        &[
            "max(histogram_quantile(0.9, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m])))) > 0.1",
            "max(clearing_wait_seconds{quantile=\"0.9\"}) > 1",
            "sum(rate(clearing_wait_seconds_sum[5m])) / sum(rate(clearing_wait_seconds_count[5m])) > 1",
            "avg(matching_engine_depth_lots) > 1",
            "quantile(0.9, matching_engine_depth_lots) > 1",
        ],
    );
    finds(
        "TW011",
        &[
            "rate(sum(matching_engine_trades_total)[5m:]) > 1",
            "increase(sum by (side) (matching_engine_trades_total)[1h:1m]) > 1",
            "irate(sum without (instance) (matching_engine_busts_total)[5m:]) > 1",
            "rate(max(clearing_bytes_total)[10m:]) > 1",
            "increase(avg by (side) (matching_engine_trades_total)[1h:1m]) > 1",
        ],
    );
    spares(
        "TW011",
        &[
            "sum(rate(matching_engine_trades_total[5m])) > 100",
            "max_over_time(sum(rate(matching_engine_trades_total[5m]))[1h:]) > 100",
            "rate(clearing_bytes_total[5m]) > 1e6",
            "sum by (side) (increase(matching_engine_trades_total[1h])) > 100",
            "rate(matching_engine_heartbeats_total[5m:]) < 0.1",
        ],
    );
}

#[test]
fn tw012_and_tw013_what_meets() {
    finds(
        "TW012",
        &[
            "rate(matching_engine_trades_total{result=\"busted\"}[5m]) / rate(matching_engine_trades_total[5m]) > 0.1",
            "sum by (result) (rate(matching_engine_trades_total{result=\"busted\"}[5m])) / sum by (result) (rate(matching_engine_trades_total[5m])) > 0.1",
            "increase(anything_total{code=~\"5..\"}[10m]) / increase(anything_total[10m]) > 0.05",
            "(rate(matching_engine_trades_total{result!=\"matched\"}[5m])) / (rate(matching_engine_trades_total[5m])) > 0.1",
            "matching_engine_depth_lots{book=\"dark\"} - matching_engine_depth_lots != 0",
        ],
    );
    spares(
        "TW012",
        &[
            "sum(rate(matching_engine_trades_total{result=\"busted\"}[5m])) / sum(rate(matching_engine_trades_total[5m])) > 0.1",
            "sum by (side) (rate(matching_engine_trades_total{result=\"busted\"}[5m])) / sum by (side) (rate(matching_engine_trades_total[5m])) > 0.1",
            "matching_engine_depth_lots / matching_engine_depth_lots offset 1d > 2",
            "rate(matching_engine_trades_total{result=\"busted\"}[5m]) / ignoring (result) rate(matching_engine_trades_total{result=\"matched\"}[5m]) > 0.1",
            "rate(matching_engine_trades_total[5m]) / rate(matching_engine_trades_total[1h]) > 3",
            "matching_engine_depth_lots / on (instance) group_left sum by (instance) (matching_engine_depth_lots) > 0.9",
        ],
    );
    finds(
        "TW013",
        &[
            "rate(matching_engine_busts_total[5m]) / rate(matching_engine_trades_total[5m]) > 0.1",
            "up{job=\"clearing\"} == 0 and matching_engine_ready == 1",
            "rate(matching_engine_trades_total{side=\"bid\"}[5m]) / rate(matching_engine_trades_total{side=\"ask\"}[5m]) > 3",
            "matching_engine_depth_lots * on (book) rate(matching_engine_trades_total[5m]) > 1",
            "matching_engine_ready == 0 unless clearing_fill_ratio > 0",
            "matching_engine_depth_lots > on (zone) matching_engine_ready",
        ],
    );
    spares(
        "TW013",
        &[
            "time() - matching_engine_depth_lots > 3 * matching_engine_depth_lots + 10",
            "sum(rate(matching_engine_busts_total[5m])) / sum(rate(matching_engine_trades_total[5m])) > 0.1",
            "up{job=\"clearing\"} == 0 and on (zone) matching_engine_ready == 1",
            "sum by (instance) (rate(matching_engine_trades_total[5m])) > 100 and on (instance) matching_engine_ready == 1",
            "matching_engine_depth_lots * on (instance) group_left matching_engine_ready > 1",
            "matching_engine_ready == 0 unless on () clearing_fill_ratio > 0",
            "rate(matching_engine_trades_total{side=\"bid\"}[5m]) / ignoring (side) rate(matching_engine_trades_total{side=\"ask\"}[5m]) > 3",
        ],
    );
}

#[test]
fn tw014_tw015_tw018_thresholds() {
    finds(
        "TW014",
        &[
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 1",
            "histogram_quantile(99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "sum(rate(matching_engine_trades_total{result=\"busted\"}[5m])) / sum(rate(matching_engine_trades_total[5m])) > 5",
            "up == 2",
            "count(up == 1) == 0",
            "clearing_sync_timestamp_seconds > 600",
            "clearing_fill_ratio < 85 > 50",
            "rate(matching_engine_trades_total[5m]) < 0",
            "1000 * histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 500",
        ],
    );
    spares(
        "TW014",
        &[
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.1",
            "100 * sum(rate(matching_engine_trades_total{result=\"busted\"}[5m])) / sum(rate(matching_engine_trades_total[5m])) > 5",
            "sum(up) == 0",
            "clearing_fill_ratio < 0.85",
            "sum(rate(matching_engine_trades_total[5m])) / sum(rate(matching_engine_busts_total[5m])) > 5",
            "matching_engine_depth_lots / on (instance) group_left sum by (instance) (rate(matching_engine_trades_total[5m])) > 50",
            "1000 * histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 100",
        ],
    );
    finds(
        "TW015",
        &[
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.2",
            "histogram_quantile(0.5, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.003",
            "histogram_quantile(0.5, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) * 1000 > 20",
            "max(histogram_quantile(0.5, sum by (le, book) (rate(matching_engine_cross_duration_seconds_bucket[5m])))) > 0.3",
            "histogram_quantile(0.5, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) < 0.0005",
        ],
    );
    spares(
        "TW015",
        &[
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.05",
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) * 1000 > 50",
            "clearing_wait_seconds{quantile=\"0.99\"} > 0.2",
            "rate(matching_engine_cross_duration_seconds_sum[5m]) / rate(matching_engine_cross_duration_seconds_count[5m]) > 0.2",
            "histogram_quantile(0.99, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[5m]))) > 0.102",
        ],
    );
    finds(
        "TW018",
        &[
            "rate(matching_engine_trades_total[5m]) >= 0",
            "up <= 1",
            "matching_engine_ready != 2",
            "matching_engine_trades_total > -1",
            "clamp_max(clearing_fill_ratio, 1) <= 1",
        ],
    );
    spares(
        "TW018",
        &[
            "rate(matching_engine_trades_total[5m]) > 0",
            "up != 1",
            "matching_engine_depth_lots >= 0",
            "count(up == 0) > 0",
            "vector(1) == 1",
        ],
    );
}

#[test]
fn tw016_rates_and_counts() {
    finds(
        "TW016",
        &[
            "rate(matching_engine_busts_total[1h]) > 2",
            "sum(rate(matching_engine_trades_total{result=\"busted\"}[6h])) > 10",
            "rate(matching_engine_busts_total[5m]) > 5",
            "rate(matching_engine_trades_total{result=\"busted\"}[5m]) > 0.05",
            "sum(rate(matching_engine_busts_total[5m])) / sum(increase(matching_engine_trades_total[5m])) > 0.1",
        ],
    );
    spares(
        "TW016",
        &[
            "increase(matching_engine_busts_total[1h]) > 2",
            "sum(rate(matching_engine_trades_total[5m])) > 500",
            "rate(clearing_bytes_total[5m]) > 1e7",
            "sum(rate(matching_engine_busts_total[5m])) / sum(rate(matching_engine_trades_total[5m])) > 0.1",
            "sum(rate(matching_engine_busts_total[5m])) > 2",
        ],
    );
}

#[test]
fn tw017_tw021_tw040_silence() {
    let shut = [
        "sum(rate(matching_engine_trades_total[5m])) == 0",
        "increase(matching_engine_trades_total{side=\"bid\"}[10m]) < 1",
        "sum by (side) (rate(matching_engine_trades_total[5m])) <= 0",
        "sum(increase(matching_engine_busts_total[1h])) == 0 and sum(increase(matching_engine_trades_total[1h])) == 0",
        "sum(rate(matching_engine_trades_total[5m])) < 0.5",
    ];
    finds("TW021", &shut);
    spares(
        "TW021",
        &[
            "sum(rate(matching_engine_trades_total[5m])) == 0 and on () tradewatch_market_open{mic=\"XNYS\"} == 1",
            "sum(rate(matching_engine_trades_total[5m])) == 0 and on () (hour() >= 14 and hour() < 21)",
            "rate(matching_engine_heartbeats_total[5m]) == 0",
            "sum(rate(matching_engine_busts_total[5m])) > 3",
            "matching_engine_depth_lots == 0",
        ],
    );
    finds("TW017", &[shut[0], shut[2], "rate(matching_engine_busts_total[5m]) == 0"]);
    spares(
        "TW017",
        &[
            "sum(rate(matching_engine_trades_total[5m])) == 0 or absent(matching_engine_trades_total)",
            "(sum(rate(matching_engine_trades_total[5m])) or vector(0)) == 0",
            "matching_engine_ready == 0",
            "rate(matching_engine_heartbeats_total[5m]) == 0",
            "sum(rate(matching_engine_trades_total[5m])) > 10",
        ],
    );
    finds(
        "TW040",
        &["rate(matching_engine_trades_total[5m]) == 0", "increase(matching_engine_busts_total[1h]) <= 0"],
    );
    spares(
        "TW040",
        &[
            "sum(rate(matching_engine_trades_total[5m])) == 0",
            "rate(matching_engine_heartbeats_total[5m]) == 0",
            "sum by (side) (rate(matching_engine_trades_total[5m])) == 0",
            "rate(matching_engine_trades_total[5m]) > 10",
            "matching_engine_depth_lots == 0",
        ],
    );
}

#[test]
fn tw017_a_process_that_says_of_itself_that_it_is_up() {
    let text = "groups: [{name: g, rules: [{alert: A, expr: matching_engine_ready == 0, labels: {severity: x}, annotations: {summary: s, runbook_url: r}}]}]";
    assert!(ids(&[("rules.yml", text)], Options::default()).contains(&"TW017"), "no alert watches up");
    spares("TW017", &["matching_engine_ready == 0", "matching_engine_ready < 1"]);
}

#[test]
fn tw019_windows() {
    finds(
        "TW019",
        &[
            "rate(matching_engine_trades_total[30s]) > 100",
            "increase(matching_engine_trades_total[15s]) > 100",
            "irate(matching_engine_trades_total[20s]) > 100",
            "max_over_time(matching_engine_depth_lots[5s]) > 100",
            "delta(matching_engine_depth_lots[39s]) > 100",
        ],
    );
    spares(
        "TW019",
        &[
            "rate(matching_engine_trades_total[40s]) > 100",
            "max_over_time(matching_engine_depth_lots[10s]) > 100",
            "rate(some_other_total[1s]) > 100",
            "increase(matching_engine_trades_total[5m]) > 100",
            "delta(matching_engine_depth_lots[1m]) > 100",
        ],
    );
}

/// An alert from its fields, as they stand in a rule file.
fn alert(fields: &str) -> Vec<&'static str> {
    ids(
        &[("rules.yml", &format!("groups:\n- name: g\n  interval: 1m\n  rules:\n  - {{{fields}}}\n"))],
        Options::default(),
    )
}

#[test]
fn alerts_say_what_they_are() {
    let whole = "labels: {severity: x}, annotations: {summary: 'a {{ $labels.instance }}', runbook_url: r}";
    for (id, fields) in [
        ("TW022", "alert: A, expr: up == 0, annotations: {summary: s, runbook_url: r}"),
        ("TW023", "alert: A, expr: up == 0, labels: {severity: x}, annotations: {runbook_url: r}"),
        ("TW024", "alert: A, expr: up == 0, labels: {severity: x}, annotations: {summary: s}"),
        (
            "TW020",
            "alert: A, expr: up == 0, for: 30s, labels: {severity: x}, annotations: {summary: s, runbook_url: r}",
        ),
        (
            "TW026",
            "alert: A, expr: 'sum(up) == 0', labels: {severity: x}, annotations: {summary: '{{ $labels.instance }}', runbook_url: r}",
        ),
        (
            "TW026",
            "alert: A, expr: up == 0, labels: {severity: x}, annotations: {summary: '{{ .Labels.host }}', runbook_url: r}",
        ),
        (
            "TW026",
            "alert: A, expr: up == 0, labels: {severity: x}, annotations: {summary: '{{ index $labels \"symbol\" }}', runbook_url: r}",
        ),
        (
            "TW026",
            "alert: A, expr: up == 0, labels: {severity: x, team: '{{ $labels.team }}'}, annotations: {summary: s, runbook_url: r}",
        ),
        (
            "TW027",
            "alert: A, expr: up == 0, labels: {severity: x, rts6: 'true'}, annotations: {summary: s, runbook_url: r}",
        ),
        (
            "TW042",
            "alert: A, expr: up == 0, for: 5m, labels: {severity: x}, annotations: {summary: down for more than 2 minutes, runbook_url: r}",
        ),
        ("TW001", "alert: A, expr: 'sum(up) by', labels: {severity: x}"),
    ] {
        let found = alert(fields);
        assert!(found.contains(&id), "{id} does not find {fields}; found {found:?}");
        let found = alert(&format!("alert: A, expr: up == 0, for: 5m, {whole}"));
        assert!(found.is_empty(), "{found:?}");
    }
    for fields in [
        "alert: A, expr: 'sum by (zone) (up) == 0', labels: {severity: x}, annotations: {summary: '{{ $labels.zone }}', runbook_url: r}",
        "alert: A, expr: up == 0, for: 2m, labels: {severity: x}, annotations: {summary: down for more than 2 minutes, runbook_url: r}",
        "alert: A, expr: up == 0, labels: {severity: x}, annotations: {summary: '{{ with query \"up\" }}{{ . | first | label \"q\" }}{{ .Labels.q }}{{ end }}', runbook_url: r}",
        "alert: A, expr: up == 0, labels: {severity: x}, annotations: {message: s, runbook: r}",
        "alert: A, expr: 'absent(up{job=\"clearing\"})', labels: {severity: x}, annotations: {summary: '{{ $labels.job }}', runbook_url: r}",
    ] {
        let found = alert(fields);
        assert!(found.is_empty(), "{fields}: {found:?}");
    }
}

/// A panel from its JSON fields.
fn panel(fields: &str) -> Vec<&'static str> {
    let text = format!("{{\"title\": \"d\", \"panels\": [{{\"title\": \"p\", {fields}}}]}}");
    ids(&[("d.json", &text)], Options::default())
}

#[test]
fn panels_show_what_is_there() {
    let steps = |a: &str, value: &str, b: &str| {
        format!(
            "\"thresholds\": {{\"mode\": \"absolute\", \"steps\": [{{\"color\": \"{a}\", \"value\": null}}, {{\"color\": \"{b}\", \"value\": {value}}}]}}"
        )
    };
    let of = |kind: &str, defaults: &str, expr: &str| {
        format!(
            "\"type\": \"{kind}\", \"fieldConfig\": {{\"defaults\": {{{defaults}}}}}, \"targets\": [{{\"expr\": \"{expr}\"}}]"
        )
    };
    let quantile = "histogram_quantile(0.9, sum by (le) (rate(matching_engine_cross_duration_seconds_bucket[$__rate_interval])))";
    let bad = [
        ("TW030", of("stat", "", "matching_engine_depth_lots")),
        ("TW031", of("stat", "\"unit\": \"ms\"", quantile)),
        ("TW031", of("gauge", "\"unit\": \"percent\"", "clearing_fill_ratio")),
        ("TW029", of("stat", &format!("\"unit\": \"s\", {}", steps("red", "60", "green")), "time() - clearing_sync_timestamp_seconds")),
        ("TW029", of("stat", &format!("\"unit\": \"s\", {}", steps("red", "0.1", "green")), quantile)),
        ("TW014", of("stat", &format!("\"unit\": \"s\", {}", steps("green", "2", "red")), quantile)),
        ("TW015", of("stat", &format!("\"unit\": \"s\", {}", steps("green", "0.2", "red")), quantile)),
        ("TW009", of("timeseries", "\"unit\": \"short\"", "sum(matching_engine_trades_total)")),
        ("TW003", of("stat", "\"unit\": \"short\"", "matching_engine_lots{book=~\\\"$book\\\"}")),
        ("TW007", of("timeseries", "\"unit\": \"s\"", "matching_engine_cross_duration_seconds")),
        ("TW001", of("timeseries", "\"unit\": \"s\"", "sum(rate(up[5m])")),
        ("TW026", "\"type\": \"timeseries\", \"fieldConfig\": {\"defaults\": {\"unit\": \"ops\"}}, \"targets\": [{\"expr\": \"sum by (side) (rate(matching_engine_trades_total[5m]))\", \"legendFormat\": \"{{book}}\"}]".to_owned()),
    ];
    for (id, fields) in &bad {
        let found = panel(fields);
        assert!(found.contains(id), "{id} does not find {fields}; found {found:?}");
    }
    for fields in [
        of("stat", "\"unit\": \"short\"", "matching_engine_depth_lots{book=~\\\"$book\\\"}"),
        of("timeseries", "\"unit\": \"s\"", quantile),
        of("timeseries", "\"unit\": \"ms\"", &format!("1000 * {quantile}")),
        of("stat", &format!("\"unit\": \"s\", {}", steps("green", "60", "red")), "time() - clearing_sync_timestamp_seconds"),
        of("stat", &format!("\"unit\": \"s\", {}", steps("green", "0.1", "red")), quantile),
        of("stat", &format!("\"unit\": \"short\", {}", steps("red", "1", "green")), "up{job=\\\"clearing\\\"}"),
        of("table", "", "matching_engine_build_info"),
        of("timeseries", "\"unit\": \"ops\"", "sum by ($by) (rate(matching_engine_trades_total[$__interval]))"),
        of("gauge", "\"unit\": \"percentunit\"", "clearing_fill_ratio"),
        "\"type\": \"timeseries\", \"fieldConfig\": {\"defaults\": {\"unit\": \"ops\"}}, \"targets\": [{\"expr\": \"sum by (side) (rate(matching_engine_trades_total[5m]))\", \"legendFormat\": \"{{side}}\"}]".to_owned(),
        "\"type\": \"logs\", \"targets\": [{\"expr\": \"{app=\\\"x\\\"} |= `y`\", \"datasource\": {\"type\": \"loki\"}}]".to_owned(),
    ] {
        let found: Vec<_> = panel(&fields).into_iter().filter(|id| *id != "TW034").collect();
        assert!(found.is_empty(), "{fields}: {found:?}");
    }
}

#[test]
fn colours_are_compared_with_the_alerts() {
    let rules = rule("matching_engine_depth_lots < 10");
    let dashboard = |first: &str, last: &str| {
        format!(
            r#"{{"panels": [{{"type": "stat", "title": "Depth", "fieldConfig": {{"defaults": {{"unit": "short", "thresholds": {{"mode": "absolute", "steps": [{{"color": "{first}"}}, {{"color": "{last}", "value": 10}}]}}}}}}, "targets": [{{"expr": "matching_engine_depth_lots"}}]}}]}}"#
        )
    };
    let found =
        |first, last| ids(&[("rules.yml", &rules), ("d.json", &dashboard(first, last))], Options::default());
    assert!(found("green", "red").contains(&"TW029"));
    assert!(!found("red", "green").contains(&"TW029"));
}

#[test]
fn routes_lead_somewhere() {
    let rules = rule("matching_engine_depth_lots < 10");
    let found =
        |routing: &str| ids(&[("rules.yml", &rules), ("alertmanager.yml", routing)], Options::default());
    let hook = "webhook_configs: [{url: 'http://x/'}]";
    for routing in [
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['severity=\"page\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}]"
        ),
        "route: {receiver: a}\nreceivers: [{name: a}]".to_owned(),
        format!("route: {{receiver: a}}\nreceivers: [{{name: a, {hook}}}, {{name: b, {hook}}}]"),
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['severity=~\"high|low\"'], receiver: a}}, {{matchers: ['severity=\"low\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}]"
        ),
        format!(
            "route: {{receiver: a}}\ninhibit_rules: [{{source_matchers: ['alertname=\"Gone\"'], target_matchers: ['severity=\"low\"']}}]\nreceivers: [{{name: a, {hook}}}]"
        ),
    ] {
        assert!(found(&routing).contains(&"TW033"), "{routing}: {:?}", found(&routing));
    }
    for routing in [
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['severity=\"high\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}]"
        ),
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['zone=\"west\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}]"
        ),
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['severity=\"low\"'], receiver: a, continue: true}}, {{matchers: ['severity=\"low\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}]"
        ),
        format!(
            "route: {{receiver: a}}\ninhibit_rules: [{{source_matchers: ['alertname=\"Up\"'], target_matchers: ['severity=\"low\"']}}]\nreceivers: [{{name: a, {hook}}}]"
        ),
        format!(
            "route: {{receiver: n, routes: [{{matchers: ['severity=~\"high|low\"'], receiver: a}}]}}\nreceivers: [{{name: a, {hook}}}, {{name: n}}]"
        ),
    ] {
        assert!(!found(&routing).contains(&"TW033"), "{routing}: {:?}", found(&routing));
    }
    let variable =
        "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://${HOST}/x'}]}]";
    assert!(found(variable).contains(&"TW037"));
}

#[test]
fn scrape_configurations_and_rule_files() {
    let with = |scrape: &str, rules: bool| {
        let text = rule("matching_engine_depth_lots < 10");
        let mut files = vec![("prometheus.yml", scrape)];
        if rules {
            files.push(("rules.yml", text.as_str()));
        }
        ids(&files, Options { missing_rule_files: ["gone.yml".to_owned()].into(), ..Options::default() })
    };
    assert!(
        with(
            "rule_files: [gone.yml]\nscrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]",
            false
        )
        .contains(&"TW035")
    );
    assert!(
        with("scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]", true)
            .contains(&"TW035")
    );
    assert!(
        with("scrape_configs: [{job_name: a, static_configs: [{targets: ['http://h:1/metrics']}]}]", false)
            .contains(&"TW032")
    );
    assert!(with("scrape_configs: [{job_name: a}]", false).contains(&"TW032"));
    assert!(!with(SCRAPE, true).contains(&"TW035") && !with(SCRAPE, true).contains(&"TW032"));
}

#[test]
fn recording_rules_are_followed() {
    let with = |record: &str, expr: &str| {
        let text = format!(
            "groups:\n- name: g\n  rules:\n  - record: book:x\n    expr: {record}\n  - alert: A\n    expr: {expr}\n    labels: {{severity: x}}\n    annotations: {{summary: s, runbook_url: r}}\n"
        );
        ids(&[("rules.yml", &text)], Options::default())
    };
    assert!(
        with("sum by (side) (rate(matching_engine_trades_total[5m]))", "'rate(book:x[5m]) > 1'")
            .contains(&"TW006")
    );
    assert!(
        with("sum by (side) (matching_engine_trades_total)", "'rate(book:x[5m]) > 1'").contains(&"TW011")
    );
    assert!(
        with("sum by (side) (rate(matching_engine_trades_total[5m]))", "'book:x{book=\"lit\"} > 1'")
            .contains(&"TW004")
    );
    assert!(with("sum(up)", "'book:y > 1'").contains(&"TW003"));
    let found =
        with("sum by (side) (rate(matching_engine_trades_total[5m]))", "'book:x{side=\"bid\"} > 100'");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn suppressions_need_a_reason() {
    let with = |comment: &str| {
        let text = format!(
            "groups:\n- name: g\n  rules:\n  {comment}\n  - alert: A\n    expr: matching_engine_gone == 1\n    labels: {{severity: x}}\n    annotations: {{summary: s, runbook_url: r}}\n"
        );
        ids(&[("rules.yml", &text)], Options::default())
    };
    assert_eq!(with("# nothing"), ["TW003"]);
    assert!(with("# tradewatch:ignore TW003 comes with the next release").is_empty());
    assert_eq!(with("# tradewatch:ignore TW004 another check"), ["TW003"]);
    let mut found = with("# tradewatch:ignore TW003");
    found.sort_unstable();
    assert_eq!(found, ["TW003", "TW039"]);
}

#[test]
fn what_is_not_known_is_not_judged() {
    // No catalogue: only what the expressions say by themselves.
    let text = rule("sum by (nolabel) (rate(nobody_total{x=\"y\"}[1s])) > 1");
    let project = Project::read(vec![Input { path: "rules.yml".into(), text }]);
    let report = check(&project, World::new(None), &Options::default());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn broken_files_are_findings() {
    for (path, text, line, column) in [
        ("a.yml", "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 'up =='\n", 5, 17),
        ("a.yml", "groups: [\n", 1, 9),
        ("a.json", "{\"panels\": [\n  {\"title\": }\n]}", 2, 13),
        ("alertmanager.yml", "route: {receiver: a}\nreceivers: [{name: b}]\n", 1, 19),
    ] {
        let project = Project::read(vec![Input { path: path.into(), text: text.into() }]);
        let report = check(&project, World::new(None), &Options::default());
        let broken = report.findings.iter().find(|finding| finding.id == "TW001");
        let broken = broken.unwrap_or_else(|| panic!("{path}: {:?}", report.findings));
        assert_eq!((broken.place.line, broken.place.column), (line, column), "{path}: {}", broken.message);
    }
    for text in [
        "",
        "a",
        "\u{0}",
        "{",
        "[[[[",
        "- - -",
        "groups: 5",
        "groups: [5]",
        "groups: [{rules: 5}]",
        "{\"panels\": 5}",
        "{\"panels\": [5, {\"targets\": 7}]}",
        "route: 5",
        "scrape_configs: {a: b}",
    ] {
        for path in ["a.yml", "a.json", "catalog.toml"] {
            let project = Project::read(vec![Input { path: path.into(), text: text.into() }]);
            check(&project, World::new(None), &Options::default());
        }
    }
}
