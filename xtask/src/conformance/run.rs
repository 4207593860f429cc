//! The commands of a script against the engine.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tradewatch_promql::ast::{At, Expr, ExprKind};
use tradewatch_promql::series::Point;
use tradewatch_promql::{Engine, EngineOptions, QueryValue, VectorSample, parse};
use tradewatch_tsdb::{Histogram, Labels, STALE_NAN, Series, Timestamp, Value, is_stale};

use super::Report;
use super::load::Store;
use super::script::{CommandKind, Eval, Match, parse as parse_script, show};

/// How far two values may lie apart, relative to their sum.
const TOLERANCE: f64 = 1e-6;

/// Runs a script. Each evaluation is a case; commands that cannot be read or loaded are failing cases, too.
pub fn script(text: &str) -> Report {
    let mut report = Report::default();
    let engine = Engine::new(EngineOptions {
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    });
    let mut store = Store::new();
    for command in parse_script(text) {
        let line = command.line;
        match command.kind {
            CommandKind::Clear => store = Store::new(),
            CommandKind::Load(load) => {
                if let Err(why) = guarded(|| store.load(&load)) {
                    report.fail(format!("line {line}: load"), why);
                }
            }
            CommandKind::Bad { text, why } => report.fail(format!("line {line}: {text}"), why),
            CommandKind::Eval(eval) => {
                let result = guarded(|| check(&engine, &store, &eval));
                report.add(format!("line {line}: {}", eval.query), result);
            }
        }
    }
    report
}

/// A panic is a failing case, not the end of the run.
fn guarded(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(format!("panicked: {text}"))
    })
}

fn check(engine: &Engine, store: &Store, eval: &Eval) -> Result<(), String> {
    let expr = parse(&eval.query).map_err(|e| format!("expected a query\ngot {e:#}"))?;
    if let Some(step) = eval.step_ms {
        return range(engine, store, eval, &expr, step);
    }
    instant(engine, store, eval, &expr, eval.at_ms)?;
    let Some((pinned, text)) = pin(&eval.query, eval.at_ms) else { return Ok(()) };
    let at = eval.at_ms;
    let times = match at {
        0 => vec![-1000, 0, 1000],
        _ => vec![-10 * at, 0, at / 5, at, 10 * at],
    };
    for at in times {
        instant(engine, store, eval, &pinned, at).map_err(|why| format!("as {text} at {at} ms: {why}"))?;
    }
    Ok(())
}

fn range(engine: &Engine, store: &Store, eval: &Eval, expr: &Expr, step: i64) -> Result<(), String> {
    let (start, end) = (Timestamp::from_millis(eval.start_ms), Timestamp::from_millis(eval.end_ms));
    let result = engine.range(&store.db, expr, start, end, Duration::from_millis(step as u64));
    let result = match (result, &eval.fail) {
        (Err(error), Some(expected)) => return failure(expected, &error.to_string()),
        (Err(error), None) => return Err(format!("expected a result\ngot error {error}")),
        (Ok(_), Some(expected)) => return Err(format!("expected an error, {expected}\ngot a result")),
        (Ok(result), None) => result,
    };
    remarks(eval, &result.warnings, &result.infos)?;
    compare(eval, &result.value)
}

fn instant(engine: &Engine, store: &Store, eval: &Eval, expr: &Expr, at_ms: i64) -> Result<(), String> {
    let at = Timestamp::from_millis(at_ms);
    let result = match (engine.instant(&store.db, expr, at), &eval.fail) {
        (Err(error), Some(expected)) => return failure(expected, &error.to_string()),
        (Err(error), None) => return Err(format!("expected a result\ngot error {error}")),
        (Ok(_), Some(expected)) => return Err(format!("expected an error, {expected}\ngot a result")),
        (Ok(result), None) => result,
    };
    remarks(eval, &result.warnings, &result.infos)?;
    compare(eval, &result.value)?;
    let in_range_mode = eval.text.is_none() && eval.samples_step_ms.is_none() && !asks_for_the_query(expr);
    if !in_range_mode || matches!(result.value, QueryValue::Matrix(_) | QueryValue::String { .. }) {
        return Ok(());
    }
    let minute = Duration::from_secs(60);
    let result_of_range = engine
        .range(&store.db, expr, at - minute, at + minute, minute)
        .map_err(|error| format!("expected a result in range mode\ngot error {error}"))?;
    if eval.ordered {
        return Ok(());
    }
    let QueryValue::Matrix(series) = result_of_range.value else {
        return Err("expected a matrix in range mode".into());
    };
    sorted(&series)?;
    let middle = |one: &Series| {
        let sample = one.samples.iter().find(|sample| sample.ts == at)?;
        Some(VectorSample { labels: one.labels.clone(), ts: at, value: sample.value.clone() })
    };
    let vector: Vec<VectorSample> = series.iter().filter_map(middle).collect();
    let value = match (&result.value, vector.first().map(|sample| &sample.value)) {
        (QueryValue::Scalar { .. }, Some(&Value::Float(value))) => QueryValue::Scalar { ts: at, value },
        (QueryValue::Scalar { .. }, _) => return Err("expected a scalar in range mode\ngot nothing".into()),
        _ => QueryValue::Vector(vector),
    };
    compare(eval, &value).map_err(|why| format!("in range mode: {why}"))
}

