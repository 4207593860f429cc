//! What the market data service tells about itself.

use crate::trading_platform::labels::{Status, Symbol};
use tradewatch_metrics::{Counter, Gauge, Histogram, Label, Metrics};

/// What a subscription call asked for.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "operation")]
pub enum Operation {
    /// More symbols.
    Subscribe,
    /// One less.
    Unsubscribe,
}

/// What the feed sent.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "message_type")]
pub enum MessageType {
    /// Best bid and ask.
    Quote,
    /// A trade.
    Trade,
    /// One minute's open, high, low, close, volume.
    Bar,
}

/// What the market data service tells about itself.
#[derive(Metrics, Clone)]
#[metrics(prefix = "market_data", service = "market_data_service")]
pub struct MarketDataMetrics {
    /// Subscribe and unsubscribe calls, by outcome
    #[metric(unit = "requests", event = "POST /api/v1/subscribe or DELETE /api/v1/subscribe/{symbol} ends")]
    pub subscription_requests_total: Counter<(Operation, Status)>,
    /// Time of a subscribe or unsubscribe call
    #[buckets(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    #[metric(event = "the same calls, confirmation by the feed included")]
    pub subscription_duration_seconds: Histogram,
    /// Symbols subscribed right now
    #[metric(unit = "symbols", event = "the feed confirms a change, or a stream begins")]
    pub subscribed_symbols_current: Gauge,
    /// Messages from the broker WebSocket, by type
    #[metric(unit = "messages", event = "each message of a subscribed symbol")]
    pub websocket_messages_received_total: Counter<(MessageType,)>,
    /// Messages from the broker WebSocket, by symbol
    #[metric(unit = "messages", event = "each message of a subscribed symbol")]
    pub symbol_messages_total: Counter<(Symbol,)>,
    /// Messages that were lost on the way, by symbol, as the sequence numbers tell
    #[metric(unit = "messages", event = "a message whose sequence number leaves out others")]
    pub sequence_gaps_total: Counter<(Symbol,)>,
    /// Middle of the newest bid and ask
    #[metric(unit = "usd", event = "each quote")]
    pub mid_price_dollars: Gauge<(Symbol,)>,
    /// Age of the newest message, by symbol, the venue's clock corrected
    #[metric(event = "a look at ages on its own schedule")]
    pub price_age_seconds: Gauge<(Symbol,)>,
    /// Subscribed symbols whose newest message is too old while their market is open
    #[metric(unit = "symbols", event = "a look at ages on its own schedule")]
    pub stale_symbols_current: Gauge,
    /// What our clock shows more than the venue's; negative where the venue's is ahead
    #[metric(event = "each frame of the feed")]
    pub venue_clock_offset_seconds: Gauge,
    /// Subscription syncs against open positions, by outcome
    #[metric(unit = "syncs", event = "a sync ends: at start and on schedule")]
    pub position_syncs_total: Counter<(Status,)>,
    /// 1 while every stream of the feed is connected
    #[metric(unit = "bool", event = "a stream opens or is lost")]
    pub websocket_connection_status: Gauge,
    /// 1 when the price cache answered the last check, else 0
    #[metric(unit = "bool", event = "a PING on its own schedule")]
    pub redis_connection_status: Gauge,
    /// WebSocket reconnection attempts
    #[metric(unit = "attempts", event = "each try after a stream was lost or could not be opened")]
    pub reconnect_attempts_total: Counter,
}
