//! From the body of one scrape to one commit in the store.
//!
//! Bytes and `now` in, samples out: no sockets, no clock. An [`Ingest`] belongs to one target and
//! remembers what it has met there: a fingerprint of the bytes that name a series maps to its id, so that an
//! unchanged line costs no label parsing, and a body with the lines of the one before only its values; what vanishes gets a staleness marker; a body that breaks a limit or
//! is rubbish is dropped as a whole, and nothing but its own target feels it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use tradewatch_tsdb::{
    Appender, Db, EXEMPLARS_MAX, Exemplar, Labels, Metadata, MetricKind, STALE_NAN, Sample, SeriesId,
    Timestamp,
};

use super::fingerprint::Fingerprint;
use super::line::{Descriptor, Format, Line, LineError, Lines};
use crate::config::file::RelabelConfig;
use crate::relabel::{self, LabelMap};

/// Samples that one scrape may bring where the job sets no limit.
const SAMPLES_MAX: u64 = 2_000_000;
/// Families of one target whose metadata is kept.
const FAMILIES_MAX: usize = 20_000;

/// What a job says about the samples of its targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngestOptions {
    /// Labels of the target, `job` and `instance` among them.
    pub target: Labels,
    /// Whether a label of the target's own wins over ours.
    pub honor_labels: bool,
    /// Whether time stamps in the body are used.
    pub honor_timestamps: bool,
    /// Most samples after relabelling; 0 for no limit.
    pub sample_limit: u64,
    /// Most labels on one sample; 0 for no limit.
    pub label_limit: u64,
    /// Longest label name; 0 for no limit.
    pub label_name_length_limit: u64,
    /// Longest label value; 0 for no limit.
    pub label_value_length_limit: u64,
    /// Rewrites the labels of each sample.
    pub metric_relabel: Vec<RelabelConfig>,
}

/// What one scrape brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scraped {
    /// Samples in the body.
    pub samples: u64,
    /// Samples that were kept by relabelling.
    pub kept: u64,
    /// Series that were not there the last time.
    pub added: u64,
    /// Series that were there the last time and are not now.
    pub vanished: u64,
    /// Samples that the store refused (out of order, duplicate, too far in the future), with the first reason.
    pub refused: u64,
    /// The first reason for which a sample was refused.
    pub refusal: Option<String>,
    /// Why the scrape failed, if it did; then `up` is 0.
    pub error: Option<String>,
}

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// A line is wrong.
    Line(LineError),
    /// A limit of the job is broken.
    Limit(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Line(error) => error.fmt(f),
            Rejection::Limit(message) => f.write_str(message),
        }
    }
}

impl From<LineError> for Rejection {
    fn from(error: LineError) -> Rejection {
        Rejection::Line(error)
    }
}

/// A series as its target writes it.
struct Entry {
    /// Of the bytes that name it.
    written: Fingerprint,
    /// Its label set as stored; `None` if relabelling drops it.
    stored: Option<Labels>,
    /// Its id in the store, once it was asked for.
    id: Option<SeriesId>,
    /// The scrape that saw it last.
    seen: u64,
    /// Whether its staleness is ours to tell: not where the target gives its own times.
    tracked: bool,
}

/// A sample that was read and is not yet in the store.
struct Pending {
    entry: u32,
    value: f64,
    ts: Option<i64>,
}

/// Reads a body that is no scrape: its samples with the labels that a scrape by `options` would give them.
///
/// Samples without a time of their own get `now`. Nothing ends and nothing is reported; the metadata goes into `db`.
///
/// # Errors
/// A line is wrong or a limit is broken; then nothing of the body is to be kept.
pub fn read_once(
    db: &Db,
    body: &[u8],
    format: Format,
    options: IngestOptions,
    now: Timestamp,
) -> Result<Vec<(Labels, Sample)>, Rejection> {
    let mut ingest = Ingest::new(db.clone(), options);
    ingest.read_body(body, format, &mut Scraped::default())?;
    let samples = ingest.pending.iter().filter_map(|pending| {
        let labels = ingest.entries[pending.entry as usize].stored.clone()?;
        Some((labels, Sample::float(pending.ts.map_or(now, Timestamp::from_millis), pending.value)))
    });
    Ok(samples.collect())
}

