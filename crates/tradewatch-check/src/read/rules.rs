//! Rule files: each rule with the places of its parts.

use std::time::Duration;

use tradewatch_alert::rules::{RuleFile, RuleSpec};
use tradewatch_alert::yaml::Node;
use tradewatch_promql::Expr;

use super::{Problem, entries, get, items, text_of};

/// The rules of one file.
pub struct RuleDocument {
    /// In the order of the file.
    pub rules: Vec<Rule>,
}

/// One rule.
pub struct Rule {
    /// Its group.
    pub group: String,
    /// The interval of its group, where it has its own.
    pub interval: Option<Duration>,
    /// `alert` rather than `record`.
    pub alerting: bool,
    /// The alert's or the recorded metric's name.
    pub name: String,
    /// Where the rule begins.
    pub node: Node,
    /// Where its expression stands.
    pub expr_node: Node,
    /// The expression as written.
    pub query: String,
    /// The expression; `None` where it cannot be parsed.
    pub expr: Option<Expr>,
    /// `for`.
    pub hold: Duration,
    /// Where `for` stands.
    pub hold_node: Option<Node>,
    /// Labels that it sets, its group's included, with the places of their values.
    pub labels: Vec<(String, Node)>,
    /// Annotations with the places of their values.
    pub annotations: Vec<(String, Node)>,
    /// As the evaluator reads it; `None` where something in it is broken.
    pub spec: Option<RuleSpec>,
}

impl Rule {
    /// The text of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().rev().find(|(label, _)| label == name).and_then(|(_, node)| node.text())
    }

    /// The text of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(annotation, _)| annotation == name).and_then(|(_, node)| node.text())
    }

    /// `alert X` or `record x`.
    pub fn title(&self) -> String {
        format!("{} {}", if self.alerting { "alert" } else { "record" }, self.name)
    }
}

impl RuleDocument {
    pub(super) fn read(
        path: &str,
        text: &str,
        root: &Node,
        operator: bool,
        problems: &mut Vec<Problem>,
    ) -> RuleDocument {
        let mut specs = Vec::new();
        if !operator {
            let (file, errors) = RuleFile::parse(path, text);
            specs.extend(file.groups.into_iter().flat_map(|group| group.rules));
            problems.extend(errors.into_iter().map(Problem::from));
        }
        let root = if operator { get(root, "spec") } else { Some(root) };
        let mut rules = Vec::new();
        for group in items(root.and_then(|root| get(root, "groups"))) {
            for node in items(get(group, "rules")) {
                rules.extend(read_rule(group, node, text, operator, &mut specs, problems));
            }
        }
        RuleDocument { rules }
    }
}

fn read_rule(
    group: &Node,
    node: &Node,
    text: &str,
    operator: bool,
    specs: &mut Vec<RuleSpec>,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let alerting = get(node, "alert").is_some();
    let name = text_of(node, if alerting { "alert" } else { "record" })?.to_owned();
    let expr_node = get(node, "expr")?.clone();
    let query = expr_node.text()?.to_owned();
    let expr = match tradewatch_promql::parse(&query) {
        Ok(expr) => Some(expr),
        Err(error) => {
            // The rule reader has said so already where it read the file.
            if operator {
                let (line, column) = expr_node.locate(text, error.span().start as usize);
                let message = format!("could not parse expression: {}", error.message());
                problems.push(Problem { line, column, message, fix: String::new(), warning: false });
            }
            None
        }
    };
    let duration = |of: &Node, name: &str| {
        text_of(of, name).and_then(|text| tradewatch_alert::duration::parse(text).ok())
    };
    let pairs = |of: &Node, name: &str| -> Vec<(String, Node)> {
        let pairs = entries(get(of, name)).iter();
        pairs.filter_map(|(key, value)| Some((key.text()?.to_owned(), value.clone()))).collect()
    };
    let mut labels = pairs(group, "labels");
    labels.extend(pairs(node, "labels"));
    let at = specs.iter().position(|spec| spec.line == node.line && spec.name == name);
    Some(Rule {
        group: text_of(group, "name").unwrap_or("").to_owned(),
        interval: duration(group, "interval").filter(|interval| !interval.is_zero()),
        alerting,
        hold: duration(node, "for").unwrap_or_default(),
        hold_node: get(node, "for").cloned(),
        labels,
        annotations: pairs(node, "annotations"),
        spec: at.map(|at| specs.remove(at)),
        name,
        node: node.clone(),
        expr_node,
        query,
        expr,
    })
}
