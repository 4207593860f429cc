//! The command line of tradewatch.
#![allow(clippy::disallowed_methods)] // The binary owns the clock that it hands down.

mod backtest;
mod check;
mod commands;
mod demo;
mod doctor;
mod drill;
mod files;
mod output;
mod quiet;
mod routing;
mod store;
mod tune;

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where a demo keeps its data unless told otherwise.
pub const DATA_DIR: &str = "tradewatch-data";
/// Where the monitor answers unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:9090";
/// The largest base that leaves room for the ports of all services.
const PORT_BASE_MAX: i64 = u16::MAX as i64 - 12;

#[derive(Parser)]
#[command(
    name = "tradewatch",
    version,
    about = "Observability for trading platforms: scrape, store, query, alert, show, prove."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole trading platform on recorded market data, and watch it
    Demo(DemoArgs),
    /// Watch what a prometheus.yml names
    Serve(ServeArgs),
    /// Ask a running monitor a PromQL question
    Query(QueryArgs),
    /// List, start, stop, kill or hang the services of a running demo
    Service {
        #[command(subcommand)]
        action: ServiceAction,
    },
    /// Trip or reset the circuit breaker of a running demo
    Breaker {
        #[command(subcommand)]
        action: BreakerAction,
    },
    /// Run elsewhere, await the heartbeats of monitors, and speak up when they stop
    Deadman(DeadmanArgs),
    /// Walk the way of a metric or an alert at a running monitor, and say where it ends
    Doctor(doctor::DoctorArgs),
    /// Find what can never work in rules, dashboards, scrape and routing configuration
    Check(check::CheckArgs),
    /// What rules would have done on recorded history
    Backtest(Box<backtest::BacktestArgs>),
    /// Propose thresholds from what is normal, and show what they would have done
    Tune(Box<tune::TuneArgs>),
    /// Work with metric catalogues
    Catalog {
        #[command(subcommand)]
        action: CatalogAction,
    },
    /// Copy the store of a monitor that does not run
    Backup(store::BackupArgs),
    /// Bring a backup back, and read all of it
    Restore(store::RestoreArgs),
    /// Add samples of the past from OpenMetrics files
    Import(store::ImportArgs),
    /// Look into the store
    Tsdb {
        #[command(subcommand)]
        action: store::TsdbAction,
    },
    /// Prove that each alert of a platform fires by a real fault, is told, and clears
    Drill(drill::DrillArgs),
    /// Show that a year of normal trading pages nobody, and that every incident placed in it is found
    Quiet(quiet::QuietArgs),
    /// Work with rule files
    Rules {
        #[command(subcommand)]
        action: RulesAction,
    },
    /// See where an alert would go
    Routes {
        #[command(subcommand)]
        action: RoutesAction,
    },
    /// Try a receiver
    Notify {
        #[command(subcommand)]
        action: NotifyAction,
    },
    /// Work with the signal model
    Model {
        #[command(subcommand)]
        action: ModelAction,
    },
}

/// Options of `demo`.
#[derive(Args, Clone)]
pub struct DemoArgs {
    /// Which platform
    #[arg(long, default_value = "trading-platform")]
    pub platform: String,
    /// Where the monitor answers
    #[arg(long, default_value = LISTEN)]
    pub listen: SocketAddr,
    /// The services listen from here on: base + 1 to base + 12
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u16).range(..=PORT_BASE_MAX))]
    pub port_base: u16,
    /// Where everything is kept
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// How fast the recording is replayed
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Everything random follows from this
    #[arg(long, default_value_t = 4711)]
    pub seed: u64,
    /// End by itself after this long, for example 120s or 10m, and print a summary
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// Which announced faults are played; full with --for, else none
    #[arg(long)]
    pub scene: Option<Scene>,
    /// Whether the equity session opens with the demo or follows New York
    #[arg(long, default_value = "virtual")]
    pub market_clock: MarketClock,
    /// Send notifications to this webhook too (Alertmanager's format)
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// PostgreSQL instead of the built-in SQLite
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Redis instead of the built-in price cache
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// A folder of platforms instead of the built-in one
    #[arg(long, value_name = "DIR")]
    pub platforms: Option<PathBuf>,
}

