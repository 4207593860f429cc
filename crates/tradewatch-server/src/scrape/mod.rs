//! Scraping: targets found, fetched on schedule, taken into the store.

pub mod discovery;
mod fingerprint;
pub mod ingest;
pub mod line;
pub mod manager;
pub mod target;

pub use ingest::{Ingest, IngestOptions, Scraped};
