//! Many threads: nothing is lost, nothing is counted twice, and a histogram's parts belong together.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tradewatch_metrics::*;

use crate::fixture::*;

#[test]
fn the_sum_over_threads_is_what_was_added() {
    const EACH: usize = 4_000;
    // More than have cells of their own, so that some share, and all alive at once.
    let threads = 8 + 3 * thread::available_parallelism().map_or(1, usize::from);
    let all_alive = Barrier::new(threads);
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let symbol = Symbol::intern("AAPL");
    thread::scope(|scope| {
        for number in 0..threads {
            let (m, registry, all_alive) = (&m, &registry, &all_alive);
            scope.spawn(move || {
                m.bus.messages_total.inc();
                all_alive.wait();
                for step in 0..EACH {
                    let side = if step % 2 == 0 { Side::Buy } else { Side::Sell };
                    m.orders_total.at((symbol, side, OrderStatus::Success)).inc();
                    m.order_placement_duration_seconds.at((side,)).observe(0.5);
                    m.commission.add(0.5);
                    m.pnl_dollars.inc();
                    if step % 1_000 == number {
                        text(registry, Format::Text004);
                    }
                }
            });
        }
    });
    let total = (threads * EACH) as f64;
    assert_eq!(value(&registry, "bus_messages_total"), Some(threads as f64));
    for side in ["buy", "sell"] {
        let orders = format!("gateway_orders_total{{symbol=\"AAPL\",side=\"{side}\",status=\"success\"}}");
        assert_eq!(value(&registry, &orders), Some(total / 2.0));
        let duration =
            |suffix: &str| format!("gateway_order_placement_duration_seconds_{suffix}{{side=\"{side}\"}}");
        assert_eq!(value(&registry, &duration("count")), Some(total / 2.0));
        assert_eq!(value(&registry, &duration("sum")), Some(total / 4.0));
    }
    assert_eq!(value(&registry, "orders_commission_total_usd"), Some(total / 2.0));
    assert_eq!(value(&registry, "gateway_pnl_dollars"), Some(total));
}

#[test]
fn threads_that_ended_are_still_counted() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    for round in 1..=50u32 {
        let m = m.clone();
        thread::spawn(move || {
            m.bus.messages_total.inc();
            m.commission.add(0.25);
            m.run_duration_seconds.observe(0.25);
        })
        .join()
        .unwrap();
        if round % 7 == 0 {
            assert_eq!(value(&registry, "bus_messages_total"), Some(f64::from(round)));
        }
    }
    assert_eq!(value(&registry, "bus_messages_total"), Some(50.0));
    assert_eq!(value(&registry, "orders_commission_total_usd"), Some(12.5));
    assert_eq!(value(&registry, "gateway_run_duration_seconds_bucket{le=\"0.5\"}"), Some(50.0));
    assert_eq!(value(&registry, "gateway_run_duration_seconds_sum"), Some(12.5));
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn one_scrape_shows_sum_and_count_of_the_same_moment() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    m.run_duration_seconds.observe(2.0);
                }
            });
        }
        // Ends the writers however this ends, or a failure would hang the test.
        let _end = EndOnDrop(&stop);
        let mut last = 0.0;
        // Longer if the writers have not run yet: the machine may be busy.
        let mut scrapes = 0;
        while scrapes < 2_000 || last == 0.0 {
            scrapes += 1;
            let body = text(&registry, Format::Text004);
            let read = |series: &str| -> f64 {
                let line = body.lines().find_map(|l| l.strip_prefix(series)).unwrap();
                line.trim().parse().unwrap()
            };
            let count = read("gateway_run_duration_seconds_count");
            assert_eq!(read("gateway_run_duration_seconds_sum"), 2.0 * count);
            assert_eq!(read("gateway_run_duration_seconds_bucket{le=\"+Inf\"}"), count);
            assert!(count >= last, "a counter never goes back");
            last = count;
        }
    });
}

#[test]
fn a_dropped_registry_gives_its_cells_back_clean() {
    for _ in 0..200 {
        let registry = Registry::new();
        let m = GatewayMetrics::register(&registry).unwrap();
        assert_eq!(value(&registry, "bus_messages_total"), Some(0.0));
        assert_eq!(value(&registry, "gateway_run_duration_seconds_count"), Some(0.0));
        m.bus.messages_total.inc();
        m.run_duration_seconds.observe(1.0);
        thread::scope(|scope| {
            scope.spawn(|| m.bus.messages_total.inc());
        });
        assert_eq!(value(&registry, "bus_messages_total"), Some(2.0));
    }
}

#[test]
fn a_handle_outlives_registry_and_family() {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    let handle = m.orders_total.at((Symbol::OVERFLOW, Side::Buy, OrderStatus::Success)).into_owned();
    drop((m, registry));
    thread::spawn(move || handle.inc()).join().unwrap();
}

#[test]
fn metrics_move_in_thread_local_destructors() {
    struct Late(Option<GatewayMetrics>);
    impl Drop for Late {
        fn drop(&mut self) {
            if let Some(m) = &self.0 {
                m.bus.messages_total.inc();
                m.run_duration_seconds.observe(1.0);
            }
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Late> = const { std::cell::RefCell::new(Late(None)) };
    }
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    for _ in 0..4 {
        let m = m.clone();
        thread::spawn(move || {
            // Registered first, so destroyed last on platforms that go backwards; either order must count.
            LATE.with(|late| late.borrow_mut().0 = Some(m.clone()));
            m.bus.messages_total.inc();
        })
        .join()
        .unwrap();
    }
    assert_eq!(value(&registry, "bus_messages_total"), Some(8.0));
    assert_eq!(value(&registry, "gateway_run_duration_seconds_count"), Some(4.0));
}
