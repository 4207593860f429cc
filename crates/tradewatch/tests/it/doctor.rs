//! `tradewatch doctor` against a running monitor: where the way of a metric or an alert ends.

use crate::support::{PATIENCE, client, eventually};
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::TempDir;
use tradewatch_server::{Options, Server};

const PAGE: &str = "orders_total 3\nhidden_total 1\nqueue_length 7\n";
const RULES: &str = "groups:
- name: desk
  rules:
  - {alert: QueueLong, expr: queue_length > 5}
  - {alert: QueueVeryLong, expr: queue_length > 50}
  - {alert: OrdersRejected, expr: orders_rejekted_total > 5}
  - {alert: Missing, expr: 'absent(nothing_total)'}
";
const CONFIG: &str = "rule_files: [rules.yml]
scrape_configs:
- job_name: desk
  scrape_interval: 200ms
  static_configs: [{targets: ['UP']}]
  metric_relabel_configs: [{source_labels: [__name__], regex: hidden_total, action: drop}]
- {job_name: gone, scrape_interval: 200ms, static_configs: [{targets: ['127.0.0.1:1']}]}
";
const ROUTES: &str = "route: {receiver: desk, group_wait: 0s}\nreceivers: [{name: desk}]\n";

fn doctor(at: SocketAddr, name: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["doctor", name, "--url", &at.to_string()])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_metric_or_an_alert_is_walked_to_where_it_ends() {
    let folder = TempDir::new().unwrap();
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = target.local_addr().unwrap();
    let app = axum::Router::new().fallback(async || PAGE);
    tokio::spawn(async move { axum::serve(target, app).await });
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    write("rules.yml", RULES);
    let server = Server::start(Options {
        config_file: Some(write("prometheus.yml", &CONFIG.replace("UP", &addr.to_string()))),
        alertmanager_file: Some(write("alertmanager.yml", ROUTES)),
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Options::default()
    })
    .await
    .unwrap();
    let at = server.addr();
    let get = async |path: &str| -> Option<serde_json::Value> {
        client().get(&format!("http://{}{path}", server.addr())).await.ok()?.json().ok()
    };
    // Both fire, and the target that does not answer is known to be down.
    eventually("two alerts and a dead target", PATIENCE, async || {
        let alerts = get("/api/v2/alerts").await?;
        let targets = get("/api/v1/targets").await?.to_string();
        (alerts.as_array()?.len() == 2 && targets.contains("\"down\"")).then_some(())
    })
    .await;

    let says = |name: &str, code: i32, lines: &[&str]| {
        let (ended, text) = doctor(at, name);
        assert_eq!(ended, code, "{text}");
        for line in lines {
            assert!(text.contains(line), "{name}: {line:?} is not in\n{text}");
        }
    };
    says(
        "queue_length",
        0,
        &["1 give it", "1 series", "2 read it: QueueLong, QueueVeryLong", "open to its end"],
    );
    says("hidden_total", 1, &["it is on the page and not stored", "ends at: stored"]);
    says("order_total", 1, &["did you mean orders_total?", "127.0.0.1:1", "ends at: exposed"]);
    says("orders_rejekted_total", 1, &["1 read it and can never see it: OrdersRejected"]);
    says(
        "QueueLong",
        0,
        &["queue_length: 1 series", "holds for", "fires since", "receiver", "desk", "never drilled"],
    );
    says("QueueVeryLong", 0, &["does not hold now: queue_length is", " 7; it fires where that is > 50"]);
    says("OrdersRejected", 1, &["orders_rejekted_total: nothing has it now", "ends at: reads"]);
    says("Missing", 0, &["nothing_total: nothing has it now", "fires since"]);

    let silence = json!({
        "matchers": [{"name": "alertname", "value": "QueueLong", "isRegex": false, "isEqual": true}],
        "startsAt": jiff::Timestamp::now().to_string(),
        "endsAt": (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string(),
        "createdBy": "test",
        "comment": "test",
    });
    let answer = client().post(&format!("http://{}/api/v2/silences", server.addr()), &silence).await.unwrap();
    assert!(answer.is_success(), "{}", answer.text());
    says("QueueLong", 1, &["silenced by", "ends at: told"]);
    server.shutdown().await;
    let (ended, text) = doctor(at, "QueueLong");
    assert!(ended != 0 && text.contains("no monitor answers at"), "{text}");
}
