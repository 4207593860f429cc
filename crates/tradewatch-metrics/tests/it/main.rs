//! Integration tests of the SDK: what a user of the crate sees.

mod allocation;
mod conformance;
mod endpoint;
mod exemplars;
mod exposition;
mod fixture;
mod fuzz;
mod guards;
mod idle;
mod native;
mod observable;
mod prometheus;
mod promtool;
mod protobuf;
mod registration;
mod roundtrip;
mod summary;
mod threads;
