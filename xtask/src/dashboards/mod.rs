//! The dashboards' typed source: panels in Rust, Grafana JSON out.
//!
//! `cargo xtask dashboards` writes the files, `cargo xtask dashboards --check` fails if a committed file differs.
//! The JSON is the classic model at schema version 39, which Grafana 8.3 to 13 and the embedded UI read alike.
//! To add a panel, add one entry to the dashboard's function; its place on the grid follows from its width.

mod monitor;
mod trading_platform;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::Path;

/// Width of Grafana's grid, in columns.
const GRID_COLUMNS: u32 = 24;
/// The data source is a variable, so that the same file works wherever it is loaded.
const DATASOURCE: &str = "${datasource}";

/// Every generated dashboard with the path it is committed at.
fn all() -> Vec<(&'static str, Dashboard)> {
    vec![
        ("platforms/trading-platform/dashboards/trading-overview.json", trading_platform::trading_overview()),
        ("platforms/trading-platform/dashboards/service-health.json", trading_platform::service_health()),
        ("platforms/trading-platform/dashboards/performance.json", trading_platform::performance()),
        ("platforms/tradewatch/dashboards/monitor.json", monitor::monitor()),
    ]
}

/// Writes the dashboards below `root`, or compares them with what is committed there.
///
/// # Errors
/// With `check`, if a file is missing or differs; names each of them.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, dashboard) in all() {
        let text = format!("{}\n", serde_json::to_string_pretty(&dashboard.to_json())?);
        let file = root.join(path);
        if check {
            if std::fs::read_to_string(&file).ok().as_deref() != Some(text.as_str()) {
                stale.push(path);
            }
        } else {
            std::fs::write(&file, text).with_context(|| format!("write {path}"))?;
            println!("{path}: {} panels", dashboard.panels.iter().filter(|p| p.kind != Kind::Row).count());
        }
    }
    if !stale.is_empty() {
        bail!("not what the source generates, run `cargo xtask dashboards`: {}", stale.join(", "));
    }
    Ok(())
}

/// One dashboard file.
pub struct Dashboard {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    tags: &'static [&'static str],
    panels: Vec<Panel>,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Row,
    Stat,
    Timeseries,
    Gauge,
    Table,
}

/// One panel: what it asks, how it reads, why it is there.
pub struct Panel {
    kind: Kind,
    title: &'static str,
    description: &'static str,
    width: u32,
    height: u32,
    targets: Vec<(String, &'static str)>,
    unit: &'static str,
    decimals: Option<u8>,
    /// Ascending steps; the first has no value.
    thresholds: Vec<(Option<f64>, &'static str)>,
    mappings: Vec<(&'static str, &'static str, &'static str)>,
    /// Colours of series by their legend.
    colors: Vec<(&'static str, &'static str)>,
    min: Option<f64>,
    max: Option<f64>,
    stacked: bool,
    steps: bool,
}

impl Dashboard {
    fn new(
        uid: &'static str,
        title: &'static str,
        description: &'static str,
        tags: &'static [&'static str],
    ) -> Self {
        Self { uid, title, description, tags, panels: Vec::new() }
    }

    fn row(mut self, title: &'static str) -> Self {
        self.panels.push(Panel::new(Kind::Row, title, GRID_COLUMNS, 1));
        self
    }

    fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    fn to_json(&self) -> Value {
        let (mut x, mut y, mut line_height) = (0, 0, 0);
        let mut panels = Vec::new();
        for (index, panel) in self.panels.iter().enumerate() {
            if x + panel.width > GRID_COLUMNS || panel.kind == Kind::Row {
                (x, y, line_height) = (0, y + line_height, 0);
            }
            panels.push(panel.to_json(index + 1, x, y));
            x += panel.width;
            line_height = line_height.max(panel.height);
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "schemaVersion": 39,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": { "from": "now-15m", "to": "now" },
            "links": [],
            "annotations": { "list": [{
                "builtIn": 1,
                "datasource": { "type": "grafana", "uid": "-- Grafana --" },
                "enable": true,
                "hide": true,
                "iconColor": "rgba(0, 211, 255, 1)",
                "name": "Annotations & Alerts",
                "type": "dashboard",
            }] },
            "templating": { "list": [{
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
                "current": {},
                "hide": 0,
                "includeAll": false,
                "multi": false,
                "options": [],
                "refresh": 1,
                "regex": "",
            }] },
            "panels": panels,
        })
    }
}

impl Panel {
    fn new(kind: Kind, title: &'static str, width: u32, height: u32) -> Self {
        Self {
            kind,
            title,
            description: "",
            width,
            height,
            targets: Vec::new(),
            unit: "short",
            decimals: None,
            thresholds: vec![(None, "green")],
            mappings: Vec::new(),
            colors: Vec::new(),
            min: None,
            max: None,
            stacked: false,
            steps: false,
        }
    }

