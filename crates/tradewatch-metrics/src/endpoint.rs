//! The HTTP edge: `/metrics`, `/health`, `/ready`.
//!
//! `/metrics` answers text 0.0.4, or OpenMetrics 1.0 or protobuf if `Accept` prefers it, by gzip
//! or zstd if the client takes it. It
//! serves the registry of the process that moves the metrics. `/health` answers 200 as long as the process
//! does and says what it knows of each dependency; `/ready` answers 503 while a required one is not up.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::encode::Format;
use crate::health::{DependencyState, Health};
use crate::registry::Registry;

/// Bodies below this are not worth compressing.
const CODED_BYTES_MIN: usize = 512;

#[derive(Clone)]
struct Edge {
    registry: Registry,
    health: Health,
    /// Kept from scrape to scrape, so that encoding does not allocate.
    buffer: Arc<Mutex<Vec<u8>>>,
}

/// The three routes, to merge into a service's own router.
///
/// The health checks run only if the service spawns [`Health::run`].
pub fn router(registry: Registry, health: Health) -> Router {
    let edge = Edge { registry, health, buffer: Arc::default() };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health_page))
        .route("/ready", get(ready_page))
        .with_state(edge)
}

async fn metrics(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    if !edge.registry.has_callbacks() {
        return scrape(&edge, &headers);
    }
    // Callbacks are waited for; a thread that may block does that.
    let answer = tokio::task::spawn_blocking(move || scrape(&edge, &headers)).await;
    answer.unwrap_or_else(|error| {
        let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
        response.body(Body::from(error.to_string())).expect("constant headers are valid")
    })
}

fn scrape(edge: &Edge, headers: &HeaderMap) -> Response {
    let format = Format::from_accept(&joined(headers, ACCEPT));
    let mut buffer = edge.buffer.lock().unwrap_or_else(PoisonError::into_inner);
    buffer.clear();
    edge.registry.encode(format, &mut buffer);
    let coding = if buffer.len() < CODED_BYTES_MIN {
        None
    } else {
        Coding::from_accept(&joined(headers, ACCEPT_ENCODING))
    };
    let response = Response::builder()
        .header(CONTENT_TYPE, format.content_type())
        .header(VARY, "Accept, Accept-Encoding")
        .header(CACHE_CONTROL, "no-store");
    let response = match coding {
        Some(coding) => {
            response.header(CONTENT_ENCODING, coding.name()).body(Body::from(coding.encode(&buffer)))
        }
        None => response.body(Body::from(buffer.clone())),
    };
    response.expect("constant headers are valid")
}

/// How a body is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding that a client prefers by its qualities, gzip among equals; `None` if it takes neither.
    fn from_accept(accept: &str) -> Option<Coding> {
        let mut best: Option<(Coding, f64)> = None;
        for (coding, names) in [(Coding::Gzip, ["gzip", "x-gzip"]), (Coding::Zstd, ["zstd", "zstd"])] {
            let mut quality = None;
            for range in accept.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let named = names.iter().any(|known| name.eq_ignore_ascii_case(known));
                // What is named counts before the star, wherever it stands.
                if named || (name == "*" && quality.is_none() && coding == Coding::Gzip) {
                    let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
                    quality = Some(q.map_or(1.0, |q| q.parse().unwrap_or(0.0)));
                }
            }
            let least = best.map_or(0.0, |(_, quality)| quality);
            if let Some(quality) = quality.filter(|quality| *quality > least) {
                best = Some((coding, quality));
            }
        }
        best.map(|(coding, _)| coding)
    }

    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Coding::Gzip => gzipped(body),
            Coding::Zstd => compress_to_vec(body, CompressionLevel::Fastest),
        }
    }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body).expect("writing to a Vec does not fail");
    encoder.finish().expect("writing to a Vec does not fail")
}

/// All values of a header that may come in several lines.
fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

async fn health_page(State(edge): State<Edge>) -> Response {
    let states = edge.health.states();
    let down = states.iter().any(|state| state.up != Some(true));
    page(StatusCode::OK, if down { "degraded" } else { "ok" }, &states)
}

async fn ready_page(State(edge): State<Edge>) -> Response {
    let states = edge.health.states();
    if edge.health.is_ready() {
        page(StatusCode::OK, "ready", &states)
    } else {
        page(StatusCode::SERVICE_UNAVAILABLE, "not ready", &states)
    }
}

fn page(code: StatusCode, status: &str, states: &[DependencyState]) -> Response {
    let dependencies: Vec<Value> = states.iter().map(dependency).collect();
    let body = json!({ "status": status, "dependencies": dependencies });
    Response::builder()
        .status(code)
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .body(Body::from(body.to_string()))
        .expect("constant headers are valid")
}

fn dependency(state: &DependencyState) -> Value {
    json!({
        "name": state.name,
        "state": match state.up { Some(true) => "up", Some(false) => "down", None => "unknown" },
        "required": state.required,
        "since": rfc3339(state.since),
        "checked": state.checked.map(rfc3339),
        "last_error": state.last_error,
    })
}

/// `2026-11-20T09:26:09.123Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (mut year, mut day) = (1970, days);
    let length = |year: u64| {
        if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) {
            366
        } else {
            365
        }
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let (second, millis) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", day + 1)
}

/// An endpoint of its own thread; see [`listen`].
#[must_use = "the endpoint stops when this is dropped"]
pub struct Listening {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Serves the three pages and runs the health checks on a thread of their own, for a program that has no
/// server and perhaps no async runtime.
///
/// # Errors
/// If the address is taken or cannot be bound.
pub fn listen(addr: impl ToSocketAddrs, registry: Registry, health: Health) -> io::Result<Listening> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = async move {
        let checks = tokio::spawn(health.clone().run());
        let stopped = async {
            let _ = stopped.await;
        };
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            let server = axum::serve(listener, router(registry, health)).into_future();
            // Open connections are not waited for: a scraper that keeps one alive must not hold up the end.
            tokio::select! { _ = server => {}, () = stopped => {} }
        }
        checks.abort();
    };
    let thread =
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || runtime.block_on(serve))?;
    Ok(Listening { addr, stop: Some(stop), thread: Some(thread) })
}

impl Listening {
    /// The address bound, with the real port if 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_coding_is_used_only_if_taken() {
        let (gzip, zstd) = (Some(Coding::Gzip), Some(Coding::Zstd));
        for (accept, coding) in [
            ("", None),
            ("identity", None),
            ("gzip", gzip),
            ("br, GZIP;q=0.5", gzip),
            ("gzip;q=0", None),
            ("*", gzip),
            ("*, gzip;q=0", None),
            ("gzip;q=0, *", None),
            ("zstd", zstd),
            ("zstd, gzip", gzip),
            ("gzip;q=0.5, zstd", zstd),
            ("gzip;q=0.5, zstd;q=0.4", gzip),
            ("gzip;q=0, zstd;q=0.1", zstd),
            ("zstd;q=0, *;q=0.5", gzip),
        ] {
            assert_eq!(Coding::from_accept(accept), coding, "{accept}");
        }
    }
}
