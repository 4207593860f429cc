//! All alerts for the pages: pending, firing and lately resolved, with what people did about them.
//!
//! In a storm the list is long and asked for by every page. So it is made once for all of them, at most for a fifth
//! of the time; of its [`LISTED_MAX`] worst alerts each is rendered once, and the rest is counted by name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value as Json, json};
use tradewatch_alert::notify::AlertView;
use tradewatch_alert::rules::ActiveAlert;
use tradewatch_alert::{Fingerprint, Severity, State as AlertState};
use tradewatch_calendar::Calendar;
use tradewatch_tsdb::{Labels, Matcher, Timestamp};

use super::calendar::market_json;
use super::status::{budget_json, labels_json};
use crate::audit::Entry;
use crate::monitor::Monitor;

/// Alerts that a page is pushed; it asks for more of one name when somebody wants to see them.
pub const LISTED_MAX: usize = 1_000;
/// Names that a page is told the counts of; the worst and the most frequent.
pub const NAMES_MAX: usize = 200;
/// A list is made anew after at most this time even if nothing was heard: intervals and silences begin and end.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Making the list takes at most one part in five of the time.
const REST: u32 = 4;
/// However long it takes, a page waits no longer for the next one.
const REST_MAX: Duration = Duration::from_secs(2);

/// One alert of a list.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// As pages get it.
    pub json: Arc<str>,
    /// Tells whether it changed.
    pub print: u64,
}

/// How many alerts stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// They fire.
    pub firing: usize,
    /// They fire, are not held back, and nobody has acknowledged them.
    pub open: usize,
    /// Those of the open ones that are critical.
    pub open_critical: usize,
    /// They fire and are silenced, inhibited or muted.
    pub held_back: usize,
    /// Their condition holds, not yet for long enough.
    pub pending: usize,
    /// They lately ended.
    pub resolved: usize,
}

/// The alerts of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The worst severity among them, as their label says it.
    pub severity: String,
    /// How many stand where.
    #[serde(flatten)]
    pub counts: Counts,
    /// Since when the oldest one that fires does, in milliseconds.
    pub oldest: Option<i64>,
    /// Since when the newest one that fires does, in milliseconds.
    pub newest: Option<i64>,
    #[serde(skip)]
    worst: Severity,
}

/// A list of alerts, the most urgent first.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What was asked for, in order.
    pub rows: Vec<Row>,
    /// All that match.
    pub total: usize,
    /// Of all that match.
    pub counts: Counts,
    /// By name, the worst first; at most [`NAMES_MAX`].
    pub names: Vec<Named>,
}

impl Snapshot {
    /// What stands beside the alerts in a message to a page.
    pub fn around(&self) -> Json {
        json!({"total": self.total, "counts": self.counts, "names": self.names})
    }

    /// The alerts as a JSON list.
    pub fn list(&self) -> String {
        let rows: Vec<&str> = self.rows.iter().map(|row| &*row.json).collect();
        format!("[{}]", rows.join(","))
    }
}

/// Which alerts a request wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// `firing`, `pending` or `resolved`; empty for all.
    pub state: String,
    /// Only this one.
    pub fingerprint: Option<Fingerprint>,
    /// How many of the first ones are left out.
    pub offset: usize,
    /// How many are rendered at most.
    pub limit: usize,
}

/// The list that all pages share.
#[derive(Debug, Default)]
pub struct Shared {
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    /// How often alerts had changed by then.
    changes: u64,
    at: Instant,
    took: Duration,
    snapshot: Arc<Snapshot>,
}

impl Shared {
    /// The list, and whether it is current; one that is not will be a moment later.
    ///
    /// # Cost
    /// Looks at every alert when something changed; call it where that may be.
    pub fn get(&self, monitor: &Monitor) -> (Arc<Snapshot>, bool) {
        let mut made = self.made.lock().unwrap_or_else(|broken| broken.into_inner());
        let changes = monitor.hub.alert_changes();
        if let Some(made) = &*made {
            let age = made.at.elapsed();
            if made.changes == changes && age < AGE_MAX {
                return (made.snapshot.clone(), true);
            }
            if age < (made.took * REST).min(REST_MAX) {
                return (made.snapshot.clone(), false);
            }
        }
        let began = Instant::now();
        let snapshot = Arc::new(find(monitor, &Wanted { limit: LISTED_MAX, ..Wanted::default() }));
        *made = Some(Made { changes, at: Instant::now(), took: began.elapsed(), snapshot: snapshot.clone() });
        (snapshot, true)
    }
}

enum Source<'a> {
    Told(AlertView<'a>, Option<&'a ActiveAlert>),
    Untold(&'a ActiveAlert),
}

struct Item<'a> {
    /// State, held back, acknowledged, severity, the newest first.
    order: (u8, bool, bool, Severity, Reverse<i64>),
    /// Looked up once: it is compared again and again.
    name: &'a str,
    fingerprint: Fingerprint,
    source: Source<'a>,
}

