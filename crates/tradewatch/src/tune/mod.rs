//! `tradewatch tune`: thresholds from what is normal.

mod baseline;
mod edit;
mod find;
mod print;
mod quantile;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::runtime::Handle;
use tradewatch_alert::replay::{Follow, Report, Task, replay};
use tradewatch_alert::rules::{GroupSpec, RuleFile, RuleKind, RuleSpec};
use tradewatch_tsdb::{Labels, Timestamp};

use crate::backtest::history::{self, HistoryArgs, Opened};
use crate::backtest::incidents::{self, Incident};
use crate::backtest::rules::{self, Loaded};
use crate::backtest::{Bar, end_on_interrupt, options, replayed};
use baseline::{Baseline, Demands, Values};
use find::Comparison;

/// The recording rules that give what other rules compare.
const PROBE: &str = "tradewatch:tune:";
/// What is told of all values where there is no calendar.
const ALWAYS: &str = "always";

/// Options of `tune`.
#[derive(Args, Clone)]
pub struct TuneArgs {
    /// Rule files, or folders of them
    #[arg(required = true)]
    pub rules: Vec<PathBuf>,
    #[command(flatten)]
    pub history: HistoryArgs,
    /// Only alerts of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub alert: Vec<String>,
    /// The calendar by whose phases values are told apart, for rules without a label trading_calendar
    #[arg(long, value_name = "MIC")]
    pub calendar: Option<String>,
    /// Incidents, whose time is not normal; without it the marks tagged `incident` of the data directory
    #[arg(long, value_name = "FILE")]
    pub incidents: Option<PathBuf>,
    /// The baseline is the level under which this share of normal values lies
    #[arg(long, default_value_t = 0.99, value_parser = share)]
    pub quantile: f64,
    /// The threshold is the baseline times this
    #[arg(long, default_value_t = 2.0, value_parser = factor)]
    pub factor: f64,
    /// Nothing is proposed on less than so many days of history
    #[arg(long, default_value_t = 7)]
    pub min_days: u32,
    /// Nothing is proposed for a phase that was seen on fewer days
    #[arg(long, default_value_t = 5)]
    pub min_sessions: u32,
    /// Change the rule files
    #[arg(long)]
    pub write: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.5..=0.9999).contains(value));
    value.ok_or_else(|| format!("{text:?} is no share; write a number from 0.5 to 0.9999"))
}

fn factor(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (1.0..=1000.0).contains(value));
    value.ok_or_else(|| format!("{text:?} is no factor; write a number from 1 to 1000"))
}

/// One rule that compares something with a constant.
pub struct Tuned {
    pub path: PathBuf,
    pub line: usize,
    pub name: String,
    pub comparison: Comparison,
    /// What is normal, by phase.
    pub phases: BTreeMap<String, Baseline>,
    /// The threshold that holds in every phase with enough data.
    pub proposed: Option<f64>,
    /// What the alert did, and what it would have done.
    pub alerts: Option<(Fired, Fired)>,
    file: usize,
    group: usize,
    rule: usize,
    calendar: Option<String>,
}

/// How often and how long an alert fired.
pub struct Fired {
    times: usize,
    firing: Duration,
}

impl Fired {
    fn said(&self, verb: &str) -> String {
        format!("{verb} {} times, {:.0} minutes in all", self.times, self.firing.as_secs_f64() / 60.0)
    }
}

impl Tuned {
    /// Whether the proposal is what stands there.
    pub fn unchanged(&self) -> bool {
        self.proposed.is_some_and(|proposed| proposed == self.comparison.threshold)
    }

    fn change(&self) -> Option<edit::Change> {
        let number = self.proposed.filter(|_| !self.unchanged())?;
        Some(edit::Change { group: self.group, rule: self.rule, constant: self.comparison.constant, number })
    }
}

/// `tradewatch tune`.
///
/// # Errors
/// Rules, incidents or history that cannot be read, and a rule file that cannot be changed.
pub async fn run(args: TuneArgs) -> Result<ExitCode> {
    end_on_interrupt();
    let runtime = Handle::current();
    let said = tokio::task::spawn_blocking(move || tune(&args, runtime));
    crate::out!("{}", said.await.context("it broke off")??);
    Ok(ExitCode::SUCCESS)
}

