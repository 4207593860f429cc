//! What people do about alerts: acknowledge, silence, note; and the log of all of it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tradewatch_alert::notify::{Silence, SilenceMatcher};
use tradewatch_alert::{Fingerprint, Severity, route};
use tradewatch_tsdb::{Labels, Matcher, Timestamp};

use super::alerts::{self, holds};
use super::params::{Params, parse_time};
use super::respond::{ApiError, json_response};
use crate::audit::{self, Action, Actor, Entry};
use crate::clock;
use crate::hub::Event;
use crate::monitor::Monitor;

/// Alerts that a preview shows; all are counted.
const PREVIEW_ALERTS_MAX: usize = 50;
/// Entries of the log that one request gets at most, and gets unless it says otherwise.
const ENTRIES_MAX: usize = 1_000;
const ENTRIES_SHOWN: usize = 100;
/// A silence that is longer than this deserves a second look.
const LONG_MS: i64 = 7 * 86_400_000;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/tradewatch/v1/alerts", get(list))
        .route("/api/tradewatch/v1/alerts/ack", post(acknowledge_many))
        .route("/api/tradewatch/v1/alerts/{fingerprint}", get(one))
        .route("/api/tradewatch/v1/alerts/{fingerprint}/ack", post(acknowledge).delete(unacknowledge))
        .route("/api/tradewatch/v1/alerts/{fingerprint}/notes", post(note))
        .route("/api/tradewatch/v1/silences", get(silences))
        .route("/api/tradewatch/v1/silences/preview", post(preview))
        .route("/api/tradewatch/v1/audit", get(log))
}

fn ok(json: &Json) -> Response {
    json_response(StatusCode::OK, json.to_string())
}

/// Who asks: the user whose password was checked, else the name that was given, marked as such.
pub fn actor(monitor: &Monitor, headers: &HeaderMap, said: &str) -> Actor {
    match monitor.web.login(headers) {
        Some(by) => Actor { by, proven: true },
        None => Actor::said(said),
    }
}

/// As [`actor`], where a name must be given.
pub fn named(monitor: &Monitor, headers: &HeaderMap, said: &str, what: &str) -> Result<Actor, ApiError> {
    let actor = actor(monitor, headers, said);
    if actor.by.is_empty() {
        return Err(ApiError::bad_data(format!("{what} needs the name of who gives it, in \"by\"")));
    }
    Ok(actor)
}

fn fingerprint(text: &str) -> Result<Fingerprint, ApiError> {
    Fingerprint::parse(text)
        .ok_or_else(|| ApiError::bad_data(format!("{text:?} is not a fingerprint: 16 hexadecimal digits")))
}

/// The matchers in `filter`, in Alertmanager's form.
fn filters(params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let mut all = Vec::new();
    for text in params.all("filter").filter(|text| !text.trim().is_empty()) {
        all.extend(
            route::matchers::parse(text)
                .map_err(|error| ApiError::bad_data(format!("bad filter {text:?}: {error}")))?,
        );
    }
    Ok(all)
}

fn number(params: &Params, name: &str, default: usize) -> Result<usize, ApiError> {
    match params.get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            ApiError::bad_data(format!("invalid parameter {name:?}: {text:?} is not a whole number"))
        }),
    }
}

async fn list(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let wanted = alerts::Wanted {
        matchers: filters(&params)?,
        state: params.get("state").unwrap_or("").to_owned(),
        fingerprint: None,
        offset: number(&params, "offset", 0)?,
        limit: params.limit()?,
    };
    let found = blocking(move || alerts::find(&monitor, &wanted)).await?;
    Ok(json_response(StatusCode::OK, found.list()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::internal(format!("the request broke off: {error}")))
}

/// One alert with all that happened to it: what people did, and what was sent about it.
async fn one(State(monitor): State<Arc<Monitor>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = fingerprint(&id)?;
    let shown = blocking(move || {
        let wanted = alerts::Wanted { fingerprint: Some(id), limit: 1, ..alerts::Wanted::default() };
        let alert = alerts::find(&monitor, &wanted).rows.pop();
        let alert: Json = alert.and_then(|row| serde_json::from_str(&row.json).ok()).unwrap_or(Json::Null);
        let asked = audit::Wanted { alert: Some(id), limit: ENTRIES_MAX, ..audit::Wanted::default() };
        let (people, _) = monitor.audit.find(&asked);
        let mut timeline: Vec<(i64, Json)> =
            people.iter().map(|entry| (entry.at, json!({"at": entry.at, "person": entry}))).collect();
        monitor.notifier.read(|machine, _| {
            for record in machine.records().filter(|record| record.alerts.contains(&id)) {
                let at = record.settled.as_millis();
                timeline.push((at, json!({"at": at, "notification": record})));
            }
        });
        timeline.sort_by_key(|(at, _)| *at);
        timeline.reverse();
        let timeline: Vec<Json> = timeline.into_iter().map(|(_, one)| one).collect();
        json!({"alert": alert, "timeline": timeline})
    });
    let shown = shown.await?;
    if shown["alert"].is_null() && shown["timeline"].as_array().is_none_or(Vec::is_empty) {
        return Err(ApiError::not_found(format!("nothing is known of an alert {id}")));
    }
    Ok(ok(&shown))
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Deserialize)]
struct SaidOfMany {
    #[serde(flatten)]
    said: Said,
    matchers: Vec<SilenceMatcher>,
}

