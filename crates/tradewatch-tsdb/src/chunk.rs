//! Chunks: runs of samples of one series and one kind, packed.
//!
//! Floats are packed as Gorilla does: the change of the change of the time stamp, and the XOR with the
//! value before, each in few bits where nothing much happens. Appending is O(1) and never touches
//! what was written. A chunk whose kind or start timestamp changes is closed and the next one begun, so
//! that neither is stored per sample. Layout: `docs/formats/wal.md`.
//!
//! # Source
//! Gorilla, VLDB 2015, §4.1; the bit widths are ours, chosen for milliseconds.

use std::sync::Arc;

use crate::bits::{BitReader, BitWriter, Bytes};
use crate::histogram_codec;
use crate::read::Columns;
use crate::{Histogram, Sample, Timestamp, Value};

/// A chunk is usually closed at this many samples: a query decodes whole chunks, memory pays per chunk.
pub const CHUNK_SAMPLES_MAX: u32 = 360;
/// A chunk of histograms is closed at this many bytes.
pub const CHUNK_BYTES_MAX: usize = 16 * 1024;

/// The kind of value in a chunk; the number stands on disk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ChunkKind {
    /// XOR-packed floats.
    Float = 1,
    /// Histograms, each as the difference to the one before.
    Histogram = 2,
}

/// A run of samples that does not change any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub kind: ChunkKind,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
    /// The start timestamp that all its samples share.
    pub start: Option<Timestamp>,
    pub data: Box<[u8]>,
}

impl Chunk {
    /// Whether any time of `start` to `end` lies within.
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        self.first <= end && self.last >= start
    }

    /// Bytes of memory, headers included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Chunk>() + 2 * size_of::<usize>() + self.data.len()
    }

    /// The chunk as a borrowed one.
    pub fn packed(&self) -> Packed<'_> {
        let Chunk { kind, first, last, count, start, ref data } = *self;
        Packed { kind, first, last, count, start, data }
    }

    /// All samples, in the order of time.
    pub fn samples(&self) -> Vec<Sample> {
        let mut columns = Columns::default();
        columns.read(&self.packed(), Timestamp::MIN, Timestamp::MAX);
        columns.to_samples()
    }
}

/// A chunk whose data is borrowed: a closed one, the open one, or one in a file.
///
/// Reading stops early where the data is cut short, which a checksum has excluded before.
#[derive(Copy, Clone, Debug)]
pub struct Packed<'a> {
    pub kind: ChunkKind,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
    pub start: Option<Timestamp>,
    pub data: &'a [u8],
}

impl Packed<'_> {
    /// Gives the histograms to `take`, oldest first, until it says that it has enough.
    pub fn each_histogram(&self, mut take: impl FnMut(Timestamp, Arc<Histogram>) -> bool) {
        let histograms = Histograms { bytes: Bytes(self.data), ts: 0, previous: None };
        for (ts, histogram) in histograms.take(self.count as usize) {
            if !take(ts, histogram) {
                break;
            }
        }
    }

    /// Appends the floats from `start` to `end`.
    pub fn floats_into(&self, start: i64, end: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        if self.first.as_millis() >= start && self.last.as_millis() <= end {
            // A sample takes two bits at least, so that a false count cannot ask for much memory.
            let count = (self.count as usize).min(self.data.len() * 4);
            times.reserve(count);
            values.reserve(count);
        }
        for (ts, value) in Floats::new(self) {
            if ts > end {
                break;
            }
            if ts >= start {
                times.push(ts);
                values.push(value);
            }
        }
    }

    /// Appends the floats from `start` to `end` behind a mark, where the data begins at the byte of the mark.
    pub fn tail_into(&self, mark: &Mark, start: i64, end: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let Mark { bit, ts, delta, value, count, leading, significant } = *mark;
        let tail = Floats {
            bits: BitReader::from_bit(self.data, bit as usize % 8),
            left: self.count.saturating_sub(count),
            is_first: false,
            ts,
            delta,
            value,
            leading: u32::from(leading),
            significant: u32::from(significant),
        };
        for (ts, value) in tail.take_while(|(ts, _)| *ts <= end) {
            if ts >= start {
                times.push(ts);
                values.push(value);
            }
        }
    }

    /// The newest sample from `start` to `end`.
    pub fn newest(&self, start: Timestamp, end: Timestamp) -> Option<Sample> {
        let mut newest = None;
        match self.kind {
            ChunkKind::Float => {
                for (ts, value) in Floats::new(self).take_while(|(ts, _)| *ts <= end.as_millis()) {
                    newest = Some((Timestamp::from_millis(ts), Value::Float(value)));
                }
            }
            ChunkKind::Histogram => self.each_histogram(|ts, histogram| {
                if ts <= end {
                    newest = Some((ts, Value::Histogram(histogram)));
                }
                ts <= end
            }),
        }
        newest.filter(|(ts, _)| *ts >= start).map(|(ts, value)| Sample { ts, value, start: self.start })
    }
}

