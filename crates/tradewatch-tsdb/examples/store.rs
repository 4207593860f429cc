//! What the store costs: memory for each active series, bytes on disk for each sample, and the time until all of it
//! can be asked for after a kill.
//!
//! `cargo run --release -p tradewatch-tsdb --example store -- [SERIES] [SAMPLES] [STEP_MS] [DIRECTORY]`
//!
//! Each series gets so many samples, a step apart: counters, gauges of two decimals and constants, ten label pairs
//! to each name. The process then dies without closing the store (SIGKILL to itself in a child), and the parent
//! opens it. By default 100,000 series with 90 samples, one a second.

use std::process::Command;
use std::sync::Arc;

use tradewatch_tsdb::{Db, FsDir, Labels, Matcher, Options, SeriesId, Timestamp};

const FROM_MS: i64 = 1_760_000_400_000;
const CHILD: &str = "TRADEWATCH_STORE_CHILD";

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: i64| args.next().map_or(default, |a| a.parse().expect("a number"));
    let (series, samples, step) = (number(100_000) as usize, number(90), number(1000));
    let directory = args.next().unwrap_or_else(|| "store-example".to_owned());
    if std::env::var(CHILD).is_ok() {
        write(series, samples, step, &directory);
        // No destructor runs, no buffer is flushed: what is on disk is what a kill leaves.
        std::process::abort();
    }
    let _ = std::fs::remove_dir_all(&directory);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([&series.to_string(), &samples.to_string(), &step.to_string(), &directory])
        .env(CHILD, "1")
        .status();
    assert!(child.is_ok_and(|status| !status.success()), "the child is killed");
    let started = cpu_seconds();
    let db = open(&directory);
    let stats = db.stats();
    println!("ready after {:.3} s of processor time with {} samples", cpu_seconds() - started, stats.samples);
    assert_eq!(stats.samples, series as u64 * samples as u64);
    let last = Timestamp::from_millis(FROM_MS + (samples - 1) * step);
    let newest = db.select_last(&[Matcher::equal("job", "trading")], last, last);
    assert_eq!(newest.len(), series, "the last commit is there");
    println!("{:.1} MiB resident then", resident());
}

fn open(directory: &str) -> Db {
    let dir = FsDir::new(directory).expect("a directory");
    let (db, recovery) = Db::open(Arc::new(dir), Options::default()).expect("it opens");
    assert_eq!(recovery.damage, []);
    db
}

fn write(series: usize, samples: i64, step: i64, directory: &str) {
    let before = resident();
    let db = open(directory);
    let mut ids: Vec<SeriesId> = Vec::with_capacity(series);
    let mut appender = db.appender();
    for n in 0..series {
        let (symbol, venue) = (format!("S{:05}", n / 100), ["XNAS", "ARCX"][n % 2]);
        let (status, le) = (["accepted", "filled", "rejected"][n % 3], format!("{}", n % 100));
        let instance = format!("gw-{}", n / 10_000);
        ids.push(appender.series(&Labels::from_pairs([
            ("__name__", "execution_gateway_order_placement_duration_seconds_bucket"),
            ("instance", &instance),
            ("job", "trading"),
            ("le", &le),
            ("side", "buy"),
            ("status", status),
            ("symbol", &symbol),
            ("venue", venue),
        ])));
    }
    let mut seed = 7u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut values = vec![100.0f64; series];
    let (mut spent, mut compacted) = (0.0, 0.0);
    for at in 0..samples {
        let ts = Timestamp::from_millis(FROM_MS + at * step);
        // Ten targets, each a commit of its own.
        for part in ids.chunks(series.div_ceil(10)).zip(values.chunks_mut(series.div_ceil(10))) {
            for (n, value) in part.1.iter_mut().enumerate() {
                match n % 10 {
                    0 => {}
                    1..=7 => *value += random(9) as f64,
                    _ => *value = ((*value * 100.0).round() + random(201) as f64 - 100.0) / 100.0,
                }
            }
            let started = cpu_seconds();
            let mut refused = Vec::new();
            let appender = std::mem::replace(&mut appender, db.appender());
            appender.commit_row(ts, part.0, part.1, &mut refused).expect("the disk works");
            assert!(refused.is_empty());
            spent += cpu_seconds() - started;
        }
        if at == 35 || at == samples - 1 {
            let kib = (resident() - before) * 1024.0;
            let of_store = db.stats().memory_bytes as f64 / 1024.0;
            println!(
                "{} samples each: {:.2} KiB resident for each series, {:.2} of it counted",
                at + 1,
                kib / series as f64,
                of_store / series as f64
            );
        }
        if at * step % 60_000 == 59_000 {
            let started = cpu_seconds();
            db.compact(ts).expect("the disk works");
            compacted += cpu_seconds() - started;
        }
    }
    let total = series as f64 * samples as f64 / 1e6;
    println!(
        "{:.3} s of processor time for each million samples, {:.3} more for blocks",
        spent / total,
        compacted / total
    );
    let stats = db.stats();
    let wal = stats.wal.expect("it has a disk");
    println!(
        "on disk: {} blocks of {:.1} MB, log of {:.1} MB, checkpoint of {:.1} MB",
        stats.blocks.count,
        stats.blocks.bytes as f64 / 1e6,
        wal.bytes as f64 / 1e6,
        wal.checkpoint_bytes as f64 / 1e6
    );
}

/// Seconds of processor time of this thread: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos: f64 = text.split(' ').next().expect("three numbers").parse().expect("a number");
    nanos / 1e9
}

/// Resident memory in MiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split(' ').nth(1).expect("two numbers").parse().expect("a number");
    pages * 4096.0 / 1048576.0
}
