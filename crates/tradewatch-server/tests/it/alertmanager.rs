//! The real Alertmanager beside us: one unchanged file, one alert, and what arrives at each vendor is the same.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use crate::support::*;
use crate::vendor::{Act, Vendor};

/// Longest wait for Alertmanager to start and to send.
const LONG: Duration = Duration::from_secs(60);

const ROUTES: &str = r##"
global:
  pagerduty_url: http://VENDOR/v2/enqueue
  slack_api_url: http://VENDOR/services/x
  telegram_api_url: http://VENDOR
templates: ['TEMPLATES/*.tmpl']
route:
  receiver: all
  group_by: [alertname, mic]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 3h
receivers:
- name: all
  webhook_configs: [{url: 'http://VENDOR/hook', max_alerts: 2}]
  slack_configs:
  - channel: '#{{ .GroupLabels.mic | toLower }}'
    send_resolved: true
    username: desk
    title: '{{ template "desk.title" . }}'
    title_link: 'http://m/{{ .CommonLabels.alertname | urlquery }}'
    text: "{{ range .Alerts }}{{ .Labels.symbol }}: {{ .Annotations.summary }} since {{ .StartsAt.Format \"15:04:05\" }}\n{{ end }}"
    fallback: '{{ .CommonLabels.SortedPairs.Values | join " " }}'
    color: '{{ if eq .Status "firing" }}{{ if match "crit.*" .CommonLabels.severity }}danger{{ else }}warning{{ end }}{{ else }}good{{ end }}'
    pretext: '{{ (.CommonLabels.Remove .GroupLabels.Names).SortedPairs }} {{ .CommonAnnotations }}'
    footer: '{{ reReplaceAll "(.)NYS" "$1-$1" .CommonLabels.mic }} {{ title "two words" }}'
    fields: [{title: Alerts, value: '{{ len .Alerts.Firing }} of {{ len .Alerts }}', short: true}, {title: F, value: '{{ (index .Alerts 0).Fingerprint }}'}]
    actions: [{type: button, text: Runbook, url: '{{ (index .Alerts 0).Annotations.runbook_url }}', style: danger}]
    mrkdwn_in: [text]
    link_names: true
  pagerduty_configs:
  - routing_key: key
    client: desk
    client_url: http://m
    description: '{{ template "__subject" . }}'
    severity: '{{ .CommonLabels.severity }}'
    class: '{{ .CommonLabels.mic }}'
    component: gateway
    group: risk
    details: {venue: '{{ .CommonLabels.mic }}', empty: ''}
    links: [{href: 'http://m', text: monitor}]
  discord_configs:
  - {webhook_url: 'http://VENDOR/api/webhooks/1/t', title: '{{ template "discord.default.title" . }}', message: '{{ range .Alerts }}{{ .Labels.symbol }}{{ end }}'}
  telegram_configs:
  - {bot_token: t, chat_id: -5, parse_mode: HTML, message: '<b>{{ .CommonLabels.alertname }}</b> {{ .CommonAnnotations.note }} {{ .CommonAnnotations.note | safeHtml }}'}
"##;

const TEMPLATES: &str = r#"{{ define "desk.title" }}{{ .Status | toUpper }} {{ template "desk.names" .Alerts }}{{ end }}
{{ define "desk.names" }}{{ range $i, $a := . }}{{ if $i }}, {{ end }}{{ $a.Labels.symbol }}{{ with $a.Annotations.missing }}!{{ end }}{{ end }}{{ end }}"#;

