//! Texts in, catalogues or errors out.

use expect_test::{Expect, expect};
use tradewatch_catalog::{Catalog, Error, Kind, Part, Service};
use tradewatch_metrics::{
    Counter, Descriptor, Gauge, Histogram, Info, Label, Metrics, NativeHistogram, ObservableGauge, Registry,
    Summary, UpDownCounter, open_label,
};

const EXAMPLE: &str = r#"platform = "example"
title = "An \"example\"\tof C:\\ and more"
seed_claim = 33

[[metric]]
name = "gateway_orders_total"
type = "counter"
unit = "orders"
help = "Orders handled"
labels = [{ name = "symbol", values = ["BTC/USD", "AAPL"], budget = 64 }, { name = "side", values = ["buy", "sell"] }, { name = "any" }]
buckets = []
service = "gateway, backup"
port = 8002
path = "/metrics"
source = "seed"
event = "an order ends"
note = "line one\nline two"
in_seed = true
in_origin = false

[[metric]]
name = "gateway_wait_seconds"
type = "histogram"
unit = "seconds"
help = "Time of a wait."
labels = []
buckets = [0.001, 1.0, 2500000.0]
service = "gateway"
optional = true

[[metric]]
name = "orders_commission_total_usd"
type = "counter"
unit = "usd"
help = "Commission"
labels = []
buckets = []
service = "gateway"
legacy_name = "as the dashboards know it"

[[metric]]
name = "request_size_bytes"
type = "summary"
unit = "bytes"
help = "Size | of requests"
labels = []
buckets = []
service = ""

[[metric]]
name = "active_positions_count"
type = "gauge"
unit = ""
help = "Positions"
labels = [{ name = "symbol", budget = 8 }]
buckets = []
service = "backup"
"#;

fn example() -> Catalog {
    Catalog::parse("catalog.toml", EXAMPLE).unwrap()
}

#[test]
fn a_catalogue_prints_as_it_was_written() {
    let catalog = example();
    assert_eq!(catalog.to_string(), EXAMPLE);
    assert_eq!(catalog.services(), ["gateway", "backup"]);
    assert_eq!(catalog.seed_claim, Some(33));
}

#[test]
fn odd_texts_survive() {
    let mut catalog = example();
    for text in ["", "\u{0}\u{1b}\u{7f}", "\r\n\t\\\"'", "ключ ☃", "\u{85}", "\"\"\""] {
        catalog.title = text.to_owned();
        catalog.metrics[0].note = Some(text.to_owned());
        let again = Catalog::parse("again.toml", &catalog.to_string()).unwrap();
        assert_eq!(again, catalog);
    }
    for edge in [f64::MIN_POSITIVE, 0.1 + 0.2, 1e300] {
        catalog.metrics[1].buckets = vec![-edge, edge];
        assert_eq!(Catalog::parse("again.toml", &catalog.to_string()).unwrap(), catalog);
    }
}

#[test]
fn series_lead_to_their_metric() {
    let catalog = example();
    let find = |series: &str| catalog.find(series).map(|found| (found.metric.name.as_str(), found.part));
    assert_eq!(find("gateway_orders_total"), Some(("gateway_orders_total", Part::Value)));
    for (suffix, part) in [("bucket", Part::Bucket), ("sum", Part::Sum), ("count", Part::Count)] {
        assert_eq!(find(&format!("gateway_wait_seconds_{suffix}")), Some(("gateway_wait_seconds", part)));
    }
    assert_eq!(find("gateway_wait_seconds"), None, "a histogram exposes no series of its own name");
    assert_eq!(find("request_size_bytes"), Some(("request_size_bytes", Part::Value)));
    assert_eq!(find("request_size_bytes_sum"), Some(("request_size_bytes", Part::Sum)));
    assert_eq!(find("request_size_bytes_bucket"), None);
    assert_eq!(find("active_positions_count"), Some(("active_positions_count", Part::Value)));
    assert_eq!(find("orders_commission_usd_total"), Some(("orders_commission_total_usd", Part::Value)));
    assert_eq!(find("gateway_orders"), None);
}

