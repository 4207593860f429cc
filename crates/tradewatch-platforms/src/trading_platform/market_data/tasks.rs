//! What the service does by itself: store prices, look at their age, follow positions.

use super::book::{Book, Reason, Venue};
use super::state::State;
use crate::runtime::http::Client;
use crate::trading_platform::labels::{Status, Symbol};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Pause before prices are stored again after the cache failed.
const CACHE_RETRY: Duration = Duration::from_millis(200);

/// Stores prices as they change. What changes while the cache is slow is stored once, with its newest value.
pub async fn store(state: Arc<State>) {
    loop {
        state.changed.notified().await;
        let mut prices = state.book().take_dirty();
        while !prices.is_empty() {
            if let Err(error) = state.cache.put(&prices).await {
                tracing::debug!(%error, "prices were not stored; trying again");
                state.book().put_back(prices);
                tokio::time::sleep(CACHE_RETRY).await;
            }
            prices = state.book().take_dirty();
        }
    }
}

/// Looks at the age of every subscribed symbol, on its own schedule.
pub async fn watch_age(state: Arc<State>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(state.options.check_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = state.clock.now();
        let open = state.market.is_open(now);
        let limit = Duration::from_millis(state.options.stale_after_ms);
        let mut stale = 0;
        let book = state.book();
        for (symbol, entry) in book.entries() {
            let age = Book::age(entry, now);
            state.metrics.price_age_seconds.at((Symbol::intern(symbol),)).set(age.as_secs_f64());
            // A share that does not trade at night is not stale.
            let trades = open || Venue::of(symbol) == Venue::Crypto;
            stale += u32::from(trades && age > limit);
        }
        state.metrics.stale_symbols_current.set(f64::from(stale));
    }
}

#[derive(Deserialize)]
struct Positions {
    positions: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    symbol: String,
    qty: crate::trading_platform::money::Qty,
}

/// Follows every symbol of which the gateway holds a position: at the start and on schedule.
pub async fn follow_positions(state: Arc<State>, client: Client) {
    let mut ticks = tokio::time::interval(Duration::from_millis(state.options.position_sync_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let synced = sync(&state, &client).await;
        state.metrics.position_syncs_total.at((Status::of(&synced),)).inc();
        if let Err(error) = synced {
            tracing::warn!(error, "positions were not synced");
        }
    }
}

async fn sync(state: &State, client: &Client) -> Result<(), String> {
    let url = format!("{}/api/v1/positions", state.gateway);
    let answer = client.get(&url).await.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(format!("{}: HTTP {} {}", answer.what, answer.status.as_u16(), answer.text()));
    }
    let held: Positions = answer.json().map_err(|error| error.to_string())?;
    let held: BTreeSet<String> =
        held.positions.into_iter().filter(|held| !held.qty.is_zero()).map(|held| held.symbol).collect();
    let (more, less) = state.book().plan(&held);
    if !more.is_empty() {
        state.change(true, &more, Reason::Held).await?;
    }
    if !less.is_empty() {
        state.change(false, &less, Reason::Held).await?;
    }
    Ok(())
}