/// Which announced faults a demo plays.
#[derive(Copy, Clone, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// Nothing happens unless you make it happen.
    None,
    /// Feed, broker, database, cache, model, breaker and services fail in turn and come back.
    Full,
}

/// Whose clock opens the equity market.
#[derive(Copy, Clone, PartialEq, Eq, clap::ValueEnum)]
pub enum MarketClock {
    /// The session opens when the demo starts.
    Virtual,
    /// The sessions of New York.
    Wall,
}

/// Options of `serve`.
#[derive(Args, Clone)]
pub struct ServeArgs {
    /// prometheus.yml
    #[arg(long, alias = "config.file", value_name = "FILE")]
    pub config: PathBuf,
    /// alertmanager.yml
    #[arg(long, value_name = "FILE")]
    pub alertmanager_config: Option<PathBuf>,
    /// Where the monitor answers
    #[arg(long, alias = "web.listen-address", default_value = "127.0.0.1:9090")]
    pub listen: SocketAddr,
    /// Where samples, alert state and notifications are kept
    #[arg(long, alias = "storage.tsdb.path", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// How long samples are kept, for example 30d
    #[arg(long, alias = "storage.tsdb.retention.time", default_value = "30d", value_parser = retention)]
    pub retention: Duration,
    /// The most that blocks may take before the oldest go, for example 50GB
    #[arg(long, alias = "storage.tsdb.retention.size", value_name = "SIZE", value_parser = size)]
    pub retention_size: Option<u64>,
    /// How late a sample may come behind newer ones of its series, for example 30m
    #[arg(long, value_name = "DURATION", value_parser = retention)]
    pub out_of_order_window: Option<Duration>,
    /// Closures, other hours and halts of the markets that the tables do not know
    #[arg(long = "calendar.overlay", value_name = "FILE")]
    pub calendar_overlay: Option<PathBuf>,
    /// A venue whose series are exposed beside those that rules and routes name, for example XLON
    #[arg(long = "calendar.mic", value_name = "MIC", value_parser = mic)]
    pub mics: Vec<String>,
    /// TLS and users, in Prometheus' web configuration format
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Listen on other than loopback addresses without users and TLS
    #[arg(long)]
    pub insecure: bool,
    /// Allow POST /-/reload and /-/quit
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
    /// Take samples that others send by remote write, at /api/v1/write
    #[arg(long = "web.enable-remote-write-receiver")]
    pub enable_remote_write_receiver: bool,
    /// Take metrics of OpenTelemetry exporters, at /api/v1/otlp/v1/metrics
    #[arg(long = "web.enable-otlp-receiver")]
    pub enable_otlp_receiver: bool,
    /// Take what services push the moment it changes, at /api/tradewatch/v1/push
    #[arg(long = "web.enable-push-receiver")]
    pub enable_push_receiver: bool,
    /// Allow the admin API
    #[arg(long = "web.enable-admin-api")]
    pub enable_admin_api: bool,
    /// How far back a query looks for the newest sample of a series
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m", value_parser = tradewatch_alert::duration::parse)]
    pub lookback: Duration,
    /// Time after which a query is given up
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m", value_parser = tradewatch_alert::duration::parse)]
    pub query_timeout: Duration,
    /// Queries that run at a time; others wait
    #[arg(long = "query.max-concurrency", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub query_concurrency: u32,
    /// Samples that one query may read
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000)]
    pub query_samples_max: usize,
    /// Log a query that takes longer; they are listed at /api/tradewatch/v1/slow_queries
    #[arg(long = "query.log-slower-than", value_name = "DURATION", default_value = "5s", value_parser = tradewatch_alert::duration::parse)]
    pub query_log_slower_than: Duration,
    /// Folders with Grafana dashboards
    #[arg(long, value_name = "DIR")]
    pub dashboards: Vec<PathBuf>,
    /// Folders with runbooks
    #[arg(long, value_name = "DIR")]
    pub runbooks: Vec<PathBuf>,
    /// Send heartbeats to this address: a `tradewatch deadman` elsewhere, or a service of this kind
    #[arg(long, value_name = "URL")]
    pub heartbeat_url: Option<String>,
    /// A file that holds that address, read before each beat
    #[arg(long, value_name = "FILE", conflicts_with = "heartbeat_url")]
    pub heartbeat_url_file: Option<PathBuf>,
    /// The time from one heartbeat to the next
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = tradewatch_alert::duration::parse)]
    pub heartbeat_every: Duration,
}

