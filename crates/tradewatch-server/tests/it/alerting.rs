//! From a dead target to a webhook and back; retries; outside Alertmanagers; people.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_server::Server;

use crate::support::*;

const RULES: &str = r#"
groups:
- name: service
  interval: 10s
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: GatewayLost
    expr: up{job="gw"} == 0
    labels: {severity: critical}
    annotations:
      summary: "{{ $labels.job }} does not answer"
      runbook_url: /runbooks/GatewayLost
  - alert: GatewayDown
    expr: up{job="gw"} == 0
    for: 1h
    labels: {severity: high}
"#;

fn routes(webhook: &Webhook) -> String {
    format!(
        "route: {{receiver: desk, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: [alertname]}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/hook\n",
        webhook.peer.addr
    )
}

async fn with_rules(folder: &Folder, webhook: &Webhook, job: &str) -> Server {
    folder.write("rules.yml", RULES);
    let mut options = options(folder, job);
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(webhook)));
    start(options).await
}

async fn until_told(webhook: &Webhook, status: &str) -> Told {
    eventually(|| async {
        let told = webhook.told();
        told.iter().find(|told| told.body["status"] == status).cloned().ok_or(format!("{told:?}"))
    })
    .await
}

#[tokio::test]
async fn a_lost_target_is_told_at_once_and_resolved_when_it_is_back() {
    let webhook = Webhook::start().await;
    let (peer, _) = Peer::with_text("a 1\n").await;
    let addr = peer.addr;
    let folder = Folder::new();
    let server = with_rules(&folder, &webhook, &job(addr, "")).await;
    until_query(&server, "job:up:sum", &[1.0]).await;
    let killed = Instant::now();
    drop(peer);
    let told = until_told(&webhook, "firing").await;
    // The rule's interval is ten seconds: it was evaluated because the scrape committed.
    assert!(killed.elapsed() < Duration::from_secs(3), "told after {:?}", killed.elapsed());
    let alert = &told.body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "GatewayLost");
    assert_eq!(alert["annotations"]["summary"], "gw does not answer");
    assert!(told.headers.contains_key("idempotency-key"));
    // What was told is in the store.
    until_query(&server, "ALERTS{alertname=\"GatewayLost\",alertstate=\"firing\"}", &[1.0]).await;
    let alerts = get_json(&server, "/api/v1/alerts").await;
    let states: Vec<&Json> =
        alerts["data"]["alerts"].as_array().expect("a list").iter().map(|a| &a["state"]).collect();
    assert_eq!(states, ["firing", "pending"]);
    let rules = get_json(&server, "/api/v1/rules?type=alert").await;
    let rule = &rules["data"]["groups"][0]["rules"][0];
    assert_eq!(
        (&rule["name"], &rule["state"], &rule["health"]),
        (&json!("GatewayLost"), &json!("firing"), &json!("ok"))
    );
    let budget = &rule["latencyBudget"];
    assert_eq!(
        (&budget["scrape"], &budget["evaluation"], &budget["total"]),
        (&json!(0.1), &json!(0), &json!(0.1)),
        "{budget}"
    );
    let _back = Peer::start_at(addr, |_| body_of("a 1\n")).await;
    until_told(&webhook, "resolved").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_group_that_reads_what_another_records_is_evaluated_with_it() {
    let webhook = Webhook::start().await;
    let (peer, text) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    folder.write(
        "rules2.yml",
        "groups:\n- name: reads\n  interval: 1h\n  rules:\n  - alert: Big\n    expr: double:a > 10\n- name: records\n  interval: 1h\n  rules:\n  - record: double:a\n    expr: a * 2\n",
    );
    let server = with_rules(&folder, &webhook, &job(peer.addr, "")).await;
    until_query(&server, "double:a", &[2.0]).await;
    *text.lock().expect("not poisoned") = "a 9\n".into();
    let told = until_told(&webhook, "firing").await;
    assert_eq!(told.body["alerts"][0]["labels"]["alertname"], "Big");
    server.shutdown().await;
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_under_the_same_key() {
    let webhook = Webhook::start().await;
    *webhook.status.lock().expect("not poisoned") = StatusCode::SERVICE_UNAVAILABLE;
    let folder = Folder::new();
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let server = with_rules(&folder, &webhook, &job(nobody, "")).await;
    eventually(|| async { if webhook.told().len() >= 2 { Ok(()) } else { Err("one attempt".into()) } }).await;
    *webhook.status.lock().expect("not poisoned") = StatusCode::OK;
    let settled = eventually(|| async {
        let ledger = get_json(&server, "/api/tradewatch/v1/notifications").await;
        let found = ledger["settled"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["outcome"] == "delivered").cloned());
        found.ok_or(ledger.to_string())
    })
    .await;
    let told = webhook.told();
    let keys: std::collections::HashSet<_> =
        told.iter().map(|told| told.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys.len(), 1, "{told:?}");
    let attempts: Vec<_> = told
        .iter()
        .map(|told| told.headers["x-tradewatch-attempt"].to_str().expect("text").to_owned())
        .collect();
    assert_eq!(attempts[..2], ["1", "2"]);
    assert_eq!(settled["attempts"], json!(told.len()));
    server.shutdown().await;
}

