//! The layers over real connections: what succeeds, fails, panics, comes late, or is given up.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use axum::routing::{get, post};
use expect_test::expect;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tradewatch_instrument::Vocabulary;
use tradewatch_instrument::http::{Client, ClientLayer, ServerLayer};
use tradewatch_metrics::Registry;

use crate::world::{moved_with_prefix, until, value};

const BOTH: [Vocabulary; 2] = [Vocabulary::Prometheus, Vocabulary::OpenTelemetry];

/// Half a body, and after it was sent an error.
fn broken_stream() -> Body {
    Body::from_stream(futures_util::stream::unfold(0, |sent| async move {
        if sent > 0 {
            tokio::task::yield_now().await; // Hyper sends what it has when there is nothing more for now.
            return Some((Err(std::io::Error::other("the disk is gone")), 1));
        }
        Some((Ok(Bytes::from_static(b"half")), 1))
    }))
}

fn router(layer: ServerLayer) -> Router {
    Router::new()
        .route("/orders/{id}", get(|| async { "filled" }))
        .route("/orders", post(|body: Bytes| async move { (StatusCode::CREATED, body) }))
        .route("/panic", get(|| async { panic!("on purpose") as String }))
        .route("/refused", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/late", get(|| async { StatusCode::GATEWAY_TIMEOUT }))
        .route("/broken", get(|| async { broken_stream() }))
        .route("/slow", get(|| async { std::future::pending::<()>().await }))
        .route("/endless", get(|| async { Body::from_stream(endless()) }))
        .layer(layer)
}

fn endless() -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok(Bytes::from_static(&[0; 1024])), ()))
    })
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

type Sender = legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>;

fn sender() -> Sender {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

fn request(method: &str, addr: SocketAddr, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://{addr}{path}"));
    request.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("a valid request")
}

async fn ask(client: &Sender, method: &str, addr: SocketAddr, path: &str, body: &'static str) -> Option<u16> {
    let response = client.request(request(method, addr, path, body)).await.ok()?;
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await; // A broken body is what some tests are about.
    Some(status)
}

/// Sends a request, reads the beginning of what comes, if anything is to come, and hangs up.
async fn hang_up(addr: SocketAddr, path: &str, started: impl Fn() -> bool, reads: bool) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.expect("it listens");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("it reads");
    if reads {
        stream.read_exact(&mut [0; 512]).await.expect("it answers");
    }
    until("the request is being served", started).await;
}

