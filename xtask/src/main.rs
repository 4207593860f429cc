//! Checks, generators and long runs of this repository.
//!
//! `cargo xtask ci` is the whole test run; `cargo xtask night` is the same at full sizes.
#![allow(clippy::disallowed_methods)] // It times its stages and waits for servers that it starts.

mod arrows;
mod bench;
mod budget;
mod calendars;
mod ci;
mod clients;
mod conformance;
mod dashboards;
mod readers;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, generators and long runs of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every check and test; installs what the tests use.
    Ci {
        /// Run only the stages whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// The same as `ci` with long runs at full size.
    Night,
    /// Counts instructions of the SDK's hot path against their budget, and runs memcheck over its unsafe code.
    Budget {
        /// Write what was counted as the new budget.
        #[arg(long)]
        record: bool,
    },
    /// Runs acceptance tests of Prometheus and OpenMetrics; without a path those of the repository.
    Conformance {
        /// Files and folders with cases; what they are is told by their content.
        paths: Vec<PathBuf>,
        /// Print the figures only, not the failing cases.
        #[arg(long)]
        quiet: bool,
        /// Fail only if a file passes fewer cases than `conformance/ratchet.toml` says.
        #[arg(long)]
        ratchet: bool,
        /// Write the figures into `conformance/ratchet.toml`.
        #[arg(long)]
        record: bool,
    },
    /// Writes the session tables of the calendar from the published data sets.
    Calendars {
        /// Fail if a committed file differs, write nothing.
        #[arg(long)]
        check: bool,
    },
    /// Measures us beside our rivals, on the release build.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Runs `tradewatch check` over the corpus of known faults and of what is right; prints rows, precision, recall.
    Corpus {
        /// Print every row by name.
        #[arg(long)]
        rows: bool,
    },
    /// Writes the dashboards from their source.
    Dashboards {
        /// Fail if a committed file differs, write nothing.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// From a condition at a target to a webhook, beside Prometheus with Alertmanager.
    Alerts {
        /// Trials at each setting.
        #[arg(long, default_value_t = bench::TRIALS, value_parser = clap::value_parser!(u64).range(1..=bench::TRIALS_MAX as u64))]
        trials: u64,
        /// Ours; the release build unless named.
        #[arg(long)]
        tradewatch: Option<PathBuf>,
        /// The rival.
        #[arg(long, default_value = bench::PROMETHEUS)]
        prometheus: PathBuf,
        /// The rival's Alertmanager.
        #[arg(long, default_value = bench::ALERTMANAGER)]
        alertmanager: PathBuf,
    },
    /// Ingestion, memory, queries, disk and the start after a kill, beside Prometheus and VictoriaMetrics.
    Engine(bench::engine::Options),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Ci { only } => ci::run(&root(), ci::Size::Small, only.as_deref()),
        Command::Night => ci::run(&root(), ci::Size::Full, None),
        Command::Budget { record } => budget::run(&ci::Run::alone(&root()), record),
        Command::Conformance { paths, quiet, ratchet, record } => {
            conformance::run(&root(), &conformance::Options { paths, quiet, ratchet, record })
        }
        Command::Calendars { check } => calendars::run(&root(), check),
        Command::Bench { what: Bench::Alerts { trials, tradewatch, prometheus, alertmanager } } => {
            let tradewatch = tradewatch.unwrap_or_else(|| bench::Options::shipped(&root()).tradewatch);
            let trials = trials as usize;
            bench::alerts(&root(), &bench::Options { trials, tradewatch, prometheus, alertmanager })
        }
        Command::Bench { what: Bench::Engine(options) } => bench::engine::run(&root(), &options),
        Command::Corpus { rows } => corpus(rows),
        Command::Dashboards { check } => dashboards::run(&root(), check),
    }
}

/// The corpus of `tradewatch check`, printed.
fn corpus(rows: bool) -> Result<()> {
    let read =
        |path: &str| std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"));
    let outcome = tradewatch_check::corpus::run(&read).map_err(anyhow::Error::msg)?;
    print!("{}", outcome.text(rows));
    if outcome.recall() < 1.0 || outcome.precision() < 0.95 {
        anyhow::bail!("the corpus asks for recall 1.000 and precision 0.950");
    }
    Ok(())
}

/// The repository's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}
