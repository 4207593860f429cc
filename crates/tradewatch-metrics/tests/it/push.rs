//! Pushes: what changed is posted, nothing else is, and a monitor that is away is tried again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tradewatch_metrics::*;

use crate::fixture::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers each request on `listener` with `answer` and tells its text; one connection after the other.
fn monitor(listener: TcpListener, answer: &'static str) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut read = Vec::new();
            let mut chunk = [0; 4096];
            while let Ok(more @ 1..) = stream.read(&mut chunk) {
                read.extend_from_slice(&chunk[..more]);
                let text = String::from_utf8_lossy(&read).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                if length.and_then(|length| length.parse().ok()) != Some(body.len()) {
                    continue;
                }
                read.clear();
                if stream.write_all(answer.as_bytes()).is_err() || tell.send(text.clone()).is_err() {
                    return;
                }
            }
        }
    });
    told
}

fn until(seen: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn options(addr: SocketAddr) -> PushOptions {
    PushOptions {
        monitor: addr.to_string(),
        job: "execution gateway".into(),
        instance: "127.0.0.1:8001".into(),
        families: vec!["gateway_circuit_breaker_status".into(), "gateway_orders_total".into()],
        ..PushOptions::default()
    }
}

#[test]
fn what_changes_is_pushed_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let told = monitor(listener, "HTTP/1.1 204 No Content\r\n\r\n");
    let registry = Registry::new();
    let metrics = GatewayMetrics::register(&registry).expect("declared");
    let push = Push::start(options(addr), registry).expect("starts");
    let first = told.recv_timeout(PATIENCE).expect("the state at the start");
    assert!(
        first.starts_with("POST /api/tradewatch/v1/push/execution%20gateway/127.0.0.1%3A8001 HTTP/1.1\r\n"),
        "{first}"
    );
    assert!(first.contains("gateway_circuit_breaker_status 0\n"), "{first}");
    assert!(!first.contains("pnl"), "only what was named: {first}");
    // Another family moves: nobody is told.
    metrics.pnl_dollars.set(5.0);
    metrics.circuit_breaker_status.set(1.0);
    let second = told.recv_timeout(PATIENCE).expect("the change");
    assert!(second.contains("gateway_circuit_breaker_status 1\n"), "{second}");
    // The answer may still be on its way to the thread.
    until(|| push.stats().taken == 2);
    drop(push);
    assert!(told.try_recv().is_err(), "nothing changed, nothing was sent");
}

#[test]
fn a_monitor_that_is_away_gets_the_newest_state_when_it_is_back() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("bound");
    drop(taken);
    let registry = Registry::new();
    let metrics = GatewayMetrics::register(&registry).expect("declared");
    let push = Push::start(options(addr), registry).expect("starts");
    until(|| push.stats().failed > 0);
    metrics.circuit_breaker_status.set(1.0);
    let told = monitor(TcpListener::bind(addr).expect("still free"), "HTTP/1.1 204 No Content\r\n\r\n");
    let text = told.recv_timeout(PATIENCE).expect("it is tried again");
    assert!(text.contains("gateway_circuit_breaker_status 1\n"), "{text}");
}

#[test]
fn a_refusal_is_counted_and_not_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let told = monitor(listener, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno");
    let registry = Registry::new();
    let metrics = GatewayMetrics::register(&registry).expect("declared");
    let push = Push::start(options(addr), registry).expect("starts");
    told.recv_timeout(PATIENCE).expect("the first");
    metrics.circuit_breaker_status.set(1.0);
    told.recv_timeout(PATIENCE).expect("the second");
    until(|| push.stats().refused == 2);
    assert_eq!(push.stats(), PushStats { taken: 0, refused: 2, failed: 0 });
}

#[test]
fn a_family_that_does_not_exist_is_refused_at_the_start() {
    let registry = Registry::new();
    let _metrics = GatewayMetrics::register(&registry).expect("declared");
    let addr = "127.0.0.1:1".parse().expect("an address");
    let wrong = |change: fn(&mut PushOptions)| {
        let mut options = options(addr);
        change(&mut options);
        Push::start(options, registry.clone()).err().expect("refused").to_string()
    };
    assert!(
        wrong(|o| o.families.push("gateway_order_total".into()))
            .contains("\"gateway_order_total\" is not a family")
    );
    assert!(wrong(|o| o.families.clear()).contains("at least one family"));
    assert!(wrong(|o| o.job.clear()).contains("job"));
}
