//! What the execution gateway tells about itself.

use super::breaker::TripCause;
use super::checks::Refusal;
use crate::trading_platform::labels::{Status, Symbol};
use crate::trading_platform::order::Side;
use tradewatch_metrics::{Counter, Gauge, Histogram, Label, Metrics};

/// Outcome of an order request.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "status")]
pub enum OrderStatus {
    /// Accepted by the broker, or stored in dry run.
    Success,
    /// Refused by a check, by the broker, or the broker could not be reached.
    Rejected,
    /// Something of ours broke.
    Failed,
}

/// Why an order was rejected.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "reason")]
pub enum RejectReason {
    /// The broker said no.
    BrokerRejected,
    /// The broker did not answer.
    BrokerUnreachable,
    /// Quantity, price or symbol make no sense.
    InvalidOrder,
    /// The broker would not lend that much.
    InsufficientBuyingPower,
    /// Too much of one symbol.
    PositionLimit,
    /// Too much altogether.
    NotionalLimit,
    /// The breaker blocks new risk.
    CircuitBreaker,
    /// No price, or one too old.
    StalePrice,
    /// The market is closed.
    MarketClosed,
}

impl From<Refusal> for RejectReason {
    fn from(refusal: Refusal) -> RejectReason {
        match refusal {
            Refusal::InvalidOrder => RejectReason::InvalidOrder,
            Refusal::MarketClosed => RejectReason::MarketClosed,
            Refusal::StalePrice => RejectReason::StalePrice,
            Refusal::CircuitBreaker => RejectReason::CircuitBreaker,
            Refusal::PositionLimit => RejectReason::PositionLimit,
            Refusal::NotionalLimit => RejectReason::NotionalLimit,
            Refusal::InsufficientBuyingPower => RejectReason::InsufficientBuyingPower,
        }
    }
}

/// Which part of the broker's interface was called.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "endpoint")]
pub enum BrokerEndpoint {
    /// Submit or query orders.
    Orders,
    /// Cancel an order.
    Cancel,
    /// Positions.
    Positions,
    /// Account.
    Account,
    /// Market clock.
    Clock,
}

/// What a webhook told.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "event_type")]
pub enum EventType {
    /// The order is at the market.
    New,
    /// It is filled.
    Fill,
    /// It is filled in part.
    PartialFill,
    /// It was cancelled.
    Canceled,
    /// It was rejected.
    Rejected,
    /// Anything else.
    Unknown,
}

impl EventType {
    /// The label of the broker's word.
    pub fn of(event: &str) -> EventType {
        match event {
            "new" => EventType::New,
            "fill" => EventType::Fill,
            "partial_fill" => EventType::PartialFill,
            "canceled" => EventType::Canceled,
            "rejected" => EventType::Rejected,
            _ => EventType::Unknown,
        }
    }
}

/// Kind of profit.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "type")]
pub enum PnlType {
    /// Of closed lots.
    Realized,
    /// Of open lots at the newest prices.
    Unrealized,
    /// Both.
    Total,
}

/// Kind of exposure.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "kind")]
pub enum ExposureKind {
    /// Long plus short.
    Gross,
    /// Long minus short.
    Net,
}

/// Why the breaker tripped.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "reason")]
pub enum TripReason {
    /// The day's loss.
    DailyLossExceeded,
    /// The fall from the peak.
    MaxDrawdown,
    /// A held symbol without fresh price.
    DataStale,
    /// The broker failed too often.
    BrokerErrors,
    /// A person.
    Manual,
}

impl From<TripCause> for TripReason {
    fn from(cause: TripCause) -> TripReason {
        match cause {
            TripCause::DailyLossExceeded => TripReason::DailyLossExceeded,
            TripCause::MaxDrawdown => TripReason::MaxDrawdown,
            TripCause::DataStale => TripReason::DataStale,
            TripCause::BrokerErrors => TripReason::BrokerErrors,
            TripCause::Manual => TripReason::Manual,
        }
    }
}

