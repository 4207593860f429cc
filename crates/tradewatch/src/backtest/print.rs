//! A backtest as a table for people and as JSON for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tradewatch_alert::Severity;
use tradewatch_alert::replay::{Episode, Report};
use tradewatch_tsdb::Timestamp;

use super::incidents::Incident;
use super::score::{Score, Scores, median};

/// One version of the rules, replayed.
pub struct Version {
    /// As it was named on the command line.
    pub name: String,
    pub report: Report,
    pub scores: Scores,
}

/// Everything that is printed.
pub struct Outcome {
    pub from: Timestamp,
    pub to: Timestamp,
    pub incidents: Vec<Incident>,
    pub grace: Duration,
    pub version: Version,
    /// What it is compared with.
    pub against: Option<Version>,
    pub remarks: Vec<String>,
    /// How long the replays took.
    pub took: Duration,
}

/// Seconds as people read them.
pub fn length(seconds: f64) -> String {
    match seconds {
        s if s < 0.0 || !s.is_finite() => "-".to_owned(),
        s if s < 1.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn span(of: Option<Duration>) -> String {
    of.map_or_else(|| "-".to_owned(), |of| length(of.as_secs_f64()))
}

fn percent(of: Option<f64>) -> String {
    of.map_or_else(|| "-".to_owned(), |of| format!("{:.0} %", of * 100.0))
}

fn minutes(of: Duration) -> String {
    format!("{:.1}", of.as_secs_f64() / 60.0)
}

fn severity(of: Severity) -> &'static str {
    match of {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// Rows under a head, the first column to the left and the others to the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let fill = " ".repeat(width - cell.chars().count());
            if at == 0 { format!("{cell}{fill}") } else { format!("{fill}{cell}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The whole outcome for people.
pub fn text(outcome: &Outcome, with_episodes: bool) -> String {
    let mut out = String::new();
    let whole = outcome.to.since(outcome.from).as_secs_f64();
    let _ = writeln!(
        out,
        "{} to {} ({}): {} incidents, replayed in {}\n",
        outcome.from,
        outcome.to,
        length(whole),
        outcome.incidents.len(),
        length(outcome.took.as_secs_f64())
    );
    match &outcome.against {
        None => out.push_str(&one(outcome)),
        Some(against) => out.push_str(&two(outcome, against)),
    }
    if !outcome.incidents.is_empty() {
        out.push_str(&incidents(outcome));
    }
    for version in [Some(&outcome.version), outcome.against.as_ref()].into_iter().flatten() {
        out.push_str(&problems(version));
    }
    if with_episodes {
        out.push_str(&episodes(outcome));
    }
    for remark in &outcome.remarks {
        let _ = writeln!(out, "\nnote: {remark}");
    }
    out
}

fn one(outcome: &Outcome) -> String {
    let scores = &outcome.version.scores;
    let row = |(name, score): (&String, &Score)| {
        vec![
            name.clone(),
            severity(score.severity).to_owned(),
            score.pending.to_string(),
            score.fired.to_string(),
            score.told.to_string(),
            minutes(score.firing),
            score.found.to_string(),
            score.false_pages.to_string(),
            span(median(&score.detect)),
            percent(score.precision().filter(|_| !outcome.incidents.is_empty())),
            percent(score.recall()),
        ]
    };
    let rows: Vec<Vec<String>> = scores.alerts.iter().map(row).collect();
    let head = [
        "alert",
        "severity",
        "pending",
        "fired",
        "told",
        "minutes",
        "found",
        "false pages",
        "detect",
        "precision",
        "recall",
    ];
    let mut out = table(&head, &rows);
    let _ = writeln!(out, "\n{}", overall(&outcome.version, !outcome.incidents.is_empty()));
    out
}

fn overall(version: &Version, judged: bool) -> String {
    let scores = &version.scores;
    let mut out = format!("{}: fired {}, notifications {}", version.name, scores.fired, scores.notices);
    if judged {
        let detect = scores.detect();
        let _ = write!(
            out,
            "; precision {}, recall {} ({} of {}), time to detect {} (median), {} (longest), false pages {}",
            percent(scores.precision()),
            percent(scores.recall()),
            scores.found(),
            scores.incidents.len(),
            span(median(&detect)),
            span(detect.last().copied()),
            scores.false_pages
        );
    }
    out
}

fn two(outcome: &Outcome, against: &Version) -> String {
    let (old, new) = (&against.scores.alerts, &outcome.version.scores.alerts);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pair = |a: Option<String>, b: Option<String>| match (a, b) {
        (Some(a), Some(b)) => format!("{a} → {b}"),
        (Some(a), None) => format!("{a} → gone"),
        (None, Some(b)) => format!("new → {b}"),
        (None, None) => String::new(),
    };
    let row = |name: &&String| {
        let (a, b) = (old.get(*name), new.get(*name));
        let cell = |of: fn(&Score) -> String| pair(a.map(of), b.map(of));
        vec![
            (*name).clone(),
            cell(|s| s.fired.to_string()),
            cell(|s| s.found.to_string()),
            cell(|s| s.false_pages.to_string()),
            cell(|s| span(median(&s.detect))),
            cell(|s| minutes(s.firing)),
        ]
    };
    let rows: Vec<Vec<String>> = names.iter().map(row).collect();
    let mut out = format!("{} → {}\n\n", against.name, outcome.version.name);
    out.push_str(&table(
        &["alert", "fired", "incidents found", "false pages", "time to detect", "minutes firing"],
        &rows,
    ));
    let judged = !outcome.incidents.is_empty();
    let _ = writeln!(out, "\n{}\n{}", overall(against, judged), overall(&outcome.version, judged));
    out
}

fn incidents(outcome: &Outcome) -> String {
    let mut head = vec!["incident", "from", "lasted"];
    if outcome.against.is_some() {
        head.push("found before by");
    }
    head.push("found by");
    let found = |version: &Version, at: usize| match &version.scores.incidents[at] {
        Some((name, after)) => format!("{name} after {}", length(after.as_secs_f64())),
        None => "nothing".to_owned(),
    };
    let row = |(at, incident): (usize, &Incident)| {
        let mut row = vec![
            incident.name.clone(),
            incident.from.to_string(),
            length(incident.to.since(incident.from).as_secs_f64()),
        ];
        row.extend(outcome.against.as_ref().map(|against| found(against, at)));
        row.push(found(&outcome.version, at));
        row
    };
    let rows: Vec<Vec<String>> = outcome.incidents.iter().enumerate().map(row).collect();
    format!("\n{}", table(&head, &rows))
}

fn problems(version: &Version) -> String {
    let mut out = String::new();
    for rule in &version.report.rules {
        for (error, at) in &rule.errors {
            let _ = write!(out, "\n{}:{}: {}: {error} (first at {at}", rule.file, rule.line, rule.name);
            let _ = writeln!(
                out,
                "; {} of {} evaluations failed)",
                rule.failures,
                rule.evaluations + rule.failures
            );
        }
        for warning in &rule.warnings {
            let _ = writeln!(out, "\n{}:{}: {}: {warning}", rule.file, rule.line, rule.name);
        }
    }
    if version.report.dropped > 0 {
        let _ = writeln!(
            out,
            "\n{}: {} episodes and notices more than are kept",
            version.name, version.report.dropped
        );
    }
    out
}

fn episodes(outcome: &Outcome) -> String {
    let shown = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let row = |episode: &Episode| {
        vec![
            episode.labels.to_string(),
            episode.active_at.to_string(),
            shown(episode.fired_at),
            shown(episode.told_at),
            shown(episode.ended_at),
        ]
    };
    let rows: Vec<Vec<String>> = outcome.version.report.episodes.iter().map(row).collect();
    format!("\n{}", table(&["episode", "pending", "firing", "told", "resolved"], &rows))
}

/// The whole outcome for programs, and for the timeline page.
pub fn json(outcome: &Outcome) -> Json {
    json!({
        "from": outcome.from.to_string(),
        "to": outcome.to.to_string(),
        "graceSeconds": outcome.grace.as_secs_f64(),
        "incidents": outcome.incidents,
        "version": version(&outcome.version),
        "against": outcome.against.as_ref().map(version),
        "remarks": outcome.remarks,
        "seconds": outcome.took.as_secs_f64(),
    })
}

fn version(version: &Version) -> Json {
    let seconds = |of: &Duration| of.as_secs_f64();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let scores = &version.scores;
    let alert = |(name, score): (&String, &Score)| {
        json!({
            "name": name,
            "severity": severity(score.severity),
            "pending": score.pending,
            "fired": score.fired,
            "told": score.told,
            "right": score.right,
            "falsePages": score.false_pages,
            "firingSeconds": seconds(&score.firing),
            "incidentsFound": score.found,
            "incidentsNamed": score.named,
            "detectSeconds": score.detect.iter().map(seconds).collect::<Vec<_>>(),
            "precision": score.precision(),
            "recall": score.recall(),
            "failedEvaluations": score.failures,
        })
    };
    let episode = |episode: &Episode| {
        let labels: serde_json::Map<String, Json> =
            episode.labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        json!({
            "alert": version.report.rules[episode.rule].name,
            "labels": labels,
            "pending": episode.active_at.to_string(),
            "firing": time(episode.fired_at),
            "told": time(episode.told_at),
            "resolved": time(episode.ended_at),
        })
    };
    let notice = |notice: &tradewatch_alert::replay::Notice| {
        json!({
            "at": notice.at.to_string(),
            "receiver": notice.receiver,
            "group": notice.group,
            "firing": notice.firing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "resolved": notice.resolved.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reminder": notice.repeated,
        })
    };
    json!({
        "name": version.name,
        "fired": scores.fired,
        "told": scores.told,
        "precision": scores.precision(),
        "recall": scores.recall(),
        "falsePages": scores.false_pages,
        "alerts": scores.alerts.iter().map(alert).collect::<Vec<_>>(),
        "foundBy": scores.incidents.iter().map(|found| {
            found.as_ref().map(|(name, after)| json!({ "alert": name, "seconds": after.as_secs_f64() }))
        }).collect::<Vec<_>>(),
        "episodes": version.report.episodes.iter().map(episode).collect::<Vec<_>>(),
        "notices": version.report.notices.iter().map(notice).collect::<Vec<_>>(),
        "errors": version.report.rules.iter().flat_map(|rule| rule.errors.keys().map(|error| json!({
            "file": rule.file, "line": rule.line, "rule": rule.name, "error": error,
        }))).collect::<Vec<_>>(),
        "samplesRead": version.report.samples_read,
        "dropped": version.report.dropped,
    })
}
