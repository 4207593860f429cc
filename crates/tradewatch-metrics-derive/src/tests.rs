//! Declarations that do not compile, and what the compiler then says.

use expect_test::expect;

fn refused(
    derive: fn(syn::DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
    declarations: &[&str],
) -> String {
    let mut out = String::new();
    for declaration in declarations {
        let input = syn::parse_str(declaration).expect("the declaration is Rust");
        let error = derive(input).expect_err(declaration);
        out += &format!("{declaration}\n    {error}\n");
    }
    out
}

#[test]
fn metrics_that_are_refused() {
    let said = refused(
        crate::metrics::derive,
        &[
            "enum M { A }",
            "struct M(Counter);",
            "struct M { orders_total: Counter }",
            "struct M { /** Orders. */ orders: Counter }",
            "struct M { /** Orders. */ orders_total: Gauge }",
            "struct M { /** Orders. */ orders: Info<1> }",
            "struct M { /** Orders. */ orders_total: u64 }",
            "struct M { /** Orders. */ #[metric(name = \"orders-total\")] x: Counter }",
            "struct M { /** Orders. */ #[metric(legacy_name = \" \")] orders: Counter }",
            "struct M { /** Orders. */ #[metric(nuit = \"usd\")] orders_total: Counter }",
            "struct M { /** Orders. */ #[metric(gauge)] orders_total: Counter }",
            "struct M { /** Orders. */ #[buckets(1.0)] orders_total: Counter }",
            "struct M { /** Orders. */ #[labels(\"a\")] orders_total: Counter<(Side,)> }",
            "struct M { /** Wait. */ wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets()] wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets(1, 0.5)] wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets(-1, -1.0)] wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets(1, EDGES)] wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets(1, 1e999)] wait_seconds: Histogram }",
            "struct M { /** Wait. */ #[buckets(5, 10, 250, 1000, 2500)] wait_seconds: Histogram }",
            "struct M { /** Fill. */ #[buckets(10, 50, 100)] fill_ratio: Histogram }",
            "struct M { /** Size. */ #[buckets(0.5, 0.9)] body_bytes: Histogram }",
            "struct M { /** Wait. */ #[buckets(1)] wait: Histogram }",
            "struct M { /** Wait. */ #[buckets(1)] wait_ms: Histogram }",
            "struct M { /** Wait. */ #[metric(unit = \"seconds\")] wait: Gauge }",
            "struct M { /** Wait. */ wait_milliseconds_current: Gauge }",
            "struct M { /** Depth. */ depth_b: Gauge }",
            "struct M { /** Depth. */ depth_gauge: Gauge }",
            "struct M { /** Depth. */ queueDepth: Gauge }",
            "struct M { /** Depth. */ #[metric(name = \"queue:depth\")] depth: Gauge }",
            "struct M { /** Depth. */ queue_count: Gauge }",
            "struct M { /** Wait. */ wait_seconds: Summary }",
            "struct M { /** Wait. */ #[quantiles(0.5, 99)] wait_seconds: Summary }",
            "struct M { /** Wait. */ #[quantiles(0.9, 0.5)] wait_seconds: Summary }",
            "struct M { /** Wait. */ #[quantiles()] wait_seconds: Summary }",
            "struct M { /** Wait. */ #[quantiles(0.5)] #[metric(window = \"10 minutes\")] wait_seconds: Summary }",
            "struct M { /** Wait. */ #[quantiles(0.5)] #[metric(smallest = 0)] wait_seconds: Summary }",
            "struct M { /** Orders. */ #[quantiles(0.5)] orders_total: Counter }",
            "struct M { /** Orders. */ #[metric(window = \"10m\")] orders_total: Counter }",
            "struct M { /** Orders. */ #[metric(timeout = \"1s\")] orders_total: Counter }",
            "struct M { /** Rows. */ #[metric(expires = \"1h\")] rows_current: ObservableGauge }",
            "struct M { /** Build. */ build_info: Info<1> }",
            "struct M { /** Build. */ #[labels(\"__a\")] build_info: Info<1> }",
            "struct M { #[metrics(flat)] inner: Inner }",
            "#[metrics(prefix = \"a-b\")] struct M { /** Orders. */ orders_total: Counter }",
            "#[metrics(perfix = \"a\")] struct M { /** Orders. */ orders_total: Counter }",
        ],
    );
    expect![[r#"
        enum M { A }
            metrics are declared as the fields of a struct
        struct M(Counter);
            the fields need names: they become the metrics' names
        struct M { orders_total: Counter }
            write a doc comment: it becomes the metric's help text
        struct M { /** Orders. */ orders: Counter }
            metric orders: a counter's name ends in _total; write orders_total, or #[metric(legacy_name = "why")]
        struct M { /** Orders. */ orders_total: Gauge }
            metric orders_total: only a counter's name ends in _total; write orders, or #[metric(legacy_name = "why")]
        struct M { /** Orders. */ orders: Info<1> }
            metric orders: an info's name ends in _info; write orders_info, or #[metric(legacy_name = "why")]
        struct M { /** Orders. */ orders_total: u64 }
            a metric is a Counter, Gauge, Histogram, NativeHistogram, Summary, Info, UpDownCounter, ObservableGauge or ObservableCounter; for a struct of metrics write #[metrics(flatten)]
        struct M { /** Orders. */ #[metric(name = "orders-total")] x: Counter }
            metric orders-total: a metric name is [a-zA-Z_:][a-zA-Z0-9_:]*
        struct M { /** Orders. */ #[metric(legacy_name = " ")] orders: Counter }
            say why the name must break the rules
        struct M { /** Orders. */ #[metric(nuit = "usd")] orders_total: Counter }
            write unit = "…", name = "…", legacy_name = "reason", event = "…", expires = "10m", window, smallest, timeout or gauge here
        struct M { /** Orders. */ #[metric(gauge)] orders_total: Counter }
            #[metric(gauge)] is for an Info; the type says gauge already
        struct M { /** Orders. */ #[buckets(1.0)] orders_total: Counter }
            only a Histogram or a NativeHistogram has buckets
        struct M { /** Orders. */ #[labels("a")] orders_total: Counter<(Side,)> }
            labels of this instrument are types: Counter<(Symbol, Side)>
        struct M { /** Wait. */ wait_seconds: Histogram }
            write #[buckets(0.1, 0.5, 1.0)]: upper edges in the metric's unit, the alert's threshold among them
        struct M { /** Wait. */ #[buckets()] wait_seconds: Histogram }
            a histogram needs at least one edge
        struct M { /** Wait. */ #[buckets(1, 0.5)] wait_seconds: Histogram }
            edges ascend; 0.5 comes after 1
        struct M { /** Wait. */ #[buckets(-1, -1.0)] wait_seconds: Histogram }
            edges ascend; -1 comes after -1
        struct M { /** Wait. */ #[buckets(1, EDGES)] wait_seconds: Histogram }
            an edge is a number; for a constant write #[buckets(EDGES)] alone
        struct M { /** Wait. */ #[buckets(1, 1e999)] wait_seconds: Histogram }
            an edge is finite; +Inf is added by itself
        struct M { /** Wait. */ #[buckets(5, 10, 250, 1000, 2500)] wait_seconds: Histogram }
            the edges 5, 10, 250, 1000, 2500 look like milliseconds and the unit is seconds; divide them by 1000
        struct M { /** Fill. */ #[buckets(10, 50, 100)] fill_ratio: Histogram }
            the edges 10, 50, 100 look like percent and the unit is ratio; divide them by 100
        struct M { /** Size. */ #[buckets(0.5, 0.9)] body_bytes: Histogram }
            the edges 0.5, 0.9 are less than a byte; write them in bytes
        struct M { /** Wait. */ #[buckets(1)] wait: Histogram }
            metric wait: a histogram needs a unit; write wait_seconds (or _bytes, _ratio), or #[metric(unit = "…")]
        struct M { /** Wait. */ #[buckets(1)] wait_ms: Histogram }
            metric wait_ms: is in ms; metrics are in base units: measure in seconds and write wait_seconds, or #[metric(legacy_name = "why")]
        struct M { /** Wait. */ #[metric(unit = "seconds")] wait: Gauge }
            metric wait: has the unit seconds and its name does not say so; write wait_seconds, or #[metric(legacy_name = "why")]
        struct M { /** Wait. */ wait_milliseconds_current: Gauge }
            metric wait_milliseconds_current: is in milliseconds; metrics are in base units: measure in seconds and write it so, or #[metric(legacy_name = "why")]
        struct M { /** Depth. */ depth_b: Gauge }
            metric depth_b: b is a unit cut short; write it out, or #[metric(legacy_name = "why")]
        struct M { /** Depth. */ depth_gauge: Gauge }
            metric depth_gauge: the name says gauge, which its type says already; leave it out, or #[metric(legacy_name = "why")]
        struct M { /** Depth. */ queueDepth: Gauge }
            metric queueDepth: a name is in snake_case; write it so, or #[metric(legacy_name = "why")]
        struct M { /** Depth. */ #[metric(name = "queue:depth")] depth: Gauge }
            metric queue:depth: colons belong to recording rules; write _, or #[metric(legacy_name = "why")]
        struct M { /** Depth. */ queue_count: Gauge }
            metric queue_count: _sum, _count and _bucket belong to histograms; write another last word, or #[metric(legacy_name = "why")]
        struct M { /** Wait. */ wait_seconds: Summary }
            write #[quantiles(0.5, 0.9, 0.99)]: the shares of the values
        struct M { /** Wait. */ #[quantiles(0.5, 99)] wait_seconds: Summary }
            a quantile is a number between 0 and 1
        struct M { /** Wait. */ #[quantiles(0.9, 0.5)] wait_seconds: Summary }
            quantiles ascend; 0.5 comes after 0.9
        struct M { /** Wait. */ #[quantiles()] wait_seconds: Summary }
            a summary needs at least one quantile
        struct M { /** Wait. */ #[quantiles(0.5)] #[metric(window = "10 minutes")] wait_seconds: Summary }
            a time is written "500ms", "10s", "5m" or "1h"
        struct M { /** Wait. */ #[quantiles(0.5)] #[metric(smallest = 0)] wait_seconds: Summary }
            a number above 0, such as 0.000001
        struct M { /** Orders. */ #[quantiles(0.5)] orders_total: Counter }
            only a Summary has quantiles
        struct M { /** Orders. */ #[metric(window = "10m")] orders_total: Counter }
            only a Summary has a window
        struct M { /** Orders. */ #[metric(timeout = "1s")] orders_total: Counter }
            a timeout is for the callback of an ObservableGauge or ObservableCounter
        struct M { /** Rows. */ #[metric(expires = "1h")] rows_current: ObservableGauge }
            what a callback does not set, or an Info does not hold, is not shown anyway; remove expires
        struct M { /** Build. */ build_info: Info<1> }
            write #[labels("version", …)]: the names of the facts
        struct M { /** Build. */ #[labels("__a")] build_info: Info<1> }
            a label name is [a-zA-Z_][a-zA-Z0-9_]*, not __…
        struct M { #[metrics(flat)] inner: Inner }
            write #[metrics(flatten)], or #[metric(…)] for one metric
        #[metrics(prefix = "a-b")] struct M { /** Orders. */ orders_total: Counter }
            a prefix is [a-zA-Z_:][a-zA-Z0-9_:]*, without the last underscore
        #[metrics(perfix = "a")] struct M { /** Orders. */ orders_total: Counter }
            write #[metrics(prefix = "…", service = "…")] here
    "#]].assert_eq(&said);
}

#[test]
fn labels_that_are_refused() {
    let said = refused(
        crate::label::derive,
        &[
            "struct Symbol(u16);",
            "enum Empty {}",
            "enum Side { Buy(u8) }",
            "#[label(name = \"__side\")] enum Side { Buy }",
            "#[label(nmae = \"side\")] enum Side { Buy }",
            "enum Side { Buy, #[label(value = \"buy\")] Sell }",
            "enum Side { #[label(value = \"\")] Buy }",
            "enum Order { #[label(value = \"0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a\")] First }",
        ],
    );
    expect![[r#"
        struct Symbol(u16);
            a closed label is an enum; for values from outside write open_label!(pub struct Symbol("symbol"), budget = 64)
        enum Empty {}
            a label needs at least one value; add a variant
        enum Side { Buy(u8) }
            a label value carries no data; remove the fields
        #[label(name = "__side")] enum Side { Buy }
            a label name is [a-zA-Z_][a-zA-Z0-9_]* and does not begin with two underscores
        #[label(nmae = "side")] enum Side { Buy }
            write #[label(name = "…")] here
        enum Side { Buy, #[label(value = "buy")] Sell }
            another variant has this value already
        enum Side { #[label(value = "")] Buy }
            an empty label value is no label to Prometheus; name it
        enum Order { #[label(value = "0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a")] First }
            the value names one thing, as an id does, and not a kind of things; name the kind
    "#]].assert_eq(&said);
}
