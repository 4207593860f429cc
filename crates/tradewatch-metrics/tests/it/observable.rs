//! Values that are computed at the scrape: by callbacks that answer, fail, panic or hang.

#![allow(clippy::disallowed_methods)] // Limits on callbacks are real time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use tradewatch_metrics::*;

use crate::fixture::*;

#[derive(Metrics, Clone)]
#[metrics(prefix = "jobs")]
struct Jobs {
    /// Jobs that wait, by side.
    #[metric(timeout = "20s")]
    waiting_current: ObservableGauge<(Side,)>,
    /// Rows of the table.
    #[metric(timeout = "20s", unit = "rows")]
    rows: ObservableGauge,
    /// Bytes that the driver has written.
    #[metric(timeout = "20s")]
    written_bytes_total: ObservableCounter,
    /// What hangs.
    #[metric(timeout = "30ms")]
    stuck_current: ObservableGauge,
}

fn failures(registry: &Registry, metric: &str, reason: &str) -> Option<f64> {
    let series =
        format!("tradewatch_sdk_callback_failures_total{{metric=\"jobs_{metric}\",reason=\"{reason}\"}}");
    value(registry, &series)
}

#[test]
fn values_are_computed_at_each_scrape() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    assert!(!registry.has_callbacks());
    assert_eq!(value(&registry, "jobs_rows"), None, "not before there is a callback");
    let table = Arc::new(AtomicU64::new(3));
    let (rows, bytes) = (Arc::clone(&table), Arc::clone(&table));
    m.rows.read_with(move || Ok::<_, String>(rows.load(Ordering::Relaxed) as f64));
    m.written_bytes_total.read_with(move || Ok::<_, String>(1000.0 * bytes.load(Ordering::Relaxed) as f64));
    let mut turn = 0;
    m.waiting_current.observe_with(move |readings| {
        turn += 1;
        readings.set((Side::Sell,), 1.0);
        readings.set((Side::Sell,), f64::from(turn));
        if turn == 1 {
            readings.set((Side::Buy,), f64::NAN);
        }
        Ok::<_, String>(())
    });
    assert!(registry.has_callbacks());
    let first = text(&registry, Format::Text004);
    for line in [
        "jobs_rows 3",
        "jobs_written_bytes_total 3000",
        "jobs_waiting_current{side=\"buy\"} NaN",
        "jobs_waiting_current{side=\"sell\"} 1",
    ] {
        assert!(first.contains(&format!("\n{line}\n")), "{line} in\n{first}");
    }
    table.store(5, Ordering::Relaxed);
    let second = text(&registry, Format::OpenMetrics1);
    for line in ["jobs_rows 5", "jobs_written_bytes_total 5000", "jobs_waiting_current{side=\"sell\"} 2"] {
        assert!(second.contains(&format!("\n{line}\n")), "{line} in\n{second}");
    }
    assert!(!second.contains("side=\"buy\""), "what was not set this time is not shown:\n{second}");
    assert_eq!(failures(&registry, "rows", "error"), Some(0.0));
}

#[test]
fn a_counter_s_callback_cannot_show_what_is_no_total() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    let given = Arc::new(Mutex::new(-1.0));
    let read = Arc::clone(&given);
    m.written_bytes_total.read_with(move || Ok::<_, String>(*read.lock().unwrap()));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        *given.lock().unwrap() = bad;
        assert_eq!(value(&registry, "jobs_written_bytes_total"), None);
    }
    let rejected = "tradewatch_sdk_rejected_values_total{metric=\"jobs_written_bytes_total\"}";
    *given.lock().unwrap() = 7.0;
    assert_eq!(value(&registry, "jobs_written_bytes_total"), Some(7.0));
    assert_eq!(value(&registry, rejected), Some(3.0));
}

#[test]
fn errors_and_panics_leave_the_series_out_and_are_counted() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    let turn = AtomicUsize::new(0);
    m.rows.read_with(move || match turn.fetch_add(1, Ordering::Relaxed) {
        1 => Err("connection refused"),
        2 => panic!("a callback with a bug"),
        turn => Ok(turn as f64),
    });
    // Of one scrape each.
    let shown: Vec<_> = (0..4).map(|_| value(&registry, "jobs_rows")).collect();
    assert_eq!(shown, [Some(0.0), None, None, Some(3.0)]);
    for (reason, count) in [("error", 1.0), ("panic", 1.0), ("timeout", 0.0)] {
        assert_eq!(failures(&registry, "rows", reason), Some(count), "{reason}");
    }
}

#[test]
fn a_callback_that_hangs_costs_one_scrape_its_limit_and_never_runs_twice_at_once() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (door, now, max) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
    m.stuck_current.read_with(move || {
        max.fetch_max(1 + now.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        let mut open = door.0.lock().unwrap();
        while !*open {
            open = door.1.wait(open).unwrap();
        }
        now.fetch_sub(1, Ordering::SeqCst);
        Ok::<_, String>(1.0)
    });
    m.rows.read_with(|| Ok::<_, String>(2.0));
    let begun = Instant::now();
    let body = text(&registry, Format::Text004);
    assert!(begun.elapsed() >= Duration::from_millis(30), "the limit is waited for");
    assert!(body.contains("\njobs_rows 2\n") && !body.contains("\njobs_stuck_current "), "{body}");
    // Other scrapes do not wait for it again: a thousand times the limit would be 30 s.
    let begun = Instant::now();
    for _ in 0..1_000 {
        text(&registry, Format::Text004);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(failures(&registry, "stuck_current", "timeout"), Some(1_002.0));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let deadline = Instant::now() + Duration::from_secs(30);
    while value(&registry, "jobs_stuck_current") != Some(1.0) {
        assert!(Instant::now() < deadline, "it comes back once it answers");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn scrapes_at_the_same_time_share_a_run() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    let (inside, clash) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (now, seen) = (Arc::clone(&inside), Arc::clone(&clash));
    m.rows.read_with(move || {
        if now.fetch_add(1, Ordering::SeqCst) > 0 {
            seen.store(true, Ordering::SeqCst);
        }
        std::thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        Ok::<_, String>(4.0)
    });
    let all = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                all.wait();
                for _ in 0..50 {
                    assert_eq!(value(&registry, "jobs_rows"), Some(4.0));
                }
            });
        }
    });
    assert!(!clash.load(Ordering::SeqCst));
}

/// The thread of a callback ends with its metric.
#[test]
fn a_callback_is_dropped_with_its_metric() {
    let registry = Registry::new();
    let m = Jobs::register(&registry).unwrap();
    let held = Arc::new(());
    let captured = Arc::clone(&held);
    m.rows.read_with(move || {
        let _held = &captured;
        Ok::<_, String>(1.0)
    });
    assert_eq!(value(&registry, "jobs_rows"), Some(1.0));
    drop((m, registry));
    let deadline = Instant::now() + Duration::from_secs(30);
    while Arc::strong_count(&held) > 1 {
        assert!(Instant::now() < deadline, "the callback is still there");
        std::thread::yield_now();
    }
}
