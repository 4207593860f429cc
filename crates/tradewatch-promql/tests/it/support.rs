//! Data from text, results to text, and the queries of the acceptance files as a corpus.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tradewatch_promql::series::{format_histogram, parse_series};
use tradewatch_promql::{Engine, EngineOptions, QueryResult, QueryValue, format_float, parse};
use tradewatch_tsdb::{Db, Sample, Timestamp, Value};

/// A store with these series, one point every `step` seconds.
pub fn store(step: i64, series: &str) -> Db {
    let db = Db::in_memory();
    let mut appender = db.appender();
    for line in series.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (labels, points) = parse_series(line).expect("a series");
        let id = appender.series(&labels);
        for (at, point) in points.into_iter().enumerate() {
            let ts = Timestamp::from_millis(at as i64 * step * 1000);
            if let Some(value) = point.value {
                appender.append_sample(id, Sample { ts, value, start: None }).expect("in order");
            }
        }
    }
    appender.commit().expect("a store in memory");
    db
}

fn show(value: &Value) -> String {
    match value {
        Value::Float(value) => format_float(*value),
        Value::Histogram(histogram) => format_histogram(histogram),
    }
}

/// A result, one line per series.
pub fn text(result: &QueryResult) -> String {
    let mut out = String::new();
    match &result.value {
        QueryValue::Scalar { value, .. } => writeln!(out, "scalar {}", format_float(*value)).unwrap(),
        QueryValue::String { value, .. } => writeln!(out, "string {value:?}").unwrap(),
        QueryValue::Vector(vector) => {
            for sample in vector {
                writeln!(out, "{} {}", sample.labels, show(&sample.value)).unwrap();
            }
        }
        QueryValue::Matrix(matrix) => {
            for series in matrix {
                write!(out, "{}", series.labels).unwrap();
                for sample in &series.samples {
                    write!(out, " {}@{}", show(&sample.value), sample.ts.as_millis() / 1000).unwrap();
                }
                out.push('\n');
            }
        }
    }
    for remark in result.warnings.iter().chain(&result.infos) {
        writeln!(out, "{remark}").unwrap();
    }
    out
}

/// The result of a query at a second, or its error.
pub fn instant(db: &Db, query: &str, at: i64) -> String {
    instant_with(db, query, at, EngineOptions::default())
}

pub fn instant_with(db: &Db, query: &str, at: i64, options: EngineOptions) -> String {
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => return format!("{error:#}\n"),
    };
    match Engine::new(options).instant(db, &expr, Timestamp::from_millis(at * 1000)) {
        Ok(result) => text(&result),
        Err(error) => format!("error: {error}\n"),
    }
}

/// The result of a query from one second to another.
pub fn range(db: &Db, query: &str, start: i64, end: i64, step: u64) -> String {
    let expr = parse(query).expect("a query");
    let (start, end) = (Timestamp::from_millis(start * 1000), Timestamp::from_millis(end * 1000));
    match Engine::default().range(db, &expr, start, end, Duration::from_secs(step)) {
        Ok(result) => text(&result),
        Err(error) => format!("error: {error}\n"),
    }
}

/// All queries of the acceptance files, in their order.
pub fn corpus() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/promqltest");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the acceptance files are part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    let mut queries = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("eval")) {
            let words = if line.contains(" range ") { 8 } else { 4 };
            let query = line.split_whitespace().skip(words).collect::<Vec<_>>().join(" ");
            if parse(&query).is_ok() {
                queries.push(query);
            }
        }
    }
    assert!(queries.len() > 1500, "only {} queries found", queries.len());
    queries
}

/// A small generator of pseudo-random numbers (SplitMix64), so that a failure can be repeated from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
