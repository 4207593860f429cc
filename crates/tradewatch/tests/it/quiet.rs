//! `tradewatch quiet` as a process, on a few days. The whole year runs at night, the edges of it in CI's release build.

use std::process::{Command, Output};

fn quiet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tradewatch"))
        .args(["quiet", "--platform", "trading-platform"])
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap()
}

#[test]
fn days_beyond_the_calendar_and_turned_round_are_refused() {
    for (args, why) in [
        (["--from", "2026-02-01", "--to", "2026-01-01"], "--from 2026-02-01 is after --to 2026-01-01"),
        (["--from", "2031-01-01", "--to", "2031-02-01"], "the sessions of XNYS are known from 2015-01-01"),
    ] {
        let output = quiet(&args);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(why), "{shown}");
    }
}

/// A Sunday with an alert that fires while everything is well.
#[test]
fn a_page_for_nothing_is_listed_and_fails() {
    let folder = super::drill::platforms("drills: []\n");
    let rules = folder.path().join("trading-platform/rules/service-health.yml");
    let text = std::fs::read_to_string(&rules).unwrap();
    let (well, broken) = (r#"up{job="orchestrator",platform="trading-platform"} == 0"#, "== 1");
    std::fs::write(&rules, text.replacen(well, &well.replace("== 0", broken), 1)).unwrap();
    let output = quiet(&[
        "--from",
        "2026-06-14",
        "--to",
        "2026-06-14",
        "--incidents",
        "0",
        "--platforms",
        &folder.path().to_string_lossy(),
    ]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("critical OrchestratorLost (closed hours)"), "{shown}");
    assert!(shown.contains("1 pages without an incident, 0 of 0 incidents found"), "{shown}");
}
