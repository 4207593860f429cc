//! The platform over TCP with a real PostgreSQL and a real Redis.

use crate::servers;
use crate::world::{sum, until, value};
use std::collections::BTreeMap;
use std::time::Duration;
use tradewatch_metrics::Registry;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown, Trigger};
use tradewatch_platforms::trading_platform::{Config, ServiceName, model, run_service_with};

const SECOND: Duration = Duration::from_secs(1);

/// The services of a platform as tasks of this process, over TCP.
struct Running {
    registries: BTreeMap<ServiceName, Registry>,
    _triggers: Vec<Trigger>,
    _folder: tempfile::TempDir,
}

fn start(mut config: Config, names: &[ServiceName]) -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    config.port_base = servers::free_port_base();
    config.model_path = folder.path().join("a.model");
    std::fs::write(&config.model_path, model::shipped(1).expect("shipped")).expect("writable");
    let clock = Clock::wall();
    config.market_clock = MarketClockConfig::opening_now(&clock);
    config.orchestrator.interval_ms = 1_500;
    config.signal.sample_ms = 100;
    let mut running = Running { registries: BTreeMap::new(), _triggers: Vec::new(), _folder: folder };
    for name in names {
        let registry = Registry::with_clock(move || clock.elapsed());
        let (trigger, shutdown) = Shutdown::new();
        let run = run_service_with(*name, config.clone(), clock, Net::Tcp, shutdown, registry.clone());
        tokio::spawn(async move { run.await.expect("the address is free") });
        running.registries.insert(*name, registry);
        running._triggers.push(trigger);
    }
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_flow_over_postgresql_and_redis_and_their_loss_is_told_within_two_seconds() {
    let (mut redis, mut postgres) = (servers::redis(), servers::postgres());
    let mut config = Config::default().demo();
    config.redis_url = format!("redis://127.0.0.1:{}", redis.port()).into();
    config.database.url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port()).into();
    let names: Vec<ServiceName> =
        ServiceName::ALL.into_iter().filter(|name| *name != ServiceName::PriceCache).collect();
    let running = start(config, &names);
    let at = |name: ServiceName| &running.registries[&name];
    let gateway = at(ServiceName::ExecutionGateway);
    let fills = |registry: &Registry| sum(registry, "execution_gateway_fills_total");
    until("fills", 60 * SECOND, || fills(gateway) >= 5.0).await;
    assert!(value(at(ServiceName::Orchestrator), "orchestrator_runs_total{status=\"success\"}") >= 1.0);
    assert_eq!(value(gateway, "execution_gateway_position_mismatches"), 0.0);

    let redis_gauges = [
        (gateway, "execution_gateway_redis_connection_status"),
        (at(ServiceName::SignalService), "signal_service_redis_connection_status"),
        (at(ServiceName::MarketDataService), "market_data_redis_connection_status"),
    ];
    let database_gauges = [
        (gateway, "execution_gateway_database_connection_status"),
        (at(ServiceName::SignalService), "signal_service_database_connection_status"),
        (at(ServiceName::Orchestrator), "orchestrator_database_connection_status"),
    ];
    let all = |gauges: &[(&Registry, &str)], expected: f64| {
        gauges.iter().all(|(r, name)| value(r, name) == expected)
    };
    assert!(all(&redis_gauges, 1.0) && all(&database_gauges, 1.0));

    redis.kill();
    until("the loss of Redis is told", 2 * SECOND, || all(&redis_gauges, 0.0)).await;
    redis.start_again();
    until("the return of Redis is told", 3 * SECOND, || all(&redis_gauges, 1.0)).await;

    postgres.kill();
    until("the loss of PostgreSQL is told", 2 * SECOND, || all(&database_gauges, 0.0)).await;
    let failed = || {
        sum(at(ServiceName::Orchestrator), "orchestrator_runs_total")
            - value(at(ServiceName::Orchestrator), "orchestrator_runs_total{status=\"success\"}")
    };
    until("a run that cannot be recorded is an error", 20 * SECOND, || failed() >= 1.0).await;
    postgres.start_again();
    until("the return of PostgreSQL is told", 20 * SECOND, || all(&database_gauges, 1.0)).await;
    let before = fills(gateway);
    until("orders flow again", 60 * SECOND, || fills(gateway) > before).await;
}
