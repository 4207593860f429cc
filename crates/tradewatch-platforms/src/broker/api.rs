//! The REST routes.

use super::book::Book;
use super::chance::Verdict;
use super::order::{Order, OrderRequest, OrderType, Side, TimeInForce};
use super::refusal::Refusal;
use super::{Fault, Shared, account, stream};
use crate::faults::board;
use crate::market::{Decimal, Instrument, instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::{SECOND, parse_rfc3339};
use crate::runtime::ws::READ_BUFFER_BYTES;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, Query, Request, State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

type Shares = State<Arc<Shared>>;

/// Orders per answer unless asked otherwise, and at most.
const ORDERS_PER_PAGE: (usize, usize) = (50, 500);
/// Activities per answer.
const ACTIVITIES_PER_PAGE: usize = 100;

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let trading = Router::new()
        .route("/v2/orders", get(list_orders).post(post_order).delete(cancel_orders))
        .route("/v2/orders/{id}", get(get_order).delete(cancel_order))
        .route("/v2/orders:by_client_order_id", get(get_order_by_client_id))
        .route("/v2/positions", get(list_positions).delete(close_positions))
        .route("/v2/positions/{symbol}", get(get_position).delete(close_position))
        .route("/v2/account", get(get_account))
        .route("/v2/account/activities", get(list_activities))
        .route("/v2/account/activities/{kind}", get(list_activities_of))
        .route("/v2/clock", get(get_clock))
        .route("/v2/calendar", get(get_calendar))
        .route("/v2/assets", get(list_assets))
        .route("/v2/assets/{symbol}", get(get_asset))
        .layer(from_fn_with_state(shared.clone(), guard));
    Router::new()
        .merge(trading)
        .route("/stream", any(open_stream))
        .route("/health", get(health))
        .route("/control/ledger", get(ledger))
        .route("/control/faults", get(list_faults).post(post_fault).delete(clear_faults))
        .with_state(shared)
}

/// Keys, rate limit, faults and latency, before any trading route.
async fn guard(State(shared): Shares, request: Request, next: Next) -> Response {
    let (allowed, wait) = {
        let mut state = shared.state();
        let state = &mut *state;
        let now = shared.clock.now();
        let allowed = admit(&shared, state, request.headers(), now);
        let is_order = request.method() == "POST";
        // An order waits in its own task, which goes on when the client hangs up.
        let wait = if is_order && allowed.refusal.is_none() {
            Duration::ZERO
        } else {
            state.book.chance().read_latency() + extra_latency(state, now)
        };
        (allowed, wait)
    };
    tokio::time::sleep(wait).await;
    let mut response = match allowed.refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in allowed.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Query parameters, refused in the broker's own form when they cannot be read.
struct Params<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Arc<Shared>> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Params<T>, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(query)| Params(query)).map_err(|rejection| Refusal::invalid(rejection.body_text()))
    }
}