/// What the execution gateway tells about itself.
#[derive(Metrics, Clone)]
#[metrics(prefix = "execution_gateway", service = "execution_gateway")]
pub struct GatewayMetrics {
    /// Orders handled by the gateway, by symbol, side and outcome
    #[metric(unit = "orders", event = "POST /api/v1/orders ends; an idempotent repeat does not count")]
    pub orders_total: Counter<(Symbol, Side, OrderStatus)>,
    /// Time from receiving an order request to its answer
    #[buckets(0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)]
    #[metric(event = "every POST /api/v1/orders with a readable body, repeats and errors too")]
    pub order_placement_duration_seconds: Histogram<(Symbol, Side)>,
    /// Time from the broker's acknowledgement of an order to its last fill
    #[buckets(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)]
    #[metric(event = "the last execution of an order, by stream, webhook or poll")]
    pub order_fill_duration_seconds: Histogram,
    /// Orders rejected, by reason
    #[metric(
        unit = "orders",
        event = "an order request is rejected, or the broker rejects an accepted order later"
    )]
    pub order_rejections_total: Counter<(RejectReason,)>,
    /// Executions received from the broker
    #[metric(unit = "fills", event = "an execution that was not known yet, by stream, webhook or poll")]
    pub fills_total: Counter<(Symbol, Side)>,
    /// Orders that the broker may still fill
    #[metric(unit = "orders", event = "an order is admitted, changes or ends")]
    pub open_orders: Gauge,
    /// Signed share quantity held, by symbol
    #[metric(
        unit = "shares",
        event = "each execution, GET /api/v1/positions and the start; closed symbols are 0"
    )]
    pub positions_current: Gauge<(Symbol,)>,
    /// Symbols whose position differs from the broker's
    #[metric(
        unit = "symbols",
        event = "every comparison; a difference counts when two in a row show the same"
    )]
    pub position_mismatches: Gauge,
    /// Comparisons of all positions with the broker's, by outcome
    #[metric(unit = "reconciliations", event = "a comparison with the broker ends")]
    pub reconciliations_total: Counter<(Status,)>,
    /// Portfolio profit and loss in dollars, by kind
    #[metric(unit = "usd", event = "every look at prices and GET /api/v1/positions/pnl/realtime")]
    pub pnl_dollars: Gauge<(PnlType,)>,
    /// Cash plus the value of all positions
    #[metric(unit = "usd", event = "every look at prices")]
    pub equity_dollars: Gauge,
    /// Value of all positions, long plus short (gross) or long minus short (net)
    #[metric(unit = "usd", event = "every look at prices")]
    pub exposure_dollars: Gauge<(ExposureKind,)>,
    /// Most gross exposure that the checks allow
    #[metric(unit = "usd", event = "the start, from the configuration, and POST /api/v1/limits")]
    pub exposure_limit_dollars: Gauge,
    /// Loss since the start of the day that trips the circuit breaker
    #[metric(unit = "usd", event = "the start, from the configuration, and POST /api/v1/limits")]
    pub daily_loss_limit_dollars: Gauge,
    /// Fall of equity from its peak, in parts of one
    #[metric(event = "every look at prices")]
    pub drawdown_ratio: Gauge,
    /// Fall of equity from its peak that trips the circuit breaker, in parts of one
    #[metric(event = "the start, from the configuration, and POST /api/v1/limits")]
    pub drawdown_limit_ratio: Gauge,
    /// Calls made to the Alpaca broker API, by operation and result
    #[metric(
        unit = "requests",
        event = "after each call to the broker; a refusal is an answer, no answer and 5xx are errors"
    )]
    pub alpaca_api_requests_total: Counter<(BrokerEndpoint, Status)>,
    /// 1 when the database took a write at the last check, else 0
    #[metric(unit = "bool", event = "a write of its own on its own schedule")]
    pub database_connection_status: Gauge,
    /// 1 when the price cache answered the last check, else 0
    #[metric(unit = "bool", event = "a PING on its own schedule")]
    pub redis_connection_status: Gauge,
    /// 1 when the broker answered the last check, else 0
    #[metric(unit = "bool", event = "GET /v2/clock at the broker on its own schedule, in dry run as well")]
    pub alpaca_connection_status: Gauge,
    /// 1 while the broker's stream of order updates is connected
    #[metric(unit = "bool", event = "the stream of trade updates opens or is lost")]
    pub broker_stream_connected: Gauge,
    /// 1 from a trip of the circuit breaker until trading resumes, else 0
    #[metric(unit = "bool", event = "a trip sets 1; the end of the quiet period sets 0")]
    pub circuit_breaker_status: Gauge,
    /// 1 between the reset of the circuit breaker and the resumption of trading
    #[metric(unit = "bool", event = "a reset sets 1; the end of the quiet period or a new trip sets 0")]
    pub circuit_breaker_quiet_period: Gauge,
    /// Trips of the circuit breaker, by reason
    #[metric(unit = "trips", event = "the breaker trips")]
    pub circuit_breaker_trips_total: Counter<(TripReason,)>,
    /// Broker webhooks received, by event type
    #[metric(unit = "webhooks", event = "POST /api/v1/webhooks/orders after the signature was checked")]
    pub webhook_received_total: Counter<(EventType,)>,
    /// 1 when orders are logged but not sent to the broker
    #[metric(unit = "bool", event = "the start and POST /api/v1/mode")]
    pub dry_run_mode: Gauge,
}
