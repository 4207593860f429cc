//! Findings that somebody has looked at and wants to keep: always with a reason.
//!
//! In YAML a comment, `# tradewatch:ignore TW021 trades around the clock`, speaks for the line it stands on, or for the
//! rule, route or key below it; `# tradewatch:ignore-file TW034 …` for the whole file. In a dashboard the same words
//! stand in the description of the panel or of the dashboard. A file given by `--ignore` has a line for each.

use crate::finding::{Finding, Place, Severity};
use crate::project::{Options, Project};
use crate::read::{Content, Document, get};

const MARK: &str = "tradewatch:ignore";

/// A line of a file given by `--ignore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignore {
    /// The check.
    pub id: String,
    /// The end of the path it holds for; `*` for all.
    pub path: String,
    /// A part of the object or message it holds for; empty for all.
    pub about: String,
    /// Why.
    pub reason: String,
}

impl Ignore {
    /// Reads lines of the form `TW030 dashboards/old.json "Order rate" # reason`.
    ///
    /// # Errors
    /// The first line that cannot be read, with its number.
    pub fn parse(path: &str, text: &str) -> Result<Vec<Ignore>, String> {
        let mut ignores = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{path}:{}:1", at + 1);
            let (what, reason) =
                line.split_once('#').map_or((line, ""), |(what, reason)| (what.trim(), reason.trim()));
            if reason.is_empty() {
                return Err(format!("{place}: {line:?} gives no reason; write one behind a #"));
            }
            let mut parts = what.splitn(3, char::is_whitespace);
            let (id, file, about) =
                (parts.next().unwrap_or(""), parts.next().unwrap_or("*"), parts.next().unwrap_or(""));
            if !is_id(id) {
                return Err(format!(
                    "{place}: {id:?} is no check; write for example TW030 dashboards/old.json # why"
                ));
            }
            ignores.push(Ignore {
                id: id.to_owned(),
                path: file.to_owned(),
                about: about.trim().trim_matches('"').to_owned(),
                reason: reason.to_owned(),
            });
        }
        Ok(ignores)
    }

    fn covers(&self, finding: &Finding) -> bool {
        let path = self.path == "*" || finding.place.file.ends_with(&self.path);
        let about = self.about.is_empty()
            || finding.place.object.contains(&self.about)
            || finding.message.contains(&self.about);
        self.id == finding.id && path && about
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 5 && text.starts_with("TW") && text[2..].bytes().all(|b| b.is_ascii_digit())
}

/// What a mark says: the checks and the reason.
fn read(text: &str) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if !is_id(&rest[..end]) {
            break;
        }
        ids.push(rest[..end].to_owned());
        rest = rest[end..].trim_start_matches([',', ' ']);
    }
    (ids, rest.trim_start_matches([':', '-', '—', ' ']).trim().to_owned())
}

/// A mark in a file and the lines it speaks for.
struct Mark {
    line: usize,
    column: usize,
    ids: Vec<String>,
    reason: String,
    from: usize,
    to: usize,
}

/// Marks what is suppressed; a mark without a reason is itself found.
pub fn apply(project: &Project, options: &Options, findings: &mut Vec<Finding>) {
    let mut unreasoned = Vec::new();
    for document in &project.documents {
        for mark in marks(document) {
            if mark.reason.is_empty() || mark.ids.is_empty() {
                let place = document.place_at(mark.line, mark.column, 0, "");
                let what = if mark.ids.is_empty() { "no check" } else { "no reason" };
                let message = format!("a suppression with {what} has no effect");
                let fix = format!("write  {MARK} TW021 why this is right here");
                unreasoned.push(Finding {
                    id: "TW039",
                    severity: Severity::Warning,
                    message,
                    why: String::new(),
                    fix,
                    place,
                    suppressed: None,
                });
                continue;
            }
            for finding in findings.iter_mut() {
                let Place { file, line, .. } = &finding.place;
                let inside = *file == document.path && (mark.from..=mark.to).contains(line);
                if inside && mark.ids.iter().any(|id| id == finding.id) {
                    finding.suppressed = Some(mark.reason.clone());
                }
            }
        }
    }
    for finding in findings.iter_mut() {
        if let Some(ignore) = options.ignores.iter().find(|ignore| ignore.covers(finding)) {
            finding.suppressed = Some(ignore.reason.clone());
        }
    }
    findings.extend(unreasoned);
}

fn marks(document: &Document) -> Vec<Mark> {
    if let Content::Dashboard(_) = document.content {
        return dashboard_marks(document);
    }
    let lines: Vec<&str> = document.text.lines().collect();
    let mut marks = Vec::new();
    for (at, text) in lines.iter().enumerate() {
        let Some(hash) = text.find('#') else { continue };
        let Some(begin) = text[hash..].find(MARK).map(|begin| hash + begin) else { continue };
        let after = &text[begin + MARK.len()..];
        let (whole, after) = match after.strip_prefix("-file") {
            Some(after) => (true, after),
            None => (false, after),
        };
        let (ids, reason) = read(after);
        let alone = text[..hash].trim().is_empty();
        let (from, to) = if whole {
            (1, usize::MAX)
        } else if alone {
            (at + 1, block_end(&lines, at))
        } else {
            (at + 1, at + 1)
        };
        marks.push(Mark { line: at + 1, column: hash + 1, ids, reason, from, to });
    }
    marks
}

/// The last line of what begins below line `at` (from 0), by indentation.
fn block_end(lines: &[&str], at: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let Some(first) = (at + 1..lines.len()).find(|line| !blank(lines[*line])) else { return at + 1 };
    let own = indent(lines[first]);
    let mut end = first;
    for (line, text) in lines.iter().enumerate().skip(first + 1) {
        if !blank(text) && indent(text) <= own {
            break;
        }
        end = line;
    }
    end + 1
}

fn dashboard_marks(document: &Document) -> Vec<Mark> {
    let Content::Dashboard(dashboard) = &document.content else { return Vec::new() };
    let mut marks = Vec::new();
    for panel in &dashboard.panels {
        let Some(description) = get(&panel.node, "description") else { continue };
        let from = panel.node.line;
        let end = document
            .text
            .get(panel.node.bytes.0..panel.node.bytes.1)
            .map_or(0, |text| text.matches('\n').count());
        push_marks(description, from, from + end, &mut marks);
    }
    if let Ok(root) = crate::read::json::parse(&document.text)
        && let Some(description) = get(&root, "description")
    {
        push_marks(description, 1, usize::MAX, &mut marks);
    }
    marks
}

fn push_marks(description: &tradewatch_alert::yaml::Node, from: usize, to: usize, marks: &mut Vec<Mark>) {
    let text = description.text().unwrap_or("");
    for (at, _) in text.match_indices(MARK) {
        let line = text[at + MARK.len()..].lines().next().unwrap_or("");
        let (ids, reason) = read(line);
        marks.push(Mark { line: description.line, column: description.column, ids, reason, from, to });
    }
}
