//! Instruments for trading services: nanoseconds on the hot path, never a panic.
