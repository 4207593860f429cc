//! What is known of the metrics: from a catalogue, a live server, or one scrape of the targets.
//!
//! What is not known is never guessed: a name counts as missing only where every target that could expose it has
//! been seen or described.

mod builtin;
mod learn;
mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tradewatch_catalog::{Catalog, Kind, MetricSpec};

use crate::expr::abs::{Abs, Label, LabelSet, Meaning, Part, Unit, Values};
use crate::read::scrape::{Effect, Job, ScrapeFile};

pub use learn::learn;
pub use live::Live;

/// A series that somebody exposes.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// What is known of its values and labels.
    pub abs: Abs,
    /// The job that exposes it, if that is known.
    pub job: Option<String>,
    /// Between two samples, if that is known.
    pub interval: Option<Duration>,
    /// How many series of this name one target exposed.
    pub count: usize,
}

/// How much of a job is known.
#[derive(Clone, Debug, PartialEq)]
enum Coverage {
    /// Every metric of it.
    Full,
    /// It exposes what monitoring software exposes, under names of its own.
    Infrastructure,
    /// Nothing.
    None,
}

/// Everything known of the metrics.
#[derive(Clone, Debug, Default)]
pub struct World {
    series: BTreeMap<String, Vec<Series>>,
    jobs: BTreeMap<String, Coverage>,
    /// Targets that did not answer: job, address, why, whether its name cannot be resolved.
    unreached: Vec<(String, String, String, bool)>,
    /// A catalogue says what the platform exposes.
    cataloged: bool,
    /// A live server told every name.
    live: bool,
    /// What it all comes from, in words.
    sources: Vec<String>,
}

impl World {
    /// What every Prometheus knows by itself, for the targets of `scrape`.
    pub fn new(scrape: Option<&ScrapeFile>) -> World {
        let mut world = World::default();
        let jobs: &[Job] = scrape.map(|file| file.jobs.as_slice()).unwrap_or_default();
        for job in jobs {
            let coverage =
                if builtin::is_infrastructure(job) { Coverage::Infrastructure } else { Coverage::None };
            world.jobs.insert(job.name.clone(), coverage);
        }
        for abs in builtin::synthetic() {
            let (name, abs) = abs;
            if jobs.is_empty() {
                let abs = Abs { labels: LabelSet::unknown(), ..abs };
                world.push(Series { name, abs, job: None, interval: None, count: 1 });
                continue;
            }
            for job in jobs {
                let abs = Abs { labels: target_labels(job), ..abs.clone() };
                let (job, interval) = (Some(job.name.clone()), Some(job.interval));
                world.push(Series { name: name.clone(), abs, job, interval, count: 1 });
            }
        }
        for (name, abs) in builtin::alerting() {
            world.push(Series { name, abs, job: None, interval: None, count: 1 });
        }
        world
    }

    /// Adds what a catalogue promises; `scrape` says which job exposes it and with which labels.
    pub fn add_catalog(&mut self, catalog: &Catalog, scrape: Option<&ScrapeFile>) {
        self.cataloged = true;
        self.sources.push(format!(
            "the catalogue of {} ({} metrics)",
            catalog.platform,
            catalog.metrics.len()
        ));
        let jobs: &[Job] = scrape.map(|file| file.jobs.as_slice()).unwrap_or_default();
        for metric in &catalog.metrics {
            let exposing: Vec<&Job> = jobs.iter().filter(|job| exposes(job, metric)).collect();
            for job in &exposing {
                self.jobs.insert(job.name.clone(), Coverage::Full);
            }
            // Nobody is known to expose it: it may come from any job, with the labels of any.
            let from = if exposing.is_empty() { jobs.iter().collect() } else { exposing };
            let mut labels: Vec<(Option<&Job>, LabelSet)> =
                from.into_iter().map(|job| (Some(job), target_labels(job))).collect();
            if labels.is_empty() {
                labels.push((None, LabelSet::unknown()));
            }
            for (job, target) in labels {
                for series in of_metric(metric, &target) {
                    let Some(job) = job else {
                        self.push(series);
                        continue;
                    };
                    let mut series =
                        Series { job: Some(job.name.clone()), interval: Some(job.interval), ..series };
                    if relabelled(job, &mut series) {
                        self.push(series);
                    }
                }
            }
        }
    }

    /// Adds the series that a recording rule makes.
    pub fn add_recorded(&mut self, name: &str, abs: Abs, interval: Option<Duration>) {
        let known = self.series.entry(name.to_owned()).or_default();
        known.retain(|series| series.job.is_some());
        known.push(Series { name: name.to_owned(), abs, job: None, interval, count: 1 });
    }