impl<'a> Item<'a> {
    fn told(view: AlertView<'a>, rule: Option<&'a ActiveAlert>) -> Item<'a> {
        let state = if view.firing { 0 } else { 2 };
        let held_back =
            !view.silenced_by.is_empty() || view.inhibited_by.is_some() || view.muted_by.is_some();
        let since = Reverse(view.alert.starts_at.as_millis());
        let order = (state, held_back, view.acknowledged.is_some(), view.alert.severity(), since);
        let name = view.alert.name();
        Item { order, name, fingerprint: view.fingerprint, source: Source::Told(view, rule) }
    }

    fn untold(fingerprint: Fingerprint, alert: &'a ActiveAlert) -> Item<'a> {
        let state = if alert.state == AlertState::Pending { 1 } else { 0 };
        let order = (state, false, false, Severity::of(&alert.labels), Reverse(alert.active_at.as_millis()));
        let name = alert.labels.get("alertname").unwrap_or("");
        Item { order, name, fingerprint, source: Source::Untold(alert) }
    }

    fn labels(&self) -> &Labels {
        match &self.source {
            Source::Told(view, _) => &view.alert.labels,
            Source::Untold(alert) => &alert.labels,
        }
    }

    fn state(&self) -> &'static str {
        ["firing", "pending", "resolved"][usize::from(self.order.0)]
    }

    fn count(&self, counts: &mut Counts) {
        let (state, held_back, acknowledged, severity, _) = self.order;
        let open = state == 0 && !held_back && !acknowledged;
        counts.firing += usize::from(state == 0);
        counts.open += usize::from(open);
        counts.open_critical += usize::from(open && severity == Severity::Critical);
        counts.held_back += usize::from(state == 0 && held_back);
        counts.pending += usize::from(state == 1);
        counts.resolved += usize::from(state == 2);
    }
}

/// Finds and renders alerts.
///
/// # Cost
/// Looks at every alert; renders `limit` of them.
pub fn find(monitor: &Monitor, wanted: &Wanted) -> Snapshot {
    let (active, budgets) = from_rules(monitor);
    let notes = monitor.audit.notes();
    let calendar = monitor.markets.calendar();
    monitor.notifier.read(|machine, now| {
        let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let views = match wanted.fingerprint {
            Some(one) => machine.alert(one, now).into_iter().collect(),
            None => machine.alerts(now),
        };
        let mut items: Vec<Item<'_>> = Vec::with_capacity(views.len() + active.len());
        items.extend(views.into_iter().map(|view| {
            let rule = active.get(&view.fingerprint);
            Item::told(view, rule)
        }));
        for (fingerprint, alert) in &active {
            // One that fires and is not with the notifier yet is shown as well.
            if alert.state != AlertState::Inactive && !machine.knows(*fingerprint) {
                items.push(Item::untold(*fingerprint, alert));
            }
        }
        items.retain(|item| {
            (wanted.state.is_empty() || item.state() == wanted.state)
                && wanted.fingerprint.is_none_or(|one| one == item.fingerprint)
                && holds(&wanted.matchers, item.labels())
        });
        items.sort_by(|a, b| (a.order, a.name, a.fingerprint).cmp(&(b.order, b.name, b.fingerprint)));
        let mut counts = Counts::default();
        items.iter().for_each(|item| item.count(&mut counts));
        let shown = items.iter().skip(wanted.offset).take(wanted.limit);
        let row = |item| render(item, &calendar, at, &budgets, notes.get(&item.fingerprint));
        let rows = shown.map(row).collect();
        Snapshot { rows, total: items.len(), counts, names: by_name(&items) }
    })
}

