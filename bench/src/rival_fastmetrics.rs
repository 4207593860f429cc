//! `fastmetrics`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use fastmetrics::derive::{EncodeLabelSet, EncodeLabelValue, LabelSetSchema};
use fastmetrics::format::text::{self, TextProfile};
use fastmetrics::metrics::counter::Counter;
use fastmetrics::metrics::family::Family;
use fastmetrics::metrics::histogram::Histogram;
use fastmetrics::registry::Registry;

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES};
use crate::{Scrape, Subject};

#[derive(Clone, Copy, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Side {
    Buy,
    Sell,
}

#[derive(Clone, Copy, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Status {
    New,
    Filled,
    Rejected,
    Failed,
}

#[derive(Clone, Hash, PartialEq, Eq, EncodeLabelSet, LabelSetSchema)]
struct Order {
    symbol: &'static str,
    side: Side,
    status: Status,
}

#[derive(Clone, Hash, PartialEq, Eq, EncodeLabelSet, LabelSetSchema)]
struct Wide {
    symbol: &'static str,
    side: &'static str,
    strategy: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, EncodeLabelSet, LabelSetSchema)]
struct Pair {
    symbol: &'static str,
    side: &'static str,
}

pub fn subject() -> Subject {
    let counter: Counter = Counter::default();
    let family = Family::<Order, Counter>::default();
    let histogram = Histogram::new(EDGES);
    let timed = histogram.clone();
    Subject {
        library: "fastmetrics",
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
                family.with_or_new(&order, |counter| counter.inc());
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).observe(events[step & MASK].latency));
        }),
        native: None,
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
                        family.with_or_new(&Wide { symbol, side, strategy }, |counter| {
                            counter.inc_by(123_456);
                        });
                    }
                }
            }
            let mut registry = Registry::default();
            registry.register("orders", "Orders", family).unwrap();
            encoder(registry)
        }),
        histograms: Box::new(|| {
            let family = Family::<Pair, Histogram>::new(|| Histogram::new(EDGES));
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                SIDES.iter().for_each(|side| {
                    family.with_or_new(&Pair { symbol, side }, |histogram| histogram.observe(0.003));
                });
            }
            let mut registry = Registry::default();
            registry.register("latency_seconds", "Latency", family).unwrap();
            encoder(registry)
        }),
    }
}

fn encoder(registry: Registry) -> Scrape {
    Box::new(move |body| {
        body.text.clear();
        text::encode(&mut body.text, &registry, TextProfile::default()).unwrap();
        body.text.len()
    })
}
