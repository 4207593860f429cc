//! The broker's own subscription to the feed.

use super::Shared;
use super::book::Quote;
use crate::feed::wire::{self, Message, Request};
use crate::market::{Decimal, instrument};
use crate::runtime::{Error, Tasks, ws};
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;

/// First and longest pause before connecting again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The feed pings every ten seconds; a connection that is silent for longer is dead.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// Follows both streams of the feed for as long as `tasks` live.
pub fn start(shared: &Arc<Shared>, tasks: &Tasks) {
    for path in ["/v2/iex", "/v1beta3/crypto/us"] {
        let shared = shared.clone();
        tasks.spawn(async move { follow(&shared, path).await });
    }
}

async fn follow(shared: &Shared, path: &str) {
    let url = format!("{}{path}", shared.config.feed_url);
    let mut pause = BACK_OFF.0;
    loop {
        let mut connected = false;
        if let Err(error) = read(shared, &url, &mut connected).await {
            tracing::debug!(%error, "no prices from the feed; connecting again");
        }
        if connected {
            shared.state().feeds_connected -= 1;
            pause = BACK_OFF.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

async fn read(shared: &Shared, url: &str, connected: &mut bool) -> Result<(), Error> {
    let keys = [
        ("APCA-API-KEY-ID", shared.config.feed_key_id.as_str()),
        ("APCA-API-SECRET-KEY", shared.config.feed_secret_key.expose().as_str()),
    ];
    let mut socket = ws::connect(&shared.net, url, &keys, CONNECT_WITHIN).await?;
    let subscribe =
        Request { action: "subscribe".to_owned(), quotes: vec!["*".to_owned()], ..Request::default() };
    let subscribe = serde_json::to_string(&subscribe).map_err(|error| Error::usage(url, error))?;
    socket.send(ws::Message::text(subscribe)).await.map_err(|error| Error::lost(url, error))?;
    *connected = true;
    shared.state().feeds_connected += 1;
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, socket.next()).await;
        let frame = frame.map_err(|_| Error::timeout(url, SILENCE_MAX))?;
        match frame {
            None => return Err(Error::lost(url, "the feed closed the connection")),
            Some(Err(error)) => return Err(Error::lost(url, error)),
            Some(Ok(ws::Message::Text(text))) => {
                let messages = wire::decode_json(&text).map_err(|error| Error::decode(url, error))?;
                take(shared, &messages);
            }
            Some(Ok(_)) => {}
        }
    }
}

fn take(shared: &Shared, messages: &[Message]) {
    shared.with_book(|book, now| {
        for message in messages {
            let Message::Quote(quote) = message else { continue };
            let Some(instrument) = instrument::find(&quote.symbol) else { continue };
            let quote = Quote {
                bid: Decimal::from_f64(quote.bid).round(instrument.price_digits),
                bid_size: Decimal::from_f64(quote.bid_size),
                ask: Decimal::from_f64(quote.ask).round(instrument.price_digits),
                ask_size: Decimal::from_f64(quote.ask_size),
                received: now,
            };
            book.quote(instrument, quote);
        }
    });
}
