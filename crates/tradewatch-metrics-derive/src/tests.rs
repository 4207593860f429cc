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
    "#]].assert_eq(&said);
}
