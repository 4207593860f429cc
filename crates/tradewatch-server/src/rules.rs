//! Rule groups: evaluated when the scrape that feeds them commits, and at their interval at the latest.
//!
//! Each group runs on a thread of its own while it is evaluated, so that a slow one holds up none of the
//! others. What an evaluation gives leaves only after its samples are in the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tradewatch_alert::budget::Budget;
use tradewatch_alert::rules::{Answer, Evaluation, Group, RuleFile, RuleOutcome, Surroundings};
use tradewatch_alert::{Alert, ConfigError, State};
use tradewatch_promql::QueryValue;
use tradewatch_tsdb::{Labels, Matcher, Timestamp, Value};

use crate::clock;
use crate::markets::Live;
use crate::push::Pushed;
use crate::query::{Overrides, Queries, When};
use crate::scrape::manager::Committed;
use crate::telemetry::{Own, RuleGroup};

/// Two evaluations of a group are at least this far apart: scrapes of one second commit within a few
/// milliseconds of each other, and one evaluation serves them all.
const SPACING_MIN: Duration = Duration::from_millis(20);

/// When `for` ends while a scrape that feeds the group is about to come in, that is waited for so long: what it
/// brings may say that the condition is over.
const SCRAPE_GRACE: Duration = Duration::from_millis(50);

/// Wait after a fault of ours, so that one that comes again and again does not eat the machine.
pub const AFTER_PANIC: Duration = Duration::from_millis(200);
/// A new group is first evaluated after this time, when each target had its first scrape: before that
/// every `absent()` would fire.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// What rules hear and are told.
#[derive(Debug)]
pub enum Message {
    /// A scrape was committed.
    Committed(Committed),
    /// Pushed samples were committed.
    Pushed(Pushed),
    /// A target is gone.
    Gone {
        /// Which.
        source: u64,
    },
    /// The calendar is another one: every `for` may end at another time.
    Calendar,
    /// New rule files are in force.
    Replace(Vec<(Group, Vec<Option<Budget>>)>, Around),
    /// A group was evaluated.
    Done(Box<Done>),
}

/// An evaluation has ended.
#[derive(Debug)]
pub struct Done {
    /// Of which group.
    id: u64,
    /// Since what fed it was committed.
    lag: Duration,
    /// The time stamp of the oldest samples that it saw for the first time.
    fed_at: Option<Timestamp>,
    /// When `for` or `keep_firing_for` of an alert ends next.
    next_end: Option<Timestamp>,
    evaluation: Evaluation,
}

/// What changes with the configuration and rules need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// `external_labels`.
    pub external_labels: BTreeMap<String, String>,
    /// Where the monitor is reached.
    pub external_url: String,
    /// A firing alert is told again after this time.
    pub resend_delay: Duration,
}

impl Around {
    /// The labels under which the notifier knows an alert: with `external_labels` where it has none of its own.
    pub fn outside(&self, labels: &Labels) -> Labels {
        if self.external_labels.is_empty() {
            return labels.clone();
        }
        let external = self.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::from_pairs(external.chain(labels.iter()))
    }
}

/// What comes out of evaluations.
#[derive(Debug)]
pub struct Told {
    /// Firing and resolved alerts, new or due again.
    pub alerts: Vec<Alert>,
    /// Whether a state changed: pages want to know.
    pub changed: bool,
}

/// The running groups, for the API.
pub type Shared = Arc<Mutex<Vec<Arc<Shown>>>>;

/// A running group, and how long its alerts take at worst.
#[derive(Debug)]
pub struct Shown {
    group: Mutex<Group>,
    budgets: Vec<Option<Budget>>,
}

impl Shown {
    fn new(group: Group, budgets: Vec<Option<Budget>>) -> Shown {
        Shown { group: Mutex::new(group), budgets }
    }

    /// The group; held while it is evaluated.
    pub fn lock(&self) -> MutexGuard<'_, Group> {
        // A panic in one rule must not take the group from the pages.
        self.group.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// The latency budget of rule `index`; `None` for a recording rule.
    pub fn budget(&self, index: usize) -> Option<&Budget> {
        self.budgets.get(index).and_then(Option::as_ref)
    }
}

