//! A rule group: rules evaluated in order at one time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::{Appender, Labels, Matcher, STALE_NAN, Sample, Timestamp, Value};

use super::alerting::{ActiveAlert, AlertChange, Alerts, Outcome};
use super::file::{GroupSpec, RuleKind, RuleSpec};
use super::restore::Ghosts;
use super::{Answer, Surroundings};
use crate::alert::{Alert, State};

/// How a rule fares.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation gave a result.
    Ok,
    /// The last evaluation failed.
    Err,
}

impl Health {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Ok => "ok",
            Health::Err => "err",
        }
    }
}

/// The last evaluation of one rule.
#[derive(Clone, Debug, Default)]
pub struct RuleStatus {
    /// Whether it worked.
    pub health: Health,
    /// Why not.
    pub last_error: Option<String>,
    /// When.
    pub last_evaluation: Option<Timestamp>,
    /// How long it took.
    pub evaluation_time: Duration,
    /// Elements that the expression gave.
    pub elements: usize,
    /// When the expression last gave any element; for "matched nothing for N hours".
    pub last_match: Option<Timestamp>,
}

/// One rule with its state.
#[derive(Clone, Debug)]
struct Rule {
    spec: Arc<RuleSpec>,
    status: RuleStatus,
    /// The series of the last evaluation that worked.
    previous: HashSet<Labels>,
    alerts: Alerts,
    ghosts: Ghosts,
    /// Whether it may read what a rule before it wrote in the same evaluation.
    reads_before: bool,
}

/// A rule group with its state.
#[derive(Clone, Debug)]
pub struct Group {
    file: String,
    name: String,
    interval: Duration,
    query_offset: Duration,
    limit: usize,
    rules: Vec<Rule>,
    /// Series of rules that are gone; they end at the next evaluation.
    orphaned_series: BTreeSet<Labels>,
    /// Alerts of rules that are gone.
    orphaned_alerts: Vec<ActiveAlert>,
    begun: bool,
    last_evaluation: Option<Timestamp>,
    evaluation_time: Duration,
}

/// What one evaluation of one rule came to.
#[derive(Clone, Debug)]
pub struct RuleOutcome {
    /// Position in the group.
    pub rule: usize,
    /// The rule's name.
    pub name: String,
    /// Why it failed; the rest of the group went on.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What one evaluation of a group gave. The samples are in the store already.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Changes of state, for the live view.
    pub changes: Vec<AlertChange>,
    /// What the notifier must hear: firing and resolved alerts, new or due again.
    pub alerts: Vec<Alert>,
    /// Per rule, in order.
    pub rules: Vec<RuleOutcome>,
    /// Samples written, stale markers included.
    pub samples: usize,
    /// Samples that the store did not take: out of order or twice.
    pub refused: usize,
    /// Why the store could not write, if so; the samples since are lost.
    pub store_error: Option<String>,
    /// Template errors, warnings of queries, refused samples.
    pub warnings: Vec<String>,
}

impl Group {
    /// A group that has not been evaluated; `interval` and `query_offset` are the global settings,
    /// used where the group has none.
    pub fn new(file: &str, spec: &GroupSpec, interval: Duration, query_offset: Duration) -> Group {
        let mut group = Group {
            file: file.to_owned(),
            name: spec.name.clone(),
            interval: spec.interval.unwrap_or(interval),
            query_offset: spec.query_offset.unwrap_or(query_offset),
            limit: spec.limit,
            rules: Vec::new(),
            orphaned_series: BTreeSet::new(),
            orphaned_alerts: Vec::new(),
            begun: false,
            last_evaluation: None,
            evaluation_time: Duration::ZERO,
        };
        for spec in &spec.rules {
            let reads_before = group.rules.iter().any(|before| may_read(spec, &before.spec));
            group.rules.push(Rule {
                spec: Arc::new(spec.clone()),
                status: RuleStatus::default(),
                previous: HashSet::new(),
                alerts: Alerts::default(),
                ghosts: Ghosts::default(),
                reads_before,
            });
        }
        group
    }

    /// The file it comes from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its name, unique within the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The upper bound between two evaluations.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Alerts or series per rule; 0 is no limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How far back evaluation looks.
    pub fn query_offset(&self) -> Duration {
        self.query_offset
    }

    /// When it was last evaluated.
    pub fn last_evaluation(&self) -> Option<Timestamp> {
        self.last_evaluation
    }

    /// How long that took.
    pub fn evaluation_time(&self) -> Duration {
        self.evaluation_time
    }

