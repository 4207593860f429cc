//! HTTP measured: a tower layer for servers, one for clients, and a wrapper of hyper-util's client.
//!
//! A request is counted once, when its response's last byte was handed on or when it is known that this will never
//! happen: an error, a panic, a time-out, a client that went away. Until then it is in flight. A server's response of
//! up to 16 KiB whose size is known leaves with its head and is counted there.

#[cfg(feature = "http-client")]
mod client;
mod exchange;
mod labels;
mod layer;
mod names;

#[cfg(feature = "http-client")]
pub use client::{Client, ClientError};
pub use exchange::MeasuredBody;
pub use labels::UNMATCHED;
pub use layer::{ClientFuture, ClientLayer, MeasuredClient, MeasuredServer, ServerFuture, ServerLayer};
