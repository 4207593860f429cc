//! The field's own corpora: every OpenMetrics case, and Prometheus' text parser data.

use std::fs;
use std::path::{Path, PathBuf};

use tradewatch_metrics::parse::{self, Entry, ParseError, Parser};

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance")
}

/// Families and samples of a body, or why it cannot be read.
fn count(mut parser: Parser<'_>) -> Result<(usize, usize), ParseError> {
    let (mut families, mut samples) = (0, 0);
    while let Some(entry) = parser.next() {
        match entry? {
            Entry::Type { .. } => families += 1,
            Entry::Sample(_) => samples += 1,
            _ => {}
        }
    }
    Ok((families, samples))
}

#[test]
fn every_open_metrics_case_is_judged_right() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for entry in fs::read_dir(corpora().join("openmetrics/parsers")).expect("the corpus is in the tree") {
        let case = entry.unwrap().path();
        let body = fs::read(case.join("metrics")).unwrap();
        let verdict = fs::read_to_string(case.join("test.json")).unwrap();
        let good = verdict.contains("\"shouldParse\": true");
        assert!(good || verdict.contains("\"shouldParse\": false"), "{verdict}");
        match count(parse::openmetrics(&body)) {
            Ok(_) if !good => wrong.push(format!("{}: accepted", case.display())),
            Err(error) if good => wrong.push(format!("{}: {error}", case.display())),
            _ => {}
        }
        cases += 1;
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {cases} cases wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cases, 169, "the corpus is whole");
}

#[test]
fn prometheus_bodies_are_read_whole() {
    // Families and samples as counted by grep in the files.
    let cases = [("alltypes.237mfs.prom.txt", 237, 1857), ("alltypes.237mfs.nometa.prom.txt", 0, 1857)];
    for (file, families, samples) in cases {
        let body = fs::read(corpora().join("textparse").join(file)).unwrap();
        assert_eq!(count(parse::text(&body)).unwrap(), (families, samples), "{file}");
    }
    for file in ["1histogram.om.txt", "alltypes.5mfs.om.txt"] {
        let body = fs::read(corpora().join("textparse").join(file)).unwrap();
        let lines =
            body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
        assert_eq!(count(parse::openmetrics_lenient(&body)).unwrap().1, lines, "{file}");
    }
}
