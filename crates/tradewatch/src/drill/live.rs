//! Drills on what really runs: real processes, real faults, times of the wall clock.
//!
//! A fault is made by the running demo, through its control socket, or by a command of the user's own, through a file of
//! hooks that is named on the command line. What came of it is read from the monitor: alerts, what holds them back,
//! and the ledger of notifications that were delivered. A fault is taken back as soon as everything that was expected
//! of it has come.

use super::file::{Drill, DrillFile, Expectation, Fault};
use super::pipeline::{Standing, Told};
use super::run::{Outcome, Track};
use crate::commands::{base_url, client};
use crate::demo::control::{self, Request};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tradewatch_platforms::runtime::http::Client;
use tradewatch_tsdb::Labels;

/// How often the monitor is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long alerts of the drill before may take to end.
const QUIET_MAX: Duration = Duration::from_secs(600);
/// How long one hook may take.
const HOOK_MAX: Duration = Duration::from_secs(60);
/// Notifications of the ledger that are looked at.
const LEDGER: usize = 1_000;
/// Bytes of what a hook wrote that are shown when it fails.
const HOOK_TEXT_MAX: usize = 2_000;
/// A second that does not come.
const NEVER: u64 = u64::MAX / 4;

/// What a drill needs of the world that it disturbs.
pub struct World {
    monitor: String,
    client: Client,
    /// Of the demo.
    data_dir: PathBuf,
    hooks: Option<Hooks>,
}

/// Commands that make a fault on somebody's staging and take it back, by the name that `hook` of a fault gives.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Hooks(BTreeMap<String, Hook>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hook {
    /// Makes the fault; run by `sh -c`.
    inject: String,
    /// Takes it back.
    undo: String,
}

impl Hooks {
    /// Reads a file of hooks.
    ///
    /// # Errors
    /// One line with file, line and column.
    pub fn load(path: &Path) -> Result<Hooks> {
        let text = tradewatch_server::config::read_limited(path)?;
        Ok(tradewatch_server::config::from_yaml(&text, path)?)
    }

    async fn run(&self, name: &str, undo: bool) -> Result<()> {
        let hook = self.0.get(name).with_context(|| {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            format!("no hook is called {name:?}; there are {}", known.join(", "))
        })?;
        let command = if undo { &hook.undo } else { &hook.inject };
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true).env("TRADEWATCH_HOOK", name);
        let what = || format!("hook {name:?}, `{command}`");
        let done = timeout(HOOK_MAX, shell.output()).await;
        let output =
            done.with_context(|| format!("{} took longer than {HOOK_MAX:?}", what()))?.with_context(what)?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let from = text.ceil_char_boundary(text.len().saturating_sub(HOOK_TEXT_MAX));
            bail!("{} ended with {}: {}", what(), output.status, text[from..].trim());
        }
        Ok(())
    }
}

/// What the monitor says now.
#[derive(Debug, Default)]
struct Look {
    standing: Vec<Standing>,
    /// Those that fire, and whether something holds them back.
    firing: HashMap<String, Labels>,
    /// Fingerprint and key of each delivery.
    delivered: HashSet<(String, String)>,
}

impl World {
    /// The world that the monitor at `url` watches.
    pub fn new(url: &str, data_dir: &Path, hooks: Option<Hooks>) -> World {
        World { monitor: base_url(url), client: client(), data_dir: data_dir.to_path_buf(), hooks }
    }

    async fn get(&self, path: &str) -> Result<Json> {
        let url = format!("{}{path}", self.monitor);
        let answer = self.client.get(&url).await;
        let answer =
            answer.with_context(|| format!("no monitor answers at {}; name it with --url", self.monitor))?;
        anyhow::ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
        Ok(answer.json()?)
    }

