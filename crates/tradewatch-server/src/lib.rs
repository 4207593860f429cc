//! Scrapes, stores, answers, alerts and shows: everything with a socket or a clock.
#![allow(clippy::disallowed_methods)] // This crate owns the clock, the sockets and the threads.

pub mod config;
pub mod error;
pub mod relabel;

pub use error::Error;
