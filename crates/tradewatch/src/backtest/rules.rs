//! The rule files that were named.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tradewatch_alert::rules::RuleFile;

/// One rule file as it was read.
pub struct Loaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its rules.
    pub file: RuleFile,
}

/// Reads rule files, and of folders every `.yml` and `.yaml` that is no unit test.
///
/// # Errors
/// Every error of every file, a line each; also when no rule is found.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Loaded>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
                inside.push(entry?.path());
            }
            inside.retain(|path| is_rule_file(path));
            inside.sort();
            if inside.is_empty() {
                bail!("{} holds no rule files (*.yml, *.yaml)", path.display());
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    let (mut loaded, mut errors) = (Vec::new(), Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let (file, found) = RuleFile::parse(&path.display().to_string(), &text);
        errors.extend(found.iter().filter(|error| !error.warning).map(ToString::to_string));
        loaded.push(Loaded { path, file });
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    if loaded.iter().all(|one| one.file.groups.iter().all(|group| group.rules.is_empty())) {
        let names: Vec<String> = loaded.iter().map(|one| one.path.display().to_string()).collect();
        bail!("{}: no rules", names.join(", "));
    }
    Ok(loaded)
}

fn is_rule_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_test = name.ends_with(".test.yml") || name.ends_with(".test.yaml");
    path.is_file() && !is_test && (name.ends_with(".yml") || name.ends_with(".yaml"))
}
