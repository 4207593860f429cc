//! Timers and call guards: recorded once, however it ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tradewatch_metrics::*;

use crate::fixture::*;

const COUNT: &str = "gateway_run_duration_seconds_count";
const SUM: &str = "gateway_run_duration_seconds_sum";

/// A registry on virtual time, and the hand that moves it.
fn virtual_time() -> (Registry, GatewayMetrics, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_000));
    let read = Arc::clone(&now);
    let registry = Registry::with_clock(move || Duration::from_millis(read.load(Ordering::Relaxed)));
    let m = GatewayMetrics::register(&registry).unwrap();
    (registry, m, now)
}

#[test]
fn a_timer_records_by_the_registry_clock() {
    let (registry, m, now) = virtual_time();
    let timing = m.run_duration_seconds.start();
    now.fetch_add(1_500, Ordering::Relaxed);
    assert_eq!(timing.stop(), Duration::from_millis(1_500));
    assert_eq!((value(&registry, COUNT), value(&registry, SUM)), (Some(1.0), Some(1.5)));
}

#[test]
fn a_dropped_timer_records_and_a_discarded_one_does_not() {
    let (registry, m, _) = virtual_time();
    drop(m.run_duration_seconds.start());
    m.run_duration_seconds.start().discard();
    assert_eq!(value(&registry, COUNT), Some(1.0));
}

#[test]
fn a_clock_that_goes_back_reads_as_no_time() {
    let (registry, m, now) = virtual_time();
    let timing = m.run_duration_seconds.start();
    now.store(10, Ordering::Relaxed);
    assert_eq!(timing.stop(), Duration::ZERO);
    assert_eq!((value(&registry, COUNT), value(&registry, SUM)), (Some(1.0), Some(0.0)));
}

/// Runs `body` with a guard and returns the outcomes recorded.
fn outcomes(body: impl FnOnce(&dyn Fn(Outcome), &GatewayMetrics)) -> (Vec<Outcome>, Option<f64>) {
    let (registry, m, _) = virtual_time();
    let seen = Mutex::new(Vec::new());
    body(&|outcome| seen.lock().unwrap().push(outcome), &m);
    (seen.into_inner().unwrap(), value(&registry, COUNT))
}

#[test]
fn calls_record_success_and_error() {
    let seen = outcomes(|record, m| {
        Call::start(&m.run_duration_seconds, record).success();
        Call::start(&m.run_duration_seconds, record).error();
        Call::start(&m.run_duration_seconds, record).finish(Outcome::of(&Err::<(), ()>(())));
    });
    assert_eq!(seen, (vec![Outcome::Success, Outcome::Error, Outcome::Error], Some(3.0)));
}

#[test]
fn calls_record_a_panic() {
    let seen = outcomes(|record, m| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _call = Call::start(&m.run_duration_seconds, record);
            panic!("the broker's answer was not what we thought");
        }));
        assert!(result.is_err());
    });
    assert_eq!(seen, (vec![Outcome::Panicked], Some(1.0)));
}

#[test]
fn calls_record_a_cancelled_future() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    let seen = outcomes(|record, m| {
        let mut future = Box::pin(async {
            let call = Call::start(&m.run_duration_seconds, record);
            std::future::pending::<()>().await;
            call.success();
        });
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(future.as_mut().poll(&mut context), Poll::Pending);
        drop(future);
    });
    assert_eq!(seen, (vec![Outcome::Cancelled], Some(1.0)));
}

#[test]
fn tracking_lowers_the_gauge_again_also_on_panic() {
    let (registry, m, _) = virtual_time();
    let series = "gateway_pnl_dollars";
    let first = m.pnl_dollars.track().into_owned();
    assert_eq!(value(&registry, series), Some(1.0));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _second = m.pnl_dollars.track();
        assert_eq!(value(&registry, series), Some(2.0));
        panic!("in flight");
    }));
    assert!(result.is_err());
    assert_eq!(value(&registry, series), Some(1.0));
    drop(first);
    assert_eq!(value(&registry, series), Some(0.0));
}

#[derive(Metrics)]
struct Sampling {
    /// Calls.
    calls_total: Counter,
    /// Time of some calls.
    #[buckets(1.0)]
    call_duration_seconds: Histogram,
}

#[test]
fn a_sampled_timer_counts_every_call_and_times_its_share() {
    for stride in [0, 1, 3, 64, 1_000] {
        let registry = Registry::new();
        let m = Sampling::register(&registry).unwrap();
        let timer = SampledTimer::new(m.calls_total.at(()), m.call_duration_seconds.at(()), stride);
        // Calls of two kinds in turns: each kind is timed, whatever the stride.
        let mut timed = [0u32; 2];
        for call in 0..100_000 {
            timed[call % 2] += u32::from(timer.start().stop().is_some());
        }
        timer.start().discard();
        let share = 50_000 / stride.max(1);
        let even = timed.iter().all(|timed| timed.abs_diff(share) <= 5);
        assert!(even, "{stride}: {timed:?}");
        assert_eq!(value(&registry, "calls_total"), Some(100_001.0));
        let shown = value(&registry, "call_duration_seconds_count");
        assert_eq!(shown, Some(f64::from(timed[0] + timed[1])));
    }
}
