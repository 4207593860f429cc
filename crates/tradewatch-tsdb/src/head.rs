//! The series in memory: identity, chunks, index. Plain data; the locks are `db.rs`'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::block::Block;
use crate::blocks::{self, Blocks};
use crate::chunk::{CHUNK_SAMPLES_MAX, Chunk, OpenChunk};
use crate::dir::Dir;
use crate::error::{Error, Kind};
use crate::label_index::LabelIndex;
use crate::log::Damage;
use crate::postings::Postings;
use crate::record::{Entry, Floats};
use crate::rows::{Place, Rows};
use crate::series_map::SeriesMap;
use crate::{Labels, Metadata, Sample, Timestamp, Value};

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
#[derive(Debug)]
pub struct Head {
    pub blocks: Blocks,
    /// The newest time of any sample.
    pub max_time: i64,
    /// A chunk is closed at so many samples.
    pub chunk_samples: u32,
    pub series: SeriesMap,
    /// The newest samples of series that are scraped together.
    pub rows: Rows,
    pub by_labels: LabelIndex,
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
    /// Closed chunks that are in no block yet, ascending, without overlap.
    pub chunks: Vec<Arc<Chunk>>,
    pub open: Option<Box<OpenChunk>>,
    /// Samples that came after newer ones, ascending.
    #[allow(clippy::box_collection)] // A pointer in each of many series that hardly ever have one.
    pub late: Option<Box<Vec<Sample>>>,
    /// The newest time that it ever had, but for those in rows.
    pub last: i64,
    /// Its place in the rows.
    pub place: Place,
    /// Whether the log says what the id stands for.
    pub is_logged: bool,
    /// Whether a block has samples of it.
    pub has_blocks: bool,
    /// Whether it was empty at the last compaction: if it still is at the next, it goes.
    pub is_idle: bool,
}

/// What a sample would be to its series.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Newer than everything: it is to be kept.
    New,
    /// Older than the newest, at a time that has none yet.
    Late,
    /// The same sample once more: nothing to do.
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
        MemSeries {
            labels,
            chunks: Vec::new(),
            open: None,
            late: None,
            last: i64::MIN,
            place: Place::NONE,
            is_logged: false,
            has_blocks: false,
            is_idle: false,
        }
    }

    /// The time of the first and last sample in memory, but for those in rows.
    fn packed_range(&self) -> Option<(Timestamp, Timestamp)> {
        let open = self.open.as_ref().map(|open| (open.first(), open.last()));
        let closed = self.chunks.first().zip(self.chunks.last()).map(|(a, b)| (a.first, b.last));
        let late = self.late.as_ref().and_then(|late| Some((late.first()?.ts, late.last()?.ts)));
        let ranges = [closed, open, late].into_iter().flatten();
        ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Whether no sample is in memory.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.open.is_none() && self.late.is_none()
    }

    /// The newest sample in memory from `start` to `end`, but for those in rows.
    fn newest(&self, start: Timestamp, end: Timestamp) -> Option<Sample> {
        let usual = self.newest_in_order(start, end);
        let late = self.late_in(start, end).last();
        match late.filter(|late| usual.as_ref().is_none_or(|usual| usual.ts < late.ts)) {
            Some(late) => Some(late.clone()),
            None => usual,
        }
    }

    /// The late samples from `start` to `end`.
    pub fn late_in(&self, start: Timestamp, end: Timestamp) -> &[Sample] {
        let Some(late) = &self.late else { return &[] };
        let from = late.partition_point(|sample| sample.ts < start);
        let to = late.partition_point(|sample| sample.ts <= end);
        late.get(from..to).unwrap_or_default()
    }

    fn newest_in_order(&self, start: Timestamp, end: Timestamp) -> Option<Sample> {
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

    /// The chunks that may hold samples from `start` to `end`; the open one as a copy. Rows are not among them.
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
            + self.late.as_ref().map_or(0, |late| late.capacity() * size_of::<Sample>())
    }
}

