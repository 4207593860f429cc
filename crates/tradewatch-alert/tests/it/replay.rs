//! A replay of recorded history is what the same rules did live, step by step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tradewatch_alert::notify::{self, Notifier};
use tradewatch_alert::replay::{Follow, Options, Report, replay};
use tradewatch_alert::route::Config;
use tradewatch_alert::rules::{Group, RuleFile, Surroundings, engine_query};
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_tsdb::{Db, Labels, STALE_NAN, Timestamp};

use crate::world::labels;

const ROUTES: &str = "
route:
  receiver: desk
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 10m
  routes:
    - {receiver: night, matchers: ['severity=\"page\"'], mute_time_intervals: [lunch]}
time_intervals:
  - {name: lunch, time_intervals: [{times: [{start_time: '00:20', end_time: '00:35'}]}]}
inhibit_rules:
  - {source_matchers: ['alertname=\"High\"'], target_matchers: ['alertname=\"Low\"'], equal: [job]}
receivers:
  - {name: desk, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}
  - {name: night, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}
";

/// Rules of the first and of the second group; what one reads stands before it, but for the last ones.
const FIRST: &[&str] = &[
    "{record: 'j:m:sum', expr: 'sum by (job) (m)'}",
    "{record: 'j:n:rate', expr: 'rate(n[2m])', labels: {own: 'yes'}}",
    "{alert: High, expr: 'm > 1', for: 2m, labels: {severity: page, v: '{{ $value }}'}}",
    "{alert: Low, expr: 'm < -1', keep_firing_for: 3m}",
    "{alert: Gone, expr: 'absent(m{job=\"a\"})'}",
    "{alert: Sum, expr: 'j:m:sum > 2 or j:m:sum < -4', for: 1m}",
    "{alert: Mixed, expr: 'j:m:sum > on (job) group_right () (m{job=\"b\"})', for: 1m}",
    "{alert: Slow, expr: 'max_over_time(j:m:sum[7m:1m]) > 5', for: 5m, keep_firing_for: 2m}",
    "{alert: Broken, expr: 'm * on () n > 0'}",
    "{alert: Before, expr: 'm - m offset 4m > 3', annotations: {summary: '{{ $labels.job }}'}}",
    "{record: 'count', expr: '(count or vector(0)) + 1'}",
    "{alert: Counted, expr: 'count > 30'}",
    "{alert: Early, expr: 'late > 4'}",
];
const SECOND: &[&str] = &[
    "{alert: Rate, expr: 'j:n:rate > 0.01', for: 1m}",
    "{record: 'late', expr: 'sum(m) - sum(j:m:sum)'}",
    "{alert: Many, expr: 'count(ALERTS{alertstate=\"firing\"}) > 2'}",
    "{alert: Scalar, expr: 'scalar(sum(m)) > bool 1'}",
    "{alert: Start, expr: 'm @ start() > 1', for: 1m}",
    "{alert: Top, expr: 'topk(1, abs(m)) > 4'}",
    "{alert: Clock, expr: 'minute() > 50'}",
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// Samples each 15 s or so: values that wander, gaps, staleness markers and a counter that is reset.
fn history(series: &[Vec<u8>]) -> Db {
    let names =
        ["m{job=\"a\"}", "m{job=\"b\"}", "m{job=\"b\",instance=\"2\"}", "n{job=\"a\"}", "n{job=\"b\"}"];
    let db = Db::in_memory();
    let mut appender = db.appender();
    for (name, moves) in names.iter().zip(series) {
        let id = appender.series(&labels(name));
        let (mut value, mut ts) = (0.0, 7);
        for one in moves {
            let sample = match one {
                0..=1 => STALE_NAN,
                2..=4 => {
                    ts += 240;
                    continue;
                }
                5..=60 if name.starts_with('n') => {
                    value = f64::from(*one % 3);
                    value
                }
                _ if name.starts_with('n') => {
                    value += f64::from(*one % 5);
                    value
                }
                _ => {
                    value = f64::from(*one % 13) - 6.0;
                    value
                }
            };
            for _ in 0..=*one % 8 {
                appender.append(id, at(ts), sample).expect("fits");
                ts += 15;
            }
        }
    }
    appender.commit().expect("in memory");
    db
}

/// What happened, line by line.
fn live(rules: &str, db: Db, end: i64) -> Vec<String> {
    let (file, errors) = RuleFile::parse("rules.yml", rules);
    assert!(errors.is_empty(), "{errors:?}");
    let mut groups: Vec<Group> = file
        .groups
        .iter()
        .map(|spec| Group::new("rules.yml", spec, Duration::from_secs(60), Duration::ZERO))
        .collect();
    let query = engine_query(Arc::new(Engine::new(EngineOptions::default())), db.clone());
    let around = Surroundings::new(query, db);
    let (config, _) = Config::parse("alertmanager.yml", ROUTES).expect("routes");
    let mut notifier = Notifier::new(Arc::new(config), notify::Options::default());
    let mut open: BTreeMap<(String, Labels), (Timestamp, Option<Timestamp>)> = BTreeMap::new();
    let mut out = Vec::new();
    let poll = |notifier: &mut Notifier, now: Timestamp, out: &mut Vec<String>| {
        for delivery in notifier.poll(now) {
            notifier.delivered(now, delivery.id);
            let of = |status: &str| {
                let alerts = delivery.message.alerts.iter().filter(|alert| alert.status == status);
                alerts.map(|alert| alert.fingerprint.clone()).collect::<Vec<_>>().join(",")
            };
            out.push(format!("{now} {} {} | {}", delivery.receiver, of("firing"), of("resolved")));
        }
    };
    for second in (0..end).step_by(30) {
        while let Some(next) = notifier.next_wakeup().filter(|next| *next < at(second)) {
            poll(&mut notifier, next, &mut out);
        }
        for group in &mut groups {
            if at(second).as_millis() % group.interval().as_millis() as i64 != 0 {
                continue;
            }
            let evaluation = group.evaluate(at(second), &around);
            for change in &evaluation.changes {
                let key = (
                    change.alert.labels.get("alertname").expect("named").to_owned(),
                    change.alert.labels.clone(),
                );
                let entry = open.entry(key.clone()).or_insert((change.alert.active_at, None));
                match change.to {
                    tradewatch_alert::State::Pending => {}
                    tradewatch_alert::State::Firing => entry.1 = change.alert.fired_at,
                    tradewatch_alert::State::Inactive => {
                        let (active, fired) = open.remove(&key).expect("entered above");
                        out.push(episode(&key.1, active, fired, Some(at(second))));
                    }
                }
            }
            notifier.update(at(second), &evaluation.alerts);
        }
        poll(&mut notifier, at(second), &mut out);
    }
    while let Some(next) = notifier.next_wakeup().filter(|next| *next < at(end)) {
        poll(&mut notifier, next, &mut out);
    }
    out.extend(open.iter().map(|((_, labels), (active, fired))| episode(labels, *active, *fired, None)));
    out.sort();
    out
}

fn episode(labels: &Labels, active: Timestamp, fired: Option<Timestamp>, ended: Option<Timestamp>) -> String {
    let shown = |ts: Option<Timestamp>| ts.map_or("-".to_owned(), |ts| ts.to_string());
    format!("{labels} active {active} fired {} ended {}", shown(fired), shown(ended))
}

fn lines(report: &Report) -> Vec<String> {
    let episodes = report.episodes.iter().map(|e| episode(&e.labels, e.active_at, e.fired_at, e.ended_at));
    let shown = |alerts: &[tradewatch_alert::Fingerprint]| {
        alerts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let notices = report.notices.iter();
    let notices =
        notices.map(|n| format!("{} {} {} | {}", n.at, n.receiver, shown(&n.firing), shown(&n.resolved)));
    let mut all: Vec<String> = episodes.chain(notices).collect();
    all.sort();
    all
}

fn replayed(rules: &str, history: &Db, end: i64, chunk: u64) -> Report {
    let (file, _) = RuleFile::parse("rules.yml", rules);
    let (config, _) = Config::parse("alertmanager.yml", ROUTES).expect("routes");
    let options = Options {
        warm_up: Some(Duration::ZERO),
        chunk: Duration::from_secs(chunk),
        routes: Some(Arc::new(config)),
        ..Options::new(at(0), at(end))
    };
    replay(&[file], &mut history.clone(), &options, &mut ()).expect("replays")
}

fn rules(first: &[usize], second: &[usize], offset: u64) -> String {
    let mut out = format!("groups:\n- name: one\n  interval: 30s\n  query_offset: {offset}s\n  rules:\n");
    first.iter().for_each(|at| writeln!(out, "  - {}", FIRST[*at]).expect("to a string"));
    out.push_str("- name: two\n  rules:\n");
    second.iter().for_each(|at| writeln!(out, "  - {}", SECOND[*at]).expect("to a string"));
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_is_what_was_live(
        series in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 10..60), 5),
        first in proptest::sample::subsequence((0..FIRST.len()).collect::<Vec<_>>(), 1..FIRST.len()),
        second in proptest::sample::subsequence((0..SECOND.len()).collect::<Vec<_>>(), 1..SECOND.len()),
        offset in prop_oneof![Just(0u64), Just(30)],
        chunk in prop_oneof![Just(90u64), Just(600), Just(86_400)],
    ) {
        // A reader that stands before a writer of another group moves behind it in a replay.
        let second: Vec<usize> = second.into_iter().filter(|at| SECOND[*at] != SECOND[1] || !first.contains(&12)).collect();
        prop_assume!(!second.is_empty());
        let rules = rules(&first, &second, offset);
        let lines = lines(&replayed(&rules, &history(&series), 3600, chunk));
        prop_assert_eq!(lines, live(&rules, history(&series), 3600));
    }
}

