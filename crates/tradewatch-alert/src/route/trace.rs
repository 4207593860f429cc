//! Why an alert goes where it goes, and when its route speaks.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_tsdb::{Labels, Timestamp};

use super::{Config, Route, matchers};

/// One route that was tried for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStep {
    /// Position in [`Config::routes`].
    pub route: usize,
    /// Depth below the root.
    pub depth: usize,
    /// Its matchers.
    pub matchers: String,
    /// Each of them, and whether it holds.
    pub checked: Vec<(String, bool)>,
    /// Its receiver.
    pub receiver: String,
    /// Whether the alert ends up here.
    pub taken: bool,
    /// The matcher that refused it.
    pub failed: Option<String>,
}

impl Config {
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
        let checked: Vec<(String, bool)> = route
            .matchers
            .iter()
            .map(|m| (m.to_string(), m.matches(labels.get(m.name()).unwrap_or(""))))
            .collect();
        let failed = checked.iter().find(|(_, holds)| !holds).map(|(text, _)| format!("{{{text}}}"));
        steps.push(RouteStep {
            route: at,
            depth,
            matchers: matchers::print(&route.matchers),
            checked,
            receiver: route.receiver.clone(),
            taken: taken.contains(&at),
            failed: failed.clone(),
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

    /// The group of an alert with these labels at `route`, as its key: what else has it is told together.
    pub fn group_key(&self, route: &Route, labels: &Labels) -> String {
        let group = route.group_labels(labels);
        let parts: Vec<String> = group.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{}:{{{}}}", route.key, parts.join(", "))
    }

    /// Which of the `firing` alerts hold back one with these labels, with the line of the rule.
    pub fn held_back_by<'a>(
        &self,
        labels: &Labels,
        firing: &'a [Labels],
    ) -> Option<(usize, Vec<&'a Labels>)> {
        self.inhibit_rules.iter().filter(|rule| rule.is_target(labels)).find_map(|rule| {
            let holds = |source: &super::InhibitSource| {
                let both = source.matches(labels);
                firing.iter().find(|other| {
                    *other != labels
                        && source.matches(other)
                        && source.equal_values(other) == source.equal_values(labels)
                        && !(both && rule.is_target(other))
                })
            };
            let each: Option<Vec<&Labels>> = rule.sources.iter().map(holds).collect();
            each.filter(|each| !each.is_empty()).map(|each| (rule.line, each))
        })
    }

    /// When `route` next falls silent or speaks again after `at`, and the interval that then silences
    /// it; `None` when nothing changes within `horizon`.
    ///
    /// # Cost
    /// One look per minute of the horizon.
    pub fn next_change(
        &self,
        route: &Route,
        at: Timestamp,
        horizon: Duration,
    ) -> Option<(Timestamp, Option<String>)> {
        if route.mute_intervals.is_empty() && route.active_intervals.is_empty() {
            return None;
        }
        let now = self.muted_by(route, at).is_some();
        let begin = at.as_millis() - at.as_millis().rem_euclid(60_000);
        let minutes = i64::try_from(horizon.as_secs() / 60).unwrap_or(0);
        (1..=minutes).map(|minute| Timestamp::from_millis(begin + minute * 60_000)).find_map(|at| {
            let then = self.muted_by(route, at);
            (then.is_some() != now).then(|| (at, then.map(str::to_owned)))
        })
    }
}
