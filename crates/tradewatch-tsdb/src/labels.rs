//! Label sets: the identity of a series.
//!
//! A set is one reference-counted string, so that a clone is one atomic add and a million of them cost
//! one allocation each. Names and values are stored in name order, each behind its length; the
//! lengths are written in ASCII bytes only, so that the whole stays a valid `str` and slicing it needs
//! no second check. Equal sets have equal encodings: `Eq` and `Hash` work on the string as it is.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// An immutable set of labels, sorted by name, without empty values (in the data model an empty value
/// and a missing label are the same).
///
/// # Cost
/// `clone` is one atomic add; `get` walks the labels in order.
///
/// ```
/// use tradewatch_tsdb::Labels;
/// let labels = Labels::from_pairs([("__name__", "up"), ("job", "orchestrator"), ("zone", "")]);
/// assert_eq!(labels.to_string(), r#"up{job="orchestrator"}"#);
/// assert_eq!(labels.without(&["__name__"]).to_string(), r#"{job="orchestrator"}"#);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Labels {
        Labels::default()
    }

    /// From pairs of name and value in any order.
    ///
    /// Of two pairs with the same name the later one wins; pairs with an empty value are dropped after that.
    pub fn from_pairs<I, N, V>(pairs: I) -> Labels
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        // The sort is stable: among equal names the last stays last, and it is the one to keep.
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let len = pairs.iter().map(|(n, v)| n.as_ref().len() + v.as_ref().len() + 4).sum();
        let mut text = String::with_capacity(len);
        for (i, (name, value)) in pairs.iter().enumerate() {
            let overridden = pairs.get(i + 1).is_some_and(|next| next.0.as_ref() == name.as_ref());
            if !overridden && !value.as_ref().is_empty() {
                push_part(&mut text, name.as_ref());
                push_part(&mut text, value.as_ref());
            }
        }
        Labels(text.into())
    }

    /// From pairs that are already sorted by name, distinct, and without empty values.
    pub(crate) fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut text = String::with_capacity(256);
        for (name, value) in pairs {
            push_part(&mut text, name);
            push_part(&mut text, value);
        }
        Labels(text.into())
    }

    /// The value of `name`, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric name, if the set has one.
    pub fn name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Names and values in name order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set with `name` set to `value`; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Labels {
        Labels::from_pairs(self.iter().chain([(name, value)]))
    }

    /// The set without these names.
    pub fn without(&self, names: &[&str]) -> Labels {
        Labels::from_sorted(self.iter().filter(|(n, _)| !names.contains(n)))
    }

    /// The set with only these names.
    pub fn keep(&self, names: &[&str]) -> Labels {
        Labels::from_sorted(self.iter().filter(|(n, _)| names.contains(n)))
    }

    /// A stable 64-bit hash of the set: FNV-1a over each name and value, each closed by 0xFF.
    ///
    /// # Source
    /// The same number that Alertmanager prints as the fingerprint of an alert.
    pub fn fingerprint(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let mut hash = OFFSET;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        };
        for (name, value) in self.iter() {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        hash
    }

    /// Names and values in order, each behind its length: the same for equal sets, and for no others.
    pub(crate) fn as_encoded(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The bytes that names and values take, with their lengths.
    pub(crate) fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

/// Appends `part` behind its length: six bits a byte, lowest first, 0x40 set while more follow.
fn push_part(text: &mut String, part: &str) {
    let mut len = part.len();
    while len >= 0x40 {
        text.push(char::from(0x40 | (len & 0x3f) as u8));
        len >>= 6;
    }
    text.push(char::from(len as u8));
    text.push_str(part);
}

/// Takes one part off the front of `rest`.
fn take_part<'a>(rest: &mut &'a str) -> &'a str {
    let (mut len, mut at) = (0usize, 0usize);
    let bytes = rest.as_bytes();
    loop {
        let byte = bytes[at];
        len |= usize::from(byte & 0x3f) << (6 * at);
        at += 1;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let part = &rest[at..at + len];
    *rest = &rest[at + len..];
    part
}

