//! The executable as a user meets it: real processes, real sockets, ports of their own.
#![allow(clippy::disallowed_methods)] // These tests wait for processes; every wait has a deadline.

mod demo;
mod support;
