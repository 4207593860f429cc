//! What the store does besides taking and giving samples: sync, retention, checkpoints, deletion, the end.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, MutexGuard};

use crate::appender::Row;
use crate::block::{self, Block};
use crate::block_writer::BlockWriter;
use crate::blocks;
use crate::db::{Db, Writer};
use crate::dir::Dir;
use crate::error::{Error, Kind};
use crate::flush::open_block;
use crate::log::Damage;
use crate::record;
use crate::wal::{Failure, Wal};
use crate::{Matcher, Timestamp};

/// What [`Db::compact`] did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Chunks dropped by the retention.
    pub chunks_dropped: usize,
    /// Blocks dropped by the retention.
    pub blocks_dropped: usize,
    /// Blocks that became part of another one.
    pub blocks_merged: usize,
    /// Series dropped, since they have been empty for a while.
    pub series_dropped: usize,
    /// Whether a checkpoint was written, and the log before it dropped.
    pub is_checkpointed: bool,
}

impl Db {
    /// Makes everything committed so far survive a loss of power too. A server calls it each second.
    ///
    /// Commits and queries go on meanwhile. After a failure nobody knows what the disk has: commits are
    /// refused until a later call has written everything anew from memory, as a checkpoint.
    ///
    /// # Errors
    /// `is_read_only` with the reason, if the disk failed.
    pub fn sync(&self) -> Result<(), Error> {
        let one_at_a_time = self.inner.sync.lock().expect("no panic during a sync");
        let mut writer = self.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        if writer.wal.is_none() {
            return Ok(());
        }
        if let Some(Failure::Sync(_)) = self.failure(&writer) {
            drop(writer);
            drop(one_at_a_time);
            return self.checkpoint();
        }
        self.write(&mut writer, &[], &Row::EMPTY)?;
        let Some(wal) = &mut writer.wal else { return Ok(()) };
        let files = wal.files_to_sync();
        drop(writer);
        let outcome = files.run();
        let mut writer = self.writer();
        if let Some(wal) = &mut writer.wal {
            wal.note_sync(&outcome);
        }
        match (outcome, self.failure(&writer)) {
            (Err(_), Some(failure)) => {
                Err(Error::new(Kind::ReadOnly { reason: failure.reason().to_owned() }))
            }
            _ => Ok(()),
        }
    }

    /// Drops what is older than the retention at `now`, moves what is closed from memory into blocks, and merges these.
    ///
    /// A server calls it each minute or so. Commits, queries and syncs go on meanwhile.
    ///
    /// # Errors
    /// A failure of the disk; the store is then as it was, with a longer log, and the next call tries again.
    pub fn compact(&self, now: Timestamp) -> Result<Compaction, Error> {
        let maintenance = self.inner.maintenance.lock().expect("no panic while blocks are merged");
        let mut done = self.expire(now)?;
        if self.is_checkpoint_due(now) {
            self.checkpoint()?;
            self.writer().flushed_at = Some(now);
            done.is_checkpointed = true;
        }
        done.blocks_merged = self.merge_blocks(&maintenance, now)?;
        self.repair(&maintenance, now)?;
        Ok(done)
    }

