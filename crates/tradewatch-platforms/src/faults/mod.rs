//! Faults that act on the world, never on a metric.
//!
//! The feed and the broker each hold a [`Board`] of faults in force, posted to `/control/faults`; [`Control`] is the
//! client for that. The database is locked from a connection of its own, as a stuck backup or a second writer
//! would lock it: [`DatabaseLock`]. Processes are killed and stopped by whoever started them.

pub mod board;
mod control;
mod database;

pub use board::{Active, Board};
pub use control::Control;
pub use database::{DatabaseLock, lock_database};
