//! Sockets: one HTTP client for everything that leaves, one accept loop for everything that comes.

pub mod client;
pub mod listen;
pub mod proxy;
pub mod tls;

pub use client::HttpClient;
