//! Label sets, samples, a head in memory, a log and blocks on disk.
//!
//! ```
//! use tradewatch_tsdb::{Db, Labels, Matcher, Timestamp};
//!
//! let db = Db::in_memory();
//! let mut appender = db.appender();
//! let up = appender.series(&Labels::from_pairs([("__name__", "up"), ("job", "orchestrator")]));
//! appender.append(up, Timestamp::from_millis(1_000), 1.0).unwrap();
//! appender.commit().unwrap();
//!
//! let found = db.select(&[Matcher::equal("job", "orchestrator")], Timestamp::MIN, Timestamp::MAX);
//! assert_eq!(found[0].samples[0].value.as_float(), Some(1.0));
//! ```
//!
//! Invariants: the store never reads the clock; it reaches the disk through [`Dir`] alone; a sample is
//! visible to queries only after the record that holds it was written; a commit is seen whole or not at all.

mod appender;
mod backup;
mod bits;
mod block;
mod block_writer;
mod blocks;
mod chunk;
mod column;
mod db;
mod dir;
mod error;
mod exemplars;
mod flush;
mod head;
pub mod histogram;
mod histogram_codec;
mod label_index;
mod labels;
mod log;
mod matcher;
mod mem_dir;
mod metadata;
mod postings;
mod read;
mod record;
mod regex;
mod rows;
mod sample;
mod series_map;
mod stats;
mod time;
mod upkeep;
mod wal;

pub use appender::{Appender, Commit, LABEL_BYTES_MAX, LABELS_PER_SERIES_MAX, SeriesId};
pub use backup::{Copied, Imported, restore};
pub use db::{Db, METADATA_FAMILIES_MAX, Options, Recovery};
pub use dir::{Dir, DirFile, FsDir, Lock, LockGuard, Mapped};
pub use error::Error;
pub use exemplars::{EXEMPLAR_CHARS_MAX, EXEMPLARS_MAX, Exemplar};
pub use histogram::Histogram;
pub use labels::{Iter as LabelsIter, Labels, METRIC_NAME};
pub use log::{Damage, FORMAT_VERSION};
pub use matcher::{MatchOp, Matcher};
pub use mem_dir::{Faults, MemDir};
pub use metadata::{Metadata, MetricKind};
pub use read::{Columns, Selection};
pub use regex::{REGEX_BYTES_MAX, Regex};
pub use sample::{STALE_NAN, Sample, Series, Value, is_stale};
pub use stats::{BlockStats, Cardinality, Refused, Stats, WalStats};
pub use time::Timestamp;
pub use upkeep::Compaction;
