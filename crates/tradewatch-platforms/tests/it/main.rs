//! The world as its users meet it: over the network, real or virtual.
#![allow(clippy::disallowed_methods)] // The edge owns the clock, its tests too.

mod broker;
mod cache;
mod every_metric;
mod faults;
mod feed;
mod openapi;
mod reconcile;
mod world;
