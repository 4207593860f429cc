//! Prometheus rule files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tradewatch_promql::Expr;

use super::session;
use crate::error::ConfigError;
use crate::template::{self, Template};
use crate::yaml::{self, Fields, Node, Reader};

/// The label of an alerting rule that names the venue, by market identifier code, whose session time `for` counts:
/// the clock stands while the venue is closed, and while the alert's `symbol` is halted there. It stays on the alert.
pub const TRADING_CALENDAR: &str = "trading_calendar";

/// A parsed rule file; what was broken is left out and reported beside it.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// As the caller named it.
    pub path: String,
    /// In the order of the file.
    pub groups: Vec<GroupSpec>,
}

/// A group as written.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Unique within the file.
    pub name: String,
    /// Its own interval; without one the global `evaluation_interval` holds.
    pub interval: Option<Duration>,
    /// Evaluation looks this far back; without one the global setting holds.
    pub query_offset: Option<Duration>,
    /// Alerts or series per rule; 0 is no limit.
    pub limit: usize,
    /// Added to every rule of the group; the rule's own win.
    pub labels: BTreeMap<String, String>,
    /// In the order of the file.
    pub rules: Vec<RuleSpec>,
    /// Line in the file.
    pub line: usize,
}

/// A rule as written.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// The recorded metric or the alert's name.
    pub name: String,
    /// Recording or alerting.
    pub kind: RuleKind,
    /// The expression as written.
    pub query: String,
    /// The expression.
    pub expr: Expr,
    /// Labels to set, the group's included; templates in alerting rules.
    pub labels: BTreeMap<String, String>,
    /// Line in the file.
    pub line: usize,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Stores the result as a new series.
    Recording,
    /// Makes alerts of the result.
    Alerting {
        /// How long the condition must hold.
        hold: Duration,
        /// How long an alert goes on after the condition ended.
        keep_firing: Duration,
        /// Texts; templates.
        annotations: BTreeMap<String, String>,
        /// The templates of labels and annotations, compiled.
        templates: Box<Templates>,
    },
}

/// Compiled templates of one alerting rule, by label and annotation name.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    pub(crate) labels: BTreeMap<String, Template>,
    pub(crate) annotations: BTreeMap<String, Template>,
}

impl RuleSpec {
    /// Whether it makes alerts.
    pub fn is_alerting(&self) -> bool {
        matches!(self.kind, RuleKind::Alerting { .. })
    }

    /// Whether its texts depend on nothing but labels and value: they neither query nor ask for the
    /// time.
    pub(crate) fn is_timeless(&self) -> bool {
        let asks = |text: &String| text.contains("{{") && (text.contains("query") || text.contains("now"));
        !self.labels.values().chain(self.annotations().values()).any(asks)
    }

    /// How long the condition must hold; zero for a recording rule.
    pub fn hold(&self) -> Duration {
        match &self.kind {
            RuleKind::Alerting { hold, .. } => *hold,
            RuleKind::Recording => Duration::ZERO,
        }
    }

    /// How long an alert goes on after the condition ended.
    pub fn keep_firing(&self) -> Duration {
        match &self.kind {
            RuleKind::Alerting { keep_firing, .. } => *keep_firing,
            RuleKind::Recording => Duration::ZERO,
        }
    }

    /// The venue whose session time `for` counts, as written: a code or a template; `None` for wall time.
    pub fn trading_calendar(&self) -> Option<&str> {
        self.labels.get(TRADING_CALENDAR).filter(|_| self.is_alerting()).map(String::as_str)
    }

    /// The annotations as written.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match &self.kind {
            RuleKind::Alerting { annotations, .. } => annotations,
            RuleKind::Recording => &NONE,
        }
    }
}

impl RuleFile {
    /// Reads a rule file; `path` is used in messages only.
    ///
    /// Each thing wrong is reported with its place and left out: a broken rule costs its group
    /// nothing else. Text that is no YAML gives no groups.
    pub fn parse(path: &str, text: &str) -> (RuleFile, Vec<ConfigError>) {
        let mut file = RuleFile { path: path.to_owned(), groups: Vec::new() };
        let mut reader = Reader::new(path, text);
        match yaml::parse(path, text) {
            Err(error) => reader.errors.push(error),
            Ok((None, _)) => {}
            Ok((Some(root), more)) => {
                read_file(&root, &mut file, &mut reader);
                if more {
                    reader.warn(
                        &root,
                        "the file holds several YAML documents; only the first is read",
                        "split it",
                    );
                }
            }
        }
        (file, reader.sorted())
    }
}

