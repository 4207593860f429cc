//! The market's clock through a whole monitor: series, the exporter, session time, halts, the overlay and who laid it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_calendar::Calendar;
use tradewatch_server::{Options, Server};

use crate::support::*;

/// New York opened an hour ago and goes on until tomorrow, whatever the day of this test.
fn open_now() -> Calendar {
    let hour = jiff::SignedDuration::from_hours(1);
    let day = Duration::from_secs(86_400);
    Calendar::new().with_virtual_session("XNYS", jiff::Timestamp::now() - hour, day, day)
}

/// New York opens tomorrow.
fn shut_now() -> Calendar {
    let day = Duration::from_secs(86_400);
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    Calendar::new().with_virtual_session("XNYS", tomorrow, day, day)
}

fn routes(webhook: &Webhook, more: &str) -> String {
    format!(
        "route: {{receiver: desk, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: ['...']}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/hook\n{more}",
        webhook.peer.addr
    )
}

async fn fact(server: &Server, json: Json) -> Json {
    let answer = post_json(server, "/api/tradewatch/v1/calendar/facts", &json).await;
    let said: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
    assert_eq!(answer.status, StatusCode::OK, "{said}");
    said
}

async fn take_back(server: &Server, fact: &Json) {
    let path = format!("/api/tradewatch/v1/calendar/facts/{}?by=ada", fact["id"]);
    let answer = ask(Method::DELETE, &url(server, &path), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
}

/// The alert of that name and symbol, once it fits.
async fn until_alert(server: &Server, symbol: &str, fits: impl Fn(&Json) -> bool) -> Json {
    eventually(|| async {
        let all = get_json(server, "/api/tradewatch/v1/alerts").await;
        let mut list = all.as_array().cloned().unwrap_or_default().into_iter();
        let found = list.find(|one| one["name"] == "Stale" && one["labels"]["symbol"] == symbol);
        found.filter(|one| fits(one)).ok_or(all.to_string())
    })
    .await
}

async fn until_told(webhook: &Webhook, symbol: &str) {
    eventually(|| async {
        let told = webhook.told();
        let about =
            |told: &Told| told.body["commonLabels"]["symbol"] == symbol && told.body["status"] == "firing";
        if told.iter().any(about) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

fn was_told(webhook: &Webhook, symbol: &str) -> bool {
    webhook.told().iter().any(|told| told.body["commonLabels"]["symbol"] == symbol)
}

const STALE: &str = "groups:\n- name: feed\n  rules:\n  - alert: Stale\n    expr: tick_age_seconds > 60\n    labels: {trading_calendar: XNYS}\n";

async fn with_stale(folder: &Folder, webhook: &Webhook, calendar: Calendar) -> (Server, Peer) {
    let (peer, _) =
        Peer::with_text("tick_age_seconds{symbol=\"AAPL\"} 90\ntick_age_seconds{symbol=\"MSFT\"} 90\n").await;
    folder.write("rules.yml", STALE);
    let mut options = Options { calendar, ..options(folder, &job(peer.addr, "")) };
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(webhook, "")));
    (start(options).await, peer)
}

#[tokio::test]
async fn the_series_are_those_of_the_venues_that_rules_and_routes_name() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    folder.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up == 0, labels: {trading_calendar: XASX}}\n  - {record: r, expr: 'tradewatch_market_open{mic=~\"XT.+\"}'}\n",
    );
    let nights = "time_intervals:\n- {name: paris, time_intervals: [{trading_calendar: XPAR}]}\n";
    let mut options = options(&folder, "rule_files: [rules.yml]\n");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(&webhook, nights)));
    let server = start(options).await;
    let text =
        |answer: &tradewatch_server::net::client::Answer| String::from_utf8_lossy(&answer.body).into_owned();
    let venues = |page: &str| -> Vec<String> {
        let phases = page.lines().filter(|line| line.starts_with("tradewatch_market_phase{"));
        let mut mics: Vec<String> =
            phases.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect();
        mics.dedup();
        mics
    };
    let page = text(&get(&server, "/metrics").await);
    assert_eq!(venues(&page), ["XNYS", "CRYPTO", "XASX", "XPAR", "XTKS", "XTSE"]);
    // An exporter for others: all venues, or those that are named.
    let all = text(&get(&server, "/calendar/metrics").await);
    assert_eq!(venues(&all).len(), Calendar::new().mics().len());
    let two = text(&get(&server, "/calendar/metrics?mic=XLON&mic=CRYPTO").await);
    assert_eq!(venues(&two), ["XLON", "CRYPTO"]);
    assert!(two.contains("tradewatch_market_open{mic=\"CRYPTO\"} 1\n"), "{two}");
    assert!(two.contains("tradewatch_market_seconds_to_close{mic=\"CRYPTO\"} +Inf\n"), "{two}");
    let wrong = get(&server, "/calendar/metrics?mic=LSE").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(text(&wrong).contains("known are") && text(&wrong).contains("XLON"), "{}", text(&wrong));
    server.shutdown().await;
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_prometheus_joins_the_markets_on_mic() {
    let folder = Folder::new();
    let server = start(Options { calendar: shut_now(), ..options(&folder, "") }).await;
    let (peer, _) = Peer::with_text("desk_orders{mic=\"XNYS\"} 0\ndesk_orders{mic=\"CRYPTO\"} 0\n").await;
    let rules = folder.write(
        "rival-rules.yml",
        "groups:\n- name: g\n  rules:\n  - alert: NoOrders\n    expr: desk_orders == 0 and on(mic) tradewatch_market_open == 1\n    labels: {trading_calendar: '{{ $labels.mic }}'}\n  - alert: Shut\n    expr: tradewatch_market_phase{phase=\"closed\"} == 1 unless on(mic) tradewatch_market_seconds_to_close\n",
    );
    let checked = Command::new("promtool").arg("check").arg("rules").arg(&rules).output();
    let checked = checked.expect("the Debian package prometheus is installed");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let yml = folder.write(
        "rival.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: ['{}']\nscrape_configs:\n- job_name: desk\n  static_configs: [{{targets: ['{}']}}]\n- job_name: markets\n  metrics_path: /calendar/metrics\n  params: {{mic: [XNYS, CRYPTO]}}\n  static_configs: [{{targets: ['{}']}}]\n",
            rules.display(),
            peer.addr,
            server.addr()
        ),
    );
    let log = std::fs::File::create(folder.path().join("rival.log")).expect("a file");
    let addr = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let _rival = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", yml.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("rival").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the Debian package prometheus is installed"),
    );
    let client = tradewatch_server::net::HttpClient::new(Default::default()).expect("a client");
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let address = format!("http://{addr}/api/v1/alerts");
        let ask = tradewatch_server::net::client::Ask {
            method: Method::GET,
            url: &address,
            headers: &[],
            body: Default::default(),
            compression: false,
            body_bytes_max: 1 << 20,
            timeout: PATIENCE,
        };
        let json: Json = match client.ask(ask).await {
            Ok(answer) => serde_json::from_slice(&answer.body).unwrap_or(Json::Null),
            Err(_) => Json::Null,
        };
        let alerts = json["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let mut seen: Vec<(&str, &str)> = alerts
            .iter()
            .filter_map(|one| Some((one["labels"]["alertname"].as_str()?, one["labels"]["mic"].as_str()?)))
            .collect();
        seen.sort_unstable();
        if seen == [("NoOrders", "CRYPTO"), ("Shut", "XNYS")] {
            let orders = alerts.iter().find(|one| one["labels"]["alertname"] == "NoOrders").expect("seen");
            assert_eq!(orders["labels"]["trading_calendar"], "CRYPTO");
            break;
        }
        let said = std::fs::read_to_string(folder.path().join("rival.log")).unwrap_or_default();
        assert!(Instant::now() < end, "{seen:?}: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_halt_holds_back_its_symbol_only_and_is_seen_until_it_ends() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    folder.write("calendar.overlay", "XNYS halt AAPL 2020-01-02T10:00:00-05:00 - news pending\n");
    let (peer, _) =
        Peer::with_text("tick_age_seconds{symbol=\"AAPL\"} 90\ntick_age_seconds{symbol=\"MSFT\"} 90\n").await;
    folder.write("rules.yml", STALE);
    let mut options = Options { calendar: open_now(), ..options(&folder, &job(peer.addr, "")) };
    options.calendar_overlay = Some(folder.path().join("calendar.overlay"));
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(&webhook, "")));
    let server = start(options).await;
    until_told(&webhook, "MSFT").await;
    let held = until_alert(&server, "AAPL", |one| one["market"]["state"] == "halted").await;
    assert_eq!(held["state"], "pending");
    assert_eq!((&held["market"]["mic"], &held["market"]["reason"]), (&json!("XNYS"), &json!("news pending")));
    assert_eq!(held["market"]["since"], 1_577_977_200_000_i64);
    assert!(!was_told(&webhook, "AAPL"), "{:?}", webhook.told());
    // The halt ends: told at once, with nothing new from the feed.
    folder.write("calendar.overlay", "");
    assert_eq!(ask(Method::POST, &url(&server, "/-/reload"), &[], "").await.status, StatusCode::OK);
    until_told(&webhook, "AAPL").await;
    server.shutdown().await;
}

