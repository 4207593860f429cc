//! Callbacks that compute values while a scrape waits, with a limit.
//!
//! Each callback has a thread of its own, which sleeps between scrapes. A scrape wakes it and waits, but never
//! longer than the callback's limit: a callback that hangs costs the scrape that started it its limit and later
//! ones nothing, since it is still the same run that hangs. There is never a second run of the same callback.

#![allow(clippy::disallowed_methods)] // An edge: a limit on foreign code is real time, whatever clock the timers have.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::gauge::{self, NEVER};

/// How long a callback may take if its declaration says nothing.
pub const CALLBACK_LIMIT: Duration = Duration::from_millis(200);
/// The longest text of an error that is kept, in characters.
const ERROR_CHARS_MAX: usize = 300;

/// Why a callback gave no values; the names of the reasons in the SDK's own metric.
pub(crate) const FAILURES: [&str; 3] = ["timeout", "panic", "error"];
const TIMEOUT: usize = 0;
const PANIC: usize = 1;
const ERROR: usize = 2;

/// Fills in the bits of a value for each label index.
pub(crate) type Callback = Box<dyn FnMut(&mut [u64]) -> Result<(), String> + Send>;

/// A callback, and the thread that runs it.
pub(crate) struct Observer {
    shared: Arc<Shared>,
    limit: Duration,
    failures: [AtomicU64; 3],
}

struct Shared {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For scrapes: a run ended.
    done: Condvar,
}

struct State {
    /// Absent while it runs.
    callback: Option<Callback>,
    /// When the run in progress began.
    began: Option<Instant>,
    /// How many runs have ended.
    ended: u64,
    /// What the last of them gave.
    values: Box<[u64]>,
    outcome: Result<(), usize>,
    error: Option<String>,
    has_thread: bool,
    closed: bool,
}

/// A run that a scrape waits for.
pub(crate) struct Run {
    number: u64,
    deadline: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer {
    pub(crate) fn new(cardinality: usize, limit: Duration) -> Observer {
        let state = State {
            callback: None,
            began: None,
            ended: 0,
            values: vec![NEVER; cardinality].into(),
            outcome: Ok(()),
            error: None,
            has_thread: false,
            closed: false,
        };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() };
        Observer { shared: Arc::new(shared), limit, failures: [const { AtomicU64::new(0) }; 3] }
    }

    /// Uses this callback from the next run on.
    pub(crate) fn set(&self, callback: Callback) {
        self.shared.lock().callback = Some(callback);
    }

    /// How often one of [`FAILURES`] happened.
    pub(crate) fn failures(&self, reason: usize) -> u64 {
        self.failures[reason].load(Ordering::Relaxed)
    }

    /// What the last failure was, in words.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }

    /// Begins a run, or joins the one in progress.
    pub(crate) fn start(&self) -> Run {
        let mut state = self.shared.lock();
        let began = *state.began.get_or_insert_with(Instant::now);
        if !state.has_thread {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("metrics-callback".to_owned());
            state.has_thread = thread.spawn(move || work(&shared)).is_ok();
        }
        self.shared.work.notify_one();
        Run { number: state.ended + 1, deadline: began + self.limit }
    }

    /// Waits for a run, no longer than the limit from its beginning, and shows what it gave: nothing if it
    /// failed or has not ended.
    pub(crate) fn wait(&self, run: Run, core: &gauge::Core) {
        let mut state = self.shared.lock();
        while state.ended < run.number {
            let left = run.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let outcome = if state.ended < run.number {
            state.error = Some(format!("no answer within {} ms", self.limit.as_millis()));
            Err(TIMEOUT)
        } else {
            state.outcome
        };
        if let Err(reason) = outcome {
            self.failures[reason].fetch_add(1, Ordering::Relaxed);
            state.values.fill(NEVER);
        }
        core.replace(&state.values);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

/// The thread of one callback: ends when the metric does, or after a callback that hung until then.
fn work(shared: &Shared) {
    let mut values: Box<[u64]> = vec![NEVER; shared.lock().values.len()].into();
    let mut state = shared.lock();
    loop {
        while !state.closed && state.began.is_none() {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return;
        }
        let callback = state.callback.take();
        drop(state);
        values.fill(NEVER);
        let (callback, outcome, error) = run(callback, &mut values);
        state = shared.lock();
        // One that was given meanwhile stays.
        state.callback = state.callback.take().or(callback);
        state.began = None;
        state.ended += 1;
        state.values.copy_from_slice(&values);
        state.outcome = outcome;
        state.error = error.or(state.error.take());
        shared.done.notify_all();
    }
}

fn run(
    callback: Option<Callback>,
    values: &mut [u64],
) -> (Option<Callback>, Result<(), usize>, Option<String>) {
    let Some(mut callback) = callback else { return (None, Ok(()), None) };
    match catch_unwind(AssertUnwindSafe(|| callback(values))) {
        Ok(Ok(())) => (Some(callback), Ok(()), None),
        Ok(Err(error)) => (Some(callback), Err(ERROR), Some(error.chars().take(ERROR_CHARS_MAX).collect())),
        // It is asked again at the next scrape; what it left behind is its own affair.
        Err(_) => (Some(callback), Err(PANIC), Some("the callback panicked".to_owned())),
    }
}
