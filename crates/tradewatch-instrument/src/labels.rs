//! The vocabularies, and the labels that several families share.

use tradewatch_metrics::{Label, Refusals, open_label};

/// By which names metrics go. Chosen once, where they are registered; what is measured is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// The names of the Prometheus world, and of the platforms' documents:
    /// `http_requests_total{handler,method,status}`, `db_query_duration_seconds{service_name,query_type}`.
    Prometheus,
    /// OpenTelemetry's semantic conventions as Prometheus exposes them: `http.server.request.duration` in `s` is
    /// `http_server_request_duration_seconds`, `http.route` is `http_route`.
    OpenTelemetry,
}

impl Vocabulary {
    /// The vocabulary of this name: `prometheus` or `opentelemetry`.
    pub fn parse(name: &str) -> Option<Vocabulary> {
        match name {
            "prometheus" => Some(Vocabulary::Prometheus),
            "opentelemetry" => Some(Vocabulary::OpenTelemetry),
            _ => None,
        }
    }
}

/// A label that may be missing: its empty value is, to Prometheus and OpenTelemetry alike, no label at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional<L>(pub Option<L>);

impl<L: Label> Label for Optional<L> {
    const NAME: &'static str = L::NAME;
    const CARDINALITY: usize = L::CARDINALITY + 1;
    const BUDGET: Option<usize> = L::BUDGET;
    fn index(&self) -> usize {
        self.0.as_ref().map_or(0, |label| label.index() + 1)
    }
    fn value_at(index: usize) -> Option<&'static str> {
        match index.checked_sub(1) {
            None => Some(""),
            Some(index) => L::value_at(index),
        }
    }
    fn refusals() -> Option<&'static Refusals> {
        L::refusals()
    }
}

open_label!(
    /// The service that did it.
    pub struct ServiceName("service_name"), budget = 16
);
open_label!(
    /// What kind of error: a word of a small set, never a message.
    pub struct ErrorType("error_type"), budget = 32
);

/// A call that was dropped before it ended: a time-out around it, a lost client, a shutdown.
pub const CANCELLED: &str = "cancelled";
/// A call that panicked.
pub const PANICKED: &str = "panic";
/// A call that took longer than it was given.
pub const TIMEOUT: &str = "timeout";
/// A guard that was dropped without a word: after `?`, or with the future that held it.
pub const UNFINISHED: &str = "unfinished";

/// What kind of error an error is, for the label `error_type`.
///
/// A word of a small set: `timeout`, `connection`, `unique_violation`. Never a message, a name or a number, since each
/// becomes a series; past 32 words the rest is `__overflow__`.
///
/// ```
/// use tradewatch_instrument::ErrorKind;
/// enum BrokerError { RateLimited, Refused(String) }
/// impl ErrorKind for BrokerError {
///     fn error_kind(&self) -> &'static str {
///         match self { BrokerError::RateLimited => "rate_limit", BrokerError::Refused(_) => "refused" }
///     }
/// }
/// assert_eq!(BrokerError::Refused("no margin".into()).error_kind(), "refused");
/// ```
pub trait ErrorKind {
    /// The word.
    fn error_kind(&self) -> &'static str;
}

impl ErrorKind for std::io::Error {
    fn error_kind(&self) -> &'static str {
        use std::io::ErrorKind as Io;
        match self.kind() {
            Io::TimedOut => TIMEOUT,
            Io::ConnectionRefused => "connection_refused",
            Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::NotConnected
            | Io::UnexpectedEof => "connection",
            Io::NotFound => "not_found",
            Io::PermissionDenied => "permission_denied",
            _ => "io",
        }
    }
}

macro_rules! plain_errors {
    ($($error:ty),+) => {$(
        /// Always `error`: a text says nothing about its kind.
        impl ErrorKind for $error {
            fn error_kind(&self) -> &'static str {
                "error"
            }
        }
    )+};
}
plain_errors!(
    String,
    &str,
    std::fmt::Error,
    Box<dyn std::error::Error>,
    Box<dyn std::error::Error + Send>,
    Box<dyn std::error::Error + Send + Sync>
);

#[cfg(feature = "tokio")]
impl ErrorKind for tokio::time::error::Elapsed {
    fn error_kind(&self) -> &'static str {
        TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_is_no_label() {
        let none = Optional::<ErrorType>(None);
        assert_eq!((none.index(), Optional::<ErrorType>::value_at(0)), (0, Some("")));
        let some = Optional(Some(ErrorType::intern(TIMEOUT)));
        assert_eq!(Optional::<ErrorType>::value_at(some.index()), Some(TIMEOUT));
    }

    #[test]
    fn vocabularies_have_names() {
        assert_eq!(Vocabulary::parse("opentelemetry"), Some(Vocabulary::OpenTelemetry));
        assert_eq!(Vocabulary::parse("prometheus"), Some(Vocabulary::Prometheus));
        assert_eq!(Vocabulary::parse("Prometheus 2"), None);
    }
}
