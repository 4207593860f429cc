//! `tradewatch backtest`: what rules would have done on recorded history.

mod follow;
pub mod history;
pub mod incidents;
pub mod print;
pub mod rules;
mod score;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use tokio::runtime::Handle;
use tradewatch_alert::replay::{Options, Report, replay};
use tradewatch_alert::route::Config;
use tradewatch_alert::rules::RuleFile;
use tradewatch_calendar::Calendar;
use tradewatch_server::annotations::Annotation;
use tradewatch_tsdb::Timestamp;

pub use follow::{Bar, end_on_interrupt};
use history::{HistoryArgs, Opened};
use incidents::Incident;
use print::{Outcome, Version};
use score::Scores;

/// Options of `backtest`.
#[derive(Args, Clone)]
pub struct BacktestArgs {
    /// Rule files, or folders of them
    #[arg(required = true)]
    pub rules: Vec<PathBuf>,
    #[command(flatten)]
    pub history: HistoryArgs,
    /// alertmanager.yml: who would have been told; without it every alert goes out at once
    #[arg(long, value_name = "FILE")]
    pub routes: Option<PathBuf>,
    /// What really happened (YAML, JSON, or annotations as JSON lines); without it the marks tagged `incident` of the
    /// data directory or server
    #[arg(long, value_name = "FILE")]
    pub incidents: Option<PathBuf>,
    /// Compare with these rule files, or folders of them
    #[arg(long, value_name = "RULES")]
    pub against: Vec<PathBuf>,
    /// An alert that fires so long after the end of an incident still counts as having found it
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = tradewatch_alert::duration::parse)]
    pub grace: Duration,
    /// Evaluation begins so long before --from; as long as the rules need if absent
    #[arg(long, value_name = "DURATION", value_parser = tradewatch_alert::duration::parse)]
    pub warm_up: Option<Duration>,
    /// How the outcome is printed
    #[arg(long, default_value = "table")]
    pub format: Format,
    /// List every alert from pending to resolved
    #[arg(long)]
    pub episodes: bool,
}

/// How an outcome is printed.
#[derive(Copy, Clone, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs, and for the timeline page.
    Json,
}

