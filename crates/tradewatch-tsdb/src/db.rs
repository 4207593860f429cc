//! The store behind its interface: open, query, and what both sides share.
//!
//! Locks, always taken in this order: `maintenance`, `checkpoint` or `sync`, then `writer`, then `head`. A commit writes its record
//! under `writer` and holds `head` only to push the samples; a query holds `head` only to collect chunks
//! (a reference each, and a copy of the open one), and decodes them without a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::chunk::CHUNK_SAMPLES_MAX;
use crate::dir::Dir;
use crate::error::Error;
use crate::exemplars::Exemplars;
use crate::head::{Head, Replayer};
use crate::log::Damage;
use crate::stats::RefusedCounters;
use crate::wal::Wal;
use crate::{Labels, Matcher, Metadata, Timestamp};

/// The most metric families of which metadata is kept; a new one beyond it is ignored.
pub const METADATA_FAMILIES_MAX: usize = 100_000;

/// Bounds and habits of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most series held at a time; a new one beyond it is refused (`is_too_many_series`).
    pub series_max: usize,
    /// How far a sample may lie ahead of `now`, where the appender was given one.
    pub future_max: Duration,
    /// How far a sample may lie behind the newest of all and still be taken where its series has a newer one.
    pub out_of_order_window: Duration,
    /// Samples older than this are dropped by [`Db::compact`], block by block.
    pub retention: Duration,
    /// Beyond this many bytes of packed samples, [`Db::compact`] drops the oldest.
    pub retention_bytes: Option<u64>,
    /// A chunk is closed at this many samples.
    pub chunk_samples_max: u32,
    /// [`Db::compact`] moves closed chunks from memory into a block once they take this many bytes.
    pub head_bytes_max: u64,
    /// It does so after this time in any case, and merges the blocks of so long a time into one; later those of
    /// twelve times as long.
    pub block_span: Duration,
    /// A segment of the log is closed at this length.
    pub segment_bytes_max: u64,
    /// [`Db::compact`] writes a checkpoint once the segments take this much.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            series_max: 2_000_000,
            future_max: Duration::from_secs(600),
            out_of_order_window: Duration::ZERO,
            retention: Duration::from_secs(30 * 24 * 3600),
            retention_bytes: None,
            chunk_samples_max: CHUNK_SAMPLES_MAX,
            head_bytes_max: 32 * 1024 * 1024,
            block_span: Duration::from_secs(2 * 3600),
            segment_bytes_max: 64 * 1024 * 1024,
            checkpoint_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What [`Db::open`] found in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records read.
    pub records: u64,
    /// Series and samples now in the store.
    pub series: usize,
    /// Samples now in the store.
    pub samples: u64,
    /// What could not be read, place by place; empty after a clean end and after `kill -9`.
    pub damage: Vec<Damage>,
    /// Samples dropped since the damage took the labels of their series.
    pub samples_without_series: u64,
    /// Samples dropped since they do not fit behind those before them.
    pub samples_out_of_order: u64,
}

/// The store. Clones share it; every method takes `&self` from any thread.
#[derive(Clone, Debug)]
pub struct Db {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub options: Options,
    /// Held while blocks are merged, removed or linked, and while samples in them are deleted.
    pub maintenance: Mutex<()>,
    /// Held while a checkpoint is written.
    pub checkpoint: Mutex<()>,
    /// Held while files are synced, so that a sync which finds nothing to do has not overtaken another.
    pub sync: Mutex<()>,
    /// Orders commits; never held by a query.
    pub writer: Mutex<Writer>,
    pub head: RwLock<Head>,
    /// Rises with everything that may change what fits behind a series.
    pub changes: AtomicU64,
    pub refused: RefusedCounters,
    pub appended: AtomicU64,
    /// A lock of its own, held while nothing else is.
    pub exemplars: Mutex<Exemplars>,
}

/// The side that changes the store.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// `None` without a disk.
    pub wal: Option<Wal>,
    pub dir: Option<Arc<dyn Dir>>,
    pub is_closed: bool,
    /// Damage was found, or much was dropped: the next compaction writes a checkpoint.
    pub wants_checkpoint: bool,
    /// Blocks of failed checkpoints: the next checkpoint must find them gone.
    pub orphans: Vec<u64>,
    /// When closed chunks last went into a block.
    pub flushed_at: Option<Timestamp>,
    pub damage: u64,
    pub checkpoints: u64,
    pub failed_checkpoints: u64,
}

impl Db {
    /// A store without a disk: nothing outlives the last clone.
    pub fn in_memory() -> Db {
        Db::in_memory_with(Options::default())
    }

    /// A store without a disk, with bounds of its own.
    pub fn in_memory_with(options: Options) -> Db {
        let head = Head { chunk_samples: options.chunk_samples_max, ..Head::default() };
        Db::new(options, Writer::default(), head)
    }

