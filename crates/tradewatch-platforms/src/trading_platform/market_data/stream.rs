//! One WebSocket to the feed: connects, authenticates, subscribes, reads, and comes back after every loss.
//!
//! Back-off begins at its base and doubles up to its cap; it never gives up (the original did, after ten
//! tries, and stayed deaf until somebody restarted it). A peer that is gone without a word is found by
//! pings: a process that was stopped keeps its sockets open.

use super::book::{Applied, Kind, Reason, Venue};
use super::metrics::MessageType;
use super::state::State;
use crate::feed::wire::{self, Message};
use crate::runtime::ws::{self, Socket};
use crate::trading_platform::labels::Symbol;
use futures_util::{SinkExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// Calls that wait for a stream at once; more are refused.
pub const COMMANDS_MAX: usize = 64;

/// A change of subscription and where to tell that the feed confirmed it.
pub struct Command {
    /// `true` to subscribe, `false` to end it.
    pub subscribe: bool,
    /// Which symbols.
    pub symbols: Vec<String>,
    /// Why; for subscribing.
    pub reason: Reason,
    /// The answer: the feed's confirmation or why there is none.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// Runs one stream for ever.
pub async fn run(state: Arc<State>, venue: Venue, mut commands: mpsc::Receiver<Command>) {
    let mut backoff = Backoff::new(state.options.reconnect_base_ms, state.options.reconnect_cap_ms);
    loop {
        let url = state.feed_url(venue);
        match open(&state, &url).await {
            Ok(socket) => {
                backoff.reset();
                state.set_connected(venue, Ok(()));
                tracing::info!(venue = venue.as_str(), url, "stream connected");
                let why = Connection::new(&state, venue, socket).serve(&mut commands).await;
                tracing::warn!(venue = venue.as_str(), why, "stream lost");
                state.set_connected(venue, Err(why));
            }
            Err(why) => state.set_connected(venue, Err(why)),
        }
        let wait = backoff.next();
        refuse_for(wait, &mut commands).await;
        state.metrics.reconnect_attempts_total.inc();
    }
}

/// Waits before the next try; calls that come meanwhile are told at once that there is no stream.
async fn refuse_for(wait: Duration, commands: &mut mpsc::Receiver<Command>) {
    let until = Instant::now() + wait;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return,
            Some(command) = commands.recv() => {
                let _ = command.done.send(Err("the stream of the feed is not connected".into()));
            }
        }
    }
}

/// Time between tries: base, doubled, up to a cap.
struct Backoff {
    base: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    fn new(base_ms: u64, cap_ms: u64) -> Backoff {
        let base = Duration::from_millis(base_ms.max(1));
        Backoff { base, cap: Duration::from_millis(cap_ms), next: base }
    }

    fn next(&mut self) -> Duration {
        let now = self.next.min(self.cap);
        self.next = (self.next * 2).min(self.cap);
        now
    }

    fn reset(&mut self) {
        self.next = self.base;
    }
}

/// Connects and authenticates.
async fn open(state: &State, url: &str) -> Result<Socket, String> {
    let limit = Duration::from_millis(state.options.connect_timeout_ms);
    let mut socket = ws::connect(&state.net, url, &[], limit).await.map_err(|error| error.to_string())?;
    let handshake = async {
        expect_success(&mut socket, "connected").await?;
        let auth = wire::Request {
            action: "auth".into(),
            key: Some(state.options.key.clone()),
            secret: Some(state.options.secret.expose().clone()),
            ..wire::Request::default()
        };
        send(&mut socket, &auth).await?;
        expect_success(&mut socket, "authenticated").await
    };
    match tokio::time::timeout(limit, handshake).await {
        Ok(done) => done.map(|()| socket),
        Err(_) => Err(format!("{url}: no greeting within {limit:?}")),
    }
}

async fn expect_success(socket: &mut Socket, word: &str) -> Result<(), String> {
    loop {
        let frame =
            socket.next().await.ok_or("closed during the greeting")?.map_err(|error| error.to_string())?;
        let ws::Message::Text(text) = frame else { continue };
        for message in wire::decode_json(&text).map_err(|error| error.to_string())? {
            match message {
                Message::Success { msg } if msg == word => return Ok(()),
                Message::Error { code, msg } => return Err(format!("the feed refuses: {code} {msg}")),
                _ => {}
            }
        }
    }
}

async fn send(socket: &mut Socket, request: &wire::Request) -> Result<(), String> {
    let text = serde_json::to_string(request).expect("plain data");
    socket.send(ws::Message::text(text)).await.map_err(|error| error.to_string())
}

/// An open stream.
struct Connection<'s> {
    state: &'s State,
    venue: Venue,
    socket: Socket,
    /// Label of each symbol, so that a message costs no interning.
    labels: BTreeMap<String, Symbol>,
    /// Calls whose confirmation is awaited, oldest first.
    waiting: Vec<Command>,
}

