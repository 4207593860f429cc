//! The data of a script into a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tradewatch_tsdb::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use tradewatch_tsdb::{Db, Histogram, Labels, Sample, Timestamp, Value};

use super::script::Load;

/// A store, and the last histogram of each series in it.
pub struct Store {
    pub db: Db,
    last: HashMap<Labels, Arc<Histogram>>,
}

impl Store {
    pub fn new() -> Store {
        Store { db: Db::in_memory(), last: HashMap::new() }
    }

    /// Appends what a `load` command describes.
    pub fn load(&mut self, load: &Load) -> Result<(), String> {
        let mut all: Vec<(Labels, Vec<Sample>)> = Vec::new();
        for series in &load.series {
            let mut samples = Vec::new();
            for (at, point) in series.points.iter().enumerate() {
                let Some(value) = point.value.clone() else { continue };
                let ts = at as i64 * load.step_ms;
                let start = series.starts.get(at).copied().flatten().map(|offset| ts + offset);
                let start = start.filter(|&start| start != 0).map(Timestamp::from_millis);
                samples.push(Sample { ts: Timestamp::from_millis(ts), value, start });
            }
            // Of two definitions in one command the later one counts.
            all.retain(|(labels, _)| *labels != series.labels);
            all.push((series.labels.clone(), samples));
        }
        if load.with_nhcb {
            all.extend(custom_histograms(&all)?);
        }
        let mut appender = self.db.appender();
        for (labels, samples) in all {
            let id = appender.series(&labels);
            for mut sample in samples {
                self.mark_resets(&labels, &mut sample);
                appender.append_sample(id, sample).map_err(|e| format!("{labels}: {e}"))?;
            }
        }
        appender.commit().map(drop).map_err(|e| e.to_string())
    }

    /// Prometheus' store looks for resets when it appends, and says with a sample where it found none.
    fn mark_resets(&mut self, labels: &Labels, sample: &mut Sample) {
        let Value::Histogram(histogram) = &mut sample.value else {
            self.last.remove(labels);
            return;
        };
        let before = self.last.get(labels).filter(|h| h.counter_reset_hint != CounterResetHint::Gauge);
        let mut plain = (**histogram).clone();
        plain.counter_reset_hint = CounterResetHint::Unknown;
        // A reset or another layout begins another chunk, and of its first sample nothing is said.
        let hint = match (histogram.counter_reset_hint, before) {
            (CounterResetHint::Gauge, _) => CounterResetHint::Gauge,
            (CounterResetHint::Unknown | CounterResetHint::NotReset, Some(before))
                if plain.schema == before.schema
                    && plain.zero_threshold == before.zero_threshold
                    && plain.custom_values == before.custom_values
                    && !plain.detect_reset(before) =>
            {
                CounterResetHint::NotReset
            }
            _ => CounterResetHint::Unknown,
        };
        if tradewatch_tsdb::is_stale(histogram.sum) {
            self.last.remove(labels);
            return;
        }
        if histogram.counter_reset_hint != hint {
            let mut marked = (**histogram).clone();
            marked.counter_reset_hint = hint;
            *histogram = Arc::new(marked);
        }
        self.last.insert(labels.clone(), histogram.clone());
    }
}

/// One classic histogram at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The classic histograms among the series as native ones with custom buckets.
fn custom_histograms(all: &[(Labels, Vec<Sample>)]) -> Result<Vec<(Labels, Vec<Sample>)>, String> {
    let mut found: BTreeMap<Labels, BTreeMap<Timestamp, Classic>> = BTreeMap::new();
    for (labels, samples) in all {
        let name = labels.name().unwrap_or("");
        let Some((base, part)) = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
        else {
            continue;
        };
        let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        if part == "_bucket" && bound.is_none() {
            continue;
        }
        let times = found.entry(labels.without(&["le"]).with("__name__", base)).or_default();
        for sample in samples {
            let Value::Float(value) = sample.value else { continue };
            let classic = times.entry(sample.ts).or_default();
            match (part, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, value)),
                ("_count", _) => classic.count = Some(value),
                _ => classic.sum = value,
            }
        }
    }
    let mut out = Vec::new();
    for (labels, times) in found {
        let mut samples = Vec::new();
        for (ts, classic) in times {
            let histogram = native(classic).map_err(|why| format!("{labels} at {ts}: {why}"))?;
            samples.push(Sample { ts, value: Value::Histogram(Arc::new(histogram)), start: None });
        }
        out.push((labels, samples));
    }
    Ok(out)
}

fn native(mut classic: Classic) -> Result<Histogram, String> {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    classic.buckets.dedup_by(|now, before| now.0 == before.0);
    let highest = classic.buckets.last().copied();
    let count = classic.count.or(highest.map(|b| b.1)).unwrap_or(0.0);
    if highest.is_none_or(|b| b.0 != f64::INFINITY) {
        classic.buckets.push((f64::INFINITY, count));
    }
    let mut before = 0.0;
    let mut counts = Vec::new();
    for &(bound, cumulative) in &classic.buckets {
        if cumulative < before {
            return Err(format!("bucket le={bound} holds {cumulative}, the one before {before}"));
        }
        counts.push(cumulative - before);
        before = cumulative;
    }
    if before != count {
        return Err(format!("count is {count}, the buckets hold {before}"));
    }
    let bounds = classic.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect();
    let mut histogram = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum: classic.sum,
        positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
        positive_buckets: counts,
        custom_values: bounds,
        ..Histogram::default()
    };
    histogram.compact();
    Ok(histogram)
}
