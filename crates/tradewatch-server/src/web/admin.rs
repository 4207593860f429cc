//! The admin calls of the Prometheus API: delete series, clean up behind it, take a snapshot.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use http::{HeaderMap, StatusCode};
use tradewatch_tsdb::{Db, FsDir, Timestamp};

use super::prometheus::params;
use super::respond::{ApiError, ApiResult, Success};
use crate::clock;
use crate::monitor::Monitor;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", put(delete_series).post(delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", put(clean_tombstones).post(clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", put(snapshot).post(snapshot))
}

fn enabled(monitor: &Monitor) -> Result<(), ApiError> {
    match monitor.options.web.enable_admin_api {
        true => Ok(()),
        false => Err(ApiError::unavailable("admin APIs disabled")),
    }
}

/// Runs something that waits for the disk.
async fn on_store<T: Send + 'static>(
    monitor: &Monitor,
    work: impl FnOnce(&Db) -> Result<T, tradewatch_tsdb::Error> + Send + 'static,
) -> Result<T, ApiError> {
    let db = monitor.queries.db().clone();
    let outcome = tokio::task::spawn_blocking(move || work(&db)).await;
    let outcome = outcome.map_err(|error| ApiError::internal(format!("the call broke off: {error}")))?;
    outcome.map_err(|error| match error.is_read_only() || error.is_closed() {
        true => ApiError::unavailable(error.to_string()),
        false => ApiError::internal(error.to_string()),
    })
}

async fn delete_series(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    enabled(&monitor)?;
    let params = params(raw.as_deref(), &headers, &body);
    let selectors = params.matchers(true)?;
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start time"));
    }
    let delete = move |db: &Db| selectors.iter().map(|matchers| db.delete(matchers, start, end)).sum();
    let removed: u64 = on_store(&monitor, delete).await?;
    tracing::info!(removed, "samples deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clean_tombstones(State(monitor): State<Arc<Monitor>>) -> Result<Response, ApiError> {
    enabled(&monitor)?;
    on_store(&monitor, Db::clean_tombstones).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Puts a snapshot beside the store, in `snapshots/NAME`.
async fn snapshot(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    enabled(&monitor)?;
    let folder = monitor.options.data_dir.as_ref();
    let folder = folder.ok_or_else(|| ApiError::unavailable("the store is in memory alone"))?;
    let now = clock::now();
    let text: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{text}-{:08x}", now.as_millis() as u32 ^ std::process::id());
    let path = folder.join("snapshots").join(&name);
    let failed = |error: std::io::Error| ApiError::internal(format!("create {}: {error}", path.display()));
    let target = FsDir::new(&path).map_err(failed)?;
    on_store(&monitor, move |db| db.snapshot(&target)).await?;
    Ok(Success::from(format!("{{\"name\":\"{name}\"}}")))
}
