//! Bit strings and the small integers of the formats. Reading never panics: what is cut short is `None`.

/// Writes bits, highest first.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits still free in the last byte.
    free: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`.
    #[inline]
    pub fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        if self.free > 0 && left > 0 {
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1u64 << take) - 1);
            self.free -= take;
            let last = self.bytes.last_mut().expect("it has free bits");
            *last |= (part as u8) << self.free;
            left -= take;
        }
        if left > 0 {
            let count = left.div_ceil(8);
            let bytes = (value << (64 - left)).to_be_bytes();
            if self.bytes.len() + count as usize > self.bytes.capacity() {
                // In small steps: there is one of these for each series, and what is in reserve is lost.
                self.bytes.reserve_exact((self.bytes.len() / 4).max(24));
            }
            self.bytes.extend_from_slice(&bytes[..count as usize]);
            self.free = count * 8 - left;
        }
    }

    /// What was written, zero bits up to the end of the last byte.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of bits written.
    pub fn len(&self) -> usize {
        self.bytes.len() * 8 - self.free as usize
    }

    /// The bytes held in reserve and in use.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Reads what a [`BitWriter`] wrote.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// The position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, at: 0 }
    }

    /// From the bit at `at` on, which is one of `bytes` or the one behind them.
    pub fn from_bit(bytes: &'a [u8], at: usize) -> BitReader<'a> {
        BitReader { bytes, at: at.min(bytes.len() * 8) }
    }

    /// The next `count` bits, at most 64.
    pub fn take(&mut self, count: u32) -> Option<u64> {
        if count > 32 {
            return Some(self.take(count - 32)? << 32 | self.take(32)?);
        }
        if count as usize > self.bytes.len() * 8 - self.at {
            return None;
        }
        // Whatever the position within its byte, 32 bits lie within the next eight bytes.
        let value = (self.window() << (self.at % 8)).checked_shr(64 - count).unwrap_or(0);
        self.at += count as usize;
        Some(value)
    }

    /// The bits from here on, the next one on top; at least 57 of them count, zero behind the end.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.window() << (self.at % 8)
    }

    /// Steps over `count` bits, if there are as many.
    #[inline]
    pub fn skip(&mut self, count: u32) -> Option<()> {
        let at = self.at + count as usize;
        if at > self.bytes.len() * 8 {
            return None;
        }
        self.at = at;
        Some(())
    }

    /// The eight bytes from the current one on, zero behind the end.
    #[inline]
    fn window(&self) -> u64 {
        let from = self.at / 8;
        match self.bytes.get(from..from + 8) {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().expect("eight bytes")),
            None => {
                let rest = self.bytes.get(from..).unwrap_or_default();
                let mut bytes = [0u8; 8];
                bytes[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(bytes)
            }
        }
    }
}

/// Appends `value` in groups of seven bits, lowest first, the top bit set while more follow.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number: 0, -1, 1, -2 … as 0, 1, 2, 3 …
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a string behind its length.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends 64 bits without the zero bytes at their two ends: one byte that counts the zero bytes in front
/// (high half) and the bytes that follow (low half).
pub fn put_bits(out: &mut Vec<u8>, bits: u64) {
    let bytes = bits.to_be_bytes();
    let lead = (bits.leading_zeros() / 8).min(7) as usize;
    let len = (8 - lead).saturating_sub((bits.trailing_zeros() / 8) as usize);
    out.push((lead as u8) << 4 | len as u8);
    out.extend_from_slice(&bytes[lead..lead + len]);
}

/// Reads bytes from the front.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things that take at least one byte each, so that a false one cannot ask for much memory.
    pub fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    pub fn str(&mut self) -> Option<&'a str> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    pub fn bits(&mut self) -> Option<u64> {
        let tag = self.u8()?;
        let (lead, len) = (usize::from(tag >> 4), usize::from(tag & 0x0f));
        if lead + len > 8 {
            return None;
        }
        let mut bytes = [0u8; 8];
        bytes[lead..lead + len].copy_from_slice(self.take(len)?);
        Some(u64::from_be_bytes(bytes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bit_strings_come_back(parts in proptest::collection::vec((any::<u64>(), 1u32..=64), 0..60)) {
            let mut writer = BitWriter::default();
            for (value, count) in &parts {
                writer.push(*value, *count);
            }
            let mut reader = BitReader::new(writer.as_bytes());
            for (value, count) in &parts {
                let mask = if *count == 64 { u64::MAX } else { (1 << count) - 1 };
                prop_assert_eq!(reader.take(*count), Some(value & mask));
            }
            prop_assert_eq!(reader.take(8), None);
        }

        #[test]
        fn a_look_ahead_sees_what_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..20), steps in proptest::collection::vec(1u32..=57, 0..12)) {
            let mut reader = BitReader::new(&bytes);
            for count in steps {
                let (seen, mut other) = (reader.peek() >> (64 - count), reader.clone());
                let taken = other.take(count);
                prop_assert_eq!(reader.skip(count).is_some(), taken.is_some());
                prop_assert!(taken.is_none_or(|taken| taken == seen));
            }
        }

        #[test]
        fn numbers_come_back(a in any::<u64>(), shift in 0u32..64, b in any::<i64>(), s in ".{0,20}", mask in any::<u64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, a >> shift);
            put_zigzag(&mut out, b >> shift);
            put_str(&mut out, &s);
            put_bits(&mut out, a & mask << shift);
            put_bits(&mut out, a >> shift);
            let mut bytes = Bytes(&out);
            prop_assert_eq!(bytes.varint(), Some(a >> shift));
            prop_assert_eq!(bytes.zigzag(), Some(b >> shift));
            prop_assert_eq!(bytes.str(), Some(s.as_str()));
            prop_assert_eq!(bytes.bits(), Some(a & mask << shift));
            prop_assert_eq!(bytes.bits(), Some(a >> shift));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn reading_rubbish_never_panics(rubbish in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = Bytes(&rubbish);
            while bytes.varint().is_some() && bytes.bits().is_some() && bytes.str().is_some() && bytes.zigzag().is_some() {}
        }
    }

    #[test]
    fn bits_of_simple_numbers_are_short() {
        let len = |value: f64| {
            let mut out = Vec::new();
            put_bits(&mut out, value.to_bits());
            out.len()
        };
        assert_eq!([len(0.0), len(1.0), len(2.0), len(12_345.0), len(0.1)], [1, 3, 2, 5, 9]);
    }
}
