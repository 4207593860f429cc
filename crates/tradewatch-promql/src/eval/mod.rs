//! Expression and store to values: which part of the language goes where.
//!
//! Everything is evaluated series by series over all steps at once. What does not change from step to step
//! (literals, selectors pinned by `@`) is evaluated for one step and repeated.

mod aggregate;
mod binary;
mod histograms;
mod info;
mod labels;
mod matching;
mod over_time;
mod rate;
mod select;
mod simple;
mod smooth;
mod sorting;
mod windows;

use std::collections::BTreeSet;

use tradewatch_tsdb::{Db, Labels, Series};

use crate::annotate::Annotations;
use crate::ast::*;
use crate::engine::{EngineOptions, EvalError, Result};
use crate::error::Span;
use crate::frame::{Cell, Frame, Grid};

pub(crate) use labels::without_name;

/// The value of an expression over a grid.
#[derive(Debug)]
pub(crate) enum Out {
    Scalar(Vec<f64>),
    Text(String),
    Vector(Frame),
}

/// The state of one evaluation.
pub(crate) struct Evaluator<'a> {
    pub db: &'a Db,
    pub options: &'a EngineOptions,
    pub annotations: Annotations,
    /// Start, end and step of the whole query; the step is 0 for an instant query.
    pub query: (i64, i64, i64),
    pub series_read: usize,
    pub samples_read: usize,
    /// Samples held or once held, against the limit.
    charged: usize,
    pub buckets: Buckets,
    /// Whether whoever asked for what is evaluated now does not look at metric names.
    pub names_are_unseen: bool,
}

/// Whether selectors have to read the buckets of histograms.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Buckets {
    Read,
    /// Inside a function that needs counts and sums only.
    Skip,
    /// Inside something that needs them, whatever else stands in between.
    Needed,
}

