//! The monitor as a whole, over real sockets on free ports.
#![allow(clippy::disallowed_methods)] // Waits have a deadline on the real clock.

mod alerting;
mod alertmanager;
mod alertmanager_clients;
mod api;
mod calendar;
mod discovery;
mod doors;
mod generator;
mod hostile;
mod ledger;
mod live;
mod mail;
mod people;
mod pipeline;
mod push;
mod push_proto;
mod receivers;
mod reload;
mod restart;
mod scraping;
mod silence_of_the_monitor;
mod support;
mod timing;
mod vendor;