struct Admission {
    refusal: Option<Refusal>,
    headers: Vec<(&'static str, HeaderValue)>,
}

fn admit(shared: &Shared, state: &mut super::State, headers: &HeaderMap, now: Nanos) -> Admission {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let minute = now.div_euclid(60 * SECOND);
    if state.minute.number != minute {
        state.minute = super::Minute { number: minute, requests: 0 };
    }
    state.minute.requests = state.minute.requests.saturating_add(1);
    let limit = shared.config.rate_limit_per_minute;
    let over = limit > 0 && state.minute.requests > limit;
    let throttled =
        state.board.find(now, |fault| matches!(fault, Fault::Throttle {}).then_some(())).is_some();
    let refusal = if state.board.find(now, |fault| matches!(fault, Fault::Refuse {}).then_some(())).is_some()
    {
        Some(Refusal::internal(StatusCode::SERVICE_UNAVAILABLE))
    } else if !shared.are_keys(text("apca-api-key-id"), text("apca-api-secret-key")) {
        Some(Refusal::unauthorized())
    } else if over || throttled {
        Some(Refusal::throttled())
    } else {
        server_error(state, now)
    };
    let left = if throttled { 0 } else { limit.saturating_sub(state.minute.requests) };
    let mut headers = Vec::new();
    if limit > 0 || throttled {
        headers.push(("x-ratelimit-limit", HeaderValue::from(limit)));
        headers.push(("x-ratelimit-remaining", HeaderValue::from(left)));
        headers.push(("x-ratelimit-reset", HeaderValue::from((minute + 1) * 60)));
    }
    Admission { refusal, headers }
}

fn server_error(state: &mut super::State, now: Nanos) -> Option<Refusal> {
    let (share, status) = state.board.find(now, |fault| match fault {
        Fault::Error { share, status } => Some((*share, *status)),
        _ => None,
    })?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    state.book.chance().happens(share).then(|| Refusal::internal(status))
}

fn extra_latency(state: &mut super::State, now: Nanos) -> Duration {
    let fault = state.board.find(now, |fault| match fault {
        Fault::Latency { milliseconds, share } => Some((*milliseconds, *share)),
        _ => None,
    });
    match fault {
        Some((milliseconds, share)) if state.book.chance().happens(share) => {
            Duration::from_millis(milliseconds)
        }
        _ => Duration::ZERO,
    }
}

async fn post_order(State(shared): Shares, body: Bytes) -> Result<Response, Refusal> {
    let request: OrderRequest = serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::invalid(error.to_string()),
        _ => Refusal::malformed(&error),
    })?;
    place(shared, request).await.map(|order| Json(order).into_response())
}

/// Carries an order out in a task of its own: a client that hangs up does not call it back.
async fn place(shared: Arc<Shared>, request: OrderRequest) -> Result<Value, Refusal> {
    let (sender, answer) = tokio::sync::oneshot::channel();
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        let latency = shared.state().book.chance().order_latency();
        tokio::time::sleep(latency.mul_f64(0.6)).await;
        let (share, extra) = {
            let mut state = shared.state();
            let now = shared.clock.now();
            let share = state.board.find(now, |fault| match fault {
                Fault::Reject { share } => Some(*share),
                _ => None,
            });
            (share, extra_latency(&mut state, now))
        };
        let placed = shared.with_book(|book, now| {
            let verdict = match share {
                Some(share) if book.chance().happens(share) => Verdict::Deny,
                _ => book.chance().verdict(),
            };
            book.submit(&request, verdict, now).map(Order::json)
        });
        tokio::time::sleep(latency.mul_f64(0.4) + extra).await;
        let _ = sender.send(placed); // The client may have gone.
    });
    answer.await.unwrap_or_else(|_| Err(Refusal::internal(StatusCode::SERVICE_UNAVAILABLE)))
}

#[derive(Deserialize)]
struct OrdersQuery {
    status: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    until: Option<String>,
    direction: Option<String>,
    symbols: Option<String>,
    side: Option<Side>,
}

async fn list_orders(
    State(shared): Shares,
    Params(query): Params<OrdersQuery>,
) -> Result<Json<Value>, Refusal> {
    let open = match query.status.as_deref() {
        None | Some("open") => Some(true),
        Some("closed") => Some(false),
        Some("all") => None,
        Some(other) => {
            return Err(Refusal::invalid(format!("invalid status `{other}`: open, closed or all")));
        }
    };
    let time = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => {
            parse_rfc3339(text).map(Some).ok_or_else(|| Refusal::invalid(format!("invalid time `{text}`")))
        }
    };
    let (after, until) = (time(&query.after)?, time(&query.until)?);
    let symbols: Option<Vec<&Instrument>> =
        query.symbols.as_deref().map(|list| list.split(',').filter_map(instrument::find).collect());
    let limit = query.limit.unwrap_or(ORDERS_PER_PAGE.0).clamp(1, ORDERS_PER_PAGE.1);
    let wanted = |order: &&Order| {
        open.is_none_or(|open| order.status.is_open() == open)
            && after.is_none_or(|after| order.created_at > after)
            && until.is_none_or(|until| order.created_at < until)
            && symbols.as_ref().is_none_or(|symbols| symbols.contains(&order.instrument))
            && query.side.is_none_or(|side| order.side == side)
    };
    Ok(Json(shared.with_book(|book, _| {
        if query.direction.as_deref() == Some("asc") {
            book.orders().filter(wanted).take(limit).map(Order::json).collect()
        } else {
            book.orders().rev().filter(wanted).take(limit).map(Order::json).collect()
        }
    })))
}

