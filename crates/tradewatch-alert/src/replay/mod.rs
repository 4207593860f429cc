//! Rules on recorded history: what they would have done, and whom the notifier would have told.
//!
//! A plain function of rules, a history and times. The rules run in the evaluator that runs live; what differs is that
//! an expression is asked for many steps at once, chunk of time by chunk of time, and its answers are then fed to the
//! evaluator one by one. Rules that read what other rules write come after those; rules that read each other, and
//! expressions whose value depends on the query around them, are asked step by step, as live. The same alerts go into
//! the same notifier on virtual time.
//!
//! Every rule is evaluated at the multiples of its group's interval, and when `for` or `keep_firing_for` ends. What
//! history holds under a name that a rule writes is not looked at: the rule computes it anew.
//!
//! Memory is bounded by a chunk: the samples of one chunk that rules wrote, and a bounded number of answers.

mod episode;
mod notices;
mod plan;
mod unit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_calendar::Calendar;
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_tsdb::{Db, Labels, Sample, Timestamp, Value};

pub use episode::Episode;
pub use notices::Notice;
pub use plan::Need;

use crate::alert::{Fingerprint, Severity};
use crate::error::Error;
use crate::route::Config;
use crate::rules::RuleFile;
use episode::Episodes;
use notices::Notices;
use plan::Plan;
use unit::{Output, Running, Stores};

/// Episodes and notices that are kept; what comes later is counted.
pub const EPISODES_MAX: usize = 200_000;

/// Where samples of the past come from.
pub trait History {
    /// A store that holds what `needs` select from `from` to `to`, both included; it may hold more.
    ///
    /// Called with rising times, once per chunk.
    ///
    /// # Errors
    /// What went wrong, for people; the replay ends with it.
    fn window(&mut self, needs: &[Need], from: Timestamp, to: Timestamp) -> Result<Db, String>;
}

impl History for Db {
    fn window(&mut self, _: &[Need], _: Timestamp, _: Timestamp) -> Result<Db, String> {
        Ok(self.clone())
    }
}

/// One piece of work that may run beside others.
pub type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Follows a replay.
pub trait Follow {
    /// After each chunk: times before `done` were replayed, on the way from `from` to `to`. `Break` ends the replay.
    fn progress(&mut self, from: Timestamp, done: Timestamp, to: Timestamp) -> ControlFlow<()> {
        let _ = (from, done, to);
        ControlFlow::Continue(())
    }

    /// One sample of a rule in [`Options::watched`].
    fn sampled(&mut self, rule: &str, at: Timestamp, labels: &Labels, value: f64) {
        let _ = (rule, at, labels, value);
    }

    /// Runs all of `tasks`, at once or one by one, and returns when all have ended.
    fn run(&mut self, tasks: Vec<Task<'_>>) {
        tasks.into_iter().for_each(|task| task());
    }
}

/// Nobody follows.
impl Follow for () {}

/// What is replayed, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// From here on alerts are reported.
    pub from: Timestamp,
    /// Up to here, not included.
    pub to: Timestamp,
    /// Evaluation begins so long before `from`, so that `for` and recorded series are right there; `None` for as long as
    /// the rules need.
    pub warm_up: Option<Duration>,
    /// Evaluation begins no earlier than this, unless `from` does: before history begins, everything is absent.
    pub history_begins: Option<Timestamp>,
    /// Between two evaluations of a group that names no interval.
    pub interval: Duration,
    /// At least this lies between two evaluations of any group.
    pub step_min: Duration,
    /// Looks so far back where a group says nothing else.
    pub query_offset: Duration,
    /// How old a sample may be to count as the current value.
    pub lookback: Duration,
    /// So much time is held in memory at once.
    pub chunk: Duration,
    /// Who is told; without, every alert goes to one receiver at once.
    pub routes: Option<Arc<Config>>,
    /// `external_labels` of `prometheus.yml`.
    pub external_labels: BTreeMap<String, String>,
    /// A firing alert is told to the notifier again after this time.
    pub resend_delay: Duration,
    /// Recording rules whose samples are handed to [`Follow::sampled`] and not stored.
    pub watched: BTreeSet<String>,
    /// Counts `for` of the rules that ask for session time.
    pub calendar: Arc<Calendar>,
}

