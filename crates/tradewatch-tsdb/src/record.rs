//! What stands inside a record of the log: series, samples, metadata, deletions, and (in a checkpoint) chunks.
//!
//! Layout: `docs/formats/wal.md`. Decoding checks every length and never panics; a record is decoded as
//! a whole before any of it is applied.

use std::sync::Arc;

use crate::bits::{Bytes, put_str, put_varint, put_zigzag};
use crate::chunk::{Chunk, ChunkKind};
use crate::histogram_codec;
use crate::{Labels, Metadata, MetricKind, Sample, Timestamp, Value};

const TAG_SERIES: u8 = 1;
const TAG_FLOATS: u8 = 2;
const TAG_HISTOGRAM: u8 = 3;
const TAG_METADATA: u8 = 4;
const TAG_DELETE: u8 = 5;
const TAG_CHUNK: u8 = 6;
const TAG_CHECKPOINT_END: u8 = 7;
const TAG_TOMBSTONE: u8 = 8;
const TAG_BLOCKS_GONE: u8 = 9;
const TAG_BLOCKS: u8 = 10;

/// The samples of a series from `start` to `end` in one block are gone.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    pub block: u64,
    pub start: Timestamp,
    pub end: Timestamp,
    /// How many there were.
    pub removed: u64,
}

/// Floats of one time, series by series: a scrape.
#[derive(Debug)]
pub struct Floats {
    pub ts: Timestamp,
    pub start: Option<Timestamp>,
    pub ids: Vec<u32>,
    pub values: Vec<f64>,
}

/// One fact of a record.
#[derive(Debug)]
pub enum Entry {
    /// From here on, `id` stands for these labels.
    Series { id: u32, labels: Labels },
    /// One sample.
    Sample { id: u32, sample: Sample },
    /// Floats of one time.
    Floats(Floats),
    /// What a metric family says about itself.
    Metadata { family: String, metadata: Metadata },
    /// The samples of a series from `start` to `end` are gone.
    Delete { id: u32, start: Timestamp, end: Timestamp },
    /// A closed chunk.
    Chunk { id: u32, chunk: Chunk },
    /// The checkpoint is complete; ids from `next_id` on are free.
    CheckpointEnd { next_id: u32 },
    /// Samples in a block are gone.
    Tombstone { id: u32, tombstone: Tombstone },
    /// Blocks that the retention has taken.
    BlocksGone { numbers: Vec<u64> },
    /// The blocks that there are; numbers from `next` on are free.
    Blocks { next: u64, numbers: Vec<u64> },
}

pub fn put_series(out: &mut Vec<u8>, id: u32, labels: &Labels) {
    out.push(TAG_SERIES);
    put_varint(out, u64::from(id));
    put_varint(out, labels.len() as u64);
    for (name, value) in labels {
        put_str(out, name);
        put_str(out, value);
    }
}

pub fn put_metadata(out: &mut Vec<u8>, family: &str, metadata: &Metadata) {
    out.push(TAG_METADATA);
    put_str(out, family);
    let kind = MetricKind::ALL.iter().position(|kind| *kind == metadata.kind);
    out.push(kind.expect("every kind is listed") as u8);
    put_str(out, &metadata.unit);
    put_str(out, &metadata.help);
}

pub fn put_delete(out: &mut Vec<u8>, id: u32, start: Timestamp, end: Timestamp) {
    out.push(TAG_DELETE);
    put_varint(out, u64::from(id));
    put_zigzag(out, start.as_millis());
    put_zigzag(out, end.as_millis());
}

pub fn put_chunk(out: &mut Vec<u8>, id: u32, chunk: &Chunk) {
    out.push(TAG_CHUNK);
    put_varint(out, u64::from(id));
    out.push(chunk.kind as u8);
    put_zigzag(out, chunk.first.as_millis());
    put_zigzag(out, chunk.last.as_millis());
    put_start(out, chunk.start);
    put_varint(out, u64::from(chunk.count));
    put_varint(out, chunk.data.len() as u64);
    out.extend_from_slice(&chunk.data);
}

