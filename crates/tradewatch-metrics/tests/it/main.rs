//! Integration tests of the SDK: what a user of the crate sees.

mod allocation;
mod conformance;
mod endpoint;
mod exemplars;
mod exposition;
mod fixture;
mod guards;
mod idle;
mod native;
mod observable;
mod promtool;
mod registration;
mod roundtrip;
mod summary;
mod threads;
