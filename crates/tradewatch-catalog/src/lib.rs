//! The metric catalogue: what a platform promises to expose.
