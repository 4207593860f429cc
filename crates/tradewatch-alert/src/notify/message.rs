//! What a receiver is told: Alertmanager's webhook message, version 4.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::{Labels, Timestamp};

use crate::alert::{Alert, Severity};

/// `0001-01-01T00:00:00Z`: the end of an alert that still fires.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// The body of a webhook request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The receiver's name.
    pub receiver: String,
    /// `firing` as long as one alert fires, else `resolved`.
    pub status: String,
    /// The alerts, worst first.
    pub alerts: Vec<MessageAlert>,
    /// The labels that make the group.
    pub group_labels: BTreeMap<String, String>,
    /// Labels that all alerts share.
    pub common_labels: BTreeMap<String, String>,
    /// Annotations that all alerts share.
    pub common_annotations: BTreeMap<String, String>,
    /// Where the monitor is reached.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// `4`.
    pub version: String,
    /// Identifies the group.
    pub group_key: String,
    /// Alerts left out because of `max_alerts`.
    pub truncated_alerts: usize,
}

/// One alert of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageAlert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub starts_at: String,
    /// RFC 3339; year 1 while it fires.
    pub ends_at: String,
    /// Where the expression can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// What the rule's expression gave last. For our own texts: it is no part of the webhook's message, and a message
    /// that outlived a restart has lost it.
    #[serde(skip)]
    pub value: Option<String>,
}

impl MessageAlert {
    fn new(alert: &Alert, now: Timestamp) -> MessageAlert {
        let resolved = alert.is_resolved(now);
        MessageAlert {
            status: if resolved { "resolved" } else { "firing" }.to_owned(),
            labels: owned(&alert.labels),
            annotations: alert.annotations.clone(),
            starts_at: alert.starts_at.to_string(),
            ends_at: if resolved { alert.ends_at.to_string() } else { NO_END.to_owned() },
            generator_url: alert.generator_url.clone(),
            fingerprint: alert.fingerprint().to_string(),
            value: alert.value.clone(),
        }
    }

    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        Severity::of(&Labels::from_pairs(self.labels.get_key_value("severity")))
    }
}

pub(crate) fn owned(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Message {
    /// A message about `alerts` as they stand at `now`; at most `max_alerts` of them (0: all), the
    /// worst first.
    pub(crate) fn new(
        receiver: &str,
        group_key: &str,
        group_labels: &Labels,
        external_url: &str,
        mut alerts: Vec<&Alert>,
        max_alerts: usize,
        now: Timestamp,
    ) -> Message {
        alerts.sort_by(|a, b| {
            let rank = |x: &Alert| (x.is_resolved(now), x.severity());
            rank(a).cmp(&rank(b)).then_with(|| a.labels.cmp(&b.labels))
        });
        let firing = alerts.iter().any(|alert| !alert.is_resolved(now));
        let common_labels = common(alerts.iter().map(|a| owned(&a.labels)));
        let common_annotations = common(alerts.iter().map(|a| a.annotations.clone()));
        let truncated_alerts = if max_alerts == 0 { 0 } else { alerts.len().saturating_sub(max_alerts) };
        alerts.truncate(alerts.len() - truncated_alerts);
        Message {
            receiver: receiver.to_owned(),
            status: if firing { "firing" } else { "resolved" }.to_owned(),
            alerts: alerts.into_iter().map(|alert| MessageAlert::new(alert, now)).collect(),
            group_labels: owned(group_labels),
            common_labels,
            common_annotations,
            external_url: external_url.to_owned(),
            version: "4".to_owned(),
            group_key: group_key.to_owned(),
            truncated_alerts,
        }
    }

    /// One message that says what `messages` say, the worst first, at most `max_alerts` alerts of them.
    pub(crate) fn merged(messages: &[&Message], max_alerts: usize) -> Message {
        let mut alerts: Vec<&MessageAlert> = messages.iter().flat_map(|message| &message.alerts).collect();
        alerts.sort_by_key(|alert| (!alert.is_firing(), alert.severity()));
        let cut = alerts.len().saturating_sub(max_alerts);
        let left_out: usize = messages.iter().map(|message| message.truncated_alerts).sum();
        let firing = messages.iter().any(|message| message.is_firing());
        let first = messages.first().expect("a bundle holds the message that carries it");
        let keys: Vec<&str> = messages.iter().take(3).map(|message| message.group_key.as_str()).collect();
        let more = messages.len() - keys.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Message {
            receiver: first.receiver.clone(),
            status: if firing { "firing" } else { "resolved" }.to_owned(),
            group_labels: common(messages.iter().map(|message| message.group_labels.clone())),
            common_labels: common(messages.iter().map(|message| message.common_labels.clone())),
            common_annotations: common(messages.iter().map(|message| message.common_annotations.clone())),
            external_url: first.external_url.clone(),
            version: first.version.clone(),
            group_key: format!("{}{more}", keys.join(" + ")),
            truncated_alerts: left_out + cut,
            alerts: alerts.into_iter().take(max_alerts).cloned().collect(),
        }
    }

    /// Whether any alert of it fires.
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }

    /// The worst severity in it.
    pub fn severity(&self) -> Severity {
        self.alerts.iter().map(MessageAlert::severity).min().unwrap_or(Severity::Info)
    }
}

/// The pairs that all maps share.
fn common(mut maps: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let Some(mut shared) = maps.next() else { return BTreeMap::new() };
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
        if shared.is_empty() {
            break;
        }
    }
    shared
}
