//! How many series there can be, known at the start.

use std::fmt::Write;

use crate::descriptor::{Descriptor, MetricKind};
use crate::label::LabelDescriptor;

/// How many families an error about the budget names.
const NAMED_MAX: usize = 3;

impl LabelDescriptor {
    /// How many values there can be: those of a closed set, the budget of an open one and `__overflow__`. A fact of
    /// an info (a budget of 1) is one.
    pub fn values_max(&self) -> u64 {
        match (&self.values, self.budget) {
            (Some(values), _) => values.len() as u64,
            (None, Some(1)) => 1,
            (None, Some(budget)) => budget as u64 + 1,
            (None, None) => 1,
        }
    }
}

impl Descriptor {
    /// The most series the family can have: the product of its labels, times the lines of one histogram or summary.
    /// A native histogram without edges is one series and three lines of text.
    pub fn series_max(&self) -> u64 {
        let lines = match self.kind {
            MetricKind::Histogram => self.buckets.len() as u64 + 3,
            MetricKind::Summary => self.quantiles.len() as u64 + 2,
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Info => 1,
        };
        self.labels.iter().fold(lines, |product, label| product.saturating_mul(label.values_max()))
    }
}

fn total(descriptors: &[Descriptor]) -> u64 {
    descriptors.iter().fold(0, |sum, descriptor| sum.saturating_add(descriptor.series_max()))
}

fn largest_first(descriptors: &[Descriptor]) -> Vec<&Descriptor> {
    let mut sorted: Vec<&Descriptor> = descriptors.iter().collect();
    sorted.sort_by(|a, b| b.series_max().cmp(&a.series_max()).then_with(|| a.name.cmp(&b.name)));
    sorted
}

/// `symbol (at most 65) × side (2)`.
fn labels(descriptor: &Descriptor) -> String {
    let label = |label: &LabelDescriptor| match (&label.values, label.budget) {
        (None, Some(1)) => label.name.clone(),
        (None, _) => format!("{} (at most {})", label.name, label.values_max()),
        (Some(_), _) => format!("{} ({})", label.name, label.values_max()),
    };
    let mut parts: Vec<String> = descriptor.labels.iter().map(label).collect();
    match descriptor.kind {
        MetricKind::Histogram if descriptor.buckets.is_empty() => parts.push("native".to_owned()),
        MetricKind::Histogram => parts.push(format!("{} edges", descriptor.buckets.len())),
        MetricKind::Summary => parts.push(format!("{} quantiles", descriptor.quantiles.len())),
        MetricKind::Counter | MetricKind::Gauge | MetricKind::Info => {}
    }
    parts.join(" × ")
}

/// A line for each family, the largest first, then the total.
pub(crate) fn overview(descriptors: &[Descriptor], max: u64) -> String {
    let (series, families) = (total(descriptors), descriptors.len());
    let sum = format!("at most, in {families} families");
    let width =
        descriptors.iter().map(|descriptor| descriptor.name.len()).chain([sum.len()]).max().unwrap_or(0);
    let mut out = format!("{:<width$}  {:<9}  {:>9}  labels\n", "metric", "kind", "series");
    let mut row = |name: &str, kind: &str, series: u64, labels: &str| {
        let row = format!("{name:<width$}  {kind:<9}  {series:>9}  {labels}");
        writeln!(out, "{}", row.trim_end()).expect("writing to a String does not fail");
    };
    for descriptor in largest_first(descriptors) {
        row(&descriptor.name, descriptor.kind.as_str(), descriptor.series_max(), &labels(descriptor));
    }
    row(&sum, "", series, &format!("of a budget of {max}"));
    out
}

/// What to say when a registration would go beyond the budget.
pub(crate) fn over_budget(descriptors: &[Descriptor], max: u64) -> String {
    let largest = largest_first(descriptors).into_iter().take(NAMED_MAX);
    let named: Vec<String> =
        largest.map(|descriptor| format!("{} ({})", descriptor.name, descriptor.series_max())).collect();
    format!(
        "the registry's metrics could make {} series, more than its budget of {max}; the largest are {}: drop a label, \
         lower the budget of one, or raise that of the registry with set_series_max",
        total(descriptors),
        named.join(", ")
    )
}
