//! Debian's `amtool`, `prometheus` and `prometheus-alertmanager` against this monitor, unchanged.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_server::Server;
use tradewatch_server::deadman::{self, Deadman, Expected};

use crate::support::*;

const ROUTES: &str = "
route:
  receiver: desk
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
  routes:
  - matchers: ['team=\"risk\"']
    receiver: risk
inhibit_rules:
- source_matchers: ['alertname=\"Root\"']
  target_matchers: ['alertname=\"Leaf\"']
";

/// A child process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago: these programs cannot say which one they took.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port()
}

/// Starts a real program on a free port, until it answers; another port is tried if somebody took the first one.
async fn run(program: &str, ready: &str, args: impl Fn(u16) -> Vec<String>) -> (Process, SocketAddr) {
    for _ in 0..5 {
        let port = free_port();
        let child = Command::new(program)
            .args(args(port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} is needed: apt-get install prometheus prometheus-alertmanager: {error}")
            });
        let mut process = Process(child);
        // Its log is read all the time, so that it never waits for us.
        let log = process.0.stderr.take().expect("piped");
        std::thread::spawn(move || BufReader::new(log).lines().map_while(Result::ok).for_each(drop));
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let end = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < end && process.0.try_wait().expect("waits").is_none() {
            if std::net::TcpStream::connect(addr).is_ok()
                && ask(Method::GET, &format!("http://{addr}{ready}"), &[], "").await.status == StatusCode::OK
            {
                return (process, addr);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("{program} does not start");
}

fn receivers(webhook: &Webhook) -> String {
    let url = format!("http://{}", webhook.peer.addr);
    format!(
        "{ROUTES}receivers:\n- name: desk\n  webhook_configs: [{{url: '{url}/desk'}}]\n- name: risk\n  webhook_configs: [{{url: '{url}/risk'}}]\n"
    )
}

async fn serve(folder: &Folder, webhook: &Webhook) -> Server {
    let mut options = options(folder, "");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &receivers(webhook)));
    start(options).await
}

/// Runs `amtool` against the monitor; what it says on success, what it complains about on failure.
async fn amtool(server: &Server, args: &str) -> Result<String, String> {
    let url = format!("--alertmanager.url=http://{}", server.addr());
    let args: Vec<String> = args.split('|').map(str::to_owned).collect();
    let run = move || {
        Command::new("amtool")
            .arg(url)
            .args(args)
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .expect("amtool is needed: apt-get install prometheus-alertmanager")
    };
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if status.success() { Ok(text(&stdout)) } else { Err(format!("{}{}", text(&stdout), text(&stderr))) }
}

async fn says(server: &Server, args: &str) -> String {
    amtool(server, args).await.unwrap_or_else(|error| panic!("amtool {args}: {error}"))
}

