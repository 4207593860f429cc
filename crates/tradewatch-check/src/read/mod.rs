//! Files by their content: what each one is, and its parts with their places.

pub mod dashboard;
pub mod json;
pub mod routing;
pub mod rules;
pub mod scrape;

use tradewatch_alert::yaml::{self, Kind, Node};
use tradewatch_catalog::Catalog;

use crate::finding::Place;

/// A file to look at.
#[derive(Clone, Debug)]
pub struct Input {
    /// As reports name it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A file that was read.
pub struct Document {
    /// As reports name it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// What it is.
    pub content: Content,
    /// What is wrong with the file itself.
    pub problems: Vec<Problem>,
}

/// What a file is.
pub enum Content {
    /// Recording and alerting rules.
    Rules(rules::RuleDocument),
    /// `promtool test rules`.
    RuleTests,
    /// A Grafana dashboard.
    Dashboard(dashboard::Dashboard),
    /// `prometheus.yml`.
    Scrape(Box<scrape::ScrapeFile>),
    /// `alertmanager.yml`.
    Routing(Box<routing::RoutingFile>),
    /// A metric catalogue.
    Catalog(Box<Catalog>),
    /// Something that is none of these.
    Other,
    /// A file that cannot be read.
    Broken,
}

/// Something wrong with a file itself.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// It works, but not as its writer may think.
    pub warning: bool,
}

impl From<tradewatch_alert::ConfigError> for Problem {
    fn from(error: tradewatch_alert::ConfigError) -> Problem {
        let tradewatch_alert::ConfigError { line, column, message, fix, warning, .. } = error;
        Problem { line, column, message, fix, warning }
    }
}

impl Document {
    /// Reads a file; never fails, since what is broken is a problem of the document.
    pub fn read(input: Input) -> Document {
        let Input { path, text } = input;
        let mut problems = Vec::new();
        let content = if path.ends_with(".toml") {
            read_toml(&path, &text, &mut problems)
        } else if path.ends_with(".json") || text.trim_start().starts_with('{') && !path.ends_with(".yml") {
            read_json(&text, &mut problems)
        } else {
            read_yaml(&path, &text, &mut problems)
        };
        Document { path, text, content, problems }
    }

    /// The place of a node.
    pub fn place(&self, node: &Node, object: &str) -> Place {
        self.place_at(node.line, node.column, 0, object)
    }

    /// A place by line and column; `len` characters are marked, 0 marks to the end of the line.
    pub fn place_at(&self, line: usize, column: usize, len: usize, object: &str) -> Place {
        let excerpt = self.text.lines().nth(line.saturating_sub(1)).unwrap_or("");
        let indent = excerpt.chars().take_while(|c| c.is_whitespace()).count();
        let column = column.max(1);
        let rest = excerpt.trim_end().chars().count().saturating_sub(column - 1);
        let len = if len == 0 { rest } else { len.min(rest) };
        Place {
            file: self.path.clone(),
            line,
            column,
            object: object.to_owned(),
            excerpt: excerpt.trim().to_owned(),
            mark_start: (column - 1).saturating_sub(indent),
            mark_len: len,
        }
    }
}

fn read_toml(path: &str, text: &str, problems: &mut Vec<Problem>) -> Content {
    if !text.contains("[[metric]]") && !text.contains("platform") {
        return Content::Other;
    }
    match Catalog::parse(path, text) {
        Ok(catalog) => Content::Catalog(Box::new(catalog)),
        Err(error) => {
            let message = error.to_string();
            let rest = message.strip_prefix(path).unwrap_or(&message).trim_start_matches(':');
            let mut parts = rest.splitn(3, ':');
            let mut number = || parts.next().and_then(|part| part.trim().parse().ok()).unwrap_or(1);
            let (line, column) = (number(), number());
            let message = parts.next().unwrap_or(&message).trim().to_owned();
            problems.push(Problem { line, column, message, fix: String::new(), warning: false });
            Content::Broken
        }
    }
}

fn read_json(text: &str, problems: &mut Vec<Problem>) -> Content {
    match json::parse(text) {
        Ok(root) => {
            // Grafana's API wraps a dashboard; a provisioned file does not.
            let root = get(&root, "dashboard").cloned().unwrap_or(root);
            match get(&root, "panels").or_else(|| get(&root, "rows")).or_else(|| get(&root, "schemaVersion"))
            {
                Some(_) => Content::Dashboard(dashboard::Dashboard::read(&root)),
                None => Content::Other,
            }
        }
        Err(error) => {
            let message = format!("not valid JSON: {}", error.message);
            let json::JsonError { line, column, .. } = error;
            problems.push(Problem { line, column, message, fix: String::new(), warning: false });
            Content::Broken
        }
    }
}

fn read_yaml(path: &str, text: &str, problems: &mut Vec<Problem>) -> Content {
    let root = match yaml::parse(path, text) {
        Ok((root, _)) => root,
        Err(error) => {
            problems.push(error.into());
            return Content::Broken;
        }
    };
    let Some(root) = root else { return Content::Other };
    let has = |name: &str| get(&root, name).is_some();
    if has("tests") && (has("rule_files") || !has("groups")) {
        return Content::RuleTests;
    }
    // The operator's form of a rule file carries the groups one level deeper.
    let operator = get(&root, "kind").and_then(Node::text) == Some("PrometheusRule");
    if operator || has("groups") {
        return Content::Rules(rules::RuleDocument::read(path, text, &root, operator, problems));
    }
    if has("route") || has("receivers") {
        return Content::Routing(Box::new(routing::RoutingFile::read(path, text, &root, problems)));
    }
    if ["scrape_configs", "global", "rule_files", "alerting", "remote_write"].iter().any(|name| has(name)) {
        return Content::Scrape(Box::new(scrape::ScrapeFile::read(&root, problems)));
    }
    Content::Other
}

/// The value of `name` in a mapping; null counts as absent.
pub fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries
        .iter()
        .find(|(key, _)| key.text() == Some(name))
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}

/// The text of `name` in a mapping.
pub fn text_of<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    get(node, name).and_then(Node::text)
}

/// The items of a list; nothing for anything else.
pub fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

/// The entries of a mapping; nothing for anything else.
pub fn entries(node: Option<&Node>) -> &[(Node, Node)] {
    match node.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries,
        _ => &[],
    }
}
