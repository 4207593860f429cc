//! Keys and values of the cache: a plain map with expiry and a memory bound.

use crate::runtime::Nanos;
use std::collections::BTreeMap;

/// What one entry costs beyond its bytes, roughly: map nodes and headers.
const ENTRY_BYTES: usize = 96;

/// The keys of one cache.
#[derive(Debug)]
pub struct Store {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Keys that expire, by time.
    expiries: BTreeMap<(Nanos, Vec<u8>), ()>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    expires: Option<Nanos>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes.
    Text(Vec<u8>),
    /// Fields and their bytes.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Hash(fields) => {
                fields.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
            }
        }
    }
}

/// There is no room for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl Store {
    /// An empty store that holds at most `bytes_max`.
    pub fn new(bytes_max: usize) -> Store {
        Store { entries: BTreeMap::new(), expiries: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Number of keys, with expired ones that were not met yet.
    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that may be used.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Forgets what has expired by `now`.
    pub fn expire(&mut self, now: Nanos) {
        while let Some((at, key)) = self.expiries.keys().next() {
            if *at > now {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// When `key` expires: `None` if there is no such key, `Some(None)` if never.
    pub fn expires(&self, key: &[u8]) -> Option<Option<Nanos>> {
        self.entries.get(key).map(|entry| entry.expires)
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// If it would not fit; the old value stays.
    pub fn set(&mut self, key: &[u8], value: Value, expires: Option<Nanos>) -> Result<(), OutOfMemory> {
        let old = self.entries.get(key).map_or(0, |entry| key.len() + entry.value.bytes() + ENTRY_BYTES);
        let new = key.len() + value.bytes() + ENTRY_BYTES;
        if self.bytes - old + new > self.bytes_max {
            return Err(OutOfMemory);
        }
        self.remove(key);
        self.bytes += new;
        if let Some(at) = expires {
            self.expiries.insert((at, key.to_vec()), ());
        }
        self.entries.insert(key.to_vec(), Entry { value, expires });
        Ok(())
    }

    /// Changes when `key` expires; false if there is no such key.
    pub fn set_expiry(&mut self, key: &[u8], expires: Option<Nanos>) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        if let Some(old) = std::mem::replace(&mut entry.expires, expires) {
            self.expiries.remove(&(old, key.to_vec()));
        }
        if let Some(at) = expires {
            self.expiries.insert((at, key.to_vec()), ());
        }
        true
    }

    /// Removes `key`; false if there is no such key.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.bytes -= key.len() + entry.value.bytes() + ENTRY_BYTES;
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, key.to_vec()));
        }
        true
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Store::new(self.bytes_max);
    }

    /// Keys in order, from the first one after `after`.
    pub fn keys_after<'a>(&'a self, after: Option<&[u8]>) -> impl Iterator<Item = &'a [u8]> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |key| Excluded(key.to_vec()));
        self.entries.range((from, Unbounded)).map(|(key, _)| key.as_slice())
    }
}

/// Whether `text` matches the glob `pattern`: `*`, `?`, `[a-c]`, `[^a]` and `\` as Redis has them.
///
/// # Cost
/// At most the product of the two lengths: one star is retried, never all of them.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        match match_one(&pattern[p.min(pattern.len())..], text[t]) {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => match retry {
                Some((after_star, from)) => {
                    (p, t) = (after_star, from + 1);
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern match `byte`, if it does.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => {
            let end = class.iter().skip(1).position(|c| *c == b']').map(|at| at + 1)?;
            let (negated, class) = match &class[..end] {
                [b'^', rest @ ..] => (true, rest),
                class => (false, class),
            };
            let mut found = false;
            let mut at = 0;
            while at < class.len() {
                if class.get(at + 1) == Some(&b'-') && at + 2 < class.len() {
                    found |= (class[at]..=class[at + 2]).contains(&byte);
                    at += 3;
                } else {
                    found |= class[at] == byte;
                    at += 1;
                }
            }
            (found != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Value {
        Value::Text(value.as_bytes().to_vec())
    }

    #[test]
    fn keys_expire_and_memory_is_bounded() {
        let mut store = Store::new(400);
        store.set(b"a", text("1"), Some(10)).expect("room");
        store.set(b"b", text("2"), None).expect("room");
        assert!(store.set_expiry(b"b", Some(20)) && !store.set_expiry(b"c", None));
        store.expire(10);
        assert_eq!((store.get(b"a"), store.expires(b"b")), (None, Some(Some(20))));
        assert!(store.set_expiry(b"b", None));
        store.expire(1000);
        assert_eq!(store.get(b"b"), Some(&text("2")));
        assert_eq!(store.set(b"big", text(&"x".repeat(400)), None), Err(OutOfMemory));
        assert_eq!(store.get(b"b"), Some(&text("2")));
        assert!(store.remove(b"b") && !store.remove(b"b"));
        assert_eq!(store.bytes(), 0);
    }

    #[test]
    fn globs_match_as_in_redis() {
        for (pattern, yes, no) in [
            ("*", "", "-"),
            ("price:*", "price:AAPL", "quote:AAPL"),
            ("p?ice:*L", "price:AAPL", "price:MSFT"),
            ("[ab]c", "bc", "cc"),
            ("[^ab]c", "cc", "bc"),
            ("[a-c]x", "bx", "dx"),
            ("a\\*b", "a*b", "axb"),
            ("*a*b*", "xxaxxbxx", "bbba"),
        ] {
            assert!(glob(pattern.as_bytes(), yes.as_bytes()), "{pattern} {yes}");
            assert!(pattern == "*" || !glob(pattern.as_bytes(), no.as_bytes()), "{pattern} {no}");
        }
        let stars = b"*a".repeat(30);
        assert!(!glob(&[&stars[..], b"b"].concat(), &b"a".repeat(2000)), "no explosion");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_store_agrees_with_a_plain_map(
            steps in proptest::collection::vec((0_u8..4, 0_u8..6, 0_i64..40), 0..80),
        ) {
            let mut store = Store::new(1 << 20);
            let mut plain: BTreeMap<u8, (i64, Option<i64>)> = BTreeMap::new();
            for (now, (step, key, value)) in steps.into_iter().enumerate() {
                let now = now as i64;
                store.expire(now);
                plain.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
                let expires = (value % 2 == 0).then_some(now + value);
                match step {
                    0 | 1 => {
                        store.set(&[key], text(&value.to_string()), expires).expect("room");
                        plain.insert(key, (value, expires));
                    }
                    2 => {
                        prop_assert_eq!(store.remove(&[key]), plain.remove(&key).is_some());
                    }
                    _ => {
                        let known = plain.get_mut(&key).map(|entry| entry.1 = expires).is_some();
                        prop_assert_eq!(store.set_expiry(&[key], expires), known);
                    }
                }
                store.expire(now);
                plain.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
                let keys: Vec<u8> = store.keys_after(None).map(|key| key[0]).collect();
                prop_assert_eq!(keys, plain.keys().copied().collect::<Vec<_>>());
            }
            store.clear();
            prop_assert_eq!((store.keys(), store.bytes()), (0, 0));
        }

        #[test]
        fn globs_never_panic(pattern in proptest::collection::vec(any::<u8>(), 0..20), text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = glob(&pattern, &text);
        }
    }
}
