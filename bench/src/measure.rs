//! Measuring: many short samples, interleaved over the variants, CPU time of the thread, medians.
//!
//! CPU time and not wall time, so that other processes on the machine do not count; interleaved, so that a
//! noisy second hits all variants alike. Ratios between variants of one run are what to trust.

use std::sync::{Arc, Barrier};

/// Something measured: runs its operation `n` times on the calling thread.
pub type Op = Arc<dyn Fn(u64) + Send + Sync>;

/// One variant of one operation.
pub struct Variant {
    pub library: &'static str,
    pub op: Op,
}

/// Nanoseconds an operation, median over the rounds, on one thread and on each of two at once.
#[derive(Clone, Copy)]
pub struct Cost {
    pub one: f64,
    pub two: f64,
}

const SAMPLE_NS: f64 = 2_000_000.0;

/// Nanoseconds of CPU that this thread has used.
pub fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which is all the call writes to.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(code, 0, "the thread clock exists on Linux");
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn sample(op: &Op, n: u64) -> f64 {
    let start = thread_cpu_ns();
    op(n);
    (thread_cpu_ns() - start) / n as f64
}

/// Iterations that take about one sample's time.
fn calibrate(op: &Op) -> u64 {
    let mut n = 64;
    loop {
        let cost = sample(op, n) * n as f64;
        if cost > SAMPLE_NS / 8.0 || n >= 1 << 24 {
            return ((n as f64 * SAMPLE_NS / cost.max(1.0)) as u64).clamp(1, 1 << 26);
        }
        n *= 4;
    }
}

/// Measures all variants of an operation beside each other.
pub fn measure(variants: &[Variant], rounds: usize) -> Vec<Cost> {
    let counts: Vec<u64> = variants.iter().map(|variant| calibrate(&variant.op)).collect();
    let mut ones = vec![Vec::new(); variants.len()];
    let mut twos = vec![Vec::new(); variants.len()];
    for _ in 0..rounds {
        for (at, variant) in variants.iter().enumerate() {
            ones[at].push(sample(&variant.op, counts[at]));
        }
        for (at, variant) in variants.iter().enumerate() {
            twos[at].push(together(&variant.op, counts[at]));
        }
    }
    ones.into_iter().zip(twos).map(|(one, two)| Cost { one: median(one), two: median(two) }).collect()
}

/// The mean cost on two threads that run at once.
fn together(op: &Op, n: u64) -> f64 {
    let barrier = Barrier::new(2);
    let run = || {
        barrier.wait();
        sample(op, n)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let own = run();
        (own + other.join().expect("the operation does not panic")) / 2.0
    })
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
