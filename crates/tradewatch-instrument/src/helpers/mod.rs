//! The documents' helpers: what a trading service does besides calling databases and brokers.
//!
//! Each group is registered by the service that has it. Each operation is counted and timed however it ends: the
//! documents' own decorators timed successes only, so that latency looked best during outages.

mod alerts;
mod collection;
mod goals;
mod models;
mod risk;

pub use alerts::{AlertMetrics, Delivery};
pub use collection::{Collection, Collector};
pub use goals::{Goal, Goals};
pub use models::{Model, Models};
pub use risk::Risk;
