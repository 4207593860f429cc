//! Which metrics and labels the store is full of.

use serde_json::{Value as Json, json};
use tradewatch_tsdb::{Db, Timestamp};

/// The statistics of `/api/v1/status/tsdb`, `limit` entries per list.
pub fn of(db: &Db, limit: usize) -> Json {
    let stats = db.stats();
    let cardinality = db.cardinality(limit);
    let millis = |ts: Option<Timestamp>| ts.map_or(0, Timestamp::as_millis);
    json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": millis(stats.min_time),
            "maxTime": millis(stats.max_time),
        },
        "seriesCountByMetricName": counts(cardinality.series_by_metric),
        "labelValueCountByLabelName": counts(cardinality.values_by_label),
        "memoryInBytesByLabelName": counts(cardinality.bytes_by_label),
        "seriesCountByLabelValuePair": counts(cardinality.series_by_pair),
    })
}

fn counts(counts: Vec<(String, usize)>) -> Json {
    counts.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}