pub fn put_tombstone(out: &mut Vec<u8>, id: u32, tombstone: &Tombstone) {
    out.push(TAG_TOMBSTONE);
    put_varint(out, u64::from(id));
    put_varint(out, tombstone.block);
    put_zigzag(out, tombstone.start.as_millis());
    put_zigzag(out, tombstone.end.as_millis());
    put_varint(out, tombstone.removed);
}

pub fn put_blocks_gone(out: &mut Vec<u8>, numbers: &[u64]) {
    out.push(TAG_BLOCKS_GONE);
    put_numbers(out, numbers);
}

pub fn put_blocks(out: &mut Vec<u8>, next: u64, numbers: &[u64]) {
    out.push(TAG_BLOCKS);
    put_varint(out, next);
    put_numbers(out, numbers);
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    put_varint(out, numbers.len() as u64);
    numbers.iter().for_each(|number| put_varint(out, *number));
}

fn take_numbers(bytes: &mut Bytes) -> Option<Vec<u64>> {
    (0..bytes.count()?).map(|_| bytes.varint()).collect()
}

pub fn put_checkpoint_end(out: &mut Vec<u8>, next_id: u32) {
    out.push(TAG_CHECKPOINT_END);
    put_varint(out, u64::from(next_id));
}

/// Appends samples in their order: floats of one time together, since a scrape gives all its samples one.
pub fn put_samples(out: &mut Vec<u8>, samples: &[(u32, Sample)]) {
    let mut rest = samples;
    while let Some((id, first)) = rest.first() {
        if let Value::Histogram(histogram) = &first.value {
            out.push(TAG_HISTOGRAM);
            put_varint(out, u64::from(*id));
            put_zigzag(out, first.ts.as_millis());
            put_start(out, first.start);
            histogram_codec::put(out, histogram, None);
            rest = &rest[1..];
            continue;
        }
        let together = |(_, sample): &&(u32, Sample)| {
            sample.ts == first.ts && sample.start == first.start && matches!(sample.value, Value::Float(_))
        };
        let count = rest.iter().take_while(together).count();
        let floats = rest[..count].iter().map(|(id, sample)| match sample.value {
            Value::Float(value) => (*id, value),
            Value::Histogram(_) => unreachable!("only floats are together"),
        });
        put_floats(out, first.ts, first.start, floats);
        rest = &rest[count..];
    }
}

/// Appends floats of one time.
pub fn put_row(out: &mut Vec<u8>, ts: Timestamp, ids: &[u32], values: &[f64]) {
    if !ids.is_empty() {
        put_floats(out, ts, None, ids.iter().copied().zip(values.iter().copied()));
    }
}

/// The id as the difference to the one before, and the bytes of the value up to its last one that is
/// not zero: both counts share one byte where the ids ascend closely, as those of a scrape do.
fn put_floats(
    out: &mut Vec<u8>,
    ts: Timestamp,
    start: Option<Timestamp>,
    floats: impl ExactSizeIterator<Item = (u32, f64)>,
) {
    /// A tag, ten bytes of a difference, and a value.
    const FLOAT_BYTES_MAX: usize = 1 + 10 + 8;
    out.push(TAG_FLOATS);
    put_zigzag(out, ts.as_millis());
    put_start(out, start);
    put_varint(out, floats.len() as u64);
    // Whole values are written into room made beforehand, and what is not needed of them is written over.
    let mut room = [0u8; 64 * FLOAT_BYTES_MAX];
    let mut at = 0;
    let mut previous = 0i64;
    for (id, value) in floats {
        if at + FLOAT_BYTES_MAX > room.len() {
            out.extend_from_slice(&room[..at]);
            at = 0;
        }
        let bits = value.to_bits();
        let len = 8 - (bits.trailing_zeros() / 8).min(8) as usize;
        let step = i64::from(id) - previous;
        previous = i64::from(id);
        if (0..15).contains(&step) {
            room[at] = (step as u8) << 4 | len as u8;
            at += 1;
        } else {
            let mut far = Vec::with_capacity(11);
            far.push(0xf0 | len as u8);
            put_zigzag(&mut far, step);
            room[at..at + far.len()].copy_from_slice(&far);
            at += far.len();
        }
        room[at..at + 8].copy_from_slice(&bits.to_be_bytes());
        at += len;
    }
    out.extend_from_slice(&room[..at]);
}

