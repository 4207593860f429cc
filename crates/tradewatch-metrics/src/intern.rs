//! Open labels: values that come from outside, interned once against a budget.

use std::sync::atomic::AtomicU64 as Count; // Nothing hangs on the order of counts.

use crate::rules::is_identifier;
use crate::sync::{AtomicU16, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, PoisonError};

/// The value that stands for all that did not fit into a label's budget.
pub const OVERFLOW: &str = "__overflow__";
/// The longest label value, in bytes. What is longer is an identifier or a text, not a label.
pub const LABEL_VALUE_BYTES_MAX: usize = 128;

/// What an open label had to answer with [`OVERFLOW`].
#[doc(hidden)]
pub struct Refusals {
    pub(crate) all: Count,
    /// Those of them that name one thing: a UUID, an order id.
    pub(crate) identifiers: Count,
    /// The first identifier that was refused, and the first other value; shortened.
    pub(crate) identifier: OnceLock<Box<str>>,
    pub(crate) example: OnceLock<Box<str>>,
}

/// The longest part of a refused value that is kept as an example, in characters.
const EXAMPLE_CHARS_MAX: usize = 40;

impl Refusals {
    const fn new() -> Refusals {
        let (all, identifiers) = (Count::new(0), Count::new(0));
        Refusals { all, identifiers, identifier: OnceLock::new(), example: OnceLock::new() }
    }

    #[cold]
    fn count(&self, value: &str) {
        self.all.fetch_add(1, Ordering::Relaxed);
        let mut example = &self.example;
        if is_identifier(value) {
            self.identifiers.fetch_add(1, Ordering::Relaxed);
            example = &self.identifier;
        }
        if example.get().is_none() {
            let _ = example.set(value.chars().take(EXAMPLE_CHARS_MAX).collect());
        }
    }
}

/// The values of one open label: `VALUES` is the budget and one, `TABLE` a power of two at least twice that.
///
/// Finding a known value takes no lock and, up to 15 bytes, compares two words beside the index instead of
/// following a pointer to the text. A new one takes a lock once; when the budget is used up or the value cannot
/// be a label (empty, over-long, an identifier), the answer is [`OVERFLOW`], counted, without a lock.
#[doc(hidden)]
pub struct LabelPool<const VALUES: usize, const TABLE: usize> {
    /// Index 0 is the overflow value.
    values: [OnceLock<&'static str>; VALUES],
    table: [Place; TABLE],
    used: AtomicUsize,
    insert: Mutex<()>,
    refusals: Refusals,
}

/// A place of the table: the key, and the index of its value; index 0 is a free place. Two to a cache line.
#[repr(align(32))]
struct Place {
    index: AtomicU16,
    low: AtomicU64,
    high: AtomicU64,
}

impl Place {
    #[inline(always)]
    fn holds(&self, key: Key) -> bool {
        self.low.load(Ordering::Relaxed) == key.low && self.high.load(Ordering::Relaxed) == key.high
    }
}

/// A text as two words: up to 15 bytes and the length; of longer ones a hash and a mark.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    low: u64,
    high: u64,
}

impl Key {
    /// In the highest byte of `high`: more than any length that is packed.
    const LONG: u64 = 0xff << 56;

    #[inline(always)]
    fn of(text: &[u8]) -> Key {
        let len = text.len();
        let word = |from: usize| u64::from_le_bytes(text[from..from + 8].try_into().expect("eight bytes"));
        let half =
            |from: usize| u64::from(u32::from_le_bytes(text[from..from + 4].try_into().expect("four bytes")));
        let length = (len as u64) << 56;
        match len {
            // Two reads that overlap cover every length without a loop over bytes.
            4..=7 => Key { low: half(0) | half(len - 4) << (8 * (len - 4)), high: length },
            8 => Key { low: word(0), high: length },
            9..=15 => Key { low: word(0), high: length | (word(len - 8) >> (8 * (16 - len))) },
            0..=3 => {
                let low = text.iter().rev().fold(0, |low, byte| low << 8 | u64::from(*byte));
                Key { low, high: length }
            }
            _ => Key { low: hash(text), high: Key::LONG | len as u64 },
        }
    }

    /// Where to look first.
    #[inline]
    fn place(self) -> usize {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        // The high half of the product depends on every bit below it.
        ((self.low ^ self.high.rotate_left(23)).wrapping_mul(MIX) >> 40) as usize
    }

    #[inline]
    fn is_long(self) -> bool {
        self.high & Key::LONG == Key::LONG
    }
}

