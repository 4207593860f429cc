//! Every panel and rule query, asked of a real Prometheus and of us, over the same samples.
//!
//! A replay target serves both the same body: a recorded run of the platform on virtual time, with explicit
//! timestamps. Queries are asked half a second beside the samples, since Prometheus before 3.0 counts a sample that
//! lies exactly on the older edge of a window and later ones do not.

use crate::support::{PATIENCE, Ports, client, encode, eventually};
use axum::Router;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Virtual length of the recorded run.
const RECORDED: Duration = Duration::from_secs(1500);
/// Relative difference that the order of additions explains.
const TOLERANCE: f64 = 1e-9;

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves `body` to every request; that the same samples come again changes nothing.
async fn replay_target(body: String) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let body = bytes::Bytes::from(body);
    let router = Router::new().fallback(async move || body.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

/// A configuration that scrapes the replay target and evaluates the shipped rules.
fn write_config(folder: &TempDir, name: &str, target: SocketAddr) -> std::path::PathBuf {
    let path = folder.path().join(format!("{name}.yml"));
    let text = format!(
        "global: {{ scrape_interval: 10s, scrape_timeout: 10s }}\nscrape_configs:\n  - job_name: replay\n    honor_labels: true\n    \
         metrics_path: /{name}\n    static_configs: [ {{ targets: ['{target}'] }} ]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Adds the target's labels and the time of the scrape to each sample of an exposition.
fn stamp(out: &mut String, text: &str, labels: &str, at_ms: i64) {
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let stamped = match series.split_once('{') {
            Some((name, rest)) => format!("{name}{{{labels},{rest}"),
            None => format!("{series}{{{labels}}}"),
        };
        let _ = writeln!(out, "{stamped} {value} {at_ms}");
    }
}

/// Every expression of the shipped dashboards and rules.
fn expressions() -> BTreeSet<String> {
    let platforms = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms");
    let mut found = BTreeSet::new();
    for platform in ["trading-platform", "tradewatch"] {
        for entry in std::fs::read_dir(platforms.join(platform).join("dashboards")).unwrap() {
            let dashboard: Value =
                serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
            for panel in dashboard["panels"].as_array().unwrap() {
                let targets = panel["targets"].as_array().into_iter().flatten();
                found.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
            }
        }
        for entry in std::fs::read_dir(platforms.join(platform).join("rules")).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().ends_with(".test.yml") {
                let (file, errors) = tradewatch_alert::rules::RuleFile::parse(
                    &path.to_string_lossy(),
                    &std::fs::read_to_string(&path).unwrap(),
                );
                assert!(errors.is_empty(), "{errors:?}");
                found.extend(
                    file.groups.iter().flat_map(|group| group.rules.iter().map(|rule| rule.expr.to_string())),
                );
            }
        }
    }
    found
}

type Answer = BTreeMap<String, Vec<(f64, f64)>>;

async fn ask(addr: SocketAddr, expr: &str, start: f64, end: f64) -> Result<Answer, String> {
    let url =
        format!("http://{addr}/api/v1/query_range?query={}&start={start}&end={end}&step=5", encode(expr));
    let json: Value = client()
        .get(&url)
        .await
        .map_err(|error| error.to_string())?
        .json()
        .map_err(|error| error.to_string())?;
    if json["status"] != "success" {
        return Err(json["error"].to_string());
    }
    let mut answer = Answer::new();
    for series in json["data"]["result"].as_array().unwrap() {
        let labels: BTreeMap<&String, &Value> = series["metric"].as_object().unwrap().iter().collect();
        let values = series["values"].as_array().unwrap();
        let points = values
            .iter()
            .map(|point| (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse().unwrap()));
        answer.insert(format!("{labels:?}"), points.collect());
    }
    Ok(answer)
}

/// Where a series has just begun, Prometheus 2.42 lets `rate` and `increase` extrapolate further towards the zero point
/// of a counter than later versions do, whose order of the two caps we follow. With samples a second apart that is at
/// most 0.6 s of the two or more that are covered.
const BEGINNING_TOLERANCE: f64 = 0.3;

/// Whether series began less than a window ago: at the start of the recording, and when the gateway was started again.
fn beginning(seconds: f64, window: f64) -> bool {
    let restarted = RECORDED.as_secs_f64() / 2.0 + 60.0;
    (0.0..window).contains(&seconds) || (restarted - 1.0..restarted + window).contains(&seconds)
}

/// The longest window of an expression of ours, in seconds: they are all whole minutes.
fn window(expr: &str) -> f64 {
    let minutes = expr.split('[').skip(1).filter_map(|rest| rest.split_once("m]")?.0.parse::<f64>().ok());
    minutes.fold(0.0, f64::max) * 60.0 + 5.0
}

/// The first difference that is not explained, if there is one; `start` is the time of the first sample, and
/// `window` how long the query looks back.
fn difference(theirs: &Answer, ours: &Answer, start: f64, window: f64) -> Option<String> {
    let names = |answer: &Answer| answer.keys().cloned().collect::<BTreeSet<_>>();
    let (their_names, our_names) = (names(theirs), names(ours));
    if their_names != our_names {
        return Some(format!(
            "series differ: only theirs {:?}, only ours {:?}",
            &their_names - &our_names,
            &our_names - &their_names
        ));
    }
    for (name, their_points) in theirs {
        let our_points = &ours[name];
        if their_points.len() != our_points.len() {
            return Some(format!("{name}: {} points there, {} here", their_points.len(), our_points.len()));
        }
        for ((their_time, their_value), (our_time, our_value)) in their_points.iter().zip(our_points) {
            let tolerance =
                if beginning(their_time - start, window) { BEGINNING_TOLERANCE } else { TOLERANCE };
            let same = their_value.to_bits() == our_value.to_bits()
                || (their_value.is_nan() && our_value.is_nan())
                || (their_value - our_value).abs() <= tolerance * their_value.abs().max(our_value.abs());
            if their_time != our_time || !same {
                return Some(format!(
                    "{name}: {their_value} at {their_time} there, {our_value} at {our_time} here"
                ));
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_and_we_agree_on_every_panel_and_rule() {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let end_ms = now_ms - 30_000 - now_ms % 1000;
    let start_ms = end_ms - RECORDED.as_millis() as i64;
    // The recording has a runtime of its own, on virtual time.
    let body =
        tokio::task::spawn_blocking(move || crate::recording::body(RECORDED, start_ms, stamp)).await.unwrap();
    let target = replay_target(body).await;
    let folder = TempDir::new().unwrap();

    let ports = Ports::free();
    let (theirs, ours): (SocketAddr, SocketAddr) =
        (([127, 0, 0, 1], ports.base).into(), ([127, 0, 0, 1], ports.monitor).into());
    let log = std::fs::File::create(folder.path().join("prometheus.log")).unwrap();
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", write_config(&folder, "theirs", target).display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("prometheus").display()))
            .arg(format!("--web.listen-address={theirs}"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the Debian package prometheus is installed"),
    );
    let _tradewatch = Running(
        Command::new(env!("CARGO_BIN_EXE_tradewatch"))
            .args(["serve", "--config", &write_config(&folder, "ours", target).to_string_lossy()])
            .args([
                "--listen",
                &ours.to_string(),
                "--data-dir",
                &folder.path().join("tradewatch").to_string_lossy(),
            ])
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (start, end) = (start_ms as f64 / 1000.0 + 0.5, end_ms as f64 / 1000.0 - 0.5);
    let mut counts = Vec::new();
    for addr in [theirs, ours] {
        let count = eventually(&format!("the replayed samples at {addr}"), PATIENCE, async || {
            let answer = ask(addr, "count({job!=\"replay\",job!=\"\"})", start, end).await.ok()?;
            (!answer.is_empty()).then_some(answer)
        })
        .await;
        counts.push(count);
    }
    assert_eq!(difference(&counts[0], &counts[1], start, 0.0), None, "the same samples are stored");

    let (mut agreed, mut with_data, mut differences) = (0, 0, Vec::new());
    for expr in expressions() {
        let (theirs, ours) = (ask(theirs, &expr, start, end).await, ask(ours, &expr, start, end).await);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => match difference(&theirs, &ours, start, window(&expr)) {
                None => {
                    agreed += 1;
                    with_data += usize::from(!theirs.is_empty());
                }
                Some(what) => differences.push(format!("{expr}\n    {what}")),
            },
            (theirs, ours) => {
                differences.push(format!("{expr}\n    there {:?}, here {:?}", theirs.err(), ours.err()))
            }
        }
    }
    println!("{agreed} queries agree, {with_data} of them with data; {} differ", differences.len());
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert!(
        with_data > agreed / 2,
        "only {with_data} of {agreed} queries had data: the recording is too poor"
    );
}