#[test]
fn the_property_has_something_to_say() {
    let moves =
        |seed: u8| (0..60u8).map(|at| at.wrapping_mul(37).wrapping_add(seed.wrapping_mul(91))).collect();
    let history = history(&(0..5).map(moves).collect::<Vec<_>>());
    let rules = rules(&(0..12).collect::<Vec<_>>(), &(0..SECOND.len()).collect::<Vec<_>>(), 0);
    let report = replayed(&rules, &history, 3600, 600);
    let silent: Vec<&str> = report
        .rules
        .iter()
        .enumerate()
        .filter(|(at, rule)| {
            rule.failures == 0 && !report.episodes.iter().any(|e| e.rule == *at && e.fired_at.is_some())
        })
        .map(|(_, rule)| rule.name.as_str())
        .collect();
    assert!(silent.is_empty(), "these never fire: {silent:?}");
    assert!(report.rules.iter().any(|rule| rule.name == "Broken" && !rule.errors.is_empty()));
    assert!(report.notices.iter().any(|notice| notice.receiver == "night"));
    assert!(
        report.episodes.iter().any(|e| e.fired_at.is_some() && e.told_at.is_none()),
        "nothing was inhibited"
    );
}

#[test]
fn for_ends_between_two_evaluations() {
    let history = history(&[vec![129; 60], vec![], vec![], vec![], vec![]]);
    let rules = "groups: [{name: g, rules: [{alert: On, expr: 'm > 2', for: 90s}]}]";
    let report = replayed(rules, &history, 900, 300);
    let on = &report.episodes[0];
    assert_eq!((on.active_at, on.fired_at), (at(60), Some(at(150))));
}

