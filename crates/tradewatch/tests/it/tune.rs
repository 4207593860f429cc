//! Thresholds from a simulated week of which the truth is known: quantiles, phases, outliers, and too little of it.

use crate::backtest::{ok, run, shown};
use std::fmt::Write as _;
use std::path::PathBuf;
use tempfile::TempDir;

/// Monday 2025-11-03, midnight in New York.
const MONDAY: i64 = 1_762_146_000;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// Numbers from 0 to 1 that look like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

const RULES: &str = "groups:
  - name: levels   # one group
    rules:
      - alert: Latency
        expr: |
          latency_seconds{job=\"gateway\"}
            > 0.05   # seconds
        labels: {severity: high, trading_calendar: XNYS}
      - {alert: Idle, expr: messages < 1, for: 2m}
      - alert: Always
        expr: zero > 3
      - {alert: State, expr: up == 0}
";

/// Samples each minute, and rules with thresholds that somebody guessed. While New York trades, latency is uniform from
/// 0.1 to 0.3, else from 0 to 0.02; messages are uniform from 100 to 200; once a day something is wild for half an hour.
fn week(days: i64) -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let (rules, history) = (folder.path().join("rules.yml"), folder.path().join("week.om"));
    let mut chance = Chance(7);
    let mut text = String::new();
    for at in (MONDAY..MONDAY + days * DAY).step_by(MINUTE as usize) {
        let (day, second) = ((at - MONDAY) / DAY, (at - MONDAY) % DAY);
        let open = day % 7 < 5 && (34_200..57_600).contains(&second);
        let wild = (45_000..46_800).contains(&second);
        let latency = match (open, wild) {
            (_, true) => 60.0,
            (true, _) => 0.1 + 0.2 * chance.next(),
            (false, _) => 0.02 * chance.next(),
        };
        let messages = if wild { -50_000.0 } else { 100.0 + 100.0 * chance.next() };
        writeln!(text, "latency_seconds{{job=\"gateway\"}} {latency} {at}").expect("to a string");
        writeln!(text, "latency_seconds{{job=\"gateway\",quiet=\"yes\"}} 0.000001 {at}")
            .expect("to a string");
        writeln!(text, "messages {messages} {at}\nzero 0 {at}").expect("to a string");
    }
    std::fs::write(&rules, RULES).expect("written");
    std::fs::write(&history, text + "# EOF\n").expect("written");
    (folder, rules, history)
}

/// The number behind `before` in the block that begins with `title`.
fn number(said: &str, title: &str, before: &str) -> f64 {
    let block = said.split_once(title).unwrap_or_else(|| panic!("{title} in\n{said}")).1;
    let rest = block.split_once(before).unwrap_or_else(|| panic!("{before} behind {title} in\n{said}")).1;
    let number = rest.split([' ', ',', '\n']).next().expect("something");
    number.parse().unwrap_or_else(|_| panic!("{number:?} behind {before} in\n{said}"))
}

#[test]
fn a_week_with_known_truth() {
    let (_folder, rules, history) = week(7);
    let args = ["tune", shown(&rules), "--openmetrics", shown(&history)];
    let said = ok(&args);
    println!("{said}");
    // The 0.99 quantiles of what was made: 0.298 while New York trades, 0.0198 else, and 101 from below.
    let near =
        |got: f64, truth: f64| assert!((got / truth - 1.0).abs() < 0.02, "{got} is not {truth}\n{said}");
    near(number(&said, "XNYS open", "baseline "), 0.298);
    near(number(&said, "XNYS closed", "baseline "), 0.0198);
    near(number(&said, "Idle fires below 1", "baseline "), 101.0);
    assert!(said.contains("proposed: 0.6 instead of 0.05"), "{said}");
    assert!(said.contains("proposed: 50 instead of 1"), "{said}");
    // What is wild is no part of what is normal, and the alert still sees it.
    assert!(said.contains("far outside and left out"), "{said}");
    assert!(
        said.contains("in this time it would have fired 5 times, ") || said.contains("fired 7 times"),
        "{said}"
    );
    assert!(said.contains("a multiple of nothing says nothing; 3 stays"), "{said}");
    assert!(said.contains("State: it asks for a state, not for a level"), "{said}");
    let diff = "-            > 0.05   # seconds\n+            > 0.6   # seconds\n";
    assert!(said.contains(diff) && said.contains("expr: messages < 50, for: 2m}"), "{said}");
    assert_eq!(std::fs::read_to_string(&rules).expect("there"), RULES, "nothing is written without --write");
    ok(&[&args[..], &["--write"]].concat());
    let written = std::fs::read_to_string(&rules).expect("there");
    assert_eq!(written, RULES.replace("> 0.05 ", "> 0.6 ").replace("messages < 1,", "messages < 50,"));
    assert!(ok(&args).contains("it is right as it is"));
}

#[test]
fn too_little_is_said_and_nothing_is_guessed() {
    let (_folder, rules, history) = week(3);
    let args = ["tune", shown(&rules), "--openmetrics", shown(&history)];
    let said = ok(&args);
    assert!(said.contains("not enough data: 3.0 days of 7"), "{said}");
    assert!(!said.contains("instead of") && !said.contains("@@"), "{said}");
    // Three days of trading are too few days, three days of nights are not.
    let said = ok(&[&args[..], &["--min-days", "2", "--min-sessions", "4", "--alert", "Latency"]].concat());
    assert!(said.contains("not enough data: values on 3 days of 4"), "{said}");
    let said = ok(&[&args[..], &["--min-days", "2", "--min-sessions", "2", "--quantile", "0.999"]].concat());
    assert!(said.contains("values of 10000"), "{said}");
    for (more, why) in [
        (["--alert", "State"], "no alert compares anything with a constant"),
        (["--calendar", "XNIX"], "there is no calendar \"XNIX\""),
        (["--quantile", "2"], "is no share"),
    ] {
        let output = run(&[&args[..], &more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{more:?}: {said}");
    }
}
