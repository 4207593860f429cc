//! `tradewatch routes test` and `tradewatch notify test` as processes.

use crate::support::{PATIENCE, Ports, Webhook, client, eventually};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn tradewatch(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tradewatch")).args(args).current_dir(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_running_monitor_says_what_holds_an_alert_back() {
    let (folder, ports) = (TempDir::new().unwrap(), Ports::free());
    std::fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    std::fs::write(
        folder.path().join("alertmanager.yml"),
        "route: {receiver: desk, routes: [{matchers: [severity=critical], receiver: page}]}\nreceivers: [{name: desk}, {name: page, slack_configs: [{api_url: 'http://127.0.0.1:9/hidden-token'}]}]\ninhibit_rules: [{source_matchers: [alertname=Lost], target_matchers: [alertname=Stale], equal: [mic]}]\n",
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["serve", "--config", "prometheus.yml", "--alertmanager-config", "alertmanager.yml"])
        .args(["--listen", &format!("127.0.0.1:{}", ports.monitor), "--data-dir", "data"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{}", ports.monitor);
    eventually("the monitor", PATIENCE, async || {
        client().get(&format!("{url}/-/ready")).await.ok().filter(|answer| answer.is_success())
    })
    .await;
    let lost = json!([{"labels": {"alertname": "Lost", "mic": "XNYS"}}]);
    client().post(&format!("{url}/api/v2/alerts"), &lost).await.unwrap();
    let silence = json!({
        "matchers": [{"name": "severity", "value": "crit.*", "isRegex": true, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ada", "comment": "drill",
    });
    client().post(&format!("{url}/api/v2/silences"), &silence).await.unwrap();
    let asked = ["routes", "test", "alertname=Stale", "mic=XNYS", "severity=critical", "--url", &url];
    let shown = text(&tradewatch(&asked, folder.path()));
    // amtool reads the same configuration from the monitor, and ends where we do.
    let amtool = Command::new("amtool")
        .args([
            "--alertmanager.url",
            &url,
            "config",
            "routes",
            "test",
            "alertname=Stale",
            "severity=critical",
        ])
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for part in [
        "severity=\"critical\"",
        "→ page",
        "SILENCED by ",
        "(ada: \"drill\")",
        "INHIBITED by the rule in line",
        "alertname=\"Lost\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("hidden-token"), "{shown}");
    assert_eq!(String::from_utf8_lossy(&amtool.stdout).trim(), "page");
    // Without a monitor, from the file; and as a check of what one relies on.
    let file = ["routes", "test", "severity=critical", "--config", "alertmanager.yml", "--verify", "page"];
    assert!(tradewatch(&file, folder.path()).status.success());
    let wrong = tradewatch(&["routes", "test", "severity=low", "--verify", "page"], folder.path());
    assert!(!wrong.status.success() && text(&wrong).contains("expected page, but desk would be told"));
}

#[tokio::test]
async fn a_receiver_is_tried_with_a_marked_notification() {
    let webhook = Webhook::listen().await;
    let folder = TempDir::new().unwrap();
    let routes = format!(
        "route: {{receiver: desk}}\nreceivers:\n- name: desk\n  webhook_configs: [{{url: '{}'}}]\n- name: broken\n  slack_configs: [{{api_url_file: slack.url}}]\n",
        webhook.url
    );
    std::fs::write(folder.path().join("alertmanager.yml"), routes).unwrap();
    let folder = folder.path().to_owned();
    let run = async |receiver: &'static str| {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || tradewatch(&["notify", "test", receiver], &folder)).await.unwrap()
    };
    let good = run("desk").await;
    assert!(good.status.success() && text(&good).contains("✔ webhook"), "{}", text(&good));
    assert!(text(&good).contains("alertmanager.yml:4  200 OK"), "{}", text(&good));
    let told = webhook.first("TestNotification", "firing", std::time::Instant::now() - PATIENCE);
    assert!(told.is_some(), "the receiver was told");
    let broken = run("broken").await;
    assert!(
        !broken.status.success() && text(&broken).contains("slack.url: No such file"),
        "{}",
        text(&broken)
    );
    let nobody = run("nobody").await;
    assert!(
        text(&nobody).contains("there is no receiver \"nobody\"; there are desk, broken"),
        "{}",
        text(&nobody)
    );
}
