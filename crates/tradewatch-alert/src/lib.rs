//! Rules, alert states, routing and the texts people receive.

pub mod duration;
mod error;
mod yaml;

pub use error::{ConfigError, Error};
