//! Rule unit tests in the format of `promtool test rules`, with its verdicts and its messages.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_promql::series::format_histogram;
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_tsdb::histogram::CounterResetHint;
use tradewatch_tsdb::{Db, Histogram, Labels, Sample, Timestamp, Value};

use crate::alert::State;
use crate::duration;
use crate::rules::{Group, RuleFile, Surroundings, engine_query};
use file::{AlertTest, Expected, ExprTest, File, Test};

/// Finds the rule files of a pattern in `rule_files`: name and text of each.
pub type Load<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<(String, String)>, String>;

/// What a test file came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file.
    pub path: String,
    /// Tests run.
    pub tests: usize,
    /// What went wrong, in promtool's words and indentation.
    pub errors: Vec<String>,
    /// What is odd, and no failure.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.errors.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Unit Testing:  {}", self.path)?;
        for warning in &self.warnings {
            writeln!(f, "  WARNING: {warning}")?;
        }
        if self.passed() {
            return writeln!(f, "  SUCCESS");
        }
        writeln!(f, "  FAILED:")?;
        self.errors.iter().try_for_each(|error| writeln!(f, "{error}\n"))
    }
}

/// Runs one test file. `load` is asked for each pattern in `rule_files`, relative to the file.
pub fn run(path: &str, text: &str, load: Load<'_>) -> Report {
    let mut report = Report { path: path.to_owned(), ..Report::default() };
    let file = match file::parse(path, text) {
        Ok(file) => file,
        Err(errors) => {
            report.errors = errors.iter().map(ToString::to_string).collect();
            return report;
        }
    };
    let mut rule_files = Vec::new();
    for pattern in &file.rule_files {
        match load(pattern) {
            Ok(found) if found.is_empty() => report.warnings.push(format!("no file match pattern {pattern}")),
            Ok(found) => rule_files.extend(found),
            Err(error) => report.errors.push(format!("{path}: {pattern}: {error}")),
        }
    }
    let mut parsed = Vec::new();
    for (path, text) in &rule_files {
        let (file, errors) = RuleFile::parse(path, text);
        report.errors.extend(errors.iter().filter(|e| !e.warning).map(ToString::to_string));
        parsed.push(file);
    }
    if !report.errors.is_empty() {
        return report;
    }
    for test in &file.tests {
        report.tests += 1;
        report.errors.extend(Run::new(path, &file, test, &parsed).run());
    }
    report
}

