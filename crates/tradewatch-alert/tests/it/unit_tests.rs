//! Rule unit tests: Prometheus' own files, and those of the platforms.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use tradewatch_alert::unittest::{self, Report};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(folder: &Path, name: &str) -> Report {
    let text = std::fs::read_to_string(folder.join(name)).expect(name);
    unittest::run(name, &text, &mut |pattern| {
        let path = folder.join(pattern);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        Ok(vec![(pattern.to_owned(), text)])
    })
}

fn check(name: &str, expected: Expect) {
    expected.assert_eq(&run(&root().join("conformance/promtool"), name).to_string());
}

fn check_text(text: &str, rules: &str, expected: Expect) {
    let rules = rules.to_owned();
    let report = unittest::run("t.yml", text, &mut |_| Ok(vec![("rules.yml".to_owned(), rules.clone())]));
    expected.assert_eq(&report.to_string());
}

#[test]
fn what_promtool_accepts() {
    for name in [
        "unittest.yml",
        "long-period.yml",
        "at-modifier-test.yml",
        "negative-offset-test.yml",
        "no-test-group-interval.yml",
        "start-time-test.yml",
        "rules_run_extrafields.yml",
    ] {
        let report = run(&root().join("conformance/promtool"), name);
        assert!(report.passed(), "{report}");
        assert!(report.tests > 0, "{name} holds tests");
    }
}

