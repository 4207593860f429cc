//! What a service says of itself: that it is up, since when, and what it is.

#![allow(clippy::disallowed_methods)] // An edge module: a start time is read from the clock once.

use std::time::{SystemTime, UNIX_EPOCH};

use tradewatch_metrics::{Gauge, Info, Metrics, RegisterError, Registry};

use crate::labels::ServiceName;

#[derive(Metrics, Clone)]
struct ServiceMetrics {
    /// Name and version of the service.
    #[labels("service_name", "version")]
    service_info: Info<2>,
    /// 1 while the service calls itself up; a process that died cannot say 0, so alert on `up` as well.
    #[metric(unit = "bool")]
    service_up: Gauge<(ServiceName,)>,
    /// When the service started, in Unix seconds.
    service_start_time_seconds: Gauge<(ServiceName,)>,
}

/// A running service: `service_up` is 1 until this is dropped or marked down.
///
/// ```
/// # use tradewatch_metrics::{Format, Registry};
/// # use tradewatch_instrument::Service;
/// # let registry = Registry::new();
/// let service = Service::start(&registry, "strategy_service", "2.0.0")?;
/// // … serve …
/// drop(service);      // On every way out of main: `service_up` is 0 for the last scrape.
/// # let mut body = Vec::new();
/// # registry.encode(Format::Text004, &mut body);
/// # assert!(String::from_utf8(body)?.contains("service_up{service_name=\"strategy_service\"} 0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the service is marked down when this is dropped"]
pub struct Service {
    metrics: ServiceMetrics,
    name: ServiceName,
}

impl Service {
    /// Registers the three families and marks the service up, started now.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn start(registry: &Registry, name: &str, version: &str) -> Result<Service, RegisterError> {
        let metrics = ServiceMetrics::register(registry)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let service = Service { metrics, name: ServiceName::intern(name) };
        service.metrics.service_info.set([name, version]);
        service.metrics.service_start_time_seconds.at((service.name,)).set(since.as_secs_f64());
        service.up();
        Ok(service)
    }

    /// Marks the service up.
    pub fn up(&self) {
        self.metrics.service_up.at((self.name,)).set_bool(true);
    }

    /// Marks the service down: it runs and cannot do its work.
    pub fn down(&self) {
        self.metrics.service_up.at((self.name,)).set_bool(false);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.down();
    }
}
