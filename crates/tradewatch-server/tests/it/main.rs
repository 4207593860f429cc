//! The monitor as a whole, over real sockets on free ports.

mod api;
mod support;
