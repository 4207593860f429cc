//! Integration tests of the SDK: what a user of the crate sees.

mod exposition;
mod fixture;
mod guards;
mod registration;
mod threads;
