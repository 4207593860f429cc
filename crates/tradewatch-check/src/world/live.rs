//! What a running Prometheus-compatible server knows of itself.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;
use tradewatch_catalog::Kind;

use super::{Series, World, builtin, family, words_of};
use crate::expr::abs::{Abs, Label, LabelSet, Meaning, Values};

/// The answers of a server, each the `data` of its endpoint.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Where it is.
    pub url: String,
    /// `/api/v1/label/__name__/values`.
    pub names: Vec<String>,
    /// `/api/v1/metadata`.
    pub metadata: Json,
    /// `/api/v1/series` of the names asked for.
    pub series: Vec<Json>,
    /// Names that were asked for and have more series than were fetched, so that values are not all known.
    pub cut: BTreeSet<String>,
    /// `/api/v1/label/job/values`.
    pub jobs: Vec<String>,
    /// Intervals by job, from `/api/v1/targets`.
    pub intervals: Vec<(String, Duration)>,
}

impl World {
    /// Adds what a server knows. Its names are all there are; of names that were not asked for only the kind is known.
    pub fn add_live(&mut self, live: &Live) {
        self.live = true;
        self.series.clear();
        self.sources.push(format!("{} ({} metric names)", live.url, live.names.len()));
        for name in &live.names {
            let made = self.live_series(live, name);
            for series in made {
                self.push(series);
            }
        }
        for (name, abs) in builtin::alerting() {
            self.push(Series { name, abs, job: None, interval: None, count: 1 });
        }
    }

    fn live_series(&self, live: &Live, name: &str) -> Vec<Series> {
        let (base_name, entry) = described(&live.metadata, name);
        let text = |field: &str| entry.and_then(|entry| entry[field].as_str()).unwrap_or("");
        let kind = match text("type") {
            "counter" => Some(Kind::Counter),
            "gauge" => Some(Kind::Gauge),
            "histogram" => Some(Kind::Histogram),
            "summary" => Some(Kind::Summary),
            "info" => Some(Kind::Info),
            _ => None,
        };
        let mut rows: Vec<&Json> = live.series.iter().filter(|row| row["__name__"] == name).collect();
        let edges: BTreeSet<u64> = rows
            .iter()
            .filter_map(|row| row["le"].as_str()?.parse::<f64>().ok())
            .filter(|edge| edge.is_finite() && *edge >= 0.0)
            .map(f64::to_bits)
            .collect();
        let edges: Vec<f64> = edges.into_iter().map(f64::from_bits).collect();
        let base = Abs {
            unit: builtin::unit_of(text("unit"), &base_name),
            families: [base_name.clone()].into(),
            words: words_of(&[name, text("help")]),
            ..Abs::default()
        };
        let synthetic = builtin::synthetic().into_iter().find(|(known, _)| known == name).map(|(_, abs)| abs);
        let made = kind.map(|kind| family(&base_name, kind, base.clone(), &edges)).unwrap_or_default();
        let abs = made.into_iter().find(|series| series.name == name).map(|series| series.abs);
        let mut abs = synthetic.or(abs).unwrap_or(base);
        let native = abs.meaning == Meaning::RawHistogram;
        if native {
            // The server has series of the bare name: the histogram is a native one.
            abs.meaning = Meaning::Unknown;
            abs.plain = false;
        }
        if rows.is_empty() {
            abs.labels = LabelSet::unknown();
            return vec![Series { name: name.to_owned(), abs, job: None, interval: None, count: 1 }];
        }
        rows.sort_by_key(|row| row["job"].as_str().unwrap_or("").to_owned());
        rows.chunk_by(|a, b| a["job"] == b["job"])
            .map(|rows| {
                let job = rows[0]["job"].as_str().map(str::to_owned);
                let labels = labels_of(rows, live.cut.contains(name), &live.jobs);
                let interval =
                    live.intervals.iter().find(|(name, _)| Some(name) == job.as_ref()).map(|(_, d)| *d);
                let abs = Abs { labels, ..abs.clone() };
                Series { name: name.to_owned(), abs, job, interval, count: rows.len() }
            })
            .collect()
    }
}

fn labels_of(rows: &[&Json], cut: bool, _jobs: &[String]) -> LabelSet {
    let mut set = LabelSet { open: cut, ..LabelSet::default() };
    for row in rows {
        for (name, value) in row.as_object().into_iter().flatten() {
            if name == "__name__" {
                continue;
            }
            let label = set.known.entry(name.clone()).or_insert_with(|| Label::seen([]));
            if name == "le" {
                label.values = Values::Any;
            } else if let Values::Seen(values) = &mut label.values {
                values.extend(value.as_str().map(str::to_owned));
            }
        }
    }
    for (name, label) in &mut set.known {
        label.always = rows.iter().all(|row| row[name.as_str()].is_string());
        // A job is one that the server scrapes; there are no others until its configuration changes.
        if name == "job"
            && !cut
            && let Values::Seen(values) = &label.values
        {
            label.values = Values::Closed(values.clone());
        }
    }
    set
}

/// The metadata of the family that a series belongs to.
fn described<'a>(metadata: &'a Json, name: &str) -> (String, Option<&'a Json>) {
    let entry = |name: &str| metadata.get(name).and_then(|entries| entries.get(0));
    if let Some(found) = entry(name) {
        return (name.to_owned(), Some(found));
    }
    for suffix in ["_bucket", "_sum", "_count"] {
        let Some(base) = name.strip_suffix(suffix) else { continue };
        if let Some(found) = entry(base) {
            return (base.to_owned(), Some(found));
        }
    }
    // OpenMetrics describes a counter without its suffix.
    let base = name.strip_suffix("_total").unwrap_or(name);
    (name.to_owned(), entry(base))
}
