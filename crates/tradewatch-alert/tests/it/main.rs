//! The crate from outside: rule files, rule groups on a real store and engine, routes, unit tests.

mod files;
mod groups;
mod pipeline;
mod receivers;
mod restore;
mod unit_tests;
mod world;