/// Options of `deadman`.
#[derive(Args, Clone)]
pub struct DeadmanArgs {
    /// Where beats come in, as POST to / or to /beat/NAME
    #[arg(long, default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,
    /// Who beats how often, for example desk=30s; without a name it is `monitor`
    #[arg(long, required = true, value_name = "NAME=INTERVAL")]
    pub expect: Vec<String>,
    /// How much later a beat may be; half the interval unless given
    #[arg(long, value_name = "DURATION", value_parser = tradewatch_alert::duration::parse)]
    pub grace: Option<Duration>,
    /// Tell this webhook, in Alertmanager's format; the terminal is told in any case
    #[arg(long, value_name = "URL")]
    pub webhook: Vec<String>,
    /// A file that holds the address of a webhook
    #[arg(long, value_name = "FILE")]
    pub webhook_file: Vec<PathBuf>,
    /// Say a silence again after this time
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = tradewatch_alert::duration::parse)]
    pub repeat: Duration,
    /// Where what is known is kept, so that a restart forgets nothing
    #[arg(long, value_name = "FILE", default_value = "tradewatch-deadman.json")]
    pub state: PathBuf,
    /// TLS and users, in Prometheus' web configuration format
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Listen on other than loopback addresses without users and TLS
    #[arg(long)]
    pub insecure: bool,
}

/// Options of `query`.
#[derive(Args)]
pub struct QueryArgs {
    /// The expression
    pub expr: String,
    /// The monitor to ask
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    pub url: String,
    /// At this time (RFC 3339 or Unix seconds); now if absent
    #[arg(long)]
    pub time: Option<String>,
}

#[derive(Subcommand)]
enum ServiceAction {
    /// Every service and how it is doing
    List(Running),
    /// Start a service, or wake a hung one
    Start(Named),
    /// Ask a service to end
    Stop(Named),
    /// End a service without warning (SIGKILL)
    Kill(Named),
    /// Freeze a service: its port stays open and nothing answers
    Hang(Named),
    /// Be a service; the demo calls this
    #[command(hide = true)]
    Run {
        /// Which
        name: String,
        /// Its configuration
        #[arg(long)]
        config: PathBuf,
    },
}

/// A running demo.
#[derive(Args)]
pub struct Running {
    /// The data directory of the running demo
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
}

/// A service of a running demo.
#[derive(Args)]
pub struct Named {
    /// Its name, as `tradewatch service list` shows it
    pub name: String,
    #[command(flatten)]
    running: Running,
}

#[derive(Subcommand)]
enum BreakerAction {
    /// Block new positions
    Trip(Running),
    /// Allow them again after the quiet period
    Reset(Running),
}

