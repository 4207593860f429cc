//! Outside Alertmanagers of `prometheus.yml`: they are told each firing and resolved alert as Prometheus does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::sync::mpsc;
use tradewatch_alert::Alert;

use crate::config::file::RelabelConfig;
use crate::config::{Config, HttpClientConfig};
use crate::error::Error;
use crate::net::HttpClient;
use crate::net::client::Ask;
use crate::relabel::{self, LabelMap};
use crate::telemetry::{DeliveryStatus, Own, ReceiverName};

/// Batches that wait for one Alertmanager; then the oldest news are dropped, since alerts are told again.
const BATCHES_MAX: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts for one batch; a firing alert is told again after the resend delay in any case.
const ATTEMPTS_MAX: u32 = 3;

/// The outside Alertmanagers of a configuration.
#[derive(Default)]
pub struct Outside {
    managers: Vec<(String, HttpClient, Duration)>,
    external_labels: BTreeMap<String, String>,
    relabel: Vec<RelabelConfig>,
}

impl Outside {
    /// What `config` names.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn of(config: &Config) -> Result<Outside, Error> {
        let mut managers = Vec::new();
        for one in &config.file.alerting.alertmanagers {
            let client = HttpClient::new(HttpClientConfig {
                basic_auth: one.basic_auth.clone(),
                authorization: one.authorization.clone(),
                tls: one.tls_config.clone(),
                folder: config.folder().to_owned(),
                follow_redirects: false,
                proxy: None,
            })?;
            let prefix = one.path_prefix.as_deref().unwrap_or("").trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            let timeout = one.timeout.map_or(TIMEOUT, |timeout| timeout.0);
            for address in one.static_configs.iter().flat_map(|group| &group.targets) {
                let scheme = one.scheme.unwrap_or_default().as_str();
                let url = format!("{scheme}://{address}{slash}{prefix}/api/v2/alerts");
                managers.push((url, client.clone(), timeout));
            }
        }
        let labels = config.file.global.external_labels.iter();
        Ok(Outside {
            managers,
            external_labels: labels.map(|(name, value)| (name.0.clone(), value.clone())).collect(),
            relabel: config.file.alerting.alert_relabel_configs.clone(),
        })
    }
}

/// The tasks that tell them.
pub struct Running {
    own: Arc<Own>,
    tasks: Vec<(String, mpsc::Sender<Bytes>)>,
    external_labels: BTreeMap<String, String>,
    relabel: Vec<RelabelConfig>,
}

impl Running {
    /// Nobody is told.
    pub fn new(own: Arc<Own>) -> Running {
        Running { own, tasks: Vec::new(), external_labels: BTreeMap::new(), relabel: Vec::new() }
    }

    /// Tells those of `outside` from now on.
    pub fn replace(&mut self, outside: Outside) {
        self.external_labels = outside.external_labels;
        self.relabel = outside.relabel;
        self.tasks.clear(); // Each task ends with its channel, after what it holds.
        for (url, client, timeout) in outside.managers {
            let (sender, batches) = mpsc::channel(BATCHES_MAX);
            tokio::spawn(tell(url.clone(), client, timeout, batches, self.own.clone()));
            self.tasks.push((url, sender));
        }
    }

    /// The URLs in use.
    pub fn urls(&self) -> Vec<String> {
        self.tasks.iter().map(|(url, _)| url.clone()).collect()
    }

    /// Tells all of them; never waits.
    pub fn tell(&self, alerts: &[Alert]) {
        if self.tasks.is_empty() {
            return;
        }
        let told: Vec<_> = alerts.iter().filter_map(|alert| self.render(alert)).collect();
        if told.is_empty() {
            return;
        }
        let body = Bytes::from(serde_json::Value::Array(told).to_string());
        for (url, sender) in &self.tasks {
            if sender.try_send(body.clone()).is_err() {
                tracing::warn!(
                    "{url}: {BATCHES_MAX} batches wait already, one is dropped; its alerts are told again later"
                );
            }
        }
    }

    fn render(&self, alert: &Alert) -> Option<serde_json::Value> {
        let mut labels: LabelMap = self.external_labels.clone();
        labels.extend(alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !relabel::apply(&self.relabel, &mut labels) {
            return None;
        }
        Some(json!({
            "labels": labels,
            "annotations": alert.annotations,
            "startsAt": alert.starts_at.to_string(),
            "endsAt": alert.ends_at.to_string(),
            "generatorURL": alert.generator_url,
        }))
    }
}

async fn tell(
    url: String,
    client: HttpClient,
    timeout: Duration,
    mut batches: mpsc::Receiver<Bytes>,
    own: Arc<Own>,
) {
    let name = ReceiverName::intern(&url);
    while let Some(body) = batches.recv().await {
        let headers = [("content-type", "application/json".to_owned())];
        for attempt in 1..=ATTEMPTS_MAX {
            let asked = client.ask(Ask {
                method: Method::POST,
                url: &url,
                headers: &headers,
                body: body.clone(),
                compression: false,
                body_bytes_max: 64 << 10,
                timeout,
            });
            let why = match asked.await {
                Ok(answer) if answer.status.is_success() => {
                    own.metrics.notifications_total.at((name, DeliveryStatus::Success)).inc();
                    break;
                }
                Ok(answer) => format!("HTTP status {}", answer.status),
                Err(why) => why,
            };
            let last = attempt == ATTEMPTS_MAX;
            let status = if last { DeliveryStatus::Error } else { DeliveryStatus::Retry };
            own.metrics.notifications_total.at((name, status)).inc();
            tracing::warn!("{url}: {why}");
            if !last {
                tokio::time::sleep(Duration::from_millis(250) * attempt).await;
            }
        }
    }
}
