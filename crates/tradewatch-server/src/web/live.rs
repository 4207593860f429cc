//! The live socket: pages say what they show, and get the newest columns when a scrape commits.
//!
//! A column belongs to a whole multiple of its step, as in a range query. The last one is provisional: it
//! carries what holds now, and is sent once more with its exact value when its step is over. Nothing is
//! evaluated for a page that is not visible, and a page that reads slowly is evaluated for less often.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tradewatch_alert::Fingerprint;
use tradewatch_promql::{Expr, QueryResult, QueryValue, ValueType};
use tradewatch_tsdb::{Labels, Timestamp, Value};

use super::alerts::Snapshot;
use super::json as write;
use crate::clock;
use crate::hub::Event;
use crate::monitor::Monitor;
use crate::query::{Overrides, Queries, When};

/// Queries that one page may follow.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Biggest message of a page.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Columns that one query may have.
const COLUMNS_MAX: i64 = 11_000;
const STEP_MS_MIN: i64 = 100;
/// A live query that takes longer is an error on the page.
const QUERY_MAX: Duration = Duration::from_secs(10);
/// Commits that come this close together make one frame.
const GATHER: Duration = Duration::from_millis(15);
/// Two evaluations for one page are at least this far apart.
const SPACING_MIN: Duration = Duration::from_millis(100);
/// A page that does not take a frame for this long is given up.
const SEND_MAX: Duration = Duration::from_secs(15);
/// Series of one frame; more make no picture.
const SERIES_MAX: usize = 2_000;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Subscribe {
        id: String,
        expr: String,
        #[serde(default)]
        range_ms: f64,
        #[serde(default)]
        step_ms: f64,
        #[serde(default)]
        instant: bool,
    },
    Unsubscribe {
        id: String,
    },
    Visible {
        value: bool,
    },
}

/// Opens the socket.
pub async fn open(State(monitor): State<Arc<Monitor>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| Page::new(monitor, socket).run())
}

/// What a page follows.
#[derive(Clone)]
struct Subscription {
    expr: Expr,
    range_ms: i64,
    step_ms: i64,
    instant: bool,
    /// Last column that was sent with its exact value; `None` before the first frame.
    settled: Option<i64>,
    /// The provisional column that was sent last: its time and values.
    tip: (i64, BTreeMap<Labels, u64>),
}

struct Page {
    monitor: Arc<Monitor>,
    socket: WebSocket,
    subscriptions: HashMap<String, Subscription>,
    visible: bool,
    /// The oldest commit that is not shown yet.
    dirty: Option<Instant>,
    /// Evaluate not before this.
    earliest: Instant,
    alerts_due: bool,
    /// The list of alerts that the page has, and how each of them looked.
    alerts: Option<(Arc<Snapshot>, HashMap<Fingerprint, u64>)>,
}

/// The page is gone or given up.
struct Gone;

impl Page {
    fn new(monitor: Arc<Monitor>, socket: WebSocket) -> Page {
        let now = Instant::now();
        Page {
            monitor,
            socket,
            subscriptions: HashMap::new(),
            visible: true,
            dirty: None,
            earliest: now,
            alerts_due: true,
            alerts: None,
        }
    }

    async fn run(mut self) {
        let _open = self.monitor.own.clone();
        let _open = _open.metrics.live_connections_current.track();
        let _ = self.run_until_gone().await;
    }

