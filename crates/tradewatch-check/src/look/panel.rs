//! Panels: units, thresholds, colours, legends.

use std::collections::{BTreeMap, BTreeSet};

use tradewatch_promql::Span;
use tradewatch_promql::ast::BinaryOp;
use tradewatch_promql::format_float;

use crate::expr::abs::{Abs, Meaning, Unit};
use crate::expr::site::Site;
use crate::expr::{Comparison, edge_problem};
use crate::finding::{Finding, Severity};
use crate::read::Document;
use crate::read::dashboard::{Dashboard, Panel, PanelQuery};

/// Which end of a metric's values is bad.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Large values.
    High,
    /// Small values.
    Low,
}

/// Which end of a family's values the alerts call bad.
pub type Judged = BTreeMap<String, Option<Bad>>;

/// Takes in what the comparisons of an alert say about single metrics.
pub fn learn(judged: &mut Judged, comparisons: &[Comparison]) {
    for comparison in comparisons {
        let value = &comparison.value;
        let plain =
            matches!(value.meaning, Meaning::Gauge | Meaning::Age | Meaning::Timestamp | Meaning::Quantile);
        let [family] = value.families.iter().collect::<Vec<_>>()[..] else { continue };
        if !plain || comparison.judged || value.flipped {
            continue;
        }
        let bad = match comparison.op {
            BinaryOp::Gtr | BinaryOp::Gte => Bad::High,
            BinaryOp::Lss | BinaryOp::Lte => Bad::Low,
            BinaryOp::Eq if value.unit == Unit::Bool => {
                if comparison.constant == 0.0 {
                    Bad::Low
                } else {
                    Bad::High
                }
            }
            _ => continue,
        };
        // Two alerts that disagree say nothing: a range is what is meant.
        let entry = judged.entry(family.clone()).or_insert(Some(bad));
        if *entry != Some(bad) {
            *entry = None;
        }
    }
}

/// Words of names whose large values are bad, and those whose small ones are.
const BAD_HIGH: &[&str] = &[
    "age",
    "breaches",
    "corruptions",
    "delay",
    "drawdown",
    "drift",
    "dropped",
    "duration",
    "error",
    "errors",
    "failed",
    "failure",
    "failures",
    "gaps",
    "lag",
    "latency",
    "mismatches",
    "rejected",
    "rejections",
    "retries",
    "slippage",
    "staleness",
    "timeouts",
    "violations",
];
const BAD_LOW: &[&str] =
    &["accuracy", "availability", "completeness", "coverage", "healthy", "hit", "success", "uptime"];

fn direction(value: &Abs, judged: &Judged) -> Option<Bad> {
    let flip = |bad: Bad| match (bad, value.flipped) {
        (bad, false) => bad,
        (Bad::High, true) => Bad::Low,
        (Bad::Low, true) => Bad::High,
    };
    if value.tainted {
        return None;
    }
    if value.meaning == Meaning::Age || value.meaning == Meaning::Quantile && value.unit == Unit::Seconds {
        return Some(flip(Bad::High));
    }
    if let [family] = value.families.iter().collect::<Vec<_>>()[..]
        && let Some(bad) = judged.get(family)
    {
        return bad.map(flip);
    }
    if !matches!(value.meaning, Meaning::Gauge | Meaning::Ratio | Meaning::Mean) {
        return None;
    }
    let words: BTreeSet<&str> = value.families.iter().flat_map(|name| name.split('_')).collect();
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
    match (has(BAD_HIGH), has(BAD_LOW)) {
        (true, false) => Some(flip(Bad::High)),
        (false, true) => Some(flip(Bad::Low)),
        _ => None,
    }
}

/// Good, bad or neither.
fn mood(colour: &str) -> i8 {
    let colour = colour.to_lowercase();
    let hex = |hex: &str| colour.starts_with(hex);
    if colour.contains("green") || hex("#299c46") || hex("#73bf69") || hex("#56a64b") || hex("#37872d") {
        1
    } else if colour.contains("red")
        || hex("#d44a3a")
        || hex("#f2495c")
        || hex("#e02f44")
        || hex("#c4162a")
        || hex("#bf1b00")
    {
        -1
    } else {
        0
    }
}

/// A query of a panel and what it gives.
pub struct Shown<'a> {
    /// The query.
    pub query: &'a PanelQuery,
    /// Where it stands.
    pub site: Site<'a>,
    /// What it gives.
    pub value: Abs,
}