    /// Drops what the retention does not cover.
    fn expire(&self, now: Timestamp) -> Result<Compaction, Error> {
        let options = &self.inner.options;
        // No commit at the same time: what it has found in the head must not go before it has pushed to it.
        let mut writer = self.writer();
        let head = self.head();
        let mut cutoff = now - options.retention;
        let mut gone = head.blocks.older_than(cutoff);
        if let Some(bytes_max) = options.retention_bytes {
            let in_memory = head.chunk_bytes as u64;
            gone = head.blocks.beyond(bytes_max.saturating_sub(in_memory), gone);
            let by_bytes = head.cutoff_for_bytes(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            cutoff = by_bytes.map_or(cutoff, |by_bytes| by_bytes.max(cutoff));
        }
        drop(head);
        if let Some(wal) = &mut writer.wal
            && !gone.is_empty()
        {
            let mut payload = Vec::new();
            record::put_blocks_gone(&mut payload, &self.head().blocks.with_replaced(&gone));
            wal.append(&payload, options.segment_bytes_max)?;
        }
        let mut head = self.head_mut();
        self.inner.changes.fetch_add(1, SeqCst);
        let chunks = head.take_older(cutoff);
        let dead = head.blocks.replace(&gone, None);
        if !dead.is_empty() {
            head.refresh_blocks();
        }
        let series_dropped = head.drop_idle();
        drop(head);
        remove_blocks(writer.dir.as_ref(), &gone);
        drop(writer);
        let (chunks_dropped, blocks_dropped) = (chunks.len(), dead.len());
        drop((chunks, dead)); // Without a lock, since freeing many chunks takes a while.
        Ok(Compaction { chunks_dropped, blocks_dropped, series_dropped, ..Compaction::default() })
    }

    fn is_checkpoint_due(&self, now: Timestamp) -> bool {
        let options = &self.inner.options;
        let mut writer = self.writer();
        let flushed_at = *writer.flushed_at.get_or_insert(now);
        let Some(wal) = &writer.wal else { return false };
        if writer.is_closed {
            return false;
        }
        let head = self.head();
        writer.wants_checkpoint
            || wal.bytes().0 >= options.checkpoint_bytes
            || head.chunk_bytes as u64 >= options.head_bytes_max
            || (head.chunks > 0 && now >= flushed_at + options.block_span)
    }

    /// Merges blocks that are as many, or span as much time, as one of the next level should; returns how many went.
    fn merge_blocks(&self, maintenance: &MutexGuard<'_, ()>, now: Timestamp) -> Result<usize, Error> {
        let mut merged = 0;
        let span = i64::try_from(self.inner.options.block_span.as_millis()).unwrap_or(i64::MAX);
        for (level, span, count_max) in [(0, span, 8), (1, span.saturating_mul(12), 16)] {
            let parents = self.head().blocks.of_level(level);
            let (min, max) = parents.iter().fold((i64::MAX, i64::MIN), |(min, max), block| {
                (min.min(block.footer.min), max.max(block.footer.max))
            });
            let spans = max.saturating_sub(min) >= span;
            if parents.len() >= count_max || (parents.len() > 1 && spans) {
                self.merge(maintenance, &parents, now)?;
                merged += parents.len();
            }
        }
        Ok(merged)
    }

    /// Rewrites the blocks with damage without what cannot be read.
    fn repair(&self, maintenance: &MutexGuard<'_, ()>, now: Timestamp) -> Result<(), Error> {
        let live = self.head().blocks.live.clone();
        for block in live.iter().filter(|block| !block.damage().is_empty()) {
            self.merge(maintenance, std::slice::from_ref(block), now)?;
        }
        Ok(())
    }

    /// Rewrites every block in which samples were deleted without them; returns how many.
    ///
    /// # Errors
    /// A failure of the disk; what was not rewritten stays as it was.
    pub fn clean_tombstones(&self) -> Result<usize, Error> {
        let maintenance = self.inner.maintenance.lock().expect("no panic while blocks are merged");
        let head = self.head();
        let is_touched = |block: &&Arc<Block>| {
            head.blocks.tombstones.values().flatten().any(|tombstone| tombstone.block == block.number())
        };
        let touched: Vec<Arc<Block>> = head.blocks.live.iter().filter(is_touched).cloned().collect();
        drop(head);
        for block in &touched {
            self.merge(&maintenance, std::slice::from_ref(block), Timestamp::MIN)?;
        }
        Ok(touched.len())
    }

    /// Puts one block in place of several. `now` is for the retention.
    fn merge(
        &self,
        _maintenance: &MutexGuard<'_, ()>,
        parents: &[Arc<Block>],
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(dir) = self.writer().dir.clone() else { return Ok(()) };
        let mut head = self.head_mut();
        let number = head.blocks.next;
        head.blocks.next += 1;
        let tombstones = head.blocks.tombstones.clone();
        drop(head);
        let labels_of = |id: u32| self.head().series.get(id).map(|series| series.labels.clone());
        let cutoff = now - self.inner.options.retention;
        let outcome = blocks::merge(&dir, number, parents, &tombstones, labels_of, cutoff);
        let block = match outcome.and_then(|len| len.map(|_| open_block(dir.as_ref(), number)).transpose()) {
            Ok(block) => block,
            Err(error) => {
                BlockWriter::abandon(dir.as_ref(), number);
                return Err(error);
            }
        };
        let gone: Vec<u64> = parents.iter().map(|block| block.number()).collect();
        let mut writer = self.writer();
        if let (None, Some(wal)) = (&block, &mut writer.wal) {
            // Nothing is left, and no new block says so.
            let mut payload = Vec::new();
            record::put_blocks_gone(&mut payload, &self.head().blocks.with_replaced(&gone));
            wal.append(&payload, self.inner.options.segment_bytes_max)?;
        }
        let mut head = self.head_mut();
        head.blocks.replace(&gone, block);
        head.refresh_blocks();
        drop(head);
        drop(writer);
        remove_blocks(Some(&dir), &gone);
        Ok(())
    }

    /// Removes the samples from `start` to `end` of the series that match; returns how many there were.
    ///
    /// What is in blocks is hidden at once and removed when they are merged, or by [`Db::clean_tombstones`].
    ///
    /// # Errors
    /// As [`Appender::commit`](crate::Appender::commit); nothing is removed then.
    pub fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Result<u64, Error> {
        let _no_merge = self.inner.maintenance.lock().expect("no panic while blocks are merged");
        let _no_flush = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        let mut writer = self.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        let head = self.head();
        let mut ids = head.postings.select(matchers);
        let mut tombstones = Vec::new();
        for id in ids.iter().filter(|id| head.series[**id].has_blocks) {
            tombstones.extend(head.blocks.to_delete(*id, start, end).into_iter().map(|t| (*id, t)));
        }
        ids.retain(|id| head.overlaps(&head.series[*id], start, end));
        drop(head);
        if let Some(wal) = &mut writer.wal
            && !(ids.is_empty() && tombstones.is_empty())
        {
            let mut payload = Vec::new();
            ids.iter().for_each(|id| record::put_delete(&mut payload, *id, start, end));
            tombstones.iter().for_each(|(id, tombstone)| record::put_tombstone(&mut payload, *id, tombstone));
            wal.append(&payload, self.inner.options.segment_bytes_max)?;
        }
        let mut head = self.head_mut();
        self.inner.changes.fetch_add(1, SeqCst);
        let mut removed: u64 = ids.into_iter().map(|id| head.delete(id, start, end)).sum();
        for (id, tombstone) in tombstones {
            removed += tombstone.removed;
            head.blocks.tombstones.entry(id).or_default().push(tombstone);
        }
        Ok(removed)
    }

    /// Reads every chunk of every block; what cannot be read is in the answer.
    ///
    /// # Cost
    /// As much as to read the whole store from the disk.
    pub fn verify(&self) -> Vec<Damage> {
        let live = self.head().blocks.live.clone();
        for block in &live {
            block.verify();
        }
        live.iter().flat_map(|block| block.damage()).collect()
    }

    /// Syncs, refuses commits from now on, and gives the directory free. Queries still work.
    ///
    /// # Errors
    /// As [`Db::sync`]; the store is closed nonetheless.
    pub fn close(&self) -> Result<(), Error> {
        let outcome = self.sync();
        let _no_checkpoint = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        let mut writer = self.writer();
        if writer.is_closed {
            return Ok(());
        }
        writer.is_closed = true;
        writer.wal = None;
        outcome
    }

    /// Whether commits are refused at the moment, and why.
    pub fn read_only(&self) -> Option<String> {
        self.failure(&self.writer()).map(|failure| failure.reason().to_owned())
    }

    fn failure(&self, writer: &Writer) -> Option<Failure> {
        writer.wal.as_ref().and_then(|wal: &Wal| wal.failure.clone())
    }
}

/// Removes the files of blocks that nothing refers to any more; what stays is removed at the next start.
fn remove_blocks(dir: Option<&Arc<dyn Dir>>, numbers: &[u64]) {
    let Some(dir) = dir.filter(|_| !numbers.is_empty()) else { return };
    for number in numbers {
        let _ = dir.remove(&block::file_name(*number));
    }
    let _ = dir.sync();
}
