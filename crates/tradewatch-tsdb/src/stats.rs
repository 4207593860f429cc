//! What the store can tell about itself; the server gives it names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::db::Db;
use crate::error::{Error, Kind};
use crate::{METRIC_NAME, Timestamp};

/// Samples refused since the store was opened, by reason.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Older than the newest sample of the series.
    pub out_of_order: u64,
    /// Another value at the time of the newest sample.
    pub duplicate: u64,
    /// Too far after `now`.
    pub too_far_in_future: u64,
    /// For a new series beyond the limit.
    pub too_many_series: u64,
    /// For a label set with an empty name, too many labels or too many bytes.
    pub bad_labels: u64,
    /// For a series that has left the store.
    pub unknown_series: u64,
}

/// The figures of the log.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes of its segments.
    pub bytes: u64,
    /// Bytes of the checkpoint before them.
    pub checkpoint_bytes: u64,
    /// Number of segments.
    pub segments: usize,
    /// Records written since the store was opened.
    pub records: u64,
    /// Successful syncs of a file or the directory since then.
    pub syncs: u64,
    /// Failed syncs since then.
    pub failed_syncs: u64,
    /// Failed writes since then.
    pub failed_writes: u64,
    /// Places that could not be read when the store was opened.
    pub corruptions: u64,
    /// Checkpoints written since then.
    pub checkpoints: u64,
    /// Checkpoints that failed since then.
    pub failed_checkpoints: u64,
}

/// The figures of the blocks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// How many there are.
    pub count: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Places in them that could not be read.
    pub corruptions: u64,
}

/// The figures of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series held.
    pub series: usize,
    /// Chunks held, open ones included.
    pub chunks: usize,
    /// Samples held.
    pub samples: u64,
    /// Samples committed since the store was opened.
    pub samples_appended: u64,
    /// Samples refused since then.
    pub refused: Refused,
    /// The log; `None` without a disk.
    pub wal: Option<WalStats>,
    /// The blocks.
    pub blocks: BlockStats,
    /// Why commits are refused at the moment; `None` if they are not.
    pub read_only: Option<String>,
    /// Roughly the bytes of memory held.
    pub memory_bytes: usize,
    /// Pairs of label name and value in use.
    pub label_pairs: usize,
    /// The time of the oldest sample.
    pub min_time: Option<Timestamp>,
    /// The time of the newest sample.
    pub max_time: Option<Timestamp>,
}

/// Where the series come from: what to look at when their number explodes. Each list is the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Metric names by the number of their series.
    pub series_by_metric: Vec<(String, usize)>,
    /// Label names by the number of their values.
    pub values_by_label: Vec<(String, usize)>,
    /// Label names by the bytes of their values over all series.
    pub bytes_by_label: Vec<(String, usize)>,
    /// `name=value` by the number of series.
    pub series_by_pair: Vec<(String, usize)>,
}

impl Db {
    /// The figures of the store.
    ///
    /// # Cost
    /// A look at each series.
    pub fn stats(&self) -> Stats {
        let writer = self.writer();
        let wal = writer.wal.as_ref().map(|wal| {
            let (bytes, checkpoint_bytes) = wal.bytes();
            WalStats {
                bytes,
                checkpoint_bytes,
                segments: wal.segment_count(),
                records: wal.records,
                syncs: wal.syncs,
                failed_syncs: wal.failed_syncs,
                failed_writes: wal.failed_writes,
                corruptions: writer.damage,
                checkpoints: writer.checkpoints,
                failed_checkpoints: writer.failed_checkpoints,
            }
        });
        let read_only = writer
            .wal
            .as_ref()
            .and_then(|wal| wal.failure.as_ref())
            .map(|failure| failure.reason().to_owned());
        drop(writer);
        let head = self.head();
        let ranges = head.series.values().filter_map(|series| head.range(series));
        let of_blocks = head.blocks.live.iter().map(|block| {
            (Timestamp::from_millis(block.footer.min), Timestamp::from_millis(block.footer.max))
        });
        let (min_time, max_time) = ranges.chain(of_blocks).fold(
            (None, None),
            |(min, max): (Option<Timestamp>, _), (first, last)| {
                (Some(min.map_or(first, |min| min.min(first))), max.max(Some(last)))
            },
        );
        let series_bytes: usize = head.series.values().map(|series| series.memory_bytes()).sum();
        Stats {
            series: head.series.len(),
            chunks: head.chunks + head.series.values().filter(|series| series.open.is_some()).count(),
            samples: head.samples + head.blocks.samples(),
            blocks: BlockStats {
                count: head.blocks.live.len(),
                bytes: head.blocks.bytes(),
                corruptions: head.blocks.live.iter().map(|block| block.damage().len() as u64).sum(),
            },
            samples_appended: self.inner.appended.load(Relaxed),
            refused: self.inner.refused.read(),
            wal,
            read_only,
            memory_bytes: head.chunk_bytes
                + series_bytes
                + head.rows.memory_bytes()
                + head.postings.memory_bytes(),
            label_pairs: head.postings.pairs(),
            min_time,
            max_time,
        }
    }

    /// The `limit` largest entries of each list.
    ///
    /// # Cost
    /// A look at each pair of label name and value.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let head = self.head();
        let postings = &head.postings;
        let mut all = Cardinality::default();
        for name in postings.names() {
            let (mut values, mut bytes) = (0, 0);
            for (value, ids) in postings.values(name) {
                values += 1;
                bytes += value.len() * ids.len();
                all.series_by_pair.push((format!("{name}={value}"), ids.len()));
                if name == METRIC_NAME {
                    all.series_by_metric.push((value.to_owned(), ids.len()));
                }
            }
            all.values_by_label.push((name.to_owned(), values));
            all.bytes_by_label.push((name.to_owned(), bytes));
        }
        drop(head);
        let Cardinality { series_by_metric, values_by_label, bytes_by_label, series_by_pair } = &mut all;
        for list in [series_by_metric, values_by_label, bytes_by_label, series_by_pair] {
            list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            list.truncate(limit);
        }
        all
    }
}

/// Counts refusals without a lock.
#[derive(Debug, Default)]
pub(crate) struct RefusedCounters {
    out_of_order: AtomicU64,
    duplicate: AtomicU64,
    too_far_in_future: AtomicU64,
    too_many_series: AtomicU64,
    bad_labels: AtomicU64,
    unknown_series: AtomicU64,
}

impl RefusedCounters {
    pub fn count(&self, error: &Error) {
        let counter = match error.kind() {
            Kind::OutOfOrder { .. } => &self.out_of_order,
            Kind::Duplicate { .. } => &self.duplicate,
            Kind::TooFarInFuture { .. } => &self.too_far_in_future,
            Kind::TooManySeries { .. } => &self.too_many_series,
            Kind::BadLabels { .. } => &self.bad_labels,
            Kind::UnknownSeries { .. } => &self.unknown_series,
            _ => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn read(&self) -> Refused {
        Refused {
            out_of_order: self.out_of_order.load(Relaxed),
            duplicate: self.duplicate.load(Relaxed),
            too_far_in_future: self.too_far_in_future.load(Relaxed),
            too_many_series: self.too_many_series.load(Relaxed),
            bad_labels: self.bad_labels.load(Relaxed),
            unknown_series: self.unknown_series.load(Relaxed),
        }
    }
}
