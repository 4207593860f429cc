//! Execution gateway: takes orders, checks them, hands them to the broker, keeps positions and profit.
//!
//! Right where the original was wrong: its connection gauges are set by checks on their own schedule, the
//! breaker exists and is asked before every order, connection errors are told apart from refusals by reason,
//! positions follow the broker's stream and are compared with the broker's own, and a restart loses nothing.

pub mod breaker;
mod broker;
pub mod checks;
mod desk;
mod http;
pub mod ledger;
pub mod metrics;
mod place;
mod state;
mod store;
mod stream;
mod tasks;
pub mod webhook;

use super::database::Database;
use super::money::Money;
use super::prices::PriceCache;
use super::service::Service;
use super::{Config, ServiceName};
use crate::runtime::{Clock, Net, Shutdown};
use broker::Broker;
use metrics::GatewayMetrics;
use serde::{Deserialize, Serialize};
use state::State;
use std::sync::Arc;
use std::time::Duration;
use tradewatch_instrument::Secret;
use tradewatch_metrics::Registry;

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What may be traded.
    pub symbols: Vec<String>,
    /// Cash at the beginning; the broker's account has the same.
    pub capital: Money,
    /// Whether orders are kept from the broker at the first start; later what was set last counts.
    pub dry_run: bool,
    /// Key id of the account.
    pub key: String,
    /// Its secret.
    pub secret: Secret<String>,
    /// Secret that webhooks are signed with; empty takes unsigned ones.
    pub webhook_secret: Secret<String>,
    /// Limits on orders.
    pub limits: checks::OrderLimits,
    /// Limits of the circuit breaker.
    pub breaker: breaker::Limits,
    /// First wait before an order is submitted again; doubled. The platform's documents say 2 s.
    pub retry_base_ms: u64,
    /// Longest such wait. The platform's documents say 10 s.
    pub retry_cap_ms: u64,
    /// Longest wait for the broker's answer to an order.
    pub order_timeout_ms: u64,
    /// Time between looks at prices, equity and the breaker.
    pub assess_ms: u64,
    /// Time between comparisons of positions with the broker's.
    pub reconcile_ms: u64,
    /// Time between looks for orders that stand too long.
    pub sweep_ms: u64,
    /// How long an order may stand.
    pub order_life_ms: u64,
    /// First wait before the broker's stream is opened again; doubled.
    pub stream_reconnect_base_ms: u64,
    /// Longest such wait.
    pub stream_reconnect_cap_ms: u64,
    /// Time between pings on the broker's stream.
    pub stream_ping_ms: u64,
    /// A stream that is silent for so long, pongs included, is lost.
    pub stream_silence_ms: u64,
    /// Time between checks of database, cache and broker.
    pub check_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            symbols: super::SYMBOLS.map(str::to_owned).to_vec(),
            capital: Money::whole(100_000),
            dry_run: false,
            key: "PAPER-KEY".into(),
            secret: "paper-secret".into(),
            webhook_secret: Secret::default(),
            limits: checks::OrderLimits::default(),
            breaker: breaker::Limits::default(),
            retry_base_ms: 2_000,
            retry_cap_ms: 10_000,
            order_timeout_ms: 10_000,
            assess_ms: 500,
            reconcile_ms: 30_000,
            sweep_ms: 1_000,
            order_life_ms: 60_000,
            stream_reconnect_base_ms: 1_000,
            stream_reconnect_cap_ms: 10_000,
            stream_ping_ms: 500,
            stream_silence_ms: 1_400,
            check_ms: 700,
        }
    }
}

/// Runs the service until `shutdown`.
///
/// # Errors
/// If its address is taken or its configuration makes no sense. Whatever is away at the start is waited for.
pub async fn run(config: Config, clock: Clock, net: Net, shutdown: Shutdown) -> anyhow::Result<()> {
    let registry = Registry::with_clock(move || clock.elapsed());
    run_with(config, clock, net, shutdown, registry).await
}

/// As [`run`], with a registry to look into.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    clock: Clock,
    net: Net,
    shutdown: Shutdown,
    registry: Registry,
) -> anyhow::Result<()> {
    let metrics = GatewayMetrics::register(&registry)?;
    let options = config.gateway.clone();
    let timeout = Duration::from_millis(config.call_timeout_ms);
    let broker = Broker::new(
        config.url(ServiceName::PaperBroker),
        &options.key,
        options.secret.expose(),
        net.clone(),
        timeout,
        Duration::from_millis(options.order_timeout_ms),
        metrics.clone(),
    );
    let state = Arc::new(State::new(
        options,
        clock,
        net.clone(),
        metrics,
        Database::new(&config.database, net.clone())?,
        PriceCache::new(config.redis_url().expose(), timeout, net.clone())?,
        broker,
        format!("{}/stream", config.ws_url(ServiceName::PaperBroker)),
    ));
    let service =
        with_dependencies(&state, Service::new(&config, ServiceName::ExecutionGateway, clock, net, registry));
    service.spawn(tasks::load(state.clone()));
    service.spawn(tasks::write(state.clone()));
    service.spawn(tasks::assess(state.clone()));
    service.spawn(tasks::reconcile(state.clone()));
    service.spawn(tasks::sweep(state.clone()));
    service.spawn(stream::run(state.clone()));
    let served = service.serve(http::router(state.clone()), shutdown).await;
    // Whatever the last requests changed.
    state.flush().await.ok();
    served
}

fn with_dependencies(state: &Arc<State>, service: Service) -> Service {
    let check = Duration::from_millis(state.options.check_ms);
    let (by_database, by_cache, by_broker, by_load) =
        (state.clone(), state.clone(), state.clone(), state.clone());
    let metrics = &state.metrics;
    service
        .dependency("database", check, &metrics.database_connection_status, move || {
            let state = by_database.clone();
            async move {
                let beat = state.database.heartbeat("execution-gateway", state.clock.now()).await;
                beat.map_err(|error| error.to_string())
            }
        })
        .dependency("redis", check, &metrics.redis_connection_status, move || {
            let state = by_cache.clone();
            async move { state.cache.ping().await.map_err(|error| error.to_string()) }
        })
        .dependency("broker", check, &metrics.alpaca_connection_status, move || {
            let state = by_broker.clone();
            async move {
                let open = state.broker.is_open().await.map_err(|error| error.to_string())?;
                state.desk().market_open = open;
                Ok(())
            }
        })
        .observed("state", check, move || {
            let loaded = by_load.desk().loaded;
            std::future::ready(if loaded { Ok(()) } else { Err("the database was not read yet".into()) })
        })
}