/// Parses rule files; what is broken is left out and told.
pub fn read_files(
    paths: &[PathBuf],
    interval: Duration,
    query_offset: Duration,
) -> (Vec<Group>, Vec<ConfigError>, Vec<String>) {
    let (mut groups, mut errors, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let shown = path.display().to_string();
        match crate::config::read_limited(path) {
            Err(error) => unreadable.push(error.to_string()),
            Ok(text) => {
                let (file, found) = RuleFile::parse(&shown, &text);
                errors.extend(found);
                groups
                    .extend(file.groups.iter().map(|spec| Group::new(&shown, spec, interval, query_offset)));
            }
        }
    }
    (groups, errors, unreadable)
}

/// Answers rules from the store.
pub fn surroundings(queries: &Queries, around: &Around, live: &Live) -> Surroundings {
    let asked = queries.clone();
    let query = Arc::new(move |expr: &tradewatch_promql::Expr, at: Timestamp| {
        let result =
            asked.run_here(expr, When::At(at), Overrides::default()).map_err(|error| error.to_string())?;
        let vector = match result.value {
            QueryValue::Vector(samples) => {
                samples.into_iter().map(|sample| (sample.labels, sample.value)).collect()
            }
            QueryValue::Scalar { value, .. } => vec![(Labels::empty(), Value::Float(value))],
            _ => return Err("rule result is not a vector or scalar".to_owned()),
        };
        Ok(Answer { vector, warnings: result.warnings, infos: result.infos })
    });
    Surroundings {
        external_labels: around.external_labels.clone(),
        external_url: around.external_url.clone(),
        resend_delay: around.resend_delay,
        stopwatch,
        calendar: live.calendar(),
        ..Surroundings::new(query, queries.db().clone())
    }
}

fn stopwatch() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

struct Running {
    /// Unique while the process lives: positions change with a reload.
    id: u64,
    group: Arc<Shown>,
    label: RuleGroup,
    interval: Duration,
    selectors: Vec<Vec<Matcher>>,
    /// Names that it records; groups that read them are fed by it.
    writes: Vec<String>,
    /// Under evaluation now.
    busy: bool,
    /// Something it reads was committed; since when.
    fed_since: Option<Instant>,
    /// The time stamp of the oldest samples that wait for an evaluation.
    fed_at: Option<Timestamp>,
    /// To be evaluated then, although nothing may have fed it: `for` ends, or a pushed sample gets its time.
    wake_at: Option<Timestamp>,
    last: Timestamp,
    /// The first evaluation waits for this.
    not_before: Timestamp,
    /// How long the last evaluation took.
    took: Duration,
}

/// Evaluates all groups.
pub struct Runner {
    queries: Queries,
    live: Live,
    own: Arc<Own>,
    shared: Shared,
    inbox: mpsc::UnboundedReceiver<Message>,
    myself: mpsc::UnboundedSender<Message>,
    told: mpsc::UnboundedSender<Told>,
    around: Around,
    running: Vec<Running>,
    next_id: u64,
    /// Per target: its label sets, and which groups they feed.
    sources: HashMap<u64, Source>,
}

struct Source {
    interval: Duration,
    /// Time stamp of the last scrape.
    last_at: Timestamp,
    series: Arc<Vec<Labels>>,
    feeds: HashSet<u64>,
}

impl Runner {
    /// A runner without groups; its messages come through `inbox`.
    pub fn new(
        queries: Queries,
        live: Live,
        own: Arc<Own>,
        shared: Shared,
        (myself, inbox): (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Message>),
        told: mpsc::UnboundedSender<Told>,
    ) -> Runner {
        Runner {
            queries,
            live,
            own,
            shared,
            inbox,
            myself,
            told,
            around: Around::default(),
            running: Vec::new(),
            next_id: 1,
            sources: HashMap::new(),
        }
    }

