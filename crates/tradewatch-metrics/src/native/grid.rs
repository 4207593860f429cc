//! From a value to its bucket: the exponential grid of native histograms.

/// The buckets of one schema: their edges are the powers of two to the `-schema`-th root of two.
///
/// Bucket `index` holds the sizes above `2^((index-1) * 2^-schema)` up to and including `2^(index * 2^-schema)`. The
/// hot path works with keys instead: indices moved up so that none is negative, and those of numbers below zero
/// moved up once more.
pub(crate) struct Grid {
    /// How far an exponent is shifted to make room for the buckets of its octave.
    fine: u32,
    /// How many bits of the mantissa are left over when it is looked up.
    shift: u32,
    steps: Box<[Step; STEPS]>,
    /// For buckets of an octave and more: octaves to a bucket, as bits.
    coarse: u32,
    round: u32,
    /// The key of the bucket 0 of numbers above zero.
    bias: i32,
}

/// A stretch of mantissas, so short that at most one edge lies in it.
#[derive(Clone, Copy)]
struct Step {
    /// The mantissa of that edge; beyond all if there is none.
    edge: u64,
    /// The edges of the octave below the stretch, and the octave before.
    below: u32,
}

/// Stretches of the finest grid.
const STEPS: usize = 512;
const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const EXPONENT_BIAS: i32 = 1023;
/// Sign and exponent together: a number below zero seems to have an exponent that much higher.
const SIGN: u32 = 2048;

impl Grid {
    /// The grid of `schema`, between [`SCHEMA_MIN`](super::SCHEMA_MIN) and [`SCHEMA_MAX`](super::SCHEMA_MAX).
    pub(crate) fn new(schema: i8) -> Grid {
        let fine = schema.max(0) as u32;
        let coarse = (-schema).max(0) as u32;
        // An octave's shortest bucket is ln(2) / 2^schema of it; stretches of half of 1 / 2^schema are shorter.
        let bits = if fine == 0 { 0 } else { fine + 1 };
        let edges: Vec<u64> = (0..1 << fine).map(|at| mantissa(edge(fine, at))).collect();
        let step = |number: usize| {
            let first = (number as u64) << (MANTISSA_BITS - bits);
            let last = first.saturating_add(MANTISSA >> bits);
            let below = edges.iter().filter(|edge| **edge < first).count() as u32;
            let within = edges.iter().copied().find(|edge| (first..=last).contains(edge));
            // One octave more than there is makes the bias of keys, 1023 octaves, a multiple of any block.
            Step { edge: within.unwrap_or(u64::MAX), below: below + if coarse == 0 { 1 << fine } else { 0 } }
        };
        let steps: Vec<Step> = (0..STEPS).map(|number| step(number & ((1 << bits) - 1))).collect();
        Grid {
            fine,
            shift: MANTISSA_BITS - bits,
            steps: steps.try_into().unwrap_or_else(|_| unreachable!("as many as asked for")),
            coarse,
            // One octave more makes the bias a multiple of any bucket; the rest rounds up.
            round: if coarse == 0 { 0 } else { 1 << coarse },
            bias: ((EXPONENT_BIAS + 1) << fine) >> coarse,
        }
    }

    /// The key of a finite number that is normal.
    #[inline]
    pub(crate) fn key(&self, value: f64) -> u32 {
        (self.quick_key(value) + self.round) >> self.coarse
    }

    /// The same for schemas that are not below 0.
    #[inline(always)]
    pub(crate) fn quick_key(&self, value: f64) -> u32 {
        let bits = value.to_bits();
        let mantissa = bits & MANTISSA;
        let step = &self.steps[(mantissa >> self.shift) as usize & (STEPS - 1)];
        let exponent = (bits >> MANTISSA_BITS) as u32;
        (exponent << self.fine) + step.below + u32::from(mantissa > step.edge)
    }

    /// The lowest bit by which the keys of numbers below zero differ.
    pub(crate) fn sign_key(&self) -> u32 {
        SIGN << self.fine >> self.coarse
    }