async fn get_order(State(shared): Shares, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let found = shared.with_book(|book, _| book.order(&id).map(Order::json));
    found.map(Json).ok_or_else(|| Refusal::not_found(format!("order not found for {id}")))
}

#[derive(Deserialize)]
struct ByClientId {
    client_order_id: String,
}

async fn get_order_by_client_id(
    State(shared): Shares,
    Params(query): Params<ByClientId>,
) -> Result<Json<Value>, Refusal> {
    let id = query.client_order_id;
    let found = shared.with_book(|book, _| book.order_by_client_id(&id).map(Order::json));
    found.map(Json).ok_or_else(|| Refusal::not_found(format!("order not found for {id}")))
}

async fn cancel_order(State(shared): Shares, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    shared.with_book(|book, now| book.cancel(&id, now))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn cancel_orders(State(shared): Shares) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTI_STATUS, Json(shared.with_book(|book, now| cancel_all(book, now, |_| true))))
}

fn cancel_all(book: &mut Book, now: Nanos, which: impl Fn(&Order) -> bool) -> Value {
    let ids: Vec<String> =
        book.open_orders().filter(|order| which(order)).map(|order| order.id.clone()).collect();
    let cancel = |id: String| {
        let status = book.cancel(&id, now).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
        json!({ "id": id, "status": status })
    };
    ids.into_iter().map(cancel).collect()
}

async fn list_positions(State(shared): Shares) -> Json<Value> {
    Json(
        shared.with_book(|book, _| {
            book.ledger.positions().map(|position| book.position_json(position)).collect()
        }),
    )
}

fn position_symbol(text: &str) -> Result<&'static str, Refusal> {
    let found = instrument::find(text).map(|instrument| instrument.symbol);
    found.ok_or_else(|| Refusal::not_found("position does not exist"))
}

async fn get_position(State(shared): Shares, Path(symbol): Path<String>) -> Result<Json<Value>, Refusal> {
    let symbol = position_symbol(&symbol)?;
    let found =
        shared.with_book(|book, _| book.ledger.position(symbol).map(|position| book.position_json(position)));
    found.map(Json).ok_or_else(|| Refusal::not_found("position does not exist"))
}

#[derive(Deserialize)]
struct CloseQuery {
    qty: Option<Decimal>,
    percentage: Option<Decimal>,
}

async fn close_position(
    State(shared): Shares,
    Path(symbol): Path<String>,
    Params(query): Params<CloseQuery>,
) -> Result<Json<Value>, Refusal> {
    let symbol = position_symbol(&symbol)?;
    let held = shared.with_book(|book, _| book.ledger.qty(symbol));
    let qty = match (query.qty, query.percentage) {
        (Some(qty), _) => qty,
        (None, Some(percentage)) if percentage > Decimal::from_int(100) => {
            return Err(Refusal::invalid(format!("percentage {percentage} is more than 100")));
        }
        (None, Some(percentage)) => (held.abs() * percentage).ratio(Decimal::from_int(100)),
        (None, None) => held.abs(),
    };
    if held.is_zero() {
        return Err(Refusal::not_found("position does not exist"));
    }
    if qty > held.abs() {
        let message =
            format!("insufficient qty available for order (requested: {qty}, available: {})", held.abs());
        return Err(Refusal::denied(message));
    }
    Ok(Json(place(shared, closing_order(symbol, held, qty)).await?))
}

