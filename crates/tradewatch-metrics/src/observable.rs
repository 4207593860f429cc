//! Metrics that are computed when somebody asks: rows in a table, the length of a foreign queue.

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptor::{Descriptor, MetricKind};
use crate::gauge::{self, NEVER};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::observer::{CALLBACK_LIMIT, Observer};
use crate::registry::{Batch, Family, Spec};

/// A family of gauges that a callback computes at each scrape.
///
/// The callback has a thread of its own and a limit, `#[metric(timeout = "500ms")]`, 200 ms if nothing is said.
/// While it hangs, panics or fails, its series are left out, so that nobody takes an old value for a new one, and
/// `tradewatch_sdk_callback_failures_total{metric="…",reason="timeout|panic|error"}` grows. A run that hangs costs
/// one scrape the limit and later ones nothing; there are never two runs of one callback at once.
///
/// ```
/// # use tradewatch_metrics::*;
/// #[derive(Label)]
/// #[label(name = "status")]
/// enum RunStatus { Pending, Failed }
///
/// #[derive(Metrics)]
/// #[metrics(prefix = "agent_pipelines")]
/// struct M {
///     /// Runs in the database, by status.
///     #[metric(timeout = "500ms")]
///     runs_current: ObservableGauge<(RunStatus,)>,
/// }
/// # struct Database; impl Database { fn count(&self, _: &str) -> Result<f64, String> { Ok(3.0) } }
/// # let database = Database;
/// let registry = Registry::new();
/// let m = M::register(&registry)?;
/// m.runs_current.observe_with(move |readings| {
///     readings.set((RunStatus::Pending,), database.count("pending")?);
///     readings.set((RunStatus::Failed,), database.count("failed")?);
///     Ok::<(), String>(())
/// });
/// # let mut body = Vec::new();
/// # registry.encode(Format::Text004, &mut body);
/// # assert!(String::from_utf8(body)?.contains("agent_pipelines_runs_current{status=\"pending\"} 3\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ObservableGauge<L: LabelSet = ()>(Observable<L>);

/// A family of counters whose totals a callback reads at each scrape, from where they are counted already.
///
/// Everything is as with [`ObservableGauge`]. A total that goes down is shown as it is; readers take it for a
/// reset. A negative one, NaN and the infinities are left out and counted as rejected.
pub struct ObservableCounter<L: LabelSet = ()>(Observable<L>);

struct Observable<L> {
    core: Arc<gauge::Core>,
    limit: Duration,
    labels: PhantomData<fn(L)>,
}

/// Where a callback puts its values. What it does not set is not shown.
pub struct Readings<'a, L: LabelSet> {
    values: &'a mut [u64],
    core: Option<Arc<gauge::Core>>,
    labels: PhantomData<fn(L)>,
}

impl<L: LabelSet> Readings<'_, L> {
    /// Sets the value of these labels; of two for the same labels the last is shown.
    pub fn set(&mut self, labels: L, value: f64) {
        if let Some(core) = self.core.as_ref().filter(|_| !(value >= 0.0 && value.is_finite())) {
            return core.head().reject();
        }
        if let Some(cell) = self.values.get_mut(labels.index()) {
            *cell = if value.is_nan() { f64::NAN } else { value }.to_bits();
        }
    }
}

impl<L: LabelSet> Observable<L> {
    fn observe_with<E: Display>(
        &self,
        mut callback: impl FnMut(&mut Readings<'_, L>) -> Result<(), E> + Send + 'static,
    ) {
        // A counter's callback needs the family to count what it refuses; weak, or the family would never end.
        let is_counter = self.core.head().descriptor.kind == MetricKind::Counter;
        let core = is_counter.then(|| Arc::downgrade(&self.core));
        let observer =
            self.core.observer().get_or_init(|| Observer::new(self.core.cardinality(), self.limit));
        observer.set(Box::new(move |values| {
            debug_assert!(values.iter().all(|value| *value == NEVER));
            let core = core.as_ref().and_then(std::sync::Weak::upgrade);
            let mut readings = Readings { values, core, labels: PhantomData };
            callback(&mut readings).map_err(|error| error.to_string())
        }));
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>, descriptor: Descriptor) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, descriptor);
        let core = gauge::Core::new(head, cardinality, true);
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Observable { core, limit: spec.timeout.unwrap_or(CALLBACK_LIMIT), labels: PhantomData }
    }
}

impl<L> Clone for Observable<L> {
    fn clone(&self) -> Self {
        Observable { core: Arc::clone(&self.core), limit: self.limit, labels: PhantomData }
    }
}

macro_rules! observable {
    ($name:ident, $kind:expr) => {
        impl<L: LabelSet> $name<L> {
            /// Computes the values by `callback` from now on, at each scrape, on a thread of its own.
            ///
            /// The callback may block: to ask an async client, let it call `block_on` of a runtime's handle. It
            /// should not own this struct's registry, or neither is ever freed.
            pub fn observe_with<E: Display>(
                &self,
                callback: impl FnMut(&mut Readings<'_, L>) -> Result<(), E> + Send + 'static,
            ) {
                self.0.observe_with(callback);
            }
        }

        impl $name<()> {
            /// Computes the one value by `callback` from now on; as [`Self::observe_with`] otherwise.
            pub fn read_with<E: Display>(
                &self,
                mut callback: impl FnMut() -> Result<f64, E> + Send + 'static,
            ) {
                self.0.observe_with(move |readings| callback().map(|value| readings.set((), value)));
            }
        }

        impl<L: LabelSet> Clone for $name<L> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }

        impl<L: LabelSet> Instrument for $name<L> {
            fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
                descriptor(spec, $kind, L::describe(), service)
            }

            fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
                let descriptor = Self::descriptor(spec, batch.service());
                $name(Observable::create(batch, spec, descriptor))
            }
        }
    };
}
observable!(ObservableGauge, MetricKind::Gauge);
observable!(ObservableCounter, MetricKind::Counter);
