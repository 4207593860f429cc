//! The metric catalogue: what a platform promises to expose.
//!
//! A catalogue is one TOML file for a platform. A service in Rust generates it from its declarations
//! ([`Catalog::from_services`]); for others it is written by hand in the same form. Checks, dashboards, drills
//! and the reference page read it.
//!
//! ```
//! use tradewatch_catalog::{Catalog, Part};
//!
//! let text = r#"
//! platform = "demo"
//! title = "A demonstration"
//!
//! [[metric]]
//! name = "order_ack_seconds"
//! type = "histogram"
//! unit = "seconds"
//! help = "Time from order to acknowledgement"
//! labels = [{ name = "side", values = ["buy", "sell"] }]
//! buckets = [0.1, 0.5, 1.0]
//! "#;
//! let catalog = Catalog::parse("catalog.toml", text)?;
//! let found = catalog.find("order_ack_seconds_bucket").expect("a series of the histogram");
//! assert_eq!((found.metric.unit.as_str(), found.part), ("seconds", Part::Bucket));
//! assert_eq!(catalog.suggest("order_ack_second_bucket"), Some("order_ack_seconds_bucket".to_owned()));
//! # Ok::<(), tradewatch_catalog::Error>(())
//! ```
//!
//! Invariants: a parsed catalogue prints and parses back to itself; no two metrics expose the same series.

mod error;
mod lookup;
mod nearest;
mod print;
mod read;
mod reference;
mod spec;

pub use error::Error;
pub use lookup::{Found, Part};
pub use nearest::nearest;
pub use spec::{Catalog, Kind, LabelSpec, MetricSpec, Service};
