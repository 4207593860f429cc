//! Every metric that the catalogue promises, against scrapes of the platform in trouble: one check each.
//!
//! The simulated platform runs through a scene of faults and is scraped every second. Then each metric of the
//! committed catalogue is looked for: that it is there, of its type, with its labels and their values, with its
//! edges, that it moved, and that every outcome it distinguishes was counted, failures too. A failure names the
//! metric and what it lacks; a metric added to the catalogue is checked without a line here.

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tradewatch_catalog::{Catalog, Kind, MetricSpec};
use tradewatch_metrics::parse::{self, Entry};
use tradewatch_platforms::trading_platform::sim::{Options, Platform, simulate};
use tradewatch_platforms::trading_platform::{ServiceName, model};

const SEED: u64 = 11;
const SCENE: Duration = Duration::from_secs(150);

/// Labels that say how something ended: every value must have been counted.
const OUTCOME: &str = "status";
/// Last words of gauges that are 1 while something works (or is the case) and 0 while not: both must be seen.
const SWITCHES: [&str; 4] = ["_status", "_available", "_connected", "_quiet_period"];

/// What scrapes showed of one series.
#[derive(Default)]
struct Seen {
    values: BTreeSet<u64>,
}

impl Seen {
    fn moved(&self) -> bool {
        self.values.iter().any(|bits| f64::from_bits(*bits) > 0.0)
    }

    fn was(&self, value: f64) -> bool {
        self.values.contains(&value.to_bits())
    }
}

type Labels = Vec<(String, String)>;

/// What scrapes showed of one family.
#[derive(Default)]
struct Family {
    kinds: BTreeSet<&'static str>,
    helped: bool,
    /// By name and labels.
    series: BTreeMap<(String, Labels), Seen>,
}

/// Reads one scrape of one service into the families known.
fn read(body: &[u8], names: &BTreeSet<&str>, families: &mut BTreeMap<String, Family>) {
    let mut parser = parse::text(body);
    while let Some(entry) = parser.next() {
        match entry.expect("our exposition reads") {
            Entry::Help { family, .. } => families.entry(family.to_string()).or_default().helped = true,
            Entry::Type { family, kind } => {
                families.entry(family.to_string()).or_default().kinds.insert(kind.as_str());
            }
            Entry::Sample(sample) => {
                let name = sample.name.to_string();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix).filter(|base| names.contains(base)));
                let labels = sample.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
                let family = families.entry(base.unwrap_or(&name).to_owned()).or_default();
                let seen = family.series.entry((name, labels)).or_default();
                // Some values are kept apart, whether any is above zero is what counts.
                if seen.values.len() < 64 || sample.value == 0.0 || sample.value == 1.0 {
                    seen.values.insert(sample.value.to_bits());
                }
            }
            _ => {}
        }
    }
}

