//! Rule files and rule unit tests: accepted, passed or failed as by Prometheus and promtool.

use std::path::Path;

use tradewatch_alert::rules::RuleFile;
use tradewatch_alert::unittest;

use super::Report;

/// Files that Prometheus refuses or promtool fails, with a part of what must be said about them.
const MUST_FAIL: [(&str, &str); 10] = [
    ("bad-input-series.yml", "parse error"),
    ("bad-promql.yml", "many-to-many matching not allowed"),
    ("bad-rules-error-test.yml", "rule: joined, time: 0s, err:"),
    ("bad-rules-syntax-test.yml", "could not parse expression"),
    ("bad-rules-syntax.yml", "unexpected end of input"),
    ("failing.yml", "alertname: InstanceDown, time: 5m"),
    ("invalid_rules.yaml", "unexpected_field"),
    ("rules_run.yml", "name: wrong test"),
    ("rules_run_fuzzy.yml", "name: wrong fuzzy match"),
    ("rules_run_no_fuzzy.yml", "name: correct fuzzy match"),
];

/// A rule file is one case; a unit test file has one case per test, or one if it must fail.
pub fn run(text: &str, name: &str, folder: Option<&Path>) -> Report {
    let is_rules = text.lines().any(|line| line.starts_with("groups:"));
    let (cases, errors) = match is_rules {
        true => {
            let (_, errors) = RuleFile::parse(name, text);
            (1, errors.iter().filter(|e| !e.warning).map(ToString::to_string).collect())
        }
        false => {
            let tests = unittest::run(name, text, &mut |pattern| load(folder, pattern));
            (tests.tests, tests.errors)
        }
    };
    judge(name, cases, &errors)
}

fn load(folder: Option<&Path>, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let path = folder.unwrap_or(Path::new(".")).join(pattern);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    Ok(vec![(pattern.to_owned(), text)])
}

fn judge(name: &str, cases: usize, errors: &[String]) -> Report {
    let mut report = Report::default();
    match MUST_FAIL.iter().find(|(file, _)| *file == name) {
        Some((_, said)) if errors.iter().any(|error| error.contains(said)) => report.pass(),
        Some((_, said)) => report.fail(name, format!("must fail with {said:?}, got {errors:?}")),
        None if errors.is_empty() => (0..cases).for_each(|_| report.pass()),
        None => errors.iter().for_each(|error| report.fail(name, error.as_str())),
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_fail_fails() {
        let good = "groups: [{name: g, rules: [{record: a, expr: up}]}]";
        assert_eq!(run(good, "x.yml", None).failures.len(), 0);
        assert_eq!(run(good, "invalid_rules.yaml", None).failures.len(), 1, "accepted, and must not be");
        assert_eq!(run("groups: [{name: g, rules: [{}]}]", "x.yml", None).passed, 0);
        let test = "tests: [{promql_expr_test: [{expr: '1', exp_samples: [{value: 2}]}]}]";
        assert_eq!(run(test, "x.yml", None).failures.len(), 1);
        assert_eq!(run(&test.replace("value: 2", "value: 1"), "x.yml", None).passed, 1);
    }
}
