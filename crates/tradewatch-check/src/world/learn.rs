//! What one scrape teaches: kinds from the TYPE lines, labels and edges from the samples.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_catalog::{Catalog, Kind, LabelSpec, MetricSpec};
use tradewatch_metrics::parse::{self, Entry, FamilyKind};

use super::{Coverage, Series, World, builtin, family, target_labels, words_of};
use crate::expr::abs::{Abs, Label, LabelSet, Meaning, Part, Unit, Values};
use crate::read::scrape::{Job, LabelMap, Target};

/// The note of a metric of which the exposition does not say the type: nothing follows from the one written down.
pub(super) const UNTYPED: &str = "the exposition gives no type";

/// Values of a label that a scrape keeps; more say nothing new.
const VALUES_MAX: usize = 200;

/// A family as a scrape shows it.
#[derive(Default)]
struct Seen {
    kind: FamilyKind,
    help: String,
    unit: String,
    /// Series by name: label sets counted, labels with their values and how many series have them.
    series: BTreeMap<String, SeenSeries>,
    edges: BTreeSet<u64>,
}

#[derive(Default)]
struct SeenSeries {
    count: usize,
    labels: BTreeMap<String, (usize, BTreeSet<String>)>,
    all_timestamps: bool,
    native: bool,
}

impl World {
    /// Adds what a target answered.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub fn add_scrape(&mut self, job: &Job, target: &Target, body: &str) -> Result<(), String> {
        let families = read(body, |labels| job.metric_relabel.iter().all(|step| step.apply(labels)))?;
        let metrics = families.len();
        self.jobs.insert(job.name.clone(), Coverage::Full);
        self.sources.push(format!("a scrape of {} ({metrics} metrics)", target.address));
        let only = Job { targets: vec![target.clone()], discovered: false, ..job.clone() };
        let labels = target_labels(&only);
        for (name, seen) in families {
            for mut series in known(&name, &seen) {
                for (label, values) in &labels.known {
                    // A target's own label wins only with honor_labels; otherwise it is kept as exported_….
                    if let Some(own) = series.abs.labels.known.remove(label) {
                        let name = if job.honor_labels { label.clone() } else { format!("exported_{label}") };
                        series.abs.labels.known.insert(name, own);
                    }
                    series.abs.labels.known.entry(label.clone()).or_insert_with(|| values.clone());
                }
                series.job = Some(job.name.clone());
                series.interval = Some(job.interval);
                self.push(series);
            }
        }
        Ok(())
    }
}

/// A catalogue of what `body` shows, for `tradewatch catalog learn`.
///
/// Labels whose values look unbounded get a budget and no values; others keep the values seen.
///
/// # Errors
/// The line that cannot be read.
pub fn learn(
    platform: &str,
    title: &str,
    service: &str,
    port: Option<u16>,
    body: &str,
) -> Result<Catalog, String> {
    let families = read(body, |_| true)?;
    let mut metrics = Vec::new();
    for (name, seen) in families {
        let kind = match seen.kind {
            FamilyKind::Counter => Kind::Counter,
            FamilyKind::Histogram => Kind::Histogram,
            FamilyKind::Summary => Kind::Summary,
            FamilyKind::Info => Kind::Info,
            _ => Kind::Gauge,
        };
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for series in seen.series.values() {
            for (label, (_, values)) in &series.labels {
                if !matches!((kind, label.as_str()), (Kind::Histogram, "le") | (Kind::Summary, "quantile")) {
                    labels.entry(label).or_default().extend(values.iter().map(String::as_str));
                }
            }
        }
        let labels = labels.into_iter().map(|(name, values)| LabelSpec {
            name: name.to_owned(),
            budget: Some(values.len().next_power_of_two().max(8) * 2),
            values: values.into_iter().map(str::to_owned).collect(),
        });
        let buckets = if kind == Kind::Histogram {
            seen.edges.iter().map(|bits| unorder(*bits)).collect()
        } else {
            Vec::new()
        };
        metrics.push(MetricSpec {
            name: name.clone(),
            kind,
            unit: seen.unit.clone(),
            help: if seen.help.trim().is_empty() {
                format!("{name}, without a help text")
            } else {
                seen.help.clone()
            },
            labels: labels.collect(),
            buckets,
            // The text formats that are learned from show no native buckets.
            quantiles: Vec::new(),
            native_schema: None,
            service: service.to_owned(),
            port,
            path: Some("/metrics".to_owned()),
            source: Some("learned from a scrape".to_owned()),
            event: None,
            note: (seen.kind == FamilyKind::Unknown).then(|| UNTYPED.to_owned()),
            legacy_name: None,
            optional: false,
            in_seed: None,
            in_origin: None,
        });
    }
    let (platform, title) = (platform.to_owned(), title.to_owned());
    Ok(Catalog { platform, title, seed_claim: None, metrics })
}

