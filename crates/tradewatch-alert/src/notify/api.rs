//! Alerts as Alertmanager's API v2 reads and writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::{Labels, Timestamp};

use super::message::owned;
use super::silence::rfc3339;
use super::view::AlertView;
use crate::alert::Alert;
use crate::error::Error;

/// An alert that somebody sends: one element of `POST /api/v2/alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert {
    /// At least one that is not empty.
    pub labels: BTreeMap<String, String>,
    /// Texts.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; without it, now.
    #[serde(default)]
    pub starts_at: Option<String>,
    /// RFC 3339; without it, `resolve_timeout` from now.
    #[serde(default)]
    pub ends_at: Option<String>,
    /// Where its expression can be looked at.
    #[serde(default, rename = "generatorURL")]
    pub generator_url: String,
}

impl PostableAlert {
    /// The alert that is meant.
    ///
    /// # Errors
    /// `is_invalid` without labels, for a time that is none, or an end before the start.
    pub fn into_alert(self, now: Timestamp, resolve_timeout: Duration) -> Result<Alert, Error> {
        // Go writes the year 1 for a time that is not set.
        let time = |text: &Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) if text.starts_with("0001-01-01T00:00:00") => Ok(None),
            Some(text) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => Ok(Some(Timestamp::from_millis(at.as_millisecond()))),
                Err(_) => Err(Error::invalid(format!("{text:?} is not an RFC 3339 time"))),
            },
        };
        let labels = Labels::from_pairs(&self.labels);
        if labels.is_empty() {
            return Err(Error::invalid("at least one label pair required"));
        }
        let (starts_at, ends_at) = (time(&self.starts_at)?, time(&self.ends_at)?);
        // Only an end was given, and it lies in the past: then the start does too.
        let starts_at = starts_at.unwrap_or(ends_at.map_or(now, |end| end.min(now)));
        if ends_at.is_some_and(|end| end < starts_at) {
            return Err(Error::invalid("start time must be before end time"));
        }
        Ok(Alert {
            labels,
            annotations: self.annotations,
            starts_at,
            ends_at: ends_at.unwrap_or(now + resolve_timeout),
            generator_url: self.generator_url,
            value: None,
            every: Duration::ZERO,
        })
    }
}

/// An alert as `GET /api/v2/alerts` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableAlert {
    /// Texts.
    pub annotations: BTreeMap<String, String>,
    /// When it ends, or ends unless it is sent again.
    #[serde(with = "rfc3339")]
    pub ends_at: Timestamp,
    /// Its identity.
    pub fingerprint: String,
    /// Who is told.
    pub receivers: Vec<ReceiverName>,
    /// Since when it fires.
    #[serde(with = "rfc3339")]
    pub starts_at: Timestamp,
    /// What happens to it.
    pub status: AlertStatus,
    /// When it was last heard of.
    #[serde(with = "rfc3339")]
    pub updated_at: Timestamp,
    /// Where its expression can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A receiver, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiverName {
    /// The name in the configuration.
    pub name: String,
}

/// What happens to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// Fingerprints of the alerts that hold it back.
    pub inhibited_by: Vec<String>,
    /// Time intervals that mute it.
    pub muted_by: Vec<String>,
    /// Ids of the silences that hide it.
    pub silenced_by: Vec<String>,
    /// `active` or `suppressed`.
    pub state: String,
}

impl GettableAlert {
    /// The API's form of a view.
    pub fn new(view: &AlertView<'_>, now: Timestamp) -> GettableAlert {
        let inhibited_by: Vec<String> = view.inhibited_by.iter().map(ToString::to_string).collect();
        let muted_by: Vec<String> = view.muted_by.iter().cloned().collect();
        let suppressed = !inhibited_by.is_empty() || !view.silenced_by.is_empty() || !muted_by.is_empty();
        GettableAlert {
            annotations: view.alert.annotations.clone(),
            ends_at: view.alert.ends_at,
            fingerprint: view.fingerprint.to_string(),
            receivers: view.receivers.iter().map(|name| ReceiverName { name: name.clone() }).collect(),
            starts_at: view.alert.starts_at,
            status: AlertStatus {
                inhibited_by,
                muted_by,
                silenced_by: view.silenced_by.clone(),
                state: if suppressed { "suppressed" } else { "active" }.to_owned(),
            },
            updated_at: now,
            generator_url: view.alert.generator_url.clone(),
            labels: owned(&view.alert.labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Alert, Error> {
        let alert: PostableAlert = serde_json::from_str(json).expect("the form");
        alert.into_alert(Timestamp::from_millis(1_000_000), Duration::from_secs(300))
    }

    #[test]
    fn alerts_from_outside() {
        let plain = read(r#"{"labels":{"alertname":"A","empty":""}}"#).expect("valid");
        assert_eq!(plain.labels.to_string(), r#"{alertname="A"}"#);
        assert_eq!((plain.starts_at.as_millis(), plain.ends_at.as_millis()), (1_000_000, 1_300_000));
        let timed = read(
            r#"{"labels":{"a":"b"},"startsAt":"1970-01-01T00:01:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"x"}"#,
        );
        assert_eq!(timed.expect("valid").starts_at.as_millis(), 60_000);
        let ended = read(r#"{"labels":{"a":"b"},"endsAt":"1970-01-01T00:01:00Z"}"#).expect("valid");
        assert_eq!((ended.starts_at.as_millis(), ended.ends_at.as_millis()), (60_000, 60_000));
        for wrong in [
            r#"{"labels":{}}"#,
            r#"{"labels":{"a":""}}"#,
            r#"{"labels":{"a":"b"},"startsAt":"today"}"#,
            r#"{"labels":{"a":"b"},"startsAt":"1970-01-01T00:01:00Z","endsAt":"1970-01-01T00:00:59Z"}"#,
        ] {
            assert!(read(wrong).expect_err(wrong).is_invalid());
        }
    }
}
