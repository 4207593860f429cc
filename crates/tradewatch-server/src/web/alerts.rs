//! All alerts in one list for the pages: pending, firing and lately resolved, with what people did about them.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};
use tradewatch_alert::notify::AlertView;
use tradewatch_alert::rules::ActiveAlert;
use tradewatch_alert::{Fingerprint, State as AlertState};
use tradewatch_tsdb::{Labels, Timestamp};

use super::status::labels_json;
use crate::monitor::Monitor;

/// The alerts, firing first, the worst and the newest first among them.
pub fn list(monitor: &Monitor) -> Vec<Json> {
    let active = active(monitor);
    let mut shown: Vec<(u8, tradewatch_alert::Severity, i64, Json)> = Vec::new();
    let mut told = HashSet::new();
    monitor.notifier.read(|machine, now| {
        for view in machine.alerts(now) {
            told.insert(view.fingerprint);
            let rule = active.get(&view.fingerprint);
            let rank = if view.firing { 0 } else { 2 };
            let json = told_json(&view, rule);
            shown.push((rank, view.alert.severity(), -view.alert.starts_at.as_millis(), json));
        }
    });
    for (fingerprint, alert) in &active {
        let pending = alert.state == AlertState::Pending;
        // One that fires and is not with the notifier yet is shown as well.
        if alert.state == AlertState::Inactive || told.contains(fingerprint) {
            continue;
        }
        let rank = if pending { 1 } else { 0 };
        let severity = tradewatch_alert::Severity::of(&alert.labels);
        shown.push((rank, severity, -alert.active_at.as_millis(), untold_json(*fingerprint, alert)));
    }
    shown.sort_by_key(|one| (one.0, one.1, one.2));
    shown.into_iter().map(|(.., json)| json).collect()
}

fn active(monitor: &Monitor) -> HashMap<Fingerprint, ActiveAlert> {
    let groups = monitor.groups.lock().expect("no panic while groups are listed").clone();
    let around = monitor.around();
    let mut found = HashMap::new();
    for group in groups {
        let group = group.lock();
        for (_, _, alerts) in group.rules() {
            // As the notifier knows them.
            let key = |alert: &ActiveAlert| Fingerprint::of(&around.outside(&alert.labels));
            found.extend(alerts.into_iter().map(|alert| (key(alert), alert.clone())));
        }
    }
    found
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

fn runbook(annotations: &std::collections::BTreeMap<String, String>) -> Json {
    ["runbook_url", "runbook"]
        .iter()
        .find_map(|name| annotations.get(*name))
        .map_or(Json::Null, |url| Json::from(url.as_str()))
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
