//! The broker's stream of trade updates.
//!
//! The stream does not replay what happened while nobody listened. So after each connection, and only once
//! it listens, every live order is asked for: what was missed comes from there, what happens meanwhile from
//! the stream, and cumulative quantities keep both from counting twice.

use super::broker::BrokerOrder;
use super::state::State;
use crate::runtime::ws::{self, Message, Socket};
use crate::trading_platform::money::{Money, Qty};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// One trade update: the `data` of the stream and the body of a webhook.
#[derive(Debug, Deserialize)]
pub struct TradeUpdate {
    /// Alpaca's word for what happened.
    pub event: String,
    /// Price of the execution, with fills.
    #[serde(default)]
    pub price: Option<Money>,
    /// Quantity of the execution, with fills.
    #[serde(default)]
    pub qty: Option<Qty>,
    /// The order as it stands after it.
    pub order: BrokerOrder,
}

impl TradeUpdate {
    /// The execution that it tells, if it tells one.
    pub fn execution(&self) -> Option<(Qty, Money)> {
        matches!(self.event.as_str(), "fill" | "partial_fill").then_some(())?;
        Some((self.qty?, self.price?))
    }
}

/// Listens for ever.
pub async fn run(state: Arc<State>) {
    state.until_loaded().await;
    let base = Duration::from_millis(state.options.stream_reconnect_base_ms.max(1));
    let cap = Duration::from_millis(state.options.stream_reconnect_cap_ms);
    let mut wait = base;
    loop {
        match open(&state).await {
            Ok(socket) => {
                wait = base;
                state.metrics.broker_stream_connected.set(1.0);
                let why = serve(&state, socket).await;
                state.metrics.broker_stream_connected.set(0.0);
                tracing::warn!(why, "the broker's stream is lost");
            }
            Err(why) => tracing::debug!(why, "the broker's stream cannot be opened"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(cap);
    }
}

async fn open(state: &State) -> Result<Socket, String> {
    let limit = Duration::from_millis(state.options.stream_silence_ms);
    let greeting = async {
        let mut socket =
            ws::connect(&state.net, &state.stream_url, &[], limit).await.map_err(|e| e.to_string())?;
        let auth =
            json!({"action": "auth", "key": state.options.key, "secret": state.options.secret.expose()});
        send(&mut socket, &auth).await?;
        let answer = receive(&mut socket).await?;
        if answer["data"]["status"] != "authorized" {
            return Err(format!("the broker does not authorize: {answer}"));
        }
        send(&mut socket, &json!({"action": "listen", "data": {"streams": ["trade_updates"]}})).await?;
        receive(&mut socket).await?;
        Ok(socket)
    };
    match tokio::time::timeout(limit, greeting).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no greeting within {limit:?}")),
    }
}

async fn send(socket: &mut Socket, value: &Value) -> Result<(), String> {
    socket.send(Message::text(value.to_string())).await.map_err(|error| error.to_string())
}

async fn receive(socket: &mut Socket) -> Result<Value, String> {
    loop {
        let frame = socket.next().await.ok_or("the broker closed it")?.map_err(|error| error.to_string())?;
        if let Some(value) = content(&frame) {
            return Ok(value);
        }
    }
}

/// What a frame says: Alpaca's paper stream sends JSON in binary frames, its live stream in text.
fn content(frame: &Message) -> Option<Value> {
    match frame {
        Message::Text(text) => serde_json::from_str(text).ok(),
        Message::Binary(bytes) => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// Reads until the stream is lost; returns why.
async fn serve(state: &State, mut socket: Socket) -> String {
    let silence = Duration::from_millis(state.options.stream_silence_ms);
    let mut pings = tokio::time::interval(Duration::from_millis(state.options.stream_ping_ms));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    // Beside reading, or a slow broker would leave the stream unread while it is asked.
    let mut recovery = std::pin::pin!(state.recover());
    let mut recovered = false;
    loop {
        tokio::select! {
            biased;
            frame = socket.next() => {
                heard = Instant::now();
                match frame {
                    Some(Ok(Message::Close(_))) | None => return "the broker closed it".into(),
                    Some(Ok(frame)) => {
                        if let Some(value) = content(&frame)
                            && let Err(why) = told(state, value)
                        {
                            return why;
                        }
                    }
                    Some(Err(error)) => return error.to_string(),
                }
            }
            done = &mut recovery, if !recovered => {
                recovered = true;
                if let Err(error) = done {
                    return format!("what was missed could not be asked for: {error}");
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() > silence {
                    return format!("nothing heard for {silence:?}, not even a pong");
                }
                let sent = tokio::time::timeout(silence, socket.send(Message::Ping(Default::default())));
                match sent.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return "the broker reads nothing".into(),
                }
            }
        }
    }
}

fn told(state: &State, message: Value) -> Result<(), String> {
    if message["stream"] != "trade_updates" {
        return Ok(());
    }
    let data = message["data"].clone();
    let update: TradeUpdate =
        serde_json::from_value(data).map_err(|error| format!("a trade update that is none: {error}"))?;
    state.apply(&update.order, update.execution());
    Ok(())
}
