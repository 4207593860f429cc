//! The same inputs for every library: 64 symbols, 2 sides, 4 statuses, log-uniform latencies.

use std::sync::OnceLock;

pub const MASK: usize = 4095;
pub const SIDES: [&str; 2] = ["buy", "sell"];
pub const STATUSES: [&str; 4] = ["new", "filled", "rejected", "failed"];
/// Twelve edges, as a latency histogram has them.
pub const EDGES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// One call in this many is timed by a sampled timer.
pub const STRIDE: u32 = 64;
/// Symbols of the encoding benchmark, times two sides, times eight strategies.
pub const ENCODE_SYMBOLS: usize = 6_250;
pub const ENCODE_STRATEGIES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
/// Histograms of the encoding benchmark: symbols times two sides.
pub const ENCODE_HISTOGRAM_SYMBOLS: usize = 5_000;

#[derive(Clone, Copy)]
pub struct Event {
    pub symbol: usize,
    pub side: usize,
    pub status: usize,
    pub latency: f64,
}

pub fn symbols() -> &'static [&'static str] {
    static SYMBOLS: OnceLock<Vec<&'static str>> = OnceLock::new();
    SYMBOLS.get_or_init(|| (0..64).map(|n| &*format!("SYM{n:02}").leak()).collect())
}

/// Symbols of the encoding benchmark.
pub fn many_symbols() -> &'static [&'static str] {
    static SYMBOLS: OnceLock<Vec<&'static str>> = OnceLock::new();
    SYMBOLS.get_or_init(|| (0..ENCODE_SYMBOLS).map(|n| &*format!("SYMBOL{n:05}").leak()).collect())
}

pub fn events() -> &'static [Event; MASK + 1] {
    static EVENTS: OnceLock<[Event; MASK + 1]> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let mut state = 4711u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        std::array::from_fn(|_| Event {
            symbol: random() % 64,
            side: random() % 2,
            status: random() % 4,
            latency: 10f64.powf(-4.0 + 5.0 * (random() % 100_000) as f64 / 100_000.0),
        })
    })
}
