//! Scraping: targets found, fetched on schedule, taken into the store.

pub mod ingest;
pub mod line;

pub use ingest::{Ingest, IngestOptions, Scraped};
