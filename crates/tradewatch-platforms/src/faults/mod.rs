//! Faults that act on the world, never on a metric.
//!
//! The feed and the broker each hold a [`Board`] of faults in force, posted to `/control/faults`.

pub mod board;
mod database;

pub use board::{Active, Board};
pub use database::lock_database;
