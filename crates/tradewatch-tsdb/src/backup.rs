//! Snapshots, restoring them, and importing the samples of another store.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::block;
use crate::block_writer::BlockWriter;
use crate::blocks::LEVEL_MAX;
use crate::db::{Db, Options, Recovery};
use crate::dir::Dir;
use crate::error::{Error, Kind};
use crate::flush::open_block;
use crate::head::{IdMap, MemSeries};
use crate::log::{FileId, FileKind};
use crate::read::Columns;
use crate::{Timestamp, wal};

/// An imported block covers a day, in UTC.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What [`Db::snapshot`] made, or [`restore`] copied.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`Db::import`] did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Series with a sample that is new.
    pub series: usize,
    /// Samples that are new.
    pub samples: u64,
    /// Samples left out, since the store had one of that series at that time.
    pub known: u64,
    /// Blocks written.
    pub blocks: usize,
}

impl Db {
    /// Puts everything committed so far into `target`, as the directory of a store that can be opened or restored.
    ///
    /// On one file system blocks are linked, not copied; they never change. Commits and queries go on.
    ///
    /// # Errors
    /// Those of [`Db::checkpoint`], and failures of `target`; `is_closed` also for a store without a disk.
    pub fn snapshot(&self, target: &dyn Dir) -> Result<Copied, Error> {
        let _no_merge = self.inner.maintenance.lock().expect("no panic while blocks are merged");
        let no_checkpoint = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        let number = self.checkpoint_locked(&no_checkpoint)?.ok_or_else(|| Error::new(Kind::Closed))?;
        let dir = self.writer().dir.clone().ok_or_else(|| Error::new(Kind::Closed))?;
        let checkpoint = FileId { kind: FileKind::Checkpoint, number };
        let mut names = vec![wal::file_name(checkpoint)];
        names.extend(self.head().blocks.live.iter().map(|block| block::file_name(block.number())));
        copy(dir.as_ref(), target, &names, true)
    }

    /// Adds the samples of `other` that this store does not have, as blocks of a day each.
    ///
    /// Times may lie anywhere. Durable on `Ok`; after an error some of the days may be there.
    ///
    /// # Errors
    /// A failure of the disk; `is_too_many_series`; `is_closed` also for a store without a disk.
    pub fn import(&self, other: &Db) -> Result<Imported, Error> {
        let _no_merge = self.inner.maintenance.lock().expect("no panic while blocks are merged");
        let _no_checkpoint = self.inner.checkpoint.lock().expect("no panic during a checkpoint");
        let writer = self.writer();
        let dir = writer.dir.clone().filter(|_| !writer.is_closed);
        let dir = dir.ok_or_else(|| Error::new(Kind::Closed))?;
        drop(writer);
        let mut done = Imported::default();
        let mut seen = BTreeSet::new();
        for day in days(other) {
            let first = day.saturating_mul(DAY_MS);
            let last = first.saturating_add(DAY_MS - 1);
            let range = (Timestamp::from_millis(first), Timestamp::from_millis(last));
            self.import_day(&dir, other, range, &mut done, &mut seen)?;
        }
        done.series = seen.len();
        Ok(done)
    }

    fn import_day(
        &self,
        dir: &Arc<dyn Dir>,
        other: &Db,
        (start, end): (Timestamp, Timestamp),
        done: &mut Imported,
        seen: &mut BTreeSet<u32>,
    ) -> Result<(), Error> {
        let selection = other.select_chunks(&[], start, end);
        let mut by_id: Vec<(u32, usize)> = Vec::with_capacity(selection.len());
        for index in 0..selection.len() {
            by_id.push((self.id_of(selection.labels(index))?, index));
        }
        by_id.sort_unstable();
        let mut head = self.head_mut();
        let number = head.blocks.next;
        head.blocks.next += 1;
        drop(head);
        let mut block = BlockWriter::new(dir.clone(), number)?;
        let mut columns = Columns::default();
        let mut last: IdMap<i64> = IdMap::default();
        let outcome = by_id.into_iter().try_for_each(|(id, index)| {
            selection.read(index, &mut columns);
            let before = columns.len() as u64;
            self.drop_known(id, start, end, &mut columns);
            done.known += before - columns.len() as u64;
            if columns.is_empty() {
                return Ok(());
            }
            seen.insert(id);
            last.insert(id, columns.last());
            block.begin_series(id, selection.labels(index));
            block.put(&columns)
        });
        let samples = block.samples();
        let outcome = match outcome {
            Ok(()) if samples == 0 => {
                BlockWriter::abandon(dir.as_ref(), number);
                return Ok(());
            }
            Ok(()) => block.finish(LEVEL_MAX, 0, &[]).and_then(|_| open_block(dir.as_ref(), number)),
            Err(error) => Err(error),
        };
        let block = outcome.inspect_err(|_| BlockWriter::abandon(dir.as_ref(), number))?;
        let mut head = self.head_mut();
        self.inner.changes.fetch_add(1, SeqCst);
        for (id, last) in last {
            head.max_time = head.max_time.max(last);
            if let Some(series) = head.series.get_mut(id) {
                series.has_blocks = true;
                series.last = series.last.max(last);
            }
            head.raise_floor(id, last);
        }
        head.blocks.replace(&[], Some(block));
        done.samples += samples;
        done.blocks += 1;
        Ok(())
    }