    /// A target that did not answer; `unresolved` says that its name has no address.
    pub fn add_unreached(&mut self, job: &str, address: &str, why: &str, unresolved: bool) {
        self.unreached.push((job.to_owned(), address.to_owned(), why.to_owned(), unresolved));
    }

    /// Targets that did not answer: job, address, why, whether the name cannot be resolved.
    pub fn unreached(&self) -> &[(String, String, String, bool)] {
        &self.unreached
    }

    /// What it is known from, in words.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Whether anything is known beyond what every Prometheus has.
    pub fn knows_metrics(&self) -> bool {
        self.cataloged || self.live || self.jobs.values().any(|coverage| *coverage == Coverage::Full)
    }

    /// The jobs that are configured.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        self.jobs.keys().map(String::as_str)
    }

    /// Whether a Prometheus makes the series by itself.
    pub fn is_synthetic(&self, name: &str) -> bool {
        builtin::synthetic().iter().chain(&builtin::alerting()).any(|(known, _)| known == name)
    }

    /// The series of a name.
    pub fn find(&self, name: &str) -> &[Series] {
        self.series.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every name that is exposed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Every series, by name.
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values().flatten()
    }

    /// The exposed name most like one that is not.
    pub fn suggest(&self, name: &str) -> Option<String> {
        tradewatch_catalog::nearest(name, self.names()).map(str::to_owned)
    }

    /// The shortest interval of anything exposed by `job`, for the latency budget.
    pub fn interval_of(&self, names: &BTreeSet<String>) -> Option<Duration> {
        names.iter().flat_map(|name| self.find(name)).filter_map(|series| series.interval).max()
    }

    /// Whether it is certain that nothing exposes `name`, which is not among the series; `jobs` are those that the
    /// selector allows, `None` for any. `recorded` says that every rule file is known.
    pub fn is_missing(&self, name: &str, jobs: Option<&BTreeSet<String>>, recorded: bool) -> bool {
        if !self.knows_metrics() || name.contains(':') && !recorded {
            return false;
        }
        if self.live {
            return true;
        }
        // Of what monitoring software and run-time libraries expose, a catalogue tells only what it lists.
        if self.cataloged && builtin::infrastructure_name(name) && !self.claims(name) {
            return false;
        }
        let silent: BTreeSet<&String> = self.unreached.iter().map(|(job, ..)| job).collect();
        let allowed = |job: &String| jobs.is_none_or(|jobs| jobs.contains(job));
        let mut unseen = self.jobs.iter().filter(|(job, coverage)| {
            allowed(job)
                && match coverage {
                    Coverage::Full => silent.contains(job),
                    Coverage::Infrastructure => !self.cataloged,
                    Coverage::None => true,
                }
        });
        // A catalogue claims the words that its names begin with; elsewhere an unseen target may expose anything.
        unseen.next().is_none() || self.cataloged && jobs.is_none() && self.claims(name)
    }

    /// Whether names that are known begin like this one.
    fn claims(&self, name: &str) -> bool {
        fn first(name: &str) -> &str {
            name.split('_').next().unwrap_or("")
        }
        let wanted = first(name);
        let full = |job: &String| self.jobs.get(job) == Some(&Coverage::Full);
        self.all().any(|series| {
            series.job.as_ref().is_none_or(full) && first(&series.name) == wanted && series.name != name
        })
    }

    fn push(&mut self, series: Series) {
        self.series.entry(series.name.clone()).or_default().push(series);
    }
}

/// Whether a job scrapes the service of a metric: by port, or by the service's name among name and labels.
fn exposes(job: &Job, metric: &MetricSpec) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let services: Vec<String> = metric.service.split(',').map(|service| plain(service.trim())).collect();
    let named = |text: &str| services.iter().any(|service| !service.is_empty() && *service == plain(text));
    let host = |address: &str| plain(address.rsplit_once(':').map_or(address, |(host, _)| host));
    named(&job.name)
        || services.iter().any(|service| !service.is_empty() && plain(&job.name).ends_with(service.as_str()))
        || job
            .targets
            .iter()
            .any(|target| target.labels.values().any(|value| named(value)) || named(&host(&target.address)))
        || services == ["all"]
}

/// The labels that a job's targets give to each of their series.
pub fn target_labels(job: &Job) -> LabelSet {
    let mut set: Option<LabelSet> = None;
    for target in &job.targets {
        let known = target.labels.iter().map(|(name, value)| (name.clone(), Label::closed([value.clone()])));
        let one = LabelSet { known: known.collect(), open: false };
        set = Some(set.map_or_else(|| one.clone(), |set| set.union(&one)));
    }
    let mut set = set.unwrap_or_default();
    if job.discovered || job.targets.is_empty() {
        set.open = true;
        for name in ["job", "instance"] {
            set.known.insert(name.to_owned(), Label::any());
        }
        if !job.targets.is_empty() || job.metric_relabel.is_empty() {
            set.known.insert("job".to_owned(), Label::seen([job.name.clone()]));
        }
    }
    set
}

