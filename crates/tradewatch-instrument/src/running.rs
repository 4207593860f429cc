//! An operation in progress: measured and counted exactly once, however it ends.

use std::time::Duration;

use tradewatch_metrics::Stopwatch;

use crate::labels::{CANCELLED, ErrorKind, ErrorType, PANICKED, UNFINISHED};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How long it took.
    pub took: Duration,
    /// What kind of error ended it; `None` if it did what was asked.
    pub error: Option<ErrorType>,
}

/// An operation in progress. Its end is recorded once: by what it returned, by a word, or by being dropped.
///
/// ```
/// # use tradewatch_metrics::Registry;
/// # use tradewatch_instrument::{Clients, Vocabulary, System};
/// # async fn ask() -> Result<u64, std::io::Error> { Ok(7) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let clients = Clients::register(&Registry::new(), Vocabulary::Prometheus)?;
/// let db = clients.database("strategy_service", System::Postgresql, "mastertrade");
/// // Success, error, panic and cancellation are told apart:
/// let answer = db.query("select").run(async { ask().await }).await?;
/// // A guard, where the work is no single future. Dropped by `?`, it counts as `unfinished`:
/// let query = db.query("insert");
/// ask().await?;
/// query.ok();
/// # Ok(()) }
/// ```
#[must_use = "an operation that is dropped at once counts as unfinished"]
pub struct Running<F: FnOnce(End)> {
    watch: Stopwatch,
    record: Option<F>,
    dropped: &'static str,
}

impl<F: FnOnce(End)> Running<F> {
    pub(crate) fn start(watch: Stopwatch, record: F) -> Running<F> {
        Running { watch, record: Some(record), dropped: UNFINISHED }
    }

    /// It did what was asked. Returns how long it took.
    pub fn ok(mut self) -> Duration {
        self.end(None)
    }

    /// It did not, for a reason of this kind. Returns how long it took.
    pub fn fail(mut self, kind: &str) -> Duration {
        self.end(Some(kind))
    }

    /// It ended with this result.
    pub fn finish<T, E: ErrorKind>(mut self, result: &Result<T, E>) -> Duration {
        self.end(result.as_ref().err().map(ErrorKind::error_kind))
    }

    /// Runs `work` as the operation. If the future is dropped before its end, that is `cancelled`.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run<T, E: ErrorKind>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.run_judged(work, |result| result.as_ref().err().map(ErrorKind::error_kind)).await
    }

    /// Runs `work` as the operation; `judge` tells from what it returned whether, and how, it failed.
    pub async fn run_judged<T>(
        mut self,
        work: impl Future<Output = T>,
        judge: impl FnOnce(&T) -> Option<&'static str>,
    ) -> T {
        self.dropped = CANCELLED;
        let returned = work.await;
        self.end(judge(&returned));
        returned
    }

    /// Runs `work` as the operation and gives up after `limit`: that is `timeout`, and `late()` the error.
    ///
    /// # Errors
    /// Those of `work`, and `late()`.
    #[cfg(feature = "tokio")]
    pub async fn run_within<T, E: ErrorKind>(
        mut self,
        limit: Duration,
        work: impl Future<Output = Result<T, E>>,
        late: impl FnOnce() -> E,
    ) -> Result<T, E> {
        self.dropped = CANCELLED;
        match tokio::time::timeout(limit, work).await {
            Ok(result) => {
                self.finish(&result);
                result
            }
            Err(_) => {
                self.fail(crate::labels::TIMEOUT);
                Err(late())
            }
        }
    }

    /// Runs `work`, which does not wait, as the operation.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run_sync<T, E: ErrorKind>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let result = work();
        self.finish(&result);
        result
    }

    fn end(&mut self, error: Option<&str>) -> Duration {
        let took = self.watch.elapsed();
        if let Some(record) = self.record.take() {
            record(End { took, error: error.map(ErrorType::intern) });
        }
        took
    }
}

impl<F: FnOnce(End)> Drop for Running<F> {
    fn drop(&mut self) {
        if self.record.is_some() {
            let kind = if std::thread::panicking() { PANICKED } else { self.dropped };
            self.end(Some(kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tradewatch_metrics::Registry;

    fn ended(work: impl FnOnce(Running<&dyn Fn(End)>)) -> Option<&'static str> {
        let (seen, count) = (Cell::new(None), Cell::new(0));
        let record = |end: End| {
            seen.set(end.error.map(ErrorType::as_str));
            count.set(count.get() + 1);
        };
        work(Running::start(Registry::new().stopwatch(), &record));
        assert_eq!(count.get(), 1, "recorded once");
        seen.get()
    }

    fn poll_once<T>(future: impl Future<Output = T>) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn every_end_is_recorded_once() {
        assert_eq!(ended(|call| _ = call.ok()), None);
        assert_eq!(ended(|call| _ = call.fail("refused")), Some("refused"));
        assert_eq!(ended(|call| drop(call)), Some(UNFINISHED));
        let failing = |call: Running<&dyn Fn(End)>| call.run_sync(|| Err::<(), _>("no")).expect_err("no");
        assert_eq!(ended(|call| _ = failing(call)), Some("error"));
        let waiting = std::future::pending::<Result<(), &str>>;
        assert_eq!(ended(|call| assert!(!poll_once(call.run(waiting())))), Some(CANCELLED));
        let panicking = |call: Running<&dyn Fn(End)>| {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                call.run_sync(|| -> Result<(), &str> { panic!("on purpose") })
            }));
            assert!(caught.is_err());
        };
        assert_eq!(ended(panicking), Some(PANICKED));
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn a_limit_is_a_timeout() {
        let seen = Cell::new(None);
        let call = Running::start(Registry::new().stopwatch(), |end: End| seen.set(end.error));
        let work = std::future::pending::<Result<(), &str>>();
        assert_eq!(call.run_within(Duration::from_secs(5), work, || "late").await, Err("late"));
        assert_eq!(seen.get().map(ErrorType::as_str), Some("timeout"));
    }
}
