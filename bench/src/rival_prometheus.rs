//! `prometheus`.

use std::hint::black_box;
use std::sync::Arc;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES, STATUSES};
use crate::{Scrape, Subject};

pub fn subject() -> Subject {
    let counter = IntCounter::new("events_total", "Plain events.").unwrap();
    let vec =
        IntCounterVec::new(Opts::new("orders_total", "Orders."), &["symbol", "side", "status"]).unwrap();
    let histogram =
        Histogram::with_opts(HistogramOpts::new("latency_seconds", "Latency.").buckets(EDGES.to_vec()))
            .unwrap();
    let timed = histogram.clone();
    Subject {
        library: "prometheus",
        counter: Arc::new(move |n| (0..n).for_each(|_| black_box(&counter).inc())),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let event = events[step & MASK];
                vec.with_label_values(&[symbols[event.symbol], SIDES[event.side], STATUSES[event.status]])
                    .inc();
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).observe(events[step & MASK].latency));
        }),
        native: None,
        timer: Arc::new(move |n| {
            for _ in 0..n {
                black_box(timed.start_timer()).observe_duration();
            }
        }),
        sampled: None,
        counters: Box::new(|| {
            let vec =
                IntCounterVec::new(Opts::new("orders_total", "Orders."), &["symbol", "side", "strategy"])
                    .unwrap();
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in ENCODE_STRATEGIES {
                        vec.with_label_values(&[symbol, side, strategy]).inc_by(123_456);
                    }
                }
            }
            let registry = Registry::new();
            registry.register(Box::new(vec)).unwrap();
            encoder(registry)
        }),
        histograms: Box::new(|| {
            let opts = HistogramOpts::new("latency_seconds", "Latency.").buckets(EDGES.to_vec());
            let vec = HistogramVec::new(opts, &["symbol", "side"]).unwrap();
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                SIDES.iter().for_each(|side| vec.with_label_values(&[symbol, side]).observe(0.003));
            }
            let registry = Registry::new();
            registry.register(Box::new(vec)).unwrap();
            encoder(registry)
        }),
    }
}

fn encoder(registry: Registry) -> Scrape {
    Box::new(move |body| {
        body.bytes.clear();
        TextEncoder::new().encode(&registry.gather(), &mut body.bytes).unwrap();
        body.bytes.len()
    })
}
