//! Reading a registry in tests.

use std::collections::BTreeMap;

use tradewatch_metrics::parse::{self, Entry};
use tradewatch_metrics::{Format, Registry};

/// What the registry exposes, by `name{label="value"}` with empty labels left out.
pub fn scrape(registry: &Registry) -> BTreeMap<String, f64> {
    let mut body = Vec::new();
    registry.encode(Format::OpenMetrics1, &mut body);
    let text = String::from_utf8_lossy(&body).into_owned();
    let mut parser = parse::openmetrics(&body);
    let mut out = BTreeMap::new();
    while let Some(entry) = parser.next() {
        if let Entry::Sample(sample) = entry.unwrap_or_else(|error| panic!("{error}\n{text}"))
            && !sample.is_created
        {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("{name}=\"{value}\""))
                .collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            out.insert(format!("{}{labels}", sample.name), sample.value);
        }
    }
    out
}

/// The value of one series; 0 if it is not there.
pub fn value(registry: &Registry, series: &str) -> f64 {
    scrape(registry).get(series).copied().unwrap_or(0.0)
}

/// The series of these names that are not 0, as text: what a test compares.
pub fn moved(registry: &Registry, names: &[&str]) -> String {
    let of = |series: &str| names.iter().any(|name| series.split('{').next() == Some(name));
    let lines = scrape(registry).into_iter().filter(|(series, value)| of(series) && *value != 0.0);
    lines.map(|(series, value)| format!("{series} {value}\n")).collect()
}

/// Like [`moved`], for every family whose name begins so; buckets and sums are left out.
pub fn moved_with_prefix(registry: &Registry, prefix: &str) -> String {
    let told = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        name.starts_with(prefix) && !name.ends_with("_bucket") && !name.ends_with("_sum")
    };
    let lines = scrape(registry).into_iter().filter(|(series, value)| told(series) && *value != 0.0);
    lines.map(|(series, value)| format!("{series} {value}\n")).collect()
}

/// Waits until `done`, for at most a minute.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{what}: not after a minute");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// An address that refuses connections for as long as the socket is kept: it is taken, and nobody listens.
pub fn closed_port() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let addr = socket.local_addr().expect("bound");
    (socket, addr)
}
