//! `metrics` with `metrics-exporter-prometheus`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, NativeHistogramConfig, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, ENCODE_STRATEGIES, MASK, SIDES, STATUSES};
use crate::{Scrape, Subject};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn recorder() -> PrometheusRecorder {
    // A factor of 1.1 is schema 3.
    let native = NativeHistogramConfig::new(1.1, 160, 1e-9).unwrap();
    PrometheusBuilder::new()
        .set_buckets(&EDGES)
        .unwrap()
        .set_native_histogram_for_metric(Matcher::Full("native_seconds".to_owned()), native)
        .build_recorder()
}

/// Samples are only queued by `record`; draining them is part of the cost.
const UPKEEP_EVERY: usize = 8192;

pub fn subject() -> Subject {
    let recorder = Arc::new(recorder());
    let handle = recorder.handle();
    let counter = recorder.register_counter(&Key::from_name("events_total"), &METADATA);
    let histogram = recorder.register_histogram(&Key::from_name("latency_seconds"), &METADATA);
    let native = recorder.register_histogram(&Key::from_name("native_seconds"), &METADATA);
    let native_handle = handle.clone();
    let (timed, timed_handle) = (histogram.clone(), handle.clone());
    Subject {
        library: "metrics",
        counter: Arc::new(move |n| (0..n).for_each(|_| black_box(&counter).increment(1))),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            // As the counter! macro does it, without its global recorder.
            for step in 0..n as usize {
                let event = events[step & MASK];
                let labels = vec![
                    Label::new("symbol", symbols[event.symbol]),
                    Label::new("side", SIDES[event.side]),
                    Label::new("status", STATUSES[event.status]),
                ];
                let key = Key::from_parts("orders_total", labels);
                recorder.register_counter(&key, &METADATA).increment(1);
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            for step in 0..n as usize {
                black_box(&histogram).record(events[step & MASK].latency);
                if step % UPKEEP_EVERY == 0 {
                    handle.run_upkeep();
                }
            }
        }),
        native: Some(Arc::new(move |n| {
            let events = inputs::events();
            for step in 0..n as usize {
                black_box(&native).record(events[step & MASK].latency);
                if step % UPKEEP_EVERY == 0 {
                    native_handle.run_upkeep();
                }
            }
        })),
        timer: Arc::new(move |n| {
            for step in 0..n as usize {
                let start = black_box(Instant::now());
                timed.record(start.elapsed());
                if step % UPKEEP_EVERY == 0 {
                    timed_handle.run_upkeep();
                }
            }
        }),
        sampled: None,
        counters: Box::new(|| {
            let recorder = self::recorder();
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in ENCODE_STRATEGIES {
                        let labels = vec![
                            Label::new("symbol", *symbol),
                            Label::new("side", side),
                            Label::new("strategy", strategy),
                        ];
                        let key = Key::from_parts("orders_total", labels);
                        recorder.register_counter(&key, &METADATA).increment(123_456);
                    }
                }
            }
            encoder(recorder.handle(), recorder)
        }),
        histograms: Box::new(|| {
            let recorder = self::recorder();
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                for side in SIDES {
                    let labels = vec![Label::new("symbol", *symbol), Label::new("side", side)];
                    let key = Key::from_parts("latency_seconds", labels);
                    recorder.register_histogram(&key, &METADATA).record(0.003);
                }
            }
            encoder(recorder.handle(), recorder)
        }),
    }
}

fn encoder(handle: PrometheusHandle, keep: PrometheusRecorder) -> Scrape {
    Box::new(move |_| {
        let _ = &keep;
        handle.render().len()
    })
}