fn closing_order(symbol: &'static str, held: Decimal, qty: Decimal) -> OrderRequest {
    let sessions = instrument::find(symbol).is_some_and(|instrument| instrument.has_sessions());
    OrderRequest {
        symbol: symbol.to_owned(),
        qty: Some(qty),
        notional: None,
        side: if held.is_positive() { Side::Sell } else { Side::Buy },
        kind: OrderType::Market,
        time_in_force: if sessions { TimeInForce::Day } else { TimeInForce::Gtc },
        limit_price: None,
        stop_price: None,
        client_order_id: None,
        extended_hours: None,
        order_class: None,
    }
}

#[derive(Deserialize)]
struct CloseAllQuery {
    cancel_orders: Option<String>,
}

async fn close_positions(
    State(shared): Shares,
    Params(query): Params<CloseAllQuery>,
) -> (StatusCode, Json<Value>) {
    let held: Vec<(&'static str, Decimal)> = shared.with_book(|book, now| {
        // Python's clients write `True`.
        if query.cancel_orders.is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1") {
            cancel_all(book, now, |_| true);
        }
        book.ledger.positions().map(|position| (position.instrument.symbol, position.qty)).collect()
    });
    let mut closed = Vec::new();
    for (symbol, qty) in held {
        closed.push(match place(shared.clone(), closing_order(symbol, qty, qty.abs())).await {
            Ok(order) => json!({ "symbol": symbol, "status": 200, "body": order }),
            Err(refusal) => json!({ "symbol": symbol, "status": refusal.status.as_u16() }),
        });
    }
    (StatusCode::MULTI_STATUS, Json(closed.into()))
}

async fn get_account(State(shared): Shares) -> Json<Value> {
    Json(shared.with_book(|book, _| book.account_json(shared.begun)))
}

#[derive(Deserialize)]
struct ActivitiesQuery {
    activity_types: Option<String>,
    after: Option<String>,
    until: Option<String>,
    direction: Option<String>,
    page_size: Option<usize>,
    page_token: Option<String>,
}

async fn list_activities(
    State(shared): Shares,
    Params(query): Params<ActivitiesQuery>,
) -> Result<Json<Value>, Refusal> {
    let fills =
        query.activity_types.as_deref().is_none_or(|types| types.split(',').any(|kind| kind == "FILL"));
    if fills { activities(&shared, &query) } else { Ok(Json(json!([]))) }
}

async fn list_activities_of(
    State(shared): Shares,
    Path(kind): Path<String>,
    Params(query): Params<ActivitiesQuery>,
) -> Result<Json<Value>, Refusal> {
    if kind == "FILL" { activities(&shared, &query) } else { Ok(Json(json!([]))) }
}

fn activities(shared: &Shared, query: &ActivitiesQuery) -> Result<Json<Value>, Refusal> {
    let time = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => {
            parse_rfc3339(text).map(Some).ok_or_else(|| Refusal::invalid(format!("invalid time `{text}`")))
        }
    };
    let (after, until) = (time(&query.after)?, time(&query.until)?);
    let size = query.page_size.unwrap_or(ACTIVITIES_PER_PAGE).clamp(1, ACTIVITIES_PER_PAGE);
    let found = shared.with_book(|book, _| {
        let wanted = |fill: &&super::book::Fill| {
            after.is_none_or(|after| fill.at > after) && until.is_none_or(|until| fill.at < until)
        };
        let mut fills: Vec<_> = book.fills().filter(wanted).collect();
        if query.direction.as_deref() != Some("asc") {
            fills.reverse();
        }
        let begin = match &query.page_token {
            None => 0,
            Some(token) => fills.iter().position(|fill| account::activity_id(fill) == *token)? + 1,
        };
        Some(fills[begin..].iter().take(size).map(|fill| book.activity_json(fill)).collect::<Value>())
    });
    found.map(Json).ok_or_else(|| Refusal::invalid("page_token is not the id of an activity"))
}

async fn get_clock(State(shared): Shares) -> Json<Value> {
    Json(shared.with_book(|book, now| book.clock_json(now)))
}