async fn until_told(webhook: &Webhook, wanted: impl Fn(&Json) -> bool) -> Json {
    eventually(|| async {
        let told = webhook.told();
        told.iter().map(|told| told.body.clone()).find(|body| wanted(body)).ok_or(format!("{told:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amtool_works_unchanged() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = serve(&folder, &webhook).await;
    // Alerts.
    says(&server, "alert|add|Root|team=risk|severity=critical|--annotation=summary=the root").await;
    says(&server, "alert|add|Leaf|team=desk").await;
    let told = until_told(&webhook, |body| body["commonLabels"]["alertname"] == "Root").await;
    assert_eq!(
        (&told["receiver"], &told["commonAnnotations"]["summary"]),
        (&json!("risk"), &json!("the root"))
    );
    let names = |text: &str| -> Vec<String> {
        let alerts: Json = serde_json::from_str(text).expect("JSON");
        let name = |alert: &Json| alert["labels"]["alertname"].as_str().expect("text").to_owned();
        let mut names: Vec<String> = alerts.as_array().expect("a list").iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&says(&server, "alert|query|-o|json").await),
        ["Root"],
        "what is inhibited is not shown"
    );
    assert_eq!(names(&says(&server, "alert|query|-o|json|-i|-a").await), ["Leaf", "Root"]);
    assert_eq!(names(&says(&server, "alert|query|-o|json|-i").await), ["Leaf"]);
    assert_eq!(names(&says(&server, "alert|query|-o|json|team=~r.*").await), ["Root"]);
    assert_eq!(names(&says(&server, "alert|query|-o|json|--receiver=risk").await), ["Root"]);
    assert!(says(&server, "alert|query|-o|extended").await.contains("alertname=\"Root\""));
    // Silences.
    let id = says(&server, "silence|add|alertname=Root|--author=ada|--comment=drill|--duration=1h").await;
    assert_eq!(says(&server, "silence|query|-q").await, id);
    assert_eq!(names(&says(&server, "alert|query|-o|json|-s").await), ["Root"]);
    assert_eq!(says(&server, "silence|query|-q|alertname=Other").await, "");
    let shown: Json = serde_json::from_str(&says(&server, "silence|query|-o|json").await).expect("JSON");
    assert_eq!(
        (&shown[0]["createdBy"], &shown[0]["comment"], &shown[0]["status"]["state"]),
        (&json!("ada"), &json!("drill"), &json!("active"))
    );
    // What it prints with -q is an address in its memory (version 0.25): the id is asked for.
    says(&server, &format!("silence|update|{id}|--comment=longer|--duration=2h")).await;
    let updated = says(&server, "silence|query|-q").await;
    let shown: Json = serde_json::from_str(&says(&server, "silence|query|-o|json").await).expect("JSON");
    assert_eq!((&shown[0]["id"], &shown[0]["comment"]), (&json!(updated), &json!("longer")));
    // Out of one, into the other: what was queried can be imported.
    let file = folder.write("silences.json", &shown.to_string());
    says(&server, &format!("silence|expire|{updated}")).await;
    assert_eq!(says(&server, "silence|query|-q").await, "");
    assert!(says(&server, "silence|query|-q|--expired").await.contains(&updated));
    says(&server, &format!("silence|import|{}", file.display())).await;
    let again = says(&server, "silence|query|-q").await;
    assert!(!again.is_empty() && again != updated, "{again}");
    assert!(amtool(&server, "silence|expire|nonsense").await.is_err());
    assert!(amtool(&server, "silence|add|alertname=~.*|--comment=x").await.is_err());
    // Configuration.
    let config = says(&server, "config|show").await;
    assert!(config.contains("receiver: desk") && config.contains("<secret>"), "{config}");
    assert_eq!(says(&server, "config|routes|test|team=risk").await, "risk");
    assert!(says(&server, "config|routes|show").await.contains("receiver: risk"));
    let alone = says(&server, "cluster|show").await;
    assert!(alone.contains("disabled"), "{alone}");
    // Who did it stands in the log.
    let log = get_json(&server, "/api/tradewatch/v1/audit?by=ada").await;
    assert!(log["entries"].as_array().is_some_and(|all| all.len() >= 3), "{log}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_sends_its_alerts_to_us() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = serve(&folder, &webhook).await;
    let rules = |expr: &str| {
        format!(
            "groups:\n- name: g\n  rules:\n  - alert: FromPrometheus\n    expr: {expr}\n    labels: {{team: risk}}\n    annotations: {{summary: 'value {{{{ $value }}}}'}}\n"
        )
    };
    let rule_file = folder.write("prom-rules.yml", &rules("vector(7) > 1"));
    let config = folder.write(
        "prom.yml",
        &format!(
            "global: {{evaluation_interval: 200ms, scrape_interval: 1s, external_labels: {{site: lab}}}}\nrule_files: ['{}']\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n",
            rule_file.display(),
            server.addr()
        ),
    );
    let data = folder.path().join("prom-data");
    let (_prometheus, addr) = run("prometheus", "/-/ready", |port| {
        vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".into(),
            // It finds its Alertmanagers only after five seconds, and would tell them after a minute.
            "--rules.alert.resend-delay=1s".into(),
        ]
    })
    .await;
    let told = until_told(&webhook, |body| body["status"] == "firing").await;
    assert_eq!(told["receiver"], "risk");
    assert_eq!(told["commonLabels"], json!({"alertname": "FromPrometheus", "site": "lab", "team": "risk"}));
    assert_eq!(told["commonAnnotations"]["summary"], "value 7");
    assert!(told["alerts"][0]["generatorURL"].as_str().is_some_and(|url| url.contains("/graph?g0.expr=")));
    // It takes its alert back; that is told as well.
    folder.write("prom-rules.yml", &rules("vector(0) > 1"));
    assert_eq!(ask(Method::POST, &format!("http://{addr}/-/reload"), &[], "").await.status, StatusCode::OK);
    until_told(&webhook, |body| body["status"] == "resolved").await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_sends_again_ends_after_the_resolve_timeout() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let mut options = options(&folder, "");
    let routes = format!("global: {{resolve_timeout: 1s}}\n{}", receivers(&webhook));
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes));
    let server = start(options).await;
    says(&server, "alert|add|Short|team=risk").await;
    until_told(&webhook, |body| body["status"] == "resolved" && body["commonLabels"]["alertname"] == "Short")
        .await;
    server.shutdown().await;
}

/// An Alertmanager of Debian in parallel: it gets what our rules find, and its own Watchdog beats for us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_alertmanager_works_in_parallel_and_beats() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let heard = lines.clone();
    let listener = Deadman::start(deadman::Options {
        expected: vec![Expected::parse("outside=2s", Some(Duration::from_secs(2))).expect("valid")],
        terminal: Some(std::sync::Arc::new(move |line| {
            heard.lock().expect("not poisoned").push(line.to_owned())
        })),
        ..deadman::Options::new()
    })
    .await
    .expect("starts");
    let outside = folder.write(
        "outside.yml",
        &format!(
            "route:\n  receiver: desk\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  routes:\n  - matchers: ['alertname=\"Watchdog\"']\n    receiver: deadman\n    repeat_interval: 1s\nreceivers:\n- name: desk\n  webhook_configs: [{{url: 'http://{}/outside'}}]\n- name: deadman\n  webhook_configs: [{{url: 'http://{}/beat/outside'}}]\n",
            webhook.peer.addr,
            listener.addr()
        ),
    );
    let data = folder.path().join("am-data");
    let (alertmanager, addr) = run("prometheus-alertmanager", "/-/ready", |port| {
        vec![
            format!("--config.file={}", outside.display()),
            format!("--storage.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".into(),
        ]
    })
    .await;
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Watchdog\n    expr: vector(1)\n  - alert: Lost\n    expr: up == 0\n    labels: {severity: critical}\n",
    );
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let yml = format!(
        "{}alerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{addr}']}}]\n",
        job(nobody, "")
    );
    let mut options = options(&folder, &yml);
    options.resend_delay = Duration::from_secs(1);
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &receivers(&webhook)));
    let server = start(options).await;
    // Both tell: ours at its receiver, the other one at its own, and the Watchdog beats.
    until_told(&webhook, |body| body["receiver"] == "desk" && body["commonLabels"]["alertname"] == "Lost")
        .await;
    eventually(|| async {
        let url = format!("http://{addr}/api/v2/alerts?filter=alertname%3DLost");
        let seen = ask(Method::GET, &url, &[], "").await;
        let alerts: Json = serde_json::from_slice(&seen.body).unwrap_or(Json::Null);
        if alerts[0]["labels"]["severity"] == "critical" { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    let page = format!("http://{}/", listener.addr());
    eventually(|| async {
        let known: Json = serde_json::from_slice(&ask(Method::GET, &page, &[], "").await.body).expect("JSON");
        if known[0]["lastBeat"].is_string() { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    drop(alertmanager);
    eventually(|| async {
        let said = lines.lock().expect("not poisoned").clone();
        if said.iter().any(|line| line.starts_with("CRITICAL  MonitorSilent — outside")) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    server.shutdown().await;
    listener.shutdown().await;
}