/// The synthetic series of each scrape, in the order of [`Ingest::report`].
const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Samples of one time: the entries with their ids, and the values.
type Row = (Vec<(u32, SeriesId)>, Vec<f64>);

/// The values of [`REPORT`].
fn report_values(scraped: &Scraped, took: Duration) -> [f64; 5] {
    let up = if scraped.error.is_none() { 1.0 } else { 0.0 };
    [up, took.as_secs_f64(), scraped.samples as f64, scraped.kept as f64, scraped.added as f64]
}

/// Takes the scrapes of one target into the store.
pub struct Ingest {
    db: Db,
    options: IngestOptions,
    entries: Vec<Entry>,
    /// Entries by their fingerprint, once a line was not where it was in the last body.
    index: Option<HashMap<Fingerprint, u32>>,
    /// Entries in the order of the last body: most often the next line is the next of these.
    order: Vec<u32>,
    /// The ids of `order` as the last commit took them, and of the report; empty unless a body with the same lines
    /// can be stored without a look at its entries.
    steady: Vec<SeriesId>,
    /// The values of a body, as long as its lines are those of the last one.
    values: Vec<f64>,
    pending: Vec<Pending>,
    /// Exemplars of a body, by the entry of their series; without a time of their own they get that of the scrape.
    exemplars: Vec<(u32, Labels, f64, Option<i64>)>,
    /// Counts the scrapes whose lines were not those of the one before.
    scrapes: u64,
    report: Vec<(Labels, SeriesId)>,
    descriptors: HashMap<Box<[u8]>, u64>,
    metadata: BTreeMap<String, Metadata>,
    /// Time of the newest committed scrape.
    last: Option<Timestamp>,
}

impl Ingest {
    /// Scrapes of one target into `db`.
    pub fn new(db: Db, options: IngestOptions) -> Ingest {
        Ingest {
            db,
            options,
            entries: Vec::new(),
            index: None,
            order: Vec::new(),
            steady: Vec::new(),
            values: Vec::new(),
            pending: Vec::new(),
            exemplars: Vec::new(),
            scrapes: 0,
            report: Vec::new(),
            descriptors: HashMap::new(),
            metadata: BTreeMap::new(),
            last: None,
        }
    }

    /// Kind, unit and help of the target's families.
    pub fn metadata(&self) -> &BTreeMap<String, Metadata> {
        &self.metadata
    }

    /// Label sets that the last scrape stored, the synthetic ones included.
    pub fn series(&self) -> impl Iterator<Item = &Labels> {
        let current = self.entries.iter().filter(|entry| entry.seen == self.scrapes);
        let own = current.filter_map(|entry| entry.stored.as_ref());
        own.chain(self.report.iter().map(|(labels, _)| labels))
    }

    /// Takes a text body that was scraped at `now`, in one commit.
    ///
    /// # Errors
    /// Only if the store cannot write; what is wrong with the body is in [`Scraped::error`].
    pub fn scrape_body(&mut self, now: Timestamp, body: &[u8]) -> Result<Scraped, tradewatch_tsdb::Error> {
        self.scrape(now, Ok((body, Format::Text)), Duration::ZERO)
    }

