//! `tradewatch drill` and `check --platform` as processes: what a drill may not overlook.
//!
//! All drills of the platform run in the release build, by `cargo xtask ci --only drills`.

use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const GATEWAY_KILLED: &str = "
drills:
  - name: gateway-killed
    about: The gateway ends without a word.
    settle: 20s
    for: 70s
    faults: [{ kill: execution-gateway }]
    expect:
      - { alert: ExecutionGatewayLost, fires_within: 3s, clears_within: 3s }
      - { alert: ExecutionGatewayDown, fires_within: 65s, clears_within: 5s, held_back_by: ExecutionGatewayLost }
";

/// A copy of the shipped platforms with drills of its own.
pub fn platforms(drills: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms");
    copy(&shipped, folder.path());
    std::fs::write(folder.path().join("trading-platform/drills.yml"), drills).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Runs drills; answers the output and the report.
fn drill(drills: &str, args: &[&str]) -> (Output, Option<Json>) {
    let folder = platforms(drills);
    let report = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["drill", "--platform", "trading-platform", "--platforms"])
        .arg(folder.path())
        .arg("--report")
        .arg(&report)
        .args(args)
        .output()
        .unwrap();
    (output, std::fs::read_to_string(&report).ok().map(|text| serde_json::from_str(&text).unwrap()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What is wrong with each expectation of the first drill.
fn failures(report: &Json) -> Vec<String> {
    let proofs = report["outcomes"][0]["proofs"].as_array().unwrap().iter();
    proofs.map(|proof| proof["failure"].as_str().unwrap_or("none").to_owned()).collect()
}

#[test]
fn a_killed_gateway_is_told_at_once_its_slow_twin_is_held_back_and_the_same_seed_tells_the_same() {
    // Only that drill is chosen, so that the alerts without one fail nothing here.
    let only = ["--only", "gateway-killed", "--seed", "2"];
    let (output, first) = drill(GATEWAY_KILLED, &only);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let first = first.unwrap();
    let proofs = &first["outcomes"][0]["proofs"];
    assert_eq!(proofs[0]["delivered"], 1);
    assert_eq!(proofs[0]["resolved"], 0);
    assert_eq!(proofs[1]["held_back_by"], "ExecutionGatewayLost");
    assert_eq!(drill(GATEWAY_KILLED, &only).1, Some(first));
}

#[test]
fn a_threshold_out_of_reach_fails_the_drill() {
    let (output, report) = drill(GATEWAY_KILLED, &["--only", "gateway-killed", "--out-of-reach"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let failures = failures(&report.unwrap());
    assert_eq!(failures, ["did not fire within 3 s", "did not fire within 65 s"]);
    assert!(text(&output).contains("the drills of 2 alerts failed, so every drill depends on its rule"));
}

#[test]
fn an_alert_without_drill_fails() {
    let (output, report) = drill(GATEWAY_KILLED, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let unproven = report.unwrap()["unproven"].to_string();
    assert!(
        unproven.contains("PositionMismatch") && !unproven.contains("ExecutionGatewayLost"),
        "{unproven}"
    );
    assert!(text(&output).contains("FAILED: no drill proves it"));
}

#[test]
fn a_fault_that_is_never_taken_back_fails() {
    let drills = "
drills:
  - name: breaker
    about: Somebody trips the breaker and nobody resets it.
    settle: 20s
    for: 5s
    faults: [{ post: { to: execution-gateway, path: /api/v1/breaker/trip, body: { by: test } } }]
    expect: [{ alert: CircuitBreakerTripped, fires_within: 3s, clears_within: 20s }]
";
    let (output, report) = drill(drills, &["--only", "breaker"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(failures(&report.unwrap()), ["did not clear within 20 s of the end of the fault"]);
}

#[test]
fn an_alert_that_nobody_expects_fails_and_one_that_tells_nothing_may_tell_nothing() {
    let drills = "
drills:
  - name: nothing-expected
    about: A service is gone, and that is said to page nobody.
    settle: 20s
    for: 5s
    rest: 5s
    faults: [{ kill: orchestrator }]
    expect: []
  - name: nothing-told
    about: Some messages are lost.
    settle: 60s
    for: 30s
    rest: 30s
    faults: [{ feed: { kind: gap, symbol: TSLA, messages: 5 } }]
    expect: []
";
    let (output, report) = drill(drills, &["--only", "nothing-expected", "--only", "nothing-told"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = report.unwrap();
    assert_eq!(report["outcomes"][0]["unexpected"][0], "OrchestratorLost was told after 1 s");
    assert_eq!(report["outcomes"][1]["unexpected"].as_array().unwrap().len(), 0, "{}", text(&output));
}

#[test]
fn production_refuses() {
    let (output, report) = drill(&format!("production: true\n{GATEWAY_KILLED}"), &[]);
    assert_eq!((output.status.code(), report), (Some(1), None));
    assert!(text(&output).contains("is marked `production: true`: drills do real harm and are refused"));
}

#[test]
fn what_makes_no_sense_is_named_with_its_place_and_what_to_do() {
    let (good, fault) =
        ("{ alert: ExecutionGatewayLost, fires_within: 3s, clears_within: 3s }", "kill: orchestrator");
    let of = |fault: &str, expect: &str| {
        let drills = format!(
            "drills:\n  - name: d\n    about: a\n    for: 5s\n    faults:\n      - {fault}\n    expect:\n      - {expect}\n"
        );
        let (output, report) = drill(&drills, &[]);
        assert_eq!((output.status.code(), report), (Some(1), None), "{}", text(&output));
        let shown = String::from_utf8(output.stderr).unwrap();
        shown.split_once("drills.yml:").unwrap_or_else(|| panic!("no place in {shown}")).1.trim().to_owned()
    };
    let all = [
        of("kill: orchestra", good),
        of("feed: { kind: silent }", good),
        of("broker: { kind: error, share: 3 }", good),
        of("{ kill: orchestrator, hang: price-cache }", good),
        of("kil: orchestrator", good),
        of(fault, "{ alert: ExecutionGatewayLos, fires_within: 3s, clears_within: 3s }"),
        of(fault, "{ alert: ExecutionGatewayLost, fires_within: soon, clears_within: 3s }"),
    ];
    expect_test::expect![[r#"
        6:9: drill "d": no service is called "orchestra"; there are paper-broker, market-feed, price-cache, market-data-service, signal-service, execution-gateway, orchestrator
        6:9: drill "d": not a fault of the feed: unknown variant `silent`, expected one of `disconnect`, `refuse`, `silence`, `gap`, `delay`, `drift`
        6:9: drill "d": fault of the broker: share 3 is not between 0 and 1
        6:9: drill "d": a fault is exactly one of kill, restart, hang, lock_database, feed, broker, model, post, order_past_the_gateway, hook
        6:9: unknown key "kil"; did you mean "kill"?, in `- kil: orchestrator`
        8:18: drill "d": no rule of the platform is called "ExecutionGatewayLos"; did you mean ExecutionGatewayLost?
        8:54: "soon" is not a duration; write for example 120s, 10m or 1h30m, in `- { alert: ExecutionGatewayLost, fires_within: soon, clears_within: 3s }`"#]].assert_eq(&all.join("\n"));
}

#[test]
fn check_fails_for_an_alert_without_drill() {
    let folder = platforms(GATEWAY_KILLED);
    let check = |folder: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
            .args(["check", "--platform", "trading-platform", "--format", "json", "--platforms"])
            .arg(folder)
            .args([folder.join("trading-platform"), folder.join("tradewatch")])
            .output()
            .unwrap();
        let report: Json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)));
        let findings = report["findings"].as_array().unwrap().clone();
        let undrilled = findings.into_iter().filter(|finding| finding["id"] == "TW025");
        (
            output.status.code(),
            undrilled.map(|f| f["object"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let (code, undrilled) = check(folder.path());
    assert_eq!(code, Some(1));
    assert!(undrilled.contains(&"alert PositionMismatch".to_owned()), "{undrilled:?}");
    assert!(!undrilled.contains(&"alert ExecutionGatewayLost".to_owned()), "{undrilled:?}");
    let shipped: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms");
    assert_eq!(check(&shipped), (Some(0), Vec::new()));
}
