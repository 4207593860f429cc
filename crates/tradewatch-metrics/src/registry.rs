//! The registry: what a process exposes, checked when it is declared.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Stopwatch, Wall};
use crate::collector::{Collected, Collector};
use crate::descriptor::{Descriptor, MetricKind, NativeBuckets};
use crate::dynamic::Dynamic;
use crate::encode::{Format, Names, Page};
use crate::error::RegisterError;
use crate::gauge;
use crate::intern::Refusals;
use crate::overview::{over_budget, overview};
use crate::report::Problem;
use crate::report::Report;
use crate::slab::Scrape;

/// A set of metric families with unique names, and the clock of their timers. Cloning shares it.
///
/// There is no global registry: a process makes one and gives it to its endpoint, a test makes its own.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    wall: Wall,
    families: Mutex<Families>,
    /// Grows with each registration.
    generation: AtomicU64,
    /// The most series that all families may have together.
    series_max: AtomicU64,
    report: Report,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            clock: Clock::default(),
            wall: Wall::default(),
            families: Mutex::default(),
            generation: AtomicU64::new(0),
            series_max: AtomicU64::new(REGISTRY_SERIES_MAX),
            report: Report::default(),
        }
    }
}

/// The most series that all families of a registry may have together, unless [`Registry::set_series_max`] says
/// otherwise: what every label combination would make, buckets included.
pub const REGISTRY_SERIES_MAX: u64 = 1 << 22;

#[derive(Default)]
pub(crate) struct Families {
    /// Sorted by name, so that two scrapes list families in the same order.
    pub(crate) list: Vec<Arc<dyn Family>>,
    /// What the open labels in use refused, by label; a label type in two families is here once.
    pub(crate) refusals: Vec<(&'static str, &'static Refusals)>,
    collectors: Vec<Box<dyn Collector>>,
    /// The names of the instruments' families, so that a collector cannot expose one again.
    names: HashSet<String>,
}

impl Families {
    /// Every name that is taken, with the family that took it.
    fn taken(&self) -> HashMap<String, String> {
        let own = self.list.iter().map(|family| family.head().descriptor.clone());
        let collected = self.collectors.iter().flat_map(|collector| collector.families());
        let names = |descriptor: Descriptor| {
            let owner = descriptor.name.clone();
            exposed_names(&descriptor).into_iter().map(move |name| (name, owner.clone()))
        };
        own.chain(collected).flat_map(names).collect()
    }
}

/// A registered family, as the encoder sees it.
pub(crate) trait Family: Send + Sync {
    fn head(&self) -> &Head;
    fn encode(&self, page: &mut Page<'_>);
    /// Adds to the series at an index. Whether the instrument can.
    fn inc(&self, _index: usize, _by: f64) -> bool {
        false
    }
    /// Sets the series at an index. Whether the instrument can.
    fn set(&self, _index: usize, _value: f64) -> bool {
        false
    }
    /// Observes in the series at an index. Whether the instrument can.
    fn observe(&self, _index: usize, _value: f64) -> bool {
        false
    }
    /// The family, if a callback computes its values at each scrape.
    fn observed(&self) -> Option<&gauge::Core> {
        None
    }
}

/// What every family has, whatever its kind.
pub(crate) struct Head {
    pub(crate) descriptor: Descriptor,
    /// The label values at a dense index.
    pub(crate) values_at: fn(usize) -> Option<Vec<&'static str>>,
    /// The dense index of labels given as text.
    pub(crate) index_of: fn(&[(&str, &str)]) -> Option<usize>,
    pub(crate) refusals: Vec<(&'static str, &'static Refusals)>,
    /// What was counted under labels that did not fit into their budget.
    pub(crate) overflowed: AtomicU64,
    /// Values that were refused: not a number, infinite, or negative where only growth is possible.
    pub(crate) rejected: AtomicU64,
    /// Exemplars that no format could show.
    pub(crate) rejected_exemplars: AtomicU64,
    /// After how long an idle series is no longer shown; never if it has no labels.
    pub(crate) expires: Option<Duration>,
    pub(crate) names: Names,
    /// What short names leave out in front.
    pub(crate) prefix: String,
}

impl Head {
    #[cold]
    pub(crate) fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn reject_exemplar(&self) {
        self.rejected_exemplars.fetch_add(1, Ordering::Relaxed);
    }
}

impl Registry {
    /// An empty registry whose timers read the monotonic clock of the system.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// An empty registry with a clock of the caller's: a simulation's virtual time, say.
    ///
    /// The clock gives the time since any fixed moment. If it steps back, timers read it as no time passed. What
    /// tells the time of day (`_created`, exemplars) still reads the system's; see [`Registry::with_clocks`].
    pub fn with_clock(now: impl Fn() -> Duration + Send + Sync + 'static) -> Registry {
        let inner = Inner { clock: Clock::Given(Arc::new(now)), ..Inner::default() };
        Registry { inner: Arc::new(inner) }
    }

