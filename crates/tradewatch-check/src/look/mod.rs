//! What a whole alert, panel, route, target or catalogue says, beyond its expression.

pub mod alert;
pub mod catalog;
pub mod panel;
pub mod route;
pub mod scrape;

use std::collections::BTreeSet;

use crate::expr::abs::Abs;

/// Words of names that belong to what only happens while a market is open.
const MARKET: &[&str] = &[
    "ask",
    "bar",
    "bars",
    "bid",
    "book",
    "candle",
    "candles",
    "feed",
    "fill",
    "filled",
    "fills",
    "intent",
    "intents",
    "market",
    "ohlcv",
    "order",
    "orderbook",
    "orders",
    "position",
    "positions",
    "price",
    "prices",
    "quote",
    "quotes",
    "signal",
    "signals",
    "symbol",
    "symbols",
    "tick",
    "ticker",
    "ticks",
    "trade",
    "trades",
    "trading",
];
/// Labels that only trading has.
const MARKET_LABELS: &[&str] = &["symbol", "side", "venue", "mic", "ticker", "instrument", "exchange_mic"];

/// Whether a value counts what follows the market's hours: by the words of its names and its labels.
pub fn follows_market(value: &Abs) -> bool {
    let words: BTreeSet<&str> = value.families.iter().flat_map(|name| name.split('_')).collect();
    let infrastructure =
        ["prometheus", "alertmanager", "node", "go", "process", "kafka", "rabbitmq", "redis", "pg", "http"];
    if value.families.iter().all(|name| infrastructure.contains(&name.split('_').next().unwrap_or(""))) {
        return false;
    }
    MARKET.iter().any(|word| words.contains(word))
        || MARKET_LABELS.iter().any(|label| value.labels.known.contains_key(*label))
}
