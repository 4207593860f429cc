//! Grafana dashboards: panels, their queries, units and thresholds, with their places.

use tradewatch_alert::yaml::Node;

use super::{entries, get, items, text_of};

/// A dashboard.
pub struct Dashboard {
    /// Its title.
    pub title: String,
    /// Every panel that is no row, in the order of the file.
    pub panels: Vec<Panel>,
    /// Its variables: name, and whether its value is a list of label values rather than a data source.
    pub variables: Vec<Variable>,
    /// The whole text of queries, titles and links, to see what is used.
    pub mentions: String,
}

/// A variable of a dashboard.
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its kind: `query`, `custom`, `datasource`, `interval`, `constant`, `textbox`, `adhoc`.
    pub kind: String,
    /// The query it is filled by, if it has one.
    pub query: Option<Node>,
    /// Where it stands.
    pub node: Node,
}

/// A panel.
pub struct Panel {
    /// Its title.
    pub title: String,
    /// `timeseries`, `stat`, `gauge`, …
    pub kind: String,
    /// Where it begins.
    pub node: Node,
    /// Its Prometheus queries.
    pub queries: Vec<PanelQuery>,
    /// The unit; `None` where none is set.
    pub unit: Option<(String, Node)>,
    /// A unit is set for some of its series only.
    pub unit_overridden: bool,
    /// Thresholds that are shown, ascending: value (`-inf` for the first) and colour.
    pub thresholds: Vec<(f64, String, Node)>,
}

/// A query of a panel.
pub struct PanelQuery {
    /// Where the expression stands.
    pub node: Node,
    /// The expression as written.
    pub text: String,
    /// The legend, if it has one.
    pub legend: Option<Node>,
}

impl Dashboard {
    pub(super) fn read(root: &Node) -> Dashboard {
        let mut panels = Vec::new();
        for panel in items(get(root, "panels")) {
            read_panel(panel, &mut panels);
        }
        // Dashboards from before Grafana 5 keep their panels in rows.
        for row in items(get(root, "rows")) {
            for panel in items(get(row, "panels")) {
                read_panel(panel, &mut panels);
            }
        }
        let variables = items(get(root, "templating").and_then(|node| get(node, "list")));
        let variables = variables.iter().map(|node| Variable {
            name: text_of(node, "name").unwrap_or("").to_owned(),
            kind: text_of(node, "type").unwrap_or("").to_owned(),
            query: get(node, "query")
                .and_then(|query| if query.text().is_some() { Some(query) } else { get(query, "query") })
                .cloned(),
            node: node.clone(),
        });
        let mut mentions = String::new();
        texts(root, &mut mentions);
        Dashboard {
            title: text_of(root, "title").unwrap_or("").to_owned(),
            panels,
            variables: variables.collect(),
            mentions,
        }
    }
}

/// Every text that can use a variable.
fn texts(node: &Node, out: &mut String) {
    for item in items(Some(node)) {
        texts(item, out);
    }
    for (_, value) in entries(Some(node)) {
        texts(value, out);
    }
    if let Some(text) = node.text().filter(|text| text.contains('$') || text.contains("[[")) {
        out.push_str(text);
        out.push('\n');
    }
}

fn read_panel(node: &Node, out: &mut Vec<Panel>) {
    for inner in items(get(node, "panels")) {
        read_panel(inner, out);
    }
    let kind = text_of(node, "type").unwrap_or("").to_owned();
    if kind == "row" {
        return;
    }
    let defaults = get(node, "fieldConfig").and_then(|config| get(config, "defaults"));
    let overrides =
        get(node, "fieldConfig").map(|config| items(get(config, "overrides"))).unwrap_or_default();
    let overrides_unit = overrides.iter().flat_map(|entry| items(get(entry, "properties")));
    let unit_overridden = overrides_unit.clone().any(|property| text_of(property, "id") == Some("unit"));
    // Panels from before Grafana 7 keep the unit elsewhere.
    let old = items(get(node, "yaxes"))
        .first()
        .and_then(|axis| get(axis, "format"))
        .or_else(|| get(node, "format"));
    let unit = defaults.and_then(|defaults| get(defaults, "unit")).or(old);
    let unit = unit.and_then(|unit| Some((unit.text()?.to_owned(), unit.clone())));
    out.push(Panel {
        title: text_of(node, "title").unwrap_or("").to_owned(),
        queries: items(get(node, "targets")).iter().filter_map(|target| read_query(node, target)).collect(),
        unit: unit.filter(|(unit, _)| !unit.is_empty()),
        unit_overridden,
        thresholds: defaults.map(|defaults| read_thresholds(&kind, defaults)).unwrap_or_default(),
        node: node.clone(),
        kind,
    });
}

fn read_query(panel: &Node, target: &Node) -> Option<PanelQuery> {
    let source = get(target, "datasource").or_else(|| get(panel, "datasource"));
    let source = source.and_then(|source| text_of(source, "type"));
    if source.is_some_and(|source| source != "prometheus" && !source.contains("mixed")) {
        return None;
    }
    let node = get(target, "expr")?.clone();
    let text = node.text().filter(|text| !text.trim().is_empty())?.to_owned();
    Some(PanelQuery { node, text, legend: get(target, "legendFormat").cloned() })
}

fn read_thresholds(kind: &str, defaults: &Node) -> Vec<(f64, String, Node)> {
    let Some(thresholds) = get(defaults, "thresholds") else { return Vec::new() };
    if text_of(thresholds, "mode") == Some("percentage") {
        return Vec::new();
    }
    let steps = items(get(thresholds, "steps")).iter().filter_map(|step| {
        let value = text_of(step, "value").and_then(|value| value.parse().ok()).unwrap_or(f64::NEG_INFINITY);
        Some((value, text_of(step, "color")?.to_owned(), get(step, "color")?.clone()))
    });
    let steps: Vec<_> = steps.collect();
    let shown = match kind {
        "timeseries" => {
            let style = get(defaults, "custom").and_then(|custom| get(custom, "thresholdsStyle"));
            // A chart draws them only when told to; two or more steps that nobody drew are still meant.
            style.and_then(|style| text_of(style, "mode")).is_none_or(|mode| mode != "off")
        }
        _ => true,
    };
    if shown { steps } else { Vec::new() }
}
