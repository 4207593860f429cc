//! Whole runs on virtual time: they repeat, and their books agree to the cent.

use crate::world::{Stage, value};
use std::time::Duration;
use tradewatch_platforms::trading_platform::money::Money;
use tradewatch_platforms::trading_platform::{ServiceName, sim};

const SECOND: Duration = Duration::from_secs(1);

/// The text of all metrics at the end of a run, after a few faults.
fn text_of(seed: u64) -> String {
    let mut text = Vec::new();
    let seconds = 80;
    sim::simulate(&sim::Options::new(seed), Duration::from_secs(seconds), |second| {
        match second.elapsed.as_secs() {
            20 => second.platform.kill(ServiceName::MarketFeed),
            25 => second.platform.start_service(ServiceName::MarketFeed),
            35 => second.platform.kill(ServiceName::ExecutionGateway),
            38 => second.platform.start_service(ServiceName::ExecutionGateway),
            50 => second.platform.lock_database(true).expect("free"),
            53 => second.platform.lock_database(false).expect("ours"),
            60 => second.platform.ship_model(2).expect("shipped"),
            _ => {}
        }
        if second.elapsed.as_secs() == seconds {
            for name in ServiceName::MONITORED {
                second.encode(name, &mut text);
            }
        }
    })
    .expect("a run without a panic");
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let first = text_of(21);
    assert!(first.contains("execution_gateway_fills_total"), "{first}");
    let again = text_of(21);
    for (a, b) in first.lines().zip(again.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(first.len(), again.len());
    assert_ne!(text_of(22), first, "and another seed another one");
}

#[tokio::test(start_paused = true)]
async fn the_books_agree_with_the_brokers_to_the_cent() {
    let mut options = Stage::options(31);
    options.config.orchestrator.interval_ms = 2_000;
    let mut stage = Stage::start(options);
    tokio::time::sleep(100 * SECOND).await;
    stage.platform.kill(ServiceName::ExecutionGateway);
    tokio::time::sleep(7 * SECOND).await;
    stage.platform.start_service(ServiceName::ExecutionGateway);
    tokio::time::sleep(93 * SECOND).await;
    // Let what is under way end.
    stage.platform.kill(ServiceName::Orchestrator);
    let open = || stage.value(ServiceName::ExecutionGateway, "execution_gateway_open_orders");
    stage.until("no open orders", 120 * SECOND, || open() == 0.0).await;
    tokio::time::sleep(10 * SECOND).await;

    let ours = stage.get(ServiceName::ExecutionGateway, "/api/v1/positions/pnl/realtime").await;
    let theirs = stage.broker_ledger().await;
    let money = |value: &serde_json::Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Money::from_f64(text.parse().expect("a number")).expect("an amount")
    };
    println!("ours {ours}\ntheirs {theirs}");
    assert_eq!(money(&ours["realized"]).cents(), money(&theirs["realized"]).cents());
    let cash = money(&theirs["cash"]) - Money::whole(100_000);
    assert_eq!(money(&ours["cash_moved"]).cents(), cash.cents());
    assert_eq!(stage.value(ServiceName::ExecutionGateway, "execution_gateway_position_mismatches"), 0.0);
    let fills = stage.sum(ServiceName::ExecutionGateway, "execution_gateway_fills_total");
    assert!(fills > 100.0, "{fills} fills are too few to prove anything");
    assert!(value(stage.registry(ServiceName::SignalService), "signal_service_model_loaded_status") == 1.0);
}
