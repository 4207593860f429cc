//! A number in a rule file, changed in place: nothing else of the text moves.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use tradewatch_alert::rules::RuleFile;
use tradewatch_alert::yaml::{self, Kind, Node};

use super::find;

/// Lines around a change in a diff.
const AROUND: usize = 3;

/// Another threshold for one rule.
#[derive(Clone, Debug)]
pub struct Change {
    /// Position of the group in its file.
    pub group: usize,
    /// Position of the rule in its group.
    pub rule: usize,
    /// The bytes of the constant in the expression.
    pub constant: (usize, usize),
    /// The new number.
    pub number: f64,
}

/// The text of a rule file with other thresholds.
///
/// # Errors
/// If a number cannot be changed without changing anything else, as one that is written with escapes.
pub fn apply(path: &str, text: &str, changes: &[Change]) -> Result<String> {
    let (root, _) = yaml::parse(path, text)?;
    let root = root.with_context(|| format!("{path}: no rules"))?;
    let (old, _) = RuleFile::parse(path, text);
    let mut replacements = Vec::new();
    for change in changes {
        let spec = &old.groups[change.group].rules[change.rule];
        let node =
            expression(&root, change).with_context(|| format!("{path}:{}: no expression", spec.line))?;
        let (from, to) = change.constant;
        let written = &spec.expr.text().unwrap_or_default()[from..to];
        let lead = spec.query.len() - spec.query.trim_start().len();
        let inside = if spec.expr.text() == Some(spec.query.as_str()) { from } else { from + lead };
        let (line, column) = node.locate(text, inside);
        let at = offset(text, line, column).with_context(|| format!("{path}:{line}: no such place"))?;
        if !text[at..].starts_with(written) {
            bail!("{path}:{line}:{column}: {written:?} is not written as it is read; change it by hand");
        }
        replacements.push((at, written.len(), tradewatch_promql::format_float(change.number)));
    }
    replacements.sort();
    let mut new = text.to_owned();
    for (at, length, number) in replacements.iter().rev() {
        new.replace_range(*at..at + length, number);
    }
    check(path, &old, &new, changes)?;
    Ok(new)
}

/// The new text says the same but for the thresholds.
fn check(path: &str, old: &RuleFile, new: &str, changes: &[Change]) -> Result<()> {
    let (new, errors) = RuleFile::parse(path, new);
    if let Some(error) = errors.iter().find(|error| !error.warning) {
        bail!("{error}: the change would break the file; change it by hand");
    }
    for (at, (before, after)) in old.groups.iter().zip(&new.groups).enumerate() {
        for (rule, (before, after)) in before.rules.iter().zip(&after.rules).enumerate() {
            let change = changes.iter().find(|change| (change.group, change.rule) == (at, rule));
            let same = match change {
                None => before.expr == after.expr,
                Some(change) => find::comparison(after).is_ok_and(|found| found.threshold == change.number),
            };
            if !same || before.name != after.name {
                bail!("{path}:{}: the threshold cannot be changed in place; change it by hand", before.line);
            }
        }
    }
    Ok(())
}

fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
}

fn item(node: &Node, at: usize) -> Option<&Node> {
    let Kind::List(items) = &node.kind else { return None };
    items.get(at)
}

fn expression<'n>(root: &'n Node, change: &Change) -> Option<&'n Node> {
    let group = item(field(root, "groups")?, change.group)?;
    field(item(field(group, "rules")?, change.rule)?, "expr")
}

/// The byte at a line and a column in characters, both from 1.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(start..)?;
    let (inside, _) = rest.char_indices().nth(column - 1)?;
    Some(start + inside)
}

/// The difference of two texts with the same number of lines, in the unified form that `patch` reads.
pub fn diff(path: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let changed: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
    let path = path.trim_start_matches('/');
    let mut out = format!("--- a/{path}\n+++ b/{path}\n");
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        let mut count = 1;
        while count < rest.len() && rest[count] <= rest[count - 1] + 2 * AROUND {
            count += 1;
        }
        let (hunk, after) = rest.split_at(count);
        rest = after;
        let from = first.saturating_sub(AROUND);
        let to = (hunk[count - 1] + AROUND + 1).min(old.len());
        let _ = writeln!(out, "@@ -{},{} +{},{} @@", from + 1, to - from, from + 1, to - from);
        let mut at = from;
        while at < to {
            if old[at] == new[at] {
                let _ = writeln!(out, " {}", old[at]);
                at += 1;
                continue;
            }
            let end = (at..to).find(|line| old[*line] == new[*line]).unwrap_or(to);
            for (sign, lines) in [('-', &old[at..end]), ('+', &new[at..end])] {
                lines.iter().for_each(|line| out += &format!("{sign}{line}\n"));
            }
            at = end;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "groups:\n  - name: g   # a remark\n    rules:\n      - alert: Folded\n        expr: |\n          \
                        sum(rate(a{x=\"10\"}[5m]))\n            > 10   \n        for: 2m\n      # more\n      - {alert: Flow, \
                        expr: 'b > 10', for: 1m}\n      - alert: Plain\n        expr: c < 0.5 and on () d == 10\n";

    fn changes(numbers: &[(usize, f64)]) -> Vec<Change> {
        let (file, errors) = RuleFile::parse("r.yml", FILE);
        assert!(errors.is_empty(), "{errors:?}");
        let one = |(rule, number): &(usize, f64)| Change {
            group: 0,
            rule: *rule,
            constant: find::comparison(&file.groups[0].rules[*rule]).expect("compares").constant,
            number: *number,
        };
        numbers.iter().map(one).collect()
    }

    #[test]
    fn only_the_numbers_change() {
        let new = apply("r.yml", FILE, &changes(&[(0, 25.0), (1, 7.5), (2, 0.25)])).expect("applies");
        let expected = FILE
            .replace("            > 10   ", "            > 25   ")
            .replace("'b > 10'", "'b > 7.5'")
            .replace("c < 0.5", "c < 0.25");
        assert_eq!(new, expected);
        let diff = diff("r.yml", FILE, &new);
        assert!(diff.starts_with("--- a/r.yml\n+++ b/r.yml\n@@ -4,9 +4,9 @@\n"), "{diff}");
        assert!(diff.contains("\n-            > 10   \n+            > 25   \n"), "{diff}");
        assert_eq!(diff.lines().filter(|line| line.starts_with('+')).count(), 4, "{diff}");
    }
}
