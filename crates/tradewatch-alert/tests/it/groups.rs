//! The behaviours of the Prometheus alert generator specification, and what goes beyond it.

use expect_test::{Expect, expect};
use tradewatch_alert::State;
use tradewatch_alert::rules::Health;

use crate::world::{World, at};

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.out);
}

#[test]
fn pending_then_firing_then_resolved() {
    let mut world = World::new(
        "  - {alert: A, expr: m > 10, for: 1m, labels: {severity: page}, annotations: {text: 'v={{ $value }}'}}",
    );
    world.run("0s", "30s", "30s", &["m{x=1} 11"]);
    world.run("60s", "4m", "30s", &["m{x=1} 12"]);
    world.run("270s", "5m", "30s", &["m{x=1} 3"]);
    world.run("330s", "7m", "30s", &["m{x=1} 13"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A", severity="page", x="1"} inactive -> pending
            1m      {alertname="A", severity="page", x="1"} pending -> firing
            1m      send firing {alertname="A", severity="page", x="1"} from 1m to 5m text="v=12"
            2m      send firing {alertname="A", severity="page", x="1"} from 1m to 6m text="v=12"
            3m      send firing {alertname="A", severity="page", x="1"} from 1m to 7m text="v=12"
            4m      send firing {alertname="A", severity="page", x="1"} from 1m to 8m text="v=12"
            4m30s   {alertname="A", severity="page", x="1"} firing -> inactive
            4m30s   send resolved {alertname="A", severity="page", x="1"} from 1m to 4m30s text="v=12"
            5m30s   {alertname="A", severity="page", x="1"} inactive -> pending
            6m30s   {alertname="A", severity="page", x="1"} pending -> firing
            6m30s   send firing {alertname="A", severity="page", x="1"} from 6m30s to 10m30s text="v=13"
        "#]],
    );
    expect![[r#"
        ALERTS{alertname="A", alertstate="firing", severity="page", x="1"}: 1@60 1@90 1@120 1@150 1@180 1@210 1@240 stale@270 1@390 1@420
        ALERTS{alertname="A", alertstate="pending", severity="page", x="1"}: 1@0 1@30 stale@60 1@330 1@360 stale@390
    "#]].assert_eq(&world.samples("ALERTS"));
    expect![[r#"
        ALERTS_FOR_STATE{alertname="A", severity="page", x="1"}: 0@0 0@30 0@60 0@90 0@120 0@150 0@180 0@210 0@240 stale@270 330@330 330@360 330@390 330@420
    "#]].assert_eq(&world.samples("ALERTS_FOR_STATE"));
}

#[test]
fn without_for_it_fires_at_once_and_a_small_for_at_the_next_evaluation() {
    let mut world = World::new("  - {alert: Zero, expr: m > 10}\n  - {alert: Small, expr: m > 10, for: 15s}");
    world.run("0s", "60s", "30s", &["m 11"]);
    world.run("90s", "90s", "30s", &["m 1"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="Zero"} inactive -> firing
            0s      {alertname="Small"} inactive -> pending
            0s      send firing {alertname="Zero"} from 0s to 4m
            30s     {alertname="Small"} pending -> firing
            30s     send firing {alertname="Small"} from 30s to 4m30s
            1m      send firing {alertname="Zero"} from 0s to 5m
            1m30s   {alertname="Zero"} firing -> inactive
            1m30s   {alertname="Small"} firing -> inactive
            1m30s   send resolved {alertname="Zero"} from 0s to 1m30s
            1m30s   send resolved {alertname="Small"} from 30s to 1m30s
        "#]],
    );
}

#[test]
fn pending_that_ends_is_never_sent_and_an_active_time_begins_anew() {
    let mut world = World::new("  - {alert: A, expr: m > 10, for: 1m}");
    world.run("0s", "30s", "30s", &["m 11"]);
    world.run("60s", "60s", "30s", &["m 1"]);
    world.run("90s", "150s", "30s", &["m 11"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A"} inactive -> pending
            1m      {alertname="A"} pending -> inactive
            1m30s   {alertname="A"} inactive -> pending
            2m30s   {alertname="A"} pending -> firing
            2m30s   send firing {alertname="A"} from 2m30s to 6m30s
        "#]],
    );
}

#[test]
fn resolved_alerts_are_sent_again_for_fifteen_minutes() {
    let mut world = World::new("  - {alert: A, expr: m > 10}");
    world.run("0s", "0s", "30s", &["m 11"]);
    world.run("30s", "30m", "30s", &["m 1"]);
    let sent: Vec<&str> = world.out.lines().filter(|l| l.contains("send resolved")).collect();
    assert_eq!(sent.len(), 16, "{sent:#?}");
    assert!(sent.iter().all(|line| line.contains("from 0s to 30s")), "{sent:#?}");
    assert!(world.groups[0].rules().all(|(_, _, alerts)| alerts.is_empty()), "forgotten in the end");
}

#[test]
fn a_firing_alert_is_sent_each_resend_delay() {
    let mut world = World::new("  - {alert: A, expr: m > 10}");
    world.run("0s", "5m", "25s", &["m 11"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A"} inactive -> firing
            0s      send firing {alertname="A"} from 0s to 4m
            1m15s   send firing {alertname="A"} from 0s to 5m15s
            2m30s   send firing {alertname="A"} from 0s to 6m30s
            3m45s   send firing {alertname="A"} from 0s to 7m45s
            5m      send firing {alertname="A"} from 0s to 9m
        "#]],
    );
}

#[test]
fn labels_and_annotations_are_expanded_and_override() {
    let mut world = World::new(
        "  - alert: A
    expr: m > 10
    labels: {x: '{{ $labels.x }}+', alertname: other, team: desk, gone: ''}
    annotations: {a: '{{ $labels.__name__ }} {{ .Labels.alertname }} {{ $value | humanize }}', b: '{{ humanize $labels.x }}'}",
    );
    world.run("0s", "0s", "30s", &["m{x=1,gone=here,alertname=old} 1234567"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A", team="desk", x="1+"} inactive -> firing
            0s      send firing {alertname="A", team="desk", x="1+"} from 0s to 4m a="m old 1.235M" b="1"
        "#]],
    );
}

#[test]
fn alerts_series_carry_their_own_name_and_state() {
    let mut world = World::new("  - {alert: A, expr: m > 10, labels: {alertstate: very_critical}}");
    world.run("0s", "0s", "30s", &["m 11"]);
    expect![[r#"
        ALERTS{alertname="A", alertstate="firing"}: 1@0
    "#]]
    .assert_eq(&world.samples("ALERTS"));
}

#[test]
fn two_alerts_with_the_same_labels_are_an_error() {
    let mut world = World::new(
        "  - {alert: A, expr: m > 10, labels: {x: same}}\n  - {alert: B, expr: m > 10}\n  - {record: r, expr: m, labels: {x: same}}",
    );
    world.run("0s", "0s", "30s", &["m{x=1} 11", "m{x=2} 12"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="B", x="1"} inactive -> firing
            0s      {alertname="B", x="2"} inactive -> firing
            0s      send firing {alertname="B", x="1"} from 0s to 4m
            0s      send firing {alertname="B", x="2"} from 0s to 4m
            0s      A fails: vector contains metrics with the same labelset after applying alert labels
            0s      r fails: vector contains metrics with the same labelset after applying rule labels
        "#]],
    );
    let health: Vec<Health> = world.groups[0].rules().map(|(_, status, _)| status.health).collect();
    assert_eq!(health, [Health::Err, Health::Ok, Health::Err]);
    assert_eq!([world.groups[0].state(0), world.groups[0].state(1)], [State::Inactive, State::Firing]);
    assert_eq!(world.samples("r"), "");
}

#[test]
fn a_later_rule_sees_what_an_earlier_one_wrote() {
    let mut world = World::new(
        "  - {record: r, expr: m * 2}
  - {record: s, expr: 'r + 1', labels: {l: x}}
  - {alert: A, expr: s > 10}
  - {alert: B, expr: 'count(ALERTS{alertname=\"A\",alertstate=\"firing\"}) > 0'}
  - {alert: C, expr: m > 0, annotations: {text: '{{ query \"s\" | first | value }}'}}",
    );
    world.run("0s", "0s", "30s", &["m 11"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A", l="x"} inactive -> firing
            0s      {alertname="B"} inactive -> firing
            0s      {alertname="C"} inactive -> firing
            0s      send firing {alertname="A", l="x"} from 0s to 4m
            0s      send firing {alertname="B"} from 0s to 4m
            0s      send firing {alertname="C"} from 0s to 4m text="23"
        "#]],
    );
    world.run("30s", "30s", "30s", &[]);
    expect![[r#"
        r: 22@0 stale@30
        s{l="x"}: 23@0 stale@30
    "#]]
    .assert_eq(&format!("{}{}", world.samples("r"), world.samples("s")));
}

#[test]
fn keep_firing_for_bridges_gaps() {
    let mut world = World::new("  - {alert: A, expr: m > 10, keep_firing_for: 1m}");
    world.run("0s", "0s", "30s", &["m 11"]);
    world.run("30s", "60s", "30s", &["m 1"]);
    world.run("90s", "90s", "30s", &["m 11"]);
    world.run("2m", "4m", "30s", &["m 1"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A"} inactive -> firing
            0s      send firing {alertname="A"} from 0s to 4m
            1m      send firing {alertname="A"} from 0s to 5m
            2m      send firing {alertname="A"} from 0s to 6m
            3m      {alertname="A"} firing -> inactive
            3m      send resolved {alertname="A"} from 0s to 3m
            4m      send resolved {alertname="A"} from 0s to 3m
        "#]],
    );
}

#[test]
fn a_limit_is_an_error_of_its_rule_alone() {
    let mut world = World::new(
        "groups: [{name: g, interval: 30s, limit: 1, rules: [{alert: A, expr: m > 10}, {record: r, expr: m}, {record: s, expr: sum(m)}]}]",
    );
    world.run("0s", "0s", "30s", &["m{x=1} 11", "m{x=2} 12"]);
    check(
        &world,
        expect![[r#"
            0s      A fails: exceeded limit of 1 with 2 alerts
            0s      r fails: exceeded limit of 1 with 2 series
        "#]],
    );
    expect![[r#"
        s: 23@0
    "#]]
    .assert_eq(&world.samples("s"));
}

#[test]
fn a_query_offset_moves_the_samples_too() {
    let mut world = World::new(
        "groups: [{name: g, interval: 30s, query_offset: 30s, rules: [{record: r, expr: m}, {alert: A, expr: m > 10}]}]",
    );
    world.run("0s", "0s", "30s", &["m 1"]);
    world.run("30s", "30s", "30s", &["m 11"]);
    world.run("60s", "60s", "30s", &["m 2"]);
    expect![[r#"
        r: 1@0 11@30
    "#]]
    .assert_eq(&world.samples("r"));
    check(
        &world,
        expect![[r#"
            1m      {alertname="A"} inactive -> firing
            1m      send firing {alertname="A"} from 1m to 5m
        "#]],
    );
}

#[test]
fn a_rule_that_fails_keeps_its_alerts_and_its_group_goes_on() {
    let mut world = World::new("  - {alert: A, expr: m > on() group_left n}\n  - {alert: B, expr: m > 10}");
    world.run("0s", "0s", "30s", &["m{x=1} 11", "n 1"]);
    // Two series on the one side: the expression fails from now on.
    world.run("30s", "90s", "30s", &["m{x=1} 11", "n{y=1} 1", "n{y=2} 2"]);
    world.run("2m", "2m", "30s", &["m{x=1} 1", "n 1"]);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A", x="1"} inactive -> firing
            0s      {alertname="B", x="1"} inactive -> firing
            0s      send firing {alertname="A", x="1"} from 0s to 4m
            0s      send firing {alertname="B", x="1"} from 0s to 4m
            30s     A fails: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__="n", y="1"}, {__name__="n", y="2"}];many-to-many matching not allowed: matching labels must be unique on one side
            1m      send firing {alertname="A", x="1"} from 0s to 5m
            1m      send firing {alertname="B", x="1"} from 0s to 5m
            1m      A fails: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__="n", y="1"}, {__name__="n", y="2"}];many-to-many matching not allowed: matching labels must be unique on one side
            1m30s   A fails: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__="n", y="1"}, {__name__="n", y="2"}];many-to-many matching not allowed: matching labels must be unique on one side
            2m      {alertname="A", x="1"} firing -> inactive
            2m      {alertname="B", x="1"} firing -> inactive
            2m      send resolved {alertname="A", x="1"} from 0s to 2m
            2m      send resolved {alertname="B", x="1"} from 0s to 2m
        "#]],
    );
}

#[test]
fn a_reload_keeps_what_is_the_same() {
    let mut world = World::new(
        "  - {alert: A, expr: m > 10, for: 1m}\n  - {alert: B, expr: m > 10}\n  - {record: r, expr: m}",
    );
    world.run("0s", "30s", "30s", &["m 11"]);
    let mut next =
        World::new("  - {alert: C, expr: m > 10}\n  - {alert: A, expr: m > 9, for: 1m}").groups.remove(0);
    next.inherit(world.groups.remove(0));
    world.groups.push(next);
    world.run("60s", "60s", "30s", &["m 11"]);
    let around = world.around.clone();
    let evaluation = world.groups.remove(0).retire(at("90s"), &around);
    world.log(at("90s"), &evaluation);
    check(
        &world,
        expect![[r#"
            0s      {alertname="A"} inactive -> pending
            0s      {alertname="B"} inactive -> firing
            0s      send firing {alertname="B"} from 0s to 4m
            1m      {alertname="C"} inactive -> firing
            1m      {alertname="A"} pending -> firing
            1m      send firing {alertname="C"} from 1m to 5m
            1m      send firing {alertname="A"} from 1m to 5m
            1m      send resolved {alertname="B"} from 0s to 1m
            1m30s   send resolved {alertname="C"} from 1m to 1m30s
            1m30s   send resolved {alertname="A"} from 1m to 1m30s
        "#]],
    );
    expect![[r#"
        r: 11@0 11@30 stale@60
        ALERTS{alertname="A", alertstate="firing"}: 1@60 stale@90
        ALERTS{alertname="A", alertstate="pending"}: 1@0 1@30 stale@60
        ALERTS{alertname="B", alertstate="firing"}: 1@0 1@30 stale@60
        ALERTS{alertname="C", alertstate="firing"}: 1@60 stale@90
    "#]]
    .assert_eq(&format!("{}{}", world.samples("r"), world.samples("ALERTS")));
}

#[test]
fn a_reload_changes_the_texts_at_once() {
    let mut world = World::new("  - {alert: A, expr: m > 10, annotations: {t: 'old {{ $value }}'}}");
    world.run("0s", "0s", "30s", &["m 11"]);
    let mut next =
        World::new("  - {alert: A, expr: m > 10, annotations: {t: 'new {{ $value }}'}}").groups.remove(0);
    next.inherit(world.groups.remove(0));
    world.groups.push(next);
    world.run("60s", "60s", "30s", &["m 11"]);
    assert!(world.out.ends_with("t=\"new 11\"\n"), "{}", world.out);
}

#[test]
fn the_group_names_what_feeds_it() {
    let world =
        World::new("  - {alert: A, expr: 'sum(rate(m{a=\"b\"}[1m])) / n > 1'}\n  - {record: r, expr: up}");
    let selectors: Vec<String> =
        world.groups[0].selectors().iter().map(|matchers| format!("{matchers:?}")).collect();
    expect![[r#"
        [a="b", __name__="m"]
        [__name__="n"]
        [__name__="up"]"#]]
    .assert_eq(&selectors.join("\n"));
}
