//! Guards: what is started is recorded, however it ends.

use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::{Moment, Span};
use crate::counter::CounterHandle;
use crate::histogram::HistogramHandle;

/// What a timer records into.
#[doc(hidden)]
pub trait Timed {
    fn observe(&self, value: f64);
    /// Now, by the registry's clock.
    fn now(&self) -> Moment;
    /// The time since a moment of the registry's clock.
    fn since(&self, start: Moment) -> Span;
}

/// A running timer. Stopping or dropping it records the time since its start, once.
///
/// Dropping covers the ends one forgets: `?`, a panic that unwinds, a future that is cancelled.
#[must_use = "a timer that is dropped at once measures nothing"]
pub struct Timing<'a, H: Timed = HistogramHandle<'a>> {
    histogram: H,
    start: Moment,
    armed: bool,
    borrow: PhantomData<&'a ()>,
}

impl<H: Timed> Timing<'_, H> {
    #[inline]
    pub(crate) fn start(histogram: H) -> Self {
        let start = histogram.now();
        Timing { histogram, start, armed: true, borrow: PhantomData }
    }

    /// The time since the start; zero if the clock went back.
    #[inline]
    pub fn elapsed(&self) -> Duration {
        self.histogram.since(self.start).as_duration()
    }

    /// Records the time since the start and returns it.
    #[inline]
    pub fn stop(mut self) -> Duration {
        self.armed = false;
        let span = self.histogram.since(self.start);
        self.histogram.observe(span.as_secs_f64());
        span.as_duration()
    }

    /// Ends the timer without recording anything.
    pub fn discard(mut self) {
        self.armed = false;
    }
}

impl<H: Timed> Drop for Timing<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if self.armed {
            self.histogram.observe(self.histogram.since(self.start).as_secs_f64());
        }
    }
}

/// Counts every call, and times some of them: where reading the clock would cost more than the call itself.
///
/// Of `stride` calls of a thread one is timed, on average. Which one is decided by a sequence that fills any
/// stretch evenly and repeats no short pattern (multiples of the golden ratio), so that calls that come in turns
/// are not always or never timed. The histogram holds the timed calls only: quantiles and means are estimates of
/// all calls, its count is not theirs; that is the counter's.
///
/// ```
/// # use tradewatch_metrics::*;
/// # #[derive(Metrics)] #[metrics(prefix = "feed")] struct M {
/// #   /// Ticks handled.
/// #   ticks_total: Counter,
/// #   /// Time of a tick, of one tick in 64.
/// #   #[native(schema = 3)] tick_duration_seconds: NativeHistogram }
/// # let m = M::register(&Registry::new())?;
/// let timer = SampledTimer::new(m.ticks_total.at(()), m.tick_duration_seconds.at(()), 64);
/// for _tick in 0..1_000 {
///     let _timing = timer.start();        // Ends with the scope, like any guard.
/// }
/// # let seen = m.tick_duration_seconds.snapshot().map_or(0, |shown| shown.count);
/// # assert!((14..=17).contains(&seen), "{seen}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SampledTimer<'a, H: Timed = HistogramHandle<'a>> {
    calls: CounterHandle<'a>,
    histogram: H,
    /// What is at most this is timed.
    most: u64,
}

/// A call of a [`SampledTimer`]: a running timer, or nothing.
#[must_use = "a timer that is dropped at once measures nothing"]
pub struct SampledTiming<'a, H: Timed = HistogramHandle<'a>>(Option<Timing<'a, H>>);

impl<'a, H: Timed + Clone> SampledTimer<'a, H> {
    /// Counts in `calls` and times one call of `stride` into `histogram`; a stride of 0 or 1 times them all.
    pub fn new(calls: CounterHandle<'a>, histogram: H, stride: u32) -> Self {
        SampledTimer { calls, histogram, most: u64::MAX / u64::from(stride.max(1)) }
    }

    /// Counts a call, and starts timing it if it is one of those.
    #[inline]
    pub fn start(&self) -> SampledTiming<'a, H> {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let timed = self.calls.next().wrapping_mul(GOLDEN) <= self.most;
        SampledTiming(timed.then(|| Timing::start(self.histogram.clone())))
    }
}

