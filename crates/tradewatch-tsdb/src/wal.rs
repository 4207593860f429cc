//! The write-ahead log: a chain of segments, with a checkpoint in place of those before it.
//!
//! Every commit is one record and one write, so that the death of the process loses nothing committed;
//! [`Wal::files_to_sync`] says what to sync so that a loss of power does not either. Each way to fail has
//! one answer:
//! - a failed write is cut off again and the commit is refused; the next commit tries anew;
//! - after a failed sync nobody knows what the disk has, so that writes stop until a checkpoint, written
//!   from memory into a new file, stands in place of everything in doubt.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::block;
use crate::dir::{Dir, DirFile, Lock, LockGuard};
use crate::error::{Error, Kind};
use crate::head::Replayer;
use crate::log::{self, FILE_HEADER_BYTES, FileId, FileKind, RECORD_BYTES_MAX, Scanner};
use crate::record;

/// How full a record of a checkpoint may get before the next is begun: what one flipped bit costs.
const CHECKPOINT_RECORD_BYTES: usize = 64 * 1024;

/// The name of a file on disk.
pub fn file_name(id: FileId) -> String {
    match id.kind {
        FileKind::Segment => format!("wal-{:010}", id.number),
        FileKind::Checkpoint => format!("checkpoint-{:010}", id.number),
        FileKind::Block => block::file_name(id.number),
    }
}

pub fn parse_name(name: &str) -> Option<FileId> {
    let (kind, number) = match name.split_once('-')? {
        ("wal", number) => (FileKind::Segment, number),
        ("checkpoint", number) => (FileKind::Checkpoint, number),
        _ => return None,
    };
    let id = FileId { kind, number: number.parse().ok()? };
    (file_name(id) == name).then_some(id)
}

/// Why writes are refused at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The last write failed; the next commit tries again.
    Write(String),
    /// A sync failed; a checkpoint must succeed first.
    Sync(String),
}

impl Failure {
    pub fn reason(&self) -> &str {
        match self {
            Failure::Write(reason) | Failure::Sync(reason) => reason,
        }
    }
}

/// The log of an open store.
#[derive(Debug)]
pub struct Wal {
    dir: Arc<dyn Dir>,
    _lock: Box<dyn LockGuard>,
    current: Option<Segment>,
    /// The number of the next file.
    next_number: u64,
    next_seq: u64,
    /// Closed segments, and the current one, that hold something not synced yet.
    unsynced: BTreeMap<u64, Unsynced>,
    are_names_unsynced: bool,
    /// The segment behind whose last whole record a failed write left something that could not be cut off.
    /// Nothing is written before it is: what was refused must not come before what was committed later.
    dirty: Option<(FileId, Arc<dyn DirFile>, u64)>,
    segments: BTreeMap<u64, u64>,
    checkpoint: Option<(u64, u64)>,
    pub failure: Option<Failure>,
    pub records: u64,
    pub syncs: u64,
    pub failed_writes: u64,
    pub failed_syncs: u64,
}

/// A file that a sync must look after.
#[derive(Clone, Debug)]
struct Unsynced {
    file: Arc<dyn DirFile>,
    /// It was there when the store was opened. If the process before died after a failed sync, the cache
    /// shows bytes that the disk does not have and that no sync will write, as they count as written: only
    /// writing the same bytes once more makes them durable.
    is_found: bool,
}

#[derive(Debug)]
struct Segment {
    id: FileId,
    file: Arc<dyn DirFile>,
    /// The bytes that hold whole records.
    len: u64,
}

