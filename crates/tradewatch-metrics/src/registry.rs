//! The registry: what a process exposes, checked when it is declared.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{self, Format};
use crate::slab::{self, Scrape};

/// A set of metric families with unique names, and the clock of their timers. Cloning shares it.
///
/// There is no global registry: a process makes one and gives it to its endpoint, a test makes its own.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    clock: Clock,
    families: Mutex<Families>,
}

#[derive(Default)]
struct Families {
    /// Sorted by name, so that two scrapes list families in the same order.
    list: Vec<Arc<dyn Family>>,
    /// The overflow counts of the open labels in use, by label; a label type in two families is here once.
    overflows: Vec<(&'static str, &'static AtomicU64)>,
}

/// A registered family, as the encoder sees it.
pub(crate) trait Family: Send + Sync {
    fn head(&self) -> &Head;
    fn encode(&self, scrape: &Scrape, format: Format, out: &mut Vec<u8>);
}

/// What every family has, whatever its kind.
pub(crate) struct Head {
    pub(crate) descriptor: Descriptor,
    /// The label values at a dense index.
    pub(crate) values_at: fn(usize) -> Option<Vec<&'static str>>,
    pub(crate) overflows: Vec<(&'static str, &'static AtomicU64)>,
    /// Values that were refused: not a number, infinite, or negative where only growth is possible.
    pub(crate) rejected: AtomicU64,
    pub(crate) names: encode::Names,
}

impl Head {
    #[cold]
    pub(crate) fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

impl Registry {
    /// An empty registry whose timers read the monotonic clock of the system.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// An empty registry with a clock of the caller's: a simulation's virtual time, say.
    ///
    /// The clock gives the time since any fixed moment. If it steps back, timers read it as no time passed.
    pub fn with_clock(now: impl Fn() -> Duration + Send + Sync + 'static) -> Registry {
        let inner = Inner { clock: Clock::Given(Arc::new(now)), families: Mutex::default() };
        Registry { inner: Arc::new(inner) }
    }

    /// Appends what the registry holds to `out`.
    ///
    /// The order is by family name, then by label index: the same in every scrape. A histogram's sum, count and
    /// buckets come from between two observations of each thread. Unlabelled families always appear; a labelled
    /// series appears once it was asked for with `at`, and then stays.
    ///
    /// # Cost
    /// No writer waits for it. Nothing is allocated in steady state if `out` is reused.
    pub fn encode(&self, format: Format, out: &mut Vec<u8>) {
        let families = self.inner.families.lock().unwrap_or_else(PoisonError::into_inner);
        let scrape = Scrape::begin();
        for family in &families.list {
            family.encode(&scrape, format, out);
        }
        drop(scrape);
        encode::overflows(&families.overflows, format, out);
        encode::rejected(families.list.iter().map(|family| family.head()), format, out);
        encode::refused(slab::REFUSED.load(Ordering::Relaxed), format, out);
        if format == Format::OpenMetrics1 {
            out.extend_from_slice(b"# EOF\n");
        }
    }

    /// Appends the named families alone, as text without what the registry says about itself.
    #[cfg(feature = "endpoint")]
    pub(crate) fn encode_only(&self, names: &[String], format: Format, out: &mut Vec<u8>) {
        let families = self.inner.families.lock().unwrap_or_else(PoisonError::into_inner);
        let scrape = Scrape::begin();
        for family in &families.list {
            if names.contains(&family.head().descriptor.name) {
                family.encode(&scrape, format, out);
            }
        }
    }

    /// Everything declared, by name.
    pub fn describe(&self) -> Vec<Descriptor> {
        let families = self.inner.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.list.iter().map(|family| family.head().descriptor.clone()).collect()
    }

    /// Starts a registration; used by `#[derive(Metrics)]`.
    #[doc(hidden)]
    pub fn batch(&self, service: Option<&str>) -> Batch<'_> {
        Batch { registry: self, service: service.map(str::to_owned), families: Vec::new(), error: None }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = self.inner.families.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Registry").field("families", &families.list.len()).finish_non_exhaustive()
    }
}

/// What a field of a metrics struct declares; filled by the derive.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec<'a> {
    pub name: &'a str,
    pub help: &'a str,
    pub unit: Option<&'a str>,
    pub buckets: &'a [f64],
    pub info_labels: &'a [&'a str],
    pub info_as_gauge: bool,
    pub legacy_name: Option<&'a str>,
    pub event: Option<&'a str>,
}

