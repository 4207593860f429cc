//! Names as the field writes them.

/// `OrderStatus` as `order_status`, `HTTPError` as `http_error`, `V1` as `v1`.
pub fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let starts_word = c.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase() || b.is_ascii_digit() || chars.get(at + 1).is_some_and(|n| n.is_lowercase())
            })
            && before != Some('_');
        if starts_word {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Whether a metric may have this name.
pub fn is_metric_name(name: &str) -> bool {
    let head = |c: char| c == '_' || c == ':' || c.is_ascii_alphabetic();
    name.chars().next().is_some_and(head) && name.chars().all(|c| head(c) || c.is_ascii_digit())
}

/// Whether a label may have this name.
pub fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':') && !name.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_keeps_acronyms_and_digits_together() {
        let cases = [
            ("Side", "side"),
            ("OrderStatus", "order_status"),
            ("HTTPError", "http_error"),
            ("V1", "v1"),
            ("PartialFill", "partial_fill"),
            ("Http2xx", "http2xx"),
            ("already_snake", "already_snake"),
        ];
        for (from, to) in cases {
            assert_eq!(snake_case(from), to);
        }
    }
}
