//! Operators between scalars and vectors.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tradewatch_tsdb::{Histogram, Labels, Value};

use super::labels::without_name;
use super::matching::{Groups, Key};
use super::{Evaluator, Out, merge_or_fail};
use crate::annotate::Annotations;
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::error::Span;
use crate::frame::{Cell, Frame, Grid, is_absent};

impl Evaluator<'_> {
    pub fn binary(&mut self, b: &Binary, span: Span, lhs: Out, rhs: Out, grid: &Grid) -> Result<Out> {
        match (lhs, rhs) {
            (Out::Scalar(left), Out::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Ok(Out::Scalar(pairs.map(|(x, y)| scalar_op(b.op, x, y)).collect()))
            }
            (Out::Vector(frame), Out::Scalar(scalar)) => self.with_scalar(b, span, frame, &scalar, false),
            (Out::Scalar(scalar), Out::Vector(frame)) => self.with_scalar(b, span, frame, &scalar, true),
            (Out::Vector(left), Out::Vector(right)) => {
                let matching = b.matching.as_ref().expect("kept between vectors");
                self.charge((left.len() + right.len()) * grid.steps)?;
                let frame = if b.op.is_set() {
                    set_operation(b.op, matching, &left, &right)?
                } else {
                    self.between_vectors(b, matching, span, &left, &right)?
                };
                Ok(Out::Vector(frame))
            }
            _ => Err(EvalError::data("strings cannot be operands")),
        }
    }

    fn with_scalar(
        &mut self,
        b: &Binary,
        span: Span,
        mut frame: Frame,
        scalar: &[f64],
        swap: bool,
    ) -> Result<Out> {
        let comparison = b.op.is_comparison();
        for row in 0..frame.len() {
            self.check_deadline()?;
            for step in 0..frame.steps {
                let vector = match frame.cell(row, step) {
                    Cell::Empty => continue,
                    Cell::Float(value) => Value::Float(value),
                    Cell::Histogram(histogram) => Value::Histogram(histogram.clone()),
                };
                let scalar = Value::Float(scalar[step]);
                let (left, right) = if swap { (&scalar, &vector) } else { (&vector, &scalar) };
                let Some((value, keep)) = operate(b.op, left, right, span, &mut self.annotations) else {
                    frame.clear(row, step);
                    continue;
                };
                if b.return_bool {
                    frame.clear(row, step);
                    frame.set_float(row, step, f64::from(u8::from(keep)));
                } else if !keep {
                    frame.clear(row, step);
                } else if !comparison {
                    frame.set(row, step, value);
                }
            }
        }
        if changes_metric(b.op) || b.return_bool {
            self.drop_names(&mut frame)?;
        }
        frame.drop_empty_rows();
        Ok(Out::Vector(frame))
    }

    fn between_vectors(
        &mut self,
        b: &Binary,
        matching: &Matching,
        span: Span,
        left: &Frame,
        right: &Frame,
    ) -> Result<Frame> {
        // From here on, the right side is the one of which a group holds at most one series.
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let key = Key { names: &matching.labels, only: matching.on };
        let mut groups = Groups::new(key);
        let group_of_many: Vec<usize> = many.rows.iter().map(|row| groups.of(&row.labels)).collect();
        let group_of_one: Vec<usize> = one.rows.iter().map(|row| groups.of(&row.labels)).collect();
        let mut members: Vec<(Vec<usize>, Vec<usize>)> = vec![Default::default(); groups.len()];
        group_of_many.iter().enumerate().for_each(|(row, &group)| members[group].0.push(row));
        group_of_one.iter().enumerate().for_each(|(row, &group)| members[group].1.push(row));

        let mut results = Results {
            binary: b,
            matching,
            key,
            swapped,
            delayed: self.options.delayed_name_removal,
            rows: HashMap::new(),
            by_labels: HashMap::new(),
            samples_max: self.options.samples_max,
            out: Frame::new(left.steps),
        };
        // Where a side is empty nothing matches, and duplicates on the other side do not matter.
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        let steps: Vec<usize> = (0..left.steps)
            .filter(|&step| filled || (has_sample(many, step) && has_sample(one, step)))
            .collect();
        for (many_rows, one_rows) in &members {
            self.check_deadline()?;
            let plain = !filled && !many.has_histograms() && !one.has_histograms();
            match (&many_rows[..], &one_rows[..]) {
                (&[row], &[other]) if plain && !is_trim(b.op) => results.pair(many, row, one, other)?,
                _ => self.match_group(&mut results, span, (many, many_rows), (one, one_rows), &steps)?,
            }
        }
        let mut out = results.out;
        out.drop_empty_rows();
        if b.return_bool {
            out.rows.iter_mut().for_each(|row| row.drop_name = true);
        }
        Ok(out)
    }

    /// Finds partners within one group, step by step.
    fn match_group(
        &mut self,
        results: &mut Results<'_>,
        span: Span,
        (many, many_rows): (&Frame, &[usize]),
        (one, one_rows): (&Frame, &[usize]),
        steps: &[usize],
    ) -> Result<()> {
        // As in Prometheus, `fill_left` is for the side that may hold many, wherever it stands.
        let (fill_many, fill_one) = (results.matching.fill_left, results.matching.fill_right);
        let op = results.binary.op;
        let one_to_one = results.matching.cardinality == Cardinality::OneToOne;
        let mut inserted = HashSet::new();
        for &step in steps {
            inserted.clear();
            let found = results.single(one, one_rows, step)?;
            let mut matched = false;
            for &row in many_rows.iter().filter(|&&row| many.is_present(row, step)) {
                let (other, value) = match (found, fill_one) {
                    (Some(other), _) => (Some(other), value_at(one, other, step)),
                    (None, Some(fill)) => (None, Value::Float(fill.0)),
                    (None, None) => continue,
                };
                let mine = value_at(many, row, step);
                let (x, y) = if results.swapped { (&value, &mine) } else { (&mine, &value) };
                let Some((result, keep)) = operate(op, x, y, span, &mut self.annotations) else { continue };
                let to = results.row(many, Some(row), one, other)?;
                if one_to_one && matched {
                    return Err(EvalError::data(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                if !one_to_one && !inserted.insert(to) {
                    return Err(EvalError::data(
                        "multiple matches for labels: grouping labels must ensure unique matches",
                    ));
                }
                matched = true;
                results.put(to, step, result, keep)?;
            }
            if let (Some(fill), Some(other), false) = (fill_many, found, matched) {
                let (mine, value) = (Value::Float(fill.0), value_at(one, other, step));
                let (x, y) = if results.swapped { (&value, &mine) } else { (&mine, &value) };
                if let Some((result, keep)) = operate(op, x, y, span, &mut self.annotations) {
                    let to = results.row(many, None, one, Some(other))?;
                    results.put(to, step, result, keep)?;
                }
            }
        }
        Ok(())
    }
}

fn has_sample(frame: &Frame, step: usize) -> bool {
    (0..frame.len()).any(|row| frame.is_present(row, step))
}

fn value_at(frame: &Frame, row: usize, step: usize) -> Value {
    match frame.cell(row, step) {
        Cell::Float(value) => Value::Float(value),
        Cell::Histogram(histogram) => Value::Histogram(histogram.clone()),
        Cell::Empty => Value::Float(crate::frame::ABSENT),
    }
}

/// Labels in braces, the metric name among them, as in the errors of Prometheus.
pub(crate) fn all_labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={}", crate::print::quote(v))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// The rows of the result, made when the first value for their labels appears.
struct Results<'a> {
    binary: &'a Binary,
    matching: &'a Matching,
    key: Key<'a>,
    swapped: bool,
    delayed: bool,
    /// By the rows of both sides; `None` for a filled one.
    rows: HashMap<(Option<usize>, Option<usize>), usize>,
    by_labels: HashMap<Labels, usize>,
    samples_max: usize,
    out: Frame,
}

impl Results<'_> {
    /// The one series of the "one" side that is there at this step.
    fn single(&self, one: &Frame, rows: &[usize], step: usize) -> Result<Option<usize>> {
        let mut found: Option<usize> = None;
        for &row in rows.iter().filter(|&&row| one.is_present(row, step)) {
            let Some(before) = found else {
                found = Some(row);
                continue;
            };
            let group = all_labels(&self.key.labels(&one.rows[row].labels));
            let side = if self.swapped { "left" } else { "right" };
            let mut both = [all_labels(&one.rows[before].labels), all_labels(&one.rows[row].labels)];
            both.sort();
            return Err(EvalError::data(format!(
                "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                both[0], both[1]
            )));
        }
        Ok(found)
    }

    fn row(&mut self, many: &Frame, row: Option<usize>, one: &Frame, other: Option<usize>) -> Result<usize> {
        if let Some(&to) = self.rows.get(&(row, other)) {
            return Ok(to);
        }
        let filled;
        let mine = match (row, other) {
            (Some(row), _) => &many.rows[row].labels,
            (None, Some(other)) => {
                filled = self.key.labels(&one.rows[other].labels);
                &filled
            }
            (None, None) => unreachable!("one side is always there"),
        };
        let theirs = other.map(|other| &one.rows[other].labels);
        let labels = self.result_labels(mine, theirs);
        let to = match self.by_labels.get(&labels) {
            Some(&to) => to,
            None => {
                // Pairs that change from step to step can make more rows than either side has.
                if self.out.len().saturating_mul(self.out.steps) > self.samples_max {
                    return Err(EvalError::too_many_samples(self.samples_max));
                }
                let to = self.out.push(labels.clone(), false);
                self.by_labels.insert(labels, to);
                to
            }
        };
        self.rows.insert((row, other), to);
        Ok(to)
    }

    fn result_labels(&self, mine: &Labels, theirs: Option<&Labels>) -> Labels {
        let drop = changes_metric(self.binary.op) || (self.binary.return_bool && !self.delayed);
        let mut labels = if drop { without_name(mine) } else { mine.clone() };
        if self.matching.cardinality == Cardinality::OneToOne {
            let names: Vec<&str> = self.matching.labels.iter().map(String::as_str).collect();
            labels = if self.matching.on { labels.keep(&names) } else { labels.without(&names) };
        }
        for name in &self.matching.include {
            // A filled series has only the labels of its group.
            let value = match theirs {
                Some(theirs) => theirs.get(name).unwrap_or(""),
                None if self.key.keeps(name) => mine.get(name).unwrap_or(""),
                None => "",
            };
            labels = labels.with(name, value);
        }
        labels
    }

    /// A group of one series on each side, floats only, which is most of them.
    fn pair(&mut self, many: &Frame, row: usize, one: &Frame, other: usize) -> Result<()> {
        let (op, return_bool) = (self.binary.op, self.binary.return_bool);
        let mut to = None;
        for (step, (&mine, &theirs)) in many.floats(row).iter().zip(one.floats(other)).enumerate() {
            if is_absent(mine) || is_absent(theirs) {
                continue;
            }
            let (x, y) = if self.swapped { (theirs, mine) } else { (mine, theirs) };
            let (value, keep) = float_op(op, x, y);
            if keep || return_bool {
                let to = match to {
                    Some(to) => to,
                    None => *to.insert(self.row(many, Some(row), one, Some(other))?),
                };
                self.put(to, step, Value::Float(value), keep)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, to: usize, step: usize, value: Value, keep: bool) -> Result<()> {
        if !keep && !self.binary.return_bool {
            return Ok(());
        }
        if self.out.is_present(to, step) {
            return Err(EvalError::data("vector cannot contain metrics with the same labelset"));
        }
        if self.binary.return_bool {
            self.out.set_float(to, step, f64::from(u8::from(keep)));
        } else {
            self.out.set(to, step, value);
        }
        Ok(())
    }
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// Operators whose result is no longer the metric that went in.
fn changes_metric(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

fn set_operation(op: BinaryOp, matching: &Matching, left: &Frame, right: &Frame) -> Result<Frame> {
    let steps = left.steps;
    let mut groups = Groups::new(Key { names: &matching.labels, only: matching.on });
    let left_groups: Vec<usize> = left.rows.iter().map(|row| groups.of(&row.labels)).collect();
    let right_groups: Vec<usize> = right.rows.iter().map(|row| groups.of(&row.labels)).collect();
    let presence = |frame: &Frame, group_of: &[usize]| {
        let mut present = vec![false; groups.len() * steps];
        for (row, &group) in group_of.iter().enumerate() {
            for step in 0..steps {
                present[group * steps + step] |= frame.is_present(row, step);
            }
        }
        present
    };
    let mask = |out: &mut Frame, row: usize, group: usize, present: &[bool], keep: bool| {
        for step in 0..steps {
            if present[group * steps + step] != keep {
                out.clear(row, step);
            }
        }
    };
    let mut out = left.clone();
    match op {
        BinaryOp::And | BinaryOp::Unless => {
            let present = presence(right, &right_groups);
            for (row, &group) in left_groups.iter().enumerate() {
                mask(&mut out, row, group, &present, op == BinaryOp::And);
            }
        }
        _ => {
            let present = presence(left, &left_groups);
            for (row, &group) in right_groups.iter().enumerate() {
                let about = &right.rows[row];
                let to = out.push(about.labels.clone(), about.drop_name);
                out.copy_row(to, right, row);
                mask(&mut out, to, group, &present, false);
            }
            out.drop_empty_rows();
            if steps > 1 {
                merge_or_fail(&mut out)?;
            }
        }
    }
    out.drop_empty_rows();
    Ok(out)
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn scalar_op(op: BinaryOp, x: f64, y: f64) -> f64 {
    let (value, keep) = float_op(op, x, y);
    if op.is_comparison() { truth(keep) } else { value }
}

/// The result of an operator on floats, and whether a comparison holds.
fn float_op(op: BinaryOp, x: f64, y: f64) -> (f64, bool) {
    use BinaryOp::*;
    match op {
        Add => (x + y, true),
        Sub => (x - y, true),
        Mul => (x * y, true),
        Div => (x / y, true),
        Mod => (x % y, true),
        Pow => (x.powf(y), true),
        Atan2 => (x.atan2(y), true),
        Eq => (x, x == y),
        Neq => (x, x != y),
        Lss => (x, x < y),
        Lte => (x, x <= y),
        Gtr => (x, x > y),
        Gte => (x, x >= y),
        TrimUpper | TrimLower | And | Or | Unless => (f64::NAN, false),
    }
}

/// The result of an operator on two samples, and whether a comparison holds; `None` where the types do not fit.
fn operate(op: BinaryOp, x: &Value, y: &Value, span: Span, notes: &mut Annotations) -> Option<(Value, bool)> {
    use BinaryOp::*;
    let histogram = |mut h: Histogram, change: &dyn Fn(&mut Histogram)| {
        change(&mut h);
        Some((Value::Histogram(Arc::new(h)), true))
    };
    let unfit = |notes: &mut Annotations, left: &str, right: &str| {
        notes.incompatible_types(span, left, op.symbol(), right);
        None
    };
    match (x, y) {
        (Value::Float(_), Value::Float(_)) if matches!(op, TrimUpper | TrimLower) => {
            unfit(notes, "float", "float")
        }
        (Value::Float(x), Value::Float(y)) => {
            let (value, keep) = float_op(op, *x, *y);
            Some((Value::Float(value), keep))
        }
        (Value::Float(x), Value::Histogram(y)) => match op {
            Mul => histogram((**y).clone(), &|h| {
                h.mul(*x);
                h.compact();
            }),
            _ => unfit(notes, "float", "histogram"),
        },
        (Value::Histogram(x), Value::Float(y)) => match op {
            Mul => histogram((**x).clone(), &|h| {
                h.mul(*y);
                h.compact();
            }),
            Div => histogram((**x).clone(), &|h| {
                h.div(*y);
                h.compact();
            }),
            TrimUpper | TrimLower => histogram((**x).clone(), &|h| h.trim(*y, op == TrimUpper)),
            _ => unfit(notes, "histogram", "float"),
        },
        (Value::Histogram(x), Value::Histogram(y)) => match op {
            Eq => Some((Value::Histogram(x.clone()), x.equals(y))),
            Neq => Some((Value::Histogram(x.clone()), !x.equals(y))),
            Add | Sub => combine_histograms(op, x, y, span, notes),
            _ => unfit(notes, "histogram", "histogram"),
        },
    }
}

fn combine_histograms(
    op: BinaryOp,
    x: &Histogram,
    y: &Histogram,
    span: Span,
    notes: &mut Annotations,
) -> Option<(Value, bool)> {
    let mut result = x.clone();
    let (combined, what) = match op {
        BinaryOp::Add => (result.add(y), "addition"),
        _ => (result.sub(y), "subtraction"),
    };
    let Ok(combined) = combined else {
        notes.incompatible_bucket_layout(span, op.symbol());
        return None;
    };
    if op == BinaryOp::Sub {
        result.counter_reset_hint = tradewatch_tsdb::histogram::CounterResetHint::Gauge;
    }
    if combined.reset_collision {
        notes.counter_reset_collision(span, what);
    }
    if combined.bounds_reconciled {
        notes.mismatched_custom_buckets(span, what);
    }
    result.compact();
    Some((Value::Histogram(Arc::new(result)), true))
}
