//! The series in memory: identity, chunks, index. Plain data; the locks are `db.rs`'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::chunk::{Chunk, OpenChunk};
use crate::error::{Error, Kind};
use crate::postings::Postings;
use crate::record::Entry;
use crate::{Labels, Metadata, Sample, Timestamp};

/// A map by series id, with a hash that costs one multiplication.
pub type IdMap<V> = HashMap<u32, V, BuildHasherDefault<IdHasher>>;

/// Hashes one `u32`. Ids are handed out by us, in sequence, so that nobody can choose them to collide.
#[derive(Clone, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, id: u32) {
        // An odd factor keeps neighbours apart in the low bits and spreads them over the high ones.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Everything the store knows, without a lock.
#[derive(Debug, Default)]
pub struct Head {
    pub series: IdMap<MemSeries>,
    pub by_labels: HashMap<Labels, u32>,
    pub postings: Postings,
    pub metadata: BTreeMap<String, Metadata>,
    /// The families whose metadata the log does not have yet.
    pub unlogged_families: BTreeSet<String>,
    pub next_id: u32,
    /// Closed chunks, their bytes, and the samples in all chunks.
    pub chunks: usize,
    pub chunk_bytes: usize,
    pub samples: u64,
}

/// One series: what it is called and what it holds.
#[derive(Debug)]
pub struct MemSeries {
    pub labels: Labels,
    /// Closed chunks, ascending, without overlap.
    pub chunks: Vec<Arc<Chunk>>,
    pub open: Option<Box<OpenChunk>>,
    /// Whether the log says what the id stands for.
    pub is_logged: bool,
    /// Whether it was empty at the last compaction: if it still is at the next, it goes.
    is_idle: bool,
}

/// What a sample would be to its series.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Newer than everything: it is to be kept.
    New,
    /// The newest sample once more: nothing to do.
    Same,
}

/// Whether `sample` may follow `last` within one series.
pub fn fit(last: &Sample, sample: &Sample) -> Result<Fit, Error> {
    if sample.ts > last.ts {
        Ok(Fit::New)
    } else if sample.ts < last.ts {
        Err(Error::new(Kind::OutOfOrder { ts: sample.ts, last: last.ts }))
    } else if sample.value.same_bits(&last.value) {
        Ok(Fit::Same)
    } else {
        Err(Error::new(Kind::Duplicate { ts: sample.ts }))
    }
}

impl MemSeries {
    fn new(labels: Labels) -> MemSeries {
        MemSeries { labels, chunks: Vec::new(), open: None, is_logged: false, is_idle: false }
    }

    /// The time of its first and last sample.
    pub fn range(&self) -> Option<(Timestamp, Timestamp)> {
        let open = self.open.as_ref();
        let first = self.chunks.first().map(|c| c.first).or(open.map(|o| o.first()))?;
        let last = open.map(|o| o.last()).or(self.chunks.last().map(|c| c.last))?;
        Some((first, last))
    }

    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.range().is_some_and(|(first, last)| first <= end && last >= start)
    }

    fn last_sample(&self) -> Option<Sample> {
        if let Some(open) = &self.open {
            return Some(open.last_sample());
        }
        let chunk = self.chunks.last()?;
        chunk.packed().newest(chunk.last, chunk.last)
    }

    /// The newest sample from `start` to `end`.
    pub fn newest(&self, start: Timestamp, end: Timestamp) -> Option<Sample> {
        if let Some(open) = self.open.as_ref().filter(|open| open.first() <= end) {
            return match open.last() <= end {
                true => (open.last() >= start).then(|| open.last_sample()),
                false => open.packed().newest(start, end),
            };
        }
        self.closed(start, end).last()?.packed().newest(start, end)
    }

    /// The closed chunks that may hold samples from `start` to `end`.
    pub fn closed(&self, start: Timestamp, end: Timestamp) -> &[Arc<Chunk>] {
        let from = self.chunks.partition_point(|chunk| chunk.last < start);
        let to = self.chunks.partition_point(|chunk| chunk.first <= end);
        self.chunks.get(from..to).unwrap_or_default()
    }

    /// The chunks that may hold samples from `start` to `end`; the open one as a copy.
    pub fn snapshot(&self, start: Timestamp, end: Timestamp) -> Vec<Arc<Chunk>> {
        let mut found = self.closed(start, end).to_vec();
        let open = self.open.as_ref().filter(|open| open.first() <= end && open.last() >= start);
        found.extend(open.map(|open| Arc::new(open.seal())));
        found
    }

    /// Bytes of memory that are not in closed chunks.
    pub fn memory_bytes(&self) -> usize {
        size_of::<MemSeries>()
            + self.labels.encoded_len()
            + self.chunks.capacity() * size_of::<Arc<Chunk>>()
            + self.open.as_ref().map_or(0, |open| open.memory_bytes())
    }
}

