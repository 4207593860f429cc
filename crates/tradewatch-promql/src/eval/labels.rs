//! Functions that change labels only.

use tradewatch_tsdb::{Labels, Regex};

use super::{Evaluator, Out, merge_or_fail};
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::frame::{Frame, Grid};
use crate::lexer::is_label_name;

/// The labels that describe the metric rather than the series: its name, type and unit.
pub(crate) const METRIC_LABELS: [&str; 3] = ["__name__", "__type__", "__unit__"];

pub(crate) fn without_name(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| METRIC_LABELS.contains(&name)) {
        labels.without(&METRIC_LABELS)
    } else {
        labels.clone()
    }
}

pub(crate) fn text_of(expr: &Expr) -> Result<&str> {
    match &expr.unparen().kind {
        ExprKind::String(text) => Ok(text),
        _ => Err(EvalError::data("expected a string literal")),
    }
}

impl Evaluator<'_> {
    pub fn label_replace(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let [_, target, template, source, pattern] = &call.args[..] else { unreachable!("five arguments") };
        let (target, template) = (text_of(target)?, text_of(template)?);
        let (source, pattern) = (text_of(source)?, text_of(pattern)?);
        let regex = Regex::new(pattern).map_err(|_| {
            EvalError::data(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if !is_label_name(target) {
            let message = format!("invalid destination label name in label_replace(): {target}");
            return Err(EvalError::data(message));
        }
        let mut frame = self.vector(&call.args[0], grid)?;
        for row in &mut frame.rows {
            if let Some(value) = regex.expand(row.labels.get(source).unwrap_or(""), template) {
                set_label(row, target, &value);
            }
        }
        self.relabelled(frame)
    }

    pub fn label_join(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let (target, separator) = (text_of(&call.args[1])?, text_of(&call.args[2])?);
        let sources: Vec<&str> = call.args[3..].iter().map(text_of).collect::<Result<_>>()?;
        if let Some(bad) = sources.iter().find(|name| !is_label_name(name)) {
            return Err(EvalError::data(format!("invalid source label name in label_join(): {bad}")));
        }
        if !is_label_name(target) {
            return Err(EvalError::data(format!("invalid destination label name in label_join(): {target}")));
        }
        let mut frame = self.vector(&call.args[0], grid)?;
        for row in &mut frame.rows {
            let values: Vec<&str> = sources.iter().map(|name| row.labels.get(name).unwrap_or("")).collect();
            let joined = values.join(separator);
            set_label(row, target, &joined);
        }
        self.relabelled(frame)
    }

    fn relabelled(&mut self, mut frame: Frame) -> Result<Out> {
        merge_or_fail(&mut frame)?;
        Ok(Out::Vector(frame))
    }
}

fn set_label(row: &mut crate::frame::Row, name: &str, value: &str) {
    row.labels = row.labels.with(name, value);
    // A name that the query sets is meant to stay.
    if name == "__name__" {
        row.drop_name = false;
    }
}
