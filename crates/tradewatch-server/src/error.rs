//! The one error of this crate: what was tried, what was met, in one line.

use std::fmt;

/// Why the monitor could not do what was asked.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    Start,
    Query,
    NotFound,
    Internal,
}

impl Error {
    /// A file or option is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error { kind: Kind::Config, message: message.into() }
    }

    /// The monitor cannot start: port taken, data directory locked.
    pub(crate) fn start(message: impl Into<String>) -> Error {
        Error { kind: Kind::Start, message: message.into() }
    }

    /// A query is wrong or too big.
    pub(crate) fn query(message: impl Into<String>) -> Error {
        Error { kind: Kind::Query, message: message.into() }
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error { kind: Kind::NotFound, message: message.into() }
    }

    /// The disk or the machine failed us.
    pub(crate) fn internal(message: impl Into<String>) -> Error {
        Error { kind: Kind::Internal, message: message.into() }
    }

    /// Whether a configuration or rule file is to blame.
    pub fn is_config(&self) -> bool {
        self.kind == Kind::Config
    }

    /// Whether the monitor could not start.
    pub fn is_start(&self) -> bool {
        self.kind == Kind::Start
    }

    /// Whether a query is to blame.
    pub fn is_query(&self) -> bool {
        self.kind == Kind::Query
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