#[tokio::test]
async fn while_the_market_is_shut_nothing_fires_and_a_page_says_so() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let (server, _peer) = with_stale(&folder, &webhook, shut_now()).await;
    let waits = until_alert(&server, "MSFT", |one| one["market"]["state"] == "closed").await;
    assert_eq!(waits["state"], "pending");
    assert!(waits["market"]["until"].as_i64() > waits["since"].as_i64(), "{waits}");
    // Its budget holds within the session.
    assert_eq!(waits["latency_budget"]["session"], "XNYS");
    assert!(webhook.told().is_empty());
    server.shutdown().await;
}

/// The recipe of docs/calendar.md: the halt is an alert, and holds back what fires already.
#[tokio::test]
async fn an_alert_that_fires_already_is_inhibited_by_the_halt() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let (peer, _) = Peer::with_text("tick_age_seconds{symbol=\"AAPL\"} 90\n").await;
    folder.write(
        "rules.yml",
        &format!(
            "{STALE}- name: halts\n  rules:\n  - alert: TradingHalted\n    expr: tradewatch_market_halted == 1\n    labels: {{severity: info}}\n"
        ),
    );
    let inhibit = "inhibit_rules:\n- source_matchers: ['alertname=\"TradingHalted\"', 'mic=\"XNYS\"']\n  target_matchers: ['trading_calendar=\"XNYS\"']\n  equal: [symbol]\n";
    let prometheus = job(peer.addr, "");
    let mut options = Options { calendar: open_now(), ..options(&folder, &prometheus) };
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(&webhook, inhibit)));
    let server = start(options).await;
    // It watches itself; its address is known only now.
    let itself = format!(
        "{prometheus}- job_name: tradewatch\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n  static_configs: [{{targets: ['{}']}}]\n",
        server.addr()
    );
    folder.write("prometheus.yml", &itself);
    assert_eq!(ask(Method::POST, &url(&server, "/-/reload"), &[], "").await.status, StatusCode::OK);
    until_told(&webhook, "AAPL").await;
    let halt = json!({"mic": "XNYS", "kind": "halt", "symbol": "AAPL", "reason": "LULD pause", "by": "ada"});
    let halt = fact(&server, halt).await;
    until_query(&server, "tradewatch_market_halted{mic=\"XNYS\",symbol=\"AAPL\"}", &[1.0]).await;
    let held =
        until_alert(&server, "AAPL", |one| one["inhibited_by"].as_array().is_some_and(|by| !by.is_empty()))
            .await;
    assert_eq!((&held["state"], &held["market"]["reason"]), (&json!("firing"), &json!("LULD pause")));
    take_back(&server, &halt).await;
    until_query(&server, "tradewatch_market_halted", &[]).await;
    until_alert(&server, "AAPL", |one| one["inhibited_by"].as_array().is_some_and(Vec::is_empty)).await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_people_lay_over_the_calendar_holds_at_once_is_written_down_and_stays() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let (peer, _) = Peer::with_text("tick_age_seconds{symbol=\"MSFT\"} 90\n").await;
    folder.write("rules.yml", STALE);
    let tokyo = "time_intervals:\n- {name: london, time_intervals: [{trading_calendar: XLON}]}\n";
    let mut options = Options { calendar: open_now(), ..options(&folder, &job(peer.addr, "")) };
    options.data_dir = Some(folder.path().join("data"));
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(&webhook, tokyo)));
    let server = start(options.clone()).await;
    let path = "/api/tradewatch/v1/calendar/facts";
    // What cannot be is refused, and nobody acts without a name.
    for (json, wrong) in [
        (json!({"mic": "XLON", "kind": "closed", "date": "2026-12-24", "reason": "x"}), "name of who"),
        (json!({"mic": "LSE", "kind": "halt", "reason": "x", "by": "ada"}), "known are"),
        (
            json!({"mic": "XNYS", "kind": "closed", "date": "2026-12-24", "reason": "x", "by": "ada"}),
            "only a halt",
        ),
        (
            json!({"mic": "XLON", "kind": "hours", "date": "2026-12-23", "hours": "8-9", "reason": "x", "by": "ada"}),
            "`8-9`",
        ),
    ] {
        let answer = post_json(&server, path, &json).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == StatusCode::BAD_REQUEST && said.contains(wrong), "{json}: {said}");
    }
    let days = |day: &'static str| {
        let server = &server;
        async move {
            let path = format!("/api/tradewatch/v1/calendar/days?mic=XLON&from={day}&to={day}");
            get_json(server, &path).await["days"][0].clone()
        }
    };
    assert_eq!(days("2026-12-21").await["kind"], "session");
    let closure = json!({"mic": "XLON", "kind": "closed", "date": "2026-12-21", "reason": "state funeral", "by": "ada"});
    fact(&server, closure).await;
    let shut = days("2026-12-21").await;
    assert_eq!((&shut["kind"], &shut["reason"]), (&json!("closed"), &json!("state funeral")));
    let short = json!({"mic": "XLON", "kind": "hours", "date": "2026-12-22", "hours": "08:00-12:30", "reason": "storm", "by": "ada"});
    fact(&server, short).await;
    assert_eq!(days("2026-12-22").await["kind"], "special");
    assert_eq!(days("2026-12-24").await["kind"], "special", "Christmas Eve");
    assert_eq!(days("2026-12-25").await["kind"], "closed");
    assert_eq!(days("2026-12-26").await["kind"], "weekend");
    assert_eq!(days("2031-12-24").await["kind"], "unknown");
    // The whole venue halted: the alert that would fire waits; lifted, it fires.
    until_told(&webhook, "MSFT").await;
    let halt = json!({"mic": "XNYS", "kind": "halt", "symbol": "*", "reason": "level 1", "by": "ada"});
    let halt = fact(&server, halt).await;
    assert!(halt["until"].as_i64() > halt["from"].as_i64(), "it ends with the session: {halt}");
    let shown = get_json(&server, "/api/tradewatch/v1/calendar").await;
    let xnys =
        shown["venues"].as_array().and_then(|all| all.iter().find(|one| one["mic"] == "XNYS").cloned());
    assert_eq!(xnys.map(|one| one["phase"].clone()), Some(json!("halted")));
    let metrics = get(&server, "/calendar/metrics?mic=XNYS").await;
    assert!(
        String::from_utf8_lossy(&metrics.body)
            .contains("tradewatch_market_halted{mic=\"XNYS\",symbol=\"*\"} 1")
    );
    server.shutdown().await;

    let server = start(options).await;
    let shown = get_json(&server, "/api/tradewatch/v1/calendar").await;
    let facts: Vec<&Json> =
        shown["facts"].as_array().expect("a list").iter().map(|fact| &fact["reason"]).collect();
    assert_eq!(facts, ["level 1", "storm", "state funeral"]);
    assert_eq!((&shown["facts"][0]["by"], &shown["facts"][0]["holds"]), (&json!("ada"), &json!(true)));
    take_back(&server, &halt).await;
    let gone = format!("/api/tradewatch/v1/calendar/facts/{}?by=ada", halt["id"]);
    assert_eq!(ask(Method::DELETE, &url(&server, &gone), &[], "").await.status, StatusCode::NOT_FOUND);
    let log = get_json(&server, "/api/tradewatch/v1/audit").await;
    let deeds: Vec<(&str, &str)> = log["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| Some((one["action"].as_str()?, one["subject"].as_str()?)))
        .filter(|(action, _)| action.starts_with("calendar"))
        .collect();
    assert_eq!(deeds.len(), 4, "{log}");
    assert!(deeds[0].0 == "calendar_remove" && deeds[0].1.starts_with("XNYS halt * "), "{deeds:?}");
    assert_eq!(deeds[3], ("calendar_add", "XLON closed 2026-12-21 state funeral"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_halt_that_is_lifted_over_the_api_lets_a_muted_route_speak_at_once() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let (peer, _) = Peer::with_text("tick_age_seconds{symbol=\"MSFT\"} 90\n").await;
    folder.write("rules.yml", &STALE.replace("    labels: {trading_calendar: XNYS}\n", ""));
    let yml = format!(
        "route: {{receiver: desk, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: ['...'], routes: [{{receiver: desk, active_time_intervals: [session]}}]}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/hook\ntime_intervals:\n- {{name: session, time_intervals: [{{trading_calendar: CRYPTO}}]}}\n",
        webhook.peer.addr
    );
    let mut options = options(&folder, &job(peer.addr, ""));
    options.calendar_overlay = Some(folder.write("calendar.overlay", "# nothing yet\n"));
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &yml));
    folder.write("prometheus.yml", "");
    let server = start(options).await;
    let halt = json!({"mic": "CRYPTO", "kind": "halt", "reason": "exchange maintenance", "by": "ada"});
    let halt = fact(&server, halt).await;
    folder.write("prometheus.yml", &job(peer.addr, ""));
    assert_eq!(ask(Method::POST, &url(&server, "/-/reload"), &[], "").await.status, StatusCode::OK);
    until_alert(&server, "MSFT", |one| !one["muted_by"].is_null()).await;
    assert!(webhook.told().is_empty());
    take_back(&server, &halt).await;
    until_told(&webhook, "MSFT").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_broken_overlay_names_its_place_and_changes_nothing() {
    let folder = Folder::new();
    let mut options = options(&folder, "");
    options.calendar_overlay = Some(
        folder
            .write("calendar.overlay", "# ad hoc\nXNYS closed 2026-11-23 mourning\nXNYS shut 2026-11-24 x\n"),
    );
    let wrong = Server::start(options.clone()).await.err().expect("refused").to_string();
    assert!(wrong.contains("calendar.overlay:3:6: `shut` is not `closed`, `hours` or `halt`"), "{wrong}");
    folder.write("calendar.overlay", "XNYS closed 2026-11-23 mourning\n");
    let server = start(options).await;
    folder.write("calendar.overlay", "XNYS closed 2026-11-23\n");
    let answer = ask(Method::POST, &url(&server, "/-/reload"), &[], "").await;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        answer.status == StatusCode::INTERNAL_SERVER_ERROR && said.contains("calendar.overlay:1:23:"),
        "{said}"
    );
    let shown = get_json(&server, "/api/tradewatch/v1/calendar").await;
    assert_eq!(shown["facts"][0]["fact"], "XNYS closed 2026-11-23 mourning");
    server.shutdown().await;
}
