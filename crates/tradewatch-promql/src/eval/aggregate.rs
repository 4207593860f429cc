//! Aggregations. Samples of a group are added up step by step while the series go by.

use std::collections::HashMap;
use std::sync::Arc;

use tradewatch_tsdb::histogram::CounterResetHint;
use tradewatch_tsdb::{Histogram, Labels};

use super::labels::{METRIC_LABELS, text_of};
use super::matching::{Groups, Key};
use super::{Evaluator, metric_name};
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::error::Span;
use crate::frame::{Cell, Frame, Grid, is_absent};
use crate::number::{format_float, format_g, kahan_inc};

impl Evaluator<'_> {
    pub fn aggregate(&mut self, a: &Aggregate, span: Span, grid: &Grid) -> Result<Frame> {
        if a.op == AggregateOp::CountValues {
            return self.count_values(a, grid);
        }
        let param = match &a.param {
            Some(param) => self.scalar(param, grid)?,
            None => Vec::new(),
        };
        let is_over_time = |expr: &Expr| match &expr.kind {
            ExprKind::Call(call) => call.args.iter().any(|arg| arg.value_type() == ValueType::Matrix),
            _ => false,
        };
        let sees_names =
            a.op.selects() || a.grouping.iter().any(|name| METRIC_LABELS.contains(&name.as_str()));
        self.names_are_unseen = !sees_names && is_over_time(a.expr.unparen());
        let input = self.vector(&a.expr, grid)?;
        if a.op.selects() {
            return self.select_k(a, span, &param, &input, grid);
        }
        let mut groups = Groups::new(Key { names: &a.grouping, only: !a.without });
        let group_of: Vec<usize> = input.rows.iter().map(|row| groups.of(&row.labels)).collect();
        let mut out = Frame::with_capacity(grid.steps, groups.len());
        for member in &groups.members {
            out.push(Key { names: &a.grouping, only: !a.without }.labels(member), false);
        }
        for (row, &group) in group_of.iter().enumerate() {
            out.rows[group].drop_name |= input.rows[row].drop_name;
        }
        self.charge(groups.len() * grid.steps)?;
        let place = a.expr.unparen().span;
        if a.op == AggregateOp::Quantile {
            self.quantile(a, &param, &input, &group_of, &mut out)?;
        } else if matches!(a.op, AggregateOp::Sum | AggregateOp::Avg) {
            self.sums(a.op, place, &input, &group_of, &mut out)?;
        } else {
            self.counts(a.op, place, &input, &group_of, &mut out)?;
        }
        out.drop_empty_rows();
        Ok(out)
    }

    fn sums(
        &mut self,
        op: AggregateOp,
        span: Span,
        input: &Frame,
        group_of: &[usize],
        out: &mut Frame,
    ) -> Result<()> {
        let steps = input.steps;
        let mut sums = vec![FloatSum::default(); out.len() * steps];
        let mut histograms: HashMap<usize, HistogramSum> = HashMap::new();
        for (row, &group) in group_of.iter().enumerate() {
            self.check_deadline()?;
            let to = &mut sums[group * steps..(group + 1) * steps];
            let average = op == AggregateOp::Avg;
            for (sum, &value) in to.iter_mut().zip(input.floats(row)) {
                if !is_absent(value) {
                    sum.add(value, average);
                }
            }
            if !input.has_histograms() {
                continue;
            }
            for step in 0..steps {
                let Some(histogram) = input.histogram(row, step) else { continue };
                let at = group * steps + step;
                let sum = histograms.entry(at).or_default();
                let mixed = sums[at].count > 0.0;
                let found = sum.add(histogram, average, mixed);
                if found.bounds_reconciled {
                    self.annotations.mismatched_custom_buckets(span, "aggregation");
                }
                if found.incompatible {
                    let name = metric_name(&input.rows[row].labels);
                    self.annotations.mixed_exponential_custom(span, name);
                }
            }
        }
        for group in 0..out.len() {
            for step in 0..steps {
                let at = group * steps + step;
                let floats = sums[at];
                let Some(sum) = histograms.remove(&at) else {
                    if floats.count > 0.0 {
                        let value = if op == AggregateOp::Avg { floats.average() } else { floats.sum() };
                        out.set_float(group, step, value);
                    }
                    continue;
                };
                if floats.count > 0.0 {
                    self.annotations.mixed_floats_histograms_aggregation(span);
                    continue;
                }
                let collision = sum.collision();
                let value = if op == AggregateOp::Avg { sum.average() } else { sum.sum() };
                if let Some(value) = value {
                    if collision {
                        self.annotations.counter_reset_collision(span, "aggregation");
                    }
                    out.set_histogram(group, step, Arc::new(value));
                }
            }
        }
        Ok(())
    }

    /// The aggregations that keep one or two numbers per group.
    fn counts(
        &mut self,
        op: AggregateOp,
        span: Span,
        input: &Frame,
        group_of: &[usize],
        out: &mut Frame,
    ) -> Result<()> {
        let steps = input.steps;
        let mut state = vec![(0.0f64, 0.0f64, 0.0f64); out.len() * steps];
        for (row, &group) in group_of.iter().enumerate() {
            self.check_deadline()?;
            for step in 0..steps {
                let (count, value, mean) = &mut state[group * steps + step];
                let float = match input.cell(row, step) {
                    Cell::Empty => continue,
                    Cell::Float(float) => float,
                    Cell::Histogram(_) if matches!(op, AggregateOp::Count | AggregateOp::Group) => 0.0,
                    Cell::Histogram(_) => {
                        self.annotations.histogram_ignored_in_aggregation(span, op.name());
                        continue;
                    }
                };
                *count += 1.0;
                let first = *count == 1.0;
                match op {
                    AggregateOp::Min if first || *value > float || value.is_nan() => *value = float,
                    AggregateOp::Max if first || *value < float || value.is_nan() => *value = float,
                    AggregateOp::Stddev | AggregateOp::Stdvar if first => {
                        *mean = float;
                        *value = if float.is_finite() { 0.0 } else { f64::NAN };
                    }
                    AggregateOp::Stddev | AggregateOp::Stdvar => {
                        let delta = float - *mean;
                        *mean += delta / *count;
                        *value += delta * (float - *mean);
                    }
                    _ => {}
                }
            }
        }
        for (at, &(count, value, _)) in state.iter().enumerate().filter(|(_, s)| s.0 > 0.0) {
            let result = match op {
                AggregateOp::Count => count,
                AggregateOp::Group => 1.0,
                AggregateOp::Stdvar => value / count,
                AggregateOp::Stddev => (value / count).sqrt(),
                _ => value,
            };
            out.set_float(at / steps, at % steps, result);
        }
        Ok(())
    }

    fn quantile(
        &mut self,
        a: &Aggregate,
        param: &[f64],
        input: &Frame,
        group_of: &[usize],
        out: &mut Frame,
    ) -> Result<()> {
        let place = a.param.as_ref().map_or(Span::default(), |p| p.span);
        let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = param.iter().copied().fold(f64::INFINITY, f64::min);
        if param.iter().any(|q| q.is_nan()) {
            self.annotations.invalid_quantile(place, f64::NAN);
        }
        if max > 1.0 {
            self.annotations.invalid_quantile(place, max);
        }
        if min < 0.0 {
            self.annotations.invalid_quantile(place, min);
        }
        let mut members = vec![Vec::new(); out.len()];
        for (row, &group) in group_of.iter().enumerate() {
            members[group].push(row);
        }
        let mut values = Vec::new();
        for (group, rows) in members.iter().enumerate() {
            self.check_deadline()?;
            for (step, &q) in param.iter().enumerate() {
                values.clear();
                for &row in rows {
                    match input.cell(row, step) {
                        Cell::Empty => {}
                        Cell::Float(value) => values.push(value),
                        Cell::Histogram(_) => {
                            let place = a.expr.unparen().span;
                            self.annotations.histogram_ignored_in_aggregation(place, "quantile");
                        }
                    }
                }
                if !values.is_empty() {
                    out.set_float(group, step, quantile_of(q, &mut values));
                }
            }
        }
        Ok(())
    }

    fn count_values(&mut self, a: &Aggregate, grid: &Grid) -> Result<Frame> {
        let label = text_of(a.param.as_ref().expect("the parser wants a parameter"))?;
        if !crate::lexer::is_label_name(label) {
            return Err(EvalError::data(format!("invalid label name {}", crate::print::quote(label))));
        }
        let input = self.vector(&a.expr, grid)?;
        let mut names = a.grouping.clone();
        if !a.without {
            names.push(label.to_string());
        }
        let key = Key { names: &names, only: !a.without };
        let mut rows: HashMap<Labels, usize> = HashMap::new();
        let mut out = Frame::new(grid.steps);
        for step in 0..grid.steps {
            self.check_deadline()?;
            for (row, about) in input.rows.iter().enumerate() {
                let value = match input.cell(row, step) {
                    Cell::Empty => continue,
                    Cell::Float(value) => format_float(value),
                    Cell::Histogram(histogram) => histogram.to_string(),
                };
                let labels = key.labels(&about.labels.with(label, &value));
                let to = match rows.get(&labels) {
                    Some(&to) => to,
                    None => {
                        self.charge(grid.steps)?;
                        rows.insert(labels.clone(), out.len());
                        out.push(labels, false)
                    }
                };
                let before = out.floats(to)[step];
                out.set_float(to, step, if is_absent(before) { 1.0 } else { before + 1.0 });
            }
        }
        Ok(out)
    }

    /// `topk`, `bottomk`, `limitk` and `limit_ratio`: some of the input as it is.
    fn select_k(
        &mut self,
        a: &Aggregate,
        span: Span,
        param: &[f64],
        input: &Frame,
        grid: &Grid,
    ) -> Result<Frame> {
        let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = param.iter().copied().fold(f64::INFINITY, f64::min);
        let place = a.param.as_ref().map_or(span, |p| p.span);
        let any_nan = param.iter().any(|p| p.is_nan());
        if a.op == AggregateOp::LimitRatio {
            if max == 0.0 && min == 0.0 && !any_nan {
                return Ok(Frame::new(grid.steps));
            }
            if any_nan {
                return Err(EvalError::data("Ratio value is NaN"));
            }
            if max > 1.0 {
                self.annotations.invalid_ratio(place, max, 1.0);
            }
            if min < -1.0 {
                self.annotations.invalid_ratio(place, min, -1.0);
            }
        } else {
            if max < 1.0 && !any_nan {
                return Ok(Frame::new(grid.steps));
            }
            if any_nan {
                return Err(EvalError::data("Parameter value is NaN"));
            }
            if min <= i64::MIN as f64 {
                return Err(EvalError::data(format!("Scalar value {} underflows int64", format_g(min))));
            }
            if max >= i64::MAX as f64 {
                return Err(EvalError::data(format!("Scalar value {} overflows int64", format_g(max))));
            }
        }
        let mut groups = Groups::new(Key { names: &a.grouping, only: !a.without });
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (row, about) in input.rows.iter().enumerate() {
            let group = groups.of(&about.labels);
            members.resize(groups.len(), Vec::new());
            members[group].push(row);
        }
        let mut picked: Vec<(usize, usize)> = Vec::new();
        for (step, &k) in param.iter().enumerate() {
            self.check_deadline()?;
            for rows in &members {
                let chosen = self.choose(a.op, span, k, input, rows, step);
                picked.extend(chosen.into_iter().map(|row| (row, step)));
            }
        }
        if grid.is_instant() {
            let order: Vec<usize> = picked.into_iter().map(|(row, _)| row).collect();
            return Ok(input.permute(&order));
        }
        let mut keep = vec![false; input.len() * grid.steps];
        for (row, step) in picked {
            keep[row * grid.steps + step] = true;
        }
        let mut out = input.clone();
        for row in 0..out.len() {
            for step in 0..grid.steps {
                if !keep[row * grid.steps + step] {
                    out.clear(row, step);
                }
            }
        }
        out.drop_empty_rows();
        Ok(out)
    }

    fn choose(
        &mut self,
        op: AggregateOp,
        span: Span,
        param: f64,
        input: &Frame,
        rows: &[usize],
        step: usize,
    ) -> Vec<usize> {
        let present = rows.iter().copied().filter(|&row| input.is_present(row, step));
        let k = if param < 1.0 { 0 } else { param as usize };
        match op {
            AggregateOp::Limitk => present.take(k).collect(),
            AggregateOp::LimitRatio => {
                let ratio = param.clamp(-1.0, 1.0);
                present.filter(|&row| is_sampled(ratio, &input.rows[row].labels)).collect()
            }
            _ => {
                let top = op == AggregateOp::Topk;
                let mut heap = TopHeap { top, k: k.min(input.len()), items: Vec::new() };
                for row in present {
                    match input.cell(row, step) {
                        Cell::Float(value) => heap.offer(value, row),
                        _ => self.annotations.histogram_ignored_in_aggregation(span, op.name()),
                    }
                }
                let mut items = heap.items;
                items.sort_by(|a, b| super::sorting::by_value(a.0, b.0, top));
                items.into_iter().map(|(_, row)| row).collect()
            }
        }
    }
}