fn put_start(out: &mut Vec<u8>, start: Option<Timestamp>) {
    match start {
        None => out.push(0),
        Some(start) => {
            out.push(1);
            put_zigzag(out, start.as_millis());
        }
    }
}

/// Whether this is the payload of the last record of a checkpoint, which holds nothing else.
pub fn ends_checkpoint(payload: &[u8]) -> bool {
    payload.first() == Some(&TAG_CHECKPOINT_END)
}

/// All entries of a payload; `None` if it is not well-formed.
pub fn decode(payload: &[u8]) -> Option<Vec<Entry>> {
    let mut bytes = Bytes(payload);
    let (mut entries, mut pairs) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        match bytes.u8()? {
            TAG_SERIES => {
                let id = take_id(&mut bytes)?;
                let count = bytes.count()?;
                pairs.clear();
                for _ in 0..count {
                    pairs.push((bytes.str()?, bytes.str()?));
                }
                let is_sorted = pairs.is_sorted_by(|a, b| a.0 < b.0) && pairs.iter().all(|p| !p.1.is_empty());
                let labels = match is_sorted {
                    true => Labels::from_sorted(pairs.iter().copied()),
                    false => Labels::from_pairs(pairs.iter().copied()),
                };
                entries.push(Entry::Series { id, labels });
            }
            TAG_FLOATS => take_floats(&mut bytes, &mut entries)?,
            TAG_HISTOGRAM => {
                let id = take_id(&mut bytes)?;
                let (ts, start) = (take_ts(&mut bytes)?, take_start(&mut bytes)?);
                let value = Value::Histogram(Arc::new(histogram_codec::take(&mut bytes, None)?));
                entries.push(Entry::Sample { id, sample: Sample { ts, value, start } });
            }
            TAG_METADATA => {
                let family = bytes.str()?.to_owned();
                let kind = *MetricKind::ALL.get(usize::from(bytes.u8()?))?;
                let (unit, help) = (bytes.str()?.to_owned(), bytes.str()?.to_owned());
                entries.push(Entry::Metadata { family, metadata: Metadata { kind, unit, help } });
            }
            TAG_DELETE => {
                let (id, start, end) = (take_id(&mut bytes)?, take_ts(&mut bytes)?, take_ts(&mut bytes)?);
                entries.push(Entry::Delete { id, start, end });
            }
            TAG_CHUNK => entries.push(take_chunk(&mut bytes)?),
            TAG_TOMBSTONE => {
                let (id, block) = (take_id(&mut bytes)?, bytes.varint()?);
                let (start, end) = (take_ts(&mut bytes)?, take_ts(&mut bytes)?);
                let tombstone = Tombstone { block, start, end, removed: bytes.varint()? };
                entries.push(Entry::Tombstone { id, tombstone });
            }
            TAG_BLOCKS_GONE => entries.push(Entry::BlocksGone { numbers: take_numbers(&mut bytes)? }),
            TAG_BLOCKS => {
                let next = bytes.varint()?;
                entries.push(Entry::Blocks { next, numbers: take_numbers(&mut bytes)? });
            }
            TAG_CHECKPOINT_END => entries.push(Entry::CheckpointEnd { next_id: take_id(&mut bytes)? }),
            _ => return None,
        }
    }
    Some(entries)
}

