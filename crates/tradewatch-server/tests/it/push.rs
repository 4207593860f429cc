//! Pushed samples: remote write 1.0 and 2.0, OTLP, exposition text; stored, evaluated at once, or refused with a reason.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use prost::Message;
use tradewatch_server::Server;
use tradewatch_server::net::client::Answer;

use crate::push_proto::*;
use crate::support::*;

const RULES: &str = "groups:\n- name: pushed\n  interval: 1h\n  rules:\n  - alert: Rejected\n    expr: rejected_total > 0\n    annotations: {summary: '{{ $labels.job }} at {{ $value }}'}\n";

fn now() -> i64 {
    tradewatch_server::clock::now().as_millis()
}

/// A monitor that takes everything, with a rule that its interval would evaluate each hour.
async fn open(folder: &Folder, webhook: &Webhook, job: &str) -> Server {
    folder.write("rules.yml", RULES);
    let yml = if job.is_empty() { "rule_files: ['rules*.yml']\n" } else { job };
    let mut options = options(folder, yml);
    options.data_dir = Some(folder.path().join("data"));
    options.alertmanager_file = Some(folder.write(
        "alertmanager.yml",
        &format!("route: {{receiver: desk, group_wait: 0s, group_by: ['...']}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/hook\n", webhook.peer.addr),
    ));
    options.web.enable_remote_write_receiver = true;
    options.web.enable_otlp_receiver = true;
    options.web.enable_push_receiver = true;
    let server = start(options).await;
    // Each group has had its first evaluation, so that only what is pushed can bring the next one.
    eventually(|| async {
        let rules = get_json(&server, "/api/v1/rules").await;
        let last = rules["data"]["groups"][0]["lastEvaluation"].as_str().unwrap_or("0001").to_owned();
        if last.starts_with("0001") { Err(last) } else { Ok(()) }
    })
    .await;
    server
}

async fn told(webhook: &Webhook) -> Told {
    eventually(|| async { webhook.told().first().cloned().ok_or("nothing told".into()) }).await
}

fn packed(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("packs")
}

/// An answer with the counts in its headers.
struct Written {
    answer: Answer,
    headers: String,
}

impl std::ops::Deref for Written {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        &self.answer
    }
}

impl Written {
    fn count(&self, what: &str) -> Option<u64> {
        let name = format!("x-prometheus-remote-write-{what}-written: ");
        self.headers.lines().find_map(|line| line.strip_prefix(&name))?.parse().ok()
    }
}

