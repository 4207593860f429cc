//! The HTTP edge, asked as a scraper and a load balancer would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use expect_test::expect;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tradewatch_metrics::*;

use crate::fixture::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Status, content type, content encoding and body of one request.
async fn get(
    registry: &Registry,
    health: &Health,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, String, Option<String>, Vec<u8>) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = endpoint::router(registry.clone(), health.clone());
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, kind, coding) =
        (response.status(), header("content-type").unwrap(), header("content-encoding"));
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    (status, kind, coding, body)
}

#[test]
fn metrics_negotiate_format_and_coding() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.bus.messages_total.inc();
    runtime().block_on(async {
        let health = Health::new();
        let plain = get(&registry, &health, "/metrics", &[]).await;
        assert_eq!(plain.1, "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!((plain.0, plain.2), (StatusCode::OK, None));
        assert_eq!(String::from_utf8(plain.3).unwrap(), text(&registry, Format::Text004));

        let headers = [("accept", "application/openmetrics-text;version=1.0.0"), ("accept-encoding", "gzip")];
        let zipped = get(&registry, &health, "/metrics", &headers).await;
        assert_eq!(zipped.1, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert_eq!(zipped.2.as_deref(), Some("gzip"));
        let mut body = String::new();
        flate2::read::GzDecoder::new(&zipped.3[..]).read_to_string(&mut body).unwrap();
        assert_eq!(body, text(&registry, Format::OpenMetrics1));

        let accept =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let headers = [("accept", accept), ("accept-encoding", "gzip;q=0.5, zstd")];
        let (_, kind, coding, zipped) = get(&registry, &health, "/metrics", &headers).await;
        assert_eq!((kind.as_str(), coding.as_deref()), (Format::Protobuf.content_type(), Some("zstd")));
        let (mut body, mut expected) = (Vec::new(), Vec::new());
        ruzstd::decoding::StreamingDecoder::new(&zipped[..]).unwrap().read_to_end(&mut body).unwrap();
        registry.encode(Format::Protobuf, &mut expected);
        assert!(body == expected && zipped.len() < body.len(), "{} {}", zipped.len(), body.len());
    });
}

#[test]
fn health_tells_each_dependency_since_when_and_why() {
    let at = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    let clock = Arc::clone(&at);
    let up = Arc::new(AtomicBool::new(true));
    let database = Arc::clone(&up);
    let health = Health::with_clock(move || *clock.lock().unwrap())
        .dependency("database", Duration::from_secs(1), move || {
            let up = database.load(Ordering::Relaxed);
            async move { if up { Ok(()) } else { Err("disk I/O error".to_owned()) } }
        })
        .reported("broker")
        .optional();
    let registry = Registry::new();
    runtime().block_on(async {
        let page = |path: &'static str| {
            let (registry, health) = (registry.clone(), health.clone());
            async move {
                let (status, _, _, body) = get(&registry, &health, path, &[]).await;
                format!("{} {}", status.as_u16(), String::from_utf8(body).unwrap())
            }
        };
        expect![[r#"503 {"status":"not ready","dependencies":[{"name":"database","state":"unknown","required":true,"since":"2023-11-14T22:13:20.000Z","checked":null,"last_error":null},{"name":"broker","state":"unknown","required":false,"since":"2023-11-14T22:13:20.000Z","checked":null,"last_error":null}]}"#]].assert_eq(&page("/ready").await);
        health.check_all().await;
        expect![[r#"200 {"status":"ready","dependencies":[{"name":"database","state":"up","required":true,"since":"2023-11-14T22:13:20.000Z","checked":"2023-11-14T22:13:20.000Z","last_error":null},{"name":"broker","state":"unknown","required":false,"since":"2023-11-14T22:13:20.000Z","checked":null,"last_error":null}]}"#]].assert_eq(&page("/ready").await);
        *at.lock().unwrap() += Duration::from_millis(61_500);
        up.store(false, Ordering::Relaxed);
        health.check_all().await;
        health.report("broker", Err("connection reset".to_owned()));
        health.report("nobody", Ok(()));
        expect![[r#"503 {"status":"not ready","dependencies":[{"name":"database","state":"down","required":true,"since":"2023-11-14T22:14:21.500Z","checked":"2023-11-14T22:14:21.500Z","last_error":"disk I/O error"},{"name":"broker","state":"down","required":false,"since":"2023-11-14T22:14:21.500Z","checked":"2023-11-14T22:14:21.500Z","last_error":"connection reset"}]}"#]].assert_eq(&page("/ready").await);
        expect![[r#"200 {"status":"degraded","dependencies":[{"name":"database","state":"down","required":true,"since":"2023-11-14T22:14:21.500Z","checked":"2023-11-14T22:14:21.500Z","last_error":"disk I/O error"},{"name":"broker","state":"down","required":false,"since":"2023-11-14T22:14:21.500Z","checked":"2023-11-14T22:14:21.500Z","last_error":"connection reset"}]}"#]].assert_eq(&page("/health").await);
    });
}

#[test]
fn checks_run_on_their_own_schedule_and_survive_panic_and_silence() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |result: &Result<(), String>| seen.lock().unwrap().push(format!("{name} {result:?}"))
    };
    let health = Health::new()
        .dependency("cache", Duration::from_secs(1), || async { Ok(()) })
        .on_result(sink("cache"))
        .dependency("panics", Duration::from_secs(2), || async { panic!("a check with a bug") })
        .on_result(sink("panics"))
        .dependency("hangs", Duration::from_secs(2), std::future::pending)
        .timeout(Duration::from_millis(250))
        .on_result(sink("hangs"));
    runtime().block_on(async {
        let checks = tokio::spawn(health.clone().run());
        tokio::time::sleep(Duration::from_millis(2_900)).await;
        checks.abort();
    });
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    expect![[r#"
        [
            "cache Ok(())",
            "cache Ok(())",
            "cache Ok(())",
            "hangs Err(\"no answer within 250 ms\")",
            "hangs Err(\"no answer within 250 ms\")",
            "panics Err(\"the check panicked\")",
            "panics Err(\"the check panicked\")",
        ]
    "#]]
    .assert_debug_eq(&seen);
}

#[test]
fn listen_serves_a_program_without_a_runtime_and_stops() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.bus.messages_total.inc_by(41);
    let listening = endpoint::listen("127.0.0.1:0", registry, Health::new()).unwrap();
    let addr = listening.addr();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\nbus_messages_total 41\n"),
        "{answer}"
    );
    assert!(endpoint::listen(addr, Registry::new(), Health::new()).is_err(), "the address is taken");
    drop(listening);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

/// The callbacks of a registry are waited for by a thread that may block, not by the one that serves.
#[test]
fn callbacks_do_not_hold_up_other_requests() {
    #[derive(Metrics)]
    struct Rows {
        /// Rows of the table.
        #[metric(unit = "rows", timeout = "30s")]
        rows: ObservableGauge,
    }
    let registry = Registry::new();
    let m = Rows::register(&registry).unwrap();
    let (open, opened) = std::sync::mpsc::channel::<()>();
    m.rows.read_with(move || opened.recv().map(|()| 7.0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let health = Health::new();
        let meanwhile = async {
            let (status, ..) = get(&registry, &health, "/health", &[]).await;
            open.send(()).unwrap();
            status
        };
        let (scrape, status) = tokio::join!(get(&registry, &health, "/metrics", &[]), meanwhile);
        let (_, _, _, body) = scrape;
        assert_eq!(status, StatusCode::OK);
        assert!(String::from_utf8(body).unwrap().contains("\nrows 7\n"));
    });
}
