//! Rules, alert states, routing and the texts people receive.

pub mod alert;
pub mod budget;
pub mod duration;
mod error;
pub mod notify;
pub mod route;
pub mod rules;
pub mod template;
pub mod text;
pub mod unittest;
mod yaml;

pub use alert::{Alert, Fingerprint, Severity, State};
pub use error::{ConfigError, Error};