    async fn run_until_gone(&mut self) -> Result<(), Gone> {
        let mut events = self.monitor.hub.subscribe();
        let mut stop = self.monitor.stop.clone();
        let mut heartbeat = tokio::time::interval(Duration::from_secs(1));
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.dirty.map(|_| self.earliest);
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => {
                    let _ = self.socket.send(Message::Close(None)).await;
                    return Ok(());
                }
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Text(text))) => self.hear(&text).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                    Some(Ok(_)) => {}
                },
                _ = heartbeat.tick() => self.beat().await?,
                event = events.recv() => self.take(event).await?,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.push().await?;
                }
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_MAX, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    async fn error(&mut self, id: &str, message: &str) -> Result<(), Gone> {
        self.send(json!({"type": "error", "id": id, "message": message}).to_string()).await
    }

    async fn hear(&mut self, text: &str) -> Result<(), Gone> {
        match serde_json::from_str(text) {
            Err(error) => self.error("", &format!("cannot read the message: {error}")).await,
            Ok(Said::Unsubscribe { id }) => {
                self.subscriptions.remove(&id);
                Ok(())
            }
            Ok(Said::Visible { value }) => {
                if value && !self.visible {
                    // What was committed in between is sent as a whole.
                    self.subscriptions.values_mut().for_each(|one| one.settled = None);
                    self.dirty.get_or_insert_with(Instant::now);
                }
                self.visible = value;
                Ok(())
            }
            Ok(Said::Subscribe { id, expr, range_ms, step_ms, instant }) => {
                match subscription(&expr, range_ms, step_ms, instant) {
                    Err(why) => {
                        self.subscriptions.remove(&id);
                        self.error(&id, &why).await
                    }
                    Ok(_)
                        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX
                            && !self.subscriptions.contains_key(&id) =>
                    {
                        self.error(&id, &format!("a page follows at most {SUBSCRIPTIONS_MAX} queries")).await
                    }
                    Ok(one) => {
                        self.subscriptions.insert(id, one);
                        self.dirty.get_or_insert_with(Instant::now);
                        self.earliest = self.earliest.min(Instant::now() + GATHER);
                        Ok(())
                    }
                }
            }
        }
    }

    async fn take(&mut self, event: Result<Event, RecvError>) -> Result<(), Gone> {
        match event {
            Ok(Event::Committed(at)) => self.mark(at),
            // Behind by too much: one frame of now stands for all that was missed.
            Err(RecvError::Lagged(_)) => {
                self.alerts_due = true;
                self.mark(Instant::now());
            }
            Ok(Event::Alerts) => {
                self.alerts_due = true;
                self.mark(Instant::now());
            }
            Ok(Event::Targets) => return self.send("{\"type\":\"targets\"}".into()).await,
            Ok(Event::Dashboards) => return self.send("{\"type\":\"dashboards\"}".into()).await,
            Err(RecvError::Closed) => return Err(Gone),
        }
        Ok(())
    }

    fn mark(&mut self, at: Instant) {
        if self.dirty.is_none() {
            self.dirty = Some(at);
            self.earliest = self.earliest.max(Instant::now() + GATHER);
        }
    }

    async fn beat(&mut self) -> Result<(), Gone> {
        let now = clock::now();
        let (calendar, used) = (self.monitor.markets.calendar(), self.monitor.markets.live().used());
        let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let clock: BTreeMap<&str, &str> =
            used.iter().map(|mic| (mic.as_str(), calendar.phase(mic, at).as_str())).collect();
        self.send(json!({"type": "heartbeat", "now": now.as_millis(), "clock": clock}).to_string()).await?;
        if self.alerts_due {
            self.mark(Instant::now());
        }
        Ok(())
    }

    /// Evaluates everything that the page shows and sends what changed.
    async fn push(&mut self) -> Result<(), Gone> {
        let Some(since) = self.dirty.take() else { return Ok(()) };
        let began = Instant::now();
        if self.alerts_due {
            let monitor = self.monitor.clone();
            let listed = tokio::task::spawn_blocking(move || monitor.pages.get(&monitor)).await;
            if let Ok((snapshot, current)) = listed {
                // One that is not current yet is asked for again at the next beat.
                self.alerts_due = !current;
                self.send_alerts(snapshot).await?;
            }
        }
        if self.visible && !self.subscriptions.is_empty() {
            let work: Vec<(String, Subscription)> =
                self.subscriptions.iter().map(|(id, one)| (id.clone(), one.clone())).collect();
            let overrides = Overrides { timeout: Some(QUERY_MAX), lookback: None };
            let done = self
                .monitor
                .queries
                .turn(overrides, move |queries| evaluate(queries, work, clock::now()))
                .await;
            let Ok(done) = done else {
                self.earliest = Instant::now() + Duration::from_secs(1);
                self.dirty = Some(since);
                return Ok(());
            };
            for (id, outcome) in done {
                match outcome {
                    Ok((state, Some(frame))) => {
                        self.keep(&id, state);
                        self.send(frame).await?;
                        self.monitor.own.metrics.live_frames_total.inc();
                        self.monitor.own.metrics.live_frame_lag_seconds.observe_duration(since.elapsed());
                    }
                    Ok((state, None)) => self.keep(&id, state),
                    Err(message) => self.error(&id, &message).await?,
                }
            }
        }
        // A page that costs much is evaluated for less often.
        self.earliest = Instant::now() + SPACING_MIN.max(began.elapsed() * 2);
        Ok(())
    }

    /// Sends the list of alerts: the first one whole, then what changed.
    async fn send_alerts(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Gone> {
        let (full, before, known) = match &self.alerts {
            None => (true, Arc::default(), HashMap::new()),
            Some((before, _)) if Arc::ptr_eq(before, &snapshot) => return Ok(()),
            Some((before, known)) => (false, before.clone(), known.clone()),
        };
        let changed: Vec<&str> = snapshot
            .rows
            .iter()
            .filter(|row| known.get(&row.fingerprint) != Some(&row.print))
            .map(|row| &*row.json)
            .collect();
        let now: HashMap<Fingerprint, u64> =
            snapshot.rows.iter().map(|row| (row.fingerprint, row.print)).collect();
        let gone: Vec<String> =
            known.keys().filter(|one| !now.contains_key(one)).map(ToString::to_string).collect();
        let same = before.counts == snapshot.counts && before.names == snapshot.names;
        if full || !changed.is_empty() || !gone.is_empty() || !same {
            let mut message = snapshot.around();
            message["type"] = json!("alerts");
            message["full"] = json!(full);
            message["gone"] = json!(gone);
            let mut text = message.to_string();
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"alerts\":[{}]}}", changed.join(",")));
            self.send(text).await?;
        }
        self.alerts = Some((snapshot, now));
        Ok(())
    }

    fn keep(&mut self, id: &str, state: Subscription) {
        // It may have been replaced while its predecessor was evaluated.
        if let Some(one) = self.subscriptions.get_mut(id)
            && one.expr == state.expr
            && (one.range_ms, one.step_ms, one.instant) == (state.range_ms, state.step_ms, state.instant)
        {
            *one = state;
        }
    }
}

