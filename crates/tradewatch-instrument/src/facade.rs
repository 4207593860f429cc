//! A recorder for the `metrics` crate: what is counted by its macros is exposed beside what is counted here, so that a
//! codebase moves over file by file.
//!
//! The macros allocate a key for each call and look it up by hash; that is their cost, some 100 ns, and not one for a
//! hot path. A name that a typed instrument has taken is its alone: when both count, the macro's series are left out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
};
use tradewatch_metrics::{
    Collected, Collector, Descriptor, LABEL_VALUE_BYTES_MAX, MetricKind, OVERFLOW, RegisterError, Registry,
};

/// The most families, and the most series of one family. What comes after is counted together as `__overflow__`.
pub const FAMILIES_MAX: usize = 1_000;
/// See [`FAMILIES_MAX`].
pub const FAMILY_SERIES_MAX: usize = 1_000;

/// Edges of histograms for which none are given.
const EDGES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Records into a registry what the macros of `metrics` count. Cloning shares it.
///
/// ```
/// # use tradewatch_metrics::{Format, Registry};
/// # use tradewatch_instrument::Recorder;
/// let registry = Registry::new();
/// let recorder = Recorder::new(&registry)?.with_edges("broker_rtt", &[0.001, 0.01, 0.1]);
/// metrics::with_local_recorder(&recorder, || {        // In a service: recorder.install()
///     metrics::counter!("orders_total", "side" => "buy").increment(1);
/// });
/// let mut body = Vec::new();
/// registry.encode(Format::Text004, &mut body);
/// assert!(String::from_utf8(body)?.contains("orders_total{side=\"buy\"} 1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    families: BTreeMap<String, Family>,
    help: HashMap<String, (String, Option<Unit>)>,
    edges: HashMap<String, Arc<[f64]>>,
}

struct Family {
    kind: MetricKind,
    series: HashMap<Labels, Cell>,
}

type Labels = Vec<(String, String)>;

