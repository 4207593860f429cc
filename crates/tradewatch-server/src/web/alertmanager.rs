//! The Alertmanager API v2, as far as `amtool`, Prometheus and Grafana use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tradewatch_alert::notify::{AlertView, Silence};
use tradewatch_alert::{Alert, Fingerprint, route};
use tradewatch_tsdb::{Labels, Matcher, Timestamp};

use super::params::{Params, parse_time};
use super::respond::json_response;
use super::status::labels_json;
use crate::clock;
use crate::hub::Event;
use crate::monitor::Monitor;

/// Alerts that one request may bring.
const ALERTS_MAX: usize = 10_000;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(receivers))
        .route("/api/v2/alerts", get(alerts).post(post_alerts))
        .route("/api/v2/alerts/groups", get(groups))
        .route("/api/v2/silences", get(silences).post(post_silence))
        .route("/api/v2/silences/{id}", get(silence).delete(delete_silence))
        .route("/api/v2/silence/{id}", get(silence).delete(delete_silence))
}

/// Alertmanager answers errors with a plain JSON string.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json_response(self.0, Json::from(self.1).to_string())
    }
}

impl From<tradewatch_alert::Error> for Refused {
    fn from(error: tradewatch_alert::Error) -> Refused {
        let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        Refused(status, error.to_string())
    }
}

fn bad(message: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, message.into())
}

fn ok(json: &Json) -> Response {
    json_response(StatusCode::OK, json.to_string())
}

