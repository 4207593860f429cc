//! Money, prices and quantities without rounding surprises.
//!
//! A fixed point of nine decimals in an `i128`: crypto quantities have at most nine, prices at most eight, and
//! the product of any two values below 10^14 fits; sums and products beyond the range stay at its end. Floats appear only where a chart or a model wants one.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// Units in one.
const ONE: i128 = 1_000_000_000;
const DIGITS: usize = 9;

/// A decimal with nine fractional digits.
///
/// # Example
/// ```
/// use tradewatch_platforms::market::Decimal;
/// let price: Decimal = "61837.63".parse().unwrap();
/// let qty: Decimal = "0.02".parse().unwrap();
/// assert_eq!((price * qty).to_string(), "1236.7526");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

/// The text is no decimal of at most nine fractional digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number with at most {DIGITS} fractional digits")]
pub struct NotDecimal(String);

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal(0);
    /// One.
    pub const ONE: Decimal = Decimal(ONE);

    /// A whole number.
    pub const fn from_int(value: i64) -> Decimal {
        Decimal(value as i128 * ONE)
    }

    /// `units` × 10^−`digits`: `from_scaled(12345, 2)` is 123.45.
    ///
    /// # Panics
    /// If `digits` exceeds nine.
    pub const fn from_scaled(units: i64, digits: u32) -> Decimal {
        Decimal(units as i128 * 10_i128.pow(DIGITS as u32 - digits))
    }

    /// The nearest decimal to a finite `value`; zero for anything else.
    pub fn from_f64(value: f64) -> Decimal {
        if value.is_finite() { Decimal((value * ONE as f64).round() as i128) } else { Decimal::ZERO }
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }

    /// −1, 0 or 1.
    pub fn signum(self) -> i128 {
        self.0.signum()
    }

    /// Without its sign.
    pub fn abs(self) -> Decimal {
        Decimal(self.0.saturating_abs())
    }

    /// Whether it is exactly zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it has no fractional part.
    pub fn is_whole(self) -> bool {
        self.0 % ONE == 0
    }

    /// Rounded to `digits` fractional digits, half to even.
    pub fn round(self, digits: u32) -> Decimal {
        let unit = 10_i128.pow((DIGITS as u32).saturating_sub(digits));
        Decimal(div_half_even(self.0, unit) * unit)
    }

    /// Divided by `by`, rounded half to even; zero if `by` is zero.
    pub fn ratio(self, by: Decimal) -> Decimal {
        if by.0 == 0 { Decimal::ZERO } else { Decimal(div_half_even(self.0.saturating_mul(ONE), by.0)) }
    }

    /// Whether it is a whole number of `step`.
    pub fn is_multiple_of(self, step: Decimal) -> bool {
        step.0 == 0 || self.0 % step.0 == 0
    }
}

/// Rounds the exact quotient half to even, so that sums of many roundings do not drift.
fn div_half_even(value: i128, by: i128) -> i128 {
    let (value, by) = if by < 0 { (-value, -by) } else { (value, by) };
    let (quotient, rest) = (value.div_euclid(by), value.rem_euclid(by));
    let up = match rest.cmp(&(by - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    quotient + i128::from(up)
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Decimal, NotDecimal> {
        let fail = || NotDecimal(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > DIGITS {
            return Err(fail());
        }
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(fail());
        }
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            units = units * 10 + i128::from(byte - b'0');
        }
        units *= 10_i128.pow((DIGITS - fraction.len()) as u32);
        Ok(Decimal(if negative { -units } else { units }))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.unsigned_abs() / ONE as u128, self.0.unsigned_abs() % ONE as u128);
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Add for Decimal {
    type Output = Decimal;
    fn add(self, other: Decimal) -> Decimal {
        Decimal(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Decimal {
    fn add_assign(&mut self, other: Decimal) {
        *self = *self + other;
    }
}

impl Sub for Decimal {
    type Output = Decimal;
    fn sub(self, other: Decimal) -> Decimal {
        Decimal(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Decimal {
    fn sub_assign(&mut self, other: Decimal) {
        *self = *self - other;
    }
}

impl Neg for Decimal {
    type Output = Decimal;
    fn neg(self) -> Decimal {
        Decimal(self.0.saturating_neg())
    }
}

impl std::ops::Mul for Decimal {
    type Output = Decimal;
    /// The product, rounded half to even at nine digits.
    fn mul(self, other: Decimal) -> Decimal {
        Decimal(div_half_even(self.0.saturating_mul(other.0), ONE))
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Decimal>>(values: I) -> Decimal {
        values.fold(Decimal::ZERO, Add::add)
    }
}

impl serde::Serialize for Decimal {
    /// A string, as Alpaca sends its decimals.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Decimal {
    /// A string or a number, as Alpaca accepts both.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal as a string or number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Decimal, E> {
                Ok(Decimal::from_int(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Decimal, E> {
                i64::try_from(value).map(Decimal::from_int).map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Decimal, E> {
                // The shortest text that reads back as this float is what the sender wrote.
                value.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn reads_and_prints() {
        for text in ["0", "1", "-1.5", "61837.63", "0.000000001", "999999999999999999"] {
            assert_eq!(dec(text).to_string(), text);
        }
        assert_eq!(dec("61837.63000000").to_string(), "61837.63");
        assert_eq!(dec(".5"), dec("0.50"));
        for bad in ["", "-", ".", "1e5", "1.0000000001", "abc", "1.2.3", " 1", "+1", "1234567890123456789"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rounds_half_to_even() {
        assert_eq!(dec("0.125").round(2), dec("0.12"));
        assert_eq!(dec("0.135").round(2), dec("0.14"));
        assert_eq!(dec("-0.125").round(2), dec("-0.12"));
        assert_eq!(dec("1").ratio(dec("3")).to_string(), "0.333333333");
        assert_eq!(dec("-2").ratio(dec("3")).to_string(), "-0.666666667");
        assert_eq!(dec("5").ratio(Decimal::ZERO), Decimal::ZERO);
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let huge = dec("999999999999999999");
        assert!(huge * huge > huge && (-huge * huge).is_negative());
        let largest = (0..200).fold(huge, |sum, _| sum + sum);
        assert_eq!(largest + largest, largest, "no overflow, no wrap");
        assert!(largest.ratio(dec("0.000000001")).is_positive());
    }

    #[test]
    fn reads_json_strings_and_numbers() {
        let read = |text: &str| serde_json::from_str::<Decimal>(text);
        assert_eq!(read("\"0.02\"").expect("string"), dec("0.02"));
        assert_eq!(read("0.02").expect("number"), dec("0.02"));
        assert_eq!(read("7").expect("integer"), dec("7"));
        assert!(read("\"x\"").is_err() && read("null").is_err());
        assert_eq!(serde_json::to_string(&dec("1.50")).expect("prints"), "\"1.5\"");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn text_reads_back(units in -1_000_000_000_000_000_000_i64..1_000_000_000_000_000_000) {
            let value = Decimal::from_scaled(units, 9);
            prop_assert_eq!(dec(&value.to_string()), value);
        }

        #[test]
        fn sums_and_products_agree_with_integers(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            let (x, y) = (Decimal::from_scaled(a, 2), Decimal::from_scaled(b, 3));
            prop_assert_eq!(x * y, Decimal::from_scaled(a * b, 5));
            prop_assert_eq!(x + y - y, x);
        }
    }
}
