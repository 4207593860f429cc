//! JSON lines: what is in one, what happens under pressure, and that no secret is in any.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tracing_subscriber::prelude::*;
use tradewatch_instrument::logs::{JsonLines, LogGuard, LogLimits, TraceContext};
use tradewatch_instrument::{Secret, secret};
use tradewatch_metrics::{Health, Info, Metrics, Registry, endpoint};

use crate::world::value;

/// A writer that keeps what is written, and stands still while it is told to.
#[derive(Clone, Default)]
struct Sink(Arc<(Mutex<(Vec<u8>, bool)>, Condvar)>);

impl Sink {
    fn stand_still(&self, still: bool) {
        self.0.0.lock().expect("no panic").1 = still;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().expect("no panic").0.clone()).expect("UTF-8")
    }

    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text().lines().map(parse).collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let state = self.0.0.lock().expect("no panic");
        let mut state = self.0.1.wait_while(state, |(_, still)| *still).expect("no panic");
        state.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log(limits: LogLimits) -> (Sink, Registry, impl tracing::Subscriber + Send + Sync, LogGuard) {
    let (sink, registry) = (Sink::default(), Registry::new());
    let (layer, guard) = JsonLines::new("gateway", sink.clone(), limits, &registry).expect("free");
    (sink, registry, tracing_subscriber::registry().with(layer), guard)
}

#[test]
fn a_line_says_when_how_bad_who_what_and_where_it_belongs() {
    let (sink, registry, subscriber, guard) = log(LogLimits { line_bytes: 1_000, ..LogLimits::default() });
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(
            symbol = "AAPL",
            quantity = 100,
            price = 1.5,
            nan = f64::NAN,
            level = 3,
            "order_filled"
        );
        let request =
            tracing::info_span!("request", traceparent, route = "/orders", user = tracing::field::Empty);
        request.in_scope(|| {
            request.record("user", "desk");
            tracing::warn!("in the request");
            tracing::info_span!("query", route = "inner").in_scope(|| {
                let error = std::io::Error::other("the disk is gone");
                tracing::error!(error = &error as &dyn std::error::Error, "in a \"query\"\nof it");
            });
        });
        tracing::info_span!("other").in_scope(|| tracing::debug!(text = "x".repeat(2_000), "long"));
        tracing::trace!("{}", "y".repeat(2_000));
    });
    drop(guard);
    let lines = sink.lines();
    assert_eq!(lines.len(), 5, "{}", sink.text());
    let of = |at: usize, name: &str| lines[at][name].clone();
    assert_eq!(
        (of(0, "level"), of(0, "service"), of(0, "event")),
        ("info".into(), "gateway".into(), "order_filled".into())
    );
    assert_eq!((of(0, "symbol"), of(0, "quantity"), of(0, "price")), ("AAPL".into(), 100.into(), 1.5.into()));
    assert_eq!((of(0, "nan"), of(0, "field_level")), ("NaN".into(), 3.into()));
    assert_eq!((of(0, "trace_id"), of(0, "target")), (Value::Null, "it::logs".into()));
    let timestamp = of(0, "timestamp");
    let timestamp = timestamp.as_str().expect("a text");
    assert!(timestamp.len() == 27 && timestamp.starts_with("20") && timestamp.ends_with('Z'), "{timestamp}");
    let trace = Value::from("4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(
        (of(1, "trace_id"), of(1, "route"), of(1, "user")),
        (trace.clone(), "/orders".into(), "desk".into())
    );
    assert_ne!(of(1, "span_id"), Value::from("00f067aa0ba902b7"), "the caller's span is not ours");
    assert_eq!(
        (of(2, "trace_id"), of(2, "route"), of(2, "user")),
        (trace.clone(), "inner".into(), "desk".into())
    );
    assert_ne!(of(2, "span_id"), of(1, "span_id"), "a span of its own");
    assert_eq!((of(2, "event"), of(2, "error")), ("in a \"query\"\nof it".into(), "the disk is gone".into()));
    assert_ne!(of(3, "trace_id"), trace, "another trace");
    assert_eq!((of(3, "event"), of(3, "text")), ("long".into(), Value::Null));
    assert!(of(3, "bytes_left_out").as_u64() > Some(2_000) && of(4, "event") == "log_line_too_long");
    for (level, lines) in [("info", 1.0), ("warn", 1.0), ("error", 1.0), ("debug", 1.0), ("trace", 1.0)] {
        assert_eq!(value(&registry, &format!("log_lines_total{{level=\"{level}\"}}")), lines);
    }
    assert_eq!(
        TraceContext::parse(traceparent).expect("a trace").trace_id(),
        trace.as_str().expect("a text")
    );
}