impl Options {
    /// Prometheus' defaults: an interval of a minute, a lookback of five; chunks of a day.
    pub fn new(from: Timestamp, to: Timestamp) -> Options {
        Options {
            from,
            to,
            warm_up: None,
            history_begins: None,
            interval: Duration::from_secs(60),
            step_min: Duration::ZERO,
            query_offset: Duration::ZERO,
            lookback: Duration::from_secs(300),
            chunk: Duration::from_secs(24 * 3600),
            routes: None,
            external_labels: BTreeMap::new(),
            resend_delay: Duration::from_secs(60),
            watched: BTreeSet::new(),
            calendar: Arc::default(),
        }
    }
}

/// One alerting rule of a replay.
#[derive(Clone, Debug)]
pub struct RuleReport {
    /// The alert's name.
    pub name: String,
    /// The file it comes from.
    pub file: String,
    /// Its group.
    pub group: String,
    /// Line in the file.
    pub line: usize,
    /// As its labels state; where they are a template, as its first alert did.
    pub severity: Severity,
    /// Evaluations, those that were known to change nothing included.
    pub evaluations: u64,
    /// How many of them failed.
    pub failures: u64,
    /// What they said, each with the first time; a few.
    pub errors: BTreeMap<String, Timestamp>,
    /// Warnings of its queries and templates; a few.
    pub warnings: BTreeSet<String>,
}

/// What a replay gave.
#[derive(Clone, Debug)]
pub struct Report {
    /// The alerting rules in their order, and the recording rules that failed.
    pub rules: Vec<RuleReport>,
    /// Every alert from pending to its end, by rule and time; those that were over before `from` are left out.
    pub episodes: Vec<Episode>,
    /// What receivers would have been told from `from` on, by time.
    pub notices: Vec<Notice>,
    /// Episodes and notices beyond [`EPISODES_MAX`].
    pub dropped: u64,
    /// Recording rules that were left out, since no alert depends on them.
    pub unread: usize,
    /// Samples read from history.
    pub samples_read: u64,
    /// When evaluation began.
    pub began: Timestamp,
    /// Whether [`Follow::progress`] ended it early; then the time up to which it came.
    pub ended_at: Option<Timestamp>,
}

/// Replays the rules of `files` on `history`.
///
/// # Errors
/// `is_invalid` for times that do not rise, and when history cannot be read.
///
/// ```
/// use std::time::Duration;
/// use tradewatch_alert::replay::{Options, replay};
/// use tradewatch_alert::rules::RuleFile;
/// use tradewatch_tsdb::{Db, Labels, Timestamp};
///
/// let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
/// let mut db = Db::in_memory();
/// let mut appender = db.appender();
/// let up = appender.series(&Labels::from_pairs([("__name__", "up"), ("job", "feed")]));
/// for minute in 0..60 {
///     appender.append(up, at(minute), f64::from(!(20..30).contains(&minute))).unwrap();
/// }
/// appender.commit().unwrap();
///
/// let rules = "groups: [{name: g, rules: [{alert: Lost, expr: up == 0, for: 2m}]}]";
/// let (file, _) = RuleFile::parse("rules.yml", rules);
/// let report = replay(&[file], &mut db, &Options::new(at(0), at(60)), &mut ()).unwrap();
/// let lost = &report.episodes[0];
/// assert_eq!((lost.active_at, lost.fired_at, lost.ended_at), (at(20), Some(at(22)), Some(at(30))));
/// ```
pub fn replay(
    files: &[RuleFile],
    history: &mut dyn History,
    options: &Options,
    follow: &mut dyn Follow,
) -> Result<Report, Error> {
    if options.to <= options.from {
        return Err(Error::invalid(format!(
            "the end {} is not after the beginning {}",
            options.to, options.from
        )));
    }
    let plan = Plan::new(files, options);
    let warm_up = options.warm_up.unwrap_or(plan.warm_up);
    let begin = options.from - warm_up;
    let begin = options.history_begins.map_or(begin, |first| begin.max(first.min(options.from)));
    let mut replay = Replay::new(files, plan, options, begin);
    let mut from = begin;
    while from < options.to {
        let to = (from + options.chunk.max(Duration::from_millis(1))).min(options.to);
        replay.chunk(history, from, to, follow).map_err(Error::invalid)?;
        from = to;
        if follow.progress(begin, to, options.to).is_break() && to < options.to {
            replay.report.ended_at = Some(to);
            break;
        }
    }
    Ok(replay.finish(from))
}

