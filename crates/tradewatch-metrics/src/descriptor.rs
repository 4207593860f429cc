//! What a metric promises: name, kind, unit, help, labels, edges; and the rules it is checked against at start.

use std::time::Duration;

use crate::error::RegisterError;
use crate::label::{LabelDescriptor, valid_label_name};
use crate::native::{SCHEMA_MAX, SCHEMA_MIN, ZERO_THRESHOLD_MIN};
use crate::rules;
pub(crate) use crate::rules::unit_of_name;

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Only ever grows; starts again from 0 with the process.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations counted in buckets.
    Histogram,
    /// Quantiles over a sliding window, made by the service itself.
    Summary,
    /// Facts as labels of a constant 1.
    Info,
}

impl MetricKind {
    /// The word used in exposition and catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Summary => "summary",
            MetricKind::Info => "info",
        }
    }
}

impl std::fmt::Display for MetricKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A metric family as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// The name as exposed in text 0.0.4; a counter's ends in `_total`.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// The unit: `seconds`, `bytes`, `orders`; empty if there is none.
    pub unit: String,
    /// What it tells, in one sentence.
    pub help: String,
    /// Its labels, in order.
    pub labels: Vec<LabelDescriptor>,
    /// Upper edges of a histogram's buckets, ascending, without `+Inf`.
    pub buckets: Vec<f64>,
    /// The grid of a native histogram; `None` if there are only the edges.
    pub native: Option<NativeBuckets>,
    /// The quantiles of a summary, ascending, between 0 and 1.
    pub quantiles: Vec<f64>,
    /// After how long without a change a labelled series is no longer shown, if ever.
    pub expires: Option<Duration>,
    /// The service that declares it, if the declaration says so.
    pub service: Option<String>,
    /// What makes it move, if the declaration says so.
    pub event: Option<String>,
    /// Why the name breaks the naming rules, if it does.
    pub legacy_name: Option<String>,
}

/// How a native histogram chooses its buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeBuckets {
    /// Buckets in an octave, as the exponent of two: 3 is eight, a bucket every 9 %. From -4 to 8.
    pub schema: i8,
    /// Sizes up to this count as zero.
    pub zero_threshold: f64,
}

impl NativeBuckets {
    /// What is meant where the declaration says nothing.
    pub const DEFAULT: NativeBuckets = NativeBuckets { schema: 3, zero_threshold: ZERO_THRESHOLD_MIN };
}

/// The most edges of one histogram.
pub const BUCKETS_MAX: usize = 256;
/// The most quantiles of one summary.
pub const QUANTILES_MAX: usize = 16;
/// The most series one family may have: the product of its labels.
pub const FAMILY_SERIES_MAX: usize = 1 << 20;

impl Descriptor {
    /// A family without labels and edges; its unit is what the name says.
    pub fn new(name: &str, kind: MetricKind, help: &str) -> Descriptor {
        Descriptor {
            name: name.to_owned(),
            kind,
            unit: unit_of_name(name).to_owned(),
            help: help.to_owned(),
            labels: Vec::new(),
            buckets: Vec::new(),
            native: None,
            quantiles: Vec::new(),
            expires: None,
            service: None,
            event: None,
            legacy_name: None,
        }
    }

    /// The family's name in OpenMetrics: a counter's without `_total`, an info's without `_info`.
    pub fn open_metrics_name(&self) -> String {
        match self.kind {
            // A legacy counter has `_total` elsewhere or nowhere; OpenMetrics knows it at the end only.
            MetricKind::Counter => match self.name.strip_suffix("_total") {
                Some(name) => name.to_owned(),
                None => self.name.replace("_total_", "_"),
            },
            MetricKind::Info => self.name.strip_suffix("_info").unwrap_or(&self.name).to_owned(),
            MetricKind::Gauge | MetricKind::Histogram | MetricKind::Summary => self.name.clone(),
        }
    }

