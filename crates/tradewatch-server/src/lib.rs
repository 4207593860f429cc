//! Scrapes, stores, answers, alerts and shows: everything with a socket or a clock.
//!
//! [`Server::start`] runs a whole monitor. The parts that need neither socket nor clock can be used
//! alone: [`scrape::Ingest`] takes the text of a scrape into a store at a time that the caller names.
#![allow(clippy::disallowed_methods)] // This crate owns the clock, the sockets and the threads.

pub mod annotations;
pub mod audit;
pub mod clock;
pub mod config;
pub mod dashboards;
pub mod deadman;
pub mod drills;
mod error;
pub mod heartbeat;
pub mod hub;
pub mod inputs;
pub mod jsonl;
pub mod markets;
pub mod monitor;
pub mod net;
pub mod notify;
pub mod options;
pub mod push;
pub mod query;
pub mod relabel;
pub mod rules;
pub mod scrape;
mod server;
pub mod stop;
pub mod telemetry;
pub mod web;

pub use error::Error;
pub use options::{Options, QueryOptions, TerminalHook, WebOptions};
pub use scrape::Ingest;
pub use server::Server;
