//! The clock of timers and guards; the one place of the hot path that reads it.
//!
//! Two readings of the system's clock cost 50 to 60 ns, most of a timer. Where the kernel itself keeps time by
//! the processor's time-stamp counter, reading that counter costs 9 ns, so we do; everywhere else, and until
//! the counter's rate is known, the system's clock is read.

#![allow(clippy::disallowed_methods)] // An edge module: timers need a clock, and tests inject theirs.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time of day comes from, for `_created` and exemplars.
#[derive(Clone, Default)]
pub(crate) struct Wall(Option<Arc<dyn Fn() -> Duration + Send + Sync>>);

impl Wall {
    pub(crate) fn new(unix: impl Fn() -> Duration + Send + Sync + 'static) -> Wall {
        Wall(Some(Arc::new(unix)))
    }

    /// Milliseconds since the Unix epoch; 0 before it.
    pub(crate) fn millis(&self) -> u64 {
        let since = match &self.0 {
            Some(unix) => unix(),
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Where timers take the time from. A step back is read as no time passed.
#[derive(Clone, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// A moment, by the clock that was asked.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    Ticks(u64),
    Since(Duration),
}

/// How long something took, as the clock counted it; converted once, to what is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    Ticks(u64),
    Time(Duration),
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Clock::System => system(),
            Clock::Given(now) => Moment::Since(now()),
        }
    }

    /// The time since a fixed moment, for what takes seconds and not nanoseconds.
    pub(crate) fn reading(&self) -> Duration {
        match self {
            Clock::System => uptime(),
            Clock::Given(now) => now(),
        }
    }

    /// The time since `start`, a moment of this clock.
    #[inline]
    pub(crate) fn since(&self, start: Moment) -> Span {
        match (self, start) {
            (Clock::Given(now), Moment::Since(start)) => Span::Time(now().saturating_sub(start)),
            (Clock::System, Moment::Ticks(start)) => Span::Ticks(ticks::read().saturating_sub(start)),
            (Clock::System, Moment::Since(start)) => Span::Time(uptime().saturating_sub(start)),
            (Clock::Given(_), Moment::Ticks(_)) => Span::Time(Duration::ZERO), // No such clock gives ticks.
        }
    }
}

/// Time running by a registry's clock; see [`Registry::stopwatch`](crate::Registry::stopwatch).
///
/// For a duration whose series is known only at the end. Some 10 ns to start and as much to read.
#[derive(Clone)]
pub struct Stopwatch {
    clock: Clock,
    start: Moment,
}

impl Stopwatch {
    #[inline]
    pub(crate) fn start(clock: Clock) -> Stopwatch {
        Stopwatch { start: clock.now(), clock }
    }

    /// The time since the start; zero if the clock went back.
    #[inline]
    pub fn elapsed(&self) -> Duration {
        self.clock.since(self.start).as_duration()
    }

    /// The same in seconds, as a histogram takes it.
    #[inline]
    pub fn elapsed_seconds(&self) -> f64 {
        self.clock.since(self.start).as_secs_f64()
    }
}

impl Span {
    #[inline]
    pub(crate) fn as_secs_f64(self) -> f64 {
        match self {
            Span::Ticks(ticks) => ticks::nanos(ticks) * 1e-9,
            Span::Time(time) => time.as_secs_f64(),
        }
    }

    #[inline]
    pub(crate) fn as_duration(self) -> Duration {
        match self {
            Span::Ticks(ticks) => Duration::from_nanos(ticks::nanos(ticks) as u64),
            Span::Time(time) => time,
        }
    }
}

#[inline]
fn system() -> Moment {
    if ticks::usable() { Moment::Ticks(ticks::read()) } else { Moment::Since(uptime()) }
}

/// Time since the first call.
fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod ticks {
    //! The time-stamp counter of x86.

    #![allow(unsafe_code)] // One instruction that reads a counter.

    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    /// Nanoseconds a tick, as the bits of an `f64`; 0 while it is not known.
    static RATE: AtomicU64 = AtomicU64::new(0);
    /// How long the counter is compared with the system's clock before its rate is believed: the readings
    /// are some 50 ns apart, so that the rate is right to 10 parts in a million.
    const BASELINE: Duration = Duration::from_millis(5);
    /// Where the kernel says by what it keeps time.
    const CLOCKSOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    #[inline(always)]
    pub(super) fn usable() -> bool {
        RATE.load(Ordering::Relaxed) != 0 || calibrated()
    }

    #[inline(always)]
    pub(super) fn read() -> u64 {
        // SAFETY: RDTSC reads a counter and nothing else. It faults only if the kernel forbids it to programs,
        // and a kernel that keeps time by it (asked before the first use) does not: its own clock call, which
        // runs in the program, executes the same instruction.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    #[inline(always)]
    pub(super) fn nanos(ticks: u64) -> f64 {
        ticks as f64 * f64::from_bits(RATE.load(Ordering::Relaxed))
    }

    /// Both clocks at the first use; `None` if the counter cannot be trusted.
    fn anchor() -> Option<(u64, Instant)> {
        static ANCHOR: OnceLock<Option<(u64, Instant)>> = OnceLock::new();
        *ANCHOR.get_or_init(|| {
            let source = std::fs::read_to_string(CLOCKSOURCE).ok()?;
            (source.trim() == "tsc").then(|| (read(), Instant::now()))
        })
    }

    /// Works out the rate once enough time has passed since the first use. Waits for nothing.
    #[cold]
    fn calibrated() -> bool {
        let Some((ticks, instant)) = anchor() else { return false };
        let (elapsed, counted) = (instant.elapsed(), read().saturating_sub(ticks));
        if elapsed < BASELINE || counted == 0 {
            return false;
        }
        let rate = elapsed.as_nanos() as f64 / counted as f64;
        // Another thread may have been here; one rate for all from then on.
        let _ = RATE.compare_exchange(0, rate.to_bits(), Ordering::Relaxed, Ordering::Relaxed);
        true
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod ticks {
    //! No counter that may be read without asking the system.

    pub(super) fn usable() -> bool {
        false
    }

    pub(super) fn read() -> u64 {
        0
    }

    pub(super) fn nanos(_: u64) -> f64 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counter and the system's clock, over the same stretch of time, agree to a thousandth.
    #[test]
    fn ticks_and_the_system_clock_agree() {
        let clock = Clock::System;
        for _ in 0..12 {
            let outer = Instant::now();
            let start = clock.now();
            let inner = Instant::now();
            while inner.elapsed() < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
            let least = inner.elapsed();
            let measured = clock.since(start).as_duration();
            let most = outer.elapsed();
            let slack = most / 1000;
            assert!(measured + slack >= least && measured <= most + slack, "{least:?} {measured:?} {most:?}");
        }
    }

    #[test]
    fn a_moment_in_the_future_is_no_time_ago() {
        for future in [Moment::Ticks(u64::MAX), Moment::Since(Duration::MAX)] {
            let span = Clock::System.since(future);
            assert_eq!((span.as_duration(), span.as_secs_f64()), (Duration::ZERO, 0.0));
        }
    }
}
