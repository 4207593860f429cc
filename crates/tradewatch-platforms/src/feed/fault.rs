//! Faults of the market feed.

use super::tick::Channel;
use serde::{Deserialize, Serialize};

/// What can go wrong between venue and subscriber; posted to `/control/faults` with `for_seconds`.
///
/// Connections that authenticated with an exempt key (the paper broker's) are spared: a broker does not get its
/// prices through its customers' feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Every connection breaks at once, without a closing handshake. New ones are accepted.
    Disconnect {},
    /// New connections get HTTP 503; with `disconnect` the feed is lost for a while.
    Refuse {},
    /// Connections stand, pings are answered, and no data comes.
    Silence {
        /// Only this symbol; all without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symbol: Option<String>,
    },
    /// The next messages of a symbol are lost: their numbers are missing.
    Gap {
        /// The symbol.
        symbol: String,
        /// How many are still to be lost.
        messages: u32,
        /// Of which kind; quotes without.
        #[serde(default = "quotes")]
        channel: Channel,
    },
    /// Everything arrives late.
    Delay {
        /// By how much.
        milliseconds: u32,
    },
    /// The venue's clock is wrong: stamps are moved, arrival is not.
    Drift {
        /// By how much; negative is behind.
        milliseconds: i64,
    },
}

fn quotes() -> Channel {
    Channel::Quotes
}
