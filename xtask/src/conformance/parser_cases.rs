//! Queries with a flag for whether a parser has to refuse them: `0 or 1`, a tab, the query as hexadecimal digits.

use tradewatch_promql::parse;

use super::Report;

/// Whether a line is a case.
pub fn is_case(line: &str) -> bool {
    let (flag, hex) = line.split_once('\t').unwrap_or((line, ""));
    matches!(flag, "0" | "1") && hex.len().is_multiple_of(2) && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Runs every line. A query that is accepted has to survive being printed and read again.
pub fn run(text: &str) -> Report {
    let mut report = Report::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            continue;
        }
        let case = format!("line {}", number + 1);
        if !is_case(line) {
            report.fail(case, format!("not a case: {line:?}"));
            continue;
        }
        let (flag, hex) = line.split_once('\t').unwrap_or((line, ""));
        let bytes = decode(hex);
        let case = format!("{case}: {}", String::from_utf8_lossy(&bytes));
        let result = check(&bytes, flag == "1");
        report.add(case, result);
    }
    report
}

fn decode(hex: &str) -> Vec<u8> {
    let text: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("checked to be hexadecimal"))
        .collect();
    raw_bytes(&text)
}

/// The cases come from string literals whose `\xNN` escapes stand for bytes; the file holds them as the characters
/// U+0080 to U+00FF. They are made bytes again, which is what makes some queries invalid.
fn raw_bytes(text: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{80}'..='\u{ff}' => out.push(c as u8),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn check(bytes: &[u8], must_fail: bool) -> Result<(), String> {
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => parse(text).map_err(|error| format!("{error:#}")),
        Err(error) => Err(format!("not UTF-8: {error}")),
    };
    match (parsed, must_fail) {
        (Err(_), true) => Ok(()),
        (Ok(expr), true) => Err(format!("expected an error\ngot {expr}")),
        (Err(error), false) => Err(format!("expected an expression\ngot {error}")),
        (Ok(expr), false) => {
            let printed = expr.to_string();
            match parse(&printed) {
                Ok(again) if again == expr => Ok(()),
                Ok(again) => Err(format!("printed as {printed}\nwhich reads as {again}")),
                Err(error) => Err(format!("printed as {printed}\nwhich does not read: {error:#}")),
            }
        }
    }
}
