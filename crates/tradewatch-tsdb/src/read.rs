//! What a query sees: series with references to their chunks, decoded one series at a time and column by column.
//!
//! A selection is taken under the lock of the head in one go, so that it holds each commit whole or not at all.
//! Closed chunks are shared, open ones are copied into one buffer; nothing is decoded before it is asked for.

use std::ops::Range;
use std::sync::Arc;

use crate::block::{Block, TimesCache};
use crate::blocks;
use crate::chunk::{Chunk, ChunkKind, Mark, Packed};
use crate::db::Db;
use crate::head::Head;
use crate::log::Damage;
use crate::record::Tombstone;
use crate::{Histogram, Labels, Matcher, Sample, Series, Timestamp, Value};

/// The samples of one series, floats and histograms apart, each column in ascending order of time.
///
/// Staleness markers are among them. It is meant to be used again for the next series.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Times of the floats, in milliseconds since the Unix epoch.
    pub ts: Vec<i64>,
    /// The floats.
    pub values: Vec<f64>,
    /// Start timestamps of the floats, 0 where unknown; empty if none has one.
    pub starts: Vec<i64>,
    /// Times of the histograms.
    pub histogram_ts: Vec<i64>,
    /// The histograms.
    pub histograms: Vec<Arc<Histogram>>,
    /// Start timestamps of the histograms, as in `starts`.
    pub histogram_starts: Vec<i64>,
    /// Columns of times that the series read so far share.
    times: TimesCache,
}

