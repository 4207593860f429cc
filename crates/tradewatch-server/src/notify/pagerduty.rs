//! PagerDuty: <https://developer.pagerduty.com/docs/send-alert-event> (Events API v2: 202 taken, 400 wrong,
//! 429 and 5xx try again) and, with a service key, <https://developer.pagerduty.com/docs/events-api-v1-overview>.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::{PagerDuty, PagerDutyKey, Texts};
use tradewatch_alert::template::notice::Escape;

use super::final_failure;
use super::peer::{Peer, Post, judge};
use super::send::{Job, shorten};

const V2: &str = "https://events.pagerduty.com/v2/enqueue";
const V1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
/// Longest summary that PagerDuty takes.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Biggest event that PagerDuty takes.
const EVENT_BYTES_MAX: usize = 512_000;
/// The wait that is kept after a 429, which names none.
const LIMITED: Duration = Duration::from_secs(20);

/// Sends once.
pub(super) async fn send(job: &Job<'_>, pagerduty: &PagerDuty, peer: &Peer) -> Result<String, Failure> {
    let (PagerDutyKey::Routing(credential) | PagerDutyKey::Service(credential)) = &pagerduty.key;
    let secret = job.secrets.get(credential).await?;
    // A key may be a template that picks one by the alert's labels.
    let notice = job.set.compile(&secret).map_err(|_| final_failure("the key is a broken template"))?;
    let key = notice.expand(job.data, Escape::None).map_err(|_| final_failure("the key's template fails"))?;
    let is_v2 = matches!(pagerduty.key, PagerDutyKey::Routing(_));
    let url = match (&pagerduty.url, is_v2) {
        // `pagerduty_url` of `global` is the whole address of v2, as in Alertmanager.
        (Some(url), _) => url.clone(),
        (None, true) => V2.to_owned(),
        (None, false) => V1.to_owned(),
    };
    let make = |details: Json| match is_v2 {
        true => v2(job, pagerduty, key.trim(), details),
        false => v1(job, pagerduty, key.trim(), details),
    };
    let mut body = make(all(job, &pagerduty.details, "").into());
    if body.to_string().len() > EVENT_BYTES_MAX {
        let note = format!("left out: the event was bigger than {EVENT_BYTES_MAX} bytes");
        body = make(json!({"error": note, "firing": shorten(job.phone, SUMMARY_CHARS_MAX)}));
    }
    let answer = peer.post(Post::json(&url, &body), job.delivery, job.timeout).await?;
    judge(&answer).map_err(|mut failure| {
        if answer.status == http::StatusCode::TOO_MANY_REQUESTS {
            failure.retry_after.get_or_insert(LIMITED);
        }
        failure
    })
}

/// Alertmanager's key of the incident, so that one changes over with its incidents open.
fn dedup_key(job: &Job<'_>) -> String {
    Sha256::digest(job.delivery.message.group_key.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn v2(job: &Job<'_>, pagerduty: &PagerDuty, key: &str, details: Json) -> Json {
    let text = |name: &str| job.text(&pagerduty.texts, name);
    let summary = job.text_or(&pagerduty.texts, "description", &job.headline());
    let client = text("client");
    let severity = match text("severity").trim().to_lowercase().as_str() {
        known @ ("critical" | "error" | "warning" | "info") => known.to_owned(),
        // PagerDuty refuses other words; nobody should miss a page over that.
        _ => "error".to_owned(),
    };
    let mut payload = Map::from_iter([
        ("summary".to_owned(), shorten(&summary, SUMMARY_CHARS_MAX).into()),
        ("source".to_owned(), job.text_or(&pagerduty.texts, "source", &client).into()),
        ("severity".to_owned(), severity.into()),
        ("custom_details".to_owned(), details),
    ]);
    if let Some(first) = job.delivery.message.alerts.first().filter(|alert| alert.is_firing()) {
        payload.insert("timestamp".to_owned(), first.starts_at.clone().into());
    }
    for name in ["component", "group", "class"] {
        let found = text(name);
        if !found.is_empty() {
            payload.insert(name.to_owned(), found.into());
        }
    }
    let mut event = json!({
        "routing_key": key,
        "event_action": if job.delivery.message.is_firing() { "trigger" } else { "resolve" },
        "dedup_key": dedup_key(job),
        "payload": payload,
        "client": client,
        "client_url": text("client_url"),
    });
    for (name, list, needed) in [("images", &pagerduty.images, "src"), ("links", &pagerduty.links, "href")] {
        // PagerDuty refuses an event with an empty address.
        let full = list.iter().map(|texts| all(job, texts, "")).filter(|one| one.contains_key(needed));
        let full: Vec<Json> = full.map(Json::Object).collect();
        if !full.is_empty() {
            event[name] = full.into();
        }
    }
    event
}

fn v1(job: &Job<'_>, pagerduty: &PagerDuty, key: &str, details: Json) -> Json {
    let text = |name: &str| job.text(&pagerduty.texts, name);
    let description = job.text_or(&pagerduty.texts, "description", &job.headline());
    let mut event = json!({
        "service_key": key,
        "event_type": if job.delivery.message.is_firing() { "trigger" } else { "resolve" },
        "incident_key": dedup_key(job),
        "description": shorten(&description, SUMMARY_CHARS_MAX),
        "details": details,
    });
    if job.delivery.message.is_firing() {
        event["client"] = text("client").into();
        event["client_url"] = text("client_url").into();
    }
    event
}

fn all(job: &Job<'_>, texts: &Texts, fallback: &str) -> Map<String, Json> {
    let expanded = texts.iter().map(|(name, _)| (name.to_owned(), job.text_or(texts, name, fallback)));
    expanded.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, text.into())).collect()
}