fn tune(args: &TuneArgs, runtime: Handle) -> Result<String> {
    let loaded = rules::load(&args.rules)?;
    let calendar = crate::backtest::calendar(&args.history)?;
    let (mut tuned, others) = find_all(&loaded, args);
    if tuned.is_empty() {
        bail!("no alert compares anything with a constant:\n{}", others.join("\n"));
    }
    for mic in tuned.iter().filter_map(|one| one.calendar.as_ref()) {
        if !calendar.mics().contains(&mic.as_str()) {
            bail!("there is no calendar {mic:?}; there are: {}", calendar.mics().join(", "));
        }
    }
    let now = tradewatch_server::clock::now();
    let mut opened = history::open(&args.history, runtime.clone(), now)?;
    let incidents = match (&args.incidents, &args.history.data) {
        (Some(path), _) => incidents::read(path)?,
        (None, Some(folder)) => incidents::marked(folder)?,
        _ => Vec::new(),
    };
    let demands = Demands {
        days: args.min_sessions as usize,
        span: Duration::from_secs(86_400 * u64::from(args.min_days)),
        quantile: args.quantile,
        factor: args.factor,
    };
    let phase = |one: &Tuned, at: Timestamp| -> String {
        let Some(mic) = &one.calendar else { return ALWAYS.to_owned() };
        match jiff::Timestamp::from_millisecond(at.as_millis()) {
            Ok(at) => format!("{mic} {}", calendar.phase(mic, at).as_str()),
            Err(_) => format!("{mic} unknown"),
        }
    };
    let gathered = gather(args, &loaded, &tuned, &incidents, &mut opened, &phase)?;
    for (one, mut values) in tuned.iter_mut().zip(gathered) {
        let above = one.comparison.above;
        values.values_mut().for_each(Values::close);
        let seen: Vec<(Timestamp, Timestamp)> = values.values().filter_map(Values::seen).collect();
        let (first, last) =
            (seen.iter().map(|(first, _)| *first).min(), seen.iter().map(|(_, last)| *last).max());
        let span = first.zip(last).map(|(first, last)| last.since(first)).unwrap_or_default();
        let finish = |(name, values): (String, Values)| (name, values.finish(above, span, &demands));
        one.phases = values.into_iter().map(finish).collect();
        one.proposed = baseline::overall(&one.phases, above);
    }
    let mut texts = Vec::new();
    for (at, file) in loaded.iter().enumerate() {
        let changes: Vec<edit::Change> =
            tuned.iter().filter(|one| one.file == at).filter_map(Tuned::change).collect();
        let shown = file.path.display().to_string();
        let old = std::fs::read_to_string(&file.path).with_context(|| format!("read {shown}"))?;
        let new = edit::apply(&shown, &old, &changes)?;
        texts.push((old, new));
    }
    if tuned.iter().any(|one| one.change().is_some()) {
        if args.history.url.is_some() {
            opened = history::open(&args.history, runtime, now)?;
        }
        compare(args, &loaded, &texts, &mut tuned, &mut opened)?;
    }
    let mut out = String::new();
    tuned.iter().for_each(|one| print::rule(&mut out, one));
    for other in others {
        out += &format!("{other}\n");
    }
    for (file, (old, new)) in loaded.iter().zip(&texts).filter(|(_, (old, new))| old != new) {
        out += &format!("\n{}", edit::diff(&file.path.display().to_string(), old, new));
        if args.write {
            replace(&file.path, new)?;
            out += &format!("\n{} is changed\n", file.path.display());
        }
    }
    opened.source.remarks().iter().for_each(|remark| out += &format!("\nnote: {remark}\n"));
    Ok(out)
}

/// Writes beside the file and renames, so that nobody reads half a file.
fn replace(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("tune.tmp");
    std::fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("replace {}", path.display()))
}

/// The alerts that can be tuned, and why the others cannot.
fn find_all(loaded: &[Loaded], args: &TuneArgs) -> (Vec<Tuned>, Vec<String>) {
    let (mut tuned, mut others) = (Vec::new(), Vec::new());
    for (file, one) in loaded.iter().enumerate() {
        for (group, spec) in one.file.groups.iter().enumerate() {
            for (rule, spec) in spec.rules.iter().enumerate().filter(|(_, spec)| spec.is_alerting()) {
                if !args.alert.is_empty() && !args.alert.contains(&spec.name) {
                    continue;
                }
                match find::comparison(spec) {
                    Err(why) => {
                        others.push(format!("{}:{}: {}: {why}", one.path.display(), spec.line, spec.name))
                    }
                    Ok(comparison) => tuned.push(Tuned {
                        path: one.path.clone(),
                        line: spec.line,
                        name: spec.name.clone(),
                        comparison,
                        phases: BTreeMap::new(),
                        proposed: None,
                        alerts: None,
                        file,
                        group,
                        rule,
                        calendar: spec
                            .trading_calendar()
                            .map(str::to_owned)
                            .or_else(|| args.calendar.clone()),
                    }),
                }
            }
        }
    }
    (tuned, others)
}

/// Gathers values while a replay goes on.
struct Gather<'a> {
    bar: Bar,
    tuned: &'a [Tuned],
    incidents: &'a [Incident],
    phase: &'a dyn Fn(&Tuned, Timestamp) -> String,
    values: Vec<BTreeMap<String, Values>>,
    /// Where a rule stood at the last time: the calendar is asked once per evaluation.
    last: Vec<Option<(Timestamp, Option<String>)>>,
    interrupted: bool,
}

