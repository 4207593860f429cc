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