fn subscription(expr: &str, range_ms: f64, step_ms: f64, instant: bool) -> Result<Subscription, String> {
    let expr = Queries::parse(expr).map_err(|error| error.to_string())?;
    let usable = matches!(expr.value_type(), ValueType::Vector | ValueType::Scalar);
    if !usable {
        return Err(format!(
            "the query gives a {}; a panel needs an instant vector or a scalar",
            expr.value_type().documented()
        ));
    }
    let range_ms = if range_ms.is_finite() { range_ms.max(0.0) as i64 } else { 0 };
    let mut step_ms = if step_ms.is_finite() { (step_ms as i64).max(STEP_MS_MIN) } else { 1_000 };
    if !instant {
        step_ms = step_ms.max(range_ms / COLUMNS_MAX + i64::from(range_ms % COLUMNS_MAX > 0));
    }
    Ok(Subscription { expr, range_ms, step_ms, instant, settled: None, tip: (0, BTreeMap::new()) })
}

type Outcome = Result<(Subscription, Option<String>), String>;

fn evaluate(queries: &Queries, work: Vec<(String, Subscription)>, now: Timestamp) -> Vec<(String, Outcome)> {
    work.into_iter()
        .map(|(id, one)| {
            let outcome =
                if one.instant { instant(queries, &id, one, now) } else { columns(queries, &id, one, now) };
            (id, outcome)
        })
        .collect()
}

fn ask(queries: &Queries, expr: &Expr, when: When) -> Result<QueryResult, String> {
    let overrides = Overrides { timeout: Some(QUERY_MAX), lookback: None };
    queries.run_here(expr, when, overrides).map_err(|error| error.to_string())
}

/// A query whose current value alone is shown: each frame is whole.
fn instant(queries: &Queries, id: &str, one: Subscription, now: Timestamp) -> Outcome {
    let result = ask(queries, &one.expr, When::At(now))?;
    let warnings = result.warnings;
    let series = vector(result.value)
        .into_iter()
        .map(|(labels, value)| (labels, vec![(now.as_millis(), Some(value))]));
    let frame = frame(id, true, one.step_ms, series.collect(), &warnings);
    Ok((one, Some(frame)))
}

type Columns = BTreeMap<Labels, Vec<(i64, Option<f64>)>>;