#[derive(Subcommand)]
enum CatalogAction {
    /// Keep one scrape of a metrics page as a catalogue
    Learn {
        /// The metrics page
        url: String,
        /// The platform's name in the catalogue
        #[arg(long, default_value = "learned")]
        platform: String,
        /// The service's name, as the job that scrapes it is called
        #[arg(long, default_value = "")]
        service: String,
        /// Where to write it; to the terminal if absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum RulesAction {
    /// Check rule files: what is broken, and how long each alert may take at worst
    Check {
        /// The rule files, beside those that --config names
        files: Vec<PathBuf>,
        /// prometheus.yml: what is scraped, and how often
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// alertmanager.yml: how long routes wait
        #[arg(long, value_name = "FILE")]
        alertmanager_config: Option<PathBuf>,
    },
    /// Run rule unit tests in promtool's format
    Test {
        /// The test files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum RoutesAction {
    /// Show the way of an alert with these labels through the route tree, and what holds it back
    Test(RoutesTestArgs),
}

/// Options of `routes test`.
#[derive(Args)]
pub struct RoutesTestArgs {
    /// The alert's labels, for example alertname=GatewayLost severity=critical
    #[arg(required = true, value_name = "LABEL=VALUE")]
    pub labels: Vec<String>,
    /// alertmanager.yml; with --url, the running monitor's if absent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A running monitor or Alertmanager, whose silences and alerts are looked at
    #[arg(long)]
    pub url: Option<String>,
    /// At this time (RFC 3339); now if absent
    #[arg(long)]
    pub time: Option<String>,
    /// Fail unless these receivers are told, in this order
    #[arg(long, value_name = "RECEIVERS", value_delimiter = ',')]
    pub verify: Vec<String>,
}

#[derive(Subcommand)]
enum NotifyAction {
    /// Send a notification that is marked as a test, and show the receiver's answer
    Test(NotifyTestArgs),
}

/// Options of `notify test`.
#[derive(Args)]
pub struct NotifyTestArgs {
    /// The receiver's name in alertmanager.yml
    pub receiver: String,
    /// alertmanager.yml
    #[arg(long, value_name = "FILE", default_value = "alertmanager.yml")]
    pub config: PathBuf,
    /// Where people reach the monitor; begins the links in the notification
    #[arg(
        long = "web.external-url",
        alias = "url",
        value_name = "URL",
        default_value = "http://127.0.0.1:9090"
    )]
    pub external_url: String,
}

#[derive(Subcommand)]
enum ModelAction {
    /// Train the shipped models anew from their seed
    Train {
        /// Where to write them
        #[arg(long, default_value = "platforms/trading-platform/models")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tradewatch: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => commands::serve(args).await,
            Command::Query(args) => commands::query(args).await,
            Command::Doctor(args) => doctor::run(&args).await,
            Command::Deadman(args) => commands::deadman(args).await,
            Command::Service { action } => match action {
                ServiceAction::Run { name, config } => commands::run_service(&name, &config).await,
                ServiceAction::List(running) => {
                    commands::ask(&running.data_dir, demo::control::Request::List).await
                }
                ServiceAction::Start(of) => {
                    commands::ask(&of.running.data_dir, demo::control::Request::Start { name: of.name }).await
                }
                ServiceAction::Stop(of) => {
                    commands::ask(&of.running.data_dir, demo::control::Request::Stop { name: of.name }).await
                }
                ServiceAction::Kill(of) => {
                    commands::ask(&of.running.data_dir, demo::control::Request::Kill { name: of.name }).await
                }
                ServiceAction::Hang(of) => {
                    commands::ask(&of.running.data_dir, demo::control::Request::Hang { name: of.name }).await
                }
            },
            Command::Breaker { action } => match action {
                BreakerAction::Trip(running) => commands::breaker(&running.data_dir, "trip").await,
                BreakerAction::Reset(running) => commands::breaker(&running.data_dir, "reset").await,
            },
            Command::Check(args) => check::run(args).await,
            Command::Backtest(args) => backtest::run(*args).await,
            Command::Tune(args) => tune::run(*args).await,
            Command::Catalog { action: CatalogAction::Learn { url, platform, service, out } } => {
                check::learn(&url, &platform, &service, out.as_deref()).await
            }
            Command::Backup(args) => store::backup(&args),
            Command::Restore(args) => store::restore(&args),
            Command::Import(args) => store::import(&args),
            Command::Tsdb { action } => store::tsdb(&action),
            // On threads with runtimes of their own: their time is virtual.
            Command::Drill(args) => tokio::task::block_in_place(|| drill::run(&args)),
            Command::Quiet(args) => tokio::task::block_in_place(|| quiet::run(&args)),
            Command::Rules { action: RulesAction::Test { files } } => commands::test_rules(&files),
            Command::Rules { action: RulesAction::Check { files, config, alertmanager_config } } => {
                commands::check_rules(files, config, alertmanager_config)
            }
            Command::Routes { action: RoutesAction::Test(args) } => routing::test_routes(args).await,
            Command::Notify { action: NotifyAction::Test(args) } => routing::test_receiver(args).await,
            Command::Model { action: ModelAction::Train { out } } => commands::train(&out),
        }
    });
    // Blocking work of a stopped demo must not hold up its end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tradewatch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a speed that the feed can replay at.