async fn status(State(monitor): State<Arc<Monitor>>) -> Response {
    let shown = monitor.notifier.read(|machine, _| machine.config().redacted.clone());
    ok(&json!({
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": shown},
        "uptime": monitor.started.to_string(),
        "versionInfo": {
            "version": "0.28.0",
            "revision": env!("CARGO_PKG_VERSION"),
            "branch": "tradewatch",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    }))
}

async fn receivers(State(monitor): State<Arc<Monitor>>) -> Response {
    let names: Vec<Json> = monitor.notifier.read(|machine, _| {
        machine.config().receivers.iter().map(|receiver| json!({"name": receiver.name})).collect()
    });
    ok(&Json::Array(names))
}

/// The matchers in `filter`, in Alertmanager's form.
fn filters(params: &Params) -> Result<Vec<Matcher>, Refused> {
    let mut all = Vec::new();
    for text in params.all("filter").filter(|text| !text.trim().is_empty()) {
        all.extend(
            route::matchers::parse(text).map_err(|error| bad(format!("bad filter {text:?}: {error}")))?,
        );
    }
    Ok(all)
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

/// Whether a flag of the query is on; on where it is not given.
fn flag(params: &Params, name: &str) -> bool {
    !matches!(params.get(name), Some("false" | "0"))
}

fn alert_json(view: &AlertView<'_>, now: Timestamp) -> Json {
    let alert = view.alert;
    let held_back = !view.silenced_by.is_empty() || view.inhibited_by.is_some();
    json!({
        "annotations": alert.annotations,
        "endsAt": alert.ends_at.to_string(),
        "fingerprint": view.fingerprint.to_string(),
        "receivers": view.receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "startsAt": alert.starts_at.to_string(),
        "status": {
            "inhibitedBy": view.inhibited_by.map(|by| vec![by.to_string()]).unwrap_or_default(),
            "mutedBy": view.muted_by.iter().collect::<Vec<_>>(),
            "silencedBy": view.silenced_by,
            "state": if held_back { "suppressed" } else { "active" },
        },
        "updatedAt": now.to_string(),
        "generatorURL": alert.generator_url,
        "labels": labels_json(&alert.labels),
    })
}

/// Which of the firing alerts a request wants.
fn wanted(params: &Params, filters: &[Matcher], view: &AlertView<'_>) -> bool {
    let silenced = !view.silenced_by.is_empty();
    let inhibited = view.inhibited_by.is_some();
    view.firing
        && matches(filters, &view.alert.labels)
        && (flag(params, "silenced") || !silenced)
        && (flag(params, "inhibited") || !inhibited)
        && (flag(params, "active") || silenced || inhibited)
        && params.get("receiver").is_none_or(|wanted| view.receivers.iter().any(|name| name == wanted))
}

async fn alerts(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = filters(&params)?;
    let shown: Vec<Json> = monitor.notifier.read(|machine, now| {
        machine
            .alerts(now)
            .iter()
            .filter(|view| wanted(&params, &filters, view))
            .map(|view| alert_json(view, now))
            .collect()
    });
    Ok(ok(&Json::Array(shown)))
}

async fn groups(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = filters(&params)?;
    let shown: Vec<Json> = monitor.notifier.read(|machine, now| {
        let views: BTreeMap<Fingerprint, AlertView<'_>> =
            machine.alerts(now).into_iter().map(|view| (view.fingerprint, view)).collect();
        let group = |group: &tradewatch_alert::notify::GroupView<'_>| {
            let alerts: Vec<Json> = group
                .alerts
                .iter()
                .filter_map(|fingerprint| views.get(fingerprint))
                .filter(|view| wanted(&params, &filters, view))
                .map(|view| alert_json(view, now))
                .collect();
            (!alerts.is_empty()).then(|| {
                json!({"labels": labels_json(group.labels), "receiver": {"name": group.receiver}, "alerts": alerts})
            })
        };
        machine.groups().iter().filter_map(group).collect()
    });
    Ok(ok(&Json::Array(shown)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

async fn post_alerts(State(monitor): State<Arc<Monitor>>, body: Bytes) -> Result<StatusCode, Refused> {
    let posted: Vec<Posted> =
        serde_json::from_slice(&body).map_err(|error| bad(format!("bad alerts: {error}")))?;
    if posted.len() > ALERTS_MAX {
        return Err(bad(format!("{} alerts in one request; at most {ALERTS_MAX} are taken", posted.len())));
    }
    let now = clock::now();
    let resolve_timeout = monitor.notifier.read(|machine, _| machine.config().resolve_timeout);
    let mut alerts = Vec::with_capacity(posted.len());
    for one in posted {
        let labels = Labels::from_pairs(one.labels.into_iter().filter(|(_, value)| !value.is_empty()));
        if labels.is_empty() {
            return Err(bad("an alert needs at least one label"));
        }
        // Year 1 and no time at all mean the same.
        let time = |text: Option<String>| match text
            .as_deref()
            .filter(|text| !text.is_empty() && !text.starts_with("0001-"))
        {
            None => Ok(None),
            Some(text) => parse_time(text).map(Some).map_err(bad),
        };
        let ends_at = time(one.ends_at)?;
        let starts_at = time(one.starts_at)?.unwrap_or_else(|| ends_at.map_or(now, |end| end.min(now)));
        if ends_at.is_some_and(|end| end < starts_at) {
            return Err(bad("start time must be before end time"));
        }
        alerts.push(Alert {
            labels,
            annotations: one.annotations,
            starts_at,
            ends_at: ends_at.unwrap_or(now + resolve_timeout),
            generator_url: one.generator_url,
            every: std::time::Duration::ZERO,
        });
    }
    monitor.notifier.update(&alerts);
    monitor.hub.tell_pages(Event::Alerts);
    Ok(StatusCode::OK)
}

async fn silences(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = filters(&params)?;
    let all = monitor.notifier.read(|machine, now| machine.silences(now));
    // As in Alertmanager, a filter compares the matchers of a silence as if they were labels.
    let kept = all.into_iter().filter(|silence| {
        let labels = Labels::from_pairs(silence.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())));
        matches(&filters, &labels)
    });
    let kept: Vec<Silence> = kept.collect();
    Ok(ok(&json!(kept)))
}

async fn silence(State(monitor): State<Arc<Monitor>>, Path(id): Path<String>) -> Result<Response, Refused> {
    let found = monitor.notifier.read(|machine, now| machine.silence(&id, now));
    found
        .map(|silence| ok(&json!(silence)))
        .ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("silence {id:?} not found")))
}

async fn post_silence(State(monitor): State<Arc<Monitor>>, body: Bytes) -> Result<Response, Refused> {
    let silence: Silence =
        serde_json::from_slice(&body).map_err(|error| bad(format!("bad silence: {error}")))?;
    let id = monitor.notifier.change(|machine, now| machine.set_silence(silence, now))?;
    monitor.hub.tell_pages(Event::Alerts);
    Ok(ok(&json!({"silenceID": id})))
}

async fn delete_silence(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    monitor.notifier.change(|machine, now| machine.expire_silence(&id, now))?;
    monitor.hub.tell_pages(Event::Alerts);
    Ok(StatusCode::OK)
}
