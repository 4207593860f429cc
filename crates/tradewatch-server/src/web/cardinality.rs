//! Which metrics and labels the store is full of.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use tradewatch_tsdb::{Db, Labels, Timestamp};

/// The statistics of `/api/v1/status/tsdb`, `limit` entries per list.
pub fn of(db: &Db, limit: usize) -> Json {
    let all = db.series(&[], Timestamp::MIN, Timestamp::MAX);
    let stats = db.stats();
    let mut by_metric: HashMap<&str, u64> = HashMap::new();
    let mut by_pair: HashMap<(&str, &str), u64> = HashMap::new();
    for labels in &all {
        *by_metric.entry(labels.name().unwrap_or("")).or_default() += 1;
        for pair in labels.iter() {
            *by_pair.entry(pair).or_default() += 1;
        }
    }
    let mut values: HashMap<&str, u64> = HashMap::new();
    let mut bytes: HashMap<&str, u64> = HashMap::new();
    for (name, value) in by_pair.keys() {
        *values.entry(name).or_default() += 1;
        *bytes.entry(name).or_default() += value.len() as u64;
    }
    let pairs = by_pair.iter().map(|((name, value), count)| (format!("{name}={value}"), *count)).collect();
    json!({
        "headStats": {
            "numSeries": all.len(),
            "numLabelPairs": by_pair.len(),
            "chunkCount": stats.chunks(),
            "minTime": stats.min_time(),
            "maxTime": stats.max_time(),
        },
        "seriesCountByMetricName": top(owned(by_metric), limit),
        "labelValueCountByLabelName": top(owned(values), limit),
        "memoryInBytesByLabelName": top(owned(bytes), limit),
        "seriesCountByLabelValuePair": top(pairs, limit),
    })
}

fn owned(counts: HashMap<&str, u64>) -> Vec<(String, u64)> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn top(mut counts: Vec<(String, u64)>, limit: usize) -> Vec<Json> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// The label sets that the statistics are made of; for tests.
pub fn series(db: &Db) -> Vec<Labels> {
    db.series(&[], Timestamp::MIN, Timestamp::MAX)
}
