//! The store behind its interface: append, commit, select.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::head::{Fit, Head, fit};
use crate::{Labels, Matcher, Metadata, Sample, Series, Timestamp, Value};

/// The most labels a series may have, the metric name included.
pub const LABELS_PER_SERIES_MAX: usize = 128;
/// The most bytes that names and values of a label set may take.
pub const LABEL_BYTES_MAX: usize = 64 * 1024;

/// Bounds and habits of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most series held at a time; a new one beyond it is refused (`is_too_many_series`).
    pub series_max: usize,
    /// How far a sample may lie ahead of `now`, where the appender was given one.
    pub future_max: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { series_max: 2_000_000, future_max: Duration::from_secs(600) }
    }
}

/// A series within one store; stays valid while the series has samples within the retention.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId(u32);

/// The store. Clones share it; every method takes `&self` from any thread.
#[derive(Clone, Debug)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    /// Orders commits among themselves; never held by a query.
    write: Mutex<()>,
    head: RwLock<Head>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Samples kept.
    pub samples: usize,
    /// Samples that fitted when they were appended and no longer when they were committed, since another
    /// appender was faster.
    pub refused: usize,
}

impl Db {
    /// A store without a disk: nothing outlives the last clone.
    pub fn in_memory() -> Db {
        Db::in_memory_with(Options::default())
    }

    /// A store without a disk, with bounds of its own.
    pub fn in_memory_with(options: Options) -> Db {
        Db { inner: Arc::new(Inner { options, write: Mutex::default(), head: RwLock::default() }) }
    }

    /// Begins a batch of samples that becomes visible as a whole.
    pub fn appender(&self) -> Appender {
        Appender {
            db: self.clone(),
            now: None,
            pending: Vec::new(),
            last: HashMap::new(),
            refused: Vec::new(),
        }
    }

    /// Like [`Db::appender`], and refuses samples that lie more than [`Options::future_max`] after `now`.
    pub fn appender_at(&self, now: Timestamp) -> Appender {
        Appender { now: Some(now), ..self.appender() }
    }

    /// The series that match, with their samples from `start` to `end` (both inclusive), sorted by labels.
    ///
    /// Series without a sample in the range are left out. No matcher at all selects everything.
    pub fn select(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<Series> {
        self.select_bounded(matchers, start, end, usize::MAX).expect("unbounded")
    }

    /// Like [`Db::select`], for at most `samples_max` samples.
    ///
    /// # Errors
    /// `is_too_many_samples` beyond the bound, as soon as it is met.
    pub fn select_bounded(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
        samples_max: usize,
    ) -> Result<Vec<Series>, Error> {
        let head = self.head();
        let mut found = Vec::new();
        let mut total = 0;
        for id in head.postings.select(matchers) {
            let series = &head.series[&id];
            let from = series.samples.partition_point(|s| s.ts < start);
            let to = series.samples.partition_point(|s| s.ts <= end);
            if from >= to {
                continue;
            }
            total += to - from;
            if total > samples_max {
                return Err(Error::new(Kind::TooManySamples { max: samples_max }));
            }
            found.push(Series { labels: series.labels.clone(), samples: series.samples[from..to].to_vec() });
        }
        drop(head);
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// The label sets that match and have samples around `start` to `end`, sorted.
    pub fn series(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<Labels> {
        let head = self.head();
        let ids = head.postings.select(matchers);
        let live = ids.iter().map(|id| &head.series[id]).filter(|series| series.overlaps(start, end));
        let mut found: Vec<Labels> = live.map(|series| series.labels.clone()).collect();
        drop(head);
        found.sort();
        found
    }

    /// The label names of the series that match, sorted.
    pub fn label_names(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<String> {
        let mut names = BTreeSet::new();
        for labels in self.series(matchers, start, end) {
            for (name, _) in &labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        names.into_iter().collect()
    }

    /// The values of the label `name` among the series that match, sorted.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<String> {
        let mut values = BTreeSet::new();
        for labels in self.series(matchers, start, end) {
            if let Some(value) = labels.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        values.into_iter().collect()
    }

    /// Remembers what a metric family says about itself; the latest word wins.
    pub fn set_metadata(&self, family: &str, metadata: &Metadata) {
        if self.head().metadata.get(family) == Some(metadata) {
            return;
        }
        self.head_mut().metadata.insert(family.to_owned(), metadata.clone());
    }

    /// What is known about each metric family, by name.
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.head().metadata.clone()
    }

    fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.inner.head.read().expect("no panic while the head is locked")
    }

    fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.inner.head.write().expect("no panic while the head is locked")
    }

    fn lock_writes(&self) -> MutexGuard<'_, ()> {
        self.inner.write.lock().expect("no panic while writes are locked")
    }
}

/// A batch of samples; dropped without [`Appender::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Appender {
    db: Db,
    now: Option<Timestamp>,
    pending: Vec<(u32, Sample)>,
    /// The newest pending sample of each series.
    last: HashMap<u32, usize>,
    /// Why a series was refused; its id counts down from the top.
    refused: Vec<Kind>,
}

