//! The whole pipeline in one thread, from one seed, on virtual time: counter, text, series, rule, notification.
//!
//! Faults act on the platform's world; everything else is the code of the demo with the shipped files.

use crate::recording::target_labels;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tradewatch_alert::notify::{Notifier, Options as NotifierOptions};
use tradewatch_alert::route::Config;
use tradewatch_alert::rules::{Group, RuleFile, Surroundings, engine_query};
use tradewatch_platforms::trading_platform::{ServiceName, sim};
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_server::Ingest;
use tradewatch_server::scrape::IngestOptions;
use tradewatch_server::scrape::line::Format;
use tradewatch_tsdb::{Db, Labels, Timestamp};

/// Scrapes, rules and notifications of the shipped files, each a plain call with the time.
struct Pipeline {
    targets: BTreeMap<ServiceName, Ingest>,
    clock: Ingest,
    groups: Vec<Group>,
    around: Surroundings,
    notifier: Notifier,
    told: Vec<String>,
}

impl Pipeline {
    fn new() -> Pipeline {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms/trading-platform");
        let db = Db::in_memory();
        let ingest = |labels: Vec<(&str, String)>| {
            let target = Labels::from_pairs(labels);
            Ingest::new(
                db.clone(),
                IngestOptions { target, honor_timestamps: true, ..IngestOptions::default() },
            )
        };
        let mut groups = Vec::new();
        for name in ["service-health", "trading-operations", "data-quality", "performance"] {
            let path = folder.join(format!("rules/{name}.yml"));
            let (file, errors) = RuleFile::parse(name, &std::fs::read_to_string(&path).unwrap());
            assert!(errors.is_empty(), "{errors:?}");
            groups.extend(
                file.groups.iter().map(|spec| Group::new(name, spec, Duration::from_secs(1), Duration::ZERO)),
            );
        }
        // The shipped receiver has no integration of its own; the demo adds its terminal, this test a webhook.
        let routing = std::fs::read_to_string(folder.join("alertmanager.yml")).unwrap()
            + "    webhook_configs:\n      - url: http://127.0.0.1:9/hook\n        send_resolved: true\n";
        let (config, _) = Config::parse("alertmanager.yml", &routing).unwrap();
        Pipeline {
            targets: ServiceName::MONITORED
                .into_iter()
                .map(|service| (service, ingest(target_labels(service).to_vec())))
                .collect(),
            clock: ingest(vec![("job", "tradewatch".to_owned())]),
            groups,
            around: Surroundings::new(
                engine_query(Arc::new(Engine::new(EngineOptions::default())), db.clone()),
                db.clone(),
            ),
            notifier: Notifier::new(Arc::new(config), NotifierOptions::default()),
            told: Vec::new(),
        }
    }

    fn second(&mut self, second: &sim::Second) {
        let now = Timestamp::from_millis(second.now / 1_000_000);
        let mut text = Vec::new();
        for (service, ingest) in &mut self.targets {
            text.clear();
            let fetched = if second.platform.is_up(*service) {
                second.encode(*service, &mut text);
                Ok((text.as_slice(), Format::Text))
            } else {
                Err("connection refused".to_owned())
            };
            ingest.scrape(now, fetched, Duration::ZERO).unwrap();
        }
        self.clock
            .scrape_body(
                now,
                b"tradewatch_market_open{mic=\"XNYS\"} 1\ntradewatch_market_open{mic=\"CRYPTO\"} 1\n",
            )
            .unwrap();
        for group in &mut self.groups {
            let evaluation = group.evaluate(now, &self.around);
            assert_eq!(evaluation.store_error, None);
            assert!(evaluation.warnings.is_empty(), "{:?}", evaluation.warnings);
            self.notifier.update(now, &evaluation.alerts);
        }
        for delivery in self.notifier.poll(now) {
            for alert in &delivery.message.alerts {
                let name = alert.labels.get("alertname").map_or("?", |name| name);
                self.told.push(format!("{:>4} s  {:<9} {name}", second.elapsed.as_secs(), alert.status));
            }
            self.notifier.delivered(now, delivery.id);
        }
    }
}

/// What is told in a run of `seconds` with faults by the second.
fn run(seed: u64, seconds: u64, fault: impl Fn(u64, &mut sim::Platform)) -> Vec<String> {
    let mut pipeline = Pipeline::new();
    sim::simulate(&sim::Options::new(seed), Duration::from_secs(seconds), |second| {
        fault(second.elapsed.as_secs(), second.platform);
        pipeline.second(second);
    })
    .unwrap();
    pipeline.told
}

#[test]
fn normal_trading_tells_nothing() {
    let told = run(1, 300, |_, _| ());
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn a_killed_gateway_is_told_at_once_and_its_slow_twin_is_held_back() {
    let faults = |second: u64, platform: &mut sim::Platform| match second {
        30 => platform.kill(ServiceName::ExecutionGateway),
        100 => platform.start_service(ServiceName::ExecutionGateway),
        _ => (),
    };
    let told = run(2, 110, faults);
    expect_test::expect![[r#"
        [
            "  31 s  firing    ExecutionGatewayLost",
            " 100 s  resolved  ExecutionGatewayLost",
        ]
    "#]]
    .assert_debug_eq(&told);
    assert_eq!(told, run(2, 110, faults), "the same seed tells the same");
}

#[test]
fn a_locked_database_and_a_tripped_breaker_are_told_and_end() {
    let told = run(3, 140, |second, platform| match second {
        20 => platform.lock_database(true).unwrap(),
        70 => platform.lock_database(false).unwrap(),
        90 => platform.post(
            ServiceName::ExecutionGateway,
            "/api/v1/breaker/trip",
            serde_json::json!({ "by": "test" }),
        ),
        110 => platform.post(
            ServiceName::ExecutionGateway,
            "/api/v1/breaker/reset",
            serde_json::json!({ "by": "test" }),
        ),
        _ => (),
    });
    let names: Vec<&str> = told.iter().map(|line| line[8..].trim()).collect();
    for wanted in [
        "firing    ExecutionGatewayDatabaseDisconnected",
        "resolved  ExecutionGatewayDatabaseDisconnected",
        "firing    OrchestratorDatabaseDisconnected",
        "resolved  OrchestratorDatabaseDisconnected",
        "firing    CircuitBreakerTripped",
        "resolved  CircuitBreakerTripped",
    ] {
        assert!(names.contains(&wanted), "{wanted} was not told:\n{}", told.join("\n"));
    }
}
