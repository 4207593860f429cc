//! Foreign readers on what the SDK writes: registries with random contents, read by the reference parsers of text 0.0.4 and
//! OpenMetrics in Python and by promtool, value by value.

use crate::ci::{Run, Size, command, python_env};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Where the random contents begin.
const SEED: &str = "20261120";

/// Writes the registries and lets each reader at them.
///
/// # Errors
/// What a reader does not accept, or reads as something else.
pub fn run(run: &Run) -> Result<()> {
    let folder = run.root.join("target/readers");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    crate::budget::build(run)?;
    let program = run.root.join("bench/target/release/random_registries").to_string_lossy().into_owned();
    let path = folder.to_string_lossy().into_owned();
    let count = if run.size() == Size::Small { 200 } else { 5_000 };
    command(&run.root, &program, &[&path, &count.to_string(), SEED], &[])?;
    let python = python_env(run).join("bin/python").to_string_lossy().into_owned();
    command(&run.root.join("xtask/clients"), &python, &["read_files.py", &path], &[])
        .context("the reference parsers")?;
    // promtool reads one at a time; some are enough to see whether it accepts what the others do.
    for number in 0..40 {
        let file = std::fs::File::open(folder.join(format!("{number}.prom")))?;
        let output = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::from(file))
            .output()
            .context("start promtool")?;
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !said.trim().is_empty() {
            bail!("promtool check metrics on {path}/{number}.prom: {said}");
        }
    }
    println!("promtool check metrics accepts 40 of them without a remark");
    Ok(())
}