/// A query over time: the steps that are over since the last frame, and the provisional one.
fn columns(queries: &Queries, id: &str, mut one: Subscription, now: Timestamp) -> Outcome {
    let step = one.step_ms;
    let slot = now.as_millis().div_euclid(step) * step;
    let full = one.settled.is_none();
    // A page that was away for longer than its window starts over.
    let oldest = (slot - one.range_ms).div_euclid(step) * step;
    let first = one.settled.map_or(oldest, |settled| (settled + step).max(oldest));
    let mut found: Columns = BTreeMap::new();
    let mut warnings = Vec::new();
    if first <= slot {
        let when = When::Steps {
            start: Timestamp::from_millis(first),
            end: Timestamp::from_millis(slot),
            step: Duration::from_millis(step as u64),
        };
        let result = ask(queries, &one.expr, when)?;
        warnings = result.warnings;
        if let QueryValue::Matrix(series) = result.value {
            for series in series {
                let points = series
                    .samples
                    .iter()
                    .map(|sample| (sample.ts.as_millis(), number(&sample.value)))
                    .collect();
                found.insert(series.labels, points);
            }
        }
    }
    // What holds now is shown in the column of the step under way.
    let result = ask(queries, &one.expr, When::At(now))?;
    warnings.extend(result.warnings);
    let tip: BTreeMap<Labels, f64> = vector(result.value).into_iter().collect();
    let bits: BTreeMap<Labels, u64> =
        tip.iter().map(|(labels, value)| (labels.clone(), value.to_bits())).collect();
    let moved = one.tip != (slot, bits.clone());
    if moved || full || !found.is_empty() {
        // What was there a moment ago and is not now has ended: its column says so.
        let gone = one.tip.1.keys().filter(|labels| !tip.contains_key(*labels));
        let gone: Vec<Labels> = gone.cloned().collect();
        for (labels, value) in
            tip.into_iter().map(|(l, v)| (l, Some(v))).chain(gone.into_iter().map(|l| (l, None)))
        {
            let points = found.entry(labels).or_default();
            points.retain(|(t, _)| *t != slot);
            points.push((slot, value));
        }
        one.tip = (slot, bits);
    }
    // The column of `slot` itself is exact only when its step is over.
    one.settled = Some(slot - step);
    if found.is_empty() && !full {
        return Ok((one, None));
    }
    let frame = frame(id, full, step, found.into_iter().collect(), &warnings);
    Ok((one, Some(frame)))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(float) => Some(*float),
        Value::Histogram(histogram) => Some(histogram.sum / histogram.count),
    }
}

fn vector(value: QueryValue) -> Vec<(Labels, f64)> {
    match value {
        QueryValue::Vector(samples) => {
            samples.into_iter().filter_map(|s| number(&s.value).map(|v| (s.labels, v))).collect()
        }
        QueryValue::Scalar { value, .. } => vec![(Labels::empty(), value)],
        _ => Vec::new(),
    }
}

/// Writes a frame: numbers as numbers, what JSON has no number for as text.
fn frame(
    id: &str,
    full: bool,
    step_ms: i64,
    mut series: Vec<(Labels, Vec<(i64, Option<f64>)>)>,
    warnings: &[String],
) -> String {
    let mut warnings = warnings.to_vec();
    warnings.dedup();
    if series.len() > SERIES_MAX {
        warnings.push(format!("{} series; the first {SERIES_MAX} are shown", series.len()));
        series.truncate(SERIES_MAX);
    }
    let mut out = String::from("{\"type\":\"frame\",\"id\":");
    write::string(&mut out, id);
    out.push_str(&format!(",\"full\":{full},\"step_ms\":{step_ms},\"series\":"));
    write::list(&mut out, &series, |out, (labels, points)| {
        out.push_str("{\"labels\":");
        write::labels(out, labels);
        out.push_str(",\"t\":");
        write::list(out, points, |out, (t, _)| out.push_str(&t.to_string()));
        out.push_str(",\"v\":");
        write::list(out, points, |out, (_, value)| match value {
            None => out.push_str("null"),
            Some(value) if value.is_finite() => out.push_str(&value.to_string()),
            Some(value) if value.is_nan() => out.push_str("\"NaN\""),
            Some(value) => out.push_str(if *value > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" }),
        });
        out.push('}');
    });
    out.push_str(",\"warnings\":");
    write::strings(&mut out, warnings.iter().map(String::as_str));
    out.push('}');
    out
}
