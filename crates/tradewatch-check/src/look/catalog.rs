//! Catalogues and scrapes: label sets that grow without bound, metrics that nothing uses.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_catalog::{Catalog, Kind};

use crate::expr::abs::Values;
use crate::finding::{Finding, Severity};
use crate::project::Project;
use crate::read::{Content, Document};
use crate::world::World;

/// Series of one metric in one process beyond which it needs a reason.
const SERIES_MAX: usize = 10_000;
/// Series of one name at one target, as a scrape or a server shows them.
const SERIES_SEEN_MAX: usize = 1_000;
/// Names that a message lists.
const LISTED_MAX: usize = 8;

/// Label sets above their budget.
pub fn budgets(project: &Project, world: &World) -> Vec<Finding> {
    let mut out = Vec::new();
    for document in &project.documents {
        if let Content::Catalog(catalog) = &document.content {
            catalogued(document, catalog, &mut out);
            named(document, catalog, &mut out);
        }
    }
    seen(project, world, &mut out);
    out
}

fn catalogued(document: &Document, catalog: &Catalog, out: &mut Vec<Finding>) {
    for metric in &catalog.metrics {
        let at = place_of(document, &metric.name);
        let unbounded: Vec<&str> = metric
            .labels
            .iter()
            .filter(|label| label.values.is_empty() && label.budget.is_none())
            .map(|label| label.name.as_str())
            .collect();
        if !unbounded.is_empty() {
            let series = if metric.kind == Kind::Histogram { metric.buckets.len() + 3 } else { 1 };
            let why = if series > 1 {
                format!(
                    "each new value makes {series} series, for ever: memory grows with every one ever seen"
                )
            } else {
                "each new value makes a series, for ever: memory grows with every one ever seen".to_owned()
            };
            let message =
                format!("{} has the label {} without a bound", metric.name, unbounded.join(" and "));
            let fix = "give it a budget, a closed list of values, or take it out".to_owned();
            out.push(Finding {
                id: "TW028",
                severity: Severity::Warning,
                message,
                why,
                fix,
                place: at.clone(),
                suppressed: None,
            });
        } else if let Some(series) = metric.series_max().filter(|series| *series > SERIES_MAX) {
            let message = format!("{} can have {series} series", metric.name);
            let parts: Vec<String> = metric
                .labels
                .iter()
                .map(|label| {
                    let values =
                        if label.is_closed() { label.values.len() } else { label.budget.unwrap_or(0) + 1 };
                    format!("{} {}", values, label.name)
                })
                .collect();
            let buckets = if metric.kind == Kind::Histogram {
                format!(" × {} buckets, sum and count", metric.buckets.len() + 1)
            } else {
                String::new()
            };
            let why = format!("{}{buckets}; more than {SERIES_MAX} in one process", parts.join(" × "));
            let fix = "drop a label, or lower its budget".to_owned();
            out.push(Finding {
                id: "TW028",
                severity: Severity::Warning,
                message,
                why,
                fix,
                place: at,
                suppressed: None,
            });
        }
    }
}

/// Names that do not say what is counted, as the naming rules ask.
fn named(document: &Document, catalog: &Catalog, out: &mut Vec<Finding>) {
    for metric in catalog.metrics.iter().filter(|metric| metric.legacy_name.is_none()) {
        let plain = metric.name.trim_end_matches("_total");
        let unit = metric.unit.as_str();
        let base = !matches!(unit, "" | "bool" | "none");
        let word = match unit {
            "usd" => &["usd", "dollars"][..],
            "ms" => &["ms", "milliseconds"],
            _ => &[unit],
        };
        let message = if metric.kind == Kind::Counter && !metric.name.ends_with("_total") {
            format!("the counter {} does not end with _total", metric.name)
        } else if metric.kind == Kind::Gauge && metric.name.ends_with("_total") {
            format!("the gauge {} ends with _total, as counters do", metric.name)
        } else if matches!(unit, "milliseconds" | "ms" | "minutes" | "hours" | "percent") {
            format!("{} is in {unit}, which is no base unit", metric.name)
        } else if metric.kind != Kind::Counter
            && base
            && !word.iter().any(|word| plain.split('_').any(|part| part == *word))
        {
            format!("{} does not say that it is in {unit}", metric.name)
        } else {
            continue;
        };
        let why = "names carry their unit, in seconds, bytes and ratios, and counters end with _total: then nobody has to look it up".to_owned();
        let place = place_of(document, &metric.name);
        out.push(Finding {
            id: "TW041",
            severity: Severity::Info,
            message,
            why,
            fix: String::new(),
            place,
            suppressed: None,
        });
    }
}