    /// Takes what a fetch brought, or why it failed, in one commit.
    ///
    /// # Errors
    /// Only if the store cannot write.
    pub fn scrape(
        &mut self,
        now: Timestamp,
        fetched: Result<(&[u8], Format), String>,
        took: Duration,
    ) -> Result<Scraped, tradewatch_tsdb::Error> {
        let mut scraped = Scraped::default();
        let known = self.entries.len();
        // The whole body is read before the store sees any of it: of a bad body nothing is kept, not
        // even what stood above the bad line, and the series it invents are never created.
        let result = fetched.and_then(|(body, format)| {
            self.read_body(body, format, &mut scraped).map_err(|rejection| rejection.to_string())
        });
        if let Err(error) = result {
            let samples = scraped.samples.max(self.values.len() as u64);
            scraped = Scraped { error: Some(error), samples, ..Scraped::default() };
            self.entries.truncate(known);
            self.index = None;
            self.pending.clear();
            self.values.clear();
            self.exemplars.clear();
            self.order.clear();
        } else if self.pending.is_empty() && !self.steady.is_empty() {
            self.commit_steady(now, &mut scraped, took)?;
            self.add_exemplars(now);
            return Ok(scraped);
        }
        self.commit_changed(now, &mut scraped, took)?;
        self.add_exemplars(now);
        Ok(scraped)
    }

    fn note_exemplar(&mut self, lines: &Lines<'_>, entry: u32, text: Option<&[u8]>) {
        // One that makes no sense costs neither the sample nor the scrape.
        let Some((labels, value, ts)) = text.and_then(|text| lines.parse_exemplar(text)) else { return };
        if self.exemplars.len() < EXEMPLARS_MAX {
            self.exemplars.push((entry, Labels::from_pairs(labels), value, ts));
        }
    }

    fn add_exemplars(&mut self, now: Timestamp) {
        for (entry, labels, value, ts) in self.exemplars.drain(..) {
            let ts = ts.map_or(now, Timestamp::from_millis);
            if let Some(series) = self.entries.get(entry as usize).and_then(|entry| entry.stored.as_ref()) {
                self.db.add_exemplar(series, Exemplar { labels, value, ts });
            }
        }
    }

    /// Commits a body with the lines of the one before.
    fn commit_steady(
        &mut self,
        now: Timestamp,
        scraped: &mut Scraped,
        took: Duration,
    ) -> Result<(), tradewatch_tsdb::Error> {
        self.values.extend(report_values(scraped, took));
        let mut refused = Vec::new();
        let appender = self.db.appender_at(now);
        let outcome = appender.commit_row(now, &self.steady, &self.values, &mut refused);
        self.values.clear();
        self.index = None;
        outcome?;
        self.last = Some(now);
        let own = self.steady.len() - REPORT.len();
        for (at, error) in refused.into_iter().filter(|(at, _)| *at < own) {
            let entry = self.order[at];
            self.note_refusal(entry, &error, scraped);
            self.steady.clear();
        }
        Ok(())
    }

    /// Commits whatever was read, and the end of what was not.
    fn commit_changed(
        &mut self,
        now: Timestamp,
        scraped: &mut Scraped,
        took: Duration,
    ) -> Result<(), tradewatch_tsdb::Error> {
        self.scrapes += 1;
        self.steady.clear();
        let mut appender = self.db.appender_at(now);
        let mut row = (Vec::new(), Vec::new());
        let is_regular = self.append_pending(&mut appender, &mut row, scraped);
        let own = row.0.len();
        self.add_vanished(&mut row);
        let vanished = row.0.len() - own;
        self.add_report(&mut appender, &mut row, scraped, took);
        let (ids, values): (Vec<SeriesId>, _) = (row.0.iter().map(|(_, id)| *id).collect(), row.1);
        let mut refused = Vec::new();
        appender.commit_row(now, &ids, &values, &mut refused)?;
        self.last = Some(now);
        // A marker is refused only where a newer sample stands there already: then the series has not vanished.
        let is_marker = |at: usize| (own..own + vanished).contains(&at);
        scraped.vanished = (vanished - refused.iter().filter(|(at, _)| is_marker(*at)).count()) as u64;
        let is_steady = is_regular && !refused.iter().any(|(at, _)| *at < own) && own == self.order.len();
        for (at, error) in refused.into_iter().filter(|(at, _)| *at < own) {
            self.note_refusal(row.0[at].0, &error, scraped);
        }
        if is_steady {
            self.steady.reserve_exact(own + REPORT.len());
            self.steady.extend(ids[..own].iter().chain(&ids[own + vanished..]));
        }
        self.forget_old();
        Ok(())
    }

