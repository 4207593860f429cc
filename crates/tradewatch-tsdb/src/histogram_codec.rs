//! Native histograms as bytes: whole, or as the difference to the one before.
//!
//! The layout (schema, spans, bounds) rarely changes within a series, so it is written only when it
//! does; counts are XORed with those before, which leaves a byte or two for each that moved.

use crate::Histogram;
use crate::bits::{Bytes, put_bits, put_varint, put_zigzag};
use crate::histogram::{CounterResetHint, Span};

const SAME_LAYOUT: u8 = 1;

/// Appends `histogram`, as the difference to `previous` where their layouts agree.
pub fn put(out: &mut Vec<u8>, histogram: &Histogram, previous: Option<&Histogram>) {
    let previous = previous.filter(|previous| same_layout(previous, histogram));
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    out.push(hint << 1 | if previous.is_some() { SAME_LAYOUT } else { 0 });
    if previous.is_none() {
        put_zigzag(out, i64::from(histogram.schema));
        put_bits(out, histogram.zero_threshold.to_bits());
        for (spans, buckets) in [
            (&histogram.positive_spans, &histogram.positive_buckets),
            (&histogram.negative_spans, &histogram.negative_buckets),
        ] {
            put_varint(out, spans.len() as u64);
            for span in spans {
                put_zigzag(out, i64::from(span.offset));
                put_varint(out, u64::from(span.length));
            }
            put_varint(out, buckets.len() as u64);
        }
        put_varint(out, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| put_bits(out, bound.to_bits()));
    }
    match previous {
        Some(previous) => {
            counts(histogram)
                .zip(counts(previous))
                .for_each(|(a, b)| put_bits(out, a.to_bits() ^ b.to_bits()));
        }
        None => counts(histogram).for_each(|count| put_bits(out, count.to_bits())),
    }
}

/// Reads one histogram; `previous` is the one written before it.
pub fn take(bytes: &mut Bytes, previous: Option<&Histogram>) -> Option<Histogram> {
    let flags = bytes.u8()?;
    let previous = if flags & SAME_LAYOUT != 0 { Some(previous?) } else { None };
    let mut histogram = match previous {
        Some(previous) => previous.clone(),
        None => take_layout(bytes)?,
    };
    histogram.counter_reset_hint = match flags >> 1 {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return None,
    };
    let Histogram { zero_count, count, sum, positive_buckets, negative_buckets, .. } = &mut histogram;
    for count in [zero_count, count, sum].into_iter().chain(positive_buckets).chain(negative_buckets) {
        // Without a previous one the counts are zero here, and zero changes nothing.
        *count = f64::from_bits(count.to_bits() ^ bytes.bits()?);
    }
    Some(histogram)
}

fn take_layout(bytes: &mut Bytes) -> Option<Histogram> {
    let mut histogram = Histogram {
        schema: i32::try_from(bytes.zigzag()?).ok()?,
        zero_threshold: f64::from_bits(bytes.bits()?),
        ..Histogram::default()
    };
    (histogram.positive_spans, histogram.positive_buckets) = take_spans(bytes)?;
    (histogram.negative_spans, histogram.negative_buckets) = take_spans(bytes)?;
    for _ in 0..bytes.count()? {
        histogram.custom_values.push(f64::from_bits(bytes.bits()?));
    }
    Some(histogram)
}

fn take_spans(bytes: &mut Bytes) -> Option<(Vec<Span>, Vec<f64>)> {
    let mut spans = Vec::new();
    for _ in 0..bytes.count()? {
        let offset = i32::try_from(bytes.zigzag()?).ok()?;
        spans.push(Span { offset, length: u32::try_from(bytes.varint()?).ok()? });
    }
    Some((spans, vec![0.0; bytes.count()?]))
}

/// Every number that changes from sample to sample, in the order on disk.
fn counts(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let fixed = [histogram.zero_count, histogram.count, histogram.sum];
    fixed.into_iter().chain(histogram.positive_buckets.iter().chain(&histogram.negative_buckets).copied())
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_buckets.len() == b.positive_buckets.len()
        && a.negative_buckets.len() == b.negative_buckets.len()
        && bits(&a.custom_values) == bits(&b.custom_values)
}
