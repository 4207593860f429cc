//! `opentelemetry` with its Prometheus exporter: bound instruments, views, a cardinality limit that fits.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder, Registry, TextEncoder};

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES, STATUSES};
use crate::{Scrape, Subject};

/// A meter whose series may be as many as the benchmark needs, and what it is scraped by.
fn meter() -> (SdkMeterProvider, Meter, Registry) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    let view = |instrument: &Instrument| {
        let stream = Stream::builder().with_cardinality_limit(200_000);
        let stream = if instrument.name() == "exponential" {
            stream.with_aggregation(Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 3,
                record_min_max: false,
            })
        } else {
            stream
        };
        stream.build().ok()
    };
    let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(view).build();
    let meter = provider.meter("bench");
    (provider, meter, registry)
}

pub fn subject() -> Subject {
    let (provider, meter, registry) = meter();
    let counter = meter.u64_counter("events").build().bind(&[]);
    let orders = meter.u64_counter("orders").build();
    let latency = meter.f64_histogram("latency").with_boundaries(EDGES.to_vec()).build();
    let histogram = latency.bind(&[]);
    let exponential = meter.f64_histogram("exponential").build().bind(&[]);
    let timed = latency.bind(&[]);
    Subject {
        library: "opentelemetry",
        counter: Arc::new(move |n| {
            let _ = (&provider, &registry);
            (0..n).for_each(|_| black_box(&counter).add(1));
        }),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let event = events[step & MASK];
                orders.add(
                    1,
                    &[
                        KeyValue::new("symbol", symbols[event.symbol]),
                        KeyValue::new("side", SIDES[event.side]),
                        KeyValue::new("status", STATUSES[event.status]),
                    ],
                );
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).record(events[step & MASK].latency));
        }),
        native: Some(Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&exponential).record(events[step & MASK].latency));
        })),
        // It has no timer: what its users write.
        timer: Arc::new(move |n| {
            for _ in 0..n {
                let start = black_box(Instant::now());
                timed.record(start.elapsed().as_secs_f64());
            }
        }),
        sampled: None,
        counters: Box::new(|| {
            let (provider, meter, registry) = self::meter();
            let orders = meter.u64_counter("orders").build();
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in ENCODE_STRATEGIES {
                        let labels = [
                            KeyValue::new("symbol", *symbol),
                            KeyValue::new("side", side),
                            KeyValue::new("strategy", strategy),
                        ];
                        orders.add(123_456, &labels);
                    }
                }
            }
            encoder(provider, registry)
        }),
        histograms: Box::new(|| {
            let (provider, meter, registry) = self::meter();
            let latency = meter.f64_histogram("latency").with_boundaries(EDGES.to_vec()).build();
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                SIDES.iter().for_each(|side| {
                    latency.record(0.003, &[KeyValue::new("symbol", *symbol), KeyValue::new("side", *side)]);
                });
            }
            encoder(provider, registry)
        }),
    }
}

fn encoder(provider: SdkMeterProvider, registry: Registry) -> Scrape {
    Box::new(move |body| {
        let _ = &provider;
        body.bytes.clear();
        TextEncoder::new().encode(&registry.gather(), &mut body.bytes).unwrap();
        body.bytes.len()
    })
}
