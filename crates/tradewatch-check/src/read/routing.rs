//! `alertmanager.yml`: the tree of routes, the receivers, and the places of both.

use tradewatch_alert::route::Config;
use tradewatch_alert::yaml::Node;

use super::{Problem, entries, get, items, text_of};

/// An `alertmanager.yml`.
pub struct RoutingFile {
    /// As the notifier reads it; `None` where something in it is broken.
    pub config: Option<Config>,
    /// Receivers: name, place, whether anything is delivered.
    pub receivers: Vec<(String, Node, bool)>,
    /// Texts of the whole file with their places, to find what is never expanded.
    pub texts: Vec<Node>,
}

impl RoutingFile {
    pub(super) fn read(path: &str, text: &str, root: &Node, problems: &mut Vec<Problem>) -> RoutingFile {
        let config = match Config::parse(path, text) {
            Ok((config, warnings)) => {
                // What this version does not deliver itself is no fault of the file.
                drop(warnings);
                Some(config)
            }
            Err(errors) => {
                problems.extend(errors.into_iter().map(Problem::from));
                None
            }
        };
        let receivers = items(get(root, "receivers")).iter().filter_map(|node| {
            let name = text_of(node, "name")?.to_owned();
            let delivers = entries(Some(node)).iter().any(|(key, value)| {
                key.text().is_some_and(|key| key.ends_with("_configs")) && !items(Some(value)).is_empty()
            });
            Some((name, node.clone(), delivers))
        });
        let mut texts = Vec::new();
        collect(root, &mut texts);
        RoutingFile { config, receivers: receivers.collect(), texts }
    }
}

fn collect(node: &Node, out: &mut Vec<Node>) {
    for item in items(Some(node)) {
        collect(item, out);
    }
    for (_, value) in entries(Some(node)) {
        collect(value, out);
    }
    if node.text().is_some_and(|text| !text.is_empty()) {
        out.push(node.clone());
    }
}
