//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.

use std::cmp::Ordering;

use super::labels::text_of;
use super::{Evaluator, Out};
use crate::ast::*;
use crate::engine::Result;
use crate::error::Span;
use crate::frame::Grid;

impl Evaluator<'_> {
    pub fn sort(&mut self, call: &Call, span: Span, grid: &Grid) -> Result<Out> {
        let name = call.function.name;
        let mut frame = self.vector(&call.args[0], grid)?;
        if !grid.is_instant() {
            self.annotations.sort_in_range_query(span);
        }
        let mut order: Vec<usize> = (0..frame.len()).collect();
        if name == "sort" || name == "sort_desc" {
            frame.drop_histograms();
            frame.drop_empty_rows();
            order.truncate(frame.len());
            if grid.is_instant() {
                let value = |row: usize| frame.floats(row)[0];
                order.sort_by(|&a, &b| by_value(value(a), value(b), name == "sort_desc"));
            }
        } else if grid.is_instant() {
            let labels = call.args[1..].iter().map(text_of).collect::<Result<Vec<_>>>()?;
            let descending = name == "sort_by_label_desc";
            order.sort_by(|&a, &b| {
                let (a, b) = (&frame.rows[a].labels, &frame.rows[b].labels);
                let by_label = labels
                    .iter()
                    .map(|label| natural(a.get(label).unwrap_or(""), b.get(label).unwrap_or("")));
                let found = by_label.fold(Ordering::Equal, Ordering::then).then_with(|| a.cmp(b));
                if descending { found.reverse() } else { found }
            });
        }
        Ok(Out::Vector(frame.permute(&order)))
    }
}

/// Compares values with NaN last in either direction.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        _ => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Compares text with runs of digits as numbers, so that `node-2` comes before `node-10`.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (first, second) = (chunk(&mut a), chunk(&mut b));
        let numbers = (first.parse::<u64>(), second.parse::<u64>());
        let order = match numbers {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => first.cmp(second),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Takes the leading run of digits or of other characters.
fn chunk<'a>(text: &mut &'a str) -> &'a str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (head, tail) = text.split_at(end);
    *text = tail;
    head
}
