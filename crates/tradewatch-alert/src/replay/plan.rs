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
    /// Its place among all rules that are replayed.
    pub at: usize,
    pub file: usize,
    /// Its group's place among all groups.
    group_at: usize,
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
        let mut kept = kept.into_iter();
        rules.retain(|_| kept.next().unwrap_or(false));
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
        let hold = rules.iter().map(|rule| hold(&rule.spec)).max().unwrap_or_default();
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
/// The longest time between two sessions over which `for` may be pending.
const CLOSED_MAX: Duration = Duration::from_secs(5 * 24 * 3600);
/// The longest time that a replay begins early.
const WARM_UP_MAX: Duration = Duration::from_secs(60 * 24 * 3600);

/// For how long a state of a rule may have to be known.
fn hold(rule: &RuleSpec) -> Duration {
    let hold = rule.hold() + rule.keep_firing();
    let in_sessions = rule.trading_calendar().is_some() && !hold.is_zero();
    if in_sessions { hold + CLOSED_MAX } else { hold }
}

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

/// All rules in the order of the files.
fn in_order(files: &[RuleFile], options: &Options) -> Vec<Planned> {
    let mut rules = Vec::new();
    let groups =
        files.iter().enumerate().flat_map(|(file, rules)| rules.groups.iter().map(move |g| (file, g)));
    for (group_at, (file, group)) in groups.enumerate() {
        let offset = group.query_offset.unwrap_or(options.query_offset);
        rules.extend(group.rules.iter().map(|spec| Planned {
            at: 0,
            file,
            group_at,
            group: GroupSpec { rules: Vec::new(), ..group.clone() },
            needs: needs(&spec.expr, options.lookback + offset),
            offset,
            instant_only: depends_on_query(&spec.expr),
            spec: spec.clone(),
            reads_rules: false,
            reads_history: false,
        }));
    }
    rules
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

/// Rules that must go in lockstep, together; those that are read before those that read them.
///
/// What another group writes at a time is there for whoever reads it at that time. Within a group a rule sees what
/// those before it wrote, and of itself and those after it what they wrote the time before: then both go in lockstep. So
/// they do where the samples of the one lie further behind its evaluation than the other looks back.
fn units(mut rules: Vec<Planned>) -> Vec<Unit> {
    let mut read_by: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
    let mut tied = Vec::new();
    for reader in 0..rules.len() {
        for (writer, one) in rules.iter().enumerate() {
            if !reads(&rules[reader], &one.spec) {
                continue;
            }
            read_by[writer].push(reader);
            let late = one.group_at == rules[reader].group_at && writer >= reader;
            if late || one.offset > rules[reader].offset {
                tied.push((reader, writer));
            }
        }
    }
    for (reader, writer) in tied {
        read_by[reader].push(writer);
        rules[reader].instant_only |= reader == writer;
    }
    let unit_of = together(&read_by);
    // The units come in an order in which those that are read come first.
    let count = unit_of.iter().max().map_or(0, |last| last + 1);
    let mut levels = vec![0; count];
    let mut writers: Vec<usize> = (0..rules.len()).collect();
    writers.sort_by_key(|writer| unit_of[*writer]);
    for writer in writers {
        for reader in &read_by[writer] {
            let (from, to) = (unit_of[writer], unit_of[*reader]);
            if from != to {
                levels[to] = levels[to].max(levels[from] + 1);
            }
        }
    }
    let mut units: Vec<Unit> = levels.into_iter().map(|level| Unit { rules: Vec::new(), level }).collect();
    for (at, mut rule) in rules.into_iter().enumerate() {
        rule.at = at;
        units[unit_of[at]].rules.push(rule);
    }
    units
}

/// The strongly connected component of each node, numbered so that edges lead to higher numbers: Kosaraju's way, with a
/// walk along the edges that notes where it is done, and one against them in the opposite order.
fn together(edges: &[Vec<usize>]) -> Vec<usize> {
    let count = edges.len();
    let mut done = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    for root in 0..count {
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 && std::mem::replace(&mut seen[node], true) {
                continue;
            }
            match edges[node].get(next) {
                Some(to) => path.extend([(node, next + 1), (*to, 0)]),
                None => done.push(node),
            }
        }
    }
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); count];
    edges.iter().enumerate().for_each(|(from, to)| to.iter().for_each(|to| back[*to].push(from)));
    let mut component = vec![usize::MAX; count];
    let mut next = 0;
    for root in done.into_iter().rev() {
        let mut open = vec![root];
        let before = component[root];
        while let Some(node) = open.pop() {
            if component[node] == usize::MAX {
                component[node] = next;
                open.extend(&back[node]);
            }
        }
        next += usize::from(before == usize::MAX);
    }
    component
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

#[cfg(test)]
mod tests {
    use super::*;
    use tradewatch_tsdb::Timestamp;

    /// The units by level, each with the names of its rules.
    fn planned(rules: &str) -> Vec<String> {
        let (file, errors) = RuleFile::parse("r.yml", rules);
        assert!(errors.is_empty(), "{errors:?}");
        let options = Options::new(Timestamp::from_millis(0), Timestamp::from_millis(1));
        let mut units: Vec<String> = Vec::new();
        for unit in Plan::new(&[file], &options).units {
            let names: Vec<&str> = unit.rules.iter().map(|rule| rule.spec.name.as_str()).collect();
            units.push(format!("{} {}", unit.level, names.join("+")));
        }
        units.sort();
        units
    }

    #[test]
    fn rules_go_in_lockstep_only_where_they_must() {
        let one = "groups:\n- name: g1\n  rules:\n  - {record: s, expr: a}\n  - {alert: A, expr: s > 1}\n\
                   - name: g2\n  rules:\n  - {record: s, expr: b}\n  - {alert: B, expr: s > 1}\n";
        assert_eq!(planned(one), ["0 s", "0 s", "1 A", "1 B"]);
        let two = "groups:\n- name: g1\n  rules:\n  - {record: x, expr: y}\n  - {record: y, expr: x + x2}\n\
                   \x20 - {record: x2, expr: a}\n  - {alert: Z, expr: y > 1}\n\
                   - name: g2\n  rules:\n  - {alert: All, expr: 'count(ALERTS{alertname=\"Z\"}) > 1'}\n";
        assert_eq!(planned(two), ["0 x+y+x2", "1 Z", "2 All"].map(str::to_owned).to_vec().as_slice());
    }
}