/// The announced faults, by virtual second. None touches a metric.
fn disturb(platform: &mut Platform, second: u64) {
    use ServiceName::{
        ExecutionGateway, MarketDataService, MarketFeed, PaperBroker, PriceCache, SignalService,
    };
    let none = || json!({});
    let order = |symbol: &str, qty: &str| json!({"symbol": symbol, "side": "buy", "qty": qty, "client_order_id": format!("by-hand-{symbol}-{qty}")});
    match second {
        3 => platform.post(MarketDataService, "/api/v1/subscribe", json!({"symbols": ["NOBODY"]})),
        5 => platform.post(ExecutionGateway, "/api/v1/orders", order("AAPL", "100000")),
        6 => platform.post(ExecutionGateway, "/api/v1/orders", json!({"no": "order"})),
        7 => platform.post(ExecutionGateway, "/api/v1/orders", order("MSFT", "1")),
        8 => {
            platform.post(MarketFeed, "/control/faults", json!({"kind": "refuse", "for_seconds": 5}));
            platform.post(MarketFeed, "/control/faults", json!({"kind": "disconnect", "for_seconds": 1}));
        }
        17 => platform.post(
            MarketFeed,
            "/control/faults",
            json!({"kind": "gap", "symbol": "TSLA", "messages": 5, "for_seconds": 2}),
        ),
        20 => {
            let fault = json!({"kind": "error", "share": 0.6, "for_seconds": 8});
            platform.post(PaperBroker, "/control/faults", fault);
        }
        29 => {
            let fault = json!({"kind": "silence", "symbol": "ETH/USD", "for_seconds": 12});
            platform.post(MarketFeed, "/control/faults", fault);
        }
        32 => platform.kill(PaperBroker),
        // What cannot be written down is not sent.
        46 => platform.post(ExecutionGateway, "/api/v1/orders", order("BTC/USD", "0.01")),
        41 => platform.start_service(PaperBroker),
        45 => platform.lock_database(true).expect("a database of its own"),
        49 => platform.lock_database(false).expect("it is locked"),
        52 => platform.kill(PriceCache),
        58 => platform.start_service(PriceCache),
        62 => {
            let mut damaged = model::shipped(2).expect("there is a second model").as_bytes().to_vec();
            *damaged.last_mut().expect("a model is not empty") ^= 1;
            platform.write_model(&damaged).expect("the folder is ours");
            platform.post(SignalService, "/api/v1/model/reload", none());
        }
        66 => {
            platform.remove_model().expect("there is one");
            platform.post(SignalService, "/api/v1/model/reload", none());
        }
        70 => {
            platform.ship_model(2).expect("the folder is ours");
            platform.post(SignalService, "/api/v1/model/reload", none());
        }
        74 => platform.post(ExecutionGateway, "/api/v1/mode", json!({"dry_run": true})),
        78 => platform.post(ExecutionGateway, "/api/v1/mode", json!({"dry_run": false})),
        80 => platform.post(
            ExecutionGateway,
            "/api/v1/breaker/trip",
            json!({"by": "test", "comment": "announced"}),
        ),
        86 => platform.post(ExecutionGateway, "/api/v1/breaker/reset", none()),
        104 => platform.kill(SignalService),
        112 => platform.start_service(SignalService),
        120 => platform.kill(ExecutionGateway),
        128 => platform.start_service(ExecutionGateway),
        _ => {}
    }
}

/// What a metric lacks.
fn check(metric: &MetricSpec, family: Option<&Family>) -> Vec<String> {
    let Some(family) = family.filter(|family| !family.series.is_empty()) else {
        return vec!["was never exposed".to_owned()];
    };
    let mut lacks = Vec::new();
    // Text 0.0.4 knows no info.
    let kind = if metric.kind == Kind::Info { "gauge" } else { metric.kind.as_str() };
    if family.kinds.iter().ne([&kind]) {
        lacks.push(format!("has the types {:?}, the catalogue says {kind}", family.kinds));
    }
    if !family.helped {
        lacks.push("has no HELP".to_owned());
    }
    lacks.extend(check_labels(metric, family));
    if metric.kind == Kind::Histogram {
        lacks.extend(check_edges(metric, family));
    }
    // A gauge may rightly be zero all along (mismatches, say), but is set all the same.
    if metric.kind != Kind::Gauge && !family.series.values().any(Seen::moved) {
        lacks.push("never moved".to_owned());
    }
    for label in metric.labels.iter().filter(|label| label.name == OUTCOME) {
        for value in &label.values {
            let pair = (label.name.clone(), value.clone());
            let counted =
                family.series.iter().any(|((_, labels), seen)| labels.contains(&pair) && seen.moved());
            if !counted {
                lacks.push(format!("never counted {}={value:?}", label.name));
            }
        }
    }
    if metric.kind == Kind::Gauge && SWITCHES.iter().any(|last| metric.name.ends_with(last)) {
        let was = |value| family.series.values().any(|seen| seen.was(value));
        if !was(0.0) || !was(1.0) {
            lacks.push("was not seen both at 0 and at 1".to_owned());
        }
    }
    lacks
}