impl Wal {
    /// Locks the directory, opens its blocks, and gives every record in it to `replayer`, oldest first.
    pub fn open(dir: Arc<dyn Dir>, replayer: &mut Replayer) -> Result<(Wal, Scanner), Error> {
        let place = dir.place();
        let lock = match dir.lock().map_err(|e| Error::io(format!("lock data directory {place}"), e))? {
            Lock::Held(guard) => guard,
            Lock::Taken { holder } => return Err(Error::new(Kind::Locked { place, holder })),
        };
        let names = dir.list().map_err(|e| Error::io(format!("list data directory {place}"), e))?;
        let files: Vec<FileId> = names.iter().filter_map(|name| parse_name(name)).collect();
        for id in &files {
            log::check_version(open(&dir, *id)?.as_ref(), &shown(&dir, *id))?;
        }
        let newest = |kind| files.iter().filter(|id| id.kind == kind).map(|id| id.number).max();
        let checkpoint = newest(FileKind::Checkpoint);
        let from = checkpoint.unwrap_or(0);
        let mut wal = Wal {
            dir,
            _lock: lock,
            current: None,
            next_number: newest(FileKind::Segment).unwrap_or(0).max(from) + 1,
            next_seq: 1,
            unsynced: BTreeMap::new(),
            are_names_unsynced: true,
            dirty: None,
            segments: BTreeMap::new(),
            checkpoint: None,
            failure: None,
            records: 0,
            syncs: 0,
            failed_writes: 0,
            failed_syncs: 0,
        };
        let mut scanner = Scanner::new();
        let segments = files.iter().filter(|id| id.kind == FileKind::Segment).map(|id| id.number);
        let oldest = segments.min().unwrap_or(u64::MAX);
        scanner.damage = replayer.open_blocks(wal.dir.as_ref(), &names, from, oldest)?;
        let damaged_blocks = scanner.damage.len();
        let mut apply = |payload: &[u8]| replayer.apply(payload);
        if let Some(number) = checkpoint {
            let id = FileId { kind: FileKind::Checkpoint, number };
            let mut is_complete = false;
            // Its records are checked one by one, so only a cut between two of them would go unseen.
            let len = wal.replay(id, false, &mut scanner, &mut |payload: &[u8]| {
                is_complete |= record::ends_checkpoint(payload);
                apply(payload)
            })?;
            if !is_complete && scanner.damage.len() == damaged_blocks {
                scanner.note(&shown(&wal.dir, id), len, 0, "the end of the checkpoint is missing");
            }
            wal.checkpoint = Some((number, len));
        }
        let mut numbers: Vec<u64> = files
            .iter()
            .filter(|id| id.kind == FileKind::Segment && id.number >= from)
            .map(|id| id.number)
            .collect();
        numbers.sort_unstable();
        for number in &numbers {
            let id = FileId { kind: FileKind::Segment, number: *number };
            let is_last = numbers.last() == Some(number);
            let len = wal.replay(id, is_last, &mut scanner, &mut apply)?;
            wal.segments.insert(*number, len);
            wal.unsynced.insert(*number, Unsynced { file: open(&wal.dir, id)?, is_found: true });
        }
        scanner.release(&mut apply);
        for number in replayer.missing_blocks() {
            scanner.note(
                &format!("{}/{}", wal.dir.place(), block::file_name(number)),
                0,
                0,
                "the block is missing",
            );
        }
        replayer.orphans = wal.remove_leftovers(&names, from, &replayer.orphans, &replayer.dead_blocks);
        wal.next_seq = scanner.next_seq;
        Ok((wal, scanner))
    }

