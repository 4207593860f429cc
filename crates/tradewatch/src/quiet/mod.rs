//! `tradewatch quiet`: a stretch of the calendar in which nobody is paged for nothing, and every incident is found.
//!
//! Stepping a year second by second would take hours, and most of it would show nothing: an alert depends on what its
//! expression reads and on its `for`, for the shipped rules on the last twenty minutes ([`Files::memory`]; more than
//! [`plan::MEMORY_MINUTES`] is refused). The calendar is therefore cut into *stretches*. Each is a platform of its own that is started two minutes before
//! the stretch and then runs at full resolution: every tick, request, scrape and evaluation. What connects days, the
//! books of positions and the day's loss, begins anew with each stretch. The full size takes
//!
//! - every session from ten minutes before its opening to ten minutes after its close; its fourth hour is a quiet
//!   lunch, in which prices hardly move;
//! - ten minutes on each side of the edges of the extended hours and of each change of clocks in New York and London;
//! - 22 minutes at a random time of every night, weekend and holiday;
//! - a halt of the whole market, and each month a maintenance: every service is restarted in turn under a silence.
//!
//! The small size, `--edges`, takes openings and closes of the two weeks around each holiday, half day and change of
//! clocks, from two minutes before to twelve after: both of the days beside it, and one day in five of the others. What is
//! simulated is printed beside what passed.
//!
//! An *incident* is a drill's fault at a random time at which its alert can fire, on a platform of its own; it is
//! found if the drill is proven: every alert expected is told in time and clears, and nothing else is told.

mod plan;
mod run;

use crate::drill::{Files, Outcome, Scene, in_parallel, load, play};
use anyhow::{Result, ensure};
use clap::Args;
use jiff::civil::Date;
use plan::{Hours, Plan};
use run::{Page, Quiet};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Options of `quiet`.
#[derive(Args)]
pub struct QuietArgs {
    /// Which platform
    #[arg(long)]
    pub platform: String,
    /// The first day, in New York
    #[arg(long, value_name = "DATE", default_value = "2026-01-01")]
    pub from: Date,
    /// The last day
    #[arg(long, value_name = "DATE", default_value = "2026-12-31")]
    pub to: Date,
    /// How many incidents are placed; each has to be found
    #[arg(long, default_value_t = 200)]
    pub incidents: usize,
    /// Only openings and closes around holidays, half days and changes of clocks, instead of every session
    #[arg(long)]
    pub edges: bool,
    /// Everything random follows from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulations at once; as many as there are cores if absent
    #[arg(long)]
    pub jobs: Option<usize>,
    /// A folder of platforms instead of the built-in one
    #[arg(long, value_name = "DIR")]
    pub platforms: Option<PathBuf>,
    /// Where the built-in platforms are written to
    #[arg(long, default_value = crate::DATA_DIR)]
    pub data_dir: PathBuf,
}