impl<'s> Connection<'s> {
    fn new(state: &'s State, venue: Venue, socket: Socket) -> Connection<'s> {
        Connection { state, venue, socket, labels: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Reads until the stream is lost; returns why.
    async fn serve(mut self, commands: &mut mpsc::Receiver<Command>) -> String {
        let symbols = self.state.begin_connection(self.venue);
        if let Err(why) = self.request("subscribe", &symbols).await {
            return why;
        }
        let ping = Duration::from_millis(self.state.options.ping_ms);
        let silence = Duration::from_millis(self.state.options.silence_ms);
        let mut pings = tokio::time::interval(ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let why = loop {
            tokio::select! {
                biased;
                Some(command) = commands.recv() => {
                    if let Err(why) = self.command(command).await {
                        break why;
                    }
                }
                frame = self.socket.next() => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(ws::Message::Text(text))) => {
                            if let Err(why) = self.messages(&text) {
                                break why;
                            }
                        }
                        Some(Ok(ws::Message::Close(_))) | None => break "the feed closed it".into(),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error.to_string(),
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > silence {
                        break format!("nothing heard for {silence:?}, not even a pong");
                    }
                    // A peer that reads nothing must not keep us from noticing it.
                    let sent = tokio::time::timeout(silence, self.socket.send(ws::Message::Ping(Default::default())));
                    match sent.await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => break error.to_string(),
                        Err(_) => break "the feed reads nothing".into(),
                    }
                }
            }
        };
        for command in self.waiting {
            let _ = command.done.send(Err(format!("the stream was lost before the feed confirmed: {why}")));
        }
        why
    }

    async fn request(&mut self, action: &str, symbols: &[String]) -> Result<(), String> {
        if symbols.is_empty() {
            return Ok(());
        }
        let trades = self.venue == Venue::Stocks || self.state.options.crypto_trades;
        let request = wire::Request {
            action: action.into(),
            trades: if trades { symbols.to_vec() } else { Vec::new() },
            quotes: symbols.to_vec(),
            bars: symbols.to_vec(),
            ..wire::Request::default()
        };
        send(&mut self.socket, &request).await
    }

    async fn command(&mut self, command: Command) -> Result<(), String> {
        let action = if command.subscribe { "subscribe" } else { "unsubscribe" };
        let sent = self.request(action, &command.symbols).await;
        self.waiting.push(command);
        sent
    }

    fn messages(&mut self, text: &str) -> Result<(), String> {
        let messages =
            wire::decode_json(text).map_err(|error| format!("a frame that is no message: {error}"))?;
        let received = self.state.clock.now();
        let mut quotes = false;
        for message in &messages {
            match message {
                Message::Subscription(now) => self.confirmed(now),
                Message::Error { code, msg } => self.refused(*code, msg),
                Message::Success { .. } => {}
                Message::Quote(_) | Message::Trade(_) | Message::Bar(_) => {
                    let applied = self.state.book().apply(self.venue, message, received);
                    if let Some(applied) = applied {
                        quotes |= applied.mid.is_some();
                        self.count(&applied);
                    }
                }
            }
        }
        let offset = self.state.book().offset(Venue::Crypto);
        self.state.metrics.venue_clock_offset_seconds.set(offset.seconds());
        if quotes {
            self.state.changed.notify_one();
        }
        Ok(())
    }

    fn count(&mut self, applied: &Applied<'_>) {
        let metrics = &self.state.metrics;
        let label = match self.labels.get(applied.symbol) {
            Some(label) => *label,
            None => {
                let label = Symbol::intern(applied.symbol);
                self.labels.insert(applied.symbol.to_owned(), label);
                label
            }
        };
        let kind = match applied.kind {
            Kind::Quote => MessageType::Quote,
            Kind::Trade => MessageType::Trade,
            Kind::Bar => MessageType::Bar,
        };
        metrics.websocket_messages_received_total.at((kind,)).inc();
        metrics.symbol_messages_total.at((label,)).inc();
        metrics.sequence_gaps_total.at((label,)).inc_by(applied.lost);
        if let Some(mid) = applied.mid {
            metrics.mid_price_dollars.at((label,)).set(mid.to_f64());
        }
    }

    /// The feed told all that is subscribed: calls whose wish it shows are done.
    fn confirmed(&mut self, now: &wire::Subscription) {
        let quotes: BTreeSet<&str> = now.quotes.iter().map(AsRef::as_ref).collect();
        let mut rest = Vec::new();
        for command in std::mem::take(&mut self.waiting) {
            let shown = |symbol: &String| quotes.contains(symbol.as_str()) == command.subscribe;
            if command.symbols.iter().all(shown) {
                self.state.subscribed(&command);
                let _ = command.done.send(Ok(()));
            } else {
                rest.push(command);
            }
        }
        self.waiting = rest;
    }

    fn refused(&mut self, code: u16, message: &str) {
        tracing::warn!(venue = self.venue.as_str(), code, message, "the feed refused a request");
        if !self.waiting.is_empty() {
            let command = self.waiting.remove(0);
            let _ = command.done.send(Err(format!("the feed refuses: {code} {message}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::new(5_000, 300_000);
        let waits: Vec<u64> = (0..9).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.next().as_secs(), 5);
    }
}