impl Follow for Gather<'_> {
    fn progress(&mut self, from: Timestamp, done: Timestamp, to: Timestamp) -> ControlFlow<()> {
        let goes_on = self.bar.progress(from, done, to);
        self.interrupted |= goes_on.is_break();
        goes_on
    }

    fn sampled(&mut self, rule: &str, at: Timestamp, _: &Labels, value: f64) {
        let Some(index) = rule.strip_prefix(PROBE).and_then(|number| number.parse::<usize>().ok()) else {
            return;
        };
        let tuned = &self.tuned[index];
        if self.last[index].as_ref().is_none_or(|(last, _)| *last != at) {
            let is_normal = !self.incidents.iter().any(|incident| incident.from <= at && at <= incident.to);
            self.last[index] = Some((at, is_normal.then(|| (self.phase)(tuned, at))));
        }
        if let Some((_, Some(phase))) = &self.last[index] {
            let values = &mut self.values[index];
            if !values.contains_key(phase) {
                values.insert(phase.clone(), Values::default());
            }
            values.get_mut(phase).expect("just inserted").take(at, value, tuned.comparison.above);
        }
    }

    fn run(&mut self, tasks: Vec<Task<'_>>) {
        self.bar.run(tasks);
    }
}

/// What every rule would have compared, by phase.
fn gather(
    args: &TuneArgs,
    loaded: &[Loaded],
    tuned: &[Tuned],
    incidents: &[Incident],
    opened: &mut Opened,
    phase: &dyn Fn(&Tuned, Timestamp) -> String,
) -> Result<Vec<BTreeMap<String, Values>>> {
    let mut options = options(&args.history, opened)?;
    // Recording rules as they are, and in the place of each alert what it compares.
    let mut files: Vec<RuleFile> = loaded.iter().map(|one| one.file.clone()).collect();
    for group in files.iter_mut().flat_map(|file| &mut file.groups) {
        group.rules.retain(|rule| !rule.is_alerting());
    }
    for (at, one) in tuned.iter().enumerate() {
        let group = &loaded[one.file].file.groups[one.group];
        let name = format!("{PROBE}{at}");
        let expr = tradewatch_promql::parse(&one.comparison.measured)
            .with_context(|| format!("{}:{}: {}", one.path.display(), one.line, one.comparison.measured))?;
        let rule = RuleSpec {
            name: name.clone(),
            kind: RuleKind::Recording,
            query: one.comparison.measured.clone(),
            expr,
            labels: BTreeMap::new(),
            ..group.rules[one.rule].clone()
        };
        let probe = GroupSpec { name: name.clone(), limit: 0, rules: vec![rule], ..group.clone() };
        files[one.file].groups.push(probe);
        options.watched.insert(name);
    }
    let mut gather = Gather {
        bar: Bar::new("reading"),
        tuned,
        incidents,
        phase,
        values: vec![BTreeMap::new(); tuned.len()],
        last: vec![None; tuned.len()],
        interrupted: false,
    };
    let report = replay(&files, &mut opened.source, &options, &mut gather);
    gather.bar.end();
    let report = report?;
    if let Some((rule, error)) = report.rules.iter().find_map(|rule| Some((rule, rule.errors.keys().next()?)))
    {
        bail!("{}:{}: {error}", rule.file, rule.line);
    }
    if gather.interrupted && report.ended_at.is_some() {
        bail!("ended early; nothing is proposed on a part of the history");
    }
    for (values, one) in gather.values.iter_mut().zip(tuned) {
        if values.is_empty() {
            values.insert(one.calendar.clone().unwrap_or_else(|| ALWAYS.to_owned()), Values::default());
        }
    }
    Ok(gather.values)
}

/// Backtests the files as they are and as they would be.
fn compare(
    args: &TuneArgs,
    loaded: &[Loaded],
    texts: &[(String, String)],
    tuned: &mut [Tuned],
    opened: &mut Opened,
) -> Result<()> {
    let options = options(&args.history, opened)?;
    let parse = |(one, text): (&Loaded, &str)| RuleFile::parse(&one.path.display().to_string(), text).0;
    let old: Vec<RuleFile> = loaded.iter().zip(texts).map(|(one, (old, _))| parse((one, old))).collect();
    let new: Vec<RuleFile> = loaded.iter().zip(texts).map(|(one, (_, new))| parse((one, new))).collect();
    let before = replayed("as it is", &old, opened, &options)?;
    let after = replayed("as proposed", &new, opened, &options)?;
    for one in tuned.iter_mut().filter(|one| one.change().is_some()) {
        one.alerts = Some((fired(one, &before, &options), fired(one, &after, &options)));
    }
    Ok(())
}

fn fired(tuned: &Tuned, report: &Report, options: &tradewatch_alert::replay::Options) -> Fired {
    let path = tuned.path.display().to_string();
    let is_own = |at: usize| {
        let rule = &report.rules[at];
        rule.file == path && rule.line == tuned.line && rule.name == tuned.name
    };
    let episodes = report.episodes.iter().filter(|episode| is_own(episode.rule));
    let spans = episodes.filter_map(|episode| {
        let end = episode.ended_at.unwrap_or(options.to).min(options.to);
        Some(end.since(episode.fired_at?.max(options.from)))
    });
    let spans: Vec<Duration> = spans.collect();
    Fired { times: spans.len(), firing: spans.iter().sum() }
}