    /// The index of a key, and whether its bucket is below zero.
    pub(crate) fn index(&self, key: u32) -> (i32, bool) {
        let negative = self.sign_key() as i32;
        // Strictly: the last bucket above zero may have the very key at which those below begin, and never use.
        let below = key as i32 > negative;
        (key as i32 - self.bias - if below { negative } else { 0 }, below)
    }
}

/// The bucket of a grid `by` schemas coarser that holds the bucket `key`.
#[inline]
pub(crate) fn coarser(key: i32, by: u32) -> i32 {
    (key + ((1 << by) - 1)) >> by
}

/// The upper edge of the bucket `index` of `schema`; its lower edge is that of the bucket before it.
///
/// The last bucket of a schema may reach beyond the largest number; its edge is then infinite.
/// # Source
/// Prometheus, native histograms, "Standard schemas".
pub fn native_bucket_edge(schema: i8, index: i32) -> f64 {
    if schema <= 0 {
        return exp2i(i64::from(index) << -schema);
    }
    let fine = schema as u32;
    edge(fine, (index & ((1 << fine) - 1)) as u32) * exp2i(i64::from(index >> fine))
}

/// Edge number `at` of an octave of `2^fine` buckets, from 1 up to below 2.
fn edge(fine: u32, at: u32) -> f64 {
    (f64::from(at) / f64::from(1u32 << fine)).exp2()
}

fn exp2i(exponent: i64) -> f64 {
    (exponent as f64).exp2()
}

fn mantissa(value: f64) -> u64 {
    value.to_bits() & MANTISSA
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: the first bucket whose edge is not below the size.
    fn key_by_search(schema: i8, size: f64) -> i32 {
        let near = (size.log2() * f64::from(schema).exp2()).ceil() as i32;
        (near - 2..near + 3).find(|key| native_bucket_edge(schema, *key) >= size).expect("an edge near by")
    }

    #[test]
    fn keys_are_those_of_the_definition() {
        let mut state = 4711u64;
        for schema in -4..=8 {
            let grid = Grid::new(schema);
            let mut sizes: Vec<f64> = (-600..600).map(|at| native_bucket_edge(schema, at)).collect();
            sizes.extend((0..20_000).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                f64::from_bits(state >> 1)
            }));
            sizes.extend([f64::MIN_POSITIVE, f64::MAX, 1.0, 2.0, 0.5, 1e-9, 0.1]);
            for size in sizes.into_iter().filter(|size| size.is_normal()) {
                for near in [size.next_down(), size, size.next_up()].into_iter().filter(|x| x.is_normal()) {
                    let index = key_by_search(schema, near);
                    assert_eq!(grid.index(grid.key(near)), (index, false), "schema {schema}, {near:e}");
                    if near >= crate::ZERO_THRESHOLD_MIN {
                        assert_eq!(grid.index(grid.key(-near)), (index, true), "schema {schema}, -{near:e}");
                    }
                }
            }
        }
    }

    /// Bounds published with the format, for schema 3.
    #[test]
    fn edges_are_those_of_prometheus() {
        let published = [
            0.5,
            0.5452538663326288,
            0.5946035575013605,
            0.6484197773255048,
            0.7071067811865475,
            0.7711054127039704,
            0.8408964152537144,
            0.9170040432046711,
        ];
        for (at, edge) in published.into_iter().enumerate() {
            let ours = native_bucket_edge(3, at as i32 - 8);
            assert!((ours - edge).abs() <= f64::EPSILON / 2.0, "{at}: {ours} {edge}");
        }
        assert_eq!(native_bucket_edge(-4, 1), 65_536.0);
        assert_eq!(native_bucket_edge(-4, 64), f64::INFINITY);
        assert_eq!(native_bucket_edge(0, -3), 0.125);
    }

    #[test]
    fn a_coarser_bucket_holds_the_finer_one() {
        for schema in -3..=8 {
            for key in -300..300 {
                let (from, to) = (native_bucket_edge(schema, key - 1), native_bucket_edge(schema, key));
                let wide = coarser(key, 1);
                assert!(native_bucket_edge(schema - 1, wide - 1) <= from * (1.0 + 1e-12));
                assert!(native_bucket_edge(schema - 1, wide) >= to * (1.0 - 1e-12));
            }
        }
    }
}
