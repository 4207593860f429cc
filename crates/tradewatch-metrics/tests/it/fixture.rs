//! The metrics that the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tradewatch_metrics::*;

#[derive(Label, Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Buy,
    Sell,
}

#[derive(Label, Clone, Copy, Debug, PartialEq)]
#[label(name = "status")]
pub enum OrderStatus {
    Success,
    Rejected,
    #[label(value = "failed \"hard\"\\\n")]
    Failed,
}

open_label!(
    /// Only as many symbols as the tests name.
    pub struct Symbol("symbol"), budget = 8
);

/// What a gateway tells about itself.
#[derive(Metrics, Clone)]
#[metrics(prefix = "gateway", service = "execution_gateway")]
pub struct GatewayMetrics {
    /// Orders handled, by outcome.
    pub orders_total: Counter<(Symbol, Side, OrderStatus)>,
    /// Time from receiving an order
    /// request to its answer.
    ///
    /// This paragraph is not help.
    #[buckets(0.1, 0.25, 0.5, 1, 2.5)]
    pub order_placement_duration_seconds: Histogram<(Side,)>,
    /// Time of a run.
    #[buckets(EDGES)]
    pub run_duration_seconds: Histogram,
    /// Drift of a clock.
    #[native(schema = 3)]
    pub drift_seconds: NativeHistogram,
    /// 1 while the breaker blocks.
    #[metric(unit = "bool")]
    pub circuit_breaker_status: Gauge,
    /// Position, by symbol.
    #[metric(unit = "shares")]
    pub positions_current: Gauge<(Symbol,)>,
    /// Profit in \ dollars.
    pub pnl_dollars: Gauge,
    /// Commission paid.
    #[metric(unit = "usd", name = "orders_commission_total_usd", legacy_name = "as the dashboards know it")]
    pub commission: Counter,
    /// The model loaded.
    #[labels("version", "strategy")]
    pub model_info: Info<2>,
    #[metrics(flatten)]
    pub bus: BusMetrics,
}

pub const EDGES: [f64; 3] = [0.5, 10.0, 2_000_000.0];

/// A struct inside a struct.
#[derive(Metrics, Clone)]
#[metrics(prefix = "bus")]
pub struct BusMetrics {
    /// Messages published.
    pub messages_total: Counter,
}

pub fn text(registry: &Registry, format: Format) -> String {
    let mut body = Vec::new();
    registry.encode(format, &mut body);
    String::from_utf8(body).expect("the exposition is UTF-8")
}

/// The value of the sample that the line begins with.
pub fn value(registry: &Registry, series: &str) -> Option<f64> {
    let body = text(registry, Format::Text004);
    let line =
        body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))?;
    Some(line.parse().expect("a sample's value is a number"))
}

/// A clock that a test moves, in milliseconds.
#[derive(Clone, Default)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    pub fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    pub fn registry(&self) -> Registry {
        let (now, unix) = (self.clone(), self.clone());
        let read = |hand: &Hand| Duration::from_millis(hand.0.load(Ordering::Relaxed));
        Registry::with_clocks(move || read(&now), move || read(&unix) + Duration::from_secs(1_763_640_000))
    }
}
