//! Runs each operation of the hot path ten thousand times, for a counter of instructions to look at.
//!
//! `cargo xtask budget` runs this under callgrind, which dumps what each function named `op_…` executed, and
//! compares the figures with `crates/tradewatch-metrics/budget.toml`. Instructions, unlike nanoseconds, are the
//! same on a busy machine. By itself it does what it does and prints nothing.

#![allow(unsafe_code)] // Names that callgrind finds.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use tradewatch_metrics::*;

/// How often each operation runs; the checker divides by it.
const TIMES: usize = 10_000;

#[derive(Label, Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

#[derive(Label, Clone, Copy)]
#[label(name = "status")]
enum OrderStatus {
    New,
    Filled,
    Rejected,
    Failed,
}

open_label!(struct Symbol("symbol"), budget = 64);

const EDGES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Metrics)]
struct Hot {
    /// Plain events.
    events_total: Counter,
    /// Money.
    fees_total: Counter,
    /// Orders.
    orders_total: Counter<(Symbol, Side, OrderStatus)>,
    /// A level.
    level: Gauge,
    /// Latency.
    #[buckets(EDGES)]
    latency_seconds: Histogram,
    /// Latency, natively.
    #[native(schema = 3)]
    native_seconds: NativeHistogram,
    /// Latency by side, both ways.
    #[native(schema = 3)]
    #[buckets(EDGES)]
    both_seconds: NativeHistogram<(Side,)>,
}

/// What the operations work on.
struct World {
    registry: Registry,
    m: Hot,
    symbols: [Symbol; 64],
    names: [&'static str; 64],
    values: [f64; 64],
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // A clock of its own: the system's is read differently on different machines.
        let registry = Registry::with_clock(|| Duration::from_millis(3));
        let m = Hot::register(&registry).expect("the declarations are right");
        let names: [&'static str; 64] = std::array::from_fn(|n| &*format!("SYM{n:02}").leak());
        let values = std::array::from_fn(|n| 10f64.powf(-4.0 + 5.0 * n as f64 / 64.0));
        World { registry, m, symbols: names.map(Symbol::intern), names, values }
    })
}

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const STATUSES: [OrderStatus; 4] =
    [OrderStatus::New, OrderStatus::Filled, OrderStatus::Rejected, OrderStatus::Failed];

/// Operations by name. The checker reads what `main` itself called.
macro_rules! operations {
    ($($(#[$meta:meta])* $name:ident($world:ident) $body:block)+) => {
        $($(#[$meta])* #[inline(never)] #[unsafe(no_mangle)] extern "C" fn $name() {
            let $world = black_box(world());
            $body
        })+
        /// Fills caches and tables, so that `main` pays for what is done ten thousand times only.
        #[inline(never)]
        fn warm_up() {
            $($name();)+
        }
        fn main() {
            warm_up();
            $($name();)+
        }
    };
}

operations! {
    /// An empty loop that loads a value: what the others pay for the loop.
    op_loop(w) {
        for step in 0..TIMES { black_box(w.values[step % 64]); }
    }
    op_counter_resolved(w) {
        let counter = (*w.m.events_total).clone();
        for _ in 0..TIMES { black_box(&counter).inc(); }
    }
    op_counter_fraction(w) {
        let counter = (*w.m.fees_total).clone();
        for step in 0..TIMES { black_box(&counter).add(w.values[step % 64]); }
    }
    op_counter_three_labels(w) {
        for step in 0..TIMES {
            let labels = (w.symbols[step % 64], SIDES[step % 2], STATUSES[step / 2 % 4]);
            black_box(&w.m.orders_total).at(labels).inc();
        }
    }
    op_counter_symbol_by_name(w) {
        for step in 0..TIMES {
            let symbol = Symbol::intern(black_box(w.names[step % 64]));
            black_box(&w.m.orders_total).at((symbol, SIDES[step % 2], STATUSES[step / 2 % 4])).inc();
        }
    }
    op_gauge_set(w) {
        let gauge = (*w.m.level).clone();
        for step in 0..TIMES { black_box(&gauge).set(w.values[step % 64]); }
    }
    op_histogram_12_edges(w) {
        let histogram = (*w.m.latency_seconds).clone();
        for step in 0..TIMES { black_box(&histogram).observe(w.values[step % 64]); }
    }
    op_native_schema_3(w) {
        let histogram = (*w.m.native_seconds).clone();
        for step in 0..TIMES { black_box(&histogram).observe(w.values[step % 64]); }
    }
    op_native_and_12_edges_by_side(w) {
        for step in 0..TIMES {
            black_box(&w.m.both_seconds).at((SIDES[step % 2],)).observe(w.values[step % 64]);
        }
    }
    op_timer_guard(w) {
        for _ in 0..TIMES { black_box(w.m.latency_seconds.start()).stop(); }
    }
    op_timer_guard_sampled(w) {
        let timer = SampledTimer::new(w.m.events_total.at(()), w.m.latency_seconds.at(()), 64);
        for _ in 0..TIMES { black_box(&timer).start().stop(); }
    }
    /// 560 series in each of ten scrapes, so the figure is for eighteen hundredths of a scrape... of one series.
    op_scrape(w) {
        let mut body = Vec::with_capacity(1 << 20);
        for _ in 0..10 {
            body.clear();
            w.registry.encode(Format::Text004, &mut body);
        }
        black_box(body);
    }
}
