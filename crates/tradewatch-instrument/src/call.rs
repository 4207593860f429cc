//! What the wrappers of client libraries have in common: a time limit, and the error of having passed it.

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
pub(crate) async fn within<T, E>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, CallError<E>> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(CallError::Failed),
        Err(_) => Err(CallError::Timeout(limit)),
    }
}
