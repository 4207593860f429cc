//! Follows prices: one sample of every symbol per period, into a ring per symbol.

use super::State;
use crate::trading_platform::model::features::{History, Quote};
use crate::trading_platform::prices::Price;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The recent quotes of each symbol.
#[derive(Debug)]
pub struct Histories(Mutex<BTreeMap<String, History>>);

impl Histories {
    /// Empty histories of `symbols`.
    pub fn new(symbols: &[String]) -> Histories {
        Histories(Mutex::new(symbols.iter().map(|symbol| (symbol.clone(), History::new())).collect()))
    }

    /// The histories. Never held across a wait.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<String, History>> {
        self.0.lock().expect("nobody panics while holding the histories")
    }

    /// Adds one sample of each symbol that is followed.
    pub fn push(&self, prices: &BTreeMap<String, Price>) {
        let mut histories = self.lock();
        for (symbol, price) in prices {
            if let Some(history) = histories.get_mut(symbol) {
                history.push(quote(price));
            }
        }
    }
}

/// A price as the model sees it.
pub fn quote(price: &Price) -> Quote {
    Quote { mid: price.mid().to_f64(), bid_size: price.bid_size.to_f64(), ask_size: price.ask_size.to_f64() }
}

/// Samples for ever. While the cache is away nothing is added: its check tells.
pub async fn run(state: Arc<State>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(state.options.sample_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match state.cache.get(&state.options.symbols).await {
            Ok(prices) => {
                let now = state.clock.now();
                let limit = Duration::from_millis(state.options.price_age_ms_max);
                let fresh = prices.into_iter().filter(|(_, price)| price.age(now) <= limit).collect();
                state.histories.push(&fresh);
            }
            Err(error) => tracing::debug!(%error, "prices were not sampled"),
        }
    }
}
