//! Checkpoints: what changes no more goes into a block, the rest into one file that takes the place of the log.
//!
//! A checkpoint therefore costs what is open, however much the store holds. The block counts only together with its
//! checkpoint, whose name is the last thing that becomes durable: a crash in between leaves the log as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::block::{self, Block};
use crate::block_writer::BlockWriter;
use crate::blocks;
use crate::chunk::Chunk;
use crate::db::{Db, Writer};
use crate::dir::Dir;
use crate::error::{Error, Kind};
use crate::read::Columns;
use crate::record::{self, Tombstone};
use crate::wal::{Checkpoint, Failure};
use crate::{Labels, Metadata, Sample, Timestamp};

/// A series that is this much behind the newest sample has its open chunk closed, so that it costs no memory.
const IDLE_AFTER: Duration = Duration::from_secs(3600);

/// The whole state at one instant, but for what is in blocks.
struct Snapshot {
    next_id: u32,
    metadata: BTreeMap<String, Metadata>,
    series: Vec<Captured>,
    tombstones: Vec<(u32, Tombstone)>,
    next_block: u64,
    blocks: Vec<u64>,
}

/// One series as it was.
struct Captured {
    id: u32,
    labels: Labels,
    closed: Vec<Arc<Chunk>>,
    late: Vec<Sample>,
    open: Option<Chunk>,
}

impl Db {
    /// Writes everything that is in memory alone: closed chunks into a block, the rest into one file that takes the
    /// place of the log so far. Durable on `Ok`.
    ///
    /// # Errors
    /// A failure of the disk (`is_read_only` while commits are refused because of it); the log so far then stays.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let one_at_a_time = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        self.checkpoint_locked(&one_at_a_time).map(drop)
    }

    /// Returns the number of the checkpoint; `None` without a disk.
    pub(crate) fn checkpoint_locked(&self, _lock: &MutexGuard<'_, ()>) -> Result<Option<u64>, Error> {
        let mut writer = self.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        let Writer { wal: Some(_), dir: Some(dir), orphans, .. } = &mut *writer else { return Ok(None) };
        let dir = dir.clone();
        if let Err(error) = remove_orphans(dir.as_ref(), orphans) {
            return Err(failed(&mut writer, error));
        }
        let Some(wal) = &mut writer.wal else { return Ok(None) };
        let failed_syncs = wal.failed_syncs;
        let checkpoint = wal.begin_checkpoint();
        let number = checkpoint.number();
        let snapshot = self.capture();
        drop(writer);
        let block_number = snapshot.next_block;
        let outcome = snapshot.write_block(&dir, block_number, number).and_then(|block| {
            let has_block = block.is_some();
            Ok((block, snapshot.write(checkpoint, has_block.then_some(block_number))?))
        });
        let mut writer = self.writer();
        match outcome {
            Ok((block, len)) => {
                if let Some(wal) = &mut writer.wal {
                    wal.finish_checkpoint(number, len, failed_syncs);
                }
                writer.checkpoints += 1;
                writer.wants_checkpoint = false;
                // Without a lock on commits from here on: they only append behind what was captured.
                let freed = self.swap(&snapshot, block);
                drop(writer);
                drop((freed, snapshot)); // Without a lock, since freeing many chunks takes a while.
                Ok(Some(number))
            }
            Err(error) => {
                Checkpoint::abandon(&dir, number);
                BlockWriter::abandon(dir.as_ref(), block_number);
                if snapshot.has_block() {
                    // What cannot be removed now has to be before the next checkpoint.
                    writer.orphans.push(block_number);
                    let _ = remove_orphans(dir.as_ref(), &mut writer.orphans);
                }
                Err(failed(&mut writer, error))
            }
        }
    }

    /// Takes references to everything in memory; gives the next block its number.
    fn capture(&self) -> Snapshot {
        let mut head = self.head_mut();
        head.pack_all();
        let idle = Timestamp::from_millis(head.max_time) - IDLE_AFTER;
        let is_idle = |open: &crate::chunk::OpenChunk| open.last() < idle;
        let ids = head.series.iter().filter(|(_, series)| series.open.as_deref().is_some_and(is_idle));
        let ids: Vec<u32> = ids.map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| head.close_open(id));
        // Ascending ids make small differences, and the same state the same bytes.
        let series: Vec<Captured> = head
            .series
            .iter()
            .map(|(id, series)| Captured {
                id,
                labels: series.labels.clone(),
                closed: series.chunks.clone(),
                late: series.late.as_deref().cloned().unwrap_or_default(),
                open: series.open.as_ref().map(|open| open.seal()),
            })
            .collect();
        let blocks = &head.blocks;
        let tombstones = blocks.tombstones.iter().flat_map(|(id, list)| list.iter().map(|t| (*id, *t)));
        let mut snapshot = Snapshot {
            next_id: head.next_id,
            metadata: head.metadata.clone(),
            series,
            tombstones: tombstones.collect(),
            next_block: blocks.next,
            blocks: blocks.live.iter().map(|block| block.number()).collect(),
        };
        snapshot.tombstones.sort_unstable_by_key(|(id, t)| (*id, t.block, t.start));
        head.blocks.next += 1;
        snapshot
    }

    /// Puts the block in the place of what it holds.
    fn swap(&self, snapshot: &Snapshot, block: Option<Block>) -> Vec<Arc<Chunk>> {
        let mut freed = Vec::new();
        let Some(block) = block else { return freed };
        let mut head = self.head_mut();
        let head = &mut *head;
        for Captured { id, closed, late, .. } in &snapshot.series {
            if closed.is_empty() && late.is_empty() {
                continue;
            }
            let Some(series) = head.series.get_mut(*id) else { continue };
            series.has_blocks = true;
            // The retention may have taken some of them meanwhile, from the front.
            let is_captured = |chunk: &Arc<Chunk>| closed.iter().any(|known| Arc::ptr_eq(known, chunk));
            let count = series.chunks.iter().take_while(|chunk| is_captured(chunk)).count();
            let from = freed.len();
            freed.extend(series.chunks.drain(..count));
            series.chunks.shrink_to_fit();
            head.chunks -= count;
            head.chunk_bytes -= freed[from..].iter().map(|chunk| chunk.memory_bytes()).sum::<usize>();
            head.samples -= freed[from..].iter().map(|chunk| u64::from(chunk.count)).sum::<u64>();
            if let Some(list) = &mut series.late {
                let before = list.len();
                list.retain(|sample| late.binary_search_by_key(&sample.ts, |known| known.ts).is_err());
                head.samples -= (before - list.len()) as u64;
                series.late.take_if(|list| list.is_empty());
            }
        }
        head.blocks.replace(&[], Some(block));
        freed
    }
}

