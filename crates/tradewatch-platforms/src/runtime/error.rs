//! Why a call over the network failed.

use std::time::Duration;

/// What went wrong between two services: where, with what, and how.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {kind}")]
pub struct Error {
    what: String,
    kind: Kind,
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("cannot listen: {0}")]
    Bind(std::io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("connection lost: {0}")]
    Lost(String),
    #[error("answer is not what was asked for: {0}")]
    Decode(String),
    #[error("answer is longer than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Nobody listens there, or the network refused.
    pub fn is_connect(&self) -> bool {
        matches!(self.kind, Kind::Connect(_))
    }

    /// The address to listen on is taken or not ours.
    pub fn is_bind(&self) -> bool {
        matches!(self.kind, Kind::Bind(_))
    }

    /// The peer did not answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout(_))
    }

    /// The connection broke after it stood: the request may have been carried out.
    pub fn is_lost(&self) -> bool {
        matches!(self.kind, Kind::Lost(_))
    }

    /// The peer answered something that is not the expected form.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind, Kind::Decode(_) | Kind::TooLarge(_))
    }

    pub(crate) fn connect(what: impl Into<String>, source: std::io::Error) -> Error {
        Error { what: what.into(), kind: Kind::Connect(source) }
    }

    pub(crate) fn bind(what: impl Into<String>, source: std::io::Error) -> Error {
        Error { what: what.into(), kind: Kind::Bind(source) }
    }

    pub(crate) fn timeout(what: impl Into<String>, after: Duration) -> Error {
        Error { what: what.into(), kind: Kind::Timeout(after) }
    }

    pub(crate) fn lost(what: impl Into<String>, why: impl std::fmt::Display) -> Error {
        Error { what: what.into(), kind: Kind::Lost(why.to_string()) }
    }

    pub(crate) fn decode(what: impl Into<String>, why: impl std::fmt::Display) -> Error {
        Error { what: what.into(), kind: Kind::Decode(why.to_string()) }
    }

    pub(crate) fn too_large(what: impl Into<String>, bytes_max: usize) -> Error {
        Error { what: what.into(), kind: Kind::TooLarge(bytes_max) }
    }

    pub(crate) fn usage(what: impl Into<String>, why: impl std::fmt::Display) -> Error {
        Error { what: what.into(), kind: Kind::Usage(why.to_string()) }
    }
}
