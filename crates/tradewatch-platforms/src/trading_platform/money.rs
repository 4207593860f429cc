//! Dollars and quantities as integers.
//!
//! Both count billionths: nine decimals are what Alpaca sends at most, and an order book of bitcoin needs
//! eight. Sums are exact; the only rounding is in a product of price and quantity, to the nearest
//! billionth of a dollar, so that a million fills are right to the cent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Units in one dollar or one share.
const SCALE: i64 = 1_000_000_000;
const DECIMALS: usize = 9;

macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: $name = $name(0);

            /// From billionths.
            pub const fn from_nanos(nanos: i64) -> $name {
                $name(nanos)
            }

            /// Whole units.
            pub const fn whole(units: i64) -> $name {
                $name(units * SCALE)
            }

            /// As billionths.
            pub const fn nanos(self) -> i64 {
                self.0
            }

            /// The nearest value to `value`; `None` for NaN, infinities and what does not fit.
            ///
            /// A float that came from a decimal with up to nine decimals gives that decimal back.
            pub fn from_f64(value: f64) -> Option<$name> {
                if !value.is_finite() {
                    return None;
                }
                // The shortest text of a float is the decimal that was meant; scaling it would be off by one.
                $name::parse(&value.to_string()).or_else(|| {
                    let nanos = (value * SCALE as f64).round();
                    (nanos.abs() < 9.2e18).then_some($name(nanos as i64))
                })
            }

            /// For metrics and ratios, never for sums.
            pub fn to_f64(self) -> f64 {
                self.0 as f64 / SCALE as f64
            }

            /// Without its sign.
            pub const fn abs(self) -> $name {
                $name(self.0.abs())
            }

            /// −1, 0 or 1.
            pub const fn signum(self) -> i64 {
                self.0.signum()
            }

            /// Whether it is nothing.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// Reads a plain decimal such as `-12.50`; `None` for anything else, and for more than nine
            /// decimals that are not zero.
            pub fn parse(text: &str) -> Option<$name> {
                parse_nanos(text).map($name)
            }
        }

        impl Add for $name {
            type Output = $name;
            fn add(self, other: $name) -> $name {
                $name(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = $name;
            fn neg(self) -> $name {
                $name(-self.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                self.0 += other.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: $name) {
                self.0 -= other.0;
            }
        }
        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = $name>>(items: I) -> $name {
                items.fold($name(0), Add::add)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&print_nanos(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&print_nanos(self.0))
            }
        }
        /// As a decimal string, the form Alpaca uses.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        /// From a decimal string or a JSON number.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                match serde_json::Value::deserialize(deserializer)? {
                    serde_json::Value::String(text) => $name::parse(&text)
                        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a decimal number with at most nine decimals"))),
                    serde_json::Value::Number(number) => number
                        .as_f64()
                        .and_then($name::from_f64)
                        .ok_or_else(|| serde::de::Error::custom(format!("{number} does not fit"))),
                    other => Err(serde::de::Error::custom(format!("{other} is not a number"))),
                }
            }
        }
    };
}

fixed!(
    /// An amount of dollars or a price, in billionths of a dollar; up to nine billion dollars.
    Money
);
fixed!(
    /// A quantity of shares or coins, in billionths; negative is short.
    Qty
);

impl Qty {
    /// What this quantity costs at `price`, rounded to the nearest billionth of a dollar (halves away from zero).
    pub fn at(self, price: Money) -> Money {
        let product = i128::from(self.0) * i128::from(price.0);
        let half = i128::from(SCALE / 2) * product.signum();
        Money(((product + half) / i128::from(SCALE)) as i64)
    }

    /// The largest multiple of `step` not above this quantity, by magnitude.
    pub fn floor_to(self, step: Qty) -> Qty {
        Qty(self.0 / step.0 * step.0)
    }
}

impl Money {
    /// How much of something at `price` this amount buys.
    pub fn buys_at(self, price: Money) -> Qty {
        if price.0 == 0 {
            return Qty(0);
        }
        Qty((i128::from(self.0) * i128::from(SCALE) / i128::from(price.0)) as i64)
    }

    /// This share of the amount; `share` in parts of one.
    pub fn scaled(self, share: f64) -> Money {
        Money((self.0 as f64 * share).round() as i64)
    }

    /// Rounded to cents, halves away from zero.
    pub fn cents(self) -> i64 {
        let cent = SCALE / 100;
        (self.0 + self.0.signum() * cent / 2) / cent
    }

    /// The price between two others, to the billionth.
    pub fn mid(bid: Money, ask: Money) -> Money {
        Money((bid.0 + ask.0) / 2)
    }
}

fn parse_nanos(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > DECIMALS {
        return None;
    }
    let mut nanos: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    nanos = nanos.checked_mul(SCALE)?;
    if !fraction.is_empty() {
        let part: i64 = fraction.parse().ok()?;
        nanos = nanos.checked_add(part * 10_i64.pow((DECIMALS - fraction.len()) as u32))?;
    }
    Some(if negative { -nanos } else { nanos })
}

fn print_nanos(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (nanos.unsigned_abs() / SCALE as u64, nanos.unsigned_abs() % SCALE as u64);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_read_and_print() {
        for (text, printed) in [
            ("12.50", "12.5"),
            ("-0.000000001", "-0.000000001"),
            ("61000", "61000"),
            (".5", "0.5"),
            ("+1.0000000000", "1"),
        ] {
            assert_eq!(Money::parse(text).expect(text).to_string(), printed);
        }
        for text in ["", ".", "-", "1e5", "1.0000000001", "12,5", "99999999999", " 1"] {
            assert_eq!(Money::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn products_round_to_the_nearest_unit() {
        let qty = Qty::parse("0.333333333").expect("a number");
        let price = Money::parse("3").expect("a number");
        assert_eq!(qty.at(price).to_string(), "0.999999999");
        assert_eq!(
            Qty::parse("0.000000001").expect("a number").at(Money::parse("0.5").expect("a number")),
            Money::from_nanos(1)
        );
        assert_eq!((-qty).at(price), -(qty.at(price)));
        assert_eq!(Money::whole(100).buys_at(Money::whole(8)).to_string(), "12.5");
        assert_eq!(Money::parse("-0.005").expect("a number").cents(), -1);
        assert_eq!(Money::parse("1.994").expect("a number").cents(), 199);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn print_then_parse_is_identity(nanos in -9_000_000_000_000_000_000_i64..9_000_000_000_000_000_000) {
            prop_assert_eq!(Money::parse(&Money::from_nanos(nanos).to_string()), Some(Money::from_nanos(nanos)));
        }

        #[test]
        fn cents_survive_a_float(cents in -100_000_000_000_i64..100_000_000_000) {
            let money = Money::from_nanos(cents * 10_000_000);
            prop_assert_eq!(Money::from_f64(money.to_f64()), Some(money));
            prop_assert_eq!(money.cents(), cents);
        }
    }
}
