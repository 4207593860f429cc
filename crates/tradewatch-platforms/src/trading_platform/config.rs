//! Configuration of all services of the platform: one JSON file for each of them to read.

use super::{database, gateway, market_data, orchestrator, signal};
use crate::market::MarketClockConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use tradewatch_instrument::{Secret, secret};

/// What the platform trades.
pub const SYMBOLS: [&str; 7] = ["BTC/USD", "ETH/USD", "AAPL", "MSFT", "GOOGL", "AMZN", "TSLA"];

/// A process of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// The paper broker.
    PaperBroker,
    /// The market feed.
    MarketFeed,
    /// The price cache.
    PriceCache,
    /// Market data service.
    MarketDataService,
    /// Signal service.
    SignalService,
    /// Execution gateway.
    ExecutionGateway,
    /// Orchestrator.
    Orchestrator,
}

impl ServiceName {
    /// All, in the order in which they start best.
    pub const ALL: [ServiceName; 7] = [
        ServiceName::PaperBroker,
        ServiceName::MarketFeed,
        ServiceName::PriceCache,
        ServiceName::MarketDataService,
        ServiceName::SignalService,
        ServiceName::ExecutionGateway,
        ServiceName::Orchestrator,
    ];

    /// The four that are monitored; the rest is their world.
    pub const MONITORED: [ServiceName; 4] = [
        ServiceName::MarketDataService,
        ServiceName::SignalService,
        ServiceName::ExecutionGateway,
        ServiceName::Orchestrator,
    ];

