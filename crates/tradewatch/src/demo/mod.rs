//! The demo: a platform, its world and its monitor, on recorded market data.

pub mod control;
mod inject;
mod lock;
mod scene;
mod summary;
pub mod supervisor;

use crate::{DemoArgs, MarketClock, Scene, files};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{ServiceSpec, Supervisor};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tradewatch_catalog::Catalog;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::Clock;
use tradewatch_platforms::trading_platform::{Config, ServiceName};
use tradewatch_server::dashboards::Folder;
use tradewatch_server::{Options, Server};
use tradewatch_tsdb::Timestamp;

/// The one platform that can be run.
const PLATFORM: &str = "trading-platform";
/// How long the targets may take until each has been scraped.
const SETTLE: Duration = Duration::from_secs(10);
/// Shortfalls that are listed one by one.
const SHORTFALLS_SHOWN_MAX: usize = 60;

/// Runs the demo to its end: Ctrl-C, or `--for`.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    if args.platform != PLATFORM {
        bail!("there is no platform {:?} to run; there is: {PLATFORM}", args.platform);
    }
    let interrupt = interrupted()?;
    // First of all: the folder may be that of a demo that runs.
    let _lock = lock::DataLock::take(&args.data_dir)?;
    let folders = Folders::prepare(&args)?;
    log_to(&folders.logs.join("monitor.log"))?;
    let session = match args.market_clock {
        MarketClock::Virtual => MarketClockConfig::opening_now(&Clock::wall()),
        MarketClock::Wall => MarketClockConfig::Wall,
    };
    let config = platform_config(&args, &folders, session.clone());
    std::fs::write(&folders.config, config.to_file_text())
        .with_context(|| format!("write {}", folders.config.display()))?;
    let server =
        Server::start(monitor_options(&args, &folders, &session)?).await.map_err(anyhow::Error::from)?;
    let supervisor = Arc::new(Mutex::new(Supervisor::new(
        std::env::current_exe()?,
        folders.logs.clone(),
        specs(&config, &folders)?,
    )));
    let stage = Arc::new(scene::Stage {
        supervisor: supervisor.clone(),
        database: args.database_url.is_none().then(|| folders.database.clone()),
        model: folders.model.clone(),
        next_model: folders.next_model.clone(),
        account: account(),
        taken: Mutex::default(),
        monitor: server.addr(),
        say,
    });

    let outcome = tokio::select! {
        biased;
        () = interrupt => Ok(ExitCode::SUCCESS),
        outcome = watch(&args, &folders, &server, &stage) => outcome,
        outcome = control::serve(&folders.data, stage.clone()) => outcome.map(|()| ExitCode::FAILURE),
    };
    say("stopping");
    supervisor.lock().await.stop_all().await;
    server.shutdown().await;
    let _ = std::fs::remove_file(control::socket_path(&folders.data));
    outcome
}

/// Starts everything, plays the scene, and sums up if the run has an end.
async fn watch(
    args: &DemoArgs,
    folders: &Folders,
    server: &Server,
    stage: &scene::Stage,
) -> Result<ExitCode> {
    crate::outln!(
        "tradewatch {}   {PLATFORM} on recorded market data (BTC, ETH) and 5 synthetic equities\n",
        env!("CARGO_PKG_VERSION")
    );
    let begin = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    start_all(&stage.supervisor).await?;
    let ready = targets_up(server).await?;
    let catalog = read_catalog(&folders.platform.join("catalog.toml"))?;
    let moved = summary::metrics(&span(server, begin), &catalog)?.0;
    crate::outln!(
        "  ✔ {:<22} {:<21} {ready} targets up, {} rules, {} metrics of {} moved so far\n",
        "monitor",
        server.addr(),
        summary::rules(server).all,
        moved.good,
        moved.all
    );
    crate::outln!("  open  http://{}\n", server.addr());
    crate::out!("{}", hints(args));

    let full =
        args.scene.unwrap_or(if args.run_for.is_some() { Scene::Full } else { Scene::None }) == Scene::Full;
    let end = args.run_for.map(|length| Instant::now() + length);
    if full {
        scene::play(stage, end.unwrap_or_else(|| Instant::now() + scene::SCENE * 2)).await?;
    }
    match end {
        None => std::future::pending().await,
        Some(end) => {
            tokio::time::sleep_until(end).await;
            sum_up(folders, server, begin, &catalog)
        }
    }
}