/// A replay under way.
struct Replay<'a> {
    options: &'a Options,
    needs: Vec<Need>,
    written: BTreeSet<String>,
    rules_reach: Duration,
    /// What rules that read both want of history.
    mixed: Vec<Need>,
    units: Vec<Running>,
    /// The names of the rules, by their position.
    names: Vec<String>,
    recorded: Db,
    episodes: Episodes,
    notices: Notices,
    report: Report,
}

impl<'a> Replay<'a> {
    fn new(files: &[RuleFile], plan: Plan, options: &'a Options, began: Timestamp) -> Replay<'a> {
        let engine = Arc::new(Engine::new(EngineOptions {
            lookback: options.lookback,
            steps_max: usize::MAX >> 1,
            samples_max: usize::MAX >> 1,
            ..EngineOptions::default()
        }));
        let needs = plan.needs();
        let mut all: Vec<&plan::Planned> = plan.units.iter().flat_map(|unit| &unit.rules).collect();
        all.sort_by_key(|rule| rule.at);
        let readers = || all.iter().filter(|rule| rule.reads_rules);
        let mixed = readers().filter(|rule| rule.reads_history).flat_map(|rule| rule.needs.clone()).collect();
        let read: Vec<Need> = readers().flat_map(|rule| rule.needs.clone()).collect();
        let names = all.iter().map(|rule| rule.spec.name.clone()).collect();
        let report = Report {
            rules: all.iter().map(|rule| rule_report(files, rule)).collect(),
            episodes: Vec::new(),
            notices: Vec::new(),
            dropped: 0,
            unread: plan.unread,
            samples_read: 0,
            began,
            ended_at: None,
        };
        let is_read = |unit: &plan::Unit| {
            let mut names = unit.rules.iter().flat_map(|rule| plan::writes(&rule.spec));
            names.any(|name| read.iter().any(|need| plan::may_match(&need.matchers, &name)))
        };
        let run = |unit: plan::Unit| {
            let is_read = is_read(&unit);
            Running::new(unit, &engine, options, is_read)
        };
        let units = plan.units.into_iter().map(run).collect();
        Replay {
            options,
            needs,
            written: plan.written,
            rules_reach: plan.rules_reach,
            mixed,
            units,
            names,
            recorded: recorded(),
            episodes: Episodes::new(options.from),
            notices: Notices::new(options),
            report,
        }
    }

    /// Replays from `from` on and before `to`.
    fn chunk(
        &mut self,
        history: &mut dyn History,
        from: Timestamp,
        to: Timestamp,
        follow: &mut dyn Follow,
    ) -> Result<(), String> {
        let db = history.window(&self.needs, from, to)?;
        self.copy_mixed(&db, from, to)?;
        let stores = Stores { history: &db, recorded: &self.recorded };
        let options = self.options;
        let mut outputs: Vec<Output> = Vec::new();
        outputs.resize_with(self.units.len(), Output::default);
        let levels = self.units.iter().map(|unit| unit.level + 1).max().unwrap_or(0);
        for level in 0..levels {
            let units = self.units.iter_mut().zip(&mut outputs).filter(|(unit, _)| unit.level == level);
            let stores = &stores;
            let tasks = units.map(|(unit, output)| -> Task<'_> {
                Box::new(move || *output = unit.run(from, to, stores, options))
            });
            follow.run(tasks.collect());
        }
        let mut events = Vec::new();
        let mut sampled = Vec::new();
        for output in outputs {
            self.report.samples_read += output.samples_read;
            events.extend(output.events);
            sampled.extend(output.sampled);
        }
        // Evaluations of one time in the order of the rules.
        events.sort_by_key(|event| (event.at, event.rule));
        for event in events {
            event.changes.iter().for_each(|change| self.episodes.take(event.rule, event.at, change));
            self.notices.take(event.at, &event.alerts);
        }
        self.notices.advance(to);
        for samples in sampled.iter().filter(|samples| samples.at >= options.from) {
            for (labels, value) in &samples.answer {
                if let Value::Float(value) = value {
                    follow.sampled(&self.names[samples.rule], samples.at, labels, *value);
                }
            }
        }
        self.roll(to);
        Ok(())
    }