#[test]
fn a_state_that_began_before_is_known_at_the_beginning() {
    let history = history(&[vec![129; 200], vec![], vec![], vec![], vec![]]);
    let rules = "groups:\n- name: g\n  rules:\n  - {record: r, expr: 'avg_over_time(m[5m])'}\n  \
                 - {alert: On, expr: 'avg_over_time(r[5m]) > 2', for: 10m}";
    let (file, _) = RuleFile::parse("rules.yml", rules);
    let report =
        replay(&[file], &mut history.clone(), &Options::new(at(1500), at(2400)), &mut ()).expect("replays");
    assert_eq!(report.episodes[0].fired_at, Some(at(900)), "{:?}", report.episodes);
    assert!(report.began <= at(1500) - Duration::from_secs(600), "{}", report.began);
}

#[test]
fn history_that_rules_wrote_is_computed_anew() {
    let history = history(&[vec![129; 60], vec![], vec![], vec![], vec![]]);
    let mut appender = history.appender();
    let old = appender.series(&labels("r{job=\"a\"}"));
    (0..40).for_each(|minute| appender.append(old, at(minute * 60), 99.0).expect("fits"));
    appender.commit().expect("in memory");
    let rules = "groups:\n- name: g\n  rules:\n  - {record: r, expr: m}\n  - {alert: Old, expr: 'r > 90'}\n  \
                 - {alert: Any, expr: '{__name__=~\"r|m\"} > 90'}\n  - {record: unread, expr: m}";
    let report = replayed(rules, &history, 900, 300);
    assert_eq!((report.episodes.len(), report.unread), (0, 1), "{:?}", report.episodes);
}

#[test]
fn watched_rules_are_sampled_and_a_break_ends_the_replay() {
    struct Sampled(Vec<(String, i64, f64)>, usize);
    impl Follow for Sampled {
        fn progress(&mut self, _: Timestamp, _: Timestamp, _: Timestamp) -> std::ops::ControlFlow<()> {
            self.1 += 1;
            if self.1 == 2 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        }
        fn sampled(&mut self, rule: &str, at: Timestamp, labels: &Labels, value: f64) {
            self.0.push((format!("{rule} {labels}"), at.as_millis() / 1000, value));
        }
    }
    let history = history(&[vec![129; 60], vec![], vec![], vec![], vec![]]);
    let rules = "groups: [{name: g, rules: [{record: r, expr: 'm * 2'}, {record: probe, expr: r}]}]";
    let (file, _) = RuleFile::parse("rules.yml", rules);
    let mut options = Options { chunk: Duration::from_secs(120), ..Options::new(at(60), at(900)) };
    options.watched.insert("probe".to_owned());
    let mut follow = Sampled(Vec::new(), 0);
    let report = replay(&[file], &mut history.clone(), &options, &mut follow).expect("replays");
    assert!(report.ended_at.is_some_and(|end| end < at(900)), "{:?}", report.ended_at);
    options.warm_up = Some(Duration::ZERO);
    let mut follow = Sampled(Vec::new(), 2);
    let (file, _) = RuleFile::parse("rules.yml", rules);
    replay(&[file], &mut history.clone(), &options, &mut follow).expect("replays");
    assert_eq!(follow.0[0], ("probe r{job=\"a\"}".to_owned(), 60, 12.0));
    assert_eq!(follow.0.len(), 14);
}

#[test]
fn times_that_do_not_rise_are_refused() {
    let error = replay(&[], &mut Db::in_memory(), &Options::new(at(5), at(5)), &mut ()).expect_err("refused");
    assert!(error.is_invalid() && error.to_string().contains("is not after"), "{error}");
}