    /// The same with the time of day as well: `unix` is the time since the Unix epoch.
    pub fn with_clocks(
        now: impl Fn() -> Duration + Send + Sync + 'static,
        unix: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Registry {
        let inner = Inner { clock: Clock::Given(Arc::new(now)), wall: Wall::new(unix), ..Inner::default() };
        Registry { inner: Arc::new(inner) }
    }

    /// Appends what the registry holds to `out`.
    ///
    /// The order is by family name, then by label index: the same in every scrape. A histogram's sum, count and
    /// buckets come from between two observations of each thread. Unlabelled families always appear; a labelled
    /// series appears once it was asked for with `at`, and then stays unless its family expires idle series.
    ///
    /// # Cost
    /// No writer waits for it. Nothing is allocated in steady state if `out` is reused. It waits for the callbacks
    /// of observable metrics, all at once and each no longer than its limit; without such metrics it never waits.
    pub fn encode(&self, format: Format, out: &mut Vec<u8>) {
        self.observe();
        let families = self.lock();
        let collected = (!families.collectors.is_empty()).then(|| {
            let mut collected = Collected::default();
            families.collectors.iter().for_each(|collector| collector.collect(&mut collected));
            collected
        });
        let scrape = Scrape::begin();
        let mut page = Page { format, now: self.inner.clock.reading(), scrape: &scrape, out };
        for family in &families.list {
            family.encode(&mut page);
        }
        if let Some(collected) = collected {
            collected.encode(&families.names, &mut page);
        }
        self.inner.report.write(&families, &mut page);
        if format == Format::OpenMetrics1 {
            out.extend_from_slice(b"# EOF\n");
        }
        drop(scrape);
        let problems = self.inner.report.problems(&families);
        // A hook may use the registry.
        drop(families);
        self.inner.report.tell(problems);
    }

    /// Calls `hook` with each problem that appeared or went on since the last scrape: label values that were
    /// refused, values that were rejected, callbacks that failed, unknown names. For the log.
    ///
    /// It runs at the end of a scrape, never where something is counted, and once for each subject: thousands of
    /// refused values a second make one call a scrape.
    pub fn on_problem(&self, hook: impl Fn(&Problem) + Send + Sync + 'static) {
        self.inner.report.set_hook(Arc::new(hook));
    }

    /// How many series all families may have together from now on; what is registered already stays.
    pub fn set_series_max(&self, max: u64) {
        self.inner.series_max.store(max, Ordering::Relaxed);
    }

    /// Raises the budget by `more` series: for families whose labels depend on each other, as a status and the kind of
    /// the error do, so that the product of their label sets says nothing about how many there will be.
    pub fn allow_series(&self, more: u64) {
        let raise = |max: u64| Some(max.saturating_add(more));
        // Never refused: `raise` always has an answer.
        let _ = self.inner.series_max.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
    }

    /// The catalogue as text, for the start of a program: each family with its labels and the most series it can
    /// have, the largest first, then the total and the budget.
    pub fn overview(&self) -> String {
        overview(&self.describe(), self.inner.series_max.load(Ordering::Relaxed))
    }

    /// Moves metrics by their short names, given as text; see [`Dynamic`].
    pub fn dynamic(&self) -> Dynamic {
        Dynamic::new(self.clone())
    }

    /// Grows with each registration.
    pub(crate) fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// The families as they are now.
    pub(crate) fn families(&self) -> Vec<Arc<dyn Family>> {
        self.lock().list.clone()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.inner.report
    }

    /// Lets every callback compute its values. The lock is not held meanwhile: they may use the registry.
    fn observe(&self) {
        let observed: Vec<_> =
            self.lock().list.iter().filter(|family| family.observed().is_some()).cloned().collect();
        let cores = || observed.iter().filter_map(|family| family.observed());
        let runs: Vec<_> = cores().filter_map(|core| Some((core, core.observer().get()?.start()))).collect();
        for (core, run) in runs {
            if let Some(observer) = core.observer().get() {
                observer.wait(run, core);
            }
        }
    }

    /// Appends the named families alone, as text without what the registry says about itself.
    #[cfg(feature = "endpoint")]
    pub(crate) fn encode_only(&self, names: &[String], format: Format, out: &mut Vec<u8>) {
        let families = self.lock();
        let scrape = Scrape::begin();
        let mut page = Page { format, now: self.inner.clock.reading(), scrape: &scrape, out };
        for family in families.list.iter().filter(|family| names.contains(&family.head().descriptor.name)) {
            family.encode(&mut page);
        }
    }

    /// Whether a scrape runs callbacks, and so may take as long as the longest of their limits.
    pub fn has_callbacks(&self) -> bool {
        self.lock().list.iter().any(|family| family.observed().is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Families> {
        self.inner.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exposes what `collector` gives at each scrape, after the registry's own families.
    ///
    /// # Errors
    /// If one of its families has a name that is taken.
    pub fn add_collector(&self, collector: impl Collector) -> Result<(), RegisterError> {
        let mut families = self.lock();
        let taken = families.taken();
        for descriptor in collector.families() {
            descriptor.check()?;
            if let Some((name, owner)) =
                exposed_names(&descriptor).iter().find_map(|name| taken.get_key_value(name))
            {
                return Err(RegisterError::duplicate(&descriptor.name, name, owner));
            }
        }
        families.collectors.push(Box::new(collector));
        Ok(())
    }

    /// Starts measuring time by the registry's clock.
    #[inline]
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start(self.inner.clock.clone())
    }

    /// Everything declared, by name: instruments, then what collectors announced.
    pub fn describe(&self) -> Vec<Descriptor> {
        let families = self.lock();
        let own = families.list.iter().map(|family| family.head().descriptor.clone());
        own.chain(families.collectors.iter().flat_map(|collector| collector.families())).collect()
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
    /// What the name begins with in all metrics of the struct.
    pub prefix: Option<&'a str>,
    pub help: &'a str,
    pub unit: Option<&'a str>,
    pub buckets: &'a [f64],
    pub native: Option<NativeBuckets>,
    /// Of a summary.
    pub quantiles: &'a [f64],
    /// How far back a summary looks.
    pub window: Option<Duration>,
    /// The smallest value that a summary tells from 0.
    pub smallest: Option<f64>,
    /// How long the callback of an observable metric may take.
    pub timeout: Option<Duration>,
    /// After how long an idle series is no longer shown.
    pub expires: Option<Duration>,
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

    pub(crate) fn wall(&self) -> Wall {
        self.registry.inner.wall.clone()
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
        let mut taken = families.taken();
        for family in &self.families {
            let descriptor = &family.head().descriptor;
            for name in exposed_names(descriptor) {
                if let Some(owner) = taken.insert(name.clone(), descriptor.name.clone()) {
                    return Err(RegisterError::duplicate(&descriptor.name, &name, &owner));
                }
            }
        }
        let own = families.list.iter().chain(&self.families).map(|family| &family.head().descriptor);
        let max = self.registry.inner.series_max.load(Ordering::Relaxed);
        let series = own.clone().fold(0u64, |sum, descriptor| sum.saturating_add(descriptor.series_max()));
        if let (true, Some(family)) = (series > max, self.families.first()) {
            let name = &family.head().descriptor.name;
            let all: Vec<Descriptor> = own.cloned().collect();
            return Err(RegisterError::invalid(name, over_budget(&all, max)));
        }
        let Families { list, refusals, names, .. } = &mut *families;
        names.extend(self.families.iter().map(|family| family.head().descriptor.name.clone()));
        refusals.extend(self.families.iter().flat_map(|family| &family.head().refusals));
        refusals.sort_by_key(|(label, of)| (*label, std::ptr::from_ref(*of)));
        refusals.dedup_by_key(|(_, of)| std::ptr::from_ref(*of));
        list.extend(self.families);
        list.sort_by(|a, b| a.head().descriptor.name.cmp(&b.head().descriptor.name));
        self.registry.inner.generation.fetch_add(1, Ordering::Release);
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
        MetricKind::Summary => &["_count", "_sum", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge => &[],
    };
    names.extend(suffixes.iter().map(|suffix| format!("{base}{suffix}")));
    if !names.contains(&descriptor.name) {
        names.push(descriptor.name.clone());
    }
    names
}
