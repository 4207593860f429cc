//! The reference page: the catalogue as people read it.

use std::fmt::Write;

use crate::spec::{Catalog, LabelSpec, MetricSpec};

impl Catalog {
    /// The catalogue as Markdown: a table for each service, one row for each metric, with the most series it can
    /// have in one process.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("# Metrics of {}\n\n{}.\n", self.platform, self.title.trim_end_matches('.'));
        let bounds = || self.metrics.iter().map(MetricSpec::series_max);
        let sum: usize = bounds().flatten().fold(0, usize::saturating_add);
        let open = bounds().filter(Option::is_none).count();
        let but = if open == 0 { String::new() } else { format!(", and {open} without a bound") };
        write!(out, "\n{} metrics, at most {sum} series{but}.\n", self.metrics.len())
            .expect("writing to a String does not fail");
        let services = self.services();
        let unnamed = self.metrics.iter().any(|metric| metric.service.is_empty());
        for service in services.into_iter().chain(unnamed.then_some("")) {
            let heading = if service.is_empty() { "Of every service" } else { service };
            let belongs = |metric: &&MetricSpec| metric.service.split(',').any(|name| name.trim() == service);
            write!(
                out,
                "\n## {heading}\n\n| metric | kind | unit | labels | series at most | what it tells |\n|---|---|---|---|---:|---|\n"
            )
            .expect("writing to a String does not fail");
            self.metrics.iter().filter(belongs).for_each(|metric| out.push_str(&row(metric)));
        }
        out
    }
}

fn row(metric: &MetricSpec) -> String {
    let labels: Vec<String> = metric.labels.iter().map(label).collect();
    let mut help = metric.help.clone();
    if !metric.buckets.is_empty() {
        let edges: Vec<String> = metric.buckets.iter().map(f64::to_string).collect();
        help = format!("{} Edges: {}.", sentence(&help), edges.join(", "));
    }
    if let Some(schema) = metric.native_schema {
        help = format!("{} Native buckets of schema {schema}.", sentence(&help));
    }
    if !metric.quantiles.is_empty() {
        let quantiles: Vec<String> = metric.quantiles.iter().map(f64::to_string).collect();
        help = format!("{} Quantiles: {}.", sentence(&help), quantiles.join(", "));
    }
    if let Some(event) = &metric.event {
        help = format!("{} Moves: {event}.", sentence(&help));
    }
    if let Some(reason) = &metric.legacy_name {
        help = format!("{} The name breaks the rules: {reason}.", sentence(&help));
    }
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!(
        "| `{}` | {} | {} | {} | {} | {} |\n",
        metric.name,
        metric.kind,
        cell(&metric.unit),
        cell(&labels.join("; ")),
        metric.series_max().map_or_else(|| "no bound".to_owned(), |most| most.to_string()),
        cell(&help)
    )
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

fn label(label: &LabelSpec) -> String {
    let values = label.values.join(", ");
    match (label.budget, values.is_empty()) {
        (None, true) => format!("`{}`", label.name),
        (None, false) => format!("`{}`: {values}", label.name),
        (Some(budget), true) => format!("`{}` (at most {budget})", label.name),
        (Some(budget), false) => format!("`{}` (at most {budget}): {values}", label.name),
    }
}
