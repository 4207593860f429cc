//! What was found, where, why it is wrong, and what to do.

use serde::Serialize;

/// How bad it is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can never work, or does the opposite of what it says.
    Error,
    /// It works, but not as its writer may think.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word that reports print.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// Where something stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What it belongs to: `alert HighLatency`, `panel "Order rate"`; empty for the file as a whole.
    pub object: String,
    /// The text that is meant: a line of the file, or the query of a panel.
    pub excerpt: String,
    /// Characters of the excerpt before the marked part.
    pub mark_start: usize,
    /// Characters of the marked part.
    pub mark_len: usize,
}

/// One thing found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// The check: `TW003`. Stable.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub message: String,
    /// Why that is so; may be empty.
    pub why: String,
    /// What to do about it; may be empty.
    pub fix: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The reason given where it is suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
}

/// Everything that a run found.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// In the order of files and lines; suppressed ones included.
    pub findings: Vec<Finding>,
    /// Rules that were looked at.
    pub rules: usize,
    /// Panels that were looked at.
    pub panels: usize,
    /// Files that were looked at.
    pub files: usize,
    /// What the metrics are known from, in words.
    pub knowledge: Vec<String>,
}

impl Report {
    /// Findings of one severity that are not suppressed.
    pub fn count(&self, severity: Severity) -> usize {
        self.open().filter(|finding| finding.severity == severity).count()
    }

    /// Findings that are not suppressed.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.suppressed.is_none())
    }
}