fn take_floats(bytes: &mut Bytes, entries: &mut Vec<Entry>) -> Option<()> {
    let (ts, start) = (take_ts(bytes)?, take_start(bytes)?);
    let count = bytes.count()?;
    let (mut ids, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut id = 0i64;
    for _ in 0..count {
        // Nearly all: a close id, and enough behind it to take a whole value at once.
        if let Some([tag, value @ ..]) = bytes.0.first_chunk::<9>()
            && *tag < 0xf0
            && *tag & 0x0f <= 8
        {
            let len = u32::from(tag & 0x0f);
            id += i64::from(tag >> 4);
            let bits = u64::from_be_bytes(*value);
            ids.push(u32::try_from(id).ok()?);
            values.push(f64::from_bits(bits & !u64::MAX.checked_shr(8 * len).unwrap_or(0)));
            bytes.take(1 + len as usize)?;
            continue;
        }
        let tag = bytes.u8()?;
        let (step, len) = (tag >> 4, usize::from(tag & 0x0f));
        id = id.checked_add(if step == 15 { bytes.zigzag()? } else { i64::from(step) })?;
        let mut value = [0u8; 8];
        value.get_mut(..len)?.copy_from_slice(bytes.take(len)?);
        ids.push(u32::try_from(id).ok()?);
        values.push(f64::from_bits(u64::from_be_bytes(value)));
    }
    entries.push(Entry::Floats(Floats { ts, start, ids, values }));
    Some(())
}

fn take_chunk(bytes: &mut Bytes) -> Option<Entry> {
    let id = take_id(bytes)?;
    let kind = match bytes.u8()? {
        1 => ChunkKind::Float,
        2 => ChunkKind::Histogram,
        _ => return None,
    };
    let (first, last, start) = (take_ts(bytes)?, take_ts(bytes)?, take_start(bytes)?);
    let count = u32::try_from(bytes.varint()?).ok()?;
    let len = bytes.count()?;
    let data = bytes.take(len)?.into();
    Some(Entry::Chunk { id, chunk: Chunk { kind, first, last, count, start, data } })
}

fn take_id(bytes: &mut Bytes) -> Option<u32> {
    u32::try_from(bytes.varint()?).ok()
}

fn take_ts(bytes: &mut Bytes) -> Option<Timestamp> {
    bytes.zigzag().map(Timestamp::from_millis)
}

fn take_start(bytes: &mut Bytes) -> Option<Option<Timestamp>> {
    match bytes.u8()? {
        0 => Some(None),
        1 => take_ts(bytes).map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;
    use proptest::prelude::*;

    #[test]
    fn a_scrape_of_a_demo_takes_few_bytes() {
        let samples: Vec<(u32, Sample)> = (0..1500u32)
            .map(|i| (i, Sample::float(Timestamp::from_millis(1_700_000_000_000), f64::from(i % 7) * 100.0)))
            .collect();
        let mut out = Vec::new();
        put_samples(&mut out, &samples);
        assert!(out.len() < 1500 * 4, "{} bytes", out.len());
    }

    proptest! {
        #[test]
        fn samples_come_back(parts in proptest::collection::vec((any::<u32>(), 0u32..20, 0i64..3, any::<u64>(), 0u8..8), 0..50)) {
            let mut previous = 0u32;
            let samples: Vec<(u32, Sample)> = parts.into_iter().map(|(id, step, ts, bits, kind)| {
                let id = if kind & 1 == 0 { previous.saturating_add(step) } else { id };
                previous = id;
                let value = if kind == 7 {
                    let histogram = Histogram { sum: f64::from_bits(bits), positive_buckets: vec![1.0, 2.0], ..Histogram::default() };
                    Value::Histogram(Arc::new(histogram))
                } else {
                    Value::Float(f64::from_bits(if kind & 2 == 0 { bits } else { bits << 40 }))
                };
                let start = (kind == 3).then(|| Timestamp::from_millis(ts - 5));
                (id, Sample { ts: Timestamp::from_millis(ts), value, start })
            }).collect();
            let mut out = Vec::new();
            put_samples(&mut out, &samples);
            let back = decode(&out).expect("well-formed");
            let single = |entry: Entry| match entry {
                Entry::Sample { id, sample } => vec![(id, sample)],
                Entry::Floats(Floats { ts, start, ids, values }) => {
                    let sample = |value: f64| Sample { ts, value: Value::Float(value), start };
                    ids.into_iter().zip(values.into_iter().map(sample)).collect()
                }
                _ => panic!("a sample"),
            };
            let back: Vec<(u32, Sample)> = back.into_iter().flat_map(single).collect();
            prop_assert_eq!(back.len(), samples.len());
            for ((got, back), (id, sample)) in back.iter().zip(&samples) {
                prop_assert!(got == id && back.ts == sample.ts && back.start == sample.start && back.value.same_bits(&sample.value));
            }
        }

        #[test]
        fn rubbish_never_panics(rubbish in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..60)) {
            decode(&rubbish);
        }
    }
}
