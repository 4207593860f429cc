//! Batches of samples: checked one by one, written and made visible as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::db::{Db, Writer};
use crate::error::{Error, Kind};
use crate::head::{Fit, Head, IdMap, fit};
use crate::record;
use crate::{Labels, Metadata, Sample, Timestamp};

/// The most labels a series may have, the metric name included.
pub const LABELS_PER_SERIES_MAX: usize = 128;
/// The most bytes that names and values of a label set may take.
pub const LABEL_BYTES_MAX: usize = 64 * 1024;

/// A series within one store; stays valid while the series has samples within the retention.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId(u32);

/// A batch of samples; dropped without [`Appender::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Appender {
    db: Db,
    now: Option<Timestamp>,
    /// How much had changed when the batch began.
    changes: u64,
    pending: Vec<(u32, Sample)>,
    /// The newest pending sample of each series.
    last: IdMap<usize>,
    /// Where the pending sample of a series and a time is; known once one has come late.
    places: Option<HashMap<(u32, i64), usize>>,
    /// The labels of series that had no sample yet: a compaction may drop them before the commit, which
    /// then makes them anew.
    empty: IdMap<Labels>,
    /// Why a series was refused; its id counts down from the top.
    refused: Vec<Kind>,
}

/// What a commit did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Samples kept.
    pub samples: usize,
    /// Samples that fitted when they were appended and no longer when they were committed, since another
    /// appender was faster.
    pub refused: usize,
}

impl Db {
    /// Begins a batch of samples that becomes visible as a whole.
    pub fn appender(&self) -> Appender {
        Appender {
            db: self.clone(),
            now: None,
            changes: self.inner.changes.load(SeqCst),
            pending: Vec::new(),
            last: IdMap::default(),
            places: None,
            empty: IdMap::default(),
            refused: Vec::new(),
        }
    }

    /// Like [`Db::appender`], and refuses samples that lie more than
    /// [`Options::future_max`](crate::Options::future_max) after `now`.
    pub fn appender_at(&self, now: Timestamp) -> Appender {
        Appender { now: Some(now), ..self.appender() }
    }

    /// Writes what the log does not have yet: labels of the series of `samples`, metadata, and the
    /// samples themselves. Then pushes them. Nothing is kept on an error.
    pub(crate) fn write(&self, writer: &mut Writer, samples: &[(u32, Sample)]) -> Result<(), Error> {
        let mut unlogged = Vec::new();
        let mut families = BTreeMap::new();
        if let Some(wal) = &mut writer.wal {
            let payload;
            (payload, unlogged, families) = encode(&self.head(), samples);
            if !payload.is_empty() {
                wal.append(&payload, self.inner.options.segment_bytes_max)?;
            }
        }
        let mut head = self.head_mut();
        for id in unlogged {
            if let Some(series) = head.series.get_mut(&id) {
                series.is_logged = true;
            }
        }
        if !families.is_empty() {
            // What was set anew between the two locks waits for the next commit.
            let Head { unlogged_families, metadata, .. } = &mut *head;
            unlogged_families.retain(|family| families.get(family) != metadata.get(family));
        }
        if !samples.is_empty() {
            self.inner.changes.fetch_add(1, SeqCst);
        }
        samples.iter().for_each(|(id, sample)| head.push(*id, sample));
        self.inner.appended.fetch_add(samples.len() as u64, Relaxed);
        Ok(())
    }
}

/// The record of a commit, the series whose labels it holds, and the families whose metadata it holds.
fn encode(head: &Head, samples: &[(u32, Sample)]) -> (Vec<u8>, Vec<u32>, BTreeMap<String, Metadata>) {
    let mut payload = Vec::with_capacity(samples.len() * 6 + 64);
    let is_unlogged = |id: &u32| head.series.get(id).is_some_and(|series| !series.is_logged);
    let mut unlogged: Vec<u32> = samples.iter().map(|(id, _)| *id).filter(is_unlogged).collect();
    unlogged.sort_unstable();
    unlogged.dedup();
    for id in &unlogged {
        record::put_series(&mut payload, *id, &head.series[id].labels);
    }
    let unlogged_metadata = head.unlogged_families.iter().map(|f| (f.clone(), head.metadata[f].clone()));
    let families: BTreeMap<String, Metadata> = unlogged_metadata.collect();
    for (family, metadata) in &families {
        record::put_metadata(&mut payload, family, metadata);
    }
    record::put_samples(&mut payload, samples);
    (payload, unlogged, families)
}

