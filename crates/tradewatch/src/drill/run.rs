//! One drill on virtual time: normal trading, the fault, its end, and what was told meanwhile.

use super::fault::Faults;
use super::file::{Drill, Expectation};
use super::pipeline::{Files, Pipeline, Standing, Told};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::Nanos;
use tradewatch_platforms::trading_platform::sim;
use tradewatch_tsdb::{Labels, Timestamp};

/// How long every expected alert has to be over before a drill ends ahead of its deadlines, in seconds.
const QUIET: u64 = 5;

/// When and from which seed a drill is played.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Everything random follows from this.
    pub seed: u64,
    /// Where in time it begins, and the clock of the markets; an ordinary session that never ends without.
    pub at: Option<(Nanos, MarketClockConfig)>,
}

impl Scene {
    /// An ordinary session that never ends.
    pub fn any_day(seed: u64) -> Scene {
        Scene { seed, at: None }
    }
}

/// What a drill showed.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The drill.
    pub drill: String,
    /// What happened in it.
    pub about: String,
    /// When the fault was injected: seconds of normal trading before it.
    pub injected: u64,
    /// One for each expectation.
    pub proofs: Vec<Proof>,
    /// Alerts that were told besides, and may.
    pub collateral: BTreeSet<String>,
    /// What was told and must not be.
    pub unexpected: Vec<String>,
    /// Why the drill proves nothing, if so.
    pub error: Option<String>,
    /// How long it took, in virtual seconds.
    pub seconds: u64,
}

impl Outcome {
    /// Nothing has come yet.
    pub fn new(drill: &Drill) -> Outcome {
        Outcome {
            drill: drill.name.value.clone(),
            about: drill.about.clone(),
            injected: 0,
            proofs: Vec::new(),
            collateral: BTreeSet::new(),
            unexpected: Vec::new(),
            error: None,
            seconds: 0,
        }
    }

    /// Whether everything was as expected.
    pub fn is_proven(&self) -> bool {
        let all = self.proofs.iter().all(|proof| proof.failure.is_none());
        self.error.is_none() && self.unexpected.is_empty() && all
    }

    /// What is wrong, in the order of importance; nothing if it is proven.
    pub fn problems(&self) -> Vec<String> {
        let failures = self
            .proofs
            .iter()
            .filter_map(|proof| proof.failure.as_ref().map(|failure| format!("{} {failure}", proof.alert)));
        self.error.iter().cloned().chain(failures).chain(self.unexpected.iter().cloned()).collect()
    }
}

/// What became of one expectation. Times are seconds since the fault, the last one since its end.
#[derive(Debug, Default, Serialize)]
pub struct Proof {
    /// The alert.
    pub alert: String,
    /// When its condition began to hold.
    pub pending: Option<u64>,
    /// When it fired.
    pub firing: Option<u64>,
    /// When it was told, unless it is held back.
    pub delivered: Option<u64>,
    /// When it was told to be over, or was over while it was held back.
    pub resolved: Option<u64>,
    /// The alert that held it back.
    pub held_back_by: Option<String>,
    /// What is wrong with that, if anything.
    pub failure: Option<String>,
}

/// Plays `drill` on a platform of its own.
pub fn play(drill: &Drill, files: &Files, scene: &Scene) -> Outcome {
    let mut outcome = Outcome::new(drill);
    outcome.injected = drill.settle.as_secs();
    if let Err(error) = try_play(drill, files, scene, &mut outcome) {
        outcome.error = Some(format!("{error:#}"));
    }
    outcome
}

