//! What the drills showed: as a table, as Markdown, HTML or JSON.

use super::run::{Outcome, Proof};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// The outcome of all drills.
#[derive(Serialize)]
pub struct Report<'r> {
    /// The platform.
    pub platform: &'r str,
    /// What everything random followed from; none where the drills were live.
    pub seed: Option<u64>,
    /// The drills.
    pub outcomes: &'r [Outcome],
    /// Alerts without a drill.
    pub unproven: &'r [String],
}

/// Whether a report can be written to `path`.
///
/// # Errors
/// If its name ends in none of the known forms.
pub fn check(path: &Path) -> Result<()> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md" | "html" | "json") => Ok(()),
        _ => bail!("{}: a report ends in .md, .html or .json", path.display()),
    }
}

const HEAD: [&str; 9] =
    ["alert", "drill", "injected", "pending", "firing", "delivered", "resolved", "collateral", "verdict"];
/// Which column the verdict is, and the drill.
const DRILL: usize = 1;
const VERDICT: usize = HEAD.len() - 1;

impl Report<'_> {
    fn rows(&self) -> Vec<[String; HEAD.len()]> {
        let after = |at: Option<u64>| at.map_or_else(|| "–".to_owned(), |at| format!("+{at} s"));
        let empty = || -> [String; HEAD.len()] { std::array::from_fn(|_| String::new()) };
        let mut rows = Vec::new();
        for outcome in self.outcomes {
            let collateral: Vec<_> = outcome.collateral.iter().map(String::as_str).collect();
            let collateral = if collateral.is_empty() { "–".to_owned() } else { collateral.join(", ") };
            for proof in &outcome.proofs {
                let verdict = match &proof.failure {
                    None => "proven".to_owned(),
                    Some(why) => format!("FAILED: {why}"),
                };
                rows.push([
                    proof.alert.clone(),
                    outcome.drill.clone(),
                    format!("{} s", outcome.injected),
                    after(proof.pending),
                    after(proof.firing),
                    match &proof.held_back_by {
                        Some(by) => format!("held back by {by}"),
                        None => after(proof.delivered),
                    },
                    after(proof.resolved),
                    collateral.clone(),
                    verdict,
                ]);
            }
            let mut remark = |verdict: String| {
                let mut row = empty();
                row[DRILL].clone_from(&outcome.drill);
                row[VERDICT] = verdict;
                rows.push(row);
            };
            if outcome.proofs.is_empty() && outcome.is_proven() {
                remark("proven: nobody was paged".to_owned());
            }
            for unexpected in outcome.unexpected.iter().chain(&outcome.error) {
                remark(format!("FAILED: {unexpected}"));
            }
        }
        for alert in self.unproven {
            let mut row = empty();
            row[0].clone_from(alert);
            row[VERDICT] = "FAILED: no drill proves it".to_owned();
            rows.push(row);
        }
        rows
    }

    /// How it was done, in a sentence.
    fn way(&self) -> String {
        match self.seed {
            Some(seed) => format!("Simulated on virtual time, seed {seed}."),
            None => "Real faults on what runs, times of the wall clock.".to_owned(),
        }
    }

    /// The proofs as a monitor takes them: the worst of each alert.
    pub fn proofs(&self, way: &str) -> Json {
        let mut proofs: BTreeMap<&str, Json> = BTreeMap::new();
        for outcome in self.outcomes {
            let wrong = outcome.error.iter().chain(&outcome.unexpected).next();
            for proof in &outcome.proofs {
                let why = proof.failure.as_ref().or(wrong);
                let shown = json!({
                    "alert": proof.alert,
                    "platform": self.platform,
                    "drill": outcome.drill,
                    "way": way,
                    "proven": why.is_none(),
                    "why": why.map_or("", String::as_str),
                    "told_after": proof.delivered,
                    "cleared_after": proof.resolved,
                    "held_back_by": proof.held_back_by,
                });
                let kept = proofs.entry(&proof.alert).or_insert_with(|| shown.clone());
                if kept["proven"] == true {
                    *kept = shown;
                }
            }
        }
        Json::Array(proofs.into_values().collect())
    }

    /// Whether every expectation of every drill was missed because its alert did not fire.
    pub fn is_all_missed(&self) -> bool {
        let missed =
            |proof: &Proof| proof.pending.is_none() && proof.delivered.is_none() && proof.failure.is_some();
        self.unproven.is_empty()
            && self
                .outcomes
                .iter()
                .all(|outcome| outcome.error.is_none() && outcome.proofs.iter().all(missed))
    }

    /// What came of drills whose thresholds were out of reach.
    pub fn out_of_reach(&self) -> String {
        let alerts = |missed: bool| -> BTreeSet<&str> {
            let proofs = self.outcomes.iter().flat_map(|outcome| &outcome.proofs);
            proofs
                .filter(|proof| proof.failure.is_some() == missed)
                .map(|proof| proof.alert.as_str())
                .collect()
        };
        let (missed, proven) = (alerts(true), alerts(false));
        let rest = if proven.is_empty() {
            "so every drill depends on its rule".to_owned()
        } else {
            format!(
                "but these were \"proven\" all the same: {}",
                proven.into_iter().collect::<Vec<_>>().join(", ")
            )
        };
        format!("thresholds out of reach: the drills of {} alerts failed, {rest}", missed.len())
    }

    /// One line that says it all.
    pub fn verdict(&self) -> String {
        let (mut proven, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for outcome in self.outcomes {
            let sound = outcome.error.is_none() && outcome.unexpected.is_empty();
            for proof in &outcome.proofs {
                let into = if sound && proof.failure.is_none() { &mut proven } else { &mut failed };
                into.insert(proof.alert.as_str());
            }
        }
        proven.retain(|alert| !failed.contains(alert));
        let unexpected: usize = self.outcomes.iter().map(|outcome| outcome.unexpected.len()).sum();
        let all = proven.len() + failed.len() + self.unproven.len();
        let silent = self.outcomes.iter().filter(|one| one.proofs.is_empty() && one.is_proven()).count();
        let broken = self.outcomes.iter().filter(|outcome| !outcome.is_proven()).count();
        let mut text = format!(
            "{} of {all} alerts proven by {} drills, {silent} faults paged nobody, {unexpected} unexpected alerts",
            proven.len(),
            self.outcomes.len() - silent,
        );
        if broken > 0 {
            let _ = write!(text, "; {broken} drills FAILED");
        }
        text
    }

    /// For the terminal.
    pub fn table(&self) -> String {
        let rows = self.rows();
        let mut widths = HEAD.map(|head| head.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        let head = HEAD.map(str::to_owned);
        for row in std::iter::once(&head).chain(&rows) {
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                if at + 1 == row.len() {
                    let _ = writeln!(out, "{cell}");
                } else {
                    let _ = write!(out, "{cell:<width$}  ");
                }
            }
        }
        let _ = writeln!(out, "\n{}: {}", self.platform, self.verdict());
        out
    }

    fn markdown(&self) -> String {
        let mut out = format!(
            "# Drills of {}\n\n{}. {} `injected` counts since the beginning of the run, `resolved` since the end of the fault, the others since\nthe fault.\n\n",
            self.platform,
            self.verdict(),
            self.way()
        );
        let _ = writeln!(out, "| {} |\n|{}", HEAD.join(" | "), "---|".repeat(HEAD.len()));
        for row in self.rows() {
            let _ = writeln!(out, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        out.push_str("\n| drill | what happens |\n|---|---|\n");
        for outcome in self.outcomes {
            let _ = writeln!(out, "| {} | {} |", outcome.drill, outcome.about.replace('|', "\\|"));
        }
        out
    }

    fn html(&self) -> String {
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let cells = |tag: &str, row: &[String]| {
            let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows().iter().map(|row| cells("td", row)).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Drills of {platform}</title>\n\
             <style>body{{font:14px system-ui;margin:2em}}td,th{{padding:.2em .8em;text-align:left;\
             border-bottom:1px solid #8884}}</style>\n<h1>Drills of {platform}</h1>\n<p>{}. {}</p>\n\
             <table>\n{}{rows}</table>\n</html>\n",
            escape(&self.verdict()),
            self.way(),
            cells("th", &HEAD.map(str::to_owned)),
            platform = escape(self.platform),
        )
    }

    /// Writes the report in the form that the name of the file says.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => self.html(),
            Some("json") => serde_json::to_string_pretty(self)? + "\n",
            _ => self.markdown(),
        };
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}