impl Head {
    /// Adds a series that is not there yet; `None` once every id has been given away.
    pub fn add_series(&mut self, labels: Labels) -> Option<u32> {
        // The uppermost ids are those that an appender gives to refused series.
        let id = self.next_id;
        self.next_id = (id < u32::MAX / 2).then(|| id + 1)?;
        self.postings.add(id, &labels);
        self.by_labels.insert(labels.clone(), id);
        self.series.insert(id, MemSeries::new(labels));
        Some(id)
    }

    /// Whether `sample` fits behind the last one of its series.
    pub fn check(&self, id: u32, sample: &Sample) -> Result<Fit, Error> {
        let series = self.series.get(&id).ok_or_else(|| Error::new(Kind::UnknownSeries { id }))?;
        match series.range() {
            None => Ok(Fit::New),
            Some((_, last)) if sample.ts > last => Ok(Fit::New),
            Some(_) => series.last_sample().map_or(Ok(Fit::New), |last| fit(&last, sample)),
        }
    }

    /// Adds a checked sample.
    pub fn push(&mut self, id: u32, sample: &Sample) {
        let Some(series) = self.series.get_mut(&id) else { return };
        self.samples += 1;
        series.is_idle = false;
        if let Some(open) = &mut series.open {
            if open.push(sample) {
                return;
            }
            let chunk = open.seal();
            self.chunks += 1;
            self.chunk_bytes += chunk.memory_bytes();
            series.chunks.push(Arc::new(chunk));
        }
        series.open = Some(Box::new(OpenChunk::new(sample)));
    }

    /// Removes the samples of a series from `start` to `end`; returns how many there were.
    pub fn delete(&mut self, id: u32, start: Timestamp, end: Timestamp) -> u64 {
        let Some(series) = self.series.get_mut(&id) else { return 0 };
        if !series.overlaps(start, end) {
            return 0;
        }
        let before = self.samples;
        let old = series.snapshot(Timestamp::MIN, Timestamp::MAX);
        let closed = series.chunks.len();
        self.chunks -= closed;
        self.chunk_bytes -= series.chunks.iter().map(|chunk| chunk.memory_bytes()).sum::<usize>();
        self.samples -= old.iter().map(|chunk| u64::from(chunk.count)).sum::<u64>();
        (series.chunks, series.open) = (Vec::new(), None);
        for (i, chunk) in old.into_iter().enumerate() {
            // Whole chunks outside the range stay as they are; the open one goes on being written.
            if i < closed && !chunk.overlaps(start, end) {
                self.push_chunk(id, chunk);
                continue;
            }
            chunk
                .samples()
                .iter()
                .filter(|s| s.ts < start || s.ts > end)
                .for_each(|sample| self.push(id, sample));
            if i < closed {
                self.close_open(id);
            }
        }
        before - self.samples
    }

    /// Adds a closed chunk behind everything the series holds; `false` if it does not fit there.
    pub fn push_chunk(&mut self, id: u32, chunk: Arc<Chunk>) -> bool {
        self.close_open(id);
        let Some(series) = self.series.get_mut(&id) else { return false };
        if series.range().is_some_and(|(_, last)| last >= chunk.first) {
            return false;
        }
        self.samples += u64::from(chunk.count);
        self.chunks += 1;
        self.chunk_bytes += chunk.memory_bytes();
        series.chunks.push(chunk);
        true
    }

    fn close_open(&mut self, id: u32) {
        let Some(series) = self.series.get_mut(&id) else { return };
        if let Some(open) = series.open.take() {
            let chunk = open.seal();
            self.chunks += 1;
            self.chunk_bytes += chunk.memory_bytes();
            series.chunks.push(Arc::new(chunk));
        }
    }

    /// Takes out every chunk whose last sample is older than `cutoff`; the caller drops them without the lock.
    pub fn take_older(&mut self, cutoff: Timestamp) -> Vec<Arc<Chunk>> {
        let mut taken = Vec::new();
        for series in self.series.values_mut() {
            let count = series.chunks.partition_point(|chunk| chunk.last < cutoff);
            let from = taken.len();
            taken.extend(series.chunks.drain(..count));
            self.chunks -= count;
            self.chunk_bytes -= taken[from..].iter().map(|chunk| chunk.memory_bytes()).sum::<usize>();
            if let Some(open) = series.open.take_if(|open| open.last() < cutoff) {
                taken.push(Arc::new(open.seal()));
            }
            self.samples -= taken[from..].iter().map(|chunk| u64::from(chunk.count)).sum::<u64>();
        }
        taken
    }

