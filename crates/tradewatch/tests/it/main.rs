//! The executable as a user meets it: real processes, real sockets, ports of their own; and the whole pipeline in one
//! thread on virtual time.
#![allow(clippy::disallowed_methods)] // These tests wait for processes; every wait has a deadline.

mod backtest;
mod check;
mod demo;
mod differential;
mod doctor;
mod drill;
mod drill_live;
mod platforms;
mod quiet;
mod recording;
mod restore;
mod routing;
mod serve;
mod store;
mod support;
mod tune;
