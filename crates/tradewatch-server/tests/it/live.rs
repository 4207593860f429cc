//! The live socket: frames, errors, hidden pages.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tradewatch_server::Server;

use crate::support::*;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(server: &Server) -> Socket {
    let (socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/api/tradewatch/v1/live", server.addr()))
            .await
            .expect("opens");
    socket
}

async fn say(socket: &mut Socket, message: Json) {
    socket.send(Message::Text(message.to_string().into())).await.expect("sends");
}

/// The next message that `wanted` picks.
async fn hear(socket: &mut Socket, wanted: impl Fn(&Json) -> bool) -> Json {
    let end = Instant::now() + PATIENCE;
    loop {
        let message = tokio::time::timeout_at(end.into(), socket.next())
            .await
            .expect("in time")
            .expect("open")
            .expect("a message");
        if let Message::Text(text) = message {
            let json: Json = serde_json::from_str(&text).expect("JSON");
            if wanted(&json) {
                return json;
            }
        }
    }
}

#[tokio::test]
async fn a_page_gets_a_whole_frame_and_then_the_newest_columns() {
    let (peer, text) = Peer::with_text("a{x=\"1\"} 1\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "a", &[1.0]).await;
    let mut socket = open(&server).await;
    say(
        &mut socket,
        json!({"type": "subscribe", "id": "p1", "expr": "a", "range_ms": 60_000, "step_ms": 1_000}),
    )
    .await;
    let full = hear(&mut socket, |m| m["type"] == "frame").await;
    assert_eq!((&full["id"], &full["full"], &full["step_ms"]), (&json!("p1"), &json!(true), &json!(1000)));
    let series = &full["series"][0];
    assert_eq!(series["labels"]["x"], "1");
    assert_eq!(series["v"].as_array().and_then(|v| v.last().cloned()), Some(json!(1)));
    assert!(
        series["t"].as_array().is_some_and(|t| t.iter().all(|t| t.as_i64().is_some_and(|t| t % 1000 == 0))),
        "{series}"
    );
    *text.lock().expect("not poisoned") = "a{x=\"1\"} 2\n".into();
    let changed = Instant::now();
    let next = hear(&mut socket, |m| {
        m["type"] == "frame" && m["series"][0]["v"].as_array().is_some_and(|v| v.last() == Some(&json!(2)))
    })
    .await;
    // One scrape of 100 ms, and the push.
    assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
    assert_eq!(next["full"], json!(false));
    assert!(
        next["series"][0]["t"].as_array().is_some_and(|t| t.len() <= 3),
        "only the newest columns: {next}"
    );
    // A series that ends is told to be gone.
    *text.lock().expect("not poisoned") = "b NaN\n".into();
    hear(&mut socket, |m| {
        m["type"] == "frame" && m["series"][0]["v"].as_array().is_some_and(|v| v.last() == Some(&Json::Null))
    })
    .await;
    say(&mut socket, json!({"type": "subscribe", "id": "p2", "expr": "b", "instant": true})).await;
    let instant = hear(&mut socket, |m| m["id"] == "p2").await;
    assert_eq!((&instant["full"], &instant["series"][0]["v"]), (&json!(true), &json!(["NaN"])));
    say(&mut socket, json!({"type": "subscribe", "id": "p3", "expr": "sum("})).await;
    let error = hear(&mut socket, |m| m["id"] == "p3").await;
    assert_eq!(error["type"], "error");
    say(&mut socket, json!({"type": "subscribe", "id": "p4", "expr": "b[5m]"})).await;
    assert_eq!(hear(&mut socket, |m| m["id"] == "p4").await["type"], "error");
    server.shutdown().await;
}

#[tokio::test]
async fn nothing_is_pushed_to_a_hidden_page_but_the_heartbeat() {
    let (peer, _) = Peer::with_text("a 1\n").await;
    let folder = Folder::new();
    let server = start(options(&folder, &job(peer.addr, ""))).await;
    until_query(&server, "a", &[1.0]).await;
    let mut socket = open(&server).await;
    say(&mut socket, json!({"type": "subscribe", "id": "p", "expr": "a", "instant": true})).await;
    hear(&mut socket, |m| m["type"] == "frame").await;
    say(&mut socket, json!({"type": "visible", "value": false})).await;
    // What was under way may still come; after one heartbeat nothing may.
    hear(&mut socket, |m| m["type"] == "heartbeat").await;
    let next = hear(&mut socket, |m| m["type"] == "heartbeat" || m["type"] == "frame").await;
    assert_eq!(next["type"], "heartbeat", "{next}");
    assert_eq!(next["clock"]["CRYPTO"], "open");
    assert!(next["now"].as_i64().is_some_and(|now| now > 1_700_000_000_000));
    say(&mut socket, json!({"type": "visible", "value": true})).await;
    hear(&mut socket, |m| m["type"] == "frame").await;
    server.shutdown().await;
}

#[tokio::test]
async fn alerts_and_dashboards_are_pushed() {
    let folder = Folder::new();
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Lost\n    expr: up == 0\n",
    );
    let dashboards = folder.path().join("dashboards");
    std::fs::create_dir_all(&dashboards).expect("creates");
    let mut options = options(&folder, &job("127.0.0.1:1".parse().expect("an address"), ""));
    options.dashboards = vec![tradewatch_server::dashboards::Folder::of(&dashboards)];
    let server = start(options).await;
    let mut socket = open(&server).await;
    let alerts = hear(&mut socket, |m| {
        m["type"] == "alerts" && m["alerts"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    assert_eq!(
        (&alerts["alerts"][0]["name"], &alerts["alerts"][0]["state"]),
        (&json!("Lost"), &json!("firing"))
    );
    std::fs::write(dashboards.join("a.json"), "{}").expect("writes");
    hear(&mut socket, |m| m["type"] == "dashboards").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_foreign_page_opens_no_socket() {
    let folder = Folder::new();
    let server = start(options(&folder, "")).await;
    let mut request =
        format!("ws://{}/api/tradewatch/v1/live", server.addr()).into_client_request().expect("a request");
    request.headers_mut().insert("origin", "http://evil.example".parse().expect("a header"));
    assert!(tokio_tungstenite::connect_async(request).await.is_err());
    server.shutdown().await;
}

/// 10,000 alerts at once: the critical one is told at once, pages get a bounded list, then only what changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_alerts_reach_a_page_bounded_and_then_as_changes() {
    const STORM: usize = 10_000;
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let mut options = options(&folder, "");
    let routes = format!(
        "route: {{receiver: desk, group_by: [alertname, desk], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\nreceivers: [{{name: desk, webhook_configs: [{{url: 'http://{}/hook'}}]}}]\n",
        webhook.peer.addr
    );
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes));
    let server = start(options).await;
    let mut socket = open(&server).await;
    let is_alerts = |m: &Json| m["type"] == "alerts";
    let first = hear(&mut socket, is_alerts).await;
    assert_eq!((&first["full"], &first["total"]), (&json!(true), &json!(0)));
    let storm: Vec<Json> = (0..STORM)
        .map(|i| {
            json!({"labels": {"alertname": "Slow", "severity": "warning", "desk": format!("d{}", i % 100), "n": i.to_string()}, "annotations": {"summary": "an order takes long"}})
        })
        .collect();
    let began = Instant::now();
    assert_eq!(post_json(&server, "/api/v2/alerts", &Json::Array(storm)).await.status, http::StatusCode::OK);
    let critical = json!([{"labels": {"alertname": "KillSwitch", "severity": "critical"}}]);
    let posted = Instant::now();
    assert_eq!(post_json(&server, "/api/v2/alerts", &critical).await.status, http::StatusCode::OK);
    let told = eventually(|| async {
        let told = webhook.told();
        let found = told.iter().any(|told| told.body["commonLabels"]["alertname"] == "KillSwitch");
        if found { Ok(posted.elapsed()) } else { Err(format!("{} told", told.len())) }
    })
    .await;
    // The page: at most a thousand alerts, all of them counted, the worst first.
    let page = hear(&mut socket, |m| is_alerts(m) && m["counts"]["firing"] == json!(STORM + 1)).await;
    let shown = began.elapsed();
    let size = page.to_string().len();
    assert!(page["alerts"].as_array().is_some_and(|all| all.len() <= 1_000));
    assert_eq!(page["names"][0]["name"], "KillSwitch");
    assert_eq!((&page["names"][1]["name"], &page["names"][1]["firing"]), (&json!("Slow"), &json!(STORM)));
    // Everything is delivered in the end, a hundred groups and not ten thousand messages.
    let groups = eventually(|| async {
        let told = webhook.told();
        let alerts: usize = told.iter().filter_map(|told| told.body["alerts"].as_array()).map(Vec::len).sum();
        if alerts >= STORM { Ok(told.len()) } else { Err(format!("{alerts} alerts told")) }
    })
    .await;
    let delivered = began.elapsed();
    // All is told and the page knows: one more alert is one change, not a thousand.
    let quiet = || async {
        let ledger = get_json(&server, "/api/tradewatch/v1/notifications").await;
        if ledger["queued"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(ledger.to_string()) }
    };
    eventually(quiet).await;
    let mut page = open(&server).await;
    hear(&mut page, |m| is_alerts(m) && m["full"] == json!(true)).await;
    let again = json!([{"labels": {"alertname": "BrokerGone", "severity": "critical"}}]);
    assert_eq!(post_json(&server, "/api/v2/alerts", &again).await.status, http::StatusCode::OK);
    let delta = hear(&mut page, |m| is_alerts(m) && m["counts"]["firing"] == json!(STORM + 2)).await;
    assert_eq!(delta["full"], json!(false));
    assert!(delta["alerts"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "BrokerGone")));
    let changed = delta["alerts"].as_array().map_or(0, Vec::len);
    // Whoever wants to see them all asks for them page by page.
    let asked = Instant::now();
    let deep =
        get_json(&server, "/api/tradewatch/v1/alerts?filter=alertname%3DSlow&offset=9990&limit=50").await;
    assert_eq!(deep.as_array().map(Vec::len), Some(10));
    let asked = asked.elapsed();
    println!(
        "{STORM} alerts: the critical one told after {told:?}, on the page after {shown:?} in {} KiB, one more is {changed} changed; all delivered after {delivered:?} in {groups} messages; one page of the list takes {asked:?}",
        size >> 10
    );
    assert!(told < Duration::from_secs(5), "{told:?}");
    assert!(size < 2 << 20, "{size} bytes");
    assert!(changed <= 200, "{changed} alerts for one");
    assert!(groups <= 300, "{groups} messages");
    server.shutdown().await;
}
