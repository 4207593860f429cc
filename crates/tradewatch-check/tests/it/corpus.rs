//! The corpus holds: every visible row is found, and what is found is right.

use std::path::Path;

use tradewatch_check::corpus;

fn read(path: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

#[test]
fn every_visible_row_is_found_and_findings_are_right() {
    let outcome = corpus::run(&read).expect("the corpus is in the tree");
    println!("{}", outcome.text(false));
    assert_eq!(outcome.recall(), 1.0, "{}", outcome.text(false));
    assert!(outcome.precision() >= 0.95, "{}", outcome.text(false));
    let sections = ["1.2", "1.3", "1.6", "2.2", "2.3", "2.6", "3.2", "3.3", "3.6", "4.2", "4.3", "4.6"];
    for section in sections {
        assert!(outcome.rows.iter().any(|row| row.row.section == section), "no row of {section}");
    }
    for row in outcome.rows.iter().filter(|row| row.row.not_visible.is_none()) {
        assert!(!row.row.expect.is_empty(), "{} expects nothing", row.row.name);
    }
}
