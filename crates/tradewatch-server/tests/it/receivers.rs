//! What each vendor documents, held against what we send and how we take its answers.

use std::time::Duration;

use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value as Json, json};
use tradewatch_server::Server;

use crate::support::*;
use crate::vendor::{Act, Request, Vendor};

/// Longer than the waits of all attempts together on a slow machine.
const LONG: Duration = Duration::from_secs(60);

/// One vendor as its documentation has it.
struct Contract {
    kind: &'static str,
    /// The entry of `alertmanager.yml`, with `URL` for the vendor's address.
    entry: &'static str,
    /// What it answers when it takes a notification.
    taken: (u16, &'static str),
    /// Headers and body of its 429.
    limited: (&'static [(&'static str, &'static str)], &'static str),
    /// Its answer to a wrong request, and what the ledger must say of it.
    wrong: (u16, &'static str, &'static str),
    /// Checks a request that tells of a firing alert.
    firing: fn(&Request),
    /// Checks one that tells of its end.
    resolved: fn(&Request),
}

fn is_subject(title: &Json) {
    assert!(title.as_str().is_some_and(|t| t.starts_with("[FIRING:1] Lost (XNYS critical")), "{title}");
}

pub const SECRET: &str = "s3cr3t-t0ken";

const CONTRACTS: [Contract; 7] = [
    // https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    Contract {
        kind: "webhook",
        entry: "{url: 'URL/hook/s3cr3t-t0ken', http_config: {HTTP}, timeout: 500ms}",
        taken: (200, ""),
        limited: (&[("retry-after", "1")], "slow down"),
        wrong: (400, "no such hook", "400 Bad Request no such hook"),
        firing: |request| {
            assert_eq!(request.line, "POST /hook/s3cr3t-t0ken HTTP/1.1");
            let json = request.json();
            assert_eq!((&json["version"], &json["status"]), (&json!("4"), &json!("firing")));
            assert_eq!(json["groupKey"], "{}/{to=\"0\"}:{alertname=\"Lost\"}");
        },
        resolved: |request| assert_eq!(request.json()["alerts"][0]["status"], "resolved"),
    },
    // https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, 429 and Retry-After:
    // https://docs.slack.dev/apis/web-api/rate-limits, attachments:
    // https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments
    Contract {
        kind: "slack",
        entry: "{api_url: 'URL/services/T/B/s3cr3t-t0ken', channel: '#desk', send_resolved: true, http_config: {HTTP}, timeout: 500ms,
            fields: [{title: Venue, value: '{{ .CommonLabels.mic }}', short: true}],
            actions: [{type: button, text: Runbook, url: '{{ (index .Alerts 0).Annotations.runbook_url }}'}]}",
        taken: (200, "ok"),
        limited: (&[("retry-after", "1")], r#"{"ok":false,"error":"ratelimited"}"#),
        wrong: (400, "invalid_payload", "400 Bad Request invalid_payload"),
        firing: |request| {
            assert_eq!(request.line, "POST /services/T/B/s3cr3t-t0ken HTTP/1.1");
            let json = request.json();
            assert_eq!((&json["channel"], &json["username"]), (&json!("#desk"), &json!("tradewatch")));
            let attachment = &json["attachments"][0];
            assert_eq!(attachment["color"], "danger");
            is_subject(&attachment["title"]);
            assert_eq!(attachment["fields"], json!([{"title": "Venue", "value": "XNYS", "short": true}]));
            assert_eq!(attachment["actions"][0]["url"], "http://m/runbooks/Lost");
            let text = attachment["text"].as_str().expect("text");
            // What, how bad, since when, which venue and session, what to do.
            for part in ["CRITICAL  Lost — no &lt;feed&gt;", "Since ", "(XNYS)", "New York", "http://m/runbooks/Lost"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        },
        resolved: |request| assert_eq!(request.json()["attachments"][0]["color"], "good"),
    },
    // https://developer.pagerduty.com/docs/send-alert-event
    Contract {
        kind: "pagerduty",
        entry: "{routing_key: s3cr3t-t0ken, url: 'URL/v2/enqueue', severity: '{{ .CommonLabels.severity }}', http_config: {HTTP}, timeout: 500ms,
            links: [{href: 'http://m', text: monitor}], images: [{src: ''}]}",
        taken: (202, r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#),
        limited: (&[("retry-after", "1")], ""),
        wrong: (
            400,
            r#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect"]}"#,
            "Event object is invalid",
        ),
        firing: |request| {
            assert_eq!(request.line, "POST /v2/enqueue HTTP/1.1");
            let json = request.json();
            assert_eq!((&json["routing_key"], &json["event_action"]), (&json!(SECRET), &json!("trigger")));
            assert_eq!(json["dedup_key"].as_str().map(str::len), Some(64));
            let payload = &json["payload"];
            is_subject(&payload["summary"]);
            assert_eq!((&payload["severity"], &payload["source"]), (&json!("critical"), &json!("tradewatch")));
            assert_eq!(payload["custom_details"]["num_firing"], "1");
            assert!(payload["timestamp"].is_string());
            assert_eq!(json["links"], json!([{"href": "http://m", "text": "monitor"}]));
            assert!(json.get("images").is_none(), "an image without an address is refused there");
        },
        resolved: |request| {
            let json = request.json();
            assert_eq!((&json["event_action"], json["dedup_key"].is_string()), (&json!("resolve"), true));
        },
    },
    // https://core.telegram.org/bots/api#sendmessage and #responseparameters
    Contract {
        kind: "telegram",
        entry: "{api_url: 'URL', bot_token: s3cr3t-t0ken, chat_id: -1001, message_thread_id: 7, http_config: {HTTP}, timeout: 500ms}",
        taken: (200, r#"{"ok":true,"result":{"message_id":1}}"#),
        limited: (
            &[],
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 1","parameters":{"retry_after":1}}"#,
        ),
        wrong: (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            "chat not found",
        ),
        firing: |request| {
            assert_eq!(request.line, "POST /bots3cr3t-t0ken/sendMessage HTTP/1.1");
            let json = request.json();
            assert_eq!((&json["chat_id"], &json["message_thread_id"]), (&json!(-1001), &json!(7)));
            assert_eq!(json["parse_mode"], "HTML");
            assert!(json["text"].as_str().expect("text").contains("no &lt;feed&gt;"), "{json}");
        },
        resolved: |request| assert!(request.json()["text"].as_str().expect("text").starts_with("RESOLVED")),
    },
    // https://discord.com/developers/docs/resources/webhook#execute-webhook and /topics/rate-limits
    Contract {
        kind: "discord",
        entry: "{webhook_url: 'URL/api/webhooks/1/s3cr3t-t0ken', username: desk, http_config: {HTTP}, timeout: 500ms}",
        taken: (204, ""),
        limited: (&[("retry-after", "1")], r#"{"message":"You are being rate limited.","retry_after":1.0,"global":false}"#),
        wrong: (400, r#"{"message":"Cannot send an empty message","code":50006}"#, "Cannot send an empty message"),
        firing: |request| {
            assert_eq!(request.line, "POST /api/webhooks/1/s3cr3t-t0ken HTTP/1.1");
            let json = request.json();
            let embed = &json["embeds"][0];
            is_subject(&embed["title"]);
            assert_eq!(embed["color"], 10_038_562);
            assert!(embed["description"].as_str().expect("text").contains("no <feed>"));
            assert_eq!((&json["username"], &json["content"]), (&json!("desk"), &json!("")));
        },
        resolved: |request| assert_eq!(request.json()["embeds"][0]["color"], 3_066_993),
    },
    // https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
    Contract {
        kind: "twilio",
        entry: "{api_url: 'URL', account_sid: AC1, auth_token: s3cr3t-t0ken, from: '+15550100', to: ['+15550199'], send_resolved: true, http_config: {HTTP}, timeout: 500ms}",
        taken: (201, r#"{"sid":"SM1","status":"queued"}"#),
        limited: (
            &[("retry-after", "1")],
            r#"{"code":20429,"message":"Too Many Requests","more_info":"https://www.twilio.com/docs/errors/20429","status":429}"#,
        ),
        wrong: (
            400,
            r#"{"code":21211,"message":"The 'To' number is not a valid phone number.","status":400}"#,
            "Twilio error 21211",
        ),
        firing: |request| {
            assert_eq!(request.line, "POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1");
            assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
            let basic = base64::engine::general_purpose::STANDARD.encode(format!("AC1:{SECRET}"));
            assert_eq!(request.header("authorization"), format!("Basic {basic}"));
            let form = request.form();
            assert_eq!((form["To"].as_str(), form["From"].as_str()), ("+15550199", "+15550100"));
            assert!(form["Body"].starts_with("CRITICAL  Lost"), "{form:?}");
        },
        resolved: |request| assert!(request.form()["Body"].starts_with("RESOLVED")),
    },
    // https://docs.slack.dev/reference/methods/chat.postMessage: a bot; errors come with status 200.
    Contract {
        kind: "slack",
        entry: "{app_url: 'URL/api/chat.postMessage', app_token: s3cr3t-t0ken, channel: C1, send_resolved: true, message_text: hello, http_config: {HTTP}, timeout: 500ms}",
        taken: (200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#),
        limited: (&[("retry-after", "1")], r#"{"ok":false,"error":"ratelimited"}"#),
        wrong: (200, r#"{"ok":false,"error":"channel_not_found"}"#, "Slack: channel_not_found"),
        firing: |request| {
            assert_eq!(request.line, "POST /api/chat.postMessage HTTP/1.1");
            assert_eq!(request.header("authorization"), format!("Bearer {SECRET}"));
            let json = request.json();
            assert_eq!((&json["channel"], &json["text"]), (&json!("C1"), &json!("hello")));
        },
        resolved: |request| assert_eq!(request.json()["attachments"][0]["color"], "good"),
    },
];

/// A monitor whose routes lead alerts with `to: N` to the receiver `rN`.
pub struct World {
    folder: Folder,
    pub server: Server,
}

impl World {
    pub async fn start(entries: &[(&str, String)], more: &str) -> World {
        let folder = Folder::new();
        let mut yml = "route:\n  receiver: r0\n  group_wait: 0s\n  group_interval: 1s\n  group_by: [alertname]\n  routes:\n".to_owned();
        for (i, _) in entries.iter().enumerate() {
            yml += &format!("  - {{receiver: r{i}, matchers: ['to=\"{i}\"']}}\n");
        }
        yml += "receivers:\n";
        for (i, (kind, entry)) in entries.iter().enumerate() {
            yml += &format!("- name: r{i}\n  {kind}_configs:\n  - {entry}\n");
        }
        let mut options = options(&folder, "");
        options.alertmanager_file = Some(folder.write("alertmanager.yml", &(yml + more)));
        options.notify_retry_min = Duration::from_millis(50);
        options.notify_retry_max = Duration::from_millis(400);
        World { server: start(options).await, folder }
    }

    pub async fn tell(&self, name: &str, to: usize, ends: bool) {
        let mut alert = json!({
            "labels": {"alertname": name, "severity": "critical", "mic": "XNYS", "to": to.to_string()},
            "annotations": {"summary": "no <feed>", "runbook_url": "http://m/runbooks/Lost"},
        });
        if ends {
            alert["endsAt"] = json!("2020-01-01T00:00:00Z");
            alert["startsAt"] = json!("2019-01-01T00:00:00Z");
        }
        let answer = post_json(&self.server, "/api/v2/alerts", &json!([alert])).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }

    pub async fn ledger(&self) -> Json {
        get_json(&self.server, "/api/tradewatch/v1/notifications?limit=1000").await
    }

    /// Waits for a settled notification of `receiver` with this outcome.
    pub async fn settled(&self, receiver: &str, outcome: &str) -> Json {
        self.until(async || {
            let ledger = self.ledger().await;
            let all = ledger["settled"].as_array().cloned().unwrap_or_default();
            let found = all.into_iter().find(|r| r["receiver"] == receiver && r["outcome"] == outcome);
            found.ok_or(ledger.to_string())
        })
        .await
    }

    pub async fn until<T>(&self, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
        let end = std::time::Instant::now() + LONG;
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) if std::time::Instant::now() > end => {
                    panic!("not within {LONG:?}; seen last: {seen}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Nothing that the monitor shows holds a secret.
    pub async fn shows_no_secret(&self) {
        for path in [
            "/api/v2/status",
            "/api/v1/status/config",
            "/api/tradewatch/v1/notifications",
            "/api/v2/receivers",
            "/metrics",
        ] {
            let answer = get(&self.server, path).await;
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{path}");
        }
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Act {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Act::Answer(status, headers, body.to_owned())
}

fn entry(contract: &Contract, vendor: &Vendor, ca: &str) -> (&'static str, String) {
    let url = format!("https://localhost:{}", vendor.addr.port());
    let http = format!("tls_config: {{ca_file: {ca}}}");
    (contract.kind, contract.entry.replace("URL", &url).replace("HTTP", &http))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_vendor_gets_what_it_documents_and_is_taken_at_its_word() {
    let mut vendors = Vec::new();
    for contract in &CONTRACTS {
        vendors.push(Vendor::start("localhost", answer(contract.taken.0, &[], contract.taken.1)).await);
    }
    let certificates = tempfile::tempdir().expect("a folder");
    let mut entries = Vec::new();
    for (i, (contract, vendor)) in CONTRACTS.iter().zip(&vendors).enumerate() {
        let ca = certificates.path().join(format!("{i}.pem"));
        std::fs::write(&ca, &vendor.ca).expect("writes");
        entries.push(entry(contract, vendor, &ca.display().to_string()));
    }
    let world = World::start(&entries, "").await;
    // One after another: too fast, out of order, silent after the body was sent, reset; then it is taken.
    for (contract, vendor) in CONTRACTS.iter().zip(&vendors) {
        let limited = answer(429, contract.limited.0, contract.limited.1);
        vendor.plan(vec![limited, answer(503, &[], "away"), Act::Silence, Act::Reset]);
    }
    for i in 0..CONTRACTS.len() {
        world.tell("Lost", i, false).await;
    }
    for (i, (contract, vendor)) in CONTRACTS.iter().zip(&vendors).enumerate() {
        let settled = world.settled(&format!("r{i}"), "delivered").await;
        let seen = vendor.seen();
        assert_eq!((settled["attempts"].as_u64(), seen.len()), (Some(5), 5), "{}: {settled}", contract.kind);
        let waited = seen[1].at.duration_since(seen[0].at);
        assert!(waited >= Duration::from_secs(1), "{}: Retry-After is honoured: {waited:?}", contract.kind);
        for (attempt, request) in seen.iter().enumerate() {
            (contract.firing)(request);
            assert_eq!(request.header("x-tradewatch-attempt"), (attempt + 1).to_string());
            assert_eq!(request.header("idempotency-key"), settled["key"].as_str().expect("a key"));
        }
        world.tell("Lost", i, true).await;
    }
    for (contract, vendor) in CONTRACTS.iter().zip(&vendors) {
        let request =
            world.until(async || vendor.seen().get(5).cloned().ok_or("no all-clear".to_owned())).await;
        (contract.resolved)(&request);
        vendor.plan(vec![answer(contract.wrong.0, &[], contract.wrong.1)]);
    }
    // What is wrong is not tried again, and the ledger says why.
    for i in 0..CONTRACTS.len() {
        world.tell("Wrong", i, false).await;
    }
    for (i, (contract, vendor)) in CONTRACTS.iter().zip(&vendors).enumerate() {
        let refused = world.settled(&format!("r{i}"), "refused").await;
        let reason = refused["reason"].as_str().expect("a reason");
        assert!(reason.contains(contract.wrong.2), "{}: {reason}", contract.kind);
        assert_eq!((refused["attempts"].as_u64(), vendor.seen().len()), (Some(1), 7), "{}", contract.kind);
    }
    world.shows_no_secret().await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_gets_no_word_of_ours() {
    let mut vendors = Vec::new();
    for contract in &CONTRACTS {
        vendors.push(Vendor::start("other.example", answer(contract.taken.0, &[], contract.taken.1)).await);
    }
    let certificates = tempfile::tempdir().expect("a folder");
    let mut entries = Vec::new();
    for (i, (contract, vendor)) in CONTRACTS.iter().zip(&vendors).enumerate() {
        let ca = certificates.path().join(format!("{i}.pem"));
        std::fs::write(&ca, &vendor.ca).expect("writes");
        entries.push(entry(contract, vendor, &ca.display().to_string()));
    }
    let world = World::start(&entries, "").await;
    for i in 0..CONTRACTS.len() {
        world.tell("Lost", i, false).await;
    }
    // It stays visible with its reason, and is tried again.
    let queued = world
        .until(async || {
            let ledger = world.ledger().await;
            let queued = ledger["queued"].as_array().cloned().unwrap_or_default();
            let tried = queued.iter().filter(|q| q["attempts"].as_u64() > Some(1)).count();
            if tried == CONTRACTS.len() { Ok(queued) } else { Err(ledger.to_string()) }
        })
        .await;
    for one in &queued {
        let why = one["last_error"].as_str().expect("a reason");
        assert!(why.contains("certificate not valid for name"), "{why}");
        assert!(!why.contains(SECRET), "{why}");
    }
    assert!(vendors.iter().all(|vendor| vendor.seen().is_empty()), "no request got through");
    world.shows_no_secret().await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn what_a_rate_holds_up_is_one_message_and_nothing_is_lost() {
    let vendor = Vendor::start("", answer(200, &[], "ok")).await;
    let url = format!("http://{}/services/x", vendor.addr);
    let entries = [("slack", format!("{{api_url: '{url}', channel: '#desk', rate_limit: 3/1h}}"))];
    let world = World::start(&entries, "").await;
    let alerts: Vec<Json> =
        (0..50).map(|i| json!({"labels": {"alertname": format!("Storm{i}"), "to": "0"}})).collect();
    let answer = post_json(&world.server, "/api/v2/alerts", &Json::Array(alerts)).await;
    assert_eq!(answer.status, StatusCode::OK);
    world
        .until(async || {
            let ledger = world.ledger().await;
            let settled = ledger["settled"].as_array().map_or(0, Vec::len);
            if settled == 50 { Ok(()) } else { Err(ledger.to_string()) }
        })
        .await;
    let seen = vendor.seen();
    assert_eq!(seen.len(), 3, "two on their own, one for the rest");
    let titles: Vec<String> =
        seen.iter().map(|request| request.json()["attachments"][0]["title"].to_string()).collect();
    assert!(titles.iter().any(|title| title.starts_with("\"[FIRING:48]")), "{titles:?}");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_receiver_without_its_secret_is_named_and_the_others_work() {
    let vendor = Vendor::start("", answer(200, &[], "ok")).await;
    let url = format!("http://{}/hook", vendor.addr);
    let entries = [
        ("webhook", format!("{{url: '{url}'}}")),
        ("slack", "{api_url_file: slack.url, channel: x}".to_owned()),
        ("pagerduty", "{routing_key: '${TRADEWATCH_TEST_NOT_SET}'}".to_owned()),
        ("telegram", "{chat_id: 1}".to_owned()),
        (
            "discord",
            "{webhook_url: 'https://localhost/x', http_config: {tls_config: {ca_file: none.pem}}}".to_owned(),
        ),
    ];
    let world = World::start(&entries, "").await;
    let status = get_json(&world.server, "/api/v1/status/config").await.to_string();
    for part in [
        "alertmanager.yml:18: receiver \\\"r1\\\": slack: api_url_file",
        "receiver \\\"r2\\\": pagerduty: routing_key: the environment variable TRADEWATCH_TEST_NOT_SET is not set",
        "receiver \\\"r3\\\": one of bot_token or bot_token_file must be configured",
        "receiver \\\"r4\\\": discord: ",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    for i in 0..entries.len() {
        world.tell("Lost", i, false).await;
    }
    world.settled("r0", "delivered").await;
    // What cannot be sent waits, and goes as soon as the secret is there.
    world
        .until(async || {
            let ledger = world.ledger().await;
            let waits = ledger["queued"].as_array().map_or(0, Vec::len);
            let reasons = ledger["queued"].to_string();
            if waits == 4 && reasons.contains("slack.url") { Ok(()) } else { Err(ledger.to_string()) }
        })
        .await;
    world.folder.write("slack.url", &format!("{url}\n"));
    world.settled("r1", "delivered").await;
    assert_eq!(vendor.seen().len(), 2);
    world.server.shutdown().await;
}

#[tokio::test]
async fn templates_come_from_files_and_a_broken_one_is_refused() {
    let vendor = Vendor::start("", answer(200, &[], "ok")).await;
    let entries = [(
        "slack",
        format!(
            "{{api_url: 'http://{}/x', channel: '#desk', title: '{{{{ template \"desk.title\" . }}}}'}}",
            vendor.addr
        ),
    )];
    let folder = Folder::new();
    folder.write(
        "desk.tmpl",
        "{{ define \"desk.title\" }}{{ .CommonLabels.mic }} {{ toUpper .GroupLabels.alertname }}{{ end }}",
    );
    let more = format!("templates: ['{}/*.tmpl']\n", folder.path().display());
    let world = World::start(&entries, &more).await;
    world.tell("Lost", 0, false).await;
    let seen = world.until(async || vendor.seen().first().cloned().ok_or("nothing".to_owned())).await;
    assert_eq!(seen.json()["attachments"][0]["title"], "XNYS LOST");
    folder.write("desk.tmpl", "{{ define \"desk.title\" }}\n  {{ nothere }}{{ end }}");
    let reload = post_json(&world.server, "/-/reload", &json!({})).await;
    let said = String::from_utf8_lossy(&reload.body).into_owned();
    assert!(
        !reload.status.is_success() && said.contains("desk.tmpl:2:6: function \"nothere\" not defined"),
        "{said}"
    );
    // What was in force stays so.
    world.tell("Again", 0, false).await;
    let seen = world.until(async || vendor.seen().get(1).cloned().ok_or("nothing".to_owned())).await;
    assert_eq!(seen.json()["attachments"][0]["title"], "XNYS AGAIN");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_proxy_is_used_as_http_config_says() {
    let vendor = Vendor::start("", answer(200, &[], "ok")).await;
    let proxy = Vendor::start("", answer(200, &[], "ok")).await;
    let http = format!("proxy_url: 'http://ada:{SECRET}@{}'", proxy.addr);
    let entries = [
        ("webhook", format!("{{url: 'http://hook.example/a', http_config: {{{http}}}}}")),
        (
            "webhook",
            format!("{{url: 'http://{}/b', http_config: {{{http}, no_proxy: 127.0.0.0/8}}}}", vendor.addr),
        ),
    ];
    let world = World::start(&entries, "").await;
    world.tell("Lost", 0, false).await;
    world.tell("Lost", 1, false).await;
    world.settled("r0", "delivered").await;
    world.settled("r1", "delivered").await;
    assert_eq!(proxy.seen()[0].line, "POST http://hook.example/a HTTP/1.1");
    assert_eq!(vendor.seen()[0].line, "POST /b HTTP/1.1");
    world.shows_no_secret().await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn oauth2_fetches_a_token_and_keeps_it() {
    let vendor = Vendor::start("", answer(200, &[], "ok")).await;
    let tokens = Vendor::start("", answer(200, &[], r#"{"access_token":"tok","expires_in":3600}"#)).await;
    let entries = [(
        "webhook",
        format!(
            "{{url: 'http://{}/', http_config: {{oauth2: {{client_id: me, client_secret: {SECRET}, token_url: 'http://{}/token', scopes: [a, b]}}}}}}",
            vendor.addr, tokens.addr
        ),
    )];
    let world = World::start(&entries, "").await;
    world.tell("A", 0, false).await;
    world.tell("B", 0, false).await;
    world.until(async || if vendor.seen().len() == 2 { Ok(()) } else { Err("not yet".to_owned()) }).await;
    assert!(vendor.seen().iter().all(|request| request.header("authorization") == "Bearer tok"));
    assert_eq!(tokens.seen().len(), 1, "one token for both");
    let form = tokens.seen()[0].form();
    assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), ("client_credentials", "a b"));
    world.shows_no_secret().await;
    world.server.shutdown().await;
}
