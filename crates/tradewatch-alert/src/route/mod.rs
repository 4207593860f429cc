//! Where an alert goes: `alertmanager.yml` as a tree of routes.
//!
//! The meaning is Alertmanager's. What this version cannot deliver is parsed, kept by name and
//! reported in a warning; it is never dropped without a word.

mod file;
mod interval;
pub mod matchers;
mod receiver;
mod redact;
mod trace;

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_tsdb::{Labels, MatchOp, Matcher, Timestamp};

pub use interval::{Calendars, NamedInterval, TimeInterval};
pub use receiver::{
    Channel, Credential, Discord, Email, EmailTls, HttpConfig, Integration, OAuth2, PagerDuty, PagerDutyKey,
    RateLimit, Receiver, Secret, Slack, SlackAction, SlackField, Telegram, Text, Texts, TlsConfig, Twilio,
    Webhook,
};
pub use trace::RouteStep;

use crate::error::ConfigError;
use crate::template::notice::Set;

/// What is in force without a file, as one.
const TERMINAL: &str = "route:\n  receiver: terminal\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 4h\nreceivers:\n- name: terminal\n";

/// A whole `alertmanager.yml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every route, the root first; children come after their parents.
    pub routes: Vec<Route>,
    /// Inhibition rules in the order of the file.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Receivers in the order of the file.
    pub receivers: Vec<Receiver>,
    /// Named time intervals, `time_intervals` and the older `mute_time_intervals` together.
    pub intervals: Vec<NamedInterval>,
    /// After this time an alert from outside that names no end and is not sent again is resolved.
    pub resolve_timeout: Duration,
    /// Notification template files as written.
    pub templates: Vec<String>,
    /// When exchanges are open, for `trading_calendar`; nothing is known until somebody sets it.
    pub calendars: Calendars,
    /// The file for people: secrets read `<secret>`, comments are gone.
    pub redacted: String,
    path: String,
    source: Secret,
}

/// One node of the route tree, with what it inherits filled in.
#[derive(Clone, Debug)]
pub struct Route {
    /// Alertmanager's key: the matchers from the root down; it begins group keys.
    pub key: String,
    /// The key with the position among its siblings, unique in a file.
    pub id: String,
    /// The receiver's name.
    pub receiver: String,
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// How alerts are grouped.
    pub group_by: GroupBy,
    /// From the first alert of a new group to its notification.
    pub group_wait: Duration,
    /// Between two notifications of a group that changed.
    pub group_interval: Duration,
    /// Between two notifications of a group that did not change.
    pub repeat_interval: Duration,
    /// Whether the siblings after this one are tried as well.
    pub continues: bool,
    /// Intervals in which this route is silent.
    pub mute_intervals: Vec<String>,
    /// When not empty, this route speaks only inside one of these.
    pub active_intervals: Vec<String>,
    /// Positions of the children in [`Config::routes`].
    pub children: Vec<usize>,
    /// Line in the file.
    pub line: usize,
}

/// How a route groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: each label set on its own.
    All,
    /// Alerts equal in these labels share a group.
    Labels(BTreeSet<String>),
}

/// An alert that matches `target` is held back while each of `sources` has one that fires.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// The alerts that hold back; one source unless the file says `sources`.
    pub sources: Vec<InhibitSource>,
    /// The alert that is held back.
    pub target: Vec<Matcher>,
    /// Line in the file.
    pub line: usize,
}

/// One of the alerts that together hold back.
#[derive(Clone, Debug)]
pub struct InhibitSource {
    /// What it matches.
    pub matchers: Vec<Matcher>,
    /// Labels in which it agrees with the target; absent in both is agreement.
    pub equal: Vec<String>,
}

impl Config {
    /// Reads `alertmanager.yml`; `path` is used in messages only.
    ///
    /// # Errors
    /// Every error found, each with its place; a file with an error is refused as a whole, since a
    /// route tree with a hole sends alerts to the wrong people. With the config come the warnings.
    pub fn parse(path: &str, text: &str) -> Result<(Config, Vec<ConfigError>), Vec<ConfigError>> {
        file::parse(path, text)
    }

    /// What is used without a file: every alert on the terminal, at once, grouped by name.
    pub fn terminal() -> Config {
        let group_by = GroupBy::Labels(["alertname".to_owned()].into());
        let root = Route {
            key: "{}".to_owned(),
            id: "{}".to_owned(),
            receiver: "terminal".to_owned(),
            matchers: Vec::new(),
            group_by,
            group_wait: Duration::ZERO,
            group_interval: Duration::from_secs(1),
            repeat_interval: Duration::from_secs(4 * 3600),
            continues: false,
            mute_intervals: Vec::new(),
            active_intervals: Vec::new(),
            children: Vec::new(),
            line: 0,
        };
        let integrations = vec![Integration::terminal()];
        Config {
            routes: vec![root],
            inhibit_rules: Vec::new(),
            receivers: vec![Receiver { name: "terminal".to_owned(), integrations }],
            intervals: Vec::new(),
            resolve_timeout: Duration::from_secs(300),
            templates: Vec::new(),
            calendars: Calendars::default(),
            redacted: TERMINAL.to_owned(),
            path: String::new(),
            source: Secret::default(),
        }
    }

