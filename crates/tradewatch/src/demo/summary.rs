//! What a run has shown, computed by queries on the store: targets, metrics, panels and rules.
//!
//! Nothing here knows how the services work: what a metric did is read from its samples, as a user would.

use anyhow::{Context, Result};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tradewatch_catalog::{Catalog, Kind, MetricSpec};
use tradewatch_promql::{Engine, QueryValue};
use tradewatch_server::Server;
use tradewatch_tsdb::{Db, MatchOp, Matcher, Series, Timestamp, Value, is_stale};

/// Panels are asked at this resolution.
const STEP: Duration = Duration::from_secs(1);

/// The run that is summed up.
pub struct Span<'a> {
    /// The store.
    pub db: &'a Db,
    /// Its query engine.
    pub engine: Engine,
    /// When the services had started.
    pub start: Timestamp,
    /// Now.
    pub end: Timestamp,
}

/// One count with what is missing from it.
#[derive(Debug, Default)]
pub struct Count {
    /// How many are right.
    pub good: usize,
    /// How many there are.
    pub all: usize,
    /// A line for each that is not.
    pub missing: Vec<String>,
}

impl Count {
    /// Adds another count of the same kind.
    pub fn join(&mut self, other: Count) {
        self.good += other.good;
        self.all += other.all;
        self.missing.extend(other.missing);
    }

    fn add(&mut self, name: impl Into<String>, problem: Option<String>) {
        self.all += 1;
        match problem {
            None => self.good += 1,
            Some(problem) => self.missing.push(format!("{}: {problem}", name.into())),
        }
    }
}

/// Targets that answered their last scrape.
pub fn targets(span: &Span) -> Result<Count> {
    let mut count = Count::default();
    let expr = tradewatch_promql::parse("up").context("the query `up`")?;
    if let QueryValue::Vector(samples) = span.engine.instant(span.db, &expr, span.end)?.value {
        for sample in samples {
            let job = sample.labels.get("job").unwrap_or("?").to_owned();
            let up = matches!(sample.value, Value::Float(1.0));
            count.add(job, (!up).then(|| "its last scrape failed".into()));
        }
    }
    Ok(count)
}

/// Metrics that moved by an event of this run, and the label values that did not occur.
pub fn metrics(span: &Span, catalog: &Catalog) -> Result<(Count, Vec<String>)> {
    let (mut count, mut unexercised) = (Count::default(), Vec::new());
    for metric in &catalog.metrics {
        let series = samples_of(span, metric)?;
        count.add(&metric.name, still(metric, &series));
        for label in &metric.labels {
            let seen: BTreeSet<&str> =
                series.iter().filter_map(|series| series.labels.get(&label.name)).collect();
            for value in label.values.iter().filter(|value| !seen.contains(value.as_str())) {
                unexercised.push(format!("{}{{{}=\"{value}\"}}", metric.name, label.name));
            }
        }
    }
    Ok((count, unexercised))
}

fn samples_of(span: &Span, metric: &MetricSpec) -> Result<Vec<Series>> {
    let name =
        if metric.kind == Kind::Histogram { format!("{}_count", metric.name) } else { metric.name.clone() };
    let matcher = Matcher::new("__name__", MatchOp::Equal, &name)?;
    Ok(span.db.select(&[matcher], span.start, span.end))
}

/// Why `metric` cannot be said to have moved, if so.
fn still(metric: &MetricSpec, series: &[Series]) -> Option<String> {
    if series.is_empty() {
        return Some("never exposed".into());
    }
    let values: BTreeSet<u64> = series.iter().flat_map(floats).map(f64::to_bits).collect();
    let has = |value: f64| values.contains(&value.to_bits());
    if metric.kind == Kind::Histogram || metric.kind == Kind::Counter {
        // The services started within the run, so whatever a counter shows was added in it.
        return series.iter().flat_map(floats).all(|value| value == 0.0).then(|| "never increased".into());
    }
    if metric.name.ends_with("_info") {
        return (series.len() < 2).then(|| "the same labels all along".into());
    }
    if metric.unit == "bool" {
        return match (has(0.0), has(1.0)) {
            (true, true) => None,
            (false, _) => Some("never 0".into()),
            (_, false) => Some("never 1".into()),
        };
    }
    (values.len() < 2).then(|| "one value all along".into())
}

fn floats(series: &Series) -> impl Iterator<Item = f64> + '_ {
    series.samples.iter().filter_map(|sample| match sample.value {
        Value::Float(value) if !is_stale(value) => Some(value),
        _ => None,
    })
}

/// Panels that show a series which is not constant, or whose constancy the panel explains.
pub fn panels(span: &Span, folder: &Path) -> Result<Count> {
    let mut count = Count::default();
    for file in json_files(folder)? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let dashboard: Json =
            serde_json::from_str(&text).with_context(|| format!("parse {}", file.display()))?;
        let name = dashboard["uid"].as_str().unwrap_or("?");
        for panel in
            dashboard["panels"].as_array().into_iter().flatten().filter(|panel| panel["type"] != "row")
        {
            let title = panel["title"].as_str().unwrap_or("?");
            count.add(format!("{name} / {title}"), empty(span, panel)?);
        }
    }
    Ok(count)
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// Why a panel shows nothing, if so.
fn empty(span: &Span, panel: &Json) -> Result<Option<String>> {
    let explained = panel["description"].as_str().is_some_and(|text| text.contains("Constant "));
    let (mut any, mut moving) = (false, false);
    for target in panel["targets"].as_array().into_iter().flatten() {
        let text = target["expr"].as_str().unwrap_or_default();
        let expr = match tradewatch_promql::parse(text) {
            Ok(expr) => expr,
            Err(error) => return Ok(Some(format!("query does not parse: {error}"))),
        };
        let QueryValue::Matrix(series) = span.engine.range(span.db, &expr, span.start, span.end, STEP)?.value
        else {
            continue;
        };
        any |= !series.is_empty();
        moving |=
            series.iter().any(|series| floats(series).map(f64::to_bits).collect::<BTreeSet<_>>().len() > 1);
    }
    Ok(match (any, moving, explained) {
        (false, _, _) => Some("no data".into()),
        (true, false, false) => Some("constant, and the panel does not say why".into()),
        _ => None,
    })
}

/// Rules that were evaluated, without an error.
pub fn rules(server: &Server) -> Count {
    let mut count = Count::default();
    let groups = server.monitor().groups.lock().expect("nobody panics while holding the groups").clone();
    for group in groups {
        let group = group.lock();
        for (rule, status, _) in group.rules() {
            let problem = match (&status.last_error, status.last_evaluation) {
                (Some(error), _) => Some(error.clone()),
                (None, None) => Some("never evaluated".into()),
                (None, Some(_)) => None,
            };
            count.add(&rule.name, problem);
        }
    }
    count
}
