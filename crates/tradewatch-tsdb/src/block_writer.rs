//! Writing a block: series by series, chunk by chunk, under a name that nobody reads until all of it is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::bits::put_varint;
use crate::block::{
    ENTRY_BYTES, Entry, FLAG_START, Footer, KIND_COLUMNS, NO_TIMES, PAGE_BYTES, SERIES_BYTES, file_name,
};
use crate::chunk::{ChunkKind, OpenChunk, Packed};
use crate::column::{self, COLUMN_VALUES_MAX};
use crate::dir::{Dir, DirFile};
use crate::error::Error;
use crate::log::{FILE_HEADER_BYTES, FileId, FileKind};
use crate::read::Columns;
use crate::{Labels, Sample, Timestamp, Value};

/// As many bytes are written at a time.
const WRITE_BYTES: usize = 1024 * 1024;

/// How many columns of times are remembered to be shared: one for each target that takes turns.
const RECENT_TIMES_MAX: usize = 64;

/// A block being written.
#[derive(Debug)]
pub struct BlockWriter {
    dir: Arc<dyn Dir>,
    number: u64,
    file: Arc<dyn DirFile>,
    /// What is not written yet, and where it will be.
    pending: Vec<u8>,
    written: u64,
    footer: Footer,
    series: Vec<u8>,
    entries: Vec<u8>,
    times: Vec<u8>,
    labels: Vec<u8>,
    symbols: HashMap<String, u32>,
    symbol_ends: Vec<u8>,
    symbol_bytes: Vec<u8>,
    /// The columns of times used of late, with their places in the index, the latest first.
    recent_times: VecDeque<(Vec<i64>, u32)>,
    /// The series that is being written, until it has a chunk.
    current: Option<(u32, Labels)>,
}

impl BlockWriter {
    /// Begins the block `number`.
    ///
    /// # Errors
    /// A failure of the disk.
    pub fn new(dir: Arc<dyn Dir>, number: u64) -> Result<BlockWriter, Error> {
        let temporary = temporary(number);
        let shown = format!("{}/{temporary}", dir.place());
        let file = dir.create(&temporary).map_err(|e| Error::io(format!("create {shown}"), e))?;
        let footer = Footer { number, min: i64::MAX, max: i64::MIN, ..Footer::default() };
        Ok(BlockWriter {
            dir,
            number,
            file,
            pending: FileId { kind: FileKind::Block, number }.header().to_vec(),
            written: 0,
            footer,
            series: Vec::new(),
            entries: Vec::new(),
            times: Vec::new(),
            labels: Vec::new(),
            symbols: HashMap::new(),
            symbol_ends: Vec::new(),
            symbol_bytes: Vec::new(),
            recent_times: VecDeque::new(),
            current: None,
        })
    }

    /// Removes the unfinished file of a block.
    pub fn abandon(dir: &dyn Dir, number: u64) {
        let _ = dir.remove(&temporary(number));
    }

    /// Begins a series; ids ascend.
    pub fn begin_series(&mut self, id: u32, labels: &Labels) {
        self.current = Some((id, labels.clone()));
    }

    /// The samples written so far.
    pub fn samples(&self) -> u64 {
        self.footer.samples
    }

    /// Appends the samples of the current series, which lie behind those before, in as few chunks as may be.
    ///
    /// # Errors
    /// A failure of the disk.
    pub fn put(&mut self, columns: &Columns) -> Result<(), Error> {
        if columns.histograms.is_empty() {
            return self.put_floats(columns, 0, columns.ts.len());
        }
        // Floats and histograms take turns: chunks are of one kind.
        let (mut floats, mut histograms) = (0, 0);
        while floats < columns.ts.len() || histograms < columns.histograms.len() {
            let next = columns.histogram_ts.get(histograms).copied().unwrap_or(i64::MAX);
            let to = floats + columns.ts[floats..].partition_point(|ts| *ts < next);
            self.put_floats(columns, floats, to)?;
            floats = to;
            let next = columns.ts.get(floats).copied().unwrap_or(i64::MAX);
            let rest = &columns.histogram_ts[histograms..];
            let to = histograms + rest.partition_point(|ts| *ts < next || floats == columns.ts.len());
            self.put_histograms(columns, histograms, to)?;
            histograms = to;
        }
        Ok(())
    }

