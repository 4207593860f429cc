//! Reports as text that is read in a terminal, and as JSON.

use std::fmt::Write;

use crate::finding::{Finding, Place, Report, Severity};

/// How a report looks.
#[derive(Copy, Clone, Debug, Default)]
pub struct Style {
    /// Colours, for a terminal.
    pub colour: bool,
    /// Information too, and what is suppressed.
    pub all: bool,
    /// Characters in a line; 0 for no bound.
    pub width: usize,
}

/// The report as text: findings by file, then one line that sums up.
pub fn text(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let paint = Paint(style.colour);
    let shown = report
        .findings
        .iter()
        .filter(|finding| style.all || finding.suppressed.is_none() && (finding.severity != Severity::Info));
    let mut file = None;
    for finding in shown {
        if file.as_ref() != Some(&finding.place.file) && file.is_some() {
            out.push('\n');
        }
        file = Some(finding.place.file.clone());
        one(finding, paint, style.width, &mut out);
    }
    if !report.knowledge.is_empty() {
        let _ = writeln!(out, "{}", paint.dim(&format!("metrics known from {}", joined(&report.knowledge))));
    } else {
        let note = "no metrics are known: names, labels and types were not checked (give --platform, --live, or a prometheus.yml whose targets answer)";
        let _ = writeln!(out, "{}", paint.dim(note));
    }
    out.push_str(&summary(report, paint, style.all));
    out
}

fn joined(sources: &[String]) -> String {
    const SHOWN_MAX: usize = 4;
    let mut shown = sources.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if sources.len() > SHOWN_MAX {
        let _ = write!(shown, " and {} more", sources.len() - SHOWN_MAX);
    }
    shown
}

fn one(finding: &Finding, paint: Paint, width: usize, out: &mut String) {
    let Place { file, line, column, object, excerpt, mark_start, mark_len } = &finding.place;
    let severity = match finding.severity {
        Severity::Error => paint.red("error"),
        Severity::Warning => paint.yellow("warn "),
        Severity::Info => paint.blue("info "),
    };
    let object = if object.is_empty() { String::new() } else { format!("  {}", paint.dim(object)) };
    let _ = writeln!(
        out,
        "{}  {severity}  {}  {}{object}",
        paint.bold(&format!("{file}:{line}:{column}")),
        finding.id,
        finding.message
    );
    if !excerpt.is_empty() {
        let (excerpt, mark_start, mark_len) =
            fitted(excerpt, *mark_start, *mark_len, width.saturating_sub(10));
        let number = format!("{line:>6}");
        let _ = writeln!(out, "{} │ {excerpt}", paint.dim(&number));
        if mark_len > 0 {
            let mark = "─".repeat(mark_len);
            let _ = writeln!(out, "       │ {}{}", " ".repeat(mark_start), paint.red(&mark));
        }
    }
    if !finding.why.is_empty() {
        let _ = writeln!(out, "       {}", finding.why);
    }
    if !finding.fix.is_empty() {
        let _ = writeln!(out, "       {}  {}", paint.green("fix"), finding.fix);
    }
    if let Some(reason) = &finding.suppressed {
        let _ = writeln!(out, "       {}  {reason}", paint.dim("suppressed"));
    }
}

/// A long line, cut around its marked part.
fn fitted(text: &str, start: usize, len: usize, width: usize) -> (String, usize, usize) {
    let chars: Vec<char> = text.chars().collect();
    if width < 40 || chars.len() <= width {
        return (text.to_owned(), start, len);
    }
    let from = start.saturating_sub(width / 4).min(chars.len().saturating_sub(width));
    let to = (from + width).min(chars.len());
    let mut shown: String = chars[from..to].iter().collect();
    let mut offset = start - from.min(start);
    if from > 0 {
        shown = format!("…{}", chars[from + 1..to].iter().collect::<String>());
        offset = offset.max(1);
    }
    if to < chars.len() {
        shown.push('…');
    }
    let len = len.min(width.saturating_sub(offset));
    (shown, offset, len)
}

fn summary(report: &Report, paint: Paint, all: bool) -> String {
    let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let infos = report.count(Severity::Info);
    if errors > 0 {
        parts.push(paint.red(&plural(errors, "error")));
    }
    if warnings > 0 {
        parts.push(paint.yellow(&plural(warnings, "warning")));
    }
    if parts.is_empty() {
        parts.push(paint.green("nothing wrong"));
    }
    if infos > 0 {
        parts.push(format!("{infos} to know{}", if all { "" } else { " (--all)" }));
    }
    let suppressed = report.findings.len() - report.open().count();
    if suppressed > 0 {
        parts.push(format!("{suppressed} suppressed"));
    }
    format!(
        "{}, {}, {}: {}\n",
        plural(report.files, "file"),
        plural(report.rules, "rule"),
        plural(report.panels, "panel"),
        parts.join(", ")
    )
}

/// The report as JSON: `{"findings": [...], "errors": n, "warnings": n, "infos": n, "rules": n, "panels": n, "files": n}`.
pub fn json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["errors"] = report.count(Severity::Error).into();
    value["warnings"] = report.count(Severity::Warning).into();
    value["infos"] = report.count(Severity::Info).into();
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

#[derive(Copy, Clone)]
struct Paint(bool);

impl Paint {
    fn code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    fn blue(self, text: &str) -> String {
        self.code("34", text)
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.code("2", text)
    }
}
