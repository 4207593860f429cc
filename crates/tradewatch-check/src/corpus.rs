//! The corpus: every known fault of real platforms with its expression, and rules and panels that are right.
//!
//! `cargo xtask corpus` prints it; a test holds it. What is read comes through a closure, by paths from the root of the
//! repository.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::json;

use crate::finding::{Finding, Severity};
use crate::project::{Options, Project, check};
use crate::read::{Content, Input};
use crate::world::World;

/// Where the corpus is.
pub const FOLDER: &str = "crates/tradewatch-check/corpus";
/// True of every original: none of them had a runbook.
const ALWAYS_TRUE: &[&str] = &["TW024"];

/// Reads a file by its path from the root of the repository.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    row: Vec<Row>,
}

/// A fault row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The section that names the fault.
    pub section: String,
    /// What it is about.
    pub name: String,
    /// The fault, in a few words.
    pub says: String,
    /// Why no static check can see it; `None` where one can.
    #[serde(default)]
    pub not_visible: Option<String>,
    #[serde(default)]
    world: String,
    /// The checks that find it.
    #[serde(default)]
    pub expect: Vec<String>,
    /// Checks that are true of the row as well.
    #[serde(default)]
    pub also: Vec<String>,
    /// A text that the message or reason of the finding has to hold.
    #[serde(default)]
    mentions: String,
    alert: Option<String>,
    #[serde(default)]
    expr: String,
    #[serde(rename = "for")]
    hold: Option<String>,
    severity: Option<String>,
    summary: Option<String>,
    description: Option<String>,
    rules: Option<String>,
    panel: Option<String>,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    exprs: Vec<String>,
    unit: Option<String>,
    legend: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
    dashboard: Option<String>,
    prometheus: Option<String>,
    #[serde(default)]
    missing_rule_files: BTreeSet<String>,
    /// The scrape configuration of the world is judged as well.
    #[serde(default)]
    scrape: bool,
    /// The catalogue of the world is judged as well.
    #[serde(default)]
    catalog: bool,
    catalog_text: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Step {
    value: Option<f64>,
    color: String,
}

#[derive(Deserialize)]
struct Sets {
    set: Vec<Set>,
}

/// Files that are right.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    files: Vec<String>,
    #[serde(default)]
    context: Vec<String>,
    #[serde(default)]
    event_driven: bool,
    /// Findings that are true although the files are published: check, object, and why.
    #[serde(default)]
    found_upstream: Vec<(String, String, String)>,
}

/// What came of one row.
pub struct RowOutcome {
    /// The row.
    pub row: Row,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// Found, where it is visible.
    pub found: bool,
    /// Errors and warnings that are neither expected nor true as well.
    pub wrong: Vec<Finding>,
}

/// What came of one set of right files.
pub struct SetOutcome {
    /// Its name.
    pub name: String,
    /// Rules in it.
    pub rules: usize,
    /// Panels in it.
    pub panels: usize,
    /// Errors and warnings: all of them are wrong.
    pub wrong: Vec<Finding>,
}

/// What came of the whole corpus.
pub struct Outcome {
    /// By row.
    pub rows: Vec<RowOutcome>,
    /// By set.
    pub sets: Vec<SetOutcome>,
}

/// Runs the corpus.
///
/// # Errors
/// A file that cannot be read, with the reason.
pub fn run(read: Read<'_>) -> Result<Outcome, String> {
    let path = format!("{FOLDER}/rows.toml");
    let rows: Rows = toml::from_str(&read(&path)?).map_err(|error| format!("{path}: {error}"))?;
    let rows = rows.row.into_iter().map(|row| run_row(row, read)).collect::<Result<_, _>>()?;
    let path = format!("{FOLDER}/negatives.toml");
    let sets: Sets = toml::from_str(&read(&path)?).map_err(|error| format!("{path}: {error}"))?;
    let sets = sets.set.into_iter().map(|set| run_set(set, read)).collect::<Result<_, _>>()?;
    Ok(Outcome { rows, sets })
}

