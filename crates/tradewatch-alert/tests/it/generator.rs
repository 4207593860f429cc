//! The Prometheus Alert Generator Compliance Specification 1.0, section by section.
//!
//! What goes over HTTP (payload, APIs) is asserted in the server's `generator` tests. Where the specification and Prometheus
//! differ, we do as Prometheus does, and the test says so.

use std::time::Duration;

use tradewatch_alert::rules::{AlertChange, Evaluation, Group, Health, RuleFile, RuleStatus};
use tradewatch_alert::{Alert, State};
use tradewatch_tsdb::Timestamp;

use crate::world::{World, at};

const SECS_30: Duration = Duration::from_secs(30);

/// Evaluates at each of `times` (in seconds) on a fresh scrape of `series`.
fn step(world: &mut World, time: u64, series: &[&str]) -> Evaluation {
    let now = at(&format!("{time}s"));
    world.scrape(now, series);
    world.evaluate(now).remove(0)
}

fn seconds(ts: Timestamp) -> i64 {
    ts.as_millis() / 1000
}

fn status(world: &World, rule: usize) -> RuleStatus {
    world.groups[0].rules().nth(rule).expect("a rule").1.clone()
}

fn active(world: &World, rule: usize) -> Vec<(String, State)> {
    let (_, _, alerts) = world.groups[0].rules().nth(rule).expect("a rule");
    alerts.iter().map(|alert| (alert.labels.to_string(), alert.state)).collect()
}

fn sent(evaluation: &Evaluation) -> Vec<String> {
    let line =
        |alert: &Alert| format!("{} {}..{}", alert.labels, seconds(alert.starts_at), seconds(alert.ends_at));
    evaluation.alerts.iter().map(line).collect()
}

fn states(changes: &[AlertChange]) -> Vec<(State, State)> {
    changes.iter().map(|change| (change.from, change.to)).collect()
}

/// "The Format": group and rule fields, their defaults, and that JSON will do.
#[test]
fn the_format_takes_yaml_or_json_with_the_defaults_of_prometheus() {
    let yaml = "groups:\n- name: example\n  rules:\n  - alert: High\n    expr: job:request_latency_seconds:mean5m{job=\"myjob\"} > 0.5\n    for: 10m\n    labels: {severity: page}\n    annotations: {summary: High request latency}\n  - alert: VeryHigh\n    expr: job:request_latency_seconds:mean5m{job=\"myjob\"} > 1\n";
    let json = r#"{"groups": [{"name": "example", "rules": [
        {"alert": "High", "expr": "job:request_latency_seconds:mean5m{job=\"myjob\"} > 0.5", "for": "10m", "labels": {"severity": "page"}, "annotations": {"summary": "High request latency"}},
        {"alert": "VeryHigh", "expr": "job:request_latency_seconds:mean5m{job=\"myjob\"} > 1"}]}]}"#;
    for text in [yaml, json] {
        let (file, errors) = RuleFile::parse("r", text);
        assert!(errors.is_empty(), "{errors:?}");
        let spec = &file.groups[0];
        assert_eq!((spec.name.as_str(), spec.interval, spec.rules.len()), ("example", None, 2));
        assert_eq!(spec.rules[0].hold(), Duration::from_secs(600));
        assert_eq!((spec.rules[1].hold(), spec.rules[1].labels.len()), (Duration::ZERO, 0));
        // The interval is the global one where the group names none; the server's default is a minute.
        let group = Group::new("r", spec, Duration::from_secs(60), Duration::ZERO);
        assert_eq!(group.interval(), Duration::from_secs(60));
    }
    let twice = "groups: [{name: g, rules: []}, {name: g, rules: []}]";
    assert!(RuleFile::parse("r", twice).1[0].message.contains("repeated in the same file"));
}

/// "Constraints" 1: the results of a rule are there for the rules after it, in the same cycle and in order.
#[test]
fn constraint_1_later_rules_see_the_results_of_earlier_ones() {
    let mut world = World::new(
        "  - {alert: Early, expr: 'ALERTS{alertname=\"Base\"}'}\n  - {record: r, expr: m * 2}\n  - {alert: Base, expr: r > 10}\n  - {alert: Late, expr: 'ALERTS{alertname=\"Base\",alertstate=\"firing\"}'}",
    );
    step(&mut world, 0, &["m 6"]);
    assert_eq!([0, 2, 3].map(|rule| active(&world, rule).len()), [0, 1, 1]);
    step(&mut world, 30, &["m 6"]);
    assert_eq!(active(&world, 0).len(), 1, "what stands before sees it at the next cycle");
}