    fn id_of(&self, labels: &crate::Labels) -> Result<u32, Error> {
        let mut head = self.head_mut();
        if let Some(id) = head.id_of(labels) {
            return Ok(id);
        }
        let max = self.inner.options.series_max;
        let added = if head.series.len() < max { head.add_series(labels.clone()) } else { None };
        added.ok_or_else(|| Error::new(Kind::TooManySeries { max }))
    }

    /// Takes out the samples at times that the series has already.
    fn drop_known(&self, id: u32, start: Timestamp, end: Timestamp, columns: &mut Columns) {
        let head = self.head();
        let is_there = |series: &&MemSeries| {
            head.overlaps(series, start, end) || series.has_blocks && head.blocks.overlap(id, start, end)
        };
        let Some(series) = head.series.get(id).filter(is_there) else { return };
        let in_memory = series.snapshot(start, end);
        let rows = head.column(series, start, end).map_or(&[][..], |column| column.times());
        let rows = rows.iter().map(|ts| Timestamp::from_millis(*ts));
        let late = series.late_in(start, end).iter().map(|sample| sample.ts);
        let in_memory = in_memory.iter().flat_map(|chunk| chunk.samples()).map(|sample| sample.ts);
        let in_blocks = head.blocks.read(id, start, end).into_iter().map(|sample| sample.ts);
        let known: BTreeSet<Timestamp> = in_memory.chain(rows).chain(late).chain(in_blocks).collect();
        let mut samples = columns.to_samples();
        samples.retain(|sample| !known.contains(&sample.ts));
        columns.set_samples(&samples);
    }
}

/// The days since 1970 of which a store has samples.
fn days(db: &Db) -> BTreeSet<i64> {
    let selection = db.select_chunks(&[], Timestamp::MIN, Timestamp::MAX);
    let (mut days, mut columns) = (BTreeSet::new(), Columns::default());
    for index in 0..selection.len() {
        selection.read(index, &mut columns);
        let mut last = None;
        for ts in columns.ts.iter().chain(&columns.histogram_ts) {
            let day = ts.div_euclid(DAY_MS);
            if last.replace(day) != Some(day) {
                days.insert(day);
            }
        }
    }
    days
}

/// Copies a snapshot into `to`, which has no store yet, opens it there and reads all of it.
///
/// # Errors
/// `is_not_empty` if there is a store in `to`; what [`Db::open`] finds; a failure of either disk. Damage is no error:
/// it is in the [`Recovery`].
pub fn restore(from: &dyn Dir, to: Arc<dyn Dir>) -> Result<(Copied, Recovery), Error> {
    let list =
        |dir: &dyn Dir| dir.list().map_err(|e| Error::io(format!("list directory {}", dir.place()), e));
    let is_ours = |name: &String| block::parse_name(name).is_some() || wal::parse_name(name).is_some();
    if list(to.as_ref())?.iter().any(is_ours) {
        return Err(Error::new(Kind::NotEmpty { place: to.place() }));
    }
    let names: Vec<String> = list(from)?.into_iter().filter(is_ours).collect();
    if names.is_empty() {
        let reason = io::Error::other("no checkpoint, segment or block in it");
        return Err(Error::io(format!("restore {}", from.place()), reason));
    }
    let copied = copy(from, to.as_ref(), &names, false)?;
    let (db, mut recovery) = Db::open(to, Options::default())?;
    for damage in db.verify() {
        if !recovery.damage.contains(&damage) {
            recovery.damage.push(damage);
        }
    }
    db.close()?;
    Ok((copied, recovery))
}

/// Copies files, or links them where that is possible and allowed; durable on `Ok`.
fn copy(from: &dyn Dir, to: &dyn Dir, names: &[String], may_link: bool) -> Result<Copied, Error> {
    let mut done = Copied::default();
    for name in names {
        let failed = |e| Error::io(format!("copy {}/{name} to {}", from.place(), to.place()), e);
        let bytes = copy_file(from, to, name, may_link).map_err(failed)?;
        done = Copied { files: done.files + 1, bytes: done.bytes + bytes };
    }
    to.sync().map_err(|e| Error::io(format!("sync {}", to.place()), e))?;
    Ok(done)
}

fn copy_file(from: &dyn Dir, to: &dyn Dir, name: &str, may_link: bool) -> io::Result<u64> {
    let source = from.open(name)?;
    let len = source.len()?;
    if may_link && from.link(name, to).is_ok() {
        return Ok(len);
    }
    let target = to.create(name)?;
    let mut buffer = vec![0; len.min(1 << 20) as usize];
    let mut at = 0;
    while at < len {
        let count = (len - at).min(buffer.len() as u64) as usize;
        source.read_at(at, &mut buffer[..count])?;
        target.write_at(at, &buffer[..count])?;
        at += count as u64;
    }
    target.sync()?;
    Ok(len)
}