    /// Runs until `stop`, then until no group is under evaluation.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Rules must not fall silent by a fault of ours: what is broken is said, the rest goes on.
        while AssertUnwindSafe(self.run_until(&mut stop)).catch_unwind().await.is_err() {
            tracing::error!("the evaluation of rules broke off and begins again");
            tokio::time::sleep(AFTER_PANIC).await;
        }
    }

    async fn run_until(&mut self, stop: &mut watch::Receiver<bool>) {
        loop {
            self.start_due();
            let wait = self.next_due().map_or(Duration::from_secs(3600), clock::until);
            tokio::select! {
                biased;
                () = crate::stop::stopped(stop) => break,
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                () = tokio::time::sleep(wait) => {}
            }
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            }
        }
        while self.running.iter().any(|one| one.busy) {
            match self.inbox.recv().await {
                Some(message @ Message::Done(_)) => self.take(message),
                Some(_) => {}
                None => break,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Committed(committed) => self.committed(committed),
            Message::Pushed(pushed) => self.pushed(&pushed),
            Message::Gone { source } => {
                if let Some(gone) = self.sources.remove(&source) {
                    self.feed(&gone.feeds, clock::now());
                }
            }
            Message::Calendar => {
                let all = self.running.iter().map(|one| one.id).collect();
                self.feed(&all, clock::now());
            }
            Message::Replace(groups, around) => self.replace(groups, around),
            Message::Done(done) => self.done(*done),
        }
    }

    fn committed(&mut self, committed: Committed) {
        let mut fed = HashSet::new();
        if let Some(series) = committed.series {
            let feeds = feeds_of(&self.running, &series);
            // What vanished feeds its groups once more: they must see that it did.
            if let Some(before) = self.sources.get(&committed.source) {
                fed.extend(before.feeds.iter().copied());
            }
            let source = Source { interval: committed.interval, last_at: committed.at, series, feeds };
            self.sources.insert(committed.source, source);
        }
        if let Some(source) = self.sources.get_mut(&committed.source) {
            source.last_at = committed.at;
            fed.extend(source.feeds.iter().copied());
        }
        self.feed(&fed, committed.at);
    }

    /// Feeds the groups that read what was pushed; a sample whose time is still to come is looked at then.
    fn pushed(&mut self, pushed: &Pushed) {
        let fed = feeds_of(&self.running, &pushed.series);
        let now = clock::now();
        if pushed.newest > now {
            for one in self.running.iter_mut().filter(|one| fed.contains(&one.id)) {
                one.wake_at = Some(one.wake_at.map_or(pushed.newest, |at| at.min(pushed.newest)));
            }
        }
        self.feed(&fed, pushed.newest.min(now));
    }

    fn feed(&mut self, ids: &HashSet<u64>, at: Timestamp) {
        for one in self.running.iter_mut().filter(|one| ids.contains(&one.id)) {
            one.fed_since.get_or_insert_with(Instant::now);
            one.fed_at = Some(one.fed_at.map_or(at, |before| before.min(at)));
        }
    }

    /// When the next group has to be evaluated.
    fn next_due(&self) -> Option<Timestamp> {
        self.running.iter().filter(|one| !one.busy).map(due).min()
    }

    fn start_due(&mut self) {
        let now = clock::now();
        let (queries, around, live) = (&self.queries, &self.around, &self.live);
        for one in self.running.iter_mut().filter(|one| !one.busy) {
            if due(one) > now {
                continue;
            }
            // Strictly later than the last one, or its samples would be duplicates.
            let at = now.max(one.last + Duration::from_millis(1));
            one.last = at;
            one.busy = true;
            if one.wake_at.is_some_and(|wake| wake <= at) {
                one.wake_at = None;
            }
            let (fed, fed_at) = (one.fed_since.take(), one.fed_at.take());
            let surroundings = surroundings(queries, around, live);
            let (group, id, myself) = (one.group.clone(), one.id, self.myself.clone());
            tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                let evaluate = || group.lock().evaluate(at, &surroundings);
                let evaluation = std::panic::catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| {
                    tracing::error!("the evaluation of a rule group broke off: a fault of the monitor");
                    let error = Some("the evaluation broke off".to_owned());
                    let broken = RuleOutcome { rule: 0, name: String::new(), error, took: Duration::ZERO };
                    Evaluation { rules: vec![broken], ..Evaluation::default() }
                });
                let lag = fed.map_or(Duration::ZERO, |fed| fed.elapsed()).max(began.elapsed());
                let next_end = group.lock().next_end();
                let _ = myself.send(Message::Done(Box::new(Done { id, lag, fed_at, next_end, evaluation })));
            });
        }
    }

    fn done(&mut self, done: Done) {
        let Done { id, lag, fed_at, next_end, evaluation } = done;
        if let Some(at) = self.running.iter().position(|one| one.id == id) {
            // One that has passed belongs to a rule that cannot be evaluated: its interval is soon enough.
            let ahead = next_end.filter(|end| *end > self.running[at].last);
            let feeding = self.sources.values().filter(|source| source.feeds.contains(&id));
            let wake =
                ahead.map(|end| end_of_for(end, feeding.map(|source| (source.last_at, source.interval))));
            let one = &mut self.running[at];
            one.busy = false;
            one.wake_at = match (one.wake_at, wake) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            one.took = evaluation.rules.iter().map(|rule| rule.took).sum();
            let failures = evaluation.rules.iter().filter(|rule| rule.error.is_some()).count();
            let metrics = &self.own.metrics;
            metrics.rule_evaluations_total.at((one.label,)).inc_by(evaluation.rules.len() as u64);
            metrics.rule_evaluation_failures_total.at((one.label,)).inc_by(failures as u64);
            metrics.rule_group_last_evaluation_timestamp_seconds.at((one.label,)).set(one.last.as_secs_f64());
            metrics.rule_group_last_duration_seconds.at((one.label,)).set(one.took.as_secs_f64());
            metrics.rule_evaluation_lag_seconds.observe_duration(lag);
            let writes = std::mem::take(&mut one.writes);
            if evaluation.samples > 0 && !writes.is_empty() {
                for other in self.running.iter_mut().filter(|other| other.id != id) {
                    if other.selectors.iter().any(|selector| writes.iter().any(|name| names(selector, name)))
                    {
                        other.fed_since.get_or_insert_with(Instant::now);
                        other.fed_at = [other.fed_at, fed_at].into_iter().flatten().min();
                    }
                }
            }
            self.running[at].writes = writes;
        }
        self.time(&evaluation, fed_at);
        self.tell(evaluation);
    }

    /// Observes how long after its cause each new alert is told.
    fn time(&self, evaluation: &Evaluation, fed_at: Option<Timestamp>) {
        let now = clock::now();
        for change in evaluation.changes.iter().filter(|change| change.to == State::Firing) {
            // Without `for` the samples are the cause, else the end of `for` is.
            let cause = if change.from == State::Inactive { fed_at } else { None };
            let latency = now.since(cause.unwrap_or(change.due_at).min(change.due_at));
            self.own.metrics.alert_generation_seconds.observe_duration(latency);
        }
    }

    fn tell(&self, mut evaluation: Evaluation) {
        for warning in &evaluation.warnings {
            tracing::debug!("rules: {warning}");
        }
        if let Some(error) = &evaluation.store_error {
            // Silence would be worse than a notification whose samples the disk refused.
            tracing::error!("rules: the store cannot write, alerts are told all the same: {error}");
        }
        // Routes, inhibitions and silences see what an Alertmanager behind a Prometheus would see.
        for alert in &mut evaluation.alerts {
            alert.labels = self.around.outside(&alert.labels);
        }
        let changed = !evaluation.changes.is_empty();
        if changed || !evaluation.alerts.is_empty() {
            let _ = self.told.send(Told { alerts: evaluation.alerts, changed });
        }
    }

    /// Puts new groups in the place of the old; state goes over where file and name are the same.
    fn replace(&mut self, groups: Vec<(Group, Vec<Option<Budget>>)>, around: Around) {
        self.around = around;
        let mut old: Vec<Running> = std::mem::take(&mut self.running);
        for (mut group, budgets) in groups {
            let same = |one: &Running| {
                let before = one.group.lock();
                before.file() == group.file() && before.name() == group.name()
            };
            let now = clock::now();
            let (mut last, mut not_before) = (now - group.interval(), now + FIRST_AFTER);
            if let Some(at) = old.iter().position(same) {
                let before = old.swap_remove(at);
                (last, not_before) = (before.last, now);
                let state = before.group.lock().clone();
                group.inherit(state);
            }
            self.add(group, budgets, last, not_before);
        }
        let surroundings = surroundings(&self.queries, &self.around, &self.live);
        for gone in old {
            // A group that is gone is not a group that is late.
            let metrics = &self.own.metrics;
            let gauges = [
                &metrics.rule_group_last_evaluation_timestamp_seconds,
                &metrics.rule_group_last_duration_seconds,
                &metrics.rule_group_rules_current,
                &metrics.rule_group_interval_seconds,
            ];
            gauges.iter().for_each(|gauge| gauge.remove((gone.label,)));
            let group = gone.group.lock().clone();
            let now = clock::now().max(gone.last + Duration::from_millis(1));
            self.tell(group.retire(now, &surroundings));
        }
        for source in self.sources.values_mut() {
            source.feeds = feeds_of(&self.running, &source.series);
        }
        let shared: Vec<_> = self.running.iter().map(|one| one.group.clone()).collect();
        *self.shared.lock().expect("no panic while groups are listed") = shared;
    }

    fn add(&mut self, group: Group, budgets: Vec<Option<Budget>>, last: Timestamp, not_before: Timestamp) {
        let wake_at = group.next_end();
        let label = RuleGroup::intern(&format!("{};{}", group.file(), group.name()));
        let metrics = &self.own.metrics;
        metrics.rule_group_rules_current.at((label,)).set(group.rules().count() as f64);
        metrics.rule_group_interval_seconds.at((label,)).set(group.interval().as_secs_f64());
        let mut writes: Vec<String> = group
            .rules()
            .filter(|(spec, ..)| !spec.is_alerting())
            .map(|(spec, ..)| spec.name.clone())
            .collect();
        if group.rules().any(|(spec, ..)| spec.is_alerting()) {
            writes.extend(["ALERTS".to_owned(), "ALERTS_FOR_STATE".to_owned()]);
        }
        self.running.push(Running {
            id: self.next_id,
            label,
            interval: group.interval(),
            selectors: group.selectors(),
            writes,
            group: Arc::new(Shown::new(group, budgets)),
            busy: false,
            fed_since: None,
            fed_at: None,
            // After a reload, what the group of before waited for.
            wake_at,
            last,
            not_before,
            took: Duration::ZERO,
        });
        self.next_id += 1;
    }
}