    /// The newest value, large.
    fn stat(title: &'static str, description: &'static str) -> Self {
        Self { description, ..Self::new(Kind::Stat, title, 4, 4) }
    }

    /// Values over time.
    fn timeseries(title: &'static str, description: &'static str) -> Self {
        Self { description, ..Self::new(Kind::Timeseries, title, 12, 8) }
    }

    /// The newest value against a range.
    fn gauge(title: &'static str, description: &'static str) -> Self {
        Self { description, ..Self::new(Kind::Gauge, title, 4, 4) }
    }

    /// The newest value of each series, as rows.
    fn table(title: &'static str, description: &'static str) -> Self {
        Self { description, ..Self::new(Kind::Table, title, 12, 8) }
    }

    fn query(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.targets.push((expr.into(), legend));
        self
    }

    fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    fn decimals(mut self, decimals: u8) -> Self {
        self.decimals = Some(decimals);
        self
    }

    fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    fn range(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }

    fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// Draws steps, for states that jump.
    fn steps(mut self) -> Self {
        self.steps = true;
        self
    }

    fn threshold(mut self, value: f64, color: &'static str) -> Self {
        self.thresholds.push((Some(value), color));
        self
    }

    /// The colour below the first threshold.
    fn base_color(mut self, color: &'static str) -> Self {
        self.thresholds[0].1 = color;
        self
    }

    /// Shows `value` as `text` in `color`.
    fn mapping(mut self, value: &'static str, text: &'static str, color: &'static str) -> Self {
        self.mappings.push((value, text, color));
        self
    }

    /// Draws the series of that legend in `color`, whichever others there are.
    fn color(mut self, legend: &'static str, color: &'static str) -> Self {
        self.colors.push((legend, color));
        self
    }

    /// Good, refused and failed as everywhere, so that no colour shifts when a series comes or goes.
    fn outcome_colors(self) -> Self {
        self.color("success", "green")
            .color("rejected", "red")
            .color("failed", "orange")
            .color("error", "orange")
    }

    fn to_json(&self, id: usize, x: u32, y: u32) -> Value {
        let place = json!({ "h": self.height, "w": self.width, "x": x, "y": y });
        if self.kind == Kind::Row {
            return json!({ "id": id, "type": "row", "title": self.title, "collapsed": false, "gridPos": place, "panels": [] });
        }
        let datasource = json!({ "type": "prometheus", "uid": DATASOURCE });
        let newest_only = matches!(self.kind, Kind::Table);
        let targets: Vec<Value> = self
            .targets
            .iter()
            .zip('A'..='Z')
            .map(|((expr, legend), letter)| {
                let mut target = json!({
                    "refId": letter.to_string(),
                    "datasource": datasource,
                    "expr": expr,
                    "legendFormat": legend,
                    "range": !newest_only,
                    "instant": newest_only,
                });
                if newest_only {
                    target["format"] = json!("table");
                }
                target
            })
            .collect();
        json!({
            "id": id,
            "type": match self.kind {
                Kind::Row => "row",
                Kind::Stat => "stat",
                Kind::Timeseries => "timeseries",
                Kind::Gauge => "gauge",
                Kind::Table => "table",
            },
            "title": self.title,
            "description": self.description,
            "datasource": datasource,
            "gridPos": place,
            "fieldConfig": { "defaults": self.field_defaults(), "overrides": self.overrides() },
            "options": self.options(),
            "targets": targets,
        })
    }