/// `tradewatch backtest`.
///
/// # Errors
/// Rules, routes, incidents or history that cannot be read.
pub async fn run(args: BacktestArgs) -> Result<ExitCode> {
    end_on_interrupt();
    let runtime = Handle::current();
    let outcome = tokio::task::spawn_blocking(move || outcome(&args, runtime).map(|outcome| (args, outcome)));
    let (args, outcome) = outcome.await.context("the backtest broke off")??;
    match args.format {
        Format::Table => crate::out!("{}", print::text(&outcome, args.episodes)),
        Format::Json => crate::outln!("{}", print::json(&outcome)),
    }
    Ok(if outcome.version.report.ended_at.is_some() { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

fn outcome(args: &BacktestArgs, runtime: Handle) -> Result<Outcome> {
    let begin = Instant::now();
    let loaded = rules::load(&args.rules)?;
    let against = if args.against.is_empty() { None } else { Some(rules::load(&args.against)?) };
    let routes = args.routes.as_deref().map(|path| read_routes(path, &args.history)).transpose()?;
    let now = tradewatch_server::clock::now();
    let mut opened = history::open(&args.history, runtime.clone(), now)?;
    let incidents = read_incidents(args, &opened, &runtime)?;
    let mut options = options(&args.history, &opened)?;
    options.routes = routes;
    options.warm_up = args.warm_up;
    let files =
        |loaded: &[rules::Loaded]| loaded.iter().map(|one| one.file.clone()).collect::<Vec<RuleFile>>();
    let mut version = |paths: &[PathBuf], files: &[RuleFile], opened: &mut Opened| -> Result<Version> {
        let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
        let report = replayed(&name, files, opened, &options)?;
        if let Some(end) = report.ended_at {
            options.to = end;
        }
        let scores = Scores::new(&report, &incidents, (opened.from, options.to), args.grace);
        Ok(Version { name, report, scores })
    };
    let first = against.as_ref().map(|old| version(&args.against, &files(old), &mut opened)).transpose()?;
    // What a server gave may have been let go of since.
    if args.history.url.is_some() && first.is_some() {
        opened = history::open(&args.history, runtime, now)?;
    }
    let second = version(&args.rules, &files(&loaded), &mut opened)?;
    let mut remarks = opened.source.remarks();
    if incidents.is_empty() {
        remarks.push(
            "no incidents: name a file with --incidents, or mark them in the UI with the tag `incident`"
                .to_owned(),
        );
    }
    if second.report.ended_at.is_some() {
        remarks.push(format!("ended early: what is shown goes up to {}", options.to));
    }
    Ok(Outcome {
        from: opened.from,
        to: options.to,
        incidents,
        grace: args.grace,
        version: second,
        against: first,
        remarks,
        took: begin.elapsed(),
    })
}

/// The options of a replay of the history that was opened.
///
/// # Errors
/// An overlay that cannot be read.
pub fn options(args: &HistoryArgs, opened: &Opened) -> Result<Options> {
    Ok(Options {
        calendar: Arc::new(calendar(args)?),
        interval: args.interval,
        step_min: args.step.unwrap_or_default(),
        history_begins: opened.begins,
        ..Options::new(opened.from, opened.to)
    })
}

/// The calendars with the overlay that was named.
///
/// # Errors
/// An overlay that cannot be read.
pub fn calendar(args: &HistoryArgs) -> Result<Calendar> {
    let calendar = tradewatch_server::Options::default().calendar;
    let Some(path) = &args.calendar_overlay else { return Ok(calendar) };
    let overlay =
        tradewatch_server::markets::read_overlay(path).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(calendar.with_overlay(overlay))
}

/// Replays with a progress bar.
///
/// # Errors
/// History that cannot be read.
pub fn replayed(name: &str, files: &[RuleFile], opened: &mut Opened, options: &Options) -> Result<Report> {
    let mut bar = Bar::new(name);
    let report = replay(files, &mut opened.source, options, &mut bar);
    bar.end();
    Ok(report?)
}

fn read_routes(path: &Path, args: &HistoryArgs) -> Result<Arc<Config>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
    let calendar = calendar(args)?;
    let (config, _) = tradewatch_server::notify::parse_routes(&shown, &text, &calendar)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Arc::new(with_receivers(config)))
}

/// A receiver without a way of delivery would be told nothing; here nothing is sent anyway, and what it would have
/// been told counts.
fn with_receivers(mut config: Config) -> Config {
    let terminal = Config::terminal();
    let integrations = &terminal.receivers[0].integrations;
    for receiver in config.receivers.iter_mut().filter(|receiver| receiver.integrations.is_empty()) {
        receiver.integrations.clone_from(integrations);
    }
    config
}

fn read_incidents(args: &BacktestArgs, opened: &Opened, runtime: &Handle) -> Result<Vec<Incident>> {
    let (from, to) = (opened.from, opened.to);
    let mut found = match (&args.incidents, &args.history.data, &args.history.url) {
        (Some(path), _, _) => incidents::read(path)?,
        (None, Some(folder), _) => incidents::marked(folder)?,
        (None, None, Some(url)) => asked(url, from, to, runtime),
        _ => Vec::new(),
    };
    found.retain(|incident| incident.to >= from && incident.from < to);
    Ok(found)
}

/// The marks of a tradewatch; another server has none.
fn asked(url: &str, from: Timestamp, to: Timestamp, runtime: &Handle) -> Vec<Incident> {
    let (from, to) = (from.as_millis(), to.as_millis());
    let base = url.trim_end_matches('/');
    let url = format!("{base}/api/annotations?from={from}&to={to}&tags={}&limit=10000", incidents::TAG);
    let body = runtime.block_on(crate::check::body(&url)).unwrap_or_default();
    let marks: Vec<Annotation> = serde_json::from_str(&body).unwrap_or_default();
    incidents::of_annotations(&marks)
}
