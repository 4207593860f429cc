//! The files that belong together: those named, those that a `prometheus.yml` among them names, those of a platform.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tradewatch_alert::rules::RuleFile;
use tradewatch_check::{Content, Document, Input, Options, Project, read::Problem};
use tradewatch_server::config;

/// Files taken from the folders named.
const FILES_MAX: usize = 5_000;
/// Folders within folders.
const DEPTH_MAX: usize = 8;
/// Biggest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A `prometheus.yml` as the server reads it.
pub struct Config {
    /// As it was named.
    pub path: PathBuf,
    /// What it says, or what is wrong with it.
    pub read: Result<config::Config, tradewatch_server::Error>,
}

/// What was found on disk.
#[derive(Default)]
pub struct Gathered {
    /// The files.
    pub inputs: Vec<Input>,
    /// What else the checks need to know.
    pub options: Options,
    /// The scrape configurations among them.
    pub configs: Vec<Config>,
    /// Files that are read for what they tell of others.
    pub context: BTreeSet<String>,
}

/// Reads files and folders, and the rule files that they name.
pub fn read(paths: &[PathBuf]) -> Result<Gathered> {
    let mut files = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
        if kind.is_dir() {
            walk(path, DEPTH_MAX, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    // The one that is called so is the one that is meant, where a folder has several.
    files.sort_by_key(|path| !path.ends_with("prometheus.yml"));
    let mut gathered = Gathered::default();
    for file in files {
        let size = std::fs::metadata(&file).with_context(|| format!("read {}", file.display()))?.len();
        if size > FILE_BYTES_MAX {
            bail!("{}: {size} bytes are more than the {FILE_BYTES_MAX} that are read", file.display());
        }
        let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        gathered.inputs.push(super::input(&file, String::from_utf8_lossy(&bytes).into_owned()));
    }
    gathered.follow_rule_files();
    Ok(gathered)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with('.') || ["node_modules", "target"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, files)?;
            }
        } else if [".yml", ".yaml", ".json", ".rules"].iter().any(|end| name.ends_with(end))
            || name == "catalog.toml"
        {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            bail!("{} holds more than {FILES_MAX} files; name the folders that matter", folder.display());
        }
    }
    Ok(())
}

