//! Queries that Prometheus accepts and rejects.

use tradewatch_promql::parse;

#[test]
fn tmp_cases() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../conformance/parser/parse_cases.tsv"
    ))
    .unwrap();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (fail, hex) = line.split_once('\t').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let query = String::from_utf8(bytes).unwrap();
        match (parse(&query), fail) {
            (Ok(e), "0") => {
                let printed = e.to_string();
                match parse(&printed) {
                    Ok(again) if again == e => {}
                    other => println!("ROUND {query:?} -> {printed:?} {other:?}"),
                }
            }
            (Ok(_), _) => println!("ACCEPTED {query:?}"),
            (Err(e), "0") => println!("REJECTED {query:?} {e:#}"),
            (Err(e), _) => {
                let _ = e.to_string();
            }
        }
    }
}
