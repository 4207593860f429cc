//! Backtests from recorded history to the table: a simulated stretch with injected faults, the documents' rules beside
//! the corrected ones, each kind of history, and what cannot be read.

use crate::recording::target_labels;
use crate::support::{PATIENCE, Ports, client, eventually};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tradewatch_platforms::trading_platform::{ServiceName, sim};
use tradewatch_server::Ingest;
use tradewatch_server::scrape::IngestOptions;
use tradewatch_server::scrape::line::Format;
use tradewatch_tsdb::{Db, FsDir, Labels, Options, Timestamp};

pub fn run(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_tradewatch")).current_dir(root).args(args).output().expect("it runs")
}

pub fn ok(args: &[&str]) -> String {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn refused(args: &[&str], why: &str) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(why), "{args:?}: {said}");
}

pub fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A stretch of trading, scraped into a store, and what was done to it.
struct Recorded {
    folder: TempDir,
    db: Db,
    faults: Vec<(String, Timestamp, Timestamp)>,
}

/// Does something to the platform.
type Act = fn(&mut sim::Platform);

/// Faults by the second at which they begin and end; each acts on the world.
const FAULTS: [(u64, u64, &str, Act, Act); 5] = [
    (
        200,
        320,
        "the gateway is killed",
        |platform| platform.kill(ServiceName::ExecutionGateway),
        |platform| platform.start_service(ServiceName::ExecutionGateway),
    ),
    (
        450,
        560,
        "another program locks the database",
        |platform| platform.lock_database(true).expect("free"),
        |platform| platform.lock_database(false).expect("ours"),
    ),
    (
        700,
        880,
        "the market feed is gone",
        |platform| platform.kill(ServiceName::MarketFeed),
        |platform| {
            platform.start_service(ServiceName::MarketFeed);
            // Prices that are too old trip it; a person resets it.
            trip(platform, "reset");
        },
    ),
    (
        1150,
        1270,
        "the breaker is tripped",
        |platform| trip(platform, "trip"),
        |platform| trip(platform, "reset"),
    ),
    (
        1330,
        1370,
        "the signal service is killed",
        |platform| platform.kill(ServiceName::SignalService),
        |platform| platform.start_service(ServiceName::SignalService),
    ),
];

fn trip(platform: &sim::Platform, what: &str) {
    let path = format!("/api/v1/breaker/{what}");
    platform.post(ServiceName::ExecutionGateway, &path, serde_json::json!({ "by": "injector" }));
}

impl Recorded {
    fn new(seconds: u64) -> Recorded {
        let folder = TempDir::new().expect("a folder");
        let dir = FsDir::new(folder.path().join("tsdb")).expect("a folder");
        let (db, _) = Db::open(Arc::new(dir), Options::default()).expect("opens");
        let ingest = |labels: Vec<(&str, String)>| {
            let target = Labels::from_pairs(labels);
            let options = IngestOptions { target, honor_timestamps: true, ..IngestOptions::default() };
            Ingest::new(db.clone(), options)
        };
        let mut targets: BTreeMap<ServiceName, Ingest> = ServiceName::MONITORED
            .into_iter()
            .map(|service| (service, ingest(target_labels(service).to_vec())))
            .collect();
        let mut clock = ingest(vec![("job", "tradewatch".to_owned())]);
        let open = b"tradewatch_market_open{mic=\"XNYS\"} 1\ntradewatch_market_open{mic=\"CRYPTO\"} 1\n";
        let mut faults = Vec::new();
        let mut text = Vec::new();
        sim::simulate(&sim::Options::quick(41), Duration::from_secs(seconds), |second| {
            let now = Timestamp::from_millis(second.now / 1_000_000);
            let elapsed = second.elapsed.as_secs();
            for (begin, end, what, act, undo) in FAULTS {
                if begin == elapsed {
                    faults.push((what.to_owned(), now, now + Duration::from_secs(end - begin)));
                    act(second.platform);
                }
                if end == elapsed {
                    undo(second.platform);
                }
            }
            if elapsed % 5 != 0 {
                return;
            }
            for (service, ingest) in &mut targets {
                text.clear();
                let fetched = if second.platform.is_up(*service) {
                    second.encode(*service, &mut text);
                    Ok((text.as_slice(), Format::Text))
                } else {
                    Err("connection refused".to_owned())
                };
                ingest.scrape(now, fetched, Duration::ZERO).expect("scraped");
            }
            clock.scrape_body(now, open).expect("scraped");
        })
        .expect("the platform runs on virtual time");
        Recorded { folder, db, faults }
    }

