//! What dashboards and alerts of a trading platform cost: 23 usual queries over made-up series.
//!
//! `cargo run --release -p tradewatch-promql --example queries -- [SERIES] [HOURS] [DIRECTORY]`
//!
//! Each symbol has 100 series (counters, gauges, classic histograms of 12 buckets), scraped every 15 s. With a
//! directory the store is on disk and has cut its blocks. Prints milliseconds of processor time per query: instant, and as a range
//! of 1, 6 and 24 hours (as far as the data goes) at 15 s steps, with the median and the 95th percentile.

use std::sync::Arc;
use std::time::Duration;

use tradewatch_promql::{Engine, EngineOptions, parse};
use tradewatch_tsdb::{Db, FsDir, Labels, Options, SeriesId, Timestamp};

const STEP_MS: i64 = 15_000;
const FROM_MS: i64 = 1_760_000_400_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(default, |a| a.parse().expect("a number"));
    let (series, hours) = (number(10_000), number(1));
    let directory = args.next();
    let now = FROM_MS + hours as i64 * 3_600_000;
    let started = cpu_seconds();
    let db = load(series, now, directory.as_deref());
    println!("{series} series, {hours} h: loaded in {:.1} s", (cpu_seconds() - started));
    let engine = Engine::new(EngineOptions { samples_max: usize::MAX, ..EngineOptions::default() });
    let ranges: Vec<i64> = [0, 1, 6, 24].into_iter().filter(|h| *h <= hours as i64).collect();
    let mut columns = vec![Vec::new(); ranges.len()];
    for (name, text) in QUERIES {
        let expr = parse(text).expect("a valid query");
        print!("{name:34}");
        for (range, column) in ranges.iter().zip(&mut columns) {
            // The clock of a thread is coarse: instant queries are timed in bunches.
            let (rounds, bunch) = if *range == 0 { (5, 20) } else { (3, 1) };
            let mut times: Vec<f64> = (0..rounds)
                .map(|_| {
                    let started = cpu_seconds();
                    let (from, to) = (now - range * 3_600_000, now);
                    let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
                    (0..bunch).for_each(|_| match range {
                        0 => drop(engine.instant(&db, &expr, to).expect("it can be answered")),
                        _ => {
                            let step = Duration::from_millis(STEP_MS as u64);
                            drop(engine.range(&db, &expr, from, to, step).expect("it can be answered"));
                        }
                    });
                    (cpu_seconds() - started) * 1000.0 / f64::from(bunch)
                })
                .collect();
            times.sort_by(f64::total_cmp);
            print!(" {:9.3}", times[rounds / 2]);
            column.push(times[rounds / 2]);
        }
        println!();
    }
    for (what, part) in [("median", 0.5), ("95th percentile", 0.95)] {
        print!("{what:34}");
        for column in &mut columns {
            column.sort_by(f64::total_cmp);
            print!(" {:9.3}", column[((column.len() - 1) as f64 * part).round() as usize]);
        }
        println!();
    }
}

/// Seconds of processor time of this thread: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos: f64 = text.split(' ').next().expect("three numbers").parse().expect("a number");
    nanos / 1e9
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

#[derive(Copy, Clone)]
enum Kind {
    Counter(u64),
    Gauge,
    Now,
    Constant,
}

fn load(count: usize, now: i64, directory: Option<&str>) -> Db {
    let db = match directory {
        None => Db::in_memory(),
        Some(path) => {
            let dir = FsDir::new(path).expect("a directory");
            Db::open(Arc::new(dir), Options::default()).expect("it opens").0
        }
    };
    let labels = labels(count);
    let mut appender = db.appender();
    let ids: Vec<SeriesId> = labels.iter().map(|(labels, _)| appender.series(labels)).collect();
    let mut random = Random(7);
    let mut values: Vec<f64> = labels
        .iter()
        .map(|(_, kind)| if let Kind::Gauge = kind { random.below(10_000) as f64 / 100.0 } else { 0.0 })
        .collect();
    let mut ts = FROM_MS;
    while ts <= now {
        for (at, (_, kind)) in labels.iter().enumerate() {
            match kind {
                Kind::Counter(most) => values[at] += random.below(*most) as f64,
                Kind::Gauge => {
                    values[at] = ((values[at] * 100.0).round() + random.below(201) as f64 - 100.0) / 100.0
                }
                Kind::Now => values[at] = (ts - 250) as f64 / 1000.0,
                Kind::Constant => values[at] = 1.0,
            }
            appender.append(ids[at], Timestamp::from_millis(ts), values[at]).expect("in order");
        }
        std::mem::replace(&mut appender, db.appender()).commit().expect("the disk works");
        ts += STEP_MS;
        if ts % 3_600_000 == 0 {
            db.compact(Timestamp::from_millis(ts)).expect("the disk works");
        }
    }
    db
}

