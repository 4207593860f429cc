//! A market event inside the feed, before it is given a number and sent.

use super::wire::{Bar, Message, Quote, Stamp, Trade};
use crate::market::{AssetClass, Instrument};
use crate::runtime::Nanos;

/// A market event.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Of what.
    pub instrument: &'static Instrument,
    /// When the feed sends it.
    pub due: Nanos,
    /// When it happened at the venue, by the venue's clock.
    pub at: Nanos,
    /// What happened.
    pub body: Body,
}

/// The content of a market event.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Best bid and offer.
    Quote {
        /// Bid price.
        bid: f64,
        /// Bid size.
        bid_size: f64,
        /// Offer price.
        ask: f64,
        /// Offer size.
        ask_size: f64,
    },
    /// A trade.
    Trade {
        /// Consecutive per symbol.
        id: i64,
        /// Price.
        price: f64,
        /// Size.
        size: f64,
        /// Whether the buyer took.
        taker_buys: bool,
    },
    /// A minute.
    Bar {
        /// First price.
        open: f64,
        /// Highest.
        high: f64,
        /// Lowest.
        low: f64,
        /// Last.
        close: f64,
        /// Quantity.
        volume: f64,
        /// Number of trades.
        trades: u64,
        /// Average weighted by size.
        vwap: f64,
    },
}

/// What one can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Best bid and offer.
    Quotes,
    /// Trades.
    Trades,
    /// Minute bars.
    Bars,
}

impl Tick {
    /// The channel it belongs to.
    pub fn channel(&self) -> Channel {
        match self.body {
            Body::Quote { .. } => Channel::Quotes,
            Body::Trade { .. } => Channel::Trades,
            Body::Bar { .. } => Channel::Bars,
        }
    }

    /// The message to send, its stamp moved by `drift`.
    pub fn message(&self, seq: Option<u64>, drift: Nanos) -> Message {
        let symbol = self.instrument.symbol.into();
        let at = Stamp(self.at.saturating_add(drift));
        let stock = self.instrument.class == AssetClass::UsEquity;
        let text = |value: &'static str| stock.then(|| value.into());
        match self.body {
            Body::Quote { bid, bid_size, ask, ask_size } => Message::Quote(Quote {
                symbol,
                bid_exchange: text("V"),
                bid,
                bid_size,
                ask_exchange: text("V"),
                ask,
                ask_size,
                at,
                conditions: text("R").map(|condition| vec![condition]),
                tape: text("C"),
                seq,
            }),
            Body::Trade { id, price, size, taker_buys } => Message::Trade(Trade {
                symbol,
                id,
                exchange: text("V"),
                price,
                size,
                at,
                taker: (!stock).then(|| if taker_buys { "B".into() } else { "S".into() }),
                conditions: text("@").map(|condition| vec![condition]),
                tape: text("C"),
                seq,
            }),
            Body::Bar { open, high, low, close, volume, trades, vwap } => {
                Message::Bar(Bar { symbol, open, high, low, close, volume, at, trades, vwap, seq })
            }
        }
    }
}
