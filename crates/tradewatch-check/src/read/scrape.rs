//! `prometheus.yml`: which targets there are, how often they are asked, which labels their series get.

use std::collections::BTreeMap;
use std::time::Duration;

use regex_automata::meta::Regex;
use tradewatch_alert::yaml::Node;

use super::{Problem, entries, get, items, text_of};

/// Labels by name.
pub type LabelMap = BTreeMap<String, String>;

/// A `prometheus.yml`.
pub struct ScrapeFile {
    /// Between two evaluations of a group without an interval of its own.
    pub evaluation_interval: Duration,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The entries of `rule_files`.
    pub rule_files: Vec<(String, Node)>,
    /// Whether alerts are sent to an Alertmanager.
    pub has_alertmanager: bool,
    /// The first node, for findings about the file.
    pub node: Node,
}

/// A `scrape_configs` entry.
#[derive(Clone)]
pub struct Job {
    /// `job_name`.
    pub name: String,
    /// Where it stands.
    pub node: Node,
    /// Between two scrapes.
    pub interval: Duration,
    /// Labels of the target's own series win over those of the target.
    pub honor_labels: bool,
    /// Targets after relabelling: address and labels.
    pub targets: Vec<Target>,
    /// Targets come from somewhere that a file does not show.
    pub discovered: bool,
    /// `metric_relabel_configs`.
    pub metric_relabel: Vec<Relabel>,
}

/// A static target.
#[derive(Clone)]
pub struct Target {
    /// As written.
    pub address: String,
    /// Where it stands.
    pub node: Node,
    /// What relabelling left, `job` and `instance` included; `None` if it drops the target.
    pub labels: LabelMap,
}

/// A relabelling step.
#[derive(Clone)]
pub struct Relabel {
    sources: Vec<String>,
    separator: String,
    regex: Regex,
    target: String,
    replacement: String,
    action: String,
}

impl ScrapeFile {
    pub(super) fn read(root: &Node, problems: &mut Vec<Problem>) -> ScrapeFile {
        let global = get(root, "global");
        let duration = |node: Option<&Node>, name: &str| -> Option<Duration> {
            node.and_then(|node| text_of(node, name))
                .and_then(|text| tradewatch_alert::duration::parse(text).ok())
        };
        let minute = Duration::from_secs(60);
        let interval = duration(global, "scrape_interval").unwrap_or(minute);
        let jobs = items(get(root, "scrape_configs")).iter();
        let jobs = jobs.map(|node| {
            let own = duration(Some(node), "scrape_interval").unwrap_or(interval);
            Job::read(node, own, problems)
        });
        let managers = get(root, "alerting").map(|alerting| items(get(alerting, "alertmanagers")));
        let rule_files = items(get(root, "rule_files")).iter();
        ScrapeFile {
            evaluation_interval: duration(global, "evaluation_interval").unwrap_or(minute),
            jobs: jobs.collect(),
            rule_files: rule_files.filter_map(|node| Some((node.text()?.to_owned(), node.clone()))).collect(),
            has_alertmanager: managers.is_some_and(|managers| !managers.is_empty()),
            node: root.clone(),
        }
    }
}

impl Job {
    fn read(node: &Node, interval: Duration, problems: &mut Vec<Problem>) -> Job {
        let name = text_of(node, "job_name").unwrap_or("").to_owned();
        let mut steps = |field: &str| -> Vec<Relabel> {
            let steps = items(get(node, field)).iter();
            steps.filter_map(|step| Relabel::read(step, problems)).collect()
        };
        let (relabel, metric_relabel) = (steps("relabel_configs"), steps("metric_relabel_configs"));
        let mut targets = Vec::new();
        for group in items(get(node, "static_configs")) {
            let own: LabelMap = entries(get(group, "labels"))
                .iter()
                .filter_map(|(key, value)| Some((key.text()?.to_owned(), value.text()?.to_owned())))
                .collect();
            for target in items(get(group, "targets")) {
                let Some(address) = target.text() else { continue };
                let mut labels = own.clone();
                labels.insert("job".to_owned(), name.clone());
                labels.insert("__address__".to_owned(), address.to_owned());
                let path = text_of(node, "metrics_path").unwrap_or("/metrics").to_owned();
                labels.insert("__metrics_path__".to_owned(), path);
                if !relabel.iter().all(|step| step.apply(&mut labels)) {
                    continue;
                }
                let instance = labels.get("__address__").cloned().unwrap_or_default();
                labels.entry("instance".to_owned()).or_insert(instance);
                labels.retain(|name, value| !name.starts_with("__") && !value.is_empty());
                targets.push(Target { address: address.to_owned(), node: target.clone(), labels });
            }
        }
        let discovered = entries(Some(node))
            .iter()
            .any(|(key, _)| key.text().is_some_and(|key| key.ends_with("_sd_configs")));
        let honor_labels = text_of(node, "honor_labels") == Some("true");
        Job { name, node: node.clone(), interval, honor_labels, targets, discovered, metric_relabel }
    }
}

