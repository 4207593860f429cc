//! What a series is recognised by in the bodies of its target: 128 bits over the bytes that name it.
//!
//! The bytes themselves would be the largest thing that is kept for a series. The key is drawn when the process
//! starts, so that no target can choose two names with one fingerprint; by chance, of a million names two share one
//! with a probability below 10⁻²⁶.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// 128 bits and the number of bytes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint {
    bits: [u64; 2],
    /// The number of bytes.
    pub len: u32,
}

impl Fingerprint {
    /// Of the bytes that name a series.
    #[inline]
    pub fn of(bytes: &[u8]) -> Fingerprint {
        let key = key();
        let (mut a, mut b) = (key[0] ^ bytes.len() as u64, key[1]);
        let mut mix = |part: &[u8; 16]| {
            let (low, high) = part.split_at(8);
            let x = u64::from_le_bytes(low.try_into().expect("eight bytes"));
            let y = u64::from_le_bytes(high.try_into().expect("eight bytes"));
            a = fold(a ^ x, key[2] ^ y);
            b = fold(b ^ y, key[3] ^ x);
        };
        let (parts, rest) = bytes.as_chunks::<16>();
        parts.iter().for_each(&mut mix);
        if !rest.is_empty() {
            let mut last = [0u8; 16];
            last[..rest.len()].copy_from_slice(rest);
            mix(&last);
        }
        // Each half depends on both sums in the end.
        let bits = [fold(a ^ key[1], b ^ key[2]), fold(b ^ key[0], a ^ key[3])];
        Fingerprint { bits, len: bytes.len() as u32 }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn key() -> &'static [u64; 4] {
    static KEY: OnceLock<[u64; 4]> = OnceLock::new();
    KEY.get_or_init(|| std::array::from_fn(|at| RandomState::new().hash_one(at) | 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_that_differ_in_one_byte_or_in_length_differ() {
        let mut seen = HashSet::new();
        let name = b"execution_gateway_orders_total{symbol=\"S00001\",side=\"buy\"}";
        for at in 0..name.len() {
            for flip in 1..=255u8 {
                let mut other = name.to_vec();
                other[at] ^= flip;
                assert!(seen.insert(Fingerprint::of(&other).bits));
            }
        }
        for len in 0..40 {
            assert!(seen.insert(Fingerprint::of(&vec![0; len]).bits));
        }
        assert_eq!(Fingerprint::of(name), Fingerprint::of(name));
    }
}