impl Columns {
    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        let Columns { ts, values, starts, histogram_ts, histograms, histogram_starts, .. } = self;
        [ts, starts, histogram_ts, histogram_starts].into_iter().for_each(Vec::clear);
        values.clear();
        histograms.clear();
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.ts.len() + self.histogram_ts.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histogram_ts.is_empty()
    }

    /// Fills the start timestamps of what was appended since the columns had these lengths.
    fn put_starts(&mut self, floats: usize, histograms: usize, start: Option<Timestamp>) {
        for (starts, before, len) in [
            (&mut self.starts, floats, self.ts.len()),
            (&mut self.histogram_starts, histograms, self.histogram_ts.len()),
        ] {
            match start {
                Some(start) if len > before => {
                    starts.resize(before, 0);
                    starts.resize(len, start.as_millis());
                }
                _ if !starts.is_empty() => starts.resize(len, 0),
                _ => {}
            }
        }
    }

    /// Fills the start timestamps of the floats that were appended since there were so many.
    pub(crate) fn put_float_starts(&mut self, floats: usize, start: Option<Timestamp>) {
        self.put_starts(floats, self.histogram_ts.len(), start);
    }

    /// Appends the samples of a chunk from `start` to `end`.
    pub(crate) fn read(&mut self, chunk: &Packed<'_>, start: Timestamp, end: Timestamp) {
        let before = (self.ts.len(), self.histogram_ts.len());
        match chunk.kind {
            ChunkKind::Float => {
                chunk.floats_into(start.as_millis(), end.as_millis(), &mut self.ts, &mut self.values);
            }
            ChunkKind::Histogram => chunk.each_histogram(|ts, histogram| {
                if ts >= start && ts <= end {
                    self.histogram_ts.push(ts.as_millis());
                    self.histograms.push(histogram);
                }
                ts <= end
            }),
        }
        self.put_starts(before.0, before.1, chunk.start);
    }

    /// Removes what was deleted in a block among the samples that were appended since the columns had these lengths.
    pub(crate) fn remove_deleted(&mut self, from: (usize, usize), block: u64, deleted: &[Tombstone]) {
        for Tombstone { start, end, .. } in deleted.iter().filter(|tombstone| tombstone.block == block) {
            let within = |ts: &[i64], from: usize| {
                let low = ts[from..].partition_point(|ts| *ts < start.as_millis());
                let high = ts[from..].partition_point(|ts| *ts <= end.as_millis());
                from + low..from + high.max(low)
            };
            let (floats, histograms) = (within(&self.ts, from.0), within(&self.histogram_ts, from.1));
            if !self.starts.is_empty() {
                self.starts.drain(floats.clone());
            }
            if !self.histogram_starts.is_empty() {
                self.histogram_starts.drain(histograms.clone());
            }
            self.ts.drain(floats.clone());
            self.values.drain(floats);
            self.histogram_ts.drain(histograms.clone());
            self.histograms.drain(histograms);
        }
    }

    /// The time of the first sample; the latest of times without any.
    pub(crate) fn first(&self) -> i64 {
        let first = |ts: &[i64]| ts.first().copied().unwrap_or(i64::MAX);
        first(&self.ts).min(first(&self.histogram_ts))
    }

    /// The time of the last sample; the earliest of times without any.
    pub(crate) fn last(&self) -> i64 {
        let last = |ts: &[i64]| ts.last().copied().unwrap_or(i64::MIN);
        last(&self.ts).max(last(&self.histogram_ts))
    }

    /// Whether each column ascends, as it does unless late samples were appended.
    pub(crate) fn is_sorted(&self) -> bool {
        self.ts.is_sorted_by(|a, b| a < b) && self.histogram_ts.is_sorted_by(|a, b| a < b)
    }

    /// Appends what comes behind.
    pub(crate) fn append(&mut self, other: &Columns) {
        if !self.starts.is_empty() || !other.starts.is_empty() {
            self.starts.resize(self.ts.len(), 0);
            self.starts.extend_from_slice(&other.starts);
            self.starts.resize(self.ts.len() + other.ts.len(), 0);
        }
        if !self.histogram_starts.is_empty() || !other.histogram_starts.is_empty() {
            self.histogram_starts.resize(self.histogram_ts.len(), 0);
            self.histogram_starts.extend_from_slice(&other.histogram_starts);
            self.histogram_starts.resize(self.histogram_ts.len() + other.histogram_ts.len(), 0);
        }
        self.ts.extend_from_slice(&other.ts);
        self.values.extend_from_slice(&other.values);
        self.histogram_ts.extend_from_slice(&other.histogram_ts);
        self.histograms.extend_from_slice(&other.histograms);
    }

    /// Holds these samples, which ascend in time, and nothing else.
    pub(crate) fn set_samples(&mut self, samples: &[Sample]) {
        self.clear();
        for sample in samples {
            let before = (self.ts.len(), self.histogram_ts.len());
            match &sample.value {
                Value::Float(value) => {
                    self.ts.push(sample.ts.as_millis());
                    self.values.push(*value);
                }
                Value::Histogram(histogram) => {
                    self.histogram_ts.push(sample.ts.as_millis());
                    self.histograms.push(histogram.clone());
                }
            }
            self.put_starts(before.0, before.1, sample.start);
        }
    }

    /// All samples in the order of time.
    pub fn to_samples(&self) -> Vec<Sample> {
        let start = |starts: &[i64], at: usize| {
            starts.get(at).filter(|start| **start != 0).map(|start| Timestamp::from_millis(*start))
        };
        let float = |at: usize| Sample {
            ts: Timestamp::from_millis(self.ts[at]),
            value: Value::Float(self.values[at]),
            start: start(&self.starts, at),
        };
        let histogram = |at: usize| Sample {
            ts: Timestamp::from_millis(self.histogram_ts[at]),
            value: Value::Histogram(self.histograms[at].clone()),
            start: start(&self.histogram_starts, at),
        };
        let mut samples: Vec<Sample> = (0..self.ts.len()).map(float).collect();
        if !self.histograms.is_empty() {
            samples.extend((0..self.histograms.len()).map(histogram));
            samples.sort_by_key(|sample| sample.ts);
        }
        samples
    }
}

/// Series that match, as they were at one instant. No lock is held.
#[derive(Debug)]
pub struct Selection {
    start: Timestamp,
    end: Timestamp,
    series: Vec<Selected>,
    parts: Vec<Part>,
    blocks: Vec<Arc<Block>>,
    open: Vec<u8>,
    rows: Vec<(i64, f64)>,
    late: Vec<Sample>,
    deleted: Vec<Tombstone>,
}

#[derive(Debug)]
struct Selected {
    labels: Labels,
    /// In the order of time, unless samples came late.
    parts: Range<usize>,
    /// What was deleted in its blocks.
    deleted: Range<usize>,
    is_in_order: bool,
}

