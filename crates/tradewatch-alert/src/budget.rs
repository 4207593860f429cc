//! How long it takes at worst until somebody is told: computed from the configuration alone.
//!
//! The sum holds for this monitor, which evaluates a group as the scrape that feeds it commits and when `for` ends. What
//! no configuration says is not in it: how long a window takes to fill until it passes a threshold, how long the
//! machine, the network and the receiver take. Those are measured (`tradewatch_alert_generation_seconds`,
//! `tradewatch_notification_latency_seconds`).

use std::collections::BTreeMap;
use std::time::Duration;

use tradewatch_tsdb::{Labels, MatchOp, Matcher};

use crate::error::ConfigError;
use crate::route;
use crate::rules::{Group, RuleSpec};

/// What RTS 6 (EU 2017/589), Article 16(5), allows.
pub const RTS6_LIMIT: Duration = Duration::from_secs(5);

/// A target that is scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its labels, `job` among them.
    pub labels: Labels,
    /// Its scrape interval.
    pub every: Duration,
}

/// The configuration that rules work in.
#[derive(Copy, Clone, Debug)]
pub struct Plan<'a> {
    /// What is scraped.
    pub feeds: &'a [Feed],
    /// Where alerts go.
    pub routes: &'a route::Config,
    /// Added to each alert before it is routed.
    pub external_labels: &'a BTreeMap<String, String>,
}

/// The parts of the worst case from a fault to its notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Until a scrape sees the fault: a whole interval of the slowest target that the rule may read, as the last
    /// scrape may just have passed.
    pub scrape: Duration,
    /// Until the recording rules that it reads have written.
    pub records: Duration,
    /// Until the rule is evaluated; with `query_offset`.
    pub evaluation: Duration,
    /// `for`.
    pub hold: Duration,
    /// The venue whose session time `for` counts, as the rule names it: the whole budget holds within that session,
    /// and the nights in between come on top.
    pub session: Option<String>,
    /// `group_wait` of the route.
    pub grouping: Duration,
    /// For an alert that joins a group that has been told already: its `group_interval`, where
    /// that is longer than `group_wait`.
    pub joining: Duration,
    /// The receiver of that route.
    pub receiver: String,
}

impl Budget {
    /// The worst case of an alert that begins its group.
    pub fn total(&self) -> Duration {
        self.scrape + self.records + self.evaluation + self.hold + self.grouping
    }

    /// The worst case of any alert: one that joins a group may have to wait longer.
    pub fn worst(&self) -> Duration {
        self.total() - self.grouping + self.grouping.max(self.joining)
    }
}

/// The budget of each rule of each group, in their order; `None` for recording rules.
pub fn budgets(groups: &[Group], plan: &Plan<'_>) -> Vec<Vec<Option<Budget>>> {
    let rules: Vec<Vec<&RuleSpec>> =
        groups.iter().map(|group| group.rules().map(|(spec, ..)| spec).collect()).collect();
    let sight = Sight { groups, rules: &rules, plan };
    let of_group = |at: usize| (0..rules[at].len()).map(|rule| sight.budget((at, rule))).collect();
    (0..groups.len()).map(of_group).collect()
}

/// The rules that claim to meet RTS 6 (`rts6: "true"`) and cannot.
pub fn violations(groups: &[Group], budgets: &[Vec<Option<Budget>>]) -> Vec<ConfigError> {
    let mut found = Vec::new();
    for (group, budgets) in groups.iter().zip(budgets) {
        for ((spec, ..), budget) in group.rules().zip(budgets) {
            let Some(budget) =
                budget.as_ref().filter(|budget| claims_rts6(spec) && budget.worst() > RTS6_LIMIT)
            else {
                continue;
            };
            let text = crate::duration::format;
            found.push(ConfigError {
                path: group.file().to_owned(),
                line: spec.line,
                column: 1,
                message: format!(
                    "rule {:?} is labelled rts6 and may take {}: scrape {} + records {} + evaluation {} + for {} + grouping {}; Article 16(5) allows {}",
                    spec.name,
                    text(budget.worst()),
                    text(budget.scrape),
                    text(budget.records),
                    text(budget.evaluation),
                    text(budget.hold),
                    text(budget.grouping.max(budget.joining)),
                    text(RTS6_LIMIT),
                ),
                fix: "shorten one of them, name the job in the expression, or remove the label".to_owned(),
                warning: false,
            });
        }
    }
    found
}

