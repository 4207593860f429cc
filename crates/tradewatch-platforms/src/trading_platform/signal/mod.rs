//! Signal service: predicts each symbol's next return from live prices and ranks the symbols.
//!
//! Right where the original was wrong: its connection gauges are set by checks on their own schedule; the
//! model gauge goes back to 0 when the model is withdrawn; a refused file is counted as an error, an
//! unreadable one as failed, and neither disturbs the model that serves.

mod generate;
mod http;
pub mod metrics;
mod models;
mod sampler;

use super::database::Database;
use super::prices::PriceCache;
use super::service::Service;
use super::{Config, ServiceName};
use crate::runtime::{Clock, Net, Shutdown};
use metrics::SignalMetrics;
use models::Models;
use sampler::Histories;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tradewatch_metrics::Registry;

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Symbols whose prices are followed and that a request without symbols gets.
    pub symbols: Vec<String>,
    /// How many are held long, if a request does not say.
    pub top_n: usize,
    /// How many are held short, if a request does not say.
    pub bottom_n: usize,
    /// Time between two samples of all prices, in milliseconds.
    pub sample_ms: u64,
    /// Time between two looks at the model file, in milliseconds. The platform's documents say 300 s.
    pub model_poll_ms: u64,
    /// Oldest price that is predicted from, in milliseconds.
    pub price_age_ms_max: u64,
    /// Time between checks of connections, in milliseconds.
    pub check_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            symbols: super::SYMBOLS.map(str::to_owned).to_vec(),
            top_n: 3,
            bottom_n: 3,
            sample_ms: 1_000,
            model_poll_ms: 300_000,
            price_age_ms_max: 10_000,
            check_ms: 500,
        }
    }
}

/// Shared by the tasks and requests of the service.
struct State {
    options: Options,
    clock: Clock,
    metrics: SignalMetrics,
    database: Database,
    cache: PriceCache,
    models: Models,
    histories: Histories,
}

/// Runs the service until `shutdown`.
///
/// # Errors
/// If its address is taken or its configuration makes no sense. A missing model is no such error: the service
/// says that it is not ready and takes the model when it comes.
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
    let metrics = SignalMetrics::register(&registry)?;
    metrics.model_reload_total.expose_all();
    metrics.requests_total.expose_all();
    let options = config.signal.clone();
    let check = Duration::from_millis(options.check_ms);
    let timeout = Duration::from_millis(config.call_timeout_ms);
    let state = Arc::new(State {
        clock,
        metrics,
        database: Database::new(&config.database, net.clone())?,
        cache: PriceCache::new(config.redis_url().expose(), timeout, net.clone())?,
        models: Models::new(&config.model_path),
        histories: Histories::new(&options.symbols),
        options,
    });
    // Before the first request: a service that starts with a good model is ready at once.
    state.reload().await.ok();
    let (by_database, by_cache, by_model) = (state.clone(), state.clone(), state.clone());
    let service = Service::new(&config, ServiceName::SignalService, clock, net, registry)
        .dependency("database", check, &state.metrics.database_connection_status, move || {
            let state = by_database.clone();
            async move {
                state.database.heartbeat("signal-service", state.clock.now()).await.map_err(|e| e.to_string())
            }
        })
        .dependency("redis", check, &state.metrics.redis_connection_status, move || {
            let state = by_cache.clone();
            async move { state.cache.ping().await.map_err(|error| error.to_string()) }
        })
        .observed("model", check, move || std::future::ready(by_model.models.ready()));
    service.spawn(sampler::run(state.clone()));
    service.spawn(models::poll(state.clone()));
    service.serve(http::router(state), shutdown).await
}