fn try_play(drill: &Drill, files: &Files, scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let mut options = sim::Options::new(scene.seed);
    if let Some((start, clock)) = &scene.at {
        options.start = *start;
        options.config.market_clock = clock.clone();
    }
    if !drill.config.is_null() {
        // By way of its file, since a configuration that is printed hides what opens doors.
        let mut config = serde_json::from_str(&options.config.to_file_text())?;
        merge(&mut config, &drill.config);
        options.config = serde_json::from_value(config).context("`config` does not fit the platform")?;
    }
    let calendar = options.config.market_clock.calendar();
    let mut run = Run {
        drill,
        pipeline: Pipeline::new(files, calendar, Timestamp::from_millis(options.start / 1_000_000))?,
        faults: Faults::new(drill.faults.iter().map(|fault| &fault.value)),
        began: drill.settle.as_secs(),
        ended: (drill.settle + drill.lasts).as_secs(),
        tracks: drill.expect.iter().map(Track::new).collect(),
        outcome,
        done_since: None,
    };
    let length = drill.length() + Duration::from_secs(1);
    let mut broken: Result<()> = Ok(());
    sim::simulate(&options, length, |second| match run.second(second) {
        Ok(over) => second.over = over,
        Err(error) => {
            second.over = true;
            broken = Err(error);
        }
    })?;
    broken?;
    outcome.proofs = run.tracks.into_iter().map(Track::judged).collect();
    Ok(())
}

/// A drill under way.
struct Run<'d> {
    drill: &'d Drill,
    pipeline: Pipeline,
    faults: Faults<'d>,
    /// The second of the first fault.
    began: u64,
    /// The second in which all are taken away.
    ended: u64,
    tracks: Vec<Track<'d>>,
    outcome: &'d mut Outcome,
    done_since: Option<u64>,
}

impl Run<'_> {
    /// One second; answers whether nothing more can come of it.
    fn second(&mut self, second: &mut sim::Second<'_>) -> Result<bool> {
        let at = second.elapsed.as_secs();
        self.outcome.seconds = at;
        self.faults.restart(second.platform);
        if (self.began..self.ended).contains(&at) {
            self.faults.inject(second.platform, at - self.began, self.ended - at)?;
        }
        if at == self.ended {
            self.faults.take_back(second.platform)?;
        }
        for told in self.pipeline.second(second)? {
            self.hear(&told, at);
        }
        if at >= self.began {
            let standing = self.pipeline.standing(Timestamp::from_millis(second.now / 1_000_000));
            for track in &mut self.tracks {
                track.look(&standing, at, self.began, self.ended);
            }
        }
        let failed = !self.tracks.is_empty() && self.tracks.iter().all(|track| track.proof.failure.is_some());
        if failed {
            return Ok(true);
        }
        let done = at > self.ended && !self.tracks.is_empty() && self.tracks.iter().all(Track::is_done);
        if !done {
            self.done_since = None;
            return Ok(false);
        }
        Ok(at - *self.done_since.get_or_insert(at) >= QUIET)
    }

    /// Takes one alert of a notification.
    fn hear(&mut self, told: &Told, at: u64) {
        let name = told.labels.get("alertname").unwrap_or_default();
        let mut expected = false;
        for track in
            self.tracks.iter_mut().filter(|track| track.expected.is_about(&told.labels) && at >= self.began)
        {
            expected = true;
            track.hear(told, at, self.began, self.ended);
        }
        if expected || !told.firing {
            return;
        }
        match at.checked_sub(self.began) {
            None => self
                .outcome
                .unexpected
                .push(format!("{name} was told after {at} s, before anything had happened")),
            Some(_) if self.drill.may.iter().any(|may| may.value == name) => {
                self.outcome.collateral.insert(name.to_owned());
            }
            Some(after) => self.outcome.unexpected.push(format!("{name} was told after {after} s")),
        }
    }
}

