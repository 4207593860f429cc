//! Batches of samples: checked one by one, written and made visible as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::MutexGuard;
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

    /// The side that changes the store.
    fn open_writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        let writer = self.writer();
        if writer.is_closed { Err(Error::new(Kind::Closed)) } else { Ok(writer) }
    }

    /// Writes what the log does not have yet: labels of the series of `samples` and `row`, metadata, and the
    /// samples themselves. Then pushes them. Nothing is kept on an error.
    pub(crate) fn write(
        &self,
        writer: &mut Writer,
        samples: &[(u32, Sample)],
        row: &Row<'_>,
    ) -> Result<(), Error> {
        let mut unlogged = Vec::new();
        let mut families = BTreeMap::new();
        if let Some(wal) = &mut writer.wal {
            let payload;
            (payload, unlogged, families) = encode(&self.head(), samples, row);
            if !payload.is_empty() {
                wal.append(&payload, self.inner.options.segment_bytes_max)?;
            }
        }
        let mut head = self.head_mut();
        for id in unlogged {
            if let Some(series) = head.series.get_mut(id) {
                series.is_logged = true;
            }
        }
        if !families.is_empty() {
            // What was set anew between the two locks waits for the next commit.
            let Head { unlogged_families, metadata, .. } = &mut *head;
            unlogged_families.retain(|family| families.get(family) != metadata.get(family));
        }
        if !samples.is_empty() || !row.ids.is_empty() {
            self.inner.changes.fetch_add(1, SeqCst);
        }
        head.push_row(row.ids, row.ts, row.values);
        samples.iter().for_each(|(id, sample)| head.push(*id, sample));
        let count = samples.len() + row.ids.len();
        self.inner.appended.fetch_add(count as u64, Relaxed);
        Ok(())
    }
}

/// Floats of one time that fit, each series once.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Row<'a> {
    pub ts: Timestamp,
    pub ids: &'a [u32],
    pub values: &'a [f64],
}

impl Row<'_> {
    /// No float at all.
    pub const EMPTY: Row<'static> = Row { ts: Timestamp::MIN, ids: &[], values: &[] };
}

/// The record of a commit, the series whose labels it holds, and the families whose metadata it holds.
fn encode(
    head: &Head,
    samples: &[(u32, Sample)],
    row: &Row<'_>,
) -> (Vec<u8>, Vec<u32>, BTreeMap<String, Metadata>) {
    let mut payload = Vec::with_capacity(samples.len() * 6 + row.ids.len() * 9 + 64);
    let is_unlogged = |id: &u32| head.series.get(*id).is_some_and(|series| !series.is_logged);
    let mut unlogged: Vec<u32> = samples.iter().map(|(id, _)| *id).filter(is_unlogged).collect();
    if !head.is_next_row(row.ids, row.ts) {
        unlogged.extend(row.ids.iter().copied().filter(is_unlogged));
    }
    unlogged.sort_unstable();
    unlogged.dedup();
    for id in &unlogged {
        record::put_series(&mut payload, *id, &head.series[*id].labels);
    }
    let unlogged_metadata = head.unlogged_families.iter().map(|f| (f.clone(), head.metadata[f].clone()));
    let families: BTreeMap<String, Metadata> = unlogged_metadata.collect();
    for (family, metadata) in &families {
        record::put_metadata(&mut payload, family, metadata);
    }
    record::put_row(&mut payload, row.ts, row.ids, row.values);
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
        let known = head.id_of(labels);
        let is_empty = known.is_some_and(|id| head.range(&head.series[id]).is_none());
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
        if let Some(id) = head.id_of(labels) {
            return Ok(id);
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
        let mut writer = db.open_writer()?;
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
        db.write(&mut writer, &pending, &Row::EMPTY)?;
        Ok(Commit { samples: pending.len(), refused })
    }

    /// Commits the batch together with a float at `ts` for each of `ids`, as a scrape has them: what
    /// [`Appender::append`] for each of them and [`Appender::commit`] would do, at a fraction of the cost.
    ///
    /// `refused` gets the index of each float that was not taken, with the reason, and of no other.
    ///
    /// # Errors
    /// As [`Appender::commit`].
    /// # Cost
    /// Where the row before was for the same series, none of them is looked at.
    pub fn commit_row(
        mut self,
        ts: Timestamp,
        ids: &[SeriesId],
        values: &[f64],
        refused: &mut Vec<(usize, Error)>,
    ) -> Result<Commit, Error> {
        let floats = || ids.iter().zip(values).enumerate();
        let is_early = self.now.is_none_or(|now| ts <= now + self.db.inner.options.future_max);
        if !self.pending.is_empty() || !is_early {
            for (at, (id, value)) in floats() {
                if let Err(error) = self.append(*id, ts, *value) {
                    refused.push((at, error));
                }
            }
            return self.commit();
        }
        let db = self.db.clone();
        let mut writer = db.open_writer()?;
        let renewed = self.renew();
        let known = ids.iter().map(|id| renewed.get(&id.0).copied().unwrap_or(id.0));
        let mut row_ids: Vec<u32> = known.collect();
        let mut row_values = std::borrow::Cow::Borrowed(values);
        let mut others = Vec::new();
        let head = db.head();
        if !head.is_next_row(&row_ids, ts) {
            let mut seen = IdMap::with_capacity_and_hasher(ids.len(), Default::default());
            let all = std::mem::take(&mut row_ids);
            let mut kept = Vec::with_capacity(values.len());
            for (at, (id, value)) in all.into_iter().zip(values).enumerate() {
                let sample = Sample::float(ts, *value);
                let known: Option<f64> = seen.get(&id).copied();
                let outcome = match (self.refused.get((u32::MAX - id) as usize), known) {
                    (Some(kind), _) => Err(Error::new(kind.clone())),
                    (None, Some(known)) => fit(&Sample::float(ts, known), &sample),
                    (None, None) => head.check(id, &sample, db.inner.options.out_of_order_window),
                };
                match outcome {
                    Ok(Fit::New) => {
                        row_ids.push(id);
                        kept.push(*value);
                        seen.insert(id, *value);
                    }
                    Ok(Fit::Late) => {
                        others.push((id, sample));
                        seen.insert(id, *value);
                    }
                    Ok(Fit::Same) => {}
                    Err(error) => {
                        db.inner.refused.count(&error);
                        refused.push((at, error));
                    }
                }
            }
            row_values = kept.into();
        }
        drop(head);
        let row = Row { ts, ids: &row_ids, values: &row_values };
        db.write(&mut writer, &others, &row)?;
        Ok(Commit { samples: row_ids.len() + others.len(), refused: 0 })
    }

    /// New ids for the series that a compaction has dropped since they were empty.
    fn renew(&self) -> IdMap<u32> {
        let head = self.db.head();
        let is_gone = |id: &u32| !head.series.contains(*id);
        let gone: Vec<u32> = self.empty.keys().copied().filter(is_gone).collect();
        drop(head);
        gone.into_iter().filter_map(|id| Some((id, self.add_series(&self.empty[&id]).ok()?))).collect()
    }

    /// The batch, with these new ids.
    fn renewed(mut self) -> Vec<(u32, Sample)> {
        let renewed = self.renew();
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
