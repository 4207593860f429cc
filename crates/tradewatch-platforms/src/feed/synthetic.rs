//! Synthetic equities: a seeded model, since no redistributable recording of US equities was found.
//!
//! The mid price is a random walk in its logarithm with a weak pull to an anchor, so that a simulated year does
//! not wander off; quotes arrive at random between one and ten a second; sizes are round lots with odd lots among
//! them, small enough that an order sometimes finds too little. Nothing happens outside sessions.

use super::tick::{Body, Tick};
use crate::market::{Instrument, MarketClock};
use crate::runtime::clock::{MILLISECOND, SECOND};
use crate::runtime::{Nanos, Rng, Seed};

/// Shortest and longest time between two quotes of one symbol: one to ten a second.
const INTERVAL: (f64, f64) = (0.1, 1.0);
/// Seconds of trading in a year.
const YEAR_SECONDS: f64 = 252.0 * 23_400.0;
/// Share of quotes that are followed by a trade.
const TRADE_SHARE: f64 = 0.3;

/// Where a symbol begins and how restless it is: price in dollars, yearly volatility.
fn character(symbol: &str) -> (f64, f64) {
    match symbol {
        "AAPL" => (230.0, 0.26),
        "AMZN" => (205.0, 0.33),
        "GOOGL" => (175.0, 0.30),
        "MSFT" => (425.0, 0.24),
        "TSLA" => (250.0, 0.58),
        _ => (100.0, 0.30),
    }
}

/// One equity of the model.
#[derive(Debug)]
pub struct Synthetic {
    instrument: &'static Instrument,
    market: MarketClock,
    rng: Rng,
    anchor: f64,
    mid: f64,
    /// Standard deviation of the logarithm over one second.
    sigma: f64,
    interval_mean: f64,
    /// When the last quote was due.
    quoted: Nanos,
    quote_due: Nanos,
    trade: Option<Tick>,
    trade_id: i64,
}

impl Synthetic {
    /// The model of `instrument` from `start` on, about `quotes_per_second` quotes a second in sessions;
    /// `volatility` scales its restlessness (1 is that of the real share).
    pub fn new(
        instrument: &'static Instrument,
        market: MarketClock,
        seed: Seed,
        start: Nanos,
        quotes_per_second: f64,
        volatility: f64,
    ) -> Synthetic {
        let (price, yearly) = character(instrument.symbol);
        let mut rng = seed.stream(&format!("feed/{}", instrument.symbol));
        let begin = if market.is_open(start) { start } else { market.next_open(start) };
        let quote_due = begin + (rng.unit() * 0.5 * SECOND as f64) as Nanos;
        Synthetic {
            instrument,
            market,
            anchor: price,
            mid: price * (0.005 * rng.normal()).exp(),
            sigma: yearly / YEAR_SECONDS.sqrt() * volatility.clamp(0.0, 100.0),
            interval_mean: 1.0 / quotes_per_second.clamp(1.0, 10.0),
            quoted: quote_due,
            quote_due,
            trade: None,
            trade_id: 1 + rng.below(1 << 40) as i64,
            rng,
        }
    }

    /// When the next message is due.
    pub fn due(&self) -> Nanos {
        self.trade.as_ref().map_or(self.quote_due, |trade| trade.due.min(self.quote_due))
    }

    /// The next message, and on to the one after it.
    pub fn take(&mut self) -> Tick {
        match self.trade.take_if(|trade| trade.due <= self.quote_due) {
            Some(trade) => trade,
            None => self.take_quote(),
        }
    }

    fn take_quote(&mut self) -> Tick {
        let due = self.quote_due;
        let seconds = (due - self.quoted) as f64 / SECOND as f64;
        self.walk(seconds);
        let half_spread = 0.005 * (1.0 + self.rng.below(3) as f64);
        let bid = ((self.mid - half_spread) * 100.0).floor() / 100.0;
        let ask = (((self.mid + half_spread) * 100.0).ceil() / 100.0).max(bid + 0.01);
        let ask = (ask * 100.0).round() / 100.0;
        let (bid_size, ask_size) = (self.size(), self.size());
        // From the venue to us in one to five milliseconds.
        let at = due - MILLISECOND - self.rng.below(4 * MILLISECOND as u64) as Nanos;
        self.plan_trade(due, (bid, bid_size), (ask, ask_size));
        self.quoted = due;
        self.quote_due = self.next_quote(due);
        Tick { instrument: self.instrument, due, at, body: Body::Quote { bid, bid_size, ask, ask_size } }
    }

