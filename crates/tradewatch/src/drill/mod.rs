//! `tradewatch drill`: shows that each alert of a platform fires by a real fault, is told, and clears.
//!
//! Simulated, the whole pipeline runs on virtual time from one seed: the services' own code, the shipped scrape
//! configuration, rules and routing. A fault acts on the world (process, socket, database, broker, feed, model),
//! never on a metric, a rule or the store. With `--live` ([`live`]) the same drills disturb what really runs.

mod fault;
mod file;
mod live;
mod pipeline;
mod report;
mod run;

pub use file::{DRILLS, Drill, DrillFile, Fault, ModelFault, Post};
pub use pipeline::{Files, Pipeline};
pub use run::{Outcome, Scene, play};

use anyhow::{Context, Result, bail};
use clap::Args;
use live::{Hooks, World};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The monitor that is asked unless another one is named.
const MONITOR: &str = "http://127.0.0.1:9090";

/// Options of `drill`.
#[derive(Args)]
pub struct DrillArgs {
    /// Which platform
    #[arg(long)]
    pub platform: String,
    /// Only these drills, or the drills of these alerts
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Everything random follows from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Move every threshold out of reach first: then each alert must be missed, or its drill proves nothing
    #[arg(long)]
    pub out_of_reach: bool,
    /// Drills at once; as many as there are cores if absent
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Write a report; .md, .html or .json says in which form
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    /// A folder of platforms instead of the built-in one
    #[arg(long, value_name = "DIR")]
    pub platforms: Option<PathBuf>,
    /// Where the built-in platforms are written to; live, the data directory of the demo
    #[arg(long, default_value = crate::DATA_DIR)]
    pub data_dir: PathBuf,
    /// Real faults on a running demo, or with --hooks on a staging of yours, instead of the simulation
    #[arg(long, conflicts_with_all = ["out_of_reach", "jobs"])]
    pub live: bool,
    /// The monitor: live, the one that is asked (http://127.0.0.1:9090); it is told what the drills showed
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Commands that make the faults of your staging and take them back (docs/drills.md)
    #[arg(long, value_name = "FILE", requires = "live")]
    pub hooks: Option<PathBuf>,
    /// Live, alerts whose condition has to hold for longer are left out
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::duration)]
    pub hold_max: Duration,
}

