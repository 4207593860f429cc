//! The clock of timers and guards; the one place of the hot path that reads it.

#![allow(clippy::disallowed_methods)] // An edge module: timers need a clock, and tests inject theirs.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since some fixed moment. Monotonic by intention; a step back is read as no time passed.
#[derive(Clone, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Duration {
        match self {
            Clock::System => system(),
            Clock::Given(now) => now(),
        }
    }
}

fn system() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
