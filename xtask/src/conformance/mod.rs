//! Acceptance tests of others against our parser, engine and exposition parser.
//!
//! `cargo xtask conformance PATH…` takes Prometheus test scripts, parser case files, OpenMetrics case folders,
//! exposition corpora, rule files and rule unit tests, and tells them apart by their content. Every failing case is printed with what was expected
//! and what came, then `PATH passed/total` for each file; a file in which nothing is understood fails.

mod exposition;
mod load;
mod parser_cases;
mod ratchet;
mod rule_files;
mod run;
mod script;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One case that did not pass.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where and what: the line and the query, or the name of the case.
    pub case: String,
    /// What was expected and what came.
    pub why: String,
}

/// The outcome of one file or case folder.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that passed.
    pub passed: usize,
    /// All others.
    pub failures: Vec<Failure>,
}

impl Report {
    fn total(&self) -> usize {
        self.passed + self.failures.len()
    }

    fn pass(&mut self) {
        self.passed += 1;
    }

    fn fail(&mut self, case: impl Into<String>, why: impl Into<String>) {
        self.failures.push(Failure { case: case.into(), why: why.into() });
    }

    fn add(&mut self, case: impl Into<String>, result: Result<(), String>) {
        match result {
            Ok(()) => self.pass(),
            Err(why) => self.fail(case, why),
        }
    }

    fn merge(&mut self, other: Report) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "  FAIL {}", failure.case)?;
            for line in failure.why.lines() {
                writeln!(f, "       {line}")?;
            }
        }
        Ok(())
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Print the figures only.
    pub quiet: bool,
    /// Compare with `conformance/ratchet.toml`.
    pub ratchet: bool,
    /// Write `conformance/ratchet.toml`.
    pub record: bool,
}

/// Runs all cases below the given paths (by default those of the repository) and prints the figures.
///
/// # Errors
/// If a case fails, or with the ratchet if a file passes fewer cases than recorded.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let mut paths = options.paths.clone();
    if paths.is_empty() {
        paths.push(root.join("conformance"));
    }
    let mut passed = 0;
    let mut failed = 0;
    let mut counts = Vec::new();
    for path in &paths {
        if !path.exists() {
            bail!("{} does not exist", path.display());
        }
        for (path, report) in reports(path)? {
            if !options.quiet {
                print!("{report}");
            }
            let shown = path.strip_prefix(root).unwrap_or(&path);
            println!("{} {}/{}", shown.display(), report.passed, report.total());
            passed += report.passed;
            failed += report.failures.len();
            let shown = path.canonicalize()?;
            let shown = shown.strip_prefix(root.canonicalize()?).unwrap_or(&shown).to_path_buf();
            counts.push((shown.to_string_lossy().into_owned(), report.passed));
        }
    }
    println!("{passed} passed, {failed} failed");
    let file = root.join("conformance/ratchet.toml");
    if options.record {
        ratchet::write(&file, &counts)?;
        return Ok(());
    }
    if options.ratchet {
        return ratchet::compare(&file, &counts);
    }
    if failed > 0 {
        bail!("{failed} cases failed");
    }
    Ok(())
}

/// Reports of a file, of a case folder, or of everything below a folder. The case folders of one suite are one report.
fn reports(path: &Path) -> Result<Vec<(PathBuf, Report)>> {
    if path.is_file() {
        return Ok(vec![(path.to_path_buf(), file(path)?)]);
    }
    if exposition::is_case(path) {
        return Ok(vec![(path.to_path_buf(), exposition::case(path)?)]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| format!("reading {}", path.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    let mut out = Vec::new();
    let mut suite = Report::default();
    for entry in entries {
        if entry.is_dir() && exposition::is_case(&entry) {
            suite.merge(exposition::case(&entry)?);
        } else if entry.is_dir() {
            out.extend(reports(&entry)?);
        } else if !is_about_the_folder(&entry) {
            out.push((entry.clone(), file(&entry)?));
        }
    }
    if suite.total() > 0 {
        out.push((path.to_path_buf(), suite));
    }
    Ok(out)
}

/// Licences, notices, descriptions and our own ratchet are not cases.
fn is_about_the_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".md")
        || name.starts_with("LICENSE")
        || name.starts_with("NOTICE")
        || name == "ratchet.toml"
        || name.starts_with('.')
}

fn file(path: &Path) -> Result<Report> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    if kind(&text) == Kind::Rules {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Ok(rule_files::run(&text, &name, path.parent()));
    }
    Ok(of_content(&bytes, path.parent()))
}

/// The report of a file with this content.
pub fn of_content(bytes: &[u8], folder: Option<&Path>) -> Report {
    let text = String::from_utf8_lossy(bytes);
    let mut report = match kind(&text) {
        Kind::Script => run::script(&text),
        Kind::ParserCases => parser_cases::run(&text),
        Kind::Exposition => exposition::corpus(bytes),
        Kind::CaseDescription => match folder {
            Some(folder) if exposition::is_case(folder) => exposition::case(folder).unwrap_or_default(),
            _ => Report::default(),
        },
        Kind::Rules => rule_files::run(&text, "rules.yml", folder),
        Kind::Unknown => Report::default(),
    };
    if report.total() == 0 {
        report.fail("whole file", "not understood: no case of a known kind in it");
    }
    report
}

/// The kinds of file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Kind {
    Script,
    ParserCases,
    Exposition,
    CaseDescription,
    Rules,
    Unknown,
}

fn kind(text: &str) -> Kind {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let meta = |line: &str| ["# TYPE ", "# HELP ", "# UNIT ", "# EOF"].iter().any(|m| line.starts_with(m));
    if lines.clone().any(meta) {
        return Kind::Exposition;
    }
    let Some(first) = lines.find(|line| !line.starts_with('#')) else { return Kind::Unknown };
    let word = first.split([' ', '\t', '_']).next().unwrap_or("").to_ascii_lowercase();
    if ["load", "eval", "clear"].contains(&word.as_str()) {
        return Kind::Script;
    }
    if parser_cases::is_case(first) {
        return Kind::ParserCases;
    }
    if first.starts_with('{') && text.contains("shouldParse") {
        return Kind::CaseDescription;
    }
    if ["groups:", "rule_files:", "tests:", "evaluation_interval:"].iter().any(|key| text.contains(key)) {
        return Kind::Rules;
    }
    if exposition::is_sample(first) { Kind::Exposition } else { Kind::Unknown }
}
