//! The harness has to fail what it must, for whatever it passes proves nothing else.

use std::path::Path;

use super::run::almost_equal;
use super::{Kind, kind, of_content};

const DATA: &str = "load 10s\n\
    metric{env=\"a\"} 0+1x10\n\
    metric{env=\"b\"} 0+2x10\n\
    other_total 1 2 3 _ 5\n\
    hist {{schema:0 count:3 sum:6 buckets:[1 2]}}\n\n";

/// Runs a script on the data above; each failure as one text.
fn failures(script: &str) -> Vec<String> {
    let report = of_content(format!("{DATA}{script}").as_bytes(), None);
    report.failures.into_iter().map(|failure| format!("{}: {}", failure.case, failure.why)).collect()
}

#[track_caller]
fn passes(script: &str) {
    assert_eq!(failures(script), Vec::<String>::new(), "{script}");
}

#[track_caller]
fn fails(script: &str, why: &str) {
    let found = failures(script);
    assert!(found.len() == 1 && found[0].contains(why), "expected {why:?} for\n{script}\ngot {found:#?}");
}

#[test]
fn values_are_compared() {
    passes("eval instant at 50s metric\n  metric{env=\"a\"} 5\n  metric{env=\"b\"} 10");
    fails(
        "eval instant at 50s metric\n  metric{env=\"a\"} 5\n  metric{env=\"b\"} 11",
        "expected metric{env=\"b\"} 11",
    );
    passes("eval instant at 50s metric{env=\"a\"} * 1.0000001\n  {env=\"a\"} 5");
    fails("eval instant at 50s metric{env=\"a\"} * 1.00001\n  {env=\"a\"} 5", "got");
    fails("eval instant at 50s metric{env=\"a\"} / 0\n  {env=\"a\"} NaN", "expected");
}

#[test]
fn whole_label_sets_are_compared() {
    fails("eval instant at 50s metric{env=\"a\"}\n  {env=\"a\"} 5", "expected no metric");
    fails("eval instant at 50s metric{env=\"a\"}\n  metric 5", "expected no metric");
    fails("eval instant at 50s metric{env=\"a\"} + 1\n  metric{env=\"a\"} 6", "expected no {env");
    fails("eval instant at 50s metric\n  metric{env=\"a\"} 5", "expected no metric{env=\"b\"}");
    fails("eval instant at 50s nothing\n  nothing 1", "no such series");
    fails("eval instant at 50s metric{env=\"a\"}", "expected no metric");
}

#[test]
fn order_is_compared_where_it_matters() {
    let sorted = "eval instant at 50s sort_desc(metric)\n  expect ordered\n";
    passes(&format!("{sorted}  metric{{env=\"b\"}} 10\n  metric{{env=\"a\"}} 5"));
    fails(&format!("{sorted}  metric{{env=\"a\"}} 5\n  metric{{env=\"b\"}} 10"), "at position");
}

#[test]
fn points_of_a_range_are_compared() {
    let range = "eval range from 0 to 40s step 10s other_total\n";
    passes(&format!("{range}  other_total 1 2 3 3 5"));
    fails(&format!("{range}  other_total 1 2 3 _ 5"), "expected other_total");
    fails(&format!("{range}  other_total 1 2 3 3"), "expected other_total");
    fails(&format!("{range}  other_total 1 2 3 3 5 6"), "more than the range holds");
    fails(&format!("{range}  other_total 1 2 3 4 5"), "expected other_total");
    let samples = "eval instant at 40s other_total[30s]\n  expect range vector from 20s to 40s step 10s\n";
    passes(&format!("{samples}  other_total 3 _ 5"));
    fails(&format!("{samples}  other_total 3 5"), "expected other_total");
}

