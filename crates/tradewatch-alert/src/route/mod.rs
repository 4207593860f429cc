//! Where an alert goes: `alertmanager.yml` as a tree of routes.
//!
//! The meaning is Alertmanager's. What this version cannot deliver is parsed, kept by name and
//! reported in a warning; it is never dropped without a word.

mod file;
mod interval;
pub mod matchers;
mod receiver;

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_tsdb::{Labels, MatchOp, Matcher, Timestamp};

pub use interval::{NamedInterval, TimeInterval};
pub use receiver::{HttpConfig, Integration, Receiver, Secret, TlsConfig, Webhook};

use crate::error::ConfigError;

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

/// Alerts that match `source` hold back those that match `target` and are equal in `equal`.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// The alert that holds back.
    pub source: Vec<Matcher>,
    /// The alert that is held back.
    pub target: Vec<Matcher>,
    /// Labels in which both must agree; absent in both is agreement.
    pub equal: Vec<String>,
    /// Line in the file.
    pub line: usize,
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
        let integrations = vec![Integration::Terminal { send_resolved: true }];
        Config {
            routes: vec![root],
            inhibit_rules: Vec::new(),
            receivers: vec![Receiver { name: "terminal".to_owned(), integrations }],
            intervals: Vec::new(),
            resolve_timeout: Duration::from_secs(300),
            templates: Vec::new(),
        }
    }

    /// The receiver of that name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|r| r.name == name)
    }

    /// Lets every receiver also write to the terminal, for one person at the keyboard.
    pub fn add_terminal(&mut self) {
        for receiver in &mut self.receivers {
            if !receiver.integrations.iter().any(|i| matches!(i, Integration::Terminal { .. })) {
                receiver.integrations.push(Integration::Terminal { send_resolved: true });
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

    /// Why an alert with these labels goes where it goes: one line per route tried.
    pub fn explain(&self, labels: &Labels) -> Vec<RouteStep> {
        let taken: BTreeSet<usize> = self.matching(labels).into_iter().collect();
        let mut steps = Vec::new();
        self.explain_from(0, 0, labels, &taken, &mut steps);
        steps
    }

    fn explain_from(
        &self,
        at: usize,
        depth: usize,
        labels: &Labels,
        taken: &BTreeSet<usize>,
        steps: &mut Vec<RouteStep>,
    ) {
        let route = &self.routes[at];
        let failed = route.matchers.iter().find(|m| !m.matches(labels.get(m.name()).unwrap_or("")));
        steps.push(RouteStep {
            route: at,
            depth,
            matchers: matchers::print(&route.matchers),
            receiver: route.receiver.clone(),
            taken: taken.contains(&at),
            failed: failed.map(|m| matchers::print(std::slice::from_ref(m))),
        });
        if failed.is_some() {
            return;
        }
        for &child in &route.children {
            self.explain_from(child, depth + 1, labels, taken, steps);
            let matched = matchers::all_match(&self.routes[child].matchers, labels);
            if matched && !self.routes[child].continues {
                break;
            }
        }
    }

    /// Whether `route` may speak at `at`; otherwise the interval that silences it.
    pub fn muted_by<'a>(&self, route: &'a Route, at: Timestamp) -> Option<&'a str> {
        let holds = |name: &String| self.intervals.iter().any(|i| i.name == *name && i.contains(at));
        if let Some(name) = route.mute_intervals.iter().find(|name| holds(name)) {
            return Some(name);
        }
        if route.active_intervals.is_empty() || route.active_intervals.iter().any(holds) {
            return None;
        }
        route.active_intervals.first().map(String::as_str)
    }
}

/// One route that was tried for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStep {
    /// Position in [`Config::routes`].
    pub route: usize,
    /// Depth below the root.
    pub depth: usize,
    /// Its matchers.
    pub matchers: String,
    /// Its receiver.
    pub receiver: String,
    /// Whether the alert ends up here.
    pub taken: bool,
    /// The matcher that refused it.
    pub failed: Option<String>,
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
    pub(crate) fn is_source(&self, labels: &Labels) -> bool {
        matchers::all_match(&self.source, labels)
    }

    pub(crate) fn is_target(&self, labels: &Labels) -> bool {
        matchers::all_match(&self.target, labels)
    }

    pub(crate) fn equal_values(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or("").to_owned()).collect()
    }
}

pub(crate) fn equal_matcher(name: &str, value: &str) -> Result<Matcher, String> {
    Matcher::new(name, MatchOp::Equal, value).map_err(|e| e.to_string())
}
