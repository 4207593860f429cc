//! How long a simulated day takes: the whole platform on virtual time, in one thread.
//!
//! ```text
//! cargo run --release -p tradewatch-platforms --example day -- [--hours 24] [--seed 7]
//! ```

#![allow(clippy::disallowed_methods)] // It measures the machine's time, not the platform's.

use anyhow::{Context, bail};
use std::time::{Duration, Instant};
use tradewatch_platforms::trading_platform::{ServiceName, sim};

fn main() -> anyhow::Result<()> {
    let (mut hours, mut seed) = (24_u64, 7_u64);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().with_context(|| format!("{arg} needs a number"))?.parse().context(arg.clone());
        match arg.as_str() {
            "--hours" => hours = number()?,
            "--seed" => seed = number()?,
            other => bail!("unknown argument `{other}`: --hours N, --seed N"),
        }
    }
    let begin = Instant::now();
    let duration = Duration::from_secs(hours * 3_600);
    let mut text = Vec::new();
    sim::simulate(&sim::Options::quick(seed), duration, |second| {
        if second.elapsed == duration {
            second.encode(ServiceName::ExecutionGateway, &mut text);
        }
    })?;
    let fills = String::from_utf8(text)?
        .lines()
        .filter(|line| line.starts_with("execution_gateway_fills_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum::<f64>();
    println!(
        "{hours} h simulated: {fills} fills, {:.2} s of CPU, {:.2} s on the wall",
        cpu_seconds()?,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// User and system time of this process. Linux only, as the kernel tells it in `/proc`.
fn cpu_seconds() -> anyhow::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat =
        std::fs::read_to_string("/proc/self/stat").context("the CPU time stands in /proc/self/stat")?;
    // The second field is the program's name in parentheses, which may hold blanks.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_PER_SECOND)
}
