//! A range query gives at each step what an instant query gives there: every function, operator and aggregation,
//! on floats, on native histograms, and on series that change from one to the other.

use std::collections::BTreeMap;
use std::time::Duration;

use tradewatch_promql::functions::FUNCTIONS;
use tradewatch_promql::{Engine, EngineOptions, QueryValue, ValueType, parse};
use tradewatch_tsdb::{Db, Timestamp, Value};

use crate::support::store;

const SERIES: &str = "
    m{a=\"1\",job=\"j\",instance=\"x\"} 1 5 2 _ 7 stale 3 3 NaN 8 -1 4 4 Inf 2 6
    m{a=\"2\",job=\"j\",instance=\"y\"} 0+3x15
    m{a=\"3\",job=\"k\",instance=\"x\"} _ _ _ _ 9 8 7 6 _ _ _ _ 5 4 3 2
    n{a=\"1\"} 2+1x15
    n{a=\"4\"} 7x15
    b_bucket{le=\"1\",a=\"1\"} 0+1x15
    b_bucket{le=\"2\",a=\"1\"} 0+3x8 0+3x6
    b_bucket{le=\"+Inf\",a=\"1\"} 0+4x15
    h{a=\"1\"} {{schema:0 count:4 sum:6 buckets:[1 2 1]}}+{{schema:0 count:4 sum:6 buckets:[1 2 1]}}x7 {{schema:0 count:2 sum:3 buckets:[1 1]}}+{{schema:0 count:1 sum:1 buckets:[1]}}x7
    h{a=\"2\"} {{schema:-53 count:3 sum:9 custom_values:[1 5] buckets:[1 1 1]}}x6 {{schema:-53 count:3 sum:9 custom_values:[5] buckets:[1 2]}}x7
    x{a=\"1\"} 1 2 {{schema:1 count:3 sum:6 buckets:[1 2]}}x3 5 6 stale {{schema:0 count:1 sum:6 buckets:[1] counter_reset_hint:gauge}}x4 1 2 3
    target_info{job=\"j\",instance=\"x\",version=\"1\"} 1x8 stale
    target_info{job=\"j\",instance=\"x\",version=\"2\"} _x9 1x6
";

/// The samples of a query by labels and time, or its error.
type Answer = Result<BTreeMap<(String, i64), String>, String>;

fn show(value: &Value) -> String {
    match value {
        Value::Float(value) => format!("{value}"),
        Value::Histogram(histogram) => format!("{histogram} {:?}", histogram.counter_reset_hint),
    }
}

fn over_steps(engine: &Engine, db: &Db, query: &str, times: &[i64]) -> Answer {
    let expr = parse(query).expect(query);
    let (start, end) = (Timestamp::from_millis(times[0]), Timestamp::from_millis(times[times.len() - 1]));
    let step = Duration::from_millis((times[1] - times[0]) as u64);
    let result = engine.range(db, &expr, start, end, step).map_err(|error| error.to_string())?;
    let QueryValue::Matrix(series) = result.value else { panic!("a range query gives a matrix") };
    let mut out = BTreeMap::new();
    for one in series {
        for sample in one.samples {
            out.insert((one.labels.to_string(), sample.ts.as_millis()), show(&sample.value));
        }
    }
    Ok(out)
}

fn one_by_one(engine: &Engine, db: &Db, query: &str, times: &[i64]) -> Answer {
    let expr = parse(query).expect(query);
    let mut out = BTreeMap::new();
    for &ms in times {
        let result =
            engine.instant(db, &expr, Timestamp::from_millis(ms)).map_err(|error| error.to_string())?;
        match result.value {
            QueryValue::Scalar { value, .. } => {
                out.insert(("{}".to_string(), ms), format!("{value}"));
            }
            QueryValue::Vector(vector) => {
                for sample in vector {
                    out.insert((sample.labels.to_string(), ms), show(&sample.value));
                }
            }
            other => panic!("{query} gives {other:?}"),
        }
    }
    Ok(out)
}

fn queries() -> Vec<String> {
    let mut out = Vec::new();
    let selectors = ["m", "h", "x", "{__name__=~\"m|h|x\"}", "b_bucket"];
    for function in FUNCTIONS {
        // These depend on the query as a whole.
        if ["start", "end", "range", "step"].contains(&function.name) {
            continue;
        }
        for selector in selectors {
            let vectors = [selector.to_string(), format!("{selector} * 2"), format!("{selector} @ 60")];
            let ranges = ["[50s]", "[50s] offset 20s", "[2m:15s]", "[50s] @ 70"];
            let ranges = ranges.map(|range| match range.split_once(']') {
                Some((a, b)) => format!("{selector}{a}]{b}"),
                None => selector.to_string(),
            });
            for at in 0..4 {
                let mut args = Vec::new();
                for (position, kind) in function.args.iter().enumerate() {
                    args.push(match kind {
                        ValueType::Vector if function.name == "info" && position == 1 => {
                            "{version=~\".+\"}".into()
                        }
                        ValueType::Vector => vectors[at % vectors.len()].clone(),
                        ValueType::Matrix => ranges[at].clone(),
                        ValueType::Scalar if position % 2 == 1 => "0.3".into(),
                        ValueType::Scalar => "scalar(n{a=\"1\"}) / 40".into(),
                        ValueType::String => format!("\"{}\"", ["a", "a", "$1b", "a", "(.*)"][position]),
                    });
                }
                let call = format!("{}({})", function.name, args.join(", "));
                if parse(&call).is_ok() {
                    out.push(call);
                }
            }
            for extended in ["anchored", "smoothed"] {
                let call = format!("{}({selector}[50s] {extended})", function.name);
                if function.args == [ValueType::Matrix] && parse(&call).is_ok() {
                    out.push(call);
                }
            }
        }
    }
    for op in ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "</", ">/"] {
        for (left, right) in
            [("m", "n"), ("m", "h"), ("h", "h"), ("x", "x offset 20s"), ("m", "2"), ("3", "x"), ("h", "2")]
        {
            out.push(format!("{left} {op} {right}"));
            if right != "2" && left != "3" {
                out.push(format!("{left} {op} on(a) {right}"));
                out.push(format!("{left} {op} ignoring(job, instance) fill(1) {right}"));
                out.push(format!("{left} {op} on(a) group_left {right}"));
                out.push(format!("{left} {op} ignoring(job) group_right(a) {right}"));
            }
        }
    }
    for op in ["and", "or", "unless"] {
        for (left, right) in [("m", "n"), ("x", "h"), ("m > 3", "m"), ("-m", "m")] {
            out.push(format!("{left} {op} {right}"));
            out.push(format!("{left} {op} on(a) {right}"));
        }
    }
    for op in ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"] {
        for selector in selectors {
            for grouping in ["", "by (a)", "without (a, le)"] {
                out.push(format!("{op} {grouping} ({selector})"));
            }
        }
    }
    for op in [
        "topk(2,",
        "bottomk(scalar(n{a=\"1\"})/9,",
        "quantile(0.4,",
        "limitk(2,",
        "limit_ratio(0.5,",
        "count_values(\"v\",",
    ] {
        for selector in selectors {
            out.push(format!("{op} {selector})"));
            out.push(format!("{}{selector})", op.replacen('(', " by (a) (", 1)));
        }
    }
    out.push("-x + +m".into());
    out.push("m smoothed".into());
    out.push("x smoothed".into());
    out.push("m offset -20s and m @ 50".into());
    out
}

#[test]
fn a_range_query_is_its_instants() {
    let db = store(10, SERIES);
    let times: Vec<i64> = (-2..16).map(|step| step * 10_000 + 3_000).collect();
    let mut with_result = 0;
    let queries = queries();
    assert!(queries.len() > 1000, "only {} queries", queries.len());
    for late in [false, true] {
        let options = EngineOptions { delayed_name_removal: late, ..EngineOptions::default() };
        let engine = Engine::new(options);
        for query in &queries {
            let expected = one_by_one(&engine, &db, query, &times);
            let got = over_steps(&engine, &db, query, &times);
            match (expected, got) {
                (Ok(expected), Ok(got)) => {
                    with_result += usize::from(!expected.is_empty());
                    for (key, value) in &expected {
                        let other = got.get(key).map_or("nothing", String::as_str);
                        assert_eq!(other, value, "{query} at {key:?}, late {late}");
                    }
                    assert_eq!(got.len(), expected.len(), "{query}, late {late}");
                }
                (Err(_), Err(_)) => {}
                (expected, got) => panic!("{query}, late {late}\nexpected {expected:?}\ngot {got:?}"),
            }
        }
    }
    assert!(with_result > 1500, "only {with_result} queries gave a result");
}