/// A piece of a series.
#[derive(Debug)]
enum Part {
    /// A chunk of one of the blocks of the selection.
    Block {
        block: u32,
        entry: u32,
    },
    Closed(Arc<Chunk>),
    /// A chunk that was being written, with its bytes in the buffer of the selection.
    Open {
        chunk: Packed<'static>,
        bytes: Range<usize>,
    },
    /// The end of a chunk that was being written, behind a mark.
    Tail {
        chunk: Packed<'static>,
        mark: Mark,
        bytes: Range<usize>,
    },
    /// Its newest samples, copied.
    Rows(Range<usize>),
    Late(Range<usize>),
}

impl Selection {
    /// The number of series, in no particular order.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether no series matches.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The labels of the series at this index.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    /// Reads the samples of the series at this index, in the range of the selection, in place of what `columns` holds.
    ///
    /// There may be none: a chunk that reaches over the range need not have a sample in it. A damaged chunk is left
    /// out, and reported in [`Stats`](crate::Stats) and by [`Db::damage`].
    pub fn read(&self, index: usize, columns: &mut Columns) {
        columns.clear();
        let series = &self.series[index];
        if series.is_in_order {
            for part in &self.parts[series.parts.clone()] {
                self.read_part(series, part, columns);
            }
            return;
        }
        // Of several samples at one time the one in the latest block counts, or the one in memory.
        let mut samples = Vec::new();
        for part in &self.parts[series.parts.clone()] {
            columns.clear();
            self.read_part(series, part, columns);
            samples.extend(columns.to_samples());
        }
        blocks::keep_last(&mut samples);
        columns.set_samples(&samples);
    }

    fn read_part(&self, series: &Selected, part: &Part, columns: &mut Columns) {
        match part {
            Part::Block { block, entry } => {
                let block = &self.blocks[*block as usize];
                let before = (columns.ts.len(), columns.histogram_ts.len());
                let mut cache = std::mem::take(&mut columns.times);
                if cache.len() >= blocks::TIMES_CACHE_MAX {
                    cache.clear();
                }
                block.read(*entry, self.start, self.end, columns, &mut cache);
                columns.times = cache;
                let deleted = &self.deleted[series.deleted.clone()];
                columns.remove_deleted(before, block.number(), deleted);
            }
            Part::Closed(chunk) => columns.read(&chunk.packed(), self.start, self.end),
            Part::Open { chunk, bytes } => {
                let chunk = Packed { data: &self.open[bytes.clone()], ..*chunk };
                columns.read(&chunk, self.start, self.end);
            }
            Part::Tail { chunk, mark, bytes } => {
                let before = columns.ts.len();
                let chunk = Packed { data: &self.open[bytes.clone()], ..*chunk };
                let (start, end) = (self.start.as_millis(), self.end.as_millis());
                chunk.tail_into(mark, start, end, &mut columns.ts, &mut columns.values);
                columns.put_float_starts(before, chunk.start);
            }
            Part::Rows(range) => {
                let before = columns.ts.len();
                let rows = &self.rows[range.clone()];
                columns.ts.extend(rows.iter().map(|(ts, _)| *ts));
                columns.values.extend(rows.iter().map(|(_, value)| *value));
                columns.put_float_starts(before, None);
            }
            Part::Late(range) => {
                let mut late = Columns::default();
                late.set_samples(&self.late[range.clone()]);
                columns.append(&late);
            }
        }
    }

    /// Sorts the series by labels.
    pub fn sort(&mut self) {
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }

