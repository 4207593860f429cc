//! What the gateway does by itself: read the database at the start, write to it, look at risk, compare with
//! the broker, end orders that stand too long.

use super::state::State;
use super::store;
use crate::runtime::clock::MILLISECOND;
use crate::trading_platform::labels::Status;
use crate::trading_platform::money::Qty;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Pause before the database is tried again.
const DATABASE_RETRY: Duration = Duration::from_millis(200);
/// A live order that nothing was heard of for so long is asked for.
const ASK_AFTER_MS: i64 = 10_000;

fn every(milliseconds: u64) -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(milliseconds.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Rebuilds the desk from the database, as soon as that is there.
pub async fn load(state: Arc<State>) {
    loop {
        match store::load(&state.database).await {
            Ok(saved) => {
                tracing::info!(
                    orders = saved.orders.len(),
                    fills = saved.fills.len(),
                    "read from the database"
                );
                state.restore(saved);
                return;
            }
            Err(error) => tracing::warn!(%error, "the database cannot be read yet"),
        }
        tokio::time::sleep(DATABASE_RETRY).await;
    }
}

/// Writes what changed, as it changes. While the database is away it waits in the desk, which is bounded
/// since no order is taken meanwhile.
pub async fn write(state: Arc<State>) {
    loop {
        state.unsaved.notified().await;
        while let Err(error) = state.flush().await {
            tracing::debug!(%error, "not written yet");
            tokio::time::sleep(DATABASE_RETRY).await;
        }
    }
}

/// Looks at prices, equity and the breaker on schedule.
pub async fn assess(state: Arc<State>) {
    state.until_loaded().await;
    let mut ticks = every(state.options.assess_ms);
    loop {
        ticks.tick().await;
        // Without the cache the last prices stay, and grow old.
        let prices = state.cache.get(&state.options.symbols).await.unwrap_or_default();
        state.assess(prices);
    }
}

/// Compares positions with the broker's on schedule.
///
/// A difference counts once two comparisons in a row show the same: a fill that is on its way is none.
pub async fn reconcile(state: Arc<State>) {
    state.until_loaded().await;
    let mut ticks = every(state.options.reconcile_ms);
    let mut before: BTreeMap<String, Qty> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let compared = compare(&state).await;
        state.metrics.reconciliations_total.at((Status::of(&compared),)).inc();
        match compared {
            Ok(now) => {
                let lasting =
                    now.iter().filter(|(symbol, difference)| before.get(*symbol) == Some(difference));
                let lasting: Vec<&String> = lasting.map(|(symbol, _)| symbol).collect();
                if !lasting.is_empty() {
                    tracing::warn!(?lasting, ?now, "positions differ from the broker's");
                }
                state.metrics.position_mismatches.set(lasting.len() as f64);
                before = now;
            }
            Err(error) => tracing::warn!(error, "positions were not compared"),
        }
        ask_for_silent_orders(&state).await;
    }
}

async fn compare(state: &State) -> Result<BTreeMap<String, Qty>, String> {
    let account = state.broker.account().await.map_err(|error| error.to_string())?;
    let theirs = state.broker.positions().await.map_err(|error| error.to_string())?;
    let mut desk = state.desk();
    desk.buying_power = account.buying_power;
    Ok(desk.differences(&theirs))
}

async fn ask_for_silent_orders(state: &State) {
    let now = state.clock.now();
    let silent = state.desk().live_orders().any(|order| now - order.created_at > ASK_AFTER_MS * MILLISECOND);
    if silent && let Err(error) = state.recover().await {
        tracing::debug!(%error, "live orders could not be asked for");
    }
}

/// Cancels orders that stand longer than they may: a limit that is not met is a decision that is over.
pub async fn sweep(state: Arc<State>) {
    state.until_loaded().await;
    let mut ticks = every(state.options.sweep_ms);
    loop {
        ticks.tick().await;
        let oldest = state.clock.now() - state.options.order_life_ms as i64 * MILLISECOND;
        let over: Vec<String> = {
            let desk = state.desk();
            let over = desk
                .live_orders()
                .filter(|order| order.created_at < oldest && !order.broker_order_id.is_empty());
            over.map(|order| order.broker_order_id.clone()).collect()
        };
        for broker_order_id in over {
            // What came of it is told by the stream.
            if let Err(error) = state.broker.cancel(&broker_order_id).await {
                tracing::debug!(%error, broker_order_id, "not cancelled");
            }
        }
    }
}
