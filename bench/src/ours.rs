//! tradewatch-metrics.

use std::hint::black_box;
use std::sync::Arc;

use tradewatch_metrics::*;

use crate::inputs::{self, ENCODE_HISTOGRAM_SYMBOLS, MASK};
use crate::{Scrape, Subject};

open_label!(pub struct Symbol("symbol"), budget = 64);
open_label!(pub struct Listed("symbol"), budget = 8000);

macro_rules! closed {
    ($name:ident { $($variant:ident),+ }) => {
        #[derive(Label, Clone, Copy)]
        pub enum $name { $($variant),+ }
        impl $name {
            const ALL: &[$name] = &[$($name::$variant),+];
        }
    };
}
closed!(Side { Buy, Sell });
closed!(Status { New, Filled, Rejected, Failed });
closed!(Strategy { S0, S1, S2, S3, S4, S5, S6, S7 });

#[derive(Metrics)]
struct Hot {
    /// Plain events.
    events_total: Counter,
    /// Orders.
    orders_total: Counter<(Symbol, Side, Status)>,
    /// Latency.
    #[buckets(inputs::EDGES)]
    latency_seconds: Histogram,
    /// The same, natively.
    #[native(schema = 3)]
    native_seconds: NativeHistogram,
    /// Calls, one in so many of them timed.
    calls_total: Counter,
}

#[derive(Metrics)]
struct Wide {
    /// Orders.
    orders_total: Counter<(Listed, Side, Strategy)>,
}

#[derive(Metrics)]
struct WideHistogram {
    /// Latency.
    #[buckets(inputs::EDGES)]
    latency_seconds: Histogram<(Listed, Side)>,
}

#[derive(Clone, Copy)]
struct Typed {
    symbol: Symbol,
    side: Side,
    status: Status,
}

pub fn subject() -> Subject {
    let registry = Registry::new();
    let m = Arc::new(Hot::register(&registry).expect("the declarations are right"));
    let typed: Arc<[Typed]> = inputs::events()
        .iter()
        .map(|event| Typed {
            symbol: Symbol::intern(inputs::symbols()[event.symbol]),
            side: Side::ALL[event.side],
            status: Status::ALL[event.status],
        })
        .collect();
    let (a, b, c, d, e, f) = (m.clone(), m.clone(), m.clone(), m.clone(), m.clone(), m.clone());
    let also_typed = typed.clone();
    Subject {
        library: "tradewatch-metrics",
        counter: Arc::new(move |n| {
            let counter = (*a.events_total).clone();
            (0..n).for_each(|_| black_box(&counter).inc());
        }),
        labelled: Some(Arc::new(move |n| {
            let typed: &[Typed; MASK + 1] = (&*typed).try_into().expect("as many as events");
            for step in 0..n as usize {
                let event = typed[step & MASK];
                b.orders_total.at((event.symbol, event.side, event.status)).inc();
            }
        })),
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let symbol = Symbol::intern(symbols[events[step & MASK].symbol]);
                let event = also_typed[step & MASK];
                c.orders_total.at((symbol, event.side, event.status)).inc();
            }
        }),
        histogram: Arc::new(move |n| {
            let histogram = (*d.latency_seconds).clone();
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).observe(events[step & MASK].latency));
        }),
        native: Some(Arc::new(move |n| {
            let histogram = (*f.native_seconds).clone();
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&histogram).observe(events[step & MASK].latency));
        })),
        timer: Arc::new(move |n| {
            for _ in 0..n {
                black_box(e.latency_seconds.start()).stop();
            }
        }),
        sampled: Some(Arc::new(move |n| {
            let timer = SampledTimer::new(m.calls_total.at(()), m.latency_seconds.at(()), inputs::STRIDE);
            for _ in 0..n {
                black_box(&timer).start().stop();
            }
        })),
        counters: Box::new(|| {
            let (registry, wide) = hundred_thousand();
            encoder(registry, wide)
        }),
        histograms: Box::new(|| {
            let registry = Registry::new();
            let wide = WideHistogram::register(&registry).expect("the declarations are right");
            for symbol in &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS] {
                for side in Side::ALL {
                    wide.latency_seconds.at((Listed::intern(symbol), *side)).observe(0.003);
                }
            }
            encoder(registry, wide)
        }),
    }
}

fn hundred_thousand() -> (Registry, Wide) {
    let registry = Registry::new();
    let wide = Wide::register(&registry).expect("the declarations are right");
    for symbol in inputs::many_symbols() {
        for side in Side::ALL {
            for strategy in Strategy::ALL {
                wide.orders_total.at((Listed::intern(symbol), *side, *strategy)).inc_by(123_456);
            }
        }
    }
    (registry, wide)
}

/// The text of 100,000 counters.
pub fn body() -> Vec<u8> {
    let (registry, _wide) = hundred_thousand();
    let mut body = Vec::new();
    registry.encode(Format::Text004, &mut body);
    body
}

fn encoder<M: 'static>(registry: Registry, keep: M) -> Scrape {
    Box::new(move |body| {
        let _ = &keep;
        body.bytes.clear();
        registry.encode(Format::Text004, &mut body.bytes);
        body.bytes.len()
    })
}
