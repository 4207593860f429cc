//! `tradewatch serve` as a process.

use crate::support::{PATIENCE, Ports, client, eventually};
use std::process::{Command, Stdio};
use tempfile::TempDir;

#[tokio::test]
async fn a_request_to_quit_ends_the_process_well() {
    let (folder, ports) = (TempDir::new().unwrap(), Ports::free());
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["serve", "--web.enable-lifecycle", "--config", &config.to_string_lossy()])
        .args(["--listen", &format!("127.0.0.1:{}", ports.monitor)])
        .args(["--data-dir", &folder.path().join("data").to_string_lossy()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{}/-", ports.monitor);
    eventually("the monitor", PATIENCE, async || {
        client().get(&format!("{url}/ready")).await.ok().filter(|answer| answer.is_success())
    })
    .await;
    let answer = client().post(&format!("{url}/quit"), &serde_json::Value::Null).await.unwrap();
    assert!(answer.is_success(), "{}", answer.text());
    let ended = eventually("the end", PATIENCE, async || child.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}
