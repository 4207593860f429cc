//! Rule files and alertmanager.yml: what is accepted, and what is said about the rest.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use tradewatch_alert::route::Config;
use tradewatch_alert::rules::RuleFile;
use tradewatch_tsdb::Labels;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn check_rules(text: &str, expected: Expect) {
    let (file, errors) = RuleFile::parse("r.yml", text);
    let mut out = String::new();
    for error in errors {
        writeln!(out, "{error}").expect("to a string");
    }
    for group in &file.groups {
        let names: Vec<&str> = group.rules.iter().map(|r| r.name.as_str()).collect();
        writeln!(out, "{} works with {names:?}", group.name).expect("to a string");
    }
    expected.assert_eq(&out);
}

#[test]
fn a_broken_rule_among_good_ones_is_left_out() {
    check_rules(
        r#"
groups:
- name: g
  interval: 10s
  labels: {team: desk}
  rules:
  - alert: Good
    expr: up == 0
    for: 1m
  - alert: NoExpression
  - alert: Broken
    expr: |
      sum by (job) (
        rate(orders_total[5m]
      ) > 1
  - alert: Template
    expr: up == 0
    annotations:
      summary: "{{ $labels.job }} {{ nothere }}"
  - alert: Duration
    expr: up == 0
    for: 5 minutes
  - record: bad name
    expr: up
    for: 5m
  - alert: Both
    record: both
    expr: up
  - expr: up
  - alert: Typo
    exp: up
    lables: {a: b}
  - alert: Good
    expr: up == 0
  - record: job:up:sum
    expr: >-
      sum by (job)
      (up)
- name: g
  rules: []
- rules: []
- name: empty
"#,
        expect![[r#"
            r.yml:10:5: group "g", rule 2, "NoExpression": field 'expr' must be set in rule; add expr
            r.yml:15:12: group "g", rule 3, "Broken": could not parse expression: unclosed left parenthesis; in: ) > 1
            r.yml:19:38: summary: error parsing template __alert_Template: template: __alert_Template:1: function "nothere" not defined; see the template reference for functions and variables
            r.yml:22:10: for: not a valid duration string: "5 minutes"; write for example 30s, 5m or 1h30m
            r.yml:23:13: group "g", rule 6, "bad name": invalid recording rule name: bad name; use letters, digits, _ and :
            r.yml:25:5: group "g", rule 6, "bad name": invalid field 'for' in recording rule; remove it, or make it an alert
            r.yml:26:5: group "g", rule 7, "Both": only one of 'record' and 'alert' must be set; keep one
            r.yml:29:5: group "g", rule 8, "": one of 'record' or 'alert' must be set; add one
            r.yml:30:5: group "g", rule 9, "Typo": field 'expr' must be set in rule; add expr
            r.yml:31:5: unknown field "exp" in a rule; did you mean "expr"?
            r.yml:32:5: unknown field "lables" in a rule; did you mean "labels"?
            r.yml:33:1: warning: duplicate rule "Good" with the same labels in group "g"; rename one or give it another label
            r.yml:39:3: groupname: "g" is repeated in the same file; give each group its own name
            r.yml:41:3: Groupname must not be empty; add name
            g works with ["Good", "Good", "job:up:sum"]
            empty works with []
        "#]],
    );
}

#[test]
fn text_that_is_no_rule_file_says_so() {
    for (text, expected) in [
        (
            "groups: [",
            expect![[r#"
            r.yml:1:9: not valid YAML: unclosed bracket '['
        "#]],
        ),
        (
            "[]",
            expect![[r#"
            r.yml:1:1: a rule file is a list of 0; write it as a mapping of names to values
        "#]],
        ),
        ("", expect![[""]]),
        (
            "groups: {a: b}",
            expect![[r#"
            r.yml:1:9: groups is a mapping; write it as a list
        "#]],
        ),
        (
            "group: []",
            expect![[r#"
            r.yml:1:1: unknown field "group" in a rule file; did you mean "groups"?
        "#]],
        ),
        (
            "groups: [{name: a, rules: [{alert: A, expr: up, expr: up}]}]",
            expect![[r#"
            r.yml:1:49: key "expr" is already set in this mapping; keep one of the two
            a works with []
        "#]],
        ),
    ] {
        check_rules(text, expected);
    }
}

#[test]
fn the_rule_files_of_prometheus_are_read() {
    let mut out = String::new();
    for folder in ["conformance/rules", "conformance/promtool", "conformance/compliance"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
            .expect(folder)
            .map(|e| e.expect("readable").path())
            .collect();
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).expect("readable");
            if !text.contains("groups:") {
                continue;
            }
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let (file, errors) = RuleFile::parse(&name, &text);
            let rules: usize = file.groups.iter().map(|g| g.rules.len()).sum();
            writeln!(out, "{name}: {} groups, {rules} rules", file.groups.len()).expect("to a string");
            for error in errors {
                writeln!(out, "  {error}").expect("to a string");
            }
        }
    }
    expect![[r#"
        alert_rule.yaml: 1 groups, 1 rules
        alert_rule1.yaml: 1 groups, 1 rules
        invalid_rules.yaml: 1 groups, 0 rules
          invalid_rules.yaml:6:9: unknown field "unexpected_field" in a rule; remove it; known are record, alert, expr, for, keep_firing_for, labels, annotations
        rules.yaml: 1 groups, 1 rules
        rules1.yaml: 1 groups, 1 rules
        rules2.yaml: 1 groups, 1 rules
        rules2_copy.yaml: 1 groups, 1 rules
        rules_chain.yaml: 1 groups, 7 rules
        rules_dependencies.yaml: 1 groups, 2 rules
        rules_indeterminates.yaml: 1 groups, 7 rules
        rules_multi_doc.yaml: 1 groups, 1 rules
          rules_multi_doc.yaml:3:1: warning: the file holds several YAML documents; only the first is read; split it
        rules_multiple.yaml: 1 groups, 6 rules
        rules_multiple_dependents_on_base.yaml: 1 groups, 8 rules
        rules_multiple_groups.yaml: 2 groups, 10 rules
        rules_multiple_independent.yaml: 1 groups, 8 rules
        at-modifier.yml: 1 groups, 1 rules
        bad-rules-error.yml: 1 groups, 1 rules
        bad-rules-syntax.yml: 1 groups, 0 rules
          bad-rules-syntax.yml:7:22: group "bad-syntax", rule 1, "x": could not parse expression: unexpected end of input; in: test +
        negative-offset.yml: 1 groups, 1 rules
        rules.yml: 2 groups, 5 rules
        rules_duplicates.yml: 2 groups, 5 rules
          rules_duplicates.yml:18:1: warning: duplicate rule "job:test:count_over_time1m" with the same labels in group "base"; rename one or give it another label
        alert_generator-rules.yaml: 4 groups, 7 rules
    "#]].assert_eq(&out);
}

#[test]
fn the_files_of_the_platforms_are_read() {
    let mut files = 0;
    for platform in std::fs::read_dir(root().join("platforms")).expect("platforms") {
        let platform = platform.expect("readable").path();
        let Ok(rules) = std::fs::read_dir(platform.join("rules")) else { continue };
        for path in rules.map(|e| e.expect("readable").path()) {
            let name = path.to_string_lossy().into_owned();
            if name.ends_with(".test.yml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            let (file, errors) = RuleFile::parse(&name, &text);
            assert!(errors.is_empty(), "{errors:#?}");
            assert!(!file.groups.is_empty(), "{name}");
            files += 1;
        }
        if let Ok(text) = std::fs::read_to_string(platform.join("alertmanager.yml")) {
            Config::parse("alertmanager.yml", &text).expect("valid");
            files += 1;
        }
    }
    assert!(files >= 5, "{files}");
}

fn check_routes(text: &str, expected: Expect) {
    let mut out = String::new();
    match Config::parse("a.yml", text) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|w| writeln!(out, "{w}").expect("to a string"));
            for route in &config.routes {
                let line = format!(
                    "{} -> {} by {:?}, {:?} {:?} {:?}{}",
                    route.key,
                    route.receiver,
                    route.group_by,
                    route.group_wait,
                    route.group_interval,
                    route.repeat_interval,
                    if route.continues { ", continues" } else { "" }
                );
                writeln!(out, "{line}").expect("to a string");
            }
        }
        Err(errors) => errors.iter().for_each(|e| writeln!(out, "{e}").expect("to a string")),
    }
    expected.assert_eq(&out);
}

#[test]
fn routes_inherit() {
    check_routes(
        r#"
global: {resolve_timeout: 1m, smtp_from: a@b}
templates: ['/etc/*.tmpl']
route:
  receiver: all
  group_by: [alertname, job]
  routes:
  - match: {severity: critical}
    receiver: page
    group_wait: 0s
    group_interval: 1s
    continue: true
    routes:
    - matchers: ['{team="a", job=~"x|y"}']
      group_by: ['...']
  - match_re: {team: a|b}
    repeat_interval: 1h
receivers:
- name: all
  webhook_configs:
  - url: https://user:secret@example.org/hook
    http_config: {authorization: {credentials: secret}, tls_config: {ca_file: ca.pem}}
- name: page
  slack_configs: [{channel: x}]
  pagerduty_configs: [{routing_key: x}, {routing_key: y}]
"#,
        expect![[r#"
            a.yml:24:19: receiver "page": one of api_url or api_url_file must be configured; add api_url
            {} -> all by Labels({"alertname", "job"}), 30s 300s 14400s
            {}/{severity="critical"} -> page by Labels({"alertname", "job"}), 0ns 1s 14400s, continues
            {}/{severity="critical"}/{job=~"x|y",team="a"} -> page by All, 0ns 1s 14400s
            {}/{team=~"a|b"} -> all by Labels({"alertname", "job"}), 30s 300s 3600s
        "#]],
    );
}

#[test]
fn what_is_wrong_with_routes_is_told_with_its_place() {
    check_routes(
        r#"
route:
  receiver: al
  matchers: [a=b]
  continue: true
  group_by: ['...', x]
  group_interval: 0s
  routes:
  - receiver: nobody
    matchers: ["=x", 'a=~"["']
    mute_time_intervals: [night]
    group_weight: 3
receivers:
- name: all
  webhook_configs: [{}, {url: 'ftp://x'}, {url: 'http://x', url_file: y, max_alerts: many}]
- name: all
- {}
time_intervals:
- name: n
  time_intervals:
  - times: [{start_time: '22:00', end_time: '06:00'}, {start_time: 9, end_time: '10:00'}]
    weekdays: ['friday:monday', sunnday]
    location: Mars/Olympus
inhibit_rules:
- source_matchers: [a]
  equals: [x]
"#,
        expect![[r#"
            a.yml:3:3: root route must not have any matchers; move them to a child route
            a.yml:3:13: undefined receiver "al" used in route; did you mean "all"?
            a.yml:5:13: cannot have continue in root route; remove it
            a.yml:6:13: cannot have wildcard group_by (`...`) and other labels at the same time; keep one
            a.yml:7:19: group_interval cannot be zero; write for example 1s
            a.yml:9:15: undefined receiver "nobody" used in route; define it under receivers
            a.yml:10:16: matchers: bad matcher format: "=x" has no label name; write for example severity="critical"
            a.yml:10:22: matchers: bad regular expression "[": missing closing ]: `[`; write for example severity="critical"
            a.yml:11:27: undefined time interval "night" used in route; define it under time_intervals
            a.yml:12:5: unknown field "group_weight" in a route; remove it; known are match, match_re, matchers, receiver, group_by, group_wait, group_interval, repeat_interval, continue, mute_time_intervals, active_time_intervals, routes
            a.yml:15:21: receiver "all": one of url or url_file must be configured; add url
            a.yml:15:25: receiver "all": unsupported scheme in url: it must begin with http:// or https://
            a.yml:15:49: at most one of url and url_file must be configured; keep one
            a.yml:15:86: max_alerts is "many"; write a whole number
            a.yml:16:3: notification config name "all" is not unique; give each receiver its own name
            a.yml:17:3: missing name in receiver; add name
            a.yml:21:13: the time range ends before it starts; an interval over midnight is written as two: one to 24:00, one from 00:00
            a.yml:21:68: "9" is not a time of day; write 00:00 to 24:00 in quotes
            a.yml:22:16: weekdays: "friday:monday" ends before it starts; write the earlier one first
            a.yml:22:33: weekdays: "sunnday" is not understood
            a.yml:23:15: unknown time zone "Mars/Olympus"; write a name of the IANA database, for example America/New_York
            a.yml:25:21: source_matchers: bad matcher format: "a"; write for example a="value"; write for example severity="critical"
            a.yml:26:3: unknown field "equals" in an inhibition rule; did you mean "equal"?
        "#]],
    );
    check_routes(
        "receivers: [{name: a}]",
        expect![[r#"
        a.yml:1:1: no route provided in config; add route with a receiver
    "#]],
    );
    check_routes(
        "",
        expect![[r#"
        a.yml:1:1: no route provided in config; add route and receivers
    "#]],
    );
}

#[test]
fn a_secret_does_not_show_itself() {
    let text = "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'https://x/hidden-token', http_config: {basic_auth: {username: u, password: hidden-token}}}]}]";
    let (config, _) = Config::parse("a.yml", text).expect("valid");
    assert!(!format!("{config:?}").contains("hidden-token"));
    let wrong = text.replace("https://", "gopher://");
    let (config, errors) = Config::parse("a.yml", &wrong).expect("the others work");
    assert!(!format!("{errors:?}{config:?}").contains("hidden-token"));
    assert!(config.receivers[0].integrations[0].broken.is_some());
}

#[test]
fn the_way_of_an_alert_is_explained() {
    let text = r#"
route:
  receiver: all
  routes:
  - matchers: [severity="critical"]
    receiver: page
    continue: true
  - matchers: [team=~"a|b"]
    routes: [{matchers: [job="x"]}]
  - matchers: []
receivers: [{name: all}, {name: page}]
"#;
    let (config, _) = Config::parse("a.yml", text).expect("valid");
    let labels = Labels::from_pairs([("severity", "critical"), ("team", "a"), ("job", "y")]);
    let mut out = String::new();
    for step in config.explain(&labels) {
        let failed = step.failed.map(|m| format!(" refused by {m}")).unwrap_or_default();
        let taken = if step.taken { " <- here" } else { "" };
        writeln!(out, "{}{} {}{failed}{taken}", "  ".repeat(step.depth), step.matchers, step.receiver)
            .expect("to a string");
    }
    expect![[r#"
        {} all
          {severity="critical"} page <- here
          {team=~"a|b"} all <- here
            {job="x"} all refused by {job="x"}
    "#]]
    .assert_eq(&out);
}

#[test]
fn a_calendar_that_nobody_knows_is_refused_with_those_that_are_near() {
    check_rules(
        r#"
groups:
- name: g
  rules:
  - alert: Good
    expr: up == 0
    labels: {trading_calendar: XNYS}
  - alert: Template
    expr: up == 0
    labels: {trading_calendar: '{{ $labels.mic }}'}
  - alert: Colloquial
    expr: up == 0
    labels:
      severity: critical
      trading_calendar: NYSE
  - record: up:sum
    expr: sum(up)
    labels: {trading_calendar: any}
- name: h
  labels: {trading_calendar: Frankfurt}
  rules: []
"#,
        expect![[r#"
            r.yml:15:25: unknown trading_calendar "NYSE"; did you mean XNYS or XTSE? known are BVMF, CMES, CRYPTO, FOREX, XAMS, XASX, XBOM, XETR, XFRA, XHKG, XKRX, XLON, XNAS, XNYS, XPAR, XSES, XSWX, XTKS, XTSE
            r.yml:20:30: unknown trading_calendar "Frankfurt"; known are BVMF, CMES, CRYPTO, FOREX, XAMS, XASX, XBOM, XETR, XFRA, XHKG, XKRX, XLON, XNAS, XNYS, XPAR, XSES, XSWX, XTKS, XTSE
            g works with ["Good", "Template", "up:sum"]
            h works with []
        "#]],
    );
}
