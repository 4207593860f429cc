//! Collecting data from outside sources.

#![allow(clippy::disallowed_methods)] // An edge module: the time of the last success is told by the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics, RegisterError, Registry, open_label};

use crate::labels::ErrorType;
use crate::running::{End, Running};

open_label!(struct CollectorName("collector_name"), budget = 32);
open_label!(struct Source("source"), budget = 32);
open_label!(struct DataType("data_type"), budget = 16);

#[derive(Metrics, Clone)]
struct CollectionMetrics {
    /// 1 if the collector's last collection succeeded.
    #[metric(unit = "bool")]
    data_collector_health: Gauge<(CollectorName, Source)>,
    /// When the collector last succeeded, in Unix seconds.
    data_collector_last_success_timestamp: Gauge<(CollectorName, Source)>,
    /// Data points collected.
    data_points_collected_total: Counter<(CollectorName, Source, DataType)>,
    /// Collections that did not succeed, by the kind of error.
    data_collection_errors_total: Counter<(CollectorName, Source, ErrorType)>,
    /// Time of one collection, however it ended.
    #[buckets(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)]
    data_collection_duration_seconds: Histogram<(CollectorName, Source)>,
}

/// The data collectors of a process.
#[derive(Clone)]
pub struct Collection {
    registry: Registry,
    metrics: CollectionMetrics,
}

/// One collector and its source.
#[derive(Clone)]
pub struct Collector {
    of: Collection,
    labels: (CollectorName, Source),
}

impl Collection {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Collection, RegisterError> {
        Ok(Collection { metrics: CollectionMetrics::register(registry)?, registry: registry.clone() })
    }

    /// A collector, not healthy before its first success.
    pub fn collector(&self, name: &str, source: &str) -> Collector {
        let labels = (CollectorName::intern(name), Source::intern(source));
        self.metrics.data_collector_health.at(labels);
        Collector { of: self.clone(), labels }
    }
}

impl Collector {
    /// Starts one collection. Its end sets health, and after a success the time of it.
    pub fn collect(&self) -> Running<impl FnOnce(End) + '_> {
        Running::start(self.of.registry.stopwatch(), |end| self.record(end))
    }

    /// Counts points that were collected.
    pub fn points(&self, data_type: &str, count: u64) {
        let (name, source) = self.labels;
        let points = &self.of.metrics.data_points_collected_total;
        points.at((name, source, DataType::intern(data_type))).inc_by(count);
    }

    /// Sets health by other knowledge than the last collection's: a circuit breaker, say.
    pub fn set_healthy(&self, healthy: bool) {
        self.of.metrics.data_collector_health.at(self.labels).set_bool(healthy);
    }

    fn record(&self, end: End) {
        let m = &self.of.metrics;
        let (name, source) = self.labels;
        m.data_collection_duration_seconds.at(self.labels).observe_duration(end.took);
        self.set_healthy(end.error.is_none());
        match end.error {
            Some(error) => m.data_collection_errors_total.at((name, source, error)).inc(),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                m.data_collector_last_success_timestamp.at(self.labels).set(now.as_secs_f64());
            }
        }
    }
}
