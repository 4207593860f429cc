//! The blocks of a store: which of the files in its directory count, what was deleted in them, and how several
//! become one.
//!
//! No list has to be right for that: a block says itself which blocks it replaces, and which checkpoint it belongs to.
//! If that checkpoint is not there, the log still holds what the block would bring.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::{self, Block, TimesCache};
use crate::block_writer::BlockWriter;
use crate::dir::Dir;
use crate::error::Error;
use crate::head::IdMap;
use crate::log::Damage;
use crate::read::Columns;
use crate::record::Tombstone;
use crate::{Labels, Sample, Timestamp};

/// Merged twice: the block of a day.
pub const LEVEL_MAX: u32 = 2;

/// The blocks that count, and what was deleted in them.
#[derive(Debug, Default)]
pub struct Blocks {
    /// In the order of their first samples.
    pub live: Vec<Arc<Block>>,
    /// The number of the next one.
    pub next: u64,
    /// By series; each names a live block.
    pub tombstones: IdMap<Vec<Tombstone>>,
}

impl Blocks {
    /// Samples that can be read.
    pub fn samples(&self) -> u64 {
        let deleted: u64 = self.tombstones.values().flatten().map(|tombstone| tombstone.removed).sum();
        self.live.iter().map(|block| block.footer.samples).sum::<u64>().saturating_sub(deleted)
    }

    /// Bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.live.iter().map(|block| block.file_bytes()).sum()
    }

    /// Whether a chunk of the series overlaps the range.
    pub fn overlap(&self, id: u32, start: Timestamp, end: Timestamp) -> bool {
        self.live.iter().filter(|block| block.overlaps(start, end)).any(|block| {
            let place = block.find(id, &mut 0);
            place.is_some_and(|at| block.entries_of(at).any(|at| block.entry(at).overlaps(start, end)))
        })
    }

    /// Reads the samples of a series in the range from each block that has it, without what was deleted.
    pub fn read(&self, id: u32, start: Timestamp, end: Timestamp) -> Vec<Sample> {
        let (mut merged, mut cache) = (Vec::new(), TimesCache::default());
        for block in self.live.iter().filter(|block| block.overlaps(start, end)) {
            // Later blocks come later, and the last of several samples of one time counts.
            merged.extend(self.read_block(block, id, start, end, &mut cache).to_samples());
        }
        keep_last(&mut merged);
        merged
    }

    pub fn tombstones_of(&self, id: u32) -> &[Tombstone] {
        self.tombstones.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The numbers of the blocks that end before `cutoff`.
    pub fn older_than(&self, cutoff: Timestamp) -> Vec<u64> {
        let old = self.live.iter().filter(|block| block.footer.max < cutoff.as_millis());
        old.map(|block| block.number()).collect()
    }

    /// Adds the oldest blocks to `gone` until the others take at most `bytes_max`.
    pub fn beyond(&self, bytes_max: u64, mut gone: Vec<u64>) -> Vec<u64> {
        let mut left: Vec<&Arc<Block>> = self.live.iter().filter(|b| !gone.contains(&b.number())).collect();
        left.sort_by_key(|block| std::cmp::Reverse(block.footer.max));
        let mut bytes = 0;
        for block in left {
            bytes += block.file_bytes();
            if bytes > bytes_max {
                gone.push(block.number());
            }
        }
        gone
    }

    /// These blocks and all that they have replaced.
    pub fn with_replaced(&self, numbers: &[u64]) -> Vec<u64> {
        let them = self.live.iter().filter(|block| numbers.contains(&block.number()));
        numbers.iter().copied().chain(them.flat_map(|block| block.replaces.iter().copied())).collect()
    }

    /// The blocks of a level.
    pub fn of_level(&self, level: u32) -> Vec<Arc<Block>> {
        self.live.iter().filter(|block| block.footer.level == level).cloned().collect()
    }

    /// What has to be hidden so that a series has no sample in the range any more.
    pub fn to_delete(&self, id: u32, start: Timestamp, end: Timestamp) -> Vec<Tombstone> {
        let mut found = Vec::new();
        for block in self.live.iter().filter(|block| block.overlaps(start, end)) {
            let removed = self.read_block(block, id, start, end, &mut TimesCache::default()).len() as u64;
            if removed > 0 {
                found.push(Tombstone { block: block.number(), start, end, removed });
            }
        }
        found
    }

    /// The samples of a series in one block, without what was deleted.
    fn read_block(
        &self,
        block: &Block,
        id: u32,
        start: Timestamp,
        end: Timestamp,
        cache: &mut TimesCache,
    ) -> Columns {
        let mut columns = Columns::default();
        if let Some(at) = block.find(id, &mut 0) {
            for at in block.entries_of(at).filter(|at| block.entry(*at).overlaps(start, end)) {
                block.read(at, start, end, &mut columns, cache);
            }
            columns.remove_deleted((0, 0), block.number(), self.tombstones_of(id));
        }
        columns
    }

    /// Puts blocks in place of others, whose tombstones go with them.
    pub fn replace(&mut self, gone: &[u64], new: Option<Block>) -> Vec<Arc<Block>> {
        let is_gone = |number: &u64| gone.contains(number);
        let (dead, mut live): (Vec<_>, Vec<_>) =
            self.live.drain(..).partition(|block| is_gone(&block.number()));
        live.extend(new.map(Arc::new));
        live.sort_by_key(|block| (block.footer.min, block.number()));
        self.live = live;
        if !dead.is_empty() {
            self.tombstones.retain(|_, list| {
                list.retain(|tombstone| !is_gone(&tombstone.block));
                !list.is_empty()
            });
        }
        dead
    }
}