/// Whether the rule claims to meet RTS 6 (`rts6: "true"`).
pub fn claims_rts6(rule: &RuleSpec) -> bool {
    rule.labels.get("rts6").is_some_and(|value| value == "true")
}

/// Group and rule, by position.
type At = (usize, usize);

/// How long it takes until the store holds what a rule reads.
#[derive(Copy, Clone, Default)]
struct Seen {
    scrape: Duration,
    records: Duration,
    /// Whether its arrival has the rule evaluated.
    announced: bool,
}

impl Seen {
    fn total(&self) -> Duration {
        self.scrape + self.records
    }
}

struct Sight<'a> {
    groups: &'a [Group],
    rules: &'a [Vec<&'a RuleSpec>],
    plan: &'a Plan<'a>,
}

impl Sight<'_> {
    fn budget(&self, at: At) -> Option<Budget> {
        let spec = self.rules[at.0][at.1];
        if !spec.is_alerting() {
            return None;
        }
        let seen = self.seen(at, &mut Vec::new());
        let fixed = spec.labels.iter().filter(|(_, text)| !text.contains("{{"));
        let fixed = fixed.map(|(name, value)| (name.as_str(), value.as_str()));
        let outside = self.plan.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::from_pairs(outside.chain(fixed).chain([("alertname", spec.name.as_str())]));
        // An alert may take several routes; the slowest counts.
        let routes = self.plan.routes.matching(&labels);
        let routes = routes.iter().filter_map(|at| self.plan.routes.routes.get(*at));
        let route = routes.max_by_key(|route| route.group_wait.max(route.group_interval))?;
        Some(Budget {
            scrape: seen.scrape,
            records: seen.records,
            evaluation: self.evaluation(at, &seen),
            hold: spec.hold(),
            session: spec.trading_calendar().map(str::to_owned),
            grouping: route.group_wait,
            joining: route.group_wait.max(route.group_interval),
            receiver: route.receiver.clone(),
        })
    }

    /// From the arrival of what a rule reads to its evaluation.
    fn evaluation(&self, at: At, seen: &Seen) -> Duration {
        let group = &self.groups[at.0];
        let wait = if seen.announced { Duration::ZERO } else { group.interval() };
        wait + group.query_offset()
    }

    /// The slowest of what the selectors of a rule read; `within` are the rules that ask for it.
    fn seen(&self, at: At, within: &mut Vec<At>) -> Seen {
        let mut slowest = Seen::default();
        if within.contains(&at) {
            return slowest;
        }
        within.push(at);
        for selector in self.rules[at.0][at.1].expr.selectors() {
            let matchers = &selector.selector.matchers;
            for seen in self.recorded(at, matchers, within).into_iter().chain(self.scraped(matchers)) {
                let announced = slowest.announced || seen.announced;
                if seen.total() >= slowest.total() {
                    slowest = seen;
                }
                slowest.announced = announced;
            }
        }
        within.pop();
        slowest
    }

    /// The slowest target whose labels do not contradict the selector.
    fn scraped(&self, matchers: &[Matcher]) -> Option<Seen> {
        let fits = |feed: &&Feed| {
            matchers.iter().all(|m| feed.labels.get(m.name()).is_none_or(|value| m.matches(value)))
        };
        let made_here = matchers.iter().any(|m| m.name() == "__name__" && self.is_made_by_rules(m));
        let scrape =
            self.plan.feeds.iter().filter(fits).map(|feed| feed.every).max().filter(|_| !made_here)?;
        Some(Seen { scrape, records: Duration::ZERO, announced: true })
    }

    /// Whether the matcher of a name can only mean what rules write; a pattern may mean scraped series as well.
    fn is_made_by_rules(&self, name: &Matcher) -> bool {
        let mut records = self.rules.iter().flatten().filter(|spec| !spec.is_alerting());
        name.op() == MatchOp::Equal
            && (["ALERTS", "ALERTS_FOR_STATE"].contains(&name.value())
                || records.any(|spec| spec.name == name.value()))
    }

    /// The rules that write what the selector reads.
    fn recorded(&self, reader: At, matchers: &[Matcher], within: &mut Vec<At>) -> Vec<Seen> {
        let mut found = Vec::new();
        for (group, rules) in self.rules.iter().enumerate() {
            for (rule, spec) in rules.iter().enumerate() {
                let writer = (group, rule);
                if !writes(spec, matchers) || within.contains(&writer) {
                    continue;
                }
                let mut seen = self.seen(writer, within);
                seen.records += self.evaluation(writer, &seen);
                if spec.is_alerting() {
                    seen.records += spec.hold();
                }
                // A rule that stands before the one it reads sees what that wrote the last time.
                if group == reader.0 && rule > reader.1 {
                    seen.records += if seen.announced { seen.scrape } else { self.groups[group].interval() };
                }
                // What another group writes has its readers evaluated.
                seen.announced |= group != reader.0;
                found.push(seen);
            }
        }
        found
    }
}

