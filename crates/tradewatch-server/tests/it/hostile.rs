//! Targets that mean ill, or are broken: each costs its own scrape and nothing else.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tradewatch_server::Server;

use crate::support::*;

async fn error_of(server: &Server, pool: &str, part: &str) -> String {
    eventually(|| async {
        let targets = server.targets();
        let target = targets.iter().find(|t| t.spec.pool == pool).expect(pool);
        let status = target.status();
        if status.last_error.contains(part) {
            Ok(status.last_error)
        } else {
            Err(format!("{pool}: {status:?}"))
        }
    })
    .await
}

fn jobs(jobs: &[(&str, std::net::SocketAddr, &str)]) -> String {
    let mut yml = String::from("scrape_configs:\n");
    for (name, addr, more) in jobs {
        yml += &format!(
            "- job_name: {name}\n  scrape_interval: 200ms\n{more}  static_configs:\n  - targets: ['{addr}']\n"
        );
    }
    yml
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_target_costs_its_own_scrape_alone() {
    let (good, _) = Peer::with_text("good 1\n").await;
    let (rubbish, _) = Peer::with_text("fine 1\n<html>welcome</html>\n").await;
    let (explosion, text) = Peer::with_text("").await;
    *text.lock().expect("not poisoned") = (0..5_000).map(|i| format!("boom{{id=\"{i}\"}} 1\n")).collect();
    let (long_label, _) = Peer::with_text(&format!("l{{name=\"{}\"}} 1\n", "x".repeat(300))).await;
    let (many_labels, _) = Peer::with_text("m{a=\"1\",b=\"2\",c=\"3\",d=\"4\"} 1\n").await;
    let (big, _) = Peer::with_text(&format!("# {}\nbig 1\n", "x".repeat(20_000))).await;
    // Megabytes of blanks in a few kilobytes.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &vec![b' '; 16 << 20]).expect("packs");
    let packed = Bytes::from(packed.finish().expect("packs"));
    let bomb = Peer::start(move |_| ([("content-encoding", "gzip")], packed.clone()).into_response()).await;
    let lines = Bytes::from("never 1\n".repeat(4096));
    let endless = Peer::start(move |_| {
        let lines = lines.clone();
        let lines = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(lines.clone()));
        Body::from_stream(lines).into_response()
    })
    .await;
    let failing = Peer::start(|_| (http::StatusCode::INTERNAL_SERVER_ERROR, "no").into_response()).await;
    let truncated =
        Peer::start(|_| ([("content-type", "application/openmetrics-text")], "cut 1\n").into_response())
            .await;
    let folder = Folder::new();
    let yml = jobs(&[
        ("good", good.addr, ""),
        ("rubbish", rubbish.addr, ""),
        ("explosion", explosion.addr, "  sample_limit: 100\n"),
        ("long_label", long_label.addr, "  label_value_length_limit: 200\n"),
        ("many_labels", many_labels.addr, "  label_limit: 5\n"),
        ("big", big.addr, "  body_size_limit: 10KB\n"),
        ("bomb", bomb.addr, "  body_size_limit: 1MB\n"),
        ("endless", endless.addr, "  body_size_limit: 4MB\n"),
        ("failing", failing.addr, ""),
        ("truncated", truncated.addr, ""),
    ]);
    let server = start(options(&folder, &yml)).await;
    for (pool, part) in [
        ("rubbish", "line 2, column 1"),
        ("explosion", "line 101: more samples than sample_limit 100"),
        ("long_label", "label \"name\" has 300 bytes, more than label_value_length_limit 200"),
        ("many_labels", "7 labels are more than label_limit 5"),
        ("big", "bigger than body_size_limit 10KiB"),
        ("bomb", "bigger than body_size_limit 1MiB"),
        ("endless", "bigger than body_size_limit 4MiB"),
        ("failing", "500"),
        ("truncated", "# EOF"),
    ] {
        let error = error_of(&server, pool, part).await;
        assert!(!error.contains('\n'), "{error}");
    }
    until_query(&server, "good", &[1.0]).await;
    until_query(&server, "count(up == 0)", &[9.0]).await;
    // Nothing of a refused body is left, not even its series.
    let names = server.db().label_values(
        "__name__",
        &[],
        tradewatch_tsdb::Timestamp::MIN,
        tradewatch_tsdb::Timestamp::MAX,
    );
    for name in ["fine", "boom", "never", "cut"] {
        assert!(!names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_target_that_never_answers_runs_into_its_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    let dribble = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\na 1\n").await;
                // One byte now and then, for ever.
                while stream.write_all(b"#").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    let (good, _) = Peer::with_text("good 1\n").await;
    let folder = Folder::new();
    let yml = jobs(&[("slow", addr, "  scrape_timeout: 150ms\n"), ("good", good.addr, "")]);
    let server = start(options(&folder, &yml)).await;
    error_of(&server, "slow", "no complete answer within 150ms").await;
    until_query(&server, "good", &[1.0]).await;
    until_query(&server, "a", &[]).await;
    server.shutdown().await;
    dribble.abort();
}

#[tokio::test]
async fn the_same_series_twice_is_refused_once_and_told() {
    let (peer, _) = Peer::with_text("a 1\na 2\nb 3\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "b", &[3.0]).await;
    until_query(&server, "a", &[1.0]).await;
    let status = server.targets()[0].status();
    assert!(
        status.last_warning.contains("1 samples refused") && status.last_warning.contains("twice"),
        "{status:?}"
    );
    server.shutdown().await;
}
