//! Integration tests of the SDK: what a user of the crate sees.
#![allow(clippy::disallowed_methods)] // Waits have a deadline on the real clock.

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
mod prometheus;
mod promtool;
mod protobuf;
mod push;
mod registration;
mod roundtrip;
mod summary;
mod threads;
