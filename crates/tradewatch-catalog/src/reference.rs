//! The reference page: the catalogue as people read it.

use std::fmt::Write;

use crate::spec::{Catalog, LabelSpec, MetricSpec};

impl Catalog {
    /// The catalogue as Markdown: a table for each service, one row for each metric.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("# Metrics of {}\n\n{}.\n", self.platform, self.title.trim_end_matches('.'));
        let services = self.services();
        let unnamed = self.metrics.iter().any(|metric| metric.service.is_empty());
        for service in services.into_iter().chain(unnamed.then_some("")) {
            let heading = if service.is_empty() { "Of every service" } else { service };
            let belongs = |metric: &&MetricSpec| metric.service.split(',').any(|name| name.trim() == service);
            write!(
                out,
                "\n## {heading}\n\n| metric | kind | unit | labels | what it tells |\n|---|---|---|---|---|\n"
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
    if let Some(event) = &metric.event {
        help = format!("{} Moves: {event}.", sentence(&help));
    }
    if let Some(reason) = &metric.legacy_name {
        help = format!("{} The name breaks the rules: {reason}.", sentence(&help));
    }
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        metric.name,
        metric.kind,
        cell(&metric.unit),
        cell(&labels.join("; ")),
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
