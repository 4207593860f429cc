//! Targets that others name: an HTTP service, and a real name server.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::support::*;

const TEXT: &str = "# TYPE orders_total counter\norders_total 1\n";

fn is_up(addr: SocketAddr) -> String {
    format!("up{{instance=\"{addr}\"}}")
}

#[tokio::test]
async fn a_service_names_targets_and_its_silence_costs_none() {
    let (first, _) = Peer::with_text(TEXT).await;
    let (second, _) = Peer::with_text(TEXT).await;
    let answer = std::sync::Arc::new(std::sync::Mutex::new((StatusCode::OK, json!([]))));
    let shown = answer.clone();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let heard = asked.clone();
    let service = Peer::start(move |request| {
        let header =
            |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        heard.lock().expect("not poisoned").push(format!(
            "{} {}",
            header("authorization"),
            header("x-prometheus-refresh-interval-seconds")
        ));
        let (status, body) = shown.lock().expect("not poisoned").clone();
        let builder = http::Response::builder()
            .status(status)
            .header("content-type", "application/json; charset=utf-8");
        builder.body(body.to_string().into()).expect("a response")
    })
    .await;
    let yml = format!(
        "scrape_configs:\n- job_name: gw\n  scrape_interval: 100ms\n  http_sd_configs:\n  - url: http://reader:hunter2@{}/targets\n    refresh_interval: 1s\n  relabel_configs:\n  - {{source_labels: [__meta_url], target_label: told_by}}\n",
        service.addr
    );
    let folder = Folder::new();
    let server = start(options(&folder, &yml)).await;
    let name = |status, body: Json| *answer.lock().expect("not poisoned") = (status, body);
    name(StatusCode::OK, json!([{"targets": [first.addr.to_string()], "labels": {"desk": "fx"}}]));
    until_query(&server, &format!("up{{desk=\"fx\", told_by=\"http://{}/targets\"}}", service.addr), &[1.0])
        .await;
    // What was named stays when the service is ill, and the page says that it is.
    for (status, body, said) in [
        (StatusCode::INTERNAL_SERVER_ERROR, json!([]), "it answered 500"),
        (StatusCode::OK, json!({"targets": 1}), "its answer is no list"),
    ] {
        name(status, body);
        let failed = || {
            let errors = server.monitor().discovery.errors();
            async move {
                let told = errors.iter().any(|(job, why)| job == "gw" && why.contains(said));
                if told { Ok(()) } else { Err(format!("{errors:?}")) }
            }
        };
        eventually(failed).await;
        until_query(&server, &is_up(first.addr), &[1.0]).await;
    }
    name(StatusCode::OK, json!([{"targets": [second.addr.to_string()]}]));
    until_query(&server, &is_up(second.addr), &[1.0]).await;
    until_query(&server, &is_up(first.addr), &[]).await;
    let asked = asked.lock().expect("not poisoned").clone();
    assert!(asked.iter().all(|one| one == "Basic cmVhZGVyOmh1bnRlcjI= 1"), "{asked:?}");
    // The login is in no answer of the API.
    let shown = get(&server, "/api/v1/status/config").await;
    let shown = String::from_utf8_lossy(&shown.body).into_owned();
    assert!(
        shown.contains(&format!("http://{}/targets", service.addr)) && !shown.contains("hunter2"),
        "{shown}"
    );
    server.shutdown().await;
}

struct NameServer(Child);

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free for both protocols.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = tcp.local_addr().expect("bound").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[tokio::test]
async fn a_name_server_names_targets() {
    let (peer, _) = Peer::with_text(TEXT).await;
    let port = free_port();
    let (at, gw) = (peer.addr.port(), "_metrics._tcp.desk.test");
    let child = Command::new("/usr/sbin/dnsmasq")
        .args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--log-facility=-",
        ])
        .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file"])
        .arg(format!("--port={port}"))
        .arg(format!("--srv-host={gw},localhost,{at}"))
        .arg("--local=/desk.test/")
        .arg("--host-record=gateway.desk.test,127.0.0.1")
        .stderr(Stdio::null())
        .spawn();
    let _server = NameServer(child.expect("dnsmasq of the Debian package dnsmasq-base"));
    let yml = format!(
        "scrape_configs:\n- job_name: srv\n  scrape_interval: 100ms\n  dns_sd_configs:\n  - {{names: [{gw}, _none._tcp.desk.test], refresh_interval: 1s}}\n  relabel_configs:\n  - {{source_labels: [__meta_dns_srv_record_target], target_label: record}}\n- job_name: a\n  scrape_interval: 100ms\n  dns_sd_configs:\n  - {{names: [gateway.desk.test], type: A, port: {at}, refresh_interval: 1s}}\n"
    );
    let folder = Folder::new();
    let mut options = options(&folder, &yml);
    options.name_servers = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let server = start(options).await;
    until_query(
        &server,
        &format!("up{{job=\"srv\", instance=\"localhost:{at}\", record=\"localhost.\"}}"),
        &[1.0],
    )
    .await;
    until_query(&server, &format!("up{{job=\"a\", instance=\"127.0.0.1:{at}\"}}"), &[1.0]).await;
    server.shutdown().await;
}