/// Runs the drills of a platform and prints the table; fails unless every alert is proven.
///
/// # Errors
/// If the platform is not there, its files say nothing sensible, or it is a production platform.
pub fn run(args: &DrillArgs) -> Result<ExitCode> {
    for form in &args.report {
        report::check(form)?;
    }
    if args.live {
        return tokio::runtime::Handle::current().block_on(run_live(args));
    }
    let (mut files, file) = load(args.platforms.as_deref(), &args.platform, &args.data_dir)?;
    if args.out_of_reach {
        files.move_thresholds_out_of_reach()?;
    }
    let drills = chosen(&file, &args.only)?;
    let began = Instant::now();
    let scene = Scene::any_day(args.seed);
    let done = AtomicUsize::new(0);
    let outcomes = in_parallel(&drills, args.jobs, |drill| {
        let outcome = run::play(drill, &files, &scene);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        match outcome.problems().join("; ") {
            none if none.is_empty() => eprintln!("[{done:>3}/{}] proven  {}", drills.len(), outcome.drill),
            why => eprintln!("[{done:>3}/{}] FAILED  {}: {why}", drills.len(), outcome.drill),
        }
        outcome
    })?;
    let simulated: u64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    let spent = began.elapsed().as_secs_f64();
    let unproven = if args.only.is_empty() { file.unproven(&files.alerts()) } else { Vec::new() };
    let report =
        Report { platform: &args.platform, seed: Some(args.seed), outcomes: &outcomes, unproven: &unproven };
    crate::out!("{}", report.table());
    for form in &args.report {
        report.write(form)?;
    }
    let good = if args.out_of_reach {
        crate::outln!("{}", report.out_of_reach());
        report.is_all_missed()
    } else {
        unproven.is_empty() && outcomes.iter().all(Outcome::is_proven)
    };
    crate::outln!("{simulated} s of trading simulated in {spent:.0} s");
    if let Some(url) = args.url.as_ref().filter(|_| !args.out_of_reach) {
        let world = World::new(url, &args.data_dir, None);
        tokio::runtime::Handle::current().block_on(world.hand_in(&report.proofs("simulated")))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a platform's folder says, and its drills.
///
/// # Errors
/// As [`run`].
pub fn load(platforms: Option<&Path>, platform: &str, data_dir: &Path) -> Result<(Files, DrillFile)> {
    let platforms = crate::files::platforms(platforms, platform, data_dir)?;
    let path = platforms.join(platform).join(DRILLS);
    let files = Files::load(&platforms, platform)?;
    if !path.exists() {
        bail!("{} is missing: write one drill for each alert (docs/drills.md)", path.display());
    }
    let file = DrillFile::load(&path, Some(&files.alerts()))?;
    file.refuse_production(&path)?;
    Ok((files, file))
}

/// The same on what really runs.
async fn run_live(args: &DrillArgs) -> Result<ExitCode> {
    let platforms = crate::files::platforms(args.platforms.as_deref(), &args.platform, &args.data_dir)?;
    let hooks = args.hooks.as_deref().map(Hooks::load).transpose()?;
    let with_hooks = hooks.is_some();
    let world = World::new(args.url.as_deref().unwrap_or(MONITOR), &args.data_dir, hooks);
    let rules = world.rules().await?;
    let file = live::load(&platforms.join(&args.platform).join(DRILLS), &rules)?;
    let (drills, left_out) = live::playable(chosen(&file, &args.only)?, &rules, args.hold_max, with_hooks);
    if drills.is_empty() {
        bail!("no drill is left to be played live:\n  {}", left_out.join("\n  "));
    }
    let began = Instant::now();
    let mut outcomes = Vec::new();
    for drill in &drills {
        eprintln!("[{:>3}/{}] {}: {}", outcomes.len() + 1, drills.len(), drill.name.value, drill.about);
        let outcome = live::play(drill, &world).await;
        let verdict = if outcome.is_proven() { "proven" } else { "FAILED" };
        eprintln!("          {verdict} after {} s", outcome.seconds);
        outcomes.push(outcome);
    }
    let report = Report { platform: &args.platform, seed: None, outcomes: &outcomes, unproven: &[] };
    crate::out!("{}", report.table());
    if !left_out.is_empty() {
        crate::outln!("left to the simulation:\n  {}", left_out.join("\n  "));
    }
    crate::outln!("{:.0} s on the wall clock", began.elapsed().as_secs_f64());
    for form in &args.report {
        report.write(form)?;
    }
    world.hand_in(&report.proofs("live")).await?;
    let proven = outcomes.iter().all(Outcome::is_proven);
    Ok(if proven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The drills that are asked for: by their own name or by an alert that they prove.
fn chosen(file: &DrillFile, only: &[String]) -> Result<Vec<Drill>> {
    if only.is_empty() {
        return Ok(file.drills.clone());
    }
    let wanted = |drill: &&Drill| {
        only.iter()
            .any(|name| *name == drill.name.value || drill.expect.iter().any(|e| e.alert.value == *name))
    };
    let drills: Vec<Drill> = file.drills.iter().filter(wanted).cloned().collect();
    for name in only {
        let known = drills
            .iter()
            .any(|drill| drill.name.value == *name || drill.expect.iter().any(|e| e.alert.value == *name));
        if !known {
            let names: Vec<_> = file.drills.iter().map(|drill| drill.name.value.as_str()).collect();
            bail!(
                "no drill is called {name:?}, and none proves an alert of that name; there are {}",
                names.join(", ")
            );
        }
    }
    Ok(drills)
}

/// Does each piece of work on one of `jobs` threads and answers the results in the order of the work.
///
/// # Errors
/// If one of them panicked.
pub fn in_parallel<T: Sync, R: Send>(
    work: &[T],
    jobs: Option<usize>,
    each: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.unwrap_or(cores).clamp(1, work.len().max(1));
    let next = AtomicUsize::new(0);
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = work.get(at) else { return done };
                done.push((at, each(one)));
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().ok().context("a simulation panicked"));
        joined.collect::<Result<Vec<_>>>().map(|done| done.into_iter().flatten().collect())
    })?;
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
