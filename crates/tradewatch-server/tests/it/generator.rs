//! The Prometheus Alert Generator Compliance Specification 1.0 where it is about HTTP: the payload for an Alertmanager
//! and the two APIs. The rest is asserted in the alert crate's `generator` tests.

use serde_json::{Value as Json, json};
use tradewatch_server::Server;

use crate::support::*;

const RULES: &str = r#"groups:
- name: example
  interval: 500ms
  rules:
  - record: a:double
    expr: a * 2
  - alert: High
    expr: a > 10
    labels: {severity: page, level: '{{ $value }}'}
    annotations: {summary: '{{ $labels.job }} is high'}
  - alert: Held
    expr: a > 10
    for: 1h
    keep_firing_for: 90s
  - alert: Quiet
    expr: a > 99
  - alert: Broken
    expr: a + on(job) group_left b
"#;

/// A monitor with an outside Alertmanager, and its target's text.
async fn open(
    folder: &Folder,
    manager: &Webhook,
) -> (Server, Peer, std::sync::Arc<std::sync::Mutex<String>>) {
    let (peer, text) = Peer::with_text("a 11\nb{x=\"1\"} 1\nb{x=\"2\"} 1\n").await;
    folder.write("rules.yml", RULES);
    let yml = format!(
        "{}alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        job(peer.addr, ""),
        manager.peer.addr
    );
    let server = start(options(folder, &yml)).await;
    (server, peer, text)
}

fn is_time(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

/// "Alert Format" and "Payload Format to Send from the Alert Generator".
#[tokio::test]
async fn payload_format_holds_for_firing_and_inactive_alerts() {
    let (folder, manager) = (Folder::new(), Webhook::start().await);
    let (server, _peer, text) = open(&folder, &manager).await;
    let find = async |wanted: fn(&Json) -> bool| {
        eventually(|| async {
            let told = manager.told();
            let mut all = told.iter().flat_map(|told| told.body.as_array().cloned().unwrap_or_default());
            all.rfind(wanted).ok_or(format!("{} batches", told.len()))
        })
        .await
    };
    let firing = find(|alert| alert["labels"]["alertname"] == "High").await;
    assert_eq!(firing["labels"]["level"], "11");
    assert_eq!(firing["labels"]["job"], "gw");
    assert_eq!(firing["labels"]["__name__"], Json::Null);
    assert_eq!(firing["annotations"], json!({"summary": "gw is high"}));
    assert!(is_time(&firing["startsAt"]) && is_time(&firing["endsAt"]), "{firing}");
    let time = |value: &Json| {
        value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()).expect("a time").as_millisecond()
    };
    // Four times the resend delay, which is a minute; counted from the evaluation that sent it.
    let valid = time(&firing["endsAt"]) - time(&firing["startsAt"]);
    assert_eq!(valid, 240_000, "{firing}");
    let url = firing["generatorURL"].as_str().expect("text");
    assert_eq!(url, format!("http://{}/graph?g0.expr=a+%3E+10&g0.tab=1", server.addr()));
    *text.lock().expect("not poisoned") = "a 1\n".into();
    let ended = find(|alert| {
        let past = |text: &str| text.parse::<jiff::Timestamp>().is_ok_and(|t| t <= jiff::Timestamp::now());
        alert["labels"]["alertname"] == "High" && alert["endsAt"].as_str().is_some_and(past)
    })
    .await;
    assert_eq!(ended["startsAt"], firing["startsAt"], "FiredAt in both cases");
    // A pending alert was never sent.
    let told = manager.told();
    let names: std::collections::BTreeSet<String> = told
        .iter()
        .flat_map(|told| told.body.as_array().cloned().unwrap_or_default())
        .map(|alert| alert["labels"]["alertname"].to_string())
        .collect();
    assert_eq!(names, ["\"High\"".to_owned()].into());
    server.shutdown().await;
}

/// "GET /api/v1/rules".
#[tokio::test]
async fn the_rules_api_has_every_field() {
    let (folder, manager) = (Folder::new(), Webhook::start().await);
    let (server, _peer, _text) = open(&folder, &manager).await;
    until_query(&server, "ALERTS{alertname=\"High\"}", &[1.0]).await;
    let answer = get_json(&server, "/api/v1/rules").await;
    assert_eq!(answer["status"], "success");
    let group = &answer["data"]["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&json!("example"), &json!(0.5)));
    assert!(is_time(&group["lastEvaluation"]) && group["file"].is_string() && group["limit"] == 0, "{group}");
    let rule = |name: &str| {
        let rules = group["rules"].as_array().expect("a list");
        rules
            .iter()
            .find(|rule| rule["name"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("no {name}: {group}"))
    };
    let names: Vec<String> =
        group["rules"].as_array().expect("a list").iter().map(|r| r["name"].to_string()).collect();
    assert_eq!(names, ["\"a:double\"", "\"High\"", "\"Held\"", "\"Quiet\"", "\"Broken\""], "in order");
    let record = rule("a:double");
    assert_eq!(
        (&record["type"], &record["query"], &record["health"]),
        (&json!("recording"), &json!("a * 2"), &json!("ok"))
    );
    let high = rule("High");
    assert_eq!(high["type"], "alerting");
    assert_eq!(high["labels"], json!({"severity": "page", "level": "{{ $value }}"}), "as in the file");
    assert_eq!(high["annotations"], json!({"summary": "{{ $labels.job }} is high"}));
    assert_eq!(
        (&high["query"], &high["duration"], &high["state"]),
        (&json!("a > 10"), &json!(0), &json!("firing"))
    );
    assert!(is_time(&high["lastEvaluation"]) && high["evaluationTime"].is_f64(), "{high}");
    assert!(high["lastError"].as_str().unwrap_or("").is_empty());
    let alert = &high["alerts"][0];
    assert_eq!((&alert["state"], &alert["value"]), (&json!("firing"), &json!("1.1e+01")));
    assert_eq!(alert["annotations"]["summary"], "gw is high");
    assert!(is_time(&alert["activeAt"]));
    let held = rule("Held");
    assert_eq!(
        (&held["state"], &held["duration"], &held["keepFiringFor"]),
        (&json!("pending"), &json!(3600), &json!(90))
    );
    assert_eq!(held["alerts"][0]["state"], "pending");
    let quiet = rule("Quiet");
    assert_eq!((&quiet["state"], &quiet["alerts"]), (&json!("inactive"), &json!([])));
    let broken = rule("Broken");
    assert_eq!(broken["health"], "err");
    assert!(broken["lastError"].as_str().is_some_and(|error| !error.is_empty()), "{broken}");
    server.shutdown().await;
}

/// "GET /api/v1/alerts": the union of what the rules API shows.
#[tokio::test]
async fn the_alerts_api_is_the_union_of_all_rules() {
    let (folder, manager) = (Folder::new(), Webhook::start().await);
    let (server, _peer, _text) = open(&folder, &manager).await;
    until_query(&server, "count(ALERTS)", &[2.0]).await;
    let answer = get_json(&server, "/api/v1/alerts").await;
    assert_eq!(answer["status"], "success");
    let mut seen = Vec::new();
    for alert in answer["data"]["alerts"].as_array().expect("a list") {
        assert!(is_time(&alert["activeAt"]) && alert["value"] == "1.1e+01", "{alert}");
        seen.push((alert["labels"]["alertname"].clone(), alert["state"].clone()));
    }
    assert_eq!(seen, [(json!("High"), json!("firing")), (json!("Held"), json!("pending"))]);
    server.shutdown().await;
}
