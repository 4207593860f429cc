//! Everyday queries, as dashboards and alert rules hold them.

use expect_test::expect;
use tradewatch_promql::EngineOptions;

use crate::support::{instant, instant_with, range, store};

const ORDERS: &str = "
    orders_total{side=\"buy\",status=\"filled\"} 0+6x10
    orders_total{side=\"buy\",status=\"rejected\"} 0+1x10
    orders_total{side=\"sell\",status=\"filled\"} 0+3x5 0+3x4
    latency_seconds_bucket{le=\"0.1\"} 0+5x10
    latency_seconds_bucket{le=\"0.5\"} 0+9x10
    latency_seconds_bucket{le=\"+Inf\"} 0+10x10
    up{job=\"gateway\"} 1 1 1 1 1 1 0 0 0 0 0
    up{job=\"feed\"} 1 1 1 stale
    open_orders 3 4 5 2 1 0 7 8 9 4 4
";

#[test]
fn rates_and_sums() {
    let db = store(10, ORDERS);
    let query = "sum by (status) (rate(orders_total[1m]))";
    expect![[r#"
        {status="filled"} 0.84
        {status="rejected"} 0.1
    "#]]
    .assert_eq(&instant(&db, query, 100));
    let query = "sum(rate(orders_total{status=\"rejected\"}[1m])) / sum(rate(orders_total[1m]))";
    expect![[r#"
        {} 0.10638297872340427
    "#]]
    .assert_eq(&instant(&db, query, 100));
    expect![[r#"
        {side="sell", status="filled"} 14.399999999999999
    "#]]
    .assert_eq(&instant(&db, "increase(orders_total{side=\"sell\"}[1m])", 100));
    expect![[r#"
        {} 0.21666666666666667
        PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "open_orders" (1:6)
    "#]].assert_eq(&instant(&db, "rate(open_orders[1m])", 100));
    expect![[r#"
        {} 1.0000000000000002@40 0.9000000000000001@80 1.0000000000000002@100
    "#]]
    .assert_eq(&range(&db, "sum(rate(orders_total[30s])) > 0.9", 0, 100, 20));
}

#[test]
fn quantiles_and_extremes() {
    let db = store(10, ORDERS);
    expect![[r#"
        {} 0.5
    "#]]
    .assert_eq(&instant(&db, "histogram_quantile(0.9, rate(latency_seconds_bucket[1m]))", 100));
    expect![[r#"
        {} +Inf
        PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)
    "#]]
    .assert_eq(&instant(&db, "histogram_quantile(2, latency_seconds_bucket)", 100));
    expect![[r#"
        orders_total{side="buy", status="filled"} 60
        orders_total{side="sell", status="filled"} 12
    "#]]
    .assert_eq(&instant(&db, "topk(2, orders_total)", 100));
    expect![[r#"
        {} 9
    "#]]
    .assert_eq(&instant(&db, "max_over_time(open_orders[1m]) - min_over_time(open_orders[1m])", 100));
    expect![[r#"
        {} 12
    "#]]
    .assert_eq(&instant(&db, "quantile(0.5, orders_total)", 100));
}

#[test]
fn presence_and_absence() {
    let db = store(10, ORDERS);
    expect![[r#"
        up{job="gateway"} 0
    "#]]
    .assert_eq(&instant(&db, "up == 0", 100));
    expect![[r#"
        up{job="feed"} 1
    "#]]
    .assert_eq(&instant(&db, "up{job=\"feed\"}", 25));
    expect![[r#"
        {job="feed"} 1
    "#]]
    .assert_eq(&instant(&db, "absent(up{job=\"feed\"})", 40));
    expect![[r#"
        {a="b"} 1
    "#]]
    .assert_eq(&instant(&db, "absent_over_time(nothing{a=\"b\"}[5m])", 40));
    expect![[r#"
        up{job="feed"} 1@20
        up{job="gateway"} 1@20 1@30 1@40 1@50 0@60
    "#]]
    .assert_eq(&range(&db, "up", 20, 60, 10));
    expect![[r#"
        {} 0
    "#]]
    .assert_eq(&instant(&db, "sum(orders_total{side=\"none\"}) or vector(0)", 100));
}

#[test]
fn matching_between_vectors() {
    let db = store(10, ORDERS);
    let query = "orders_total{status=\"rejected\"} / ignoring(status) orders_total{status=\"filled\"}";
    expect![[r#"
        {side="buy"} 0.16666666666666666
    "#]]
    .assert_eq(&instant(&db, query, 100));
    let query = "orders_total / on(side) group_left sum by (side) (orders_total)";
    expect![[r#"
        {side="buy", status="filled"} 0.8571428571428571
        {side="buy", status="rejected"} 0.14285714285714285
        {side="sell", status="filled"} 1
    "#]]
    .assert_eq(&instant(&db, query, 100));
    expect![[r#"
        error: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)
    "#]]
    .assert_eq(&instant(&db, "orders_total / on(side) sum by (side) (orders_total)", 100));
    expect![[r#"
        orders_total{side="buy", status="filled"} 60
        orders_total{side="buy", status="rejected"} 10
    "#]]
    .assert_eq(&instant(&db, "orders_total and on(side) orders_total{status=\"rejected\"}", 100));
    let query = "label_replace(up, \"service\", \"$1-service\", \"job\", \"(.*)\")";
    expect![[r#"
        up{job="feed", service="feed-service"} 1
        up{job="gateway", service="gateway-service"} 1
    "#]]
    .assert_eq(&instant(&db, query, 10));
}

#[test]
fn time_and_subqueries() {
    let db = store(10, ORDERS);
    expect![[r#"
        {} 1.0000000000000002
    "#]]
    .assert_eq(&instant(&db, "max_over_time(sum(rate(orders_total[30s]))[1m:10s])", 100));
    expect![[r#"
        {} -3
    "#]]
    .assert_eq(&instant(&db, "open_orders offset 50s - open_orders @ 0", 100));
    expect![[r#"
        {} 1434
    "#]]
    .assert_eq(&instant(&db, "hour(vector(1723161253)) * 60 + minute(vector(1723161253))", 0));
    expect![[r#"
        {} 33
    "#]]
    .assert_eq(&instant(&db, "day_of_week(vector(1723161253)) + days_in_month(vector(951782400))", 0));
    expect![[r#"
        open_orders 9@80 4@90 4@100
    "#]]
    .assert_eq(&instant(&db, "open_orders[25s]", 100));
    expect![[r#"
        {} 7
    "#]]
    .assert_eq(&instant(&db, "time() - timestamp(open_orders)", 107));
    expect![[r#"
        string "text"
    "#]]
    .assert_eq(&instant(&db, "\"text\"", 0));
    expect![[r#"
        scalar 4
    "#]]
    .assert_eq(&instant(&db, "1 + 2 * 3 ^ 2 % 5", 0));
}

#[test]
fn names_go_early_or_late() {
    let db = store(10, "a_total{x=\"1\"} 0+1x10\nb_total{x=\"1\"} 0+2x10");
    let late = EngineOptions { delayed_name_removal: true, ..EngineOptions::default() };
    let query = "sum by (__name__) (rate({__name__=~\"a_total|b_total\"}[1m]))";
    expect![[r#"
        error: vector cannot contain metrics with the same labelset
    "#]]
    .assert_eq(&instant(&db, query, 100));
    expect![[r#"
        error: vector cannot contain metrics with the same labelset
    "#]]
    .assert_eq(&instant_with(&db, query, 100, late.clone()));
    let query = "label_replace(rate({__name__=~\"a_total|b_total\"}[1m]), \"m\", \"$1\", \"__name__\", \"(.*)_total\")";
    expect![[r#"
        error: vector cannot contain metrics with the same labelset
    "#]]
    .assert_eq(&instant(&db, query, 100));
    expect![[r#"
        {m="a", x="1"} 0.1
        {m="b", x="1"} 0.2
    "#]]
    .assert_eq(&instant_with(&db, query, 100, late));
    expect![[r#"
        {} 0.1
    "#]]
    .assert_eq(&instant(&db, "rate(a_total[1m]) > ignoring(x) rate(b_total[1m]) * 0", 100));
}

#[test]
fn numbers_agree_with_prometheus_to_the_last_digit() {
    // Checked against Prometheus 3.5.3.
    let db = store(10, "x 1");
    expect![[r#"
        {} 2.9999999999999996
    "#]]
    .assert_eq(&instant(&db, "log10(vector(1000))", 0));
    expect![[r#"
        {} 1.5849625007211563
    "#]]
    .assert_eq(&instant(&db, "log2(vector(3))", 0));
    expect![[r#"
        {} -1071
    "#]]
    .assert_eq(&instant(&db, "log2(vector(5e-324)) + log2(vector(8))", 0));
    expect![[r#"
        {} 292277026596
    "#]]
    .assert_eq(&instant(&db, "year(vector(NaN))", 0));
    expect![[r#"
        {} 339
    "#]]
    .assert_eq(&instant(&db, "day_of_year(vector(Inf))", 0));
    expect![[r#"
        {} -1168
    "#]]
    .assert_eq(&instant(&db, "year(vector(-1e11)) + day_of_month(vector(-1))", 0));
}