/// A mark is set behind every so many floats.
const MARK_EVERY: u32 = 64;

/// A place in an open chunk from which its floats can be read: most questions are about the newest ones.
#[derive(Copy, Clone, Debug, Default)]
pub struct Mark {
    /// Where the next float begins.
    pub bit: u32,
    /// Floats before it.
    count: u32,
    /// The time of the last of these.
    pub ts: i64,
    delta: i64,
    value: u64,
    leading: u8,
    significant: u8,
}

/// The chunk that a series is writing.
#[derive(Clone, Debug)]
pub struct OpenChunk {
    first: Timestamp,
    last: Timestamp,
    count: u32,
    start: Option<Timestamp>,
    delta: i64,
    body: Body,
    /// The newest mark, if there is one.
    mark: Mark,
}

#[derive(Clone, Debug)]
enum Body {
    Float { bits: BitWriter, last: u64, leading: u8, significant: u8 },
    Histogram { bytes: Vec<u8>, last: Arc<Histogram> },
}

impl OpenChunk {
    /// Begins a chunk with its first sample.
    pub fn new(sample: &Sample) -> OpenChunk {
        let body = match &sample.value {
            Value::Float(value) => {
                let mut bits = BitWriter::default();
                bits.push(value.to_bits(), 64);
                Body::Float { bits, last: value.to_bits(), leading: 64, significant: 0 }
            }
            Value::Histogram(histogram) => {
                let mut bytes = Vec::new();
                crate::bits::put_zigzag(&mut bytes, sample.ts.as_millis());
                histogram_codec::put(&mut bytes, histogram, None);
                Body::Histogram { bytes, last: histogram.clone() }
            }
        };
        OpenChunk {
            first: sample.ts,
            last: sample.ts,
            count: 1,
            start: sample.start,
            delta: 0,
            body,
            mark: Mark::default(),
        }
    }

    /// Appends a newer sample; `false` if it belongs into a new chunk, which it does behind `samples_max`.
    pub fn push(&mut self, sample: &Sample, samples_max: u32) -> bool {
        if self.count >= samples_max || sample.start != self.start {
            return false;
        }
        let delta = sample.ts.as_millis().wrapping_sub(self.last.as_millis());
        match (&mut self.body, &sample.value) {
            (Body::Float { bits, last, leading, significant }, Value::Float(value)) => {
                push_time(bits, delta.wrapping_sub(self.delta));
                push_value(bits, *last ^ value.to_bits(), leading, significant);
                *last = value.to_bits();
            }
            (Body::Histogram { bytes, last }, Value::Histogram(histogram))
                if bytes.len() < CHUNK_BYTES_MAX =>
            {
                crate::bits::put_zigzag(bytes, delta);
                histogram_codec::put(bytes, histogram, Some(last));
                *last = histogram.clone();
            }
            _ => return false,
        }
        self.delta = delta;
        self.last = sample.ts;
        self.count += 1;
        self.set_mark();
        true
    }

    #[inline]
    fn set_mark(&mut self) {
        if self.count.is_multiple_of(MARK_EVERY)
            && let Body::Float { bits, last, leading, significant } = &self.body
        {
            self.mark = Mark {
                bit: bits.len() as u32,
                count: self.count,
                ts: self.last.as_millis(),
                delta: self.delta,
                value: *last,
                leading: *leading,
                significant: *significant,
            };
        }
    }

    /// The newest mark, if all floats before it are older than `start`.
    pub fn mark_before(&self, start: Timestamp) -> Option<Mark> {
        (self.mark.count > 0 && self.mark.ts < start.as_millis()).then_some(self.mark)
    }

    /// Appends a newer float without a start timestamp, as [`OpenChunk::push`] does.
    #[inline]
    pub fn push_float(&mut self, ts: i64, value: f64, samples_max: u32) -> bool {
        let Body::Float { bits, last, leading, significant } = &mut self.body else { return false };
        if self.count >= samples_max || self.start.is_some() {
            return false;
        }
        let delta = ts.wrapping_sub(self.last.as_millis());
        push_time(bits, delta.wrapping_sub(self.delta));
        push_value(bits, *last ^ value.to_bits(), leading, significant);
        *last = value.to_bits();
        self.delta = delta;
        self.last = Timestamp::from_millis(ts);
        self.count += 1;
        self.set_mark();
        true
    }