    /// The names of the series this family exposes in text 0.0.4.
    pub fn series_names(&self) -> Vec<String> {
        match self.kind {
            MetricKind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
            }
            MetricKind::Summary => {
                ["", "_sum", "_count"].iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
            }
            _ => vec![self.name.clone()],
        }
    }

    /// Checks the declaration as far as it can be checked without its neighbours.
    ///
    /// # Errors
    /// Says what is wrong and what to write instead.
    pub fn check(&self) -> Result<(), RegisterError> {
        self.check_name()?;
        self.check_unit()?;
        self.check_labels()?;
        self.check_buckets()?;
        self.check_quantiles()
    }

    fn error(&self, message: String) -> RegisterError {
        RegisterError::invalid(&self.name, message)
    }

    fn check_name(&self) -> Result<(), RegisterError> {
        if !valid_metric_name(&self.name) {
            return Err(self.error("a metric name is [a-zA-Z_:][a-zA-Z0-9_:]*".to_owned()));
        }
        if self.help.trim().is_empty() {
            return Err(self.error("has no help; write a doc comment on the field".to_owned()));
        }
        if self.legacy_name.is_some() {
            return Ok(());
        }
        rules::check_name(&self.name, self.kind.as_str()).map_err(|message| self.error(message))
    }

    fn check_unit(&self) -> Result<(), RegisterError> {
        if self.legacy_name.is_some() {
            return Ok(());
        }
        rules::check_unit(&self.name, self.kind.as_str(), &self.unit).map_err(|message| self.error(message))
    }

    fn check_labels(&self) -> Result<(), RegisterError> {
        for (at, label) in self.labels.iter().enumerate() {
            let name = &label.name;
            if !valid_label_name(name) {
                return Err(
                    self.error(format!("label {name:?}: a label name is [a-zA-Z_][a-zA-Z0-9_]*, not __…"))
                );
            }
            if matches!(name.as_str(), "le" | "quantile") {
                let whose = if name == "le" { "histogram" } else { "summary" };
                return Err(self.error(format!("label {name:?} is a {whose}'s own; choose another name")));
            }
            // A closed set cannot explode, and an info is one series whatever it says.
            if label.values.is_none() && label.budget != Some(1) && rules::is_identifier_label(name) {
                return Err(self.error(format!(
                    "label {name:?} tells which one and not which kind; leave it out, and put it into an exemplar or a log"
                )));
            }
            if self.labels[..at].iter().any(|earlier| earlier.name == *name) {
                return Err(
                    self.error(format!("label {name:?} occurs twice; each label type once in a tuple"))
                );
            }
        }
        Ok(())
    }

    fn check_buckets(&self) -> Result<(), RegisterError> {
        let edges = &self.buckets;
        if self.kind != MetricKind::Histogram {
            return Ok(());
        }
        if let Some(native) = self.native {
            self.check_native(native)?;
        }
        if (edges.is_empty() && self.native.is_none()) || edges.len() > BUCKETS_MAX {
            return Err(self.error(format!(
                "has {} edges; write #[buckets(0.1, 0.5, 1.0)] with 1 to {BUCKETS_MAX}, the alert's threshold among them",
                edges.len()
            )));
        }
        if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
            return Err(self.error(format!("edge {edge} is not a finite number; +Inf is added by itself")));
        }
        if let Some(pair) = edges.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(self.error(format!("edges ascend; {} comes before {}", pair[0], pair[1])));
        }
        rules::check_edges(&self.unit, edges).map_err(|message| self.error(message))
    }

    fn check_native(&self, native: NativeBuckets) -> Result<(), RegisterError> {
        let NativeBuckets { schema, zero_threshold } = native;
        if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&schema) {
            return Err(self.error(format!(
                "schema {schema} is none; write #[native(schema = 3)], or another from {SCHEMA_MIN} to {SCHEMA_MAX}"
            )));
        }
        if !(ZERO_THRESHOLD_MIN..=f64::MAX).contains(&zero_threshold) {
            return Err(self.error(format!(
                "zero threshold {zero_threshold:e} is not between {ZERO_THRESHOLD_MIN:e} and {:e}; write \
                 #[native(zero_threshold = 1e-9)], or leave it out",
                f64::MAX
            )));
        }
        Ok(())
    }
}

impl Descriptor {
    fn check_quantiles(&self) -> Result<(), RegisterError> {
        if self.kind != MetricKind::Summary {
            return Ok(());
        }
        let quantiles = &self.quantiles;
        if quantiles.is_empty() || quantiles.len() > QUANTILES_MAX {
            return Err(self.error(format!(
                "has {} quantiles; write #[quantiles(0.5, 0.9, 0.99)] with 1 to {QUANTILES_MAX}",
                quantiles.len()
            )));
        }
        if let Some(quantile) = quantiles.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            return Err(self.error(format!("quantile {quantile} is not between 0 and 1")));
        }
        if let Some(pair) = quantiles.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(self.error(format!("quantiles ascend; {} comes before {}", pair[0], pair[1])));
        }
        Ok(())
    }
}

/// Whether text 0.0.4 and OpenMetrics take the name as it is.
pub fn valid_metric_name(name: &str) -> bool {
    let head = |byte: u8| byte == b'_' || byte == b':' || byte.is_ascii_alphabetic();
    let mut bytes = name.bytes();
    bytes.next().is_some_and(head) && bytes.all(|byte| head(byte) || byte.is_ascii_digit())
}