    /// The injector's log as a file of incidents.
    fn incidents(&self) -> PathBuf {
        let path = self.folder.path().join("incidents.yml");
        let mut text = String::new();
        for (what, from, to) in &self.faults {
            writeln!(text, "- {{name: {what}, from: '{from}', to: '{to}'}}").expect("to a string");
        }
        std::fs::write(&path, text).expect("written");
        path
    }
}

fn alert<'j>(version: &'j Json, name: &str) -> &'j Json {
    let alerts = version["alerts"].as_array().expect("alerts");
    alerts.iter().find(|alert| alert["name"] == name).unwrap_or_else(|| panic!("{name} in {version}"))
}

const CORRECTED: &str = "platforms/trading-platform/rules";
const ORIGINALS: &str = "docs/originals/trading-platform.rules.yml";
const ROUTES: &str = "platforms/trading-platform/alertmanager.yml";

#[test]
fn the_documents_rules_beside_the_corrected_ones() {
    let recorded = Recorded::new(1450);
    let incidents = recorded.incidents();
    let data = shown(recorded.folder.path());
    let common = ["backtest", CORRECTED, "--against", ORIGINALS, "--routes", ROUTES, "--data", data];
    let args = [&common[..], &["--incidents", shown(&incidents)]].concat();
    // The store is open and locked: it is read all the same.
    let table = ok(&args);
    println!("{table}");
    let outcome: Json =
        serde_json::from_str(&ok(&[&args[..], &["--format", "json"]].concat())).expect("JSON");
    let (old, new) = (&outcome["against"], &outcome["version"]);
    // The lost feed trips the breaker; tripped again by hand, it tells nothing new, so that nobody finds that incident.
    assert_eq!((&new["recall"], &old["recall"]), (&Json::from(0.8), &Json::from(0.6)), "{table}");
    assert_eq!(new["falsePages"], 0, "{table}");
    assert!(
        old["recall"].as_f64() < Some(1.0),
        "the short outage is under every `for` of the documents:\n{table}"
    );
    // The fast twin speaks, and holds back the slow one.
    let lost = alert(new, "ExecutionGatewayLost");
    assert!(lost["detectSeconds"][0].as_f64() <= Some(10.0), "{lost}");
    assert!(alert(old, "ExecutionGatewayDown")["detectSeconds"][0].as_f64() >= Some(60.0), "{table}");
    assert_eq!(alert(new, "ExecutionGatewayDown")["told"], 0, "{table}");
    assert!(alert(new, "ExecutionGatewayDown")["fired"].as_u64() > Some(0), "{table}");
    for part in ["new → 1", "found before by", "the breaker is tripped", "CircuitBreakerTripped after"] {
        assert!(table.contains(part), "{part:?} is missing from\n{table}");
    }
    drop(recorded.db);
}

#[test]
fn what_cannot_be_read_is_named() {
    let place = TempDir::new().expect("a folder");
    let at = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let rules = at("rules.yml", "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]");
    let broken = at("broken.yml", "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'up ==='}\n");
    let history = at("day.om", "# TYPE up gauge\nup 1 1760000000\nup 0 1760000060\nup 0 1760000120\n# EOF\n");
    let incidents = at("incidents.yml", "- {name: x, from: yesterday}\n");
    let marks = at(
        "marks.jsonl",
        "{\"time\": 1760000060000, \"timeEnd\": 1760000120000, \"tags\": [\"incident\"], \"text\": \"lost\"}\n",
    );
    let (rules, broken, history) = (shown(&rules), shown(&broken), shown(&history));
    refused(&["backtest", rules], "name the history");
    refused(&["backtest", broken, "--openmetrics", history], "broken.yml:4:");
    refused(&["backtest", rules, "--data", shown(place.path())], "holds no store");
    refused(&["backtest", rules, "--openmetrics", history, "--from", "soon"], "\"soon\" is no time");
    refused(&["backtest", rules, "--openmetrics", history, "--from", "2026-01-01"], "is not after");
    refused(
        &["backtest", rules, "--openmetrics", history, "--incidents", shown(&incidents)],
        "incidents.yml:1:19:",
    );
    refused(&["backtest", rules, "--openmetrics", history, "--routes", rules], "rules.yml:1:");
    refused(&["backtest", rules, "--url", "http://127.0.0.1:1", "--from", "1h"], "127.0.0.1:1");
    let said = ok(&["backtest", rules, "--openmetrics", history, "--incidents", shown(&marks), "--episodes"]);
    assert!(said.contains("recall 100 % (1 of 1)") && said.contains("2025-10-09T08:54:20"), "{said}");
}

