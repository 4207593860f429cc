//! What the service knows of each symbol: newest price, age, gaps. No I/O, no clock.

use super::offset::ClockOffset;
use crate::feed::wire::{Message, Quote};
use crate::market::instrument;
use crate::runtime::Nanos;
use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::prices::Price;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Symbols that are followed at once; a subscription beyond is refused.
pub const SYMBOLS_MAX: usize = 64;

/// Which stream a symbol comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Venue {
    /// Day and night.
    Crypto,
    /// In sessions.
    Stocks,
}

impl Venue {
    /// Both, in order of their index.
    pub const ALL: [Venue; 2] = [Venue::Crypto, Venue::Stocks];

    /// Where `symbol` trades: Alpaca's crypto pairs have a slash.
    pub fn of(symbol: &str) -> Venue {
        if symbol.contains('/') { Venue::Crypto } else { Venue::Stocks }
    }

    /// For messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Venue::Crypto => "crypto",
            Venue::Stocks => "stocks",
        }
    }
}

/// What the feed sends of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Best bid and ask.
    Quote,
    /// A trade.
    Trade,
    /// One minute.
    Bar,
}

/// Why a symbol is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By configuration or by a call: stays until a call ends it.
    Asked,
    /// Since a position is held: ends with the position.
    Held,
}

/// One symbol.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Why it is subscribed.
    pub reason: Reason,
    /// Its newest bid and ask.
    pub price: Option<Price>,
    /// Our time of its newest message, or of its subscription.
    pub fresh_at: Nanos,
    /// Sequence number of its newest message, by kind.
    sequences: [Option<u64>; 3],
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied<'m> {
    /// Of which symbol.
    pub symbol: &'m str,
    /// What.
    pub kind: Kind,
    /// Messages lost just before it.
    pub lost: u64,
    /// The middle of bid and ask, if it was a quote.
    pub mid: Option<Money>,
}

/// All symbols.
#[derive(Debug)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
    offsets: [ClockOffset; 2],
    apply_offset: bool,
    dirty: BTreeSet<String>,
}

impl Book {
    /// An empty book; `apply_offset` decides whether venues' stamps are corrected by their clocks' offsets.
    pub fn new(apply_offset: bool) -> Book {
        Book { entries: BTreeMap::new(), offsets: Default::default(), apply_offset, dirty: BTreeSet::new() }
    }

    /// Follows `symbol` from `now` on. What was asked for stays asked for.
    pub fn add(&mut self, symbol: &str, reason: Reason, now: Nanos) {
        let entry = self.entries.entry(symbol.to_owned());
        let entry = entry.or_insert(Entry { reason, price: None, fresh_at: now, sequences: [None; 3] });
        if reason == Reason::Asked {
            entry.reason = Reason::Asked;
        }
    }

    /// Forgets `symbol`. Returns whether it was there.
    pub fn remove(&mut self, symbol: &str) -> bool {
        self.dirty.remove(symbol);
        self.entries.remove(symbol).is_some()
    }

    /// The symbols and what is known of them, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(symbol, entry)| (symbol.as_str(), entry))
    }

    /// One symbol.
    pub fn get(&self, symbol: &str) -> Option<&Entry> {
        self.entries.get(symbol)
    }

    /// How many symbols are subscribed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no symbol is subscribed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Applies one message of `venue`, received at `received`; `None` if its symbol is not subscribed.
    pub fn apply<'m>(&mut self, venue: Venue, message: &'m Message, received: Nanos) -> Option<Applied<'m>> {
        let (symbol, kind, stamp, sequence) = match message {
            Message::Quote(quote) => (&quote.symbol, Kind::Quote, quote.at, quote.seq),
            Message::Trade(trade) => (&trade.symbol, Kind::Trade, trade.at, trade.seq),
            Message::Bar(bar) => (&bar.symbol, Kind::Bar, bar.at, bar.seq),
            Message::Success { .. } | Message::Error { .. } | Message::Subscription(_) => return None,
        };
        let entry = self.entries.get_mut(symbol.as_ref())?;
        let last = &mut entry.sequences[kind as usize];
        let lost = match (*last, sequence) {
            (Some(last), Some(next)) if next > last => next - last - 1,
            _ => 0,
        };
        *last = sequence.or(*last);
        let mut mid = None;
        // Bars are stamped with the beginning of their minute: they say nothing of the journey.
        if kind != Kind::Bar {
            let offset = &mut self.offsets[venue as usize];
            offset.observe(stamp.0, received);
            let at = if self.apply_offset { stamp.0 + offset.nanos() } else { stamp.0 };
            entry.fresh_at = entry.fresh_at.max(at);
            if let Message::Quote(quote) = message
                && let Some(price) = price_of(quote, at)
            {
                mid = Some(price.mid());
                entry.price = Some(price);
                if !self.dirty.contains(symbol.as_ref()) {
                    self.dirty.insert(symbol.to_string());
                }
            }
        }
        Some(Applied { symbol: symbol.as_ref(), kind, lost, mid })
    }

    /// A new connection begins new sequences: what was missed meanwhile is an outage, not a gap.
    pub fn reconnected(&mut self, venue: Venue) {
        for (symbol, entry) in &mut self.entries {
            if Venue::of(symbol) == venue {
                entry.sequences = [None; 3];
            }
        }
    }

    /// What our clock shows more than the venue's.
    pub fn offset(&self, venue: Venue) -> ClockOffset {
        self.offsets[venue as usize]
    }

    /// Age of a symbol's newest message at `now`.
    pub fn age(entry: &Entry, now: Nanos) -> Duration {
        Duration::from_nanos(now.saturating_sub(entry.fresh_at).max(0) as u64)
    }

    /// Prices that changed since the last call. At most one per symbol: the newest counts.
    pub fn take_dirty(&mut self) -> Vec<Price> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.iter().filter_map(|symbol| self.entries.get(symbol)?.price.clone()).collect()
    }

    /// Prices that could not be stored: stored with the next, unless newer ones come first.
    pub fn put_back(&mut self, prices: Vec<Price>) {
        for price in prices {
            if self.entries.contains_key(&price.symbol) {
                self.dirty.insert(price.symbol);
            }
        }
    }

    /// What must change so that every symbol of `held` and nothing that was only held before is followed.
    pub fn plan(&self, held: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let more = held.iter().filter(|symbol| !self.entries.contains_key(*symbol)).cloned();
        let less = self
            .entries
            .iter()
            .filter(|(symbol, entry)| entry.reason == Reason::Held && !held.contains(*symbol));
        (more.collect(), less.map(|(symbol, _)| symbol.clone()).collect())
    }
}

