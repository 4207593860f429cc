//! What must not allocate: updating a series that exists, and a scrape of series that the last one knew.

#![allow(unsafe_code)] // Counting allocations takes a global allocator, which passes everything on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tradewatch_metrics::*;

use crate::fixture::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator with what it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocated while `body` ran.
fn allocations(body: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    body();
    ALLOCATIONS.get() - before
}

#[test]
fn neither_updates_nor_scrapes_allocate_in_steady_state() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let side = |step: u32| if step.is_multiple_of(2) { Side::Buy } else { Side::Sell };
    let update = |step: u32| {
        let symbol = Symbol::intern("AAPL");
        m.orders_total.at((symbol, side(step), OrderStatus::Success)).inc();
        m.commission.add(0.1);
        m.positions_current.at((symbol,)).set(f64::from(step));
        m.order_placement_duration_seconds.at((side(step),)).start().stop();
        m.drift_seconds.observe(f64::from(step % 16) - 8.0);
        m.pnl_dollars.add(-1e-300);
        m.run_duration_seconds.observe(f64::NAN);
        Symbol::intern(
            "not a symbol of this test: 0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a and more than one hundred and twenty-eight bytes of it",
        );
    };
    let mut body = Vec::with_capacity(64 * 1024);
    for step in 0..16 {
        update(step);
    }
    for format in Format::ALL {
        registry.encode(format, &mut body);
    }
    assert_eq!(allocations(|| (0..1_000).for_each(update)), 0, "updates");
    for format in Format::ALL {
        body.clear();
        assert_eq!(allocations(|| registry.encode(format, &mut body)), 0, "{format:?}");
    }
    assert!(allocations(|| drop(Vec::<u8>::with_capacity(1))) > 0, "the allocator counts");
}

#[derive(Metrics)]
#[metrics(prefix = "all")]
struct All {
    /// Series that come and go.
    #[metric(expires = "1s")]
    orders_total: Counter<(Symbol, Side)>,
    /// Gauges that come and go.
    #[metric(expires = "1s", unit = "shares")]
    position: Gauge<(Symbol,)>,
    /// In flight.
    in_flight_current: UpDownCounter<(Side,)>,
    /// Waits.
    #[buckets(0.1, 1)]
    wait_seconds: Histogram<(Side,)>,
    /// Fills.
    #[native(schema = 3)]
    fill_seconds: NativeHistogram<(Side,)>,
    /// Queueing.
    #[quantiles(0.5, 0.99)]
    #[metric(window = "10s")]
    queue_seconds: Summary<(Side,)>,
}

/// Every instrument, with examples, series that expire and come back, and windows that move on.
#[test]
fn no_instrument_allocates_in_steady_state() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = All::register(&registry).unwrap();
    let metrics = registry.dynamic();
    let update = |step: u64| {
        let side = if step.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let symbol = Symbol::intern(if step.is_multiple_of(3) { "AAPL" } else { "MSFT" });
        let exemplar = Exemplar::trace(u128::from(step)).span(step).label("order_id", "a7");
        m.orders_total.at((symbol, side)).inc_with_exemplar(1, &exemplar);
        m.position.at((symbol,)).set(step as f64);
        drop(m.in_flight_current.at((side,)).track());
        m.wait_seconds.at((side,)).observe_with_exemplar(0.5, &exemplar);
        m.fill_seconds.at((side,)).observe_with_exemplar(1.0 + (step % 8) as f64, &exemplar);
        m.queue_seconds.at((side,)).observe(1.0 + (step % 8) as f64);
        metrics.inc("orders", &[("side", "buy"), ("symbol", "AAPL")]);
    };
    let mut body = Vec::with_capacity(256 * 1024);
    let mut scrape = |millis: u64| {
        hand.set(millis);
        for format in Format::ALL {
            body.clear();
            registry.encode(format, &mut body);
        }
    };
    // Longer than a window, so that what it needs has been taken.
    for second in 0..30 {
        (0..24).for_each(update);
        scrape(1000 * second);
    }
    assert_eq!(allocations(|| (0..1_000).for_each(update)), 0, "updates");
    let mut scrapes = |from: u64| {
        allocations(|| {
            for second in from..from + 30 {
                // Every second scrape finds nothing new, and hides what expires.
                if second % 4 < 2 {
                    update(second);
                }
                scrape(1000 * second);
            }
        })
    };
    // Threads of other tests that begin meanwhile are new to a scrape; after a few rounds there are none that are.
    let rounds: Vec<u64> = (1..=5).map(|round| scrapes(30 * round)).collect();
    assert!(rounds.contains(&0), "allocations in each round of scrapes: {rounds:?}");
}
