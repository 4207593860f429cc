//! Crashes from a seed: commits, syncs, checkpoints and deletions on a disk that fails in every way it
//! may, killed processes and lost power in between.
//!
//! What must hold, at each step:
//! - a query returns exactly what was committed, whatever the disk does;
//! - after `kill -9`, everything committed is there;
//! - after a loss of power, everything synced is there;
//! - what was never committed, or has another value, is never there;
//! - once the disk works again, so does the store, without a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::{Damage, Db, Faults, Matcher, MemDir, Options, Timestamp};

use crate::{Contents, Random, contents, labels, same};

/// Seeds of a usual run; `TRADEWATCH_SEEDS` raises it for the night.
const SEEDS: u64 = 200;
const STEPS_PER_SEED: u64 = 120;
const SERIES: u64 = 6;

#[test]
fn nothing_acknowledged_is_lost() {
    let seeds = match std::env::var("TRADEWATCH_SEEDS") {
        Ok(text) => text.parse().expect("TRADEWATCH_SEEDS is a number"),
        Err(_) => SEEDS,
    };
    let mut totals = Totals::default();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        match outcome {
            Ok(run) => totals.add(&run),
            Err(panic) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{seeds} seeds: {totals:?}");
    // A simulation that exercises nothing proves nothing.
    let Totals { kills, power_losses, refused_commits, failed_syncs, lost_unsynced, damaged, .. } = totals;
    let Totals { rows, late, blocks, merged, rewritten, .. } = totals;
    for (what, count) in [
        ("kills", kills),
        ("losses of power", power_losses),
        ("refused commits", refused_commits),
        ("failed syncs", failed_syncs),
        ("losses of unsynced samples", lost_unsynced),
        ("damaged files", damaged),
        ("rows", rows),
        ("late samples", late),
        ("blocks at a start", blocks),
        ("merged blocks", merged),
        ("blocks rewritten", rewritten),
    ] {
        assert!(count * 20 > seeds, "{what}: only {count} in {seeds} seeds");
    }
}

#[derive(Debug, Default)]
struct Totals {
    commits: u64,
    kills: u64,
    power_losses: u64,
    refused_commits: u64,
    failed_syncs: u64,
    failed_checkpoints: u64,
    lost_unsynced: u64,
    damaged: u64,
    rows: u64,
    late: u64,
    blocks: u64,
    merged: u64,
    rewritten: u64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.commits += other.commits;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.refused_commits += other.refused_commits;
        self.failed_syncs += other.failed_syncs;
        self.failed_checkpoints += other.failed_checkpoints;
        self.lost_unsynced += other.lost_unsynced;
        self.damaged += other.damaged;
        self.rows += other.rows;
        self.late += other.late;
        self.blocks += other.blocks;
        self.merged += other.merged;
        self.rewritten += other.rewritten;
    }
}

/// A sample's place: the series and the time.
type Place = (String, i64);