#[derive(Deserialize)]
struct SaidNote {
    #[serde(default)]
    by: String,
    text: String,
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_data(format!("bad {what}: {error}")))
}

impl Monitor {
    /// The name of an alert that the notifier holds.
    fn alert_name(&self, id: Fingerprint) -> String {
        let name = |view: tradewatch_alert::notify::AlertView<'_>| view.alert.name().to_owned();
        self.notifier.read(|machine, now| machine.alert(id, now).map(name)).unwrap_or_default()
    }

    /// Writes down what somebody did, and tells the pages.
    pub fn note_deed(&self, entry: Entry) -> Entry {
        let entry = self.audit.record(entry);
        self.hub.tell_pages(Event::Alerts);
        entry
    }
}

async fn acknowledge(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = fingerprint(&id)?;
    let said: Said = read(&body, "acknowledgement")?;
    let actor = named(&monitor, &headers, &said.by, "an acknowledgement")?;
    let by = actor.by.clone();
    monitor.notifier.change(|machine, now| machine.acknowledge(id, &by, &said.comment, now))?;
    let at = clock::now().as_millis();
    let entry = Entry::new(at, actor, Action::Acknowledge, monitor.alert_name(id));
    monitor.note_deed(entry.text(&said.comment).alerts(&[id]));
    Ok(ok(&json!({"acknowledged": {"by": by, "at": at, "comment": said.comment}})))
}

/// Acknowledges all that fires and matches: in a storm nobody clicks ten thousand times.
async fn acknowledge_many(
    State(monitor): State<Arc<Monitor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let asked: SaidOfMany = read(&body, "acknowledgement")?;
    let actor = named(&monitor, &headers, &asked.said.by, "an acknowledgement")?;
    let matchers = compiled(&asked.matchers)?;
    let by = actor.by.clone();
    let comment = asked.said.comment.clone();
    let done = monitor.notifier.change(|machine, now| {
        let open: Vec<Fingerprint> = machine
            .alerts(now)
            .into_iter()
            .filter(|view| view.firing && view.acknowledged.is_none() && holds(&matchers, &view.alert.labels))
            .map(|view| view.fingerprint)
            .collect();
        open.into_iter()
            .map(|id| machine.acknowledge(id, &by, &comment, now).map(|()| id))
            .collect::<Result<Vec<_>, _>>()
    })?;
    if !done.is_empty() {
        let entry =
            Entry::new(clock::now().as_millis(), actor, Action::Acknowledge, printed(&asked.matchers));
        monitor.note_deed(entry.text(&asked.said.comment).alerts(&done));
    }
    Ok(ok(&json!({"acknowledged": done.len()})))
}

async fn unacknowledge(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = fingerprint(&id)?;
    let params = Params::new(raw.as_deref(), None);
    let actor = actor(&monitor, &headers, params.get("by").unwrap_or("unknown"));
    monitor.notifier.change(|machine, _| machine.unacknowledge(id))?;
    let entry = Entry::new(clock::now().as_millis(), actor, Action::Unacknowledge, monitor.alert_name(id));
    monitor.note_deed(entry.alerts(&[id]));
    Ok(ok(&json!({"acknowledged": null})))
}

async fn note(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = fingerprint(&id)?;
    let said: SaidNote = read(&body, "note")?;
    let actor = named(&monitor, &headers, &said.by, "a note")?;
    if said.text.trim().is_empty() || said.text.len() > audit::TEXT_BYTES_MAX {
        return Err(ApiError::bad_data(format!(
            "a note has 1 to {} bytes of text; this has {}",
            audit::TEXT_BYTES_MAX,
            said.text.trim().len()
        )));
    }
    let name = monitor.alert_name(id);
    if name.is_empty() {
        return Err(ApiError::not_found(format!("no alert {id} fires or has lately fired")));
    }
    let entry = Entry::new(clock::now().as_millis(), actor, Action::Note, name);
    Ok(ok(&json!(monitor.note_deed(entry.text(&said.text).alerts(&[id])))))
}

fn compiled(matchers: &[SilenceMatcher]) -> Result<Vec<Matcher>, ApiError> {
    let silence = Silence::of(matchers.to_vec(), Timestamp::from_millis(0), Timestamp::from_millis(1));
    Ok(silence.check(Timestamp::from_millis(0))?)
}

