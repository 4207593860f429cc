//! `fast-telemetry`: as many shards as cores, as its examples say. It counts nanoseconds as integers, given here
//! as such; its `Distribution` has a bucket for each power of two.

use std::hint::black_box;
use std::sync::Arc;

use fast_telemetry::{
    Counter, Distribution, DynamicCounter, DynamicHistogram, Histogram, PrometheusExport, SampledTimer,
};

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES, STATUSES};
use crate::{Scrape, Subject};

fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn edges() -> Vec<u64> {
    EDGES.iter().map(|edge| (edge * 1e9) as u64).collect()
}

pub fn subject() -> Subject {
    let counter = Counter::new(shards());
    let orders = DynamicCounter::new(shards());
    let histogram = Histogram::new(&edges(), shards());
    let distribution = Distribution::new(shards());
    let timer = SampledTimer::new(&edges(), shards(), 1);
    let sampled = SampledTimer::new(&edges(), shards(), inputs::STRIDE.into());
    let nanos: Arc<[u64]> = inputs::events().iter().map(|event| (event.latency * 1e9) as u64).collect();
    let also_nanos = nanos.clone();
    Subject {
        library: "fast-telemetry",
        counter: Arc::new(move |n| (0..n).for_each(|_| black_box(&counter).inc())),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let event = events[step & MASK];
                orders.inc(&[
                    ("symbol", symbols[event.symbol]),
                    ("side", SIDES[event.side]),
                    ("status", STATUSES[event.status]),
                ]);
            }
        }),
        histogram: Arc::new(move |n| {
            let nanos: &[u64; MASK + 1] = (&*nanos).try_into().expect("as many as events");
            (0..n as usize).for_each(|step| black_box(&histogram).record(nanos[step & MASK]));
        }),
        native: Some(Arc::new(move |n| {
            let nanos: &[u64; MASK + 1] = (&*also_nanos).try_into().expect("as many as events");
            (0..n as usize).for_each(|step| black_box(&distribution).record(nanos[step & MASK]));
        })),
        timer: Arc::new(move |n| (0..n).for_each(|_| black_box(timer.start()).finish())),
        sampled: Some(Arc::new(move |n| (0..n).for_each(|_| black_box(&sampled).start().finish()))),
        counters: Box::new(|| {
            let orders = DynamicCounter::with_max_series(shards(), 200_000);
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in ENCODE_STRATEGIES {
                        orders.add(&[("symbol", symbol), ("side", side), ("strategy", strategy)], 123_456);
                    }
                }
            }
            encoder(orders, "orders_total")
        }),
        histograms: Box::new(|| {
            let latency = DynamicHistogram::with_limits(&edges(), shards(), 20_000);
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                SIDES
                    .iter()
                    .for_each(|side| latency.record(&[("symbol", symbol), ("side", side)], 3_000_000));
            }
            encoder(latency, "latency_seconds")
        }),
    }
}

fn encoder(metric: impl PrometheusExport + 'static, name: &'static str) -> Scrape {
    Box::new(move |body| {
        body.text.clear();
        metric.export_prometheus(&mut body.text, name, "Help.");
        body.text.len()
    })
}