    /// Compiles the texts of the receivers with the templates of `set`.
    ///
    /// # Errors
    /// Every text that cannot be compiled or does not end, with its place in the file.
    pub fn compile(&mut self, set: &Set) -> Result<(), Vec<ConfigError>> {
        let mut errors = Vec::new();
        for receiver in &mut self.receivers {
            for text in receiver.integrations.iter_mut().flat_map(Integration::texts_mut) {
                let Err(wrong) = text.compile(set) else { continue };
                let place = text.node.as_ref().map(|node| node.locate(&self.source.0, wrong.offset));
                let (line, column) = place.unwrap_or((0, 0));
                errors.push(ConfigError {
                    path: self.path.clone(),
                    line,
                    column,
                    message: format!("receiver {:?}: {}", receiver.name, wrong.message),
                    fix: String::new(),
                    warning: false,
                });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The receiver of that name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|r| r.name == name)
    }

    /// Lets every receiver also write to the terminal, for one person at the keyboard.
    pub fn add_terminal(&mut self) {
        for receiver in &mut self.receivers {
            if !receiver.integrations.iter().any(|i| matches!(i.channel, Channel::Terminal)) {
                receiver.integrations.push(Integration::terminal());
            }
        }
    }

    /// The routes that take an alert with these labels, as positions in [`Config::routes`].
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found
    }

    fn descend(&self, at: usize, labels: &Labels, found: &mut Vec<usize>) -> bool {
        let route = &self.routes[at];
        if !matchers::all_match(&route.matchers, labels) {
            return false;
        }
        let before = found.len();
        for &child in &route.children {
            if self.descend(child, labels, found) && !self.routes[child].continues {
                break;
            }
        }
        if found.len() == before {
            found.push(at);
        }
        true
    }

    /// Whether `route` may speak at `at`; otherwise the interval that silences it.
    pub fn muted_by<'a>(&self, route: &'a Route, at: Timestamp) -> Option<&'a str> {
        let holds = |name: &String| {
            let found = self.intervals.iter().find(|interval| interval.name == *name);
            found.map_or(Some(false), |interval| interval.contains(at, &self.calendars))
        };
        if let Some(name) = route.mute_intervals.iter().find(|name| holds(name) == Some(true)) {
            return Some(name);
        }
        // What a calendar does not know silences nobody.
        if route.active_intervals.iter().any(|name| holds(name) != Some(false)) {
            return None;
        }
        route.active_intervals.first().map(String::as_str)
    }

    /// The calendars that time intervals name.
    pub fn trading_calendars(&self) -> impl Iterator<Item = &str> {
        let parts = self.intervals.iter().flat_map(|interval| &interval.parts);
        parts.filter_map(TimeInterval::calendar).map(|used| used.mic.as_str())
    }

    /// Uses of `trading_calendar` with a calendar that is not among `known`.
    pub fn unknown_calendars(&self, known: &[&str]) -> Vec<ConfigError> {
        let used =
            self.intervals.iter().flat_map(|interval| &interval.parts).filter_map(TimeInterval::calendar);
        let wrong = used.filter(|used| !known.contains(&used.mic.as_str()));
        wrong
            .map(|used| ConfigError {
                path: self.path.clone(),
                line: used.line,
                column: used.column,
                message: format!("unknown trading_calendar {:?}", used.mic),
                fix: format!("known are {}", known.join(", ")),
                warning: false,
            })
            .collect()
    }
}

impl Route {
    /// The labels an alert is grouped by here.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => {
                Labels::from_pairs(labels.iter().filter(|(name, _)| names.contains(*name)))
            }
        }
    }
}

impl InhibitRule {
    pub(crate) fn is_target(&self, labels: &Labels) -> bool {
        matchers::all_match(&self.target, labels)
    }
}

impl InhibitSource {
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        matchers::all_match(&self.matchers, labels)
    }

    pub(crate) fn equal_values(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or("").to_owned()).collect()
    }
}

pub(crate) fn equal_matcher(name: &str, value: &str) -> Result<Matcher, String> {
    Matcher::new(name, MatchOp::Equal, value).map_err(|e| e.to_string())
}