    fn field_defaults(&self) -> Value {
        let steps: Vec<Value> =
            self.thresholds.iter().map(|(value, color)| json!({ "value": value, "color": color })).collect();
        let mut defaults = json!({
            "unit": self.unit,
            "color": { "mode": if self.kind == Kind::Timeseries { "palette-classic" } else { "thresholds" } },
            "thresholds": { "mode": "absolute", "steps": steps },
            "mappings": [],
        });
        if !self.mappings.is_empty() {
            let mut options = serde_json::Map::new();
            for (index, (value, text, color)) in self.mappings.iter().enumerate() {
                options.insert((*value).into(), json!({ "text": text, "color": color, "index": index }));
            }
            defaults["mappings"] = json!([{ "type": "value", "options": options }]);
        }
        if let Some(decimals) = self.decimals {
            defaults["decimals"] = json!(decimals);
        }
        if let Some(min) = self.min {
            defaults["min"] = json!(min);
        }
        if let Some(max) = self.max {
            defaults["max"] = json!(max);
        }
        if self.kind == Kind::Timeseries {
            defaults["custom"] = json!({
                "drawStyle": "line",
                "lineInterpolation": if self.steps { "stepAfter" } else { "linear" },
                "lineWidth": 1,
                "fillOpacity": if self.stacked { 30 } else { 8 },
                "showPoints": "never",
                "spanNulls": false,
                "stacking": { "mode": if self.stacked { "normal" } else { "none" }, "group": "A" },
                "thresholdsStyle": { "mode": if self.thresholds.len() > 1 { "line" } else { "off" } },
            });
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let fixed = |(legend, color): &(&str, &str)| {
            json!({
                "matcher": { "id": "byName", "options": legend },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": color } }],
            })
        };
        self.colors.iter().map(fixed).collect()
    }

    fn options(&self) -> Value {
        let newest = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.kind {
            Kind::Row => json!({}),
            Kind::Stat => json!({
                "reduceOptions": newest,
                "colorMode": if self.mappings.is_empty() { "value" } else { "background" },
                "graphMode": if self.mappings.is_empty() { "area" } else { "none" },
                "textMode": if self.targets.len() > 1 || self.targets[0].1.contains("{{") { "value_and_name" } else { "auto" },
                "justifyMode": "auto",
                "orientation": "auto",
            }),
            Kind::Gauge => json!({
                "reduceOptions": newest,
                "orientation": "auto",
                "showThresholdLabels": false,
                "showThresholdMarkers": true,
            }),
            Kind::Timeseries => json!({
                "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every panel asks something, says what it shows in what unit, and is found under one id.
    #[test]
    fn every_panel_is_complete() {
        for (path, dashboard) in all() {
            for panel in dashboard.panels.iter().filter(|panel| panel.kind != Kind::Row) {
                assert!(!panel.targets.is_empty(), "{path}: {} asks nothing", panel.title);
                assert!(panel.targets.len() <= 26, "{path}: {} has more queries than letters", panel.title);
                assert!(!panel.description.is_empty(), "{path}: {} does not say what it shows", panel.title);
                assert!(panel.width <= GRID_COLUMNS, "{path}: {} is wider than the grid", panel.title);
            }
            let titles: std::collections::BTreeSet<_> =
                dashboard.panels.iter().map(|panel| panel.title).collect();
            assert_eq!(titles.len(), dashboard.panels.len(), "{path}: two panels share a title");
        }
    }

    /// Panels of one line stand side by side, and a row begins a new line.
    #[test]
    fn panels_do_not_overlap() {
        for (path, dashboard) in all() {
            let json = dashboard.to_json();
            let cells: Vec<_> =
                json["panels"].as_array().unwrap().iter().map(|panel| panel["gridPos"].clone()).collect();
            for (index, a) in cells.iter().enumerate() {
                for b in &cells[index + 1..] {
                    let apart = |from: &str, size: &str| {
                        let end = |cell: &Value| cell[from].as_u64().unwrap() + cell[size].as_u64().unwrap();
                        end(a) <= b[from].as_u64().unwrap() || end(b) <= a[from].as_u64().unwrap()
                    };
                    assert!(apart("x", "w") || apart("y", "h"), "{path}: {a} overlaps {b}");
                }
            }
        }
    }
}
