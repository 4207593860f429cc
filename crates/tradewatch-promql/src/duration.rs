//! Durations: as written, and computed from `step()`, `range()` and arithmetic.

use std::fmt;

use crate::error::Span;

/// A length of time in a query: a literal or an expression that depends on the query's range and step.
#[derive(Clone, PartialEq, Debug)]
pub enum Extent {
    /// Nanoseconds, as in `5m`, `300` or `0.5`.
    Fixed(i64),
    /// An expression.
    Computed(Box<DurationExpr>),
}

/// An arithmetic expression of durations, in seconds.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum DurationExpr {
    Number { seconds: f64, duration: bool },
    Step,
    Range,
    Negative(Box<DurationExpr>),
    Paren(Box<DurationExpr>),
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    Binary(DurationOp, Box<DurationExpr>, Box<DurationExpr>),
}

/// Operators of duration expressions.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl DurationOp {
    fn symbol(self) -> char {
        match self {
            DurationOp::Add => '+',
            DurationOp::Sub => '-',
            DurationOp::Mul => '*',
            DurationOp::Div => '/',
            DurationOp::Mod => '%',
            DurationOp::Pow => '^',
        }
    }

    pub(crate) fn binding(self) -> u8 {
        match self {
            DurationOp::Add | DurationOp::Sub => 4,
            DurationOp::Mul | DurationOp::Div | DurationOp::Mod => 5,
            DurationOp::Pow => 6,
        }
    }
}

/// The largest number of seconds that fits into nanoseconds.
pub(crate) const SECONDS_MAX: f64 = (1u64 << 63) as f64 / 1e9;

impl Extent {
    /// No time.
    pub const ZERO: Extent = Extent::Fixed(0);

    /// Milliseconds of a literal; `None` for an expression.
    pub fn literal_ms(&self) -> Option<i64> {
        match self {
            Extent::Fixed(ns) => Some(ns / 1_000_000),
            Extent::Computed(_) => None,
        }
    }

    /// Milliseconds for a query with this step and range (its end less its start).
    ///
    /// # Errors
    /// The text of what is wrong: not finite, division by zero, out of range, or not positive where it has to be.
    pub fn resolve(
        &self,
        span: Span,
        step_ms: i64,
        range_ms: i64,
        allow_negative: bool,
    ) -> Result<i64, String> {
        let expr = match self {
            Extent::Fixed(ns) => return Ok(ns / 1_000_000),
            Extent::Computed(expr) => expr,
        };
        let place = |what: &str| format!("{}:{}: {what}", span.start, span.end);
        let seconds = expr.seconds(step_ms as f64 / 1e3, range_ms as f64 / 1e3).map_err(place)?;
        if !seconds.is_finite() {
            return Err(place("duration is NaN or infinite"));
        }
        if seconds <= 0.0 && !allow_negative {
            return Err(place("duration must be greater than 0"));
        }
        if seconds.abs() > SECONDS_MAX {
            return Err(place("duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }
}

impl DurationExpr {
    fn seconds(&self, step: f64, range: f64) -> Result<f64, &'static str> {
        let of = |e: &DurationExpr| e.seconds(step, range);
        Ok(match self {
            DurationExpr::Number { seconds, .. } => *seconds,
            DurationExpr::Step => step,
            DurationExpr::Range => range,
            DurationExpr::Negative(e) => -of(e)?,
            DurationExpr::Paren(e) => of(e)?,
            DurationExpr::MinOf(a, b) => of(a)?.min(of(b)?),
            DurationExpr::MaxOf(a, b) => of(a)?.max(of(b)?),
            DurationExpr::Binary(op, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                match op {
                    DurationOp::Add => a + b,
                    DurationOp::Sub => a - b,
                    DurationOp::Mul => a * b,
                    DurationOp::Div if b == 0.0 => return Err("division by zero"),
                    DurationOp::Div => a / b,
                    DurationOp::Mod if b == 0.0 => return Err("modulo by zero"),
                    DurationOp::Mod => a % b,
                    DurationOp::Pow => a.powf(b),
                }
            }
        })
    }
}

const UNITS: [(&str, i64, bool); 7] = [
    ("y", 365 * 86_400_000, true),
    ("w", 7 * 86_400_000, true),
    ("d", 86_400_000, true),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1000, false),
    ("ms", 1, false),
];

/// Writes milliseconds as Prometheus does: `1h30m`, `2w`, `36h`, `0s`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut left = ms.unsigned_abs();
    for (unit, length, exact) in UNITS {
        let length = length as u64;
        if exact && !left.is_multiple_of(length) {
            continue;
        }
        let count = left / length;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            left -= count * length;
        }
    }
    out
}

/// Reads `1h30m` into milliseconds: units from large to small, each at most once.
///
/// # Errors
/// The text of what is wrong.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    if text == "0" {
        return Ok(0);
    }
    let bad = || format!("not a valid duration string: {text:?}");
    let mut rest = text;
    let mut unit_next = 0;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let at = UNITS.iter().position(|(unit, ..)| *unit == &rest[..letters]).ok_or_else(bad)?;
        if at < unit_next {
            return Err(bad());
        }
        unit_next = at + 1;
        rest = &rest[letters..];
        total = number
            .checked_mul(UNITS[at].1)
            .and_then(|ms| total.checked_add(ms))
            .filter(|&ms| ms <= i64::MAX / 1_000_000)
            .ok_or("duration out of range")?;
    }
    Ok(total)
}

pub(crate) fn format_seconds(seconds: f64, duration: bool) -> String {
    let ms = seconds * 1000.0;
    if duration && ms.abs() < 9e15 && ms.fract() == 0.0 {
        format_duration_ms(ms as i64)
    } else {
        crate::format_float(seconds)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Fixed(ns) if ns % 1_000_000 == 0 => f.write_str(&format_duration_ms(ns / 1_000_000)),
            Extent::Fixed(ns) => f.write_str(&crate::format_float(*ns as f64 / 1e9)),
            Extent::Computed(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DurationExpr::Number { seconds, duration } => f.write_str(&format_seconds(*seconds, *duration)),
            DurationExpr::Step => f.write_str("step()"),
            DurationExpr::Range => f.write_str("range()"),
            DurationExpr::Negative(e) => write!(f, "-{e}"),
            DurationExpr::Paren(e) => write!(f, "({e})"),
            DurationExpr::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationExpr::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationExpr::Binary(op, a, b) => write!(f, "{a} {} {b}", op.symbol()),
        }
    }
}
