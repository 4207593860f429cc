//! The whole platform in one thread on virtual time: feed, broker and cache included.
//!
//! The services are the very ones of the processes; only their clock and their network are virtual. The same
//! seed gives the same run: the same orders, the same fills, the same text of metrics.
//!
//! ```
//! use std::time::Duration;
//! use tradewatch_platforms::trading_platform::{ServiceName, sim};
//!
//! let options = sim::Options::new(7);
//! let mut text = Vec::new();
//! sim::simulate(&options, Duration::from_secs(5), |second| {
//!     text.clear();
//!     second.encode(ServiceName::MarketDataService, &mut text);
//! })?;
//! assert!(String::from_utf8(text)?.contains("market_data_websocket_connection_status 1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Config, ServiceName, model, run_service_with};
use crate::market::MarketClockConfig;
use crate::runtime::http::Client;
use crate::runtime::{Clock, Nanos, Net, Shutdown, Trigger};
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tradewatch_metrics::{Format, Registry};

/// Where a virtual run begins unless told otherwise: a Wednesday, 09:30 in New York.
pub const START: Nanos = 1_763_562_600 * 1_000_000_000;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Configuration of the services. Database and model file are replaced by the simulation's own.
    pub config: Config,
    /// The virtual time at which it begins.
    pub start: Nanos,
    /// Which of the shipped models the signal service begins with; `None` for none.
    pub model: Option<u32>,
}

impl Options {
    /// A platform with the demo's short times whose session is always open.
    pub fn new(seed: u64) -> Options {
        let mut config = Config { seed, ..Config::default() }.demo();
        config.market_clock = MarketClockConfig::Virtual {
            opens_at: START / 1_000_000_000,
            open_seconds: 86_400,
            closed_seconds: 0,
        };
        config.feed.crypto_quotes_per_second_max = 2.0;
        config.feed.stock_quotes_per_second = 1.0;
        Options { config, start: START, model: Some(1) }
    }

    /// The same at rates that let a whole day pass quickly: fewer ticks, runs and checks, nothing left out.
    pub fn quick(seed: u64) -> Options {
        let mut options = Options::new(seed);
        let config = &mut options.config;
        config.feed.crypto_quotes_per_second_max = 0.5;
        config.market_data.crypto_trades = false;
        config.market_data.ping_ms = 5_000;
        config.market_data.silence_ms = 12_000;
        config.market_data.check_ms = 2_000;
        config.signal.check_ms = 5_000;
        config.signal.sample_ms = 5_000;
        config.signal.model_poll_ms = 300_000;
        config.orchestrator.check_ms = 5_000;
        config.orchestrator.interval_ms = 30_000;
        config.gateway.check_ms = 5_000;
        config.gateway.assess_ms = 2_000;
        config.gateway.sweep_ms = 5_000;
        config.gateway.reconcile_ms = 60_000;
        config.gateway.stream_ping_ms = 5_000;
        config.gateway.stream_silence_ms = 12_000;
        config.market_data.position_sync_ms = 300_000;
        options
    }
}