impl Appender {
    /// The id of a series, which is created if it is new.
    ///
    /// A label set that the store does not take gets an id too, and each sample for it is refused with
    /// the reason (`is_bad_labels`, `is_too_many_series`).
    pub fn series(&mut self, labels: &Labels) -> SeriesId {
        if let Some(id) = self.db.head().by_labels.get(labels) {
            return SeriesId(*id);
        }
        let refusal = check_labels(labels);
        let mut head = self.db.head_mut();
        if let Some(id) = head.by_labels.get(labels) {
            return SeriesId(*id);
        }
        let series_max = self.db.inner.options.series_max;
        let full = (head.series.len() >= series_max).then_some(Kind::TooManySeries { max: series_max });
        match refusal.or(full) {
            None => SeriesId(head.add_series(labels.clone())),
            Some(kind) => {
                self.refused.push(kind);
                SeriesId(u32::MAX - (self.refused.len() - 1) as u32)
            }
        }
    }

    /// Appends one float to a series.
    ///
    /// # Errors
    /// See [`Appender::append_sample`].
    pub fn append(&mut self, id: SeriesId, ts: Timestamp, value: f64) -> Result<(), Error> {
        self.append_sample(id, Sample::float(ts, value))
    }

    /// Appends one sample; the newest sample of the series once more is taken silently.
    ///
    /// # Errors
    /// `is_out_of_order`, `is_duplicate`, `is_too_far_in_future`, `is_unknown_series`, and what
    /// [`Appender::series`] found. The appender stays usable.
    pub fn append_sample(&mut self, id: SeriesId, sample: Sample) -> Result<(), Error> {
        let refused_index = (u32::MAX - id.0) as usize;
        if let Some(kind) = self.refused.get(refused_index) {
            return Err(Error::new(kind.clone()));
        }
        if let Some(now) = self.now
            && sample.ts > now + self.db.inner.options.future_max
        {
            return Err(Error::new(Kind::TooFarInFuture { ts: sample.ts, now }));
        }
        let fit = match self.last.get(&id.0) {
            Some(at) => fit(&self.pending[*at].1, &sample)?,
            None => self.db.head().check(id.0, &sample)?,
        };
        if fit == Fit::New {
            self.last.insert(id.0, self.pending.len());
            self.pending.push((id.0, sample));
        }
        Ok(())
    }

    /// Makes the batch visible to queries.
    pub fn commit(self) -> Result<Commit, Error> {
        let _order = self.db.lock_writes();
        let mut commit = Commit::default();
        let mut head = self.db.head_mut();
        for (id, sample) in self.pending {
            match head.check(id, &sample) {
                Ok(Fit::New) => {
                    head.push(id, sample);
                    commit.samples += 1;
                }
                Ok(Fit::Same) => {}
                Err(_) => commit.refused += 1,
            }
        }
        Ok(commit)
    }
}

/// Why the store does not take such a label set.
fn check_labels(labels: &Labels) -> Option<Kind> {
    let shown = || {
        let text = labels.to_string();
        if text.len() <= 200 { text } else { text.chars().take(200).chain(['…']).collect() }
    };
    let reason = if labels.len() > LABELS_PER_SERIES_MAX {
        format!("{} labels; the limit is {LABELS_PER_SERIES_MAX}", labels.len())
    } else if labels.encoded_len() > LABEL_BYTES_MAX {
        format!("{} bytes; the limit is {LABEL_BYTES_MAX}", labels.encoded_len())
    } else if labels.iter().any(|(name, _)| name.is_empty()) {
        "a label name is empty".to_owned()
    } else {
        return None;
    };
    Some(Kind::BadLabels { labels: shown(), reason })
}

/// The value of a float sample; for tests and callers that know what they stored.
impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}