impl<H: Timed> SampledTiming<'_, H> {
    /// Records the time since the start and returns it; `None` if this call is not timed.
    #[inline]
    pub fn stop(self) -> Option<Duration> {
        self.0.map(Timing::stop)
    }

    /// Ends the timer without recording anything. The call stays counted.
    pub fn discard(self) {
        if let Some(timing) = self.0 {
            timing.discard();
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did what was asked.
    Success,
    /// It said that it did not.
    Error,
    /// It panicked.
    Panicked,
    /// It was dropped before it ended: a time-out, a lost connection, a shutdown.
    Cancelled,
}

impl Outcome {
    /// [`Outcome::Success`] or [`Outcome::Error`].
    pub fn of<T, E>(result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Error }
    }

    /// Whether it did what was asked.
    pub fn is_success(self) -> bool {
        self == Outcome::Success
    }
}

/// A call in progress: its duration and its outcome are recorded, exactly once, however it ends.
///
/// Dropped without an outcome it counts as [`Outcome::Panicked`] while its thread unwinds, else as
/// [`Outcome::Cancelled`]. A `?` between start and end is a drop too: end the call before passing an error on.
///
/// ```
/// # use tradewatch_metrics::*;
/// # #[derive(Label)] enum Status { Success, Error }
/// # #[derive(Metrics)] #[metrics(prefix = "gateway")] struct M {
/// #   /// Time of a broker call.
/// #   #[buckets(0.1, 1.0)] broker_duration_seconds: Histogram,
/// #   /// Broker calls.
/// #   broker_calls_total: Counter<(Status,)> }
/// # let m = M::register(&Registry::new())?;
/// # fn submit() -> Result<u64, String> { Ok(7) }
/// fn place(m: &M) -> Result<u64, String> {
///     let call = Call::start(&m.broker_duration_seconds, |outcome| {
///         let status = if outcome.is_success() { Status::Success } else { Status::Error };
///         m.broker_calls_total.at((status,)).inc();
///     });
///     let order = submit();       // If this panics or is cancelled, that is recorded.
///     call.finish(Outcome::of(&order));
///     order
/// }
/// # place(&m)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a call that is dropped at once counts as cancelled"]
pub struct Call<'a, F: FnOnce(Outcome)> {
    timing: Option<Timing<'a>>,
    record: Option<F>,
}

impl<'a, F: FnOnce(Outcome)> Call<'a, F> {
    /// Starts timing; `record` is called once with the outcome, after the duration was recorded.
    #[inline]
    pub fn start(histogram: impl Into<HistogramHandle<'a>>, record: F) -> Call<'a, F> {
        Call { timing: Some(Timing::start(histogram.into())), record: Some(record) }
    }

    /// It did what was asked. Returns the duration.
    #[inline]
    pub fn success(self) -> Duration {
        self.finish(Outcome::Success)
    }

    /// It did not. Returns the duration.
    #[inline]
    pub fn error(self) -> Duration {
        self.finish(Outcome::Error)
    }

    /// It ended so. Returns the duration.
    #[inline]
    pub fn finish(mut self, outcome: Outcome) -> Duration {
        self.end(outcome)
    }

    fn end(&mut self, outcome: Outcome) -> Duration {
        let elapsed = self.timing.take().map(Timing::stop).unwrap_or_default();
        if let Some(record) = self.record.take() {
            record(outcome);
        }
        elapsed
    }
}

impl<F: FnOnce(Outcome)> Drop for Call<'_, F> {
    fn drop(&mut self) {
        if self.record.is_some() {
            let outcome = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Cancelled };
            self.end(outcome);
        }
    }
}