    fn put_floats(&mut self, columns: &Columns, from: usize, to: usize) -> Result<(), Error> {
        let start_at = |at: usize| columns.starts.get(at).copied().unwrap_or(0);
        let mut at = from;
        while at < to {
            let same = (at..to).take(COLUMN_VALUES_MAX).take_while(|i| start_at(*i) == start_at(at)).count();
            self.put_float_chunk(&columns.ts[at..at + same], &columns.values[at..at + same], start_at(at))?;
            at += same;
        }
        Ok(())
    }

    /// A chunk of floats, in the smaller of the two forms.
    fn put_float_chunk(&mut self, times: &[i64], values: &[f64], start: i64) -> Result<(), Error> {
        let (first, last) = (times[0], times[times.len() - 1]);
        let mut data = start_bytes(start);
        let mut entry = Entry {
            first,
            last,
            offset: 0,
            kind: KIND_COLUMNS,
            flags: if start == 0 { 0 } else { FLAG_START },
            len: 0,
            count: times.len() as u32,
            crc: 0,
            times: NO_TIMES,
        };
        let start_len = data.len();
        let is_column = column::put_values(&mut data, values);
        // Only few samples can be smaller in bits than in columns.
        if !is_column || times.len() < 256 {
            let sample = |at: usize| Sample::float(Timestamp::from_millis(times[at]), values[at]);
            let mut open = OpenChunk::new(&sample(0));
            for at in 1..times.len() {
                open.push(&sample(at), u32::MAX);
            }
            let bits = open.packed().data;
            let shared = if self.recent(times).is_some() { 0 } else { 2 * packed_times(times).len() };
            if !is_column || bits.len() <= data.len() - start_len + shared {
                data.truncate(start_len);
                data.extend_from_slice(bits);
                entry.kind = ChunkKind::Float as u8;
                return self.put_chunk(entry, &data);
            }
        }
        entry.times = self.put_times(times);
        self.put_chunk(entry, &data)
    }

    fn put_histograms(&mut self, columns: &Columns, from: usize, to: usize) -> Result<(), Error> {
        let mut open: Option<OpenChunk> = None;
        for at in from..to {
            let start = columns.histogram_starts.get(at).copied().filter(|start| *start != 0);
            let sample = Sample {
                ts: Timestamp::from_millis(columns.histogram_ts[at]),
                value: Value::Histogram(columns.histograms[at].clone()),
                start: start.map(Timestamp::from_millis),
            };
            if let Some(open) = &mut open
                && open.push(&sample, COLUMN_VALUES_MAX as u32)
            {
                continue;
            }
            if let Some(full) = open.replace(OpenChunk::new(&sample)) {
                self.put_packed(&full.packed())?;
            }
        }
        open.map_or(Ok(()), |open| self.put_packed(&open.packed()))
    }

    /// A chunk as it is.
    fn put_packed(&mut self, chunk: &Packed<'_>) -> Result<(), Error> {
        let start = chunk.start.map_or(0, Timestamp::as_millis);
        let mut data = start_bytes(start);
        data.extend_from_slice(chunk.data);
        let entry = Entry {
            first: chunk.first.as_millis(),
            last: chunk.last.as_millis(),
            offset: 0,
            kind: chunk.kind as u8,
            flags: if start == 0 { 0 } else { FLAG_START },
            len: 0,
            count: chunk.count,
            crc: 0,
            times: NO_TIMES,
        };
        self.put_chunk(entry, &data)
    }

    /// The place of a column of times in the index; the same column stands in the file only once (and its copy).
    fn put_times(&mut self, times: &[i64]) -> u32 {
        if let Some(known) = self.recent(times) {
            let found = self.recent_times.remove(known).expect("just found");
            let at = found.1;
            self.recent_times.push_front(found);
            return at;
        }
        let packed = packed_times(times);
        let offset = self.written + self.pending.len() as u64;
        self.pending.extend_from_slice(&packed);
        self.pending.extend_from_slice(&packed);
        self.times.extend_from_slice(&offset.to_le_bytes());
        self.times.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        self.times.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
        let at = self.footer.times;
        self.footer.times += 1;
        self.recent_times.truncate(RECENT_TIMES_MAX - 1);
        self.recent_times.push_front((times.to_vec(), at));
        at
    }

    /// Where among the recent columns of times this one is.
    fn recent(&self, times: &[i64]) -> Option<usize> {
        self.recent_times.iter().position(|(known, _)| known == times)
    }

