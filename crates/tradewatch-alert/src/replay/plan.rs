//! What depends on what: the order of the rules, which of them can be evaluated over many steps at once, and how far
//! back each one reads.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_promql::ast::{At, Expr, ExprKind};
use tradewatch_promql::duration::{DurationExpr, Extent};
use tradewatch_tsdb::Matcher;

use super::Options;
use crate::rules::{GroupSpec, RuleFile, RuleKind, RuleSpec};

/// The series of states that alerting rules write.
const STATES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// A selector of the rules, and the time before and after an evaluation that it reads.
#[derive(Clone, Debug)]
pub struct Need {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// How far before an evaluation it reads, lookback and query offset included; `None` where `@` or a computed duration leave it
    /// open.
    pub before: Option<Duration>,
    /// How far after an evaluation it reads: a negative offset.
    pub after: Duration,
}

/// One rule in its place.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub file: usize,
    pub group: GroupSpec,
    pub spec: RuleSpec,
    pub needs: Vec<Need>,
    /// How far before an evaluation its samples lie.
    pub offset: Duration,
    /// Reads what a rule writes.
    pub reads_rules: bool,
    /// Reads what no rule writes.
    pub reads_history: bool,
    /// Its value at a time depends on the query around it, so that it can only be asked time by time.
    pub instant_only: bool,
}

/// Rules that are evaluated together: one over many steps, or several in lockstep since they read each other.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub rules: Vec<Planned>,
    /// Units of one level do not read each other.
    pub level: usize,
}

/// The rules of some files, ready to be replayed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub units: Vec<Unit>,
    /// Names that rules write: what history has under them is not looked at.
    pub written: BTreeSet<String>,
    /// Recording rules that no alert depends on.
    pub unread: usize,
    /// How far back what the rules write is read, the lookback included.
    pub rules_reach: Duration,
    /// How long before the first time the replay has to begin so that every state is right then.
    pub warm_up: Duration,
}

impl Plan {
    /// Plans the rules of `files`; recording rules that neither an alert nor `watched` depends on are left out.
    pub fn new(files: &[RuleFile], options: &Options) -> Plan {
        let watched = &options.watched;
        let mut rules = in_order(files, options);
        let before = rules.len();
        let kept = needed(&rules, watched);
        let mut at = 0;
        rules.retain(|_| {
            at += 1;
            kept[at - 1]
        });
        let unread = before - rules.len();
        let mut written: BTreeSet<String> = rules.iter().flat_map(|rule| writes(&rule.spec)).collect();
        written.retain(|name| !watched.contains(name));
        for rule in &mut rules {
            let own = |need: &Need| written.iter().any(|name| may_match(&need.matchers, name));
            rule.reads_rules = rule.needs.iter().any(own);
            rule.reads_history = rule.needs.iter().any(|need| !reads_only_rules(&need.matchers, &written));
        }
        let reach = |need: &Need| need.before.unwrap_or(UNBOUNDED);
        let of_rules = rules
            .iter()
            .flat_map(|rule| &rule.needs)
            .filter(|need| written.iter().any(|name| may_match(&need.matchers, name)));
        let rules_reach = of_rules.map(reach).max().unwrap_or_default();
        let hold =
            rules.iter().map(|rule| rule.spec.hold() + rule.spec.keep_firing()).max().unwrap_or_default();
        let chain = rules.iter().filter(|rule| !rule.spec.is_alerting()).count().min(4) as u32;
        let warm_up = hold.saturating_add(rules_reach.saturating_mul(chain)).min(WARM_UP_MAX);
        Plan { units: units(rules), written, unread, rules_reach, warm_up }
    }

    /// Everything that is read from history.
    pub fn needs(&self) -> Vec<Need> {
        let all = self.units.iter().flat_map(|unit| &unit.rules).flat_map(|rule| &rule.needs);
        all.filter(|need| !reads_only_rules(&need.matchers, &self.written)).cloned().collect()
    }
}

/// Stands for a reach that is not known.
const UNBOUNDED: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest time that a replay begins early.
const WARM_UP_MAX: Duration = Duration::from_secs(60 * 24 * 3600);

/// Whether the selector can take a series of this name.
pub(super) fn may_match(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().all(|matcher| matcher.name() != "__name__" || matcher.matches(name))
}

/// Whether the selector names one metric, and a rule writes it.
fn reads_only_rules(matchers: &[Matcher], written: &BTreeSet<String>) -> bool {
    matchers.iter().any(|m| {
        m.name() == "__name__" && m.op() == tradewatch_tsdb::MatchOp::Equal && written.contains(m.value())
    })
}

pub(super) fn writes(spec: &RuleSpec) -> Vec<String> {
    match spec.kind {
        RuleKind::Recording => vec![spec.name.clone()],
        RuleKind::Alerting { .. } => STATES.map(str::to_owned).to_vec(),
    }
}

/// Whether `reader` may read what `writer` writes.
fn reads(reader: &Planned, writer: &RuleSpec) -> bool {
    let names = writes(writer);
    reader.needs.iter().any(|need| names.iter().any(|name| may_match(&need.matchers, name)))
}

