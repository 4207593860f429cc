//! Blocks: immutable files of chunks, with an index of the series in them.
//!
//! A block is mapped into memory and read in place. Each chunk has a checksum that is looked at whenever it is read;
//! the index has one for each page and a page of parity, so that one damaged page of it is restored.
//! Layout: `docs/formats/block.md`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::bits::Bytes;
use crate::chunk::{ChunkKind, Packed};
use crate::column;
use crate::dir::{Dir, Mapped};
use crate::error::{Error, Kind};
use crate::head::IdMap;
use crate::log::{Damage, FILE_HEADER_BYTES, FORMAT_VERSION, FileId, FileKind, check_version};
use crate::read::Columns;
use crate::{Labels, Timestamp};

/// The bytes of one of the two footers.
pub const FOOTER_BYTES: usize = 128;
pub const FOOTER_MAGIC: &[u8; 8] = b"TWblkEND";
/// The index is checked and restored in pages of this many bytes.
pub const PAGE_BYTES: usize = 4096;
/// The bytes of a series, of a chunk, and of a column of times in the index.
pub const SERIES_BYTES: usize = 12;
pub const ENTRY_BYTES: usize = 40;
pub const TIMES_BYTES: usize = 16;
/// The kind of a chunk whose times and values are columns; the others are those of [`ChunkKind`].
pub const KIND_COLUMNS: u8 = 3;
/// Set in the flags of a chunk that begins with the start timestamp of its samples.
pub const FLAG_START: u8 = 1;
/// The times column of a chunk that has none.
pub const NO_TIMES: u32 = u32::MAX;
/// The most places remembered that could not be read.
const DAMAGE_MAX: usize = 1000;

/// The name of a block's file.
pub fn file_name(number: u64) -> String {
    format!("block-{number:010}")
}

/// The number in the name of a block's file.
pub fn parse_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("block-")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// What the footer says about a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    pub number: u64,
    /// How often its samples have been merged.
    pub level: u32,
    /// The checkpoint without which the block counts for nothing; 0 if it stands for itself.
    pub checkpoint: u64,
    pub min: i64,
    pub max: i64,
    pub samples: u64,
    pub index_offset: u64,
    pub index_bytes: u64,
    pub series: u32,
    pub entries: u32,
    pub times: u32,
    pub label_bytes: u32,
    pub symbols: u32,
    pub symbol_bytes: u32,
    pub replaces: u32,
}

impl Footer {
    pub fn to_bytes(&self) -> [u8; FOOTER_BYTES] {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(FOOTER_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.level.to_le_bytes());
        for word in [self.number, self.checkpoint, self.min as u64, self.max as u64, self.samples] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.index_offset, self.index_bytes] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let Footer { series, entries, times, label_bytes, symbols, symbol_bytes, replaces, .. } = *self;
        for word in [series, entries, times, label_bytes, symbols, symbol_bytes, replaces] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(FOOTER_BYTES - 4, 0);
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.try_into().expect("exactly as many")
    }

    /// `Err` is the newer version that wrote it, `Ok(None)` that it is damaged.
    fn read(bytes: &[u8]) -> Result<Option<Footer>, u32> {
        let (u32_at, u64_at) = (|at| u32_at(bytes, at), |at| u64_at(bytes, at));
        if bytes.len() != FOOTER_BYTES
            || &bytes[..8] != FOOTER_MAGIC
            || crc32fast::hash(&bytes[..FOOTER_BYTES - 4]) != u32_at(FOOTER_BYTES - 4)
        {
            return Ok(None);
        }
        if u32_at(8) > FORMAT_VERSION {
            return Err(u32_at(8));
        }
        Ok(Some(Footer {
            level: u32_at(12),
            number: u64_at(16),
            checkpoint: u64_at(24),
            min: u64_at(32) as i64,
            max: u64_at(40) as i64,
            samples: u64_at(48),
            index_offset: u64_at(56),
            index_bytes: u64_at(64),
            series: u32_at(72),
            entries: u32_at(76),
            times: u32_at(80),
            label_bytes: u32_at(84),
            symbols: u32_at(88),
            symbol_bytes: u32_at(92),
            replaces: u32_at(96),
        }))
    }

    /// Where each section of the index ends: series, entries, times, labels, symbol ends, symbols, replaced blocks.
    fn sections(&self) -> [u64; 7] {
        let lengths = [
            u64::from(self.series) * SERIES_BYTES as u64,
            u64::from(self.entries) * ENTRY_BYTES as u64,
            u64::from(self.times) * TIMES_BYTES as u64,
            u64::from(self.label_bytes),
            u64::from(self.symbols) * 4,
            u64::from(self.symbol_bytes),
            u64::from(self.replaces) * 8,
        ];
        let mut end = 0;
        lengths.map(|length| {
            end += length;
            end
        })
    }
}