impl<'a> Evaluator<'a> {
    pub fn new(db: &'a Db, options: &'a EngineOptions, start: i64, end: i64, step: i64) -> Evaluator<'a> {
        Evaluator {
            db,
            options,
            annotations: Annotations::default(),
            query: (start, end, step),
            series_read: 0,
            samples_read: 0,
            charged: 0,
            buckets: Buckets::Read,
            names_are_unseen: false,
        }
    }

    /// Evaluates something with buckets as needed there.
    pub fn with_buckets<T>(&mut self, inside: Buckets, eval: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.buckets;
        if before != Buckets::Needed {
            self.buckets = inside;
        }
        let result = eval(self);
        self.buckets = before;
        result
    }

    pub fn lookback_ms(&self) -> i64 {
        self.options.lookback.as_millis() as i64
    }

    /// Counts samples against the limit, and asks the deadline.
    pub fn charge(&mut self, samples: usize) -> Result<()> {
        self.charged = self.charged.saturating_add(samples);
        if self.charged > self.options.samples_max {
            return Err(EvalError::too_many_samples(self.options.samples_max));
        }
        self.check_deadline()
    }

    pub fn check_deadline(&self) -> Result<()> {
        match &self.options.deadline {
            Some(deadline) if deadline() => Err(EvalError::deadline()),
            _ => Ok(()),
        }
    }

    pub fn eval_top(&mut self, expr: &Expr, grid: &Grid) -> Result<Out> {
        self.eval(expr, grid)
    }

    /// Evaluates what has one value for all steps only once.
    pub fn eval(&mut self, expr: &Expr, grid: &Grid) -> Result<Out> {
        self.check_deadline()?;
        let expr = expr.unparen();
        if grid.steps > 1 && !is_literal(expr) && is_invariant(expr) {
            let once = Grid { steps: 1, ..*grid };
            return Ok(match self.eval_node(expr, &once)? {
                Out::Scalar(values) => Out::Scalar(vec![values[0]; grid.steps]),
                Out::Vector(frame) => {
                    self.charge(frame.len() * grid.steps)?;
                    Out::Vector(frame.broadcast(grid.steps))
                }
                text => text,
            });
        }
        self.eval_node(expr, grid)
    }

    fn eval_node(&mut self, expr: &Expr, grid: &Grid) -> Result<Out> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Out::Scalar(vec![number.value; grid.steps])),
            ExprKind::String(text) => Ok(Out::Text(text.clone())),
            ExprKind::Vector(selector) => self.vector_selector(selector, expr.span, grid).map(Out::Vector),
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                Err(EvalError::data("a range vector can stand only inside a function"))
            }
            ExprKind::Paren(inner) => self.eval(inner, grid),
            ExprKind::Unary(op, inner) => {
                let out = self.eval(inner, grid)?;
                self.unary(*op, out)
            }
            ExprKind::Binary(_) => self.binary_chain(expr, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, grid).map(Out::Vector),
            ExprKind::Call(call) => self.call(call, expr, grid),
        }
    }

    /// Left operands are followed in a loop, since chains of operators are as long as their authors are patient.
    fn binary_chain(&mut self, expr: &Expr, grid: &Grid) -> Result<Out> {
        let mut chain = Vec::new();
        let mut leaf = expr;
        while let ExprKind::Binary(binary) = &leaf.kind {
            chain.push((&**binary, leaf.span));
            leaf = &binary.lhs;
        }
        let trims =
            |(binary, _): &(&Binary, Span)| matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        // What stands inside of the outermost trimming operator needs buckets.
        let trimmed = chain.iter().position(trims).unwrap_or(chain.len());
        let inside = |at: usize, current| if at > trimmed { Buckets::Needed } else { current };
        let current = self.buckets;
        let mut lhs = self.with_buckets(inside(chain.len(), current), |e| e.eval(leaf, grid))?;
        for (at, (binary, span)) in chain.into_iter().enumerate().rev() {
            let rhs = self.with_buckets(inside(at + 1, current), |e| e.eval(&binary.rhs, grid))?;
            lhs = self.binary(binary, span, lhs, rhs, grid)?;
        }
        Ok(lhs)
    }

    pub fn vector(&mut self, expr: &Expr, grid: &Grid) -> Result<Frame> {
        match self.eval(expr, grid)? {
            Out::Vector(frame) => Ok(frame),
            other => Err(EvalError::data(format!("expected an instant vector, got {other:?}"))),
        }
    }

    pub fn scalar(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>> {
        match self.eval(expr, grid)? {
            Out::Scalar(values) => Ok(values),
            other => Err(EvalError::data(format!("expected a scalar, got {other:?}"))),
        }
    }

    /// Marks or removes the names of all rows.
    pub fn drop_names(&mut self, frame: &mut Frame) -> Result<()> {
        if self.options.delayed_name_removal {
            frame.rows.iter_mut().for_each(|row| row.drop_name = true);
            return Ok(());
        }
        let is_one_metric = is_one_metric(frame);
        for row in &mut frame.rows {
            row.labels = without_name(&row.labels);
            row.drop_name = true;
        }
        if is_one_metric { Ok(()) } else { merge_or_fail(frame) }
    }

    /// Like [`Evaluator::drop_names`] for a reader who does not look at names: where nothing depends on it, they
    /// are only marked, since to build so many label sets costs more than to aggregate them.
    pub fn hide_names(&mut self, frame: &mut Frame) -> Result<()> {
        if !is_one_metric(frame) || frame.has_histograms() {
            return self.drop_names(frame);
        }
        frame.rows.iter_mut().for_each(|row| row.drop_name = true);
        Ok(())
    }

    fn unary(&mut self, op: UnaryOp, out: Out) -> Result<Out> {
        if op == UnaryOp::Plus {
            return Ok(out);
        }
        match out {
            Out::Scalar(values) => Ok(Out::Scalar(values.into_iter().map(|v| -v).collect())),
            Out::Vector(mut frame) => {
                for row in 0..frame.len() {
                    for step in 0..frame.steps {
                        match frame.cell(row, step) {
                            Cell::Empty => {}
                            Cell::Float(value) => frame.set_float(row, step, -value),
                            Cell::Histogram(histogram) => {
                                let mut negative = (**histogram).clone();
                                negative.mul(-1.0);
                                frame.set_histogram(row, step, negative.into());
                            }
                        }
                    }
                }
                self.drop_names(&mut frame)?;
                Ok(Out::Vector(frame))
            }
            text => Ok(text),
        }
    }

    /// The series of a range vector expression at the top of an instant query.
    pub fn matrix(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.matrix_at(expr, grid)?;
        if self.options.delayed_name_removal {
            let mut seen = BTreeSet::new();
            for one in &series {
                if !seen.insert(one.labels.clone()) {
                    return Err(EvalError::data("vector cannot contain metrics with the same labelset"));
                }
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

/// Whether all rows are series of one metric, which are told apart by their other labels.
fn is_one_metric(frame: &Frame) -> bool {
    fn name(labels: &Labels) -> Option<&str> {
        let mut found = None;
        for (name, value) in labels.iter().take_while(|(name, _)| *name <= "__unit__") {
            match name {
                "__name__" => found = Some(value),
                "__type__" | "__unit__" => return None,
                _ => {}
            }
        }
        found
    }
    let Some(first) = frame.rows.first() else { return true };
    let Some(first) = name(&first.labels) else { return false };
    frame.rows.iter().all(|row| !row.drop_name && name(&row.labels) == Some(first))
}

pub(crate) fn merge_or_fail(frame: &mut Frame) -> Result<()> {
    if frame.merge_equal_rows() {
        return Ok(());
    }
    Err(EvalError::data("vector cannot contain metrics with the same labelset"))
}

pub(crate) fn metric_name(labels: &Labels) -> &str {
    labels.name().unwrap_or("")
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Number(_) | ExprKind::String(_))
}

/// Functions whose result depends on the evaluation time even if their arguments do not.
fn depends_on_time(name: &str) -> bool {
    matches!(
        name,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "time"
            | "timestamp"
    )
}

/// Whether the expression has the same value at every step.
pub(crate) fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(v) => v.at.is_some(),
        ExprKind::Matrix(m) => m.selector.at.is_some(),
        ExprKind::Subquery(s) => s.at.is_some(),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => is_invariant(inner),
        ExprKind::Aggregate(a) => is_invariant(&a.expr) && a.param.as_ref().is_none_or(is_invariant),
        ExprKind::Call(call) => {
            let name = call.function.name;
            let pinned = |arg: &Expr| matches!(&arg.unparen().kind, ExprKind::Vector(v) if v.at.is_some());
            if name == "timestamp" {
                return call.args.iter().all(pinned);
            }
            !depends_on_time(name) && call.args.iter().all(is_invariant)
        }
        ExprKind::Binary(_) => {
            let mut expr = expr;
            while let ExprKind::Binary(binary) = &expr.kind {
                if !is_invariant(&binary.rhs) {
                    return false;
                }
                expr = &binary.lhs;
            }
            is_invariant(expr)
        }
    }
}
