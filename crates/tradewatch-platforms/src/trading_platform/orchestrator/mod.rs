//! Orchestrator: on a schedule and on request, turns signals into orders.
//!
//! Right where the original was wrong: a run that fails inside counts as an error (it counted every run that
//! returned as success), availability of the other services is checked on its own schedule, and orders go
//! from what is held to what should be held.

pub mod metrics;
pub mod run;
pub mod sizing;

use super::api::ApiError;
use super::database::Database;
use super::money::Money;
use super::order::Side;
use super::service::Service;
use super::{Config, ServiceName};
use crate::runtime::http::Client;
use crate::runtime::{Clock, Net, Shutdown};
use axum::extract::State as Ctx;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use metrics::OrchestratorMetrics;
use run::RunStatus;
use serde::{Deserialize, Serialize};
use sizing::Sizing;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tradewatch_metrics::Registry;

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What is traded.
    pub symbols: Vec<String>,
    /// Whose orders they are.
    pub strategy: String,
    /// How many symbols to hold long.
    pub top_n: usize,
    /// How many symbols to hold short.
    pub bottom_n: usize,
    /// How signals become orders.
    pub sizing: Sizing,
    /// Orders for coins carry a limit so many basis points inside the signal's price: they rest until they are
    /// crossed. Negative is beyond the price; absent sends market orders.
    pub crypto_limit_bps: Option<f64>,
    /// Time between two runs, in milliseconds; 0 runs on request only.
    pub interval_ms: u64,
    /// Longest wait for the gateway's answer to an order; the gateway may try three times.
    pub order_timeout_ms: u64,
    /// Time between checks of the other services and the database.
    pub check_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            symbols: super::SYMBOLS.map(str::to_owned).to_vec(),
            strategy: super::model::STRATEGY.into(),
            top_n: 3,
            bottom_n: 3,
            sizing: Sizing::default(),
            crypto_limit_bps: Some(0.0),
            interval_ms: 60_000,
            order_timeout_ms: 45_000,
            check_ms: 700,
        }
    }
}

impl Options {
    /// The limit of an order, in whole cents; `None` for a market order.
    fn limit_price(&self, order: &sizing::Sized, price: Money) -> Option<Money> {
        let bps = self.crypto_limit_bps.filter(|_| order.symbol.contains('/'))?;
        let inside = match order.side {
            Side::Buy => -bps,
            Side::Sell => bps,
        };
        let cents = price.scaled(1.0 + inside / 1e4).cents();
        Some(Money::from_nanos(cents * 10_000_000)).filter(|price| *price > Money::ZERO)
    }
}

/// Shared by the schedule and the requests.
pub struct State {
    options: Options,
    clock: Clock,
    metrics: OrchestratorMetrics,
    database: Database,
    client: Client,
    orders: Client,
    signal_service: String,
    gateway: String,
    market_data: String,
    /// One run at a time: two would size their orders from the same positions.
    running: tokio::sync::Mutex<()>,
}

/// Runs the service until `shutdown`.
///
/// # Errors
/// If its address is taken or its configuration makes no sense.
pub async fn run(config: Config, clock: Clock, net: Net, shutdown: Shutdown) -> anyhow::Result<()> {
    let registry = Registry::with_clock(move || clock.elapsed());
    run_with(config, clock, net, shutdown, registry).await
}

/// As [`run`](fn@run), with a registry to look into.
///
/// # Errors
/// As [`run`](fn@run).
pub async fn run_with(
    config: Config,
    clock: Clock,
    net: Net,
    shutdown: Shutdown,
    registry: Registry,
) -> anyhow::Result<()> {
    let metrics = OrchestratorMetrics::register(&registry)?;
    metrics.runs_total.expose_all();
    metrics.orders_submitted_total.expose_all();
    let options = config.orchestrator.clone();
    let check = Duration::from_millis(options.check_ms);
    let client = Client::new(net.clone(), Duration::from_millis(config.call_timeout_ms));
    let state = Arc::new(State {
        clock,
        metrics,
        database: Database::new(&config.database, net.clone())?,
        orders: client.with_timeout(Duration::from_millis(options.order_timeout_ms)),
        client,
        signal_service: config.url(ServiceName::SignalService),
        gateway: config.url(ServiceName::ExecutionGateway),
        market_data: config.url(ServiceName::MarketDataService),
        running: tokio::sync::Mutex::new(()),
        options,
    });
    let by_database = state.clone();
    let service = Service::new(&config, ServiceName::Orchestrator, clock, net, registry)
        .dependency("database", check, &state.metrics.database_connection_status, move || {
            let state = by_database.clone();
            async move {
                state.database.heartbeat("orchestrator", state.clock.now()).await.map_err(|e| e.to_string())
            }
        })
        .dependency(
            "signal-service",
            check,
            &state.metrics.signal_service_available,
            answers(&state, &state.signal_service),
        )
        .dependency(
            "execution-gateway",
            check,
            &state.metrics.execution_gateway_available,
            answers(&state, &state.gateway),
        );
    service.spawn(schedule(state.clone()));
    let router = Router::new().route("/api/v1/orchestration/run", post(requested)).with_state(state);
    service.serve(router, shutdown).await
}

/// A check whether the service at `url` answers its health page.
fn answers(
    state: &Arc<State>,
    url: &str,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync + 'static {
    let (client, url) = (state.client.clone(), format!("{url}/health"));
    move || {
        let (client, url) = (client.clone(), url.clone());
        Box::pin(async move {
            let answer = client.get(&url).await.map_err(|error| error.to_string())?;
            if answer.is_success() {
                Ok(())
            } else {
                Err(format!("{}: HTTP {}", answer.what, answer.status.as_u16()))
            }
        })
    }
}

async fn schedule(state: Arc<State>) {
    if state.options.interval_ms == 0 {
        return;
    }
    let period = Duration::from_millis(state.options.interval_ms);
    // Not at once: the other services are starting, too.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        // A run on request that is still under way does as well.
        if let Ok(_running) = state.running.try_lock() {
            state.run().await;
        }
    }
}

async fn requested(Ctx(state): Ctx<Arc<State>>) -> Response {
    let Ok(_running) = state.running.try_lock() else {
        return ApiError::conflict("a run is under way; ask again when it has ended").into_response();
    };
    let report = state.run().await;
    let status =
        if report.status == RunStatus::Failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trading_platform::money::Qty;

    #[test]
    fn only_coins_get_a_limit_and_it_is_on_our_side() {
        let order = |symbol: &str, side| sizing::Sized { symbol: symbol.into(), side, qty: Qty::whole(1) };
        let options = Options { crypto_limit_bps: Some(1.0), ..Options::default() };
        let price = Money::parse("60000.005").expect("a price");
        let limit = |order| options.limit_price(&order, price).map(|price| price.to_string());
        assert_eq!(limit(order("BTC/USD", Side::Buy)).as_deref(), Some("59994"));
        assert_eq!(limit(order("BTC/USD", Side::Sell)).as_deref(), Some("60006.01"));
        assert_eq!(limit(order("AAPL", Side::Sell)), None);
        let market = Options { crypto_limit_bps: None, ..Options::default() };
        assert_eq!(market.limit_price(&order("BTC/USD", Side::Buy), price), None);
    }
}