/// Whether a query asks for its own start, end, range or step, which differ in another mode.
fn asks_for_the_query(expr: &Expr) -> bool {
    let text = expr.to_string();
    ["start()", "end()", "range()", "step()"].iter().any(|call| text.contains(call))
}

/// The query with every selector pinned to a time, if that leaves its value as it is.
fn pin(query: &str, at_ms: i64) -> Option<(Expr, String)> {
    let mut expr = parse(query).ok()?;
    if !pin_expr(&mut expr, at_ms) {
        return None;
    }
    let text = expr.to_string();
    let pinned = parse(&text).ok()?;
    Some((pinned, text))
}

/// Pins everything outside of subqueries; `false` if a function depends on the time of evaluation.
fn pin_expr(expr: &mut Expr, at_ms: i64) -> bool {
    let pinned = |at: &mut Option<At>| {
        if !matches!(at, Some(At::Millis(_))) {
            *at = Some(At::Millis(at_ms));
        }
        true
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(v) => pinned(&mut v.at),
        ExprKind::Matrix(m) => pinned(&mut m.selector.at),
        ExprKind::Subquery(s) => pinned(&mut s.at),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => pin_expr(inner, at_ms),
        ExprKind::Binary(b) => pin_expr(&mut b.lhs, at_ms) & pin_expr(&mut b.rhs, at_ms),
        ExprKind::Aggregate(a) => {
            a.param.as_mut().is_none_or(|param| pin_expr(param, at_ms)) & pin_expr(&mut a.expr, at_ms)
        }
        ExprKind::Call(call) => {
            const BY_TIME: [&str; 15] = [
                "days_in_month",
                "day_of_month",
                "day_of_week",
                "day_of_year",
                "end",
                "hour",
                "minute",
                "month",
                "year",
                "predict_linear",
                "range",
                "start",
                "step",
                "time",
                "timestamp",
            ];
            let free = !BY_TIME.contains(&call.function.name);
            call.args.iter_mut().fold(free, |all, arg| pin_expr(arg, at_ms) & all)
        }
    }
}

fn failure(expected: &Match, got: &str) -> Result<(), String> {
    match expected.fits(got) {
        true => Ok(()),
        false => Err(format!("expected an error, {expected}\ngot {got}")),
    }
}

fn remarks(eval: &Eval, warnings: &[String], infos: &[String]) -> Result<(), String> {
    for (what, expected, none, got) in
        [("warning", &eval.warn, eval.no_warn, warnings), ("info", &eval.info, eval.no_info, infos)]
    {
        if none && !got.is_empty() {
            return Err(format!("expected no {what}\ngot {}", got.join("\n    ")));
        }
        for wanted in expected {
            if !got.iter().any(|text| wanted.fits(text)) {
                let got = if got.is_empty() { "none".to_string() } else { got.join("\n    ") };
                return Err(format!("expected {what}: {wanted}\ngot {got}"));
            }
        }
        if !expected.is_empty()
            && let Some(extra) = got.iter().find(|text| !expected.iter().any(|wanted| wanted.fits(text)))
        {
            return Err(format!("unexpected {what}\ngot {extra}"));
        }
    }
    Ok(())
}

fn compare(eval: &Eval, got: &QueryValue) -> Result<(), String> {
    match got {
        QueryValue::Scalar { value, .. } => match eval.scalar {
            Some(wanted) if almost_equal(wanted, *value) => Ok(()),
            Some(wanted) => Err(format!("expected {wanted}\ngot {value}")),
            None => Err(format!("expected a vector or matrix\ngot scalar {value}")),
        },
        QueryValue::String { value, .. } => match &eval.text {
            Some(wanted) if wanted == value => Ok(()),
            wanted => Err(format!("expected string {wanted:?}\ngot {value:?}")),
        },
        QueryValue::Vector(_) | QueryValue::Matrix(_) if eval.scalar.is_some() => {
            Err(format!("expected scalar {:?}\ngot {got:?}", eval.scalar))
        }
        QueryValue::Vector(vector) => compare_vector(eval, vector),
        QueryValue::Matrix(series) => compare_matrix(eval, series),
    }
}

