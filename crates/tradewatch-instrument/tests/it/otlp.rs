//! OTLP: what a receiver gets, decoded by OpenTelemetry's own types; from several processes, through failures.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use expect_test::expect;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message;
use tradewatch_instrument::otlp::{self, Options, Resource};
use tradewatch_instrument::{Clients, System, Vocabulary};
use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics, NativeHistogram, Registry, Summary};

use crate::world::{scrape, until, value};

/// What a receiver answers to its n-th request.
type Plan = fn(usize) -> StatusCode;

#[derive(Clone)]
struct Receiver {
    plan: Plan,
    seen: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    partial: bool,
}

impl Receiver {
    async fn start(plan: Plan, partial: bool) -> (Receiver, String) {
        let receiver = Receiver { plan, seen: Arc::default(), taken: Arc::default(), partial };
        let app = axum::Router::new()
            .route("/v1/metrics", axum::routing::post(receive))
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr: SocketAddr = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, format!("http://{addr}/v1/metrics"))
    }

    fn taken(&self) -> Vec<ExportMetricsServiceRequest> {
        self.taken.lock().expect("no panic").clone()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["x-api-key"], "s3cret");
    let status = (receiver.plan)(receiver.seen.fetch_add(1, Ordering::SeqCst));
    if !status.is_success() {
        return (status, Vec::new());
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
    let request = ExportMetricsServiceRequest::decode(&plain[..]).expect("an OTLP request");
    receiver.taken.lock().expect("no panic").push(request);
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 2, error_message: "too old".into() };
    let answer = ExportMetricsServiceResponse { partial_success: receiver.partial.then_some(partial) };
    (status, answer.encode_to_vec())
}

fn options(endpoint: &str) -> Options {
    Options {
        endpoint: endpoint.to_owned(),
        headers: vec![("x-api-key".to_owned(), "s3cret".to_owned())],
        interval: Duration::from_secs(3600),
        backoff: Duration::from_millis(5),
        shutdown: Duration::from_secs(60),
        ..Options::default()
    }
}

fn attributes(attributes: &[KeyValue]) -> String {
    let texts = attributes.iter().map(|pair| match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => format!("{}={value}", pair.key),
        other => panic!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    }
}

/// A request as text: one line a data point, times left out but checked.
fn told(request: &ExportMetricsServiceRequest) -> String {
    let mut out = String::new();
    let resource = &request.resource_metrics[0];
    for metric in &resource.scope_metrics[0].metrics {
        let head = format!("{} [{}]", metric.name, metric.unit);
        let mut line = |attrs: &[KeyValue], start: u64, now: u64, text: String| {
            assert!(now > 1_600_000_000_000_000_000 && start <= now, "{start} {now}");
            out += format!("{head} {} {text}", attributes(attrs)).trim();
            out.push('\n');
        };
        match metric.data.as_ref().expect("data") {
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                for point in &sum.data_points {
                    assert!(point.start_time_unix_nano > 0, "a cumulative point says since when");
                    let exemplar = point.exemplars.first();
                    let exemplar = exemplar.map(|e| format!(" exemplar {:02x?}", e.trace_id));
                    let text = format!("sum {}{}", number(point.value), exemplar.unwrap_or_default());
                    line(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, text);
                }
            }
            metric::Data::Gauge(gauge) => {
                for point in &gauge.data_points {
                    line(
                        &point.attributes,
                        0,
                        point.time_unix_nano,
                        format!("gauge {}", number(point.value)),
                    );
                }
            }
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    assert!(point.start_time_unix_nano > 0, "a cumulative point says since when");
                    let text = format!(
                        "histogram {:?} {:?} sum {:?} count {}",
                        point.explicit_bounds, point.bucket_counts, point.sum, point.count
                    );
                    line(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, text);
                }
            }
            metric::Data::ExponentialHistogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    let text = format!(
                        "exponential scale {} zero {} {:?} sum {:?} count {}",
                        point.scale, point.zero_count, point.positive, point.sum, point.count
                    );
                    line(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, text);
                }
            }
            metric::Data::Summary(summary) => {
                for point in &summary.data_points {
                    let quantiles: Vec<f64> = point.quantile_values.iter().map(|at| at.quantile).collect();
                    let text = format!("summary {quantiles:?} sum {} count {}", point.sum, point.count);
                    line(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, text);
                }
            }
        }
    }
    out
}

tradewatch_metrics::open_label!(struct Worker("worker"), budget = 4);

#[derive(Metrics)]
struct Everything {
    /// Orders.
    orders_total: Counter<(Worker,)>,
    /// Open positions.
    open_positions: Gauge,
    /// Wait.
    #[buckets(0.5, 1.0, 2.0)]
    wait_seconds: Histogram,
    /// Size.
    size_bytes: NativeHistogram,
    /// Latency.
    #[quantiles(0.5, 0.99)]
    latency_seconds: Summary,
}

