//! What the signal service tells about itself.

use crate::trading_platform::labels::{Status, Symbol};
use tradewatch_metrics::{Counter, Gauge, Histogram, Info, Label, Metrics, open_label};

open_label!(
    /// `v1`, `v2`, …: the major version of a model.
    pub struct ModelVersion("model_version"), budget = 16
);
open_label!(
    /// The name of a model.
    pub struct ModelName("model_name"), budget = 8
);

/// Which call was made.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "endpoint")]
pub enum Endpoint {
    /// `POST /api/v1/signals/generate`.
    Generate,
    /// `GET /api/v1/model/info`.
    ModelInfo,
    /// `POST /api/v1/model/reload`.
    ModelReload,
}

/// How loading a model ended.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
#[label(name = "status")]
pub enum ReloadStatus {
    /// A new model serves.
    Success,
    /// The file is missing or cannot be read.
    Failed,
    /// The file was read and refused: checksum, schema or content.
    Error,
}

/// What the signal service tells about itself.
#[derive(Metrics, Clone)]
#[metrics(prefix = "signal_service", service = "signal_service")]
pub struct SignalMetrics {
    /// Signal generation requests, by outcome
    #[metric(unit = "requests", event = "a request of that endpoint ends")]
    pub requests_total: Counter<(Endpoint, Status)>,
    /// Time to serve one signal generation request
    #[buckets(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)]
    #[metric(event = "every POST /api/v1/signals/generate, errors too")]
    pub signal_generation_duration_seconds: Histogram,
    /// Signals produced
    #[metric(unit = "signals", event = "once per symbol in a successful answer")]
    pub signals_generated_total: Counter<(ModelVersion, Symbol)>,
    /// Rows predicted by the ML model
    #[metric(unit = "predictions", event = "the rows of each generate request")]
    pub model_predictions_total: Counter<(ModelName,)>,
    /// Model reloads, by outcome
    #[metric(
        unit = "reloads",
        event = "a look at a model file that is not the one that serves: at start, by poll, by POST /api/v1/model/reload"
    )]
    pub model_reload_total: Counter<(ReloadStatus,)>,
    /// 1 when the database took a write at the last check, else 0
    #[metric(unit = "bool", event = "a write of its own on its own schedule")]
    pub database_connection_status: Gauge,
    /// 1 when the price cache answered the last check, else 0
    #[metric(unit = "bool", event = "a PING on its own schedule")]
    pub redis_connection_status: Gauge,
    /// 1 when a model is loaded, else 0
    #[metric(unit = "bool", event = "a model is loaded, or its file is gone")]
    pub model_loaded_status: Gauge,
    /// Numeric version of the loaded model; 0 without one
    #[metric(event = "a model is loaded or withdrawn")]
    pub model_version: Gauge,
    /// Loaded model version, as labels with value 1
    #[labels("version", "strategy", "activated_at")]
    #[metric(gauge, event = "a model is loaded or withdrawn")]
    pub model_version_info: Info<3>,
    /// Share of held-out rows whose direction the loaded model predicted right; 0 without a model
    #[metric(event = "a model is loaded or withdrawn")]
    pub model_holdout_score_ratio: Gauge,
}