    /// Puts what mixed rules read of history beside what rules write.
    fn copy_mixed(&self, history: &Db, from: Timestamp, to: Timestamp) -> Result<(), String> {
        let before = |need: &Need| need.before.unwrap_or(from.since(Timestamp::MIN));
        let start = from - self.mixed.iter().map(before).max().unwrap_or_default();
        let end = to + self.mixed.iter().map(|need| need.after).max().unwrap_or_default();
        let mut appender = self.recorded.appender();
        let mut seen = BTreeSet::new();
        for need in &self.mixed {
            for series in history.select(&need.matchers, start, end) {
                let is_written = series.labels.name().is_some_and(|name| self.written.contains(name));
                if is_written || !seen.insert(series.labels.clone()) {
                    continue;
                }
                let id = appender.series(&series.labels);
                for sample in series.samples {
                    appender.append_sample(id, sample).map_err(|error| error.to_string())?;
                }
            }
        }
        appender.commit().map_err(|error| error.to_string()).map(|_| ())
    }

    /// Keeps of what rules wrote only what later evaluations read.
    fn roll(&mut self, to: Timestamp) {
        let fresh = recorded();
        let mut appender = fresh.appender();
        for series in self.recorded.select(&[], to - self.rules_reach, Timestamp::MAX) {
            if series.labels.name().is_some_and(|name| self.written.contains(name)) {
                let id = appender.series(&series.labels);
                for Sample { ts, value, .. } in series.samples {
                    appender
                        .append_sample(id, Sample { ts, value, start: None })
                        .expect("a store took it already");
                }
            }
        }
        appender.commit().expect("no disk");
        self.recorded = fresh;
    }

    fn finish(mut self, end: Timestamp) -> Report {
        let (episodes, mut dropped) = self.episodes.finish();
        self.report.episodes = episodes;
        let (notices, more) = self.notices.finish(end);
        dropped += more;
        self.report.notices = notices;
        self.report.dropped = dropped;
        let mut stages: Vec<&unit::Stage> = self.units.iter().flat_map(|unit| &unit.stages).collect();
        stages.sort_by_key(|stage| stage.rule);
        let mut kept = Vec::new();
        for (stage, mut rule) in stages.into_iter().zip(std::mem::take(&mut self.report.rules)) {
            rule.evaluations = stage.evaluations;
            rule.failures = stage.failures;
            rule.errors.clone_from(&stage.errors);
            rule.warnings.clone_from(&stage.warnings);
            let alerting = stage.planned.spec.is_alerting();
            kept.push((alerting || rule.failures > 0, rule));
        }
        // Episodes name rules by their place among those that are reported.
        let mut places = BTreeMap::new();
        for (at, (keep, rule)) in kept.into_iter().enumerate() {
            if keep {
                places.insert(at, self.report.rules.len());
                self.report.rules.push(rule);
            }
        }
        let mut told: HashMap<Fingerprint, Vec<Timestamp>> = HashMap::new();
        for notice in &self.report.notices {
            notice.firing.iter().for_each(|alert| told.entry(*alert).or_default().push(notice.at));
        }
        for episode in &mut self.report.episodes {
            episode.rule = places[&episode.rule];
            let times = told.get(&Fingerprint::of(&episode.labels)).map_or(&[][..], Vec::as_slice);
            let first = times.iter().find(|at| episode.fired_at.is_some_and(|fired| **at >= fired));
            episode.told_at = first.filter(|at| episode.ended_at.is_none_or(|end| **at <= end)).copied();
        }
        self.report
    }
}

fn recorded() -> Db {
    let options = tradewatch_tsdb::Options {
        series_max: usize::MAX,
        out_of_order_window: Duration::ZERO,
        ..tradewatch_tsdb::Options::default()
    };
    Db::in_memory_with(options)
}

fn rule_report(files: &[RuleFile], rule: &plan::Planned) -> RuleReport {
    RuleReport {
        name: rule.spec.name.clone(),
        file: files[rule.file].path.clone(),
        group: rule.group.name.clone(),
        line: rule.spec.line,
        severity: Severity::of(&Labels::from_pairs(rule.spec.labels.iter().map(|(n, v)| (n.as_str(), v)))),
        evaluations: 0,
        failures: 0,
        errors: BTreeMap::new(),
        warnings: BTreeSet::new(),
    }
}
