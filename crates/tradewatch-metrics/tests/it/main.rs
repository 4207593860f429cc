//! Integration tests of the SDK: what a user of the crate sees.

mod allocation;
mod conformance;
mod endpoint;
mod exposition;
mod fixture;
mod guards;
mod native;
mod promtool;
mod registration;
mod roundtrip;
mod threads;