#[test]
fn histograms_are_compared() {
    passes("eval instant at 0 hist\n  hist {{schema:0 count:3 sum:6 buckets:[1 2]}}");
    for wrong in [
        "{{schema:0 count:3 sum:6 buckets:[2 1]}}",
        "{{schema:0 count:3 sum:7 buckets:[1 2]}}",
        "{{schema:0 count:4 sum:6 buckets:[1 2]}}",
        "{{schema:1 count:3 sum:6 buckets:[1 2]}}",
        "{{schema:0 count:3 sum:6 offset:1 buckets:[1 2]}}",
        "{{schema:0 count:3 sum:6 z_bucket:1 buckets:[1 2]}}",
        "{{schema:0 count:3 sum:6 buckets:[1 2] counter_reset_hint:gauge}}",
        "3",
    ] {
        fails(&format!("eval instant at 0 hist\n  hist {wrong}"), "expected hist");
    }
    fails("eval instant at 0 metric{env=\"a\"}\n  metric{env=\"a\"} {{schema:0}}", "expected metric");
}

#[test]
fn remarks_are_compared() {
    let query = "eval instant at 50s rate(metric{env=\"a\"}[20s])\n  {env=\"a\"} 0.1\n  expect ";
    let message = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"metric\"";
    passes(&format!("{query}info msg: {message} (1:6)"));
    fails(&format!("{query}info msg: {message} (1:7)"), "expected info");
    passes(&format!("{query}info regex: might not .* \\(1:6\\)"));
    fails(&format!("{query}info regex: ^might"), "expected info");
    passes(&format!("{query}no_warn"));
    fails(&format!("{query}no_info"), "expected no info");
    fails(&format!("{query}warn"), "expected warning");
    let two = "eval instant at 50s rate({__name__=~\"metric|other_total\"}[20s]) + on() vector(1)\n  expect ";
    fails(&format!("{two}warn msg: nothing of the kind"), "expected");
    let both = "eval instant at 50s rate(metric{env=\"a\"}[20s]) + rate(hist[20s])\n  expect info msg: PromQL info: other";
    fails(both, "expected info");
}

#[test]
fn failures_are_compared() {
    let query = "eval instant at 50s metric + on() metric\n  expect fail";
    passes(query);
    passes(&format!("{query} regex: found duplicate series"));
    fails(&format!("{query} regex: no such text"), "expected an error, pattern");
    fails(&format!("{query} msg: found duplicate series"), "expected an error, message");
    fails("eval instant at 50s metric + on() metric", "expected a result");
    fails("eval instant at 50s metric\n  expect fail", "expected an error");
    passes("eval_fail instant at 50s metric + on() metric\n  expected_fail_regexp duplicate");
    fails(
        "eval_fail instant at 50s metric + on() metric\n  expected_fail_message duplicate",
        "expected an error",
    );
}

#[test]
fn types_are_compared() {
    passes("eval instant at 0 1 + 1\n  2");
    fails("eval instant at 0 1 + 1\n  3", "expected 3");
    fails("eval instant at 0 vector(2)\n  2", "expected scalar");
    fails("eval instant at 0 2\n  {} 2", "expected a vector");
    passes("eval instant at 0 \"a\"\n  expect string \"a\"");
    fails("eval instant at 0 \"a\"\n  expect string \"b\"", "expected string");
}

#[test]
fn what_is_not_understood_fails() {
    fails("eval instant at 0 metric +\n  metric 1", "expected a query");
    fails("frobnicate 5", "invalid command");
    fails("load 5x\n  metric 1", "duration");
    fails("load 10s\n  metric{env=\"a\"} 1 2 three", "expected a number");
    fails("eval instant at 0 metric\n  metric{ 1", "expected");
    fails("eval instant at 0 metric\n  expect nonsense", "invalid expectation");
    fails(
        "eval instant at 0 metric{env=\"a\"}\n  expect warn\n  expect no_warn\n  metric{env=\"a\"} 0",
        "together",
    );
    fails("load 10s\n  metric@st -1s\n  metric 1 2", "@st line has 1 values");
    for empty in ["", "# nothing\n", "just some text\n"] {
        let report = of_content(empty.as_bytes(), None);
        assert_eq!((report.passed, report.failures.len()), (0, 1), "{empty:?}");
    }
}

