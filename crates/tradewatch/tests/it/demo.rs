//! The demo: faults are told in seconds, nothing outlives it, nothing that was seen is lost.

use crate::support::{Demo, PATIENCE, Ports, Webhook, command, eventually};
use rustix::process::Signal;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// From the kill to the webhook, with the files as shipped.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

const SERVICES: [(&str, &str); 4] = [
    ("signal-service", "SignalServiceLost"),
    ("orchestrator", "OrchestratorLost"),
    ("market-data-service", "MarketDataServiceLost"),
    ("execution-gateway", "ExecutionGatewayLost"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_lost_service_is_told_within_three_seconds_and_again_when_it_is_back() {
    let webhook = Webhook::listen().await;
    let demo = Demo::start(&["--webhook", &webhook.url]).await;
    for (service, alert) in SERVICES {
        let killed = Instant::now();
        demo.command(&["service", "kill", service]);
        let told = eventually(&format!("{alert} at the webhook"), PATIENCE, async || {
            webhook.first(alert, "firing", killed)
        })
        .await;
        let took = told - killed;
        println!("{alert}: told after {took:.2?}");
        assert!(took <= TOLD_WITHIN, "{alert} was told after {took:?}");
        let started = Instant::now();
        demo.command(&["service", "start", service]);
        let resolved = eventually(&format!("{alert} resolved"), PATIENCE, async || {
            webhook.first(alert, "resolved", started)
        })
        .await;
        println!("{alert}: resolved after {:.2?}", resolved - started);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_every_child_within_five_seconds() {
    let mut demo = Demo::start(&[]).await;
    let pids = demo.pids();
    assert_eq!(pids.len(), 7, "{pids:?}");
    demo.signal(Signal::INT);
    let status = demo.ended(Duration::from_secs(5));
    assert!(status.success(), "{status}");
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} outlived the demo");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_has_returned_survives_a_kill() {
    let mut demo = Demo::start(&[]).await;
    let expr = "sum(count_over_time(up[10m])) + sum(count_over_time(market_data_price_age_seconds[10m]))";
    let (at, before) = eventually("some samples", PATIENCE, async || {
        let data = demo.query(expr).await?;
        let count: f64 = data["result"][0]["value"][1].as_str()?.parse().ok()?;
        (count > 200.0).then(|| (data["result"][0]["value"][0].as_f64().unwrap(), count))
    })
    .await;
    let pids = demo.pids();
    demo.signal(Signal::KILL);
    demo.ended(PATIENCE);
    // The children notice that nobody holds their standard input any more.
    eventually("the children to end", PATIENCE, async || {
        pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    })
    .await;
    let folder = demo.folder.clone();
    let ports = Ports { base: demo.ports.base, monitor: demo.ports.monitor };
    drop(demo);
    let demo = Demo::start_in(folder, ports, &[]).await;
    let data = demo.query_at(expr, at).await.unwrap();
    let after: f64 = data["result"][0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!(after >= before, "{before} samples were seen before the kill, {after} are there after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_locked_folder_are_one_line_each() {
    let ports = Ports::free();
    let _held = TcpListener::bind(("127.0.0.1", ports.base + 2)).unwrap();
    let folder = TempDir::new().unwrap();
    let output = command(&folder, &ports, &[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&format!("{} is taken", ports.base + 2)), "{text}");

    let demo = Demo::start(&[]).await;
    let config = std::fs::read_to_string(demo.folder.path().join("prometheus.yml")).unwrap();
    let output = command(&demo.folder, &Ports::free(), &[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("is in use by process"), "{text}");
    // The demo that runs keeps its files: its services start again on their own ports.
    assert_eq!(std::fs::read_to_string(demo.folder.path().join("prometheus.yml")).unwrap(), config);
    demo.command(&["service", "kill", "orchestrator"]);
    demo.command(&["service", "start", "orchestrator"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_ends_neither_the_demo_nor_a_command() {
    let (folder, ports) = (Arc::new(TempDir::new().unwrap()), Ports::free());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let demo = Demo::start_with(folder, ports, &[], writer.into()).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["service", "list", "--data-dir", &demo.folder.path().to_string_lossy()])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn commands_without_a_demo_say_what_to_do() {
    let folder = Arc::new(TempDir::new().unwrap());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["service", "list", "--data-dir", &folder.path().to_string_lossy()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("start `tradewatch demo`"), "{text}");
}