fn check_labels(metric: &MetricSpec, family: &Family) -> Vec<String> {
    let mut lacks = BTreeSet::new();
    let names: Vec<&str> = metric.labels.iter().map(|label| label.name.as_str()).collect();
    for (_, labels) in family.series.keys() {
        let shown: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).filter(|n| *n != "le").collect();
        if shown != names {
            lacks.insert(format!("has the labels {shown:?}, the catalogue says {names:?}"));
        }
    }
    for label in &metric.labels {
        let shown: BTreeSet<&str> = family
            .series
            .keys()
            .flat_map(|(_, labels)| labels.iter().filter(|(name, _)| *name == label.name))
            .map(|(_, value)| value.as_str())
            .collect();
        // An open label may take others than those known, up to its budget.
        let known =
            |value: &&&str| label.budget.is_none() && !label.values.iter().any(|known| known == **value);
        if let Some(value) = shown.iter().find(known) {
            lacks.insert(format!("has {}={value:?}, which the catalogue does not know", label.name));
        }
        // An info has one series at a time, and others after it.
        if !metric.name.ends_with("_info") && label.budget.is_some_and(|budget| shown.len() > budget) {
            lacks.insert(format!("has {} values of {}, more than its budget", shown.len(), label.name));
        }
    }
    lacks.into_iter().collect()
}

fn check_edges(metric: &MetricSpec, family: &Family) -> Vec<String> {
    let buckets = family.series.keys().filter(|(name, _)| name.ends_with("_bucket"));
    let mut by_series: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (_, labels) in buckets {
        let (le, others): (Labels, Labels) = labels.iter().cloned().partition(|(name, _)| name == "le");
        let edge = le.first().and_then(|(_, edge)| edge.parse().ok()).unwrap_or(f64::NAN);
        by_series.entry(others).or_default().push(edge);
    }
    let mut lacks = Vec::new();
    let expected: Vec<f64> = metric.buckets.iter().copied().chain([f64::INFINITY]).collect();
    for (labels, mut edges) in by_series {
        edges.sort_by(f64::total_cmp);
        if edges != expected {
            lacks.push(format!("{labels:?} has the edges {edges:?}, the catalogue says {expected:?}"));
        }
    }
    if !family.series.iter().any(|((name, _), seen)| name.ends_with("_count") && seen.moved()) {
        lacks.push("observed nothing".to_owned());
    }
    lacks
}

#[test]
fn every_metric_of_the_catalogue_is_there_and_tells_success_from_failure() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms/trading-platform/catalog.toml");
    let text = std::fs::read_to_string(&file).expect("the catalogue is committed");
    let catalog = Catalog::parse("catalog.toml", &text).expect("the catalogue reads");
    let names: BTreeSet<&str> = catalog.metrics.iter().map(|metric| metric.name.as_str()).collect();
    let mut families = BTreeMap::new();
    let mut body = Vec::new();
    simulate(&Options::new(SEED), SCENE, |second| {
        for service in ServiceName::MONITORED {
            body.clear();
            second.encode(service, &mut body);
            read(&body, &names, &mut families);
        }
        disturb(second.platform, second.elapsed.as_secs());
    })
    .expect("the platform runs");
    let mut wrong = Vec::new();
    for metric in &catalog.metrics {
        for lack in check(metric, families.get(&metric.name)) {
            wrong.push(format!("{} {lack}", metric.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} checks:\n{}", wrong.len(), names.len(), wrong.join("\n"));
    assert!(names.len() >= 60, "the catalogue lost metrics: {}", names.len());
    // And the other way round: nothing is exposed that the catalogue does not promise.
    let unknown: Vec<&String> = families
        .keys()
        .filter(|name| !names.contains(name.as_str()) && !name.starts_with("tradewatch_sdk_"))
        .collect();
    assert!(unknown.is_empty(), "exposed and not in the catalogue: {unknown:?}");
}