/// A quote as the platform keeps it; `None` if its numbers are none or cross nothing (a zero price).
fn price_of(quote: &Quote, at: Nanos) -> Option<Price> {
    let price = Price {
        symbol: quote.symbol.to_string(),
        bid: Money::from_f64(quote.bid)?,
        bid_size: Qty::from_f64(quote.bid_size)?,
        ask: Money::from_f64(quote.ask)?,
        ask_size: Qty::from_f64(quote.ask_size)?,
        venue_at: quote.at.0,
        at,
        synthetic: instrument::find(&quote.symbol).is_some_and(|instrument| instrument.synthetic),
    };
    (price.bid > Money::ZERO && price.ask > Money::ZERO).then_some(price)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::wire::{Stamp, Trade};

    const MS: Nanos = 1_000_000;

    fn quote(symbol: &'static str, at: Nanos, seq: u64, bid: f64) -> Message {
        Message::Quote(Quote {
            symbol: symbol.into(),
            bid_exchange: None,
            bid,
            bid_size: 1.5,
            ask_exchange: None,
            ask: bid + 0.02,
            ask_size: 2.0,
            at: Stamp(at),
            conditions: None,
            tape: None,
            seq: Some(seq),
        })
    }

    fn trade(at: Nanos, seq: u64) -> Message {
        Message::Trade(Trade {
            symbol: "BTC/USD".into(),
            id: 1,
            exchange: None,
            price: 1.0,
            size: 1.0,
            at: Stamp(at),
            taker: None,
            conditions: None,
            tape: None,
            seq: Some(seq),
        })
    }

    fn lost(book: &mut Book, message: Message) -> u64 {
        book.apply(Venue::Crypto, &message, 0).expect("subscribed").lost
    }

    #[test]
    fn gaps_are_counted_per_kind_and_not_across_connections() {
        let mut book = Book::new(true);
        book.add("BTC/USD", Reason::Asked, 0);
        assert_eq!(lost(&mut book, quote("BTC/USD", 0, 7, 1.0)), 0, "the first is the first");
        assert_eq!(lost(&mut book, trade(0, 1)), 0, "trades count for themselves");
        assert_eq!(lost(&mut book, quote("BTC/USD", 0, 8, 1.0)), 0);
        assert_eq!(lost(&mut book, quote("BTC/USD", 0, 12, 1.0)), 3);
        assert_eq!(lost(&mut book, quote("BTC/USD", 0, 1, 1.0)), 0, "the feed began anew");
        book.reconnected(Venue::Crypto);
        assert_eq!(lost(&mut book, quote("BTC/USD", 0, 100, 1.0)), 0);
        assert_eq!(book.apply(Venue::Crypto, &quote("ETH/USD", 0, 1, 1.0), 0), None, "not subscribed");
    }

    #[test]
    fn ages_use_the_corrected_stamp() {
        for (apply, age) in [(true, 500), (false, 0)] {
            let mut book = Book::new(apply);
            book.add("BTC/USD", Reason::Asked, -5_000 * MS);
            // Stamped 1.272 s ahead of us.
            book.apply(Venue::Crypto, &quote("BTC/USD", 1_272 * MS, 1, 1.0), 0);
            let entry = book.get("BTC/USD").expect("added");
            assert_eq!(Book::age(entry, 500 * MS).as_millis(), age, "apply {apply}");
        }
    }

    #[test]
    fn only_the_newest_price_is_stored() {
        let mut book = Book::new(true);
        book.add("AAPL", Reason::Asked, 0);
        for n in 1..=3 {
            book.apply(Venue::Stocks, &quote("AAPL", n, n as u64, 100.0 + n as f64), n);
        }
        let dirty = book.take_dirty();
        assert_eq!(dirty.iter().map(|p| p.bid.to_string()).collect::<Vec<_>>(), ["103"]);
        assert_eq!(dirty[0].mid().to_string(), "103.01");
        assert!(dirty[0].synthetic && book.take_dirty().is_empty());
        book.put_back(dirty);
        assert_eq!(book.take_dirty().len(), 1);
        book.apply(Venue::Stocks, &quote("AAPL", 9, 9, f64::NAN), 9);
        assert!(book.take_dirty().is_empty(), "no price in it");
    }

    #[test]
    fn a_held_symbol_goes_with_its_position_and_an_asked_one_stays() {
        let mut book = Book::new(true);
        book.add("AAPL", Reason::Asked, 0);
        book.add("TSLA", Reason::Held, 0);
        book.add("AAPL", Reason::Held, 0);
        let held = BTreeSet::from(["MSFT".to_owned()]);
        assert_eq!(book.plan(&held), (vec!["MSFT".to_owned()], vec!["TSLA".to_owned()]));
        book.add("TSLA", Reason::Asked, 0);
        assert_eq!(book.plan(&BTreeSet::new()), (vec![], vec![]));
    }
}
