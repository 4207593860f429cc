//! What a service is made of, measured: against real servers, real processes, real failures.

#![allow(clippy::disallowed_methods)] // Tests wait with deadlines.

mod brokers;
mod databases;
mod facade;
mod helpers;
mod http;
mod logs;
mod otlp;
mod process;
mod promtool;
mod servers;
mod world;