#[derive(Deserialize)]
struct CalendarQuery {
    start: Option<String>,
    end: Option<String>,
}

async fn get_calendar(
    State(shared): Shares,
    Params(query): Params<CalendarQuery>,
) -> Result<Json<Value>, Refusal> {
    let time = |text: &Option<String>, default: Nanos| match text {
        None => Ok(default),
        Some(text) => parse_rfc3339(text).ok_or_else(|| Refusal::invalid(format!("invalid date `{text}`"))),
    };
    let now = shared.clock.now();
    let year = 366 * 86_400 * SECOND;
    let from = time(&query.start, now)?;
    let until = time(&query.end, from.saturating_add(year))?.saturating_add(86_400 * SECOND);
    Ok(Json(shared.with_book(|book, _| book.calendar_json(from, until))))
}

#[derive(Deserialize)]
struct AssetsQuery {
    asset_class: Option<crate::market::AssetClass>,
}

async fn list_assets(Params(query): Params<AssetsQuery>) -> Json<Value> {
    let wanted = |instrument: &&Instrument| query.asset_class.is_none_or(|class| instrument.class == class);
    Json(instrument::ALL.iter().filter(wanted).map(account::asset_json).collect())
}

async fn get_asset(Path(symbol): Path<String>) -> Result<Json<Value>, Refusal> {
    let found = instrument::find(&symbol).map(account::asset_json);
    found.map(Json).ok_or_else(|| Refusal::not_found(format!("asset not found for {symbol}")))
}

async fn open_stream(State(shared): Shares, upgrade: WebSocketUpgrade) -> Response {
    if shared.state().refuses_streams(shared.clock.now()) {
        return Refusal::internal(StatusCode::SERVICE_UNAVAILABLE).into_response();
    }
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(move |socket| stream::converse(socket, shared))
}

async fn health(State(shared): Shares) -> Json<Value> {
    let state = shared.state();
    Json(json!({
        "status": "ok",
        "feeds_connected": state.feeds_connected,
        "streams": state.streams.len(),
        "open_orders": state.book.open_orders().count(),
        "fills": state.book.fills().count(),
    }))
}

async fn ledger(State(shared): Shares) -> Json<Value> {
    Json(shared.with_book(|book, _| {
        let position = |position: &super::ledger::Position| {
            let symbol = position.instrument.symbol;
            json!({ "symbol": symbol, "qty": position.qty, "cost_basis": position.cost })
        };
        let positions: Vec<Value> = book.ledger.positions().map(position).collect();
        json!({
            "cash": book.ledger.cash(),
            "realized": book.ledger.realized(),
            "equity": book.equity(),
            "positions": positions,
        })
    }))
}

async fn list_faults(State(shared): Shares) -> Response {
    Json(shared.state().board.active(shared.clock.now())).into_response()
}

async fn clear_faults(State(shared): Shares) -> StatusCode {
    shared.state().board.clear();
    StatusCode::NO_CONTENT
}

async fn post_fault(State(shared): Shares, body: Bytes) -> Response {
    let refuse =
        |status: StatusCode, message: String| (status, Json(json!({ "message": message }))).into_response();
    let mut request: board::Request<Fault> = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    };
    if let Some(problem) = request.fault.problem() {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, problem);
    }
    let mut state = shared.state();
    if matches!(request.fault, Fault::StreamDisconnect {} | Fault::StreamRefuse {} | Fault::Refuse {}) {
        state.streams.clear();
    }
    if matches!(request.fault, Fault::StreamDisconnect {}) {
        request.for_seconds = 0.0; // It happens now and is over.
    }
    match state.board.post(request, shared.clock.now()) {
        Some(active) => {
            tracing::info!(fault = ?active.fault, "broker fault in force");
            Json(active).into_response()
        }
        None => refuse(StatusCode::TOO_MANY_REQUESTS, format!("{} faults are in force", board::FAULTS_MAX)),
    }
}
