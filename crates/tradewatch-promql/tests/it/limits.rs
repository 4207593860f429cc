//! What one query may cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use expect_test::expect;
use tradewatch_promql::{Engine, EngineOptions, NESTING_MAX, OPERATORS_MAX, parse};
use tradewatch_tsdb::Timestamp;

use crate::support::{instant, instant_with, range, store};

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(NESTING_MAX - 1)).is_ok());
    let error = parse(&nested(100_000)).unwrap_err();
    expect!["expression is nested more than 150 levels deep"].assert_eq(error.message());
    for opening in ["-", "abs(", "sum(", "x[5m:] + (", "1 ^ ", "x[(", "x offset (", "{a=\"", "min_of(1,"] {
        let _ = parse(&opening.repeat(100_000));
        let _ = parse(&format!("{}1", opening.repeat(100_000)));
    }
    // The deepest allowed expression evaluates, prints and is dropped within an ordinary stack.
    let deep = format!("{}x{}", "abs(".repeat(NESTING_MAX - 2), ")".repeat(NESTING_MAX - 2));
    let expr = parse(&deep).unwrap();
    assert_eq!(parse(&expr.to_string()).unwrap(), expr);
    assert_eq!(instant(&store(10, "x -1"), &deep, 0), "{} 1\n");
}

#[test]
fn whatever_nests_fits_into_an_ordinary_stack() {
    let db = store(10, "x 1x30");
    for (open, close) in [
        ("sum by (a) (", ")"),
        ("topk(2, ", ")"),
        ("-(", ")"),
        ("1 + (", ")"),
        ("x or (", ")"),
        ("x * on() group_left() (", ")"),
        ("label_replace(", ", \"a\", \"b\", \"c\", \"d\")"),
        ("vector(scalar(", "))"),
        ("last_over_time(", "[1m:1m])"),
        ("histogram_quantile(0.5, ", ")"),
        ("info(", ")"),
        ("count_values(\"a\", ", ")"),
        ("timestamp(", ")"),
        ("sort(", ")"),
    ] {
        let query = |depth: usize| format!("{}x{}", open.repeat(depth), close.repeat(depth));
        let deepest = (1..=NESTING_MAX).rev().find(|&depth| parse(&query(depth)).is_ok()).expect(open);
        let expr = parse(&query(deepest)).expect("just parsed");
        let engine = Engine::default();
        let at = Timestamp::from_millis(200_000);
        let _ = engine.instant(&db, &expr, at);
        let _ = engine.range(&db, &expr, at - Duration::from_secs(60), at, Duration::from_secs(30));
        assert_eq!(parse(&tradewatch_promql::prettify(&expr)).expect("printed"), expr.clone());
    }
}

#[test]
fn chains_of_operators_may_be_long() {
    let chain = |count: usize| vec!["1"; count].join("+");
    let expr = parse(&chain(OPERATORS_MAX)).unwrap();
    assert_eq!(expr.to_string().len(), OPERATORS_MAX * 4 - 3);
    assert_eq!(expr.clone(), expr);
    assert_eq!(expr.selectors().len(), 0);
    assert_eq!(instant(&store(10, ""), &chain(OPERATORS_MAX), 0), "scalar 5000\n");
    assert_eq!(
        parse(&chain(OPERATORS_MAX + 2)).unwrap_err().message(),
        "expression holds more than 5000 operators"
    );
}

#[test]
fn samples_series_and_steps_are_bounded() {
    let db = store(10, "x{a=\"1\"} 0x100\nx{a=\"2\"} 0x100");
    let few = EngineOptions { samples_max: 100, ..EngineOptions::default() };
    expect![[r#"
        error: query processing would load more than 100 samples into memory in query execution
    "#]]
    .assert_eq(&instant_with(&db, "count_over_time(x[1h])", 1000, few));
    let one = EngineOptions { series_max: 1, ..EngineOptions::default() };
    expect![[r#"
        error: selector finds 2 series, more than the limit of 1
    "#]]
    .assert_eq(&instant_with(&db, "x", 1000, one));
    expect![[r#"
        error: exceeded maximum resolution of 11000 points per timeseries: 11001 steps; use a larger step
    "#]]
    .assert_eq(&range(&db, "x", 0, 11_000, 1));
    let huge = instant(&db, "count_over_time(x[100y:1ms])", 1000);
    assert!(huge.starts_with("error: ") && huge.contains("limit"), "{huge}");
    let error = Engine::default()
        .range(&db, &parse("x").unwrap(), Timestamp::MIN, Timestamp::MAX, Duration::from_millis(1))
        .unwrap_err();
    assert!(error.is_limit());
}

#[test]
fn the_deadline_ends_a_query() {
    let db = store(10, "x 0x100");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let deadline = Arc::new(move || counter.fetch_add(1, Ordering::Relaxed) >= 3);
    let options = EngineOptions { deadline: Some(deadline), ..EngineOptions::default() };
    let engine = Engine::new(options);
    let error = engine.instant(&db, &parse("sum(x) + sum(x) + sum(x)").unwrap(), Timestamp::from_millis(0));
    let error = error.unwrap_err();
    assert!(error.is_deadline());
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    let db = store(10, "x 1");
    for at in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for query in [
            "x",
            "rate(x[5m])",
            "x offset -1y",
            "x offset 1y",
            "sum_over_time(x[1y:1d])",
            "timestamp(x)",
            "x[5m] smoothed",
            "x smoothed",
            "rate(x[5m] smoothed)",
            "rate(x[5m] anchored)",
            "time()",
            "year()",
            "x @ 9e15",
            "x @ -9e15",
            "x[1h:1m] @ 9e15",
            "x[290y]",
        ] {
            let _ = Engine::default().instant(&db, &parse(query).unwrap(), Timestamp::from_millis(at));
        }
    }
}