/// What to try, with the options that reach this demo.
fn hints(args: &DemoArgs) -> String {
    let of = if args.data_dir == Path::new(crate::DATA_DIR) {
        String::new()
    } else {
        format!(" --data-dir {}", args.data_dir.display())
    };
    let at = if args.listen.to_string() == crate::LISTEN {
        String::new()
    } else {
        format!(" --url http://{}", args.listen)
    };
    let (kill, trip) =
        (format!("tradewatch service kill execution-gateway{of}"), format!("tradewatch breaker trip{of}"));
    let width = kill.len() + 7;
    format!(
        "  try   {kill:<width$}and watch the alert come\n\
         \x20       {trip:<width$}the circuit breaker\n\
         \x20       tradewatch query{at} 'sum by (status) (rate(execution_gateway_orders_total[1m]))'\n\
         \x20 stop  Ctrl-C\n\n"
    )
}

/// The account that the gateway trades on.
fn account() -> (String, String) {
    let gateway = Config::default().demo().gateway;
    (gateway.key, gateway.secret.expose().clone())
}

fn read_catalog(path: &Path) -> Result<Catalog> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Catalog::parse(&path.to_string_lossy(), &text)?)
}

async fn start_all(supervisor: &Mutex<Supervisor>) -> Result<()> {
    let mut supervisor = supervisor.lock().await;
    for name in supervisor.names().to_vec() {
        let took = supervisor.start(&name).await?;
        let Some(spec) = supervisor.spec(&name) else { continue };
        crate::outln!(
            "  ✔ {name:<22} {:<21} {}",
            spec.addr,
            spec.note.replace("{}", &format!("{:.1} s", took.as_secs_f64()))
        );
        let _ = std::io::stdout().flush();
    }
    Ok(())
}

