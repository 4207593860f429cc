//! What a query sees: series with references to their chunks, decoded one series at a time and column by column.
//!
//! A selection is taken under the lock of the head in one go, so that it holds each commit whole or not at all.
//! Closed chunks are shared, open ones are copied into one buffer; nothing is decoded before it is asked for.

use std::ops::Range;
use std::sync::Arc;

use crate::chunk::{Chunk, ChunkKind, Packed};
use crate::db::Db;
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
}

impl Columns {
    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        let Columns { ts, values, starts, histogram_ts, histograms, histogram_starts } = self;
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
    series: Vec<(Labels, Range<usize>)>,
    parts: Vec<Part>,
    open: Vec<u8>,
}

/// A piece of a series.
#[derive(Debug)]
enum Part {
    Closed(Arc<Chunk>),
    /// A chunk that was being written, with its bytes in the buffer of the selection.
    Open {
        chunk: Packed<'static>,
        bytes: Range<usize>,
    },
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
        &self.series[index].0
    }

    /// Reads the samples of the series at this index, in the range of the selection, in place of what `columns` holds.
    ///
    /// There may be none: a chunk that reaches over the range need not have a sample in it.
    pub fn read(&self, index: usize, columns: &mut Columns) {
        columns.clear();
        for part in &self.parts[self.series[index].1.clone()] {
            match part {
                Part::Closed(chunk) => columns.read(&chunk.packed(), self.start, self.end),
                Part::Open { chunk, bytes } => {
                    let chunk = Packed { data: &self.open[bytes.clone()], ..*chunk };
                    columns.read(&chunk, self.start, self.end);
                }
            }
        }
    }

    /// Sorts the series by labels.
    pub fn sort(&mut self) {
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
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
        let series = Vec::with_capacity(ids.len());
        let mut found =
            Selection { start, end, series, parts: Vec::with_capacity(ids.len()), open: Vec::new() };
        for id in ids {
            let series = &head.series[&id];
            let from = found.parts.len();
            found.parts.extend(series.closed(start, end).iter().map(|chunk| Part::Closed(chunk.clone())));
            if let Some(open) =
                series.open.as_ref().filter(|open| open.first() <= end && open.last() >= start)
            {
                let chunk = open.packed();
                let at = found.open.len();
                found.open.extend_from_slice(chunk.data);
                let bytes = at..found.open.len();
                found.parts.push(Part::Open { chunk: Packed { data: &[], ..chunk }, bytes });
            }
            if found.parts.len() > from {
                found.series.push((series.labels.clone(), from..found.parts.len()));
            }
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
            let series = &head.series[&id];
            if let Some(sample) = series.newest(start, end) {
                found.push((series.labels.clone(), sample));
            }
        }
        found
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
