//! Series over the steps of an evaluation, row by row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tradewatch_tsdb::{Histogram, Labels, STALE_NAN, Value};

/// The times at which an expression is evaluated.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Grid {
    pub start: i64,
    pub step: i64,
    pub steps: usize,
}

impl Grid {
    pub fn at(&self, step: usize) -> i64 {
        self.start + self.step * step as i64
    }

    pub fn is_instant(&self) -> bool {
        self.steps == 1
    }
}

/// A float cell without a sample: the staleness marker can never be the result of an evaluation.
pub(crate) const ABSENT: f64 = STALE_NAN;

pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// One sample of a frame.
#[derive(Copy, Clone)]
pub(crate) enum Cell<'a> {
    Empty,
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// What a row is about.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub labels: Labels,
    /// The name goes at the very end of the evaluation.
    pub drop_name: bool,
}

/// A vector at each step: rows of cells, all rows in one allocation.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub steps: usize,
    pub rows: Vec<Row>,
    floats: Vec<f64>,
    /// Beside the floats once there is any histogram.
    histograms: Option<Vec<Option<Arc<Histogram>>>>,
}

impl Frame {
    pub fn new(steps: usize) -> Frame {
        Frame { steps, rows: Vec::new(), floats: Vec::new(), histograms: None }
    }

    pub fn with_capacity(steps: usize, rows: usize) -> Frame {
        let mut frame = Frame::new(steps);
        frame.rows.reserve(rows);
        frame.floats.reserve(rows * steps);
        frame
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn push(&mut self, labels: Labels, drop_name: bool) -> usize {
        self.rows.push(Row { labels, drop_name });
        self.floats.resize(self.rows.len() * self.steps, ABSENT);
        if let Some(histograms) = &mut self.histograms {
            histograms.resize(self.rows.len() * self.steps, None);
        }
        self.rows.len() - 1
    }

    /// Takes the last row back if nothing was put into it.
    pub fn pop_if_empty(&mut self) {
        let row = self.len() - 1;
        if self.is_row_empty(row) {
            self.rows.pop();
            self.floats.truncate(row * self.steps);
            if let Some(histograms) = &mut self.histograms {
                histograms.truncate(row * self.steps);
            }
        }
    }

    pub fn floats(&self, row: usize) -> &[f64] {
        &self.floats[row * self.steps..(row + 1) * self.steps]
    }

    pub fn floats_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.floats[row * self.steps..(row + 1) * self.steps]
    }

    pub fn has_histograms(&self) -> bool {
        self.histograms.is_some()
    }

    pub fn histogram(&self, row: usize, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref()?[row * self.steps + step].as_ref()
    }