#[tokio::test]
async fn a_server_counts_every_end_of_a_request() {
    for vocabulary in BOTH {
        let registry = Registry::new();
        let layer = ServerLayer::register(&registry, vocabulary).expect("free");
        let addr = serve(router(layer)).await;
        let client = sender();
        assert_eq!(ask(&client, "GET", addr, "/orders/7", "").await, Some(200));
        assert_eq!(ask(&client, "GET", addr, "/orders/8?verbose=1", "").await, Some(200));
        assert_eq!(ask(&client, "HEAD", addr, "/orders/8", "").await, Some(200));
        assert_eq!(ask(&client, "POST", addr, "/orders", "twelve bytes").await, Some(201));
        assert_eq!(ask(&client, "PURGE", addr, "/orders", "").await, Some(405));
        for path in ["/wp-login.php", "/admin", "/.env"] {
            assert_eq!(ask(&client, "GET", addr, path, "").await, Some(404));
        }
        assert_eq!(ask(&client, "GET", addr, "/refused", "").await, Some(503));
        assert_eq!(ask(&client, "GET", addr, "/late", "").await, Some(504));
        assert_eq!(ask(&client, "GET", addr, "/panic", "").await, None);
        assert_eq!(ask(&client, "GET", addr, "/broken", "").await, Some(200));
        let in_flight = || {
            let text = moved_with_prefix(&registry, "http_requests_inprogress")
                + &moved_with_prefix(&registry, "http_server_active_requests");
            !text.is_empty()
        };
        hang_up(addr, "/slow", in_flight, false).await;
        until("it is given up", || !in_flight()).await;
        hang_up(addr, "/endless", in_flight, true).await;
        until("it is given up", || !in_flight()).await;
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                http_request_duration_seconds_count{handler="/broken",method="GET"} 1
                http_request_duration_seconds_count{handler="/endless",method="GET"} 1
                http_request_duration_seconds_count{handler="/late",method="GET"} 1
                http_request_duration_seconds_count{handler="/orders",method="POST"} 1
                http_request_duration_seconds_count{handler="/orders",method="_OTHER"} 1
                http_request_duration_seconds_count{handler="/orders/{id}",method="GET"} 2
                http_request_duration_seconds_count{handler="/orders/{id}",method="HEAD"} 1
                http_request_duration_seconds_count{handler="/panic",method="GET"} 1
                http_request_duration_seconds_count{handler="/refused",method="GET"} 1
                http_request_duration_seconds_count{handler="/slow",method="GET"} 1
                http_request_duration_seconds_count{handler="unmatched",method="GET"} 3
                http_request_errors_total{handler="/broken",method="GET",error_type="response_body"} 1
                http_request_errors_total{handler="/endless",method="GET",error_type="cancelled"} 1
                http_request_errors_total{handler="/late",method="GET",error_type="timeout"} 1
                http_request_errors_total{handler="/panic",method="GET",error_type="panic"} 1
                http_request_errors_total{handler="/slow",method="GET",error_type="cancelled"} 1
                http_request_size_bytes_count{handler="/broken"} 1
                http_request_size_bytes_count{handler="/endless"} 1
                http_request_size_bytes_count{handler="/late"} 1
                http_request_size_bytes_count{handler="/orders"} 2
                http_request_size_bytes_count{handler="/orders/{id}"} 3
                http_request_size_bytes_count{handler="/panic"} 1
                http_request_size_bytes_count{handler="/refused"} 1
                http_request_size_bytes_count{handler="/slow"} 1
                http_request_size_bytes_count{handler="unmatched"} 3
                http_requests_total{handler="/broken",method="GET",status="2xx"} 1
                http_requests_total{handler="/endless",method="GET",status="2xx"} 1
                http_requests_total{handler="/late",method="GET",status="5xx"} 1
                http_requests_total{handler="/orders",method="POST",status="2xx"} 1
                http_requests_total{handler="/orders",method="_OTHER",status="4xx"} 1
                http_requests_total{handler="/orders/{id}",method="GET",status="2xx"} 2
                http_requests_total{handler="/orders/{id}",method="HEAD",status="2xx"} 1
                http_requests_total{handler="/panic",method="GET",status="5xx"} 1
                http_requests_total{handler="/refused",method="GET",status="5xx"} 1
                http_requests_total{handler="/slow",method="GET",status="4xx"} 1
                http_requests_total{handler="unmatched",method="GET",status="4xx"} 3
                http_response_size_bytes_count{handler="/broken"} 1
                http_response_size_bytes_count{handler="/endless"} 1
                http_response_size_bytes_count{handler="/late"} 1
                http_response_size_bytes_count{handler="/orders"} 2
                http_response_size_bytes_count{handler="/orders/{id}"} 3
                http_response_size_bytes_count{handler="/panic"} 1
                http_response_size_bytes_count{handler="/refused"} 1
                http_response_size_bytes_count{handler="/slow"} 1
                http_response_size_bytes_count{handler="unmatched"} 3
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/broken"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/endless"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/late"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/orders/{id}"} 2
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/panic"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/refused"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET",http_route="/slow"} 1
                http_server_request_body_size_bytes_count{http_request_method="GET"} 3
                http_server_request_body_size_bytes_count{http_request_method="HEAD",http_route="/orders/{id}"} 1
                http_server_request_body_size_bytes_count{http_request_method="POST",http_route="/orders"} 1
                http_server_request_body_size_bytes_count{http_request_method="_OTHER",http_route="/orders"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404"} 3
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/broken",http_response_status_code="200",error_type="response_body"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/endless",http_response_status_code="200",error_type="cancelled"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/late",http_response_status_code="504",error_type="timeout"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/orders/{id}",http_response_status_code="200"} 2
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/panic",error_type="panic"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/refused",http_response_status_code="503",error_type="503"} 1
                http_server_request_duration_seconds_count{http_request_method="GET",http_route="/slow",error_type="cancelled"} 1
                http_server_request_duration_seconds_count{http_request_method="HEAD",http_route="/orders/{id}",http_response_status_code="200"} 1
                http_server_request_duration_seconds_count{http_request_method="POST",http_route="/orders",http_response_status_code="201"} 1
                http_server_request_duration_seconds_count{http_request_method="_OTHER",http_route="/orders",http_response_status_code="405"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/broken"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/endless"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/late"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/orders/{id}"} 2
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/panic"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/refused"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET",http_route="/slow"} 1
                http_server_response_body_size_bytes_count{http_request_method="GET"} 3
                http_server_response_body_size_bytes_count{http_request_method="HEAD",http_route="/orders/{id}"} 1
                http_server_response_body_size_bytes_count{http_request_method="POST",http_route="/orders"} 1
                http_server_response_body_size_bytes_count{http_request_method="_OTHER",http_route="/orders"} 1
            "#]],
        };
        expected.assert_eq(&moved_with_prefix(&registry, "http_"));
        if vocabulary == Vocabulary::Prometheus {
            assert_eq!(value(&registry, "http_request_size_bytes_sum{handler=\"/orders\"}"), 12.0);
            assert_eq!(value(&registry, "http_response_size_bytes_sum{handler=\"/orders/{id}\"}"), 12.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_inside_is_a_timeout_and_an_error_inside_an_error() {
    let registry = Registry::new();
    let layer = ServerLayer::register(&registry, Vocabulary::Prometheus).expect("free").with_status_codes();
    let slow = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
    let limited = tower::timeout::Timeout::new(slow, Duration::from_secs(5));
    let get = || Request::builder().uri("/x").body(Body::empty()).expect("valid");
    assert!(layer.layer(limited).oneshot(get()).await.is_err());
    let failing = service_fn(|_: Request<Body>| async { Err::<Response<Body>, BoxError>("no".into()) });
    assert!(layer.layer(failing).oneshot(get()).await.is_err());
    let waiting = tower::timeout::Timeout::new(
        layer
            .layer(service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())),
        Duration::from_secs(5),
    );
    assert!(waiting.oneshot(get()).await.is_err(), "a limit around the layer gives the request up");
    expect![[r#"
        http_request_duration_seconds_count{handler="unmatched",method="GET"} 3
        http_request_errors_total{handler="unmatched",method="GET",error_type="cancelled"} 1
        http_request_errors_total{handler="unmatched",method="GET",error_type="error"} 1
        http_request_errors_total{handler="unmatched",method="GET",error_type="timeout"} 1
        http_request_size_bytes_count{handler="unmatched"} 3
        http_requests_total{handler="unmatched",method="GET",status="499"} 1
        http_requests_total{handler="unmatched",method="GET",status="500"} 2
        http_response_size_bytes_count{handler="unmatched"} 3
    "#]]
    .assert_eq(&moved_with_prefix(&registry, "http_"));
}

#[tokio::test]
async fn a_client_counts_every_end_of_a_request() {
    let addr = serve({
        let layer = ServerLayer::register(&Registry::new(), Vocabulary::Prometheus).expect("free");
        router(layer)
    })
    .await;
    let (_socket, closed) = crate::world::closed_port();
    for vocabulary in BOTH {
        let registry = Registry::new();
        let layer = ClientLayer::register(&registry, vocabulary).expect("free");
        let client = Client::new(sender(), &layer, Duration::from_secs(20));
        let body =
            client.request(request("GET", addr, "/orders/7", "")).await.expect("it answers").into_body();
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "filled");
        let answer = client.request(request("GET", addr, "/none", "")).await.expect("it answers");
        assert_eq!(answer.status(), 404);
        drop(answer.into_body().collect().await);
        let error = client.request(request("GET", closed, "/", "")).await.expect_err("nobody listens");
        assert!(error.is_connect(), "{error}");
        let hasty = Client::new(sender(), &layer, Duration::from_millis(20));
        let error = hasty.request(request("GET", addr, "/slow", "")).await.expect_err("it is slow");
        assert!(error.is_timeout(), "{error}");
        let given_up = client.request(request("GET", addr, "/slow", ""));
        assert!(tokio::time::timeout(Duration::from_millis(20), given_up).await.is_err());
        let broken = client.request(request("GET", addr, "/broken", "")).await.expect("it answers");
        broken.into_body().collect().await.expect_err("it breaks");
        drop(client.request(request("GET", addr, "/endless", "")).await.expect("it answers"));
        // The same as a tower service.
        let served =
            layer.layer(sender()).oneshot(request("POST", addr, "/orders", "x")).await.expect("it answers");
        drop(served.into_body().collect().await);
        let text = moved_with_prefix(&registry, "http_client");
        let ports = |port: u16| format!("{port}");
        let text = text.replace(&ports(addr.port()), "PORT").replace(&ports(closed.port()), "CLOSED");
        // In an order that does not depend on which port is the greater one.
        let lines: std::collections::BTreeSet<&str> = text.lines().collect();
        let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                http_client_request_duration_seconds_count{peer="127.0.0.1:CLOSED",method="GET"} 1
                http_client_request_duration_seconds_count{peer="127.0.0.1:PORT",method="GET"} 6
                http_client_request_duration_seconds_count{peer="127.0.0.1:PORT",method="POST"} 1
                http_client_request_errors_total{peer="127.0.0.1:CLOSED",method="GET",error_type="connection"} 1
                http_client_request_errors_total{peer="127.0.0.1:PORT",method="GET",error_type="cancelled"} 2
                http_client_request_errors_total{peer="127.0.0.1:PORT",method="GET",error_type="response_body"} 1
                http_client_request_errors_total{peer="127.0.0.1:PORT",method="GET",error_type="timeout"} 1
                http_client_requests_total{peer="127.0.0.1:CLOSED",method="GET"} 1
                http_client_requests_total{peer="127.0.0.1:PORT",method="GET",status="2xx"} 3
                http_client_requests_total{peer="127.0.0.1:PORT",method="GET",status="4xx"} 1
                http_client_requests_total{peer="127.0.0.1:PORT",method="GET"} 2
                http_client_requests_total{peer="127.0.0.1:PORT",method="POST",status="2xx"} 1
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="CLOSED",error_type="connection"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",error_type="cancelled"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",error_type="timeout"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",http_response_status_code="200",error_type="cancelled"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",http_response_status_code="200",error_type="response_body"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",http_response_status_code="200"} 1
                http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",server_port="PORT",http_response_status_code="404",error_type="404"} 1
                http_client_request_duration_seconds_count{http_request_method="POST",server_address="127.0.0.1",server_port="PORT",http_response_status_code="201"} 1
            "#]],
        };
        expected.assert_eq(&text);
    }
}