/// Waits until every target has answered a scrape.
async fn targets_up(server: &Server) -> Result<usize> {
    let begin = Instant::now();
    loop {
        let count = summary::targets(&span(server, Timestamp::from_millis(0)))?;
        if count.all == 5 && count.good == count.all {
            return Ok(count.good);
        }
        if begin.elapsed() > SETTLE {
            bail!(
                "{} of {} targets are up after {SETTLE:?}: {}",
                count.good,
                count.all,
                count.missing.join("; ")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn span<'a>(server: &'a Server, start: Timestamp) -> summary::Span<'a> {
    let end = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    summary::Span { db: server.db(), engine: server.engine(), start, end }
}

/// Prints the summary; any shortfall makes the demo fail.
fn sum_up(folders: &Folders, server: &Server, begin: Timestamp, catalog: &Catalog) -> Result<ExitCode> {
    let span = span(server, begin);
    let targets = summary::targets(&span)?;
    let (metrics, unexercised) = summary::metrics(&span, catalog)?;
    let mut panels = summary::panels(&span, &folders.platform.join("dashboards"))?;
    panels.join(summary::panels(&span, &folders.monitor.join("dashboards"))?);
    let rules = summary::rules(server);
    let mut shortfalls = 0;
    crate::outln!();
    for (what, count) in [
        ("targets up", &targets),
        ("metrics moved", &metrics),
        ("panels with data", &panels),
        ("rules evaluated", &rules),
    ] {
        crate::outln!(
            "  {} {what:<18} {} of {}",
            if count.missing.is_empty() { '✔' } else { '✘' },
            count.good,
            count.all
        );
        shortfalls += count.missing.len();
        for line in count.missing.iter().take(SHORTFALLS_SHOWN_MAX) {
            crate::outln!("      {line}");
        }
    }
    if !unexercised.is_empty() {
        crate::outln!("\n  label values not exercised in this run ({}):", unexercised.len());
        for line in &unexercised {
            crate::outln!("      {line}");
        }
    }
    crate::outln!();
    Ok(if shortfalls == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where everything of one demo lies.
struct Folders {
    data: PathBuf,
    logs: PathBuf,
    config: PathBuf,
    database: PathBuf,
    model: PathBuf,
    next_model: PathBuf,
    prometheus: PathBuf,
    alertmanager: PathBuf,
    platform: PathBuf,
    monitor: PathBuf,
}

impl Folders {
    fn prepare(args: &DemoArgs) -> Result<Folders> {
        let data =
            args.data_dir.canonicalize().with_context(|| format!("find {}", args.data_dir.display()))?;
        let platforms = files::platforms(args.platforms.as_deref(), &args.platform, &data)?;
        let platform = platforms.join(&args.platform);
        let folders = Folders {
            logs: data.join("logs"),
            config: data.join("platform.json"),
            database: data.join("trading.db"),
            model: data.join("alpha_baseline.model"),
            next_model: platform.join("models/alpha_baseline-v2.model"),
            prometheus: data.join("prometheus.yml"),
            alertmanager: data.join("alertmanager.yml"),
            monitor: platforms.join("tradewatch"),
            platform,
            data,
        };
        std::fs::create_dir_all(&folders.logs)?;
        let first = folders.platform.join("models/alpha_baseline-v1.model");
        std::fs::copy(&first, &folders.model).with_context(|| format!("copy {}", first.display()))?;
        std::fs::write(
            &folders.prometheus,
            files::scrape_config(&platforms, &args.platform, args.port_base, args.listen)?,
        )?;
        let mut routing = std::fs::read_to_string(folders.platform.join("alertmanager.yml"))
            .context("read the platform's alertmanager.yml")?;
        if let Some(url) = &args.webhook {
            // The file ends with the receiver that everything goes to.
            routing += &format!("    webhook_configs:\n      - url: {url:?}\n        send_resolved: true\n");
        }
        std::fs::write(&folders.alertmanager, routing)?;
        Ok(folders)
    }
}

fn platform_config(args: &DemoArgs, folders: &Folders, market_clock: MarketClockConfig) -> Config {
    let mut config = Config::default().demo();
    config.port_base = args.port_base;
    config.seed = args.seed;
    config.market_clock = market_clock;
    config.model_path = folders.model.clone();
    config.feed.speed = args.speed;
    config.broker.state_path = Some(folders.data.join("broker.db"));
    let database = || format!("sqlite:{}", folders.database.display());
    config.database.url = args.database_url.clone().unwrap_or_else(database).into();
    config.redis_url = args.redis_url.clone().unwrap_or_default().into();
    config
}

fn specs(config: &Config, folders: &Folders) -> Result<Vec<ServiceSpec>> {
    let mut specs = Vec::new();
    for name in ServiceName::ALL {
        if name == ServiceName::PriceCache && !config.redis_url.expose().is_empty() {
            continue;
        }
        let note = match name {
            ServiceName::PaperBroker => "paper orders, nothing real".to_owned(),
            ServiceName::MarketFeed => format!("replaying 2024-08-08 23:54:13, {}×", config.feed.speed),
            ServiceName::PriceCache => "speaks Redis' protocol".to_owned(),
            ServiceName::MarketDataService | ServiceName::Orchestrator => "ready in {}".to_owned(),
            ServiceName::SignalService => "model alpha_baseline v1".to_owned(),
            ServiceName::ExecutionGateway => {
                format!(
                    "paper, {}",
                    if config.database.url.expose().starts_with("sqlite:") { "SQLite" } else { "PostgreSQL" }
                )
            }
        };
        specs.push(ServiceSpec {
            name: name.as_str().to_owned(),
            addr: config.addr(name).parse::<SocketAddr>().with_context(|| format!("address of {name}"))?,
            note,
            args: ["service", "run", name.as_str(), "--config"]
                .into_iter()
                .map(str::to_owned)
                .chain([folders.config.display().to_string()])
                .collect(),
        });
    }
    Ok(specs)
}

fn monitor_options(args: &DemoArgs, folders: &Folders, session: &MarketClockConfig) -> Result<Options> {
    let mut options = Options {
        config_file: Some(folders.prometheus.clone()),
        alertmanager_file: Some(folders.alertmanager.clone()),
        listen: args.listen,
        data_dir: Some(folders.data.join("monitor")),
        terminal_always: true,
        terminal: Some(Arc::new(say)),
        ..Options::default()
    };
    for (name, folder) in [(PLATFORM, &folders.platform), ("tradewatch", &folders.monitor)] {
        options.dashboards.push(Folder { platform: name.to_owned(), path: folder.join("dashboards") });
        options.runbooks.push(folder.join("runbooks"));
    }
    if let MarketClockConfig::Virtual { opens_at, open_seconds, closed_seconds } = *session {
        let seconds = |count: i64| Duration::from_secs(count.max(0).cast_unsigned());
        options.calendar = options.calendar.with_virtual_session(
            "XNYS",
            jiff::Timestamp::from_second(opens_at)?,
            seconds(open_seconds),
            seconds(closed_seconds),
        );
    }
    options.web.external_url = Some(format!("http://{}", args.listen));
    Ok(options)
}

/// Resolves at Ctrl-C or SIGTERM.
pub fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The monitor's own log; the terminal shows only what its user should read.
fn log_to(path: &Path) -> Result<()> {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::sync::Mutex::new(file))
        .with_ansi(false)
        .init();
    Ok(())
}

/// One block on the terminal, with the time.
fn say(text: &str) {
    let now = jiff::Zoned::now();
    let mut lines = text.trim_end().lines();
    crate::outln!("{} {}", now.strftime("%H:%M:%S"), lines.next().unwrap_or_default());
    for line in lines {
        crate::outln!("         {line}");
    }
    // A closed terminal must not end the demo.
    let _ = std::io::stdout().flush();
}
