//! What the tests share: services on a virtual network, and a look at their metrics.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tradewatch_metrics::{Format, Registry};
use tradewatch_platforms::runtime::http::Client;
use tradewatch_platforms::runtime::{Clock, Net};
use tradewatch_platforms::trading_platform::{ServiceName, sim};

/// A Wednesday, 15:00 in New York.
pub const START: i64 = 1_763_582_400_000_000_000;

/// Every series of a registry and its value.
pub fn series(registry: &Registry) -> BTreeMap<String, f64> {
    let mut text = Vec::new();
    registry.encode(Format::Text004, &mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The value of one series; 0 if it is not there.
pub fn value(registry: &Registry, name: &str) -> f64 {
    series(registry).get(name).copied().unwrap_or_default()
}

/// The sum over all series of a family.
pub fn sum(registry: &Registry, family: &str) -> f64 {
    series(registry)
        .iter()
        .filter(|(name, _)| name.split('{').next() == Some(family))
        .map(|(_, value)| value)
        .sum()
}

/// Waits until `done`, looking every 50 ms; panics with `what` after `limit`. Returns how long it took.
pub async fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = tokio::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} did not happen within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

/// A virtual clock and network.
pub fn world() -> (Clock, Net) {
    (Clock::starting_at(START), Net::new_virtual())
}

/// A whole platform on virtual time, and what a test does with it.
pub struct Stage {
    /// The platform.
    pub platform: sim::Platform,
    client: Client,
}

impl Stage {
    /// Options with the demo's short times.
    pub fn options(seed: u64) -> sim::Options {
        sim::Options::new(seed)
    }

    /// Starts every service.
    pub fn start(options: sim::Options) -> Stage {
        let platform = sim::Platform::start(&options).expect("a folder for the model");
        let client = Client::new(platform.net().clone(), Duration::from_secs(60));
        Stage { platform, client }
    }

    /// The metrics of a service since its last start.
    pub fn registry(&self, name: ServiceName) -> &Registry {
        self.platform.registry(name).expect("it was started")
    }

    /// The value of one series; 0 if it is not there.
    pub fn value(&self, name: ServiceName, series: &str) -> f64 {
        value(self.registry(name), series)
    }

    /// The sum over all series of a family.
    pub fn sum(&self, name: ServiceName, family: &str) -> f64 {
        sum(self.registry(name), family)
    }

    /// See [`until`].
    pub async fn until(&self, what: &str, limit: Duration, done: impl FnMut() -> bool) -> Duration {
        until(what, limit, done).await
    }

    /// GET; the answer as JSON.
    pub async fn get(&self, name: ServiceName, path: &str) -> Value {
        let url = format!("{}{path}", self.platform.config().url(name));
        self.client.get(&url).await.expect("served").json().expect("JSON")
    }

    /// POST; status and answer.
    pub async fn post(&self, name: ServiceName, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.platform.config().url(name));
        answer(self.client.post(&url, body).await.expect("served"))
    }

    /// POST with a signature; status and answer.
    pub async fn post_signed(
        &self,
        name: ServiceName,
        path: &str,
        body: &[u8],
        signature: &str,
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.platform.config().url(name));
        let client = self.client.with_header("x-webhook-signature", signature);
        let body = Some(body.to_vec().into());
        answer(client.request(http::Method::POST, &url, body).await.expect("served"))
    }

    /// DELETE; status and answer.
    pub async fn delete(&self, name: ServiceName, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.platform.config().url(name));
        answer(self.client.delete(&url).await.expect("served"))
    }

    /// POST to the broker as the account's owner would by hand.
    pub async fn broker_post(&self, path: &str, body: &Value) -> Value {
        let config = self.platform.config();
        let client = self.client.with_header("APCA-API-KEY-ID", &config.broker.key_id);
        let client = client.with_header("APCA-API-SECRET-KEY", config.broker.secret_key.expose());
        let url = format!("{}{path}", config.url(ServiceName::PaperBroker));
        let (status, answer) = answer(client.post(&url, body).await.expect("served"));
        assert!(status < 300, "{status} {answer}");
        answer
    }

    /// The broker's own exact account of cash, positions and profit.
    pub async fn broker_ledger(&self) -> Value {
        self.get(ServiceName::PaperBroker, "/control/ledger").await
    }
}

fn answer(response: tradewatch_platforms::runtime::http::Response) -> (u16, Value) {
    let status = response.status.as_u16();
    (status, response.json().unwrap_or(Value::Null))
}