impl<const VALUES: usize, const TABLE: usize> LabelPool<VALUES, TABLE> {
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        assert!(VALUES >= 2 && VALUES <= u16::MAX as usize, "the budget is between 1 and 65,533");
        assert!(TABLE.is_power_of_two() && TABLE >= 2 * VALUES);
        LabelPool {
            values: [const { OnceLock::new() }; VALUES],
            table: [const { Place { index: AtomicU16::new(0), low: AtomicU64::new(0), high: AtomicU64::new(0) } };
                TABLE],
            used: AtomicUsize::new(0),
            insert: Mutex::new(()),
            refusals: Refusals::new(),
        }
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        let place = |_| Place { index: AtomicU16::new(0), low: AtomicU64::new(0), high: AtomicU64::new(0) };
        LabelPool {
            values: std::array::from_fn(|_| OnceLock::new()),
            table: std::array::from_fn(place),
            used: AtomicUsize::new(0),
            insert: Mutex::new(()),
            refusals: Refusals::new(),
        }
    }

    /// The index of `value`, which is interned if it is new and fits.
    #[inline(always)]
    pub fn intern(&'static self, value: &str) -> u16 {
        let key = Key::of(value.as_bytes());
        let place = &self.table[key.place() & (TABLE - 1)];
        // Acquire: the key and the value were written before the index. Most values lie where they are looked
        // for first; the rest is not worth the caller's instructions.
        let index = place.index.load(Ordering::Acquire);
        if index != 0 && place.holds(key) && !key.is_long() {
            return index;
        }
        self.intern_cold(value)
    }

    #[cold]
    #[inline(never)]
    fn intern_cold(&'static self, value: &str) -> u16 {
        match self.find(value) {
            Ok(index) => index,
            Err(_) => self.insert(value),
        }
    }

    /// The index of a value that was interned before; nothing is counted.
    pub fn get(&'static self, value: &str) -> Option<u16> {
        self.find(value).ok()
    }

    /// The value at an index.
    pub fn value_at(&'static self, index: usize) -> Option<&'static str> {
        if index == 0 { Some(OVERFLOW) } else { self.values.get(index)?.get().copied() }
    }

    /// What was answered with [`OVERFLOW`].
    pub fn refusals(&'static self) -> &'static Refusals {
        &self.refusals
    }

    /// The index, or the free place of the table where it would belong. Linear probing; at most half is used.
    fn find(&'static self, value: &str) -> Result<u16, usize> {
        let key = Key::of(value.as_bytes());
        let mut at = key.place() & (TABLE - 1);
        loop {
            let place = &self.table[at];
            // Acquire: the key and the value were written before the index.
            let index = place.index.load(Ordering::Acquire);
            if index == 0 {
                return Err(at);
            }
            if place.holds(key) && (!key.is_long() || self.value_at(index as usize) == Some(value)) {
                return Ok(index);
            }
            at = (at + 1) & (TABLE - 1);
        }
    }

    #[cold]
    fn insert(&'static self, value: &str) -> u16 {
        // Acquire: if the budget is used up, every value that used it can be found. This one may have come in since
        // we looked.
        if self.used.load(Ordering::Acquire) + 1 >= VALUES {
            return self.find(value).unwrap_or_else(|_| self.refuse(value));
        }
        if !fit_for_label(value) {
            return self.refuse(value);
        }
        let lock = self.insert.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match self.find(value) {
            Ok(index) => return index, // Another thread was first.
            Err(place) => place,
        };
        let index = self.used.load(Ordering::Relaxed) + 1;
        if index >= VALUES {
            drop(lock);
            return self.refuse(value);
        }
        // Leaked on purpose: bounded by the budget, and a `&'static str` is what makes labels `Copy`.
        let leaked: &'static str = Box::leak(value.to_owned().into_boxed_str());
        self.values[index].set(leaked).expect("indices are given out once, under the lock");
        let key = Key::of(value.as_bytes());
        let place = &self.table[place];
        place.low.store(key.low, Ordering::Relaxed);
        place.high.store(key.high, Ordering::Relaxed);
        place.index.store(index as u16, Ordering::Release);
        self.used.store(index, Ordering::Release);
        index as u16
    }

    fn refuse(&self, value: &str) -> u16 {
        self.refusals.count(value);
        0
    }
}

impl<const VALUES: usize, const TABLE: usize> Default for LabelPool<VALUES, TABLE> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the value can be one of a bounded set.
fn fit_for_label(value: &str) -> bool {
    !value.is_empty() && value != OVERFLOW && value.len() <= LABEL_VALUE_BYTES_MAX && !is_identifier(value)
}

/// Of a long text. The table is small and the probing bounded, so nothing stronger is needed.
fn hash(bytes: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        hash = (hash ^ word).wrapping_mul(MIX).rotate_left(26);
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(MIX).rotate_left(11);
    }
    hash ^ (hash >> 32)
}

/// The size of a pool's table.
#[doc(hidden)]
pub const fn table_len(budget: usize) -> usize {
    (3 * (budget + 1)).next_power_of_two()
}

