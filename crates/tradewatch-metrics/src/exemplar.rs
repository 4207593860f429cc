//! Exemplars: one example of what was counted, pointing to its trace.
//!
//! A writer never waits: the place of an exemplar has a sequence number, odd while somebody writes to it. Who
//! finds it odd leaves his exemplar out, since another one of the same moment is being kept; a reader that finds
//! it changed looks again, a few times, and then shows none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::encode::{proto, write_f64, write_labels, write_seconds};
use crate::label::valid_label_name;

/// The most that names and values of an exemplar's labels may have together, in bytes. OpenMetrics allows 128
/// characters, which are at least as many bytes.
pub const EXEMPLAR_BYTES_MAX: usize = 128;
/// The most labels of an exemplar.
pub const EXEMPLAR_LABELS_MAX: usize = 8;
/// The text and two lengths for each label.
const BYTES: usize = EXEMPLAR_BYTES_MAX + 2 * EXEMPLAR_LABELS_MAX;
const WORDS: usize = BYTES / 8;
/// How often a reader looks again at an exemplar that is being written.
const READS_MAX: usize = 16;

/// An example of what is counted: the trace, the order, whatever leads to it. Its labels make no series.
///
/// ```
/// use tradewatch_metrics::Exemplar;
/// let exemplar = Exemplar::trace(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736).span(0x00f0_67aa_0ba9_02b7);
/// assert!(exemplar.is_valid());
/// assert!(!exemplar.label("note", &"x".repeat(100)).is_valid(), "more than 128 bytes in all");
/// ```
#[derive(Clone, Copy)]
pub struct Exemplar {
    /// For each label: length of its name, length of its value, name, value.
    bytes: [u8; BYTES],
    len: u8,
    text: u8,
    labels: u8,
    valid: bool,
}

impl Exemplar {
    const EMPTY: Exemplar = Exemplar { bytes: [0; BYTES], len: 0, text: 0, labels: 0, valid: true };

    /// Points to a trace, by its W3C id.
    pub fn trace(trace_id: u128) -> Exemplar {
        Exemplar::EMPTY.hex("trace_id", trace_id, 32)
    }

    /// Carries one label of any name: an order id, say, which must never be a label of a metric.
    pub fn of(name: &str, value: &str) -> Exemplar {
        Exemplar::EMPTY.label(name, value)
    }

    /// Points to the span within the trace.
    #[must_use]
    pub fn span(self, span_id: u64) -> Exemplar {
        self.hex("span_id", u128::from(span_id), 16)
    }

    /// Adds a label. A name that is none, a name used before, or more than 128 bytes in all make the exemplar
    /// invalid: it will not be kept, and is counted in `tradewatch_sdk_rejected_exemplars_total{metric="…"}`.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Exemplar {
        self.push(name, value.as_bytes())
    }

    /// Whether it can be exposed.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    fn hex(self, name: &str, number: u128, digits: usize) -> Exemplar {
        let mut text = [b'0'; 32];
        for (at, byte) in text[..digits].iter_mut().rev().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
        }
        self.push(name, &text[..digits])
    }

    fn push(mut self, name: &str, value: &[u8]) -> Exemplar {
        let text = usize::from(self.text) + name.len() + value.len();
        let taken = pairs(&self.bytes[..usize::from(self.len)]).any(|(known, _)| known == name);
        if text > EXEMPLAR_BYTES_MAX
            || usize::from(self.labels) == EXEMPLAR_LABELS_MAX
            || !valid_label_name(name)
            || taken
        {
            self.valid = false;
            return self;
        }
        let mut at = usize::from(self.len);
        self.bytes[at] = name.len() as u8;
        self.bytes[at + 1] = value.len() as u8;
        at += 2;
        self.bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        at += name.len();
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self.len = (at + value.len()) as u8;
        self.text = text as u8;
        self.labels += 1;
        self
    }
}

impl std::fmt::Debug for Exemplar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(pairs(&self.bytes[..usize::from(self.len)])).finish()
    }
}

/// The labels in the bytes of an exemplar. Bytes that are not as they should be end the list.
fn pairs(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let [name, value, rest @ ..] = bytes else { return None };
        let (name, value) = (usize::from(*name), usize::from(*value));
        let pair = (rest.get(..name)?, rest.get(name..name + value)?);
        bytes = &rest[name + value..];
        Some((std::str::from_utf8(pair.0).ok()?, std::str::from_utf8(pair.1).ok()?))
    })
}

