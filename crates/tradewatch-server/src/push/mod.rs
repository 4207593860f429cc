//! Samples that come to us: remote write, OTLP, and what the SDK pushes.
//!
//! Each protocol turns its body into [`Series`]; [`Pushes::take`] stores them in one commit, has the rules that read
//! them evaluated at once, and answers only when the log is on the disk. A body is read to its end before the store
//! sees any of it. What it may cost is bounded: bytes after unpacking, samples, labels, and requests at a time.

mod histogram;
mod otlp;
mod text;
mod wire;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tradewatch_tsdb::{Db, Labels, Matcher, Metadata, Sample, Timestamp, Value};

use crate::clock;
use crate::hub::Hub;
use crate::monitor::Monitor;
use crate::telemetry::{Own, PushProtocol};

/// Biggest body after unpacking.
pub const UNPACKED_BYTES_MAX: usize = 16 << 20;
/// Most samples in one request.
pub const SAMPLES_MAX: usize = 500_000;
/// Requests that are taken in at a time; further ones wait.
const AT_A_TIME: usize = 4;
/// Samples of one request that are looked for in the store, where it says that they come too late.
const LOOKUPS_MAX: usize = 1_000;
/// Refusals that are told one by one.
const REASONS_MAX: usize = 3;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/v1/write", post(write::receive))
        .route("/api/v1/otlp/v1/metrics", post(otlp::receive))
        .route("/api/tradewatch/v1/push/{job}/{instance}", post(text::receive))
}

/// A label set and what was pushed for it.
#[derive(Clone, Debug)]
pub struct Series {
    /// The identity, `__name__` included.
    pub labels: Labels,
    /// In the order of the body.
    pub samples: Vec<Sample>,
}

/// What a body holds.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// What can be stored.
    pub series: Vec<Series>,
    /// Families and what is said of them.
    pub metadata: Vec<(String, Metadata)>,
    /// Samples that cannot be stored, whatever the store says.
    pub refused: u64,
    /// Why, for the first of them.
    pub reasons: Vec<String>,
    /// Samples in `series`.
    samples: usize,
}

impl Body {
    /// Adds a series.
    ///
    /// # Errors
    /// The body has more than [`SAMPLES_MAX`] samples.
    fn push(&mut self, series: Series) -> Result<(), String> {
        self.samples += series.samples.len().max(1);
        if self.samples > SAMPLES_MAX {
            return Err(format!("more than {SAMPLES_MAX} samples in one request; send smaller ones"));
        }
        self.series.push(series);
        Ok(())
    }

    fn refuse(&mut self, samples: usize, why: String) {
        self.refused += samples as u64;
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(why);
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Float samples stored.
    pub samples: u64,
    /// Native histograms stored.
    pub histograms: u64,
    /// Samples refused.
    pub refused: u64,
    /// Why, for the first of them.
    pub reasons: Vec<String>,
}

impl Taken {
    /// The refusals in one line.
    pub fn reason(&self) -> String {
        let more = self.refused.saturating_sub(self.reasons.len() as u64);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{} samples refused: {}{more}", self.refused, self.reasons.join("; "))
    }
}

/// Why a request failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The body is wrong: sending it again is of no use.
    Bad(String),
    /// The store cannot write now: it may be sent again.
    Store(String),
}

/// Takes pushed samples in.
pub struct Pushes {
    db: Db,
    hub: Arc<Hub>,
    own: Arc<Own>,
    turns: Arc<Semaphore>,
}