    /// The samples so far.
    pub fn packed(&self) -> Packed<'_> {
        let (kind, data) = match &self.body {
            Body::Float { bits, .. } => (ChunkKind::Float, bits.as_bytes()),
            Body::Histogram { bytes, .. } => (ChunkKind::Histogram, bytes.as_slice()),
        };
        let OpenChunk { first, last, count, start, .. } = *self;
        Packed { kind, first, last, count, start, data }
    }

    /// The samples so far as a closed chunk.
    pub fn seal(&self) -> Chunk {
        let Packed { kind, first, last, count, start, data } = self.packed();
        Chunk { kind, first, last, count, start, data: data.into() }
    }

    /// The newest sample.
    pub fn last_sample(&self) -> Sample {
        let value = match &self.body {
            Body::Float { last, .. } => Value::Float(f64::from_bits(*last)),
            Body::Histogram { last, .. } => Value::Histogram(last.clone()),
        };
        Sample { ts: self.last, value, start: self.start }
    }

    pub fn first(&self) -> Timestamp {
        self.first
    }

    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// Bytes of memory, reserves included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<OpenChunk>()
            + match &self.body {
                Body::Float { bits, .. } => bits.capacity(),
                Body::Histogram { bytes, .. } => bytes.capacity(),
            }
    }
}

/// Widths of the change of the delta, behind one, two and three 1 bits and a 0; behind four follow 64 bits.
const TIME_BITS: [u32; 3] = [7, 12, 20];

fn push_time(bits: &mut BitWriter, change: i64) {
    if change == 0 {
        return bits.push(0, 1);
    }
    for (i, width) in TIME_BITS.iter().enumerate() {
        let half = 1i64 << (width - 1);
        if (-half..half).contains(&change) {
            let ones = i as u32 + 1;
            bits.push((1 << (ones + 1)) - 2, ones + 1);
            return bits.push(change as u64, *width);
        }
    }
    bits.push(0b1111, 4);
    bits.push(change as u64, 64);
}

/// `0`: the same value. `10`: the XOR fits the window of the one before. `11`: five bits of leading zeros,
/// six bits of length less one, then that many bits.
fn push_value(bits: &mut BitWriter, xor: u64, leading: &mut u8, significant: &mut u8) {
    if xor == 0 {
        return bits.push(0, 1);
    }
    let (lead, trail) = (xor.leading_zeros().min(31), xor.trailing_zeros());
    let (window_lead, window) = (u32::from(*leading), u32::from(*significant));
    let window_trail = 64u32.saturating_sub(window_lead + window);
    let needed = 64 - lead - trail;
    // A window that has become much too wide costs more than the 11 bits of a new one.
    let fits = window > 0 && lead >= window_lead && trail >= window_trail && window <= needed + 11;
    if fits {
        bits.push(0b10, 2);
        bits.push(xor >> window_trail, window);
    } else {
        (*leading, *significant) = (lead as u8, needed as u8);
        bits.push(0b11, 2);
        bits.push(u64::from(lead), 5);
        bits.push(u64::from(needed - 1), 6);
        bits.push(xor >> trail, needed);
    }
}

/// Reads what [`push_time`] and [`push_value`] wrote.
///
/// The two flags of a sample, and what follows them in the usual cases, lie within one look at 57 bits.
struct Floats<'a> {
    bits: BitReader<'a>,
    left: u32,
    is_first: bool,
    ts: i64,
    delta: i64,
    value: u64,
    leading: u32,
    significant: u32,
}

