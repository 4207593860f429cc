//! Durations as Prometheus and Alertmanager write them.

use std::time::Duration;

/// Biggest first, with their length in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `5m`, `1h30m`, `500ms`, `0`; the units go from the biggest to the smallest, each once.
///
/// # Errors
/// A sentence with the value met, without a place.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a valid duration string: {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let (mut rest, mut millis, mut next) = (text, 0u64, 0usize);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = rest.split_at(letters);
        rest = after;
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if at < next {
            return Err(wrong());
        }
        next = at + 1;
        millis = number
            .checked_mul(UNITS[at].1)
            .and_then(|part| millis.checked_add(part))
            .filter(|sum| *sum <= i64::MAX as u64 / 1_000_000)
            .ok_or_else(|| format!("duration out of range: {text:?}"))?;
    }
    Ok(Duration::from_millis(millis))
}

/// Prints a duration as Prometheus' configuration page does: `1m`, `1h30m`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in UNITS {
        // Years and weeks only when nothing smaller is lost: 90d reads better than 12w6d.
        let exact_only = matches!(unit, "y" | "w");
        if rest < length || (exact_only && !rest.is_multiple_of(length)) {
            continue;
        }
        text += &format!("{}{unit}", rest / length);
        rest %= length;
    }
    text
}

/// Prints a duration as Go's `time.Duration` does: `1m30s`, `1.5s`, `0s`, `250ms`.
pub fn format_go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (scale, unit) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, m) => format!("{m}m{seconds}s"),
        (h, m) => format!("{h}h{m}m{seconds}s"),
    }
}

/// `value / scale` with its fraction, without trailing zeros.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = scale.ilog10() as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_as_prometheus_does() {
        for (text, millis, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("90m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "1w"),
            ("90d", 7_776_000_000, "90d"),
            ("1y", 31_536_000_000, "1y"),
            ("1h0m5s", 3_605_000, "1h5s"),
        ] {
            let duration = parse(text).expect(text);
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format(duration), printed, "{text}");
        }
        for text in ["", "1", "5 m", "1s1m", "1m1m", "-5m", "1.5s", "5x", "999999999y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (nanos, printed) in [
            (0, "0s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (86_400_000_000_000, "24h0m0s"),
            (179_999_000_000, "2m59.999s"),
            (250_000_000, "250ms"),
            (1_500, "1.5µs"),
        ] {
            assert_eq!(format_go(Duration::from_nanos(nanos)), printed);
        }
    }
}
