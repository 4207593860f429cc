//! A store, an engine and rule groups, driven by scripts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_alert::rules::{Evaluation, Group, RuleFile, Surroundings, engine_query};
use tradewatch_alert::{Alert, duration};
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_tsdb::{Db, Labels, Matcher, STALE_NAN, Timestamp, Value};

pub struct World {
    pub around: Surroundings,
    pub groups: Vec<Group>,
    rules: String,
    alive: BTreeSet<Labels>,
    pub out: String,
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(0) + duration::parse(text).expect("a time")
}

/// `name{a="b"}` as labels.
pub fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
    let matchers = match rest {
        "" => Vec::new(),
        rest => tradewatch_alert::route::matchers::parse(rest).expect("labels"),
    };
    Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value())).chain([("__name__", name)]))
}

pub fn groups(rules: &str) -> Vec<Group> {
    let (file, errors) = RuleFile::parse("rules.yml", rules);
    assert!(errors.is_empty(), "{errors:?}");
    let new = |spec| Group::new("rules.yml", spec, Duration::from_secs(60), Duration::ZERO);
    file.groups.iter().map(new).collect()
}

impl World {
    /// Rules in a group `g` that is evaluated each 30 s, unless `rules` begins with `groups:`.
    pub fn new(rules: &str) -> World {
        let rules = match rules.trim_start().starts_with("groups:") {
            true => rules.to_owned(),
            false => format!("groups:\n- name: g\n  interval: 30s\n  rules:\n{rules}"),
        };
        let db = Db::in_memory();
        let query = engine_query(Arc::new(Engine::new(EngineOptions::default())), db.clone());
        let mut around = Surroundings::new(query, db);
        around.external_url = "http://m".to_owned();
        World { around, groups: groups(&rules), rules, alive: BTreeSet::new(), out: String::new() }
    }

    pub fn say(&mut self, now: Timestamp, text: &str) {
        let since = duration::format(now.since(Timestamp::from_millis(0)));
        writeln!(self.out, "{since:<7} {text}").expect("to a string");
    }

    /// A process that has just started: the store is there, the groups know nothing.
    pub fn restart(&mut self) {
        self.groups = groups(&self.rules);
        self.alive.clear();
    }

    /// A scrape of these series; those of the one before that are gone get stale markers.
    pub fn scrape(&mut self, now: Timestamp, series: &[&str]) {
        let mut appender = self.around.db.appender();
        let mut alive = BTreeSet::new();
        for text in series {
            let (series, value) = text.rsplit_once(' ').expect("a value");
            let labels = labels(series);
            let id = appender.series(&labels);
            appender.append(id, now, value.parse().expect("a number")).expect("fits");
            alive.insert(labels);
        }
        for gone in self.alive.difference(&alive) {
            let id = appender.series(gone);
            appender.append(id, now, STALE_NAN).expect("fits");
        }
        appender.commit().expect("in memory");
        self.alive = alive;
    }

    pub fn evaluate(&mut self, now: Timestamp) -> Vec<Evaluation> {
        let around = self.around.clone();
        let evaluations: Vec<Evaluation> = self.groups.iter_mut().map(|g| g.evaluate(now, &around)).collect();
        for evaluation in &evaluations {
            self.log(now, evaluation);
        }
        evaluations
    }

    pub fn log(&mut self, now: Timestamp, evaluation: &Evaluation) {
        for change in &evaluation.changes {
            let labels = change.alert.labels.clone();
            self.say(now, &format!("{labels} {} -> {}", change.from, change.to));
        }
        for alert in &evaluation.alerts {
            let line = shown(alert, now);
            self.say(now, &format!("send {line}"));
        }
        for rule in &evaluation.rules {
            if let Some(error) = &rule.error {
                self.say(now, &format!("{} fails: {error}", rule.name));
            }
        }
        for warning in &evaluation.warnings {
            self.say(now, &format!("warning: {warning}"));
        }
    }

    /// Scrapes the same and evaluates each `step` from `from` to `to`, both included.
    pub fn run(&mut self, from: &str, to: &str, step: &str, series: &[&str]) {
        let (mut now, to, step) = (at(from), at(to), duration::parse(step).expect("a step"));
        while now <= to {
            self.scrape(now, series);
            self.evaluate(now);
            now = now + step;
        }
    }

    /// The samples of one metric as `labels: value@seconds …`.
    pub fn samples(&self, name: &str) -> String {
        let found =
            self.around.db.select(&[Matcher::equal("__name__", name)], Timestamp::MIN, Timestamp::MAX);
        let mut out = String::new();
        for series in found {
            let samples = series.samples.iter().map(|s| match &s.value {
                v if v.is_stale() => format!("stale@{}", s.ts.as_secs_f64()),
                Value::Float(v) => format!("{v}@{}", s.ts.as_secs_f64()),
                Value::Histogram(_) => "histogram".to_owned(),
            });
            let samples: Vec<String> = samples.collect();
            writeln!(out, "{}: {}", series.labels, samples.join(" ")).expect("to a string");
        }
        out
    }
}

fn shown(alert: &Alert, now: Timestamp) -> String {
    let zero = Timestamp::from_millis(0);
    let state = if alert.is_resolved(now) { "resolved" } else { "firing" };
    let texts: Vec<String> = alert.annotations.iter().map(|(n, t)| format!(" {n}={t:?}")).collect();
    let (from, to) = (alert.starts_at.since(zero), alert.ends_at.since(zero));
    format!(
        "{state} {} from {} to {}{}",
        alert.labels,
        duration::format(from),
        duration::format(to),
        texts.concat()
    )
}