impl Appender {
    /// The id of a series, which is created if it is new.
    ///
    /// A label set that the store does not take gets an id too, and each sample for it is refused with
    /// the reason (`is_bad_labels`, `is_too_many_series`). The id of a series that was taken may be kept
    /// for later appenders.
    pub fn series(&mut self, labels: &Labels) -> SeriesId {
        let head = self.db.head();
        let known = head.by_labels.get(labels).copied();
        let is_empty = known.is_some_and(|id| head.series[&id].range().is_none());
        drop(head);
        let id = match known {
            Some(id) if !is_empty => return SeriesId(id),
            Some(id) => id,
            None => match self.add_series(labels) {
                Ok(id) => id,
                Err(kind) => {
                    self.refused.push(kind);
                    return SeriesId(u32::MAX - (self.refused.len() - 1) as u32);
                }
            },
        };
        self.empty.insert(id, labels.clone());
        SeriesId(id)
    }

    fn add_series(&self, labels: &Labels) -> Result<u32, Kind> {
        if let Some(kind) = check_labels(labels) {
            return Err(kind);
        }
        let mut head = self.db.head_mut();
        if let Some(id) = head.by_labels.get(labels) {
            return Ok(*id);
        }
        let max = self.db.inner.options.series_max;
        let added = if head.series.len() < max { head.add_series(labels.clone()) } else { None };
        added.ok_or(Kind::TooManySeries { max })
    }

    /// Appends one float to a series.
    ///
    /// # Errors
    /// See [`Appender::append_sample`].
    pub fn append(&mut self, id: SeriesId, ts: Timestamp, value: f64) -> Result<(), Error> {
        self.append_sample(id, Sample::float(ts, value))
    }

    /// Appends one sample, which is kept bit for bit; the newest sample of the series once more is taken silently.
    ///
    /// # Errors
    /// `is_out_of_order`, `is_duplicate`, `is_too_far_in_future`, `is_unknown_series`, and what
    /// [`Appender::series`] found; each is counted in [`Stats::refused`](crate::Stats). The appender stays usable.
    pub fn append_sample(&mut self, id: SeriesId, mut sample: Sample) -> Result<(), Error> {
        sample.start = sample.start.filter(|start| start.as_millis() != 0);
        let outcome = self.check(id, &sample);
        match outcome {
            Ok(fit @ (Fit::New | Fit::Late)) => {
                let at = self.pending.len();
                if fit == Fit::New {
                    self.last.insert(id.0, at);
                }
                let place = (id.0, sample.ts.as_millis());
                self.pending.push((id.0, sample));
                match &mut self.places {
                    Some(places) => drop(places.insert(place, at)),
                    None if fit == Fit::Late => {
                        let all = self.pending.iter().enumerate();
                        self.places = Some(all.map(|(at, (id, s))| ((*id, s.ts.as_millis()), at)).collect());
                    }
                    None => {}
                }
                Ok(())
            }
            Ok(Fit::Same) => Ok(()),
            Err(error) => {
                self.db.inner.refused.count(&error);
                Err(error)
            }
        }
    }

