//! The market's clock for pages and programs: what venues do, their days, and what people lay over the calendar.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::civil::{Date, Weekday};
use jiff::{Timestamp as Instant, ToSpan, Zoned};
use serde_json::{Value as Json, json};
use tradewatch_calendar::{Calendar, Change, Entry as CalendarEntry, HORIZON_WARNING, Phase};
use tradewatch_metrics::{Format, Registry};
use tradewatch_tsdb::Labels;

use super::params::Params;
use super::people::named;
use super::respond::{ApiError, json_response};
use crate::audit::{Action, Entry};
use crate::clock;
use crate::markets::{Asked, Fact, MarketSeries};
use crate::monitor::Monitor;

/// Days that one request gets.
const DAYS_MAX: usize = 400;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/calendar/metrics", get(metrics))
        .route("/api/tradewatch/v1/calendar", get(venues))
        .route("/api/tradewatch/v1/calendar/days", get(days))
        .route("/api/tradewatch/v1/calendar/facts", post(add))
        .route("/api/tradewatch/v1/calendar/facts/{id}", delete(remove))
}

fn ok(json: &Json) -> Response {
    json_response(StatusCode::OK, json.to_string())
}

fn now() -> Instant {
    Instant::from_millisecond(clock::now().as_millis()).unwrap_or(Instant::UNIX_EPOCH)
}

fn millis(at: Option<Instant>) -> Json {
    at.map_or(Json::Null, |at| json!(at.as_millisecond()))
}

