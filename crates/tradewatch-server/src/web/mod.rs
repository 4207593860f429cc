//! HTTP: the Prometheus API, the parts of Alertmanager's, our own, and the pages.

pub mod admin;
pub mod alertmanager;
pub mod alerts;
pub mod buckets;
mod calendar;
pub mod cardinality;
pub mod federate;
pub mod guard;
pub mod json;
pub mod live;
pub mod params;
pub mod people;
pub mod prometheus;
pub mod respond;
pub mod router;
pub mod status;
pub mod tradewatch;
pub mod tree;
pub mod ui;
pub mod web_config;