    fn check(&self, id: SeriesId, sample: &Sample) -> Result<Fit, Error> {
        if let Some(kind) = self.refused.get((u32::MAX - id.0) as usize) {
            return Err(Error::new(kind.clone()));
        }
        if let Some(now) = self.now
            && sample.ts > now + self.db.inner.options.future_max
        {
            return Err(Error::new(Kind::TooFarInFuture { ts: sample.ts, now }));
        }
        let window = self.db.inner.options.out_of_order_window;
        let place = self.places.as_ref().and_then(|places| places.get(&(id.0, sample.ts.as_millis())));
        if let Some(at) = place {
            return fit(&self.pending[*at].1, sample);
        }
        match self.last.get(&id.0).map(|at| &self.pending[*at].1) {
            Some(last) if sample.ts < last.ts && sample.ts >= last.ts - window => {
                self.check_late(id.0, sample)
            }
            Some(last) => fit(last, sample),
            None => match self.db.head().check(id.0, sample, window) {
                Err(error) if error.is_unknown_series() && self.empty.contains_key(&id.0) => Ok(Fit::New),
                outcome => outcome,
            },
        }
    }

    /// Whether a sample fits that is older than another one of the batch.
    fn check_late(&self, id: u32, sample: &Sample) -> Result<Fit, Error> {
        let is_pending = |(other, pending): &&(u32, Sample)| *other == id && pending.ts == sample.ts;
        if self.places.is_none()
            && let Some((_, pending)) = self.pending.iter().find(is_pending)
        {
            return fit(pending, sample);
        }
        match self.db.head().check(id, sample, self.db.inner.options.out_of_order_window) {
            Ok(Fit::New) => Ok(Fit::Late),
            Err(error) if error.is_unknown_series() && self.empty.contains_key(&id) => Ok(Fit::Late),
            outcome => outcome,
        }
    }

    /// The number of samples that wait for the commit.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no sample waits for the commit.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes the batch to the log, as one record with one write, and then makes it visible to queries.
    ///
    /// After `Ok` the samples survive the death of the process; after the next [`Db::sync`] a loss of power.
    ///
    /// # Errors
    /// `is_read_only` while the disk takes no writes (nothing of the batch is kept; the same batch may be
    /// appended and committed again), `is_closed`, `is_too_large`.
    pub fn commit(self) -> Result<Commit, Error> {
        let db = self.db.clone();
        let mut writer = db.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        let is_unchanged = self.changes == db.inner.changes.load(SeqCst);
        let mut pending = self.renewed();
        // Only another appender that was faster can have changed what fits.
        let mut refused = 0;
        if !is_unchanged {
            let window = db.inner.options.out_of_order_window;
            let head = db.head();
            pending.retain(|(id, sample)| match head.check(*id, sample, window) {
                Ok(fit) => fit != Fit::Same,
                Err(error) => {
                    db.inner.refused.count(&error);
                    refused += 1;
                    false
                }
            });
        }
        db.write(&mut writer, &pending)?;
        Ok(Commit { samples: pending.len(), refused })
    }

    /// The batch, with new ids for the series that a compaction has dropped since they were empty.
    fn renewed(mut self) -> Vec<(u32, Sample)> {
        let mut renewed: IdMap<u32> = IdMap::default();
        let head = self.db.head();
        let is_gone = |id: &u32| !head.series.contains_key(id);
        let gone: Vec<u32> = self.empty.keys().copied().filter(is_gone).collect();
        drop(head);
        for id in gone {
            if let Ok(new) = self.add_series(&self.empty[&id]) {
                renewed.insert(id, new);
            }
        }
        if !renewed.is_empty() {
            self.pending.iter_mut().for_each(|(id, _)| *id = renewed.get(id).copied().unwrap_or(*id));
        }
        self.pending
    }
}

/// Why the store does not take such a label set.
fn check_labels(labels: &Labels) -> Option<Kind> {
    let reason = if labels.len() > LABELS_PER_SERIES_MAX {
        format!("{} labels; the limit is {LABELS_PER_SERIES_MAX}", labels.len())
    } else if labels.encoded_len() > LABEL_BYTES_MAX {
        format!("{} bytes; the limit is {LABEL_BYTES_MAX}", labels.encoded_len())
    } else if labels.iter().any(|(name, _)| name.is_empty()) {
        "a label name is empty".to_owned()
    } else {
        return None;
    };
    let mut shown: String = labels.to_string().chars().take(200).collect();
    if shown.len() < labels.encoded_len() {
        shown.push('…');
    }
    Some(Kind::BadLabels { labels: shown, reason })
}