    /// Reads one file; returns its length after a torn tail was cut off.
    fn replay(
        &self,
        id: FileId,
        is_newest: bool,
        scanner: &mut Scanner,
        apply: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<u64, Error> {
        let file = open(&self.dir, id)?;
        let shown = shown(&self.dir, id);
        let failed = |e| Error::io(format!("read {shown}"), e);
        let damage_before = scanner.damage.len();
        scanner.scan(&file, id, &shown, apply).map_err(failed)?;
        let mut len = file.len().map_err(failed)?;
        if let Some(last) = scanner.damage[damage_before..].last_mut()
            && is_newest
            && last.bytes > 0
            && last.offset + last.bytes == len
        {
            file.set_len(last.offset).map_err(|e| Error::io(format!("cut the torn end of {shown}"), e))?;
            last.is_torn_tail = true;
            len = last.offset;
        }
        Ok(len)
    }

    /// Removes what a crash left behind: unfinished files, those that the checkpoint replaces, and blocks that do not
    /// count. Returns the blocks without a checkpoint that are still there.
    fn remove_leftovers(&mut self, names: &[String], from: u64, orphans: &[u64], dead: &[u64]) -> Vec<u64> {
        let is_leftover = |name: &&String| {
            if let Some(number) = block::parse_name(name) {
                return orphans.contains(&number) || dead.contains(&number);
            }
            let temporary = name.strip_suffix(".tmp");
            let id = temporary.map_or(parse_name(name), parse_name);
            id.is_some_and(|id| id.number < from || temporary.is_some())
                || temporary.is_some_and(|name| block::parse_name(name).is_some())
        };
        let leftovers: Vec<&String> = names.iter().filter(is_leftover).collect();
        // The name of the checkpoint must be durable before what it replaces goes. What stays costs
        // space only, and is tried again at the next start.
        let mut left = orphans.to_vec();
        if !leftovers.is_empty() && self.dir.sync().is_ok() {
            for name in leftovers {
                if self.dir.remove(name).is_ok() {
                    left.retain(|number| block::file_name(*number) != *name);
                }
            }
        }
        left
    }

    /// Writes one record; on success it survives the death of the process.
    pub fn append(&mut self, payload: &[u8], segment_bytes_max: u64) -> Result<(), Error> {
        if let Some(Failure::Sync(reason)) = &self.failure {
            return Err(Error::new(Kind::ReadOnly { reason: reason.clone() }));
        }
        if payload.len() > RECORD_BYTES_MAX {
            let reason =
                format!("a commit of {} bytes exceeds the limit of {RECORD_BYTES_MAX}", payload.len());
            return Err(Error::new(Kind::TooLarge { reason }));
        }
        match self.try_append(payload, segment_bytes_max) {
            Ok(()) => {
                self.failure = None;
                self.records += 1;
                Ok(())
            }
            Err((what, error)) => {
                self.failed_writes += 1;
                let reason = format!("cannot {what}: {error}; reads go on, and each commit tries again");
                self.failure = Some(Failure::Write(reason.clone()));
                Err(Error::new(Kind::ReadOnly { reason }))
            }
        }
    }

    fn try_append(&mut self, payload: &[u8], segment_bytes_max: u64) -> Result<(), (String, io::Error)> {
        if let Some((id, file, len)) = &self.dirty {
            file.set_len(*len).map_err(|e| (format!("cut {}", shown(&self.dir, *id)), e))?;
            // A sync in between may have made durable what is cut here: the cut must become so too.
            let unsynced = Unsynced { file: file.clone(), is_found: false };
            self.unsynced.insert(id.number, unsynced);
            self.dirty = None;
        }
        if self.current.as_ref().is_some_and(|segment| segment.len >= segment_bytes_max) {
            self.current = None; // It stays among the unsynced.
        }
        if self.current.is_none() {
            let id = FileId { kind: FileKind::Segment, number: self.next_number };
            let file = self
                .dir
                .create(&file_name(id))
                .map_err(|e| (format!("create {}", shown(&self.dir, id)), e))?;
            self.next_number += 1;
            self.are_names_unsynced = true;
            self.segments.insert(id.number, 0);
            self.current = Some(Segment { id, file, len: 0 });
        }
        let segment = self.current.as_mut().expect("made above");
        let mut bytes = Vec::with_capacity(payload.len() + 64);
        if segment.len == 0 {
            bytes.extend_from_slice(&segment.id.header());
        }
        let offset = segment.len.max(FILE_HEADER_BYTES as u64);
        segment.id.put_record(&mut bytes, offset, self.next_seq, payload);
        let unsynced = Unsynced { file: segment.file.clone(), is_found: false };
        self.unsynced.insert(segment.id.number, unsynced);
        if let Err(error) = segment.file.write_at(segment.len, &bytes) {
            // Cut at once, so that a restart now finds no half record; if that fails too, before the next write.
            if segment.file.set_len(segment.len).is_err() {
                self.dirty = Some((segment.id, segment.file.clone(), segment.len));
            }
            return Err((format!("write {}", shown(&self.dir, segment.id)), error));
        }
        segment.len += bytes.len() as u64;
        self.segments.insert(segment.id.number, segment.len);
        self.next_seq += 1;
        Ok(())
    }

    /// What must be synced so that everything appended so far is durable.
    pub fn files_to_sync(&mut self) -> ToSync {
        let files = std::mem::take(&mut self.unsynced);
        let are_names_unsynced = std::mem::take(&mut self.are_names_unsynced);
        ToSync { dir: self.dir.clone(), files, are_names_unsynced }
    }

    /// Takes note of how a sync went, which ran without the lock on the log.
    pub fn note_sync(&mut self, outcome: &Result<u64, String>) {
        match outcome {
            Ok(syncs) => self.syncs += syncs,
            Err(reason) => {
                self.failed_syncs += 1;
                // Nothing in these files counts as durable any more, and a sync that succeeds later would prove nothing.
                self.failure = Some(Failure::Sync(format!(
                    "cannot {reason}; reads go on, and writes do after the next checkpoint"
                )));
            }
        }
    }

    /// Closes the current segment and begins a checkpoint of everything before the next one.
    pub fn begin_checkpoint(&mut self) -> Checkpoint {
        self.current = None;
        let id = FileId { kind: FileKind::Checkpoint, number: self.next_number };
        // The segment that follows has the same number as the checkpoint that it builds on.
        Checkpoint {
            dir: self.dir.clone(),
            id,
            file: None,
            len: FILE_HEADER_BYTES as u64,
            seq: self.next_seq,
            record: Vec::new(),
        }
    }

    /// Drops what a finished checkpoint replaces; `failed_syncs` is their number when it began.
    pub fn finish_checkpoint(&mut self, number: u64, len: u64, failed_syncs: u64) {
        self.dirty.take_if(|(id, ..)| id.number < number);
        let kept = self.segments.split_off(&number);
        let replaced: Vec<u64> = std::mem::replace(&mut self.segments, kept).into_keys().collect();
        for number in replaced {
            self.unsynced.remove(&number);
            let _ = self.dir.remove(&file_name(FileId { kind: FileKind::Segment, number }));
        }
        if let Some((old, _)) = self.checkpoint.replace((number, len))
            && old != number
        {
            let _ = self.dir.remove(&file_name(FileId { kind: FileKind::Checkpoint, number: old }));
        }
        self.are_names_unsynced = true;
        if self.failed_syncs == failed_syncs {
            // Everything that was in doubt has been written anew and synced.
            self.failure = None;
        }
    }

    /// Bytes of the segments, and of the checkpoint before them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.segments.values().sum(), self.checkpoint.map_or(0, |(_, len)| len))
    }

