//! How many cases of each file pass, kept in the repository so that none is lost unnoticed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Fails if a file passes fewer cases than recorded; says where it passes more.
pub fn compare(file: &Path, counts: &[(String, usize)]) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let recorded: BTreeMap<String, usize> =
        toml::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
    let now: BTreeMap<&str, usize> = counts.iter().map(|(path, count)| (path.as_str(), *count)).collect();
    let mut lost = Vec::new();
    let mut gained = Vec::new();
    for (path, before) in &recorded {
        match now.get(path.as_str()) {
            Some(count) if count < before => lost.push(format!("{path}: {count} cases pass, {before} did")),
            Some(count) if count > before => gained.push(format!("{path}: {count} cases pass, {before} did")),
            Some(_) => {}
            None => lost.push(format!("{path}: not run, {before} cases passed")),
        }
    }
    for (path, count) in now.iter().filter(|(path, _)| !recorded.contains_key(**path)) {
        gained.push(format!("{path}: {count} cases pass, not recorded"));
    }
    if !gained.is_empty() {
        println!("more pass than recorded; `cargo xtask conformance --record` keeps that:");
        gained.iter().for_each(|line| println!("  {line}"));
    }
    if !lost.is_empty() {
        bail!("fewer pass than recorded:\n  {}", lost.join("\n  "));
    }
    Ok(())
}

/// Records the counts.
pub fn write(file: &Path, counts: &[(String, usize)]) -> Result<()> {
    let mut text =
        String::from("# Cases that pass, by file; written by `cargo xtask conformance --record`.\n");
    let sorted: BTreeMap<_, _> = counts.iter().cloned().collect();
    for (path, count) in sorted {
        writeln!(text, "{path:?} = {count}")?;
    }
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
