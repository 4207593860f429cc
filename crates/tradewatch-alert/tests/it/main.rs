//! The crate from outside: rule files, rule groups on a real store and engine, routes, unit tests.

mod amtool;
mod files;
mod generator;
mod groups;
mod oracle;
mod pipeline;
mod receivers;
mod replay;
mod restore;
mod sessions;
mod unit_tests;
mod world;