/// Families on their way into a registry: all of them or none.
#[doc(hidden)]
pub struct Batch<'r> {
    registry: &'r Registry,
    service: Option<String>,
    families: Vec<Arc<dyn Family>>,
    error: Option<RegisterError>,
}

impl Batch<'_> {
    pub(crate) fn clock(&self) -> Clock {
        self.registry.inner.clock.clone()
    }

    pub(crate) fn service(&self) -> Option<String> {
        self.service.clone()
    }

    pub(crate) fn push(&mut self, family: Arc<dyn Family>) {
        self.families.push(family);
    }

    /// Keeps the first error; the instrument made in spite of it writes to nowhere and is never handed out.
    pub(crate) fn fail(&mut self, error: RegisterError) {
        self.error.get_or_insert(error);
    }

    /// Uses another service name for what follows; gives back the one used until now.
    pub fn enter(&mut self, service: Option<&str>) -> Option<String> {
        match service {
            Some(service) => self.service.replace(service.to_owned()),
            None => self.service.clone(),
        }
    }

    /// Ends [`Batch::enter`].
    pub fn leave(&mut self, service: Option<String>) {
        self.service = service;
    }

    /// Puts everything into the registry, or nothing.
    pub fn commit(self) -> Result<(), RegisterError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut families = self.registry.inner.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: HashMap<String, String> = HashMap::new();
        for family in families.list.iter().chain(&self.families) {
            let descriptor = &family.head().descriptor;
            for name in exposed_names(descriptor) {
                if let Some(owner) = taken.insert(name.clone(), descriptor.name.clone()) {
                    return Err(RegisterError::duplicate(&descriptor.name, &name, &owner));
                }
            }
        }
        let Families { list, overflows } = &mut *families;
        overflows.extend(self.families.iter().flat_map(|family| &family.head().overflows));
        overflows.sort_by_key(|(label, count)| (*label, std::ptr::from_ref(*count)));
        overflows.dedup_by_key(|(_, count)| std::ptr::from_ref(*count));
        list.extend(self.families);
        list.sort_by(|a, b| a.head().descriptor.name.cmp(&b.head().descriptor.name));
        Ok(())
    }
}

/// Every name that a family takes for itself, in any format.
fn exposed_names(descriptor: &Descriptor) -> Vec<String> {
    let base = descriptor.open_metrics_name();
    let mut names = vec![base.clone()];
    let suffixes: &[&str] = match descriptor.kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge => &[],
    };
    names.extend(suffixes.iter().map(|suffix| format!("{base}{suffix}")));
    if !names.contains(&descriptor.name) {
        names.push(descriptor.name.clone());
    }
    names
}

/// Why metrics could not be registered. The message names the metric and says what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterError {
    metric: String,
    kind: RegisterErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RegisterErrorKind {
    Invalid(String),
    Duplicate { name: String, owner: String },
}

impl RegisterError {
    pub(crate) fn invalid(metric: &str, message: String) -> RegisterError {
        RegisterError { metric: metric.to_owned(), kind: RegisterErrorKind::Invalid(message) }
    }

    fn duplicate(metric: &str, name: &str, owner: &str) -> RegisterError {
        let kind = RegisterErrorKind::Duplicate { name: name.to_owned(), owner: owner.to_owned() };
        RegisterError { metric: metric.to_owned(), kind }
    }

    /// Whether another family of the registry already exposes a series of this name.
    pub fn is_duplicate(&self) -> bool {
        matches!(self.kind, RegisterErrorKind::Duplicate { .. })
    }

    /// Whether the declaration itself is wrong.
    pub fn is_invalid(&self) -> bool {
        matches!(self.kind, RegisterErrorKind::Invalid(_))
    }

    /// The metric concerned.
    pub fn metric(&self) -> &str {
        &self.metric
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RegisterErrorKind::Invalid(message) => write!(f, "metric {}: {message}", self.metric),
            RegisterErrorKind::Duplicate { name, owner } if *owner == self.metric => {
                write!(
                    f,
                    "metric {}: is registered already ({name}); register it once and clone it",
                    self.metric
                )
            }
            RegisterErrorKind::Duplicate { name, owner } => write!(
                f,
                "metric {}: {owner} already exposes {name}; choose another name for one of the two",
                self.metric
            ),
        }
    }
}

impl std::error::Error for RegisterError {}
