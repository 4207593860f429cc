//! Columns of a block: many times, or many floats, as few bytes.
//!
//! Most floats of the field are decimals (counts, prices, microseconds): multiplied by a power of ten they are
//! integers, whose differences `pco` packs to little more than their entropy. A column is cut into pages, so that a
//! query for an hour does not unpack a day. Layout: `docs/formats/block.md`.
//!
//! # Source
//! Decimals as integers with an exponent: VictoriaMetrics. Pages and bins: the wrapped format of `pco` 1.

use std::ops::Range;

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};

use crate::STALE_NAN;
use crate::bits::{Bytes, put_varint, put_zigzag};

/// The most values in a page.
const PAGE_VALUES_MAX: usize = 512;
/// The most values in a column.
pub const COLUMN_VALUES_MAX: usize = 8192;
/// Columns shorter than this are not worth the tables of `pco`.
const PACKED_VALUES_MIN: usize = 32;
/// The header of the `pco` format that we write, which need not stand before each column.
const PCO_HEADER: [u8; 2] = [4, 1];

const FORM_CONSTANT: u8 = 0;
const FORM_DECIMAL: u8 = 1;
const FORM_FLOAT: u8 = 2;

const FORM_STEADY: u8 = 0;
const FORM_PACKED: u8 = 1;

/// The powers of ten that are exact.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Integers beyond this are not all floats.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends a column of times (ascending): steady ones as begin and step.
pub fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let step = times.get(1).map_or(0, |second| second.wrapping_sub(times[0]));
    if times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        out.push(FORM_STEADY);
        put_zigzag(out, times.first().copied().unwrap_or(0));
        put_zigzag(out, step);
        return;
    }
    out.push(FORM_PACKED);
    // Jitter around a steady step: its change is smaller than the change of that.
    put_pages(out, times, delta_order(times), ModeSpec::Classic);
}

/// Reads all `count` times of a column; `None` if it makes no sense.
pub fn take_times(data: &[u8], count: usize) -> Option<Vec<i64>> {
    if count > COLUMN_VALUES_MAX {
        return None;
    }
    let mut bytes = Bytes(data);
    match bytes.u8()? {
        FORM_STEADY => {
            let (first, step) = (bytes.zigzag()?, bytes.zigzag()?);
            Some((0..count as i64).map(|at| first.wrapping_add(step.wrapping_mul(at))).collect())
        }
        FORM_PACKED => {
            let mut times = Vec::new();
            take_pages(&mut bytes, count, 0..count, &mut times)?;
            Some(times)
        }
        _ => None,
    }
}

/// Appends a column of floats; `false` (and nothing is appended) if they are too few to be worth it.
pub fn put_values(out: &mut Vec<u8>, values: &[f64]) -> bool {
    let Some(first) = values.first() else { return false };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(FORM_CONSTANT);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return true;
    }
    if values.len() < PACKED_VALUES_MIN {
        return false;
    }
    if let Some((exponent, integers, stale)) = decimals(values) {
        out.push(FORM_DECIMAL);
        out.push(exponent);
        put_varint(out, stale.len() as u64);
        stale.iter().for_each(|at| put_varint(out, u64::from(*at)));
        put_pages(out, &integers, delta_order(&integers), ModeSpec::Classic);
    } else {
        out.push(FORM_FLOAT);
        put_pages(out, values, DeltaSpec::Auto, ModeSpec::Auto);
    }
    true
}

/// Appends the values at `range` of a column of `count`; `None` if it makes no sense.
pub fn take_values(data: &[u8], count: usize, range: Range<usize>, out: &mut Vec<f64>) -> Option<()> {
    let mut bytes = Bytes(data);
    match bytes.u8()? {
        FORM_CONSTANT => {
            let value = f64::from_bits(u64::from_le_bytes(bytes.take(8)?.try_into().ok()?));
            out.resize(out.len() + range.len(), value);
        }
        FORM_DECIMAL => {
            let power = *POWERS.get(usize::from(bytes.u8()?))?;
            let mut stale = Vec::new();
            for _ in 0..bytes.count()? {
                stale.push(bytes.varint()? as usize);
            }
            let before = out.len();
            let mut integers: Vec<i64> = Vec::new();
            let start = range.start;
            take_pages(&mut bytes, count, range, &mut integers)?;
            match power == 1.0 {
                true => out.extend(integers.iter().map(|integer| *integer as f64)),
                false => out.extend(integers.iter().map(|integer| *integer as f64 / power)),
            }
            for at in stale {
                if let Some(value) = at.checked_sub(start).and_then(|at| out.get_mut(before..)?.get_mut(at)) {
                    *value = STALE_NAN;
                }
            }
        }
        FORM_FLOAT => take_pages(&mut bytes, count, range, out)?,
        _ => return None,
    }
    Some(())
}

