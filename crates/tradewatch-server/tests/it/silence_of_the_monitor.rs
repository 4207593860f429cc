//! The monitor cannot fall silent unseen: heartbeats, the dead man's switch elsewhere, and both restarted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_server::deadman::{self, Deadman, Expected};
use tradewatch_server::heartbeat;

use crate::support::*;

type Lines = Arc<Mutex<Vec<String>>>;

fn awaits(expect: &[&str], webhook: Option<&Webhook>, folder: &Folder, lines: &Lines) -> deadman::Options {
    let lines = lines.clone();
    let grace = Some(Duration::from_millis(700));
    deadman::Options {
        expected: expect.iter().map(|text| Expected::parse(text, grace).expect("valid")).collect(),
        webhooks: webhook
            .iter()
            .map(|webhook| format!("http://{}/geheim", webhook.peer.addr).into())
            .collect(),
        state_file: Some(folder.path().join("deadman.json")),
        terminal: Some(Arc::new(move |line| lines.lock().expect("not poisoned").push(line.to_owned()))),
        ..deadman::Options::new()
    }
}

async fn until_statuses(webhook: &Webhook, expected: &[&str]) {
    eventually(|| async {
        let told = webhook.told();
        let seen: Vec<&str> = told.iter().filter_map(|told| told.body["status"].as_str()).collect();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

async fn post(addr: SocketAddr, path: &str, body: &str) -> StatusCode {
    ask(Method::POST, &format!("http://{addr}{path}"), &[], body.to_owned()).await.status
}

async fn known(addr: SocketAddr) -> Json {
    let page = ask(Method::GET, &format!("http://{addr}/"), &[], "").await;
    serde_json::from_slice(&page.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_ends_is_missed_and_its_return_is_told() {
    let (folder, webhook, lines) = (Folder::new(), Webhook::start().await, Lines::default());
    let listener =
        Deadman::start(awaits(&["desk=300ms"], Some(&webhook), &folder, &lines)).await.expect("starts");
    let (peer, _) = Peer::with_text("a 1\n").await;
    let beating = |folder: &Folder| {
        let mut options = options(folder, &job(peer.addr, ""));
        let url = format!("http://{}/beat/desk", listener.addr());
        options.heartbeat =
            Some(heartbeat::Options { url: url.into(), url_file: None, every: Duration::from_millis(300) });
        options
    };
    let monitor_folder = Folder::new();
    let server = start(beating(&monitor_folder)).await;
    eventually(|| async {
        let known = known(listener.addr()).await;
        if known[0]["lastBeat"].is_string() { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    // The listener knows of the beat before its answer has come back.
    eventually(|| async {
        let metrics = String::from_utf8_lossy(&get(&server, "/metrics").await.body).into_owned();
        let counted = metrics.contains("tradewatch_heartbeats_total{status=\"success\"}");
        if counted { Ok(()) } else { Err(metrics) }
    })
    .await;
    // Ended as by a kill: nothing is said.
    drop(server);
    until_statuses(&webhook, &["firing"]).await;
    let told = webhook.told()[0].body.clone();
    assert_eq!(
        told["commonLabels"],
        json!({"alertname": "MonitorSilent", "monitor": "desk", "severity": "critical"})
    );
    assert!(
        told["commonAnnotations"]["summary"]
            .as_str()
            .is_some_and(|text| text.contains("a beat is due every 300ms")),
        "{told}"
    );
    let server = start(beating(&monitor_folder)).await;
    until_statuses(&webhook, &["firing", "resolved"]).await;
    server.shutdown().await;
    until_statuses(&webhook, &["firing", "resolved", "firing"]).await;
    let said = lines.lock().expect("not poisoned").clone();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("CRITICAL  MonitorSilent — desk has fallen silent: last heard 20"),
        "{said:?}"
    );
    assert!(said[1].starts_with("RESOLVED  MonitorSilent — desk beats again"), "{said:?}");
    assert!(!said.concat().contains("geheim"));
    listener.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_outlives_its_own_restart() {
    let (folder, webhook, lines) = (Folder::new(), Webhook::start().await, Lines::default());
    *webhook.status.lock().expect("not poisoned") = StatusCode::SERVICE_UNAVAILABLE;
    let listener =
        Deadman::start(awaits(&["a=200ms", "b=1h"], Some(&webhook), &folder, &lines)).await.expect("starts");
    let watchdog = |status: &str| {
        json!({"version": "4", "status": status, "alerts": [{"labels": {"alertname": "Watchdog"}}]})
            .to_string()
    };
    assert_eq!(post(listener.addr(), "/beat/a", &watchdog("firing")).await, StatusCode::OK);
    assert_eq!(post(listener.addr(), "/beat/b", "").await, StatusCode::OK);
    assert_eq!(post(listener.addr(), "/beat/nobody", "").await, StatusCode::NOT_FOUND);
    assert_eq!(post(listener.addr(), "/", "").await, StatusCode::NOT_FOUND, "several are awaited");
    eventually(|| async { if webhook.told().is_empty() { Err("nothing".into()) } else { Ok(()) } }).await;
    // Killed while its webhook refuses: what is owed is told by the next one, under the same facts.
    drop(listener);
    let attempts = webhook.told().len();
    *webhook.status.lock().expect("not poisoned") = StatusCode::OK;
    let listener =
        Deadman::start(awaits(&["a=200ms", "b=1h"], Some(&webhook), &folder, &lines)).await.expect("starts");
    eventually(|| async {
        let known = known(listener.addr()).await;
        if known[0]["receiversTold"] == 1 { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    assert!(webhook.told().len() > attempts);
    assert_eq!(lines.lock().expect("not poisoned").len(), 1, "the terminal hears of a silence once");
    assert_eq!(post(listener.addr(), "/beat/a", &watchdog("firing")).await, StatusCode::OK);
    // An Alertmanager that says that its Watchdog is resolved is no sign of life.
    assert_eq!(post(listener.addr(), "/beat/b", &watchdog("resolved")).await, StatusCode::OK);
    eventually(|| async {
        let known = known(listener.addr()).await;
        if known[1]["reason"].as_str().is_some_and(|why| why.contains("watchdog has ended")) {
            Ok(())
        } else {
            Err(known.to_string())
        }
    })
    .await;
    let metrics = ask(Method::GET, &format!("http://{}/metrics", listener.addr()), &[], "").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("tradewatch_deadman_silent{monitor=\"b\"} 1\n"));
    listener.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_password_beats() {
    let (folder, lines) = (Folder::new(), Lines::default());
    let hash = bcrypt::hash("s3cret", 4).expect("hashes");
    let web = folder.write("web.yml", &format!("basic_auth_users:\n  desk: {hash}\n"));
    let guarded = deadman::Options { web_config: Some(web), ..awaits(&["desk=1h"], None, &folder, &lines) };
    let listener = Deadman::start(guarded).await.expect("starts");
    assert_eq!(post(listener.addr(), "/beat/desk", "").await, StatusCode::UNAUTHORIZED);
    let monitor_folder = Folder::new();
    let mut options = options(&monitor_folder, "");
    let url = format!("http://desk:s3cret@{}/beat/desk", listener.addr());
    options.heartbeat =
        Some(heartbeat::Options { url: url.into(), url_file: None, every: Duration::from_millis(200) });
    let server = start(options).await;
    eventually(|| async {
        let metrics = String::from_utf8_lossy(&get(&server, "/metrics").await.body).into_owned();
        let beats =
            metrics.lines().find(|line| line.starts_with("tradewatch_heartbeats_total{status=\"success\"}"));
        if beats.is_some_and(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(metrics) }
    })
    .await;
    server.shutdown().await;
    listener.shutdown().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let (folder, lines) = (Folder::new(), Lines::default());
    let why =
        async |options: deadman::Options| Deadman::start(options).await.err().expect("refused").to_string();
    assert!(why(awaits(&[], None, &folder, &lines)).await.contains("awaits 1 to"));
    assert!(why(awaits(&["a=1s", "a=2s"], None, &folder, &lines)).await.contains("different names"));
    let open = deadman::Options {
        listen: "0.0.0.0:0".parse().expect("an address"),
        ..awaits(&["1s"], None, &folder, &lines)
    };
    assert!(why(open).await.contains("--web.config.file"));
    folder.write("deadman.json", "{\"torn");
    assert!(why(awaits(&["1s"], None, &folder, &lines)).await.contains("deadman.json"));
}

#[tokio::test]
async fn a_rule_that_reads_what_nobody_has_is_named() {
    let folder = Folder::new();
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Blind\n    expr: ordres_total > 1 and up == 1\n  - alert: Content\n    expr: a > 9\n  - alert: Thoughtful\n    expr: absent(b)\n",
    );
    let (peer, _) = Peer::with_text("a 1\n").await;
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    let rules = eventually(|| async {
        let rules = get_json(&server, "/api/v1/rules").await["data"]["groups"][0]["rules"].clone();
        if rules[0]["missingMetrics"] == json!(["ordres_total"]) { Ok(rules) } else { Err(rules.to_string()) }
    })
    .await;
    assert_eq!((&rules[1]["missingMetrics"], &rules[2]["missingMetrics"]), (&json!([]), &json!([])));
    let metrics = String::from_utf8_lossy(&get(&server, "/metrics").await.body).into_owned();
    let told = |rule: &str, count: u8| {
        metrics.lines().any(|line| {
            line.starts_with("tradewatch_rule_inputs_missing_current{")
                && line.contains(rule)
                && line.ends_with(&format!(" {count}"))
        })
    };
    assert!(told("\"Blind\"", 1) && told("\"Content\"", 0) && told("\"Thoughtful\"", 0), "{metrics}");
    let evaluated = "tradewatch_rule_group_last_evaluation_timestamp_seconds{";
    assert!(metrics.contains(evaluated), "{metrics}");
    // A group that leaves the configuration takes its figures along: it is gone, not late.
    folder.write("rules.yml", "groups: []\n");
    assert_eq!(post(server.addr(), "/-/reload", "").await, StatusCode::OK);
    eventually(|| async {
        let metrics = String::from_utf8_lossy(&get(&server, "/metrics").await.body).into_owned();
        if metrics.contains(evaluated) { Err(metrics) } else { Ok(()) }
    })
    .await;
    server.shutdown().await;
}