impl Floats<'_> {
    fn new<'a>(chunk: &Packed<'a>) -> Floats<'a> {
        let (ts, left) = (chunk.first.as_millis(), chunk.count);
        let bits = BitReader::new(chunk.data);
        Floats { bits, left, is_first: true, ts, delta: 0, value: 0, leading: 0, significant: 0 }
    }

    /// The change of the delta, where it is not zero.
    fn take_time(&mut self, window: u64) -> Option<i64> {
        let ones = (!window).leading_zeros().min(4);
        if ones == 4 {
            self.bits.skip(4)?;
            return Some(self.bits.take(64)? as i64);
        }
        let width = TIME_BITS[ones as usize - 1];
        self.bits.skip(ones + 1 + width)?;
        Some((window << (ones + 1)) as i64 >> (64 - width))
    }

    /// The XOR whose flags begin after `before` bits of the window.
    #[inline(always)]
    fn take_xor(&mut self, window: u64, before: u32) -> Option<u64> {
        let window = window << before;
        if window >> 63 == 0 {
            self.bits.skip(before + 1)?;
            return Some(0);
        }
        let mut flags = 2;
        if window >> 62 == 0b11 {
            flags = 13;
            self.leading = (window << 2 >> 59) as u32;
            self.significant = (window << 7 >> 58) as u32 + 1;
        }
        // Neither holds in a chunk of ours: a window wider than the value, or used before it was set.
        let significant = self.significant;
        if significant == 0 || self.leading + significant > 64 {
            return None;
        }
        let trail = 64 - self.leading - significant;
        if before + flags + significant <= 57 {
            self.bits.skip(before + flags + significant)?;
            return Some(window << flags >> (64 - significant) << trail);
        }
        self.bits.skip(before + flags)?;
        Some(self.bits.take(significant)? << trail)
    }
}

impl Iterator for Floats<'_> {
    type Item = (i64, f64);

    #[inline(always)]
    fn next(&mut self) -> Option<(i64, f64)> {
        self.left = self.left.checked_sub(1)?;
        if self.is_first {
            self.is_first = false;
            self.value = self.bits.take(64)?;
        } else {
            let window = self.bits.peek();
            let xor = if window >> 63 == 0 {
                self.take_xor(window, 1)?
            } else {
                self.delta = self.delta.wrapping_add(self.take_time(window)?);
                let window = self.bits.peek();
                self.take_xor(window, 0)?
            };
            self.ts = self.ts.wrapping_add(self.delta);
            self.value ^= xor;
        }
        Some((self.ts, f64::from_bits(self.value)))
    }
}

struct Histograms<'a> {
    bytes: Bytes<'a>,
    ts: i64,
    previous: Option<Arc<Histogram>>,
}