impl Default for Head {
    fn default() -> Head {
        Head {
            blocks: Blocks { next: 1, ..Blocks::default() },
            max_time: i64::MIN,
            chunk_samples: CHUNK_SAMPLES_MAX,
            series: SeriesMap::default(),
            rows: Rows::default(),
            by_labels: LabelIndex::default(),
            postings: Postings::default(),
            metadata: BTreeMap::new(),
            unlogged_families: BTreeSet::new(),
            next_id: 0,
            chunks: 0,
            chunk_bytes: 0,
            samples: 0,
        }
    }
}

impl Head {
    /// The id of a label set.
    pub fn id_of(&self, labels: &Labels) -> Option<u32> {
        self.by_labels.get(&self.series, labels)
    }

    /// Adds a series that is not there yet; `None` once every id has been given away.
    pub fn add_series(&mut self, labels: Labels) -> Option<u32> {
        // The uppermost ids are those that an appender gives to refused series.
        let id = self.next_id;
        self.next_id = (id < u32::MAX / 2).then(|| id + 1)?;
        self.postings.add(id, &labels);
        self.series.insert(id, MemSeries::new(labels));
        self.by_labels.insert(&self.series, id);
        Some(id)
    }

    /// The time of the first and last sample of a series in memory.
    pub fn range(&self, series: &MemSeries) -> Option<(Timestamp, Timestamp)> {
        let rows = self.column(series, Timestamp::MIN, Timestamp::MAX).map(|column| {
            let times = column.times();
            (Timestamp::from_millis(times[0]), Timestamp::from_millis(times[times.len() - 1]))
        });
        let ranges = [series.packed_range(), rows].into_iter().flatten();
        ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Whether a series may have samples in memory from `start` to `end`.
    pub fn overlaps(&self, series: &MemSeries, start: Timestamp, end: Timestamp) -> bool {
        self.range(series).is_some_and(|(first, last)| first <= end && last >= start)
    }

    /// What `sample` would be to its series; late samples fit if they are within `window` of the newest of all.
    pub fn check(&self, id: u32, sample: &Sample, window: Duration) -> Result<Fit, Error> {
        let series = self.series.get(id).ok_or_else(|| Error::new(Kind::UnknownSeries { id }))?;
        let (ts, last) = (sample.ts.as_millis(), self.last_of(series));
        if ts > last {
            return Ok(Fit::New);
        }
        let is_within = || !window.is_zero() && sample.ts >= Timestamp::from_millis(self.max_time) - window;
        if ts < last && !is_within() {
            let last = Timestamp::from_millis(last);
            return Err(Error::new(Kind::OutOfOrder { ts: sample.ts, last }));
        }
        match self.newest(id, sample.ts, sample.ts) {
            None => Ok(Fit::Late),
            Some(known) if known.value.same_bits(&sample.value) => Ok(Fit::Same),
            Some(_) => Err(Error::new(Kind::Duplicate { ts: sample.ts })),
        }
    }

    /// The newest sample of a series from `start` to `end`, wherever it is.
    pub fn newest(&self, id: u32, start: Timestamp, end: Timestamp) -> Option<Sample> {
        let series = self.series.get(id)?;
        // Rows are newer than the rest, but for what came late, which had them packed.
        let rows = self.column(series, start, end).and_then(|column| column.newest());
        let in_memory = rows.or_else(|| series.newest(start, end));
        // Blocks are nearly always older than what is in memory.
        let from = in_memory.as_ref().map_or(start, |sample| sample.ts + Duration::from_millis(1));
        let has_newer = series.has_blocks && from <= end && self.blocks.overlap(id, from, end);
        match has_newer {
            true => self.blocks.read(id, from, end).pop().or(in_memory),
            false => in_memory,
        }
    }

    /// Adds a checked sample.
    pub fn push(&mut self, id: u32, sample: &Sample) {
        let ts = sample.ts.as_millis();
        self.pack_before(id, ts);
        let Some(series) = self.series.get_mut(id) else { return };
        series.is_idle = false;
        self.max_time = self.max_time.max(ts);
        if ts <= series.last {
            let late = series.late.get_or_insert_default();
            let at = late.partition_point(|known| known.ts < sample.ts);
            if late.get(at).is_none_or(|known| known.ts != sample.ts) {
                late.insert(at, sample.clone());
                self.samples += 1;
            }
            return;
        }
        self.samples += 1;
        series.last = ts;
        if let Some(open) = &mut series.open {
            if open.push(sample, self.chunk_samples) {
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
        let Some(place) = self.series.get(id).map(|series| series.place) else { return 0 };
        self.pack(place);
        let overlaps =
            |series: &MemSeries| series.packed_range().is_some_and(|(a, b)| a <= end && b >= start);
        let Some(series) = self.series.get_mut(id).filter(|series| overlaps(series)) else { return 0 };
        let before = self.samples;
        let last = series.last;
        if let Some(late) = &mut series.late {
            let count = late.len();
            late.retain(|sample| sample.ts < start || sample.ts > end);
            self.samples -= (count - late.len()) as u64;
            series.late.take_if(|late| late.is_empty());
        }
        series.last = i64::MIN;
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
        if let Some(series) = self.series.get_mut(id) {
            series.last = last;
        }
        before - self.samples
    }

    /// Adds a closed chunk behind everything the series holds; `false` if it does not fit there.
    pub fn push_chunk(&mut self, id: u32, chunk: Arc<Chunk>) -> bool {
        self.close_open(id);
        let Some(series) = self.series.get_mut(id) else { return false };
        if series.last >= chunk.first.as_millis() {
            return false;
        }
        series.last = chunk.last.as_millis();
        self.max_time = self.max_time.max(series.last);
        self.samples += u64::from(chunk.count);
        self.chunks += 1;
        self.chunk_bytes += chunk.memory_bytes();
        series.chunks.push(chunk);
        true
    }

    /// Closes the chunk that a series is writing.
    pub fn close_open(&mut self, id: u32) {
        self.pack_before(id, i64::MIN);
        let Some(series) = self.series.get_mut(id) else { return };
        if let Some(open) = series.open.take() {
            let chunk = open.seal();
            self.chunks += 1;
            self.chunk_bytes += chunk.memory_bytes();
            series.chunks.push(Arc::new(chunk));
        }
    }

    /// Takes out every chunk whose last sample is older than `cutoff`; the caller drops them without the lock.
    pub fn take_older(&mut self, cutoff: Timestamp) -> Vec<Arc<Chunk>> {
        self.pack_all();
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
            if let Some(late) = &mut series.late {
                let before = late.len();
                late.retain(|sample| sample.ts >= cutoff);
                self.samples -= (before - late.len()) as u64;
                series.late.take_if(|late| late.is_empty());
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

    /// Finds out anew which series are in blocks, after some of them have gone.
    pub fn refresh_blocks(&mut self) {
        self.series.values_mut().for_each(|series| series.has_blocks = false);
        for block in &self.blocks.live {
            for id in block.ids() {
                if let Some(series) = self.series.get_mut(id) {
                    series.has_blocks = true;
                }
            }
        }
    }

    /// Removes the series that are empty now and were at the last call; returns how many.
    pub fn drop_idle(&mut self) -> usize {
        self.pack_all();
        let mut gone: Vec<(u32, Labels)> = Vec::new();
        for (id, series) in self.series.iter_mut() {
            let is_empty = series.is_empty() && !series.has_blocks;
            if is_empty && series.is_idle {
                gone.push((id, series.labels.clone()));
            }
            series.is_idle = is_empty;
        }
        for (id, _) in &gone {
            self.dissolve(self.series[*id].place);
            self.by_labels.remove(&self.series, *id);
            self.series.remove(*id);
        }
        self.postings.remove(&gone);
        gone.len()
    }
}

/// As many samples are gathered before they are packed: 8 bytes each. Those of the end of the log stay as they are
/// until the next ones come, so that a store is there soon.
const GATHERED_MAX: usize = 12_000_000;
/// As many different lists of series among them: targets.
const GROUPS_MAX: usize = 64;
/// Late samples of the log were within the window when they were committed.
const ANY_WINDOW: Duration = Duration::MAX;

/// Floats of the same series, a row for each commit.
#[derive(Debug)]
struct Gathered {
    /// The least and the greatest id.
    range: (Option<u32>, Option<u32>),
    start: Option<Timestamp>,
    ids: Vec<u32>,
    /// Ascending.
    times: Vec<i64>,
    /// A row behind the other.
    values: Vec<f64>,
}

/// Puts the entries of the log back, oldest first.
#[derive(Debug, Default)]
pub struct Replayer {
    pub head: Head,
    /// The blocks that the checkpoint knows of and that nothing has taken since.
    expected_blocks: BTreeSet<u64>,
    /// Blocks on disk that count for nothing: those whose checkpoint never came to be, and those that others replace.
    pub orphans: Vec<u64>,
    pub dead_blocks: Vec<u64>,
    unreadable_blocks: Vec<u64>,
    /// Ids of series that were dropped and made anew while the log still held the old ones.
    aliases: IdMap<u32>,
    pub samples: u64,
    /// Floats that are not applied yet, by their list of series; no two lists share one.
    gathered: Vec<Gathered>,
    gathered_samples: usize,
    /// Samples whose series was defined in a part of the log that could not be read.
    pub without_series: u64,
    /// Samples that do not fit behind those before them.
    pub misfits: u64,
}

impl Replayer {
    /// Opens the blocks among the files `names`, before the log is applied; returns what is damaged.
    pub fn open_blocks(
        &mut self,
        dir: &dyn Dir,
        names: &[String],
        checkpoint: u64,
        oldest_segment: u64,
    ) -> Result<Vec<Damage>, Error> {
        let found = blocks::find(dir, names, checkpoint, oldest_segment)?;
        self.unreadable_blocks = found.unreadable.iter().map(|(number, _)| *number).collect();
        let mut damage: Vec<Damage> = found.unreadable.into_iter().map(|(_, damage)| damage).collect();
        damage.extend(found.live.iter().flat_map(Block::damage));
        self.head.blocks.next = found.newest + 1;
        self.head.blocks.live = found.live.into_iter().map(Arc::new).collect();
        (self.orphans, self.dead_blocks) = (found.orphans, found.dead);
        Ok(damage)
    }

    /// Blocks that are only there since their files could not be removed.
    fn forget_blocks(&mut self, is_gone: impl Fn(&Block) -> bool) {
        let gone = self.head.blocks.live.iter().filter(|block| is_gone(block)).map(|block| block.number());
        let gone: Vec<u64> = gone.collect();
        self.head.blocks.replace(&gone, None);
        self.dead_blocks.extend(gone);
    }

    /// The log is at its end.
    pub fn end(&mut self) {
        self.keep_gathered();
    }

    /// The blocks that should be there and are not.
    pub fn missing_blocks(&self) -> Vec<u64> {
        let is_there = |number: &&u64| {
            let live = &self.head.blocks.live;
            self.dead_blocks.contains(number)
                || self.unreadable_blocks.contains(number)
                || live.iter().any(|b| b.number() == **number || b.replaces.contains(number))
        };
        self.expected_blocks.iter().filter(|number| !is_there(number)).copied().collect()
    }

    /// Applies one record; `false` if it is not well-formed, and then nothing of it is kept.
    pub fn apply(&mut self, payload: &[u8]) -> bool {
        let Some(entries) = crate::record::decode(payload) else { return false };
        for entry in entries {
            match entry {
                Entry::Floats(floats) => self.gather(floats),
                Entry::Metadata { .. } => self.apply_entry(entry),
                // A series that is known already keeps its chunks apart from what came before.
                Entry::Series { id, labels } => match self.head.id_of(&labels) {
                    None => self.add(id, labels),
                    Some(existing) => {
                        self.apply_gathered();
                        self.define_again(id, existing);
                    }
                },
                _ => {
                    self.apply_gathered();
                    self.apply_entry(entry);
                }
            }
        }
        true
    }

    /// Keeps floats until there are many: a series is then looked up once for all of them, and stays in the cache.
    fn gather(&mut self, floats: Floats) {
        let ts = floats.ts.as_millis();
        let is_same = |group: &Gathered| group.ids == floats.ids && group.start == floats.start;
        let group = self.gathered.iter().position(is_same);
        if let Some(group) = group.map(|at| &mut self.gathered[at])
            && group.times.last().is_some_and(|last| *last < ts)
        {
            group.times.push(ts);
            group.values.extend_from_slice(&floats.values);
        } else {
            let (min, max) = (floats.ids.iter().min().copied(), floats.ids.iter().max().copied());
            // The samples of a series must come in the order of the log.
            let is_apart = |group: &Gathered| group.range.1 < min || group.range.0 > max;
            if self.gathered.len() >= GROUPS_MAX || !self.gathered.iter().all(is_apart) {
                self.apply_gathered();
            }
            let Floats { start, ids, values, .. } = floats;
            self.gathered_samples += values.len();
            self.gathered.push(Gathered { range: (min, max), start, ids, times: vec![ts], values });
            return;
        }
        self.gathered_samples += floats.values.len();
        if self.gathered_samples >= GATHERED_MAX {
            self.apply_gathered();
        }
    }

    /// Packs what was gathered.
    fn apply_gathered(&mut self) {
        self.gathered_samples = 0;
        for group in std::mem::take(&mut self.gathered) {
            let width = group.ids.len();
            for (at, id) in group.ids.iter().enumerate() {
                let (id, values) = (self.resolve(*id), || group.values[at..].iter().step_by(width));
                if group.start.is_none() && self.head.pack_behind(id, &group.times, values) {
                    self.samples += group.times.len() as u64;
                    continue;
                }
                for (ts, value) in group.times.iter().zip(values()) {
                    let (ts, value) = (Timestamp::from_millis(*ts), Value::Float(*value));
                    self.apply_sample(id, &Sample { ts, value, start: group.start });
                }
            }
        }
    }

    /// Leaves what was gathered at the end of the log in rows, where that is possible.
    fn keep_gathered(&mut self) {
        for group in std::mem::take(&mut self.gathered) {
            let ids: Vec<u32> = group.ids.iter().map(|id| self.resolve(*id)).collect();
            let samples = group.values.len() as u64;
            match group.start {
                None => match self.head.restore_rows(ids, group.times, group.values) {
                    Ok(()) => self.samples += samples,
                    Err((times, values)) => self.gathered.push(Gathered { times, values, ..group }),
                },
                Some(_) => self.gathered.push(group),
            }
        }
        self.apply_gathered();
    }

    fn apply_sample(&mut self, id: u32, sample: &Sample) {
        match self.head.check(id, sample, ANY_WINDOW) {
            Ok(Fit::New | Fit::Late) => {
                self.head.push(id, sample);
                self.samples += 1;
            }
            Ok(Fit::Same) => {}
            Err(error) if error.is_unknown_series() => self.miss(id, 1),
            Err(_) => self.misfits += 1,
        }
    }

    fn apply_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Series { id, labels } => self.define(id, labels),
            Entry::Sample { id, sample } => self.apply_sample(self.resolve(id), &sample),
            Entry::Floats(floats) => self.gather(floats),
            Entry::Metadata { family, metadata } => {
                self.head.metadata.insert(family, metadata);
            }
            Entry::Delete { id, start, end } => {
                self.head.delete(self.resolve(id), start, end);
            }
            Entry::Chunk { id, chunk } => {
                let (id, count) = (self.resolve(id), u64::from(chunk.count));
                if !self.head.series.contains(id) {
                    self.miss(id, count);
                } else if self.head.push_chunk(id, Arc::new(chunk)) {
                    self.samples += count;
                } else {
                    self.misfits += count;
                }
            }
            Entry::Tombstone { id, tombstone } => {
                let id = self.resolve(id);
                if self.head.blocks.live.iter().any(|block| block.number() == tombstone.block) {
                    self.head.blocks.tombstones.entry(id).or_default().push(tombstone);
                }
            }
            Entry::BlocksGone { numbers } => {
                self.expected_blocks.retain(|number| !numbers.contains(number));
                self.forget_blocks(|block| numbers.contains(&block.number()));
            }
            Entry::Blocks { next, numbers } => {
                self.head.blocks.next = self.head.blocks.next.max(next);
                // One that was merged meanwhile is not in the list, but what it replaces is.
                let is_known = |block: &Block| {
                    numbers.contains(&block.number()) || block.replaces.iter().any(|n| numbers.contains(n))
                };
                self.forget_blocks(|block| block.number() < next && !is_known(block));
                self.expected_blocks = numbers.into_iter().collect();
            }
            Entry::CheckpointEnd { next_id } => self.head.next_id = self.head.next_id.max(next_id),
        }
    }

    fn define(&mut self, id: u32, labels: Labels) {
        match self.head.id_of(&labels) {
            Some(existing) => self.define_again(id, existing),
            None => self.add(id, labels),
        }
    }

    fn define_again(&mut self, id: u32, existing: u32) {
        if existing != id {
            self.aliases.insert(id, existing);
            // What the retention had dropped must not be kept by what came later.
            self.head.close_open(existing);
        }
        self.take_id(id);
    }

    fn add(&mut self, id: u32, labels: Labels) {
        if !self.head.series.contains(id) && id < u32::MAX / 2 {
            // Ids ascend in the index; a log in order defines them so, but for those two appenders raced for.
            self.head.series.insert(id, MemSeries { is_logged: true, ..MemSeries::new(labels) });
            self.head.by_labels.insert(&self.head.series, id);
        }
        self.take_id(id);
    }

    fn take_id(&mut self, id: u32) {
        self.head.next_id = self.head.next_id.max(id.saturating_add(1).min(u32::MAX / 2));
    }

    /// Counts samples whose series is not known. Its id stays taken: it must not come to mean another.
    fn miss(&mut self, id: u32, samples: u64) {
        self.without_series += samples;
        self.take_id(id);
    }

    fn resolve(&self, id: u32) -> u32 {
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    /// Makes known what the blocks hold: series that the log does not define, and where each series ends.
    fn add_blocks(&mut self) {
        let mut blocks = std::mem::take(&mut self.head.blocks.live);
        for block in &mut blocks {
            let block = Arc::get_mut(block).expect("nobody else has it yet");
            self.head.max_time = self.head.max_time.max(block.footer.max);
            for at in 0..block.series_count() {
                let own = block.id_at(at);
                let mut id = self.resolve(own);
                if !self.head.series.contains(id) {
                    let Some(labels) = block.labels_at(at) else { continue };
                    self.define(own, labels);
                    id = self.resolve(own);
                }
                if id != own {
                    block.aliases.insert(id, own);
                }
                let Some(series) = self.head.series.get_mut(id) else { continue };
                series.has_blocks = true;
                if series.last < block.footer.max {
                    let last = block.entries_of(at).map(|at| block.entry(at).last).max();
                    series.last = series.last.max(last.unwrap_or(i64::MIN));
                    let newest = series.last;
                    self.head.raise_floor(id, newest);
                }
            }
            self.head.blocks.next = self.head.blocks.next.max(block.number() + 1);
        }
        self.head.blocks.live = blocks;
    }

    /// The head, indexed.
    pub fn finish(mut self) -> Head {
        debug_assert!(self.gathered.is_empty());
        self.add_blocks();
        let Head { series, postings, .. } = &mut self.head;
        for (id, series) in series.iter() {
            postings.add(id, &series.labels);
        }
        self.head
    }
}
