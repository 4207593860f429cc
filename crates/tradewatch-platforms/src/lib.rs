//! Reference trading platforms: real services, real events.
//!
//! The world around a platform (its clock, network, market feed, broker and cache) is written once, here;
//! each platform is one module of services that know nothing of whether that world is real or simulated.
//!
//! Invariants:
//! - Nothing but [`runtime::Clock`] reads a clock, and nothing but [`runtime::Net`] opens a socket between services.
//!   So the same code runs as operating-system processes and, under a `current_thread` tokio runtime with
//!   paused time, in one thread on virtual time from one [`runtime::Seed`].
//! - No iteration order, thread pool or random source outside the seed influences what happens.
//! - Everything that grows has a bound with a name.
#![allow(clippy::disallowed_methods)] // The reference platforms own their clock: `runtime::Clock`.

pub mod broker;
pub mod cache;
pub mod faults;
pub mod feed;
pub mod market;
pub mod runtime;
pub mod trading_platform;