fn read_file(root: &Node, file: &mut RuleFile, reader: &mut Reader<'_>) {
    let Some(mut fields) = reader.fields(root, "a rule file") else { return };
    if let Some(groups) = fields.take("groups") {
        for node in reader.list(groups, "groups") {
            let Some(group) = read_group(node, reader) else { continue };
            if file.groups.iter().any(|g| g.name == group.name) {
                let message = format!("groupname: {:?} is repeated in the same file", group.name);
                reader.error(node, message, "give each group its own name");
                continue;
            }
            file.groups.push(group);
        }
    }
    fields.finish(reader);
}

fn read_group(node: &Node, reader: &mut Reader<'_>) -> Option<GroupSpec> {
    let mut fields = reader.fields(node, "a rule group")?;
    let name = fields.take("name").and_then(|n| reader.text(n, "name")).unwrap_or_default();
    let mut duration = |name, reader: &mut Reader<'_>| -> Option<Duration> {
        fields.take(name).and_then(|n| reader.duration(n, name))
    };
    let interval = duration("interval", reader).filter(|interval| !interval.is_zero());
    let query_offset = duration("query_offset", reader);
    let limit = fields.take("limit").and_then(|n| reader.integer(n, "limit")).unwrap_or(0);
    let labels = read_labels(&mut fields, reader);
    check_calendar(&labels, reader);
    let labels = labels.into_iter().map(|(n, v, _)| (n, v)).collect();
    let rules = fields.take("rules");
    // Old fields that Prometheus accepts; partial_response_strategy is Thanos'.
    fields.take("partial_response_strategy");
    fields.finish(reader);
    if name.is_empty() {
        reader.error(node, "Groupname must not be empty", "add name");
        return None;
    }
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut group =
        GroupSpec { name, interval, query_offset, limit, labels, rules: Vec::new(), line: node.line };
    if let Some(rules) = rules {
        for (index, node) in reader.list(rules, "rules").iter().enumerate() {
            let rule = read_rule(node, index, &group, reader);
            group.rules.extend(rule);
        }
    }
    warn_duplicates(&group, reader);
    Some(group)
}

/// Prometheus' promtool calls equal rules of one group an error of style; both are evaluated.
fn warn_duplicates(group: &GroupSpec, reader: &mut Reader<'_>) {
    let mut seen = BTreeSet::new();
    for rule in &group.rules {
        if !seen.insert((rule.is_alerting(), &rule.name, &rule.labels)) {
            let message =
                format!("duplicate rule {:?} with the same labels in group {:?}", rule.name, group.name);
            reader.error_at((rule.line, 1), message, "rename one or give it another label");
            reader.errors.last_mut().expect("just added").warning = true;
        }
    }
}

