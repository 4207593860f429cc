//! The frame of a service: its address, its pages, its health checks and its tasks.

use super::{Config, ServiceName};
use crate::runtime::{Clock, Net, Shutdown, Tasks, http};
use axum::Router;
use std::time::{Duration, UNIX_EPOCH};
use tradewatch_metrics::{Gauge, Health, Registry, endpoint};

/// Everything a service owns. Dropping it ends the service as the end of its process would.
pub struct Service {
    name: ServiceName,
    addr: String,
    net: Net,
    registry: Registry,
    health: Health,
    tasks: Tasks,
}

impl Service {
    /// A service with no dependencies and no tasks yet.
    pub fn new(config: &Config, name: ServiceName, clock: Clock, net: Net, registry: Registry) -> Service {
        let now = move || UNIX_EPOCH + Duration::from_nanos(clock.now().max(0) as u64);
        let health = Health::with_clock(now);
        Service { name, addr: config.addr(name), net, registry, health, tasks: Tasks::new() }
    }

    /// Adds a dependency that is checked every `period`; `gauge` shows the result.
    #[must_use]
    pub fn dependency<F, Fut>(mut self, name: &str, period: Duration, gauge: &Gauge, check: F) -> Service
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let gauge = gauge.clone();
        let show = move |result: &Result<(), String>| gauge.set_bool(result.is_ok());
        self.health = self.health.dependency(name, period, check).on_result(show);
        self
    }

    /// Adds a dependency that is looked at every `period` and whose gauge is set elsewhere.
    #[must_use]
    pub fn observed<F, Fut>(mut self, name: &str, period: Duration, check: F) -> Service
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.health = self.health.dependency(name, period, check);
        self
    }

    /// Starts a task that ends with the service.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Listens, and serves `router` with the pages of the SDK until `shutdown`.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn serve(self, router: Router, shutdown: Shutdown) -> anyhow::Result<()> {
        let listener = http::bind(&self.net, &self.addr).await?;
        self.tasks.spawn(self.health.clone().run());
        tracing::info!(service = %self.name, addr = self.addr, "listening");
        let router = router.merge(endpoint::router(self.registry.clone(), self.health.clone()));
        http::serve(listener, router, shutdown).await;
        Ok(())
    }
}
