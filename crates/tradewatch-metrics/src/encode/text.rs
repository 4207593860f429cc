//! Numbers and labels as the two text formats write them.

use std::io::Write;

/// Writes `a="b",c="d"` with values escaped.
pub(crate) fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (at, (name, value)) in labels.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'"' => out.extend_from_slice(b"\\\""),
                byte => out.push(byte),
            }
        }
        out.push(b'"');
    }
}

pub(crate) fn write_u64(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest decimal that reads back as the same number.
pub(crate) fn write_f64(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let written = if value.is_nan() {
        out.write_all(b"NaN")
    } else if value.is_infinite() {
        out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" })
    } else if size != 0.0 && !(1e-5..1e16).contains(&size) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
    written.expect("writing to a Vec does not fail");
}

/// Milliseconds as seconds: `1763640000.25`.
pub(crate) fn write_seconds(out: &mut Vec<u8>, millis: u64) {
    write_u64(out, millis / 1000);
    let rest = millis % 1000;
    if rest > 0 {
        write!(out, ".{rest:03}").expect("writing to a Vec does not fail");
    }
}

/// A number as OpenMetrics and Prometheus 3 write it in `le` and `quantile`: `0.1`, `1.0`, `1e+06`.
pub(crate) fn canonical(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes a decimal exponent");
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value:?}")
}
