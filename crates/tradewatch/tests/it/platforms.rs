//! The platform folders: every rule is complete, every runbook is about its alert, every query in them is a query.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tradewatch_alert::rules::{RuleFile, RuleSpec};
use tradewatch_catalog::Catalog;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms")
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Platform and rule of every alert.
fn rules() -> Vec<(String, RuleSpec)> {
    let mut found = Vec::new();
    for platform in files(&folder(), "") {
        for file in files(&platform.join("rules"), ".yml") {
            if file.to_string_lossy().ends_with(".test.yml") {
                continue;
            }
            let (parsed, errors) =
                RuleFile::parse(&file.to_string_lossy(), &std::fs::read_to_string(&file).unwrap());
            assert!(errors.is_empty(), "{errors:?}");
            let platform = platform.file_name().unwrap().to_string_lossy().into_owned();
            found.extend(
                parsed.groups.into_iter().flat_map(|group| group.rules).map(|rule| (platform.clone(), rule)),
            );
        }
    }
    found
}

fn runbook(platform: &str, alert: &str) -> String {
    let path = folder().join(platform).join("runbooks").join(format!("{alert}.md"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() {
    for (platform, rule) in rules() {
        let severity = rule.labels.get("severity").map(String::as_str).unwrap_or_default();
        assert!(
            ["critical", "high", "medium", "low"].contains(&severity),
            "{}: severity {severity:?}",
            rule.name
        );
        for annotation in ["summary", "description", "runbook_url", "dashboard_url"] {
            assert!(rule.annotations().contains_key(annotation), "{} has no {annotation}", rule.name);
        }
        assert!(
            rule.annotations()["runbook_url"].ends_with(&format!("/runbooks/{}", rule.name)),
            "{}",
            rule.name
        );
        let text = runbook(&platform, &rule.name);
        for heading in ["What it means", "First checks", "Mitigation", "Verification", "Escalation"] {
            assert!(
                text.contains(&format!("\n## {heading}\n")),
                "the runbook of {} has no {heading}",
                rule.name
            );
        }
    }
}

/// Alerts that no rule makes: the monitor itself warns of silences, and the dead man's switch speaks for the dead.
const WITHOUT_A_RULE: [&str; 2] = [tradewatch_alert::notify::SILENCE_ENDS, "MonitorSilent"];

#[test]
fn no_runbook_is_left_without_an_alert() {
    let mut alerts: BTreeSet<(String, String)> =
        rules().into_iter().map(|(platform, rule)| (platform, rule.name)).collect();
    alerts.extend(WITHOUT_A_RULE.map(|name| ("tradewatch".to_owned(), name.to_owned())));
    for platform in files(&folder(), "") {
        for file in files(&platform.join("runbooks"), ".md") {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let platform = platform.file_name().unwrap().to_string_lossy().into_owned();
            assert!(alerts.contains(&(platform, name)), "{} is about no alert", file.display());
        }
    }
}

#[test]
fn the_queries_of_the_runbooks_are_queries_and_no_two_runbooks_are_alike() {
    let mut seen: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for (platform, rule) in rules() {
        let text = runbook(&platform, &rule.name);
        let (_, after) =
            text.split_once("```promql\n").unwrap_or_else(|| panic!("{} gives no query", rule.name));
        let (queries, _) = after.split_once("```").expect("the block ends");
        for query in queries.lines() {
            tradewatch_promql::parse(query).unwrap_or_else(|error| panic!("{}: {error}", rule.name));
        }
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(str::to_owned)
            .collect();
        for six in lines.windows(6) {
            if let Some(other) = seen.insert(six.to_vec(), rule.name.clone()) {
                assert_eq!(other, rule.name, "two runbooks share six lines: {six:?}");
            }
        }
    }
}

/// Every metric that a rule, a panel or a runbook of the platform reads is one that the platform exposes.
#[test]
fn nothing_reads_a_metric_that_nothing_emits() {
    let path = folder().join("trading-platform/catalog.toml");
    let catalog = Catalog::parse("catalog.toml", &std::fs::read_to_string(&path).unwrap()).unwrap();
    let prefixes = ["execution_gateway_", "signal_service_", "orchestrator_", "market_data_"];
    let check = |place: &str, text: &str| {
        let expr = tradewatch_promql::parse(text).unwrap_or_else(|error| panic!("{place}: {error}"));
        for selector in expr.selectors() {
            let Some(name) = selector.selector.matchers.iter().find(|matcher| matcher.name() == "__name__")
            else {
                continue;
            };
            if prefixes.iter().any(|prefix| name.value().starts_with(prefix)) {
                assert!(
                    catalog.find(name.value()).is_some(),
                    "{place} reads {}, which nothing emits",
                    name.value()
                );
            }
        }
    };
    for (platform, rule) in rules() {
        check(&rule.name, &rule.expr.to_string());
        let text = runbook(&platform, &rule.name);
        let queries =
            text.split_once("```promql\n").and_then(|(_, after)| after.split_once("```")).expect("a block").0;
        queries.lines().for_each(|query| check(&format!("the runbook of {}", rule.name), query));
    }
    for file in files(&folder().join("trading-platform/dashboards"), ".json") {
        let dashboard: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                check(&format!("{}: {}", file.display(), panel["title"]), target["expr"].as_str().unwrap());
            }
        }
    }
}
