//! HTTP interface: orders, positions, breaker, mode, webhooks.

use super::broker::BrokerError;
use super::place::Placed;
use super::state::State;
use super::webhook;
use crate::trading_platform::api::{self, ApiError};
use crate::trading_platform::money::Money;
use crate::trading_platform::order::{Order, OrderRequest};
use axum::body::Bytes;
use axum::extract::{Path, State as Ctx};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tradewatch_metrics::Label;

/// The routes.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/api/v1/orders", post(place).get(live_orders))
        .route("/api/v1/orders/{id}", delete(cancel).get(order))
        .route("/api/v1/positions", get(positions))
        .route("/api/v1/positions/pnl/realtime", get(pnl))
        .route("/api/v1/webhooks/orders", post(webhook::receive))
        .route("/api/v1/breaker", get(breaker))
        .route("/api/v1/breaker/trip", post(trip))
        .route("/api/v1/breaker/reset", post(reset))
        .route("/api/v1/limits", post(set_limits))
        .route("/api/v1/mode", post(set_mode).get(mode))
        .with_state(state)
}

async fn place(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Response {
    let request: OrderRequest = match api::body(&bytes) {
        Ok(request) => request,
        // No symbol and no side: there is nothing to count it under but the reason.
        Err(error) => {
            state.metrics.order_rejections_total.at((super::metrics::RejectReason::InvalidOrder,)).inc();
            return error.into_response();
        }
    };
    match state.place(request).await {
        Placed::Accepted(order) | Placed::Repeated(order) => Json(order).into_response(),
        Placed::Rejected { order, reason } => {
            let reason_name = super::metrics::RejectReason::value_at(reason.index()).unwrap_or_default();
            let unreachable = reason == super::metrics::RejectReason::BrokerUnreachable;
            let status =
                if unreachable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::UNPROCESSABLE_ENTITY };
            let body = json!({"error": order.reason, "reason": reason_name, "order": order});
            (status, Json(body)).into_response()
        }
        Placed::Failed(why) => ApiError::unavailable(why).into_response(),
    }
}

async fn live_orders(Ctx(state): Ctx<Arc<State>>) -> Json<Value> {
    let orders: Vec<Order> = state.desk().live_orders().cloned().collect();
    Json(json!({"orders": orders}))
}

async fn order(Ctx(state): Ctx<Arc<State>>, Path(id): Path<String>) -> Result<Json<Order>, ApiError> {
    if let Some(order) = state.desk().order(&id) {
        return Ok(Json(order.clone()));
    }
    let stored = super::store::find(&state.database, &id).await;
    let stored = stored.map_err(|error| ApiError::unavailable(error.to_string()))?;
    stored.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no order {id:?}")))
}

async fn cancel(Ctx(state): Ctx<Arc<State>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let broker_order_id = match state.desk().live(&id) {
        Some(order) if order.broker_order_id.is_empty() => {
            return Err(ApiError::conflict(format!("the broker has not acknowledged order {id:?} yet")));
        }
        Some(order) => order.broker_order_id.clone(),
        None => return Err(ApiError::not_found(format!("there is no live order {id:?}"))),
    };
    match state.broker.cancel(&broker_order_id).await {
        Ok(()) => Ok(Json(json!({"client_order_id": id, "canceled": true}))),
        Err(error @ BrokerError::Unreachable(_)) => {
            state.broker_failed();
            Err(ApiError::unavailable(error.to_string()))
        }
        Err(error) => Err(ApiError::refused(error.to_string())),
    }
}

async fn positions(Ctx(state): Ctx<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let desk = state.desk();
    if !desk.loaded {
        return Err(ApiError::unavailable("the database was not read yet"));
    }
    state.show_positions(&desk);
    let positions: Vec<Value> = desk
        .ledger
        .held()
        .map(|(symbol, position)| {
            let price = desk.prices.get(symbol).map(|price| price.mid());
            json!({
                "symbol": symbol, "qty": position.qty(), "cost": position.cost(), "average_price": position.average_price(),
                "price": price, "unrealized": price.map(|price| position.unrealized(price)), "realized": position.realized(),
            })
        })
        .collect();
    Ok(Json(json!({"positions": positions})))
}

async fn pnl(Ctx(state): Ctx<Arc<State>>) -> Result<Json<Value>, ApiError> {
    if !state.desk().loaded {
        return Err(ApiError::unavailable("the database was not read yet"));
    }
    let prices = state.cache.get(&state.options.symbols).await.unwrap_or_default();
    state.assess(prices);
    let desk = state.desk();
    let valuation = desk.valuation();
    let equity = desk.equity();
    Ok(Json(json!({
        "realized": valuation.realized, "unrealized": valuation.unrealized, "total": valuation.total(),
        "equity": equity, "day": desk.track.day_pnl(equity), "drawdown_ratio": desk.track.drawdown_ratio(equity),
        "long": valuation.long, "short": valuation.short, "cash_moved": desk.ledger.cash(),
    })))
}

async fn breaker(Ctx(state): Ctx<Arc<State>>) -> Json<Value> {
    let desk = state.desk();
    Json(
        json!({"breaker": desk.breaker.state(), "blocks": desk.breaker.blocks(), "limits": desk.breaker.limits()}),
    )
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Trip {
    reason: String,
}

async fn trip(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Trip = if bytes.is_empty() { Trip::default() } else { api::body(&bytes)? };
    let detail = if request.reason.is_empty() { "by hand" } else { request.reason.as_str() };
    let news = state.trip(detail);
    // The breaker is tripped whether or not that could be written: the answer says which.
    let saved = state.flush().await.is_ok();
    Ok(Json(json!({"tripped": true, "news": news, "saved": saved})))
}

async fn reset(Ctx(state): Ctx<Arc<State>>) -> Result<Json<Value>, ApiError> {
    state.reset().map_err(|refused| ApiError::conflict(refused.to_string()))?;
    let saved = state.flush().await.is_ok();
    Ok(Json(json!({"reset": true, "saved": saved, "breaker": state.desk().breaker.state()})))
}

#[derive(Deserialize)]
struct Mode {
    dry_run: bool,
}

async fn set_mode(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Mode = api::body(&bytes)?;
    state.set_dry_run(request.dry_run);
    let saved = state.flush().await.is_ok();
    Ok(Json(json!({"dry_run": request.dry_run, "saved": saved})))
}

async fn mode(Ctx(state): Ctx<Arc<State>>) -> Json<Value> {
    Json(json!({"dry_run": state.desk().dry_run}))
}

/// Limits that may be tightened while trading; what is absent goes back to the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsRequest {
    /// Largest loss since the start of the day, in dollars.
    pub daily_loss: Option<Money>,
    /// Largest fall from the peak of equity, in parts of one.
    pub drawdown_ratio: Option<f64>,
    /// Largest sum of all position values, in dollars.
    pub gross_exposure: Option<Money>,
}

async fn set_limits(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Result<Json<Value>, ApiError> {
    let request: LimitsRequest = api::body(&bytes)?;
    state.set_limits(&request).map_err(ApiError::refused)?;
    let desk = state.desk();
    Ok(Json(json!({"breaker": desk.breaker.limits(), "gross_exposure": desk.gross_limit()})))
}
