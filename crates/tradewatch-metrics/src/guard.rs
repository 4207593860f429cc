//! Guards: what is started is recorded, however it ends.

use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::{Moment, Span};
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
