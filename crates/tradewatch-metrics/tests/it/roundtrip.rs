//! What the encoder writes, the parser reads back: the same series, values and metadata, in both formats.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tradewatch_metrics::parse::{self, Entry, FamilyKind};
use tradewatch_metrics::*;

open_label!(
    /// Values from a generator.
    struct Any("any"), budget = 4096
);

#[derive(Label, Clone, Copy, Debug)]
enum Side {
    Buy,
    Sell,
}

#[derive(Metrics)]
struct Everything {
    /// Counts "things" \ and more.
    things_total: Counter<(Any, Side)>,
    /// A level.
    level: Gauge<(Any,)>,
    /// A wait.
    #[buckets(-1, 0.001, 1.0, 1e7)]
    wait_seconds: Histogram<(Side,)>,
    /// Facts.
    #[labels("a", "b")]
    build_info: Info<2>,
}

type Samples = BTreeMap<(String, Vec<(String, String)>), u64>;

/// Samples by name and labels, with the value's bits, and the kinds of families.
fn read(body: &[u8], format: Format) -> (Samples, Vec<FamilyKind>) {
    let mut parser = match format {
        Format::Text004 => parse::text(body),
        Format::OpenMetrics1 => parse::openmetrics(body),
        Format::Protobuf => panic!("protobuf has no lines"),
    };
    let (mut samples, mut kinds) = (Samples::new(), Vec::new());
    while let Some(entry) = parser.next() {
        match entry.unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(body))) {
            Entry::Type { kind, .. } => kinds.push(kind),
            Entry::Help { help, .. } if help.starts_with("Counts") => {
                assert_eq!(help, "Counts \"things\" \\ and more.");
            }
            Entry::Sample(sample) => {
                let labels = sample.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
                let before = samples.insert((sample.name.into_owned(), labels), sample.value.to_bits());
                assert!(before.is_none(), "a series occurs once");
            }
            _ => {}
        }
    }
    (samples, kinds)
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>().prop_filter("finite", |v| v.is_finite()), (-1000..1000i32).prop_map(f64::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_of_encode_is_what_was_set(
        counts in prop::collection::vec(("\\PC{1,12}|[a-c\"\\\\\n]{1,4}", any::<bool>(), 0..u64::MAX / 16), 0..8),
        levels in prop::collection::vec(("[A-E]", any::<f64>()), 0..6),
        waits in prop::collection::vec((any::<bool>(), 0.0..1e9f64), 0..20),
        fact in "\\PC{0,20}",
        fraction in finite(),
    ) {
        let registry = Registry::new();
        let m = Everything::register(&registry).unwrap();
        let side = |sell: bool| if sell { Side::Sell } else { Side::Buy };
        let side_name = |sell: bool| if sell { "sell" } else { "buy" }.to_owned();
        let mut expected: BTreeMap<(String, Vec<(String, String)>), f64> = BTreeMap::new();
        for (value, sell, by) in &counts {
            let value = Any::intern(value);
            m.things_total.at((value, side(*sell))).inc_by(*by);
        }
        let mut totals: BTreeMap<_, u64> = BTreeMap::new();
        for (value, sell, by) in &counts {
            let shown = Any::get(value).map_or(OVERFLOW, Any::as_str).to_owned();
            let total = totals.entry((shown, side_name(*sell))).or_default();
            *total = total.wrapping_add(*by);
        }
        for ((value, side), total) in totals {
            let labels = vec![("any".to_owned(), value), ("side".to_owned(), side)];
            expected.insert(("things_total".to_owned(), labels), total as f64);
        }
        for (value, level) in &levels {
            m.level.at((Any::intern(value),)).set(*level);
            let level = if level.is_nan() { f64::NAN } else { *level };
            expected.insert(("level".to_owned(), vec![("any".to_owned(), value.clone())]), level);
        }
        m.level.at((Any::OVERFLOW,)).set(fraction);
        expected.insert(("level".to_owned(), vec![("any".to_owned(), OVERFLOW.to_owned())]), fraction);
        for (sell, wait) in &waits {
            m.wait_seconds.at((side(*sell),)).observe(*wait);
            let labels = vec![("side".to_owned(), side_name(*sell))];
            *expected.entry(("wait_seconds_sum".to_owned(), labels.clone())).or_default() += wait;
            *expected.entry(("wait_seconds_count".to_owned(), labels.clone())).or_default() += 1.0;
            for (edge, le) in [(-1.0, "-1.0"), (0.001, "0.001"), (1.0, "1.0"), (1e7, "1e+07"), (f64::INFINITY, "+Inf")] {
                let labels = vec![labels[0].clone(), ("le".to_owned(), le.to_owned())];
                let bucket = expected.entry(("wait_seconds_bucket".to_owned(), labels)).or_default();
                *bucket += if *wait <= edge { 1.0 } else { 0.0 };
            }
        }
        m.build_info.set(["v1", &fact]);
        let facts = vec![("a".to_owned(), "v1".to_owned()), ("b".to_owned(), fact.clone())];
        expected.insert(("build_info".to_owned(), facts), 1.0);

        let mut body = Vec::new();
        registry.encode(Format::Text004, &mut body);
        let (mut text, _) = read(&body, Format::Text004);
        text.retain(|(name, _), _| !name.starts_with("tradewatch_sdk_"));
        let expected: Samples = expected.into_iter().map(|(series, value)| (series, value.to_bits())).collect();
        prop_assert_eq!(&text, &expected);

        // The strict reader refuses a histogram with negative edges and a sum; the lenient one shows the rest.
        body.clear();
        registry.encode(Format::OpenMetrics1, &mut body);
        let mut parser = parse::openmetrics_lenient(&body);
        let mut samples = 0;
        while let Some(entry) = parser.next() {
            if let Entry::Sample(sample) = entry.unwrap() {
                let labels = sample.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
                if let Some(value) = expected.get(&(sample.name.to_string(), labels)) {
                    prop_assert_eq!(*value, sample.value.to_bits());
                    samples += 1;
                }
            }
        }
        prop_assert_eq!(samples, expected.len());
    }
}

/// Every kind of metric at once is strict OpenMetrics.
#[test]
fn our_open_metrics_is_strict() {
    use crate::fixture::{GatewayMetrics, OrderStatus, Side, Symbol};
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    m.orders_total.at((Symbol::OVERFLOW, Side::Buy, OrderStatus::Failed)).inc();
    m.order_placement_duration_seconds.expose_all();
    m.order_placement_duration_seconds.at((Side::Buy,)).observe(0.3);
    m.positions_current.at((Symbol::OVERFLOW,)).set(f64::NAN);
    m.model_info.set(["v1", "a\"\\\nb"]);
    m.pnl_dollars.add(f64::NAN);
    let mut body = Vec::new();
    registry.encode(Format::OpenMetrics1, &mut body);
    let (samples, kinds) = read(&body, Format::OpenMetrics1);
    assert!(
        samples.len() > 20 && kinds.contains(&FamilyKind::Info) && kinds.contains(&FamilyKind::Histogram)
    );
}
