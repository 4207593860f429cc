//! What the store does besides taking and giving samples: sync, retention, checkpoints, deletion, the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chunk::Chunk;
use crate::db::{Db, Writer};
use crate::error::{Error, Kind};
use crate::record;
use crate::wal::{Checkpoint, Failure, Wal};
use crate::{Labels, Matcher, Metadata, Timestamp};

/// What [`Db::compact`] did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Chunks dropped by the retention.
    pub chunks_dropped: usize,
    /// Series dropped, since they have been empty for a while.
    pub series_dropped: usize,
    /// Whether a checkpoint was written, and the log before it dropped.
    pub is_checkpointed: bool,
}

/// The whole state at one instant, as references.
struct Snapshot {
    next_id: u32,
    metadata: BTreeMap<String, Metadata>,
    series: Vec<(u32, Labels, Vec<Arc<Chunk>>)>,
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
        self.write(&mut writer, &[])?;
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

    /// Drops what is older than the retention at `now`, and keeps the log short.
    ///
    /// A server calls it each minute or so. Commits and queries go on while a checkpoint is written.
    ///
    /// # Errors
    /// A failure of the disk; the store is then as it was, with a longer log, and the next call tries again.
    pub fn compact(&self, now: Timestamp) -> Result<Compaction, Error> {
        let options = &self.inner.options;
        // No commit at the same time: what it has found in the head must not go before it has pushed to it.
        let writer = self.writer();
        let mut head = self.head_mut();
        let mut cutoff = now - options.retention;
        if let Some(bytes_max) = options.retention_bytes {
            let by_bytes = head.cutoff_for_bytes(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            cutoff = by_bytes.map_or(cutoff, |by_bytes| by_bytes.max(cutoff));
        }
        let dropped = head.take_older(cutoff);
        let series_dropped = head.drop_idle();
        let kept_bytes = head.chunk_bytes as u64;
        drop(head);
        let mut done = Compaction { chunks_dropped: dropped.len(), series_dropped, is_checkpointed: false };
        let is_due = match &writer.wal {
            None => false,
            Some(_) if writer.is_closed => false,
            Some(wal) => {
                let (segments, checkpoint) = wal.bytes();
                let is_mostly_dropped = checkpoint / 2 > kept_bytes + 1024 * 1024;
                writer.wants_checkpoint || segments >= options.checkpoint_bytes || is_mostly_dropped
            }
        };
        drop(writer);
        drop(dropped); // Without a lock, since freeing many chunks takes a while.
        if is_due {
            self.checkpoint()?;
            done.is_checkpointed = true;
        }
        Ok(done)
    }

    /// Writes the whole state as one file that takes the place of the log so far. Durable on `Ok`.
    ///
    /// # Errors
    /// A failure of the disk (`is_read_only` while commits are refused because of it); the log so far then stays.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let _one_at_a_time = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        let mut writer = self.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        let Some(wal) = &mut writer.wal else { return Ok(()) };
        let failed_syncs = wal.failed_syncs;
        let checkpoint = wal.begin_checkpoint();
        let number = checkpoint.number();
        let snapshot = self.whole();
        drop(writer);
        let outcome = snapshot.write(checkpoint);
        let mut writer = self.writer();
        let Writer { wal, dir, .. } = &mut *writer;
        match (outcome, wal, dir) {
            (Ok(len), Some(wal), _) => {
                wal.finish_checkpoint(number, len, failed_syncs);
                writer.checkpoints += 1;
                writer.wants_checkpoint = false;
                Ok(())
            }
            (Err(error), Some(wal), Some(dir)) => {
                Checkpoint::abandon(dir, number);
                let reason = match &wal.failure {
                    Some(Failure::Sync(reason)) => Some(format!("{reason}; the checkpoint failed: {error}")),
                    _ => None,
                };
                writer.failed_checkpoints += 1;
                Err(reason.map_or(error, |reason| Error::new(Kind::ReadOnly { reason })))
            }
            _ => Err(Error::new(Kind::Closed)),
        }
    }

    /// Removes the samples from `start` to `end` of the series that match; returns how many there were.
    ///
    /// # Errors
    /// As [`Appender::commit`](crate::Appender::commit); nothing is removed then.
    pub fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Result<u64, Error> {
        let mut writer = self.writer();
        if writer.is_closed {
            return Err(Error::new(Kind::Closed));
        }
        let head = self.head();
        let mut ids = head.postings.select(matchers);
        ids.retain(|id| head.series[id].overlaps(start, end));
        drop(head);
        if let Some(wal) = &mut writer.wal
            && !ids.is_empty()
        {
            let mut payload = Vec::new();
            ids.iter().for_each(|id| record::put_delete(&mut payload, *id, start, end));
            wal.append(&payload, self.inner.options.segment_bytes_max)?;
        }
        let mut head = self.head_mut();
        Ok(ids.into_iter().map(|id| head.delete(id, start, end)).sum())
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

    fn whole(&self) -> Snapshot {
        let head = self.head();
        let mut series: Vec<(u32, Labels, Vec<Arc<Chunk>>)> = head
            .series
            .iter()
            .map(|(id, series)| (*id, series.labels.clone(), series.snapshot(Timestamp::MIN, Timestamp::MAX)))
            .collect();
        // Ascending ids make small differences, and the same state the same bytes.
        series.sort_unstable_by_key(|(id, ..)| *id);
        Snapshot { next_id: head.next_id, metadata: head.metadata.clone(), series }
    }
}

impl Snapshot {
    /// Labels first, in records of their own: a flipped bit among the samples then costs at most its record.
    fn write(&self, mut checkpoint: Checkpoint) -> Result<u64, Error> {
        for (id, labels, _) in &self.series {
            checkpoint.put(|out| record::put_series(out, *id, labels))?;
        }
        for (family, metadata) in &self.metadata {
            checkpoint.put(|out| record::put_metadata(out, family, metadata))?;
        }
        checkpoint.end_record()?;
        for (id, _, chunks) in &self.series {
            for chunk in chunks {
                checkpoint.put(|out| record::put_chunk(out, *id, chunk))?;
            }
        }
        checkpoint.end_record()?;
        checkpoint.put(|out| record::put_checkpoint_end(out, self.next_id))?;
        checkpoint.finish()
    }
}
