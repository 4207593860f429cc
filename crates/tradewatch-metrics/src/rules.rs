//! What names, units, edges and label values must be like; on plain data, since the derive compiles this file too
//! and refuses at compile time what it can see.

/// Units that a name must end in when it has them, and what is often written instead.
const BASE_UNITS: &[(&str, &[&str])] = &[
    (
        "seconds",
        &[
            "milliseconds",
            "microseconds",
            "nanoseconds",
            "minutes",
            "hours",
            "days",
            "ms",
            "us",
            "ns",
            "millis",
        ],
    ),
    ("bytes", &["kilobytes", "megabytes", "gigabytes", "kb", "mb", "gb", "kib", "mib", "gib", "bits"]),
    ("ratio", &["percent", "percentage", "pct"]),
    ("meters", &["kilometers", "centimeters"]),
    ("celsius", &["fahrenheit", "kelvin"]),
];

/// Words that a name may not hold since they are a unit cut short.
const ABBREVIATIONS: &[&str] =
    &["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];
/// Words that tell the kind, which the kind tells already.
const KINDS: &[&str] = &["counter", "gauge", "summary", "histogram"];
/// Units wherever they stand in a name: each with its base unit.
const UNITS: &[(&str, &str)] = &[
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];
/// Base units that are often written with a prefix.
const PREFIXED: &[&str] =
    &["amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "seconds", "volts"];
const PREFIXES: &[&str] = &[
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi",
    "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

/// The label names that tell which one and not which kind: nearly every value is a new series. Accounts and users
/// are not among them; a desk has a few, and a budget bounds them.
const IDENTIFIER_LABELS: &[&str] = &[
    "client_order_id",
    "email",
    "execution_id",
    "fill_id",
    "guid",
    "id",
    "message_id",
    "order_id",
    "price",
    "quantity",
    "request_id",
    "session_id",
    "span_id",
    "timestamp",
    "trace_id",
    "trade_id",
    "transaction_id",
    "uuid",
];

/// A number of as many digits is an id or a time.
const DIGITS_MAX: usize = 7;
/// The same within a longer text. Dates and strikes of options have up to eight digits.
const INNER_DIGITS_MAX: usize = 9;
/// Hexadecimal digits of a hash or an id without its dashes.
const HEX_MIN: usize = 32;

/// Whether the name fits the kind, a word such as `counter`. Says what to write instead.
pub fn check_name(name: &str, kind: &str) -> Result<(), String> {
    let total = name.ends_with("_total");
    match kind {
        "counter" if !total => Err(format!(
            "a counter's name ends in _total; write {name}_total, or #[metric(legacy_name = \"why\")]"
        )),
        "info" if !name.ends_with("_info") => Err(format!(
            "an info's name ends in _info; write {name}_info, or #[metric(legacy_name = \"why\")]"
        )),
        "gauge" | "histogram" | "summary" if total => Err(format!(
            "only a counter's name ends in _total; write {}, or #[metric(legacy_name = \"why\")]",
            name.trim_end_matches("_total")
        )),
        "gauge" if ["_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) => {
            Err("_sum, _count and _bucket belong to histograms; write another last word, or \
                 #[metric(legacy_name = \"why\")]"
                .to_owned())
        }
        "summary" if name.ends_with("_bucket") => {
            Err("_bucket belongs to histograms; write another last word, or \
             #[metric(legacy_name = \"why\")]"
                .to_owned())
        }
        _ => check_words(name),
    }
}

/// What Prometheus' own linter remarks on, whatever the kind.
fn check_words(name: &str) -> Result<(), String> {
    if name.contains(':') {
        return Err(
            "colons belong to recording rules; write _, or #[metric(legacy_name = \"why\")]".to_owned()
        );
    }
    let camel =
        name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    if camel {
        return Err("a name is in snake_case; write it so, or #[metric(legacy_name = \"why\")]".to_owned());
    }
    let name = name.to_ascii_lowercase();
    for word in name.split('_').skip(1) {
        if KINDS.contains(&word) {
            return Err(format!(
                "the name says {word}, which its type says already; leave it out, or #[metric(legacy_name = \"why\")]"
            ));
        }
    }
    Ok(())
}

/// A word that is a unit and not a base unit, with the base unit.
fn other_unit(word: &str) -> Option<&'static str> {
    let prefix = |unit: &str| word.strip_suffix(unit);
    let prefixed = PREFIXED.iter().find(|unit| prefix(unit).is_some_and(|p| PREFIXES.contains(&p)));
    let other =
        || UNITS.iter().find(|(unit, _)| prefix(unit).is_some_and(|p| p.is_empty() || PREFIXES.contains(&p)));
    prefixed.copied().or_else(|| other().map(|(_, base)| *base))
}

/// The unit that a name's last word tells, if it is one of the field's.
pub fn unit_of_name(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base.rsplit('_').next().unwrap_or(base) {
        "seconds" => "seconds",
        "bytes" => "bytes",
        "ratio" => "ratio",
        "meters" => "meters",
        "celsius" => "celsius",
        "dollars" | "usd" => "usd",
        _ => "",
    }
}

/// Whether the name tells the unit, and the unit is a base unit.
pub fn check_unit(name: &str, kind: &str, unit: &str) -> Result<(), String> {
    let base = name.strip_suffix("_total").unwrap_or(name);
    let last = base.rsplit('_').next().unwrap_or(base);
    for (known, others) in BASE_UNITS {
        if others.contains(&last) {
            let right = format!("{}{known}", &base[..base.len() - last.len()]);
            return Err(format!(
                "is in {last}; metrics are in base units: measure in {known} and write {right}, or \
                 #[metric(legacy_name = \"why\")]"
            ));
        }
        if unit == *known && last != *known {
            return Err(format!(
                "has the unit {known} and its name does not say so; write {base}_{known}, or \
                 #[metric(legacy_name = \"why\")]"
            ));
        }
    }
    if let Some((word, right)) = base.split('_').find_map(|word| Some((word, other_unit(word)?))) {
        return Err(format!(
            "is in {word}; metrics are in base units: measure in {right} and write it so, or \
             #[metric(legacy_name = \"why\")]"
        ));
    }
    let short = |word: &&str| ABBREVIATIONS.contains(word);
    if let Some(word) = base.split('_').skip(1).find(short) {
        return Err(format!("{word} is a unit cut short; write it out, or #[metric(legacy_name = \"why\")]"));
    }
    if matches!(kind, "histogram" | "summary") && unit.is_empty() {
        return Err(format!(
            "a {kind} needs a unit; write {base}_seconds (or _bytes, _ratio), or #[metric(unit = \"…\")]"
        ));
    }
    Ok(())
}

/// Whether the edges are in the unit of the name and not in another that is often used.
pub fn check_edges(unit: &str, edges: &[f64]) -> Result<(), String> {
    let positive = || edges.iter().copied().filter(|edge| *edge > 0.0);
    let Some(largest) = positive().reduce(f64::max) else { return Ok(()) };
    let whole = positive().all(|edge| edge >= 1.0);
    let list = || edges.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    match unit {
        "seconds" if whole && largest >= 1000.0 => {
            // Long spans are told in minutes and hours: 60, 300, 3600. Milliseconds are 100, 250, 1000.
            let (minutes, others): (Vec<f64>, Vec<f64>) =
                positive().filter(|edge| *edge >= 100.0).partition(|edge| edge % 60.0 == 0.0);
            if others.len() > minutes.len() {
                return Err(format!(
                    "the edges {} look like milliseconds and the unit is seconds; divide them by 1000",
                    list()
                ));
            }
        }
        "ratio" if whole && largest >= 50.0 => {
            return Err(format!(
                "the edges {} look like percent and the unit is ratio; divide them by 100",
                list()
            ));
        }
        "bytes" if positive().all(|edge| edge < 1.0) => {
            return Err(format!("the edges {} are less than a byte; write them in bytes", list()));
        }
        _ => {}
    }
    match edges.iter().find(|edge| **edge < 0.0) {
        Some(edge) if unit == "bytes" => Err(format!("edge {edge} is no size; write edges from 0")),
        _ => Ok(()),
    }
}

/// Whether a label of this name tells which one, such as `order_id`, and so may not take values from outside.
pub const fn is_identifier_label(name: &str) -> bool {
    let mut at = 0;
    while at < IDENTIFIER_LABELS.len() {
        if equal(name.as_bytes(), IDENTIFIER_LABELS[at].as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether a label value names one thing: a UUID, a hash, an order id, a number too long for a kind.
///
/// ISINs have nine digits in a row and options eight; both are kinds of instruments and pass.
pub fn is_identifier(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits <= 3 {
        // Nearly all values end here. A hash without digits is possible and rare.
        return false;
    }
    is_uuid(bytes) || is_hex(bytes) || is_number(bytes, digits) || is_numbered(bytes, digits)
}

fn is_uuid(value: &[u8]) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(at, byte)| if dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// At least 128 bits in hexadecimal.
fn is_hex(value: &[u8]) -> bool {
    value.len() >= HEX_MIN && value.iter().all(u8::is_ascii_hexdigit)
}

/// All digits, or a long run of them.
fn is_number(value: &[u8], digits: usize) -> bool {
    if digits == value.len() {
        return digits > DIGITS_MAX;
    }
    let is_isin = value.len() == 12 && value[..2].iter().all(u8::is_ascii_uppercase);
    let longest = value.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0);
    longest > INNER_DIGITS_MAX && !is_isin
}

/// `order-12345`, `ORD_2026_0007`, `trade:99123`: a word for one thing and its number.
fn is_numbered(value: &[u8], digits: usize) -> bool {
    const THINGS: &[&str] = &["ord", "order", "oid", "trade", "exec", "fill", "txn", "req", "request", "msg"];
    let word = value.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let rest = &value[word..];
    digits >= 4
        && rest.first().is_some_and(|byte| matches!(byte, b'-' | b'_' | b':' | b'#' | b'.'))
        && THINGS.iter().any(|thing| value[..word].eq_ignore_ascii_case(thing.as_bytes()))
        && rest.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_punctuation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_one_thing_is_told_from_what_names_a_kind() {
        for one in [
            "0b6a3c9e-8f0e-4f6e-9c1d-1f2e3d4c5b6a",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4BF92F3577B34DA6A3CE929D0E0E4736a0",
            "12345678",
            "1763640000000",
            "x-1763640000000",
            "order-12345",
            "ORD_2026_0007",
            "trade:99123",
            "req#0001",
        ] {
            assert!(is_identifier(one), "{one}");
        }
        for kind in [
            "",
            "AAPL",
            "BTC-USD",
            "US0378331005",
            "AAPL  261218C00150000",
            "BTC-20261225",
            "BTC-25DEC26-100000-C",
            "ESZ6",
            "v1.2.3",
            "8080",
            "/api/v1/orders",
            "order-book-5",
            "1000000",
            "sha256",
            "order_2024q4_alpha",
            "ibkr_rt",
        ] {
            assert!(!is_identifier(kind), "{kind}");
        }
        assert!(is_identifier_label("order_id") && is_identifier_label("uuid"));
        assert!(!is_identifier_label("symbol") && !is_identifier_label("order_type"));
    }

    #[test]
    fn edges_in_another_unit_are_seen() {
        let refused = |unit: &str, edges: &[f64]| check_edges(unit, edges).expect_err("the edges are wrong");
        let open_telemetry =
            [0., 5., 10., 25., 50., 75., 100., 250., 500., 750., 1000., 2500., 5000., 7500., 10000.];
        assert!(refused("seconds", &open_telemetry).contains("look like milliseconds"));
        assert!(refused("seconds", &[1.0, 10.0, 100.0, 1000.0]).contains("look like milliseconds"));
        assert!(refused("ratio", &[10.0, 50.0, 90.0]).contains("look like percent"));
        assert!(refused("bytes", &[0.1, 0.5]).contains("less than a byte"));
        assert!(refused("bytes", &[-1.0, 100.0]).contains("no size"));
        let fits: [(&str, &[f64]); 8] = [
            ("seconds", &[0.005, 0.1, 1.0, 2500.0]),
            ("seconds", &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0]),
            ("seconds", &[60.0, 3600.0, 86400.0]),
            ("seconds", &[1.0, 10.0, 100.0]),
            ("seconds", &[-1.0, 0.0]),
            ("ratio", &[-0.5, 0.5, 1.0, 2.0, 10.0]),
            ("bytes", &[0.0, 1024.0, 1048576.0]),
            ("usd", &[-100.0, 0.0, 1000.0]),
        ];
        for (unit, edges) in fits {
            assert_eq!(check_edges(unit, edges), Ok(()), "{unit} {edges:?}");
        }
    }
}
