//! A unit of rules over a chunk of time: each expression is asked for many steps at once, and the answers are fed step
//! by step to the very evaluator that runs live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tradewatch_promql::{Engine, Expr, QueryValue};
use tradewatch_tsdb::{Db, Labels, Timestamp, Value};

use super::Options;
use super::plan::{Planned, Unit};
use crate::alert::Alert;
use crate::rules::{AlertChange, Answer, Group, GroupSpec, Surroundings, engine_query};

/// Samples of answers that are held at once, per unit under way.
const CELLS_MAX: usize = 1_500_000;
/// Steps of the first question to an expression, before it is known how many series it reads.
const FIRST_STEPS: usize = 128;
/// Different messages kept per rule.
const MESSAGES_MAX: usize = 5;

/// What one evaluation gave.
pub(super) struct Event {
    pub at: Timestamp,
    pub rule: usize,
    pub changes: Vec<AlertChange>,
    pub alerts: Vec<Alert>,
}

/// Samples of a watched rule.
pub(super) struct Sampled {
    pub rule: usize,
    pub at: Timestamp,
    pub answer: Vec<(Labels, Value)>,
}

/// What a unit gave over a chunk.
#[derive(Default)]
pub(super) struct Output {
    pub events: Vec<Event>,
    pub sampled: Vec<Sampled>,
    pub samples_read: u64,
}

/// One rule with its state; a group of its own to the evaluator.
pub(super) struct Stage {
    /// Position in the order of the replay.
    pub rule: usize,
    pub planned: Planned,
    pub group: Group,
    interval: i64,
    prepared: Arc<Mutex<Prepared>>,
    engine: Arc<Engine>,
    watched: bool,
    /// The next time of its grid, and the end of `for` where that comes before.
    next: i64,
    wake: Option<Timestamp>,
    /// Nothing is pending, firing or written, so that an empty answer changes nothing.
    idle: bool,
    steps: usize,
    pub evaluations: u64,
    pub failures: u64,
    /// What the first evaluations that failed said, and when the first did.
    pub errors: BTreeMap<String, Timestamp>,
    pub warnings: BTreeSet<String>,
}

/// Answers that were computed ahead.
#[derive(Default)]
struct Prepared {
    start: i64,
    step: i64,
    answers: Vec<Option<Result<Answer, String>>>,
}

impl Prepared {
    fn index(&self, at: Timestamp) -> Option<usize> {
        let since = at.as_millis() - self.start;
        let index = usize::try_from(since.checked_div(self.step)?).ok()?;
        (since % self.step == 0 && index < self.answers.len()).then_some(index)
    }

    fn take(&mut self, at: Timestamp) -> Option<Result<Answer, String>> {
        let index = self.index(at)?;
        self.answers[index].take()
    }

    fn is_empty_at(&self, at: Timestamp) -> bool {
        let answer = self.index(at).and_then(|index| self.answers[index].as_ref());
        matches!(answer, Some(Ok(answer)) if answer.vector.is_empty())
    }
}

/// The stores of one chunk.
pub(super) struct Stores<'a> {
    pub history: &'a Db,
    /// What rules write, and what of history the rules read that read both.
    pub recorded: &'a Db,
}

impl Stage {
    pub fn new(planned: Planned, engine: Arc<Engine>, options: &Options) -> Stage {
        let spec = GroupSpec { rules: vec![planned.spec.clone()], ..planned.group.clone() };
        let group = Group::new("", &spec, options.interval, options.query_offset);
        let interval = group.interval().max(options.step_min).as_millis().max(1) as i64;
        let watched = options.watched.contains(&planned.spec.name) && !planned.spec.is_alerting();
        Stage {
            rule: planned.at,
            planned,
            group,
            interval,
            prepared: Arc::default(),
            engine,
            watched,
            next: i64::MIN,
            wake: None,
            idle: false,
            steps: FIRST_STEPS,
            evaluations: 0,
            failures: 0,
            errors: BTreeMap::new(),
            warnings: BTreeSet::new(),
        }
    }

