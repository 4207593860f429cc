//! All routes together, behind the guard, with the figures of each request.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, put};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use tower_http::compression::CompressionLayer;

use super::guard::Guard;
use super::people::actor;
use super::respond::ApiError;
use super::web_config::WebConfig;
use super::{admin, alertmanager, calendar, federate, people, prometheus, status, tradewatch, ui};
use crate::audit::{Action, Entry};
use crate::clock;
use crate::monitor::Monitor;
use crate::telemetry::{Handler, StatusClass};

/// Biggest body of a request.
const BODY_BYTES_MAX: usize = 8 << 20;

/// What stands in front of everything, from before the store is replayed.
#[derive(Clone)]
pub struct Front {
    /// Who may ask what.
    pub guard: Arc<Guard>,
    /// Users and headers.
    pub web: WebConfig,
    /// The routes, once the monitor is ready.
    pub app: Arc<OnceLock<Router>>,
}

impl Front {
    /// The outermost router: it answers from the first moment, and everything once the monitor is ready.
    pub fn router(self) -> Router {
        Router::new().fallback(admit).with_state(self)
    }
}

async fn admit(State(front): State<Front>, request: Request) -> Response {
    let is_socket = request.headers().contains_key(UPGRADE);
    if let Some(why) = front.guard.refuse(request.method(), request.headers(), is_socket) {
        return ApiError::forbidden(why).into_response();
    }
    if front.web.has_users() {
        let (web, headers) = (front.web.clone(), request.headers().clone());
        // A password is compared slowly on purpose.
        let user = tokio::task::spawn_blocking(move || web.login(&headers)).await.ok().flatten();
        if user.is_none() {
            let mut response = (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            return response;
        }
    }
    let mut response = match front.app.get() {
        Some(app) => {
            use tower::ServiceExt as _;
            let answered = app.clone().oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        }
        None => starting(request.uri().path()),
    };
    for (name, value) in &front.web.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn starting(path: &str) -> Response {
    match path {
        "/-/healthy" => "Tradewatch is Healthy.\n".into_response(),
        _ if path.starts_with("/api/") => {
            ApiError::unavailable("the store is being read, try again in a moment").into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable: the store is being read\n")
            .into_response(),
    }
}

/// All routes of a ready monitor.
pub fn routes(monitor: Arc<Monitor>) -> Router {
    Router::new()
        .merge(prometheus::routes())
        .merge(status::routes())
        .merge(alertmanager::routes())
        .merge(people::routes())
        .merge(tradewatch::routes())
        .merge(calendar::routes())
        .merge(crate::push::routes())
        .route("/metrics", get(metrics))
        .route("/federate", get(federate::federate))
        .route("/-/healthy", get(|| async { "Tradewatch is Healthy.\n" }))
        .route("/-/ready", get(|| async { "Tradewatch is Ready.\n" }))
        .route("/-/reload", put(reload).post(reload))
        .route("/-/quit", put(quit).post(quit))
        .merge(admin::routes())
        .fallback(other)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CompressionLayer::new())
        .route_layer(middleware::from_fn_with_state(monitor.clone(), note))
        .with_state(monitor)
}

/// Counts and times each request under its route.
async fn note(
    State(monitor): State<Arc<Monitor>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let handler = Handler::intern(path.as_ref().map_or("other", |path| path.as_str()));
    let metrics = &monitor.own.metrics;
    metrics.http_requests_total.at((handler, StatusClass::of(response.status()))).inc();
    metrics.http_request_duration_seconds.at((handler,)).observe_duration(began.elapsed());
    response
}

async fn metrics(State(monitor): State<Arc<Monitor>>, headers: HeaderMap) -> Response {
    let shown = monitor.clone();
    // Looking at each series is work; it is not done on a thread that serves others.
    let _ = tokio::task::spawn_blocking(move || shown.refresh_own()).await;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (kind, body) = monitor.own.encode(accept);
    let mut response = Body::from(body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn reload(State(monitor): State<Arc<Monitor>>, headers: HeaderMap) -> Response {
    if !monitor.options.web.enable_lifecycle {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response();
    }
    match monitor.reload(actor(&monitor, &headers, "unknown")).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response()
        }
    }
}

async fn quit(State(monitor): State<Arc<Monitor>>, headers: HeaderMap) -> Response {
    if !monitor.options.web.enable_lifecycle {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response();
    }
    let asks = actor(&monitor, &headers, "unknown");
    monitor.note_deed(Entry::new(clock::now().as_millis(), asks, Action::Quit, ""));
    monitor.quit.notify_one();
    "Requesting termination... Goodbye!\n".into_response()
}

async fn other(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") || path.starts_with("/-/") {
        return ApiError::not_found(format!("there is no {path}")).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if let Some(to) = moved(path, request.uri().query()) {
        return Redirect::temporary(&to).into_response();
    }
    ui::serve(request.uri(), request.headers())
}

/// Links in the form of Prometheus' pages, as alerts carry them, lead to the page that shows a query.
fn moved(path: &str, query: Option<&str>) -> Option<String> {
    if path != "/graph" && path != "/query" {
        return None;
    }
    let pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
    let exprs = pairs
        .filter(|(name, _)| name.starts_with('g') && name.ends_with(".expr"))
        .map(|(_, expr)| ("expr", expr));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(exprs).finish();
    Some(if query.is_empty() { "/explore".to_owned() } else { format!("/explore?{query}") })
}