/// Everything about one panel as a whole.
pub fn findings(document: &Document, panel: &Panel, shown: &[Shown<'_>], judged: &Judged) -> Vec<Finding> {
    let mut out = Vec::new();
    let object = object(panel);
    units(document, panel, shown, &object, &mut out);
    thresholds(document, panel, shown, judged, &object, &mut out);
    for one in shown {
        raw_counter(panel, one, &mut out);
        legend(document, one, &object, &mut out);
    }
    out
}

/// `panel "Order rate"`.
pub fn object(panel: &Panel) -> String {
    format!("panel {:?}", if panel.title.is_empty() { "(untitled)" } else { &panel.title })
}

fn finding(
    id: &'static str,
    severity: Severity,
    place: crate::finding::Place,
    message: String,
    why: &str,
    fix: String,
) -> Finding {
    Finding { id, severity, message, why: why.to_owned(), fix, place, suppressed: None }
}

fn units(document: &Document, panel: &Panel, shown: &[Shown<'_>], object: &str, out: &mut Vec<Finding>) {
    let numeric = ["stat", "gauge", "timeseries", "graph", "bargauge", "singlestat", "barchart"]
        .contains(&panel.kind.as_str());
    if !numeric || shown.is_empty() {
        return;
    }
    let Some((unit, node)) = &panel.unit else {
        if !panel.unit_overridden {
            let place = document.place_at(panel.node.line, panel.node.column, 1, object);
            let why = "a number without a unit is guessed at: 0.25 may be seconds, dollars or a quarter";
            let fix = match shown.iter().find_map(|one| grafana_unit(&one.value)) {
                Some(unit) => format!("set the unit {unit:?}"),
                None => "set a unit (\"short\" for plain numbers)".to_owned(),
            };
            out.push(finding("TW030", Severity::Warning, place, "panel without a unit".to_owned(), why, fix));
        }
        return;
    };
    for one in shown.iter().filter(|one| !one.value.tainted) {
        let clash = matches!(
            (one.value.unit, unit.as_str()),
            (Unit::Seconds, "ms" | "µs" | "ns" | "bytes" | "percent" | "percentunit" | "reqps")
                | (Unit::Milliseconds, "s" | "bytes" | "percent" | "percentunit")
                | (Unit::Ratio, "percent" | "bytes" | "ms")
                | (Unit::Percent, "percentunit" | "bytes" | "s" | "ms")
                | (Unit::Bytes, "s" | "ms" | "percent" | "percentunit")
        );
        // The rate of a counter of seconds is a share of time, and often shown as seconds.
        if clash && !(one.value.meaning == Meaning::Rate && one.value.unit == Unit::Ratio) {
            let place = document.place(node, object);
            let why = format!("the query gives {}", one.value.unit.as_str());
            let fix =
                grafana_unit(&one.value).map(|unit| format!("set the unit {unit:?}")).unwrap_or_default();
            out.push(finding(
                "TW031",
                Severity::Error,
                place,
                format!("the unit {unit:?} is not that of the query"),
                &why,
                fix,
            ));
            return;
        }
    }
}

fn grafana_unit(value: &Abs) -> Option<&'static str> {
    match value.unit {
        Unit::Seconds => Some("s"),
        Unit::Milliseconds => Some("ms"),
        Unit::Ratio => Some("percentunit"),
        Unit::Percent => Some("percent"),
        Unit::Bytes => Some("bytes"),
        Unit::PerSecond => Some("ops"),
        Unit::Count | Unit::Bool => Some("short"),
        Unit::Unknown | Unit::Other => None,
    }
}

fn thresholds(
    document: &Document,
    panel: &Panel,
    shown: &[Shown<'_>],
    judged: &Judged,
    object: &str,
    out: &mut Vec<Finding>,
) {
    let steps = &panel.thresholds;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
    if steps.len() < 2 {
        return;
    }
    if steps.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        let why = "each step begins above the one before it";
        out.push(finding(
            "TW029",
            Severity::Error,
            document.place(&last.2, object),
            "thresholds do not ascend".to_owned(),
            why,
            "sort the steps".to_owned(),
        ));
        return;
    }
    let painted = match (mood(&first.1), mood(&last.1)) {
        (1, -1) => Some(Bad::High),
        (-1, 1) => Some(Bad::Low),
        _ => None,
    };
    // A table paints each column by rules of its own; where one query has no bad end the colours may be about it.
    let directions: Option<Vec<Bad>> = shown.iter().map(|one| direction(&one.value, judged)).collect();
    let meant: BTreeSet<bool> = directions
        .filter(|_| panel.kind != "table")
        .into_iter()
        .flatten()
        .map(|bad| bad == Bad::High)
        .collect();
    if let ([high], Some(painted)) = (meant.iter().copied().collect::<Vec<_>>().as_slice(), painted)
        && *high != (painted == Bad::High)
    {
        let (bad, colour) = if *high { ("large", &first.1) } else { ("small", &first.1) };
        let why = if *high {
            format!("large values are bad here, and small ones are painted {colour}")
        } else {
            format!("small values are bad here, and are painted {colour}")
        };
        let place = document.place(&last.2, object);
        out.push(finding(
            "TW029",
            Severity::Error,
            place,
            format!("colours are inverted: {bad} values are bad"),
            &why,
            "exchange the colours".to_owned(),
        ));
    }
    for (value, _, node) in steps.iter().filter(|(value, ..)| value.is_finite()) {
        let place = || document.place(node, object);
        let quantiles: Vec<&Abs> = shown
            .iter()
            .map(|one| &one.value)
            .filter(|value| value.meaning == Meaning::Quantile && !value.tainted)
            .collect();
        if let Some(quantile) = quantiles.iter().find(|quantile| *value > quantile.high) {
            let top = format_float(quantile.high);
            let message =
                format!("the threshold {} is above the highest bucket, {top}", format_float(*value));
            let why = format!("whatever took longer is shown as {top}: the colour never comes");
            out.push(finding(
                "TW014",
                Severity::Error,
                place(),
                message,
                &why,
                format!("add edges up to {} and beyond", format_float(*value)),
            ));
        } else if let Some((message, why, fix)) =
            quantiles.iter().find_map(|quantile| edge_problem(quantile, *value, "threshold"))
        {
            out.push(finding("TW015", Severity::Warning, place(), message, &why, fix));
        } else if let Some(one) = shown.iter().find(|one| {
            let bounded =
                one.value.meaning != Meaning::Quantile && !one.value.tainted && one.value.high.is_finite();
            bounded && *value > one.value.high && one.value.high > 0.0
        }) {
            let message = format!("the threshold {} is never reached", format_float(*value));
            let why = format!("the query gives at most {}", format_float(one.value.high));
            let fix = if *value > 1.0 && one.value.unit == Unit::Ratio {
                format!("write {}", format_float(*value / 100.0))
            } else {
                String::new()
            };
            out.push(finding("TW014", Severity::Error, place(), message, &why, fix));
        }
    }
}

fn raw_counter(panel: &Panel, one: &Shown<'_>, out: &mut Vec<Finding>) {
    if one.value.meaning != Meaning::Counter || one.value.tainted {
        return;
    }
    let name = one.value.families.iter().next().cloned().unwrap_or_default();
    let chart = matches!(panel.kind.as_str(), "timeseries" | "graph" | "barchart" | "heatmap");
    let severity = if chart { Severity::Warning } else { Severity::Info };
    let why = "it counts since the process started, and begins again at 0 with every restart".to_owned();
    let fix = if chart {
        format!("rate({name}[$__rate_interval])")
    } else {
        format!("increase({name}[$__range]) for the time shown")
    };
    let place = one.site.place(Span::new(0, one.site.text.len()));
    out.push(Finding {
        id: "TW009",
        severity,
        message: format!("{name} shown as a raw counter"),
        why,
        fix,
        place,
        suppressed: None,
    });
}

/// Labels that the legend names.
fn legend(document: &Document, one: &Shown<'_>, object: &str, out: &mut Vec<Finding>) {
    let Some(node) = &one.query.legend else { return };
    let labels = &one.value.labels;
    if labels.open {
        return;
    }
    let text = node.text().unwrap_or("");
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((name, tail)) = after.split_once("}}") else { break };
        rest = tail;
        let name = name.trim();
        if name.is_empty() || labels.can_have(name) || name.starts_with("__") {
            continue;
        }
        let names = labels.names();
        let has = if names.is_empty() {
            "no labels".to_owned()
        } else {
            format!("the labels {}", names.join(", "))
        };
        let near = tradewatch_catalog::nearest(name, names.iter().copied());
        let fix = near.map_or_else(
            || format!("keep it in the query: by ({name})"),
            |near| format!("did you mean {near}?"),
        );
        let why = format!("the query gives {has}: the legend stays empty there");
        let place = document.place(node, object);
        out.push(Finding {
            id: "TW026",
            severity: Severity::Warning,
            message: format!("the legend names a label {name:?} that the query does not give"),
            why,
            fix,
            place,
            suppressed: None,
        });
    }
}

/// Variables that nothing uses.
pub fn variables(document: &Document, dashboard: &Dashboard) -> Vec<Finding> {
    let used = |name: &str| {
        let forms = [format!("${name}"), format!("${{{name}"), format!("[[{name}")];
        dashboard.mentions.lines().any(|line| {
            forms.iter().any(|form| {
                line.match_indices(form.as_str()).any(|(at, _)| {
                    !line[at + form.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                })
            })
        })
    };
    let mut out = Vec::new();
    for variable in &dashboard.variables {
        let kind = matches!(variable.kind.as_str(), "query" | "custom" | "interval" | "textbox");
        if kind && !variable.name.is_empty() && !used(&variable.name) {
            let place = document.place_at(
                variable.node.line,
                variable.node.column,
                1,
                &format!("variable {}", variable.name),
            );
            let message = format!("nothing uses the variable {}", variable.name);
            let why = "who chooses a value there sees no change";
            out.push(finding(
                "TW038",
                Severity::Warning,
                place,
                message,
                why,
                format!("add {}=~\"${}\" to the queries, or remove it", variable.name, variable.name),
            ));
        }
    }
    out
}