    fn put_chunk(&mut self, mut entry: Entry, data: &[u8]) -> Result<(), Error> {
        if let Some((id, labels)) = self.current.take() {
            self.put_series(id, &labels);
        }
        entry.offset = self.written + self.pending.len() as u64;
        entry.len = data.len() as u32;
        entry.crc = crc32fast::hash(data);
        entry.put(&mut self.entries);
        self.footer.entries += 1;
        self.footer.samples += u64::from(entry.count);
        self.footer.min = self.footer.min.min(entry.first);
        self.footer.max = self.footer.max.max(entry.last);
        self.pending.extend_from_slice(data);
        if self.pending.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn put_series(&mut self, id: u32, labels: &Labels) {
        self.series.extend_from_slice(&id.to_le_bytes());
        self.series.extend_from_slice(&self.footer.entries.to_le_bytes());
        self.series.extend_from_slice(&(self.labels.len() as u32).to_le_bytes());
        self.footer.series += 1;
        put_varint(&mut self.labels, labels.len() as u64);
        for (name, value) in labels {
            for text in [name, value] {
                let symbol = match self.symbols.get(text) {
                    Some(symbol) => *symbol,
                    None => {
                        let symbol = self.symbols.len() as u32;
                        self.symbols.insert(text.to_owned(), symbol);
                        self.symbol_bytes.extend_from_slice(text.as_bytes());
                        self.symbol_ends.extend_from_slice(&(self.symbol_bytes.len() as u32).to_le_bytes());
                        symbol
                    }
                };
                put_varint(&mut self.labels, u64::from(symbol));
            }
        }
    }

    /// Ends the block and makes it durable under its name. It has at least one sample.
    ///
    /// `checkpoint` is the number of the checkpoint that it belongs to, or 0; `replaces` are the blocks merged into it.
    ///
    /// # Errors
    /// A failure of the disk; the caller then abandons the block.
    pub fn finish(mut self, level: u32, checkpoint: u64, replaces: &[u64]) -> Result<u64, Error> {
        let mut footer = std::mem::take(&mut self.footer);
        let mut index = std::mem::take(&mut self.series);
        debug_assert!(index.len() == footer.series as usize * SERIES_BYTES);
        debug_assert!(self.entries.len() == footer.entries as usize * ENTRY_BYTES);
        (footer.level, footer.checkpoint) = (level, checkpoint);
        footer.label_bytes = self.labels.len() as u32;
        footer.symbols = self.symbols.len() as u32;
        footer.symbol_bytes = self.symbol_bytes.len() as u32;
        footer.replaces = replaces.len() as u32;
        for part in [&self.entries, &self.times, &self.labels, &self.symbol_ends, &self.symbol_bytes] {
            index.extend_from_slice(part);
        }
        replaces.iter().for_each(|number| index.extend_from_slice(&number.to_le_bytes()));
        footer.index_offset = self.written + self.pending.len() as u64;
        footer.index_bytes = index.len() as u64;
        self.pending.extend_from_slice(&index);
        let mut parity = vec![0u8; index.len().min(PAGE_BYTES)];
        for page in index.chunks(PAGE_BYTES) {
            self.pending.extend_from_slice(&crc32fast::hash(page).to_le_bytes());
            parity.iter_mut().zip(page).for_each(|(sum, byte)| *sum ^= byte);
        }
        self.pending.extend_from_slice(&parity);
        let footer = footer.to_bytes();
        self.pending.extend_from_slice(&footer);
        self.pending.extend_from_slice(&footer);
        self.write()?;
        let (from, to) = (temporary(self.number), file_name(self.number));
        let shown = format!("{}/{from}", self.dir.place());
        self.file.sync().map_err(|e| Error::io(format!("sync {shown}"), e))?;
        let renamed = self.dir.rename(&from, &to).and_then(|()| self.dir.sync());
        renamed.map_err(|e| Error::io(format!("rename {shown}"), e))?;
        debug_assert!(self.written >= FILE_HEADER_BYTES as u64);
        Ok(self.written)
    }

    fn write(&mut self) -> Result<(), Error> {
        let failed = |e| Error::io(format!("write {}/{}", self.dir.place(), temporary(self.number)), e);
        self.file.write_at(self.written, &self.pending).map_err(failed)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

fn temporary(number: u64) -> String {
    format!("{}.tmp", file_name(number))
}

fn packed_times(times: &[i64]) -> Vec<u8> {
    let mut packed = Vec::new();
    column::put_times(&mut packed, times);
    packed
}

fn start_bytes(start: i64) -> Vec<u8> {
    if start == 0 { Vec::new() } else { start.to_le_bytes().to_vec() }
}
