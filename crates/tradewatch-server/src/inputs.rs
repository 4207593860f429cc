//! Which metrics rules read that nobody has: a rule that matches nothing looks exactly like a rule that is content.
//!
//! Judged by metric names alone: that no order was ever rejected is no fault, that `orders_total` is gone is one. What
//! stands inside `absent()`, or beside an `or` whose other side reads nothing, may be absent: its author thought of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use tradewatch_promql::Expr;
use tradewatch_promql::ast::{BinaryOp, ExprKind};
use tradewatch_tsdb::Matcher;

use crate::clock;
use crate::monitor::Monitor;
use crate::telemetry::{RuleGroup, RuleName};

/// A name counts as there when a series of it had a sample within this time.
const RECENT: Duration = Duration::from_secs(5 * 60);
/// Names that are absent while all is well.
const OWN_NAMES: [&str; 6] = [
    "ALERTS",
    "ALERTS_FOR_STATE",
    // No symbol is halted, no market is open, no venue in use needs a table.
    "tradewatch_market_halted",
    "tradewatch_market_seconds_since_open",
    "tradewatch_market_seconds_to_close",
    "tradewatch_market_horizon_seconds",
];

/// What was found at the last look.
#[derive(Debug, Default)]
pub struct Inputs {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// By group and rule.
    labels: BTreeSet<(RuleGroup, RuleName)>,
    missing: HashMap<(String, usize), Vec<String>>,
}

impl Inputs {
    /// What the rule at that position of a group reads and nobody has.
    pub fn missing(&self, file: &str, group: &str, rule: usize) -> Vec<String> {
        let found = self.found.lock().expect("no panic while inputs are locked");
        found.missing.get(&(format!("{file};{group}"), rule)).cloned().unwrap_or_default()
    }

    /// Looks at all rules.
    ///
    /// # Cost
    /// One list of all metric names, and a walk over each expression; call it where that may be, once a minute.
    pub fn look(&self, monitor: &Monitor) {
        let now = clock::now();
        let names: BTreeSet<String> =
            monitor.db.label_values("__name__", &[], now - RECENT, now).into_iter().collect();
        let groups = monitor.groups.lock().expect("no panic while groups are listed").clone();
        let mut found = Found::default();
        let mut counts: HashMap<(RuleGroup, RuleName), usize> = HashMap::new();
        for shown in groups {
            let group = shown.lock();
            let key = format!("{};{}", group.file(), group.name());
            for (at, (spec, ..)) in group.rules().enumerate() {
                let missing = missing(&spec.expr, &names);
                // Two rules of one name share a series: the worse one is told.
                let label = (RuleGroup::intern(&key), RuleName::intern(&spec.name));
                let count = counts.entry(label).or_default();
                *count = (*count).max(missing.len());
                found.missing.insert((key.clone(), at), missing);
            }
        }
        let gauge = &monitor.own.metrics.rule_inputs_missing_current;
        for (label, count) in &counts {
            gauge.at(*label).set(*count as f64);
        }
        found.labels = counts.into_keys().collect();
        let mut before = self.found.lock().expect("no panic while inputs are locked");
        before.labels.difference(&found.labels).for_each(|gone| gauge.remove(*gone));
        *before = found;
    }
}

/// The selectors of `expr` that no name of `names` fits, as they are written.
pub fn missing(expr: &Expr, names: &BTreeSet<String>) -> Vec<String> {
    let (mut missing, mut open) = (BTreeSet::new(), vec![expr]);
    while let Some(expr) = open.pop() {
        let selector = match &expr.kind {
            ExprKind::Vector(selector) => selector,
            ExprKind::Matrix(matrix) => &matrix.selector,
            ExprKind::Call(call) if call.function.name.starts_with("absent") => continue,
            ExprKind::Binary(binary)
                if binary.op == BinaryOp::Or
                    && (binary.lhs.selectors().is_empty() || binary.rhs.selectors().is_empty()) =>
            {
                continue;
            }
            _ => {
                open.extend(expr.children());
                continue;
            }
        };
        let on_name: Vec<&Matcher> =
            selector.matchers.iter().filter(|matcher| matcher.name() == "__name__").collect();
        let own = on_name.iter().any(|matcher| OWN_NAMES.contains(&matcher.value()));
        let there = names.iter().any(|name| on_name.iter().all(|matcher| matcher.matches(name)));
        if !on_name.is_empty() && !own && !there {
            missing.insert(selector.name.clone().unwrap_or_else(|| on_name[0].to_string()));
        }
    }
    missing.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_thought_of_is_missing() {
        let names: BTreeSet<String> = ["up", "orders_total"].map(str::to_owned).into();
        for (expr, expected) in [
            ("up == 0", ""),
            ("rate(orders_total{status=\"rejected\"}[5m]) > 1", ""),
            ("rate(ordres_total[5m]) > 1 and up == 1", "ordres_total"),
            ("sum(a) / sum(b)", "a b"),
            ("absent(a) or absent_over_time(b[5m])", ""),
            ("sum(rate(a[5m])) or vector(0)", ""),
            ("up or a", "a"),
            ("ALERTS{alertstate=\"firing\"} unless on() a", "a"),
            ("up unless on(symbol) tradewatch_market_halted == 1", ""),
            ("up and on() tradewatch_market_open == 1", "tradewatch_market_open"),
            ("{__name__=~\"orders_.+\"}", ""),
            ("{__name__=~\"nope_.+\"}", "__name__=~\"nope_.+\""),
            ("{job=\"x\"}", ""),
            ("max_over_time(sum(a)[1h:1m])", "a"),
        ] {
            let parsed = tradewatch_promql::parse(expr).expect(expr);
            assert_eq!(missing(&parsed, &names).join(" "), expected, "{expr}");
        }
    }
}