/// A chunk of a block, as its index has it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub first: i64,
    pub last: i64,
    pub offset: u64,
    pub kind: u8,
    pub flags: u8,
    pub len: u32,
    pub count: u32,
    pub crc: u32,
    pub times: u32,
}

impl Entry {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        let place = self.offset | u64::from(self.kind) << 48 | u64::from(self.flags) << 56;
        out.extend_from_slice(&place.to_le_bytes());
        for word in [self.len, self.count, self.crc, self.times] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Entry {
        let place = u64_at(bytes, 16);
        Entry {
            first: u64_at(bytes, 0) as i64,
            last: u64_at(bytes, 8) as i64,
            offset: place & 0xffff_ffff_ffff,
            kind: (place >> 48) as u8,
            flags: (place >> 56) as u8,
            len: u32_at(bytes, 24),
            count: u32_at(bytes, 28),
            crc: u32_at(bytes, 32),
            times: u32_at(bytes, 36),
        }
    }

    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.first <= end.as_millis() && self.last >= start.as_millis()
    }
}

static INSTANCES: AtomicU64 = AtomicU64::new(0);

/// An open block.
#[derive(Debug)]
pub struct Block {
    pub footer: Footer,
    /// The blocks whose samples are in this one.
    pub replaces: Vec<u64>,
    /// For series that have another id by now: from that to the one in this block.
    pub aliases: IdMap<u32>,
    /// Tells blocks of one process apart.
    instance: u64,
    shown: String,
    map: Mapped,
    /// The index, where a part of it had to be restored.
    restored: Option<Vec<u8>>,
    /// The chunks that turned out to be damaged.
    damaged: Mutex<BTreeSet<u32>>,
    damage: Mutex<Vec<Damage>>,
}

/// The columns of times that a query has unpacked, by block and place in its index.
pub type TimesCache = HashMap<(u64, u32), Option<Arc<Vec<i64>>>>;

