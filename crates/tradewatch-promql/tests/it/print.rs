//! Printing: the form of Prometheus, and what is printed reads as the same expression.

use expect_test::{Expect, expect};
use tradewatch_promql::parse;

use crate::support::corpus;

fn check(query: &str, expected: Expect) {
    expected.assert_eq(&parse(query).expect("a query").to_string());
}

#[test]
fn prints_as_prometheus_does() {
    check("sum   by(a ,b)( x )", expect!["sum by (a, b) (x)"]);
    check("sum(x) without (a)", expect!["sum without (a) (x)"]);
    check("sum by () (x)", expect!["sum(x)"]);
    check("x{b='1',a=~\"2\"}", expect![[r#"x{a=~"2",b="1"}"#]]);
    check("{\"x.y\", \"a b\"=\"c\\n\"}", expect![[r#"{"a b"="c\n",__name__="x.y"}"#]]);
    check("rate(x[300])", expect!["rate(x[5m])"]);
    check("x[1h30m:90s] offset -36h @ 1.5", expect!["x[1h30m:1m30s] @ 1.500 offset -36h"]);
    check("x[5m] offset 1w smoothed", expect!["x[5m] smoothed offset 1w"]);
    check("x offset (step()*2)", expect!["x offset (step() * 2)"]);
    check("a*ON(x)GROUP_LEFT(y)b", expect!["a * on (x) group_left (y) b"]);
    check("a + ignoring() b", expect!["a + b"]);
    check("a == bool fill_right(1)fill_left(2) b", expect!["a == bool fill_left (2) fill_right (1) b"]);
    check("-1 ^ - 2", expect!["-1 ^ -2"]);
    check("1e3 + 0x10 + 1_000 + .5 + Inf + 5m", expect!["1000 + 16 + 1000 + 0.5 + +Inf + 5m"]);
    check("\"a\\xff\\u263a`\"", expect![[r#""a\xff☺`""#]]);
    check("topk(3,quantile(.9,x))", expect!["topk(3, quantile(0.9, x))"]);
}

#[test]
fn what_is_printed_reads_the_same() {
    for query in corpus() {
        let expr = parse(&query).expect("the corpus holds queries");
        let printed = expr.to_string();
        let again = parse(&printed).unwrap_or_else(|error| panic!("{query}\n{printed}\n{error:#}"));
        assert_eq!(again, expr, "{query}\n{printed}");
        assert_eq!(again.to_string(), printed);
    }
}

#[test]
fn every_part_knows_its_place() {
    for query in corpus() {
        let expr = parse(&query).expect("the corpus holds queries");
        let mut open = vec![&expr];
        while let Some(expr) = open.pop() {
            let (start, end) = (expr.span.start as usize, expr.span.end as usize);
            assert!(start < end && end <= query.len(), "{query}: {start}..{end}");
            for child in expr.children() {
                assert!(child.span.start as usize >= start && child.span.end as usize <= end, "{query}");
                open.push(child);
            }
        }
    }
}

#[test]
fn selectors_say_how_far_they_reach() {
    let expr =
        parse("sum(rate(a[5m] offset 1m)) / b > max_over_time(c[1m:10s] offset 30s) and d @ 0").unwrap();
    let found: Vec<String> = expr
        .selectors()
        .iter()
        .map(|s| format!("{} {:?}", s.selector.name.as_deref().unwrap_or(""), s.reach_ms))
        .collect();
    expect![[r#"
        a Some(360000)
        b Some(0)
        c Some(90000)
        d None"#]]
    .assert_eq(&found.join("\n"));
}

#[test]
fn long_queries_are_broken_into_lines() {
    let query = "sum by (status, side) (rate(execution_gateway_orders_total{symbol=~\"AAPL|MSFT\"}[5m])) / on (side) group_left \
                 sum by (side) (rate(execution_gateway_orders_total[5m])) > 0.5 or -label_replace(up, \"service\", \"$1\", \"job\", \"(.*)\")";
    let pretty = tradewatch_promql::prettify(&parse(query).unwrap());
    expect![[r#"
              sum by (status, side) (rate(execution_gateway_orders_total{symbol=~"AAPL|MSFT"}[5m]))
            / on (side) group_left ()
              sum by (side) (rate(execution_gateway_orders_total[5m]))
          >
            0.5
        or
          -label_replace(up, "service", "$1", "job", "(.*)")"#]]
    .assert_eq(&pretty);
    assert_eq!(parse(&pretty).unwrap(), parse(query).unwrap());
}

#[test]
fn what_is_broken_into_lines_reads_the_same() {
    for query in corpus() {
        let expr = parse(&query).expect("the corpus holds queries");
        let pretty = tradewatch_promql::prettify(&expr);
        assert_eq!(parse(&pretty).unwrap_or_else(|e| panic!("{pretty}\n{e:#}")), expr, "{pretty}");
    }
}
