//! The platform `trading-platform`: four services around a market feed and a paper broker.
//!
//! ```text
//!  market feed ──ws──▶ market data service ──▶ price cache ──▶ signal service
//!                          ▲ positions                │             ▲ signals
//!                          │                          ▼             │
//!  paper broker ◀──orders── execution gateway ◀──orders── orchestrator
//!        └──trade updates──▶
//! ```
//! Each service is one `run(Config, Clock, Net, Shutdown)`: an operating-system process in the demo, a task on
//! virtual time in [`sim`]. Metrics are written by a service's handling of a request, a message, a tick or a
//! check, and by nothing else.

mod api;
mod catalog;
mod config;
pub mod database;
pub mod gateway;
pub mod labels;
pub mod market_data;
pub mod model;
pub mod money;
pub mod orchestrator;
pub mod order;
pub mod prices;
mod service;
pub mod signal;

pub use catalog::{PLATFORM, catalog};
pub use config::{Config, SYMBOLS, ServiceName};