fn speed(text: &str) -> Result<f64, String> {
    let (min, max) = tradewatch_platforms::feed::replay::SPEED;
    match text.parse::<f64>() {
        Ok(speed) if (min..=max).contains(&speed) => Ok(speed),
        _ => Err(format!(
            "{text:?} is not a speed; write a number from {min} to {max}, where 1 is as recorded"
        )),
    }
}

/// Reads `90s`, `10m`, `1h30m`.
/// A duration as Prometheus writes it.
fn retention(text: &str) -> Result<Duration, String> {
    let millis = tradewatch_promql::duration::parse_duration_ms(text).ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| format!("{text:?} is not a duration; write for example 30d or 12h"))?;
    Ok(Duration::from_millis(millis.unsigned_abs()))
}

/// The code of a venue that the calendar knows.
fn mic(text: &str) -> Result<String, String> {
    let calendar = tradewatch_server::Options::default().calendar;
    let known = calendar.mics();
    match known.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("known are {}", known.join(", "))),
    }
}

/// A number of bytes with a unit, as Prometheus writes it: powers of 1,024.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let power = units.iter().position(|known| *known == unit);
    let bytes = number.parse::<u64>().ok().zip(power).and_then(|(n, power)| n.checked_mul(1 << (10 * power)));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is not a size; write for example 512MB or 50GB"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("{text:?} is not a duration; write for example 120s, 10m or 1h30m");
    let (mut total, mut digits) = (0u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' => {
                digits.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(hint()),
        };
        let count = digits.parse::<u64>().map_err(|_| hint())?;
        total = count.checked_mul(unit).and_then(|seconds| seconds.checked_add(total)).ok_or_else(hint)?;
        digits.clear();
    }
    if total == 0 || !digits.is_empty() { Err(hint()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_demo_takes_only_ports_and_speeds_that_exist() {
        let parse =
            |flag: &str, value: &str| Cli::try_parse_from(["tradewatch", "demo", flag, value]).is_ok();
        assert!(parse("--port-base", "65523") && parse("--speed", "5"));
        for (flag, value) in [
            ("--port-base", "65524"),
            ("--speed", "0"),
            ("--speed=-1", ""),
            ("--speed", "NaN"),
            ("--speed", "fast"),
        ] {
            assert!(!parse(flag, value), "{flag} {value} was taken");
        }
    }

    #[test]
    fn retentions_and_sizes_are_read_or_refused() {
        assert_eq!(retention("30d"), Ok(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!((size("512MB"), size("1B")), (Ok(512 << 20), Ok(1)));
        for wrong in ["", "0s", "-1d", "x"] {
            assert!(retention(wrong).is_err(), "{wrong:?} was taken");
        }
        for wrong in ["", "5", "0GB", "1XB", "GB", "99999999999PB", "1.5GB"] {
            assert!(size(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn durations_are_read_or_refused() {
        assert_eq!(duration("120s"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "5", "s", "1x", "0s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
