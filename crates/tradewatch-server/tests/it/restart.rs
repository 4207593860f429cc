//! What was acknowledged is there after the next start.

use serde_json::json;
use tradewatch_tsdb::{Matcher, Timestamp};

use crate::support::*;

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Lost\n    expr: up == 0\n    labels: {severity: critical}\n  - alert: Down\n    expr: up == 0\n    for: 1h\n";

#[tokio::test]
async fn samples_alert_states_silences_and_annotations_survive() {
    let webhook = Webhook::start().await;
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let mut options = options(&folder, &job(peer.addr, ""));
    options.data_dir = Some(folder.path().join("data"));
    options.alertmanager_file = Some(folder.write(
        "alertmanager.yml",
        &format!("route: {{receiver: desk, group_wait: 0s}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/\n", webhook.peer.addr),
    ));
    let server = start(options.clone()).await;
    until_query(&server, "a", &[1.0]).await;
    drop(peer);
    eventually(|| async { webhook.told().first().map(|_| ()).ok_or("nothing told".into()) }).await;
    eventually(|| async {
        if pending_for(&server, 0) >= 1.0 { Ok(()) } else { Err("not pending for a second".into()) }
    })
    .await;
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "Other", "isRegex": false}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ada", "comment": "kept",
    });
    post_json(&server, "/api/v2/silences", &silence).await;
    post_json(&server, "/api/annotations", &json!({"text": "feed dropped", "tags": ["drill"], "time": 5}))
        .await;
    let seen = samples(&server, "a");
    // As after kill -9: nothing is told to end, the store is not closed.
    let told_before = webhook.told().len();
    let restarted = tradewatch_server::clock::now().as_millis();
    drop(server);
    let server = eventually(|| {
        let options = options.clone();
        // The lock is free when the tasks of the first one are gone.
        async { tradewatch_server::Server::start(options).await.map_err(|error| error.to_string()) }
    })
    .await;
    let again = samples(&server, "a");
    assert_eq!(again[..seen.len()], seen[..], "every sample that a query returned is there again");
    assert_eq!(get_json(&server, "/api/v2/silences").await[0]["comment"], "kept");
    assert_eq!(get_json(&server, "/api/annotations").await[0]["text"], "feed dropped");
    // The pending alert goes on from where it was: one that began anew would be pending since its first sample.
    let pending = eventually(|| async {
        let pending = pending_for(&server, restarted);
        if pending >= 0.0 { Ok(pending) } else { Err("not pending yet".into()) }
    })
    .await;
    assert!(pending >= 1.0, "{pending}");
    until_query(&server, "ALERTS{alertname=\"Lost\",alertstate=\"firing\"}", &[1.0]).await;
    let told = webhook.told();
    assert_eq!(told.len(), told_before, "a delivered notification is not repeated: {told:#?}");
    server.shutdown().await;
}

/// For how long `Down` was pending at its first sample from `from` on; the newest sample where `from` is 0.
fn pending_for(server: &tradewatch_server::Server, from: i64) -> f64 {
    let matchers = [Matcher::equal("__name__", "ALERTS_FOR_STATE"), Matcher::equal("alertname", "Down")];
    let found = server.db().select(&matchers, Timestamp::from_millis(from), Timestamp::MAX);
    let mut samples =
        found.iter().flat_map(|series| &series.samples).filter(|sample| !sample.value.is_stale());
    let sample = if from == 0 { samples.next_back() } else { samples.next() };
    sample.map_or(-1.0, |s| s.ts.as_secs_f64() - s.value.as_float().unwrap_or(f64::INFINITY))
}

fn samples(server: &tradewatch_server::Server, name: &str) -> Vec<(i64, u64)> {
    let found = server.db().select(&[Matcher::equal("__name__", name)], Timestamp::MIN, Timestamp::MAX);
    let samples = found.iter().flat_map(|series| &series.samples);
    samples.filter_map(|s| s.value.as_float().map(|v| (s.ts.as_millis(), v.to_bits()))).collect()
}

