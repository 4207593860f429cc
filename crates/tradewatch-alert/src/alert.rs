//! One alert as it goes from a rule to the notifier, and the serde forms of its parts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::{Labels, Timestamp};

/// The identity of an alert: Alertmanager's hash of its labels, printed as 16 hexadecimal digits.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The fingerprint of a label set.
    pub fn of(labels: &Labels) -> Fingerprint {
        Fingerprint(labels.fingerprint())
    }

    /// Reads the printed form.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Fingerprint)).flatten()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        let text = String::deserialize(deserializer)?;
        Fingerprint::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a fingerprint")))
    }
}

/// An alert that fires, or that has just been resolved: what the notifier is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is; with `alertname`.
    #[serde(with = "labels_as_map")]
    pub labels: Labels,
    /// What it says.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    #[serde(with = "millis")]
    pub starts_at: Timestamp,
    /// When it was resolved, or until when it is to be taken as firing unless it is sent again.
    #[serde(with = "millis")]
    pub ends_at: Timestamp,
    /// Where its expression can be looked at.
    pub generator_url: String,
    /// What its expression gave last, where a rule of ours made it: `0.314`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The interval of the rule that made it; zero for an alert from outside.
    ///
    /// An alert that an inhibition held back is released only when its rule had the chance to
    /// resolve it too.
    #[serde(default)]
    pub every: Duration,
}

impl Alert {
    /// Its identity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }

    /// The `alertname` label.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        Severity::of(&self.labels)
    }

    /// Whether it no longer fires at `now`.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }
}

/// The `severity` label in the order of delivery, worst first.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// `critical`, `page`, `emergency` or `fatal`.
    Critical,
    /// `error`, `high` or `major`.
    High,
    /// `warning`, `warn`, `medium` or `minor`.
    Warning,
    /// `info`, `low`, `none` or anything else that is not known.
    Info,
}

impl Severity {
    /// The severity that a label set states; an alert without one counts as a warning.
    pub fn of(labels: &Labels) -> Severity {
        match labels.get("severity").unwrap_or("warning").to_ascii_lowercase().as_str() {
            "critical" | "page" | "emergency" | "fatal" | "crit" => Severity::Critical,
            "error" | "high" | "major" => Severity::High,
            "warning" | "warn" | "medium" | "minor" => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

/// The state of an alert within its rule.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The condition does not hold.
    Inactive,
    /// It holds, not yet for as long as `for` asks.
    Pending,
    /// It fires.
    Firing,
}

impl State {
    /// As Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels as a JSON object.
pub(crate) mod labels_as_map {
    use super::*;

    pub fn serialize<S: serde::Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(labels.iter())
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer).map(Labels::from_pairs)
    }
}

/// Timestamps as milliseconds.
pub(crate) mod millis {
    use super::*;

    pub fn serialize<S: serde::Serializer>(ts: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(ts.as_millis())
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

/// Optional timestamps as milliseconds or null.
pub(crate) mod optional_millis {
    use super::*;

    pub fn serialize<S: serde::Serializer>(ts: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        ts.map(Timestamp::as_millis).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_millis))
    }
}