/// Keeps the k largest (or smallest) values; of equal ones those that came first.
struct TopHeap {
    top: bool,
    k: usize,
    /// A binary heap with the next value to go at its root.
    items: Vec<(f64, usize)>,
}

impl TopHeap {
    /// Whether `a` goes before `b`.
    fn less(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.items[a].0, self.items[b].0);
        a.is_nan() || if self.top { a < b } else { a > b }
    }

    fn offer(&mut self, value: f64, row: usize) {
        if self.k == 0 {
            return;
        }
        if self.items.len() < self.k {
            self.items.push((value, row));
            let mut at = self.items.len() - 1;
            while at > 0 {
                let parent = (at - 1) / 2;
                if !self.less(at, parent) {
                    break;
                }
                self.items.swap(at, parent);
                at = parent;
            }
            return;
        }
        let root = self.items[0].0;
        let better = if self.top { root < value } else { root > value };
        if better || (root.is_nan() && !value.is_nan()) {
            self.items[0] = (value, row);
            let mut at = 0;
            loop {
                let left = 2 * at + 1;
                if left >= self.items.len() {
                    break;
                }
                let right = left + 1;
                let child = if right < self.items.len() && self.less(right, left) { right } else { left };
                if !self.less(child, at) {
                    break;
                }
                self.items.swap(at, child);
                at = child;
            }
        }
    }
}

