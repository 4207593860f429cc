//! Scraping: targets found, fetched on schedule, taken into the store.

mod fingerprint;
pub mod ingest;
pub mod line;
pub mod manager;
pub mod target;

pub use ingest::{Ingest, IngestOptions, Scraped};
