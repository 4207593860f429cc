//! The trading platform, run as its users run it: by its sockets, its files and its pages.
#![allow(clippy::disallowed_methods)] // Tests of services that own their clock.

mod catalog;
mod gateway;
mod market_data;
mod real;
mod servers;
mod services;
mod sim;
mod world;
