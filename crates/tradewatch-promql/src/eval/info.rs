//! `info`: labels of info metrics, joined by `instance` and `job`.

use std::collections::{BTreeMap, HashMap};

use tradewatch_tsdb::{Labels, MatchOp, Matcher, Value};

use super::select::Reference;
use super::{Evaluator, Out, metric_name};
use crate::ast::*;
use crate::duration::Extent;
use crate::engine::{EvalError, Result};
use crate::frame::{Frame, Grid};

/// The labels that tell which info series belongs to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Evaluator<'_> {
    pub fn info(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let (pinned, offset) = self.info_reference(&call.args[0])?;
        let base = self.vector(&call.args[0], grid)?;
        let selector = call.args.get(1).map(|arg| match &arg.unparen().kind {
            ExprKind::Vector(v) => v.matchers.clone(),
            _ => Vec::new(),
        });
        let matchers = selector.unwrap_or_default();
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|m| m.name() == "__name__");
        let names = effective_names(names);
        let is_info = |labels: &Labels| names.iter().all(|m| m.matches(metric_name(labels)));
        let plain: Vec<bool> = base.rows.iter().map(|row| is_info(&row.labels)).collect();
        let enriched =
            || base.rows.iter().zip(&plain).filter(|(_, plain)| !**plain).map(|(row, _)| &row.labels);
        let mut infos = Frame::new(grid.steps);
        if let Some(mut wanted) = identifying_matchers(enriched()) {
            wanted.extend(data.iter().cloned());
            wanted.extend(names.iter().cloned());
            let reference = Reference::new(pinned, offset);
            // The value of an info metric is always 1, so its time takes that place.
            infos = self.current_samples(&wanted, reference, grid, |sample| match &sample.value {
                Value::Float(_) => Value::Float(sample.ts.as_millis() as f64),
                histogram => histogram.clone(),
            })?;
            if infos.has_histograms() {
                return Err(EvalError::data("this should be an info metric, with float samples"));
            }
        }
        self.join(&base, &plain, &infos, &data, grid).map(Out::Vector)
    }

    /// When the info series are looked at: at the time of the first selector inside the argument.
    fn info_reference(&self, expr: &Expr) -> Result<(Option<i64>, i64)> {
        let mut path: Vec<(&Extent, Option<At>, crate::error::Span)> = Vec::new();
        let mut expr = expr.unparen();
        loop {
            match &expr.kind {
                ExprKind::Vector(v) => {
                    path.push((&v.offset, v.at, expr.span));
                    break;
                }
                ExprKind::Matrix(m) => {
                    path.push((&m.selector.offset, m.selector.at, expr.span));
                    break;
                }
                ExprKind::Subquery(s) => path.push((&s.offset, s.at, expr.span)),
                _ => {}
            }
            let children = expr.children();
            let Some(next) = children.into_iter().find(|child| !child.selectors().is_empty()) else {
                break;
            };
            expr = next;
        }
        let (mut pinned, mut offset) = (None, 0);
        for (extent, at, span) in path.into_iter().rev() {
            offset += self.extent_ms(extent, span, true)?;
            pinned = self.pinned_ms(at);
            if pinned.is_some() {
                break;
            }
        }
        Ok((pinned, offset))
    }

    fn join(
        &mut self,
        base: &Frame,
        plain: &[bool],
        infos: &Frame,
        data: &[Matcher],
        grid: &Grid,
    ) -> Result<Frame> {
        let signature = |labels: &Labels| labels.keep(&IDENTIFYING);
        // By what identifies them, then by metric name.
        let mut by_signature: HashMap<Labels, BTreeMap<&str, Vec<usize>>> = HashMap::new();
        for (row, about) in infos.rows.iter().enumerate() {
            let names = by_signature.entry(signature(&about.labels)).or_default();
            names.entry(metric_name(&about.labels)).or_default().push(row);
        }
        for step in 0..grid.steps {
            for rows in by_signature.values().flat_map(BTreeMap::values) {
                newest(infos, rows, step)?;
            }
        }
        let optional = data.iter().all(Matcher::matches_empty);
        let mut rows: HashMap<Labels, usize> = HashMap::new();
        let mut out = Frame::new(grid.steps);
        for (row, about) in base.rows.iter().enumerate() {
            let candidates = by_signature.get(&signature(&about.labels)).filter(|_| !plain[row]);
            self.charge(grid.steps)?;
            let mut made: HashMap<Vec<Option<usize>>, Option<usize>> = HashMap::new();
            for step in 0..grid.steps {
                if !base.is_present(row, step) {
                    continue;
                }
                let mut found = Vec::new();
                for rows in candidates.into_iter().flat_map(BTreeMap::values) {
                    found.push(newest(infos, rows, step)?);
                }
                let to = match made.get(&found) {
                    Some(&to) => to,
                    None => {
                        self.charge(grid.steps)?;
                        let labels = match found.iter().flatten().next() {
                            None if !plain[row] && !optional => None,
                            _ => Some(joined(&about.labels, infos, &found, data)?),
                        };
                        let to = labels.map(|labels| {
                            *rows.entry(labels.clone()).or_insert_with(|| out.push(labels, about.drop_name))
                        });
                        made.insert(found, to);
                        to
                    }
                };
                let Some(to) = to else { continue };
                if out.is_present(to, step) {
                    return Err(EvalError::data("vector cannot contain metrics with the same labelset"));
                }
                out.set_cell(to, step, base.cell(row, step));
            }
        }
        Ok(out)
    }
}

