//! The bytes of Protocol Buffers, as far as `io.prometheus.client` needs them.
//!
//! Written by hand: the schema is a dozen fields that do not change, and a generated encoder would allocate a
//! tree of messages for every scrape. Nested messages are written in place; their length is put in front once
//! it is known.

/// Where a nested message begins; see [`begin`].
#[must_use]
pub(crate) struct Mark(usize);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small magnitudes of either sign as small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn key(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

pub(crate) fn uint(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, VARINT);
    varint(out, value);
}

pub(crate) fn sint(out: &mut Vec<u8>, field: u32, value: i64) {
    uint(out, field, zigzag(value));
}

pub(crate) fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    key(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Begins a nested message.
pub(crate) fn begin(out: &mut Vec<u8>, field: u32) -> Mark {
    key(out, field, BYTES);
    begin_delimited(out)
}

/// Begins a message that stands by itself, with its length in front.
pub(crate) fn begin_delimited(out: &mut Vec<u8>) -> Mark {
    out.push(0);
    Mark(out.len())
}

/// Ends a message: its length takes the place that was left for it, and more if one byte is not enough.
pub(crate) fn end(out: &mut Vec<u8>, mark: Mark) {
    let start = mark.0;
    let len = out.len() - start;
    let mut rest = len >> 7;
    let mut more = 0;
    while rest > 0 {
        more += 1;
        rest >>= 7;
    }
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(start..start + len, start + more);
    }
    let mut value = len;
    for (at, byte) in out[start - 1..start + more].iter_mut().enumerate() {
        *byte = (value & 0x7f) as u8 | if at == more { 0 } else { 0x80 };
        value >>= 7;
    }
}

/// A `LabelPair`, as field 1 of a metric or an exemplar.
pub(crate) fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let pair = begin(out, 1);
    bytes(out, 1, name.as_bytes());
    bytes(out, 2, value.as_bytes());
    end(out, pair);
}

/// A `google.protobuf.Timestamp`.
pub(crate) fn timestamp(out: &mut Vec<u8>, field: u32, millis: u64) {
    let time = begin(out, field);
    uint(out, 1, millis / 1000);
    uint(out, 2, millis % 1000 * 1_000_000);
    end(out, time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_size_are_put_in_front() {
        for len in [0usize, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut out = vec![9];
            let mark = begin(&mut out, 4);
            out.extend((0..len).map(|n| n as u8));
            end(&mut out, mark);
            let mut expected = vec![9, 4 << 3 | 2];
            varint(&mut expected, len as u64);
            expected.extend((0..len).map(|n| n as u8));
            assert!(out == expected, "{len}");
        }
    }

    #[test]
    fn zigzag_is_the_format_s() {
        let extremes = [(i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)];
        for (value, written) in [(0, 0), (-1, 1), (1, 2), (-2, 3)].into_iter().chain(extremes) {
            assert_eq!(zigzag(value), written);
        }
    }
}
