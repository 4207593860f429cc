//! What a scrape leaves in the store.

use std::sync::{Arc, Mutex};

use axum::response::IntoResponse;
use tradewatch_tsdb::{Matcher, Timestamp};

use crate::support::*;

#[tokio::test]
async fn a_series_that_vanishes_is_stale_and_comes_back() {
    let (peer, text) = Peer::with_text("a 1\nb 2\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "a + on(instance) b", &[3.0]).await;
    *text.lock().expect("not poisoned") = "a 1\n".into();
    until_query(&server, "b", &[]).await;
    until_query(&server, "a", &[1.0]).await;
    *text.lock().expect("not poisoned") = "b 5\na 1\n".into();
    until_query(&server, "b", &[5.0]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_target_that_fails_or_goes_away_is_stale() {
    let (peer, _) = Peer::with_text("a 1\n").await;
    let (addr, folder) = (peer.addr, Folder::new());
    let server = start(options(&folder, &job(addr, ""))).await;
    until_query(&server, "a", &[1.0]).await;
    drop(peer);
    until_query(&server, "up", &[0.0]).await;
    until_query(&server, "a", &[]).await;
    let down = eventually(|| async {
        let status = server.targets()[0].status();
        if status.last_error.contains("refused") { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(down.health.as_str(), "down");
    let back = Peer::start_at(addr, |_| body_of("a 7\n")).await;
    until_query(&server, "a", &[7.0]).await;
    // The job goes away altogether.
    folder.write("prometheus.yml", "");
    server.reload().await.expect("reloads");
    until_query(&server, "a", &[]).await;
    until_query(&server, "up", &[]).await;
    drop(back);
    server.shutdown().await;
}

#[tokio::test]
async fn labels_of_the_target_and_of_the_sample_meet_as_in_prometheus() {
    let (peer, _) = Peer::with_text("a{job=\"own\",x=\"y\"} 1 1000\n").await;
    for (more, expected) in [
        ("", r#"a{exported_job="own", instance="HOST", job="gw", x="y"}"#),
        ("  honor_labels: true\n", r#"a{instance="HOST", job="own", x="y"}"#),
        (
            "  metric_relabel_configs:\n  - {source_labels: [x], target_label: z, replacement: '<$1>'}\n  - {regex: exported_job, action: labeldrop}\n",
            r#"a{instance="HOST", job="gw", x="y", z="<y>"}"#,
        ),
    ] {
        let folder = Folder::new();
        let server =
            start(options(&folder, &job(peer.addr, &format!("  honor_timestamps: false\n{more}")))).await;
        let seen = eventually(|| async {
            query(&server, "a").await.into_iter().next().map(|(labels, _)| labels).ok_or("nothing".to_owned())
        })
        .await;
        assert_eq!(
            seen.replace(&peer.addr.to_string(), "HOST").replace(", ", ","),
            expected.replace(", ", ","),
            "{more}"
        );
        server.shutdown().await;
    }
}

#[tokio::test]
async fn honoured_time_stamps_are_kept() {
    let (peer, _) = Peer::with_text("a 1 1000\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "up", &[1.0]).await;
    let found = server.db().select(&[Matcher::equal("__name__", "a")], Timestamp::MIN, Timestamp::MAX);
    let times: Vec<i64> = found[0].samples.iter().map(|sample| sample.ts.as_millis()).collect();
    assert_eq!(times, [1000]);
    server.shutdown().await;
}

#[tokio::test]
async fn open_metrics_gzip_and_params_are_spoken() {
    let asked: Arc<Mutex<Vec<(String, String, String)>>> = Arc::default();
    let kept = asked.clone();
    let peer = Peer::start(move |request| {
        let header =
            |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let seen = (request.uri().to_string(), header("accept"), header("authorization"));
        kept.lock().expect("not poisoned").push(seen);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(
            &mut packed,
            b"# TYPE b counter\nb_total 1\n# TYPE a gauge\na 1 # {x=\"y\"} 2\n# EOF\n",
        )
        .expect("packs");
        let headers =
            [("content-type", "application/openmetrics-text; version=1.0.0"), ("content-encoding", "gzip")];
        (headers, packed.finish().expect("packs")).into_response()
    })
    .await;
    let folder = Folder::new();
    folder.write("password", "s3cret\n");
    let more = "  metrics_path: /probe\n  params: {module: [http]}\n  basic_auth: {username: ada, password_file: password}\n";
    let server = start(options(&folder, &job(peer.addr, more))).await;
    until_query(&server, "a", &[1.0]).await;
    let metadata = get_json(&server, "/api/v1/metadata").await;
    assert!(
        metadata["data"]["b_total"][0]["type"] == "counter" && metadata["data"]["a"][0]["type"] == "gauge",
        "{metadata}"
    );
    let (uri, accept, authorization) = asked.lock().expect("not poisoned")[0].clone();
    assert_eq!(uri, "/probe?module=http");
    assert!(accept.contains("application/openmetrics-text") && accept.contains("text/plain"), "{accept}");
    assert_eq!(authorization, "Basic YWRhOnMzY3JldA==");
    let config = get(&server, "/api/v1/status/config").await;
    assert!(!String::from_utf8_lossy(&config.body).contains("s3cret"));
    server.shutdown().await;
}

#[tokio::test]
async fn exemplars_of_a_scrape_are_found_by_query_and_time() {
    let peer = Peer::start(|_| {
        let headers = [("content-type", "application/openmetrics-text; version=1.0.0")];
        let body = "# TYPE a histogram\na_bucket{le=\"1.0\"} 3 # {trace_id=\"x\"} 0.5 1600000000.25\na_bucket{le=\"+Inf\"} 3\na_count 3\na_sum 1\n# EOF\n";
        (headers, body).into_response()
    })
    .await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    // Twice at least: a target shows its last exemplar again and again.
    until_query(&server, "count_over_time(a_count[1m]) > bool 1", &[1.0]).await;
    let at = |start: u32| {
        format!("/api/v1/query_exemplars?query=rate(a_bucket%5B1m%5D)&start={start}&end=1600000001")
    };
    let found = get_json(&server, &at(1_600_000_000)).await;
    let instance = peer.addr.to_string();
    assert_eq!(
        found["data"],
        serde_json::json!([{
            "seriesLabels": {"__name__": "a_bucket", "instance": instance, "job": "gw", "le": "1.0"},
            "exemplars": [{"labels": {"trace_id": "x"}, "value": "0.5", "timestamp": 1600000000.25}],
        }])
    );
    assert_eq!(get_json(&server, &at(1_600_000_001)).await["data"], serde_json::json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn target_files_are_watched() {
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    folder.write("targets.json", "[]");
    let yml = "scrape_configs:\n- job_name: sd\n  scrape_interval: 100ms\n  file_sd_configs:\n  - files: ['targets*.json']\n";
    let server = start(options(&folder, yml)).await;
    assert!(server.targets().is_empty());
    folder.write(
        "targets.json",
        &format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"tier\": \"critical\"}}}}]", peer.addr),
    );
    until_query(&server, "up{tier=\"critical\"}", &[1.0]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_monitor_tells_about_itself() {
    let folder = Folder::new();
    let mut options = options(&folder, "");
    // A free port of our own choice, so that the configuration can name it before the start.
    let addr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        listener.local_addr().expect("bound")
    };
    options.listen = addr;
    folder.write("prometheus.yml", &job(addr, ""));
    let server = start(options).await;
    until_query(&server, "up", &[1.0]).await;
    until_query(&server, "tradewatch_market_open{mic=\"CRYPTO\"}", &[1.0]).await;
    until_query(&server, "tradewatch_targets_up_current", &[1.0]).await;
    let found = query(&server, "tradewatch_scrapes_total{status=\"success\"} > 0").await;
    assert_eq!(found.len(), 1, "{found:?}");
    server.shutdown().await;
}
