//! What the tasks of the market data service share.

use super::Options;
use super::book::{Book, Reason, Venue};
use super::metrics::MarketDataMetrics;
use super::stream::Command;
use crate::market::MarketClock;
use crate::runtime::{Clock, Net};
use crate::trading_platform::labels::Symbol;
use crate::trading_platform::prices::PriceCache;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Shared by all tasks of one service.
pub struct State {
    /// Configuration of this service.
    pub options: Options,
    /// Its clock.
    pub clock: Clock,
    /// Its network.
    pub net: Net,
    /// When equities trade.
    pub market: MarketClock,
    /// Its metrics.
    pub metrics: MarketDataMetrics,
    /// Where prices go.
    pub cache: PriceCache,
    /// `ws://host:port` of the feed.
    pub feed: String,
    /// `http://host:port` of the execution gateway.
    pub gateway: String,
    /// Told when a price changed.
    pub changed: Notify,
    book: Mutex<Book>,
    links: Mutex<[Result<(), String>; 2]>,
    streams: [mpsc::Sender<Command>; 2],
}

impl State {
    /// Puts the parts together; returns the receiving ends for the two streams as well.
    pub fn new(
        options: Options,
        clock: Clock,
        net: Net,
        market: MarketClock,
        metrics: MarketDataMetrics,
        cache: PriceCache,
        feed: String,
        gateway: String,
    ) -> (State, [mpsc::Receiver<Command>; 2]) {
        let (crypto, crypto_end) = mpsc::channel(super::stream::COMMANDS_MAX);
        let (stocks, stocks_end) = mpsc::channel(super::stream::COMMANDS_MAX);
        let mut book = Book::new(options.apply_venue_offset);
        for symbol in &options.symbols {
            book.add(symbol, Reason::Asked, clock.now());
        }
        let never = || Err(String::from("never connected"));
        let state = State {
            options,
            clock,
            net,
            market,
            metrics,
            cache,
            feed,
            gateway,
            changed: Notify::new(),
            book: Mutex::new(book),
            links: Mutex::new([never(), never()]),
            streams: [crypto, stocks],
        };
        (state, [crypto_end, stocks_end])
    }

    /// The book. Never held across a wait.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding the book")
    }

    /// Where the stream of `venue` is.
    pub fn feed_url(&self, venue: Venue) -> String {
        let path = match venue {
            Venue::Crypto => &self.options.crypto_path,
            Venue::Stocks => &self.options.stocks_path,
        };
        format!("{}{path}", self.feed)
    }

    /// A stream came or went: the gauge shows 1 while both are there.
    pub fn set_connected(&self, venue: Venue, link: Result<(), String>) {
        let mut links = self.links.lock().expect("nobody panics while holding the links");
        links[venue as usize] = link;
        self.metrics.websocket_connection_status.set_bool(links.iter().all(Result::is_ok));
    }

    /// Whether both streams are there, or which is not and why.
    pub fn connected(&self) -> Result<(), String> {
        let links = self.links.lock().expect("nobody panics while holding the links");
        for (venue, link) in Venue::ALL.iter().zip(links.iter()) {
            if let Err(why) = link {
                return Err(format!("{} stream: {why}", venue.as_str()));
            }
        }
        Ok(())
    }

    /// A stream begins: forgets its sequences and tells what it must subscribe.
    pub fn begin_connection(&self, venue: Venue) -> Vec<String> {
        let mut book = self.book();
        book.reconnected(venue);
        self.metrics.subscribed_symbols_current.set(book.len() as f64);
        let symbols = book.entries().map(|(symbol, _)| symbol).filter(|symbol| Venue::of(symbol) == venue);
        symbols.map(str::to_owned).collect()
    }

    /// The feed confirmed a change.
    pub fn subscribed(&self, command: &Command) {
        let now = self.clock.now();
        let mut book = self.book();
        for symbol in &command.symbols {
            if command.subscribe {
                book.add(symbol, command.reason, now);
            } else {
                book.remove(symbol);
                let label = Symbol::intern(symbol);
                self.metrics.price_age_seconds.remove((label,));
                self.metrics.mid_price_dollars.remove((label,));
            }
        }
        self.metrics.subscribed_symbols_current.set(book.len() as f64);
    }

    /// Changes subscriptions and waits until the feed confirmed them.
    ///
    /// # Errors
    /// Why nothing changed, or, over two streams, which of them did not.
    pub async fn change(&self, subscribe: bool, symbols: &[String], reason: Reason) -> Result<(), String> {
        for venue in Venue::ALL {
            let symbols: Vec<String> = symbols.iter().filter(|s| Venue::of(s) == venue).cloned().collect();
            if symbols.is_empty() {
                continue;
            }
            let (done, answer) = oneshot::channel();
            let command = Command { subscribe, symbols, reason, done };
            self.streams[venue as usize]
                .try_send(command)
                .map_err(|_| format!("the {} stream has too many calls waiting", venue.as_str()))?;
            let limit = Duration::from_millis(self.options.confirm_timeout_ms);
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err("the service is ending".into()),
                Err(_) => return Err(format!("the feed did not confirm within {limit:?}")),
            }
        }
        Ok(())
    }
}
