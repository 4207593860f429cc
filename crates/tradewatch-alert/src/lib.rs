//! Rules, alert states, routing and the texts people receive.

pub mod alert;
pub mod duration;
mod error;
pub mod route;
pub mod rules;
pub mod template;
mod yaml;

pub use alert::{Alert, Fingerprint, Severity, State};
pub use error::{ConfigError, Error};