    /// When `for` or `keep_firing_for` of one of its alerts ends next: to be evaluated then, whatever its interval.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.rules.iter().filter_map(|rule| rule.alerts.next_end(&rule.spec)).min()
    }

    /// The rules in order, with status and the alerts that are pending, firing or lately resolved.
    pub fn rules(&self) -> impl Iterator<Item = (&RuleSpec, &RuleStatus, Vec<&ActiveAlert>)> {
        self.rules.iter().map(|rule| (&*rule.spec, &rule.status, rule.alerts.active.values().collect()))
    }

    /// The worst state of the alerts of rule `index`.
    pub fn state(&self, index: usize) -> State {
        let alerts = self.rules.get(index).map(|rule| &rule.alerts.active);
        alerts.and_then(|active| active.values().map(|a| a.state).max()).unwrap_or(State::Inactive)
    }

    /// The matchers of every selector of every rule: what feeds this group.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        let all = self.rules.iter().flat_map(|rule| rule.spec.expr.selectors());
        all.map(|selector| selector.selector.matchers.to_vec()).collect()
    }

    /// Takes over the state of the same group of before a reload: rules with the same name and
    /// labels go on, alerts of rules that are gone are resolved at the next evaluation.
    pub fn inherit(&mut self, old: Group) {
        self.begun |= old.begun;
        self.last_evaluation = old.last_evaluation;
        self.evaluation_time = old.evaluation_time;
        self.orphaned_series.extend(old.orphaned_series);
        self.orphaned_alerts.extend(old.orphaned_alerts);
        let mut taken = vec![false; self.rules.len()];
        for before in old.rules {
            let same = |rule: &Rule| {
                rule.spec.name == before.spec.name
                    && rule.spec.labels == before.spec.labels
                    && rule.spec.is_alerting() == before.spec.is_alerting()
            };
            match self.rules.iter().enumerate().position(|(at, rule)| !taken[at] && same(rule)) {
                Some(at) => {
                    taken[at] = true;
                    let rule = &mut self.rules[at];
                    rule.status = before.status;
                    rule.previous = before.previous;
                    rule.alerts = before.alerts;
                    rule.alerts.forget_texts();
                    rule.ghosts = before.ghosts;
                }
                None => {
                    self.orphaned_series.extend(before.previous);
                    let firing = before.alerts.active.into_values().filter(|a| a.state == State::Firing);
                    self.orphaned_alerts.extend(firing);
                }
            }
        }
    }

    /// Ends the group: its series get stale markers, its firing alerts are resolved.
    ///
    /// To be called before a new group that makes the same alerts is evaluated for the first time,
    /// as when a group is renamed; else the new one would take them up and this would end them.
    pub fn retire(mut self, now: Timestamp, around: &Surroundings) -> Evaluation {
        self.rules.iter_mut().for_each(|rule| self.orphaned_series.extend(rule.previous.drain()));
        let mut evaluation = Evaluation::default();
        for rule in &mut self.rules {
            let url = generator_url(&around.external_url, &rule.spec.query);
            evaluation.alerts.extend(rule.alerts.retire(now, around, &url));
        }
        let mut writer = Writer::new(around, now - self.query_offset);
        self.end_orphans(now, around, &mut writer, &mut evaluation);
        writer.finish(&mut evaluation);
        evaluation
    }

    /// Evaluates every rule in order. One that fails is reported and the rest goes on.
    pub fn evaluate(&mut self, now: Timestamp, around: &Surroundings) -> Evaluation {
        let begin = (around.stopwatch)();
        let mut evaluation = Evaluation::default();
        if !std::mem::replace(&mut self.begun, true) {
            for rule in self.rules.iter_mut().filter(|rule| rule.spec.is_alerting()) {
                rule.ghosts =
                    Ghosts::read(&around.db, &rule.spec, now, around.outage_tolerance, self.interval);
            }
        }
        let at = now - self.query_offset;
        let mut writer = Writer::new(around, at);
        for index in 0..self.rules.len() {
            let rule = &mut self.rules[index];
            if rule.reads_before {
                writer.flush(&mut evaluation);
            }
            let begin = (around.stopwatch)();
            let result = rule.evaluate(now, at, self.limit, around, &mut evaluation);
            let took = (around.stopwatch)().saturating_sub(begin);
            rule.status.last_evaluation = Some(now);
            rule.status.evaluation_time = took;
            let error = match result {
                Ok(samples) => {
                    rule.write(samples, &mut writer, &mut evaluation);
                    rule.status.health = Health::Ok;
                    None
                }
                Err(error) => {
                    rule.status.health = Health::Err;
                    Some(error)
                }
            };
            rule.status.last_error.clone_from(&error);
            // A rule that fails keeps its alerts: those who listen must not take them for ended.
            let url = generator_url(&around.external_url, &rule.spec.query);
            evaluation.alerts.extend(rule.alerts.take_due(now, around, &url, self.interval));
            evaluation.rules.push(RuleOutcome { rule: index, name: rule.spec.name.clone(), error, took });
        }
        self.end_orphans(now, around, &mut writer, &mut evaluation);
        writer.finish(&mut evaluation);
        self.last_evaluation = Some(now);
        self.evaluation_time = (around.stopwatch)().saturating_sub(begin);
        evaluation
    }

    /// Ends what rules that are gone left behind.
    fn end_orphans(
        &mut self,
        now: Timestamp,
        around: &Surroundings,
        writer: &mut Writer<'_>,
        evaluation: &mut Evaluation,
    ) {
        if self.orphaned_series.is_empty() && self.orphaned_alerts.is_empty() {
            return;
        }
        let written: HashSet<&Labels> = self.rules.iter().flat_map(|rule| &rule.previous).collect();
        for series in &self.orphaned_series {
            if !written.contains(series) {
                writer.append(series, Value::Float(STALE_NAN), evaluation);
            }
        }
        let alive: HashSet<&Labels> = self.rules.iter().flat_map(|rule| rule.alerts.active.keys()).collect();
        let gone = std::mem::take(&mut self.orphaned_alerts);
        let gone: BTreeMap<Labels, ActiveAlert> =
            gone.into_iter().filter(|a| !alive.contains(&a.labels)).map(|a| (a.labels.clone(), a)).collect();
        self.orphaned_series.clear();
        evaluation.alerts.extend(Alerts::orphans(gone).retire(now, around, ""));
    }
}

