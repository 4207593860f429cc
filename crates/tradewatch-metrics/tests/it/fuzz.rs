//! Bodies cut, spliced and mangled from our own: whatever comes, the parsers end, and none panics.
//!
//! Seeded: `TRADEWATCH_FUZZ_ROUNDS` sets how many bodies (1,500 by default), `TRADEWATCH_FUZZ_SEED` where they begin.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tradewatch_metrics::parse::{self, Value};
use tradewatch_metrics::*;

use crate::fixture::*;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// One body in each format, of metrics that were moved.
fn bodies(random: &mut Random) -> Vec<Vec<u8>> {
    let registry = Registry::new();
    let m = GatewayMetrics::register(&registry).unwrap();
    for _ in 0..random.below(20) {
        let size = random.below(10_000) as f64 / 1_000.0;
        let side = [Side::Buy, Side::Sell][random.below(2)];
        let exemplar = Exemplar::trace(u128::from(random.next()));
        m.orders_total.at((Symbol::OVERFLOW, side, OrderStatus::Failed)).inc_with_exemplar(1, &exemplar);
        m.order_placement_duration_seconds.at((side,)).observe_with_exemplar(size, &exemplar);
        m.drift_seconds.observe(if random.below(3) == 0 { -size } else { size });
        m.pnl_dollars.set([size, f64::NAN, f64::NEG_INFINITY][random.below(3)]);
        m.model_info.set(["v1", "a\"\\\nb"]);
    }
    let encode = |format| {
        let mut body = Vec::new();
        registry.encode(format, &mut body);
        body
    };
    Format::ALL.into_iter().map(encode).collect()
}

const PIECES: &[&[u8]] = &[
    b"# HELP ",
    b"# TYPE ",
    b"# UNIT ",
    b"# EOF\n",
    b" # {",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\n",
    b"\r\n",
    b"=",
    b",",
    b" ",
    b"+Inf",
    b"NaN",
    b"1e999",
    b"-0",
    b"0x1p3",
    b"_bucket",
    b"_total",
    b"_created",
    b"le=\"",
    b"quantile=\"",
    b"\xff\xfe",
    b"\xe2\x82",
    b"\0",
    b"999999999999999999999999",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80",
];

fn mangle(body: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..1 + random.below(6) {
        let at = random.below(body.len());
        let end = (at + random.below(40)).min(body.len());
        match random.below(7) {
            0 if at < body.len() => body[at] ^= 1 << random.below(8),
            1 => drop(body.drain(at..end)),
            2 => {
                let part = body[at..end].to_vec();
                body.splice(at..at, part);
            }
            3 => {
                let from = random.below(other.len());
                let to = (from + random.below(200)).min(other.len());
                body.splice(at..at, other[from..to].iter().copied());
            }
            4 => body.truncate(at),
            _ => {
                body.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied());
            }
        }
    }
}

/// Reads to the end, or fails if there is none.
fn read_text(mut parser: parse::Parser<'_>, body: &[u8], series: &str) {
    for step in 0.. {
        // Each entry takes a byte at least.
        assert!(step <= body.len() + 1, "the parser does not end");
        if step % 7 == 3 && parser.next_if_series(series).is_some() {
            continue;
        }
        match parser.next() {
            None | Some(Err(_)) => break,
            Some(Ok(_)) => {}
        }
    }
}

fn read_protobuf(body: &[u8]) {
    for (step, family) in parse::protobuf(body).enumerate() {
        assert!(step <= body.len() + 1, "the parser does not end");
        let Ok(family) = family else { break };
        for metric in family.metrics() {
            let Ok(metric) = metric else { break };
            if let Value::Histogram(histogram) = &metric.value {
                std::hint::black_box(histogram);
            }
        }
    }
}

fn read_all(body: &[u8]) {
    let series =
        "gateway_orders_total{symbol=\"__overflow__\",side=\"buy\",status=\"failed \\\"hard\\\"\\\\\\n\"}";
    read_text(parse::text(body), body, series);
    read_text(parse::openmetrics(body), body, series);
    read_text(parse::openmetrics_lenient(body), body, series);
    read_protobuf(body);
}

#[test]
fn no_body_makes_a_parser_panic_or_run_for_ever() {
    let seed = setting("TRADEWATCH_FUZZ_SEED", 4711);
    for round in 0..setting("TRADEWATCH_FUZZ_ROUNDS", 1_500) {
        let mut random = Random((seed + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bodies = bodies(&mut random);
        // As they are, they read without an error.
        for (body, format) in bodies.iter().zip(Format::ALL) {
            if round % 16 == 0 {
                check_good(body, format);
            }
        }
        let other = bodies[random.below(bodies.len())].clone();
        let chosen = random.below(bodies.len());
        let body = &mut bodies[chosen];
        mangle(body, &other, &mut random);
        let read = catch_unwind(AssertUnwindSafe(|| read_all(body)));
        assert!(
            read.is_ok(),
            "TRADEWATCH_FUZZ_SEED={} TRADEWATCH_FUZZ_ROUNDS=1: {:?}",
            seed + round,
            String::from_utf8_lossy(body)
        );
    }
}

fn check_good(body: &[u8], format: Format) {
    let mut parser = match format {
        Format::Text004 => parse::text(body),
        Format::OpenMetrics1 => parse::openmetrics_lenient(body),
        Format::Protobuf => {
            for family in parse::protobuf(body) {
                family
                    .expect("our families read")
                    .metrics()
                    .for_each(|metric| drop(metric.expect("our metrics read")));
            }
            return;
        }
    };
    while let Some(entry) = parser.next() {
        if let Err(error) = entry {
            panic!("{error}\n{}", String::from_utf8_lossy(body));
        }
    }
}