impl Block {
    /// Maps a block and checks its index.
    ///
    /// # Errors
    /// `is_newer_format`; else a failure of the disk. `Ok(Err)` is a block whose index cannot be read at all.
    pub fn open(dir: &dyn Dir, name: &str, number: u64) -> Result<Result<Block, Damage>, Error> {
        let shown = format!("{}/{name}", dir.place());
        let failed = |what: &str, e: io::Error| Error::io(format!("{what} {shown}"), e);
        let file = dir.open(name).map_err(|e| failed("open", e))?;
        check_version(file.as_ref(), &shown)?;
        let map = file.map().map_err(|e| failed("map", e))?;
        let bytes: &[u8] = &map;
        let whole = |reason: &str| Damage {
            file: shown.clone(),
            offset: 0,
            bytes: bytes.len() as u64,
            reason: reason.to_owned(),
            is_torn_tail: false,
        };
        let Some(at) = bytes.len().checked_sub(2 * FOOTER_BYTES).filter(|at| *at >= FILE_HEADER_BYTES) else {
            return Ok(Err(whole("the block is cut short")));
        };
        let mut damage = Vec::new();
        let mut note = |offset: usize, len: usize, reason: &str| {
            damage.push(Damage { offset: offset as u64, bytes: len as u64, ..whole(reason) });
        };
        if bytes[..FILE_HEADER_BYTES] != (FileId { kind: FileKind::Block, number }).header() {
            note(0, FILE_HEADER_BYTES, "the header of the file is damaged");
        }
        let mut footer = None;
        for at in [at, at + FOOTER_BYTES] {
            match Footer::read(&bytes[at..at + FOOTER_BYTES]) {
                Err(found) => {
                    return Err(Error::new(Kind::NewerFormat { file: shown, found, known: FORMAT_VERSION }));
                }
                Ok(Some(found)) => footer = Some(found),
                Ok(None) => note(at, FOOTER_BYTES, "one of the two footers is damaged"),
            }
        }
        let Some(footer) = footer.filter(|footer| footer.number == number) else {
            return Ok(Err(whole("both footers are damaged, or of another block")));
        };
        let is_within = |len: u64| len <= bytes.len() as u64;
        if !is_within(footer.index_offset) || !is_within(footer.index_bytes) {
            return Ok(Err(whole("the sections of the block do not fit its length")));
        }
        let pages = footer.index_bytes.div_ceil(PAGE_BYTES as u64) as usize;
        let (from, len) = (footer.index_offset as usize, footer.index_bytes as usize);
        let is_consistent = from.checked_add(len + pages * 4 + len.min(PAGE_BYTES)) == Some(at)
            && footer.sections()[6] == footer.index_bytes;
        if !is_consistent {
            return Ok(Err(whole("the sections of the block do not fit its length")));
        }
        let index = &bytes[from..from + len];
        let crcs = &bytes[from + len..from + len + pages * 4];
        let parity = &bytes[from + len + pages * 4..at];
        let restored = match check_index(index, crcs, parity) {
            IndexState::Whole => None,
            IndexState::Harmless { page: None } => {
                note(from + len + pages * 4, len.min(PAGE_BYTES), "the parity of the index is damaged");
                None
            }
            IndexState::Harmless { page: Some(page) } => {
                note(from + len + page * 4, 4, "a checksum of the index is damaged");
                None
            }
            IndexState::Restored { page, index } => {
                let end = len.min((page + 1) * PAGE_BYTES);
                note(
                    from + page * PAGE_BYTES,
                    end - page * PAGE_BYTES,
                    "restored a damaged page of the index",
                );
                Some(index)
            }
            IndexState::Lost => return Ok(Err(whole("the index is damaged in several places"))),
        };
        let mut block = Block {
            footer,
            replaces: Vec::new(),
            aliases: IdMap::default(),
            instance: INSTANCES.fetch_add(1, Relaxed),
            shown,
            map: map.clone(),
            restored,
            damaged: Mutex::default(),
            damage: Mutex::new(damage),
        };
        block.replaces = block.section(6).chunks_exact(8).map(|bytes| u64_at(bytes, 0)).collect();
        Ok(Ok(block))
    }

