//! The ledger of notifications under kills, and a receiver that never answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tradewatch_server::net::client::Ask;
use tradewatch_server::{config::HttpClientConfig, net::HttpClient};

use crate::restart::Child;
use crate::support::*;
use crate::vendor::{Act, Vendor};

/// Kills of a usual run; `TRADEWATCH_KILLS` raises it for the night.
const KILLS: usize = 10;
/// Alerts posted between two kills at most.
const ALERTS_PER_ROUND: usize = 40;

/// Posts an alert; whether the monitor said that it has it.
async fn post(client: &HttpClient, addr: &str, name: &str) -> bool {
    let alert = json!([{"labels": {"alertname": name, "severity": "critical"}}]).to_string();
    let answer = client
        .ask(Ask {
            method: Method::POST,
            url: &format!("http://{addr}/api/v2/alerts"),
            headers: &[("content-type", "application/json".to_owned())],
            body: alert.into(),
            compression: false,
            body_bytes_max: 1 << 20,
            timeout: Duration::from_secs(10),
        })
        .await;
    answer.is_ok_and(|answer| answer.status == StatusCode::OK)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_notification_or_repeats_one_silently() {
    let kills: usize =
        std::env::var("TRADEWATCH_KILLS").map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let webhook = Webhook::start().await;
    let folder = Folder::new();
    folder.write("prometheus.yml", "scrape_configs: []\n");
    folder.write(
        "alertmanager.yml",
        &format!("global: {{resolve_timeout: 3h}}\nroute: {{receiver: desk, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 3h}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - {{url: 'http://{}/', timeout: 2s}}\n", webhook.peer.addr),
    );
    let accepted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let begin = async || {
        let child = Child::start(&folder);
        let addr = eventually(|| async {
            std::fs::read_to_string(folder.path().join("addr")).map_err(|error| error.to_string())
        })
        .await;
        (child, addr)
    };
    for kill in 0..kills {
        // The receiver is away at times, so that kills meet retries too.
        let status = if kill % 3 == 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        *webhook.status.lock().expect("not poisoned") = status;
        let (child, addr) = begin().await;
        let accepted = accepted.clone();
        let posting = tokio::spawn(async move {
            let client = HttpClient::new(HttpClientConfig::default()).expect("a client");
            for i in 0..ALERTS_PER_ROUND {
                let name = format!("K{kill}N{i}");
                if post(&client, &addr, &name).await {
                    accepted.lock().expect("not poisoned").insert(name);
                }
            }
        });
        // A different moment each time: before, between and after what is posted and sent.
        tokio::time::sleep(Duration::from_millis((kill as u64 * 37) % 180)).await;
        drop(child);
        posting.await.expect("posts");
    }
    *webhook.status.lock().expect("not poisoned") = StatusCode::OK;
    let (child, _) = begin().await;
    let wanted = accepted.lock().expect("not poisoned").clone();
    assert!(wanted.len() >= kills, "{} alerts were accepted over {kills} kills", wanted.len());
    let name = |told: &Told| told.body["commonLabels"]["alertname"].as_str().unwrap_or_default().to_owned();
    eventually(|| async {
        let told: BTreeSet<String> = webhook.told().iter().map(name).collect();
        let lost: Vec<&String> = wanted.difference(&told).collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("{} lost: {lost:?}", lost.len())) }
    })
    .await;
    drop(child);
    // A repeat carries the key of the first and says which attempt it is.
    let mut attempts: BTreeMap<String, (String, BTreeSet<u32>)> = BTreeMap::new();
    let mut repeats = 0;
    for told in webhook.told() {
        let header = |name: &str| told.headers[name].to_str().expect("text").to_owned();
        let (key, attempt) = (header("idempotency-key"), header("x-tradewatch-attempt"));
        let known = attempts.entry(name(&told)).or_insert_with(|| (key.clone(), BTreeSet::new()));
        assert_eq!(known.0, key, "{} came under two keys", name(&told));
        repeats += usize::from(!known.1.is_empty());
        assert!(known.1.insert(attempt.parse().expect("a number")), "a repeat that does not say so: {key}");
    }
    println!(
        "{kills} kills, {} alerts accepted, lost 0, {repeats} repeats, each under its key with its attempt",
        wanted.len()
    );
}

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: GatewayLost\n    expr: up{job=\"gw\"} == 0\n    labels: {severity: critical, to: works}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_neither_rules_nor_others() {
    let silent = Vendor::start("", Act::Silence).await;
    let webhook = Webhook::start().await;
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let mut options = options(&folder, &job(peer.addr, ""));
    options.alertmanager_file = Some(folder.write(
        "alertmanager.yml",
        &format!("route: {{receiver: hangs, group_by: ['...'], group_wait: 0s, group_interval: 1s, routes: [{{receiver: works, matchers: ['to=\"works\"']}}]}}\nreceivers:\n- {{name: hangs, webhook_configs: [{{url: 'http://{}/', timeout: 1m}}]}}\n- {{name: works, webhook_configs: [{{url: 'http://{}/'}}]}}\n", silent.addr, webhook.peer.addr),
    ));
    let server = start(options).await;
    until_query(&server, "up", &[1.0]).await;
    let stuck: Vec<_> = (0..200).map(|i| json!({"labels": {"alertname": format!("Stuck{i}")}})).collect();
    assert_eq!(post_json(&server, "/api/v2/alerts", &json!(stuck)).await.status, StatusCode::OK);
    eventually(|| async { if silent.seen().len() >= 4 { Ok(()) } else { Err("not stuck yet".into()) } })
        .await;
    let killed = Instant::now();
    drop(peer);
    eventually(|| async {
        let told = webhook.told();
        let found = told.iter().any(|told| told.body["commonLabels"]["alertname"] == "GatewayLost");
        if found { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(3), "told after {:?}", killed.elapsed());
    // The rules go on: every scrape is evaluated.
    eventually(|| async {
        let count = query(&server, "count_over_time(ALERTS{alertname=\"GatewayLost\"}[1m])").await;
        if count.first().is_some_and(|(_, n)| *n >= 5.0) { Ok(()) } else { Err(format!("{count:?}")) }
    })
    .await;
    let ledger = get_json(&server, "/api/tradewatch/v1/notifications").await;
    assert_eq!(ledger["queued"].as_array().map(Vec::len), Some(200), "what hangs stays visible");
    server.shutdown().await;
}