    /// The alerting rules of the monitor, and how long each condition has to hold.
    ///
    /// # Errors
    /// If the monitor does not answer.
    pub async fn rules(&self) -> Result<BTreeMap<String, Duration>> {
        let answer = self.get("/api/v1/rules?type=alert&exclude_alerts=true").await?;
        let mut found = BTreeMap::new();
        for group in answer["data"]["groups"].as_array().into_iter().flatten() {
            for rule in group["rules"].as_array().into_iter().flatten() {
                let hold = Duration::try_from_secs_f64(rule["duration"].as_f64().unwrap_or_default());
                found.insert(rule["name"].as_str().unwrap_or_default().to_owned(), hold.unwrap_or_default());
            }
        }
        Ok(found)
    }

    async fn look(&self) -> Result<Look> {
        let mut look = Look::default();
        let rules = self.get("/api/v1/alerts").await?;
        for alert in rules["data"]["alerts"].as_array().into_iter().flatten() {
            if alert["state"] == "pending" {
                let labels = labels(&alert["labels"]);
                look.standing.push(Standing { labels, firing: false, held_back_by: None });
            }
        }
        let alerts = self.get("/api/v2/alerts").await?;
        let alerts: Vec<&Json> = alerts.as_array().into_iter().flatten().collect();
        let name_of = |fingerprint: &Json| {
            let found = alerts.iter().find(|alert| alert["fingerprint"] == *fingerprint);
            found.and_then(|alert| alert["labels"]["alertname"].as_str()).map(str::to_owned)
        };
        for alert in &alerts {
            let labels = labels(&alert["labels"]);
            let fingerprint = alert["fingerprint"].as_str().unwrap_or_default().to_owned();
            let held_back_by =
                alert["status"]["inhibitedBy"].as_array().into_iter().flatten().find_map(name_of);
            look.standing.push(Standing { labels: labels.clone(), firing: true, held_back_by });
            look.firing.insert(fingerprint, labels);
        }
        let ledger = self.get(&format!("/api/tradewatch/v1/notifications?limit={LEDGER}")).await?;
        for record in ledger["settled"].as_array().into_iter().flatten() {
            if record["outcome"] == "delivered" {
                let key = record["key"].as_str().unwrap_or_default();
                for alert in record["alerts"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                    look.delivered.insert((alert.to_owned(), key.to_owned()));
                }
            }
        }
        Ok(look)
    }

    async fn inject(&self, fault: &Fault, seconds: u64) -> Result<()> {
        match (&fault.hook, &self.hooks) {
            (Some(name), Some(hooks)) => hooks.run(name, false).await,
            (Some(name), None) => {
                bail!("the fault is the hook {name:?}; name the file that has it with --hooks")
            }
            (None, Some(_)) => bail!("with --hooks a fault is `hook: NAME`; this one is made by a demo only"),
            (None, None) => {
                let request = Request::Inject { fault: Box::new(fault.clone()), seconds };
                control::ask(&self.data_dir, &request).await.map(drop)
            }
        }
    }

    async fn take_back(&self, fault: &Fault) -> Result<()> {
        match (&fault.hook, &self.hooks) {
            (Some(name), Some(hooks)) => hooks.run(name, true).await,
            (None, None) => {
                control::ask(&self.data_dir, &Request::TakeBack { fault: Box::new(fault.clone()) })
                    .await
                    .map(drop)
            }
            _ => Ok(()), // It never happened.
        }
    }

    /// Marks the charts; a mark that fails is no reason to end a drill.
    async fn mark(&self, drill: &Drill, text: &str) {
        let mark = json!({ "tags": ["drill", drill.name.value], "text": text });
        let url = format!("{}/api/annotations", self.monitor);
        if let Err(error) = self.client.post(&url, &mark).await {
            tracing::warn!(%error, "the charts were not marked");
        }
    }