#[test]
fn data_goes_with_clear_and_stays_without() {
    fails("clear\n\neval instant at 50s metric{env=\"a\"}\n  metric{env=\"a\"} 5", "no such series");
    passes("load 10s\n  more 7\n\neval instant at 0 metric{env=\"a\"} + on() more\n  {} 7");
}

#[test]
fn stale_and_not_a_number_differ() {
    assert!(almost_equal(f64::NAN, -f64::NAN));
    assert!(!almost_equal(f64::NAN, tradewatch_tsdb::STALE_NAN));
    assert!(almost_equal(tradewatch_tsdb::STALE_NAN, tradewatch_tsdb::STALE_NAN));
    assert!(!almost_equal(0.0, 1e-9));
}

#[test]
fn parser_cases_fail_both_ways() {
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let run = |line: String| {
        let report = of_content(line.as_bytes(), None);
        (report.passed, report.failures.len())
    };
    assert_eq!(run(format!("0\t{}\n", hex("up"))), (1, 0));
    assert_eq!(run(format!("1\t{}\n", hex("up"))), (0, 1));
    assert_eq!(run(format!("0\t{}\n", hex("up +"))), (0, 1));
    assert_eq!(run(format!("1\t{}\n", hex("up +"))), (1, 0));
    // The bytes of a literal "\xff", which is not UTF-8, reached the file as a character.
    assert_eq!(run(format!("1\t{}\n", hex("up{a=\"\u{ff}\"}"))), (1, 0));
}

#[test]
fn open_metrics_cases_fail_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let run = |body: &str, should_parse: bool| {
        std::fs::write(folder.path().join("metrics"), body).unwrap();
        let description = format!("{{\"file\": \"metrics\", \"shouldParse\": {should_parse}}}");
        std::fs::write(folder.path().join("test.json"), description).unwrap();
        let report = super::reports(folder.path()).unwrap().remove(0).1;
        (report.passed, report.failures.len())
    };
    let (good, bad) = ("# TYPE a counter\na_total 1\n# EOF\n", "# TYPE a counter\na_total 1\n");
    assert_eq!(run(good, true), (1, 0));
    assert_eq!(run(good, false), (0, 1));
    assert_eq!(run(bad, true), (0, 1));
    assert_eq!(run(bad, false), (1, 0));
    assert_eq!(run("", true), (0, 1));
}

#[test]
fn kinds_are_told_by_content() {
    for (text, expected) in [
        ("# comment\nload 5m\n  a 1\n", Kind::Script),
        ("clear\n", Kind::Script),
        ("# flag and query\n0\t7570\n", Kind::ParserCases),
        ("# TYPE a gauge\na 1\n", Kind::Exposition),
        ("a{b=\"c\"} 1\n", Kind::Exposition),
        ("{\"shouldParse\": true}\n", Kind::CaseDescription),
        ("groups:\n- name: a\n", Kind::Rules),
        ("Lorem ipsum dolor\n", Kind::Unknown),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
}

#[test]
fn the_ratchet_notices_losses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ratchet.toml");
    let counts = |a, b| vec![("a.test".to_string(), a), ("b.test".to_string(), b)];
    super::ratchet::write(&file, &counts(3, 4)).unwrap();
    assert!(super::ratchet::compare(&file, &counts(3, 4)).is_ok());
    assert!(super::ratchet::compare(&file, &counts(5, 4)).is_ok());
    assert!(super::ratchet::compare(&file, &counts(3, 3)).is_err());
    assert!(super::ratchet::compare(&file, &counts(3, 4)[..1]).is_err());
}

#[test]
fn a_missing_path_is_an_error() {
    let options = super::Options { paths: vec!["no/such/file.test".into()], ..super::Options::default() };
    assert!(super::run(Path::new("."), &options).is_err());
}
