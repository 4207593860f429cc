//! HTTP interface: signals and the model.

use super::State;
use super::generate::{Answer, Request};
use super::metrics::Endpoint;
use super::models::Reload;
use crate::runtime::clock::rfc3339;
use crate::trading_platform::api::{self, ApiError};
use crate::trading_platform::labels::Status;
use axum::body::Bytes;
use axum::extract::State as Ctx;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use tradewatch_metrics::{Call, Outcome};

/// The routes.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/api/v1/signals/generate", post(generate))
        .route("/api/v1/model/info", get(info))
        .route("/api/v1/model/reload", post(reload))
        .with_state(state)
}

async fn generate(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Result<Json<Answer>, ApiError> {
    let metrics = &state.metrics;
    let call = Call::start(&metrics.signal_generation_duration_seconds, |outcome| {
        let status = Status::when(outcome.is_success());
        metrics.requests_total.at((Endpoint::Generate, status)).inc();
    });
    let answer = async {
        let request: Request = if bytes.is_empty() { Request::default() } else { api::body(&bytes)? };
        state.generate(&request).await
    };
    let answer = answer.await;
    call.finish(Outcome::of(&answer));
    answer.map(Json)
}

async fn info(Ctx(state): Ctx<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let answer = describe(&state);
    state.metrics.requests_total.at((Endpoint::ModelInfo, Status::of(&answer))).inc();
    answer
}

async fn reload(Ctx(state): Ctx<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let answer = match state.reload().await {
        Ok(Reload::Unchanged) => {
            Ok(Json(json!({"reloaded": false, "why": "the file is the one that serves"})))
        }
        Ok(Reload::Activated(active)) => {
            Ok(Json(json!({"reloaded": true, "version": active.model.version_name()})))
        }
        Err(error) if error.is_refused() => Err(ApiError::refused(error.to_string())),
        Err(error) => Err(ApiError::unavailable(error.to_string())),
    };
    state.metrics.requests_total.at((Endpoint::ModelReload, Status::of(&answer))).inc();
    answer
}

fn describe(state: &State) -> Result<Json<Value>, ApiError> {
    let active = state.models.active();
    let active =
        active.ok_or_else(|| ApiError::unavailable(state.models.ready().err().unwrap_or_default()))?;
    let model = &active.model;
    let inputs: Vec<&str> = model.inputs.iter().map(|input| input.name.as_str()).collect();
    Ok(Json(json!({
        "strategy": model.strategy,
        "version": model.version_name(),
        "checksum": active.checksum,
        "activated_at": rfc3339(active.activated_at),
        "schema": {"inputs": inputs, "target": model.target},
        "holdout": {
            "score_ratio": model.holdout.score_ratio, "base_ratio": model.holdout.base_ratio, "rows": model.holdout.rows,
        },
        "trained": {"seed": model.seed, "rows": model.rows},
    })))
}