    pub fn cell(&self, row: usize, step: usize) -> Cell<'_> {
        let at = row * self.steps + step;
        let float = self.floats[at];
        if !is_absent(float) {
            return Cell::Float(float);
        }
        match self.histograms.as_ref().and_then(|h| h[at].as_ref()) {
            Some(histogram) => Cell::Histogram(histogram),
            None => Cell::Empty,
        }
    }

    pub fn is_present(&self, row: usize, step: usize) -> bool {
        !matches!(self.cell(row, step), Cell::Empty)
    }

    pub fn set_float(&mut self, row: usize, step: usize, value: f64) {
        self.floats[row * self.steps + step] = value;
    }

    pub fn set_histogram(&mut self, row: usize, step: usize, value: Arc<Histogram>) {
        let (len, at) = (self.floats.len(), row * self.steps + step);
        self.histograms.get_or_insert_with(|| vec![None; len])[at] = Some(value);
        self.floats[at] = ABSENT;
    }

    pub fn set(&mut self, row: usize, step: usize, value: Value) {
        match value {
            Value::Float(value) => self.set_float(row, step, value),
            Value::Histogram(histogram) => self.set_histogram(row, step, histogram),
        }
    }

    pub fn set_cell(&mut self, row: usize, step: usize, cell: Cell<'_>) {
        match cell {
            Cell::Empty => self.clear(row, step),
            Cell::Float(value) => self.set_float(row, step, value),
            Cell::Histogram(histogram) => self.set_histogram(row, step, histogram.clone()),
        }
    }

    pub fn clear(&mut self, row: usize, step: usize) {
        let at = row * self.steps + step;
        self.floats[at] = ABSENT;
        if let Some(histograms) = &mut self.histograms {
            histograms[at] = None;
        }
    }

    /// Removes all histograms, as functions of floats do.
    pub fn drop_histograms(&mut self) {
        self.histograms = None;
    }

    pub fn is_row_empty(&self, row: usize) -> bool {
        self.floats(row).iter().all(|&v| is_absent(v))
            && self
                .histograms
                .as_ref()
                .is_none_or(|h| h[row * self.steps..(row + 1) * self.steps].iter().all(Option::is_none))
    }

    /// Keeps the rows that hold at least one sample.
    pub fn drop_empty_rows(&mut self) {
        let keep: Vec<bool> = (0..self.len()).map(|row| !self.is_row_empty(row)).collect();
        self.retain(&keep);
    }

    pub fn retain(&mut self, keep: &[bool]) {
        if keep.iter().all(|&k| k) {
            return;
        }
        let steps = self.steps;
        let mut to = 0;
        for (from, _) in keep.iter().enumerate().filter(|(_, k)| **k) {
            if from != to {
                self.rows.swap(from, to);
                self.floats.copy_within(from * steps..(from + 1) * steps, to * steps);
                if let Some(histograms) = &mut self.histograms {
                    for step in 0..steps {
                        histograms[to * steps + step] = histograms[from * steps + step].take();
                    }
                }
            }
            to += 1;
        }
        self.rows.truncate(to);
        self.floats.truncate(to * steps);
        if let Some(histograms) = &mut self.histograms {
            histograms.truncate(to * steps);
        }
    }

    /// Reorders the rows.
    pub fn permute(&self, order: &[usize]) -> Frame {
        let mut out = Frame::with_capacity(self.steps, order.len());
        for &row in order {
            let to = out.push(self.rows[row].labels.clone(), self.rows[row].drop_name);
            out.copy_row(to, self, row);
        }
        out
    }

    pub fn copy_row(&mut self, to: usize, other: &Frame, row: usize) {
        self.floats_mut(to).copy_from_slice(other.floats(row));
        if other.histograms.is_some() {
            for step in 0..self.steps {
                if let Some(histogram) = other.histogram(row, step) {
                    self.set_histogram(to, step, histogram.clone());
                }
            }
        }
    }

    /// Merges rows with equal labels; `false` if two of them have a sample at the same step.
    #[must_use]
    pub fn merge_equal_rows(&mut self) -> bool {
        let mut seen = HashSet::with_capacity(self.len());
        if self.rows.iter().all(|row| seen.insert(&row.labels)) {
            return true;
        }
        let mut first: HashMap<Labels, usize> = HashMap::with_capacity(self.len());
        let mut keep = vec![true; self.len()];
        for (row, keep) in keep.iter_mut().enumerate() {
            let Some(&target) = first.get(&self.rows[row].labels) else {
                first.insert(self.rows[row].labels.clone(), row);
                continue;
            };
            *keep = false;
            for step in 0..self.steps {
                let value = match self.cell(row, step) {
                    Cell::Empty => continue,
                    Cell::Float(value) => Value::Float(value),
                    Cell::Histogram(histogram) => Value::Histogram(histogram.clone()),
                };
                if self.is_present(target, step) {
                    return false;
                }
                self.set(target, step, value);
            }
        }
        self.retain(&keep);
        true
    }

    /// Repeats the single step over so many steps.
    pub fn broadcast(&self, steps: usize) -> Frame {
        let mut out = Frame::with_capacity(steps, self.len());
        for row in 0..self.len() {
            out.push(self.rows[row].labels.clone(), self.rows[row].drop_name);
            match self.cell(row, 0) {
                Cell::Empty => {}
                Cell::Float(value) => out.floats_mut(row).fill(value),
                Cell::Histogram(histogram) => {
                    (0..steps).for_each(|step| out.set_histogram(row, step, histogram.clone()));
                }
            }
        }
        out
    }
}