    /// The bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    pub fn number(&self) -> u64 {
        self.footer.number
    }

    /// What has been found damaged so far.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().expect("no panic while it is locked").clone()
    }

    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.footer.min <= end.as_millis() && self.footer.max >= start.as_millis()
    }

    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn section(&self, at: usize) -> &[u8] {
        let ends = self.footer.sections();
        let from = if at == 0 { 0 } else { ends[at - 1] };
        let index = match &self.restored {
            Some(index) => index.as_slice(),
            None => &self.bytes()[self.footer.index_offset as usize..],
        };
        &index[from as usize..ends[at] as usize]
    }

    /// The number of series.
    pub fn series_count(&self) -> usize {
        self.footer.series as usize
    }

    /// The id of the series at this place, in ascending order of ids.
    pub fn id_at(&self, at: usize) -> u32 {
        u32_at(self.section(0), at * SERIES_BYTES)
    }

    /// The place of a series from `hint` on; ids that are asked for in ascending order are found quickly.
    pub fn find(&self, id: u32, hint: &mut usize) -> Option<usize> {
        if let Some(own) = self.aliases.get(&id) {
            return self.find_own(*own, &mut 0);
        }
        self.find_own(id, hint)
    }

    fn find_own(&self, id: u32, hint: &mut usize) -> Option<usize> {
        let series = self.section(0);
        let count = self.series_count();
        let id_at = |at: usize| u32_at(series, at * SERIES_BYTES);
        let (mut low, mut step) = (*hint, 1);
        while low + step <= count && id_at(low + step - 1) < id {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(count);
        while low < high {
            let middle = low + (high - low) / 2;
            if id_at(middle) < id { low = middle + 1 } else { high = middle }
        }
        *hint = low;
        (low < count && id_at(low) == id).then_some(low)
    }

    /// The ids that its series have now, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        let renamed: IdMap<u32> = self.aliases.iter().map(|(now, own)| (*own, *now)).collect();
        (0..self.series_count()).map(move |at| {
            let own = self.id_at(at);
            renamed.get(&own).copied().unwrap_or(own)
        })
    }

    /// The labels of a series.
    pub fn labels_of(&self, id: u32) -> Option<Labels> {
        self.labels_at(self.find(id, &mut 0)?)
    }

    /// The chunks of the series at this place, ascending in time.
    pub fn entries_of(&self, at: usize) -> Range<u32> {
        let series = self.section(0);
        let from = u32_at(series, at * SERIES_BYTES + 4);
        let to = match at + 1 < self.series_count() {
            true => u32_at(series, (at + 1) * SERIES_BYTES + 4),
            false => self.footer.entries,
        };
        from.min(self.footer.entries)..to.min(self.footer.entries)
    }

    pub fn entry(&self, at: u32) -> Entry {
        let at = at as usize * ENTRY_BYTES;
        Entry::read(&self.section(1)[at..at + ENTRY_BYTES])
    }

    /// The labels of the series at this place.
    pub fn labels_at(&self, at: usize) -> Option<Labels> {
        let from = u32_at(self.section(0), at * SERIES_BYTES + 8) as usize;
        let mut bytes = Bytes(self.section(3).get(from..)?);
        let mut pairs = Vec::new();
        for _ in 0..bytes.count()? {
            let (name, value) = (bytes.varint()?, bytes.varint()?);
            pairs.push((self.symbol(name)?, self.symbol(value)?));
        }
        Some(Labels::from_pairs(pairs))
    }

    fn symbol(&self, at: u64) -> Option<&str> {
        let at = usize::try_from(at).ok().filter(|at| *at < self.footer.symbols as usize)?;
        let ends = self.section(4);
        let from = if at == 0 { 0 } else { u32_at(ends, (at - 1) * 4) as usize };
        std::str::from_utf8(self.section(5).get(from..u32_at(ends, at * 4) as usize)?).ok()
    }

    /// Appends the samples of a chunk from `start` to `end`; a damaged chunk is left out and noted.
    pub fn read(
        &self,
        at: u32,
        start: Timestamp,
        end: Timestamp,
        columns: &mut Columns,
        cache: &mut TimesCache,
    ) {
        let entry = self.entry(at);
        if self.try_read(&entry, start, end, columns, cache).is_none() {
            self.note_damage(at, &entry);
        }
    }

    fn try_read(
        &self,
        entry: &Entry,
        start: Timestamp,
        end: Timestamp,
        columns: &mut Columns,
        cache: &mut TimesCache,
    ) -> Option<()> {
        let mut data = self.bytes().get(entry.offset as usize..)?.get(..entry.len as usize)?;
        if crc32fast::hash(data) != entry.crc {
            return None;
        }
        let mut since = None;
        if entry.flags & FLAG_START != 0 {
            let (head, rest) = data.split_at_checked(8)?;
            since = Some(Timestamp::from_millis(u64_at(head, 0) as i64));
            data = rest;
        }
        let kind = match entry.kind {
            1 => ChunkKind::Float,
            2 => ChunkKind::Histogram,
            KIND_COLUMNS => {
                let times = self.times(entry, cache)?;
                let from = times.partition_point(|ts| *ts < start.as_millis());
                let to = times.partition_point(|ts| *ts <= end.as_millis());
                let before = columns.ts.len();
                column::take_values(data, times.len(), from..to, &mut columns.values)?;
                columns.ts.extend_from_slice(&times[from..to]);
                columns.put_float_starts(before, since);
                return Some(());
            }
            _ => return None,
        };
        let (first, last) = (Timestamp::from_millis(entry.first), Timestamp::from_millis(entry.last));
        columns.read(&Packed { kind, first, last, count: entry.count, start: since, data }, start, end);
        Some(())
    }

    /// The times of a chunk of columns. They stand twice, since many chunks share them.
    fn times(&self, entry: &Entry, cache: &mut TimesCache) -> Option<Arc<Vec<i64>>> {
        let unpack = || {
            let row = self.section(2).get(entry.times as usize * TIMES_BYTES..)?.get(..TIMES_BYTES)?;
            let (offset, len, crc) = (u64_at(row, 0) as usize, u32_at(row, 8) as usize, u32_at(row, 12));
            let copies = [offset, offset.checked_add(len).filter(|end| *end <= self.bytes().len())?];
            let is_whole = |at: &usize| {
                let data = self.bytes().get(*at..).and_then(|data| data.get(..len));
                data.is_some_and(|data| crc32fast::hash(data) == crc)
            };
            let (whole, damaged): (Vec<usize>, Vec<usize>) = copies.into_iter().partition(is_whole);
            if let (Some(_), Some(at)) = (whole.first(), damaged.first()) {
                self.note(*at as u64, len as u64, "one of two copies of a column of times is damaged");
            }
            let at = *whole.first()?;
            let data = &self.bytes()[at..at + len];
            column::take_times(data, entry.count as usize).map(Arc::new)
        };
        cache
            .entry((self.instance, entry.times))
            .or_insert_with(unpack)
            .clone()
            .filter(|times| times.len() == entry.count as usize)
    }

    /// Reads every chunk, for the damage that comes to light.
    pub fn verify(&self) {
        let (mut columns, mut cache) = (Columns::default(), TimesCache::default());
        for at in 0..self.footer.entries {
            columns.clear();
            self.read(at, Timestamp::MIN, Timestamp::MAX, &mut columns, &mut cache);
            cache.clear();
        }
    }

    fn note_damage(&self, at: u32, entry: &Entry) {
        if self.damaged.lock().expect("no panic while it is locked").insert(at) {
            let reason = format!("a chunk of {} samples cannot be read", entry.count);
            self.note(entry.offset, u64::from(entry.len), &reason);
        }
    }

    fn note(&self, offset: u64, bytes: u64, reason: &str) {
        let mut damage = self.damage.lock().expect("no panic while it is locked");
        let is_known = damage.iter().any(|known| known.offset == offset);
        if !is_known && damage.len() < DAMAGE_MAX {
            let (file, reason) = (self.shown.clone(), reason.to_owned());
            damage.push(Damage { file, offset, bytes, reason, is_torn_tail: false });
        }
    }
}

