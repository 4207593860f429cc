//! What the orchestrator tells about itself.

use crate::trading_platform::labels::Status;
use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics};

/// What the orchestrator tells about itself.
#[derive(Metrics, Clone)]
#[metrics(prefix = "orchestrator", service = "orchestrator")]
pub struct OrchestratorMetrics {
    /// Orchestration runs, by outcome
    #[metric(unit = "runs", event = "a run ends; one that fails inside is an error")]
    pub runs_total: Counter<(Status,)>,
    /// Time of one whole orchestration run
    #[buckets(1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)]
    #[metric(event = "every run")]
    pub orchestration_duration_seconds: Histogram,
    /// Signals received from the signal service
    #[metric(unit = "signals", event = "the signals of each run")]
    pub signals_received_total: Counter,
    /// Orders handed to the execution gateway, by outcome
    #[metric(unit = "orders", event = "the gateway answers an order of a run")]
    pub orders_submitted_total: Counter<(Status,)>,
    /// Position adjustments made by runs
    #[metric(unit = "positions", event = "the gateway accepts an order of a run")]
    pub positions_adjusted_total: Counter,
    /// When the last run ended, in seconds since the Unix epoch
    #[metric(event = "every run")]
    pub last_run_timestamp_seconds: Gauge,
    /// 1 when the database took a write at the last check, else 0
    #[metric(unit = "bool", event = "a write of its own on its own schedule")]
    pub database_connection_status: Gauge,
    /// 1 when the signal service answered its health check
    #[metric(unit = "bool", event = "GET /health of the signal service on its own schedule")]
    pub signal_service_available: Gauge,
    /// 1 when the execution gateway answered its health check
    #[metric(unit = "bool", event = "GET /health of the gateway on its own schedule")]
    pub execution_gateway_available: Gauge,
}
