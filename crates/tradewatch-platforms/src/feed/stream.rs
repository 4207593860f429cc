//! One WebSocket connection: authentication, subscriptions, messages.

use super::Shared;
use super::hub::{Seat, Wants};
use super::tick::Channel;
use super::wire::{Codec, ErrorCode, Frame, Message, Request};
use crate::market::AssetClass;
use axum::extract::ws::{Message as WsMessage, WebSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a connection may stay without authenticating.
const AUTH_WITHIN: Duration = Duration::from_secs(10);
/// How often the feed shows that the connection stands, data or not.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Messages put into one frame.
const FRAME_MESSAGES_MAX: usize = 256;
/// Longest symbol accepted in a subscription.
const SYMBOL_BYTES_MAX: usize = 24;

/// Why a conversation ends; the socket is dropped either way.
enum End {
    /// The client left or the network broke.
    Gone,
    /// With a last word.
    Refused(ErrorCode),
}

/// Serves one connection to its end.
pub async fn converse(
    mut socket: WebSocket,
    shared: Arc<Shared>,
    class: AssetClass,
    codec: Codec,
    key: Option<Keys>,
) {
    if let Err(End::Refused(code)) = greet_and_serve(&mut socket, &shared, class, codec, key).await {
        let _ = send(&mut socket, codec, &[code.message()]).await;
    }
}

/// A key id and its secret, as a client presents them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Key id.
    pub id: String,
    /// Secret.
    pub secret: String,
}

async fn greet_and_serve(
    socket: &mut WebSocket,
    shared: &Arc<Shared>,
    class: AssetClass,
    codec: Codec,
    key: Option<Keys>,
) -> Result<(), End> {
    send(socket, codec, &[Message::Success { msg: "connected".into() }]).await?;
    let key = match key {
        Some(key) => key,
        None => tokio::time::timeout(AUTH_WITHIN, read_auth(socket, codec))
            .await
            .map_err(|_| End::Refused(ErrorCode::AuthTimeout))??,
    };
    let exempt = shared.check_keys(&key).ok_or(End::Refused(ErrorCode::AuthFailed))?;
    let seat = {
        let mut hub = shared.hub();
        if hub.connections() >= shared.config.connections_max {
            return Err(End::Refused(ErrorCode::ConnectionLimit));
        }
        hub.join(class, exempt)
    };
    let id = seat.id;
    let served = async {
        send(socket, codec, &[Message::Success { msg: "authenticated".into() }]).await?;
        serve(socket, shared, class, codec, seat).await
    };
    let end = served.await;
    shared.hub().leave(id);
    end
}

/// Waits for a valid auth request; anything before it is refused and the wait goes on.
async fn read_auth(socket: &mut WebSocket, codec: Codec) -> Result<Keys, End> {
    loop {
        let refusal = match parse(&receive(socket).await?) {
            Some(Request { action, key: Some(id), secret: Some(secret), .. }) if action == "auth" => {
                return Ok(Keys { id, secret });
            }
            Some(request) if matches!(request.action.as_str(), "subscribe" | "unsubscribe") => {
                ErrorCode::NotAuthenticated
            }
            _ => ErrorCode::InvalidSyntax,
        };
        send(socket, codec, &[refusal.message()]).await?;
    }
}

async fn serve(
    socket: &mut WebSocket,
    shared: &Arc<Shared>,
    class: AssetClass,
    codec: Codec,
    mut seat: Seat,
) -> Result<(), End> {
    let mut wants = Wants::default();
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut batch = Vec::with_capacity(FRAME_MESSAGES_MAX);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.wait() => return Err(End::Gone),
            frame = receive(socket) => {
                let answer = match parse(&frame?) {
                    Some(request) => change(&request, &mut wants, shared.config.symbols_max),
                    None => Err(ErrorCode::InvalidSyntax),
                };
                let answer = match answer {
                    Ok(()) => wants.confirm(class),
                    Err(code) => code.message(),
                };
                // Confirmed before it takes effect, so that no data comes ahead of the confirmation.
                send(socket, codec, &[answer]).await?;
                shared.hub().set_wants(seat.id, wants.clone());
            }
            received = seat.queue.recv_many(&mut batch, FRAME_MESSAGES_MAX) => {
                if received == 0 {
                    let slow = seat.slow.load(Ordering::Relaxed);
                    return Err(if slow { End::Refused(ErrorCode::SlowClient) } else { End::Gone });
                }
                send(socket, codec, &batch).await?;
                batch.clear();
            }
            _ = ping.tick() => {
                socket.send(WsMessage::Ping(Vec::new().into())).await.map_err(|_| End::Gone)?;
            }
        }
    }
}

/// Applies a request to the subscriptions.
fn change(request: &Request, wants: &mut Wants, symbols_max: usize) -> Result<(), ErrorCode> {
    let lists = [
        (Channel::Trades, &request.trades),
        (Channel::Quotes, &request.quotes),
        (Channel::Bars, &request.bars),
    ];
    let valid = |symbol: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'*');
        !symbol.is_empty() && symbol.len() <= SYMBOL_BYTES_MAX && symbol.bytes().all(plain)
    };
    if !lists.iter().all(|(_, symbols)| symbols.iter().all(valid)) {
        return Err(ErrorCode::InvalidSyntax);
    }
    match request.action.as_str() {
        "subscribe" => {
            let mut wider = wants.clone();
            lists.iter().for_each(|(channel, symbols)| wider.add(*channel, symbols));
            if wider.symbols() > symbols_max {
                return Err(ErrorCode::SymbolLimit);
            }
            *wants = wider;
        }
        "unsubscribe" => lists.iter().for_each(|(channel, symbols)| wants.remove(*channel, symbols)),
        "auth" => return Err(ErrorCode::AlreadyAuthenticated),
        _ => return Err(ErrorCode::InvalidSyntax),
    }
    Ok(())
}

/// The next frame with content; pings are answered underneath.
async fn receive(socket: &mut WebSocket) -> Result<WsMessage, End> {
    loop {
        match socket.recv().await {
            Some(Ok(frame @ (WsMessage::Text(_) | WsMessage::Binary(_)))) => return Ok(frame),
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
            Some(Ok(WsMessage::Close(_)) | Err(_)) | None => return Err(End::Gone),
        }
    }
}

/// Reads a request; MessagePack in a binary frame, else JSON.
fn parse(frame: &WsMessage) -> Option<Request> {
    match frame {
        WsMessage::Text(text) => serde_json::from_str(text).ok(),
        WsMessage::Binary(bytes) => {
            rmp_serde::from_slice(bytes).ok().or_else(|| serde_json::from_slice(bytes).ok())
        }
        _ => None,
    }
}

async fn send<M: std::borrow::Borrow<Message>>(
    socket: &mut WebSocket,
    codec: Codec,
    messages: &[M],
) -> Result<(), End> {
    let frame = match codec.encode(messages) {
        Frame::Text(text) => WsMessage::Text(text.into()),
        Frame::Binary(bytes) => WsMessage::Binary(bytes.into()),
    };
    socket.send(frame).await.map_err(|_| End::Gone)
}
