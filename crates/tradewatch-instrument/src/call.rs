//! What the wrappers of client libraries have in common: a time limit, and what a statement is.

use std::fmt;
use std::time::Duration;

use crate::labels::{ErrorKind, TIMEOUT};

/// Why a call of a wrapped client failed.
#[derive(Debug)]
pub enum CallError<E> {
    /// There was no answer within this time. What was asked may be done all the same.
    Timeout(Duration),
    /// What the client says.
    Failed(E),
}

impl<E> CallError<E> {
    /// Whether there was no answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, CallError::Timeout(_))
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Timeout(limit) => write!(f, "no answer within {limit:?}"),
            CallError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Timeout(_) => None,
            CallError::Failed(error) => Some(error),
        }
    }
}

impl<E: ErrorKind> ErrorKind for CallError<E> {
    fn error_kind(&self) -> &'static str {
        match self {
            CallError::Timeout(_) => TIMEOUT,
            CallError::Failed(error) => error.error_kind(),
        }
    }
}

/// Runs `work` for at most `limit`.
#[cfg(feature = "tokio")]
pub(crate) async fn within<T, E>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, CallError<E>> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(CallError::Failed),
        Err(_) => Err(CallError::Timeout(limit)),
    }
}

/// What a statement does, by its first word; `other` for what is none of these.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn kind_of_statement(sql: &str) -> &'static str {
    const KINDS: [&str; 18] = [
        "select",
        "insert",
        "update",
        "delete",
        "with",
        "begin",
        "commit",
        "rollback",
        "savepoint",
        "create",
        "alter",
        "drop",
        "truncate",
        "copy",
        "set",
        "listen",
        "vacuum",
        "pragma",
    ];
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(word)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_what_their_first_word_says() {
        for (sql, kind) in [
            ("SELECT 1", "select"),
            ("  \n(select 1)", "select"),
            ("-- a comment\n  Insert into t values (1)", "insert"),
            ("insert/* now */into t", "insert"),
            ("explain select 1", "other"),
            ("-- nothing", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of_statement(sql), kind, "{sql}");
        }
    }
}