/// Declares a label whose values come from outside: symbols, venues, strategies.
///
/// The type is `Copy`, two bytes, ordered by its text. `intern` never fails: a value beyond the budget, an
/// empty or over-long one (128 bytes), and one that names a single thing become `OVERFLOW` (`__overflow__`), and
/// each such call is counted in `tradewatch_sdk_label_overflow_total{label="…"}` of every registry that uses the
/// label. What names a single thing: a UUID, 32 hexadecimal digits, a number of eight digits or more, ten digits in
/// a row within other text, a word and a number such as `order-12345`; not an ISIN. These are counted in
/// `tradewatch_sdk_identifier_label_values_total{label="…"}` as well. A label that is called `order_id`, `trace_id`
/// or the like does not compile. Values are never forgotten; the set lives as long as the process.
///
/// ```
/// use tradewatch_metrics::open_label;
/// open_label!(
///     /// A tradable instrument.
///     pub struct Symbol("symbol"), budget = 64
/// );
/// let apple = Symbol::intern("AAPL");
/// assert_eq!(apple.as_str(), "AAPL");
/// assert_eq!(apple, Symbol::intern("AAPL"));
/// assert_eq!(Symbol::intern("0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a"), Symbol::OVERFLOW);
/// ```
#[macro_export]
macro_rules! open_label {
    ($(#[$meta:meta])* $vis:vis struct $name:ident($label:literal), budget = $budget:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        $vis struct $name(u16);

        const _: () = {
            const BUDGET: usize = $budget;
            static POOL: $crate::LabelPool<{ BUDGET + 1 }, { $crate::table_len(BUDGET) }> =
                $crate::LabelPool::new();
            const _: () = assert!(
                $crate::valid_label_name($label),
                "a label name is [a-zA-Z_][a-zA-Z0-9_]* and does not begin with two underscores"
            );
            const _: () = assert!(
                !$crate::is_identifier_label($label),
                "the label tells which one and not which kind: every value would be a series; put it into an exemplar or a log"
            );

            #[allow(dead_code)]
            impl $name {
                /// Stands for every value that did not fit into the budget.
                pub const OVERFLOW: Self = Self(0);

                /// The label of this value; never fails. Allocates only when the value is new.
                #[inline]
                pub fn intern(value: &str) -> Self {
                    Self(POOL.intern(value))
                }

                /// The label of a value that was interned before.
                pub fn get(value: &str) -> Option<Self> {
                    POOL.get(value).map(Self)
                }

                /// The text.
                pub fn as_str(self) -> &'static str {
                    POOL.value_at(self.0 as usize).unwrap_or($crate::OVERFLOW)
                }
            }

            impl $crate::Label for $name {
                const NAME: &'static str = $label;
                const CARDINALITY: usize = BUDGET + 1;
                const BUDGET: Option<usize> = Some(BUDGET);
                #[inline(always)]
                fn index(&self) -> usize {
                    self.0 as usize
                }
                fn value_at(index: usize) -> Option<&'static str> {
                    POOL.value_at(index)
                }
                fn index_of(value: &str) -> Option<usize> {
                    Some(POOL.intern(value) as usize)
                }
                fn refusals() -> Option<&'static $crate::Refusals> {
                    Some(POOL.refusals())
                }
            }

            // By text, not by order of arrival: iteration is the same in every run.
            impl Ord for $name {
                fn cmp(&self, other: &Self) -> ::std::cmp::Ordering {
                    self.as_str().cmp(other.as_str())
                }
            }
            impl PartialOrd for $name {
                fn partial_cmp(&self, other: &Self) -> Option<::std::cmp::Ordering> {
                    Some(self.cmp(other))
                }
            }
            impl ::std::fmt::Debug for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
                }
            }
            impl ::std::fmt::Display for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        };
    };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_short_texts_differ() {
        let mut seen = std::collections::HashMap::new();
        for len in 0..=15usize {
            for at in 0..len {
                for byte in [b'A', b'B', 0] {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let key = Key::of(&text);
                    assert!(!key.is_long());
                    let before = seen.insert((key.low, key.high), text.clone());
                    assert!(before.is_none_or(|before| before == text), "{text:?}");
                }
            }
        }
        assert!(Key::of(&[b'x'; 16]).is_long());
    }

    #[test]
    fn every_length_is_found_again_and_probing_passes_others() {
        static POOL: LabelPool<101, { table_len(100) }> = LabelPool::new();
        let texts: Vec<String> = (1..=100).map(|len| "q".repeat(len)).collect();
        let indices: Vec<u16> = texts.iter().map(|text| POOL.intern(text)).collect();
        for (text, index) in texts.iter().zip(indices) {
            assert_eq!((POOL.intern(text), POOL.value_at(index as usize)), (index, Some(text.as_str())));
        }
        assert_eq!(POOL.get("r"), None);
        assert_eq!(POOL.intern("r"), 0, "the budget is used up");
        assert_eq!(POOL.refusals().all.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn threads_agree_on_the_index_of_a_value() {
        static POOL: LabelPool<65, { table_len(64) }> = LabelPool::new();
        let run = || (0..80).map(|n| POOL.intern(&format!("value-{n:02}"))).collect::<Vec<u16>>();
        let all: Vec<Vec<u16>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("interning never panics")).collect()
        });
        for other in &all[1..] {
            for (a, b) in all[0].iter().zip(other) {
                // A value that one thread saw refused may have been taken by none.
                assert_eq!(a, b);
            }
        }
        let mut used: Vec<u16> = all[0].iter().copied().filter(|index| *index != 0).collect();
        used.sort_unstable();
        assert_eq!(used, (1..=64).collect::<Vec<u16>>());
    }
}