/// Labels or annotations: name, text, place of the text.
fn read_labels(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Vec<(String, String, Node)> {
    let Some(node) = fields.take("labels") else { return Vec::new() };
    let mut labels = reader.pairs(node, "labels");
    labels.retain(|(name, _, at)| {
        let reserved = name == "__name__";
        if name.is_empty() || reserved {
            reader.error(at, format!("invalid label name: {name:?}"), "use another name");
        }
        !name.is_empty() && !reserved
    });
    labels
}

/// A calendar that nobody knows would count all time and tell nobody.
fn check_calendar(labels: &[(String, String, Node)], reader: &mut Reader<'_>) {
    for (_, mic, at) in labels.iter().filter(|(name, ..)| name == TRADING_CALENDAR) {
        if let Some((message, fix)) = session::unknown_calendar(mic) {
            reader.error(at, message, fix);
        }
    }
}

fn read_rule(node: &Node, index: usize, group: &GroupSpec, reader: &mut Reader<'_>) -> Option<RuleSpec> {
    let before = reader.failures();
    let mut fields = reader.fields(node, "a rule")?;
    let record = fields.take("record").and_then(|n| reader.text(n, "record").map(|text| (n, text)));
    let alert = fields.take("alert").and_then(|n| reader.text(n, "alert").map(|text| (n, text)));
    let expr = fields.take("expr");
    let mut duration = |name, reader: &mut Reader<'_>| {
        fields.take_entry(name).map(|(key, value)| (key, reader.duration(value, name).unwrap_or_default()))
    };
    let hold = duration("for", reader);
    let keep_firing = duration("keep_firing_for", reader);
    let own_labels = read_labels(&mut fields, reader);
    if alert.is_some() {
        check_calendar(&own_labels, reader);
    }
    let annotations_node = fields.take_entry("annotations");
    let annotations = match annotations_node {
        Some((_, value)) => reader.pairs(value, "annotations"),
        None => Vec::new(),
    };
    fields.finish(reader);

    let name = alert.as_ref().or(record.as_ref()).map(|(_, name)| name.clone()).unwrap_or_default();
    let shown = format!("group {:?}, rule {}, {name:?}", group.name, index + 1);
    match (&record, &alert) {
        (Some(_), Some(_)) => {
            reader.error(node, format!("{shown}: only one of 'record' and 'alert' must be set"), "keep one")
        }
        (None, None) => {
            reader.error(node, format!("{shown}: one of 'record' or 'alert' must be set"), "add one")
        }
        (Some((at, name)), None) => {
            if !is_metric_name(name) {
                reader.error(
                    at,
                    format!("{shown}: invalid recording rule name: {name}"),
                    "use letters, digits, _ and :",
                );
            }
            for (field, key) in [
                ("for", hold.map(|(k, _)| k)),
                ("keep_firing_for", keep_firing.map(|(k, _)| k)),
                ("annotations", annotations_node.map(|(k, _)| k)),
            ] {
                if let Some(key) = key {
                    reader.error(
                        key,
                        format!("{shown}: invalid field '{field}' in recording rule"),
                        "remove it, or make it an alert",
                    );
                }
            }
        }
        (None, Some((at, name))) if name.is_empty() => {
            reader.error(at, format!("{shown}: the alert has no name"), "name it")
        }
        _ => {}
    }
    let (query, expr) = read_expr(node, expr, &shown, reader)?;
    let mut labels = group.labels.clone();
    labels.extend(own_labels.iter().map(|(name, text, _)| (name.clone(), text.clone())));
    let kind = match alert {
        None => RuleKind::Recording,
        Some((_, name)) => {
            let templates = Templates {
                labels: compile(&name, &own_labels, &group.labels, reader),
                annotations: compile(&name, &annotations, &BTreeMap::new(), reader),
            };
            RuleKind::Alerting {
                hold: hold.map(|(_, d)| d).unwrap_or_default(),
                keep_firing: keep_firing.map(|(_, d)| d).unwrap_or_default(),
                annotations: annotations.into_iter().map(|(name, text, _)| (name, text)).collect(),
                templates: Box::new(templates),
            }
        }
    };
    if reader.failures() > before {
        return None;
    }
    Some(RuleSpec { name, kind, query, expr, labels, line: node.line })
}

fn read_expr(
    rule: &Node,
    node: Option<&Node>,
    shown: &str,
    reader: &mut Reader<'_>,
) -> Option<(String, Expr)> {
    let Some(node) = node.filter(|n| n.text().is_some_and(|t| !t.trim().is_empty())) else {
        let at = node.unwrap_or(rule);
        reader.error(at, format!("{shown}: field 'expr' must be set in rule"), "add expr");
        return None;
    };
    let query = node.text().unwrap_or("").to_owned();
    match tradewatch_promql::parse(&query) {
        Ok(expr) => Some((query, expr)),
        Err(error) => {
            let at = node.locate(reader.source, error.span().start as usize);
            let message = format!("{shown}: could not parse expression: {}", error.message());
            let line = query.lines().take(error.line()).filter(|line| !line.trim().is_empty()).last();
            reader.error_at(at, message, line.map(|line| format!("in: {}", line.trim())).unwrap_or_default());
            None
        }
    }
}

/// Compiles the templates of labels or annotations; a broken one is reported at its own place.
fn compile(
    rule: &str,
    texts: &[(String, String, Node)],
    inherited: &BTreeMap<String, String>,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, Template> {
    let mut compiled = BTreeMap::new();
    for (name, text) in inherited {
        if let Ok(template) = Template::compile(rule, text) {
            compiled.insert(name.clone(), template);
        }
    }
    for (name, text, node) in texts {
        match Template::compile(rule, text) {
            Ok(template) => {
                compiled.insert(name.clone(), template);
            }
            Err(template::CompileError { offset, message }) => {
                let at = node.locate(reader.source, offset);
                reader.error_at(
                    at,
                    format!("{name}: {message}"),
                    "see the template reference for functions and variables",
                );
            }
        }
    }
    compiled
}

fn is_metric_name(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(ok)
}