    /// The name on the command line, in `prometheus.yml` and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceName::PaperBroker => "paper-broker",
            ServiceName::MarketFeed => "market-feed",
            ServiceName::PriceCache => "price-cache",
            ServiceName::MarketDataService => "market-data-service",
            ServiceName::SignalService => "signal-service",
            ServiceName::ExecutionGateway => "execution-gateway",
            ServiceName::Orchestrator => "orchestrator",
        }
    }

    /// The inverse of [`ServiceName::as_str`].
    pub fn parse(text: &str) -> Option<ServiceName> {
        ServiceName::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// Its port above the base.
    pub fn port_offset(self) -> u16 {
        match self {
            ServiceName::SignalService => 1,
            ServiceName::ExecutionGateway => 2,
            ServiceName::Orchestrator => 3,
            ServiceName::MarketDataService => 4,
            ServiceName::MarketFeed => 10,
            ServiceName::PaperBroker => 11,
            ServiceName::PriceCache => 12,
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that can be set. Each service reads the same file and takes its part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address that every service listens on and is reached at.
    pub host: String,
    /// Ports are this plus [`ServiceName::port_offset`].
    pub port_base: u16,
    /// Seed of everything random: synthetic prices, latency and rejections of the broker.
    pub seed: u64,
    /// When equities trade.
    pub market_clock: MarketClockConfig,
    /// The database of the four services.
    pub database: database::Options,
    /// A real Redis (`redis://host:port`); empty for the platform's own price cache.
    pub redis_url: Secret<String>,
    /// The model that the signal service runs, and that is looked at for changes.
    pub model_path: PathBuf,
    /// Longest call from one service to another, in milliseconds.
    pub call_timeout_ms: u64,
    /// The market feed. Its address, clock and seed are taken from above.
    pub feed: crate::feed::Config,
    /// The paper broker. Its address, clock and seed are taken from above.
    pub broker: crate::broker::Config,
    /// Market data service.
    pub market_data: market_data::Options,
    /// Signal service.
    pub signal: signal::Options,
    /// Orchestrator.
    pub orchestrator: orchestrator::Options,
    /// Execution gateway.
    pub gateway: gateway::Options,
}

impl Default for Config {
    /// The platform as its documents describe it.
    fn default() -> Config {
        Config {
            host: "127.0.0.1".into(),
            port_base: 8000,
            seed: 0,
            market_clock: MarketClockConfig::Wall,
            database: database::Options::default(),
            redis_url: Secret::default(),
            model_path: "alpha_baseline.model".into(),
            call_timeout_ms: 1_000,
            feed: crate::feed::Config::default(),
            broker: crate::broker::Config::default(),
            market_data: market_data::Options::default(),
            signal: signal::Options::default(),
            orchestrator: orchestrator::Options::default(),
            gateway: gateway::Options::default(),
        }
    }
}

impl Config {
    /// The same with the short times of the demo, so that everything can be seen within two minutes.
    pub fn demo(mut self) -> Config {
        self.market_data.reconnect_base_ms = 500;
        self.market_data.reconnect_cap_ms = 4_000;
        self.market_data.position_sync_ms = 5_000;
        self.signal.model_poll_ms = 2_000;
        self.signal.sample_ms = 500;
        self.orchestrator.interval_ms = 4_000;
        self.gateway.breaker.quiet_period_ms = 8_000;
        self.gateway.retry_base_ms = 250;
        self.gateway.retry_cap_ms = 1_000;
        self.gateway.reconcile_ms = 2_000;
        self.gateway.stream_reconnect_base_ms = 500;
        self
    }

    /// The text of the file that every service reads, keys and passwords included; anywhere else they are `***`.
    ///
    /// # Panics
    /// Never: a configuration is plain data.
    pub fn to_file_text(&self) -> String {
        secret::revealed(|| serde_json::to_string_pretty(self)).expect("plain data")
    }

    /// `host:port` of a service.
    pub fn addr(&self, service: ServiceName) -> String {
        format!("{}:{}", self.host, self.port_base + service.port_offset())
    }

    /// `http://host:port` of a service.
    pub fn url(&self, service: ServiceName) -> String {
        format!("http://{}", self.addr(service))
    }

    /// `ws://host:port` of a service.
    pub fn ws_url(&self, service: ServiceName) -> String {
        format!("ws://{}", self.addr(service))
    }

    /// The feed's own configuration.
    pub fn feed(&self) -> crate::feed::Config {
        crate::feed::Config {
            listen: self.addr(ServiceName::MarketFeed),
            seed: self.seed,
            market_clock: self.market_clock.clone(),
            ..self.feed.clone()
        }
    }

    /// The broker's own configuration: its prices are the feed's, its updates go to the gateway's webhook as well.
    pub fn broker(&self) -> crate::broker::Config {
        let mut config = crate::broker::Config {
            listen: self.addr(ServiceName::PaperBroker),
            feed_url: self.ws_url(ServiceName::MarketFeed),
            seed: self.seed,
            market_clock: self.market_clock.clone(),
            ..self.broker.clone()
        };
        config.webhooks.push(format!("{}/api/v1/webhooks/orders", self.url(ServiceName::ExecutionGateway)));
        config
    }

    /// The cache's own configuration.
    pub fn cache(&self) -> crate::cache::Config {
        crate::cache::Config { listen: self.addr(ServiceName::PriceCache), ..crate::cache::Config::default() }
    }

    /// Where prices are shared.
    pub fn redis_url(&self) -> Secret<String> {
        if self.redis_url.expose().is_empty() {
            format!("redis://{}", self.addr(ServiceName::PriceCache)).into()
        } else {
            self.redis_url.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_ports_differ() {
        let mut ports = Vec::new();
        for name in ServiceName::ALL {
            assert_eq!(ServiceName::parse(name.as_str()), Some(name));
            assert_eq!(serde_json::to_string(&name).expect("a name"), format!("\"{name}\""));
            ports.push(name.port_offset());
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), ServiceName::ALL.len());
        assert_eq!(ServiceName::parse("nothing"), None);
    }

    #[test]
    fn a_configuration_reads_back_and_may_be_partial() {
        let config = Config::default().demo();
        let text = config.to_file_text();
        let again: Config = serde_json::from_str(&text).expect(&text);
        assert_eq!(again.to_file_text(), text);
        let partial: Config =
            serde_json::from_str(r#"{"port_base": 9000, "gateway": {"dry_run": true}}"#).expect("partial");
        assert_eq!(partial.addr(ServiceName::Orchestrator), "127.0.0.1:9003");
        assert!(partial.gateway.dry_run);
        assert_eq!(partial.redis_url().expose(), "redis://127.0.0.1:9012");
    }

    #[test]
    fn what_opens_doors_is_not_told() {
        let mut config = Config::default();
        config.database.url = "postgres://gw:one-s3cret@db/orders".into();
        config.redis_url = "redis://:two-s3cret@cache".into();
        config.broker.secret_key = "three-s3cret".into();
        config.broker.feed_secret_key = "four-s3cret".into();
        config.feed.secret_key = "five-s3cret".into();
        config.market_data.secret = "six-s3cret".into();
        config.gateway.secret = "seven-s3cret".into();
        config.gateway.webhook_secret = "eight-s3cret".into();
        let told = format!("{config:?} {:?} {:?}", config.broker(), config.feed());
        let told = told + &serde_json::to_string(&config).expect("plain data");
        assert!(!told.contains("s3cret"), "{told}");
        assert_eq!(config.to_file_text().matches("s3cret").count(), 8);
        config.database.url = "mysql://gw:one-s3cret@db/orders".into();
        let error = database::Database::new(&config.database, crate::runtime::Net::Tcp)
            .expect_err("no such database");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