/// An exporter's page: the market's series of every venue, or of those in `mic`.
async fn metrics(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let calendar = monitor.markets.calendar();
    let known = calendar.mics();
    let asked: Vec<String> = params.all("mic").map(str::to_owned).collect();
    if let Some(unknown) = asked.iter().find(|mic| !known.contains(&mic.as_str())) {
        return Err(unknown_venue(unknown, &calendar));
    }
    let mics = if asked.is_empty() { known.iter().map(|mic| (*mic).to_owned()).collect() } else { asked };
    let registry = Registry::new();
    registry
        .add_collector(MarketSeries::of(monitor.markets.live().clone(), mics))
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let format = Format::from_accept(headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or(""));
    let mut body = Vec::new();
    registry.encode(format, &mut body);
    let mut response = Body::from(body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

fn unknown_venue(mic: &str, calendar: &Calendar) -> ApiError {
    ApiError::bad_data(format!(
        "{mic:?} is not a venue that is known; known are {}",
        calendar.mics().join(", ")
    ))
}

/// Every venue as it stands, and all that lies over the tables.
async fn venues(State(monitor): State<Arc<Monitor>>) -> Response {
    let (calendar, used, at) = (monitor.markets.calendar(), monitor.markets.live().used(), now());
    let venues: Vec<Json> = calendar
        .mics()
        .into_iter()
        .map(|mic| {
            let standing = calendar.standing(mic, at);
            let (since, until) = standing.trading.unwrap_or((None, None));
            let left = calendar.horizon_left(mic, at);
            json!({
                "mic": mic,
                "name": calendar.name(mic),
                "zone": calendar.zone(mic).and_then(|zone| zone.iana_name().map(str::to_owned)),
                "used": used.iter().any(|used| used == mic),
                "phase": standing.phase.as_str(),
                "open": standing.phase.is_open(),
                "since": millis(since),
                "until": millis(until),
                "next_open": millis(calendar.next_open(mic, at)),
                "next_close": millis(calendar.next_close(mic, at)),
                "horizon": millis(left.and(calendar.horizon(mic)).map(|horizon| horizon.to)),
                "horizon_days": left.map(|left| left.as_hours() / 24),
                "ends_soon": left.is_some_and(|left| left < HORIZON_WARNING),
                "extended_known": calendar.knows_extended_hours(mic),
            })
        })
        .collect();
    let (file, facts) = monitor.markets.facts();
    let mut shown: Vec<Json> = facts.iter().rev().map(|fact| fact_json(fact, at)).collect();
    shown.extend(file.entries().iter().map(|entry| entry_json(entry, at)));
    let horizon_days = HORIZON_WARNING.as_hours() / 24;
    ok(
        &json!({"now": at.as_millisecond(), "venues": venues, "facts": shown, "horizon_warning_days": horizon_days}),
    )
}

fn fact_json(fact: &Fact, at: Instant) -> Json {
    let mut json = entry_json(&fact.entry, at);
    json["id"] = json!(fact.id);
    json["source"] = json!("person");
    json["by"] = json!(fact.actor.by);
    json["proven"] = json!(fact.actor.proven);
    json["at"] = json!(fact.at);
    json
}

fn entry_json(entry: &CalendarEntry, at: Instant) -> Json {
    let mut json = json!({"id": null, "source": "file", "mic": entry.mic, "reason": entry.reason, "fact": entry.to_string()});
    match &entry.change {
        Change::Closed(date) => {
            json["kind"] = json!("closed");
            json["date"] = json!(date.to_string());
        }
        Change::Hours(date, hours) => {
            json["kind"] = json!("hours");
            json["date"] = json!(date.to_string());
            json["hours"] = json!(hours);
        }
        Change::Halt(halt) => {
            json["kind"] = json!("halt");
            json["symbol"] = json!(halt.symbol);
            json["from"] = json!(halt.from.as_millisecond());
            json["until"] = millis(halt.to);
            json["holds"] = json!(halt.contains(at));
        }
    }
    json
}

/// The days of a venue from `from` to `to`, both included, as its own dates.
async fn days(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> Result<Response, ApiError> {
    let params = Params::new(raw.as_deref(), None);
    let calendar = monitor.markets.calendar();
    let mic = params.get("mic").unwrap_or("");
    let (Some(zone), Some(horizon)) = (calendar.zone(mic), calendar.horizon(mic)) else {
        return Err(unknown_venue(mic, &calendar));
    };
    let today = Zoned::new(now(), zone.clone()).date();
    let date = |name: &'static str, default: Date| match params.get(name) {
        None => Ok(default),
        Some(text) => text.parse::<Date>().map_err(|_| {
            ApiError::bad_data(format!("invalid parameter {name:?}: {text:?} is not a date as 2026-11-27"))
        }),
    };
    let (first, last) = (date("from", today.first_of_month())?, date("to", today.last_of_month())?);
    let begin = first.to_zoned(zone.clone()).map(|at| at.timestamp()).unwrap_or(Instant::MIN);
    let end =
        last.saturating_add(2.days()).to_zoned(zone.clone()).map(|at| at.timestamp()).unwrap_or(Instant::MAX);
    // A session may begin the evening before its date.
    let sessions: Vec<_> = calendar.sessions(mic, begin, end).take(2 * DAYS_MAX).collect();
    let facts = calendar.overlay().entries();
    let mut shown = Vec::new();
    for day in first.series(1.day()).take_while(|day| *day <= last).take(DAYS_MAX) {
        let mut of_day = sessions.iter().filter(|session| session.date == day).peekable();
        let noon = day.at(12, 0, 0, 0).to_zoned(zone.clone()).map(|at| at.timestamp());
        let known = noon.as_ref().is_ok_and(|noon| horizon.from <= *noon && *noon < horizon.to);
        let always = calendar.next_open(mic, now()).is_none()
            && calendar.phase(mic, now()) == Phase::Open
            && sessions.is_empty();
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        let kind = match of_day.peek() {
            Some(session) if session.is_special => "special",
            Some(_) => "session",
            None if always => "always",
            None if !known => "unknown",
            None if weekend => "weekend",
            None => "closed",
        };
        let parts: Vec<Json> = of_day
            .flat_map(|session| session.parts())
            .map(|(open, close)| json!([open.as_millisecond(), close.as_millisecond()]))
            .collect();
        let reason = facts.iter().rev().find(|entry| {
            entry.mic == mic
                && matches!(&entry.change, Change::Closed(date) | Change::Hours(date, _) if *date == day)
        });
        shown.push(json!({"date": day.to_string(), "kind": kind, "parts": parts, "reason": reason.map(|entry| &entry.reason)}));
    }
    Ok(ok(&json!({"mic": mic, "today": today.to_string(), "days": shown})))
}

impl Monitor {
    /// The calendar is another one: `for` is counted anew, routes look again, pages hear of it.
    pub fn calendar_changed(&self) {
        self.hub.tell_rules(crate::rules::Message::Calendar);
        self.notifier.change(|_, _| ());
        self.hub.tell_pages(crate::hub::Event::Alerts);
    }
}

async fn add(
    State(monitor): State<Arc<Monitor>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut asked: Asked =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_data(format!("bad fact: {error}")))?;
    let said = serde_json::from_slice::<Json>(&body).ok();
    let said = said.as_ref().and_then(|json| json["by"].as_str()).unwrap_or("");
    asked.actor = named(&monitor, &headers, said, "a fact about the calendar")?;
    let shown = monitor.clone();
    let fact = tokio::task::spawn_blocking(move || shown.markets.add(&asked, clock::now()))
        .await
        .map_err(|error| ApiError::internal(format!("the request broke off: {error}")))??;
    let entry = Entry::new(fact.at, fact.actor.clone(), Action::CalendarAdd, fact.entry.to_string());
    monitor.note_deed(entry);
    monitor.calendar_changed();
    Ok(ok(&fact_json(&fact, now())))
}

async fn remove(
    State(monitor): State<Arc<Monitor>>,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: u64 =
        id.parse().map_err(|_| ApiError::bad_data(format!("{id:?} is not the number of a fact")))?;
    let params = Params::new(raw.as_deref(), None);
    let actor = named(&monitor, &headers, params.get("by").unwrap_or(""), "taking back a fact")?;
    let shown = monitor.clone();
    let fact = tokio::task::spawn_blocking(move || shown.markets.remove(id))
        .await
        .map_err(|error| ApiError::internal(format!("the request broke off: {error}")))??;
    let at = clock::now().as_millis();
    monitor.note_deed(Entry::new(at, actor, Action::CalendarRemove, fact.entry.to_string()));
    monitor.calendar_changed();
    Ok(ok(&fact_json(&fact, now())))
}

/// Why the `for` of an alert stands or counts all time, if it does: what its label `trading_calendar` means now.
pub fn market_json(calendar: &Calendar, labels: &Labels, at: Instant) -> Json {
    let Some(mic) = labels.get("trading_calendar") else { return Json::Null };
    let symbol = labels.get("symbol").unwrap_or("");
    if let Some(entry) = calendar.halt(mic, symbol, at)
        && let Change::Halt(halt) = &entry.change
    {
        return json!({
            "mic": mic,
            "state": "halted",
            "symbol": halt.symbol,
            "since": halt.from.as_millisecond(),
            "until": millis(halt.to),
            "reason": entry.reason,
        });
    }
    let phase = calendar.phase(mic, at);
    match phase {
        Phase::Open => Json::Null,
        _ => json!({"mic": mic, "state": phase.as_str(), "until": millis(calendar.next_open(mic, at))}),
    }
}
