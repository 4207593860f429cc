//! The `/stream` WebSocket: authentication, `listen`, `trade_updates`.
//!
//! There is no replay: what happened while nobody listened has to be fetched by REST.

use super::book::Update;
use super::{STREAM_QUEUE_MAX, Shared, StreamSeat};
use crate::runtime::clock::rfc3339;
use axum::extract::ws::{Message, WebSocket};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const AUTH_WITHIN: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(10);

/// The `data` of a trade update, also the body of a webhook.
pub fn update_json(update: &Update) -> Value {
    let mut data = json!({ "event": update.event, "timestamp": rfc3339(update.at), "order": update.order });
    if let Some(fill) = &update.fill {
        data["execution_id"] = fill.id.clone().into();
        data["price"] = fill.price.to_string().into();
        data["qty"] = fill.qty.to_string().into();
        data["position_qty"] = fill.position_qty.to_string().into();
    }
    data
}

/// Serves one stream to its end.
pub async fn converse(mut socket: WebSocket, shared: Arc<Shared>) {
    let granted = tokio::time::timeout(AUTH_WITHIN, authenticate(&mut socket, &shared)).await;
    if !matches!(granted, Ok(Some(()))) {
        return;
    }
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE_MAX);
    let id = {
        let mut state = shared.state();
        if state.streams.len() >= shared.config.streams_max {
            return;
        }
        state.streams_seen += 1;
        let id = state.streams_seen;
        state.streams.insert(id, StreamSeat { listening: false, queue: sender });
        id
    };
    serve(&mut socket, &shared, id, receiver).await;
    shared.state().streams.remove(&id);
}

/// Waits for the right keys; `None` when they are wrong or the client left.
async fn authenticate(socket: &mut WebSocket, shared: &Shared) -> Option<()> {
    loop {
        let request = receive(socket).await?;
        let (id, secret) = match request["action"].as_str() {
            Some("authenticate") => (&request["data"]["key_id"], &request["data"]["secret_key"]),
            Some("auth") => (&request["key"], &request["secret"]),
            _ => continue,
        };
        let granted = shared.are_keys(id.as_str().unwrap_or_default(), secret.as_str().unwrap_or_default());
        let status = if granted { "authorized" } else { "unauthorized" };
        let answer = json!({"stream": "authorization", "data": {"status": status, "action": "authenticate"}})
            .to_string();
        send(socket, shared, &answer).await?;
        return granted.then_some(());
    }
}

async fn serve(
    socket: &mut WebSocket,
    shared: &Shared,
    id: u64,
    mut updates: mpsc::Receiver<Arc<str>>,
) -> Option<()> {
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.wait() => return None,
            request = receive(socket) => {
                let request = request?;
                if request["action"] == "listen" {
                    let wanted = |stream: &&Value| **stream == "trade_updates";
                    let asked = request["data"]["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let streams: Vec<&Value> = asked.iter().filter(wanted).take(1).collect();
                    let answer = json!({"stream": "listening", "data": {"streams": streams}}).to_string();
                    let listening = !streams.is_empty();
                    send(socket, shared, &answer).await?;
                    shared.state().streams.get_mut(&id)?.listening = listening;
                }
            }
            update = updates.recv() => send(socket, shared, &update?).await?,
            _ = ping.tick() => socket.send(Message::Ping(Vec::new().into())).await.ok()?,
        }
    }
}

async fn receive(socket: &mut WebSocket) -> Option<Value> {
    loop {
        let value = match socket.recv().await? {
            Ok(Message::Text(text)) => serde_json::from_str(&text),
            Ok(Message::Binary(bytes)) => serde_json::from_slice(&bytes),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return None,
        };
        return Some(value.unwrap_or(Value::Null));
    }
}

async fn send(socket: &mut WebSocket, shared: &Shared, text: &str) -> Option<()> {
    let frame = if shared.config.stream_binary {
        Message::Binary(bytes::Bytes::copy_from_slice(text.as_bytes()))
    } else {
        Message::Text(text.into())
    };
    socket.send(frame).await.ok()
}
