//! When groups are evaluated: as their data arrive, when `for` ends, and at their interval at the latest.

use std::time::{Duration, Instant};

use tradewatch_server::Server;
use tradewatch_tsdb::{Matcher, Timestamp};

use crate::support::*;

fn routes(webhook: &Webhook) -> String {
    format!(
        "route: {{receiver: desk, group_wait: 0s, group_interval: 10ms, group_by: ['...']}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/hook\n",
        webhook.peer.addr
    )
}

async fn run(folder: &Folder, webhook: &Webhook, yml: &str, rules: &str) -> Server {
    folder.write("rules.yml", &format!("groups:\n- name: g\n  interval: 1h\n  rules:\n{rules}"));
    let mut options = options(folder, yml);
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(webhook)));
    start(options).await
}

/// Waits until the webhook has heard `status` of `alert`.
async fn told(webhook: &Webhook, alert: &str, status: &str) {
    eventually(|| async {
        let told = webhook.told();
        let found = told
            .iter()
            .any(|told| told.body["status"] == status && told.body["commonLabels"]["alertname"] == alert);
        if found { Ok(()) } else { Err(format!("{alert} {status}: {} told", told.len())) }
    })
    .await;
}

/// The times at which a series has samples, in milliseconds.
fn times(server: &Server, name: &str, state: &str) -> Vec<i64> {
    let matchers = [
        Matcher::equal("__name__", "ALERTS"),
        Matcher::equal("alertname", name),
        Matcher::equal("alertstate", state),
    ];
    let found = server.db().select(&matchers, Timestamp::MIN, Timestamp::MAX);
    let samples = found.iter().flat_map(|series| &series.samples);
    samples.filter(|sample| !sample.value.is_stale()).map(|sample| sample.ts.as_millis()).collect()
}

#[tokio::test]
async fn an_alert_fires_when_its_for_ends_although_no_scrape_comes() {
    let webhook = Webhook::start().await;
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    // One scrape at the start, the next in an hour.
    let yml = job(peer.addr, "").replace("100ms", "1h");
    let server = run(&folder, &webhook, &yml, "  - alert: Held\n    expr: a == 1\n    for: 700ms\n").await;
    told(&webhook, "Held", "firing").await;
    let (pending, firing) = (times(&server, "Held", "pending"), times(&server, "Held", "firing"));
    let after = firing[0] - pending[0];
    assert!(after >= 700, "fires {after} ms after its begin");
    server.shutdown().await;
}

#[tokio::test]
async fn a_reload_does_not_lose_the_end_of_for() {
    let webhook = Webhook::start().await;
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    let yml = job(peer.addr, "").replace("100ms", "1h");
    let server = run(&folder, &webhook, &yml, "  - alert: Held\n    expr: a == 1\n    for: 3s\n").await;
    until_query(&server, "ALERTS{alertstate=\"pending\"}", &[1.0]).await;
    server.reload().await.expect("the same files");
    told(&webhook, "Held", "firing").await;
    server.shutdown().await;
}

#[tokio::test]
async fn an_alert_is_resolved_when_keep_firing_for_ends() {
    let webhook = Webhook::start().await;
    let (peer, text) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    let yml = job(peer.addr, "").replace("100ms", "5s");
    let rules = "  - alert: Kept\n    expr: a == 1\n    keep_firing_for: 1s\n";
    let server = run(&folder, &webhook, &yml, rules).await;
    told(&webhook, "Kept", "firing").await;
    *text.lock().expect("not poisoned") = "a 0\n".into();
    told(&webhook, "Kept", "resolved").await;
    let told = webhook.told();
    let resolved = told.iter().find(|told| told.body["status"] == "resolved").expect("just seen");
    let ends: jiff::Timestamp =
        resolved.body["alerts"][0]["endsAt"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    // The scrape that ends the condition is on a step of five seconds; the end is not.
    let last = *times(&server, "Kept", "firing").last().expect("fired");
    let after = ends.as_millisecond() - last;
    assert!((900..4_500).contains(&after), "{after} ms after the last evaluation that kept it");
    server.shutdown().await;
}

#[tokio::test]
async fn a_group_that_reads_several_targets_is_evaluated_as_each_commits() {
    let webhook = Webhook::start().await;
    let (slow, _) = Peer::with_text("limit 10\n").await;
    let (fast, text) = Peer::with_text("exposure 1\n").await;
    let folder = Folder::new();
    let yml = format!(
        "rule_files: ['rules*.yml']\nscrape_configs:\n- job_name: fast\n  scrape_interval: 100ms\n  static_configs: [{{targets: ['{}']}}]\n- job_name: slow\n  scrape_interval: 1h\n  static_configs: [{{targets: ['{}']}}]\n",
        fast.addr, slow.addr
    );
    let rules =
        "  - alert: Over\n    expr: exposure > on() limit\n  - alert: Lost\n    expr: absent(exposure)\n";
    let server = run(&folder, &webhook, &yml, rules).await;
    until_query(&server, "limit + on() exposure", &[11.0]).await;
    *text.lock().expect("not poisoned") = "exposure 99\n".into();
    let raised = Instant::now();
    told(&webhook, "Over", "firing").await;
    assert!(raised.elapsed() < Duration::from_secs(4), "{:?}", raised.elapsed());
    // Its interval is that of the slowest that feeds it.
    let rules = get_json(&server, "/api/v1/rules").await;
    assert_eq!(rules["data"]["groups"][0]["rules"][0]["latencyBudget"]["scrape"], 3600);
    // What vanishes is seen at the scrape that misses it.
    *text.lock().expect("not poisoned") = "other 1\n".into();
    told(&webhook, "Lost", "firing").await;
    server.shutdown().await;
}