/// All rules, those of a group in its order, groups that record before those that read it where that is possible.
fn in_order(files: &[RuleFile], options: &Options) -> Vec<Planned> {
    let mut waiting: Vec<Vec<Planned>> = Vec::new();
    for (file, rules) in files.iter().enumerate() {
        for group in &rules.groups {
            let offset = group.query_offset.unwrap_or(options.query_offset);
            let planned = group.rules.iter().map(|spec| Planned {
                file,
                group: GroupSpec { rules: Vec::new(), ..group.clone() },
                needs: needs(&spec.expr, options.lookback + offset),
                offset,
                instant_only: depends_on_query(&spec.expr),
                spec: spec.clone(),
                reads_rules: false,
                reads_history: false,
            });
            waiting.push(planned.collect());
        }
    }
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let reads_other = |at: usize| {
            let others = waiting.iter().enumerate().filter(|(other, _)| *other != at);
            let mut recorded = others.flat_map(|(_, group)| group).filter(|rule| !rule.spec.is_alerting());
            recorded.any(|writer| waiting[at].iter().any(|reader| reads(reader, &writer.spec)))
        };
        // Groups that read each other stay in the order of the files.
        let next = (0..waiting.len()).find(|at| !reads_other(*at)).unwrap_or(0);
        ordered.extend(waiting.remove(next));
    }
    ordered
}

/// Which rules an alert or a watched name depends on.
fn needed(rules: &[Planned], watched: &BTreeSet<String>) -> Vec<bool> {
    let is_goal = |rule: &Planned| rule.spec.is_alerting() || watched.contains(&rule.spec.name);
    let mut kept: Vec<bool> = rules.iter().map(is_goal).collect();
    let mut open: Vec<usize> = (0..rules.len()).filter(|at| kept[*at]).collect();
    while let Some(reader) = open.pop() {
        for writer in 0..rules.len() {
            if !kept[writer] && reads(&rules[reader], &rules[writer].spec) {
                kept[writer] = true;
                open.push(writer);
            }
        }
    }
    kept
}

/// Rules that read themselves or a later one go together with all in between.
fn units(rules: Vec<Planned>) -> Vec<Unit> {
    // The last rule that must be in the unit of the rule at this place.
    let last = |at: usize| {
        let ties = |other: &usize| {
            let (rule, other) = (&rules[at], &rules[*other]);
            // A sample whose time lies behind its evaluation is not there yet when a reader without that offset asks.
            reads(rule, &other.spec) || other.offset < rule.offset && reads(other, &rule.spec)
        };
        (at..rules.len()).rev().find(ties).unwrap_or(at)
    };
    let last: Vec<usize> = (0..rules.len()).map(last).collect();
    let mut units: Vec<Unit> = Vec::new();
    let mut end = 0;
    for (at, mut rule) in rules.into_iter().enumerate() {
        let is_new = at == 0 || at > end;
        let reads_itself = last[at] == at && reads(&rule, &rule.spec);
        rule.instant_only |= reads_itself;
        end = if is_new { last[at] } else { end.max(last[at]) };
        if is_new {
            let read = |unit: &&Unit| unit.rules.iter().any(|writer| reads(&rule, &writer.spec));
            let level = units.iter().filter(read).map(|unit| unit.level + 1).max().unwrap_or(0);
            units.push(Unit { rules: vec![rule], level });
        } else {
            let read = |unit: &&Unit| unit.rules.iter().any(|writer| reads(&rule, &writer.spec));
            let (open, done) = units.split_last_mut().expect("the first rule opened one");
            let level = done.iter().filter(|unit| read(unit)).map(|unit| unit.level + 1).max().unwrap_or(0);
            open.level = open.level.max(level);
            open.rules.push(rule);
        }
    }
    units
}

/// What an expression reads, `lookback` before what it names.
fn needs(expr: &Expr, lookback: Duration) -> Vec<Need> {
    let need = |selector: tradewatch_promql::SelectorInfo<'_>| {
        let reach = selector.reach_ms;
        Need {
            matchers: selector.selector.matchers.to_vec(),
            before: reach.map(|ms| Duration::from_millis(ms.max(0) as u64) + lookback),
            after: match (&selector.selector.offset, selector.selector.extended) {
                (Extent::Fixed(ns), None) if *ns >= 0 => Duration::ZERO,
                (Extent::Fixed(ns), _) => Duration::from_nanos(ns.saturating_neg().max(0) as u64) + lookback,
                _ => lookback,
            },
        }
    };
    expr.selectors().into_iter().map(need).collect()
}

/// Whether the value at one time depends on where the query around it begins and ends, or on its step.
fn depends_on_query(expr: &Expr) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        let pinned = |at: &Option<At>| matches!(at, Some(At::Start | At::End));
        let computed = |extent: &Extent| match extent {
            Extent::Fixed(_) => false,
            Extent::Computed(duration) => asks_query(duration),
        };
        let found = match &expr.kind {
            ExprKind::Vector(v) => pinned(&v.at) || computed(&v.offset),
            ExprKind::Matrix(m) => {
                pinned(&m.selector.at) || computed(&m.selector.offset) || computed(&m.range)
            }
            ExprKind::Subquery(s) => {
                pinned(&s.at)
                    || [Some(&s.offset), Some(&s.range), s.step.as_ref()].into_iter().flatten().any(computed)
            }
            ExprKind::Call(call) => matches!(call.function.name, "start" | "end" | "range" | "step"),
            _ => false,
        };
        if found {
            return true;
        }
        open.extend(expr.children());
    }
    false
}

fn asks_query(duration: &DurationExpr) -> bool {
    match duration {
        DurationExpr::Number { .. } => false,
        DurationExpr::Step | DurationExpr::Range => true,
        DurationExpr::Negative(inner) | DurationExpr::Paren(inner) => asks_query(inner),
        DurationExpr::MinOf(a, b) | DurationExpr::MaxOf(a, b) | DurationExpr::Binary(_, a, b) => {
            asks_query(a) || asks_query(b)
        }
    }
}
