//! Numbers as text.

/// Writes a sample value as Prometheus does: shortest digits that read back the same, no exponent, `NaN`, `+Inf`, `-Inf`.
pub fn format_float(value: f64) -> String {
    special(value).unwrap_or_else(|| format!("{value}"))
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".into())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf".into() } else { "-Inf".into() })
    } else {
        None
    }
}

/// Writes a number with an exponent where that is shorter, as `%g` of Go does: `1e+06`, `0.5`, `1e-05`.
pub fn format_g(value: f64) -> String {
    special(value).unwrap_or_else(|| with_exponent(&format!("{value:e}"), 6))
}

/// Like [`format_g`], rounded to so many significant digits.
pub(crate) fn format_g_digits(value: f64, digits: usize) -> String {
    special(value).unwrap_or_else(|| {
        let text = format!("{value:.*e}", digits.saturating_sub(1));
        let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        with_exponent(&format!("{mantissa}e{exponent}"), digits as i32)
    })
}

/// From `d.ddde±x` to plain digits, or to an exponent of at least two digits where it is small or reaches `limit`.
fn with_exponent(text: &str, limit: i32) -> String {
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{}", text.parse::<f64>().expect("it was written from a number"))
}

/// One step of a compensated sum: the new sum and what rounding has taken from it so far.
///
/// # Source
/// Neumaier 1974, Kahan's summation that also copes with a summand larger than the sum.
pub(crate) fn kahan_inc(add: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + add;
    if total.is_infinite() {
        (total, 0.0)
    } else if sum.abs() >= add.abs() {
        (total, lost + ((sum - total) + add))
    } else {
        (total, lost + ((add - total) + sum))
    }
}
