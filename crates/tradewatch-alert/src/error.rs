//! What can be wrong: a place in a configuration file, or a request that cannot be met.

use std::fmt;

/// Something wrong at one place of a configuration file.
///
/// One file can hold many; what is right beside them still works. `Display` gives one line:
/// place, what is wrong with the value met, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the caller named it.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, with the offending value.
    pub message: String,
    /// What to do about it; empty when the message already says so.
    pub fix: String,
    /// A warning: the thing works, but not as its writer may think.
    pub warning: bool,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path, self.line, self.column)?;
        if self.warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A request that the notifier cannot meet.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

#[derive(Debug, PartialEq, Eq)]
enum ErrorKind {
    Invalid,
    NotFound,
    Full,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Invalid, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::NotFound, message: message.into() }
    }

    pub(crate) fn full(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Full, message: message.into() }
    }

    /// The request itself is wrong (HTTP 400).
    pub fn is_invalid(&self) -> bool {
        self.kind == ErrorKind::Invalid
    }

    /// It names something that does not exist (HTTP 404).
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// A bound is reached (HTTP 429).
    pub fn is_full(&self) -> bool {
        self.kind == ErrorKind::Full
    }
}
