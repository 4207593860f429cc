//! JSON as Prometheus writes it: numbers of samples as strings, times as seconds with milliseconds.
//!
//! Results can be big, so they are written straight into one buffer instead of through a tree.

use tradewatch_promql::format_float;
use tradewatch_tsdb::{Histogram, Labels, Timestamp, Value};

/// Writes `text` as a JSON string.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Writes a list of strings.
pub fn strings<'a>(out: &mut String, items: impl IntoIterator<Item = &'a str>) {
    list(out, items, string);
}

/// Writes a list, each item by `write`.
pub fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Writes a label set as an object.
pub fn labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (number, (name, value)) in labels.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

/// Writes a time as seconds, with as many decimals as milliseconds need.
pub fn time(out: &mut String, ts: Timestamp) {
    let millis = ts.as_millis();
    if millis < 0 {
        out.push('-');
    }
    let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    out.push_str(&seconds.to_string());
    if rest > 0 {
        out.push_str(&format!(".{rest:03}"));
    }
}

/// Writes `[time,"value"]`.
pub fn point(out: &mut String, ts: Timestamp, value: f64) {
    out.push('[');
    time(out, ts);
    out.push_str(",\"");
    out.push_str(&format_float(value));
    out.push_str("\"]");
}

/// Writes `[time,{histogram}]`.
pub fn histogram_point(out: &mut String, ts: Timestamp, histogram: &Histogram) {
    out.push('[');
    time(out, ts);
    out.push_str(",{\"count\":\"");
    out.push_str(&format_float(histogram.count));
    out.push_str("\",\"sum\":\"");
    out.push_str(&format_float(histogram.sum));
    out.push('"');
    let buckets = super::buckets::of(histogram);
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        list(out, buckets, |out, bucket| {
            out.push_str(&format!(
                "[{},\"{}\",\"{}\",\"{}\"]",
                bucket.bounds,
                format_float(bucket.lower),
                format_float(bucket.upper),
                format_float(bucket.count)
            ));
        });
    }
    out.push_str("}]");
}

/// Writes one sample of an instant vector without its label set: `"value":[…]` or `"histogram":[…]`.
pub fn value(out: &mut String, ts: Timestamp, value: &Value) {
    match value {
        Value::Float(float) => {
            out.push_str("\"value\":");
            point(out, ts, *float);
        }
        Value::Histogram(histogram) => {
            out.push_str("\"histogram\":");
            histogram_point(out, ts, histogram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        string(&mut out, "a\"b\\c\nd\u{1}é</script>");
        assert_eq!(out, "\"a\\\"b\\\\c\\nd\\u0001é</script>\"");
        assert_eq!(serde_json::from_str::<String>(&out).expect("valid"), "a\"b\\c\nd\u{1}é</script>");
    }

    #[test]
    fn times_have_the_decimals_they_need() {
        let shown = |millis| {
            let mut out = String::new();
            point(&mut out, Timestamp::from_millis(millis), f64::NAN);
            out
        };
        assert_eq!(shown(1_435_781_430_781), "[1435781430.781,\"NaN\"]");
        assert_eq!(shown(1_435_781_430_000), "[1435781430,\"NaN\"]");
        assert_eq!(shown(1_005), "[1.005,\"NaN\"]");
        assert_eq!(shown(-1_500), "[-1.500,\"NaN\"]");
    }
}