/// The q-quantile of the values, NaN counting as the smallest; between two values it is interpolated.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
        (a, b) => b.cmp(&a),
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// A compensated sum that turns into an incremental mean where it would overflow.
#[derive(Copy, Clone, Default)]
pub(crate) struct FloatSum {
    pub count: f64,
    value: f64,
    lost: f64,
    mean: bool,
}

impl FloatSum {
    pub fn add(&mut self, value: f64, average: bool) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = value;
            return;
        }
        if !self.mean {
            let (sum, lost) = kahan_inc(value, self.value, self.lost);
            if !average || !sum.is_infinite() {
                (self.value, self.lost) = (sum, lost);
                return;
            }
            self.mean = true;
            self.value /= self.count - 1.0;
            self.lost /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        (self.value, self.lost) = kahan_inc(value / self.count, q * self.value, q * self.lost);
    }

    pub fn sum(&self) -> f64 {
        self.value + self.lost
    }

    pub fn average(&self) -> f64 {
        if self.mean { self.value + self.lost } else { self.value / self.count + self.lost / self.count }
    }
}

/// The same for histograms.
#[derive(Default)]
pub(crate) struct HistogramSum {
    count: f64,
    value: Option<Histogram>,
    lost: Option<Histogram>,
    mean: bool,
    incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
}

