//! The paper broker: Alpaca's trading API over a seeded account.
//!
//! REST as published (orders, positions, account, clock, calendar, assets, activities) and the `/stream` WebSocket
//! with `trade_updates`; also `GET /health`, `GET /control/ledger` (exact figures, realised profit first in first
//! out) and `GET`, `POST`, `DELETE /control/faults` ([`Fault`] with `for_seconds`).
//!
//! Prices are the feed's: market orders take the opposite quote with its size and wait for the next quote for the
//! rest, limit orders rest until they are crossed. Latency and rejections come from a seeded distribution
//! ([`Behaviour`]). An order is carried out even when its client has given up waiting, as at any broker.
//!
//! Differences from Alpaca: only simple orders; no `PATCH`, no `opg` and `cls`, no trailing stops; one order may
//! turn a long position short; crypto positions keep the slash in their symbol.

pub mod account;
mod api;
pub mod book;
mod chance;
mod fault;
mod journal;
pub mod ledger;
pub mod order;
mod prices;
mod refusal;
mod stream;
mod webhook;

pub use chance::Behaviour;
pub use fault::Fault;

use crate::faults::Board;
use crate::market::{Decimal, MarketClock, MarketClockConfig};
use crate::runtime::clock::SECOND;
use crate::runtime::{Clock, Error, Listener, Nanos, Net, Seed, Shutdown, Spawner, Tasks, http};
use book::{Book, Terms};
use chance::Chance;
use journal::Journal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc;
use tradewatch_instrument::Secret;

/// Updates that wait for one stream; a slower one is disconnected.
pub const STREAM_QUEUE_MAX: usize = 4_096;

/// Configuration of the broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: String,
    /// Key id of the account.
    pub key_id: String,
    /// Its secret.
    pub secret_key: Secret<String>,
    /// Where the prices come from: `ws://127.0.0.1:8010`.
    pub feed_url: String,
    /// Key id for the feed; the one that the feed's faults spare.
    pub feed_key_id: String,
    /// Its secret.
    pub feed_secret_key: Secret<String>,
    /// Seed of latency, rejections and ids.
    pub seed: u64,
    /// When equities trade.
    pub market_clock: MarketClockConfig,
    /// Cash at the beginning.
    pub cash: Decimal,
    /// Times equity that equities may be bought or sold short for.
    pub multiplier: Decimal,
    /// A quote older than this fills nothing.
    pub quote_age_max_seconds: f64,
    /// Requests per minute; 0 is no limit. (Alpaca's basic plan has 200.)
    pub rate_limit_per_minute: u32,
    /// Where the account is kept, so that a broker that was killed goes on where it was; in memory without.
    pub state_path: Option<PathBuf>,
    /// Addresses that get each trade update by POST.
    pub webhooks: Vec<String>,
    /// Whether the stream sends JSON in binary frames, as Alpaca's paper stream does.
    pub stream_binary: bool,
    /// Streams at once.
    pub streams_max: usize,
    /// Latency and rejections.
    pub behaviour: Behaviour,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: "127.0.0.1:8011".to_owned(),
            key_id: "PAPER-KEY".to_owned(),
            secret_key: "paper-secret".into(),
            feed_url: "ws://127.0.0.1:8010".to_owned(),
            feed_key_id: "PAPER-BROKER".to_owned(),
            feed_secret_key: "paper-secret".into(),
            seed: 0,
            market_clock: MarketClockConfig::Wall,
            cash: Decimal::from_int(100_000),
            multiplier: Decimal::from_int(2),
            quote_age_max_seconds: 15.0,
            rate_limit_per_minute: 1_000,
            state_path: None,
            webhooks: Vec::new(),
            stream_binary: true,
            streams_max: 32,
            behaviour: Behaviour::default(),
        }
    }
}

/// What the requests, streams and the driver share.
#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    net: Net,
    begun: Nanos,
    state: Mutex<State>,
    spawner: Spawner,
    shutdown: Shutdown,
    /// Wakes the driver when something is due earlier than before.
    wake: tokio::sync::Notify,
}

#[derive(Debug)]
struct State {
    book: Book,
    journal: Option<Journal>,
    board: Board<Fault>,
    streams: BTreeMap<u64, StreamSeat>,
    streams_seen: u64,
    webhooks: Vec<mpsc::Sender<Arc<str>>>,
    minute: Minute,
    feeds_connected: usize,
}

#[derive(Debug)]
struct StreamSeat {
    listening: bool,
    queue: mpsc::Sender<Arc<str>>,
}

/// Requests of the running minute.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    requests: u32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the account")
    }

    /// Does what is due, then `work`, then tells the streams what came of it.
    fn with_book<T>(&self, work: impl FnOnce(&mut Book, Nanos) -> T) -> T {
        let mut state = self.state();
        let now = self.clock.now();
        state.book.advance(now);
        let due = state.book.next_due();
        let done = work(&mut state.book, now);
        state.tell(now);
        if state.book.next_due() != due {
            self.wake.notify_one();
        }
        done
    }

    fn are_keys(&self, id: &str, secret: &str) -> bool {
        id == self.config.key_id && secret == self.config.secret_key.expose()
    }
}