/// The samples of a file, in a real Prometheus.
async fn prometheus(folder: &Path, history: &Path) -> (Child, String) {
    let data = folder.join("prometheus");
    let blocks = ["tsdb", "create-blocks-from", "openmetrics", shown(history), shown(&data)];
    let made =
        Command::new("promtool").args(blocks).output().expect("the Debian package prometheus is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(folder.join("prometheus.yml"), "scrape_configs: []\n").expect("written");
    let address = format!("127.0.0.1:{}", Ports::free().monitor);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", shown(&folder.join("prometheus.yml"))))
        .arg(format!("--storage.tsdb.path={}", shown(&data)))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address={address}"))
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .expect("the Debian package prometheus is installed");
    let url = format!("http://{address}");
    eventually("Prometheus", PATIENCE, async || {
        client().get(&format!("{url}/-/ready")).await.ok().filter(|answer| answer.is_success())
    })
    .await;
    (child, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gives_what_the_file_gives() {
    let place = TempDir::new().expect("a folder");
    let (rules, history) = (place.path().join("rules.yml"), place.path().join("day.om"));
    let begin = 1_760_000_400;
    let mut text = String::from("# TYPE orders counter\n# TYPE up gauge\n");
    for (series, of) in [("orders_total{side=\"buy\"}", 3), ("orders_total{side=\"sell\"}", 5)] {
        for minute in 0..1200 {
            // A pause of half an hour, and a counter that begins anew.
            if !(300..330).contains(&minute) {
                let value = if minute < 700 { minute * of } else { (minute - 700) * of };
                writeln!(text, "{series} {value} {}", begin + minute * 60).expect("to a string");
            }
        }
    }
    for minute in 0..1200 {
        writeln!(text, "up {} {}", u8::from(minute % 97 > 4), begin + minute * 60).expect("to a string");
    }
    std::fs::write(&history, text + "# EOF\n").expect("written");
    let text = "groups:\n- name: g\n  rules:\n  - {record: 'side:orders:rate', expr: 'rate(orders_total[5m])'}\n  \
                - {alert: Slow, expr: 'side:orders:rate < 0.06', for: 3m}\n  - {alert: Down, expr: up == 0, for: 1m}\n  \
                - {alert: Gone, expr: 'absent(orders_total{side=\"buy\"})'}\n";
    std::fs::write(&rules, text).expect("written");
    let (mut server, url) = prometheus(place.path(), &history).await;
    let span = ["--from", "1760004000", "--to", "1760072400", "--format", "json"];
    let ask = |source: [&str; 2]| -> Json {
        let said = ok(&[&["backtest", shown(&rules)], &source[..], &span[..]].concat());
        serde_json::from_str(&said).expect("JSON")
    };
    let (theirs, ours) = (ask(["--url", &url]), ask(["--openmetrics", shown(&history)]));
    server.kill().and_then(|()| server.wait()).expect("it ends");
    assert!(ours["version"]["episodes"].as_array().is_some_and(|episodes| episodes.len() > 10), "{ours}");
    // The file has no staleness markers; those that a pause gets end what was seen before it earlier.
    let of = |outcome: &Json, name: &str| -> Vec<String> {
        let episodes = outcome["version"]["episodes"].as_array().expect("episodes");
        let own = episodes.iter().filter(|episode| episode["alert"] == name);
        own.map(|e| format!("{} {} {}", e["labels"], e["firing"], e["resolved"])).collect()
    };
    assert_eq!(of(&theirs, "Down"), of(&ours, "Down"));
    let (gone, late) = (of(&theirs, "Gone"), of(&ours, "Gone"));
    assert_eq!((gone.len(), late.len()), (1, 1), "{gone:?} {late:?}");
    assert!(
        gone[0].contains("2025-10-09T14:00:00.000Z") && late[0].contains("2025-10-09T14:04:00.000Z"),
        "{gone:?} {late:?}"
    );
}
