//! The Alertmanager API v2, as far as `amtool`, Prometheus and Grafana use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::{Value as Json, json};
use tradewatch_alert::notify::{AlertView, GettableAlert, PostableAlert, Silence};
use tradewatch_alert::{Fingerprint, route};
use tradewatch_tsdb::{MatchOp, Matcher};

use super::alerts::holds;
use super::params::Params;
use super::people::{actor, as_labels, hidden_by, printed};
use super::respond::json_response;
use super::status::labels_json;
use crate::audit::{Action, Entry};
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

/// What a request for alerts asks for.
struct Filters {
    labels: Vec<Matcher>,
    /// An expression over receiver names, anchored.
    receiver: Option<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

impl Filters {
    fn of(params: &Params) -> Result<Filters, Refused> {
        let expression = |text: &str| {
            Matcher::new("receiver", MatchOp::Regex, text)
                .map_err(|error| bad(format!("failed to parse receiver param: {error}")))
        };
        Ok(Filters {
            labels: filters(params)?,
            receiver: params.get("receiver").map(expression).transpose()?,
            active: flag(params, "active"),
            silenced: flag(params, "silenced"),
            inhibited: flag(params, "inhibited"),
            muted: flag(params, "muted"),
        })
    }
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

/// Whether a flag of the query is on; on where it is not given.
fn flag(params: &Params, name: &str) -> bool {
    !matches!(params.get(name), Some("false" | "0"))
}

/// Which of the firing alerts a request wants.
fn wanted(filters: &Filters, view: &AlertView<'_>) -> bool {
    let silenced = !view.silenced_by.is_empty();
    let inhibited = view.inhibited_by.is_some();
    let muted = view.muted_by.is_some();
    view.firing
        && holds(&filters.labels, &view.alert.labels)
        && (filters.silenced || !silenced)
        && (filters.inhibited || !inhibited)
        && (filters.muted || !muted)
        && (filters.active || silenced || inhibited || muted)
        && filters
            .receiver
            .as_ref()
            .is_none_or(|wanted| view.receivers.iter().any(|name| wanted.matches(name)))
}

async fn alerts(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = Filters::of(&params)?;
    let shown: Vec<GettableAlert> = monitor.notifier.read(|machine, now| {
        let all = machine.alerts(now);
        all.iter().filter(|view| wanted(&filters, view)).map(|view| GettableAlert::new(view, now)).collect()
    });
    Ok(ok(&json!(shown)))
}

async fn groups(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = Filters::of(&params)?;
    let shown: Vec<Json> = monitor.notifier.read(|machine, now| {
        let views: BTreeMap<Fingerprint, AlertView<'_>> =
            machine.alerts(now).into_iter().map(|view| (view.fingerprint, view)).collect();
        let group = |group: &tradewatch_alert::notify::GroupView<'_>| {
            let alerts: Vec<GettableAlert> = group
                .alerts
                .iter()
                .filter_map(|fingerprint| views.get(fingerprint))
                .filter(|view| wanted(&filters, view))
                .map(|view| GettableAlert::new(view, now))
                .collect();
            (!alerts.is_empty()).then(|| {
                json!({"labels": labels_json(group.labels), "receiver": {"name": group.receiver}, "alerts": alerts})
            })
        };
        machine.groups().iter().filter_map(group).collect()
    });
    Ok(ok(&Json::Array(shown)))
}

async fn post_alerts(State(monitor): State<Arc<Monitor>>, body: Bytes) -> Result<StatusCode, Refused> {
    let posted: Vec<PostableAlert> =
        serde_json::from_slice(&body).map_err(|error| bad(format!("bad alerts: {error}")))?;
    if posted.len() > ALERTS_MAX {
        return Err(bad(format!("{} alerts in one request; at most {ALERTS_MAX} are taken", posted.len())));
    }
    let now = clock::now();
    let resolve_timeout = monitor.notifier.read(|machine, _| machine.config().resolve_timeout);
    // As in Alertmanager the good ones are taken although others are bad, and the answer says which are.
    let (mut alerts, mut wrong) = (Vec::with_capacity(posted.len()), Vec::new());
    for one in posted {
        match one.into_alert(now, resolve_timeout) {
            Ok(alert) => alerts.push(alert),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    monitor.notifier.update(&alerts);
    monitor.hub.tell_pages(Event::Alerts);
    if wrong.is_empty() { Ok(StatusCode::OK) } else { Err(bad(wrong.join("; "))) }
}

async fn silences(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let filters = filters(&params)?;
    let all = monitor.notifier.read(|machine, now| machine.silences(now));
    // As in Alertmanager, a filter compares the matchers of a silence as if they were labels.
    let kept: Vec<Silence> = all.into_iter().filter(|silence| holds(&filters, &as_labels(silence))).collect();
    Ok(ok(&json!(kept)))
}

async fn silence(State(monitor): State<Arc<Monitor>>, Path(id): Path<String>) -> Result<Response, Refused> {
    let found = monitor.notifier.read(|machine, now| machine.silence(&id, now));
    found
        .map(|silence| ok(&json!(silence)))
        .ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("silence {id:?} not found")))
}

async fn post_silence(
    State(monitor): State<Arc<Monitor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let mut silence: Silence =
        serde_json::from_slice(&body).map_err(|error| bad(format!("bad silence: {error}")))?;
    let actor = actor(&monitor, &headers, &silence.created_by);
    if actor.proven {
        // Whoever proved a name owns what they make.
        silence.created_by.clone_from(&actor.by);
    }
    let hidden = hidden_by(&monitor, &silence);
    let action = if silence.id.is_empty() { Action::SilenceCreate } else { Action::SilenceChange };
    let (subject, comment) = (printed(&silence.matchers), silence.comment.clone());
    let until = silence.ends_at;
    let id = monitor.notifier.change(|machine, now| machine.set_silence(silence, now))?;
    let entry = Entry::new(clock::now().as_millis(), actor, action, format!("{subject} until {until}"));
    monitor.note_deed(entry.text(&comment).alerts(&hidden).silence(&id));
    Ok(ok(&json!({"silenceID": id})))
}

async fn delete_silence(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    let params = Params::new(raw.as_deref(), None);
    let actor = actor(&monitor, &headers, params.get("by").unwrap_or("unknown"));
    let silence = monitor.notifier.read(|machine, now| machine.silence(&id, now));
    let hidden = silence.as_ref().map(|silence| hidden_by(&monitor, silence)).unwrap_or_default();
    monitor.notifier.change(|machine, now| machine.expire_silence(&id, now))?;
    let subject = silence.map(|silence| printed(&silence.matchers)).unwrap_or_default();
    let entry = Entry::new(clock::now().as_millis(), actor, Action::SilenceExpire, subject);
    monitor.note_deed(entry.alerts(&hidden).silence(&id));
    Ok(StatusCode::OK)
}
