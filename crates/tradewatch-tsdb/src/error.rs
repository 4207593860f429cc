//! The one error of the crate: opaque, with predicates.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::Timestamp;

/// Why something was refused or failed. Ask with the predicates; print it for people.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    BadRegex { pattern: String, reason: String },
    OutOfOrder { ts: Timestamp, last: Timestamp },
    Duplicate { ts: Timestamp },
    TooFarInFuture { ts: Timestamp, now: Timestamp },
    TooManySeries { max: usize },
    BadLabels { labels: String, reason: String },
    UnknownSeries { id: u32 },
    ReadOnly { reason: String },
    TooLarge { reason: String },
    Locked { place: String, holder: String },
    NotEmpty { place: String },
    NewerFormat { file: String, found: u32, known: u32 },
    Closed,
    Io { what: String },
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Error {
        Error { kind, source: None }
    }

    /// A failed operation on the disk; `what` says what was tried on which file.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error { kind: Kind::Io { what: what.into() }, source: Some(Box::new(source)) }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The pattern of a regular expression cannot be compiled.
    pub fn is_bad_regex(&self) -> bool {
        matches!(self.kind, Kind::BadRegex { .. })
    }

    /// The sample is older than the newest one of its series.
    pub fn is_out_of_order(&self) -> bool {
        matches!(self.kind, Kind::OutOfOrder { .. })
    }

    /// The series has another value at the very same time.
    pub fn is_duplicate(&self) -> bool {
        matches!(self.kind, Kind::Duplicate { .. })
    }

    /// The sample lies further in the future than [`Options::future_max`](crate::Options::future_max) allows.
    pub fn is_too_far_in_future(&self) -> bool {
        matches!(self.kind, Kind::TooFarInFuture { .. })
    }

    /// The store holds [`Options::series_max`](crate::Options::series_max) series and takes no new one.
    pub fn is_too_many_series(&self) -> bool {
        matches!(self.kind, Kind::TooManySeries { .. })
    }

    /// The label set has an empty name, too many labels or too many bytes.
    pub fn is_bad_labels(&self) -> bool {
        matches!(self.kind, Kind::BadLabels { .. })
    }

    /// The series left the store after its last sample passed the retention: ask for its id again.
    pub fn is_unknown_series(&self) -> bool {
        matches!(self.kind, Kind::UnknownSeries { .. })
    }

    /// The disk does not take writes at the moment: reads go on, nothing of this commit was kept.
    pub fn is_read_only(&self) -> bool {
        matches!(self.kind, Kind::ReadOnly { .. })
    }

    /// A single commit exceeds what a record can hold: commit in smaller batches.
    pub fn is_too_large(&self) -> bool {
        matches!(self.kind, Kind::TooLarge { .. })
    }

    /// Another process holds the directory.
    pub fn is_locked(&self) -> bool {
        matches!(self.kind, Kind::Locked { .. })
    }

    /// There is a store already where one was to be put.
    pub fn is_not_empty(&self) -> bool {
        matches!(self.kind, Kind::NotEmpty { .. })
    }

    /// The files were written by a newer tradewatch.
    pub fn is_newer_format(&self) -> bool {
        matches!(self.kind, Kind::NewerFormat { .. })
    }

    /// The store was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind, Kind::Closed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::BadRegex { pattern, reason } => write!(f, "bad regular expression {pattern:?}: {reason}"),
            Kind::OutOfOrder { ts, last } => {
                write!(f, "out of order: sample at {ts}, but the series already has one at {last}")
            }
            Kind::Duplicate { ts } => write!(f, "duplicate: the series has another value at {ts}"),
            Kind::TooFarInFuture { ts, now } => {
                write!(f, "too far in the future: sample at {ts}, but it is {now}")
            }
            Kind::TooManySeries { max } => {
                write!(f, "too many series: the store holds {max}, its limit, and takes no new one")
            }
            Kind::BadLabels { labels, reason } => write!(f, "bad label set {labels}: {reason}"),
            Kind::UnknownSeries { id } => write!(f, "series {id} is not in the store any more"),
            Kind::ReadOnly { reason } => write!(f, "store is read-only: {reason}"),
            Kind::TooLarge { reason } => f.write_str(reason),
            Kind::Locked { place, holder } => {
                write!(f, "data directory {place} is in use by {holder}; stop it or choose another directory")
            }
            Kind::NotEmpty { place } => {
                write!(f, "{place} holds a store already; restore into an empty directory")
            }
            Kind::NewerFormat { file, found, known } => write!(
                f,
                "{file}: format version {found} is newer than {known}, the newest that this tradewatch reads; use a newer one"
            ),
            Kind::Closed => f.write_str("the store is closed"),
            Kind::Io { what } => match &self.source {
                Some(source) => write!(f, "cannot {what}: {source}"),
                None => write!(f, "cannot {what}"),
            },
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