/// The same file by any name.
fn same(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Gathered {
    /// Adds the rule files that each `prometheus.yml` names.
    fn follow_rule_files(&mut self) {
        let known: BTreeSet<PathBuf> = self.inputs.iter().map(|input| same(Path::new(&input.path))).collect();
        let mut listed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut lists = false;
        let mut more = Vec::new();
        for input in &self.inputs {
            let path = Path::new(&input.path);
            if !matches!(Document::read(input.clone()).content, Content::Scrape(_)) {
                continue;
            }
            let read = config::Config::parse(&input.text, path);
            if let Ok(config) = &read {
                lists |= !config.file.rule_files.is_empty();
                for pattern in &config.file.rule_files {
                    let wanted = config.folder().join(&pattern.value);
                    let found: Vec<&PathBuf> =
                        config.rule_files.iter().filter(|file| matches(&wanted, file)).collect();
                    if found.iter().all(|file| !file.exists()) {
                        self.options.missing_rule_files.insert(pattern.value.clone());
                    }
                }
                for file in config.rule_files.iter().filter(|file| file.exists()) {
                    if listed.insert(same(file)) && !known.contains(&same(file)) {
                        more.push(file.clone());
                    }
                }
            }
            self.configs.push(Config { path: path.to_owned(), read });
        }
        for input in &self.inputs {
            let is_rules = matches!(Document::read(input.clone()).content, Content::Rules(_));
            if lists && is_rules && !listed.contains(&same(Path::new(&input.path))) {
                self.options.unlisted_rule_files.insert(input.path.clone());
            }
        }
        for file in more {
            if let Ok(text) = std::fs::read_to_string(&file) {
                self.inputs.push(super::input(&file, text));
            }
        }
    }

    /// Adds what a platform tells: its catalogue, and its configuration where none is being checked.
    pub fn add_platform(&mut self, folder: &Path, name: &str) -> Result<()> {
        let known: BTreeSet<PathBuf> = self.inputs.iter().map(|input| same(Path::new(&input.path))).collect();
        let has = |wanted: fn(&Content) -> bool| {
            self.inputs.iter().any(|input| wanted(&Document::read(input.clone()).content))
        };
        let mut wanted = vec![folder.join("catalog.toml")];
        if name != super::MONITOR {
            wanted.push(folder.join("../").join(super::MONITOR).join("catalog.toml"));
        }
        if !has(|content| matches!(content, Content::Scrape(_))) {
            wanted.push(folder.join("prometheus.yml"));
        }
        if !has(|content| matches!(content, Content::Routing(_))) {
            wanted.push(folder.join("alertmanager.yml"));
        }
        for file in wanted {
            if known.contains(&same(&file)) || !file.exists() {
                continue;
            }
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let input = super::input(&file, text);
            self.context.insert(input.path.clone());
            self.inputs.push(input);
        }
        self.options.runbooks = super::stems(&folder.join("runbooks"), ".md");
        // Alerts of the monitor's own rules have their runbooks beside those rules.
        if let (Some(known), Some(own)) = (
            &mut self.options.runbooks,
            super::stems(&folder.join("../").join(super::MONITOR).join("runbooks"), ".md"),
        ) {
            known.extend(own);
        }
        self.options.drills = drilled(folder, name)?;
        self.options.event_driven = true;
        Ok(())
    }
}

/// The alerts that the platform's drills prove; every alert without drill is an error.
///
/// Alerts of the monitor's own rules are left out: what they tell of happens to a running monitor, and what proves
/// them are its own tests.
fn drilled(folder: &Path, name: &str) -> Result<Option<BTreeSet<String>>> {
    if name == super::MONITOR {
        return Ok(None);
    }
    let mut alerts = BTreeSet::new();
    let file = folder.join(crate::drill::DRILLS);
    if file.exists() {
        alerts.extend(crate::drill::DrillFile::load(&file, None)?.drilled().into_iter().map(str::to_owned));
    }
    for file in std::fs::read_dir(folder.join("../").join(super::MONITOR).join("rules")).into_iter().flatten()
    {
        let path = file?.path();
        let (rules, _) = RuleFile::parse(&path.display().to_string(), &std::fs::read_to_string(&path)?);
        let rules = rules.groups.into_iter().flat_map(|group| group.rules);
        alerts.extend(rules.filter(|rule| rule.is_alerting()).map(|rule| rule.name));
    }
    Ok(Some(alerts))
}

fn matches(wanted: &Path, file: &Path) -> bool {
    let pattern = wanted.to_str().and_then(|text| glob::Pattern::new(text).ok());
    file == wanted || pattern.is_some_and(|pattern| pattern.matches_path(file))
}

/// Takes over what the server says is wrong with a `prometheus.yml`.
pub fn add_problems(project: &mut Project, configs: &[Config]) {
    for config in configs {
        let Err(error) = &config.read else { continue };
        let path = config.path.display().to_string();
        let message = error.to_string();
        let mut parts = message.strip_prefix(&format!("{path}:")).unwrap_or("").splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.trim().parse::<usize>().ok());
        let (line, column) = (number(), number());
        let rest = parts.next().unwrap_or(&message).trim().to_owned();
        let message = if line.is_some() { rest } else { message };
        let problem = Problem {
            line: line.unwrap_or(1),
            column: column.unwrap_or(1),
            message,
            fix: String::new(),
            warning: false,
        };
        if let Some(document) = project.documents.iter_mut().find(|document| document.path == path) {
            document.problems.push(problem);
        }
    }
}