/// "Constraints" 2: every template function is accepted; those that may be left out give something all the same.
#[test]
fn constraint_2_optional_template_functions_are_never_refused() {
    let mut world = World::new(
        "  - alert: A\n    expr: m > 0\n    annotations:\n      a: '[{{ graphLink \"m\" }}][{{ tableLink \"m\" }}][{{ tmpl \"x\" . }}][{{ pathPrefix }}][{{ safeHtml \"x\" }}]'\n      b: '[{{ strvalue (query \"m\" | first) }}][{{ .ExternalLabels.none }}{{ $externalLabels.none }}][{{ .ExternalURL }} {{ $externalURL }}]'",
    );
    let evaluation = step(&mut world, 0, &["m 1"]);
    let annotations = &evaluation.alerts[0].annotations;
    assert_eq!(annotations["a"], "[/graph?g0.expr=m&g0.tab=0][/graph?g0.expr=m&g0.tab=1][][][x]");
    assert_eq!(annotations["b"], "[][][http://m http://m]");
}

/// "Processing Instant Query Result", step 1: an alert for each element.
#[test]
fn step_1_each_element_makes_an_alert_with_its_labels() {
    let mut world = World::new("  - {alert: A, expr: my_metric_total}");
    step(
        &mut world,
        0,
        &["my_metric_total{job=foo,status=500} 10", "my_metric_total{job=foo,status=400} 18"],
    );
    let labels: Vec<String> = active(&world, 0).into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(
        labels,
        [r#"{alertname="A", job="foo", status="400"}"#, r#"{alertname="A", job="foo", status="500"}"#],
        "without the metric name, as in Prometheus"
    );
}

/// Step 2: templates run for each alert with its own labels and value; their output overrides.
#[test]
fn step_2_templates_run_for_each_alert_and_override_its_labels() {
    let mut world = World::new(
        "  - {alert: A, expr: m, labels: {job: '{{ $labels.job }}-{{ $value }}', kept: x}, annotations: {a: '{{ $labels.job }}'}}",
    );
    let evaluation = step(&mut world, 0, &["m{job=a} 1", "m{job=b} 2"]);
    let seen: Vec<_> = evaluation
        .alerts
        .iter()
        .map(|alert| (alert.labels.to_string(), alert.annotations["a"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (r#"{alertname="A", job="a-1", kept="x"}"#.to_owned(), "a"),
            (r#"{alertname="A", job="b-2", kept="x"}"#.to_owned(), "b"),
        ]
    );
}

/// Step 3: the alert's name overrides any `alertname`.
#[test]
fn step_3_the_name_of_the_rule_wins() {
    let mut world = World::new("  - {alert: Mine, expr: m, labels: {alertname: rule}}");
    step(&mut world, 0, &["m{alertname=series} 1"]);
    assert_eq!(active(&world, 0), [(r#"{alertname="Mine"}"#.to_owned(), State::Firing)]);
}

/// Step 4: two alerts with equal labels fail the rule: nothing is sent, nothing is written, the error is shown.
#[test]
fn step_4_equal_labels_fail_the_rule() {
    let mut world = World::new("  - {alert: A, expr: m, labels: {x: same}}");
    let evaluation = step(&mut world, 0, &["m{x=1} 1", "m{x=2} 1"]);
    assert!(evaluation.alerts.is_empty() && evaluation.changes.is_empty());
    assert_eq!(world.samples("ALERTS") + &world.samples("ALERTS_FOR_STATE"), "");
    let status = status(&world, 0);
    assert_eq!(status.health, Health::Err);
    assert_eq!(
        status.last_error.as_deref(),
        Some("vector contains metrics with the same labelset after applying alert labels")
    );
    step(&mut world, 30, &["m{x=1} 1"]);
    assert_eq!(self::status(&world, 0).health, Health::Ok);
}

/// "`pending` State Conditions".
#[test]
fn pending_until_for_has_passed_with_the_newest_annotations() {
    let mut world = World::new("  - {alert: A, expr: m > 0, for: 2m, annotations: {v: '{{ $value }}'}}");
    for (time, value) in [(0, 1), (30, 2), (90, 3)] {
        let evaluation = step(&mut world, time, &[&format!("m {value}")]);
        let (_, _, alerts) = world.groups[0].rules().next().expect("a rule");
        let alert = alerts[0];
        assert_eq!((alert.state, seconds(alert.active_at)), (State::Pending, 0), "at {time}");
        assert_eq!(alert.annotations["v"], value.to_string());
        assert!(evaluation.alerts.is_empty(), "pending alerts are not sent");
    }
}

/// "`firing` State Conditions": `for` reached, zero, and smaller than the interval.
#[test]
fn firing_when_the_difference_reaches_for() {
    let mut world = World::new(
        "  - {alert: Exact, expr: m > 0, for: 1m, annotations: {v: '{{ $value }}'}}\n  - {alert: Zero, expr: m > 0}\n  - {alert: Small, expr: m > 0, for: 1s}",
    );
    let first = step(&mut world, 0, &["m 1"]);
    assert_eq!(
        states(&first.changes),
        [
            (State::Inactive, State::Pending),
            (State::Inactive, State::Firing),
            (State::Inactive, State::Pending)
        ]
    );
    let second = step(&mut world, 30, &["m 1"]);
    assert_eq!(
        states(&second.changes),
        [(State::Pending, State::Firing)],
        "the small one, at the next evaluation"
    );
    let third = step(&mut world, 60, &["m 2"]);
    assert_eq!(states(&third.changes), [(State::Pending, State::Firing)], "60 - 0 is not less than a minute");
    let fourth = step(&mut world, 120, &["m 3"]);
    assert_eq!(
        fourth.alerts.iter().find(|a| a.name() == "Exact").map(|a| a.annotations["v"].as_str()),
        Some("3")
    );
    // Held between evaluations: a small `for` whose condition ends is never firing.
    let mut world = World::new("  - {alert: Small, expr: m > 0, for: 1s}");
    step(&mut world, 0, &["m 1"]);
    let ended = step(&mut world, 30, &["m 0"]);
    assert_eq!(states(&ended.changes), [(State::Pending, State::Inactive)]);
    assert!(ended.alerts.is_empty());
}

/// "`inactive` State Conditions": ends at once; the same labels later are a new alert.
#[test]
fn inactive_at_once_and_a_new_alert_afterwards() {
    let mut world = World::new("  - {alert: A, expr: m > 0, for: 30s}");
    step(&mut world, 0, &["m 1"]);
    step(&mut world, 30, &["m 1"]);
    let ended = step(&mut world, 60, &["m 0"]);
    assert_eq!(states(&ended.changes), [(State::Firing, State::Inactive)]);
    assert_eq!(ended.changes[0].alert.resolved_at.map(seconds), Some(60));
    let again = step(&mut world, 90, &["m 1"]);
    assert_eq!(states(&again.changes), [(State::Inactive, State::Pending)]);
    assert_eq!(seconds(again.changes[0].alert.active_at), 90);
    assert_eq!(again.changes[0].alert.resolved_at, None);
    let vanished = step(&mut world, 120, &["other 1"]);
    assert_eq!(
        states(&vanished.changes),
        [(State::Pending, State::Inactive)],
        "a series that vanishes ends its alert"
    );
}

/// "Time Series to Create": value 1 at the evaluation time, name and state override, none for inactive alerts.
#[test]
fn the_alerts_series_has_exactly_these_labels() {
    let mut world = World::new(
        "  - {alert: A, expr: my_metric, for: 30s, labels: {alertstate: very_critical, severity: page, __x: y}}",
    );
    for (time, value) in [(0, "my_metric 1"), (30, "my_metric 1"), (60, "gone 1")] {
        step(&mut world, time, &[value]);
    }
    assert_eq!(
        world.samples("ALERTS"),
        "ALERTS{__x=\"y\", alertname=\"A\", alertstate=\"firing\", severity=\"page\"}: 1@30 stale@60\nALERTS{__x=\"y\", alertname=\"A\", alertstate=\"pending\", severity=\"page\"}: 1@0 stale@30\n"
    );
    assert_eq!(
        world.samples("ALERTS_FOR_STATE"),
        "ALERTS_FOR_STATE{__x=\"y\", alertname=\"A\", alertstate=\"very_critical\", severity=\"page\"}: 0@0 0@30 stale@60\n"
    );
}

/// "Conditions for Sending `firing` Alerts": at once, then each first evaluation after `ResendDelay`.
#[test]
fn firing_alerts_are_sent_again_at_the_first_multiple_of_the_interval() {
    let mut world = World::new("  - {alert: A, expr: m > 0}");
    world.around.resend_delay = Duration::from_secs(50);
    let times: Vec<u64> =
        (0..8).map(|n| n * 30).filter(|time| !step(&mut world, *time, &["m 1"]).alerts.is_empty()).collect();
    assert_eq!(times, [0, 60, 120, 180], "every 60 s: the first multiple of 30 s that is not less than 50 s");
    let mut world = World::new("  - {alert: A, expr: m > 0}");
    let times: Vec<u64> =
        (0..8).map(|n| n * 30).filter(|time| !step(&mut world, *time, &["m 1"]).alerts.is_empty()).collect();
    assert_eq!(times, [0, 60, 120, 180], "the default is a minute");
}

/// "Conditions for Sending `inactive` Alerts": at once, then for 15 minutes, or until the alert is there again.
#[test]
fn inactive_alerts_are_sent_for_fifteen_minutes_or_until_they_are_back() {
    let mut world = World::new("  - {alert: A, expr: m > 0, for: 1m}");
    for time in [0, 30, 60] {
        step(&mut world, time, &["m 1"]);
    }
    let mut times = Vec::new();
    for time in (90..1_200).step_by(30) {
        let evaluation = step(&mut world, time, &["m 0"]);
        if let Some(alert) = evaluation.alerts.first() {
            assert_eq!((seconds(alert.starts_at), seconds(alert.ends_at)), (60, 90));
            times.push(time);
        }
    }
    assert_eq!((times[0], times[1], times.len()), (90, 150, 16), "{times:?}");
    assert!(*times.last().expect("some") <= 90 + 15 * 60, "{times:?}");

    let mut world = World::new("  - {alert: A, expr: m > 0, for: 1m}");
    for time in [0, 30, 60] {
        step(&mut world, time, &["m 1"]);
    }
    assert_eq!(step(&mut world, 90, &["m 0"]).alerts.len(), 1);
    for time in [120, 150, 180] {
        let evaluation = step(&mut world, time, &["m 1"]);
        assert!(time == 180 || evaluation.alerts.is_empty(), "a pending alert stops the resolved one");
    }
    assert_eq!(active(&world, 0)[0].1, State::Firing);
}

/// "Payload Format": `startsAt`, `endsAt` and `generatorURL` of what is sent.
///
/// For a firing alert the specification says `StartsAt + 4 * max(ResendDelay, interval)`; Prometheus counts from the
/// evaluation, so that an alert that is sent again lives on. We do as Prometheus.
#[test]
fn ends_at_is_four_times_the_longer_of_resend_delay_and_interval() {
    let mut world = World::new("  - {alert: A, expr: 'm > 0', for: 30s}");
    step(&mut world, 0, &["m 1"]);
    assert_eq!(sent(&step(&mut world, 30, &["m 1"])), [r#"{alertname="A"} 30..270"#]);
    assert_eq!(sent(&step(&mut world, 90, &["m 1"])), [r#"{alertname="A"} 30..330"#]);
    assert_eq!(sent(&step(&mut world, 120, &["m 0"])), [r#"{alertname="A"} 30..120"#]);
    let mut world = World::new("groups:\n- name: g\n  interval: 5m\n  rules:\n  - {alert: A, expr: m > 0}");
    let evaluation = step(&mut world, 0, &["m 1"]);
    assert_eq!(sent(&evaluation), [r#"{alertname="A"} 0..1200"#]);
    assert_eq!(evaluation.alerts[0].generator_url, "http://m/graph?g0.expr=m+%3E+0&g0.tab=1");
}

/// "Executing an Alerting Rule": a rule that fails sends nothing new and writes nothing, and says why.
#[test]
fn a_failing_query_is_shown_as_health_err() {
    let mut world = World::new("  - {alert: A, expr: 'm + on(x) group_left n'}");
    assert_eq!(status(&world, 0).health, Health::Unknown);
    step(&mut world, 0, &["m{x=1} 1", "n{x=1,y=1} 1", "n{x=1,y=2} 1"]);
    let status = status(&world, 0);
    assert_eq!((status.health, status.last_evaluation), (Health::Err, Some(at("0s"))));
    assert!(status.last_error.is_some_and(|error| error.contains("many-to-many")), "the reason");
}

/// Beyond the specification: the group says when `for` ends, so that it is evaluated then.
#[test]
fn a_group_says_when_its_next_for_or_keep_firing_for_ends() {
    let mut world = World::new(
        "  - {alert: A, expr: m > 0, for: 45s}\n  - {alert: B, expr: m > 0, keep_firing_for: 20s}\n  - {alert: C, expr: m > 0, for: 2m}",
    );
    step(&mut world, 0, &["m 1"]);
    assert_eq!(world.groups[0].next_end(), Some(at("45s")));
    world.evaluate(at("45s"));
    assert_eq!(world.groups[0].next_end(), Some(at("2m")));
    let ended = step(&mut world, 50, &["m 0"]);
    assert_eq!(ended.changes.len(), 2, "A and C; B is kept");
    assert_eq!(world.groups[0].next_end(), Some(at("70s")));
    let kept = world.evaluate(at("70s")).remove(0);
    assert_eq!(states(&kept.changes), [(State::Firing, State::Inactive)]);
    assert_eq!(kept.changes[0].due_at, at("70s"));
    assert_eq!(world.groups[0].next_end(), None);
    assert_eq!(world.groups[0].interval(), SECS_30);
}