/// The values as integers times a negative power of ten, if that gives them back bit by bit. Staleness markers
/// are given by their places, and the value before stands in for them.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>, Vec<u32>)> {
    let mut integers = Vec::with_capacity(values.len());
    let mut stale = Vec::new();
    let mut exponent = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        if crate::is_stale(value) {
            stale.push(at as u32);
            integers.push(integers.last().copied().unwrap_or(0));
            at += 1;
            continue;
        }
        let power = *POWERS.get(exponent)?;
        let scaled = (value * power).round();
        // Also false for what is not finite, and for a negative zero, which no integer is.
        if scaled.abs() < MANTISSA_MAX && (scaled as i64 as f64 / power).to_bits() == value.to_bits() {
            integers.push(scaled as i64);
            at += 1;
            continue;
        }
        if !value.is_finite() || value.to_bits() == (-0.0f64).to_bits() {
            return None;
        }
        // One more digit, for all of them.
        exponent += 1;
        (at, stale, integers) = (0, Vec::new(), Vec::with_capacity(values.len()));
    }
    Some((exponent as u8, integers, stale))
}

/// How often to take differences: as often as that makes numbers smaller.
fn delta_order(values: &[i64]) -> DeltaSpec {
    let bits = |value: i64| u64::from(64 - value.unsigned_abs().leading_zeros());
    let middle = values.iter().map(|value| i128::from(*value)).sum::<i128>() / values.len().max(1) as i128;
    let spread: u64 = values.iter().map(|value| bits(value.wrapping_sub(middle as i64))).sum();
    let differences = |pair: &[i64]| bits(pair[1].wrapping_sub(pair[0]));
    let first: u64 = values.windows(2).map(differences).sum();
    let change =
        |three: &[i64]| bits(three[2].wrapping_sub(three[1]).wrapping_sub(three[1].wrapping_sub(three[0])));
    let second: u64 = values.windows(3).map(change).sum();
    match () {
        () if spread <= first && spread <= second => DeltaSpec::NoOp,
        // The packer finds the centre of steady differences by itself.
        () if first <= second * 3 => DeltaSpec::TryConsecutive(1),
        () => DeltaSpec::TryConsecutive(2),
    }
}

/// Appends: the number of pages, the length of the tables, the length of each page, the tables, the pages.
fn put_pages<T: Number>(out: &mut Vec<u8>, values: &[T], delta: DeltaSpec, mode: ModeSpec) {
    let config = ChunkConfig::default()
        .with_compression_level(4)
        .with_delta_spec(delta)
        .with_mode_spec(mode)
        .with_paging_spec(PagingSpec::EqualPagesUpTo(PAGE_VALUES_MAX));
    let mut pack = || -> pco::errors::PcoResult<()> {
        let mut packer = FileCompressor::default().chunk_compressor(values, &config)?;
        let mut data = Vec::new();
        packer.write_meta(&mut data)?;
        let mut ends = vec![data.len()];
        for page in 0..packer.n_per_page().len() {
            packer.write_page(page, &mut data)?;
            ends.push(data.len());
        }
        put_varint(out, ends.len() as u64 - 1);
        put_varint(out, ends[0] as u64);
        ends.windows(2).for_each(|pair| put_varint(out, (pair[1] - pair[0]) as u64));
        out.extend_from_slice(&data);
        Ok(())
    };
    pack().expect("writing into memory cannot fail, and the configuration is valid");
}