/// Counts a failed checkpoint; says why commits are refused, if they are until one succeeds.
fn failed(writer: &mut Writer, error: Error) -> Error {
    writer.failed_checkpoints += 1;
    match writer.wal.as_ref().and_then(|wal| wal.failure.clone()) {
        Some(Failure::Sync(reason)) => {
            let reason = format!("{reason}; the checkpoint failed: {error}");
            Error::new(Kind::ReadOnly { reason })
        }
        _ => error,
    }
}

fn remove_orphans(dir: &dyn Dir, orphans: &mut Vec<u64>) -> Result<(), Error> {
    if orphans.is_empty() {
        return Ok(());
    }
    let failed = |e, what: &str| Error::io(format!("{what} a block that failed in {}", dir.place()), e);
    for number in orphans.iter() {
        match dir.remove(&block::file_name(*number)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error, "remove"));
            }
            _ => {}
        }
    }
    dir.sync().map_err(|error| failed(error, "forget"))?;
    orphans.clear();
    Ok(())
}

impl Snapshot {
    /// Whether anything goes into a block.
    fn has_block(&self) -> bool {
        self.series.iter().any(|series| !(series.closed.is_empty() && series.late.is_empty()))
    }

    /// Writes closed chunks and late samples as a block; `None` if there are none.
    fn write_block(&self, dir: &Arc<dyn Dir>, number: u64, checkpoint: u64) -> Result<Option<Block>, Error> {
        if !self.has_block() {
            return Ok(None);
        }
        let mut writer = BlockWriter::new(dir.clone(), number)?;
        let mut columns = Columns::default();
        for Captured { id, labels, closed, late, .. } in &self.series {
            columns.clear();
            for chunk in closed {
                columns.read(&chunk.packed(), Timestamp::MIN, Timestamp::MAX);
            }
            if !late.is_empty() {
                let mut samples = columns.to_samples();
                samples.extend_from_slice(late);
                blocks::keep_last(&mut samples);
                columns.set_samples(&samples);
            }
            if !columns.is_empty() {
                writer.begin_series(*id, labels);
                writer.put(&columns)?;
            }
        }
        writer.finish(0, checkpoint, &[])?;
        open_block(dir.as_ref(), number).map(Some)
    }

    /// Labels first, in records of their own: a flipped bit among the samples then costs at most its record.
    fn write(&self, mut checkpoint: Checkpoint, block: Option<u64>) -> Result<u64, Error> {
        for Captured { id, labels, .. } in &self.series {
            checkpoint.put(|out| record::put_series(out, *id, labels))?;
        }
        for (family, metadata) in &self.metadata {
            checkpoint.put(|out| record::put_metadata(out, family, metadata))?;
        }
        for (id, tombstone) in &self.tombstones {
            checkpoint.put(|out| record::put_tombstone(out, *id, tombstone))?;
        }
        let blocks: Vec<u64> = self.blocks.iter().copied().chain(block).collect();
        checkpoint.put(|out| record::put_blocks(out, self.next_block + 1, &blocks))?;
        checkpoint.end_record()?;
        for Captured { id, open, .. } in &self.series {
            if let Some(chunk) = open {
                checkpoint.put(|out| record::put_chunk(out, *id, chunk))?;
            }
        }
        checkpoint.end_record()?;
        checkpoint.put(|out| record::put_checkpoint_end(out, self.next_id))?;
        checkpoint.finish()
    }
}

/// Opens a block that was just written.
pub fn open_block(dir: &dyn Dir, number: u64) -> Result<Block, Error> {
    let damaged = |damage| Error::io("read back a block", std::io::Error::other(format!("{damage}")));
    Block::open(dir, &block::file_name(number), number)?.map_err(damaged)
}