    fn prepared(&self) -> MutexGuard<'_, Prepared> {
        self.prepared.lock().expect("no panic while answers are locked")
    }

    /// The store that the rule reads.
    fn source<'a>(&self, stores: &Stores<'a>) -> &'a Db {
        if self.planned.reads_rules { stores.recorded } else { stores.history }
    }

    fn surroundings(&self, stores: &Stores<'_>, sink: &Db, options: &Options) -> Surroundings {
        let own = self.planned.spec.expr.text().map(str::to_owned);
        let prepared = self.prepared.clone();
        let instant = engine_query(self.engine.clone(), self.source(stores).clone());
        let query = move |expr: &Expr, at: Timestamp| {
            if expr.text() == own.as_deref() {
                let answer = prepared.lock().expect("no panic while answers are locked").take(at);
                if let Some(answer) = answer {
                    return answer;
                }
            }
            instant(expr, at)
        };
        let mut around = Surroundings::new(Arc::new(query), sink.clone());
        around.external_labels.clone_from(&options.external_labels);
        around.resend_delay = options.resend_delay;
        around.calendar = options.calendar.clone();
        around
    }

    /// The first time of its grid from `from` on.
    fn begin(&mut self, from: Timestamp) {
        let (from, interval) = (from.as_millis(), self.interval);
        self.next = from.div_euclid(interval) * interval;
        if self.next < from {
            self.next += interval;
        }
    }

    /// When it is to be evaluated next.
    fn due(&self) -> Timestamp {
        let next = Timestamp::from_millis(self.next);
        self.wake.map_or(next, |wake| wake.min(next))
    }

    /// Asks the expression for the next steps up to `end`, all at once.
    fn prepare(&mut self, end: Timestamp, db: &Db, output: &mut Output) {
        let left = (end.as_millis() - self.next + self.interval - 1) / self.interval;
        let steps = self.steps.clamp(1, left.max(1) as usize);
        let start = self.next - self.group.query_offset().as_millis() as i64;
        let last = start + self.interval * (steps as i64 - 1);
        let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(last));
        let step = Duration::from_millis(self.interval as u64);
        let mut answers: Vec<Option<Result<Answer, String>>> = Vec::new();
        // What fails somewhere, or is no vector, is asked again time by time: it may fail at one of them alone.
        if let Ok(result) = self.engine.range(db, &self.planned.spec.expr, from, to, step)
            && let QueryValue::Matrix(matrix) = result.value
        {
            let mut vectors = vec![Vec::new(); steps];
            for series in matrix {
                for sample in series.samples {
                    let at = (sample.ts.as_millis() - start) / self.interval;
                    vectors[at as usize].push((series.labels.clone(), sample.value));
                }
            }
            let answer = |vector| Some(Ok(Answer { vector, ..Answer::default() }));
            answers = vectors.into_iter().map(answer).collect();
            remember(&mut self.warnings, result.warnings);
            output.samples_read += result.stats.samples as u64;
            self.steps = (CELLS_MAX / result.stats.series.max(1)).clamp(16, 1 << 16);
        }
        *self.prepared() = Prepared { start, step: self.interval, answers };
    }

    /// Evaluates at `now`, which is due.
    fn evaluate(&mut self, now: Timestamp, around: &Surroundings, output: &mut Output) {
        let on_grid = now.as_millis() == self.next;
        let at = now - self.group.query_offset();
        if on_grid {
            self.next += self.interval;
        }
        if self.watched {
            let answer = match (around.query)(&self.planned.spec.expr, at) {
                Ok(answer) => answer.vector,
                Err(error) => return self.failed(error, now),
            };
            self.evaluations += 1;
            if !answer.is_empty() {
                output.sampled.push(Sampled { rule: self.rule, at: now, answer });
            }
            return;
        }
        self.evaluations += 1;
        let is_empty = self.prepared().is_empty_at(at);
        if self.idle && is_empty {
            return;
        }
        let evaluation = self.group.evaluate(now, around);
        let alerting = self.planned.spec.is_alerting();
        let holds = alerting && self.group.rules().any(|(_, _, alerts)| !alerts.is_empty());
        self.idle = is_empty && !holds && evaluation.samples == 0 && evaluation.refused == 0;
        let end = if holds { self.group.next_end() } else { None };
        self.wake = end.filter(|end| *end > now);
        remember(&mut self.warnings, evaluation.warnings);
        for outcome in evaluation.rules {
            if let Some(error) = outcome.error {
                self.failed(error, now);
            }
        }
        if !evaluation.changes.is_empty() || !evaluation.alerts.is_empty() {
            let (changes, alerts) = (evaluation.changes, evaluation.alerts);
            output.events.push(Event { at: now, rule: self.rule, changes, alerts });
        }
    }

    fn failed(&mut self, error: String, now: Timestamp) {
        self.failures += 1;
        if self.errors.len() < MESSAGES_MAX {
            self.errors.entry(error).or_insert(now);
        }
    }
}

fn remember(known: &mut BTreeSet<String>, messages: Vec<String>) {
    for message in messages {
        if known.len() >= MESSAGES_MAX {
            return;
        }
        known.insert(message);
    }
}

/// The rules of a unit with their states.
pub(super) struct Running {
    pub level: usize,
    pub stages: Vec<Stage>,
    /// Takes what nobody reads.
    read: bool,
}

impl Running {
    /// `read` says whether a rule reads what the rules of this unit write.
    pub fn new(unit: Unit, engine: &Arc<Engine>, options: &Options, read: bool) -> Running {
        let stage = |planned| Stage::new(planned, engine.clone(), options);
        Running { level: unit.level, stages: unit.rules.into_iter().map(stage).collect(), read }
    }

    /// Evaluates all that is due from `from` on and before `end`.
    pub fn run(&mut self, from: Timestamp, end: Timestamp, stores: &Stores<'_>, options: &Options) -> Output {
        let mut output = Output::default();
        let sink = if self.read { stores.recorded.clone() } else { Db::in_memory() };
        let ahead = self.stages.len() == 1 && !self.stages[0].planned.instant_only;
        let around: Vec<Surroundings> =
            self.stages.iter().map(|stage| stage.surroundings(stores, &sink, options)).collect();
        for stage in self.stages.iter_mut().filter(|stage| stage.next == i64::MIN) {
            stage.begin(from);
        }
        loop {
            let due = self.stages.iter().map(Stage::due).min().unwrap_or(end);
            if due >= end {
                break;
            }
            for (stage, around) in self.stages.iter_mut().zip(&around) {
                if stage.due() != due {
                    continue;
                }
                let at = due - stage.group.query_offset();
                if ahead && due.as_millis() == stage.next && stage.prepared().index(at).is_none() {
                    stage.prepare(end, stage.source(stores), &mut output);
                }
                stage.evaluate(due, around, &mut output);
            }
        }
        for stage in &self.stages {
            *stage.prepared() = Prepared::default();
        }
        output
    }
}
