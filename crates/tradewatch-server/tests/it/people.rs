//! What people do about alerts: acknowledge, take back, note, preview and make silences; and the log of all of it.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_server::Server;

use crate::support::*;

fn routes(webhook: &Webhook) -> String {
    format!(
        "route: {{receiver: desk, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: [alertname]}}\nreceivers:\n- name: desk\n  webhook_configs:\n  - url: http://{}/geheim\n",
        webhook.peer.addr
    )
}

async fn serve(folder: &Folder, webhook: &Webhook) -> Server {
    let mut options = options(folder, "");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(webhook)));
    options.data_dir = Some(folder.path().join("data"));
    start(options).await
}

fn alert(name: &str, severity: &str, number: usize) -> Json {
    json!({"labels": {"alertname": name, "severity": severity, "n": number.to_string()}, "annotations": {"summary": "x"}})
}

async fn fire(server: &Server, alerts: &[Json]) {
    let answer = post_json(server, "/api/v2/alerts", &json!(alerts)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

async fn list(server: &Server) -> Vec<Json> {
    get_json(server, "/api/tradewatch/v1/alerts").await.as_array().expect("a list").clone()
}

fn body(answer: &tradewatch_server::net::client::Answer) -> Json {
    serde_json::from_slice(&answer.body).unwrap_or(Json::Null)
}

/// RFC 3339, so many seconds from now.
fn in_seconds(seconds: f64) -> String {
    let at = SystemTime::now() + Duration::from_secs_f64(seconds);
    jiff::Timestamp::try_from(at).expect("a time").to_string()
}

fn silence(name: &str, value: &str, by: &str, seconds: f64) -> Json {
    json!({
        "matchers": [{"name": name, "value": value, "isRegex": true, "isEqual": true}],
        "startsAt": in_seconds(0.0), "endsAt": in_seconds(seconds), "createdBy": by, "comment": "drill",
    })
}

#[tokio::test]
async fn every_deed_is_in_the_log_and_outlives_a_restart() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = serve(&folder, &webhook).await;
    fire(&server, &[alert("Down", "critical", 1), alert("Slow", "warning", 1), alert("Slow", "warning", 2)])
        .await;
    let id = list(&server).await[0]["fingerprint"].as_str().expect("text").to_owned();
    let at = |what: &str| format!("/api/tradewatch/v1/alerts/{id}/{what}");
    let post = async |path: &str, said: Json| post_json(&server, path, &said).await;
    assert_eq!(post(&at("ack"), json!({"by": "ada", "comment": "on it"})).await.status, StatusCode::OK);
    assert_eq!(
        post(&at("notes"), json!({"by": "ada", "text": "broker confirms an outage"})).await.status,
        StatusCode::OK
    );
    for (said, why) in
        [(json!({"by": "ada", "text": " "}), "bytes of text"), (json!({"text": "x"}), "name of who")]
    {
        let refused = post(&at("notes"), said).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8_lossy(&refused.body).contains(why));
    }
    let first = &list(&server).await[0];
    assert_ne!(first["name"], "Down", "what is acknowledged stands behind what is not");
    let down = list(&server).await.into_iter().find(|one| one["name"] == "Down").expect("listed");
    assert_eq!(
        (&down["notes"], &down["last_note"]["text"], &down["last_note"]["proven"]),
        (&json!(1), &json!("broker confirms an outage"), &json!(false))
    );
    let many = json!({"by": "bob", "matchers": [{"name": "alertname", "value": "Slow", "isRegex": false}]});
    assert_eq!(body(&post("/api/tradewatch/v1/alerts/ack", many.clone()).await), json!({"acknowledged": 2}));
    assert_eq!(body(&post("/api/tradewatch/v1/alerts/ack", many).await), json!({"acknowledged": 0}));
    let undone = ask(Method::DELETE, &url(&server, &format!("{}?by=ada", at("ack"))), &[], "").await;
    assert_eq!(undone.status, StatusCode::OK);
    let made = body(&post("/api/v2/silences", silence("alertname", "Slow", "bob", 3600.0)).await);
    let silence_id = made["silenceID"].as_str().expect("an id").to_owned();
    let ended =
        ask(Method::DELETE, &url(&server, &format!("/api/v2/silence/{silence_id}?by=eve")), &[], "").await;
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(post("/api/annotations", json!({"text": "deployed"})).await.status, StatusCode::OK);
    assert_eq!(post("/-/reload", json!({})).await.status, StatusCode::OK);
    folder.write("alertmanager.yml", "route: {receiver: nobody}\n");
    assert_eq!(post("/-/reload", json!({})).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    folder.write("alertmanager.yml", &routes(&webhook));

    let log = get_json(&server, "/api/tradewatch/v1/audit").await;
    let told = |log: &Json| -> Vec<(String, String, String)> {
        let text = |one: &Json, name: &str| one[name].as_str().unwrap_or("").to_owned();
        let entries = log["entries"].as_array().expect("a list").iter();
        entries.map(|one| (text(one, "by"), text(one, "action"), text(one, "subject"))).collect()
    };
    let seen = told(&log);
    let short: Vec<(&str, &str)> =
        seen.iter().map(|(by, action, _)| (by.as_str(), action.as_str())).collect();
    assert_eq!(
        short,
        [
            ("unknown", "reload"),
            ("unknown", "reload"),
            ("unknown", "annotate"),
            ("eve", "silence_expire"),
            ("bob", "silence_create"),
            ("ada", "unacknowledge"),
            ("bob", "acknowledge"),
            ("ada", "note"),
            ("ada", "acknowledge"),
        ]
    );
    let entries = &log["entries"];
    assert!(entries[0]["refused"].as_str().is_some_and(|why| why.contains("nobody")), "{entries}");
    assert!(entries[1]["refused"].is_null());
    assert_eq!((&entries[4]["alert_count"], &entries[4]["silence"]), (&json!(2), &json!(silence_id)));
    assert_eq!((&entries[6]["alert_count"], &entries[6]["proven"]), (&json!(2), &json!(false)));
    let of_down = get_json(&server, &format!("/api/tradewatch/v1/audit?alert={id}&limit=2")).await;
    assert_eq!((told(&of_down).len(), &of_down["more"]), (2, &json!(true)));

    // What was done and what was sent stand together.
    let one = eventually(|| async {
        let one = get_json(&server, &format!("/api/tradewatch/v1/alerts/{id}")).await;
        let timeline = one["timeline"].as_array().cloned().unwrap_or_default();
        let people = timeline.iter().filter(|one| one["person"].is_object()).count();
        let sent = timeline.iter().filter(|one| one["notification"]["outcome"] == "delivered").count();
        if (people, sent) == (3, 1) { Ok(one) } else { Err(one.to_string()) }
    })
    .await;
    assert_eq!(one["alert"]["name"], "Down");
    assert_eq!(
        get(&server, "/api/tradewatch/v1/alerts/0000000000000000").await.status,
        StatusCode::NOT_FOUND
    );

    let before = log;
    server.shutdown().await;
    let server = serve(&folder, &webhook).await;
    assert_eq!(get_json(&server, "/api/tradewatch/v1/audit").await, before);
    let down = list(&server).await.into_iter().find(|one| one["name"] == "Down").expect("listed");
    assert_eq!(down["notes"], 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_password_proves_the_name_whatever_is_said() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let hash = bcrypt::hash("s3cret", 4).expect("hashes");
    let mut options = options(&folder, "");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &routes(&webhook)));
    options.web.config_file = Some(folder.write("web.yml", &format!("basic_auth_users:\n  ada: {hash}\n")));
    let server = start(options).await;
    let login = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ada:s3cret"));
    let headers = [("content-type", "application/json".to_owned()), ("authorization", login)];
    let asks = async |method: Method, path: &str, said: Json| {
        let text = if said.is_null() { String::new() } else { said.to_string() };
        ask(method, &url(&server, path), &headers, text).await
    };
    assert_eq!(
        asks(Method::POST, "/api/v2/alerts", json!([alert("Down", "critical", 1)])).await.status,
        StatusCode::OK
    );
    let listed = body(&asks(Method::GET, "/api/tradewatch/v1/alerts", Json::Null).await);
    let id = listed[0]["fingerprint"].as_str().expect("text");
    let path = format!("/api/tradewatch/v1/alerts/{id}/ack");
    assert_eq!(asks(Method::POST, &path, json!({"by": "mallory"})).await.status, StatusCode::OK);
    assert_eq!(
        asks(Method::POST, "/api/v2/silences", silence("a", "b", "mallory", 60.0)).await.status,
        StatusCode::OK
    );
    let log = body(&asks(Method::GET, "/api/tradewatch/v1/audit?by=ada", Json::Null).await);
    let entries = log["entries"].as_array().expect("a list");
    assert_eq!(entries.len(), 2, "{log}");
    assert!(entries.iter().all(|one| one["proven"] == true));
    let silences = body(&asks(Method::GET, "/api/v2/silences", Json::Null).await);
    assert_eq!(silences[0]["createdBy"], "ada");
    let status = body(&asks(Method::GET, "/api/v2/status", Json::Null).await);
    let shown = status["config"]["original"].as_str().expect("text");
    assert!(
        shown.contains("receiver: desk") && shown.contains("<secret>") && !shown.contains("geheim"),
        "{shown}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_silence_is_previewed_and_warns_before_it_ends() {
    let (folder, webhook) = (Folder::new(), Webhook::start().await);
    let server = serve(&folder, &webhook).await;
    let mut storm: Vec<Json> = (0..120).map(|number| alert("Slow", "warning", number)).collect();
    storm.push(alert("Down", "critical", 0));
    fire(&server, &storm).await;
    let preview =
        async |planned: Json| post_json(&server, "/api/tradewatch/v1/silences/preview", &planned).await;
    let slow = body(&preview(silence("alertname", "Slow", "ada", 3600.0)).await);
    assert_eq!((&slow["counts"]["firing"], &slow["warnings"]), (&json!(120), &json!([])), "{slow}");
    assert_eq!(slow["alerts"].as_array().map(Vec::len), Some(50));
    assert_eq!(slow["names"][0]["name"], "Slow");
    let all = body(&preview(silence("alertname", ".+", "ada", 8.0 * 86_400.0)).await);
    assert_eq!(
        all["warnings"],
        json!([
            "hides 1 critical alert that nobody has acknowledged",
            "hides everything that fires now",
            "lasts longer than a week"
        ])
    );
    let none = body(&preview(silence("alertname", "Other", "ada", 60.0)).await);
    assert_eq!(none["warnings"], json!(["hides nothing that fires or is pending now"]));
    for (planned, why) in [
        (silence("alertname", "(", "ada", 60.0), "alertname"),
        (silence("alertname", ".*", "ada", 60.0), "everything"),
        (json!({"matchers": []}), "1 to 64 matchers"),
        (json!({"matchers": [{"name": "a", "value": "b", "isRegex": false}], "endsAt": "soon"}), "soon"),
    ] {
        let refused = preview(planned).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(
            String::from_utf8_lossy(&refused.body).contains(why),
            "{}",
            String::from_utf8_lossy(&refused.body)
        );
    }
    assert_eq!(get_json(&server, "/api/v2/silences").await, json!([]), "a preview makes nothing");

    // Its owner hears of its end while it still hides something; a quarter of eight seconds before.
    assert_eq!(
        post_json(&server, "/api/v2/silences", &silence("alertname", "Slow", "ada", 8.0)).await.status,
        StatusCode::OK
    );
    let running = get_json(&server, "/api/tradewatch/v1/silences").await;
    assert_eq!((&running[0]["hides"], &running[0]["hidesCritical"]), (&json!(120), &json!(0)));
    let warned = eventually(|| async {
        let told = webhook.told();
        let warned = told.iter().find(|told| told.body["commonLabels"]["alertname"] == "SilenceEndsSoon");
        warned.map(|told| told.body.clone()).ok_or(format!("{} told", told.len()))
    })
    .await;
    assert_eq!(warned["commonLabels"]["owner"], "ada");
    let summary = warned["commonAnnotations"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("hides 120 alerts that fire: Slow"), "{summary}");
    server.shutdown().await;
}