struct Simulation {
    seed: u64,
    random: Random,
    dir: MemDir,
    db: Db,
    next_ts: i64,
    /// What a query must return now.
    visible: Contents,
    /// What must be there after a loss of power.
    synced: Contents,
    /// Every value that was ever given for a place.
    given: BTreeMap<Place, BTreeSet<u64>>,
    /// Places that a deletion of unknown outcome may have taken.
    maybe_deleted: BTreeSet<Place>,
    /// What could not be read at the last start, and stays so until a checkpoint.
    damage: Vec<Damage>,
    totals: Totals,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let dir = MemDir::new(seed);
        let db = open(&dir).0;
        Simulation {
            seed,
            random: Random(seed ^ 0x5eed),
            dir,
            db,
            next_ts: 1_700_000_000_000,
            visible: Contents::new(),
            synced: Contents::new(),
            given: BTreeMap::new(),
            maybe_deleted: BTreeSet::new(),
            damage: Vec::new(),
            totals: Totals::default(),
        }
    }

    fn run(mut self) -> Totals {
        for _ in 0..STEPS_PER_SEED {
            match self.random.below(100) {
                0..=54 => self.commit(),
                55..=69 => self.sync(),
                70..=74 => self.compact(),
                75..=76 => self.delete(),
                77 => self.clean(),
                78..=85 => self.fail(),
                86..=91 => self.heal(),
                92..=95 => self.crash(false),
                _ => self.crash(true),
            }
            same(&contents(&self.db), &self.visible);
        }
        self.heal();
        self.sync();
        self.crash(true);
        same(&contents(&self.db), &self.visible);
        self.totals
    }

    fn commit(&mut self) {
        let mut appender = self.db.appender();
        let mut batch: Vec<(String, i64, u64)> = Vec::new();
        // A scrape: a row of series, mostly the same ones.
        let mut row = (Vec::new(), Vec::new());
        if self.random.below(2) == 0 {
            let left_out = self.random.below(4 * SERIES);
            for n in (0..SERIES).filter(|n| *n != left_out) {
                let value = self.random.below(1000) as f64 / 8.0;
                row.0.push(appender.series(&labels(n)));
                row.1.push(value);
                batch.push((labels(n).to_string(), self.next_ts, value.to_bits()));
            }
        }
        let ticks = if row.0.is_empty() { 1 + self.random.below(4) as i64 } else { 0 };
        for tick in 0..ticks {
            let ts = self.next_ts + tick * 1000;
            for n in 0..SERIES {
                // Never an empty batch, since that would not try the disk.
                if n > 0 && self.random.below(3) == 0 {
                    continue;
                }
                let digits = 1 + self.random.below(40);
                let value = self.random.below(1 << digits) as f64 / 8.0;
                let id = appender.series(&labels(n));
                appender.append(id, Timestamp::from_millis(ts), value).expect("in order");
                batch.push((labels(n).to_string(), ts, value.to_bits()));
            }
        }
        // Now and then one that should have come before.
        if row.0.is_empty() && self.random.below(3) == 0 {
            let (n, back) = (self.random.below(SERIES), 1000 * self.random.below(40) as i64 + 500);
            let (ts, value) = (self.next_ts - back, self.random.below(1000) as f64);
            let (series, id) = (labels(n).to_string(), appender.series(&labels(n)));
            if !self.visible.get(&series).is_some_and(|samples| samples.contains_key(&ts)) {
                appender.append(id, Timestamp::from_millis(ts), value).expect("within the window");
                batch.push((series, ts, value.to_bits()));
                self.totals.late += 1;
            }
        }
        for (series, ts, bits) in &batch {
            self.given.entry((series.clone(), *ts)).or_default().insert(*bits);
        }
        let mut refused = Vec::new();
        let outcome = match row.0.is_empty() {
            true => appender.commit(),
            false => {
                self.totals.rows += 1;
                let ts = Timestamp::from_millis(self.next_ts);
                appender.commit_row(ts, &row.0, &row.1, &mut refused)
            }
        };
        assert!(refused.is_empty(), "seed {}: {refused:?}", self.seed);
        let is_ok = match outcome {
            Ok(commit) => {
                assert_eq!((commit.samples, commit.refused), (batch.len(), 0));
                self.totals.commits += 1;
                for (series, ts, bits) in batch {
                    self.visible.entry(series).or_default().insert(ts, bits);
                }
                true
            }
            Err(error) => {
                assert!(error.is_read_only(), "seed {}: {error}", self.seed);
                assert!(self.db.read_only().is_some() && self.db.stats().read_only.is_some());
                self.totals.refused_commits += 1;
                false
            }
        };
        // After a refusal, half of the callers try the same times again, with other values.
        if is_ok || self.random.below(2) == 0 {
            self.next_ts += ticks.max(1) * 1000;
        }
    }

    fn sync(&mut self) {
        match self.db.sync() {
            Ok(()) => self.all_is_durable(),
            Err(error) => {
                assert!(error.is_read_only(), "seed {}: {error}", self.seed);
                self.totals.failed_syncs += 1;
            }
        }
    }

    fn compact(&mut self) {
        let outcome = if self.random.below(2) == 0 {
            self.db.checkpoint().map(|()| true)
        } else {
            self.db.compact(Timestamp::from_millis(self.next_ts)).map(|done| {
                self.totals.merged += done.blocks_merged as u64;
                done.is_checkpointed
            })
        };
        match outcome {
            Ok(true) => self.all_is_durable(),
            Ok(false) => {}
            Err(_) => self.totals.failed_checkpoints += 1,
        }
    }

    fn all_is_durable(&mut self) {
        self.synced = self.visible.clone();
        // What a failed deletion left behind the log is cut off by the next write at the latest.
        if self.db.read_only().is_none() {
            self.maybe_deleted.clear();
        }
    }

    /// Rewrites blocks in which samples were deleted; nobody sees a difference.
    fn clean(&mut self) {
        match self.db.clean_tombstones() {
            Ok(rewritten) => self.totals.rewritten += rewritten as u64,
            Err(error) => assert!(!error.is_closed(), "seed {}: {error}", self.seed),
        }
    }

    fn delete(&mut self) {
        let n = self.random.below(SERIES);
        let series = labels(n).to_string();
        let start = self.next_ts - 1000 * self.random.below(60) as i64;
        let end = start + 1000 * self.random.below(20) as i64;
        let range = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let matcher = Matcher::equal("n", &n.to_string());
        let outcome = self.db.delete(&[matcher], range.0, range.1);
        let Some(samples) = self.visible.get_mut(&series) else { return };
        let places: Vec<i64> = samples.range(start..=end).map(|(ts, _)| *ts).collect();
        for ts in &places {
            if outcome.is_ok() {
                samples.remove(ts);
            } else {
                self.maybe_deleted.insert((series.clone(), *ts));
            }
            // Until the next sync, a loss of power may bring the samples back or not.
            if let Some(synced) = self.synced.get_mut(&series) {
                synced.remove(ts);
            }
        }
        if let Ok(count) = outcome {
            assert_eq!(count, places.len() as u64);
        }
        self.visible.retain(|_, samples| !samples.is_empty());
    }

    fn fail(&mut self) {
        let room = self.random.below(3000);
        let faults = match self.random.below(6) {
            0 | 1 => Faults { sync_fails: true, ..Faults::default() },
            2 | 3 => Faults { bytes_max: Some(self.dir.total_bytes() + room), ..Faults::default() },
            4 => {
                let set_len_fails = self.random.below(2) == 0;
                Faults { write_fails: true, set_len_fails, ..Faults::default() }
            }
            _ => Faults {
                bytes_max: Some(self.dir.total_bytes() + room),
                set_len_fails: true,
                ..Faults::default()
            },
        };
        self.dir.set_faults(faults);
    }

    /// The disk works again, and with it the store: at once, without a restart.
    fn heal(&mut self) {
        self.dir.set_faults(Faults::default());
        self.db.sync().expect("the disk works again");
        self.all_is_durable();
        self.commit();
        assert_eq!(self.db.read_only(), None);
    }

    fn crash(&mut self, is_power_loss: bool) {
        self.dir = if is_power_loss { self.dir.lose_power() } else { self.dir.kill() };
        let (db, damage) = open(&self.dir);
        self.db = db;
        self.totals.blocks += self.db.stats().blocks.count as u64;
        let found = contents(&self.db);
        let required = if is_power_loss { &self.synced } else { &self.visible };
        for (series, samples) in required {
            for (ts, bits) in samples {
                let place = (series.clone(), *ts);
                let is_there = found.get(series).and_then(|samples| samples.get(ts)) == Some(bits);
                assert!(
                    is_there || self.maybe_deleted.contains(&place),
                    "seed {}: lost {place:?}",
                    self.seed
                );
            }
        }
        for (series, samples) in &found {
            for (ts, bits) in samples {
                let given = self.given.get(&(series.clone(), *ts));
                assert!(given.is_some_and(|g| g.contains(bits)), "seed {}: {series} {ts} {bits}", self.seed);
            }
        }
        if is_power_loss {
            self.totals.power_losses += 1;
            self.totals.lost_unsynced += u64::from(found != self.visible);
        } else {
            self.totals.kills += 1;
        }
        self.totals.damaged += u64::from(!damage.is_empty());
        if !is_power_loss {
            // A kill alone damages nothing, but for the half record of a full disk that could not be cut.
            let is_known = |d: &&Damage| d.is_torn_tail || self.damage.contains(d);
            assert_eq!(damage.iter().find(|d| !is_known(d)), None, "seed {}", self.seed);
        }
        self.damage = damage;
        // A refused commit may have reached the disk after all, and then its times are taken.
        let newest = found.values().filter_map(|samples| samples.last_key_value()).map(|(ts, _)| *ts).max();
        self.next_ts = self.next_ts.max(newest.map_or(0, |ts| ts + 1000));
        // What a deletion of unknown outcome took is gone for good.
        for (series, samples) in &mut self.synced {
            samples.retain(|ts, _| found.get(series).is_some_and(|found| found.contains_key(ts)));
        }
        self.visible = found;
    }
}

fn open(dir: &MemDir) -> (Db, Vec<Damage>) {
    let options = Options {
        segment_bytes_max: 1500,
        checkpoint_bytes: 5000,
        chunk_samples_max: 5,
        block_span: Duration::from_secs(40),
        out_of_order_window: Duration::from_secs(60),
        ..Options::default()
    };
    let (db, recovery) = Db::open(Arc::new(dir.clone()), options).expect("the directory opens after a crash");
    for damage in &recovery.damage {
        assert!(damage.to_string().contains("offset"), "{damage}");
    }
    (db, recovery.damage)
}