enum IndexState {
    Whole,
    /// A checksum is damaged, or (without a page) the parity.
    Harmless {
        page: Option<usize>,
    },
    Restored {
        page: usize,
        index: Vec<u8>,
    },
    Lost,
}

/// Compares each page with its checksum, and all of them with the parity.
fn check_index(index: &[u8], crcs: &[u8], parity: &[u8]) -> IndexState {
    let mut sum = parity.to_vec();
    let mut bad = None;
    for (at, page) in index.chunks(PAGE_BYTES).enumerate() {
        sum.iter_mut().zip(page).for_each(|(sum, byte)| *sum ^= byte);
        if crc32fast::hash(page) != u32_at(crcs, at * 4) && bad.replace(at).is_some() {
            return IndexState::Lost;
        }
    }
    // Without damage the sum is zero; otherwise it is the difference of the damaged page to what it was.
    match bad {
        None if sum.iter().all(|byte| *byte == 0) => IndexState::Whole,
        None => IndexState::Harmless { page: None },
        Some(page) if sum.iter().all(|byte| *byte == 0) => IndexState::Harmless { page: Some(page) },
        Some(page) => {
            let mut index = index.to_vec();
            let end = index.len().min((page + 1) * PAGE_BYTES);
            let restored = &mut index[page * PAGE_BYTES..end];
            restored.iter_mut().zip(&sum).for_each(|(byte, sum)| *byte ^= sum);
            match crc32fast::hash(restored) == u32_at(crcs, page * 4) {
                true => IndexState::Restored { page, index },
                false => IndexState::Lost,
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
