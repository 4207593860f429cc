//! A real Prometheus scrapes our protobuf, native histograms included.

#![allow(clippy::disallowed_methods)] // A deadline for a foreign process is real time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tradewatch_metrics::*;

#[derive(Metrics)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Orders.
    orders_total: Counter,
    /// Fills.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram,
    /// Profit and loss.
    #[native(schema = 0)]
    pnl_usd: NativeHistogram,
    /// Nothing so far.
    #[native(schema = 3)]
    idle_seconds: NativeHistogram,
    /// Waits.
    #[buckets(0.1, 1)]
    wait_seconds: Histogram,
    /// Queueing.
    #[quantiles(0.5)]
    queue_seconds: Summary,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// The value of an expression with one result; `None` while there is none.
fn query(port: u16, expression: &str) -> Option<f64> {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request =
        format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    body["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_reads_native_histograms_from_our_protobuf() {
    let registry = Registry::new();
    let m = Desk::register(&registry).unwrap();
    m.orders_total.inc_with_exemplar(41, &Exemplar::trace(7).span(9));
    for step in 1..=100 {
        m.fill_seconds.observe(f64::from(step) / 100.0);
        m.pnl_usd.observe(f64::from(step - 50));
    }
    assert_eq!(m.idle_seconds.snapshot().map(|shown| shown.count), Some(0));
    m.wait_seconds.observe_with_exemplar(0.5, &Exemplar::trace(7));
    m.queue_seconds.observe(2.0);
    let endpoint = endpoint::listen("127.0.0.1:0", registry, Health::new()).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let (config, port) = (dir.path().join("prometheus.yml"), free_port());
    let target = endpoint.addr();
    let jobs = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: desk, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(&config, jobs).unwrap();
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=native-histograms,exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed: apt-get install prometheus"),
    );
    let deadline = Instant::now() + Duration::from_secs(120);
    while query(port, "desk_orders_total").is_none() {
        assert!(Instant::now() < deadline, "no sample in time; up is {:?}", query(port, "up"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let value =
        |expression: &str| query(port, expression).unwrap_or_else(|| panic!("{expression} has no value"));
    assert_eq!(value("desk_orders_total"), 41.0);
    assert_eq!(value("histogram_count(desk_fill_seconds)"), 100.0);
    assert!((value("histogram_sum(desk_fill_seconds)") - 50.5).abs() < 1e-9);
    let median = value("histogram_quantile(0.5, desk_fill_seconds)");
    assert!((median - 0.5).abs() < 0.05, "{median}");
    assert_eq!(value("histogram_count(desk_pnl_usd)"), 100.0);
    // 49 are below zero, one is zero, 50 above it.
    let below = value("histogram_fraction(-Inf, 0, desk_pnl_usd)");
    assert!((0.49..=0.50).contains(&below), "{below}");
    assert_eq!(value("histogram_count(desk_idle_seconds)"), 0.0);
    assert_eq!(value("desk_wait_seconds_bucket{le=\"1\"} or desk_wait_seconds_bucket{le=\"1.0\"}"), 1.0);
    assert_eq!(value("desk_queue_seconds_sum"), 2.0);
    // A classic bucket of a native histogram would mean that it was read as text.
    assert_eq!(query(port, "desk_fill_seconds_bucket"), None);
}
