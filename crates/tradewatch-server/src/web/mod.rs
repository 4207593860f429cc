//! HTTP: the Prometheus API, the parts of Alertmanager's, our own, and the pages.

pub mod buckets;
pub mod guard;
pub mod json;
pub mod params;
pub mod respond;
pub mod ui;
pub mod web_config;
