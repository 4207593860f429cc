//! Integration tests of the SDK: what a user of the crate sees.
#![allow(clippy::disallowed_methods)] // Waits have a deadline on the real clock.

mod allocation;
mod belonging;
mod conformance;
mod dynamic;
mod endpoint;
mod exemplars;
mod exposition;
mod fixture;
mod fuzz;
mod guards;
mod idle;
mod labels;
mod native;
mod observable;
mod prometheus;
mod promtool;
mod protobuf;
mod push;
mod registration;
mod roundtrip;
mod summary;
mod threads;