/// Applies what is known of `metric_relabel_configs`; `false` drops the series.
fn relabelled(job: &Job, series: &mut Series) -> bool {
    for step in &job.metric_relabel {
        match step.effect(&series.name) {
            Effect::None => {}
            Effect::Dropped => return false,
            Effect::Labels => series.abs.labels.known.retain(|name, _| !step.removes(name)),
            Effect::Sets(label) => {
                let label = series
                    .abs
                    .labels
                    .known
                    .entry(label)
                    .or_insert_with(|| Label { values: Values::Any, always: false });
                label.values = Values::Any;
            }
            Effect::Unknown => series.abs.labels.open = true,
        }
    }
    true
}

/// The series of a catalogued metric, with the labels of its target.
fn of_metric(metric: &MetricSpec, target: &LabelSet) -> Vec<Series> {
    let mut labels = target.clone();
    for label in &metric.labels {
        let values = label.values.iter().cloned();
        let known = match (label.values.is_empty(), label.budget) {
            (true, _) => Label::any(),
            (false, Some(_)) => Label::seen(values),
            (false, None) => Label::closed(values),
        };
        labels.known.insert(label.name.clone(), known);
    }
    let unit = builtin::unit_of(&metric.unit, &metric.name);
    let words = words_of(&[&metric.name, &metric.help]);
    // A label that the service sets makes a series with its first event.
    let lazy = !metric.labels.is_empty();
    let base = Abs { labels, unit, families: [metric.name.clone()].into(), words, lazy, ..Abs::default() };
    if metric.note.as_deref() == Some(learn::UNTYPED) {
        let name = metric.name.clone();
        return vec![Series { name, abs: base, job: None, interval: None, count: 1 }];
    }
    family(&metric.name, metric.kind, base, &metric.buckets)
}

/// The series of a family of this kind.
fn family(name: &str, kind: Kind, base: Abs, edges: &[f64]) -> Vec<Series> {
    let series = |name: String, abs: Abs| Series { name, abs, job: None, interval: None, count: 1 };
    let with = |meaning: Meaning, part: Part| {
        let (low, high) = match (meaning, base.unit) {
            (Meaning::Counter | Meaning::Bucket, _) => (0.0, f64::INFINITY),
            (Meaning::Info, _) => (1.0, 1.0),
            (Meaning::Gauge, Unit::Bool) => (0.0, 1.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        Abs { meaning, part, low, high, plain: true, ..base.clone() }
    };
    let count = |abs: Abs| Abs { unit: Unit::Count, ..abs };
    match kind {
        Kind::Counter => vec![series(name.to_owned(), with(Meaning::Counter, Part::Value))],
        Kind::Gauge if base.unit == Unit::Seconds && builtin::is_timestamp(name) => {
            vec![series(name.to_owned(), with(Meaning::Timestamp, Part::Value))]
        }
        Kind::Gauge => vec![series(name.to_owned(), with(Meaning::Gauge, Part::Value))],
        Kind::Info => vec![series(name.to_owned(), with(Meaning::Info, Part::Value))],
        Kind::Summary => {
            let mut quantile = with(Meaning::SummaryQuantile, Part::Value);
            quantile.labels.known.insert("quantile".to_owned(), Label::any());
            vec![
                series(name.to_owned(), quantile),
                series(format!("{name}_sum"), with(Meaning::Counter, Part::Sum)),
                series(format!("{name}_count"), count(with(Meaning::Counter, Part::Count))),
            ]
        }
        Kind::Histogram => {
            let mut bucket = with(Meaning::Bucket, Part::Bucket);
            bucket.labels.known.insert("le".to_owned(), Label::any());
            bucket.edges = edges.to_vec();
            let raw = with(Meaning::RawHistogram, Part::Value);
            vec![
                series(name.to_owned(), raw),
                series(format!("{name}_bucket"), bucket),
                series(format!("{name}_sum"), with(Meaning::Counter, Part::Sum)),
                series(format!("{name}_count"), count(with(Meaning::Counter, Part::Count))),
            ]
        }
    }
}

/// Lower-case words of names and texts.
pub fn words_of(texts: &[&str]) -> BTreeSet<String> {
    let words = texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()));
    words.filter(|word| word.len() > 1).map(str::to_lowercase).collect()
}
