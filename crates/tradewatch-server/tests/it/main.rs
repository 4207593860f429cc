//! The monitor as a whole, over real sockets on free ports.

mod alerting;
mod api;
mod doors;
mod hostile;
mod live;
mod pipeline;
mod reload;
mod restart;
mod scraping;
mod support;
