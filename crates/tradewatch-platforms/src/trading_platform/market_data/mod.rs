//! Market data service: two streams of the feed in, newest prices out.
//!
//! Right where the original was wrong: it counts messages, syncs and reconnects; it never gives up
//! reconnecting; its connection gauges are set by the connections themselves; and it corrects and exports
//! the offset of a venue's clock instead of taking every stamp at its word.

pub mod book;
mod http;
pub mod metrics;
pub mod offset;
mod state;
mod stream;
mod tasks;

use super::Config;
use super::prices::PriceCache;
use super::service::Service;
use crate::market::MarketClock;
use crate::runtime::http::Client;
use crate::runtime::{Clock, Net, Shutdown};
use book::Venue;
use metrics::MarketDataMetrics;
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
    /// Symbols that are subscribed from the start.
    pub symbols: Vec<String>,
    /// Path of the crypto stream.
    pub crypto_path: String,
    /// Path of the stock stream.
    pub stocks_path: String,
    /// Whether trades of coins are subscribed beside their quotes: most of the feed's messages.
    pub crypto_trades: bool,
    /// Key id for the feed.
    pub key: String,
    /// Secret for the feed.
    pub secret: Secret<String>,
    /// First wait before reconnecting; doubled with each failure. The platform's documents say 5 s.
    pub reconnect_base_ms: u64,
    /// Longest wait before reconnecting. The platform's documents say 300 s.
    pub reconnect_cap_ms: u64,
    /// Longest time for connecting and for the greeting.
    pub connect_timeout_ms: u64,
    /// Longest wait for the feed to confirm a change of subscription.
    pub confirm_timeout_ms: u64,
    /// Time between pings.
    pub ping_ms: u64,
    /// A stream that is silent for so long, pongs included, is lost.
    pub silence_ms: u64,
    /// Whether stamps are corrected by the venue's clock offset.
    pub apply_venue_offset: bool,
    /// A symbol without message for so long is stale while its market is open.
    pub stale_after_ms: u64,
    /// Time between looks at ages and connections.
    pub check_ms: u64,
    /// Time between syncs with positions. The platform's documents say 300 s.
    pub position_sync_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            symbols: super::SYMBOLS.map(str::to_owned).to_vec(),
            crypto_path: "/v1beta3/crypto/us".into(),
            stocks_path: "/v2/iex".into(),
            crypto_trades: true,
            key: "PAPER-KEY".into(),
            secret: "paper-secret".into(),
            reconnect_base_ms: 5_000,
            reconnect_cap_ms: 300_000,
            connect_timeout_ms: 2_000,
            confirm_timeout_ms: 5_000,
            ping_ms: 500,
            silence_ms: 1_400,
            apply_venue_offset: true,
            stale_after_ms: 5_000,
            check_ms: 500,
            position_sync_ms: 300_000,
        }
    }
}

/// Runs the service until `shutdown`.
///
/// # Errors
/// If its address is taken or its configuration makes no sense. Whatever happens later is told by its metrics.
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
    let metrics = MarketDataMetrics::register(&registry)?;
    let options = config.market_data.clone();
    let timeout = Duration::from_millis(config.call_timeout_ms);
    let cache = PriceCache::new(config.redis_url().expose(), timeout, net.clone())?;
    let market = MarketClock::new(&config.market_clock);
    let check = Duration::from_millis(options.check_ms);
    let (state, [crypto, stocks]) = State::new(
        options,
        clock,
        net.clone(),
        market,
        metrics,
        cache,
        config.ws_url(super::ServiceName::MarketFeed),
        config.url(super::ServiceName::ExecutionGateway),
    );
    let state = Arc::new(state);
    let cached = state.clone();
    let streams = state.clone();
    let service = Service::new(&config, super::ServiceName::MarketDataService, clock, net.clone(), registry)
        .dependency("redis", check, &state.metrics.redis_connection_status, move || {
            let state = cached.clone();
            async move { state.cache.ping().await.map_err(|error| error.to_string()) }
        })
        .observed("feed", check, move || std::future::ready(streams.connected()));
    service.spawn(stream::run(state.clone(), Venue::Crypto, crypto));
    service.spawn(stream::run(state.clone(), Venue::Stocks, stocks));
    service.spawn(tasks::store(state.clone()));
    service.spawn(tasks::watch_age(state.clone()));
    service.spawn(tasks::follow_positions(state.clone(), Client::new(net, timeout)));
    service.serve(http::router(state), shutdown).await
}
