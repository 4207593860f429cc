//! Scrapes, stores, answers, alerts and shows: everything with a socket or a clock.
#![allow(clippy::disallowed_methods)] // This crate owns the clock, the sockets and the threads.

pub mod annotations;
pub mod clock;
pub mod config;
pub mod dashboards;
pub mod error;
pub mod jsonl;
pub mod web;
pub mod net;
pub mod relabel;
pub mod scrape;

pub use error::Error;