/// A running service.
struct Running {
    registry: Registry,
    trigger: Trigger,
    /// Absent once its end was looked at.
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// A platform on virtual time. Lives inside a paused `current_thread` runtime.
pub struct Platform {
    config: Config,
    clock: Clock,
    net: Net,
    running: BTreeMap<ServiceName, Running>,
    frozen: BTreeSet<ServiceName>,
    /// Keeps the database in memory while no service has it open.
    database: rusqlite::Connection,
    folder: PathBuf,
}

impl Platform {
    /// Starts every service.
    ///
    /// # Errors
    /// If the folder for the model cannot be written.
    pub fn start(options: &Options) -> anyhow::Result<Platform> {
        static PLATFORMS: AtomicU64 = AtomicU64::new(0);
        let number = PLATFORMS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tradewatch-sim-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut config = options.config.clone();
        config.database.url = format!("sqlite:file:tradewatch-sim-{number}?mode=memory&cache=shared").into();
        config.database.durable = false;
        config.model_path = folder.join("alpha_baseline.model");
        let path = config.database.url.expose().trim_start_matches("sqlite:").to_owned();
        let mut platform = Platform {
            config,
            clock: Clock::starting_at(options.start),
            net: Net::new_virtual(),
            running: BTreeMap::new(),
            frozen: BTreeSet::new(),
            database: rusqlite::Connection::open(path)?,
            folder,
        };
        if let Some(version) = options.model {
            platform.ship_model(version)?;
        }
        for name in ServiceName::ALL {
            platform.start_service(name);
        }
        Ok(platform)
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The virtual clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The virtual network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Whether a service runs.
    pub fn is_up(&self, name: ServiceName) -> bool {
        let task = self.running.get(&name).and_then(|running| running.task.as_ref());
        task.is_some_and(|task| !task.is_finished())
    }

    /// The metrics of a service since its last start; of one that was never started there are none.
    pub fn registry(&self, name: ServiceName) -> Option<&Registry> {
        self.running.get(&name).map(|running| &running.registry)
    }

    /// Starts a service that does not run.
    pub fn start_service(&mut self, name: ServiceName) {
        if self.is_up(name) {
            return;
        }
        let clock = self.clock;
        let registry = Registry::with_clock(move || clock.elapsed());
        let (trigger, shutdown) = Shutdown::new();
        let run =
            run_service_with(name, self.config.clone(), clock, self.net.clone(), shutdown, registry.clone());
        let task = Some(tokio::spawn(run));
        self.running.insert(name, Running { registry, trigger, task });
    }

    /// Kills a service: no farewell, as `kill -9`.
    pub fn kill(&mut self, name: ServiceName) {
        if let Some(task) = self.running.get(&name).and_then(|running| running.task.as_ref()) {
            task.abort();
        }
    }

    /// Asks a service to end.
    pub fn stop(&mut self, name: ServiceName) {
        if let Some(running) = self.running.get(&name) {
            running.trigger.fire();
        }
    }

    /// Whether a service runs and is not frozen: whether a scrape of it is answered.
    pub fn answers(&self, name: ServiceName) -> bool {
        self.is_up(name) && !self.frozen.contains(&name)
    }

    /// Freezes the connections of a service, as `kill -STOP` does, or lets them go on.
    pub fn freeze(&mut self, name: ServiceName, frozen: bool) {
        if frozen {
            self.frozen.insert(name);
        } else {
            self.frozen.remove(&name);
        }
        if let Net::Virtual(net) = &self.net {
            net.freeze(self.config.port_base + name.port_offset(), frozen);
        }
    }

    /// Locks the database for everybody else, or lets it go.
    ///
    /// # Errors
    /// SQLite's.
    pub fn lock_database(&self, locked: bool) -> anyhow::Result<()> {
        let statement = if locked { "BEGIN EXCLUSIVE" } else { "ROLLBACK" };
        Ok(self.database.execute_batch(statement)?)
    }

    /// Puts a shipped model where the signal service looks.
    ///
    /// # Errors
    /// If there is no such version or the file cannot be written.
    pub fn ship_model(&self, version: u32) -> anyhow::Result<()> {
        let text =
            model::shipped(version).with_context(|| format!("there is no shipped model v{version}"))?;
        self.write_model(text.as_bytes())
    }

    /// Puts `bytes` where the signal service looks for its model, in one step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_model(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let beside = self.folder.join("next");
        std::fs::write(&beside, bytes)?;
        Ok(std::fs::rename(beside, &self.config.model_path)?)
    }

    /// Takes the model away.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove_model(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(&self.config.model_path)?)
    }

    /// Posts `body` to a path of a service in the background: orders, breaker, faults. Nobody waits for the answer.
    pub fn post(&self, name: ServiceName, path: &str, body: serde_json::Value) {
        let client = Client::new(self.net.clone(), Duration::from_secs(60));
        let url = format!("{}{path}", self.config.url(name));
        tokio::spawn(async move {
            match client.post(&url, &body).await {
                Ok(answer) if answer.is_success() => {}
                Ok(answer) => tracing::warn!(url, answer = answer.text(), "refused"),
                Err(error) => tracing::warn!(%error, "not posted"),
            }
        });
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        for task in self.running.values().filter_map(|running| running.task.as_ref()) {
            task.abort();
        }
        let _ = std::fs::remove_dir_all(&self.folder); // A folder that stays in /tmp harms nobody.
    }
}

/// One virtual second of a run.
pub struct Second<'p> {
    /// The platform, to look at and to disturb.
    pub platform: &'p mut Platform,
    /// Virtual time since the beginning.
    pub elapsed: Duration,
    /// Virtual wall time, in nanoseconds since the epoch.
    pub now: Nanos,
    /// Set to end the run after this second.
    pub over: bool,
}

impl Second<'_> {
    /// Appends what a scrape of the service would be answered, in text 0.0.4. Nothing if it does not run.
    pub fn encode(&self, name: ServiceName, out: &mut Vec<u8>) {
        if self.platform.is_up(name)
            && let Some(registry) = self.platform.registry(name)
        {
            registry.encode(Format::Text004, out);
        }
    }
}

/// Runs the platform for `duration` of virtual time in this thread and calls `each_second` every second.
///
/// # Errors
/// If it cannot be started, or if a service ended by itself with an error.
pub fn simulate(
    options: &Options,
    duration: Duration,
    mut each_second: impl FnMut(&mut Second<'_>),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let mut platform = Platform::start(options)?;
        let start = tokio::time::Instant::now();
        let mut elapsed = Duration::ZERO;
        while elapsed < duration {
            elapsed = (elapsed + Duration::from_secs(1)).min(duration);
            tokio::time::sleep_until(start + elapsed).await;
            let now = platform.clock.now();
            let mut second = Second { platform: &mut platform, elapsed, now, over: false };
            each_second(&mut second);
            let over = second.over;
            platform.check_ends().await?;
            if over {
                break;
            }
        }
        Ok(())
    })
}

impl Platform {
    /// An error of a service that ended by itself.
    async fn check_ends(&mut self) -> anyhow::Result<()> {
        for (name, running) in &mut self.running {
            let Some(task) = running.task.take_if(|task| task.is_finished()) else { continue };
            match task.await {
                Ok(result) => result.with_context(|| format!("{name} ended"))?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(anyhow::anyhow!("{name} panicked: {error}")),
            }
        }
        Ok(())
    }
}