/// The families of a body; `keep` relabels a sample and says whether it stays.
fn read(body: &str, keep: impl Fn(&mut LabelMap) -> bool) -> Result<BTreeMap<String, Seen>, String> {
    let open = body.trim_end().ends_with("# EOF");
    let mut parser =
        if open { parse::openmetrics_lenient(body.as_bytes()) } else { parse::text(body.as_bytes()) };
    let mut families: BTreeMap<String, Seen> = BTreeMap::new();
    while let Some(entry) = parser.next() {
        match entry.map_err(|error| error.to_string())? {
            Entry::Help { family, help } => {
                families.entry(series_family(&family, open, FamilyKind::Unknown)).or_default().help =
                    help.into_owned();
            }
            Entry::Type { family, kind } => {
                let before = families.remove(&*family).unwrap_or_default();
                let seen = families.entry(series_family(&family, open, kind)).or_default();
                if seen.help.is_empty() {
                    seen.help = before.help;
                }
                seen.kind = kind;
            }
            Entry::Unit { family, unit } => {
                let unit = unit.to_owned();
                let known = families.keys().find(|name| name.trim_end_matches("_total") == &*family).cloned();
                families.entry(known.unwrap_or_else(|| family.into_owned())).or_default().unit = unit;
            }
            Entry::Sample(sample) => {
                if sample.is_created {
                    continue;
                }
                let mut labels: LabelMap =
                    sample.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
                labels.insert("__name__".to_owned(), sample.name.to_string());
                if !keep(&mut labels) {
                    continue;
                }
                let name = labels.remove("__name__").unwrap_or_default();
                let seen = families.entry(owner(&families, &name)).or_default();
                add(seen, name, labels, sample.value);
            }
        }
    }
    families.retain(|_, seen| !seen.series.is_empty());
    Ok(families)
}

/// OpenMetrics names the family of a counter and of an info without their suffix.
fn series_family(family: &str, open: bool, kind: FamilyKind) -> String {
    match kind {
        FamilyKind::Counter if open => format!("{family}_total"),
        FamilyKind::Info if open => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

/// The family that a series belongs to.
fn owner(families: &BTreeMap<String, Seen>, name: &str) -> String {
    for suffix in ["_bucket", "_sum", "_count"] {
        let Some(base) = name.strip_suffix(suffix) else { continue };
        let kind = families.get(base).map(|seen| seen.kind);
        if matches!(kind, Some(FamilyKind::Histogram | FamilyKind::GaugeHistogram))
            || kind == Some(FamilyKind::Summary) && suffix != "_bucket"
        {
            return base.to_owned();
        }
    }
    name.to_owned()
}

fn add(seen: &mut Seen, name: String, labels: LabelMap, value: f64) {
    let series = seen
        .series
        .entry(name)
        .or_insert_with(|| SeenSeries { all_timestamps: true, ..SeenSeries::default() });
    series.count += 1;
    // Between 2001 and 2100, as seconds since 1970.
    series.all_timestamps &= (1e9..4.2e9).contains(&value);
    for (label, value) in labels {
        if label == "le"
            && let Ok(edge) = value.parse::<f64>()
            && edge.is_finite()
        {
            seen.edges.insert(order(edge));
        }
        let entry = series.labels.entry(label).or_default();
        entry.0 += 1;
        if entry.1.len() < VALUES_MAX {
            entry.1.insert(value);
        }
    }
}

/// Bits that sort as the numbers do.
fn order(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unorder(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

/// What is known of the series of one family.
fn known(name: &str, seen: &Seen) -> Vec<Series> {
    let unit = builtin::unit_of(&seen.unit, name);
    let words = words_of(&[name, &seen.help]);
    let edges: Vec<f64> = seen.edges.iter().map(|bits| unorder(*bits)).collect();
    let kind = match seen.kind {
        FamilyKind::Counter => Some(Kind::Counter),
        FamilyKind::Gauge => Some(Kind::Gauge),
        FamilyKind::Histogram => Some(Kind::Histogram),
        FamilyKind::Summary => Some(Kind::Summary),
        FamilyKind::Info => Some(Kind::Info),
        _ => None,
    };
    let base = Abs { unit, families: [name.to_owned()].into(), words, ..Abs::default() };
    let mut made = match kind {
        Some(kind) => family(name, kind, base.clone(), &edges),
        None => Vec::new(),
    };
    // A histogram that is only native has its bare name as a series; a classic one does not.
    if seen.kind == FamilyKind::Histogram && seen.series.keys().any(|series| series == name) {
        made.retain(|series| series.abs.meaning != Meaning::RawHistogram);
    }
    for (series, shown) in &seen.series {
        let at = made.iter().position(|known| known.name == *series);
        let at = at.unwrap_or_else(|| {
            let abs = Abs { part: Part::Value, ..base.clone() };
            made.push(Series { name: series.clone(), abs, job: None, interval: None, count: 1 });
            made.len() - 1
        });
        let abs = &mut made[at].abs;
        abs.labels = labels_of(shown);
        if abs.meaning == Meaning::Gauge
            && shown.all_timestamps
            && matches!(abs.unit, Unit::Seconds | Unit::Unknown)
            && !shown.native
        {
            abs.meaning = Meaning::Timestamp;
        }
        made[at].count = shown.count;
    }
    // The bare name of a classic histogram is known only to say that it is no series.
    let own = seen.series.values().next().map(labels_of).unwrap_or_default();
    for series in made.iter_mut().filter(|series| !seen.series.contains_key(&series.name)) {
        series.abs.labels = own.clone();
    }
    made
}

fn labels_of(shown: &SeenSeries) -> LabelSet {
    let known = shown.labels.iter().map(|(name, (count, values))| {
        let values = if name == "le" { Values::Any } else { Values::Seen(values.clone()) };
        (name.clone(), Label { values, always: *count == shown.count })
    });
    LabelSet { known: known.collect(), open: false }
}
