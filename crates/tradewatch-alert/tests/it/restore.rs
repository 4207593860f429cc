//! What survives a restart.

use expect_test::expect;
use proptest::prelude::*;
use tradewatch_alert::State;

use crate::world::{World, at};

const RULE: &str = "  - {alert: A, expr: m > 10, for: 2m, annotations: {text: hello}}";

#[test]
fn a_pending_alert_goes_on_without_the_outage() {
    let mut world = World::new(RULE);
    world.run("0s", "60s", "30s", &["m 11"]);
    world.restart();
    world.run("3m", "5m", "30s", &["m 11"]);
    expect![[r#"
        0s      {alertname="A"} inactive -> pending
        3m      {alertname="A"} inactive -> pending
        4m      {alertname="A"} pending -> firing
        4m      send firing {alertname="A"} from 4m to 8m text="hello"
        5m      send firing {alertname="A"} from 4m to 9m text="hello"
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn a_firing_alert_fires_on_at_once_and_since_the_same_time() {
    let mut world = World::new(RULE);
    world.run("0s", "150s", "30s", &["m 11"]);
    world.restart();
    world.run("160s", "190s", "30s", &["m 11"]);
    expect![[r#"
        0s      {alertname="A"} inactive -> pending
        2m      {alertname="A"} pending -> firing
        2m      send firing {alertname="A"} from 2m to 6m text="hello"
        2m40s   {alertname="A"} inactive -> firing
        2m40s   send firing {alertname="A"} from 2m to 6m40s text="hello"
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn what_ended_during_the_outage_is_resolved_after_a_wait() {
    let mut world = World::new(RULE);
    world.run("0s", "150s", "30s", &["m 11"]);
    world.restart();
    world.run("20m", "22m", "30s", &["m 1"]);
    expect![[r#"
        0s      {alertname="A"} inactive -> pending
        2m      {alertname="A"} pending -> firing
        2m      send firing {alertname="A"} from 2m to 6m text="hello"
        20m30s  {alertname="A"} firing -> inactive
        20m30s  send resolved {alertname="A"} from 2m to 20m30s
        21m30s  send resolved {alertname="A"} from 2m to 20m30s
    "#]]
    .assert_eq(&world.out);
    expect![[r#"
        ALERTS{alertname="A", alertstate="firing"}: 1@120 1@150 stale@1230
        ALERTS{alertname="A", alertstate="pending"}: 1@0 1@30 1@60 1@90 stale@120
    "#]]
    .assert_eq(&world.samples("ALERTS"));
}

#[test]
fn an_alert_whose_data_come_late_does_not_flap() {
    let mut world = World::new(RULE);
    world.run("0s", "150s", "30s", &["m 11"]);
    world.restart();
    // The store is too old for the lookback, the target is not scraped yet.
    world.evaluate(at("20m"));
    world.run("1230s", "1260s", "30s", &["m 11"]);
    expect![[r#"
        0s      {alertname="A"} inactive -> pending
        2m      {alertname="A"} pending -> firing
        2m      send firing {alertname="A"} from 2m to 6m text="hello"
        20m30s  {alertname="A"} inactive -> firing
        20m30s  send firing {alertname="A"} from 2m to 24m30s text="hello"
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn keep_firing_for_survives() {
    let mut world = World::new("  - {alert: A, expr: m > 10, keep_firing_for: 10m}");
    world.run("0s", "30s", "30s", &["m 11"]);
    world.restart();
    world.run("60s", "12m", "30s", &["m 1"]);
    let lines: Vec<&str> = world.out.lines().filter(|line| !line.contains("send firing")).collect();
    expect![[r#"
        0s      {alertname="A"} inactive -> firing
        10m30s  {alertname="A"} firing -> inactive
        10m30s  send resolved {alertname="A"} from 0s to 10m30s
        11m30s  send resolved {alertname="A"} from 0s to 10m30s"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn an_old_state_is_not_taken_up() {
    let mut world = World::new(RULE);
    world.run("0s", "150s", "30s", &["m 11"]);
    world.restart();
    world.run("3h", "3h", "30s", &["m 11"]);
    expect![[r#"3h      {alertname="A"} inactive -> pending"#]]
        .assert_eq(world.out.lines().last().unwrap_or_default());
}

#[test]
fn a_rule_of_the_same_name_does_not_end_the_others_alerts() {
    let mut world = World::new(
        "  - {alert: A, expr: m > 10, labels: {severity: critical}}\n  - {alert: A, expr: m > 100}",
    );
    world.run("0s", "60s", "30s", &["m 11"]);
    world.restart();
    world.run("90s", "5m", "30s", &["m 11"]);
    assert!(!world.out.contains("resolved"), "{}", world.out);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// A condition that holds all the time, random gaps of the scrape shorter than the lookback,
    /// restarts at random: the alert fires once and stays so, and `for` is never cut short.
    #[test]
    fn no_flapping_by_our_fault(events in proptest::collection::vec((0..10u8, 1..50u64), 1..40)) {
        let mut world = World::new(RULE);
        let mut now = at("0s");
        let (mut last, mut last_scrape) = (now, now);
        let mut fired = false;
        let mut watched = std::time::Duration::ZERO;
        for (kind, secs) in events {
            let restarted = kind == 2;
            if restarted {
                world.restart();
            } else {
                watched += now.since(last);
            }
            // Otherwise the scrape failed, and the evaluation goes on with what is there.
            if kind > 2 || now.since(last_scrape).as_secs() > 200 {
                world.scrape(now, &["m 11"]);
                last_scrape = now;
            }
            world.evaluate(now);
            let state = world.groups[0].state(0);
            if fired {
                prop_assert_eq!(state, State::Firing, "at {}:\n{}", now, world.out);
            } else if state == State::Firing {
                prop_assert!(watched.as_secs() >= 120, "watched for {:?}:\n{}", watched, world.out);
                fired = true;
            }
            last = now;
            now = now + std::time::Duration::from_secs(secs);
        }
        let ended = world.out.contains("-> inactive") || world.out.contains("send resolved");
        prop_assert!(!ended, "{}", world.out);
    }
}
