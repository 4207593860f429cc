//! The platform `trading-platform`: four services around a market feed and a paper broker.
//!
//! ```text
//!  market feed ──ws──▶ market data service ──▶ price cache ──▶ signal service
//!                          ▲ positions                │             ▲ signals
//!                          │                          ▼             │
//!  paper broker ◀──orders── execution gateway ◀──orders── orchestrator
//!        └──trade updates──▶
//! ```
//! Each service is one `run(Config, Clock, Net, Shutdown)`: an operating-system process in the demo, a task on
//! virtual time in [`sim`]. Metrics are written by a service's handling of a request, a message, a tick or a
//! check, and by nothing else.

mod api;
mod catalog;
mod config;
pub mod database;
pub mod gateway;
pub mod labels;
pub mod market_data;
pub mod model;
pub mod money;
pub mod orchestrator;
pub mod order;
pub mod prices;
mod service;
pub mod signal;
pub mod sim;

pub use catalog::{PLATFORM, catalog};
pub use config::{Config, SYMBOLS, ServiceName};

use crate::runtime::{Clock, Net, Shutdown};
use tradewatch_metrics::Registry;

/// Runs one service until `shutdown`, whichever it is.
///
/// # Errors
/// If its address is taken or its configuration makes no sense.
pub async fn run_service(
    name: ServiceName,
    config: Config,
    clock: Clock,
    net: Net,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let registry = Registry::with_clock(move || clock.elapsed());
    run_service_with(name, config, clock, net, shutdown, registry).await
}

/// As [`run_service`], with a registry to look into. Feed, broker and cache are the platform's world: they have
/// no metrics and leave it empty.
///
/// # Errors
/// As [`run_service`].
pub async fn run_service_with(
    name: ServiceName,
    config: Config,
    clock: Clock,
    net: Net,
    shutdown: Shutdown,
    registry: Registry,
) -> anyhow::Result<()> {
    match name {
        ServiceName::MarketFeed => Ok(crate::feed::run(config.feed(), clock, net, shutdown).await?),
        ServiceName::PaperBroker => Ok(crate::broker::run(config.broker(), clock, net, shutdown).await?),
        ServiceName::PriceCache => Ok(crate::cache::run(config.cache(), clock, net, shutdown).await?),
        ServiceName::MarketDataService => market_data::run_with(config, clock, net, shutdown, registry).await,
        ServiceName::SignalService => signal::run_with(config, clock, net, shutdown, registry).await,
        ServiceName::ExecutionGateway => gateway::run_with(config, clock, net, shutdown, registry).await,
        ServiceName::Orchestrator => orchestrator::run_with(config, clock, net, shutdown, registry).await,
    }
}
