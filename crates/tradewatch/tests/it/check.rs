//! `tradewatch check` as a stranger meets it: on files of his own, with a real Prometheus beside it and nothing of ours.

use crate::support::{PATIENCE, Ports, client, eventually};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use tradewatch_catalog::Catalog;
use tradewatch_server::markets::Live;
use tradewatch_server::telemetry::Own;
use tradewatch_tsdb::Timestamp;

fn check(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .arg("check")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The ids found, with the object that each is about.
fn findings(output: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let found = report["findings"].as_array().unwrap().iter();
    found.map(|f| (f["id"].as_str().unwrap().to_owned(), f["object"].as_str().unwrap().to_owned())).collect()
}

/// A real Prometheus, ended when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn prometheus(folder: &Path, config: &str, port: u16) -> Prometheus {
    let child = Command::new("/usr/bin/prometheus")
        .arg(format!("--config.file={config}"))
        .args(["--storage.tsdb.path=data", &format!("--web.listen-address=127.0.0.1:{port}")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's package prometheus is installed");
    let running = Prometheus(child);
    // Ready once it has scraped itself, so that its own series are there.
    let url = format!("http://127.0.0.1:{port}/api/v1/query?query=prometheus_build_info");
    eventually("a Prometheus that has scraped itself", PATIENCE, async || {
        let answer = client().get(&url).await.ok().filter(|answer| answer.is_success())?;
        answer.text().contains("\"version\"").then_some(())
    })
    .await;
    running
}

const RULES: &str = r#"groups:
- name: a stranger's
  rules:
  - alert: Selfratio
    expr: rate(prometheus_http_requests_total{code="200"}[5m]) / rate(prometheus_http_requests_total[5m]) > 0.05
    labels: {severity: page}
    annotations: {summary: s, runbook_url: r}
  - alert: Gone
    expr: prometheus_build_inf{job="prometheus"} == 1
    labels: {severity: page}
    annotations: {summary: s, runbook_url: r}
  - alert: Gauge
    expr: rate(prometheus_tsdb_head_series[5m]) > 5
    labels: {severity: page}
    annotations: {summary: s, runbook_url: r}
  - alert: Fine
    expr: sum by (handler) (rate(prometheus_http_requests_total{code=~"5.."}[5m])) / sum by (handler) (rate(prometheus_http_requests_total[5m])) > 0.05
    for: 5m
    labels: {severity: page}
    annotations: {summary: 'errors at {{ $labels.handler }}', runbook_url: r}
  - alert: Elsewhere
    expr: something_that_the_silent_target_exposes == 0
    labels: {severity: page}
    annotations: {summary: s, runbook_url: r}
"#;

#[tokio::test]
async fn it_is_useful_beside_a_prometheus_and_nothing_of_ours() {
    let (folder, ports) = (TempDir::new().unwrap(), Ports::free());
    let (port, silent) = (ports.monitor, ports.base);
    let config = |extra: &str| {
        format!(
            "global: {{scrape_interval: 1s}}\nrule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:1']}}]}}]}}\nscrape_configs:\n- {{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n{extra}"
        )
    };
    let second = format!("- {{job_name: silent, static_configs: [{{targets: ['127.0.0.1:{silent}']}}]}}\n");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("rules.yml", RULES);
    write("prometheus.yml", &config(""));
    write("two.yml", &config(&second));
    let _prometheus = prometheus(folder.path(), "prometheus.yml", port).await;
    let has = |found: &[(String, String)], id: &str, alert: &str| {
        found.contains(&(id.to_owned(), format!("alert {alert}")))
    };

    // One scrape of the targets tells; the rules are found through rule_files.
    let output = check(folder.path(), &["prometheus.yml", "--format", "json"]);
    let found = findings(&output);
    assert_eq!(output.status.code(), Some(1));
    for (id, alert) in [("TW012", "Selfratio"), ("TW003", "Gone"), ("TW006", "Gauge"), ("TW003", "Elsewhere")]
    {
        assert!(has(&found, id, alert), "{id} {alert} in {found:?}");
    }
    assert!(!found.iter().any(|(_, object)| object == "alert Fine"), "{found:?}");

    // A target that does not answer is named, and its metrics are not guessed at.
    let found = findings(&check(folder.path(), &["two.yml", "--format", "json"]));
    assert!(found.iter().any(|(id, _)| id == "TW032"), "{found:?}");
    assert!(has(&found, "TW003", "Gone"), "its job answered: {found:?}");
    assert!(!has(&found, "TW003", "Elsewhere"), "{found:?}");

    // The server knows as much.
    let live = format!("127.0.0.1:{port}");
    let found = findings(&check(folder.path(), &["rules.yml", "--live", &live, "--format", "json"]));
    for (id, alert) in [("TW012", "Selfratio"), ("TW003", "Gone"), ("TW006", "Gauge"), ("TW003", "Elsewhere")]
    {
        assert!(has(&found, id, alert), "{id} {alert} in {found:?}");
    }
    assert!(!found.iter().any(|(id, object)| object == "alert Fine" && id != "TW005"), "{found:?}");

    // A scrape is kept as a catalogue, which reads back.
    let learned = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["catalog", "learn", &format!("http://127.0.0.1:{port}/metrics"), "--platform", "theirs"])
        .output()
        .unwrap();
    let catalog = Catalog::parse("learned.toml", &String::from_utf8(learned.stdout).unwrap()).unwrap();
    let histogram =
        catalog.metric("prometheus_http_request_duration_seconds").expect("a histogram of every Prometheus");
    assert!(histogram.buckets.contains(&0.1) && histogram.label("handler").is_some(), "{histogram:?}");
}

#[test]
fn text_names_place_reason_and_fix() {
    let folder = TempDir::new().unwrap();
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: rate(x_total{a=\"b\"}[5m]) / rate(x_total[5m]) > 0.1\n    labels: {severity: page}\n    annotations: {summary: s, runbook_url: r}\n";
    std::fs::write(folder.path().join("rules.yml"), text).unwrap();
    let output = check(folder.path(), &["rules.yml"]);
    expect_test::expect![[r#"
        rules.yml:5:11  error  TW012  ratio divides each series by itself  alert A
             5 │ expr: rate(x_total{a="b"}[5m]) / rate(x_total[5m]) > 0.1
               │       ────────────────────────────────────────────
               both sides keep {a}, so every matching pair is the same series: the result is always 1
               fix  sum(rate(x_total{a="b"}[5m])) / sum(rate(x_total[5m]))
        no metrics are known: names, labels and types were not checked (give --platform, --live, or a prometheus.yml whose targets answer)
        1 file, 1 rule, 0 panels: 1 error
    "#]]
    .assert_eq(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
    let page = check(folder.path(), &["--explain", "TW012"]);
    assert!(String::from_utf8_lossy(&page.stdout).starts_with("TW012  A ratio"), "{page:?}");
    std::fs::write(folder.path().join("keep"), "TW012 rules.yml \"alert A\" # a test\n").unwrap();
    let kept = check(folder.path(), &["rules.yml", "--ignore", "keep"]);
    assert_eq!(kept.status.code(), Some(0), "{kept:?}");
}

/// `UPDATE_EXPECT=1` writes the monitor's catalogue anew from its declarations.
#[test]
fn the_monitors_catalogue_is_what_it_declares() {
    let declared = Own::new(Timestamp::from_millis(0), Live::default()).unwrap().describe();
    let mut catalog = Catalog::from_descriptors("tradewatch", "The monitor itself", &declared);
    for metric in &mut catalog.metrics {
        metric.service = "monitor".to_owned();
    }
    expect_test::expect_file!["../../../../platforms/tradewatch/catalog.toml"]
        .assert_eq(&catalog.to_string());
}
