//! The market feed: Alpaca's data streams, fed by a recording and by a model.
//!
//! - `/v1beta3/crypto/us`: BTC/USD and ETH/USD, replayed from a recorded Binance session ([`replay`]).
//! - `/v2/iex` (also `/v2/sip`): AAPL, AMZN, GOOGL, MSFT, TSLA from a seeded model ([`synthetic`]); nothing outside
//!   sessions. JSON, or MessagePack with `Content-Type: application/msgpack`.
//! - `GET /health`; `GET`, `POST`, `DELETE /control/faults` ([`Fault`] with `for_seconds`).
//!
//! Messages, errors and limits are Alpaca's ([`wire`]). Event stamps of the recording are ahead of receipt by the
//! 1.272 s that the recorder's clock was behind: a handler has to cope with a negative age.

mod bars;
mod fault;
mod hub;
pub mod recording;
pub mod replay;
mod stream;
pub mod synthetic;
pub mod tick;
pub mod wire;

pub use fault::Fault;

use crate::faults::board;
use crate::market::{AssetClass, MarketClock, MarketClockConfig, instrument};
use crate::runtime::clock::{SECOND, rfc3339};
use crate::runtime::ws::READ_BUFFER_BYTES;
use crate::runtime::{Clock, Error, Listener, Nanos, Net, Seed, Shutdown, http};
use axum::extract::{FromRequestParts, Path, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hub::Hub;
use replay::{Replay, Timeline};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard};
use stream::Keys;
use synthetic::Synthetic;
use tick::Tick;
use tradewatch_instrument::Secret;
use wire::Codec;

/// Events that are later than this are not sent any more: the feed was stopped meanwhile. Their numbers are missing.
const LATE_MAX: Nanos = 5 * SECOND;

/// Configuration of the feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: String,
    /// Key id that clients authenticate with.
    pub key_id: String,
    /// Its secret.
    pub secret_key: Secret<String>,
    /// Key id of connections that faults spare, with the same secret: the paper broker's.
    pub exempt_key_id: String,
    /// Seed of the synthetic equities.
    pub seed: u64,
    /// When equities trade.
    pub market_clock: MarketClockConfig,
    /// How many times faster than recorded the replay runs.
    pub speed: f64,
    /// Quotes of each recorded pair per second at most; 0 sends all (about 80).
    pub crypto_quotes_per_second_max: f64,
    /// Mean quotes of each synthetic equity per second, between 1 and 10.
    pub stock_quotes_per_second: f64,
    /// Restlessness of the synthetic equities; 1 is that of the real shares.
    pub volatility: f64,
    /// Connections at once.
    pub connections_max: usize,
    /// Subscribed symbols per connection, over all channels.
    pub symbols_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: "127.0.0.1:8010".to_owned(),
            key_id: "PAPER-KEY".to_owned(),
            secret_key: "paper-secret".into(),
            exempt_key_id: "PAPER-BROKER".to_owned(),
            seed: 0,
            market_clock: MarketClockConfig::Wall,
            speed: 1.0,
            crypto_quotes_per_second_max: 0.0,
            stock_quotes_per_second: 4.0,
            volatility: 2.0,
            connections_max: 32,
            symbols_max: 100,
        }
    }
}

/// What the connections and the generator share.
#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    hub: Mutex<Hub>,
    shutdown: Shutdown,
    recorded_from: Nanos,
    /// Wakes the generator when a fault changed what is due.
    changed: tokio::sync::Notify,
}

impl Shared {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("nobody panics while holding the hub")
    }

    /// Whether the keys are right, and then whether faults spare them.
    fn check_keys(&self, keys: &Keys) -> Option<bool> {
        let exempt = keys.id == self.config.exempt_key_id;
        ((exempt || keys.id == self.config.key_id) && keys.secret == *self.config.secret_key.expose())
            .then_some(exempt)
    }
}

/// A feed that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    config: Config,
    clock: Clock,
}

/// Listens on the configured address.
///
/// # Errors
/// `is_bind` if it is taken.
pub async fn bind(config: Config, clock: Clock, net: &Net) -> Result<Bound, Error> {
    let listener = http::bind(net, &config.listen).await?;
    Ok(Bound { listener, config, clock })
}

/// Runs the feed until `shutdown`.
///
/// # Errors
/// `is_bind` if the address is taken.
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
        let sources = Sources::new(&self.config, self.clock.now());
        let shared = Arc::new(Shared {
            recorded_from: sources.timeline.recorded_from(),
            config: self.config,
            clock: self.clock,
            hub: Mutex::default(),
            shutdown: shutdown.clone(),
            changed: tokio::sync::Notify::new(),
        });
        tokio::select! {
            biased;
            () = http::serve(self.listener, router(shared.clone()), shutdown) => {}
            () = generate(sources, &shared) => {}
        }
    }
}

/// Everything that produces events.
struct Sources {
    timeline: Timeline,
    replays: Vec<Replay>,
    synthetics: Vec<Synthetic>,
    bars: bars::Bars,
}

