//! The market feed.
pub mod recording;