async fn write(server: &Server, kind: &str, body: Vec<u8>) -> Written {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.addr()).await.expect("connects");
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
        server.addr(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    stream.write_all(&body).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    let text = String::from_utf8(answer).expect("text");
    let (headers, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let answer =
        Answer { status, content_type: String::new(), retry_after: None, body: body.to_owned().into() };
    Written { answer, headers: headers.to_owned() }
}

const ONE: &str = "application/x-protobuf";
const TWO: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn series1(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> Series1 {
    let pair = |(name, value): &(&str, &str)| Pair { name: (*name).into(), value: (*value).into() };
    let sample = |(timestamp, value): &(i64, f64)| Sample { value: *value, timestamp: *timestamp };
    Series1 {
        labels: pairs.iter().map(pair).collect(),
        samples: samples.iter().map(sample).collect(),
        histograms: Vec::new(),
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn remote_write_one_is_stored_and_evaluated_at_once() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let at = now();
    let mut native = series1(&[("__name__", "native"), ("job", "gw")], &[]);
    native.histograms.push(Histogram {
        count: 7,
        sum: 18.4,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1,
        positive_spans: vec![Span { offset: 1, length: 2 }, Span { offset: 1, length: 1 }],
        positive_deltas: vec![1, 1, 1],
        timestamp: at,
    });
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let request = Write1 {
        timeseries: vec![
            series1(&[("__name__", "rejected_total"), ("job", "gw")], &[(at - 1_000, 0.0), (at, 3.0)]),
            series1(&[("__name__", "gone"), ("job", "gw")], &[(at - 1_000, 1.0), (at, stale)]),
            native,
        ],
        metadata: vec![Metadata1 {
            kind: 1,
            family: "rejected_total".into(),
            help: "Orders refused.".into(),
            unit: String::new(),
        }],
    };
    let pushed = Instant::now();
    let answer = write(&server, ONE, packed(&request)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", text(&answer));
    let told = told(&webhook).await;
    assert!(pushed.elapsed() < Duration::from_secs(3), "told after {:?}", pushed.elapsed());
    assert_eq!(told.body["alerts"][0]["annotations"]["summary"], "gw at 3");
    until_query(&server, "rejected_total", &[3.0]).await;
    until_query(&server, "gone", &[]).await;
    until_query(&server, "histogram_count(native)", &[7.0]).await;
    until_query(&server, "histogram_sum(native)", &[18.4]).await;
    // (1,2]: 1, (2,4]: 2, (8,16]: 3.
    until_query(&server, "histogram_fraction(0, 4, native)", &[4.0 / 7.0]).await;
    let metadata = get_json(&server, "/api/v1/metadata?metric=rejected_total").await;
    assert_eq!(metadata["data"]["rejected_total"][0]["type"], "counter");
    // Once more, as after a lost answer: the same samples are taken silently.
    assert_eq!(write(&server, ONE, packed(&request)).await.status, StatusCode::NO_CONTENT);
    server.shutdown().await;
}

#[tokio::test]
async fn remote_write_two_says_what_it_wrote_and_takes_the_good_part() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let at = now();
    let symbols = ["", "__name__", "rejected_total", "job", "gw", "Orders refused.", "other", ""];
    let symbols: Vec<String> = symbols.map(str::to_owned).into();
    let sample = |value, timestamp| Sample { value, timestamp };
    let good = Series2 {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample(1.0, at - 500), sample(2.0, at)],
        metadata: Some(Metadata2 { kind: 1, help_ref: 5, unit_ref: 0 }),
        ..Series2::default()
    };
    let native = Series2 {
        labels_refs: vec![1, 6, 3, 4],
        histograms: vec![Histogram { count: 1, zero_count: 1, timestamp: at, ..Histogram::default() }],
        ..Series2::default()
    };
    let request = Write2 { symbols: symbols.clone(), timeseries: vec![good.clone(), native] };
    let answer = write(&server, TWO, packed(&request)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", text(&answer));
    assert_eq!(
        ["samples", "histograms", "exemplars"].map(|what| answer.count(what)),
        [Some(2), Some(1), Some(0)]
    );
    assert_eq!(told(&webhook).await.body["alerts"][0]["labels"]["job"], "gw");
    let metadata = get_json(&server, "/api/v1/metadata?metric=rejected_total").await;
    assert_eq!(metadata["data"]["rejected_total"][0]["help"], "Orders refused.");

    // One sample too old, one series without a name, one sample that fits.
    let mixed = Series2 {
        samples: vec![sample(9.0, at - 90_000), sample(5.0, at + 1)],
        metadata: None,
        ..good.clone()
    };
    let nameless = Series2 { labels_refs: vec![3, 4], samples: vec![sample(1.0, at)], ..Series2::default() };
    let request = Write2 { symbols: symbols.clone(), timeseries: vec![mixed, nameless] };
    let answer = write(&server, TWO, packed(&request)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.count("samples"), Some(1));
    assert!(
        text(&answer).starts_with("2 samples refused: ") && text(&answer).contains("name is missing"),
        "{}",
        text(&answer)
    );
    until_query(&server, "rejected_total", &[5.0]).await;

    for (broken, why) in [
        (Series2 { labels_refs: vec![1, 2, 3], ..good.clone() }, "no pairs"),
        (Series2 { labels_refs: vec![1, 99], ..good.clone() }, "symbol 99 of 8"),
    ] {
        let answer =
            write(&server, TWO, packed(&Write2 { symbols: symbols.clone(), timeseries: vec![broken] })).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(text(&answer).contains(why), "{}", text(&answer));
        assert_eq!(answer.count("samples"), Some(0));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_malformed_push_gets_400_and_leaves_nothing() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let before = server.db().stats().series;
    let raw = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).expect("packs");
    let good = Write1 {
        timeseries: vec![series1(&[("__name__", "half"), ("job", "gw")], &[(now(), 1.0)])],
        metadata: vec![],
    };
    let cut = {
        let bytes = good.encode_to_vec();
        bytes[..bytes.len() - 1].to_vec()
    };
    // A good series, then rubbish: nothing of it is kept.
    let half = [good.encode_to_vec(), vec![0x0a, 0xff, 0xff, 0x7f]].concat();
    let no_text =
        Write1 { timeseries: vec![series1(&[("__name__", "xy")], &[(1, 1.0)])], ..Write1::default() };
    let mut no_text = no_text.encode_to_vec();
    let at = no_text.windows(2).position(|pair| pair == b"xy").expect("there");
    no_text[at] = 0xff;
    let mut overlapping = series1(&[("__name__", "h")], &[]);
    overlapping.histograms.push(Histogram {
        count: 1,
        positive_spans: vec![Span { offset: 0, length: u32::MAX }],
        positive_deltas: vec![1],
        timestamp: now(),
        ..Histogram::default()
    });
    let overlapping = Write1 { timeseries: vec![overlapping], metadata: vec![] }.encode_to_vec();
    // A thousand times its size in empty labels.
    let swarm = Write1 {
        timeseries: vec![Series1 { labels: vec![Pair::default(); 50_000], ..Series1::default() }],
        metadata: vec![],
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no snappy", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("4 GiB claimed", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]),
        ("15 MiB claimed in seven bytes", vec![0x80, 0x80, 0xc0, 0x07, 0, 0, 0]),
        ("20 MiB of blanks", raw(&vec![b' '; 20 << 20])),
        ("cut off", raw(&cut)),
        ("rubbish at its end", raw(&half)),
        ("a length beyond its end", raw(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("no UTF-8", raw(&no_text)),
        ("spans of four billion buckets", raw(&overlapping)),
        ("a swarm of labels", packed(&swarm)),
        ("a group", raw(&[0x0b])),
    ];
    for (what, body) in cases {
        let answer = write(&server, ONE, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {}", text(&answer));
        assert!(answer.body.len() > 10, "{what} without a reason");
        let answer = write(&server, TWO, body).await;
        // An empty message, or one without known fields, is a request of nothing.
        assert!(
            matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::NO_CONTENT),
            "{what}: {}",
            answer.status
        );
    }
    let answer = write(&server, "text/plain", Vec::new()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(server.db().stats().series, before, "no series was made");
    assert_eq!(write(&server, ONE, packed(&good)).await.status, StatusCode::NO_CONTENT, "and it goes on");
    server.shutdown().await;
}

#[tokio::test]
async fn receivers_are_off_unless_switched_on() {
    let folder = Folder::new();
    let server = start(options(&folder, "")).await;
    for (path, flag) in [
        ("/api/v1/write", "--web.enable-remote-write-receiver"),
        ("/api/v1/otlp/v1/metrics", "--web.enable-otlp-receiver"),
        ("/api/tradewatch/v1/push/gw/a:1", "--web.enable-push-receiver"),
    ] {
        let answer = ask(Method::POST, &url(&server, path), &[], "x 1\n").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(text(&answer).contains(flag), "{}", text(&answer));
    }
    server.shutdown().await;
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute { key: key.into(), value: Some(Any { string: Some(value.into()), int: None }) }
}

fn numbers(temporality: i32, monotonic: bool, value: f64, time: u64) -> Option<Numbers> {
    let attributes = vec![
        attribute("order.side", "buy"),
        Attribute { key: "lane".into(), value: Some(Any { string: None, int: Some(2) }) },
    ];
    let point = Number { time, double: Some(value), attributes, ..Number::default() };
    Some(Numbers { points: vec![point], temporality, monotonic })
}

async fn export(server: &Server, metrics: Vec<Metric>, gzip: bool) -> Answer {
    let attributes = vec![
        attribute("service.namespace", "desk"),
        attribute("service.name", "gw"),
        attribute("service.instance.id", "gw-1"),
        attribute("service.version", "1.2"),
    ];
    let resource =
        ResourceMetrics { resource: Some(Resource { attributes }), scopes: vec![Scope { metrics }] };
    let mut body = Export { resources: vec![resource] }.encode_to_vec();
    let mut headers = vec![("content-type", "application/x-protobuf".to_owned())];
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &body).expect("packs");
        body = encoder.finish().expect("packs");
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    ask(Method::POST, &url(server, "/api/v1/otlp/v1/metrics"), &headers, body).await
}

#[tokio::test]
async fn otlp_metrics_get_prometheus_names_and_delta_is_refused() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let time = now() as u64 * 1_000_000;
    let metric = |name: &str, unit: &str| Metric {
        name: name.into(),
        unit: unit.into(),
        help: "What it is.".into(),
        ..Metric::default()
    };
    let metrics = vec![
        Metric { sum: numbers(2, true, 4.0, time), ..metric("rejected", "{order}") },
        Metric { sum: numbers(1, true, 4.0, time), ..metric("delta.orders", "") },
        Metric { gauge: numbers(0, false, 0.5, time), ..metric("cpu.load", "1") },
        Metric {
            histogram: Some(Histograms {
                points: vec![Bucketed {
                    time,
                    count: 6,
                    sum: Some(1.5),
                    counts: vec![1, 2, 3],
                    bounds: vec![0.1, 0.5],
                }],
                temporality: 2,
            }),
            ..metric("ack", "s")
        },
        Metric {
            exponential: Some(Exponentials {
                points: vec![Exponential {
                    time,
                    count: 6,
                    sum: Some(20.0),
                    scale: 0,
                    zero_count: 1,
                    positive: Some(Buckets { offset: 0, counts: vec![2, 3] }),
                }],
                temporality: 2,
            }),
            ..metric("fill", "ms")
        },
    ];
    let answer = export(&server, metrics, true).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", text(&answer));
    let partial = Exported::decode(&answer.body[..]).expect("decodes").partial_success.expect("some refused");
    assert_eq!(partial.rejected, 1);
    assert!(partial.message.contains("\"delta.orders\" has delta temporality"), "{}", partial.message);
    let seen = query(&server, "rejected_total").await;
    assert_eq!(
        seen,
        [(r#"rejected_total{instance="gw-1", job="desk/gw", lane="2", order_side="buy"}"#.to_owned(), 4.0)]
    );
    until_query(&server, "cpu_load_ratio", &[0.5]).await;
    until_query(&server, "ack_seconds_bucket{le=\"0.5\"}", &[3.0]).await;
    until_query(&server, "ack_seconds_bucket{le=\"+Inf\"} == on() group_left ack_seconds_count", &[6.0])
        .await;
    until_query(&server, "histogram_count(fill_milliseconds)", &[6.0]).await;
    // OTLP's buckets 0 and 1 are (1,2] and (2,4].
    until_query(&server, "histogram_fraction(1, 2, fill_milliseconds) * 6", &[2.0]).await;
    let info = query(&server, "target_info").await;
    assert_eq!(
        info,
        [(r#"target_info{instance="gw-1", job="desk/gw", service_version="1.2"}"#.to_owned(), 1.0)]
    );
    assert_eq!(told(&webhook).await.body["alerts"][0]["labels"]["job"], "desk/gw");
    // All of it taken: an empty message.
    let time = now() as u64 * 1_000_000;
    let answer = export(
        &server,
        vec![Metric { gauge: numbers(0, false, 0.6, time), ..metric("cpu.load", "1") }],
        false,
    )
    .await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    let headers = [("content-type", "application/x-protobuf".to_owned())];
    let answer =
        ask(Method::POST, &url(&server, "/api/v1/otlp/v1/metrics"), &headers, vec![0x0a, 0x7f]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    server.shutdown().await;
}

#[tokio::test]
async fn a_pushed_text_continues_the_series_of_its_target() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let (peer, shown) =
        Peer::with_text("# TYPE rejected_total counter\nrejected_total{reason=\"risk\"} 0\n").await;
    let job = format!(
        "rule_files: ['rules*.yml']\nscrape_configs:\n- job_name: gw\n  scrape_interval: 1h\n  static_configs:\n  - targets: ['{}']\n    labels: {{tier: critical}}\n",
        peer.addr
    );
    let server = open(&folder, &webhook, &job).await;
    until_query(&server, "rejected_total", &[0.0]).await;
    let _ = shown;
    let path = format!("/api/tradewatch/v1/push/gw/{}", peer.addr);
    let pushed = Instant::now();
    let answer = ask(Method::POST, &url(&server, &path), &[], "rejected_total{reason=\"risk\"} 1\n").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", text(&answer));
    let told = told(&webhook).await;
    assert!(pushed.elapsed() < Duration::from_secs(3), "told after {:?}", pushed.elapsed());
    assert_eq!(told.body["alerts"][0]["labels"]["tier"], "critical");
    assert_eq!(query(&server, "rejected_total").await.len(), 1, "one series, not a second one beside it");
    until_query(&server, "count_over_time(rejected_total[1h])", &[2.0]).await;
    // A target that nobody scrapes is named by the path alone.
    let other = "/api/tradewatch/v1/push/batch%20job/host%3A1";
    assert_eq!(ask(Method::POST, &url(&server, other), &[], "done 1\n").await.status, StatusCode::NO_CONTENT);
    assert_eq!(query(&server, "done").await[0].0, r#"done{instance="host:1", job="batch job"}"#);
    let answer = ask(Method::POST, &url(&server, &path), &[], "fine 1\nrubbish\n").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(text(&answer).contains("line 2, column 8"), "{}", text(&answer));
    until_query(&server, "fine", &[]).await;
    // The time it took is a figure of its own.
    let metrics = String::from_utf8(get(&server, "/metrics").await.body.to_vec()).expect("text");
    assert!(metrics.contains("tradewatch_alert_generation_seconds_count 1\n"), "{metrics}");
    assert!(metrics.contains("tradewatch_pushed_samples_total{protocol=\"text\"} 2\n"), "{metrics}");
    assert!(metrics.contains("tradewatch_pushes_failed_total{protocol=\"text\"} 1\n"), "{metrics}");
    server.shutdown().await;
}

/// What a gateway tells.
#[derive(tradewatch_metrics::Metrics)]
struct Gateway {
    /// Orders refused.
    rejected_total: tradewatch_metrics::Counter,
}

#[tokio::test]
async fn what_the_sdk_pushes_is_told_at_once() {
    use tradewatch_metrics::{Push, PushOptions, Registry};
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let registry = Registry::new();
    let gateway = Gateway::register(&registry).expect("declared");
    let options = PushOptions {
        monitor: server.addr().to_string(),
        job: "gw".into(),
        instance: "gw-1".into(),
        families: vec!["rejected_total".into()],
        ..PushOptions::default()
    };
    let push = Push::start(options, registry).expect("starts");
    until_query(&server, "rejected_total", &[0.0]).await;
    gateway.rejected_total.inc();
    assert_eq!(told(&webhook).await.body["alerts"][0]["labels"]["instance"], "gw-1");
    tokio::task::spawn_blocking(move || drop(push)).await.expect("ends");
    server.shutdown().await;
}

#[tokio::test]
async fn a_pushed_sample_of_the_near_future_is_evaluated_when_its_time_comes() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let request = Write1 {
        timeseries: vec![series1(&[("__name__", "rejected_total"), ("job", "gw")], &[(now() + 400, 1.0)])],
        metadata: vec![],
    };
    assert_eq!(write(&server, ONE, packed(&request)).await.status, StatusCode::NO_CONTENT);
    // The interval of the rule is an hour.
    told(&webhook).await;
    server.shutdown().await;
}

/// A child process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_prometheus_writes_to_us() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = open(&folder, &webhook, "").await;
    let (peer, _) =
        Peer::with_text("# TYPE rejected_total counter\nrejected_total{reason=\"risk\"} 7\n").await;
    let yml = folder.write(
        "rival.yml",
        &format!(
            "global: {{scrape_interval: 1s, external_labels: {{site: lab}}}}\nremote_write:\n- url: {}\n  queue_config: {{batch_send_deadline: 100ms}}\nscrape_configs:\n- job_name: gw\n  static_configs: [{{targets: ['{}']}}]\n",
            url(&server, "/api/v1/write"),
            peer.addr
        ),
    );
    let log = std::fs::File::create(folder.path().join("rival.log")).expect("a file");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let _rival = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", yml.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("rival").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the Debian package prometheus is installed"),
    );
    let end = Instant::now() + Duration::from_secs(40);
    while query(&server, "rejected_total{site=\"lab\",reason=\"risk\"} == 7 and on(job, instance) up == 1")
        .await
        .is_empty()
    {
        let seen = std::fs::read_to_string(folder.path().join("rival.log")).unwrap_or_default();
        assert!(Instant::now() < end, "nothing was written: {seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = told(&webhook).await;
    assert_eq!(told.body["alerts"][0]["labels"]["site"], "lab");
    // It stops scraping: the end of the series is written, too.
    drop(peer);
    let end = Instant::now() + Duration::from_secs(20);
    while !query(&server, "rejected_total").await.is_empty() {
        assert!(Instant::now() < end, "the staleness marker did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.shutdown().await;
}