impl Pushes {
    /// Takes into `db` and tells through `hub`.
    pub fn new(db: Db, hub: Arc<Hub>, own: Arc<Own>) -> Pushes {
        Pushes { db, hub, own, turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Reads a body with `read` on a thread of its own, stores what it gives and syncs the log.
    ///
    /// Rules are evaluated from the commit on; they do not wait for the sync.
    async fn take(
        &self,
        protocol: PushProtocol,
        body: Bytes,
        read: impl FnOnce(&[u8]) -> Result<Body, String> + Send + 'static,
    ) -> Result<Taken, Failure> {
        let turn = self.turns.clone().acquire_owned().await.expect("never closed");
        let (db, hub) = (self.db.clone(), self.hub.clone());
        let work = move || {
            let _turn = turn;
            let body = read(&body).map_err(Failure::Bad)?;
            store(&db, &hub, body)
        };
        let taken = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(Failure::Store("taking it in broke off: a fault of the monitor".into())));
        self.note(protocol, &taken);
        taken
    }

    fn note(&self, protocol: PushProtocol, taken: &Result<Taken, Failure>) {
        let metrics = &self.own.metrics;
        match taken {
            Ok(taken) => {
                metrics.pushed_samples_total.at((protocol,)).inc_by(taken.samples + taken.histograms);
                metrics.pushed_samples_refused_total.at((protocol,)).inc_by(taken.refused);
            }
            Err(_) => metrics.pushes_failed_total.at((protocol,)).inc(),
        }
    }
}

fn store(db: &Db, hub: &Hub, body: Body) -> Result<Taken, Failure> {
    let now = clock::now();
    let mut taken = Taken { refused: body.refused, reasons: body.reasons, ..Taken::default() };
    let mut appender = db.appender_at(now);
    let mut newest = Timestamp::MIN;
    let mut again = Again { left: LOOKUPS_MAX };
    for series in &body.series {
        let id = appender.series(&series.labels);
        for sample in &series.samples {
            match appender.append_sample(id, sample.clone()) {
                Ok(()) => {
                    newest = newest.max(sample.ts);
                    match sample.value {
                        Value::Float(_) => taken.samples += 1,
                        Value::Histogram(_) => taken.histograms += 1,
                    }
                }
                Err(error) if error.is_out_of_order() && again.holds(db, &series.labels, sample) => {
                    match sample.value {
                        Value::Float(_) => taken.samples += 1,
                        Value::Histogram(_) => taken.histograms += 1,
                    }
                }
                Err(error) => {
                    taken.refused += 1;
                    if taken.reasons.len() < REASONS_MAX {
                        taken.reasons.push(format!("{}: {error}", series.labels));
                    }
                }
            }
        }
    }
    for (family, metadata) in &body.metadata {
        db.set_metadata(family, metadata);
    }
    let commit = appender.commit().map_err(|error| Failure::Store(error.to_string()))?;
    if commit.samples > 0 {
        let series = body.series.into_iter().map(|series| series.labels).collect();
        hub.pushed(Pushed { series, newest });
    }
    // Another writer was faster between the check and the commit.
    if commit.refused > 0 {
        taken.samples = taken.samples.saturating_sub(commit.refused as u64);
        taken.refused += commit.refused as u64;
        taken.reasons.push("a newer sample was written at the same time".to_owned());
    }
    db.sync().map_err(|error| Failure::Store(error.to_string()))?;
    Ok(taken)
}

/// Finds samples that an earlier attempt of the same request has stored already: its answer was lost.
struct Again {
    left: usize,
}

impl Again {
    fn holds(&mut self, db: &Db, labels: &Labels, sample: &Sample) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let found = db.select(&matchers, sample.ts, sample.ts);
        let same = found.iter().find(|series| series.labels == *labels);
        same.is_some_and(|series| series.samples.iter().any(|stored| stored.value.same_bits(&sample.value)))
    }
}

/// Samples were pushed and committed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The label sets that got samples.
    pub series: Vec<Labels>,
    /// The newest time stamp among them.
    pub newest: Timestamp,
}

/// Why a label set cannot name a series.
fn check_labels(labels: &Labels, pairs: usize) -> Result<(), String> {
    if labels.name().is_none_or(str::is_empty) {
        return Err(format!("{labels}: the metric name is missing"));
    }
    if labels.len() != pairs {
        return Err(format!("{labels}: a label stands there twice, or is empty"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewatch_tsdb::{Faults, MemDir};

    #[test]
    fn nothing_is_acknowledged_that_the_disk_does_not_have() {
        let dir = MemDir::new(1);
        let (db, _) = Db::open(Arc::new(dir.clone()), tradewatch_tsdb::Options::default()).expect("opens");
        let own = Arc::new(Own::new(clock::now(), crate::markets::Live::default()).expect("declared"));
        let (to_rules, mut rules) = tokio::sync::mpsc::unbounded_channel();
        let hub = Hub::new(own, to_rules);
        let at = clock::now();
        let body = || {
            let labels = Labels::from_pairs([("__name__", "a")]);
            let samples = [at - std::time::Duration::from_secs(1), at].map(|ts| Sample::float(ts, 1.0));
            let mut body = Body::default();
            body.push(Series { labels, samples: samples.to_vec() }).expect("fits");
            body
        };
        dir.set_faults(Faults { sync_fails: true, ..Faults::default() });
        assert!(matches!(store(&db, &hub, body()), Err(Failure::Store(_))));
        assert!(rules.try_recv().is_ok(), "rules see what was written and do not wait for the disk");
        dir.set_faults(Faults::default());
        // The sender tries again until it is there; what was written the first time is no error.
        let mut taken = store(&db, &hub, body());
        for _ in 0..3 {
            if taken.is_err() {
                taken = store(&db, &hub, body());
            }
        }
        assert_eq!(taken, Ok(Taken { samples: 2, ..Taken::default() }));
        let dir = dir.lose_power();
        let (db, _) = Db::open(Arc::new(dir), tradewatch_tsdb::Options::default()).expect("opens");
        let found = db.select(&[Matcher::equal("__name__", "a")], Timestamp::MIN, Timestamp::MAX);
        assert_eq!(found[0].samples.len(), 2, "acknowledged, and there after the power went");
    }
}
