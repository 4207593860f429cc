//! Metrics pushed over OTLP/HTTP, in protobuf, beside the scrape.
//!
//! Everything pushed is cumulative, so the newest request holds what every earlier one did: a receiver that was away
//! has missed nothing once one request arrives, and there is no queue that could grow. Several worker processes of a
//! service push under instance ids of their own, and add up without loss or double counting.

#![allow(clippy::disallowed_methods)] // An edge module: it owns a clock and a socket.

mod convert;
mod names;
mod resource;
mod send;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tradewatch_metrics::{Counter, Histogram, Label, Metrics, Registry};

pub use resource::Resource;

use convert::Times;
use send::{Sender, Verdict};

/// The longest pause between two attempts of one request.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Where to push, what, and how often.
#[derive(Clone)]
pub struct Options {
    /// The receiver's address for metrics: `http://collector:4318/v1/metrics`, or `https://…`.
    pub endpoint: String,
    /// Headers of every request: an API key, say. They are never shown.
    pub headers: Vec<(String, String)>,
    /// The pause between two pushes. OpenTelemetry's own default is 60 s.
    pub interval: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The first pause before a request is tried again; each next one is twice as long, up to 30 s.
    pub backoff: Duration,
    /// How long the last push may take, when the process ends.
    pub shutdown: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            endpoint: "http://127.0.0.1:4318/v1/metrics".to_owned(),
            headers: Vec::new(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(500),
            shutdown: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        // Of an address the authority only: a path or a query may be a key, and so may what stands before an @.
        let uri: Option<Uri> = self.endpoint.parse().ok();
        let host = uri.as_ref().and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.host()?)));
        f.debug_struct("Options")
            .field("endpoint", &host.unwrap_or_default())
            .field("headers", &headers)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Why nothing can be pushed, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[derive(Label, Clone, Copy)]
#[label(name = "result")]
enum ExportResult {
    Success,
    Retried,
    Refused,
    GivenUp,
}

#[derive(Metrics, Clone)]
struct PushMetrics {
    /// Attempts to push metrics, by what became of them.
    otlp_exports_total: Counter<(ExportResult,)>,
    /// Data points that the receiver rejected out of a request that it took.
    otlp_rejected_data_points_total: Counter,
    /// Time of one attempt, however it ended.
    #[buckets(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)]
    otlp_export_duration_seconds: Histogram,
}

/// A running push. Dropped without [`Push::shutdown`], it ends at once, and what moved since the last push is not
/// pushed.
#[must_use = "the push ends when this is dropped"]
pub struct Push {
    commands: mpsc::Sender<Command>,
    task: Option<JoinHandle<()>>,
    last_error: Arc<Mutex<Option<Error>>>,
}

enum Command {
    Flush(oneshot::Sender<Result<(), Error>>),
    Shutdown(oneshot::Sender<Result<(), Error>>),
}

/// Pushes what `registry` holds, every [`Options::interval`], as a task of the present runtime.
///
/// # Errors
/// If the endpoint or a header is none, or the push's own metrics are registered already.
/// # Panics
/// Outside of a runtime.
pub fn start(registry: &Registry, resource: Resource, options: Options) -> Result<Push, Error> {
    let metrics = PushMetrics::register(registry).map_err(|error| Error(error.to_string()))?;
    let sender = Sender::new(&options)?;
    let (commands, received) = mpsc::channel(4);
    let last_error = Arc::new(Mutex::new(None));
    let now = nanos(SystemTime::now());
    let task = Task {
        registry: registry.clone(),
        resource,
        sender,
        metrics,
        start: crate::start_time().map_or(now, |seconds| ((seconds * 1e9) as u64).min(now)),
        exposition: Vec::new(),
        last_error: Arc::clone(&last_error),
        options,
    };
    Ok(Push { commands, task: Some(tokio::spawn(task.run(received))), last_error })
}

