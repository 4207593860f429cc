//! HTTP interface: subscriptions and prices.

use super::book::{Book, Reason, SYMBOLS_MAX};
use super::metrics::Operation;
use super::state::State;
use crate::market::instrument;
use crate::trading_platform::api::{self, ApiError};
use crate::trading_platform::labels::Status;
use axum::body::Bytes;
use axum::extract::{Path, State as Ctx};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tradewatch_metrics::Call;

/// The routes.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/api/v1/subscribe", post(subscribe))
        .route("/api/v1/subscribe/{*symbol}", delete(unsubscribe))
        .route("/api/v1/subscriptions", get(subscriptions))
        .route("/api/v1/prices", get(prices))
        .with_state(state)
}

#[derive(Deserialize)]
struct Subscribe {
    symbols: Vec<String>,
}

async fn subscribe(Ctx(state): Ctx<Arc<State>>, bytes: Bytes) -> Result<Json<Value>, ApiError> {
    counted(&state, Operation::Subscribe, async {
        let request: Subscribe = api::body(&bytes)?;
        check(&state, &request.symbols)?;
        state.change(true, &request.symbols, Reason::Asked).await.map_err(ApiError::unavailable)?;
        Ok(listing(&state))
    })
    .await
}

async fn unsubscribe(
    Ctx(state): Ctx<Arc<State>>,
    Path(symbol): Path<String>,
) -> Result<Json<Value>, ApiError> {
    counted(&state, Operation::Unsubscribe, async {
        if state.book().get(&symbol).is_none() {
            return Err(ApiError::not_found(format!("{symbol:?} is not subscribed")));
        }
        state.change(false, &[symbol], Reason::Asked).await.map_err(ApiError::unavailable)?;
        Ok(listing(&state))
    })
    .await
}

async fn counted<T>(
    state: &State,
    operation: Operation,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let metrics = &state.metrics;
    let call = Call::start(&metrics.subscription_duration_seconds, |outcome| {
        let status = Status::when(outcome.is_success());
        metrics.subscription_requests_total.at((operation, status)).inc();
    });
    let answer = work.await;
    call.finish(tradewatch_metrics::Outcome::of(&answer));
    answer
}

fn check(state: &State, symbols: &[String]) -> Result<(), ApiError> {
    if symbols.is_empty() {
        return Err(ApiError::bad_request("symbols is empty; name at least one"));
    }
    if let Some(unknown) =
        symbols.iter().find(|symbol| instrument::find(symbol).is_none_or(|i| i.symbol != *symbol))
    {
        let known: Vec<&str> = instrument::ALL.iter().map(|instrument| instrument.symbol).collect();
        return Err(ApiError::bad_request(format!(
            "the feed has no {unknown:?}; it has {}",
            known.join(", ")
        )));
    }
    let book = state.book();
    let more = symbols.iter().filter(|symbol| book.get(symbol).is_none()).count();
    if book.len() + more > SYMBOLS_MAX {
        return Err(ApiError::refused(format!(
            "{} symbols are subscribed, at most {SYMBOLS_MAX} can be",
            book.len()
        )));
    }
    Ok(())
}

async fn subscriptions(Ctx(state): Ctx<Arc<State>>) -> Json<Value> {
    listing(&state)
}

fn listing(state: &State) -> Json<Value> {
    let book = state.book();
    let symbols: Vec<&str> = book.entries().map(|(symbol, _)| symbol).collect();
    Json(json!({"symbols": symbols, "count": symbols.len()}))
}

async fn prices(Ctx(state): Ctx<Arc<State>>) -> Json<Value> {
    let now = state.clock.now();
    let book = state.book();
    let prices: Vec<Value> = book
        .entries()
        .filter_map(|(symbol, entry)| {
            let price = entry.price.as_ref()?;
            let age = Book::age(entry, now).as_secs_f64();
            Some(json!({
                "symbol": symbol, "bid": price.bid, "bid_size": price.bid_size, "ask": price.ask,
                "ask_size": price.ask_size, "mid": price.mid(), "age_seconds": age, "synthetic": price.synthetic,
            }))
        })
        .collect();
    Json(json!({"prices": prices}))
}
