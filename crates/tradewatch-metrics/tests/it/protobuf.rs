//! Prometheus protobuf: what we write is what we read, and no bytes make the reader panic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tradewatch_metrics::parse::{self, FamilyKind, HistogramValue, Metric, NativeValue, Value};
use tradewatch_metrics::*;

use crate::fixture::*;

#[derive(Metrics, Clone)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Orders, by side.
    orders_total: Counter<(Side,)>,
    /// How high "it" is.
    level_ratio: Gauge<(Side,)>,
    /// Jobs now.
    jobs_current: UpDownCounter,
    /// Waits.
    #[buckets(0.1, 1, 10)]
    wait_seconds: Histogram<(Side,)>,
    /// Fills.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram<(Side,)>,
    /// Both kinds of buckets.
    #[native(schema = 5)]
    #[buckets(0.5)]
    both_seconds: NativeHistogram,
    /// Queueing.
    #[quantiles(0.5, 1)]
    queue_seconds: Summary,
    /// What runs.
    #[labels("version")]
    build_info: Info<1>,
}

fn body(registry: &Registry) -> Vec<u8> {
    let mut body = Vec::new();
    registry.encode(Format::Protobuf, &mut body);
    body
}

/// Family and metrics by name.
type Read<'a> = BTreeMap<&'a str, (FamilyKind, Vec<Metric<'a>>)>;

fn read(body: &[u8]) -> Read<'_> {
    let mut all = BTreeMap::new();
    for family in parse::protobuf(body) {
        let family = family.unwrap();
        let metrics: Vec<_> = family.metrics().map(Result::unwrap).collect();
        assert!(!metrics.is_empty() && !family.help.is_empty(), "{}", family.name);
        assert!(all.insert(family.name, (family.kind, metrics)).is_none(), "a family occurs once");
    }
    all
}

fn histogram<'a>(metric: &'a Metric<'_>) -> &'a HistogramValue<'a> {
    match &metric.value {
        Value::Histogram(histogram) => histogram,
        other => panic!("not a histogram: {other:?}"),
    }
}

/// Index and count of the buckets that hold something.
fn buckets(native: &NativeValue<'_>, positive: bool) -> Vec<(i32, u64)> {
    let (spans, counts) = if positive {
        (&native.positive_spans, &native.positive)
    } else {
        (&native.negative_spans, &native.negative)
    };
    let (mut out, mut next, mut counts) = (Vec::new(), 0, counts.iter());
    for span in spans {
        next += span.offset;
        for _ in 0..span.length {
            out.push((next, *counts.next().unwrap() as u64));
            next += 1;
        }
    }
    out.retain(|(_, count)| *count > 0);
    out
}