impl Iterator for Histograms<'_> {
    type Item = (Timestamp, Arc<Histogram>);

    fn next(&mut self) -> Option<(Timestamp, Arc<Histogram>)> {
        self.ts = self.ts.wrapping_add(self.bytes.zigzag()?);
        let histogram = Arc::new(histogram_codec::take(&mut self.bytes, self.previous.as_deref())?);
        self.previous = Some(histogram.clone());
        Some((Timestamp::from_millis(self.ts), histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STALE_NAN;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_lies_behind_a_mark_is_the_same_as_from_the_beginning(
            steps in proptest::collection::vec((1i64..3000, 0u8..6, any::<u64>()), 1..300), from in 0usize..300) {
            let (mut ts, mut value, mut open) = (1_700_000_000_000i64, 100.0f64, None::<OpenChunk>);
            let mut all = Vec::new();
            for (step, kind, bits) in steps {
                ts += if kind < 4 { 1000 } else { step };
                value = match kind {
                    0 => value,
                    5 => f64::from_bits(bits),
                    _ => (bits % 100_000) as f64 / 100.0,
                };
                all.push((ts, value.to_bits()));
                let is_in = open.as_mut().is_some_and(|open| open.push_float(ts, value, CHUNK_SAMPLES_MAX));
                if !is_in {
                    open = Some(OpenChunk::new(&Sample::float(Timestamp::from_millis(ts), value)));
                }
            }
            let (open, start) = (open.expect("not empty"), all[from % all.len()].0);
            let Some(mark) = open.mark_before(Timestamp::from_millis(start)) else { return Ok(()) };
            let chunk = open.packed();
            let chunk = Packed { data: &chunk.data[mark.bit as usize / 8..], ..chunk };
            let (mut times, mut values) = (Vec::new(), Vec::new());
            chunk.tail_into(&mark, start, ts, &mut times, &mut values);
            let got: Vec<(i64, u64)> = times.into_iter().zip(values.iter().map(|v| v.to_bits())).collect();
            all.retain(|(ts, _)| *ts >= start);
            prop_assert_eq!(got, all);
        }
    }

    fn pack(samples: &[Sample]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut open: Option<OpenChunk> = None;
        for sample in samples {
            if let Some(chunk) = &mut open
                && chunk.push(sample, CHUNK_SAMPLES_MAX)
            {
                continue;
            }
            chunks.extend(open.replace(OpenChunk::new(sample)).map(|chunk| chunk.seal()));
        }
        chunks.extend(open.map(|chunk| chunk.seal()));
        chunks
    }

    fn unpack(chunks: &[Chunk], start: Timestamp, end: Timestamp) -> Vec<Sample> {
        let mut out = Vec::new();
        let mut columns = Columns::default();
        for chunk in chunks.iter().filter(|c| c.overlaps(start, end)) {
            columns.clear();
            columns.read(&chunk.packed(), start, end);
            out.extend(columns.to_samples());
        }
        out
    }

    fn same(a: &[Sample], b: &[Sample]) -> bool {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| a.ts == b.ts && a.start == b.start && a.value.same_bits(&b.value))
    }

    fn value() -> impl Strategy<Value = Value> {
        let floats = prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0i64..1000).prop_map(|n| n as f64),
            (0i64..100_000).prop_map(|n| n as f64 / 100.0),
            Just(0.0),
            Just(-0.0),
            Just(STALE_NAN),
        ];
        let counts = proptest::collection::vec((0u32..50).prop_map(f64::from), 0..5);
        let histograms = (counts, 0i32..3, any::<f64>()).prop_map(|(buckets, schema, sum)| {
            let span = crate::histogram::Span { offset: schema - 1, length: buckets.len() as u32 };
            Arc::new(Histogram {
                schema,
                sum,
                count: buckets.iter().sum(),
                positive_spans: vec![span],
                positive_buckets: buckets,
                ..Histogram::default()
            })
        });
        prop_oneof![8 => floats.prop_map(Value::Float), 1 => histograms.prop_map(Value::Histogram)]
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let step = prop_oneof![6 => Just(1000i64), 3 => 990i64..1010, 1 => 1i64..100_000_000_000];
        let start =
            prop_oneof![9 => Just(None), 1 => (1i64..4).prop_map(|s| Some(Timestamp::from_millis(s)))];
        let first = prop_oneof![9 => 0i64..2_000_000_000_000, 1 => Just(i64::MIN)];
        (first, proptest::collection::vec((step, value(), start), 0..800)).prop_map(|(first, parts)| {
            let mut ts = first;
            let mut next = |step: i64| {
                ts += step;
                Timestamp::from_millis(ts)
            };
            parts.into_iter().map(|(step, value, start)| Sample { ts: next(step), value, start }).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn samples_come_back_bit_for_bit(samples in samples(), from in 0usize..800, len in 0usize..400) {
            let chunks = pack(&samples);
            prop_assert!(same(&unpack(&chunks, Timestamp::MIN, Timestamp::MAX), &samples));
            if let (Some(first), Some(last)) = (samples.get(from), samples.get(from + len)) {
                prop_assert!(same(&unpack(&chunks, first.ts, last.ts), &samples[from..=from + len]));
            }
        }

        #[test]
        fn damaged_chunks_never_panic(samples in samples(), at in any::<usize>(), cut in any::<usize>(), flip in any::<u8>()) {
            for mut chunk in pack(&samples) {
                let len = chunk.data.len();
                chunk.data[at % len] ^= flip;
                chunk.data = chunk.data[..cut % (len + 1)].into();
                unpack(&[chunk], Timestamp::MIN, Timestamp::MAX);
            }
        }
    }

    #[test]
    fn the_ends_of_time_fit() {
        let samples: Vec<Sample> = [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX]
            .map(|ms| Sample::float(Timestamp::from_millis(ms), ms as f64))
            .into();
        assert!(same(&unpack(&pack(&samples), Timestamp::MIN, Timestamp::MAX), &samples));
    }

    /// What a day of a demo costs; the figures are asserted so that a change of the codec shows here.
    #[test]
    fn bytes_per_sample_of_usual_series() {
        let mut seed = 7u64;
        let mut random = move |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut cost = |name: &str, max: f64, next: &mut dyn FnMut(&mut dyn FnMut(u64) -> u64) -> f64| {
            let samples: Vec<Sample> = (0..3600)
                .map(|i| {
                    Sample::float(Timestamp::from_millis(1_700_000_000_000 + i * 1000), next(&mut random))
                })
                .collect();
            let chunks = pack(&samples);
            let bytes: usize = chunks.iter().map(Chunk::memory_bytes).sum();
            let each = bytes as f64 / 3600.0;
            assert!(each < max, "{name}: {each} bytes per sample, expected less than {max}");
        };
        let (mut counter, mut slow, mut price) = (0u64, 0u64, 19_000i64);
        cost("constant", 0.6, &mut |_| 1.0);
        cost("slow counter", 1.2, &mut |random| {
            slow += u64::from(random(10) == 0);
            slow as f64
        });
        cost("counter", 2.7, &mut |random| {
            counter += random(900);
            counter as f64
        });
        cost("price", 7.0, &mut |random| {
            price += random(21) as i64 - 10;
            price as f64 / 100.0
        });
    }
}