impl Rule {
    /// Asks and gives the samples to write.
    fn evaluate(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        limit: usize,
        around: &Surroundings,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<(Labels, Value)>, String> {
        let mut answer = (around.query)(&self.spec.expr, at)?;
        evaluation.warnings.append(&mut answer.warnings);
        self.status.elements = answer.vector.len();
        if !answer.vector.is_empty() {
            self.status.last_match = Some(now);
        }
        match &self.spec.kind {
            RuleKind::Recording => record(&self.spec, answer, limit),
            RuleKind::Alerting { .. } => {
                self.ghosts.leave_to_others(&around.db, now);
                self.previous.extend(self.ghosts.departing_series(now));
                let Outcome { samples, changes, warnings } =
                    self.alerts.evaluate(now, &self.spec, answer, limit, around, &mut self.ghosts)?;
                evaluation.changes.extend(changes);
                evaluation.warnings.extend(warnings);
                Ok(samples)
            }
        }
    }

    /// Writes the samples, and a stale marker for each series that is there no more.
    fn write(&mut self, samples: Vec<(Labels, Value)>, writer: &mut Writer<'_>, evaluation: &mut Evaluation) {
        let mut written = HashSet::with_capacity(samples.len());
        for (labels, value) in samples {
            writer.append(&labels, value, evaluation);
            written.insert(labels);
        }
        // In order, so that the same run writes the same log.
        let mut gone: Vec<&Labels> = self.previous.difference(&written).collect();
        gone.sort();
        for series in gone {
            writer.append(series, Value::Float(STALE_NAN), evaluation);
        }
        self.previous = written;
    }
}

/// The result of a recording rule under its own name.
fn record(rule: &RuleSpec, answer: Answer, limit: usize) -> Result<Vec<(Labels, Value)>, String> {
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for (metric, value) in answer.vector {
        let own = rule.labels.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let labels = Labels::from_pairs(metric.iter().chain([("__name__", rule.name.as_str())]).chain(own));
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
        samples.push((labels, value));
    }
    if limit > 0 && samples.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
    }
    Ok(samples)
}

/// Whether `rule` may read what `before` writes.
fn may_read(rule: &RuleSpec, before: &RuleSpec) -> bool {
    let written: &[&str] = match before.kind {
        RuleKind::Recording => &[&before.name],
        RuleKind::Alerting { .. } => &["ALERTS", "ALERTS_FOR_STATE"],
    };
    if !rule.is_timeless() {
        return true;
    }
    rule.expr.selectors().iter().any(|selector| {
        written
            .iter()
            .any(|name| selector.selector.matchers.iter().all(|m| m.name() != "__name__" || m.matches(name)))
    })
}

/// Where the expression can be looked at.
fn generator_url(external_url: &str, query: &str) -> String {
    let query = crate::template::escape_query(query);
    format!("{}/graph?g0.expr={query}&g0.tab=1", external_url.trim_end_matches('/'))
}

/// Collects samples and commits them in as few records as the rules' order allows.
struct Writer<'a> {
    around: &'a Surroundings,
    at: Timestamp,
    appender: Option<Appender>,
    pending: usize,
}

impl Writer<'_> {
    fn new(around: &Surroundings, at: Timestamp) -> Writer<'_> {
        Writer { around, at, appender: None, pending: 0 }
    }

    fn append(&mut self, labels: &Labels, value: Value, evaluation: &mut Evaluation) {
        let appender = self.appender.get_or_insert_with(|| self.around.db.appender());
        let id = appender.series(labels);
        match appender.append_sample(id, Sample { ts: self.at, value, start: None }) {
            Ok(()) => self.pending += 1,
            Err(error) => {
                evaluation.refused += 1;
                evaluation.warnings.push(format!("sample refused: {labels}: {error}"));
            }
        }
    }

    fn flush(&mut self, evaluation: &mut Evaluation) {
        let Some(appender) = self.appender.take() else { return };
        match appender.commit() {
            Ok(_) => evaluation.samples += self.pending,
            Err(error) => evaluation.store_error = Some(error.to_string()),
        }
        self.pending = 0;
    }

    fn finish(mut self, evaluation: &mut Evaluation) {
        self.flush(evaluation);
    }
}