/// Matchers as `amtool` writes them.
pub fn printed(matchers: &[SilenceMatcher]) -> String {
    let one = |matcher: &SilenceMatcher| {
        let sign = match (matcher.is_equal, matcher.is_regex) {
            (true, false) => "=",
            (true, true) => "=~",
            (false, false) => "!=",
            (false, true) => "!~",
        };
        format!("{}{sign}{:?}", matcher.name, matcher.value)
    };
    matchers.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    matchers: Vec<SilenceMatcher>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
}

/// What a silence would hide, before there is one: counts by name, and the first alerts.
async fn preview(State(monitor): State<Arc<Monitor>>, body: Bytes) -> Result<Response, ApiError> {
    let planned: Planned = read(&body, "silence")?;
    let now = clock::now();
    let time = |text: &Option<String>, default: Timestamp| match text {
        None => Ok(default),
        Some(text) => parse_time(text).map_err(ApiError::bad_data),
    };
    let starts_at = time(&planned.starts_at, now)?;
    let ends_at = time(&planned.ends_at, Timestamp::from_millis(starts_at.as_millis() + 3_600_000))?;
    let silence = Silence::of(planned.matchers, starts_at, ends_at);
    let matchers = silence.check(now)?;
    let wanted = alerts::Wanted { matchers, limit: PREVIEW_ALERTS_MAX, ..alerts::Wanted::default() };
    let shown = monitor.clone();
    let (found, all) = blocking(move || {
        let found = alerts::find(&shown, &wanted);
        (found, shown.pages.get(&shown).0.counts.firing)
    })
    .await?;
    let counts = &found.counts;
    let mut warnings = Vec::new();
    if counts.open_critical > 0 {
        warnings.push(format!(
            "hides {} critical alert{} that nobody has acknowledged",
            counts.open_critical,
            if counts.open_critical == 1 { "" } else { "s" }
        ));
    }
    if all > 1 && counts.firing == all {
        warnings.push("hides everything that fires now".to_owned());
    }
    if counts.firing + counts.pending == 0 {
        warnings.push("hides nothing that fires or is pending now".to_owned());
    }
    if ends_at.as_millis() - starts_at.as_millis() > LONG_MS {
        warnings.push("lasts longer than a week".to_owned());
    }
    let matching: Vec<Json> =
        found.rows.iter().filter_map(|row| serde_json::from_str(&row.json).ok()).collect();
    Ok(ok(&json!({
        "counts": counts,
        "names": found.names,
        "alerts": matching,
        "warnings": warnings,
        "starts_at": starts_at.as_millis(),
        "ends_at": ends_at.as_millis(),
        "warns_at": silence.warns_at().as_millis(),
    })))
}

/// Silences that are not over, each with what it hides now and when its owner is warned.
async fn silences(State(monitor): State<Arc<Monitor>>) -> Response {
    let shown: Vec<Json> = monitor.notifier.read(|machine, now| {
        let alerts = machine.alerts(now);
        let firing: Vec<_> = alerts.iter().filter(|view| view.firing).collect();
        let running = machine.silences(now).into_iter().filter(|one| one.status.state != "expired");
        running
            .map(|silence| {
                let hidden: Vec<_> =
                    firing.iter().filter(|view| view.silenced_by.contains(&silence.id)).collect();
                let critical =
                    hidden.iter().filter(|view| view.alert.severity() == Severity::Critical).count();
                let mut json = json!(silence);
                json["hides"] = json!(hidden.len());
                json["hidesCritical"] = json!(critical);
                json["warnsAt"] = json!(silence.warns_at().to_string());
                json
            })
            .collect()
    });
    ok(&Json::Array(shown))
}

async fn log(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let before = match params.get("before") {
        None => None,
        Some(_) => Some(number(&params, "before", 0)? as u64),
    };
    let wanted = audit::Wanted {
        before,
        by: params.get("by").map(str::to_owned),
        action: params.get("action").map(str::to_owned),
        alert: params.get("alert").map(fingerprint).transpose()?,
        limit: number(&params, "limit", ENTRIES_SHOWN)?.clamp(1, ENTRIES_MAX),
    };
    let (entries, more) = monitor.audit.find(&wanted);
    Ok(ok(&json!({"entries": entries, "more": more})))
}

/// The alerts that a silence hides now, for its entry in the log.
pub fn hidden_by(monitor: &Monitor, silence: &Silence) -> Vec<Fingerprint> {
    let Ok(matchers) = silence.compile() else { return Vec::new() };
    monitor.notifier.read(|machine, now| {
        machine.preview(&matchers, now).into_iter().map(|alert| alert.fingerprint()).collect()
    })
}

/// The labels of a silence's matchers, for filters that compare them as if they were labels.
pub fn as_labels(silence: &Silence) -> Labels {
    Labels::from_pairs(silence.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())))
}