/// The expected points of these labels, the last ones if the file names them twice, and their position.
fn expected<'a>(eval: &'a Eval, labels: &Labels) -> Option<(usize, &'a [Point])> {
    let at = eval.series.iter().rposition(|(wanted, _)| wanted == labels)?;
    Some((at, &eval.series[at].1))
}

fn missing(eval: &Eval, seen: &HashSet<Labels>) -> Result<(), String> {
    match eval.series.iter().find(|(labels, _)| !seen.contains(labels)) {
        Some((labels, _)) => Err(format!("expected {labels}\ngot no such series")),
        None => Ok(()),
    }
}

fn compare_vector(eval: &Eval, vector: &[VectorSample]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for (at, sample) in vector.iter().enumerate() {
        let labels = &sample.labels;
        let Some((position, points)) = expected(eval, labels) else {
            return Err(format!("expected no {labels}\ngot {}", show(&sample.value)));
        };
        if !seen.insert(labels.clone()) {
            return Err(format!("expected {labels} once\ngot it twice"));
        }
        if eval.ordered && position != at {
            return Err(format!("expected {labels} at position {}\ngot it at {}", position + 1, at + 1));
        }
        let Some(point) = points.first() else {
            return Err(format!("{labels} has no expected value"));
        };
        if !same(point, &sample.value) {
            let wanted = point.value.as_ref().map_or("_".to_string(), show);
            return Err(format!("expected {labels} {wanted}\ngot      {labels} {}", show(&sample.value)));
        }
    }
    missing(eval, &seen)
}

fn sorted(series: &[Series]) -> Result<(), String> {
    match series.windows(2).find(|pair| pair[0].labels > pair[1].labels) {
        Some(pair) => {
            Err(format!("expected series sorted by labels\ngot {} before {}", pair[0].labels, pair[1].labels))
        }
        None => Ok(()),
    }
}

fn compare_matrix(eval: &Eval, series: &[Series]) -> Result<(), String> {
    if eval.ordered {
        return Err("expected an ordered vector\ngot a matrix, which has no order".into());
    }
    sorted(series)?;
    let step = eval.step_ms.or(eval.samples_step_ms).unwrap_or(0);
    let mut seen = HashSet::new();
    for one in series {
        let labels = &one.labels;
        let text = || one.samples.iter().map(|s| format!("{}@{}", show(&s.value), s.ts.as_millis()));
        let got = || text().collect::<Vec<_>>().join(" ");
        let Some((_, points)) = expected(eval, labels) else {
            return Err(format!("expected no {labels}\ngot {}", got()));
        };
        if !seen.insert(labels.clone()) {
            return Err(format!("expected {labels} once\ngot it twice"));
        }
        let mut wanted = Vec::new();
        for (at, point) in points.iter().enumerate() {
            let ts = eval.start_ms + at as i64 * step;
            if ts > eval.end_ms {
                let points = points.len();
                return Err(format!(
                    "the file expects {points} points of {labels}, more than the range holds"
                ));
            }
            if point.value.is_some() {
                wanted.push((ts, point));
            }
        }
        let pairs = wanted.iter().zip(&one.samples);
        let fits = wanted.len() == one.samples.len()
            && pairs.clone().all(|((ts, point), s)| *ts == s.ts.as_millis() && same(point, &s.value));
        if !fits {
            let shown = |(ts, point): &(i64, &Point)| {
                format!("{}@{ts}", point.value.as_ref().map_or("_".to_string(), show))
            };
            let wanted = wanted.iter().map(shown).collect::<Vec<_>>().join(" ");
            return Err(format!("expected {labels} {wanted}\ngot      {labels} {}", got()));
        }
    }
    missing(eval, &seen)
}

fn same(point: &Point, got: &Value) -> bool {
    match (&point.value, got) {
        (Some(Value::Float(wanted)), Value::Float(got)) => almost_equal(*wanted, *got),
        (Some(Value::Histogram(wanted)), Value::Histogram(got)) => {
            same_histogram(wanted, got)
                && (!point.hint_set || wanted.counter_reset_hint == got.counter_reset_hint)
        }
        _ => false,
    }
}

fn same_histogram(wanted: &Histogram, got: &Histogram) -> bool {
    let (mut a, mut b) = (wanted.clone(), got.clone());
    a.compact();
    b.compact();
    let near =
        |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| almost_equal(*a, *b));
    a.schema == b.schema
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && (!a.uses_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && almost_equal(a.zero_count, b.zero_count)
        && a.negative_spans == b.negative_spans
        && a.positive_spans == b.positive_spans
        && near(&a.negative_buckets, &b.negative_buckets)
        && near(&a.positive_buckets, &b.positive_buckets)
}

/// Equal up to the tolerance, or both NaN; the staleness marker equals only itself.
pub fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return a.to_bits() == b.to_bits() && a.to_bits() == STALE_NAN.to_bits();
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}