#[tokio::test]
async fn a_notification_that_was_not_delivered_is_sent_after_the_restart() {
    let webhook = Webhook::start().await;
    *webhook.status.lock().expect("not poisoned") = http::StatusCode::SERVICE_UNAVAILABLE;
    let folder = Folder::new();
    folder.write("rules.yml", RULES);
    let mut options = options(&folder, &job("127.0.0.1:1".parse().expect("an address"), ""));
    options.data_dir = Some(folder.path().join("data"));
    options.alertmanager_file = Some(folder.write(
        "alertmanager.yml",
        &format!("route: {{receiver: desk, group_wait: 0s}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/\n", webhook.peer.addr),
    ));
    let server = start(options.clone()).await;
    let first = eventually(|| async { webhook.told().first().cloned().ok_or("nothing".into()) }).await;
    drop(server);
    *webhook.status.lock().expect("not poisoned") = http::StatusCode::OK;
    let server = eventually(|| {
        let options = options.clone();
        async { tradewatch_server::Server::start(options).await.map_err(|error| error.to_string()) }
    })
    .await;
    let before = webhook.told().len();
    let next = eventually(|| async { webhook.told().get(before).cloned().ok_or("nothing".into()) }).await;
    assert_eq!(next.headers["idempotency-key"], first.headers["idempotency-key"]);
    let attempt = |told: &Told| {
        told.headers["x-tradewatch-attempt"].to_str().expect("text").parse::<u32>().expect("a number")
    };
    assert!(attempt(&next) > attempt(&first), "a repeat says that it is one");
    server.shutdown().await;
}

/// Not a test of its own: the process that `kill_nine_loses_nothing` starts and kills.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os("TRADEWATCH_TEST_FOLDER").map(std::path::PathBuf::from) else {
        return;
    };
    let options = tradewatch_server::Options {
        config_file: Some(folder.join("prometheus.yml")),
        alertmanager_file: Some(folder.join("alertmanager.yml")),
        listen: "127.0.0.1:0".parse().expect("an address"),
        data_dir: Some(folder.join("data")),
        ..tradewatch_server::Options::default()
    };
    let server = start(options).await;
    let beside = folder.join("addr.new");
    std::fs::write(&beside, server.addr().to_string()).expect("writes");
    std::fs::rename(beside, folder.join("addr")).expect("renames");
    std::future::pending::<()>().await;
}

/// The monitor as a process of its own.
pub struct Child(std::process::Child);

impl Child {
    pub fn start(folder: &Folder) -> Child {
        let _ = std::fs::remove_file(folder.path().join("addr"));
        let exe = std::env::current_exe().expect("this test");
        let mut command = std::process::Command::new(exe);
        command.args(["--exact", "restart::child", "--nocapture", "--test-threads=1"]);
        command.env("TRADEWATCH_TEST_FOLDER", folder.path());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Child(command.spawn().expect("starts"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SIGKILL: nothing gets the chance to tidy up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn kill_nine_loses_nothing_that_was_answered() {
    let webhook = Webhook::start().await;
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = counter.clone();
    let peer = Peer::start(move |_| {
        let next = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        body_of(format!("ticks {next}\n"))
    })
    .await;
    let folder = Folder::new();
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Ticks\n    expr: ticks >= 0\n",
    );
    folder.write("prometheus.yml", &job(peer.addr, ""));
    folder.write(
        "alertmanager.yml",
        &format!("route: {{receiver: desk, group_wait: 0s}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/\n", webhook.peer.addr),
    );
    let mut answered: Vec<String> = Vec::new();
    for round in 0..3 {
        let child = Child::start(&folder);
        let addr = eventually(|| async {
            std::fs::read_to_string(folder.path().join("addr")).map_err(|e| e.to_string())
        })
        .await;
        let range = async || -> Vec<String> {
            let url = format!("http://{addr}/api/v1/query");
            let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
            let answer =
                ask(http::Method::POST, &url, &headers, format!("query={}", encoded("ticks[1h]"))).await;
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            let values = json["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
            values.iter().map(ToString::to_string).collect()
        };
        let first = range().await;
        let lost: Vec<&String> = answered.iter().filter(|sample| !first.contains(sample)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {} were answered and are gone", answered.len());
        answered = eventually(|| async {
            let now = range().await;
            // A different moment each time.
            if now.len() >= first.len() + 3 + round * 2 {
                Ok(now)
            } else {
                Err(format!("{} samples", now.len()))
            }
        })
        .await;
        eventually(|| async { if webhook.told().is_empty() { Err("nothing told".into()) } else { Ok(()) } })
            .await;
        drop(child);
    }
    let told = webhook.told();
    let mut seen = std::collections::HashSet::new();
    for one in &told {
        let key = (one.headers["idempotency-key"].clone(), one.headers["x-tradewatch-attempt"].clone());
        assert!(seen.insert(key), "a repeat that does not say so: {told:?}");
    }
}