/// The labels of a set in name order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_part(&mut self.rest);
        Some((name, take_part(&mut self.rest)))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Ord for Labels {
    /// Pair by pair, names before values, as Prometheus sorts series.
    fn cmp(&self, other: &Labels) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.iter().cmp(other.iter()) }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Labels {
        Labels::from_pairs(pairs)
    }
}

impl fmt::Display for Labels {
    /// `name{a="b", c="d"}`, `{a="b"}` without a name; names outside the classic alphabet are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let plain = name.filter(|n| is_classic(n, true));
        let mut parts = Vec::new();
        match (name, plain) {
            (_, Some(plain)) => f.write_str(plain)?,
            (Some(quoted), None) => parts.push(quote(quoted)),
            (None, None) => {}
        }
        for (n, v) in self.iter().filter(|(n, _)| *n != METRIC_NAME) {
            parts.push(format!("{}={}", shown_name(n, false), quote(v)));
        }
        if parts.is_empty() && plain.is_some() {
            return Ok(());
        }
        write!(f, "{{{}}}", parts.join(", "))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, with `:` allowed in metric names.
fn is_classic(name: &str, is_metric: bool) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (is_metric && b == b':');
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(ok)
}

/// A name as PromQL reads it back: quoted if it is outside the classic alphabet.
pub(crate) fn shown_name(name: &str, is_metric: bool) -> String {
    if is_classic(name, is_metric) { name.to_owned() } else { quote(name) }
}

/// A double-quoted string as PromQL reads it back.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn display() {
        let show = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).to_string();
        expect!["up"].assert_eq(&show(&[("__name__", "up")]));
        expect![r#"up{a="1", b="2"}"#].assert_eq(&show(&[("b", "2"), ("__name__", "up"), ("a", "1")]));
        expect!["{}"].assert_eq(&show(&[]));
        expect![[r#"{a="x\"y\\z\n\x01ü"}"#]].assert_eq(&show(&[("a", "x\"y\\z\n\u{1}ü")]));
        expect![[r#"{"http.requests", "service.name"="a"}"#]]
            .assert_eq(&show(&[("__name__", "http.requests"), ("service.name", "a")]));
    }

    #[test]
    fn later_pairs_win_and_empty_values_vanish() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2"), ("a", "")]);
        assert_eq!(labels, Labels::from_pairs([("b", "2")]));
        assert_eq!(labels.with("b", ""), Labels::empty());
        assert_eq!(labels.with("a", "3").keep(&["a"]), Labels::from_pairs([("a", "3")]));
    }

    #[test]
    fn fingerprint_is_that_of_alertmanager() {
        assert_eq!(Labels::empty().fingerprint(), 0xcbf2_9ce4_8422_2325);
        // Stable across releases: acknowledgements and silences on disk are keyed by it.
        let labels = Labels::from_pairs([("name", "garland, briggs"), ("fear", "love is not enough")]);
        assert_eq!(labels.fingerprint(), 5_799_056_148_416_392_346);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(pairs in proptest::collection::vec(("[a-c]{0,2}|.{60,70}", "[a-c]{0,2}|é{0,40}"), 0..8),
                            other in proptest::collection::vec(("[a-c]{0,2}", "[a-c]{0,2}"), 0..4)) {
            let map = |pairs: &[(String, String)]| -> BTreeMap<String, String> {
                let mut map: BTreeMap<String, String> = pairs.iter().cloned().collect();
                map.retain(|_, v| !v.is_empty());
                map
            };
            let (left, right) = (Labels::from_pairs(pairs.iter().cloned()), Labels::from_pairs(other.iter().cloned()));
            let (a, b) = (map(&pairs), map(&other));
            prop_assert_eq!(left.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>(),
                            a.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(left.len(), a.len());
            prop_assert_eq!(left == right, a == b);
            prop_assert_eq!(left.cmp(&right), a.iter().cmp(b.iter()));
        }
    }
}
