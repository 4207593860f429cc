//! Metric and label names of OpenTelemetry under Prometheus' rules.
//!
//! Source: OpenTelemetry's "Prometheus and OpenMetrics Compatibility", sections on metric metadata and attributes.

/// Units by their UCUM symbol.
const UNITS: [(&str, &str); 29] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("B", "bytes"),
    ("KB", "kilobytes"),
    ("MB", "megabytes"),
    ("GB", "gigabytes"),
    ("TB", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];
/// What may stand behind the slash of a unit.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric: its words, then unit, then `_total` or `_ratio`.
pub fn metric(name: &str, unit: &str, counter: bool, gauge: bool) -> String {
    let mut words = split(name);
    let (main, per) = units(unit);
    for suffix in [main, per].into_iter().flatten() {
        let parts = split(&suffix);
        if !parts.is_empty() && !words.windows(parts.len()).any(|window| window == parts) {
            words.extend(parts);
        }
    }
    let mut end = |word: &str| {
        words.retain(|one| one != word);
        words.push(word.to_owned());
    };
    if counter {
        end("total");
    }
    if gauge && unit == "1" {
        end("ratio");
    }
    let joined = words.join("_");
    if joined.starts_with(|first: char| first.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// The unit as metadata tells it: `seconds`, `bytes_per_second`.
pub fn unit(unit: &str) -> String {
    let (main, per) = units(unit);
    [main, per].into_iter().flatten().collect::<Vec<_>>().join("_")
}

fn units(unit: &str) -> (Option<String>, Option<String>) {
    let known = |table: &[(&str, &str)], symbol: &str| {
        let word = table.iter().find(|(known, _)| *known == symbol).map_or(symbol, |(_, word)| word);
        let word = match symbol {
            "%" => "percent".to_owned(),
            _ => split(word).join("_"),
        };
        // What stands in braces is an annotation; one means no unit.
        (!symbol.is_empty() && symbol != "1" && !symbol.contains(['{', '}']) && !word.is_empty())
            .then_some(word)
    };
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    (known(&UNITS, main.trim()), known(&PER, per.trim()).map(|word| format!("per_{word}")))
}

fn split(name: &str) -> Vec<String> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The name of a label.
pub fn label(key: &str) -> String {
    let clean: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    match clean.as_bytes() {
        [b'0'..=b'9', ..] => format!("key_{clean}"),
        [b'_', second, ..] if *second != b'_' => format!("key{clean}"),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_unit_and_kind_once() {
        for (name, unit, counter, gauge, expected) in [
            ("http.server.duration", "ms", false, false, "http_server_duration_milliseconds"),
            ("http.server.duration.seconds", "s", false, false, "http_server_duration_seconds"),
            ("orders", "{order}", true, false, "orders_total"),
            ("orders.total.rejected", "1", true, false, "orders_rejected_total"),
            ("cpu.utilization", "1", false, true, "cpu_utilization_ratio"),
            ("net.io", "By/s", false, true, "net_io_bytes_per_second"),
            ("disk.used", "%", false, true, "disk_used_percent"),
            ("2xx", "", true, false, "_2xx_total"),
            ("a..b--c", "", false, false, "a_b_c"),
            ("job:orders", "", false, true, "job:orders"),
        ] {
            assert_eq!(metric(name, unit, counter, gauge), expected, "{name} {unit}");
        }
        assert_eq!((unit("By/s").as_str(), unit("1").as_str()), ("bytes_per_second", ""));
    }

    #[test]
    fn labels_begin_with_a_letter() {
        for (key, expected) in
            [("a.b-c", "a_b_c"), ("1x", "key_1x"), ("_x", "key_x"), ("__x", "__x"), ("ä", "_")]
        {
            assert_eq!(label(key), expected, "{key}");
        }
    }
}