impl State {
    /// Sends the book's updates to streams and webhooks, but for fills that a fault loses.
    fn tell(&mut self, now: Nanos) {
        let updates = self.book.take_updates();
        if !updates.is_empty() {
            self.keep(&updates);
        }
        for update in updates {
            if update.fill.is_some() && self.loses_fill(now) {
                tracing::info!(order = %update.order["id"], "a fill is not told to anyone: fault in force");
                continue;
            }
            let data = stream::update_json(&update);
            let message: Arc<str> =
                serde_json::json!({"stream": "trade_updates", "data": data}).to_string().into();
            self.streams.retain(|_, seat| !seat.listening || seat.queue.try_send(message.clone()).is_ok());
            let body: Arc<str> = data.to_string().into();
            for webhook in &self.webhooks {
                if webhook.try_send(body.clone()).is_err() {
                    tracing::warn!("webhook queue is full; an update is not posted");
                }
            }
        }
    }

    /// Writes what changed to the journal before anybody is told.
    fn keep(&mut self, updates: &[book::Update]) {
        let Some(journal) = &mut self.journal else {
            drop(self.book.take_changes());
            return;
        };
        let fills = updates.iter().filter_map(|update| update.fill.as_ref());
        if let Err(error) = journal.write(&mut self.book, fills) {
            tracing::error!(%error, "the account is not kept any more");
            self.journal = None;
        }
    }

    fn loses_fill(&mut self, now: Nanos) -> bool {
        let lose = |fault: &mut Fault| match fault {
            Fault::LostFill { fills } if *fills > 0 => {
                *fills -= 1;
                true
            }
            _ => false,
        };
        self.board.take(now, lose, |fault| matches!(fault, Fault::LostFill { fills: 0 }))
    }

    fn refuses_streams(&self, now: Nanos) -> bool {
        let refuses =
            |fault: &Fault| matches!(fault, Fault::StreamRefuse {} | Fault::Refuse {}).then_some(());
        self.board.find(now, refuses).is_some()
    }
}

/// A broker that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    config: Config,
    clock: Clock,
    net: Net,
    book: Book,
    journal: Option<Journal>,
}

/// Listens on the configured address.
///
/// # Errors
/// `is_bind` if it is taken; `is_decode` if [`Config::state_path`] holds no account of ours.
pub async fn bind(config: Config, clock: Clock, net: &Net) -> Result<Bound, Error> {
    let listener = http::bind(net, &config.listen).await?;
    let terms = Terms {
        cash: config.cash,
        multiplier: config.multiplier,
        quote_age_max: (config.quote_age_max_seconds.clamp(0.0, 86_400.0) * SECOND as f64) as Nanos,
    };
    let chance = Chance::new(config.behaviour.clone(), Seed(config.seed));
    let mut book = Book::new(&terms, MarketClock::new(&config.market_clock), chance, clock.now());
    let journal = match &config.state_path {
        None => None,
        Some(path) => {
            let opened = Journal::open(path, &mut book, Seed(config.seed), clock.now());
            Some(opened.map_err(|error| Error::decode(path.display().to_string(), format!("{error:#}")))?)
        }
    };
    Ok(Bound { listener, config, clock, net: net.clone(), book, journal })
}

/// Runs the broker until `shutdown`.
///
/// # Errors
/// As [`bind`].
pub async fn run(config: Config, clock: Clock, net: Net, shutdown: Shutdown) -> Result<(), Error> {
    bind(config, clock, &net).await?.run(shutdown).await;
    Ok(())
}

impl Bound {
    /// The address that is listened on.
    ///
    /// # Panics
    /// If the operating system has lost the socket.
    pub fn addr(&self) -> String {
        self.listener.local_addr().expect("a bound socket has an address").to_string()
    }

    /// Serves until `shutdown`. Dropping the future ends it as the end of its process would.
    pub async fn run(self, shutdown: Shutdown) {
        let tasks = Tasks::new();
        let state = State {
            book: self.book,
            journal: self.journal,
            board: Board::default(),
            streams: BTreeMap::new(),
            streams_seen: 0,
            webhooks: Vec::new(),
            minute: Minute::default(),
            feeds_connected: 0,
        };
        let shared = Arc::new(Shared {
            config: self.config,
            clock: self.clock,
            net: self.net,
            begun: self.clock.now(),
            state: Mutex::new(state),
            spawner: tasks.spawner(),
            shutdown: shutdown.clone(),
            wake: tokio::sync::Notify::new(),
        });
        let webhooks = webhook::start(&shared, &tasks);
        shared.state().webhooks = webhooks;
        prices::start(&shared, &tasks);
        tokio::select! {
            biased;
            () = http::serve(self.listener, api::router(shared.clone()), shutdown) => {}
            () = drive(&shared) => {}
        }
    }
}

/// Lets the account's own events happen at their time, for ever.
async fn drive(shared: &Shared) {
    loop {
        let due = shared.state().book.next_due().unwrap_or(Nanos::MAX);
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            () = shared.clock.sleep_until(due) => {
                let mut state = shared.state();
                let now = shared.clock.now();
                state.book.advance(now);
                state.tell(now);
            }
        }
    }
}