#[tokio::test]
async fn the_terminal_hears_a_text_fit_for_a_phone() {
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let mut options = options(&folder, &job("127.0.0.1:1".parse().expect("an address"), ""));
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hook = heard.clone();
    options.terminal = Some(Arc::new(move |text| hook.lock().expect("not poisoned").push(text.to_owned())));
    let server = start(options).await;
    let text =
        eventually(|| async { heard.lock().expect("not poisoned").first().cloned().ok_or("nothing".into()) })
            .await;
    assert!(text.starts_with("CRITICAL  GatewayLost"), "{text}");
    assert!(text.contains("(XNYS)") && text.contains("/runbooks/GatewayLost"), "{text}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_terminal_that_panics_is_tried_again() {
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let mut options = options(&folder, &job("127.0.0.1:1".parse().expect("an address"), ""));
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    options.terminal = Some(Arc::new(move |_| {
        let first = {
            let mut calls = counted.lock().expect("not poisoned");
            *calls += 1;
            *calls == 1
        };
        assert!(!first, "the first attempt is to break off");
    }));
    let server = start(options).await;
    eventually(|| async {
        if *calls.lock().expect("not poisoned") >= 2 { Ok(()) } else { Err("one call".into()) }
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn an_outside_alertmanager_is_told_as_prometheus_tells_it() {
    let outside = Webhook::start().await;
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let yml = format!(
        "{}alerting:\n  alertmanagers:\n  - static_configs:\n    - targets: ['{}']\n",
        job("127.0.0.1:1".parse().expect("an address"), "")
            .replace("global: {", "global: {external_labels: {site: lab}, "),
        outside.peer.addr
    );
    let server = start(options(&folder, &yml)).await;
    let told = eventually(|| async { outside.told().first().cloned().ok_or("nothing".into()) }).await;
    let alert = &told.body[0];
    assert_eq!(
        alert["labels"],
        json!({"alertname": "GatewayLost", "instance": "127.0.0.1:1", "job": "gw", "severity": "critical", "site": "lab"})
    );
    assert!(
        alert["startsAt"].is_string() && alert["endsAt"].is_string() && alert["generatorURL"].is_string(),
        "{alert}"
    );
    let managers = get_json(&server, "/api/v1/alertmanagers").await;
    assert_eq!(
        managers["data"]["activeAlertmanagers"][0]["url"],
        format!("http://{}/api/v2/alerts", outside.peer.addr)
    );
    server.shutdown().await;
}

#[tokio::test]
async fn external_labels_are_there_for_routes_and_absent_from_the_rules_api() {
    let webhook = Webhook::start().await;
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let yml = job("127.0.0.1:1".parse().expect("an address"), "")
        .replace("global: {", "global: {external_labels: {site: lab, severity: none}, ");
    let mut options = options(&folder, &yml);
    let routes = format!(
        "route: {{receiver: nobody, routes: [{{matchers: ['site=lab'], receiver: desk, group_wait: 0s}}]}}\nreceivers:\n- name: nobody\n- name: desk\n  webhook_configs: [{{url: 'http://{}/hook'}}]\n",
        webhook.peer.addr
    );
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes));
    let server = start(options).await;
    let told = until_told(&webhook, "firing").await;
    let labels = &told.body["alerts"][0]["labels"];
    assert_eq!((&labels["site"], &labels["severity"]), (&json!("lab"), &json!("critical")));
    let alerts = get_json(&server, "/api/v1/alerts").await;
    assert_eq!(alerts["data"]["alerts"][0]["labels"]["site"], Json::Null);
    // The pages show it once.
    let list = get_json(&server, "/api/tradewatch/v1/alerts").await;
    let lost = list.as_array().map(|all| all.iter().filter(|a| a["name"] == "GatewayLost").count());
    assert_eq!(lost, Some(1), "{list}");
    server.shutdown().await;
}

#[tokio::test]
async fn people_acknowledge_and_silence() {
    let webhook = Webhook::start().await;
    let folder = Folder::new();
    let server = with_rules(&folder, &webhook, &job("127.0.0.1:1".parse().expect("an address"), "")).await;
    until_told(&webhook, "firing").await;
    let list = get_json(&server, "/api/tradewatch/v1/alerts").await;
    let firing = list
        .as_array()
        .and_then(|all| all.iter().find(|a| a["state"] == "firing"))
        .cloned()
        .expect("one fires");
    assert_eq!(
        (&firing["name"], &firing["severity"], &firing["runbook"]),
        (&json!("GatewayLost"), &json!("critical"), &json!("/runbooks/GatewayLost"))
    );
    assert!(list.as_array().is_some_and(|all| all.iter().any(|a| a["state"] == "pending")), "{list}");
    let fingerprint = firing["fingerprint"].as_str().expect("text").to_owned();
    let ack = format!("/api/tradewatch/v1/alerts/{fingerprint}/ack");
    assert_eq!(post_json(&server, &ack, &json!({})).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        post_json(&server, &ack, &json!({"by": "ada", "comment": "on it"})).await.status,
        StatusCode::OK
    );
    let missing =
        post_json(&server, "/api/tradewatch/v1/alerts/0000000000000000/ack", &json!({"by": "ada"})).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let list = get_json(&server, "/api/tradewatch/v1/alerts").await;
    assert_eq!(list[0]["acknowledged"]["by"], "ada");

    let silence = json!({
        "matchers": [{"name": "alertname", "value": "GatewayLost", "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ada", "comment": "drill",
    });
    let made = post_json(&server, "/api/v2/silences", &silence).await;
    let id: Json = serde_json::from_slice(&made.body).expect("JSON");
    let id = id["silenceID"].as_str().expect("an id").to_owned();
    let alerts = get_json(&server, "/api/v2/alerts?filter=alertname%3DGatewayLost").await;
    assert_eq!(
        (&alerts[0]["status"]["state"], &alerts[0]["status"]["silencedBy"]),
        (&json!("suppressed"), &json!([id]))
    );
    assert_eq!(get_json(&server, "/api/v2/alerts?silenced=false").await, json!([]));
    let ended = ask(Method::DELETE, &url(&server, &format!("/api/v2/silence/{id}")), &[], "").await;
    assert_eq!(ended.status, StatusCode::OK);
    let silences = get_json(&server, "/api/v2/silences").await;
    assert_eq!(silences[0]["status"]["state"], "expired");
    let empty = post_json(&server, "/api/v2/silences", &json!({"matchers": [], "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "a", "comment": "b"})).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    for path in ["status", "receivers", "alerts/groups"] {
        assert_eq!(get(&server, &format!("/api/v2/{path}")).await.status, StatusCode::OK, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn alerts_from_outside_are_routed_like_our_own() {
    let webhook = Webhook::start().await;
    let folder = Folder::new();
    let server = with_rules(&folder, &webhook, "").await;
    let alert =
        json!([{"labels": {"alertname": "Foreign", "severity": "high"}, "annotations": {"summary": "x"}}]);
    assert_eq!(post_json(&server, "/api/v2/alerts", &alert).await.status, StatusCode::OK);
    let told = until_told(&webhook, "firing").await;
    assert_eq!(told.body["alerts"][0]["labels"]["alertname"], "Foreign");
    assert_eq!(
        post_json(&server, "/api/v2/alerts", &json!([{"labels": {}}])).await.status,
        StatusCode::BAD_REQUEST
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_does_not_hold_up_what_is_critical() {
    let webhook = Webhook::start().await;
    let folder = Folder::new();
    let mut options = options(&folder, "");
    // A group for each alert: the worst case of a careless route.
    let routes = routes(&webhook).replace("group_by: [alertname]", "group_by: ['...']");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes));
    let server = start(options).await;
    let storm: Vec<Json> = (0..2_000)
        .map(|i| json!({"labels": {"alertname": format!("Noise{i}"), "severity": "info"}}))
        .collect();
    assert_eq!(post_json(&server, "/api/v2/alerts", &Json::Array(storm)).await.status, StatusCode::OK);
    let critical = json!([{"labels": {"alertname": "KillSwitch", "severity": "critical"}}]);
    let posted = Instant::now();
    assert_eq!(post_json(&server, "/api/v2/alerts", &critical).await.status, StatusCode::OK);
    eventually(|| async {
        let told = webhook.told();
        let critical = told.iter().any(|told| told.body["commonLabels"]["alertname"] == "KillSwitch");
        if critical { Ok(()) } else { Err(format!("{} told", told.len())) }
    })
    .await;
    assert!(posted.elapsed() < Duration::from_secs(3), "{:?}", posted.elapsed());
    let list = get_json(&server, "/api/tradewatch/v1/alerts").await;
    assert_eq!(list[0]["name"], "KillSwitch", "the worst stands first");
    server.shutdown().await;
}
