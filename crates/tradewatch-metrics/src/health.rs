//! Health: what a service depends on, checked on its own schedule and not only when somebody looks.
//!
//! A gauge that is refreshed by the health page is frozen while nobody calls it; here each check runs by its
//! own period and its hook sets the gauge, whoever scrapes or not.

#![allow(clippy::disallowed_methods)] // An edge module: "since when" is told in wall time, which tests inject.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A check that has not answered after this is down, unless [`Health::timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_millis(800);
/// The longest error text kept, in characters.
const ERROR_CHARS_MAX: usize = 300;

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;
type Hook = Arc<dyn Fn(&Result<(), String>) + Send + Sync>;

/// The dependencies of a service and their state. Cloning shares it.
///
/// ```
/// # use tradewatch_metrics::*;
/// # use std::time::Duration;
/// # #[derive(Metrics)] struct M {
/// #   /// 1 while the database answers.
/// #   database_connection_status: Gauge }
/// # let m = M::register(&Registry::new())?;
/// # async fn ping() -> Result<(), String> { Ok(()) }
/// let status = m.database_connection_status.clone();
/// let health = Health::new()
///     .dependency("database", Duration::from_secs(1), || ping())
///     .on_result(move |result| status.set_bool(result.is_ok()));
/// // In the service: tokio::spawn(health.clone().run());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Health {
    dependencies: Vec<Dependency>,
    states: Arc<Mutex<Vec<DependencyState>>>,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

#[derive(Clone)]
struct Dependency {
    /// None if the service reports the state itself.
    check: Option<Check>,
    period: Duration,
    timeout: Duration,
    hook: Option<Hook>,
}

/// What is known of one dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyState {
    /// Its name.
    pub name: String,
    /// Whether the last check succeeded; `None` before the first.
    pub up: Option<bool>,
    /// Whether the service is not ready without it.
    pub required: bool,
    /// Since when it is up, or down, or (before the first check) unknown.
    pub since: SystemTime,
    /// When it was checked last.
    pub checked: Option<SystemTime>,
    /// The last error, kept after recovery.
    pub last_error: Option<String>,
}

impl Default for Health {
    fn default() -> Health {
        Health::new()
    }
}

impl Health {
    /// A service that depends on nothing yet.
    pub fn new() -> Health {
        Health::with_clock(SystemTime::now)
    }

    /// The same, telling "since when" by another clock.
    pub fn with_clock(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Health {
        Health { dependencies: Vec::new(), states: Arc::default(), now: Arc::new(now) }
    }

    /// Adds a dependency that `check` tries every `period`, the first time at once.
    ///
    /// A check that panics, or does not answer in time, counts as failed. What follows in the chain
    /// (`on_result`, `timeout`, `optional`) applies to this dependency.
    pub fn dependency<F, Fut>(self, name: &str, period: Duration, check: F) -> Health
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.add(name, period, Some(check))
    }

    /// Adds a dependency whose state the service learns by itself, of a stream say, and tells by
    /// [`Health::report`].
    pub fn reported(self, name: &str) -> Health {
        self.add(name, Duration::MAX, None)
    }

    fn add(mut self, name: &str, period: Duration, check: Option<Check>) -> Health {
        self.dependencies.push(Dependency { check, period, timeout: TIMEOUT, hook: None });
        self.lock().push(DependencyState {
            name: name.to_owned(),
            up: None,
            required: true,
            since: (self.now)(),
            checked: None,
            last_error: None,
        });
        self
    }

    /// Calls `hook` with each result of the dependency added last; the place to set a gauge.
    pub fn on_result(mut self, hook: impl Fn(&Result<(), String>) + Send + Sync + 'static) -> Health {
        if let Some(dependency) = self.dependencies.last_mut() {
            dependency.hook = Some(Arc::new(hook));
        }
        self
    }

    /// How long a check of the dependency added last may take; 800 ms if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Health {
        if let Some(dependency) = self.dependencies.last_mut() {
            dependency.timeout = timeout;
        }
        self
    }

    /// The service is ready without the dependency added last.
    pub fn optional(self) -> Health {
        if let Some(state) = self.lock().last_mut() {
            state.required = false;
        }
        self
    }

    /// Runs every check by its period until it is dropped. Spawn it once, on tokio.
    pub async fn run(self) {
        let mut checks = JoinSet::new();
        for (index, dependency) in self.dependencies.iter().enumerate() {
            if dependency.check.is_some() {
                checks.spawn(self.clone().run_one(index, dependency.period.max(Duration::from_millis(1))));
            }
        }
        while checks.join_next().await.is_some() {}
        // Nothing to check; stay, so that the caller may treat the end of this task as a fault.
        std::future::pending::<()>().await;
    }

    async fn run_one(self, index: usize, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.check(index).await;
        }
    }

    /// Runs every check once, now, one after the other. For tests and simulations that own the schedule.
    pub async fn check_all(&self) {
        for index in 0..self.dependencies.len() {
            self.check(index).await;
        }
    }

    async fn check(&self, index: usize) {
        let dependency = &self.dependencies[index];
        let Some(check) = &dependency.check else { return };
        let result = match timeout(dependency.timeout, survive(check)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} ms", dependency.timeout.as_millis())),
        };
        self.settle(index, result);
    }

    /// Tells the state of a dependency: of a [`Health::reported`] one, or as news between two checks.
    ///
    /// A name that was never added is ignored.
    pub fn report(&self, name: &str, result: Result<(), String>) {
        let index = self.lock().iter().position(|state| state.name == name);
        if let Some(index) = index {
            self.settle(index, result);
        }
    }

    fn settle(&self, index: usize, result: Result<(), String>) {
        let now = (self.now)();
        if let Some(state) = self.lock().get_mut(index) {
            if state.up != Some(result.is_ok()) {
                state.since = now;
            }
            state.up = Some(result.is_ok());
            state.checked = Some(now);
            if let Err(error) = &result {
                state.last_error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
            }
        }
        if let Some(hook) = &self.dependencies[index].hook {
            hook(&result);
        }
    }

    /// The state of each dependency, in the order they were added.
    pub fn states(&self) -> Vec<DependencyState> {
        self.lock().clone()
    }

    /// Whether every required dependency is up.
    pub fn is_ready(&self) -> bool {
        self.lock().iter().all(|state| !state.required || state.up == Some(true))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<DependencyState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a check to its end; a panic in it is an error, not the end of the schedule.
async fn survive(check: &Check) -> Result<(), String> {
    const PANICKED: &str = "the check panicked";
    let Ok(mut future) = catch_unwind(AssertUnwindSafe(|| check())) else { return Err(PANICKED.to_owned()) };
    std::future::poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(PANICKED.to_owned())))
    })
    .await
}
