//! The harness has to fail what it must.
