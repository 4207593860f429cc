//! Silences: alerts muted by a person, in the form of Alertmanager's API v2.

use serde::{Deserialize, Serialize};
use tradewatch_tsdb::{Labels, MatchOp, Matcher, Timestamp};

use crate::error::Error;

/// Matchers in one silence.
const MATCHERS_MAX: usize = 64;

/// A silence as the API writes and reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// Given by the notifier; empty in a new one.
    #[serde(default)]
    pub id: String,
    /// All must hold.
    pub matchers: Vec<SilenceMatcher>,
    /// When it begins.
    #[serde(with = "rfc3339")]
    pub starts_at: Timestamp,
    /// When it ends.
    #[serde(with = "rfc3339")]
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was last changed.
    #[serde(default = "epoch", with = "rfc3339")]
    pub updated_at: Timestamp,
    /// Where it stands; not read from requests.
    #[serde(default)]
    pub status: SilenceStatus,
}

/// One matcher of a silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceMatcher {
    /// Label name.
    pub name: String,
    /// Value or expression.
    pub value: String,
    /// Whether `value` is an expression.
    pub is_regex: bool,
    /// Whether it must match; false turns it round.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

/// Where a silence stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// `pending`, `active` or `expired`.
    pub state: String,
}

fn yes() -> bool {
    true
}

fn epoch() -> Timestamp {
    Timestamp::from_millis(0)
}

impl Silence {
    /// A silence with these matchers that nobody has made yet: to be checked, or previewed.
    pub fn of(matchers: Vec<SilenceMatcher>, starts_at: Timestamp, ends_at: Timestamp) -> Silence {
        Silence {
            id: String::new(),
            matchers,
            starts_at,
            ends_at,
            created_by: String::new(),
            comment: String::new(),
            updated_at: epoch(),
            status: SilenceStatus::default(),
        }
    }

    /// `pending`, `active` or `expired`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if now >= self.ends_at {
            "expired"
        } else if now < self.starts_at {
            "pending"
        } else {
            "active"
        }
    }

    /// Its matchers, if it may be taken as it is.
    ///
    /// # Errors
    /// `is_invalid` for a silence that hides everything, ends in the past or has a broken matcher.
    pub fn check(&self, now: Timestamp) -> Result<Vec<Matcher>, Error> {
        if self.matchers.is_empty() || self.matchers.len() > MATCHERS_MAX {
            return Err(Error::invalid(format!(
                "a silence needs 1 to {MATCHERS_MAX} matchers; this has {}",
                self.matchers.len()
            )));
        }
        if self.ends_at <= self.starts_at {
            return Err(Error::invalid(
                "the silence ends before it starts; let endsAt be later than startsAt",
            ));
        }
        if self.ends_at <= now {
            return Err(Error::invalid(format!(
                "the silence ended at {}; let endsAt lie in the future",
                self.ends_at
            )));
        }
        let compiled = self.compile()?;
        if compiled.iter().all(Matcher::matches_empty) {
            return Err(Error::invalid(
                "every matcher of the silence matches an empty label, so it would hide everything; name at least one label's value",
            ));
        }
        Ok(compiled)
    }

    /// Its matchers.
    ///
    /// # Errors
    /// `is_invalid` for one without a label name, or an expression that is none.
    pub fn compile(&self) -> Result<Vec<Matcher>, Error> {
        let compile = |m: &SilenceMatcher| {
            let op = match (m.is_regex, m.is_equal) {
                (false, true) => MatchOp::Equal,
                (false, false) => MatchOp::NotEqual,
                (true, true) => MatchOp::Regex,
                (true, false) => MatchOp::NotRegex,
            };
            if m.name.is_empty() {
                return Err(Error::invalid("a matcher has no label name"));
            }
            Matcher::new(&m.name, op, &m.value)
                .map_err(|e| Error::invalid(format!("matcher of label {:?}: {e}", m.name)))
        };
        self.matchers.iter().map(compile).collect()
    }
}

/// A silence with its matchers compiled.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub silence: Silence,
    pub matchers: Vec<Matcher>,
}

impl Active {
    pub fn hides(&self, labels: &Labels, now: Timestamp) -> bool {
        self.silence.state(now) == "active"
            && crate::route::matchers::all_match(&self.matchers, labels)
            && !super::warning::is_own_warning(labels, &self.silence.id)
    }
}

/// Timestamps as RFC 3339.
pub(crate) mod rfc3339 {
    use super::*;

    pub fn serialize<S: serde::Serializer>(ts: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(ts)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|e| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time: {e}")))?;
        Ok(Timestamp::from_millis(at.as_millisecond()))
    }
}