    /// The number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

fn open(dir: &Arc<dyn Dir>, id: FileId) -> Result<Arc<dyn DirFile>, Error> {
    dir.open(&file_name(id)).map_err(|e| Error::io(format!("open {}", shown(dir, id)), e))
}

fn shown(dir: &Arc<dyn Dir>, id: FileId) -> String {
    format!("{}/{}", dir.place(), file_name(id))
}

/// Files to sync without holding a lock.
#[derive(Debug)]
pub struct ToSync {
    dir: Arc<dyn Dir>,
    files: BTreeMap<u64, Unsynced>,
    are_names_unsynced: bool,
}

impl ToSync {
    /// Syncs them; the number of syncs, or what could not be done.
    pub fn run(&self) -> Result<u64, String> {
        let mut syncs = 0;
        for (number, Unsynced { file, is_found }) in &self.files {
            let id = FileId { kind: FileKind::Segment, number: *number };
            if *is_found {
                write_again(file.as_ref())
                    .map_err(|e| format!("write {} again: {e}", shown(&self.dir, id)))?;
            }
            file.sync().map_err(|e| format!("sync {}: {e}", shown(&self.dir, id)))?;
            syncs += 1;
        }
        if self.are_names_unsynced {
            self.dir.sync().map_err(|e| format!("sync data directory {}: {e}", self.dir.place()))?;
            syncs += 1;
        }
        Ok(syncs)
    }
}

/// Writes what a file holds over itself, its length too; nobody appends to it meanwhile.
fn write_again(file: &dyn DirFile) -> io::Result<()> {
    let len = file.len()?;
    file.set_len(len)?;
    let mut bytes = vec![0; len.min(1 << 20) as usize];
    let mut at = 0;
    while at < len {
        let count = (len - at).min(bytes.len() as u64) as usize;
        file.read_at(at, &mut bytes[..count])?;
        file.write_at(at, &bytes[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// A checkpoint being written, under a name that nobody reads until it is complete and durable.
#[derive(Debug)]
pub struct Checkpoint {
    dir: Arc<dyn Dir>,
    id: FileId,
    file: Option<Arc<dyn DirFile>>,
    len: u64,
    seq: u64,
    record: Vec<u8>,
}

impl Checkpoint {
    /// The number of the checkpoint, and of the first segment that it does not cover.
    pub fn number(&self) -> u64 {
        self.id.number
    }

    /// Appends entries; they are written once a record's worth has come together.
    pub fn put(&mut self, entries: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        entries(&mut self.record);
        if self.record.len() >= CHECKPOINT_RECORD_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the current record, so that what follows shares no checksum with what was before.
    pub fn end_record(&mut self) -> Result<(), Error> {
        if self.record.is_empty() { Ok(()) } else { self.flush() }
    }

    /// Makes it durable and gives it its name; returns its length.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        let Checkpoint { dir, id, file, len, .. } = &self;
        let file = file.as_ref().expect("flushing made it");
        file.sync().map_err(|e| Error::io(format!("sync {}", self.shown()), e))?;
        let renamed = dir.rename(&self.temporary(), &file_name(*id)).and_then(|()| dir.sync());
        renamed.map_err(|e| Error::io(format!("rename {}", self.shown()), e))?;
        Ok(*len)
    }

    /// Removes the unfinished file.
    pub fn abandon(dir: &Arc<dyn Dir>, number: u64) {
        let id = FileId { kind: FileKind::Checkpoint, number };
        let _ = dir.remove(&format!("{}.tmp", file_name(id)));
    }

    fn flush(&mut self) -> Result<(), Error> {
        let failed = |error, shown: String| Error::io(format!("write {shown}"), error);
        let mut bytes = Vec::with_capacity(self.record.len() + 64);
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = self.dir.create(&self.temporary()).map_err(|e| failed(e, self.shown()))?;
                file.write_at(0, &self.id.header()).map_err(|e| failed(e, self.shown()))?;
                self.file.insert(file).clone()
            }
        };
        self.id.put_record(&mut bytes, self.len, self.seq, &self.record);
        file.write_at(self.len, &bytes).map_err(|e| failed(e, self.shown()))?;
        self.len += bytes.len() as u64;
        self.record.clear();
        Ok(())
    }

    fn temporary(&self) -> String {
        format!("{}.tmp", file_name(self.id))
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.dir.place(), self.temporary())
    }
}
