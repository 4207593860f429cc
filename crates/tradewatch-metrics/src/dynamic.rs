//! Metrics by name, for code that has the names as text only.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::descriptor::Descriptor;
use crate::registry::{Family, Registry};
use crate::report::UnknownReason;

/// Moves the metrics of a registry by short names and labels given as text.
///
/// The metrics are declared as ever and keep their types; this is one more way to reach them, for code that comes
/// from `metrics.inc('ticks_received', symbol='SPY')`. A short name is the full one without the struct's prefix,
/// without `_total`, and without the unit: `ticks_received` is `data_ticks_received_total`, `freshness` is
/// `data_freshness_seconds`. The longer forms work too, and a full name always means that metric.
///
/// Nothing fails: a name that is unknown or could mean two metrics, labels that are not the metric's, and a call that
/// its kind does not have move nothing, are counted in `tradewatch_sdk_unknown_names_total{reason="…"}` and told to
/// [`Registry::on_problem`].
///
/// # Cost
/// Some 100 ns: a look-up of the name under a shared lock, and one of each label. Where that is too much, use the
/// typed handle.
///
/// ```
/// # use tradewatch_metrics::*;
/// # open_label!(pub struct Symbol("symbol"), budget = 64);
/// #[derive(Metrics)]
/// #[metrics(prefix = "data")]
/// struct DataMetrics {
///     /// Tick events received.
///     ticks_received_total: Counter<(Symbol,)>,
///     /// Age of the newest tick.
///     #[buckets(0.1, 0.5, 1.0, 5.0)]
///     freshness_seconds: Histogram<(Symbol,)>,
///     /// Share of the expected ticks that came.
///     completeness_ratio: Gauge<(Symbol,)>,
/// }
/// let registry = Registry::new();
/// DataMetrics::register(&registry)?;
/// let metrics = registry.dynamic();
/// metrics.inc("ticks_received", &[("symbol", "SPY")]);
/// metrics.observe("freshness", 0.150, &[("symbol", "SPY")]);
/// metrics.set("completeness", 0.95, &[("symbol", "SPY")]);
/// # let mut body = Vec::new();
/// # registry.encode(Format::Text004, &mut body);
/// # assert!(String::from_utf8(body)?.contains("data_ticks_received_total{symbol=\"SPY\"} 1\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dynamic {
    registry: Registry,
    table: RwLock<Table>,
}

/// The families by each of their names, as of one generation of the registry.
#[derive(Default)]
struct Table {
    generation: u64,
    families: Vec<Arc<dyn Family>>,
    names: HashMap<String, Meaning>,
}

/// What a name means.
enum Meaning {
    One(usize),
    Several(Vec<usize>),
}

impl Dynamic {
    pub(crate) fn new(registry: Registry) -> Dynamic {
        Dynamic { registry, table: RwLock::default() }
    }

    /// Adds 1 to a counter, gauge or up-down counter.
    pub fn inc(&self, name: &str, labels: &[(&str, &str)]) {
        self.inc_by(name, 1.0, labels);
    }

    /// Adds `by` to a counter, gauge or up-down counter. What the instrument does not take is rejected by it.
    pub fn inc_by(&self, name: &str, by: f64, labels: &[(&str, &str)]) {
        self.call(name, labels, "added to", |family, index| family.inc(index, by));
    }

    /// Sets a gauge.
    pub fn set(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.call(name, labels, "set", |family, index| family.set(index, value));
    }

    /// Counts a value in a histogram or summary.
    pub fn observe(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.call(name, labels, "observed", |family, index| family.observe(index, value));
    }

    fn call(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        verb: &str,
        act: impl FnOnce(&dyn Family, usize) -> bool,
    ) {
        self.refresh();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let report = self.registry.report();
        let family = match table.names.get(name) {
            Some(Meaning::One(at)) => &table.families[*at],
            Some(Meaning::Several(all)) => {
                return report.unknown(UnknownReason::Ambiguous, || {
                    let names = all.iter().map(|at| table.families[*at].head().descriptor.name.as_str());
                    format!("{name} is any of {}; write which", names.collect::<Vec<_>>().join(", "))
                });
            }
            None => return report.unknown(UnknownReason::Name, || format!("no metric is called {name}")),
        };
        let head = family.head();
        let Some(index) = (head.index_of)(labels) else {
            return report.unknown(UnknownReason::Labels, || wrong_labels(&head.descriptor, labels));
        };
        if !act(&**family, index) {
            report.unknown(UnknownReason::Kind, || {
                format!("{} is a {} and cannot be {verb}", head.descriptor.name, head.descriptor.kind)
            });
        }
    }

    /// Takes in what was registered since the last call.
    fn refresh(&self) {
        let generation = self.registry.generation();
        if self.table.read().unwrap_or_else(PoisonError::into_inner).generation == generation {
            return;
        }
        let table = Table::new(generation, self.registry.families());
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl Table {
    fn new(generation: u64, families: Vec<Arc<dyn Family>>) -> Table {
        let full = families.iter().enumerate();
        let mut names: HashMap<String, Meaning> =
            full.map(|(at, family)| (family.head().descriptor.name.clone(), Meaning::One(at))).collect();
        let mut short: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, family) in families.iter().enumerate() {
            let head = family.head();
            for name in short_names(&head.descriptor, &head.prefix) {
                let all = short.entry(name).or_default();
                if !all.contains(&at) {
                    all.push(at);
                }
            }
        }
        for (name, all) in short {
            let meaning = if let [one] = all[..] { Meaning::One(one) } else { Meaning::Several(all) };
            names.entry(name).or_insert(meaning);
        }
        Table { generation, families, names }
    }
}

/// The name without its last words and its first.
fn short_names(descriptor: &Descriptor, prefix: &str) -> Vec<String> {
    let full = descriptor.name.as_str();
    let mut names = vec![full];
    let untotal = full.strip_suffix("_total").unwrap_or(full);
    names.push(untotal);
    let last = untotal.rsplit('_').next().unwrap_or(untotal);
    if !descriptor.unit.is_empty()
        && (last == descriptor.unit || crate::rules::unit_of_name(untotal) == descriptor.unit)
    {
        names.extend(untotal.strip_suffix(last).and_then(|rest| rest.strip_suffix('_')));
    }
    if !prefix.is_empty() {
        let shorter: Vec<&str> =
            names.iter().filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('_')).collect();
        names.extend(shorter);
    }
    names.into_iter().filter(|name| !name.is_empty() && *name != full).map(str::to_owned).collect()
}

fn wrong_labels(descriptor: &Descriptor, given: &[(&str, &str)]) -> String {
    let Descriptor { name, labels, .. } = descriptor;
    for (label, value) in given {
        match labels.iter().find(|known| known.name == *label) {
            None => return format!("{name} has no label {label}"),
            Some(known) => {
                let values = known.values.as_deref().unwrap_or_default();
                if known.values.is_some() && !values.iter().any(|known| known == value) {
                    return format!("{name}: label {label} is one of {}, not {value}", values.join(", "));
                }
            }
        }
    }
    let missing = labels.iter().find(|known| given.iter().all(|(label, _)| known.name != *label));
    match missing {
        Some(label) => format!("{name} needs the label {}", label.name),
        None => format!("{name} was given a label twice"),
    }
}
