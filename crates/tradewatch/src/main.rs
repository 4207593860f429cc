//! The command line of tradewatch.
fn main() {}