    fn note_refusal(&mut self, entry: u32, error: &tradewatch_tsdb::Error, scraped: &mut Scraped) {
        let entry = &mut self.entries[entry as usize];
        scraped.refused += 1;
        let labels = entry.stored.as_ref();
        scraped.refusal.get_or_insert_with(|| match labels {
            Some(labels) => format!("{labels}: {error}"),
            None => error.to_string(),
        });
        // The store may have no such series (any more): the next scrape asks again.
        if !error.is_out_of_order() && !error.is_duplicate() && !error.is_too_far_in_future() {
            entry.id = None;
        }
    }

    /// Marks all series of the target as ended at `now`: the target went away.
    ///
    /// # Errors
    /// Only if the store cannot write.
    pub fn end(&mut self, now: Timestamp) -> Result<(), tradewatch_tsdb::Error> {
        if self.last.is_none_or(|last| last >= now) {
            return Ok(());
        }
        self.scrapes += 1;
        self.steady.clear();
        let mut row = (Vec::new(), Vec::new());
        self.add_vanished(&mut row);
        let ids: Vec<SeriesId> =
            row.0.iter().map(|(_, id)| *id).chain(self.report.iter().map(|(_, id)| *id)).collect();
        // A marker that comes too late has nothing left to end.
        self.db.appender().commit_row(now, &ids, &vec![STALE_NAN; ids.len()], &mut Vec::new())?;
        self.forget_old();
        Ok(())
    }

    fn read_body(&mut self, body: &[u8], format: Format, scraped: &mut Scraped) -> Result<(), Rejection> {
        let mut lines = Lines::new(body, format);
        let mut cursor = 0;
        self.pending.clear();
        self.values.clear();
        self.exemplars.clear();
        let mut is_same = !self.steady.is_empty();
        loop {
            if is_same {
                // Relabelling kept all of them, or they would not be steady.
                while let Some(at) = self.order.get(cursor)
                    && let Some(value) = lines.next_known(&self.entries[*at as usize].written)
                {
                    self.values.push(value);
                    cursor += 1;
                }
            }
            let line = lines.next_line()?;
            let is_known_end = line.is_none() && cursor == self.order.len();
            if is_same && !is_known_end && !matches!(line, Some(Line::Descriptor(_))) {
                // What was read goes the usual way after all, unless the line is only written in another way.
                match line {
                    Some(Line::Sample { series, value, ts: None, exemplar })
                        if self.order.get(cursor).is_some_and(|at| {
                            self.entries[*at as usize].written == Fingerprint::of(series)
                        }) =>
                    {
                        self.note_exemplar(&lines, self.order[cursor], exemplar);
                        self.values.push(value);
                        cursor += 1;
                        continue;
                    }
                    _ => {}
                }
                is_same = false;
                let known = self.order.iter().zip(self.values.drain(..));
                self.pending.extend(known.map(|(entry, value)| Pending { entry: *entry, value, ts: None }));
                (scraped.samples, scraped.kept) = (cursor as u64, cursor as u64);
            }
            let Some(line) = line else { break };
            match line {
                Line::Descriptor(text) => self.note_descriptor(text, format),
                Line::Sample { series, value, ts, exemplar } => {
                    let at = self.find(&lines, series, &mut cursor, scraped)?;
                    scraped.samples += 1;
                    if self.entries[at as usize].stored.is_some() {
                        scraped.kept += 1;
                        self.check_count(scraped.kept, lines.number)?;
                    }
                    self.note_exemplar(&lines, at, exemplar);
                    self.pending.push(Pending {
                        entry: at,
                        value,
                        ts: ts.filter(|_| self.options.honor_timestamps),
                    });
                }
            }
        }
        if is_same {
            (scraped.samples, scraped.kept) = (cursor as u64, cursor as u64);
            return Ok(());
        }
        self.steady.clear();
        self.order.clear();
        self.order.extend(self.pending.iter().map(|pending| pending.entry));
        Ok(())
    }