impl Sources {
    fn new(config: &Config, start: Nanos) -> Sources {
        let recordings = recording::embedded();
        let timeline = Timeline::new(&recordings, start, config.speed);
        let market = MarketClock::new(&config.market_clock);
        let rate = config.crypto_quotes_per_second_max;
        let synthetic = |instrument| {
            let seed = Seed(config.seed);
            let rate = config.stock_quotes_per_second;
            Synthetic::new(instrument, market.of(instrument.symbol), seed, start, rate, config.volatility)
        };
        Sources {
            timeline,
            replays: recordings.into_iter().filter_map(|r| Replay::new(r, timeline, rate)).collect(),
            synthetics: instrument::ALL
                .iter()
                .filter(|instrument| instrument.synthetic)
                .map(synthetic)
                .collect(),
            bars: bars::Bars::default(),
        }
    }

    /// When the next event is due.
    fn due(&self) -> Nanos {
        let replays = self.replays.iter().map(Replay::due);
        let synthetics = self.synthetics.iter().map(Synthetic::due);
        replays.chain(synthetics).chain(self.bars.due()).min().unwrap_or(Nanos::MAX)
    }

    /// The events due at `due`; of one source after the other, always in the same order.
    fn take(&mut self, due: Nanos) -> Vec<Tick> {
        let mut ticks = Vec::new();
        if self.bars.due().is_some_and(|minute| minute <= due) {
            ticks.extend(self.bars.take());
        }
        for replay in &mut self.replays {
            while replay.due() <= due {
                ticks.push(replay.take());
            }
        }
        for synthetic in &mut self.synthetics {
            while synthetic.due() <= due {
                ticks.push(synthetic.take());
            }
        }
        ticks.iter().for_each(|tick| self.bars.record(tick));
        ticks
    }
}

/// Sends each event when it is due, for ever.
async fn generate(mut sources: Sources, shared: &Shared) {
    loop {
        let due = sources.due();
        let delayed = shared.hub().delayed_due();
        tokio::select! {
            biased;
            () = shared.changed.notified() => {}
            () = shared.clock.sleep_until(delayed.map_or(due, |delayed| delayed.min(due))) => {}
        }
        let now = shared.clock.now();
        let mut hub = shared.hub();
        hub.release(now);
        if due > now {
            continue;
        }
        let trades = hub.wants_trades();
        sources.replays.iter_mut().for_each(|replay| replay.set_trades(trades));
        for tick in sources.take(due) {
            if now - due > LATE_MAX { hub.skip(&tick) } else { hub.publish(&tick, now) }
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v2/{feed}", get(stocks))
        .route("/v1beta3/crypto/{venue}", get(crypto))
        .route("/health", get(health))
        .route("/control/faults", get(list_faults).post(post_fault).delete(clear_faults))
        .with_state(shared)
}

async fn stocks(
    State(shared): State<Arc<Shared>>,
    Path(feed): Path<String>,
    request: axum::extract::Request,
) -> Response {
    if !matches!(feed.as_str(), "iex" | "sip") {
        return (StatusCode::NOT_FOUND, "the feeds are iex and sip").into_response();
    }
    open(shared, AssetClass::UsEquity, request).await
}

async fn crypto(
    State(shared): State<Arc<Shared>>,
    Path(venue): Path<String>,
    request: axum::extract::Request,
) -> Response {
    if venue != "us" {
        return (StatusCode::NOT_FOUND, "the crypto venue is us").into_response();
    }
    open(shared, AssetClass::Crypto, request).await
}

async fn open(shared: Arc<Shared>, class: AssetClass, request: axum::extract::Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let key = header_keys(&parts.headers);
    let spared = key.as_ref().is_some_and(|key| shared.check_keys(key) == Some(true));
    if !spared && shared.hub().refuses(shared.clock.now()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no connections now").into_response();
    }
    let content_type = parts.headers.get(axum::http::header::CONTENT_TYPE);
    let msgpack = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/msgpack"));
    let codec = if msgpack { Codec::MessagePack } else { Codec::Json };
    match WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .on_upgrade(move |socket| stream::converse(socket, shared, class, codec, key)),
        Err(rejection) => rejection.into_response(),
    }
}

fn header_keys(headers: &HeaderMap) -> Option<Keys> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Some(Keys { id: text("apca-api-key-id")?, secret: text("apca-api-secret-key")? })
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let hub = shared.hub();
    let synthetic: Vec<&str> = instrument::ALL.iter().filter(|i| i.synthetic).map(|i| i.symbol).collect();
    let recorded: Vec<&str> = instrument::ALL.iter().filter(|i| !i.synthetic).map(|i| i.symbol).collect();
    Json(json!({
        "status": "ok",
        "replaying_from": rfc3339(shared.recorded_from),
        "speed": shared.config.speed,
        "recorded": recorded,
        "synthetic": synthetic,
        "connections": hub.connections(),
        "messages_sent": hub.messages_sent(),
    }))
    .into_response()
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.hub().faults(shared.clock.now())).into_response()
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.hub().clear_faults();
    shared.changed.notify_one();
    StatusCode::NO_CONTENT
}

async fn post_fault(State(shared): State<Arc<Shared>>, body: axum::body::Bytes) -> Response {
    let request: board::Request<Fault> = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    };
    let posted = shared.hub().post_fault(request, shared.clock.now());
    shared.changed.notify_one();
    match posted {
        Ok(Some(active)) => {
            tracing::info!(fault = ?active.fault, "feed fault in force");
            Json(active).into_response()
        }
        Ok(None) => {
            refuse(StatusCode::TOO_MANY_REQUESTS, format!("{} faults are in force", board::FAULTS_MAX))
        }
        Err(message) => refuse(StatusCode::UNPROCESSABLE_ENTITY, message),
    }
}

fn refuse(status: StatusCode, message: String) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
