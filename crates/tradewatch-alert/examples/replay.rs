//! How fast rules are replayed: `cargo run --release -p tradewatch-alert --example replay -- SERIES DAYS`.
//!
//! Samples each minute of SERIES series, half of them counters, are made chunk by chunk; 20 groups of three alerts and a
//! recording rule read all of them. The time to make the samples is told apart from the time to replay.
#![allow(clippy::disallowed_methods)] // It measures.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tradewatch_alert::replay::{Follow, History, Need, Options, Task, replay};
use tradewatch_alert::rules::RuleFile;
use tradewatch_tsdb::{Db, Labels, Timestamp};

const STEP_MS: i64 = 60_000;
const GROUPS: usize = 20;

struct Made {
    series: usize,
    spent: Duration,
    spent_cpu: f64,
}

/// Seconds that this process had a processor, all threads together.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

impl History for Made {
    fn window(&mut self, _: &[Need], from: Timestamp, to: Timestamp) -> Result<Db, String> {
        let (begin, begin_cpu) = (Instant::now(), cpu());
        let db = Db::in_memory();
        let first = (from - Duration::from_secs(900)).as_millis().div_euclid(STEP_MS);
        let last = to.as_millis().div_euclid(STEP_MS);
        for series in 0..self.series {
            let mut appender = db.appender();
            let is_counter = series % 2 == 0;
            let name = if is_counter { "requests_total" } else { "load" };
            let (service, instance) = (format!("s{:02}", series % GROUPS), (series / GROUPS).to_string());
            let labels = [("__name__", name), ("service", &service), ("instance", &instance)];
            let id = appender.series(&Labels::from_pairs(labels));
            let mut random = (series as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ first.unsigned_abs();
            for step in first..=last {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let noise = (random >> 40) as f64 / (1u64 << 24) as f64;
                let value = if is_counter { (step * 60) as f64 + (noise * 50.0).floor() } else { noise };
                appender
                    .append(id, Timestamp::from_millis(step * STEP_MS), value)
                    .map_err(|e| e.to_string())?;
            }
            appender.commit().map_err(|error| error.to_string())?;
        }
        self.spent += begin.elapsed();
        self.spent_cpu += cpu() - begin_cpu;
        Ok(db)
    }
}

struct Threads(Instant);

impl Follow for Threads {
    fn progress(&mut self, from: Timestamp, done: Timestamp, to: Timestamp) -> ControlFlow<()> {
        let (done, all) =
            (done.since(from).as_secs_f64() / 86_400.0, to.since(from).as_secs_f64() / 86_400.0);
        eprint!("\r{done:.0} of {all:.0} days, {:.0} s ", self.0.elapsed().as_secs_f64());
        ControlFlow::Continue(())
    }

    fn run(&mut self, tasks: Vec<Task<'_>>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let queue = std::sync::Mutex::new(tasks.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("no panic").next();
                        let Some(task) = next else { break };
                        task();
                    }
                });
            }
        });
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>().expect("a number"));
    let (series, days) = (args.next().unwrap_or(1_000), args.next().unwrap_or(2));
    let mut rules = String::from("groups:\n");
    for group in 0..GROUPS {
        let of = format!("service=\"s{group:02}\"");
        rules += &format!(
            "- name: g{group}\n  interval: 60s\n  rules:\n  \
             - {{record: 'service:load:avg', expr: 'avg by (service) (load{{{of}}})'}}\n  \
             - {{alert: Slow, expr: 'rate(requests_total{{{of}}}[5m]) < 0.2', for: 5m}}\n  \
             - {{alert: Busy, expr: 'load{{{of}}} > 0.9999', for: 0s}}\n  \
             - {{alert: Average, expr: 'service:load:avg{{{of}}} > 0.6', for: 10m}}\n"
        );
    }
    let (file, errors) = RuleFile::parse("rules.yml", &rules);
    assert!(errors.is_empty(), "{errors:?}");
    let from = Timestamp::from_millis(1_735_689_600_000);
    let options = Options::new(from, from + Duration::from_secs(86_400 * days as u64));
    let mut made = Made { series, spent: Duration::ZERO, spent_cpu: 0.0 };
    let begin = Instant::now();
    let report = replay(&[file], &mut made, &options, &mut Threads(begin)).expect("replays");
    let took = begin.elapsed() - made.spent;
    let fired = report.episodes.iter().filter(|episode| episode.fired_at.is_some()).count();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").to_owned();
    println!(
        "\n{series} series, {days} days at 60 s: replayed in {:.1} s, {:.1} s of processor time ({:.1} M samples read, {:.1} M/s); making them took {:.1} s, \
         {:.1} s of processor time; {} evaluations, {fired} alerts fired, {} notifications; {peak}",
        took.as_secs_f64(),
        cpu() - made.spent_cpu,
        report.samples_read as f64 / 1e6,
        report.samples_read as f64 / 1e6 / took.as_secs_f64(),
        made.spent.as_secs_f64(),
        made.spent_cpu,
        report.rules.iter().map(|rule| rule.evaluations).sum::<u64>(),
        report.notices.len()
    );
}