    fn walk(&mut self, seconds: f64) {
        let pull = (self.anchor / self.mid).ln() * (1.0 - (-seconds / 50_000.0).exp());
        let moved = self.mid * (self.sigma * seconds.sqrt() * self.rng.normal() + pull).exp();
        self.mid = moved.clamp(self.anchor / 10.0, self.anchor * 10.0);
    }

    fn size(&mut self) -> f64 {
        if self.rng.chance(0.15) {
            1.0 + self.rng.below(99) as f64
        } else {
            100.0 * (1 + self.rng.below(6)) as f64
        }
    }

    fn plan_trade(&mut self, due: Nanos, bid: (f64, f64), ask: (f64, f64)) {
        if !self.rng.chance(TRADE_SHARE) || !self.market.is_open(due + 2 * MILLISECOND) {
            return;
        }
        let taker_buys = self.rng.chance(0.5);
        let (price, available) = if taker_buys { ask } else { bid };
        let size = 1.0 + self.rng.below(available as u64) as f64;
        self.trade_id += 1;
        let due = due + 2 * MILLISECOND;
        let body = Body::Trade { id: self.trade_id, price, size, taker_buys };
        self.trade = Some(Tick { instrument: self.instrument, due, at: due - MILLISECOND, body });
    }

    fn next_quote(&mut self, due: Nanos) -> Nanos {
        let wait = self.rng.exponential(self.interval_mean).clamp(INTERVAL.0, INTERVAL.1);
        let next = due + (wait * SECOND as f64) as Nanos;
        if self.market.is_open(next) {
            return next;
        }
        // Over night the price moves as it does in about an hour of trading.
        self.walk(3600.0);
        let open = self.market.next_open(due);
        self.quoted = open;
        open + (self.rng.unit() * 0.5 * SECOND as f64) as Nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{MarketClockConfig, instrument};

    fn run(symbol: &str, seed: u64, until: Nanos) -> Vec<Tick> {
        let config = MarketClockConfig::Virtual { opens_at: 100, open_seconds: 3600, closed_seconds: 7200 };
        let instrument = instrument::find(symbol).expect("an instrument");
        let mut model = Synthetic::new(instrument, MarketClock::new(&config), Seed(seed), 0, 4.0, 1.0);
        let mut ticks = Vec::new();
        while model.due() < until {
            ticks.push(model.take());
        }
        ticks
    }

    #[test]
    fn quotes_come_one_to_ten_a_second_in_sessions_only() {
        let config = MarketClockConfig::Virtual { opens_at: 100, open_seconds: 3600, closed_seconds: 7200 };
        let market = MarketClock::new(&config);
        let ticks = run("AAPL", 1, 20_000 * SECOND);
        assert!(ticks.windows(2).all(|pair| pair[0].due <= pair[1].due));
        let quotes: Vec<&Tick> =
            ticks.iter().filter(|tick| matches!(tick.body, Body::Quote { .. })).collect();
        assert!(quotes.iter().all(|tick| market.is_open(tick.due)));
        assert!(quotes.iter().any(|tick| tick.due > 10_900 * SECOND), "the second session trades, too");
        for pair in quotes.windows(2) {
            let wait = pair[1].due - pair[0].due;
            assert!(wait >= SECOND / 10 && (wait <= SECOND || wait > 7000 * SECOND), "{wait}");
        }
        for quote in quotes {
            let Body::Quote { bid, ask, bid_size, ask_size } = quote.body else { continue };
            assert!(bid < ask && ask - bid < 0.1 && bid_size >= 1.0 && ask_size >= 1.0, "{quote:?}");
            assert!(bid > 150.0 && ask < 350.0, "{quote:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_prices() {
        let text = |seed| format!("{:?}", run("TSLA", seed, 200 * SECOND));
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }
}