#[test]
fn every_kind_of_metric_is_read_back() {
    let hand = Hand::default();
    hand.set(250);
    let registry = hand.registry();
    let m = Desk::register(&registry).unwrap();
    m.orders_total.at((Side::Sell,)).inc_with_exemplar(3, &Exemplar::trace(7));
    m.level_ratio.at((Side::Buy,)).set(f64::NAN);
    m.jobs_current.add(-2);
    m.wait_seconds.at((Side::Buy,)).observe_with_exemplar(0.5, &Exemplar::of("order_id", "a7"));
    m.wait_seconds.at((Side::Buy,)).observe(50.0);
    m.both_seconds.observe_with_exemplar(0.75, &Exemplar::trace(9));
    m.queue_seconds.observe(2.0);
    m.build_info.set(["v1"]);
    let body = body(&registry);
    let read = read(&body);

    assert!(!read.contains_key("desk_fill_seconds"), "a family without a metric is not shown");
    let (kind, orders) = &read["desk_orders_total"];
    let Value::Counter { value, exemplar: Some(exemplar) } = &orders[0].value else { panic!("{orders:?}") };
    assert_eq!((*kind, *value, &orders[0].labels[..]), (FamilyKind::Counter, 3.0, &[("side", "sell")][..]));
    assert_eq!(exemplar.labels, [("trace_id", "00000000000000000000000000000007")]);
    assert_eq!((exemplar.value, exemplar.timestamp), (3.0, Some(1_763_640_000_250)));
    assert_eq!(orders[0].created, Some(1_763_640_000_250));

    let Value::Gauge(level) = read["desk_level_ratio"].1[0].value else { panic!("not a gauge") };
    assert!(level.is_nan());
    assert_eq!(read["desk_jobs_current"].1[0].value, Value::Gauge(-2.0));
    assert_eq!(read["desk_build_info"].0, FamilyKind::Gauge);
    assert_eq!(read["desk_build_info"].1[0].labels, [("version", "v1")]);

    let wait = histogram(&read["desk_wait_seconds"].1[0]);
    let shown: Vec<_> = wait.classic.iter().map(|(edge, count, _)| (*edge, *count)).collect();
    assert_eq!(shown, [(0.1, 0.0), (1.0, 1.0), (10.0, 1.0), (f64::INFINITY, 2.0)]);
    assert_eq!((wait.count, wait.sum, &wait.native), (2.0, 50.5, &None));
    assert_eq!(wait.classic[1].2.as_ref().unwrap().labels, [("order_id", "a7")]);

    let both = histogram(&read["desk_both_seconds"].1[0]);
    let native = both.native.as_ref().unwrap();
    assert_eq!((native.schema, buckets(native, true)), (5, vec![(-13, 1)]));
    assert_eq!((both.classic.len(), native.exemplars.len()), (2, 1));

    let Value::Summary { count, sum, quantiles } = &read["desk_queue_seconds"].1[0].value else {
        panic!("not a summary: {read:?}")
    };
    assert_eq!((*count, *sum, quantiles.len()), (1, 2.0, 2));
    assert!(quantiles.iter().all(|(_, value)| (value - 2.0).abs() <= 2.0 / 33.0), "{quantiles:?}");
    assert_eq!(read["desk_queue_seconds"].1[0].created, Some(1_763_640_000_250));
}