    /// Hands in what drills showed.
    ///
    /// # Errors
    /// If the monitor does not take it.
    pub async fn hand_in(&self, proofs: &Json) -> Result<()> {
        let url = format!("{}/api/tradewatch/v1/drills", self.monitor);
        let answer =
            self.client.post(&url, proofs).await.with_context(|| format!("hand in the proofs at {url}"))?;
        anyhow::ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    /// Waits until nothing is told as firing any more.
    async fn quiet(&self) -> Result<()> {
        let end = Instant::now() + QUIET_MAX;
        loop {
            let look = self.look().await?;
            let names: BTreeSet<&str> =
                look.firing.values().filter_map(|labels| labels.get("alertname")).collect();
            if names.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                let names: Vec<_> = names.into_iter().collect();
                bail!(
                    "before the fault these fire already, and have not ended within {QUIET_MAX:?}: {}",
                    names.join(", ")
                );
            }
            sleep(LOOK_EVERY * 5).await;
        }
    }
}

fn labels(json: &Json) -> Labels {
    let pairs = json.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))))
}

/// The drills of `file` that can be played live, cut to the alerts that come within `hold_max`; and why the others
/// cannot.
pub fn playable(
    drills: Vec<Drill>,
    rules: &BTreeMap<String, Duration>,
    hold_max: Duration,
    with_hooks: bool,
) -> (Vec<Drill>, Vec<String>) {
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for mut drill in drills {
        let name = drill.name.value.clone();
        if !drill.config.is_null() {
            left_out.push(format!("{name}: it needs other settings of the platform"));
            continue;
        }
        if drill.faults.iter().any(|fault| fault.value.hook.is_some() != with_hooks) {
            let why = if with_hooks { "its fault is no hook" } else { "its fault is a hook; name --hooks" };
            left_out.push(format!("{name}: {why}"));
            continue;
        }
        let is_quick =
            |expected: &Expectation| rules.get(&expected.alert.value).is_some_and(|hold| *hold <= hold_max);
        let (quick, slow): (Vec<_>, Vec<_>) =
            std::mem::take(&mut drill.expect).into_iter().partition(is_quick);
        for one in &slow {
            left_out.push(format!("{name}: {} has to hold for longer than {hold_max:?}", one.alert.value));
        }
        if quick.is_empty() {
            if slow.is_empty() {
                left_out.push(format!(
                    "{name}: it shows that nothing is told, which takes the simulation's time"
                ));
            }
            continue;
        }
        drill.expect = quick;
        drill.may.extend(slow.into_iter().map(|one| one.alert));
        chosen.push(drill);
    }
    (chosen, left_out)
}

/// Plays one drill; the fault is taken back however it ends.
pub async fn play(drill: &Drill, world: &World) -> Outcome {
    let mut outcome = Outcome::new(drill);
    let began = Instant::now();
    let mut run =
        Run { drill, world, tracks: drill.expect.iter().map(Track::new).collect(), known: HashMap::new() };
    let result = run.play(&mut outcome).await;
    let mut errors: Vec<String> = result.err().map(|error| format!("{error:#}")).into_iter().collect();
    if !errors.is_empty() {
        errors.extend(run.take_back().await.err().map(|error| format!("{error:#}")));
    }
    outcome.error = (!errors.is_empty()).then(|| errors.join("; "));
    outcome.proofs = run.tracks.into_iter().map(Track::judged).collect();
    outcome.seconds = began.elapsed().as_secs();
    outcome
}

/// What is known of one alert that fired.
#[derive(Debug)]
struct Known {
    labels: Labels,
    fires: bool,
    told_firing: bool,
    told_over: bool,
    /// Deliveries that were settled while it fired.
    before: HashSet<String>,
}

struct Run<'d> {
    drill: &'d Drill,
    world: &'d World,
    tracks: Vec<Track<'d>>,
    known: HashMap<String, Known>,
}

