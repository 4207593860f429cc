//! Faults of the paper broker.

use serde::{Deserialize, Serialize};

/// What can go wrong at a broker; posted to `/control/faults` with `for_seconds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// A share of orders is refused with 403.
    Reject {
        /// Between 0 and 1.
        share: f64,
    },
    /// A share of all requests is answered with a server error.
    Error {
        /// Between 0 and 1.
        #[serde(default = "all")]
        share: f64,
        /// 500 to 599.
        #[serde(default = "internal")]
        status: u16,
    },
    /// Every request is answered with 429.
    Throttle {},
    /// Answers take longer; what was asked for is done nevertheless, even when the client has given up.
    Latency {
        /// By how much.
        milliseconds: u64,
        /// Share of requests, between 0 and 1.
        #[serde(default = "all")]
        share: f64,
    },
    /// Fills that happen (REST shows them) but are never told on the stream or by webhook.
    LostFill {
        /// How many fills are still to be lost.
        #[serde(default = "one")]
        fills: u32,
    },
    /// Every stream breaks at once; new ones are accepted.
    StreamDisconnect {},
    /// Every stream breaks, new ones are refused; REST goes on.
    StreamRefuse {},
    /// The broker is gone: every request is answered with 503, streams break and are refused.
    Refuse {},
}

fn all() -> f64 {
    1.0
}

fn internal() -> u16 {
    500
}

fn one() -> u32 {
    1
}

impl Fault {
    /// What is wrong with its figures, if anything.
    pub fn problem(&self) -> Option<String> {
        let share = match self {
            Fault::Reject { share } | Fault::Error { share, .. } | Fault::Latency { share, .. } => *share,
            _ => 0.0,
        };
        if !(0.0..=1.0).contains(&share) {
            return Some(format!("share {share} is not between 0 and 1"));
        }
        match self {
            Fault::Error { status, .. } if !(500..=599).contains(status) => {
                Some(format!("status {status} is not between 500 and 599"))
            }
            _ => None,
        }
    }
}