/// One test under way.
struct Run<'a> {
    path: &'a str,
    file: &'a File,
    test: &'a Test,
    groups: Vec<Group>,
    around: Surroundings,
    engine: Engine,
    /// The next point of each input series.
    next: Vec<usize>,
    /// The last point of each.
    last: Vec<Option<Value>>,
    errors: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(path: &'a str, file: &'a File, test: &'a Test, rule_files: &[RuleFile]) -> Run<'a> {
        let options = EngineOptions { subquery_step: file.interval, ..EngineOptions::default() };
        let db = Db::in_memory();
        let engine = Engine::new(options.clone());
        let mut around = Surroundings::new(engine_query(Arc::new(Engine::new(options)), db.clone()), db);
        around.external_labels.clone_from(&test.external_labels);
        around.external_url.clone_from(&test.external_url);
        let of_file = |rules: &RuleFile| -> Vec<Group> {
            rules.groups.iter().map(|g| Group::new(&rules.path, g, test.interval, Duration::ZERO)).collect()
        };
        let mut groups: Vec<Group> = rule_files.iter().flat_map(of_file).collect();
        groups.sort_by_key(|group| file.order.iter().position(|name| name == group.name()).unwrap_or(0));
        Run {
            path,
            file,
            test,
            groups,
            around,
            engine,
            next: vec![0; test.series.len()],
            last: vec![None; test.series.len()],
            errors: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<String> {
        let last = self.test.alerts.iter().map(|t| t.at).chain(self.test.exprs.iter().map(|t| t.at)).max();
        let last = last.unwrap_or_default();
        let mut times: Vec<Duration> = self.test.alerts.iter().map(|t| t.at).collect();
        times.sort();
        times.dedup();
        let mut times = times.into_iter().peekable();
        let mut since = Duration::ZERO;
        while since <= last {
            let now = self.test.start + since;
            self.load(now);
            if !self.evaluate(now, since) {
                return self.errors;
            }
            while let Some(at) = times.next_if(|at| *at < since + self.file.interval) {
                self.check_alerts(at);
            }
            since += self.file.interval;
        }
        // Expressions may look between the last evaluation and the last time asked for.
        self.load(self.test.start + last);
        for test in &self.test.exprs {
            self.errors.extend(self.check_expr(test));
        }
        self.errors
    }

    /// Appends the points of the input series up to `now`.
    fn load(&mut self, now: Timestamp) {
        let mut appender = self.around.db.appender();
        for ((input, next), last) in self.test.series.iter().zip(&mut self.next).zip(&mut self.last) {
            let id = appender.series(&input.labels);
            while let Some(point) = input.points.get(*next) {
                let ts = self.test.start + self.test.interval.saturating_mul(*next as u32);
                if ts > now {
                    break;
                }
                *next += 1;
                let Some(mut value) = point.value.clone() else { continue };
                if let Value::Histogram(histogram) = &mut value {
                    hint(histogram, last);
                }
                *last = Some(value.clone());
                if let Err(error) = appender.append_sample(id, Sample { ts, value, start: None }) {
                    self.errors.push(format!("    series {}: {error}", input.labels));
                }
            }
        }
        if let Err(error) = appender.commit() {
            self.errors.push(format!("    {error}"));
        }
    }

    /// Evaluates every group; a rule that fails ends the test, as in promtool.
    fn evaluate(&mut self, now: Timestamp, since: Duration) -> bool {
        let before = self.errors.len();
        for group in &mut self.groups {
            for rule in group.evaluate(now, &self.around).rules {
                if let Some(error) = rule.error {
                    let time = duration::format_go(since);
                    self.errors.push(format!("    rule: {}, time: {time}, err: {error}", rule.name));
                }
            }
        }
        self.errors.len() == before
    }

    /// The head of a failure: the place, which promtool does not name, and the test's name.
    fn title(&self, line: usize) -> String {
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        format!("    at {}:{line}\n{name}", self.path)
    }

    fn check_alerts(&mut self, at: Duration) {
        let tests: Vec<&AlertTest> = self.test.alerts.iter().filter(|test| test.at == at).collect();
        let names: BTreeSet<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let mut firing: BTreeMap<&str, Vec<Shown>> = BTreeMap::new();
        for (rule, _, alerts) in self.groups.iter().flat_map(Group::rules) {
            let Some(name) = names.get(rule.name.as_str()).filter(|_| rule.is_alerting()) else { continue };
            let alerts = alerts.into_iter().filter(|alert| alert.state == State::Firing);
            let shown = alerts.map(|a| (crate::notify::owned(&a.labels), a.annotations.clone()));
            firing.entry(name).or_default().extend(shown);
        }
        for test in tests {
            let mut got = firing.get(test.name.as_str()).cloned().unwrap_or_default();
            let mut expected = test.expected.clone();
            got.sort();
            expected.sort();
            if got == expected {
                continue;
            }
            self.errors.push(format!(
                "{}    alertname: {}, time: {}, \n        exp:{}, \n        got:{}",
                self.title(test.line),
                test.name,
                duration::format(test.at),
                indent(&show_alerts(&expected), "            "),
                indent(&show_alerts(&got), "            "),
            ));
        }
    }

    fn check_expr(&self, test: &ExprTest) -> Option<String> {
        let time = duration::format(test.at);
        let failed = |error: String| {
            let title = self.title(test.line);
            Some(format!("{title}    expr: {:?}, time: {time}, err: {error}", test.expr))
        };
        let expr = match tradewatch_promql::parse(&test.expr) {
            Ok(expr) => expr,
            Err(error) => return failed(error.to_string()),
        };
        let query = engine_query(Arc::new(self.engine.clone()), self.around.db.clone());
        let answer = match query(&expr, self.test.start + test.at) {
            Ok(answer) => answer,
            Err(error) => return failed(error),
        };
        if let Some(broken) = &test.broken {
            return failed(broken.clone());
        }
        let mut got: Vec<Expected> =
            answer.vector.into_iter().map(|(labels, value)| Expected { labels, value }).collect();
        let mut expected = test.expected.clone();
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = |(a, b): (&Expected, &Expected)| a.labels == b.labels && self.same(&a.value, &b.value);
        if got.len() == expected.len() && expected.iter().zip(&got).all(same) {
            return None;
        }
        Some(format!(
            "{}    expr: {:?}, time: {time},\n        exp: {}\n        got: {}",
            self.title(test.line),
            test.expr,
            show_samples(&expected),
            show_samples(&got)
        ))
    }

    fn same(&self, expected: &Value, got: &Value) -> bool {
        match (expected, got) {
            (Value::Float(a), Value::Float(b)) => {
                let near = self.file.fuzzy && (a.next_up() == *b || a.next_down() == *b);
                a == b || (a.is_nan() && b.is_nan()) || near
            }
            (Value::Histogram(a), Value::Histogram(b)) => format_histogram(a) == format_histogram(b),
            _ => false,
        }
    }
}

/// Prometheus' store notes for each histogram whether its counters were reset since the one before,
/// and unit tests compare the note.
fn hint(histogram: &mut Arc<Histogram>, last: &Option<Value>) {
    let Some(Value::Histogram(before)) = last else { return };
    if histogram.counter_reset_hint == CounterResetHint::Unknown {
        let reset = histogram.detect_reset(before);
        let hint = if reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
        Arc::make_mut(histogram).counter_reset_hint = hint;
    }
}

/// Labels and annotations of an alert.
type Shown = (BTreeMap<String, String>, BTreeMap<String, String>);

fn braces(pairs: impl Iterator<Item = (String, String)>) -> String {
    let parts: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", tradewatch_promql::quote(&value))).collect();
    format!("{{{}}}", parts.join(", "))
}

fn show_alerts(alerts: &[Shown]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let show = |map: &BTreeMap<String, String>| braces(map.clone().into_iter());
    let one = |(at, (labels, annotations)): (usize, &Shown)| {
        let text = format!("\nLabels:{}\nAnnotations:{}", show(labels), show(annotations));
        format!("{at}:{}", indent(&text, "  "))
    };
    let all: Vec<String> = alerts.iter().enumerate().map(one).collect();
    format!("[\n{}\n]", all.join(",\n"))
}

fn show_samples(samples: &[Expected]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let labels = |labels: &Labels| braces(labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
    let one = |sample: &Expected| match &sample.value {
        Value::Float(value) => format!("{} {}", labels(&sample.labels), exponent(*value)),
        Value::Histogram(histogram) => format!("{} {}", labels(&sample.labels), format_histogram(histogram)),
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Go's `%E` with the shortest digits.
fn exponent(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        v => crate::rules::exponent(v).replace('e', "E"),
    }
}

/// Indents every line but the first.
fn indent(lines: &str, by: &str) -> String {
    lines.replace('\n', &format!("\n{by}"))
}
