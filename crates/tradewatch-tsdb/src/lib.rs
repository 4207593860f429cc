//! Label sets, samples, a head in memory and a log on disk.
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

mod db;
mod error;
mod head;
pub mod histogram;
mod labels;
mod matcher;
mod metadata;
mod postings;
mod regex;
mod sample;
mod time;

pub use db::{Appender, Commit, Db, LABEL_BYTES_MAX, LABELS_PER_SERIES_MAX, Options, SeriesId};
pub use error::Error;
pub use histogram::Histogram;
pub use labels::{Iter as LabelsIter, Labels, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricKind};
pub use regex::{REGEX_BYTES_MAX, Regex};
pub use sample::{STALE_NAN, Sample, Series, Value, is_stale};
pub use time::Timestamp;