#[test]
fn names_nearby_are_suggested() {
    let catalog = example();
    assert_eq!(catalog.suggest("gateway_order_total").as_deref(), Some("gateway_orders_total"));
    assert_eq!(catalog.suggest("gateway_wait_second_bucket").as_deref(), Some("gateway_wait_seconds_bucket"));
    assert_eq!(catalog.suggest("go_goroutines"), None);
}

#[test]
fn series_are_bounded_by_the_product_of_labels() {
    let catalog = example();
    let most: Vec<_> = catalog.metrics.iter().map(|metric| metric.series_max()).collect();
    assert_eq!(most, [None, Some(6), Some(1), Some(2), Some(9)]);
    assert!(catalog.metrics[0].label("side").unwrap().is_closed());
    assert!(!catalog.metrics[0].label("symbol").unwrap().is_closed());
}

#[test]
fn the_reference_page() {
    expect![[r##"
        # Metrics of example

        An "example"	of C:\ and more.

        5 metrics, at most 18 series, and 1 without a bound.

        ## gateway

        | metric | kind | unit | labels | series at most | what it tells |
        |---|---|---|---|---:|---|
        | `gateway_orders_total` | counter | orders | `symbol` (at most 64): BTC/USD, AAPL; `side`: buy, sell; `any` | no bound | Orders handled. Moves: an order ends. |
        | `gateway_wait_seconds` | histogram | seconds |  | 6 | Time of a wait. Edges: 0.001, 1, 2500000. |
        | `orders_commission_total_usd` | counter | usd |  | 1 | Commission. The name breaks the rules: as the dashboards know it. |

        ## backup

        | metric | kind | unit | labels | series at most | what it tells |
        |---|---|---|---|---:|---|
        | `gateway_orders_total` | counter | orders | `symbol` (at most 64): BTC/USD, AAPL; `side`: buy, sell; `any` | no bound | Orders handled. Moves: an order ends. |
        | `active_positions_count` | gauge |  | `symbol` (at most 8) | 9 | Positions |

        ## Of every service

        | metric | kind | unit | labels | series at most | what it tells |
        |---|---|---|---|---:|---|
        | `request_size_bytes` | summary | bytes |  | 2 | Size \| of requests |
    "##]].assert_eq(&example().to_markdown());
}

fn refused(edit: (&str, &str), expected: Expect) -> Error {
    assert!(EXAMPLE.contains(edit.0), "{edit:?}");
    let error = Catalog::parse("platforms/x/catalog.toml", &EXAMPLE.replacen(edit.0, edit.1, 1)).unwrap_err();
    expected.assert_eq(&error.to_string());
    error
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let syntax = refused(
        ("title = ", "title "),
        expect!["platforms/x/catalog.toml:2:7: key with no value, expected `=`"],
    );
    assert!(syntax.is_syntax() && syntax.line() == 2);
    refused(
        ("port = 8002", "prot = 8002"),
        expect![
            "platforms/x/catalog.toml:13:1: unknown field `prot`, expected one of `name`, `type`, `unit`, `help`, `labels`, `buckets`, `quantiles`, `native_schema`, `service`, `port`, `path`, `source`, `event`, `note`, `legacy_name`, `optional`, `in_seed`, `in_origin`"
        ],
    );
    refused(
        ("port = 8002", "port = 80020"),
        expect!["platforms/x/catalog.toml:13:8: invalid value: integer `80020`, expected u16"],
    );
    refused(
        ("help = \"Orders handled\"\n", ""),
        expect!["platforms/x/catalog.toml:5:1: missing field `help`"],
    );
    let error = refused(
        ("\"histogram\"", "\"histgram\""),
        expect![[
            r#"platforms/x/catalog.toml:23:8: metric gateway_wait_seconds: type "histgram" is none of counter, gauge, histogram, summary, info, did you mean histogram?"#
        ]],
    );
    assert!(!error.is_syntax());
    refused(
        ("gateway_wait_seconds", "gateway-wait"),
        expect![[
            r#"platforms/x/catalog.toml:22:8: metric "gateway-wait": a name is [a-zA-Z_:][a-zA-Z0-9_:]*"#
        ]],
    );
    refused(
        ("orders_commission_total_usd", "gateway_wait_seconds_sum"),
        expect![
            "platforms/x/catalog.toml:32:8: metric gateway_wait_seconds_sum exposes gateway_wait_seconds_sum, which metric gateway_wait_seconds exposes too"
        ],
    );
    refused(
        ("[0.001, 1.0,", "[1.0, 0.001,"),
        expect![
            "platforms/x/catalog.toml:27:11: metric gateway_wait_seconds: edges ascend; 1 comes before 0.001"
        ],
    );
    refused(
        ("[0.001, 1.0,", "[0.001, inf,"),
        expect![
            "platforms/x/catalog.toml:27:11: metric gateway_wait_seconds: edge inf is not finite; +Inf goes without saying"
        ],
    );
    refused(
        ("name = \"side\"", "name = \"symbol\""),
        expect!["platforms/x/catalog.toml:10:84: metric gateway_orders_total: label symbol is there twice"],
    );
    refused(
        ("name = \"side\"", "name = \"__side\""),
        expect![[
            r#"platforms/x/catalog.toml:10:84: metric gateway_orders_total: label "__side": a name is [a-zA-Z_][a-zA-Z0-9_]*, not __…"#
        ]],
    );
    refused(
        ("\"sell\"", "\"buy\""),
        expect![[
            r#"platforms/x/catalog.toml:10:101: metric gateway_orders_total: label side has the value "buy" twice"#
        ]],
    );
    refused(
        ("budget = 64", "budget = 1"),
        expect![
            "platforms/x/catalog.toml:10:20: metric gateway_orders_total: label symbol has more values than its budget"
        ],
    );
    refused(
        ("help = \"Orders handled\"", "help = \" \""),
        expect!["platforms/x/catalog.toml:9:8: metric gateway_orders_total: say in help what it tells"],
    );
    refused(
        ("platform = \"example\"", "platform = \"\""),
        expect!["platforms/x/catalog.toml:1:12: the platform has no name"],
    );
    refused(
        ("buckets = []", "buckets = [1.0]"),
        expect!["platforms/x/catalog.toml:11:11: metric gateway_orders_total: a counter has no buckets"],
    );
}

#[derive(Label)]
#[allow(dead_code)] // Declared, not moved.
enum Side {
    Buy,
    Sell,
}

open_label!(struct Symbol("symbol"), budget = 64);

/// Declared and never moved: only what it says is of interest here.
#[derive(Metrics)]
#[metrics(prefix = "gateway", service = "execution_gateway")]
#[allow(dead_code)]
struct GatewayMetrics {
    /// Orders handled, by outcome.
    #[metric(unit = "orders", event = "an order ends")]
    orders_total: Counter<(Symbol, Side)>,
    /// Time of a wait.
    #[buckets(0.1, 1.0)]
    wait_seconds: Histogram,
    /// Open orders.
    open_orders: Gauge,
    /// The model loaded.
    #[metric(gauge)]
    #[labels("version")]
    model_info: Info<1>,
}

#[test]
fn declarations_become_a_catalogue() {
    let _ = Symbol::intern("AAPL");
    let service = Service {
        name: "gateway".to_owned(),
        port: Some(8002),
        path: "/metrics".to_owned(),
        metrics: GatewayMetrics::descriptors(),
    };
    let catalog = Catalog::from_services("demo", "A demonstration", &[service])
        .with_known_values("symbol", &["AAPL", "BTC/USD"]);
    expect![[r#"
        platform = "demo"
        title = "A demonstration"

        [[metric]]
        name = "gateway_orders_total"
        type = "counter"
        unit = "orders"
        help = "Orders handled, by outcome."
        labels = [{ name = "symbol", values = ["AAPL", "BTC/USD"], budget = 64 }, { name = "side", values = ["buy", "sell"] }]
        buckets = []
        service = "execution_gateway"
        port = 8002
        path = "/metrics"
        event = "an order ends"

        [[metric]]
        name = "gateway_wait_seconds"
        type = "histogram"
        unit = "seconds"
        help = "Time of a wait."
        labels = []
        buckets = [0.1, 1.0]
        service = "execution_gateway"
        port = 8002
        path = "/metrics"

        [[metric]]
        name = "gateway_open_orders"
        type = "gauge"
        unit = ""
        help = "Open orders."
        labels = []
        buckets = []
        service = "execution_gateway"
        port = 8002
        path = "/metrics"

        [[metric]]
        name = "gateway_model_info"
        type = "gauge"
        unit = ""
        help = "The model loaded."
        labels = [{ name = "version", budget = 1 }]
        buckets = []
        service = "execution_gateway"
        port = 8002
        path = "/metrics"
    "#]].assert_eq(&catalog.to_string());
    assert_eq!(Catalog::parse("catalog.toml", &catalog.to_string()).unwrap(), catalog);
    assert_eq!(catalog.metrics[0].kind, Kind::Counter);
    let bare = Catalog::from_descriptors("demo", "A demonstration", &GatewayMetrics::descriptors());
    assert_eq!((bare.metrics.len(), bare.metrics[0].port), (4, None));
}

/// Every kind of metric, from the registry of a program that runs, to the file and to the page.
#[test]
fn a_registry_tells_its_catalogue() {
    #[derive(Metrics)]
    #[metrics(prefix = "desk")]
    #[allow(dead_code)] // Only declared.
    struct Desk {
        /// Time of a fill.
        #[native(schema = 3)]
        fill_seconds: NativeHistogram<(Symbol,)>,
        /// Time in the queue.
        #[quantiles(0.5, 0.99)]
        queue_seconds: Summary,
        /// Rows of the table.
        #[metric(unit = "rows")]
        rows: ObservableGauge,
        /// Orders in flight.
        in_flight_current: UpDownCounter,
        /// What runs.
        #[labels("version", "commit")]
        build_info: Info<2>,
    }
    let registry = Registry::new();
    let _desk = Desk::register(&registry).unwrap();
    let catalog = Catalog::from_registry("desk", "A desk", &registry);
    assert_eq!(Catalog::parse("catalog.toml", &catalog.to_string()).unwrap(), catalog);
    assert!(catalog.to_string().contains("quantiles = [0.5, 0.99]\n"), "{catalog}");
    assert!(catalog.to_string().contains("native_schema = 3\n"), "{catalog}");
    assert!(catalog.find("desk_fill_seconds").is_some(), "a native histogram is a series of its own name");
    let declared: u64 = registry.describe().iter().map(Descriptor::series_max).sum();
    let page = catalog.to_markdown();
    assert!(page.contains(&format!("5 metrics, at most {declared} series.\n")), "{declared}\n{page}");
    expect![[r#"
        # Metrics of desk

        A desk.

        5 metrics, at most 202 series.

        ## Of every service

        | metric | kind | unit | labels | series at most | what it tells |
        |---|---|---|---|---:|---|
        | `desk_build_info` | info |  | `version` (at most 1); `commit` (at most 1) | 1 | What runs. |
        | `desk_fill_seconds` | histogram | seconds | `symbol` (at most 64) | 195 | Time of a fill. Native buckets of schema 3. |
        | `desk_in_flight_current` | gauge |  |  | 1 | Orders in flight. |
        | `desk_queue_seconds` | summary | seconds |  | 4 | Time in the queue. Quantiles: 0.5, 0.99. |
        | `desk_rows` | gauge | rows |  | 1 | Rows of the table. |
    "#]].assert_eq(&page);
}

#[test]
fn quantiles_and_schemas_are_checked() {
    for (change, said) in [
        (("type = \"summary\"", "type = \"summary\"\nquantiles = [0.9, 0.5]"), "quantiles ascend"),
        (("type = \"summary\"", "type = \"summary\"\nquantiles = [50]"), "is not between 0 and 1"),
        (("type = \"gauge\"", "type = \"gauge\"\nquantiles = [0.5]"), "a gauge has no quantiles"),
        (("type = \"gauge\"", "type = \"gauge\"\nnative_schema = 3"), "a gauge has no native buckets"),
        (("type = \"histogram\"", "type = \"histogram\"\nnative_schema = 9"), "a schema is from -4 to 8"),
    ] {
        assert!(EXAMPLE.contains(change.0), "{change:?}");
        let text = EXAMPLE.replacen(change.0, change.1, 1);
        let error = Catalog::parse("catalog.toml", &text).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("catalog.toml:"), "{error}");
    }
}
