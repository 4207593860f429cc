//! What an operation of the SDK may cost in instructions, and whether its unsafe code keeps to its memory; both under
//! valgrind, whose figures do not depend on what else the machine does.

use crate::ci::{Run, cargo_in, command};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// The workspace of the measured programs, beside that of the product.
const WORKSPACE: &str = "bench";
/// What is allowed, by operation.
const FILE: &str = "bench/budget/budget.toml";
/// How often the program runs each operation.
const TIMES: f64 = 10_000.0;
/// How far above its budget an operation may be: another patch release of the compiler, another C library.
const SLACK: f64 = 1.03;
/// How far below it may be before the budget is to be tightened.
const LOOSE: f64 = 0.9;

/// Builds the two programs and runs them under valgrind.
///
/// # Errors
/// An operation above its budget, one that has none, or what memcheck found.
pub fn run(run: &Run, record: bool) -> Result<()> {
    let root = &run.root;
    let workspace = root.join(WORKSPACE);
    build(run)?;
    let programs = workspace.join("target/release");
    let out = workspace.join("target/callgrind.out");
    let program = programs.join("tradewatch-budget").to_string_lossy().into_owned();
    let file = format!("--callgrind-out-file={}", out.display());
    let args = ["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no", &file, &program];
    command(root, "valgrind", &args, &[])?;
    let measured = read_costs(&std::fs::read_to_string(&out)?)?;
    compare(root, &measured, record)?;
    let program = programs.join("memcheck").to_string_lossy().into_owned();
    // Slabs of threads live as long as the process: reachable, which is no leak.
    let args = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--fair-sched=yes"];
    let leaks = ["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"];
    command(root, "valgrind", &[&args[..], &leaks, &[&program]].concat(), &[])
        .context("memcheck over the SDK's unsafe code")?;
    println!("memcheck: no error");
    Ok(())
}

/// Builds the small programs that look at the SDK from outside.
///
/// # Errors
/// If they do not compile.
pub fn build(run: &Run) -> Result<()> {
    let args = ["build", "--release", "--locked", "--quiet", "-p", "tradewatch-budget"];
    cargo_in(run, &run.root.join(WORKSPACE), &args)
}

/// Instructions of one run of each operation, with what it called: the calls that `main` itself makes.
fn read_costs(profile: &str) -> Result<BTreeMap<String, f64>> {
    let mut costs = BTreeMap::new();
    let (mut in_main, mut callee) = (false, None);
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("fn=") {
            in_main = name == "tradewatch_budget::main";
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = name.strip_prefix("op_");
        } else if line.starts_with("calls=") {
            // The next line is the place of the call and what it cost, all in all.
            let cost = lines.next().and_then(|line| line.split(' ').nth(1)).map(str::parse::<f64>);
            if let (true, Some(callee), Some(Ok(cost))) = (in_main, callee, cost) {
                costs.insert(callee.to_owned(), cost / TIMES);
            }
        }
    }
    if costs.is_empty() {
        bail!("callgrind's profile names no function op_…; was the program stripped?");
    }
    Ok(costs)
}

fn compare(root: &Path, measured: &BTreeMap<String, f64>, record: bool) -> Result<()> {
    let path = root.join(FILE);
    if record {
        let lines: String = measured.iter().map(|(name, cost)| format!("{name} = {cost:.1}\n")).collect();
        let head = "# Instructions an operation, loop included, counted by callgrind; `cargo xtask budget --record` writes this.\n";
        return Ok(std::fs::write(&path, format!("{head}{lines}"))?);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("read {}", path.display()))?;
    let budget = |name: &str| -> Result<f64> {
        let value = table.get(name).and_then(|value| value.as_float());
        value.ok_or_else(|| {
            anyhow!("{FILE} has no number for {name}; `cargo xtask budget --record` writes it")
        })
    };
    let mut above = Vec::new();
    println!("{:<32} {:>8} {:>8}", "instructions an operation", "counted", "budget");
    for (name, cost) in measured {
        let most = budget(name)?;
        let remark = match cost / most {
            ratio if ratio > SLACK => "ABOVE",
            ratio if ratio < LOOSE => "tighten the budget",
            _ => "",
        };
        println!("{name:<32} {cost:>8.1} {most:>8.1} {remark}");
        if cost / most > SLACK {
            above.push(format!("{name}: {cost:.1} instructions, {most:.1} budgeted"));
        }
    }
    if let Some(name) = table.keys().find(|name| !measured.contains_key(*name)) {
        bail!("{FILE} has a budget for {name}, which the program does not run");
    }
    if !above.is_empty() {
        bail!("{} (if it must cost that, `cargo xtask budget --record` and say why)", above.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "fn=tradewatch_budget::warm_up\n12 4\ncfn=op_inc\ncalls=1 40\n13 999999\n\
                           fn=tradewatch_budget::main\n20 4\ncfn=op_inc\ncalls=1 40\n21 160000\n";

    #[test]
    fn a_cost_is_what_main_called() {
        let costs = read_costs(PROFILE).unwrap();
        assert_eq!(costs.into_iter().collect::<Vec<_>>(), [("inc".to_owned(), 16.0)]);
        assert!(read_costs("fn=main\n1 2\n").is_err());
    }

    #[test]
    fn an_operation_above_its_budget_fails_and_names_itself() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("bench/budget")).unwrap();
        let measured = BTreeMap::from([("inc".to_owned(), 16.0)]);
        compare(root.path(), &measured, true).unwrap();
        compare(root.path(), &measured, false).unwrap();
        let slow = BTreeMap::from([("inc".to_owned(), 17.0)]);
        let message = compare(root.path(), &slow, false).unwrap_err().to_string();
        assert!(message.contains("inc: 17.0 instructions, 16.0 budgeted"), "{message}");
        let other = BTreeMap::from([("dec".to_owned(), 1.0)]);
        assert!(compare(root.path(), &other, false).unwrap_err().to_string().contains("no number for dec"));
    }
}
