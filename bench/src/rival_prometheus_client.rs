//! `prometheus-client`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use prometheus_client::registry::Registry;

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES};
use crate::{Scrape, Subject};

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Side {
    Buy,
    Sell,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Status {
    New,
    Filled,
    Rejected,
    Failed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Order {
    symbol: &'static str,
    side: Side,
    status: Status,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Wide {
    symbol: &'static str,
    side: &'static str,
    strategy: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pair {
    symbol: &'static str,
    side: &'static str,
}

pub fn subject() -> Subject {
    let counter: Counter = Counter::default();
    let family = Family::<Order, Counter>::default();
    let histogram = Histogram::new(EDGES);
    let native = Histogram::new_native(NativeHistogramConfig::with_schema(3));
    let timed = histogram.clone();
    Subject {
        library: "prometheus-client",
        counter: Arc::new(move |n| {
            (0..n).for_each(|_| {
                black_box(&counter).inc();
            });
        }),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let event = events[step & MASK];
                let order = Order {
                    symbol: symbols[event.symbol],
                    side: [Side::Buy, Side::Sell][event.side],
                    status: [Status::New, Status::Filled, Status::Rejected, Status::Failed][event.status],
                };
                family.get_or_create(&order).inc();
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).observe(events[step & MASK].latency));
        }),
        native: Some(Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&native).observe(events[step & MASK].latency));
        })),
        // It has no timer: what its users write.
        timer: Arc::new(move |n| {
            for _ in 0..n {
                let start = black_box(Instant::now());
                timed.observe(start.elapsed().as_secs_f64());
            }
        }),
        sampled: None,
        counters: Box::new(|| {
            let family = Family::<Wide, Counter>::default();
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in ENCODE_STRATEGIES {
                        family.get_or_create(&Wide { symbol, side, strategy }).inc_by(123_456);
                    }
                }
            }
            let mut registry = Registry::default();
            registry.register("orders", "Orders", family);
            encoder(registry)
        }),
        histograms: Box::new(|| {
            let family = Family::<Pair, Histogram>::new_with_constructor(|| Histogram::new(EDGES));
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                SIDES.iter().for_each(|side| family.get_or_create(&Pair { symbol, side }).observe(0.003));
            }
            let mut registry = Registry::default();
            registry.register("latency_seconds", "Latency", family);
            encoder(registry)
        }),
    }
}

fn encoder(registry: Registry) -> Scrape {
    Box::new(move |body| {
        body.text.clear();
        text::encode(&mut body.text, &registry).unwrap();
        body.text.len()
    })
}
