//! What series and threads cost in memory, by an allocator that counts, against what is promised.
//!
//! `cargo xtask budget` runs it; it prints the figures and fails if one is above its promise.

#[path = "../../../src/memory.rs"]
mod memory;

use std::process::ExitCode;
use std::thread;

use tradewatch_metrics::*;

open_label!(struct Listed("symbol"), budget = 5_000);

#[derive(Label, Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

#[derive(Metrics, Clone)]
struct Counters {
    /// Orders.
    orders_total: Counter<(Listed, Side)>,
}

#[derive(Metrics, Clone)]
struct Histograms {
    /// Latency.
    #[buckets(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)]
    latency_seconds: Histogram<(Listed, Side)>,
}

#[derive(Metrics, Clone)]
struct Natives {
    /// Latency.
    #[native(schema = 3)]
    latency_seconds: NativeHistogram<(Listed, Side)>,
}

#[derive(Metrics, Clone)]
struct Short {
    /// Jobs.
    jobs_total: Counter,
    /// Latency.
    #[buckets(0.1, 1.0)]
    latency_seconds: Histogram,
    /// Latency, natively.
    native_seconds: NativeHistogram,
}

const SERIES: usize = 10_000;
/// Chunks of 4,096 cells are taken whole: the first and the last of a family are another's too.
const CHUNKS: f64 = 2.0 * 32_768.0;
/// A chunk of a slab. Slabs live as long as the process: at most three a core, that of the orphans and the retired one.
/// Ten times as many threads leave no more.
const CHUNK: f64 = 8_400.0;
/// The three families of [`Short`] may lie in as many chunks, as one of them may reach into the next.
const SHORT_CHUNKS: f64 = 4.0;

/// Every series once, in this thread.
fn each(mut body: impl FnMut(Listed, Side)) {
    for number in 0..SERIES / 2 {
        let symbol = Listed::intern(&format!("S{number}"));
        [Side::Buy, Side::Sell].into_iter().for_each(|side| body(symbol, side));
    }
}

/// Bytes for each series in the first thread, in a second one, and what stays of the second when it has ended.
fn measure<M: Metrics + Clone + Send + 'static>(touch: fn(&M)) -> [f64; 3] {
    each(|_, _| {}); // Symbols live as long as the process, whoever names them.
    let registry = Registry::new();
    let before = memory::live();
    let m = M::register(&registry).unwrap_or_else(|error| panic!("{error}"));
    touch(&m);
    let first = memory::live() - before;
    let another = || {
        let (m, before) = (m.clone(), memory::live());
        let thread = thread::spawn(move || {
            touch(&m);
            memory::live() - before
        });
        let second = thread.join().unwrap_or_else(|_| panic!("touching does not panic"));
        scrape(&Registry::new()); // The scrape of any registry takes in what ended.
        (second, memory::live() - before)
    };
    another(); // What ended threads counted is kept once for all of them; this makes the place for it.
    let (second, stays) = another();
    [first, second, stays].map(|bytes| bytes / SERIES as f64)
}

fn scrape(registry: &Registry) -> usize {
    let mut body = Vec::new();
    registry.encode(Format::Text004, &mut body);
    body.len()
}

/// Ten thousand threads, eight at a time: what they counted, and what memory is left of them.
fn short_threads() -> f64 {
    const THREADS: usize = 10_000;
    let registry = Registry::new();
    let m = Short::register(&registry).unwrap_or_else(|error| panic!("{error}"));
    let run = |threads: usize| {
        for _ in 0..threads / 8 {
            thread::scope(|scope| {
                (0..8).for_each(|_| {
                    scope.spawn(|| {
                        m.jobs_total.inc();
                        m.latency_seconds.observe(0.5);
                        m.native_seconds.observe(0.5);
                    });
                });
            });
        }
        scrape(&registry);
    };
    run(80);
    let before = memory::live();
    run(THREADS - 80);
    let left = memory::live() - before;
    let mut body = Vec::new();
    registry.encode(Format::Text004, &mut body);
    let text = String::from_utf8(body).unwrap_or_default();
    for line in [
        "jobs_total 10000",
        "latency_seconds_count 10000",
        "latency_seconds_sum 5000",
        "native_seconds_count 10000",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    left
}

fn main() -> ExitCode {
    let mut above = 0;
    let mut print = |what: &str, bytes: f64, promise: f64| {
        let mark = if bytes <= promise { "" } else { "ABOVE" };
        println!("{what:<58} {bytes:>8.1} {promise:>8.1} {mark}");
        above += u32::from(bytes > promise);
    };
    println!("{:<58} {:>8} {:>8}", "bytes", "counted", "promise");
    let rest = CHUNKS / SERIES as f64;
    let [first, second, stays] =
        measure::<Counters>(|m| each(|symbol, side| m.orders_total.at((symbol, side)).inc()));
    print("a counter series, in its first thread", first, 32.0 + 8.0);
    print("in each further thread", second, 8.0 + rest);
    print("when that has ended", stays, 0.1);
    // Thirteen buckets, sum and sequence.
    let [first, second, stays] =
        measure::<Histograms>(|m| each(|symbol, side| m.latency_seconds.at((symbol, side)).observe(0.003)));
    print("a histogram of 12 edges, in its first thread", first, 128.0 + 8.0 * 13.0);
    print("in each further thread", second, 16.0 + 8.0 * 13.0 + rest);
    print("when that has ended", stays, 0.1);
    // One block of eight buckets, zero, sum and sequence.
    let [first, second, stays] =
        measure::<Natives>(|m| each(|symbol, side| m.latency_seconds.at((symbol, side)).observe(0.003)));
    print("a native histogram, values in one block, in its first thread", first, 128.0 + 8.0 * 32.0);
    print("in each further thread", second, 32.0 + 8.0 * 8.0 + rest);
    print("when that has ended", stays, 0.1);
    let cores = thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    print(
        "left of 10,000 threads that ended, all in all",
        short_threads(),
        (3.0 * cores + 2.0) * SHORT_CHUNKS * CHUNK,
    );
    ExitCode::from(u8::from(above > 0))
}