fn run_row(row: Row, read: Read<'_>) -> Result<RowOutcome, String> {
    if row.not_visible.is_some() {
        return Ok(RowOutcome { row, findings: Vec::new(), found: false, wrong: Vec::new() });
    }
    let platform = row.world.split('-').next().unwrap_or("").to_owned();
    let mut inputs = Vec::new();
    let mut input = |path: &str, text: String| inputs.push(Input { path: path.to_owned(), text });
    let catalog = match &row.catalog_text {
        Some(text) => text.clone(),
        None => read(&format!("{FOLDER}/worlds/{}.toml", row.world))?,
    };
    input("catalog.toml", catalog);
    let scrape = match &row.prometheus {
        Some(text) => text.clone(),
        None => read(&format!("{FOLDER}/worlds/{platform}.yml"))?,
    };
    input("prometheus.yml", scrape);
    if let Some(rules) = row.rules_text() {
        input("rules.yml", rules);
    }
    if let Some(dashboard) = row.dashboard_text() {
        input("dashboard.json", dashboard);
    }
    let mut context = BTreeSet::new();
    if !row.scrape && row.prometheus.is_none() {
        context.insert("prometheus.yml".to_owned());
    }
    if !row.catalog && row.catalog_text.is_none() {
        context.insert("catalog.toml".to_owned());
    }
    let options =
        Options { missing_rule_files: row.missing_rule_files.clone(), context, ..Options::default() };
    let findings = looked(inputs, &options);
    let mentions = |finding: &Finding| {
        row.mentions.is_empty()
            || finding.message.contains(&row.mentions)
            || finding.why.contains(&row.mentions)
    };
    let found = row
        .expect
        .iter()
        .all(|id| findings.iter().any(|finding| finding.id == id && (mentions(finding) || id == "TW034")));
    let known =
        |id: &str| row.expect.iter().chain(&row.also).any(|known| known == id) || ALWAYS_TRUE.contains(&id);
    let wrong = findings
        .iter()
        .filter(|finding| finding.severity != Severity::Info && !known(finding.id))
        .cloned()
        .collect();
    Ok(RowOutcome { row, findings, found, wrong })
}

/// Checks the inputs against the catalogues among them.
fn looked(inputs: Vec<Input>, options: &Options) -> Vec<Finding> {
    let project = Project::read(inputs);
    let scrape = project.scrape().map(|(_, file)| file);
    let mut world = World::new(scrape);
    for document in &project.documents {
        if let Content::Catalog(catalog) = &document.content {
            world.add_catalog(catalog, scrape);
        }
    }
    check(&project, world, options)
        .findings
        .into_iter()
        .filter(|finding| finding.suppressed.is_none())
        .collect()
}

fn run_set(set: Set, read: Read<'_>) -> Result<SetOutcome, String> {
    let mut inputs = Vec::new();
    for path in set.files.iter().chain(&set.context) {
        inputs.push(Input { path: path.clone(), text: read(path)? });
    }
    let options = Options {
        context: set.context.iter().cloned().collect(),
        event_driven: set.event_driven,
        ..Options::default()
    };
    let project = Project::read(inputs.clone());
    let (rules, panels) = (project.rules().count(), project.panels().count());
    let findings = looked(inputs, &options);
    let accepted = |finding: &Finding| {
        set.found_upstream.iter().any(|(id, object, _)| finding.id == id && finding.place.object == *object)
    };
    let wrong = findings
        .into_iter()
        .filter(|finding| finding.severity != Severity::Info && !accepted(finding))
        .collect();
    Ok(SetOutcome { name: set.name, rules, panels, wrong })
}

impl Row {
    fn rules_text(&self) -> Option<String> {
        if let Some(rules) = &self.rules {
            return Some(format!("groups:\n- name: original\n  rules:\n{}", indented(rules, "  ")));
        }
        let name = self.alert.as_ref()?;
        let quoted = |text: &str| json!(text).to_string();
        let mut out = format!(
            "groups:\n- name: original\n  rules:\n  - alert: {name}\n    expr: {}\n",
            quoted(&self.expr)
        );
        if let Some(hold) = &self.hold {
            let _ = writeln!(out, "    for: {hold}");
        }
        if let Some(severity) = &self.severity {
            let _ = writeln!(out, "    labels: {{severity: {severity}}}");
        }
        if self.summary.is_some() || self.description.is_some() {
            out += "    annotations:\n";
            for (name, text) in [("summary", &self.summary), ("description", &self.description)] {
                if let Some(text) = text {
                    let _ = writeln!(out, "      {name}: {}", quoted(text));
                }
            }
        }
        Some(out)
    }