/// One piece of the work.
enum Work<'p> {
    Stretch(&'p plan::Stretch),
    Incident(&'p plan::Incident),
}

/// What came of it.
enum Came {
    Quiet(Quiet),
    Found(Box<Outcome>),
}

/// Simulates the days; fails if somebody is paged for nothing or an incident is missed.
///
/// # Errors
/// As `drill`, and if the days lie beyond the calendar.
pub fn run(args: &QuietArgs) -> Result<ExitCode> {
    let (files, drills) = load(args.platforms.as_deref(), &args.platform, &args.data_dir)?;
    let hours = if args.edges { Hours::Edges } else { Hours::All };
    let memory = files.memory().map_or(u64::MAX, |memory| memory.as_secs());
    ensure!(
        memory <= 60 * plan::MEMORY_MINUTES.unsigned_abs(),
        "a rule of {} depends on what was {memory} s ago; stretches show only rules that forget within {} minutes",
        args.platform,
        plan::MEMORY_MINUTES
    );
    let plan = Plan::new(args.from, args.to, hours, &drills.drills, args.incidents, args.seed)?;
    let began = Instant::now();
    let came = simulate(&plan, &files, args)?;
    let good = tell(args, &plan, &came, began.elapsed().as_secs_f64());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn simulate(plan: &Plan, files: &Files, args: &QuietArgs) -> Result<Vec<Came>> {
    let stretches = plan.stretches.iter().map(Work::Stretch);
    let mut work: Vec<(u64, Work)> =
        (args.seed..).zip(stretches.chain(plan.incidents.iter().map(Work::Incident))).collect();
    // The longest first, so that the cores end together.
    work.sort_by_key(|(_, one)| {
        std::cmp::Reverse(match one {
            Work::Stretch(stretch) => stretch.to.duration_since(stretch.from).as_secs(),
            Work::Incident(incident) => incident.drill.length().as_secs() as i64,
        })
    });
    let done = AtomicUsize::new(0);
    in_parallel(&work, args.jobs, |(seed, one)| {
        let came = match one {
            Work::Stretch(stretch) => Came::Quiet(run::quiet(stretch, files, &plan.clock, *seed)),
            Work::Incident(incident) => {
                let start = incident.from.as_second() * 1_000_000_000;
                let scene = Scene { seed: *seed, at: Some((start, plan.clock.clone())) };
                let mut outcome = play(&incident.drill, files, &scene);
                outcome.drill = format!("{} at {}", outcome.drill, incident.from);
                Came::Found(Box::new(outcome))
            }
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(work.len().div_ceil(20)) {
            eprintln!("{done} of {} stretches and incidents simulated", work.len());
        }
        came
    })
}

/// Prints what came; answers whether it is good.
fn tell(args: &QuietArgs, plan: &Plan, came: &[Came], spent: f64) -> bool {
    let mut kinds: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    let (mut pages, mut found, mut missed): (Vec<&Page>, usize, Vec<&Outcome>) = (Vec::new(), 0, Vec::new());
    let mut errors = Vec::new();
    for one in came {
        let (kind, seconds) = match one {
            Came::Quiet(quiet) => {
                pages.extend(&quiet.pages);
                errors.extend(&quiet.error);
                (quiet.kind, quiet.seconds)
            }
            Came::Found(outcome) if outcome.is_proven() => {
                found += 1;
                ("incidents", outcome.seconds)
            }
            Came::Found(outcome) => {
                missed.push(outcome);
                ("incidents", outcome.seconds)
            }
        };
        let sum = kinds.entry(kind).or_default();
        *sum = (sum.0 + 1, sum.1 + seconds);
    }
    crate::outln!("{} from {} to {}, seed {}", args.platform, args.from, args.to, args.seed);
    let days: Vec<String> = plan.days.iter().map(|(what, count)| format!("{count} {what}")).collect();
    crate::outln!("the calendar holds {}\n", days.join(", "));
    crate::outln!("simulated at full resolution  stretches     seconds");
    for (kind, (count, seconds)) in &kinds {
        crate::outln!("{kind:<28}  {count:>9}  {seconds:>10}");
    }
    let all: u64 = kinds.values().map(|(_, seconds)| seconds).sum();
    let passed = plan.passed.as_secs();
    let share = 100.0 * (all as f64) / (passed as f64);
    crate::outln!("{all} s simulated of {passed} s that passed ({share:.1} %), in {spent:.0} s\n");
    for error in &errors {
        crate::outln!("BROKEN  {error}");
    }
    for page in &pages {
        crate::outln!("PAGE    {} {} {} ({})", page.at, page.severity, page.alert, page.during);
    }
    for outcome in &missed {
        crate::outln!("MISSED  {}: {}", outcome.drill, outcome.problems().join("; "));
    }
    crate::outln!(
        "{} pages without an incident, {found} of {} incidents found",
        pages.len(),
        plan.incidents.len()
    );
    pages.is_empty() && missed.is_empty() && errors.is_empty()
}