/// Whether all matchers hold for a label set.
pub fn holds(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

fn by_name(items: &[Item<'_>]) -> Vec<Named> {
    let mut names: BTreeMap<&str, Named> = BTreeMap::new();
    for item in items {
        let worst = item.order.3;
        let named = names.entry(item.name).or_insert_with(|| Named {
            name: item.name.to_owned(),
            severity: severity(item.labels()).to_owned(),
            counts: Counts::default(),
            oldest: None,
            newest: None,
            worst,
        });
        item.count(&mut named.counts);
        if worst < named.worst {
            named.worst = worst;
            named.severity = severity(item.labels()).to_owned();
        }
        if item.order.0 == 0 {
            let since = item.order.4.0;
            named.oldest = Some(named.oldest.map_or(since, |oldest| oldest.min(since)));
            named.newest = Some(named.newest.map_or(since, |newest| newest.max(since)));
        }
    }
    let mut names: Vec<Named> = names.into_values().collect();
    names.sort_by_key(|named| {
        (named.counts.firing == 0, named.worst, Reverse(named.counts.firing + named.counts.pending))
    });
    names.truncate(NAMES_MAX);
    names
}

/// What rules know of their alerts, and the latency budgets of the rules by name: their labels and the budget.
fn from_rules(
    monitor: &Monitor,
) -> (HashMap<Fingerprint, ActiveAlert>, HashMap<String, Vec<(Labels, Json)>>) {
    let groups = monitor.groups.lock().expect("no panic while groups are listed").clone();
    let around = monitor.around();
    let mut active = HashMap::new();
    let mut budgets: HashMap<String, Vec<(Labels, Json)>> = HashMap::new();
    for shown in groups {
        let group = shown.lock();
        for (at, (spec, _, alerts)) in group.rules().enumerate() {
            if let Some(budget) = shown.budget(at).filter(|_| !alerts.is_empty()) {
                let json = budget_json(spec, budget);
                budgets.entry(spec.name.clone()).or_default().push((Labels::from_pairs(&spec.labels), json));
            }
            // As the notifier knows them.
            let key = |alert: &ActiveAlert| Fingerprint::of(&around.outside(&alert.labels));
            active.extend(alerts.into_iter().map(|alert| (key(alert), alert.clone())));
        }
    }
    (active, budgets)
}

fn millis(ts: Option<Timestamp>) -> Json {
    ts.map_or(Json::Null, |ts| Json::from(ts.as_millis()))
}

fn severity(labels: &Labels) -> &str {
    labels.get("severity").unwrap_or("none")
}

/// A value of the JSON: a number where JSON has one for it.
fn value(alert: Option<&ActiveAlert>) -> Json {
    match alert.and_then(|alert| alert.value.as_float()) {
        Some(value) if value.is_finite() => json!(value),
        Some(value) => Json::from(tradewatch_promql::format_float(value)),
        None => Json::Null,
    }
}

fn runbook(annotations: &BTreeMap<String, String>) -> Json {
    ["runbook_url", "runbook"]
        .iter()
        .find_map(|name| annotations.get(*name))
        .map_or(Json::Null, |url| Json::from(url.as_str()))
}

/// The budget of the rule that makes alerts of this name with these labels.
fn budget<'a>(budgets: &'a HashMap<String, Vec<(Labels, Json)>>, labels: &Labels) -> &'a Json {
    let fits = |(own, _): &&(Labels, Json)| own.iter().all(|(name, value)| labels.get(name) == Some(value));
    let rules = labels.get("alertname").and_then(|name| budgets.get(name));
    // A label of a rule may be a template: then its name alone decides.
    let found = rules.and_then(|rules| rules.iter().find(fits).or(rules.first()));
    found.map_or(&Json::Null, |(_, budget)| budget)
}

fn render(
    item: &Item<'_>,
    calendar: &Calendar,
    at: jiff::Timestamp,
    budgets: &HashMap<String, Vec<(Labels, Json)>>,
    notes: Option<&(usize, Entry)>,
) -> Row {
    let mut json = match &item.source {
        Source::Told(view, rule) => told_json(view, *rule),
        Source::Untold(alert) => untold_json(item.fingerprint, alert),
    };
    if json["state"] != "resolved" {
        json["market"] = market_json(calendar, item.labels(), at);
    }
    json["latency_budget"] = budget(budgets, item.labels()).clone();
    json["notes"] = json!(notes.map_or(0, |(count, _)| *count));
    json["last_note"] = notes.map_or(Json::Null, |(_, note)| {
        json!({"by": note.actor.by, "proven": note.actor.proven, "at": note.at, "text": note.text})
    });
    let json: Arc<str> = json.to_string().into();
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    Row { fingerprint: item.fingerprint, json, print: hasher.finish() }
}

fn told_json(view: &AlertView<'_>, rule: Option<&ActiveAlert>) -> Json {
    let alert = view.alert;
    let acknowledged = view
        .acknowledged
        .map_or(Json::Null, |ack| json!({"by": ack.by, "at": ack.at.as_millis(), "comment": ack.comment}));
    json!({
        "fingerprint": view.fingerprint.to_string(),
        "name": alert.name(),
        "state": if view.firing { "firing" } else { "resolved" },
        "severity": severity(&alert.labels),
        "labels": labels_json(&alert.labels),
        "annotations": alert.annotations,
        "since": alert.starts_at.as_millis(),
        "active_at": millis(rule.map(|rule| rule.active_at).or(Some(alert.starts_at))),
        "resolved_at": millis((!view.firing).then_some(alert.ends_at)),
        "value": value(rule),
        "acknowledged": acknowledged,
        "silenced_by": view.silenced_by,
        "inhibited_by": view.inhibited_by.map(|by| vec![by.to_string()]).unwrap_or_default(),
        "muted_by": view.muted_by,
        "receivers": view.receivers,
        "runbook": runbook(&alert.annotations),
        "last_notified": millis(view.last_notified),
        "generator_url": alert.generator_url,
    })
}

fn untold_json(fingerprint: Fingerprint, alert: &ActiveAlert) -> Json {
    let firing = alert.state == AlertState::Firing;
    json!({
        "fingerprint": fingerprint.to_string(),
        "name": alert.labels.get("alertname").unwrap_or(""),
        "state": if firing { "firing" } else { "pending" },
        "severity": severity(&alert.labels),
        "labels": labels_json(&alert.labels),
        "annotations": alert.annotations,
        "since": millis(alert.fired_at.or(Some(alert.active_at))),
        "active_at": alert.active_at.as_millis(),
        "resolved_at": null,
        "value": value(Some(alert)),
        "acknowledged": null,
        "silenced_by": [],
        "inhibited_by": [],
        "muted_by": null,
        "receivers": [],
        "runbook": runbook(&alert.annotations),
        "last_notified": null,
    })
}
