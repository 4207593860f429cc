//! `tradewatch doctor`: walks the way of a metric or of an alert at a running monitor, and says where it ends.
//!
//! A metric goes from a target that resolves, answers and can be read to stored series and to the rules that read them;
//! an alert from its rule through what the rule reads, its condition and its state to what holds it back, its
//! receiver and the ledger. It also asks a plain Prometheus, as far as that has an answer.

use crate::commands::{base_url, client, encode};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;
use tradewatch_promql::ast::{Expr, ExprKind};

/// Rules, values or targets that one line names.
const SHOWN_MAX: usize = 5;
/// Targets whose pages are read to find a metric that nobody stored.
const PAGES_MAX: usize = 50;
/// How long one page may take.
const PAGE_MAX: Duration = Duration::from_secs(5);
/// A sample older than this has stopped: the reach of a query.
const LOOKBACK: f64 = 300.0;
/// How far back a lost metric is looked for, in seconds.
const PAST: u64 = 30 * 86_400;

/// Options of `doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// A metric or an alert
    pub name: String,
    /// The monitor to ask
    #[arg(long, default_value = "http://127.0.0.1:9090")]
    pub url: String,
}

/// Walks the way of what is named; fails where it ends before its end.
///
/// # Errors
/// If the monitor does not answer, or knows nothing of that name.
pub async fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let patient = Patient { monitor: base_url(&args.url) };
    let rules = patient.rules().await?;
    let mut report = Report::default();
    match rules.iter().find(|rule| rule.json["type"] == "alerting" && rule.name() == args.name) {
        Some(rule) => patient.alert(rule, &mut report).await?,
        None => patient.metric(&args.name, &rules, &mut report).await?,
    }
    crate::out!("{}", report.text());
    Ok(if report.end.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found on the way, step by step.
#[derive(Default)]
struct Report {
    lines: Vec<(char, &'static str, String)>,
    end: Option<&'static str>,
}

impl Report {
    fn good(&mut self, step: &'static str, what: impl Into<String>) {
        self.lines.push(('✔', step, what.into()));
    }

    fn note(&mut self, step: &'static str, what: impl Into<String>) {
        self.lines.push(('·', step, what.into()));
    }

    /// The way ends here.
    fn bad(&mut self, step: &'static str, what: impl Into<String>) {
        self.lines.push(('✘', step, what.into()));
        self.end.get_or_insert(step);
    }

    fn text(&self) -> String {
        let width = self.lines.iter().map(|(_, step, _)| step.chars().count()).max().unwrap_or(0);
        let line = |(mark, step, what): &(char, &str, String)| {
            let what = what.replace('\n', &format!("\n{}", " ".repeat(width + 6)));
            format!("  {mark} {step:<width$}  {what}\n")
        };
        let mut text: String = self.lines.iter().map(line).collect();
        text += &match self.end {
            None => "\nthe way is open to its end\n".to_owned(),
            Some(step) => format!("\nthe way ends at: {step}\n"),
        };
        text
    }
}

/// A rule with its group.
struct Rule {
    group: String,
    file: String,
    interval: f64,
    json: Json,
}

impl Rule {
    fn name(&self) -> &str {
        self.json["name"].as_str().unwrap_or_default()
    }

    fn query(&self) -> &str {
        self.json["query"].as_str().unwrap_or_default()
    }

    /// The metrics that it reads by name.
    fn reads(&self) -> BTreeSet<String> {
        let expr = tradewatch_promql::parse(self.query());
        expr.map(|expr| names(&expr)).unwrap_or_default()
    }
}

fn names(expr: &Expr) -> BTreeSet<String> {
    expr.selectors().iter().filter_map(|one| one.selector.name.clone()).collect()
}

/// A monitor.
struct Patient {
    monitor: String,
}

impl Patient {
    async fn get(&self, path: &str) -> Result<Json> {
        let answer = client().get(&format!("{}{path}", self.monitor)).await;
        let answer =
            answer.with_context(|| format!("no monitor answers at {}; name it with --url", self.monitor))?;
        if !answer.is_success() {
            bail!("{}{path} answered {}: {}", self.monitor, answer.status, answer.text());
        }
        Ok(answer.json()?)
    }

    /// Labels and value of an instant query.
    async fn query(&self, expr: &str) -> Result<Vec<(String, f64)>> {
        let answer = self.get(&format!("/api/v1/query?query={}", encode(expr))).await?;
        let result = &answer["data"]["result"];
        let value = |pair: &Json| pair[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        if answer["data"]["resultType"] == "scalar" {
            return Ok(vec![(String::new(), value(result))]);
        }
        let rows = result.as_array().into_iter().flatten();
        Ok(rows.map(|row| (labels(&row["metric"]), value(&row["value"]))).collect())
    }

    async fn rules(&self) -> Result<Vec<Rule>> {
        let answer = self.get("/api/v1/rules").await?;
        let mut found = Vec::new();
        for group in answer["data"]["groups"].as_array().into_iter().flatten() {
            let text = |key: &str| group[key].as_str().unwrap_or_default().to_owned();
            for rule in group["rules"].as_array().into_iter().flatten() {
                let interval = group["interval"].as_f64().unwrap_or_default();
                found.push(Rule { group: text("name"), file: text("file"), interval, json: rule.clone() });
            }
        }
        Ok(found)
    }

    async fn metric_names(&self) -> Result<Vec<String>> {
        let answer = self.get("/api/v1/label/__name__/values").await?;
        let names = answer["data"].as_array().into_iter().flatten();
        Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    async fn metric(&self, name: &str, rules: &[Rule], report: &mut Report) -> Result<()> {
        let targets = self.get("/api/v1/targets?state=active").await?;
        let targets: Vec<Json> = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let known = self.metric_names().await?;
        let stored: Vec<&str> = stored_names(name, &known);
        let mut readers = Vec::new();
        for rule in rules {
            if rule.reads().iter().any(|read| read == name || stored.contains(&read.as_str())) {
                readers.push(rule.name());
            }
        }
        if stored.is_empty() {
            return self.find_on_pages(name, &targets, &known, rules, report).await;
        }
        let shown = stored.join(", ");
        let mut newest = BTreeMap::new();
        for one in &stored {
            for (labels, at) in self.query(&format!("max by (job, instance) (timestamp({one}))")).await? {
                let kept = newest.entry(labels).or_insert(at);
                *kept = f64::max(*kept, at);
            }
        }
        let down: Vec<&Json> = targets.iter().filter(|target| target["health"] == "down").collect();
        if newest.is_empty() {
            let path = format!("/api/v1/series?match[]={}&start={}", encode(stored[0]), now() - PAST as f64);
            let before = self.get(&path).await?;
            let from: BTreeSet<String> =
                before["data"].as_array().into_iter().flatten().map(|one| origin(one).join(" ")).collect();
            let from: Vec<_> = from.into_iter().take(SHOWN_MAX).collect();
            for target in down.iter().filter(|target| from.contains(&origin(&target["labels"]).join(" "))) {
                report.bad("target answers", failure(target));
            }
            report.bad(
                "stored",
                format!("{shown}: no sample within {LOOKBACK} s; it came from {}", from.join("; ")),
            );
        } else {
            let oldest = newest.values().fold(f64::INFINITY, |a, b| a.min(*b));
            report.good("targets", format!("{} give it", newest.len()));
            for target in down.iter().take(SHOWN_MAX) {
                report.note("targets", failure(target));
            }
            let count: f64 = match self.query(&format!("count({})", stored[0])).await?.first() {
                Some((_, count)) => *count,
                None => 0.0,
            };
            let age = now() - oldest;
            report.good(
                "stored",
                format!("{shown}: {count} series, the newest sample of each target at most {age:.1} s old"),
            );
        }
        self.readers(&readers, report);
        Ok(())
    }

    fn readers(&self, readers: &[&str], report: &mut Report) {
        match readers {
            [] => report.note("rules", "none reads it"),
            _ => report.good("rules", format!("{} read it: {}", readers.len(), some(readers))),
        }
    }

    /// A metric that nothing stored: whether a target exposes it all the same.
    async fn find_on_pages(
        &self,
        name: &str,
        targets: &[Json],
        known: &[String],
        rules: &[Rule],
        report: &mut Report,
    ) -> Result<()> {
        let mut exposed = BTreeSet::new();
        for target in targets.iter().take(PAGES_MAX) {
            let url = target["scrapeUrl"].as_str().unwrap_or_default();
            if target["health"] == "down" {
                report.note("target down", failure(target));
                continue;
            }
            let Ok(page) = client().with_timeout(PAGE_MAX).get(url).await else { continue };
            for line in page.text().lines().filter(|line| !line.starts_with('#')) {
                let series = line.split(['{', ' ']).next().unwrap_or_default();
                if series == name || stored_names(name, &[series.to_owned()]).len() == 1 {
                    let how = "it is on the page and not stored: metric_relabel_configs drop it, or the scrape is newer than your question";
                    report.bad("stored", format!("{url}: {how}"));
                    return Ok(());
                }
                exposed.insert(series.to_owned());
            }
        }
        let alerts = rules.iter().filter(|rule| rule.json["type"] == "alerting").map(Rule::name);
        let names = known.iter().chain(&exposed).map(String::as_str).chain(alerts);
        let near = tradewatch_catalog::nearest(name, names);
        let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        report.bad(
            "exposed",
            format!("{name}: no target that answers exposes it, and no alert has that name{near}"),
        );
        let readers: Vec<&str> =
            rules.iter().filter(|rule| rule.reads().contains(name)).map(Rule::name).collect();
        if !readers.is_empty() {
            report
                .note("rules", format!("{} read it and can never see it: {}", readers.len(), some(&readers)));
        }
        Ok(())
    }

    async fn alert(&self, rule: &Rule, report: &mut Report) -> Result<()> {
        let json = &rule.json;
        report.good("rule", format!("{} in group {:?} of {}", rule.name(), rule.group, rule.file));
        match json["health"].as_str() {
            Some("err") => {
                report.bad("evaluated", json["lastError"].as_str().unwrap_or("it fails").to_owned());
                return Ok(());
            }
            Some("ok") => report.good(
                "evaluated",
                format!("every {} s, last at {}", rule.interval, text(json, "lastEvaluation")),
            ),
            _ => report.note("evaluated", "not yet"),
        }
        let expr = tradewatch_promql::parse(rule.query())?;
        for name in names(&expr) {
            match self.query(&format!("count({name})")).await?.first() {
                Some((_, count)) => report.good("reads", format!("{name}: {count} series")),
                // What an absent() or an `or` watches for may rightly be missing.
                None if rule.query().contains("absent") || rule.query().contains(" or ") => {
                    report.note("reads", format!("{name}: nothing has it now"));
                }
                None => report.bad(
                    "reads",
                    format!("{name}: nothing has it now; `tradewatch doctor {name}` looks for it"),
                ),
            }
        }
        let met = self.query(rule.query()).await?;
        if met.is_empty() {
            report.note("condition", format!("does not hold now: {}", self.measured(&expr).await?));
        } else {
            report.good("condition", format!("holds for {}", values(&met)));
        }
        let alerts: Vec<&Json> = json["alerts"].as_array().into_iter().flatten().collect();
        let hold = json["duration"].as_f64().unwrap_or_default();
        match json["state"].as_str() {
            Some("firing") => report.good(
                "state",
                format!("fires since {}", text(alerts.first().copied().unwrap_or(json), "activeAt")),
            ),
            Some("pending") => report.note(
                "state",
                format!(
                    "pending since {}; fires when it has held for {hold} s",
                    text(alerts.first().copied().unwrap_or(json), "activeAt")
                ),
            ),
            _ => report.note("state", format!("inactive; fires when the condition has held for {hold} s")),
        }
        self.notified(rule, report).await
    }

    /// What the left side of the outermost comparison is now.
    async fn measured(&self, expr: &Expr) -> Result<String> {
        let mut inner = expr.unparen();
        while let ExprKind::Binary(binary) = &inner.kind {
            if binary.op.is_comparison() {
                let (left, right) = (binary.lhs.to_string(), binary.rhs.to_string());
                let found = self.query(&left).await?;
                return Ok(format!(
                    "{left} is {}; it fires where that is {} {right}",
                    values(&found),
                    binary.op.symbol()
                ));
            }
            inner = binary.lhs.unparen();
        }
        Ok("nothing is selected".to_owned())
    }

    async fn notified(&self, rule: &Rule, report: &mut Report) -> Result<()> {
        let name = rule.name();
        let Ok(alerts) = self.get("/api/v2/alerts").await else {
            report.note("notifier", "this monitor has none: ask its Alertmanager");
            return Ok(());
        };
        let alerts: Vec<Json> = alerts.as_array().cloned().unwrap_or_default();
        let own: Vec<&Json> = alerts.iter().filter(|alert| alert["labels"]["alertname"] == name).collect();
        for alert in &own {
            let status = &alert["status"];
            let all = |key: &str| -> Vec<&Json> { status[key].as_array().into_iter().flatten().collect() };
            for by in all("inhibitedBy") {
                let source = alerts.iter().find(|other| other["fingerprint"] == *by);
                let source = source.map_or_else(|| by.to_string(), |other| labels(&other["labels"]));
                report.bad("told", format!("{}: held back by {source}", labels(&alert["labels"])));
            }
            for by in all("silencedBy") {
                report.bad(
                    "told",
                    format!("{}: silenced by {}", labels(&alert["labels"]), by.as_str().unwrap_or("?")),
                );
            }
            for by in all("mutedBy") {
                report.bad(
                    "told",
                    format!("{}: muted by {}", labels(&alert["labels"]), by.as_str().unwrap_or("?")),
                );
            }
        }
        let receivers: BTreeSet<&str> = own
            .iter()
            .flat_map(|alert| alert["receivers"].as_array().into_iter().flatten())
            .filter_map(|receiver| receiver["name"].as_str())
            .chain(rule.json["latencyBudget"]["receiver"].as_str())
            .collect();
        if receivers.is_empty() {
            report.bad("receiver", "no route of alertmanager.yml leads anywhere for it");
        } else {
            report.good("receiver", receivers.into_iter().collect::<Vec<_>>().join(", "));
        }
        if let Ok(ledger) = self.get("/api/tradewatch/v1/notifications?limit=1000").await {
            let prints: Vec<&Json> = own.iter().map(|alert| &alert["fingerprint"]).collect();
            let about = |one: &&Json| {
                one["alerts"].as_array().into_iter().flatten().any(|alert| prints.contains(&alert))
            };
            for one in ledger["queued"].as_array().into_iter().flatten().filter(about).take(SHOWN_MAX) {
                let why = one["last_error"].as_str().unwrap_or("its turn has not come");
                report.bad(
                    "delivered",
                    format!("waits for {} after {} attempts: {why}", text(one, "receiver"), one["attempts"]),
                );
            }
            if let Some(last) = ledger["settled"].as_array().into_iter().flatten().find(about) {
                let line = format!(
                    "{} to {} after {} attempts",
                    text(last, "outcome"),
                    text(last, "receiver"),
                    last["attempts"]
                );
                match last["outcome"].as_str() {
                    Some("refused") => report.bad("delivered", format!("{line}: {}", text(last, "reason"))),
                    _ => report.good("delivered", line),
                }
            }
        }
        match rule.json["drills"].as_array().map(Vec::as_slice) {
            Some([]) => report.note("proven", "never drilled"),
            Some(drills) => {
                for drill in drills {
                    let how = if drill["proven"] == true { "proven" } else { "NOT proven" };
                    report.note(
                        "proven",
                        format!("{how} by drill {} ({})", text(drill, "drill"), text(drill, "way")),
                    );
                }
            }
            None => {}
        }
        Ok(())
    }
}

/// Of the stored names those that the family `name` has: itself, or the parts of a histogram or summary.
fn stored_names<'k>(name: &str, known: &'k [String]) -> Vec<&'k str> {
    let fits = |known: &&String| {
        let rest = known.strip_prefix(name);
        rest.is_some_and(|rest| ["", "_bucket", "_count", "_sum", "_total"].contains(&rest))
    };
    known.iter().filter(fits).map(String::as_str).collect()
}

fn now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}

fn origin(labels: &Json) -> [String; 2] {
    [text(labels, "job"), text(labels, "instance")]
}

fn failure(target: &Json) -> String {
    let [job, _] = origin(&target["labels"]);
    format!("{job}, {}: {}", text(target, "scrapeUrl"), text(target, "lastError"))
}

fn labels(json: &Json) -> String {
    let pairs = json.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn some(names: &[&str]) -> String {
    let mut text = names.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text += &format!(" and {} more", names.len() - SHOWN_MAX);
    }
    text
}

fn values(found: &[(String, f64)]) -> String {
    let line = |(labels, value): &(String, f64)| format!("{labels} {value}").trim().to_owned();
    let shown: Vec<String> = found.iter().take(SHOWN_MAX).map(line).collect();
    match found.len() {
        0 => "nothing".to_owned(),
        all if all > SHOWN_MAX => format!("{} and {} more", shown.join(", "), all - SHOWN_MAX),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_parts_and_no_namesakes() {
        let known =
            ["wait_seconds_bucket", "wait_seconds_count", "wait_seconds_max", "wait"].map(str::to_owned);
        assert_eq!(stored_names("wait_seconds", &known), ["wait_seconds_bucket", "wait_seconds_count"]);
        assert_eq!(stored_names("wait", &known), ["wait"]);
    }

    #[test]
    fn the_first_break_is_where_the_way_ends() {
        let mut report = Report::default();
        report.good("rule", "here");
        report.bad("reads", "x: nothing has it now");
        report.bad("told", "silenced");
        expect_test::expect![[r#"
              ✔ rule   here
              ✘ reads  x: nothing has it now
              ✘ told   silenced

            the way ends at: reads
        "#]]
        .assert_eq(&report.text());
    }
}
