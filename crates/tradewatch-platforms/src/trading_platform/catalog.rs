//! The platform's metric catalogue, from the declarations of its services.

use super::config::{SYMBOLS, ServiceName};
use super::gateway::metrics::GatewayMetrics;
use super::market_data::metrics::MarketDataMetrics;
use super::orchestrator::metrics::OrchestratorMetrics;
use super::signal::metrics::SignalMetrics;
use super::{Config, model};
use tradewatch_catalog::{Catalog, Service};
use tradewatch_metrics::Descriptor;

/// The name of the platform, as its folder is called.
pub const PLATFORM: &str = "trading-platform";

/// Every metric that the four services expose; `platforms/trading-platform/catalog.toml` is its text.
pub fn catalog() -> Catalog {
    let services = [
        service(ServiceName::ExecutionGateway, GatewayMetrics::descriptors()),
        service(ServiceName::SignalService, SignalMetrics::descriptors()),
        service(ServiceName::Orchestrator, OrchestratorMetrics::descriptors()),
        service(ServiceName::MarketDataService, MarketDataMetrics::descriptors()),
    ];
    Catalog::from_services(PLATFORM, "Trading platform: equities and crypto at Alpaca", &services)
        .with_known_values("symbol", &SYMBOLS)
        .with_known_values("model_version", &["v1", "v2"])
        .with_known_values("model_name", &[model::STRATEGY])
}

fn service(name: ServiceName, metrics: Vec<Descriptor>) -> Service {
    let port = Config::default().port_base + name.port_offset();
    Service { name: name.as_str().replace('-', "_"), port: Some(port), path: "/metrics".into(), metrics }
}
