//! What the crate does as seen from outside: texts in, texts out, and laws that hold for any input.

mod accept;
mod errors;
mod fuzz;
mod limits;
mod print;
mod query;
mod steps;
mod support;
