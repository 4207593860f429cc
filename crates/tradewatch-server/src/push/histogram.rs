//! Native histograms as remote write sends them.

use std::sync::Arc;

use tradewatch_tsdb::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use tradewatch_tsdb::{Histogram, Sample, Timestamp, Value, is_stale};

use super::wire::{Fields, Wire, zigzag};

/// Reads `prometheus.Histogram`, which has the same numbers in both versions of remote write.
///
/// # Errors
/// The bytes are no such message, or its parts contradict each other.
pub fn read(message: &[u8]) -> Result<Sample, String> {
    let mut h = Histogram::default();
    let (mut ts, mut start) = (0, 0);
    let (mut negative, mut positive) = (Buckets::default(), Buckets::default());
    for field in Fields::of(message) {
        let (number, value) = field?;
        match number {
            1 => h.count = value.unsigned()? as f64,
            2 => h.count = value.double()?,
            3 => h.sum = value.double()?,
            4 => h.schema = value.zigzag32()?,
            5 => h.zero_threshold = value.double()?,
            6 => h.zero_count = value.unsigned()? as f64,
            7 => h.zero_count = value.double()?,
            8 => negative.spans.push(span(value)?),
            9 => value.each_varint(|delta| negative.deltas.push(zigzag(delta)))?,
            10 => value.each_fixed(|bits| negative.counts.push(f64::from_bits(bits)))?,
            11 => positive.spans.push(span(value)?),
            12 => value.each_varint(|delta| positive.deltas.push(zigzag(delta)))?,
            13 => value.each_fixed(|bits| positive.counts.push(f64::from_bits(bits)))?,
            14 => {
                h.counter_reset_hint = match value.unsigned()? {
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                };
            }
            15 => ts = value.signed()?,
            16 => value.each_fixed(|bits| h.custom_values.push(f64::from_bits(bits)))?,
            17 => start = value.signed()?,
            _ => {}
        }
    }
    (h.negative_spans, h.negative_buckets) = negative.finish("negative")?;
    (h.positive_spans, h.positive_buckets) = positive.finish("positive")?;
    check(&h)?;
    let start = (start != 0).then(|| Timestamp::from_millis(start));
    Ok(Sample { ts: Timestamp::from_millis(ts), value: Value::Histogram(Arc::new(h)), start })
}

#[derive(Default)]
struct Buckets {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Buckets {
    fn finish(self, side: &str) -> Result<(Vec<Span>, Vec<f64>), String> {
        let counts = if self.counts.is_empty() {
            let mut count = 0i64;
            let running = self.deltas.iter().map(|delta| {
                count = count.wrapping_add(*delta);
                count as f64
            });
            running.collect()
        } else {
            self.counts
        };
        let named: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if named != counts.len() as u64 {
            return Err(format!("histogram: {side} spans name {named} buckets, {} are given", counts.len()));
        }
        if self.spans.iter().skip(1).any(|span| span.offset < 0) {
            return Err(format!("histogram: {side} spans overlap"));
        }
        if let Some(count) = counts.iter().find(|count| **count < 0.0) {
            return Err(format!("histogram: a {side} bucket holds {count}"));
        }
        Ok((self.spans, counts))
    }
}

fn check(h: &Histogram) -> Result<(), String> {
    if is_stale(h.sum) {
        return Ok(());
    }
    if !(-4..=8).contains(&h.schema) && h.schema != CUSTOM_BUCKETS_SCHEMA {
        return Err(format!("histogram: schema {} is not known; -4 to 8 and -53 are", h.schema));
    }
    if h.uses_custom_buckets() {
        if h.custom_values.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("histogram: custom bounds do not ascend".to_owned());
        }
        if h.positive_buckets.len() > h.custom_values.len() + 1 || !h.negative_spans.is_empty() {
            return Err("histogram: buckets beyond its custom bounds".to_owned());
        }
    }
    let inside: f64 = h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>() + h.zero_count;
    // Observations of NaN are counted and lie in no bucket.
    if inside > h.count * (1.0 + 1e-12) {
        return Err(format!("histogram: {inside} observations in buckets, {} in all", h.count));
    }
    Ok(())
}

fn span(value: Wire<'_>) -> Result<Span, String> {
    let mut span = Span { offset: 0, length: 0 };
    for field in value.fields()? {
        match field? {
            (1, value) => span.offset = value.zigzag32()?,
            (2, value) => {
                let length = value.unsigned()?;
                span.length =
                    u32::try_from(length).map_err(|_| format!("histogram: a span of {length} buckets"))?;
            }
            _ => {}
        }
    }
    Ok(span)
}
