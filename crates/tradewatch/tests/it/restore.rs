//! `kill -9` of the executable while alerts are pending and firing: every `for` goes on, nobody is told twice.

use crate::support::{PATIENCE, Ports, Webhook, client, encode, eventually};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: AtOnce, expr: bad == 1}\n  - {alert: Short, expr: bad == 1, for: 500ms}\n  - {alert: Long, expr: bad == 1, for: 8s}\n  - {alert: Longest, expr: bad == 1, for: 1h}\n";

struct Monitor {
    child: Child,
    url: String,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SIGKILL: nothing gets the chance to tidy up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Monitor {
    async fn start(folder: &Path, ports: &Ports) -> Monitor {
        let listen = format!("127.0.0.1:{}", ports.monitor);
        let child = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
            .args(["serve", "--config", &folder.join("prometheus.yml").to_string_lossy()])
            .args(["--alertmanager-config", &folder.join("alertmanager.yml").to_string_lossy()])
            .args(["--listen", &listen, "--data-dir", &folder.join("data").to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let monitor = Monitor { child, url: format!("http://{listen}") };
        eventually("the monitor", PATIENCE, async || {
            client().get(&format!("{}/-/ready", monitor.url)).await.ok().filter(|answer| answer.is_success())
        })
        .await;
        monitor
    }

    /// The value of an instant query that gives one series; nothing while it gives none.
    async fn value(&self, expr: &str) -> Option<f64> {
        let url = format!("{}/api/v1/query?query={}", self.url, encode(expr));
        let json: Value = client().get(&url).await.ok()?.json().ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

#[tokio::test]
async fn every_for_survives_kill_nine_and_nobody_is_told_twice() {
    let (folder, ports, webhook) = (TempDir::new().unwrap(), Ports::free(), Webhook::listen().await);
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = target.local_addr().unwrap();
    let app = axum::Router::new().fallback(async || "bad 1\n");
    tokio::spawn(async move { axum::serve(target, app).await });
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("rules.yml", RULES.to_owned());
    write(
        "prometheus.yml",
        format!(
            "rule_files: [rules.yml]\nscrape_configs:\n- job_name: gw\n  scrape_interval: 200ms\n  static_configs: [{{targets: ['{addr}']}}]\n"
        ),
    );
    write(
        "alertmanager.yml",
        format!(
            "route: {{receiver: desk, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\nreceivers:\n- name: desk\n  webhook_configs: [{{url: '{}'}}]\n",
            webhook.url
        ),
    );
    let begin = Instant::now();
    let monitor = Monitor::start(folder.path(), &ports).await;
    for alert in ["AtOnce", "Short"] {
        eventually(alert, PATIENCE, async || webhook.first(alert, "firing", begin)).await;
    }
    // Killed three times, at different moments of `for`.
    let mut monitor = monitor;
    let mut pending = 0.0;
    for (round, enough) in [1.5, 2.5, 3.5].into_iter().enumerate() {
        let since = "timestamp(ALERTS_FOR_STATE{alertname=\"Long\"}) - ALERTS_FOR_STATE{alertname=\"Long\"}";
        pending = eventually("pending for long enough", PATIENCE, async || {
            monitor.value(since).await.filter(|pending| *pending >= enough)
        })
        .await;
        drop(monitor);
        let killed =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        monitor = Monitor::start(folder.path(), &ports).await;
        for alert in ["Long", "Longest"] {
            let series = format!("ALERTS_FOR_STATE{{alertname=\"{alert}\"}}");
            let fresh = format!("timestamp({series}) - {series} and timestamp({series}) > {killed}");
            let after =
                eventually("the first evaluation", PATIENCE, async || monitor.value(&fresh).await).await;
            assert!(
                after > pending - 0.01,
                "round {round}: {alert} was pending for {pending} s, and for {after} s now"
            );
        }
        assert_eq!(webhook.first("Long", "firing", begin), None, "{pending}");
    }
    eventually("Long", PATIENCE, async || webhook.first("Long", "firing", begin)).await;
    let told = webhook.told();
    assert_eq!(told, ["AtOnce firing", "Long firing", "Short firing"], "each once, and nothing is resolved");
    assert!(pending > 3.0);
    assert_eq!(monitor.value("ALERTS{alertname=\"Longest\",alertstate=\"pending\"}").await, Some(1.0));
}