    fn dashboard_text(&self) -> Option<String> {
        if let Some(dashboard) = &self.dashboard {
            return Some(dashboard.clone());
        }
        let title = self.panel.as_ref()?;
        let mut defaults = json!({});
        if let Some(unit) = &self.unit {
            defaults["unit"] = json!(unit);
        }
        if !self.steps.is_empty() {
            let steps: Vec<_> =
                self.steps.iter().map(|step| json!({"value": step.value, "color": step.color})).collect();
            defaults["thresholds"] = json!({"mode": "absolute", "steps": steps});
        }
        let targets: Vec<_> = self
            .exprs
            .iter()
            .map(|expr| match &self.legend {
                Some(legend) => json!({"expr": expr, "legendFormat": legend}),
                None => json!({"expr": expr}),
            })
            .collect();
        let panel = json!({"type": self.kind, "title": title, "fieldConfig": {"defaults": defaults}, "targets": targets});
        serde_json::to_string_pretty(&json!({"title": "original", "panels": [panel]})).ok()
    }
}

fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

impl Outcome {
    /// Rows that a static check can see.
    pub fn visible(&self) -> impl Iterator<Item = &RowOutcome> {
        self.rows.iter().filter(|outcome| outcome.row.not_visible.is_none())
    }

    /// Visible rows that were found, of all visible ones.
    pub fn recall(&self) -> f64 {
        let (found, all) = (self.visible().filter(|outcome| outcome.found).count(), self.visible().count());
        found as f64 / all.max(1) as f64
    }

    /// Errors and warnings that are right, of all.
    pub fn precision(&self) -> f64 {
        let wrong = self.wrong().count();
        let right: usize = self
            .visible()
            .map(|outcome| {
                outcome.findings.iter().filter(|finding| finding.severity != Severity::Info).count()
                    - outcome.wrong.len()
            })
            .sum();
        right as f64 / (right + wrong).max(1) as f64
    }

    /// Errors and warnings that are not.
    pub fn wrong(&self) -> impl Iterator<Item = &Finding> {
        self.rows.iter().flat_map(|outcome| &outcome.wrong).chain(self.sets.iter().flat_map(|set| &set.wrong))
    }

    /// Rows, precision and recall; with `all` every row by name.
    pub fn text(&self, all: bool) -> String {
        let mut out = String::new();
        let mut sections: Vec<&str> = self.rows.iter().map(|outcome| outcome.row.section.as_str()).collect();
        sections.dedup();
        let _ = writeln!(out, "section   rows   visible   found   not visible to a static check");
        for section in sections {
            let rows: Vec<&RowOutcome> =
                self.rows.iter().filter(|outcome| outcome.row.section == section).collect();
            let visible = rows.iter().filter(|outcome| outcome.row.not_visible.is_none()).count();
            let found = rows.iter().filter(|outcome| outcome.found).count();
            let _ = writeln!(
                out,
                "{section:<7} {:>6} {visible:>9} {found:>7} {:>6}",
                rows.len(),
                rows.len() - visible
            );
        }
        if all {
            out.push('\n');
            for outcome in &self.rows {
                let Row { section, name, says, expect, not_visible, .. } = &outcome.row;
                let verdict = match (not_visible, outcome.found) {
                    (Some(reason), _) => format!("not visible: {reason}"),
                    (None, true) => format!("found {}", expect.join(", ")),
                    (None, false) => format!("MISSED {}", expect.join(", ")),
                };
                let _ = writeln!(out, "{section}  {name}: {says}\n       {verdict}");
            }
        } else {
            for outcome in self.visible().filter(|outcome| !outcome.found) {
                let ids: BTreeSet<&str> = outcome.findings.iter().map(|finding| finding.id).collect();
                let Row { section, name, expect, .. } = &outcome.row;
                let _ = writeln!(out, "MISSED  {section} {name}: {} (found {ids:?})", expect.join(", "));
            }
        }
        out.push('\n');
        for set in &self.sets {
            let _ = writeln!(
                out,
                "right     {:<34} {:>3} rules {:>3} panels, {} wrong findings",
                set.name,
                set.rules,
                set.panels,
                set.wrong.len()
            );
        }
        for finding in self.wrong() {
            let _ = writeln!(
                out,
                "WRONG   {} {}:{} {} {} ({})",
                finding.id,
                finding.place.file,
                finding.place.line,
                finding.place.object,
                finding.message,
                finding.why
            );
        }
        let visible = self.visible().count();
        let found = self.visible().filter(|outcome| outcome.found).count();
        let _ = writeln!(
            out,
            "\n{} rows, {visible} visible to a static check, {found} found: recall {:.3}, precision {:.3}",
            self.rows.len(),
            self.recall(),
            self.precision()
        );
        out
    }
}