#[tokio::test]
async fn everything_a_registry_holds_arrives() {
    let (receiver, endpoint) = Receiver::start(|_| StatusCode::OK, false).await;
    let registry = Registry::new();
    let m = Everything::register(&registry).expect("free");
    let resource = Resource::new("gateway").with("service.instance.id", "a-1").with("service.version", "1.2");
    resource.expose(&registry).expect("free");
    let info = "target_info{service_instance_id=\"a-1\",service_name=\"gateway\",service_version=\"1.2\"";
    assert!(scrape(&registry).keys().any(|series| series.starts_with(info)), "the scrape tells who counts");
    let push = otlp::start(&registry, resource, options(&endpoint)).expect("an address");
    m.orders_total.at((Worker::intern("w1"),)).inc_by(7);
    m.open_positions.set(-2.5);
    for value in [0.1, 0.75, 0.75, 9.0] {
        m.wait_seconds.observe(value);
        m.size_bytes.observe(value);
        m.latency_seconds.observe(value);
    }
    let clients = Clients::register(&registry, Vocabulary::OpenTelemetry).expect("free");
    let database = clients.database("gateway", System::Postgresql, "ledger");
    let _connection = database.connection();
    database.query("select").fail("timeout");
    push.flush().await.expect("taken");
    push.shutdown().await.expect("taken");
    let taken = receiver.taken();
    assert_eq!(taken.len(), 2, "one by the flush, one by the shutdown");
    let resource = taken[0].resource_metrics[0].resource.as_ref().expect("a resource");
    let text = attributes(&resource.attributes);
    assert!(text.contains("service.name=gateway") && text.contains("service.version=1.2"), "{text}");
    let wanted = |line: &&str| !line.starts_with("otlp_") && !line.contains("_sdk_");
    let text: String = told(&taken[0]).lines().filter(wanted).map(|line| format!("{line}\n")).collect();
    // How long the query took is not the same in every run.
    let text = regexless(&text, "db.client.operation.duration");
    expect![[r#"
        db.client.connection.count [{connection}] db.client.connection.pool.name=ledger db.client.connection.state=used gauge 1
        db.client.operation.duration [s] db.system.name=postgresql db.namespace=ledger db.operation.name=select error.type=timeout histogram …
        latency_seconds [s]  summary [0.5, 0.99] sum 10.6 count 4
        open_positions []  gauge -2.5
        orders [] worker=w1 sum 7
        size_bytes [By]  exponential scale 3 zero 0 Some(Buckets { offset: -27, bucket_counts: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] }) sum Some(10.6) count 4
        wait_seconds [s]  histogram [0.5, 1.0, 2.0] [1, 2, 0, 1] sum Some(10.6) count 4
    "#]].assert_eq(&text);
}

/// Of the lines of one metric, what stands before its buckets.
fn regexless(text: &str, metric: &str) -> String {
    let line = |line: &str| match line.split_once(" histogram ") {
        Some((head, _)) if line.starts_with(metric) => format!("{head} histogram …\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_is_refused_is_not() {
    let flaky = |n| match n {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        1 => StatusCode::TOO_MANY_REQUESTS,
        3 => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let (receiver, endpoint) = Receiver::start(flaky, true).await;
    let registry = Registry::new();
    let push = otlp::start(&registry, Resource::new("gateway"), options(&endpoint)).expect("an address");
    let exports = |result: &str| value(&registry, &format!("otlp_exports_total{{result=\"{result}\"}}"));
    let error = push.flush().await.expect_err("some points are rejected");
    assert!(error.to_string().starts_with("the receiver rejected 2 of "), "{error}");
    assert_eq!((exports("retried"), exports("success"), exports("refused")), (2.0, 1.0, 0.0));
    assert_eq!(value(&registry, "otlp_rejected_data_points_total"), 2.0);
    let error = push.flush().await.expect_err("it is refused");
    assert_eq!(error.to_string(), "the receiver answered 400 Bad Request");
    assert_eq!(push.last_error(), Some(error));
    assert_eq!((exports("refused"), receiver.seen.load(Ordering::SeqCst)), (1.0, 4));
    assert_eq!(value(&registry, "otlp_export_duration_seconds_count"), 4.0, "every attempt is timed");
    let text = format!("{:?}", options("https://user:pass@collector/v1/metrics?key=s3cret"));
    assert!(
        text.contains("https://collector") && !text.contains("s3cret") && !text.contains("pass"),
        "{text}"
    );
    drop(push);

    let (_socket, closed) = crate::world::closed_port();
    let registry = Registry::new();
    let gone =
        Options { shutdown: Duration::from_millis(100), ..options(&format!("http://{closed}/v1/metrics")) };
    let push = otlp::start(&registry, Resource::new("gateway"), gone).expect("an address");
    let error = push.shutdown().await.expect_err("nobody listens");
    assert!(error.to_string().contains("onnect"), "{error}");
    assert_eq!(value(&registry, "otlp_exports_total{result=\"given_up\"}"), 1.0);
    for (endpoint, headers) in
        [("collector:4318", vec![]), ("ftp://x", vec![]), ("http://x", vec![("a b".into(), "".into())])]
    {
        let options = Options { endpoint: endpoint.to_owned(), headers, ..Options::default() };
        assert!(otlp::start(&Registry::new(), Resource::new("x"), options).is_err(), "{endpoint}");
    }
}

const WORKERS: usize = 4;
const ORDERS: u64 = 5_000;
/// Tells a process of this test that it is a worker, and where the receiver is.
const ENDPOINT: &str = "TRADEWATCH_TEST_OTLP_ENDPOINT";

/// What a worker process does: counts on two threads while it pushes all the time.
async fn work(endpoint: &str) {
    let registry = Registry::new();
    let m = Everything::register(&registry).expect("free");
    let options = Options { interval: Duration::from_millis(10), ..options(endpoint) };
    let push = otlp::start(&registry, Resource::new("worker-pool"), options).expect("an address");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let m = &m;
            scope.spawn(move || {
                let orders = m.orders_total.at((Worker::intern("all"),));
                for n in 0..ORDERS / 2 {
                    orders.inc();
                    m.wait_seconds.observe((n % 3) as f64);
                    if n % 500 == half {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
    });
    push.shutdown().await.expect("the last push arrives");
}

/// Four processes of one service, each restarted once, against a receiver that fails a third of the time: in the end
/// the newest point of each instance adds up to what was counted, no more and no less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_lose_nothing_and_double_nothing() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return work(&endpoint).await;
    }
    let flaky = |n| if n % 3 == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let (receiver, endpoint) = Receiver::start(flaky, false).await;
    let start = || {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "otlp::several_processes_lose_nothing_and_double_nothing", "--nocapture"]);
        command.env(ENDPOINT, &endpoint).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("this test starts")
    };
    for _ in 0..2 {
        let children: Vec<_> = (0..WORKERS).map(|_| start()).collect();
        for child in children {
            let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
            let output = ended.expect("no panic").expect("a child of ours");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    // By instance: the newest sum and count, and since when they count.
    let mut newest: BTreeMap<String, (f64, u64, u64)> = BTreeMap::new();
    for request in receiver.taken() {
        let resource = &request.resource_metrics[0];
        let instance = resource.resource.as_ref().expect("a resource").attributes.iter();
        let mut instance =
            instance.filter(|pair| pair.key == "service.instance.id").map(|pair| format!("{pair:?}"));
        let (mut orders, mut since, mut waits) = (0.0, 0, 0);
        for metric in &resource.scope_metrics[0].metrics {
            match metric.data.as_ref().expect("data") {
                metric::Data::Sum(sum) if metric.name == "orders" => {
                    orders = number(sum.data_points[0].value);
                    since = sum.data_points[0].start_time_unix_nano;
                }
                metric::Data::Histogram(histogram) if metric.name == "wait_seconds" => {
                    let point = &histogram.data_points[0];
                    assert_eq!(
                        point.bucket_counts.iter().sum::<u64>(),
                        point.count,
                        "buckets and count agree"
                    );
                    waits = point.count;
                }
                _ => {}
            }
        }
        let entry = newest.entry(instance.next_back().expect("an instance id")).or_insert((0.0, 0, since));
        assert!(orders >= entry.0 && waits >= entry.1, "cumulative values never go back");
        assert!(since == entry.2 || entry.2 == 0, "a series counts from one moment");
        *entry = (orders, waits, since);
    }
    assert_eq!(newest.len(), 2 * WORKERS, "every process has an instance id of its own");
    let orders: f64 = newest.values().map(|(orders, ..)| orders).sum();
    let waits: u64 = newest.values().map(|(_, waits, _)| waits).sum();
    assert_eq!((orders as u64, waits), (2 * WORKERS as u64 * ORDERS, 2 * WORKERS as u64 * ORDERS));
    assert!(receiver.seen.load(Ordering::SeqCst) > receiver.taken().len(), "the receiver failed sometimes");
}

#[tokio::test]
async fn a_push_comes_by_itself_every_interval() {
    let (receiver, endpoint) = Receiver::start(|_| StatusCode::OK, false).await;
    let options = Options { interval: Duration::from_millis(20), ..options(&endpoint) };
    let push = otlp::start(&Registry::new(), Resource::new("gateway"), options).expect("an address");
    until("three pushes", || receiver.taken().len() >= 3).await;
    drop(push);
}