struct Alertmanager {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    async fn start(config: &str) -> Alertmanager {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, config).expect("writes");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--web.external-url=http://m"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's prometheus-alertmanager");
        let url = format!("http://127.0.0.1:{port}");
        let end = std::time::Instant::now() + LONG;
        while !reached(&format!("{url}/-/ready")).await {
            assert!(std::time::Instant::now() < end, "Alertmanager is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Alertmanager { child, url, _folder: folder }
    }
}

async fn reached(url: &str) -> bool {
    use tradewatch_server::net::client::Ask;
    let client = tradewatch_server::net::HttpClient::new(Default::default()).expect("a client");
    let ask = Ask {
        method: Method::GET,
        url,
        headers: &[],
        body: Default::default(),
        compression: false,
        body_bytes_max: 1 << 20,
        timeout: Duration::from_secs(1),
    };
    client.ask(ask).await.is_ok_and(|answer| answer.status == StatusCode::OK)
}

/// What each path was sent, first and last, without what is empty and without what the two are meant to
/// say differently.
async fn sent(vendor: &Vendor, at_least: usize) -> Vec<(String, Json)> {
    let end = std::time::Instant::now() + LONG;
    while vendor.seen().len() < at_least {
        assert!(std::time::Instant::now() < end, "{} of {at_least} came", vendor.seen().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut all: Vec<(String, Json)> = vendor
        .seen()
        .iter()
        .map(|request| {
            let path = request.line.split(' ').nth(1).expect("a path").to_owned();
            let mut body = request.json();
            if let Some(payload) = body.get_mut("payload").and_then(Json::as_object_mut) {
                payload.remove("timestamp"); // Ours says when it began.
                // The list of alerts is our own text; the numbers are not.
                payload["custom_details"].as_object_mut().expect("details").remove("firing");
            }
            if let Some(object) = body.as_object_mut() {
                object.remove("externalURL");
                for name in ["disable_web_page_preview", "link_preview_options", "allowed_mentions"] {
                    object.remove(name); // Telegram's old and new word for it, and Discord's guard against @everyone.
                }
                for name in ["chat_id", "disable_notification"] {
                    if let Some(value) = object.get_mut(name) {
                        *value = value.to_string().trim_matches('"').into(); // Alertmanager sends texts.
                    }
                }
                object.retain(|name, value| name != "disable_notification" || value != "false");
            }
            (path, full(body))
        })
        .collect();
    all.sort_by_key(|(path, body)| (path.clone(), body.to_string()));
    all
}

/// Without empty texts, lists and nulls, which the two leave out or not as they like; times in one form.
fn full(json: Json) -> Json {
    let kept =
        |value: &Json| !matches!(value, Json::Null | Json::Bool(false)) && value != "" && value != &json!([]);
    match json {
        Json::Object(map) => {
            let map =
                map.into_iter().map(|(name, value)| (name, full(value))).filter(|(_, value)| kept(value));
            let mut sorted: Vec<(String, Json)> = map.collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(sorted.into_iter().collect())
        }
        Json::Array(items) => items.into_iter().map(full).collect(),
        Json::String(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => at.to_string().into(),
            Err(_) => text.into(),
        },
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_file_tells_vendors_the_same() {
    // An answer that each of the vendors could give.
    let taken = r#"{"ok":true,"result":{"message_id":1,"date":0,"chat":{"id":-5}}}"#;
    let taken = || Act::Answer(200, vec![("content-type", "application/json".to_owned())], taken.to_owned());
    let (theirs, ours) = (Vendor::start("", taken()).await, Vendor::start("", taken()).await);
    let folder = Folder::new();
    folder.write("desk.tmpl", TEMPLATES);
    let config = |vendor: &Vendor| {
        let text = ROUTES.replace("VENDOR", &vendor.addr.to_string());
        text.replace("TEMPLATES", &folder.path().display().to_string())
    };
    let alertmanager = Alertmanager::start(&config(&theirs)).await;
    let mut options = options(&folder, "");
    options.alertmanager_file = Some(folder.write("alertmanager.yml", &config(&ours)));
    options.web.external_url = Some("http://m".to_owned());
    let server = start(options).await;
    let alert = |symbol: &str, ends: &str| {
        json!({
            "labels": {"alertname": "Stale price", "severity": "critical", "mic": "XNYS", "symbol": symbol},
            "annotations": {"summary": "no price for <3 s>", "note": "a <b> & c", "runbook_url": format!("http://m/{symbol}")},
            "startsAt": "2026-01-01T10:00:00Z",
            "endsAt": ends,
            "generatorURL": "http://m/graph",
        })
    };
    let both = async |alerts: Json| {
        for url in [&alertmanager.url, &format!("http://{}", server.addr())] {
            let headers = [("content-type", "application/json".to_owned())];
            let answer =
                ask(Method::POST, &format!("{url}/api/v2/alerts"), &headers, alerts.to_string()).await;
            assert_eq!(answer.status, StatusCode::OK, "{url}: {:?}", answer.body);
        }
    };
    let later = "2100-01-01T00:00:00Z";
    both(json!([alert("AAPL", later), alert("MSFT", later), alert("TSLA", later)])).await;
    for (theirs, ours) in sent(&theirs, 5).await.into_iter().zip(sent(&ours, 5).await) {
        assert_eq!(ours, theirs);
    }
    let over = "2026-01-01T10:00:01Z";
    both(json!([alert("AAPL", over), alert("MSFT", over), alert("TSLA", over)])).await;
    let (theirs, ours) = (sent(&theirs, 10).await, sent(&ours, 10).await);
    let paths = |sent: &[(String, Json)]| sent.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&ours), paths(&theirs));
    for (theirs, ours) in theirs.into_iter().zip(ours) {
        assert_eq!(ours, theirs);
    }
    server.shutdown().await;
}
