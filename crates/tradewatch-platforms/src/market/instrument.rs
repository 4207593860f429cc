//! The instruments of the reference platforms.

use super::Decimal;
use serde::{Deserialize, Serialize};

/// What kind of thing is traded, in Alpaca's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetClass {
    /// US equities: whole shares or fractions, sessions, may be sold short.
    UsEquity,
    /// Crypto pairs: fractions, day and night, never short.
    Crypto,
}

/// One tradable thing.
#[derive(Debug, PartialEq, Eq)]
pub struct Instrument {
    /// As Alpaca writes it: `AAPL`, `BTC/USD`.
    pub symbol: &'static str,
    /// Full name. Synthetic prices are named so here, where every page and answer finds it.
    pub name: &'static str,
    /// Class.
    pub class: AssetClass,
    /// Listing exchange in Alpaca's words; empty for crypto.
    pub exchange: &'static str,
    /// The broker's id of the asset.
    pub asset_id: &'static str,
    /// Fractional digits of its prices.
    pub price_digits: u32,
    /// Fractional digits of its quantities.
    pub qty_digits: u32,
    /// Whether prices come from a model and not from a recording.
    pub synthetic: bool,
}

impl Instrument {
    /// Whether it trades in sessions; crypto does not.
    pub fn has_sessions(&self) -> bool {
        self.class == AssetClass::UsEquity
    }

    /// The smallest price step.
    pub fn tick(&self) -> Decimal {
        Decimal::from_scaled(1, self.price_digits)
    }
}

/// All of them, sorted by symbol.
pub const ALL: &[Instrument] = &[
    equity("AAPL", "Apple Inc. (synthetic prices)", "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415"),
    equity("AMZN", "Amazon.com Inc. (synthetic prices)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e01"),
    crypto("BTC/USD", "Bitcoin / US dollar (recorded)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e02"),
    crypto("ETH/USD", "Ethereum / US dollar (recorded)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e03"),
    equity("GOOGL", "Alphabet Inc. Class A (synthetic prices)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e04"),
    equity("MSFT", "Microsoft Corporation (synthetic prices)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e05"),
    equity("TSLA", "Tesla Inc. (synthetic prices)", "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e06"),
];

const fn equity(symbol: &'static str, name: &'static str, asset_id: &'static str) -> Instrument {
    Instrument {
        symbol,
        name,
        class: AssetClass::UsEquity,
        exchange: "NASDAQ",
        asset_id,
        price_digits: 2,
        qty_digits: 9,
        synthetic: true,
    }
}

const fn crypto(symbol: &'static str, name: &'static str, asset_id: &'static str) -> Instrument {
    Instrument {
        symbol,
        name,
        class: AssetClass::Crypto,
        exchange: "",
        asset_id,
        price_digits: 2,
        qty_digits: 9,
        synthetic: false,
    }
}

/// Finds an instrument by symbol or asset id; crypto also without its slash, as Alpaca's paths have it.
pub fn find(text: &str) -> Option<&'static Instrument> {
    ALL.iter().find(|instrument| {
        instrument.symbol == text
            || instrument.asset_id == text
            || instrument.symbol.split_once('/').is_some_and(|(base, quote)| {
                text.len() == base.len() + quote.len() && text.starts_with(base) && text.ends_with(quote)
            })
    })
}

/// An instrument as its symbol, for `#[serde(with = "…")]`.
pub mod by_symbol {
    use super::{Instrument, find};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the symbol.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        instrument: &&'static Instrument,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(instrument.symbol)
    }

    /// Finds the instrument of a symbol.
    ///
    /// # Errors
    /// If there is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static Instrument, D::Error> {
        let symbol = String::deserialize(deserializer)?;
        find(&symbol).ok_or_else(|| D::Error::custom(format!("unknown symbol `{symbol}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_are_sorted_and_found() {
        assert!(ALL.windows(2).all(|pair| pair[0].symbol < pair[1].symbol));
        assert_eq!(find("BTCUSD").map(|i| i.symbol), Some("BTC/USD"));
        assert_eq!(find("BTC/USD"), find("5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1e02"));
        assert_eq!(find("AAPL").map(|i| i.has_sessions()), Some(true));
        assert_eq!(find("GME"), None);
    }
}
