//! From the name of a series, as queries and panels use it, to the metric behind it.

use crate::nearest::nearest;
use crate::spec::{Catalog, Kind, LabelSpec, MetricSpec};

/// What a series is of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The metric itself: a counter, a gauge, an info, a summary's quantile.
    Value,
    /// The cumulative buckets of a histogram.
    Bucket,
    /// The sum of a histogram or summary.
    Sum,
    /// The number of observations of a histogram or summary.
    Count,
}

/// A metric that exposes the series asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// The metric.
    pub metric: &'a MetricSpec,
    /// What of it the series is.
    pub part: Part,
}

impl Catalog {
    /// The metric that exposes this series, in text 0.0.4 or OpenMetrics. `None` if the catalogue has none.
    ///
    /// `x_bucket`, `x_sum` and `x_count` are found for a histogram `x`; a metric that bears such a name itself
    /// is found first.
    pub fn find(&self, series: &str) -> Option<Found<'_>> {
        // A native histogram is a series of its own name, a classic one is not.
        let is_series =
            |metric: &MetricSpec| metric.kind != Kind::Histogram || metric.native_schema.is_some();
        let named = self.metrics.iter().find(|metric| metric.name == series && is_series(metric));
        if let Some(metric) = named {
            return Some(Found { metric, part: Part::Value });
        }
        let parts = [("_bucket", Part::Bucket), ("_sum", Part::Sum), ("_count", Part::Count)];
        let of_histogram = parts.into_iter().find_map(|(suffix, part)| {
            let name = series.strip_suffix(suffix)?;
            let metric = self.metric(name).filter(|metric| match metric.kind {
                Kind::Histogram => true,
                Kind::Summary => part != Part::Bucket,
                Kind::Counter | Kind::Gauge | Kind::Info => false,
            })?;
            Some(Found { metric, part })
        });
        of_histogram.or_else(|| {
            let metric =
                self.metrics.iter().find(|metric| metric.open_metrics_series().as_deref() == Some(series));
            metric.map(|metric| Found { metric, part: Part::Value })
        })
    }

    /// The metric of this very name.
    pub fn metric(&self, name: &str) -> Option<&MetricSpec> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// The series of the catalogue most like a name that is not in it, for "did you mean".
    pub fn suggest(&self, series: &str) -> Option<String> {
        let names: Vec<String> = self.metrics.iter().flat_map(MetricSpec::series_names).collect();
        nearest(series, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The services, in order of their first metric.
    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = Vec::new();
        for service in self.metrics.iter().flat_map(|metric| metric.service.split(',').map(str::trim)) {
            if !service.is_empty() && !services.contains(&service) {
                services.push(service);
            }
        }
        services
    }
}

impl MetricSpec {
    /// The names of its series in text 0.0.4.
    pub fn series_names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["", "_sum", "_count"],
            Kind::Counter | Kind::Gauge | Kind::Info => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }

    /// The label of this name.
    pub fn label(&self, name: &str) -> Option<&LabelSpec> {
        self.labels.iter().find(|label| label.name == name)
    }

    /// How many series it may have at most in one process: the product of its labels, times the buckets and
    /// two more for a histogram, or the quantiles and two more for a summary. `None` if a label is open without a
    /// budget. A budget of 1 is a fact of an info: one value, and nothing overflows.
    pub fn series_max(&self) -> Option<usize> {
        let sets = self.labels.iter().try_fold(1usize, |product, label| {
            // An open label has its overflow value beside the budget.
            let values = match label.budget {
                _ if label.is_closed() => label.values.len(),
                Some(1) => 1,
                budget => budget? + 1,
            };
            product.checked_mul(values)
        })?;
        let each = match self.kind {
            Kind::Histogram => self.buckets.len() + 3,
            Kind::Summary => self.quantiles.len() + 2,
            Kind::Counter | Kind::Gauge | Kind::Info => 1,
        };
        sets.checked_mul(each)
    }

    /// The name of a counter's series in OpenMetrics if it differs: `_total` stands at the end there.
    fn open_metrics_series(&self) -> Option<String> {
        if self.kind != Kind::Counter || self.name.ends_with("_total") {
            return None;
        }
        Some(format!("{}_total", self.name.replace("_total_", "_")))
    }
}