/// When a group is to be evaluated because `for` ends at `end`: then, or a moment later if one of the scrapes that feed
/// it, given by their last time and interval, is due just before.
fn end_of_for(end: Timestamp, scrapes: impl Iterator<Item = (Timestamp, Duration)>) -> Timestamp {
    let grace = scrapes.filter_map(|(last_at, interval)| {
        let (ahead, every) = (end.since(last_at).as_millis(), interval.as_millis().max(1));
        let since_scrape = Duration::from_millis((ahead % every) as u64);
        // The last scrape itself has come in already.
        (ahead >= every).then(|| SCRAPE_GRACE.min(interval / 2).saturating_sub(since_scrape))
    });
    end + grace.max().unwrap_or_default()
}

/// When a group has to be evaluated next: soon after it was fed, at its interval at the latest.
///
/// A group that takes long is not evaluated for more than half of the time.
fn due(one: &Running) -> Timestamp {
    let soon = SPACING_MIN.max(one.took * 2).min(one.interval);
    let spacing = if one.fed_since.is_some() { soon } else { one.interval };
    let woken = one.wake_at.map_or(Timestamp::MAX, |at| at.max(one.last + soon));
    one.not_before.max((one.last + spacing).min(woken))
}

fn feeds_of(running: &[Running], series: &[Labels]) -> HashSet<u64> {
    let mut by_name: HashMap<&str, Vec<&Labels>> = HashMap::new();
    for labels in series {
        by_name.entry(labels.name().unwrap_or("")).or_default().push(labels);
    }
    let fed = |selector: &Vec<Matcher>| {
        by_name
            .iter()
            .any(|(name, sets)| names(selector, name) && sets.iter().any(|labels| matches(selector, labels)))
    };
    running.iter().filter(|one| one.selectors.iter().any(fed)).map(|one| one.id).collect()
}

