//! What a metric family says about itself: kind, unit, help.

use std::fmt;

/// The kind of a metric family.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum MetricKind {
    /// Only rises, or starts again from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets, classic or native.
    Histogram,
    /// Buckets that may also sink.
    GaugeHistogram,
    /// Quantiles computed by the source.
    Summary,
    /// Constant 1 with facts in its labels.
    Info,
    /// One series per state, 0 or 1.
    StateSet,
    /// The source did not say.
    #[default]
    Unknown,
}

impl MetricKind {
    /// Every kind, in the order of its number on disk.
    pub const ALL: [MetricKind; 8] = [
        MetricKind::Unknown,
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::GaugeHistogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
    ];

    /// As the Prometheus API and OpenMetrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::GaugeHistogram => "gaugehistogram",
            MetricKind::Summary => "summary",
            MetricKind::Info => "info",
            MetricKind::StateSet => "stateset",
            MetricKind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a metric family says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit, empty if none was given.
    pub unit: String,
    /// Its help text, empty if none was given.
    pub help: String,
}
