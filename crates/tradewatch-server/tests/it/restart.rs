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