/// Whether the selector can take a series of this name.
fn names(selector: &[Matcher], name: &str) -> bool {
    selector.iter().all(|matcher| matcher.name() != "__name__" || matcher.matches(name))
}

fn matches(selector: &[Matcher], labels: &Labels) -> bool {
    selector.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_that_is_about_to_come_in_is_waited_for() {
        let at = |millis| Timestamp::from_millis(millis);
        let end = |end, scrapes: &[(i64, u64)]| {
            let scrapes = scrapes.iter().map(|(last, every)| (at(*last), Duration::from_millis(*every)));
            end_of_for(at(end), scrapes).as_millis()
        };
        assert_eq!(end(5_000, &[]), 5_000);
        // Due at 5,000 itself, 10 ms before, 60 ms before.
        assert_eq!(end(5_000, &[(3_000, 1_000)]), 5_050);
        assert_eq!(end(5_000, &[(3_990, 1_000)]), 5_040);
        assert_eq!(end(5_000, &[(3_940, 1_000)]), 5_000);
        // It has come in already.
        assert_eq!(end(5_000, &[(4_990, 1_000)]), 5_000);
        // Fast scrapes are waited for half of their interval; the slowest to come decides.
        assert_eq!(end(5_000, &[(4_980, 20)]), 5_010);
        assert_eq!(end(5_000, &[(3_990, 1_000), (3_995, 1_000)]), 5_045);
    }
}