    /// Whether so many samples are within the limits.
    fn check_count(&self, kept: u64, line: usize) -> Result<(), Rejection> {
        let limit = self.options.sample_limit;
        if limit > 0 && kept > limit {
            return Err(Rejection::Limit(format!("line {line}: more samples than sample_limit {limit}")));
        }
        if kept > SAMPLES_MAX {
            return Err(Rejection::Limit(format!("line {line}: more than {SAMPLES_MAX} samples")));
        }
        Ok(())
    }

    /// The entry of a series: the next one of the last body, a known one, or a new one.
    fn find(
        &mut self,
        lines: &Lines<'_>,
        series: &[u8],
        cursor: &mut usize,
        scraped: &mut Scraped,
    ) -> Result<u32, Rejection> {
        let written = Fingerprint::of(series);
        if let Some(&at) = self.order.get(*cursor)
            && self.entries[at as usize].written == written
        {
            *cursor += 1;
            return Ok(at);
        }
        let index = self.index.get_or_insert_with(|| {
            self.entries.iter().zip(0u32..).map(|(entry, at)| (entry.written, at)).collect()
        });
        if let Some(&at) = index.get(&written) {
            // After an inserted or vanished line the walk goes on beside the last body.
            let rest = &self.order[(*cursor).min(self.order.len())..];
            if let Some(ahead) = rest.iter().take(64).position(|other| *other == at) {
                *cursor += ahead + 1;
            }
            return Ok(at);
        }
        let stored = self.store_labels(lines, series)?;
        scraped.added += u64::from(stored.is_some());
        let at = u32::try_from(self.entries.len()).map_err(|_| Rejection::Limit("too many series".into()))?;
        self.entries.push(Entry { written, stored, id: None, seen: 0, tracked: true });
        if let Some(index) = &mut self.index {
            index.insert(written, at);
        }
        Ok(at)
    }

    /// Gathers what was read: samples with a time of their own in `appender`, the others in `row`. Whether there are
    /// none of the former, and nothing was left out.
    fn append_pending(&mut self, appender: &mut Appender, row: &mut Row, scraped: &mut Scraped) -> bool {
        let mut is_regular = true;
        let pending = std::mem::take(&mut self.pending);
        row.0.reserve_exact(pending.len() + REPORT.len());
        row.1.reserve_exact(pending.len() + REPORT.len());
        for Pending { entry: at, value, ts } in pending {
            let entry = &mut self.entries[at as usize];
            let again = entry.seen == self.scrapes;
            entry.seen = self.scrapes;
            let Some(labels) = &entry.stored else { continue };
            entry.tracked = ts.is_none();
            if again && ts.is_none() {
                scraped.refused += 1;
                scraped.refusal.get_or_insert_with(|| format!("{labels}: the series stands there twice"));
                is_regular = false;
                continue;
            }
            let id = *entry.id.get_or_insert_with(|| appender.series(labels));
            match ts {
                None => {
                    row.0.push((at, id));
                    row.1.push(value);
                }
                Some(ts) => {
                    is_regular = false;
                    if let Err(error) = appender.append(id, Timestamp::from_millis(ts), value) {
                        self.note_refusal(at, &error, scraped);
                    }
                }
            }
        }
        is_regular
    }

    /// The label set under which a series is stored, `None` if relabelling drops it.
    fn store_labels(&self, lines: &Lines<'_>, series: &[u8]) -> Result<Option<Labels>, Rejection> {
        let mut labels: LabelMap =
            lines.parse_series(series)?.into_iter().filter(|(_, v)| !v.is_empty()).collect();
        self.add_target_labels(&mut labels);
        let options = &self.options;
        if !options.metric_relabel.is_empty() && !relabel::apply(&options.metric_relabel, &mut labels) {
            return Ok(None);
        }
        let shown = || String::from_utf8_lossy(&series[..series.len().min(200)]).into_owned();
        let broken =
            |what: String| Err(Rejection::Limit(format!("line {}: {}: {what}", lines.number, shown())));
        if labels.get("__name__").is_none_or(String::is_empty) {
            return broken("no metric name is left after relabelling".into());
        }
        if options.label_limit > 0 && labels.len() as u64 > options.label_limit {
            return broken(format!(
                "{} labels are more than label_limit {}",
                labels.len(),
                options.label_limit
            ));
        }
        for (name, value) in &labels {
            let limit = options.label_name_length_limit;
            if limit > 0 && name.len() as u64 > limit {
                return broken(format!(
                    "label name of {} bytes is longer than label_name_length_limit {limit}",
                    name.len()
                ));
            }
            let limit = options.label_value_length_limit;
            if limit > 0 && value.len() as u64 > limit {
                return broken(format!(
                    "value of label {name:?} has {} bytes, more than label_value_length_limit {limit}",
                    value.len()
                ));
            }
        }
        Ok(Some(Labels::from_pairs(labels)))
    }