/// What adding one histogram brought up.
#[derive(Copy, Clone, Default)]
pub(crate) struct Found {
    pub bounds_reconciled: bool,
    pub incompatible: bool,
}

impl HistogramSum {
    /// Adds one histogram. Behind a float nothing can come of it.
    pub fn add(&mut self, histogram: &Histogram, average: bool, behind_float: bool) -> Found {
        let mut found = Found::default();
        if self.incompatible || behind_float {
            return found;
        }
        match histogram.counter_reset_hint {
            CounterResetHint::Reset => self.reset_seen = true,
            CounterResetHint::NotReset => self.no_reset_seen = true,
            _ => {}
        }
        self.count += 1.0;
        let Some(value) = &mut self.value else {
            self.value = Some(histogram.clone());
            return found;
        };
        if !average {
            match value.kahan_add(histogram, &mut self.lost) {
                Ok(combined) => found.bounds_reconciled = combined.bounds_reconciled,
                Err(_) => found.incompatible = true,
            }
        } else {
            let n = self.count;
            if !self.mean {
                let (mut sum, mut lost) = (value.clone(), self.lost.clone());
                match sum.kahan_add(histogram, &mut lost) {
                    Err(_) => {
                        self.incompatible = true;
                        return Found { incompatible: true, ..found };
                    }
                    Ok(combined) => found.bounds_reconciled = combined.bounds_reconciled,
                }
                if !sum.has_overflow() {
                    (*value, self.lost) = (sum, lost);
                    return found;
                }
                self.mean = true;
                value.div(n - 1.0);
                self.lost.iter_mut().for_each(|lost| lost.div(n - 1.0));
            }
            let q = (n - 1.0) / n;
            self.lost.iter_mut().for_each(|lost| lost.mul(q));
            value.mul(q);
            let mut part = histogram.clone();
            part.div(n);
            match value.kahan_add(&part, &mut self.lost) {
                Ok(combined) => found.bounds_reconciled |= combined.bounds_reconciled,
                Err(_) => found.incompatible = true,
            }
        }
        self.incompatible |= found.incompatible;
        found
    }

    /// One sample said that there was a reset, another that there was none.
    pub fn collision(&self) -> bool {
        self.reset_seen && self.no_reset_seen
    }

    pub fn sum(self) -> Option<Histogram> {
        let mut value = self.value.filter(|_| !self.incompatible)?;
        if let Some(lost) = &self.lost {
            // Both have the layout of the sum, so this cannot fail.
            let _ = value.add(lost);
        }
        value.compact();
        Some(value)
    }

    pub fn average(self) -> Option<Histogram> {
        let mut value = self.value.filter(|_| !self.incompatible)?;
        let mut lost = self.lost;
        if !self.mean {
            value.div(self.count);
            lost.iter_mut().for_each(|lost| lost.div(self.count));
        }
        if let Some(lost) = &lost {
            let _ = value.add(lost);
        }
        value.compact();
        Some(value)
    }
}

/// Whether `limit_ratio` takes a series: its hash as a number from 0 to 1 is below the ratio.
fn is_sampled(ratio: f64, labels: &Labels) -> bool {
    let offset = crate::hash::of_labels(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}