    /// The time before which everything must go so that closed chunks take at most `bytes_max`.
    pub fn cutoff_for_bytes(&self, bytes_max: usize) -> Option<Timestamp> {
        let mut excess = self.chunk_bytes.checked_sub(bytes_max).filter(|excess| *excess > 0)?;
        let mut chunks: Vec<(Timestamp, usize)> = Vec::with_capacity(self.chunks);
        for series in self.series.values() {
            chunks.extend(series.chunks.iter().map(|chunk| (chunk.last, chunk.memory_bytes())));
        }
        chunks.sort_unstable();
        for (last, bytes) in &chunks {
            excess = excess.saturating_sub(*bytes);
            if excess == 0 {
                return Some(Timestamp::from_millis(last.as_millis().saturating_add(1)));
            }
        }
        None
    }

    /// Removes the series that are empty now and were at the last call; returns how many.
    pub fn drop_idle(&mut self) -> usize {
        let mut gone: Vec<(u32, Labels)> = Vec::new();
        for (id, series) in &mut self.series {
            let is_empty = series.chunks.is_empty() && series.open.is_none();
            if is_empty && series.is_idle {
                gone.push((*id, series.labels.clone()));
            }
            series.is_idle = is_empty;
        }
        gone.sort_unstable_by_key(|(id, _)| *id);
        for (id, labels) in &gone {
            self.series.remove(id);
            self.by_labels.remove(labels);
        }
        self.postings.remove(&gone);
        gone.len()
    }
}

/// Puts the entries of the log back, oldest first.
#[derive(Debug, Default)]
pub struct Replayer {
    pub head: Head,
    /// Ids of series that were dropped and made anew while the log still held the old ones.
    aliases: IdMap<u32>,
    pub samples: u64,
    /// Samples whose series was defined in a part of the log that could not be read.
    pub without_series: u64,
    /// Samples that do not fit behind those before them.
    pub misfits: u64,
}

impl Replayer {
    /// Applies one record; `false` if it is not well-formed, and then nothing of it is kept.
    pub fn apply(&mut self, payload: &[u8]) -> bool {
        let Some(entries) = crate::record::decode(payload) else { return false };
        entries.into_iter().for_each(|entry| self.apply_entry(entry));
        true
    }

    fn apply_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Series { id, labels } => self.define(id, labels),
            Entry::Sample { id, sample } => {
                let id = self.resolve(id);
                match self.head.check(id, &sample) {
                    Ok(Fit::New) => {
                        self.head.push(id, &sample);
                        self.samples += 1;
                    }
                    Ok(Fit::Same) => {}
                    Err(error) if error.is_unknown_series() => self.miss(id, 1),
                    Err(_) => self.misfits += 1,
                }
            }
            Entry::Metadata { family, metadata } => {
                self.head.metadata.insert(family, metadata);
            }
            Entry::Delete { id, start, end } => {
                self.head.delete(self.resolve(id), start, end);
            }
            Entry::Chunk { id, chunk } => {
                let (id, count) = (self.resolve(id), u64::from(chunk.count));
                if !self.head.series.contains_key(&id) {
                    self.miss(id, count);
                } else if self.head.push_chunk(id, Arc::new(chunk)) {
                    self.samples += count;
                } else {
                    self.misfits += count;
                }
            }
            Entry::CheckpointEnd { next_id } => self.head.next_id = self.head.next_id.max(next_id),
        }
    }

    fn define(&mut self, id: u32, labels: Labels) {
        if let Some(existing) = self.head.by_labels.get(&labels).copied() {
            if existing != id {
                self.aliases.insert(id, existing);
                // What the retention had dropped must not be kept by what came later.
                self.head.close_open(existing);
            }
        } else if !self.head.series.contains_key(&id) && id < u32::MAX / 2 {
            // Ids ascend in the index; a log in order defines them so, but for those two appenders raced for.
            self.head.series.insert(id, MemSeries { is_logged: true, ..MemSeries::new(labels.clone()) });
            self.head.by_labels.insert(labels, id);
        }
        self.head.next_id = self.head.next_id.max(id.saturating_add(1).min(u32::MAX / 2));
    }

    /// Counts samples whose series is not known. Its id stays taken: it must not come to mean another.
    fn miss(&mut self, id: u32, samples: u64) {
        self.without_series += samples;
        self.head.next_id = self.head.next_id.max(id.saturating_add(1).min(u32::MAX / 2));
    }

    fn resolve(&self, id: u32) -> u32 {
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    /// The head, indexed.
    pub fn finish(mut self) -> Head {
        let mut ids: Vec<u32> = self.head.series.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.head.postings.add(id, &self.head.series[&id].labels);
        }
        self.head
    }
}