/// Whether a rule writes series that the selector takes.
fn writes(spec: &RuleSpec, matchers: &[Matcher]) -> bool {
    let names: &[&str] = if spec.is_alerting() { &["ALERTS", "ALERTS_FOR_STATE"] } else { &[&spec.name] };
    let named =
        names.iter().any(|name| matchers.iter().filter(|m| m.name() == "__name__").all(|m| m.matches(name)));
    let agrees = matchers.iter().all(|m| match m.name() {
        "alertname" if spec.is_alerting() => m.matches(&spec.name),
        name => spec.labels.get(name).is_none_or(|value| value.contains("{{") || m.matches(value)),
    });
    // A selector without a name would read everything: it is taken to mean what is scraped.
    named && agrees && matchers.iter().any(|m| m.name() == "__name__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleFile;

    const ROUTES: &str = "route:\n  receiver: slow\n  group_wait: 30s\n  group_interval: 1m\n  routes:\n  - {matchers: ['severity=critical'], receiver: fast, group_wait: 0s, group_interval: 1s}\n  - {matchers: ['site=lab'], receiver: lab, group_wait: 2s, group_interval: 2s}\nreceivers: [{name: slow}, {name: fast}, {name: lab}]\n";

    fn groups(text: &str) -> Vec<Group> {
        let (file, errors) = RuleFile::parse("r.yml", text);
        assert!(errors.is_empty(), "{errors:?}");
        let secs = Duration::from_secs;
        file.groups.iter().map(|spec| Group::new("r.yml", spec, secs(15), Duration::ZERO)).collect()
    }

    /// `scrape+records+evaluation+for+grouping/joining` in seconds, by rule, with the violations.
    fn check(text: &str, external: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let feed = |job: &str, every: u64| Feed {
            labels: Labels::from_pairs([("job", job), ("instance", "h:1")]),
            every: Duration::from_secs(every),
        };
        let feeds = [feed("gw", 1), feed("batch", 20)];
        let (routes, _) = route::Config::parse("a.yml", ROUTES).expect("right");
        let external = external.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let groups = groups(text);
        let plan = Plan { feeds: &feeds, routes: &routes, external_labels: &external };
        let budgets = budgets(&groups, &plan);
        let shown = groups.iter().zip(&budgets).flat_map(|(group, budgets)| {
            group.rules().zip(budgets).filter_map(|((spec, ..), budget)| {
                let b = budget.as_ref()?;
                let parts =
                    [b.scrape, b.records, b.evaluation, b.hold, b.grouping].map(|d| d.as_secs().to_string());
                Some(format!(
                    "{}: {}/{} {} {}",
                    spec.name,
                    parts.join("+"),
                    b.joining.as_secs(),
                    b.worst().as_secs(),
                    b.receiver
                ))
            })
        });
        let wrong = violations(&groups, &budgets).iter().map(ToString::to_string).collect();
        (shown.collect(), wrong)
    }

    fn shown(rules: &str) -> Vec<String> {
        check(&format!("groups:\n- name: g\n  rules:\n{rules}"), &[]).0
    }

    #[test]
    fn a_rule_waits_for_the_slowest_target_it_may_read() {
        assert_eq!(
            shown(
                "  - {alert: A, expr: 'up{job=\"gw\"} == 0', labels: {severity: critical}}\n  - {alert: B, expr: up == 0}\n  - {alert: C, expr: 'absent(x{job=~\"g.\"})', for: 10s, labels: {severity: critical}}\n  - {alert: D, expr: 'up{job=\"nobody\"} == 0'}\n  - {alert: E, expr: vector(1)}\n"
            ),
            [
                "A: 1+0+0+0+0/1 2 fast",
                "B: 20+0+0+0+30/60 80 slow",
                "C: 1+0+0+10+0/1 12 fast",
                "D: 0+0+15+0+30/60 75 slow",
                "E: 0+0+15+0+30/60 75 slow",
            ]
        );
    }

    #[test]
    fn what_rules_write_adds_its_own_way() {
        let text = "groups:\n- name: a\n  rules:\n  - {alert: Early, expr: 'r > 1', labels: {severity: critical}}\n  - {record: r, expr: 'x{job=\"gw\"}'}\n  - {alert: Late, expr: 'r > 1', labels: {severity: critical}}\n- name: b\n  interval: 40s\n  rules:\n  - {record: slow, expr: 'vector(1)'}\n  - {alert: Loop, expr: 'ALERTS{alertname=\"Loop\"} or r', labels: {severity: critical}}\n- name: c\n  query_offset: 3s\n  rules:\n  - {alert: Far, expr: 'slow > 0', labels: {severity: critical}}\n  - {alert: Chain, expr: 'ALERTS{alertname=\"Held\",alertstate=\"firing\"}', labels: {severity: critical}}\n  - {alert: Held, expr: 'x{job=\"gw\"}', for: 7s, labels: {severity: critical}}\n";
        assert_eq!(
            check(text, &[]).0,
            [
                // It stands before what it reads: another scrape.
                "Early: 1+1+0+0+0/1 3 fast",
                "Late: 1+0+0+0+0/1 2 fast",
                "Loop: 1+0+0+0+0/1 2 fast",
                // The other group's interval, and its own offset.
                "Far: 0+40+3+0+0/1 44 fast",
                "Chain: 1+11+3+0+0/1 16 fast",
                "Held: 1+0+3+7+0/1 12 fast",
            ]
        );
    }

    #[test]
    fn external_labels_take_part_in_routing() {
        let text = "groups: [{name: g, rules: [{alert: A, expr: 'up{job=\"gw\"} == 0'}]}]";
        assert_eq!(check(text, &[("site", "lab")]).0, ["A: 1+0+0+0+2/2 3 lab"]);
    }

    #[test]
    fn a_claim_that_cannot_hold_is_an_error_at_its_place() {
        let text = "groups:\n- name: g\n  rules:\n  - {alert: Good, expr: 'up{job=\"gw\"} == 0', for: 3s, labels: {severity: critical, rts6: 'true'}}\n  - alert: Bad\n    expr: 'up{job=\"gw\"} == 0'\n    for: 4s\n    labels: {severity: critical, rts6: 'true'}\n";
        assert_eq!(
            check(text, &[]).1,
            [
                "r.yml:5:1: rule \"Bad\" is labelled rts6 and may take 6s: scrape 1s + records 0s + evaluation 0s + for 4s + grouping 1s; Article 16(5) allows 5s; shorten one of them, name the job in the expression, or remove the label"
            ]
        );
    }
}
