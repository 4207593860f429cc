//! Every piece of unsafe code of the SDK, from many threads, small enough for valgrind's memcheck.
//!
//! `cargo xtask budget` runs it there: a read of freed or unset memory fails, and so does a wrong sum.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tradewatch_metrics::*;

#[derive(Label, Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

open_label!(struct Symbol("symbol"), budget = 16);

#[derive(Metrics, Clone)]
struct Work {
    /// Jobs.
    jobs_total: Counter<(Symbol, Side)>,
    /// Money.
    fees_total: Counter,
    /// A level.
    level: Gauge<(Side,)>,
    /// A wait.
    #[buckets(0.1, 1.0, 10.0)]
    wait_seconds: Histogram<(Side,)>,
    /// The same, natively.
    #[native(schema = 3)]
    native_seconds: NativeHistogram<(Side,)>,
}

const EACH: usize = 200;

fn work(m: &Work, number: usize) {
    let symbol = Symbol::intern(&format!("a symbol of {} bytes or so {}", 20 + number % 20, number % 20));
    for step in 0..EACH {
        let side = if step % 2 == 0 { Side::Buy } else { Side::Sell };
        m.jobs_total.at((symbol, side)).inc();
        m.fees_total.add(0.5);
        m.level.at((side,)).add(1.0);
        m.wait_seconds.at((side,)).observe(0.5);
        // Ten octaves to either side of zero, and further out the more threads there were.
        let size = ((step % 20) as f64 - 10.0 + (number % 8) as f64).exp2();
        m.native_seconds.at((side,)).observe(if step % 3 == 0 { -size } else { size });
    }
}

/// Moves metrics after the thread gave its cells back.
struct Late(Work);

impl Drop for Late {
    fn drop(&mut self) {
        work(&self.0, 1);
    }
}

thread_local! {
    static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
}

fn jobs(registry: &Registry) -> usize {
    let mut body = Vec::new();
    registry.encode(Format::OpenMetrics1, &mut body);
    let text = String::from_utf8(body).expect("the exposition is UTF-8");
    let counts = text.lines().filter(|line| line.starts_with("jobs_total{"));
    counts.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a count")).sum()
}

fn round(threads: usize) {
    let registry = Registry::new();
    let m = Work::register(&registry).expect("the declarations are right");
    let (done, all) = (AtomicBool::new(false), Barrier::new(threads));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                jobs(&registry);
                let _ = m.native_seconds.at((Side::Buy,)).snapshot();
                thread::yield_now();
            }
        });
        // All alive at once, so that some share cells; then as many again, one after the other.
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (m, all) = (&m, &all);
                scope.spawn(move || {
                    all.wait();
                    work(m, number);
                    LATE.set(Some(Late(m.clone())));
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no worker panics"));
        for number in 0..threads {
            let m = &m;
            scope.spawn(move || work(m, number)).join().expect("no worker panics");
        }
        done.store(true, Ordering::Relaxed);
    });
    // Threads were joined one by one: a scope alone does not wait for destructors of thread-locals.
    assert_eq!(jobs(&registry), threads * EACH * 3);
    let native: u64 = [Side::Buy, Side::Sell]
        .into_iter()
        .map(|side| m.native_seconds.at((side,)).snapshot().expect("nobody is writing").count)
        .sum();
    assert_eq!(native as usize, threads * EACH * 3);
    // Handles outlive what they came from.
    let kept = (
        m.jobs_total.at((Symbol::OVERFLOW, Side::Buy)).into_owned(),
        m.wait_seconds.at((Side::Sell,)).into_owned(),
        m.native_seconds.at((Side::Sell,)).into_owned(),
        m.level.at((Side::Buy,)).into_owned(),
    );
    drop((m, registry));
    thread::spawn(move || {
        let also = kept.clone();
        kept.0.inc();
        kept.1.observe(1.0);
        kept.2.observe(1e-9);
        kept.3.set(1.0);
        drop(kept);
        drop(also.1.start());
    })
    .join()
    .expect("no worker panics");
}

fn main() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, 2 * cores + 3, 3] {
        round(threads);
    }
}