    fn add_target_labels(&self, labels: &mut LabelMap) {
        for (name, value) in self.options.target.iter() {
            if let Some(own) = labels.get(name).cloned() {
                if self.options.honor_labels {
                    continue;
                }
                let mut exported = format!("exported_{name}");
                while labels.contains_key(&exported) || self.options.target.get(&exported).is_some() {
                    exported = format!("exported_{exported}");
                }
                labels.insert(exported, own);
            }
            labels.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Ends each series that the last scrape saw and this one did not.
    fn add_vanished(&self, row: &mut Row) {
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.seen + 1 == self.scrapes
                && entry.tracked
                && let Some(id) = entry.id
            {
                row.0.push((at as u32, id));
                row.1.push(STALE_NAN);
            }
        }
    }

    fn add_report(&mut self, appender: &mut Appender, row: &mut Row, scraped: &Scraped, took: Duration) {
        if self.report.is_empty() {
            for name in REPORT {
                let labels = self.options.target.with("__name__", name);
                let id = appender.series(&labels);
                self.report.push((labels, id));
            }
        }
        // Two scrapes in one millisecond: the first report stands.
        row.0.extend(self.report.iter().map(|(_, id)| (u32::MAX, *id)));
        row.1.extend(report_values(scraped, took));
    }

    /// Drops what has not been seen for a while, so that churn does not grow the memory.
    fn forget_old(&mut self) {
        /// A series that is away for this many scrapes is looked up anew.
        const KEPT_SCRAPES: u64 = 4;
        let old = |entry: &Entry, scrapes: u64| entry.seen + KEPT_SCRAPES < scrapes;
        let gone = self.entries.iter().filter(|entry| old(entry, self.scrapes)).count();
        if gone == 0 || gone * 4 < self.entries.len() {
            return;
        }
        let scrapes = self.scrapes;
        self.entries.retain(|entry| !old(entry, scrapes));
        self.index = None;
        self.steady.clear();
        self.order.clear();
    }

    fn note_descriptor(&mut self, text: &[u8], format: Format) {
        if let Some(seen) = self.descriptors.get_mut(text) {
            *seen = self.scrapes;
            return;
        }
        if self.descriptors.len() >= FAMILIES_MAX * 3 {
            return;
        }
        self.descriptors.insert(text.into(), self.scrapes);
        let Some(descriptor) = Descriptor::parse(text) else { return };
        let (Descriptor::Type(family, _) | Descriptor::Help(family, _) | Descriptor::Unit(family, _)) =
            &descriptor;
        let family = family.clone();
        let entry = self.metadata.entry(family.clone()).or_default();
        match descriptor {
            Descriptor::Type(_, kind) => {
                entry.kind =
                    MetricKind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap_or_default();
            }
            Descriptor::Help(_, help) => entry.help = help,
            Descriptor::Unit(_, unit) => entry.unit = unit,
        }
        self.db.set_metadata(&family, entry);
        // An OpenMetrics family is named without the suffix of its samples: people look for these.
        let suffix = match entry.kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            _ => return,
        };
        if format == Format::OpenMetrics {
            let entry = entry.clone();
            self.db.set_metadata(&format!("{family}{suffix}"), &entry);
        }
    }
}