#[test]
fn what_promtool_fails_with_its_words() {
    check(
        "failing.yml",
        expect![[r#"
        Unit Testing:  failing.yml
          FAILED:
            at failing.yml:20
            name: Failing test,
            alertname: Test, time: 0s, 
                exp:[
                    0:
                      Labels:{alertname="Test"}
                      Annotations:{}
                    ], 
                got:[]

            at failing.yml:13
            name: Failing test,
            expr: "test", time: 0s,
                exp: {__name__="test"} 1E+00
                got: {__name__="test"} 0E+00

            at failing.yml:33
            name: Failing alert test,
            alertname: InstanceDown, time: 5m, 
                exp:[], 
                got:[
                    0:
                      Labels:{alertname="InstanceDown", job="test", severity="page"}
                      Annotations:{description=" of job test has been down for more than 5 minutes.", summary="Instance  down"}
                    ]

            at failing.yml:36
            name: Failing alert test,
            alertname: AlwaysFiring, time: 5m, 
                exp:[], 
                got:[
                    0:
                      Labels:{alertname="AlwaysFiring"}
                      Annotations:{}
                    ]

    "#]],
    );
    check(
        "bad-promql.yml",
        expect![[r#"
        Unit Testing:  bad-promql.yml
          FAILED:
            at bad-promql.yml:12
            expr: "join_1 + on(a) join_2", time: 0s, err: found duplicate series for the match group {a="1"} on the right hand-side of the operation: [{__name__="join_2", a="1", b="3"}, {__name__="join_2", a="1", b="4"}];many-to-many matching not allowed: matching labels must be unique on one side

    "#]],
    );
    check(
        "bad-rules-error-test.yml",
        expect![[r#"
        Unit Testing:  bad-rules-error-test.yml
          FAILED:
            rule: joined, time: 0s, err: found duplicate series for the match group {a="1"} on the right hand-side of the operation: [{__name__="join_2", a="1", b="3"}, {__name__="join_2", a="1", b="4"}];many-to-many matching not allowed: matching labels must be unique on one side

    "#]],
    );
    check(
        "bad-rules-syntax-test.yml",
        expect![[r#"
        Unit Testing:  bad-rules-syntax-test.yml
          FAILED:
        bad-rules-syntax.yml:7:22: group "bad-syntax", rule 1, "x": could not parse expression: unexpected end of input; in: test +

    "#]],
    );
    check(
        "bad-input-series.yml",
        expect![[r#"
        Unit Testing:  bad-input-series.yml
          FAILED:
        bad-input-series.yml:4:18: parse error: expected "," or "}"; in: up{job="prometheus", instance="localhost:9090" 0+0x1440

    "#]],
    );
    check(
        "rules_run.yml",
        expect![[r#"
        Unit Testing:  rules_run.yml
          FAILED:
            at rules_run.yml:26
            name: wrong test,
            expr: "test", time: 0s,
                exp: {__name__="test"} 1E+00
                got: {__name__="test"} 0E+00

    "#]],
    );
    check(
        "rules_run_fuzzy.yml",
        expect![[r#"
        Unit Testing:  rules_run_fuzzy.yml
          FAILED:
            at rules_run_fuzzy.yml:34
            name: wrong fuzzy match,
            expr: "test_low", time: 0s,
                exp: {__name__="test_low"} 3E+00
                got: {__name__="test_low"} 2.9999999999999987E+00

            at rules_run_fuzzy.yml:39
            name: wrong fuzzy match,
            expr: "test_high", time: 0s,
                exp: {__name__="test_high"} 3E+00
                got: {__name__="test_high"} 3.0000000000000013E+00

    "#]],
    );
    check(
        "rules_run_no_fuzzy.yml",
        expect![[r#"
        Unit Testing:  rules_run_no_fuzzy.yml
          FAILED:
            at rules_run_no_fuzzy.yml:15
            name: correct fuzzy match,
            expr: "test_low", time: 0s,
                exp: {__name__="test_low"} 3E+00
                got: {__name__="test_low"} 2.9999999999999996E+00

            at rules_run_no_fuzzy.yml:20
            name: correct fuzzy match,
            expr: "test_high", time: 0s,
                exp: {__name__="test_high"} 3E+00
                got: {__name__="test_high"} 3.0000000000000004E+00

    "#]],
    );
    check(
        "rules_run_extrafields.yml",
        expect![[r#"
        Unit Testing:  rules_run_extrafields.yml
          WARNING: no file match pattern rules_extrafields.yml
          SUCCESS
    "#]],
    );
}

#[test]
fn external_labels_order_and_templates() {
    let rules = r#"
groups:
- name: second
  rules:
  - {record: b, expr: a * 10}
- name: first
  rules:
  - {record: a, expr: 'm + 1'}
  - alert: A
    expr: m > 1
    labels: {region: '{{ $externalLabels.region }}'}
    annotations: {text: '{{ $value }} at {{ externalURL }}'}
"#;
    check_text(
        r#"
rule_files: [rules.yml]
evaluation_interval: 1m
group_eval_order: [first, second]
tests:
- interval: 1m
  external_labels: {region: eu}
  external_url: http://m
  input_series: [{series: m, values: '1 _ 3 stale {{schema:0 count:2 buckets:[1 1]}}'}]
  promql_expr_test:
  - {expr: b, eval_time: 2m, exp_samples: [{labels: b, value: 40}]}
  - {expr: m, eval_time: 4m, exp_samples: [{labels: m, histogram: '{{schema:0 count:2 buckets:[1 1]}}'}]}
  - {expr: m, eval_time: 3m}
  - {expr: m, eval_time: 1m, exp_samples: [{labels: 'm{', value: 1}]}
  - {expr: 'm +', eval_time: 1m}
  alert_rule_test:
  - eval_time: 2m30s
    alertname: A
    exp_alerts: [{exp_labels: {region: eu}, exp_annotations: {text: 3 at http://m}}]
"#,
        rules,
        expect![[r#"
            Unit Testing:  t.yml
              FAILED:
                at t.yml:14
                expr: "m", time: 1m, err: labels "m{": 1:3: parse error: expected a label name or "}"

                at t.yml:15
                expr: "m +", time: 1m, err: 1:4: parse error: unexpected end of input

        "#]],
    );
}

#[test]
fn a_broken_test_file_names_its_places() {
    check_text(
        "
evaluation_interval: 1 minute
fuzzy_compare: maybe
group_eval_order: [a, a]
tests:
- name: x
  intervall: 1m
  start_timestamp: yesterday
  input_series:
  - {series: 'm{a=\"b\"', values: '1'}
  - series: m
    values: |
      1 2
      3x 4
  promql_expr_test: [{expr: m, exp_samples: [{value: many}]}]
",
        "",
        expect![[r#"
            Unit Testing:  t.yml
              FAILED:
            t.yml:2:22: evaluation_interval: not a valid duration string: "1 minute"; write for example 30s, 5m or 1h30m

            t.yml:4:19: group name repeated in evaluation order: a; keep one

            t.yml:3:16: fuzzy_compare is "maybe"; write true or false

            t.yml:8:20: start_timestamp is "yesterday"; write RFC 3339 or seconds since the epoch

            t.yml:10:34: parse error: expected "," or "}"; in: m{a="b" 1

            t.yml:14:10: parse error: invalid repetition in series values; in: m 1 2
            3x 4


            t.yml:15:54: value is "many"; write a number

            t.yml:7:3: unknown field "intervall" in a test; did you mean "interval"?

        "#]],
    );
}

#[test]
fn the_rules_of_the_platforms_hold() {
    let mut tests = 0;
    for platform in std::fs::read_dir(root().join("platforms")).expect("platforms") {
        let folder = platform.expect("readable").path().join("rules");
        let Ok(files) = std::fs::read_dir(&folder) else { continue };
        for file in files {
            let name = file.expect("readable").file_name().to_string_lossy().into_owned();
            if name.ends_with(".test.yml") {
                let report = run(&folder, &name);
                assert!(report.passed(), "{report}");
                tests += report.tests;
            }
        }
    }
    assert!(tests >= 10, "{tests}");
}

/// Where the test begins at a time that the calendar knows, `for` counts the session; elsewhere promtool's verdict holds.
#[test]
fn a_test_with_a_start_time_sees_the_session() {
    let rules =
        "groups: [{name: g, rules: [{alert: A, expr: m > 1, for: 5m, labels: {trading_calendar: XNYS}}]}]";
    let test = |start: &str, at: &str, alerts: &str| {
        format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- {start}\n  input_series: [{{series: m, values: '5+0x4000'}}]\n  alert_rule_test: [{{eval_time: {at}, alertname: A, exp_alerts: {alerts}}}]\n"
        )
    };
    let (friday, fires) =
        ("start_timestamp: 2026-11-20T20:58:00Z", "[{exp_labels: {trading_calendar: XNYS}}]");
    for (start, at, alerts) in [
        (friday, "10m", "[]"),
        // Friday 15:58, two minutes to the close: Monday 09:33 is 65 h 35 min later.
        (friday, "65h34m", "[]"),
        (friday, "65h35m", fires),
        ("name: from 1970", "5m", fires),
    ] {
        check_text(
            &test(start, at, alerts),
            rules,
            expect![[r#"
                Unit Testing:  t.yml
                  SUCCESS
            "#]],
        );
    }
}