impl Push {
    /// Pushes now, trying again until it succeeds, is refused, or [`Options::shutdown`] has passed.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await
    }

    /// Pushes a last time and ends.
    ///
    /// # Errors
    /// As of [`Push::flush`]: what moved since the last push is then not pushed.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        let pushed = self.ask(Command::Shutdown).await;
        if let Some(task) = self.task.take() {
            let _ = task.await; // It ends after it has answered.
        }
        pushed
    }

    /// Why the last attempt failed; `None` if it succeeded.
    pub fn last_error(&self) -> Option<Error> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Command,
    ) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error("the push has ended".to_owned());
        self.commands.send(command(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Task {
    registry: Registry,
    resource: Resource,
    sender: Sender,
    metrics: PushMetrics,
    start: u64,
    /// Kept from push to push.
    exposition: Vec<u8>,
    last_error: Arc<Mutex<Option<Error>>>,
    options: Options,
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(self.options.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await; // The first is at once; what a process counts in its first moment is little.
        let mut pending = None;
        loop {
            let command = match pending.take() {
                Some(command) => Some(command),
                None => tokio::select! {
                    command = commands.recv() => match command {
                        Some(command) => Some(command),
                        None => return,
                    },
                    _ = ticks.tick() => None,
                },
            };
            match command {
                // A command that comes while a request waits to be tried again ends the trying: its own push holds as
                // much. An attempt is never broken off, lest it arrive after a later one.
                None => {
                    let limit = self.options.interval.max(self.options.timeout);
                    let _ = self.push(limit, Some((&mut commands, &mut pending))).await; // Told by `last_error`.
                }
                Some(Command::Flush(answer)) => {
                    let _ = answer.send(self.push(self.options.shutdown, None).await); // Who asked may be gone.
                }
                Some(Command::Shutdown(answer)) => {
                    let _ = answer.send(self.push(self.options.shutdown, None).await);
                    return;
                }
            }
        }
    }

    /// One push: the values of now, tried until `limit`. What is not pushed by then is in the next one.
    async fn push(
        &mut self,
        limit: Duration,
        mut interrupts: Option<(&mut mpsc::Receiver<Command>, &mut Option<Command>)>,
    ) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + limit;
        let times = Times { start: self.start, now: nanos(SystemTime::now()) };
        let (body, points) = convert::request(&self.registry, &self.resource, times, &mut self.exposition);
        let body = self.sender.packed(&body);
        let mut backoff = self.options.backoff;
        let result = loop {
            let timing = self.metrics.otlp_export_duration_seconds.start();
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let verdict = self.sender.send(body.clone(), self.options.timeout.min(left)).await;
            timing.stop();
            match verdict {
                Verdict::Taken { rejected } => {
                    self.count(ExportResult::Success);
                    self.metrics.otlp_rejected_data_points_total.inc_by(rejected);
                    break match rejected {
                        0 => Ok(()),
                        _ => Err(Error(format!("the receiver rejected {rejected} of {points} data points"))),
                    };
                }
                Verdict::Refused(why) => {
                    self.count(ExportResult::Refused);
                    break Err(Error(why));
                }
                Verdict::Later { why, after } => {
                    // The receiver may say how long; else half of the pause is by chance, so that processes that
                    // failed together do not come back together.
                    let pause = after.unwrap_or_else(|| backoff / 2 + backoff.mul_f64(chance() / 2.0));
                    if tokio::time::Instant::now() + pause >= deadline {
                        self.count(ExportResult::GivenUp);
                        break Err(Error(why));
                    }
                    self.count(ExportResult::Retried);
                    self.tell(Some(Error(why)));
                    if let Some((commands, pending)) = &mut interrupts {
                        if let Ok(command) = tokio::time::timeout(pause, commands.recv()).await {
                            **pending = command;
                            break Err(Error("a later push takes its place".to_owned()));
                        }
                    } else {
                        tokio::time::sleep(pause).await;
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        };
        self.tell(result.as_ref().err().cloned());
        result
    }

    fn count(&self, result: ExportResult) {
        self.metrics.otlp_exports_total.at((result,)).inc();
    }

    fn tell(&self, error: Option<Error>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// A number from 0 to 1, by the seed of the standard library's hash maps.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// The headers of a request, checked.
fn headers(given: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let header = |(name, value): &(String, String)| {
        let parsed: HeaderName =
            name.parse().map_err(|_| Error(format!("header {name:?}: a name is letters, digits and -")))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Error(format!("header {name}: its value has characters that no header may have")))?;
        value.set_sensitive(true);
        Ok((parsed, value))
    };
    given.iter().map(header).collect()
}
