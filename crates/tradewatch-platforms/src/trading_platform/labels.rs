//! Labels that the platform's services share.

use tradewatch_metrics::{Label, open_label};

open_label!(
    /// A traded symbol.
    pub struct Symbol("symbol"), budget = 64
);

/// How something ended.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should.
    Success,
    /// It did not.
    Error,
}

impl Status {
    /// The status of a result.
    pub fn of<T, E>(result: &Result<T, E>) -> Status {
        Status::when(result.is_ok())
    }

    /// Success where `success` holds.
    pub fn when(success: bool) -> Status {
        if success { Status::Success } else { Status::Error }
    }
}