fn labels(count: usize) -> Vec<(Labels, Kind)> {
    let mut all = Vec::new();
    let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2", "5", "10", "+Inf"];
    let (venues, sides) = (["XNAS", "ARCX"], ["buy", "sell"]);
    for symbol in 0..count.div_ceil(100) {
        let (name, instance) = (format!("S{symbol:05}"), format!("gw-{}", symbol % 10));
        let mut add = |metric: &str, more: &[(&str, &str)], kind: Kind| {
            let common = [("instance", instance.as_str()), ("job", "trading"), ("symbol", name.as_str())];
            let pairs = [("__name__", metric)].into_iter().chain(common).chain(more.iter().copied());
            all.push((Labels::from_pairs(pairs), kind));
        };
        for venue in venues {
            for side in sides {
                let place = [("venue", venue), ("side", side)];
                for status in ["accepted", "filled", "cancelled", "rejected"] {
                    let more = [place[0], place[1], ("status", status)];
                    let most = if status == "rejected" { 2 } else { 9 };
                    add("execution_gateway_orders_total", &more, Kind::Counter(most));
                }
                let duration = "execution_gateway_order_placement_duration_seconds";
                for (at, le) in bounds.iter().enumerate() {
                    let more = [place[0], place[1], ("le", le)];
                    add(&format!("{duration}_bucket"), &more, Kind::Counter(at as u64 + 1));
                }
                add(&format!("{duration}_sum"), &place, Kind::Counter(5));
                add(&format!("{duration}_count"), &place, Kind::Counter(12));
                add("execution_gateway_slippage_bps", &place, Kind::Gauge);
            }
            let venue = [("venue", venue)];
            add("market_data_websocket_messages_received_total", &venue, Kind::Counter(350));
            add("market_data_last_tick_timestamp_seconds", &venue, Kind::Now);
            add("market_data_spread_bps", &venue, Kind::Gauge);
        }
        for reason in ["risk", "margin", "halt", "price", "size", "dup"] {
            add("execution_gateway_rejections_total", &[("reason", reason)], Kind::Counter(2));
        }
        for strategy in ["ofi", "mom", "ern"] {
            let strategy = ("strategy", strategy);
            for side in sides {
                let more = [strategy, ("side", side)];
                add("signal_service_signals_generated_total", &more, Kind::Counter(9));
            }
            add("execution_gateway_positions_current", &[strategy], Kind::Gauge);
            add("strategy_pnl_total_usd", &[strategy], Kind::Gauge);
        }
    }
    all.truncate(count);
    for instance in 0..10 {
        for name in [
            "execution_gateway_database_connection_status",
            "market_data_websocket_connection_status",
            "signal_service_model_loaded_status",
        ] {
            let instance = format!("gw-{instance}");
            let pairs = [("__name__", name), ("job", "trading"), ("instance", instance.as_str())];
            all.push((Labels::from_pairs(pairs), Kind::Constant));
        }
    }
    all
}

const QUERIES: [(&str, &str); 23] = [
    ("orders_by_side_status", "sum by (side,status) (rate(execution_gateway_orders_total[1m]))"),
    ("orders_by_symbol", "sum by (symbol) (rate(execution_gateway_orders_total[5m]))"),
    (
        "p95_latency",
        "histogram_quantile(0.95, sum by (le) (rate(execution_gateway_order_placement_duration_seconds_bucket[5m])))",
    ),
    (
        "p99_latency_by_venue",
        "histogram_quantile(0.99, sum by (le,venue) (rate(execution_gateway_order_placement_duration_seconds_bucket[5m])))",
    ),
    (
        "p50_latency_by_symbol",
        "histogram_quantile(0.5, sum by (le,symbol) (rate(execution_gateway_order_placement_duration_seconds_bucket[5m])))",
    ),
    ("topk_rejecting", "topk(10, sum by (symbol) (rate(execution_gateway_rejections_total[5m])))"),
    ("orders_last_hour", "sum(increase(execution_gateway_orders_total[1h]))"),
    (
        "reject_ratio",
        "sum(rate(execution_gateway_orders_total{status=\"rejected\"}[5m])) / sum(rate(execution_gateway_orders_total[5m]))",
    ),
    (
        "reject_ratio_by_venue",
        "sum by (venue) (rate(execution_gateway_orders_total{status=\"rejected\"}[5m])) / sum by (venue) (rate(execution_gateway_orders_total[5m])) > 0.2",
    ),
    ("ws_rate_one_symbol", "rate(market_data_websocket_messages_received_total{symbol=\"S00003\"}[1m])"),
    ("ws_flaps", "changes(market_data_websocket_connection_status[5m]) > 5"),
    ("absent", "absent(signal_service_model_loaded_status{instance=\"gw-99\"})"),
    ("max_spread", "max by (symbol) (max_over_time(market_data_spread_bps[15m]))"),
    ("staleness", "time() - max by (venue) (market_data_last_tick_timestamp_seconds)"),
    ("pnl_by_strategy", "sum by (strategy) (strategy_pnl_total_usd)"),
    ("pnl_one_symbol", "strategy_pnl_total_usd{symbol=\"S00001\"}"),
    ("pnl_delta_1h", "sum by (strategy) (delta(strategy_pnl_total_usd[1h]))"),
    ("slippage", "avg by (venue) (avg_over_time(execution_gateway_slippage_bps{side=\"buy\"}[5m]))"),
    (
        "mean_latency",
        "sum by (symbol) (rate(execution_gateway_order_placement_duration_seconds_sum[5m])) / sum by (symbol) (rate(execution_gateway_order_placement_duration_seconds_count[5m]))",
    ),
    ("db_down", "execution_gateway_database_connection_status == 0"),
    ("position_limit", "abs(sum by (symbol) (execution_gateway_positions_current)) > 800"),
    ("drawdown", "max by (strategy) (max_over_time(strategy_pnl_total_usd[1h]) - strategy_pnl_total_usd)"),
    ("no_orders", "sum by (instance) (increase(execution_gateway_orders_total[5m])) == 0"),
];
