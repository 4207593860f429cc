//! What the tests share: services on a virtual network, and a look at their metrics.

use std::collections::BTreeMap;
use std::time::Duration;
use tradewatch_metrics::{Format, Registry};
use tradewatch_platforms::runtime::{Clock, Net};

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
