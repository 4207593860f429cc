//! `histogram </ value` and `histogram >/ value`: observations above or below a value are taken out.

use super::{Bucket, Histogram};

/// Which part stays.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Keep {
    Below,
    Above,
}

impl Histogram {
    /// Removes the observations above `limit` (`</`), or below it (`>/`); the bucket around it is interpolated.
    pub fn trim(&mut self, limit: f64, upper: bool) {
        let keep = if upper { Keep::Below } else { Keep::Above };
        let linear = self.uses_custom_buckets();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut populated = [false, false];
        let mut sides = [self.positive_list(), self.negative_list()];
        for (side, list) in sides.iter_mut().enumerate() {
            let positive = side == 0;
            for (index, value) in list.iter_mut().filter(|(_, value)| *value != 0.0) {
                populated[side] = true;
                let bucket = if positive {
                    self.positive_bucket(*index, *value)
                } else {
                    self.negative_bucket(*index, *value)
                };
                let (kept, middle) = keep_of_bucket(&bucket, limit, keep, positive, linear);
                count += kept;
                if kept != 0.0 || middle.is_finite() {
                    sum += middle * kept;
                }
                changed |= kept != *value;
                *value = kept;
            }
        }
        if self.zero_count > 0.0 {
            let (kept, middle) = keep_of_zero_bucket(&self.zero_bucket(), limit, keep, populated);
            changed |= kept != self.zero_count;
            self.zero_count = kept;
            sum += middle * kept;
            count += kept;
        }
        if changed {
            self.set_positive(&sides[0]);
            self.set_negative(&sides[1]);
            self.count = count;
            self.sum = sum;
            self.compact();
        }
    }
}

/// How many observations of the bucket stay, and where their middle lies.
fn keep_of_bucket(b: &Bucket, limit: f64, keep: Keep, positive: bool, linear: bool) -> (f64, f64) {
    let (all, none) = match keep {
        Keep::Below => (b.upper <= limit, b.lower >= limit),
        Keep::Above => (b.lower >= limit, b.upper <= limit),
    };
    if all {
        return (b.count, middle(b.lower, b.upper, positive, linear));
    }
    // A limit that is not a number keeps nothing.
    if none || limit.is_nan() {
        return (0.0, 0.0);
    }
    if b.lower.is_infinite() || b.upper.is_infinite() {
        return keep_of_infinite_bucket(b, limit, keep);
    }
    let below = b.count * b.fraction_below(limit, linear);
    match keep {
        Keep::Below => (below, middle(b.lower, limit, positive, linear)),
        Keep::Above => (b.count - below, middle(limit, b.upper, positive, linear)),
    }
}

/// Buckets without a finite bound cannot be interpolated, unless zero is the natural lower bound.
fn keep_of_infinite_bucket(b: &Bucket, limit: f64, keep: Keep) -> (f64, f64) {
    if b.lower == f64::NEG_INFINITY {
        return match keep {
            Keep::Below if limit > 0.0 && b.upper > 0.0 && b.upper.is_finite() => {
                (b.count * limit / b.upper, limit / 2.0)
            }
            Keep::Below if b.upper <= 0.0 => (b.count, limit),
            Keep::Above if limit >= 0.0 && b.upper > limit && b.upper.is_finite() => {
                (b.count * (1.0 - limit / b.upper), (limit + b.upper) / 2.0)
            }
            _ => (0.0, 0.0),
        };
    }
    match keep {
        Keep::Below => (0.0, 0.0),
        Keep::Above => (b.count, limit),
    }
}

fn keep_of_zero_bucket(b: &Bucket, limit: f64, keep: Keep, [positive, negative]: [bool; 2]) -> (f64, f64) {
    let lower = if positive && !negative { 0.0 } else { b.lower };
    let upper = if negative && !positive { 0.0 } else { b.upper };
    let whole = (b.count, (lower + upper) / 2.0);
    match keep {
        Keep::Below if limit <= lower => (0.0, 0.0),
        Keep::Below if limit >= upper => whole,
        Keep::Below => (b.count * (limit - lower) / (upper - lower), (lower + limit) / 2.0),
        Keep::Above if limit <= lower => whole,
        Keep::Above if limit >= upper => (0.0, 0.0),
        Keep::Above => (b.count * (upper - limit) / (upper - lower), (limit + upper) / 2.0),
    }
}

/// The middle of an interval: arithmetic where interpolation is linear, else geometric.
fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) => {
            if upper > 0.0 {
                upper / 2.0
            } else {
                upper
            }
        }
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if positive { mean } else { -mean }
        }
    }
}