#[derive(Clone)]
enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Recorder {
    /// A recorder whose families `registry` exposes.
    ///
    /// # Errors
    /// None today: the names are not known yet.
    pub fn new(registry: &Registry) -> Result<Recorder, RegisterError> {
        let inner = Arc::new(Inner::default());
        registry.add_collector(Exposed(Arc::clone(&inner)))?;
        Ok(Recorder { inner })
    }

    /// Uses these edges, ascending and finite, for the histogram of this name, if it has recorded nothing yet.
    pub fn with_edges(self, name: &str, edges: &[f64]) -> Recorder {
        let edges: Arc<[f64]> = edges.iter().copied().filter(|edge| edge.is_finite()).collect();
        self.inner.state().edges.insert(exposed_name(name), edges);
        self
    }

    /// Makes it the recorder of the process.
    ///
    /// # Errors
    /// If the process has one already.
    pub fn install(self) -> Result<(), metrics::SetRecorderError<Recorder>> {
        metrics::set_global_recorder(self)
    }

    fn cell(&self, key: &Key, kind: MetricKind) -> Option<Cell> {
        let mut state = self.inner.state();
        let name = exposed_name(key.name());
        let State { families, edges, .. } = &mut *state;
        if !families.contains_key(&name) && families.len() >= FAMILIES_MAX {
            return None;
        }
        let family = families.entry(name.clone()).or_insert_with(|| Family { kind, series: HashMap::new() });
        if family.kind != kind {
            return None; // One name, two kinds: the first one's is exposed.
        }
        let mut labels: Labels =
            key.labels().map(|label| (exposed_label(label.key()), label_value(label.value()))).collect();
        labels.sort();
        labels.dedup_by(|a, b| a.0 == b.0);
        if !family.series.contains_key(&labels) && family.series.len() >= FAMILY_SERIES_MAX {
            labels.iter_mut().for_each(|(_, value)| OVERFLOW.clone_into(value));
        }
        let cell = family.series.entry(labels).or_insert_with(|| match kind {
            MetricKind::Counter => Cell::Counter(Arc::default()),
            MetricKind::Gauge => Cell::Gauge(Arc::default()),
            _ => {
                let edges = edges.get(&name).cloned().unwrap_or_else(|| Arc::from(EDGES));
                Cell::Histogram(Arc::new(HistogramCell::new(edges)))
            }
        });
        Some(cell.clone())
    }

    fn describe(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        let mut state = self.inner.state();
        if state.help.len() < FAMILIES_MAX {
            state.help.insert(exposed_name(key.as_str()), (help.into_owned(), unit));
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("families", &self.inner.state().families.len()).finish()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.cell(key, MetricKind::Counter) {
            Some(Cell::Counter(cell)) => Counter::from_arc(cell),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.cell(key, MetricKind::Gauge) {
            Some(Cell::Gauge(cell)) => Gauge::from_arc(cell),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.cell(key, MetricKind::Histogram) {
            Some(Cell::Histogram(cell)) => Histogram::from_arc(cell),
            _ => Histogram::noop(),
        }
    }
}

#[derive(Default)]
struct CounterCell(AtomicU64);

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// The bits of an `f64`.
#[derive(Default)]
struct GaugeCell(AtomicU64);

impl GaugeCell {
    fn add(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

struct HistogramCell {
    edges: Arc<[f64]>,
    /// Counts and sum, which belong together. Held for a few stores, or for a copy by the scrape.
    values: Mutex<(Vec<u64>, f64)>,
}

impl HistogramCell {
    fn new(edges: Arc<[f64]>) -> HistogramCell {
        HistogramCell { values: Mutex::new((vec![0; edges.len() + 1], 0.0)), edges }
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        // NaN and the infinities would spoil the sum for good.
        if value.is_finite() {
            let bucket = self.edges.partition_point(|edge| *edge < value);
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.0[bucket] += 1;
            values.1 += value;
        }
    }
}

struct Exposed(Arc<Inner>);

impl Collector for Exposed {
    fn families(&self) -> Vec<Descriptor> {
        Vec::new() // Names come with the first call of a macro.
    }

    fn collect(&self, out: &mut Collected) {
        let state = self.0.state();
        for (name, family) in &state.families {
            let help = state.help.get(name);
            let text = help.map_or("Counted by the metrics facade.", |(help, _)| help);
            let mut descriptor = Descriptor::new(name, family.kind, text);
            if let Some(unit) = help.and_then(|(_, unit)| *unit).filter(|_| descriptor.unit.is_empty()) {
                unit.as_str().clone_into(&mut descriptor.unit);
            }
            let mut exposed = out.family(&descriptor);
            let mut series: Vec<_> = family.series.iter().collect();
            series.sort_by(|a, b| a.0.cmp(b.0));
            for (labels, cell) in series {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                match cell {
                    Cell::Counter(cell) => exposed.sample(&labels, cell.0.load(Ordering::Relaxed) as f64),
                    Cell::Gauge(cell) => {
                        exposed.sample(&labels, f64::from_bits(cell.0.load(Ordering::Relaxed)))
                    }
                    Cell::Histogram(cell) => {
                        let (counts, sum) =
                            cell.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        exposed.histogram(&labels, &cell.edges, &counts, sum)
                    }
                };
            }
        }
    }
}

/// A name as Prometheus takes it: `broker.rtt` is `broker_rtt`.
fn exposed_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if name.starts_with(|c: char| !c.is_ascii_digit()) { name } else { format!("_{name}") }
}

fn exposed_label(name: &str) -> String {
    let name = exposed_name(name).replace(':', "_");
    match name.strip_prefix("__") {
        Some(rest) => format!("_{rest}"), // Two underscores are Prometheus' own.
        None => name,
    }
}

fn label_value(value: &str) -> String {
    if value.len() <= LABEL_VALUE_BYTES_MAX { value.to_owned() } else { OVERFLOW.to_owned() }
}