impl Relabel {
    fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Relabel> {
        let pattern = text_of(node, "regex").unwrap_or("(.*)");
        let regex = match Regex::new(&format!("^(?s:{pattern})$")) {
            Ok(regex) => regex,
            Err(error) => {
                let at = get(node, "regex").unwrap_or(node);
                let message = format!("regex {pattern:?} of a relabelling step: {error}");
                let (line, column) = (at.line, at.column);
                problems.push(Problem { line, column, message, fix: String::new(), warning: false });
                return None;
            }
        };
        let sources = items(get(node, "source_labels")).iter();
        Some(Relabel {
            sources: sources.filter_map(|label| label.text().map(str::to_owned)).collect(),
            separator: text_of(node, "separator").unwrap_or(";").to_owned(),
            regex,
            target: text_of(node, "target_label").unwrap_or("").to_owned(),
            replacement: text_of(node, "replacement").unwrap_or("$1").to_owned(),
            action: text_of(node, "action").unwrap_or("replace").to_lowercase(),
        })
    }

    /// Applies the step; `false` drops the label set. A hash of a label is left as text, since only its presence counts.
    pub fn apply(&self, labels: &mut LabelMap) -> bool {
        let value = |name: &String| labels.get(name).map_or("", String::as_str);
        let joined = self.sources.iter().map(value).collect::<Vec<_>>().join(&self.separator);
        match self.action.as_str() {
            "keep" => return self.regex.is_match(&joined),
            "drop" => return !self.regex.is_match(&joined),
            "keepequal" => return labels.get(&self.target).map_or("", String::as_str) == joined,
            "dropequal" => return labels.get(&self.target).map_or("", String::as_str) != joined,
            "lowercase" => set(labels, &self.target, joined.to_lowercase()),
            "uppercase" => set(labels, &self.target, joined.to_uppercase()),
            "hashmod" => set(labels, &self.target, "0".to_owned()),
            "labeldrop" => labels.retain(|name, _| !self.regex.is_match(name)),
            "labelkeep" => labels.retain(|name, _| self.regex.is_match(name)),
            "labelmap" => {
                let found: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| Some((self.expand(name, &self.replacement)?, value.clone())))
                    .collect();
                for (name, value) in found {
                    set(labels, &name, value);
                }
            }
            _ => {
                let target = self.expand(&joined, &self.target);
                if let Some((target, value)) = target.zip(self.expand(&joined, &self.replacement)) {
                    set(labels, &target, value);
                }
            }
        }
        true
    }

    /// What the step does to a metric of which only the names of its labels are known.
    pub fn effect(&self, metric: &str) -> Effect {
        let by_name = self.sources.len() == 1 && self.sources[0] == "__name__";
        match self.action.as_str() {
            "keep" if by_name && !self.regex.is_match(metric) => Effect::Dropped,
            "drop" if by_name && self.regex.is_match(metric) => Effect::Dropped,
            "labeldrop" | "labelkeep" => Effect::Labels,
            "replace" | "lowercase" | "uppercase" | "hashmod" if self.target == "__name__" => Effect::Unknown,
            "replace" | "lowercase" | "uppercase" | "hashmod" => Effect::Sets(self.target.clone()),
            "labelmap" => Effect::Unknown,
            _ => Effect::None,
        }
    }

    /// Whether `labeldrop` or `labelkeep` removes a label.
    pub fn removes(&self, label: &str) -> bool {
        match self.action.as_str() {
            "labeldrop" => self.regex.is_match(label),
            "labelkeep" => !self.regex.is_match(label),
            _ => false,
        }
    }

    fn expand(&self, value: &str, template: &str) -> Option<String> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(value, &mut captures);
        let mut out = String::new();
        captures.is_match().then(|| captures.interpolate_string_into(value, template, &mut out))?;
        Some(out)
    }
}

/// What a step does to a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, or only to some of its series.
    None,
    /// It is gone.
    Dropped,
    /// Some labels go; see [`Relabel::removes`].
    Labels,
    /// This label may take any value.
    Sets(String),
    /// Names or labels change in ways that are not followed.
    Unknown,
}

fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else if !name.is_empty() {
        labels.insert(name.to_owned(), value);
    }
}