impl Expectation {
    fn is_about(&self, labels: &Labels) -> bool {
        let mut wanted = self.labels.iter();
        labels.get("alertname") == Some(&self.alert.value)
            && wanted.all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// What is known of one expectation while the drill runs.
pub struct Track<'d> {
    expected: &'d Expectation,
    proof: Proof,
    /// Told as firing and not yet as over; for one that is held back, those that fire.
    open: HashSet<Labels>,
    held_by: BTreeSet<String>,
}

impl<'d> Track<'d> {
    /// Nothing is known yet.
    pub fn new(expected: &'d Expectation) -> Track<'d> {
        let proof = Proof { alert: expected.alert.value.clone(), ..Proof::default() };
        Track { expected, proof, open: HashSet::new(), held_by: BTreeSet::new() }
    }

    fn fail(&mut self, why: String) {
        self.proof.failure.get_or_insert(why);
    }

    /// Told, or held back as it should be.
    fn came(&self) -> Option<u64> {
        if self.expected.held_back_by.is_some() { self.proof.firing } else { self.proof.delivered }
    }

    /// Told, or held back as it should be.
    pub fn has_come(&self) -> bool {
        self.came().is_some()
    }

    /// Something about it is wrong.
    pub fn has_failed(&self) -> bool {
        self.proof.failure.is_some()
    }

    /// Whether it is about these labels.
    pub fn is_about(&self, labels: &Labels) -> bool {
        self.expected.is_about(labels)
    }

    /// Nothing more can come.
    pub fn is_done(&self) -> bool {
        self.proof.failure.is_some() || (self.came().is_some() && self.open.is_empty())
    }

    /// Takes a notification about it.
    pub fn hear(&mut self, told: &Told, at: u64, began: u64, ended: u64) {
        if let Some(by) = &self.expected.held_back_by {
            if told.firing {
                let by = &by.value;
                self.fail(format!("was told after {} s, though {by} should hold it back", at - began));
            }
        } else if told.firing {
            self.proof.delivered.get_or_insert(at - began);
            self.open.insert(told.labels.clone());
        } else {
            self.open.remove(&told.labels);
            self.proof.resolved = Some(at.saturating_sub(ended));
        }
    }

    /// Takes what its rule says in this second, and whether a deadline has passed.
    pub fn look(&mut self, standing: &[Standing], at: u64, began: u64, ended: u64) {
        let mut firing = HashSet::new();
        let expected = self.expected;
        for one in standing.iter().filter(|one| expected.is_about(&one.labels)) {
            self.proof.pending.get_or_insert(at - began);
            if one.firing {
                self.proof.firing.get_or_insert(at - began);
                self.held_by.extend(one.held_back_by.clone());
                firing.insert(one.labels.clone());
            }
        }
        if self.expected.held_back_by.is_some() {
            if firing.is_empty() && !self.open.is_empty() {
                self.proof.resolved = Some(at.saturating_sub(ended));
            }
            self.open = firing;
        }
        let (fires, clears) = (self.expected.fires_within.as_secs(), self.expected.clears_within.as_secs());
        if self.came().is_none() && at - began > fires {
            let held: Vec<_> = self.held_by.iter().map(String::as_str).collect();
            self.fail(match (self.proof.firing, self.proof.pending) {
                (Some(_), _) if held.is_empty() => format!("fired and was not told within {fires} s"),
                (Some(_), _) => format!("fired and was not told: {} held it back", held.join(", ")),
                (None, Some(_)) => format!("was pending and did not fire within {fires} s"),
                (None, None) => format!("did not fire within {fires} s"),
            });
        }
        if at > ended + clears && !self.open.is_empty() {
            self.fail(format!("did not clear within {clears} s of the end of the fault"));
        }
    }

    /// The proof, when nothing more can come.
    pub fn judged(mut self) -> Proof {
        if let Some(by) = self.expected.held_back_by.as_ref().map(|by| by.value.clone()) {
            let others: Vec<_> = self.held_by.iter().filter(|other| **other != by).cloned().collect();
            if self.held_by.contains(&by) {
                self.proof.held_back_by = Some(by);
            } else if self.proof.firing.is_some() {
                self.fail(format!("was not held back by {by}"));
            }
            if !others.is_empty() {
                self.fail(format!("was held back by {} as well", others.join(", ")));
            }
        }
        match self.came() {
            None => self.fail("did not fire".to_owned()),
            Some(_) if !self.open.is_empty() => self.fail("did not clear".to_owned()),
            Some(_) if self.proof.resolved.is_none() => {
                self.fail("is over, and that was not told".to_owned())
            }
            Some(_) => {}
        }
        self.proof
    }
}

/// Lays `patch` over `base`, object by object.
fn merge(base: &mut Json, patch: &Json) {
    match (base, patch) {
        (Json::Object(base), Json::Object(patch)) => {
            for (key, value) in patch {
                merge(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}
