//! What the pages need beyond the APIs of Prometheus and Alertmanager.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_calendar::Phase;

use super::params::Params;
use super::people::actor;
use super::respond::{ApiError, json_response};
use crate::annotations::Annotation;
use crate::audit::{Action, Entry};
use crate::clock;
use crate::drills::Proof;
use crate::monitor::Monitor;

/// Sessions that one request gets.
const SESSIONS_MAX: usize = 2_000;
const DAY_MS: i64 = 86_400_000;
/// Annotations that one request gets unless it says otherwise.
const ANNOTATIONS_SHOWN: usize = 1_000;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/tradewatch/v1/dashboards", get(dashboards))
        .route("/api/tradewatch/v1/dashboards/{uid}", get(dashboard))
        .route("/api/tradewatch/v1/live", any(super::live::open))
        .route("/api/tradewatch/v1/notifications", get(notifications))
        .route("/api/tradewatch/v1/drills", get(drills).post(drilled))
        .route("/api/tradewatch/v1/sessions", get(sessions))
        .route("/api/tradewatch/v1/slow_queries", get(slow_queries))
        .route("/api/tradewatch/v1/runbooks/{name}", get(runbook))
        .route("/api/annotations", get(annotations).post(annotate))
}

fn ok(json: &Json) -> Response {
    json_response(StatusCode::OK, json.to_string())
}

/// What took longer than `--query.log-slower-than`, the newest first.
async fn slow_queries(State(monitor): State<Arc<Monitor>>) -> Response {
    ok(&json!(monitor.queries.slow()))
}

async fn dashboards(State(monitor): State<Arc<Monitor>>) -> Response {
    ok(&json!(monitor.dashboards.list()))
}

async fn dashboard(
    State(monitor): State<Arc<Monitor>>,
    Path(uid): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, monitor.dashboards.get(&uid)?.to_string()))
}

impl From<tradewatch_alert::Error> for ApiError {
    fn from(error: tradewatch_alert::Error) -> ApiError {
        if error.is_not_found() {
            ApiError::not_found(error.to_string())
        } else {
            ApiError::bad_data(error.to_string())
        }
    }
}

/// The ledger: what waits, and what is settled, the newest first.
async fn notifications(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let limit = Params::new(raw.as_deref(), None).limit()?.min(1_000);
    let shown = monitor.notifier.read(|machine, _| {
        let queued: Vec<Json> = machine
            .queued()
            .iter()
            .map(|one| {
                json!({
                    "key": one.key,
                    "receiver": one.receiver,
                    "group_key": one.group_key,
                    "alerts": one.alerts,
                    "attempts": one.attempts,
                    "in_flight": one.in_flight,
                    "created": one.created.as_millis(),
                    "not_before": one.not_before.as_millis(),
                    "last_error": one.last_error,
                })
            })
            .collect();
        let mut settled: Vec<Json> = machine.records().map(|record| json!(record)).collect();
        settled.reverse();
        settled.truncate(limit);
        json!({"queued": queued, "settled": settled})
    });
    Ok(ok(&shown))
}

/// `from` and `to` in milliseconds.
fn range(params: &Params, name: &'static str, default: i64) -> Result<i64, ApiError> {
    match params.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|millis| millis.is_finite())
            .map(|millis| millis as i64)
            .ok_or_else(|| {
                ApiError::bad_data(format!(
                    "invalid parameter {name:?}: {text:?} is not a time in milliseconds"
                ))
            }),
    }
}

async fn sessions(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let now = clock::now().as_millis();
    let (from, to) = (range(&params, "from", now - 24 * 3_600_000)?, range(&params, "to", now)?);
    let mics = monitor.markets.live().used();
    let mic = params.get("mic").or(mics.first().map(String::as_str)).unwrap_or(tradewatch_calendar::CRYPTO);
    let at = |millis| {
        jiff::Timestamp::from_millisecond(millis)
            .map_err(|_| ApiError::bad_data(format!("{millis} is not a time in milliseconds")))
    };
    let calendar = monitor.markets.calendar();
    let mut shown = Vec::new();
    let mut push = |open: jiff::Timestamp, close: jiff::Timestamp, special: bool| {
        let (open, close) = (open.as_millisecond(), close.as_millisecond());
        // A session without an end is shown a little further than was asked.
        shown.push(json!({"open_ms": open.max(from.saturating_sub(DAY_MS)), "close_ms": close.min(to.saturating_add(DAY_MS)), "special": special}));
    };
    let mut sessions = calendar.sessions(mic, at(from)?, at(to)?).take(SESSIONS_MAX).peekable();
    if sessions.peek().is_none() && calendar.phase(mic, at(from)?) == Phase::Open {
        // Open, and yet in no session: the venue never closes.
        push(jiff::Timestamp::MIN, jiff::Timestamp::MAX, false);
    }
    for session in sessions {
        // A recess splits a session in two.
        match session.recess {
            None => push(session.open, session.close, session.is_special),
            Some((pause, resume)) => {
                push(session.open, pause, session.is_special);
                push(resume, session.close, session.is_special);
            }
        }
    }
    Ok(ok(&Json::Array(shown)))
}

async fn runbook(
    State(monitor): State<Arc<Monitor>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let mut response = monitor.runbook(&name)?.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn annotations(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let (from, to) = (range(&params, "from", 0)?, range(&params, "to", i64::MAX)?);
    let tags: Vec<&str> = params.all("tags").filter(|tag| !tag.is_empty()).collect();
    let limit = params.limit()?.min(ANNOTATIONS_SHOWN * 10);
    let limit = if limit == usize::MAX { ANNOTATIONS_SHOWN } else { limit };
    Ok(ok(&json!(monitor.annotations.find(from, to, &tags, limit))))
}

/// The last proof of each alert.
async fn drills(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Response {
    let params = Params::new(raw.as_deref(), None);
    ok(&json!(monitor.drills.of(params.get("alert"))))
}

/// Takes what drills showed: a list of [`Proof`].
async fn drilled(
    State(monitor): State<Arc<Monitor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let proofs: Vec<Proof> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_data(format!("no list of proofs: {error}")))?;
    let now = clock::now().as_millis();
    let proven = proofs.iter().filter(|proof| proof.proven).count();
    let subject = format!("{proven} of {} alerts proven", proofs.len());
    monitor.drills.add(proofs, now)?;
    monitor.note_deed(Entry::new(now, actor(&monitor, &headers, "unknown"), Action::Drill, &subject));
    Ok(ok(&json!({"message": subject})))
}

async fn annotate(
    State(monitor): State<Arc<Monitor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let annotation: Annotation = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_data(format!("bad annotation: {error}")))?;
    let now = clock::now().as_millis();
    let entry = Entry::new(now, actor(&monitor, &headers, "unknown"), Action::Annotate, &annotation.text);
    let id = monitor.annotations.add(annotation, now)?;
    monitor.note_deed(entry);
    Ok(ok(&json!({"id": id, "message": "Annotation added"})))
}
