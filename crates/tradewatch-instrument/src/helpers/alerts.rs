//! Alerts that a service raises and delivers itself.

use tradewatch_metrics::{Counter, Histogram, Metrics, RegisterError, Registry, open_label};

use crate::labels::ErrorType;
use crate::running::{End, Running};

open_label!(struct AlertType("alert_type"), budget = 32);
open_label!(struct Priority("priority"), budget = 8);
open_label!(struct Channel("channel"), budget = 16);

#[derive(Metrics, Clone)]
struct Families {
    /// Alerts raised.
    alerts_triggered_total: Counter<(AlertType, Priority, Channel)>,
    /// Alerts delivered.
    alert_delivery_success_total: Counter<(AlertType, Channel)>,
    /// Alerts not delivered, by the kind of error.
    alert_delivery_failures_total: Counter<(AlertType, Channel, ErrorType)>,
    /// Time of one delivery, however it ended.
    #[buckets(0.1, 0.5, 1.0, 2.0, 5.0, 10.0)]
    alert_delivery_duration_seconds: Histogram<(AlertType, Channel)>,
}

/// The alerts of a process.
#[derive(Clone)]
pub struct AlertMetrics {
    registry: Registry,
    metrics: Families,
}

/// A kind of alert on a channel.
#[derive(Clone)]
pub struct Delivery {
    of: AlertMetrics,
    labels: (AlertType, Channel),
}

impl AlertMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(registry: &Registry) -> Result<AlertMetrics, RegisterError> {
        Ok(AlertMetrics { metrics: Families::register(registry)?, registry: registry.clone() })
    }

    /// A kind of alert (`price`, `risk` …) on a channel (`email`, `telegram` …).
    pub fn delivery(&self, kind: &str, channel: &str) -> Delivery {
        Delivery { of: self.clone(), labels: (AlertType::intern(kind), Channel::intern(channel)) }
    }
}

impl Delivery {
    /// Counts an alert that was raised.
    pub fn triggered(&self, priority: &str) {
        let (kind, channel) = self.labels;
        self.of.metrics.alerts_triggered_total.at((kind, Priority::intern(priority), channel)).inc();
    }

    /// Starts to deliver one.
    pub fn deliver(&self) -> Running<impl FnOnce(End) + '_> {
        Running::start(self.of.registry.stopwatch(), |end| {
            let (m, (kind, channel)) = (&self.of.metrics, self.labels);
            m.alert_delivery_duration_seconds.at(self.labels).observe_duration(end.took);
            match end.error {
                None => m.alert_delivery_success_total.at(self.labels).inc(),
                Some(error) => m.alert_delivery_failures_total.at((kind, channel, error)).inc(),
            }
        })
    }
}