/// The row with the newest sample of several that identify alike; two of the same age are a conflict.
fn newest(infos: &Frame, rows: &[usize], step: usize) -> Result<Option<usize>> {
    let mut best: Option<usize> = None;
    for &row in rows.iter().filter(|&&row| infos.is_present(row, step)) {
        let ts = infos.floats(row)[step];
        match best {
            Some(before) if infos.floats(before)[step] > ts => {}
            Some(before) if infos.floats(before)[step] == ts => {
                return Err(EvalError::data(format!(
                    "found duplicate series for info metric: existing {} @ {ts}, new {} @ {ts}",
                    super::binary::all_labels(&infos.rows[before].labels),
                    super::binary::all_labels(&infos.rows[row].labels)
                )));
            }
            _ => best = Some(row),
        }
    }
    Ok(best)
}

/// The labels of a series and what the info series add to them.
fn joined(base: &Labels, infos: &Frame, found: &[Option<usize>], data: &[Matcher]) -> Result<Labels> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for &row in found.iter().flatten() {
        for (name, value) in infos.rows[row].labels.iter() {
            let wanted = data.is_empty() || data.iter().any(|m| m.name() == name);
            if name == "__name__" || !wanted {
                continue;
            }
            if added.get(name).is_some_and(|before| *before != value) {
                return Err(EvalError::data(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.insert(name, value);
            }
        }
    }
    Ok(Labels::from_pairs(base.iter().chain(added)))
}

/// `target_info` unless told otherwise; names that are only excluded are excluded from all info metrics.
fn effective_names(mut names: Vec<Matcher>) -> Vec<Matcher> {
    if names.is_empty() {
        return vec![Matcher::equal("__name__", "target_info")];
    }
    if !names.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
        let all = Matcher::new("__name__", MatchOp::Regex, ".+_info").expect("the pattern is fixed");
        names.insert(0, all);
    }
    names
}

/// Matchers for all values of the identifying labels that occur; `None` if none does.
fn identifying_matchers<'a>(series: impl Iterator<Item = &'a Labels>) -> Option<Vec<Matcher>> {
    let mut values: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for labels in series {
        for name in IDENTIFYING {
            if let Some(value) = labels.get(name) {
                values.entry(name).or_default().insert(value);
            }
        }
    }
    if values.is_empty() {
        return None;
    }
    let matcher = |(name, values): (&str, std::collections::BTreeSet<&str>)| {
        let pattern: Vec<String> = values.into_iter().map(regex_syntax::escape).collect();
        Matcher::new(name, MatchOp::Regex, &pattern.join("|")).ok()
    };
    values.into_iter().map(matcher).collect()
}