impl Run<'_> {
    async fn play(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.world.quiet().await?;
        let seen = self.world.look().await?.delivered;
        self.world.mark(self.drill, &format!("drill {}: {}", self.drill.name.value, self.drill.about)).await;
        let fault = Instant::now();
        let lasts = self.drill.lasts.as_secs();
        // Far away, until all has come or the time is over.
        let mut ended = NEVER;
        let mut injected = 0;
        loop {
            let at = fault.elapsed().as_secs();
            if ended == NEVER {
                // Second by second, whatever a look takes.
                while injected <= at {
                    self.inject(injected, lasts.saturating_sub(injected)).await?;
                    injected += 1;
                }
            }
            let look = self.world.look().await?;
            let at = fault.elapsed().as_secs();
            for (told, name) in self.hear(&look, &seen) {
                self.take(&told, &name, at, ended, outcome);
            }
            for track in &mut self.tracks {
                track.look(&look.standing, at, 0, ended);
            }
            let over = self.tracks.iter().all(|track| track.has_come() || track.has_failed());
            if ended == NEVER && (over || at >= lasts) {
                self.take_back().await?;
                self.world
                    .mark(self.drill, &format!("drill {}: the fault is taken back", self.drill.name.value))
                    .await;
                ended = fault.elapsed().as_secs();
            } else if ended != NEVER && self.tracks.iter().all(Track::is_done) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn inject(&self, since: u64, left: u64) -> Result<()> {
        for fault in self.drill.faults.iter().map(|fault| &fault.value) {
            if fault.is_due(since) {
                let mut fault = fault.clone();
                if let Some(post) = &mut fault.post {
                    post.body = post.body_at(since)?;
                }
                self.world.inject(&fault, left).await.with_context(|| format!("inject {fault:?}"))?;
            }
        }
        Ok(())
    }

    async fn take_back(&self) -> Result<()> {
        for fault in self.drill.faults.iter().map(|fault| &fault.value) {
            self.world.take_back(fault).await.with_context(|| format!("take back {fault:?}"))?;
        }
        Ok(())
    }

    /// What was told since the last look, and the name of the alert.
    fn hear(&mut self, look: &Look, seen: &HashSet<(String, String)>) -> Vec<(Told, String)> {
        let mut heard = Vec::new();
        for (fingerprint, labels) in &look.firing {
            let known = self.known.entry(fingerprint.clone()).or_insert_with(|| Known {
                labels: labels.clone(),
                fires: true,
                told_firing: false,
                told_over: true,
                before: HashSet::new(),
            });
            known.fires = true;
        }
        for (fingerprint, known) in &mut self.known {
            let deliveries = look.delivered.iter().filter(|one| one.0 == *fingerprint && !seen.contains(one));
            let deliveries: HashSet<String> = deliveries.map(|(_, key)| key.clone()).collect();
            known.fires &= look.firing.contains_key(fingerprint);
            let name = || known.labels.get("alertname").unwrap_or_default().to_owned();
            if !deliveries.is_empty() && !known.told_firing {
                (known.told_firing, known.told_over) = (true, false);
                heard.push((Told { labels: known.labels.clone(), firing: true }, name()));
            }
            if known.fires {
                known.before = deliveries;
            } else if known.told_firing
                && !known.told_over
                && deliveries.iter().any(|key| !known.before.contains(key))
            {
                known.told_over = true;
                heard.push((Told { labels: known.labels.clone(), firing: false }, name()));
            }
        }
        heard
    }

    fn take(&mut self, told: &Told, name: &str, at: u64, ended: u64, outcome: &mut Outcome) {
        let mut expected = false;
        for track in self.tracks.iter_mut().filter(|track| track.is_about(&told.labels)) {
            expected = true;
            track.hear(told, at, 0, ended);
        }
        if expected || !told.firing {
            return;
        }
        if self.drill.may.iter().any(|may| may.value == name) {
            outcome.collateral.insert(name.to_owned());
        } else {
            outcome.unexpected.push(format!("{name} was told after {at} s"));
        }
    }
}

/// The drills of a file, checked against the rules that the monitor has.
///
/// # Errors
/// As [`DrillFile::load`]; the file is marked as production.
pub fn load(path: &Path, rules: &BTreeMap<String, Duration>) -> Result<DrillFile> {
    let names: Vec<String> = rules.keys().cloned().collect();
    let file = DrillFile::load(path, Some(&names))?;
    file.refuse_production(path)?;
    Ok(file)
}