#[test]
fn a_writer_that_stands_still_stops_nobody_and_what_is_dropped_is_counted_and_announced() {
    const LINES: usize = 20_000;
    let (sink, registry, subscriber, guard) =
        log(LogLimits { queue_bytes: 256 << 10, ..LogLimits::default() });
    sink.stand_still(true);
    let subscriber = tracing::Dispatch::new(subscriber);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let subscriber = subscriber.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&subscriber, || {
                    (0..LINES / 2).for_each(|n| tracing::info!(thread, n, "tick"));
                });
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(60), "somebody waited");
    let dropped = value(&registry, "log_lines_dropped_total");
    assert!(dropped > LINES as f64 / 2.0, "{dropped}");
    assert!(value(&registry, "log_queue_bytes") <= f64::from(256 << 10));
    sink.stand_still(false);
    drop(guard);
    let lines = sink.lines();
    let announced: u64 = lines
        .iter()
        .filter(|line| line["event"] == "log_lines_dropped")
        .filter_map(|line| line["count"].as_u64())
        .sum();
    let written = lines.iter().filter(|line| line["event"] == "tick").count();
    assert_eq!(announced as f64, dropped, "what is dropped is announced");
    assert_eq!(written + announced as usize, LINES, "every line is written or announced as dropped");
    tracing::dispatcher::with_default(&subscriber, || tracing::info!("after the end"));
    assert_eq!(value(&registry, "log_lines_dropped_total"), dropped + 1.0);
    assert_eq!(value(&registry, "log_lines_total{level=\"info\"}"), LINES as f64 + 1.0);
}

#[test]
fn a_full_disk_is_counted() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    let registry = Registry::new();
    let (layer, guard) = JsonLines::new("gateway", Full, LogLimits::default(), &registry).expect("free");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || tracing::info!("lost"));
    drop(guard);
    assert!(value(&registry, "log_write_errors_total") >= 1.0);
}

#[derive(serde::Serialize, serde::Deserialize, Debug, Clone)]
struct Config {
    database_url: Secret<String>,
    broker: Broker,
    webhook_secrets: Vec<Secret<String>>,
    port: Option<Secret<u16>>,
}

#[derive(serde::Serialize, serde::Deserialize, Debug, Clone)]
struct Broker {
    key_id: String,
    secret_key: Secret<String>,
}

#[derive(Metrics)]
struct ConfigMetrics {
    /// What is running.
    #[labels("database", "broker")]
    config_info: Info<2>,
}

/// Everything is logged, exposed and served that could be; none of the secrets is anywhere.
#[tokio::test]
async fn no_secret_reaches_a_log_a_page_or_the_api() {
    const SECRETS: [&str; 5] = ["hunter2", "s3cretkey", "hook-one", "hook-two", "54399"];
    let text = r#"{"database_url": "postgres://gw:hunter2@db/orders", "port": 54399,
        "broker": {"key_id": "PK1", "secret_key": "s3cretkey"}, "webhook_secrets": ["hook-one", "hook-two"]}"#;
    let config: Config = serde_json::from_str(text).expect("a configuration");
    let (sink, registry, subscriber, guard) = log(LogLimits::default());
    tracing::subscriber::with_default(subscriber, || {
        let json = serde_json::to_string_pretty(&config).expect("JSON");
        let span = tracing::info_span!("start", config = ?config, url = %config.database_url);
        span.in_scope(
            || tracing::info!(?config, %json, key = %config.broker.secret_key, "starting with {config:?}"),
        );
        let failed = config.database_url.expose().parse::<u16>().expect_err("no number");
        tracing::error!(error = &failed as &dyn std::error::Error, "cannot reach {}", config.database_url);
    });
    drop(guard);
    let m = ConfigMetrics::register(&registry).expect("free");
    m.config_info.set([&config.database_url.to_string(), &format!("{:?}", config.broker)]);
    let checked = config.clone();
    let health = Health::new().dependency("database", Duration::from_secs(1), move || {
        let url = checked.database_url.clone();
        async move { Err::<(), _>(format!("cannot reach {url}")) }
    });
    let checks = tokio::spawn(health.clone().run());
    let app = endpoint::router(registry, health);
    let page = async |path: &str| {
        let request = Request::builder().uri(path).header("accept", "text/plain").body(Body::empty());
        let response = app.clone().oneshot(request.expect("valid")).await.expect("infallible");
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    };
    let begun = Instant::now();
    while !page("/health").await.contains("cannot reach ***") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", page("/health").await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    checks.abort();
    let (log, metrics) = (sink.text(), page("/metrics").await);
    assert!(log.contains("starting with Config") && log.contains("***") && log.contains("PK1"), "{log}");
    assert!(metrics.contains("config_info{database=\"***\""), "{metrics}");
    let everything = [log, metrics, page("/health").await, page("/ready").await].concat();
    for secret in SECRETS {
        assert!(!everything.contains(secret), "{secret} is told:\n{everything}");
    }
    let handed_on = secret::revealed(|| serde_json::to_string(&config)).expect("JSON");
    assert!(SECRETS.iter().all(|secret| handed_on.contains(secret)), "a child process reads them");
}