/// Sorts samples by time; of several at one time the last in the list stays.
pub fn keep_last(samples: &mut Vec<Sample>) {
    samples.reverse();
    samples.sort_by_key(|sample| sample.ts);
    samples.dedup_by_key(|sample| sample.ts);
}

/// What a directory holds of blocks.
#[derive(Debug, Default)]
pub struct Found {
    pub live: Vec<Block>,
    /// Blocks whose checkpoint never came to be: they must be gone before another checkpoint is.
    pub orphans: Vec<u64>,
    /// Blocks that others replace.
    pub dead: Vec<u64>,
    /// Blocks that cannot be read at all, and why.
    pub unreadable: Vec<(u64, Damage)>,
    /// The greatest number seen anywhere.
    pub newest: u64,
}

/// Opens the blocks of a directory, given its newest checkpoint and its oldest segment.
///
/// # Errors
/// `is_newer_format`, or a failure of the disk.
pub fn find(dir: &dyn Dir, names: &[String], checkpoint: u64, oldest_segment: u64) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut all = Vec::new();
    for name in names {
        let Some(number) = block::parse_name(name) else { continue };
        found.newest = found.newest.max(number);
        match Block::open(dir, name, number)? {
            Ok(block) => all.push(block),
            Err(damage) => found.unreadable.push((number, damage)),
        }
    }
    let replaced: BTreeSet<u64> = all.iter().flat_map(|block| block.replaces.iter().copied()).collect();
    found.newest = found.newest.max(replaced.last().copied().unwrap_or(0));
    for block in all {
        let number = block.number();
        let belongs_to = block.footer.checkpoint;
        // Without the log from before that checkpoint, the block is all that is left of it.
        let is_orphan = belongs_to > checkpoint && oldest_segment < belongs_to;
        match () {
            () if is_orphan => found.orphans.push(number),
            () if replaced.contains(&number) => found.dead.push(number),
            () => found.live.push(block),
        }
    }
    found.live.sort_by_key(|block| (block.footer.min, block.number()));
    Ok(found)
}

/// Writes what `parents` hold into one block, without what is deleted or older than `cutoff`.
///
/// Returns its length, or `None` if nothing was left to write.
///
/// # Errors
/// A failure of the disk; nothing has changed then.
pub fn merge(
    dir: &Arc<dyn Dir>,
    number: u64,
    parents: &[Arc<Block>],
    tombstones: &IdMap<Vec<Tombstone>>,
    labels_of: impl Fn(u32) -> Option<Labels>,
    cutoff: Timestamp,
) -> Result<Option<u64>, Error> {
    let mut writer = BlockWriter::new(dir.clone(), number)?;
    let mut ids: Vec<u32> = parents.iter().flat_map(|block| block.ids()).collect();
    ids.sort_unstable();
    ids.dedup();
    let (mut hints, mut cache) = (vec![0; parents.len()], TimesCache::default());
    let (mut columns, mut part) = (Columns::default(), Columns::default());
    for id in ids {
        columns.clear();
        let mut samples: Option<Vec<Sample>> = None;
        let deleted = tombstones.get(&id).map_or(&[][..], Vec::as_slice);
        for (block, hint) in parents.iter().zip(&mut hints) {
            let Some(place) = block.find(id, hint) else { continue };
            part.clear();
            for at in block.entries_of(place) {
                block.read(at, cutoff, Timestamp::MAX, &mut part, &mut cache);
            }
            part.remove_deleted((0, 0), block.number(), deleted);
            if !part.is_sorted() || (columns.last() >= part.first() && !part.is_empty()) {
                // Samples came late: put all of them into order.
                let samples = samples.get_or_insert_with(|| columns.to_samples());
                samples.extend(part.to_samples());
                continue;
            }
            match &mut samples {
                Some(samples) => samples.extend(part.to_samples()),
                None => columns.append(&part),
            }
        }
        if let Some(mut samples) = samples {
            keep_last(&mut samples);
            columns.set_samples(&samples);
        }
        if cache.len() > TIMES_CACHE_MAX {
            cache.clear();
        }
        if !columns.is_empty() {
            let labels = labels_of(id).or_else(|| parents.iter().find_map(|block| block.labels_of(id)));
            let Some(labels) = labels else { continue };
            writer.begin_series(id, &labels);
            writer.put(&columns)?;
        }
    }
    if writer.samples() == 0 {
        BlockWriter::abandon(dir.as_ref(), number);
        return Ok(None);
    }
    let level = parents.iter().map(|block| block.footer.level).max().unwrap_or(0);
    let level = if parents.len() > 1 { (level + 1).min(LEVEL_MAX) } else { level };
    // Those before the parents too: a file that could not be removed must not count again one day.
    let own = parents.iter().map(|block| block.number());
    let mut replaces: Vec<u64> = own.chain(parents.iter().flat_map(|b| b.replaces.iter().copied())).collect();
    replaces.sort_unstable();
    replaces.dedup();
    writer.finish(level, 0, &replaces).map(Some)
}

/// Columns of times kept unpacked at a time.
pub const TIMES_CACHE_MAX: usize = 256;
