//! The file of `promtool test rules`.

use std::collections::BTreeMap;
use std::time::Duration;

use tradewatch_promql::series::{Point, parse_series};
use tradewatch_tsdb::{Labels, Timestamp, Value};

use crate::error::ConfigError;
use crate::yaml::{self, Node, Reader};

/// The whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub rule_files: Vec<String>,
    pub interval: Duration,
    pub order: Vec<String>,
    pub fuzzy: bool,
    pub tests: Vec<Test>,
}

/// One entry of `tests`.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub name: String,
    pub interval: Duration,
    pub start: Timestamp,
    pub series: Vec<Input>,
    pub alerts: Vec<AlertTest>,
    pub exprs: Vec<ExprTest>,
    pub external_labels: BTreeMap<String, String>,
    pub external_url: String,
}

#[derive(Clone, Debug)]
pub(super) struct Input {
    pub labels: Labels,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug)]
pub(super) struct AlertTest {
    pub at: Duration,
    pub name: String,
    pub expected: Vec<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    pub line: usize,
}

#[derive(Clone, Debug)]
pub(super) struct ExprTest {
    pub at: Duration,
    pub expr: String,
    pub expected: Vec<Expected>,
    /// What is wrong with the expected samples.
    pub broken: Option<String>,
    pub line: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub labels: Labels,
    pub value: Value,
}

/// What promtool takes when the file names no interval.
const INTERVAL: Duration = Duration::from_secs(60);

pub(super) fn parse(path: &str, text: &str) -> Result<File, Vec<ConfigError>> {
    let (root, _) = yaml::parse(path, text).map_err(|e| vec![e])?;
    let mut reader = Reader::new(path, text);
    let file = root.map(|root| read(&root, &mut reader)).unwrap_or_default();
    if reader.failures() > 0 { Err(reader.errors) } else { Ok(file) }
}

fn read(root: &Node, reader: &mut Reader<'_>) -> File {
    let mut file = File { interval: INTERVAL, ..File::default() };
    let Some(mut fields) = reader.fields(root, "a rule test file") else { return file };
    if let Some(node) = fields.take("rule_files") {
        file.rule_files = reader.texts(node, "rule_files");
    }
    if let Some(node) = fields.take("evaluation_interval") {
        file.interval =
            reader.duration(node, "evaluation_interval").filter(|d| !d.is_zero()).unwrap_or(INTERVAL);
    }
    if let Some(node) = fields.take("group_eval_order") {
        for name in reader.texts(node, "group_eval_order") {
            if file.order.contains(&name) {
                reader.error(node, format!("group name repeated in evaluation order: {name}"), "keep one");
            }
            file.order.push(name);
        }
    }
    if let Some(node) = fields.take("fuzzy_compare") {
        file.fuzzy = reader.bool(node, "fuzzy_compare").unwrap_or(false);
    }
    let tests = fields.take("tests");
    fields.finish(reader);
    if let Some(tests) = tests {
        for node in reader.list(tests, "tests") {
            file.tests.extend(read_test(node, file.interval, reader));
        }
    }
    file
}

fn read_test(node: &Node, interval: Duration, reader: &mut Reader<'_>) -> Option<Test> {
    let mut fields = reader.fields(node, "a test")?;
    let mut test = Test {
        name: fields.take("name").and_then(|n| reader.text(n, "name")).unwrap_or_default(),
        interval,
        start: Timestamp::from_millis(0),
        series: Vec::new(),
        alerts: Vec::new(),
        exprs: Vec::new(),
        external_labels: BTreeMap::new(),
        external_url: String::new(),
    };
    if let Some(node) = fields.take("interval") {
        test.interval = reader.duration(node, "interval").filter(|d| !d.is_zero()).unwrap_or(interval);
    }
    if let Some(node) = fields.take("start_timestamp") {
        match instant(node.text().unwrap_or("")) {
            Some(start) => test.start = start,
            None => {
                let message = format!("start_timestamp is {}", node.describe());
                reader.error(node, message, "write RFC 3339 or seconds since the epoch");
            }
        }
    }
    if let Some(node) = fields.take("external_labels") {
        test.external_labels = pairs(node, "external_labels", reader);
    }
    if let Some(node) = fields.take("external_url") {
        test.external_url = reader.text(node, "external_url").unwrap_or_default();
    }
    for (name, kind) in [("input_series", 0), ("alert_rule_test", 1), ("promql_expr_test", 2)] {
        let Some(list) = fields.take(name) else { continue };
        for item in reader.list(list, name) {
            match kind {
                0 => test.series.extend(read_series(item, reader)),
                1 => test.alerts.extend(read_alert(item, reader)),
                _ => test.exprs.extend(read_expr(item, reader)),
            }
        }
    }
    fields.finish(reader);
    Some(test)
}

fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(secs) = text.parse::<f64>() {
        return Some(Timestamp::from_secs_f64(secs));
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

fn pairs(node: &Node, what: &'static str, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    reader.pairs(node, what).into_iter().map(|(name, text, _)| (name, text)).collect()
}

fn read_series(node: &Node, reader: &mut Reader<'_>) -> Option<Input> {
    let mut fields = reader.fields(node, "an input series")?;
    let series_node = fields.take("series");
    let series = series_node.and_then(|n| reader.text(n, "series")).unwrap_or_default();
    let values_node = fields.take("values");
    let values = values_node.and_then(|n| reader.text(n, "values")).unwrap_or_default();
    fields.finish(reader);
    match parse_series(&format!("{series} {values}")) {
        Ok((labels, points)) => Some(Input { labels, points }),
        Err(error) => {
            let offset = error.span().start as usize;
            let at = match (series_node, values_node) {
                (Some(node), _) if offset < series.len() => node.locate(reader.source, offset),
                (_, Some(node)) => node.locate(reader.source, offset.saturating_sub(series.len() + 1)),
                _ => (node.line, node.column),
            };
            reader.error_at(
                at,
                format!("parse error: {}", error.message()),
                format!("in: {series} {values}"),
            );
            None
        }
    }
}

fn read_at(fields: &mut yaml::Fields<'_>, reader: &mut Reader<'_>) -> Duration {
    fields.take("eval_time").and_then(|n| reader.duration(n, "eval_time")).unwrap_or_default()
}

fn read_alert(node: &Node, reader: &mut Reader<'_>) -> Option<AlertTest> {
    let mut fields = reader.fields(node, "an alert rule test")?;
    let at = read_at(&mut fields, reader);
    let name = fields.take("alertname").and_then(|n| reader.text(n, "alertname")).unwrap_or_default();
    let mut expected = Vec::new();
    if let Some(list) = fields.take("exp_alerts") {
        for item in reader.list(list, "exp_alerts") {
            let Some(mut alert) = reader.fields(item, "an expected alert") else { continue };
            let mut labels = match alert.take("exp_labels") {
                Some(node) => pairs(node, "exp_labels", reader),
                None => BTreeMap::new(),
            };
            let annotations = match alert.take("exp_annotations") {
                Some(node) => pairs(node, "exp_annotations", reader),
                None => BTreeMap::new(),
            };
            alert.finish(reader);
            labels.insert("alertname".to_owned(), name.clone());
            expected.push((labels, annotations));
        }
    }
    fields.finish(reader);
    Some(AlertTest { at, name, expected, line: node.line })
}

fn read_expr(node: &Node, reader: &mut Reader<'_>) -> Option<ExprTest> {
    let mut fields = reader.fields(node, "an expression test")?;
    let at = read_at(&mut fields, reader);
    let expr = fields.take("expr").and_then(|n| reader.text(n, "expr")).unwrap_or_default();
    let mut test = ExprTest { at, expr, expected: Vec::new(), broken: None, line: node.line };
    if let Some(list) = fields.take("exp_samples") {
        for item in reader.list(list, "exp_samples") {
            match read_sample(item, reader) {
                Some(Ok(expected)) => test.expected.push(expected),
                Some(Err(message)) => {
                    test.broken.get_or_insert(message);
                }
                None => {}
            }
        }
    }
    fields.finish(reader);
    Some(test)
}

/// An expected sample; the inner error belongs to the one expression test.
fn read_sample(node: &Node, reader: &mut Reader<'_>) -> Option<Result<Expected, String>> {
    let mut fields = reader.fields(node, "an expected sample")?;
    let text = fields.take("labels").and_then(|n| reader.text(n, "labels")).unwrap_or_default();
    let value_node = fields.take("value");
    let histogram = fields.take("histogram").and_then(|n| reader.text(n, "histogram"));
    fields.finish(reader);
    let value = match value_node {
        Some(node) => match number(node.text().unwrap_or("")) {
            Some(value) => value,
            None => {
                reader.error(node, format!("value is {}", node.describe()), "write a number");
                return None;
            }
        },
        None => 0.0,
    };
    let labels = match text.trim() {
        "" => Labels::empty(),
        text => match parse_series(text) {
            Ok((labels, _)) => labels,
            Err(error) => return Some(Err(format!("labels {text:?}: {error}"))),
        },
    };
    let value = match histogram {
        None => Value::Float(value),
        Some(written) => match parse_series(&format!("{{}} {written}")) {
            Err(error) => return Some(Err(format!("labels {text:?}: {error}"))),
            Ok((_, points)) if points.len() != 1 => {
                return Some(Err(format!("labels {text:?}: expected 1 value, got {}", points.len())));
            }
            Ok((_, mut points)) => match points.remove(0).value {
                Some(value @ Value::Histogram(_)) => value,
                _ => return Some(Err(format!("labels {text:?}: expected histogram, got {written}"))),
            },
        },
    };
    Some(Ok(Expected { labels, value }))
}

/// A YAML number, with YAML's and Go's words for infinity.
fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().trim_start_matches('+') {
        ".inf" | "inf" => Some(f64::INFINITY),
        "-.inf" | "-inf" => Some(f64::NEG_INFINITY),
        ".nan" | "nan" => Some(f64::NAN),
        text if text.starts_with("0x") => i64::from_str_radix(&text[2..], 16).ok().map(|v| v as f64),
        text => text.replace('_', "").parse().ok(),
    }
}
