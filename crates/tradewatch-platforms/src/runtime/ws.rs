//! WebSocket clients on any [`Net`]. Servers use axum's `WebSocketUpgrade`, which works over it as it is.

use super::{Error, Net, Stream};
use http::{HeaderName, HeaderValue, Uri};
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub use tokio_tungstenite::tungstenite::Message;

/// What one read of a WebSocket takes at most, at clients and servers.
///
/// The library zeroes its buffer before each read, by default 128 KiB: about a fifth of the CPU of a platform whose
/// messages have a few hundred bytes. A longer message takes several reads.
pub const READ_BUFFER_BYTES: usize = 8 * 1024;

/// An open client connection: a `Stream` and `Sink` of [`Message`].
pub type Socket = WebSocketStream<Stream>;

/// Opens a WebSocket to `url` (`ws://127.0.0.1:8010/v2/iex`) with extra `headers`.
///
/// # Errors
/// `is_connect` if nobody listens, `is_timeout` after `timeout`, `is_lost` if the handshake fails or is refused
/// (the message carries the HTTP status).
pub async fn connect(
    net: &Net,
    url: &str,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> Result<Socket, Error> {
    let what = format!("WebSocket {url}");
    match tokio::time::timeout(timeout, open(net, url, headers, &what)).await {
        Ok(opened) => opened,
        Err(_) => Err(Error::timeout(what, timeout)),
    }
}

async fn open(net: &Net, url: &str, headers: &[(&str, &str)], what: &str) -> Result<Socket, Error> {
    let uri: Uri = url.parse().map_err(|error| Error::usage(what, error))?;
    if uri.scheme_str() != Some("ws") {
        return Err(Error::usage(what, "only ws:// addresses are supported between services"));
    }
    let host = uri.host().ok_or_else(|| Error::usage(what, "the address has no host"))?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let mut request = url.into_client_request().map_err(|error| Error::usage(what, error))?;
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).map_err(|error| Error::usage(what, error))?;
        let value = HeaderValue::try_from(*value).map_err(|error| Error::usage(what, error))?;
        request.headers_mut().insert(name, value);
    }
    let stream = net.connect(&authority).await.map_err(|error| Error::connect(what, error))?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|error| Error::lost(what, error))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Shutdown, http};
    use axum::extract::ws::{Message as ServerMessage, WebSocketUpgrade};
    use futures_util::{SinkExt, StreamExt};

    #[tokio::test(start_paused = true)]
    async fn echo_over_the_virtual_net_until_the_server_dies() {
        let net = Net::new_virtual();
        let listener = net.bind("127.0.0.1:8010").await.expect("free");
        let router = axum::Router::new().route(
            "/echo",
            axum::routing::any(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move {
                    while let Some(Ok(ServerMessage::Text(text))) = socket.recv().await {
                        let _ = socket.send(ServerMessage::Text(text)).await;
                    }
                })
            }),
        );
        let (_trigger, shutdown) = Shutdown::new();
        let server = tokio::spawn(http::serve(listener, router, shutdown));
        let second = Duration::from_secs(1);
        let mut socket =
            connect(&net, "ws://127.0.0.1:8010/echo", &[("x-a", "b")], second).await.expect("listens");
        socket.send(Message::text("hello")).await.expect("open");
        assert_eq!(socket.next().await.expect("open").expect("echo"), Message::text("hello"));
        let refused = connect(&net, "ws://127.0.0.1:8010/none", &[], second).await.expect_err("404");
        assert!(refused.is_lost() && refused.to_string().contains("404"), "{refused}");
        server.abort();
        let end = socket.next().await;
        assert!(matches!(end, None | Some(Err(_))), "{end:?}");
        assert!(connect(&net, "ws://127.0.0.1:8010/echo", &[], second).await.expect_err("gone").is_connect());
    }
}
