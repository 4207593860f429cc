//! What a catalogue holds.

use std::fmt;

use tradewatch_metrics::{Descriptor, LabelDescriptor, MetricKind, Registry};

/// What one platform promises to expose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The platform's name, as its folder is called.
    pub platform: String,
    /// What people call it.
    pub title: String,
    /// How many metrics its documents claim, if they do.
    pub seed_claim: Option<u32>,
    /// Every metric, in the order of the file.
    pub metrics: Vec<MetricSpec>,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
    /// Quantiles made by the service itself.
    Summary,
    /// Facts as labels of a constant 1.
    Info,
}

impl Kind {
    /// Every kind, with the word the file uses.
    pub const ALL: [(Kind, &'static str); 5] = [
        (Kind::Counter, "counter"),
        (Kind::Gauge, "gauge"),
        (Kind::Histogram, "histogram"),
        (Kind::Summary, "summary"),
        (Kind::Info, "info"),
    ];

    /// The word the file uses.
    pub fn as_str(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<MetricKind> for Kind {
    fn from(kind: MetricKind) -> Kind {
        match kind {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
            MetricKind::Histogram => Kind::Histogram,
            MetricKind::Summary => Kind::Summary,
            MetricKind::Info => Kind::Info,
        }
    }
}

/// One metric family.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// The name as exposed in text 0.0.4.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its unit; empty if it has none.
    pub unit: String,
    /// What it tells, in one sentence.
    pub help: String,
    /// Its labels, in order.
    pub labels: Vec<LabelSpec>,
    /// Upper edges of a histogram's buckets, ascending, without `+Inf`.
    pub buckets: Vec<f64>,
    /// The quantiles of a summary, ascending; empty if they are not known.
    pub quantiles: Vec<f64>,
    /// The schema of a native histogram: its buckets grow by 2^(2^-schema). It may have classic ones beside them.
    pub native_schema: Option<i8>,
    /// The service that exposes it; several, separated by commas, if they all do.
    pub service: String,
    /// The service's port before any shift, if it is known.
    pub port: Option<u16>,
    /// Where it is scraped.
    pub path: Option<String>,
    /// Where the promise comes from: `seed`, `origin`.
    pub source: Option<String>,
    /// What makes it move.
    pub event: Option<String>,
    /// What else one should know.
    pub note: Option<String>,
    /// Why the name breaks the naming rules, if it does.
    pub legacy_name: Option<String>,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether the platform's documents name it.
    pub in_seed: Option<bool>,
    /// Whether the platform's original code exposes it.
    pub in_origin: Option<bool>,
}

/// A label and what it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSpec {
    /// The label's name.
    pub name: String,
    /// The values: all of them if there is no budget, else those known.
    pub values: Vec<String>,
    /// How many values an open label may take.
    pub budget: Option<usize>,
}

impl LabelSpec {
    /// Whether `values` are all there can be.
    pub fn is_closed(&self) -> bool {
        self.budget.is_none() && !self.values.is_empty()
    }
}

/// A service, and what it declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name as catalogues write it; a descriptor's own service name wins.
    pub name: String,
    /// Its port before any shift.
    pub port: Option<u16>,
    /// Where it is scraped.
    pub path: String,
    /// Its declarations, in order.
    pub metrics: Vec<Descriptor>,
}

impl Catalog {
    /// The catalogue that services in Rust declare, in their order.
    pub fn from_services(platform: &str, title: &str, services: &[Service]) -> Catalog {
        let metrics = services.iter().flat_map(|service| {
            service.metrics.iter().map(|descriptor| MetricSpec {
                port: service.port,
                path: Some(service.path.clone()),
                service: descriptor.service.clone().unwrap_or_else(|| service.name.clone()),
                ..MetricSpec::from(descriptor)
            })
        });
        Catalog {
            platform: platform.to_owned(),
            title: title.to_owned(),
            seed_claim: None,
            metrics: metrics.collect(),
        }
    }

    /// The same, of declarations alone.
    pub fn from_descriptors(platform: &str, title: &str, descriptors: &[Descriptor]) -> Catalog {
        let metrics = descriptors.iter().map(MetricSpec::from).collect();
        Catalog { platform: platform.to_owned(), title: title.to_owned(), seed_claim: None, metrics }
    }

    /// What a registry declares, by name: a program tells its own catalogue.
    pub fn from_registry(platform: &str, title: &str, registry: &Registry) -> Catalog {
        Catalog::from_descriptors(platform, title, &registry.describe())
    }

    /// Names the values that an open label is known to take on this platform: its symbols, say. Labels whose
    /// budget is smaller are left alone.
    pub fn with_known_values(mut self, label: &str, values: &[&str]) -> Catalog {
        let labels = self.metrics.iter_mut().flat_map(|metric| &mut metric.labels);
        let room = |spec: &&mut LabelSpec| spec.budget.is_some_and(|budget| budget >= values.len());
        for spec in labels.filter(|spec| spec.name == label).filter(room) {
            spec.values = values.iter().map(|value| (*value).to_owned()).collect();
        }
        self
    }
}

impl From<&Descriptor> for MetricSpec {
    fn from(descriptor: &Descriptor) -> MetricSpec {
        MetricSpec {
            name: descriptor.name.clone(),
            kind: descriptor.kind.into(),
            unit: descriptor.unit.clone(),
            help: descriptor.help.clone(),
            labels: descriptor.labels.iter().map(LabelSpec::from).collect(),
            buckets: descriptor.buckets.clone(),
            quantiles: descriptor.quantiles.clone(),
            native_schema: descriptor.native.map(|native| native.schema),
            service: descriptor.service.clone().unwrap_or_default(),
            port: None,
            path: None,
            source: None,
            event: descriptor.event.clone(),
            note: None,
            legacy_name: descriptor.legacy_name.clone(),
            optional: false,
            in_seed: None,
            in_origin: None,
        }
    }
}

impl From<&LabelDescriptor> for LabelSpec {
    fn from(label: &LabelDescriptor) -> LabelSpec {
        LabelSpec {
            name: label.name.clone(),
            values: label.values.clone().unwrap_or_default(),
            budget: label.budget,
        }
    }
}
