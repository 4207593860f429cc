//! `for` in session time: the rule label `trading_calendar`.
//!
//! The market of these tests opens at 0 s for ten minutes of each hour.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use tradewatch_alert::State;
use tradewatch_calendar::{Calendar, Overlay};

use crate::world::{World, at};

const RULE: &str = "  - {alert: A, expr: m > 10, for: 5m, labels: {trading_calendar: XNYS}}";

fn world(rule: &str, halts: &str) -> World {
    let mut world = World::new(rule);
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    let hour = Calendar::new().with_virtual_session("XNYS", epoch, secs(600), secs(3_000));
    world.around.calendar = Arc::new(hour.with_overlay(Overlay::parse(halts).expect("well-formed")));
    world.around.resend_delay = secs(86_400);
    world
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.out);
}

#[test]
fn the_clock_stands_from_the_close_to_the_next_open() {
    let mut world = world(RULE, "");
    world.run("8m", "30m", "30s", &["m 11"]);
    assert_eq!(world.groups[0].next_end(), Some(at("63m")), "three of five minutes are left at the open");
    world.run("30m30s", "65m", "30s", &["m 11"]);
    // Shut again: an alert that fires goes on, and ends when its condition does.
    world.run("65m30s", "75m", "30s", &["m 11"]);
    world.run("75m30s", "76m", "30s", &["m 1"]);
    check(
        &world,
        expect![[r#"
            8m      {alertname="A", trading_calendar="XNYS"} inactive -> pending
            1h3m    {alertname="A", trading_calendar="XNYS"} pending -> firing
            1h3m    send firing {alertname="A", trading_calendar="XNYS"} from 1h3m to 4d1h3m
            1h15m30s {alertname="A", trading_calendar="XNYS"} firing -> inactive
            1h15m30s send resolved {alertname="A", trading_calendar="XNYS"} from 1h3m to 1h15m30s
        "#]],
    );
}

#[test]
fn a_condition_that_ends_at_night_begins_anew() {
    let mut world = world(RULE, "");
    world.run("8m", "20m", "30s", &["m 11"]);
    world.run("20m30s", "21m", "30s", &["m 1"]);
    world.run("21m30s", "66m", "30s", &["m 11"]);
    let firing = world.out.lines().find(|line| line.contains("-> firing")).expect("it fires");
    assert!(firing.starts_with("1h5m "), "{firing}");
}

#[test]
fn the_last_instant_of_a_for_may_be_the_close_itself() {
    let mut world = world(RULE, "");
    world.run("5m", "10m", "30s", &["m 11"]);
    assert!(world.out.contains("10m     {alertname=\"A\", trading_calendar=\"XNYS\"} pending -> firing"));
}

#[test]
fn without_a_for_it_fires_at_once_while_open_and_else_at_the_open() {
    let mut world = world("  - {alert: A, expr: m > 10, labels: {trading_calendar: XNYS}}", "");
    world.run("5m", "5m", "30s", &["m 11"]);
    assert_eq!(world.groups[0].state(0), State::Firing);
    world.run("6m", "6m", "30s", &["m 1"]);
    world.run("10m", "59m30s", "30s", &["m 11"]);
    assert_eq!((world.groups[0].state(0), world.groups[0].next_end()), (State::Pending, Some(at("1h"))));
    let open = world.evaluate(at("1h")).remove(0);
    assert_eq!((open.changes[0].to, open.changes[0].due_at), (State::Firing, at("1h")));
}

#[test]
fn a_restart_takes_up_what_was_counted_and_no_more() {
    let mut world = world(RULE, "");
    world.run("7m", "9m", "30s", &["m 11"]);
    world.restart();
    // Two minutes were counted, and the minute before the close was watched by nobody.
    world.run("61m", "65m", "30s", &["m 11"]);
    let lines: Vec<&str> = world.out.lines().filter(|line| line.contains("->")).collect();
    let expected = ["7m", "1h1m", "1h4m"];
    assert!(lines.iter().zip(expected).all(|(line, at)| line.starts_with(&format!("{at} "))), "{lines:?}");
    assert!(lines.len() == 3 && lines[2].ends_with("pending -> firing"), "{lines:?}");
    // Fires on after another restart, since the same time, in closed hours too.
    world.restart();
    world.run("71m", "71m", "30s", &["m 11"]);
    assert_eq!(world.groups[0].state(0), State::Firing);
    let last = world.out.lines().last().unwrap_or_default();
    assert!(last.contains("send firing") && last.contains(" from 1h4m "), "{last}");
}

#[test]
fn a_halt_stops_the_clock_of_its_symbol_only() {
    let rule = "  - {alert: Stale, expr: age > 60, for: 2m, labels: {trading_calendar: XNYS}}";
    let halt = "XNYS halt AAPL 1970-01-01T00:01:00Z 1970-01-01T00:06:00Z LULD pause";
    let mut world = world(rule, halt);
    world.run("0s", "8m", "30s", &["age{symbol=\"AAPL\"} 90", "age{symbol=\"MSFT\"} 90"]);
    let firing: Vec<&str> = world.out.lines().filter(|line| line.contains("-> firing")).collect();
    assert_eq!(firing.len(), 2, "{}", world.out);
    assert!(firing[0].starts_with("2m ") && firing[0].contains("MSFT"), "{firing:?}");
    assert!(firing[1].starts_with("7m ") && firing[1].contains("AAPL"), "a minute before, a minute after");
}

#[test]
fn beyond_the_horizon_all_time_counts_and_it_is_said() {
    let mut world = World::new(RULE);
    world.run("0s", "5m", "30s", &["m 11"]);
    assert_eq!(world.groups[0].state(0), State::Firing, "1970 is before every table");
    assert!(
        world.out.contains("warning: rule \"A\": nobody knows what XNYS does now: `for` counts all time"),
        "{}",
        world.out
    );
}

#[test]
fn the_label_may_come_from_the_series() {
    let rule = "  - {alert: A, expr: m > 10, for: 5m, labels: {trading_calendar: '{{ $labels.mic }}'}}";
    let mut world = world(rule, "");
    world.run("9m", "14m", "30s", &["m{mic=\"XNYS\"} 11", "m{mic=\"CRYPTO\"} 11"]);
    let firing: Vec<&str> = world.out.lines().filter(|line| line.contains("-> firing")).collect();
    assert!(firing.len() == 1 && firing[0].starts_with("14m") && firing[0].contains("CRYPTO"), "{firing:?}");
}

#[test]
fn the_same_label_from_a_series_alone_changes_nothing() {
    let mut world = world("  - {alert: A, expr: m > 10, for: 5m}", "");
    world.run("9m", "14m", "30s", &["m{trading_calendar=\"XNYS\"} 11"]);
    assert_eq!(world.groups[0].state(0), State::Firing);
}