    /// Adds what a series has; `hints` are the places in the blocks where the search for the one before ended.
    fn add(&mut self, head: &Head, id: u32, hints: &mut [usize]) {
        let series = &head.series[id];
        let (start, end) = (self.start, self.end);
        let from = self.parts.len();
        let (mut is_in_order, mut last) = (true, i64::MIN);
        let mut follow = |first: i64, end: i64| {
            is_in_order &= first > last;
            last = last.max(end);
        };
        if series.has_blocks {
            for (at, (block, hint)) in self.blocks.iter().zip(hints).enumerate() {
                let Some(place) = block.find(id, hint) else { continue };
                for entry in block.entries_of(place) {
                    let about = block.entry(entry);
                    if about.overlaps(start, end) {
                        follow(about.first, about.last);
                        self.parts.push(Part::Block { block: at as u32, entry });
                    }
                }
            }
        }
        for chunk in series.closed(start, end) {
            follow(chunk.first.as_millis(), chunk.last.as_millis());
            self.parts.push(Part::Closed(chunk.clone()));
        }
        if let Some(open) = series.open.as_ref().filter(|open| open.first() <= end && open.last() >= start) {
            follow(open.first().as_millis(), open.last().as_millis());
            let chunk = open.packed();
            let (at, mark) = (self.open.len(), open.mark_before(start));
            self.open.extend_from_slice(&chunk.data[mark.map_or(0, |mark| mark.bit as usize / 8)..]);
            let (chunk, bytes) = (Packed { data: &[], ..chunk }, at..self.open.len());
            self.parts.push(match mark {
                Some(mark) => Part::Tail { chunk, mark, bytes },
                None => Part::Open { chunk, bytes },
            });
        }
        if let Some(column) = head.column(series, start, end) {
            let (times, at) = (column.times(), self.rows.len());
            follow(times[0], times[times.len() - 1]);
            self.rows.extend(times.iter().copied().zip(column.values()));
            self.parts.push(Part::Rows(at..self.rows.len()));
        }
        if let [first, .., _] | [first] = series.late_in(start, end) {
            follow(first.ts.as_millis(), i64::MAX);
            let at = self.late.len();
            self.late.extend_from_slice(series.late_in(start, end));
            self.parts.push(Part::Late(at..self.late.len()));
        }
        if self.parts.len() > from {
            let deleted = self.deleted.len();
            self.deleted.extend_from_slice(head.blocks.tombstones_of(id));
            self.series.push(Selected {
                labels: series.labels.clone(),
                parts: from..self.parts.len(),
                deleted: deleted..self.deleted.len(),
                is_in_order,
            });
        }
    }
}

impl Db {
    /// The series that match and may have samples from `start` to `end` (both inclusive), to be read one by one.
    ///
    /// No matcher at all selects everything. The answer holds each commit whole or not at all.
    ///
    /// # Cost
    /// For each series a reference to each of its chunks in the range, and a copy of the open one.
    pub fn select_chunks(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Selection {
        let head = self.head();
        let ids = head.postings.select(matchers);
        let blocks = head.blocks.live.iter().filter(|block| block.overlaps(start, end));
        let blocks: Vec<Arc<Block>> = blocks.cloned().collect();
        let mut hints = vec![0; blocks.len()];
        let mut found = Selection {
            start,
            end,
            series: Vec::with_capacity(ids.len()),
            parts: Vec::with_capacity(ids.len()),
            blocks,
            open: Vec::new(),
            rows: Vec::new(),
            late: Vec::new(),
            deleted: Vec::new(),
        };
        for id in ids {
            found.add(&head, id, &mut hints);
        }
        found
    }

    /// The newest sample from `start` to `end` (both inclusive) of each series that matches, in no particular order.
    ///
    /// # Cost
    /// Where `end` is not before the newest sample of a series, which is usual, nothing is decoded for it.
    pub fn select_last(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Sample)> {
        let head = self.head();
        let ids = head.postings.select(matchers);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(sample) = head.newest(id, start, end) {
                found.push((head.series[id].labels.clone(), sample));
            }
        }
        found
    }

    /// What has turned out to be unreadable in blocks since the store was opened, then included.
    pub fn damage(&self) -> Vec<Damage> {
        self.head().blocks.live.iter().flat_map(|block| block.damage()).collect()
    }

    /// The series that match, with their samples from `start` to `end` (both inclusive), sorted by labels.
    ///
    /// Series without a sample in the range are left out. No matcher at all selects everything. The
    /// answer holds each commit whole or not at all.
    pub fn select(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<Series> {
        let mut selection = self.select_chunks(matchers, start, end);
        selection.sort();
        let mut columns = Columns::default();
        let mut found = Vec::with_capacity(selection.len());
        for index in 0..selection.len() {
            selection.read(index, &mut columns);
            if !columns.is_empty() {
                let labels = selection.labels(index).clone();
                found.push(Series { labels, samples: columns.to_samples() });
            }
        }
        found
    }
}