/// The place of one exemplar.
struct Place {
    sequence: AtomicU64,
    value: AtomicU64,
    millis: AtomicU64,
    len: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Place {
    const fn new() -> Place {
        Place {
            sequence: AtomicU64::new(0),
            value: AtomicU64::new(0),
            millis: AtomicU64::new(0),
            len: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Keeps the exemplar, unless another thread is keeping one here at this moment.
    fn write(&self, exemplar: &Exemplar, value: f64, millis: u64) {
        let before = self.sequence.load(Ordering::Relaxed);
        if !before.is_multiple_of(2)
            || self
                .sequence
                .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        // Orders the odd number before the values; the release store below orders the values before its end.
        fence(Ordering::Release);
        self.value.store(value.to_bits(), Ordering::Relaxed);
        self.millis.store(millis, Ordering::Relaxed);
        self.len.store(u64::from(exemplar.len), Ordering::Relaxed);
        let (words, _) = exemplar.bytes.as_chunks::<8>();
        for (word, bytes) in self.words.iter().zip(words).take(usize::from(exemplar.len).div_ceil(8)) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        self.sequence.store(before + 2, Ordering::Release);
    }

    fn read(&self) -> Option<Shown> {
        for _ in 0..READS_MAX {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let mut shown = Shown { bytes: [0; BYTES], len: 0, value: 0.0, millis: 0 };
            shown.value = f64::from_bits(self.value.load(Ordering::Relaxed));
            shown.millis = self.millis.load(Ordering::Relaxed);
            shown.len = (self.len.load(Ordering::Relaxed) as usize).min(BYTES);
            for (word, bytes) in self.words.iter().zip(shown.bytes.as_chunks_mut::<8>().0) {
                *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            }
            // Orders the reads above before the second look at the sequence.
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return Some(shown);
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The exemplars of a family: none until the first is kept, then some for each series that has one.
pub(crate) struct Exemplars {
    series: usize,
    /// Places for each series: one for a counter, one a bucket for a histogram.
    each: usize,
    places: OnceLock<Box<[OnceLock<Box<[Place]>>]>>,
}

impl Exemplars {
    pub(crate) fn new(series: usize, each: usize) -> Exemplars {
        Exemplars { series, each, places: OnceLock::new() }
    }

    /// Keeps an exemplar. The first one of a family and that of a series allocate.
    pub(crate) fn keep(&self, index: usize, place: usize, exemplar: &Exemplar, value: f64, millis: u64) {
        let series = self.places.get_or_init(|| (0..self.series).map(|_| OnceLock::new()).collect());
        let Some(places) = series.get(index) else { return };
        let places = places.get_or_init(|| (0..self.each).map(|_| Place::new()).collect());
        if let Some(place) = places.get(place) {
            place.write(exemplar, value, millis);
        }
    }

    pub(crate) fn read(&self, index: usize, place: usize) -> Option<Shown> {
        self.places.get()?.get(index)?.get()?.get(place)?.read()
    }

    /// The exemplars of a series, one for each place; leaves `out` empty if there are none.
    pub(crate) fn read_all(&self, index: usize, out: &mut Vec<Option<Shown>>) {
        out.clear();
        let places = self.places.get().and_then(|series| series.get(index)?.get());
        out.extend(places.iter().flat_map(|places| places.iter()).map(Place::read));
    }
}

/// An exemplar as a scrape found it.
pub(crate) struct Shown {
    bytes: [u8; BYTES],
    len: usize,
    value: f64,
    millis: u64,
}

impl Shown {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.bytes[..self.len])
    }

    pub(crate) fn value(&self) -> f64 {
        self.value
    }

    /// When it was kept, in Unix milliseconds.
    pub(crate) fn millis(&self) -> u64 {
        self.millis
    }

    /// ` # {trace_id="…"} 0.25 1763640000.25`.
    pub(crate) fn write_open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b" # {");
        write_labels(out, self.pairs());
        out.extend_from_slice(b"} ");
        write_f64(out, self.value);
        out.push(b' ');
        write_seconds(out, self.millis);
    }

    /// An `Exemplar` message.
    pub(crate) fn write_proto(&self, out: &mut Vec<u8>, field: u32) {
        let message = proto::begin(out, field);
        self.pairs().for_each(|(name, value)| proto::label(out, name, value));
        proto::double(out, 2, self.value);
        proto::timestamp(out, 3, self.millis);
        proto::end(out, message);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// An exemplar that a reader sees is one that a writer wrote, never parts of two.
    #[test]
    fn exemplars_are_seen_whole() {
        struct EndOnDrop<'a>(&'a AtomicBool);
        impl Drop for EndOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (place, done) = (Place::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for digit in 1..=2u128 {
                let (place, done) = (&place, &done);
                scope.spawn(move || {
                    let exemplar = Exemplar::trace(digit * 0x1111_1111_1111_1111_1111_1111_1111_1111);
                    while !done.load(Ordering::Relaxed) {
                        place.write(&exemplar, digit as f64, digit as u64);
                        std::thread::yield_now();
                    }
                });
            }
            let _end = EndOnDrop(&done);
            let mut seen = [0u32; 2];
            while seen.iter().any(|seen| *seen < 300) {
                let Some(shown) = place.read() else { continue };
                let digit = shown.millis;
                let trace = digit.to_string().repeat(32);
                assert_eq!(shown.value, digit as f64);
                assert_eq!(shown.pairs().collect::<Vec<_>>(), [("trace_id", trace.as_str())]);
                seen[digit as usize - 1] += 1;
            }
        });
    }

    #[test]
    fn what_cannot_be_exposed_is_invalid() {
        let trace = Exemplar::trace(7).span(9);
        assert_eq!(
            format!("{trace:?}"),
            r#"{"trace_id": "00000000000000000000000000000007", "span_id": "0000000000000009"}"#
        );
        assert!(trace.label("order_id", &"é".repeat(28)).is_valid());
        assert!(!trace.label("order_id", &"é".repeat(29)).is_valid(), "129 bytes");
        assert!(!trace.label("trace_id", "1").is_valid(), "twice");
        assert!(!Exemplar::of("order id", "1").is_valid());
        let many = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let many = many.iter().fold(Exemplar::EMPTY, |all, name| all.label(name, ""));
        assert!(many.is_valid() && !many.label("i", "").is_valid());
    }
}