#[test]
fn an_empty_native_histogram_is_still_native() {
    let registry = Registry::new();
    let m = Desk::register(&registry).unwrap();
    m.fill_seconds.at((Side::Buy,));
    m.fill_seconds.at((Side::Sell,)).observe(0.0);
    let body = body(&registry);
    let read = read(&body);
    for (metric, zeros) in read["desk_fill_seconds"].1.iter().zip([0.0, 1.0]) {
        let histogram = histogram(metric);
        let native = histogram.native.as_ref().unwrap();
        assert_eq!((native.zero_count, histogram.count, native.positive_spans.len()), (zeros, zeros, 1));
        assert!(native.positive.is_empty() && histogram.classic.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_of_encode_is_what_was_observed(
        adds in prop::collection::vec((any::<bool>(), 0..1u64 << 40), 0..8),
        waits in prop::collection::vec((any::<bool>(), -1e3..1e6f64), 0..40),
        scale in -12..3i32,
    ) {
        let registry = Registry::new();
        let m = Desk::register(&registry).unwrap();
        let side = |sell: bool| if sell { Side::Sell } else { Side::Buy };
        let name = |sell: bool| if sell { "sell" } else { "buy" };
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for (sell, by) in &adds {
            m.orders_total.at((side(*sell),)).inc_by(*by);
            *totals.entry(name(*sell)).or_default() += *by as f64;
        }
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (sell, wait) in &waits {
            let wait = wait * 10f64.powi(scale);
            m.wait_seconds.at((side(*sell),)).observe(wait);
            m.fill_seconds.at((side(*sell),)).observe(wait);
            let (count, sum) = sums.entry(name(*sell)).or_default();
            (*count, *sum) = (*count + 1.0, *sum + wait);
        }
        let body = body(&registry);
        let read = read(&body);
        let none = (FamilyKind::Counter, Vec::new());
        let of = |name: &str| &read.get(name).unwrap_or(&none).1;
        let orders: BTreeMap<&str, f64> = of("desk_orders_total").iter().map(|metric| match metric.value {
            Value::Counter { value, .. } => (metric.labels[0].1, value),
            _ => panic!("not a counter"),
        }).collect();
        prop_assert_eq!(orders, totals);
        for name in ["desk_wait_seconds", "desk_fill_seconds"] {
            let shown: BTreeMap<&str, (f64, f64)> = of(name)
                .iter()
                .map(|metric| (metric.labels[0].1, (histogram(metric).count, histogram(metric).sum)))
                .collect();
            prop_assert_eq!(&shown, &sums);
        }
        for metric in of("desk_wait_seconds") {
            let histogram = histogram(metric);
            prop_assert!(histogram.classic.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            prop_assert_eq!(histogram.classic.last().unwrap().1, histogram.count);
        }
        for (metric, sell) in of("desk_fill_seconds").iter().map(|metric| (metric, metric.labels[0].1 == "sell")) {
            let native = histogram(metric).native.as_ref().unwrap();
            let snapshot = m.fill_seconds.at((side(sell),)).snapshot().unwrap();
            prop_assert_eq!(buckets(native, true), snapshot.positive);
            prop_assert_eq!(buckets(native, false), snapshot.negative);
            prop_assert_eq!(native.schema, i32::from(snapshot.schema));
            prop_assert_eq!(native.zero_count, snapshot.zero_count as f64);
        }
    }

    /// Bytes of ours with some of them changed, or cut off: an answer or an error with a place, never a panic.
    #[test]
    fn damaged_bodies_are_refused_with_a_place(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let registry = Registry::new();
        let m = Desk::register(&registry).unwrap();
        m.orders_total.at((Side::Buy,)).inc_with_exemplar(1, &Exemplar::trace(1));
        m.fill_seconds.at((Side::Buy,)).observe(0.25);
        m.fill_seconds.at((Side::Buy,)).observe(-7.0);
        m.queue_seconds.observe(1.0);
        let mut body = body(&registry);
        let whole = body.len();
        body.truncate(cut.index(whole) + 1);
        let len = body.len();
        damage.iter().for_each(|(at, byte)| body[at.index(len)] = *byte);
        for family in parse::protobuf(&body) {
            match family {
                Ok(family) => {
                    for metric in family.metrics() {
                        if let Err(error) = metric {
                            prop_assert!(error.offset().is_some_and(|at| at <= len), "{}", error);
                        }
                    }
                }
                Err(error) => prop_assert!(error.offset().is_some_and(|at| at <= len), "{}", error),
            }
        }
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases: &[(&[u8], &str)] = &[
        (&[5, 1], "byte 1: 5 bytes are announced and 1 are left; it may have been cut off"),
        (&[0x80], "byte 1: the body ends within a number; it may have been cut off"),
        (&[0xff; 11], "byte 0: a number of more than ten bytes"),
        (&[2, 0x08, 1], "byte 1: a message or text was expected here"),
        (&[3, 0x0a, 1, 0xff], "byte 3: a text that is not UTF-8"),
        (&[1, 0x0f], "byte 1: wire type 7 is none of 0, 1, 2 and 5"),
        (&[2, 0x12, 0], "byte 1: a family without a name"),
    ];
    for (body, message) in cases {
        let error = parse::protobuf(body).find_map(Result::err).expect(message);
        assert_eq!((error.to_string().as_str(), error.line()), (*message, 0));
    }
    // A metric without a value, in a family that is whole.
    let body = [5, 0x0a, 1, b'x', 0x22, 0];
    let family = parse::protobuf(&body).next().unwrap().unwrap();
    let error = family.metrics().next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "byte 6: a metric without a value");
}