    /// Opens the store in `dir`, which is locked until [`Db::close`] or the last clone is gone.
    ///
    /// Everything that was committed is there again. A torn end of the log is cut off and damage in its
    /// middle skipped; both are in the [`Recovery`], with file, offset, length and reason.
    ///
    /// # Errors
    /// `is_locked` if another store has the directory; `is_newer_format` if a newer tradewatch wrote
    /// it, and then nothing was touched; else a failure of the disk.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tradewatch_tsdb::{Db, Labels, MemDir, Options, Timestamp};
    ///
    /// let disk = MemDir::new(4711); // FsDir::new("data")? for the real one.
    /// let (db, _) = Db::open(Arc::new(disk.clone()), Options::default()).unwrap();
    /// let mut appender = db.appender();
    /// let up = appender.series(&Labels::from_pairs([("__name__", "up")]));
    /// appender.append(up, Timestamp::from_millis(1_000), 1.0).unwrap();
    /// appender.commit().unwrap();
    ///
    /// let (db, recovery) = Db::open(Arc::new(disk.kill()), Options::default()).unwrap();
    /// assert_eq!((recovery.samples, recovery.damage.len()), (1, 0));
    /// # drop(db);
    /// ```
    pub fn open(dir: Arc<dyn Dir>, options: Options) -> Result<(Db, Recovery), Error> {
        let mut replayer = Replayer::default();
        replayer.head.chunk_samples = options.chunk_samples_max;
        let (wal, scanned) = Wal::open(dir.clone(), &mut replayer)?;
        replayer.end();
        let (without_series, misfits) = (replayer.without_series, replayer.misfits);
        let orphans = std::mem::take(&mut replayer.orphans);
        let head = replayer.finish();
        let recovery = Recovery {
            records: scanned.records,
            series: head.series.len(),
            samples: head.samples + head.blocks.samples(),
            damage: scanned.damage,
            samples_without_series: without_series,
            samples_out_of_order: misfits,
        };
        let writer = Writer {
            wal: Some(wal),
            dir: Some(dir),
            wants_checkpoint: recovery.damage.iter().any(|damage| !damage.is_torn_tail),
            damage: recovery.damage.len() as u64,
            orphans,
            ..Writer::default()
        };
        Ok((Db::new(options, writer, head), recovery))
    }

    fn new(options: Options, writer: Writer, head: Head) -> Db {
        Db {
            inner: Arc::new(Inner {
                options,
                maintenance: Mutex::default(),
                checkpoint: Mutex::default(),
                sync: Mutex::default(),
                writer: Mutex::new(writer),
                head: RwLock::new(head),
                changes: AtomicU64::new(0),
                refused: RefusedCounters::default(),
                appended: AtomicU64::new(0),
                exemplars: Mutex::default(),
            }),
        }
    }

    /// The label sets that match and have samples around `start` to `end`, sorted.
    ///
    /// A series whose samples lie before and after the range, and none within, may be among them.
    pub fn series(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<Labels> {
        let head = self.head();
        let ids = head.postings.select(matchers);
        let is_live = |id: &u32| {
            let series = &head.series[*id];
            head.overlaps(series, start, end) || series.has_blocks && head.blocks.overlap(*id, start, end)
        };
        let live = ids.iter().filter(|id| is_live(id));
        let mut found: Vec<Labels> = live.map(|id| head.series[*id].labels.clone()).collect();
        drop(head);
        found.sort();
        found
    }

    /// The label names of the series that match, sorted.
    pub fn label_names(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<String> {
        let mut names = BTreeSet::new();
        for labels in self.series(matchers, start, end) {
            for (name, _) in &labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        names.into_iter().collect()
    }

    /// The values of the label `name` among the series that match, sorted.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<String> {
        let mut values = BTreeSet::new();
        for labels in self.series(matchers, start, end) {
            if let Some(value) = labels.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        values.into_iter().collect()
    }

    /// Remembers what a metric family says about itself; the latest word wins.
    ///
    /// It is written to the log with the next commit, or by [`Db::sync`].
    pub fn set_metadata(&self, family: &str, metadata: &Metadata) {
        let head = self.head();
        let known = head.metadata.get(family);
        let is_full = known.is_none() && head.metadata.len() >= METADATA_FAMILIES_MAX;
        if is_full || known == Some(metadata) {
            return;
        }
        drop(head);
        let mut head = self.head_mut();
        head.metadata.insert(family.to_owned(), metadata.clone());
        head.unlogged_families.insert(family.to_owned());
    }

    /// What is known about each metric family, by name.
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.head().metadata.clone()
    }

    pub(crate) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.inner.head.read().expect("no panic while the head is locked")
    }

    pub(crate) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.inner.head.write().expect("no panic while the head is locked")
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.inner.writer.lock().expect("no panic while writes are locked")
    }
}