/// Appends the values at `range`, unpacking only the pages that hold them.
fn take_pages<T: Number + Default>(
    bytes: &mut Bytes,
    count: usize,
    range: Range<usize>,
    out: &mut Vec<T>,
) -> Option<()> {
    if count > COLUMN_VALUES_MAX || range.end > count {
        return None;
    }
    let pages = bytes.count()?;
    if pages == 0 || pages > count {
        return None;
    }
    let tables = bytes.count()?;
    let mut lengths = [0usize; COLUMN_VALUES_MAX / PAGE_VALUES_MAX];
    for page in 0..pages {
        *lengths.get_mut(page)? = bytes.count()?;
    }
    let (files, _) = FileDecompressor::new(PCO_HEADER.as_slice()).ok()?;
    let (mut unpacker, _) = files.chunk_decompressor::<T, _>(bytes.take(tables)?).ok()?;
    // Pages are as long as each other, the first ones by one longer.
    let (short, longer) = (count / pages, count % pages);
    let mut buffer = [T::default(); PAGE_VALUES_MAX];
    let mut first = 0;
    for (page, length) in lengths.iter().enumerate().take(pages) {
        let values = short + usize::from(page < longer);
        let data = bytes.take(*length)?;
        let (from, to) = (range.start.max(first), range.end.min(first + values));
        if from < to {
            if values > PAGE_VALUES_MAX {
                return None;
            }
            let mut reader = unpacker.page_decompressor(data, values).ok()?;
            reader.read(&mut buffer[..values]).ok().filter(|progress| progress.finished)?;
            out.extend_from_slice(&buffer[from - first..to - first]);
        }
        first += values;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[f64], from: usize, to: usize) {
        let mut data = Vec::new();
        if !put_values(&mut data, values) {
            return;
        }
        let mut back = vec![1.0];
        take_values(&data, values.len(), from..to, &mut back).expect("it was just written");
        assert_eq!(back.len(), 1 + to - from);
        assert!(back[1..].iter().zip(&values[from..to]).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 100.0),
            4 => (0i64..1000).prop_map(|n| n as f64),
            1 => Just(STALE_NAN),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn floats_come_back(decimals in proptest::collection::vec(value(), 1..1500),
                            odd in proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..3),
                            from in any::<usize>(), to in any::<usize>(), at in any::<usize>()) {
            let mut values = decimals;
            for value in odd {
                let place = at % values.len();
                values[place] = value;
            }
            let from = from % values.len();
            check(&values, from, from + to % (values.len() - from + 1));
            check(&values, 0, values.len());
        }

        #[test]
        fn times_come_back(first in any::<i64>(), steps in proptest::collection::vec(prop_oneof![Just(15_000i64), 1i64..20_000], 0..1200)) {
            let mut ts = first;
            let times: Vec<i64> = std::iter::once(first).chain(steps.iter().map(|step| { ts = ts.saturating_add(*step); ts })).collect();
            let mut data = Vec::new();
            put_times(&mut data, &times);
            prop_assert_eq!(take_times(&data, times.len()), Some(times));
        }

        #[test]
        fn rubbish_never_panics(values in proptest::collection::vec(value(), 40..600), at in any::<usize>(), flip in 1u8.., cut in any::<usize>()) {
            let mut data = Vec::new();
            put_values(&mut data, &values);
            let len = data.len();
            data[at % len] ^= flip;
            data.truncate(cut % (2 * len) + 1);
            take_values(&data, values.len(), 0..values.len(), &mut Vec::new());
            take_times(&data, values.len());
        }
    }

    #[test]
    fn a_negative_zero_keeps_its_sign() {
        let mut values: Vec<f64> = (0..PACKED_VALUES_MIN).map(|n| n as f64).collect();
        values[7] = -0.0;
        check(&values, 0, values.len());
    }

    #[test]
    fn usual_series_take_few_bytes() {
        let mut seed = 7u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut size = |mut next: Box<dyn FnMut(f64, u64) -> f64>| {
            let mut value = 100.0;
            let values: Vec<f64> = (0..5760)
                .map(|_| {
                    value = next(value, random(1000));
                    value
                })
                .collect();
            let mut data = Vec::new();
            assert!(put_values(&mut data, &values));
            data.len() * 100 / values.len()
        };
        // In hundredths of a byte for a value.
        assert!(size(Box::new(|value, r| value + (r % 9) as f64)) < 50, "counters");
        assert!(
            size(Box::new(|value, r| ((value * 100.0).round() + (r % 201) as f64 - 100.0) / 100.0)) < 110,
            "prices"
        );
        assert!(size(Box::new(|_, r| r as f64 / 1e6)) < 140, "noise of three digits");
        assert_eq!(size(Box::new(|value, _| value)), 0, "constants");
    }

    #[test]
    fn the_header_of_the_packer_is_the_one_that_is_left_out() {
        assert_eq!(FileCompressor::default().write_header(Vec::new()).expect("into memory"), PCO_HEADER);
    }
}