fn seen(project: &Project, world: &World, out: &mut Vec<Finding>) {
    let Some((document, file)) = project.scrape() else { return };
    for series in world.all() {
        let Some(job) = series.job.as_ref().and_then(|name| file.jobs.iter().find(|job| job.name == *name))
        else {
            continue;
        };
        let ids: Vec<&str> = series
            .abs
            .labels
            .known
            .iter()
            .filter(|(_, label)| matches!(&label.values, Values::Seen(values) if values.len() >= 5 && values.iter().all(|value| is_identity(value))))
            .map(|(name, _)| name.as_str())
            .collect();
        let place = document.place(&job.node, &format!("job {}", job.name));
        if !ids.is_empty() {
            let message = format!("{} has an identity as label: {}", series.name, ids.join(" and "));
            let why = "its values are ids, of which there is a new one for each thing: series without end"
                .to_owned();
            let fix = "leave it out, or keep it in logs and exemplars".to_owned();
            out.push(Finding {
                id: "TW028",
                severity: Severity::Warning,
                message,
                why,
                fix,
                place,
                suppressed: None,
            });
        } else if series.count > SERIES_SEEN_MAX {
            let message = format!("{} has {} series in job {}", series.name, series.count, job.name);
            let why = format!(
                "more than {SERIES_SEEN_MAX}, by its labels {}",
                series.abs.labels.names().join(", ")
            );
            out.push(Finding {
                id: "TW028",
                severity: Severity::Warning,
                message,
                why,
                fix: "drop a label".to_owned(),
                place,
                suppressed: None,
            });
        }
    }
}

/// UUIDs, hashes, long numbers.
fn is_identity(value: &str) -> bool {
    let hex = value.chars().filter(|c| *c != '-').all(|c| c.is_ascii_hexdigit());
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let uuid = value.len() == 36 && hex && value.matches('-').count() == 4;
    uuid || hex && value.len() >= 16 && digits >= 4 || value.len() >= 9 && digits == value.len()
}

/// Metrics that no rule or panel uses.
pub fn unused(project: &Project, world: &World, used: &BTreeSet<String>) -> Vec<Finding> {
    let mut out = Vec::new();
    if used.is_empty() {
        return out;
    }
    let families: BTreeSet<&String> =
        used.iter().flat_map(|name| world.find(name)).flat_map(|series| &series.abs.families).collect();
    let mut say = |place, total: usize, unused: Vec<&str>| {
        if unused.is_empty() {
            return;
        }
        let shown = unused.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = if unused.len() > LISTED_MAX {
            format!(", and {} more", unused.len() - LISTED_MAX)
        } else {
            String::new()
        };
        let message = format!("{} of {total} metrics are in no rule and no panel", unused.len());
        let why = format!("{shown}{more}");
        out.push(Finding {
            id: "TW034",
            severity: Severity::Info,
            message,
            why,
            fix: String::new(),
            place,
            suppressed: None,
        });
    };
    let mut described = false;
    for document in &project.documents {
        let Content::Catalog(catalog) = &document.content else { continue };
        described = true;
        let unused = catalog
            .metrics
            .iter()
            .filter(|metric| !families.contains(&metric.name))
            .map(|metric| metric.name.as_str());
        say(document.place_at(1, 1, 0, ""), catalog.metrics.len(), unused.collect());
    }
    let Some((document, file)) = project.scrape().filter(|_| !described) else { return out };
    let mut by_job: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for series in world.all() {
        let synthetic = world.is_synthetic(&series.name);
        if let Some(job) = series.job.as_deref().filter(|_| !synthetic) {
            by_job.entry(job).or_default().extend(&series.abs.families);
        }
    }
    for job in &file.jobs {
        let Some(exposed) = by_job.get(job.name.as_str()) else { continue };
        let unused: Vec<&str> = exposed
            .iter()
            .filter(|family| !families.contains(*family))
            .map(|family| family.as_str())
            .collect();
        say(document.place(&job.node, &format!("job {}", job.name)), exposed.len(), unused);
    }
    out
}

/// The line of a metric in its catalogue.
fn place_of(document: &Document, metric: &str) -> crate::finding::Place {
    let wanted = format!("name = {metric:?}");
    let line = document.text.lines().position(|line| line.trim() == wanted).map_or(1, |line| line + 1);
    document.place_at(line, 1, 0, "")
}
