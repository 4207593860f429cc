//! The scalar types of `prometheus.yml`: durations, sizes, label names, secrets, anchored expressions.
//!
//! Each checks itself while it is read, so that a wrong value is reported at its own line and column.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use regex_automata::meta::Regex;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde::ser::{Serialize, Serializer};
use tradewatch_alert::duration;

/// A duration as Prometheus writes it: `15s`, `1h30m`, `500ms`, `0`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PromDuration(pub Duration);

impl PromDuration {
    /// The duration in whole milliseconds.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl FromStr for PromDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<PromDuration, String> {
        duration::parse(text)
            .map(PromDuration)
            .map_err(|wrong| format!("{wrong}; write for example 15s, 1m30s or 500ms"))
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::format(self.0))
    }
}

/// A number of bytes: `10MB`, `512KiB`, `0` for no limit; powers of 1024 as in Prometheus.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let wrong = || format!("{text:?} is not a size; write for example 10MB or 512KB");
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
        let power = match &text[digits..] {
            "" if number == 0.0 => 0,
            "B" => 0,
            "KB" | "KiB" => 1,
            "MB" | "MiB" => 2,
            "GB" | "GiB" => 3,
            "TB" | "TiB" => 4,
            "PB" | "PiB" => 5,
            "EB" | "EiB" => 6,
            _ => return Err(wrong()),
        };
        Ok(ByteSize((number * 1024f64.powi(power)) as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0, "B");
        for bigger in ["KiB", "MiB", "GiB", "TiB"] {
            if number == 0 || number % 1024 != 0 {
                break;
            }
            (number, unit) = (number / 1024, bigger);
        }
        if number == 0 { f.write_str("0") } else { write!(f, "{number}{unit}") }
    }
}

/// A label name. UTF-8 names are accepted as Prometheus 3 accepts them; only the empty one is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelName(pub String);

impl FromStr for LabelName {
    type Err = String;

    fn from_str(text: &str) -> Result<LabelName, String> {
        if text.is_empty() {
            Err("a label name must not be empty".into())
        } else {
            Ok(LabelName(text.into()))
        }
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A regular expression that must match the whole text, as everywhere in Prometheus.
#[derive(Clone, Debug)]
pub struct Anchored {
    source: String,
    regex: Regex,
}

impl Anchored {
    /// The compiled expression, anchored at both ends.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl FromStr for Anchored {
    type Err = String;

    fn from_str(text: &str) -> Result<Anchored, String> {
        let regex = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(REGEX_BYTES_MAX)))
            .build(&format!("^(?s:{text})$"))
            .map_err(|error| {
                let cause =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                // The last line says what is wrong, those before draw a picture.
                let cause = cause.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
                format!("{text:?} is not a regular expression: {cause}")
            })?;
        Ok(Anchored { source: text.to_owned(), regex })
    }
}

/// Compiled size of one relabelling expression, so that a configuration cannot eat the memory.
const REGEX_BYTES_MAX: usize = 4 << 20;

impl PartialEq for Anchored {
    fn eq(&self, other: &Anchored) -> bool {
        self.source == other.source
    }
}

impl fmt::Display for Anchored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

macro_rules! scalar {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )*};
}
scalar!(PromDuration, ByteSize, LabelName, Anchored);

/// A value that never reaches a log, a page or the API: it prints as `<secret>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("<secret>")
    }
}

/// The content of a key that Prometheus knows and this monitor does not act upon; a warning names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Unsupported, D::Error> {
        IgnoredAny::deserialize(from)?;
        Ok(Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_prometheus() {
        for (text, millis, printed) in [
            ("15s", 15_000, "15s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "1m30s"),
            ("0", 0, "0s"),
            ("14d", 1_209_600_000, "2w"),
            ("1w1d", 691_200_000, "8d"),
        ] {
            let duration: PromDuration = text.parse().expect(text);
            assert_eq!((duration.as_millis(), duration.to_string().as_str()), (millis, printed), "{text}");
        }
        for text in ["", "5", "1.5s", "s", "5s1m", "1m1m", "-5s", "9999999999y", "5 s"] {
            assert!(text.parse::<PromDuration>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!("10MB".parse::<ByteSize>(), Ok(ByteSize(10 << 20)));
        assert_eq!("0".parse::<ByteSize>(), Ok(ByteSize(0)));
        assert_eq!(ByteSize(1 << 20).to_string(), "1MiB");
        assert!("10 apples".parse::<ByteSize>().is_err());
    }

    #[test]
    fn expressions_match_the_whole_text() {
        let anchored: Anchored = "a|b.c".parse().expect("valid");
        assert!(anchored.regex().is_match("b\nc"));
        assert!(!anchored.regex().is_match("ab"));
        assert!("(".parse::<Anchored>().is_err());
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert_eq!(serde_json::to_string(&secret).expect("serialises"), "\"<secret>\"");
    }
}
