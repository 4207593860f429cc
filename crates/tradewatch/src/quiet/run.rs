//! One stretch without an incident: whoever is told something then is told it for nothing.

use super::plan::{Happening, Stretch};
use crate::drill::{Files, Pipeline};
use anyhow::Result;
use std::time::Duration;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::trading_platform::{ServiceName, sim};
use tradewatch_tsdb::Timestamp;

/// When a maintenance begins in its stretch, after the platform has settled, in seconds.
const MAINTENANCE_AT: u64 = 150;
/// How long its silence lasts.
const SILENCE: Duration = Duration::from_secs(600);
/// Seconds from one service's restart to the next, and from its end to its start.
const RESTART_EVERY: u64 = 60;
const RESTART_TAKES: u64 = 5;

/// What is restarted in a maintenance. Broker and feed belong to others, who would tell of theirs.
const RESTARTED: [ServiceName; 5] = [
    ServiceName::PriceCache,
    ServiceName::MarketDataService,
    ServiceName::SignalService,
    ServiceName::ExecutionGateway,
    ServiceName::Orchestrator,
];

/// A notification that nobody should have got.
#[derive(Debug)]
pub struct Page {
    /// When, in virtual time.
    pub at: jiff::Timestamp,
    /// The alert.
    pub alert: String,
    /// How bad it says it is.
    pub severity: String,
    /// In which kind of stretch.
    pub during: &'static str,
}

/// What a stretch without incident gave.
#[derive(Debug)]
pub struct Quiet {
    /// Its kind.
    pub kind: &'static str,
    /// Virtual seconds simulated.
    pub seconds: u64,
    /// What was told.
    pub pages: Vec<Page>,
    /// Why it was not simulated to its end.
    pub error: Option<String>,
}

/// Simulates a stretch second by second.
pub fn quiet(stretch: &Stretch, files: &Files, clock: &MarketClockConfig, seed: u64) -> Quiet {
    let mut quiet = Quiet { kind: stretch.kind, seconds: 0, pages: Vec::new(), error: None };
    if let Err(error) = simulate(stretch, files, clock, seed, &mut quiet) {
        quiet.error = Some(format!("{} from {}: {error:#}", stretch.kind, stretch.from));
    }
    quiet
}

fn simulate(
    stretch: &Stretch,
    files: &Files,
    clock: &MarketClockConfig,
    seed: u64,
    quiet: &mut Quiet,
) -> Result<()> {
    let mut options = sim::Options::quick(seed);
    options.start = stretch.from.as_second() * 1_000_000_000;
    options.config.market_clock = clock.clone();
    if stretch.happening == Happening::QuietLunch {
        // Prices hardly move, and pairs are quoted once in ten seconds.
        options.config.feed.volatility *= 0.1;
        options.config.feed.crypto_quotes_per_second_max = 0.1;
    }
    let started = Timestamp::from_millis(stretch.from.as_millisecond());
    let mut pipeline = Pipeline::new(files, clock.calendar(), started)?;
    let length = stretch.to.duration_since(stretch.from).unsigned_abs();
    let mut broken = Ok(());
    sim::simulate(&options, length, |second| {
        quiet.seconds = second.elapsed.as_secs();
        let mut step = || -> Result<()> {
            if stretch.happening == Happening::Maintenance {
                maintain(second, &mut pipeline)?;
            }
            for told in pipeline.second(second)?.into_iter().filter(|told| told.firing) {
                let label = |name| told.labels.get(name).unwrap_or_default().to_owned();
                quiet.pages.push(Page {
                    at: jiff::Timestamp::from_nanosecond(i128::from(second.now))?,
                    alert: label("alertname"),
                    severity: label("severity"),
                    during: stretch.kind,
                });
            }
            Ok(())
        };
        if let Err(error) = step() {
            second.over = true;
            broken = Err(error);
        }
    })?;
    broken
}

/// Announces the maintenance, then ends and starts one service after the other.
fn maintain(second: &mut sim::Second<'_>, pipeline: &mut Pipeline) -> Result<()> {
    let Some(since) = second.elapsed.as_secs().checked_sub(MAINTENANCE_AT) else { return Ok(()) };
    if since == 0 {
        let now = Timestamp::from_millis(second.now / 1_000_000);
        pipeline.silence(&[("platform", "trading-platform")], "monthly maintenance", now, now + SILENCE)?;
    }
    let turn = usize::try_from(since / RESTART_EVERY)?.checked_sub(1);
    let Some(name) = turn.and_then(|turn| RESTARTED.get(turn)) else { return Ok(()) };
    match since % RESTART_EVERY {
        0 => second.platform.stop(*name),
        RESTART_TAKES => second.platform.start_service(*name),
        _ => {}
    }
    Ok(())
}
