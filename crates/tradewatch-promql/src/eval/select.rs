//! Selectors: from the store to frames and to series of raw samples.

use std::sync::Arc;

use tradewatch_tsdb::histogram::CounterResetHint;
use tradewatch_tsdb::{Columns, Histogram, Matcher, Sample, Selection, Series, Timestamp, Value};

use super::windows::RangeSeries;
use super::{Buckets, Evaluator, Out};
use crate::ast::*;
use crate::duration::Extent;
use crate::engine::{EvalError, Result, TIME_MS_MAX};
use crate::error::Span;
use crate::frame::{Cell, Frame, Grid};

/// When a selector looks, as seen from a step.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Reference {
    offset: i64,
    pinned: Option<i64>,
}

impl Reference {
    pub fn new(pinned: Option<i64>, offset: i64) -> Reference {
        Reference { offset, pinned }
    }

    /// The time that stands for "now" at this step.
    pub fn at(&self, grid: &Grid, step: usize) -> i64 {
        self.pinned.unwrap_or_else(|| grid.at(step)).saturating_sub(self.offset)
    }

    pub fn first(&self, grid: &Grid) -> i64 {
        self.at(grid, 0)
    }

    pub fn last(&self, grid: &Grid) -> i64 {
        self.at(grid, grid.steps.max(1) - 1)
    }
}

/// The range of a range vector expression: its series and how windows lie in them.
pub(crate) struct RangeInput {
    source: Source,
    pub reference: Reference,
    pub range_ms: i64,
    pub extended: Option<Extended>,
    /// Place of the whole range expression.
    pub span: Span,
}

/// Where the series of a range vector are.
enum Source {
    /// In the store, to be read one by one.
    Stored(Selection),
    /// The result of a subquery.
    Computed(Vec<RangeSeries>),
}

impl RangeInput {
    /// The number of series.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Stored(selection) => selection.len(),
            Source::Computed(series) => series.len(),
        }
    }
}

impl Evaluator<'_> {
    pub fn extent_ms(&self, extent: &Extent, span: Span, allow_negative: bool) -> Result<i64> {
        let (start, end, step) = self.query;
        extent.resolve(span, step, end - start, allow_negative).map_err(EvalError::data)
    }

    pub fn pinned_ms(&self, at: Option<At>) -> Option<i64> {
        Some(match at? {
            At::Millis(ms) => ms.clamp(-TIME_MS_MAX, TIME_MS_MAX),
            At::Start => self.query.0,
            At::End => self.query.1,
        })
    }

    pub fn reference(&self, offset: &Extent, at: Option<At>, span: Span) -> Result<Reference> {
        Ok(Reference { offset: self.extent_ms(offset, span, true)?, pinned: self.pinned_ms(at) })
    }

    /// Finds series in the store and counts them.
    pub fn select(&mut self, matchers: &[Matcher], from: i64, to: i64) -> Result<Selection> {
        let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
        let selection = self.db.select_chunks(matchers, from, to);
        self.count_series(selection.len())?;
        Ok(selection)
    }

    fn count_series(&mut self, series: usize) -> Result<()> {
        let max = self.options.series_max;
        if series > max {
            return Err(EvalError::limit(format!(
                "selector finds {series} series, more than the limit of {max}"
            )));
        }
        self.series_read += series;
        Ok(())
    }

    /// Counts samples that were read.
    fn count_samples(&mut self, samples: usize) -> Result<()> {
        self.samples_read += samples;
        let max = self.options.samples_max;
        if self.samples_read > max {
            return Err(EvalError::limit(format!(
                "query processing would load more than {max} samples into memory in query execution"
            )));
        }
        self.charge(samples)
    }

    /// Reads one series of a selection, in place of what `into` holds.
    pub fn read_selected(&mut self, selection: &Selection, at: usize, into: &mut RangeSeries) -> Result<()> {
        self.read_columns(selection, at, &mut into.columns)?;
        into.labels = selection.labels(at).clone();
        into.drop_name = false;
        into.prepare(self.options.start_timestamps);
        Ok(())
    }

    fn read_columns(&mut self, selection: &Selection, at: usize, columns: &mut Columns) -> Result<()> {
        selection.read(at, columns);
        self.count_samples(columns.len())?;
        if self.buckets == Buckets::Skip {
            skip_buckets(&mut columns.histograms);
        }
        Ok(())
    }

    /// The series of a range vector at this index, read into `buffer` if it is in the store.
    pub fn read_series<'b>(
        &mut self,
        input: &'b RangeInput,
        at: usize,
        buffer: &'b mut RangeSeries,
    ) -> Result<&'b RangeSeries> {
        match &input.source {
            Source::Computed(series) => Ok(&series[at]),
            Source::Stored(selection) => {
                self.read_selected(selection, at, buffer)?;
                Ok(buffer)
            }
        }
    }

    pub fn vector_selector(&mut self, v: &VectorSelector, span: Span, grid: &Grid) -> Result<Frame> {
        if v.extended == Some(Extended::Smoothed) {
            return self.smoothed_selector(v, span, grid);
        }
        let reference = self.reference(&v.offset, v.at, span)?;
        self.current_samples(&v.matchers, reference, grid, |sample| sample.value.clone())
    }

    /// The newest sample of each series at each step, as `pick` sees it.
    pub fn current_samples(
        &mut self,
        matchers: &[Matcher],
        reference: Reference,
        grid: &Grid,
        pick: impl Fn(&Sample) -> Value,
    ) -> Result<Frame> {
        let lookback = self.lookback_ms();
        let from = reference.first(grid).saturating_sub(lookback).saturating_add(1);
        // Without their buckets histograms need the one before to tell of resets.
        if grid.is_instant() && self.buckets != Buckets::Skip {
            return self.newest_samples(matchers, from, reference.first(grid), pick);
        }
        let selection = self.select(matchers, from, reference.last(grid))?;
        self.charge(selection.len() * grid.steps)?;
        let mut frame = Frame::with_capacity(grid.steps, selection.len());
        let mut columns = Columns::default();
        for at in 0..selection.len() {
            self.check_deadline()?;
            self.read_columns(&selection, at, &mut columns)?;
            let row = frame.push(selection.labels(at).clone(), false);
            let (mut floats, mut histograms) = (0, 0);
            for step in 0..grid.steps {
                let now = reference.at(grid, step);
                let forward = |ts: &[i64], next: &mut usize| {
                    while *next < ts.len() && ts[*next] <= now {
                        *next += 1;
                    }
                    next.checked_sub(1).map(|at| (ts[at], at))
                };
                let float = forward(&columns.ts, &mut floats);
                let histogram = forward(&columns.histogram_ts, &mut histograms);
                let is_float = float > histogram;
                let Some((ts, at)) = float.max(histogram).filter(|(ts, _)| *ts > now - lookback) else {
                    continue;
                };
                let (value, starts) = match is_float {
                    true => (Value::Float(columns.values[at]), &columns.starts),
                    false => (Value::Histogram(columns.histograms[at].clone()), &columns.histogram_starts),
                };
                if !value.is_stale() {
                    let start = starts.get(at).filter(|start| **start != 0);
                    let start = start.map(|start| Timestamp::from_millis(*start));
                    frame.set(row, step, pick(&Sample { ts: Timestamp::from_millis(ts), value, start }));
                }
            }
            frame.pop_if_empty();
        }
        Ok(frame)
    }

    /// The newest sample of each series from `from` to `now`.
    fn newest_samples(
        &mut self,
        matchers: &[Matcher],
        from: i64,
        now: i64,
        pick: impl Fn(&Sample) -> Value,
    ) -> Result<Frame> {
        let (from, now) = (Timestamp::from_millis(from), Timestamp::from_millis(now));
        let found = self.db.select_last(matchers, from, now);
        self.count_series(found.len())?;
        self.count_samples(found.len())?;
        let mut frame = Frame::with_capacity(1, found.len());
        for (labels, sample) in found.into_iter().filter(|(_, sample)| !sample.value.is_stale()) {
            let row = frame.push(labels, false);
            frame.set(row, 0, pick(&sample));
        }
        Ok(frame)
    }

    /// The series behind the range vector argument of a function, over all windows of the grid.
    pub fn range_input(&mut self, expr: &Expr, grid: &Grid) -> Result<RangeInput> {
        match &expr.unparen().kind {
            ExprKind::Matrix(m) => self.range_selector(m, expr.unparen().span, grid),
            ExprKind::Subquery(s) => self.subquery(s, expr.unparen().span, grid),
            _ => Err(EvalError::data("expected a range vector")),
        }
    }

    fn range_selector(&mut self, m: &MatrixSelector, span: Span, grid: &Grid) -> Result<RangeInput> {
        let v = &m.selector;
        let reference = self.reference(&v.offset, v.at, span)?;
        let range_ms = self.extent_ms(&m.range, span, false)?;
        let lookback = self.lookback_ms();
        let mut from = reference.first(grid).saturating_sub(range_ms).saturating_add(1);
        let mut to = reference.last(grid);
        if v.extended.is_some() {
            from -= lookback;
        }
        if v.extended == Some(Extended::Smoothed) {
            to += lookback;
        }
        let source = Source::Stored(self.select(&v.matchers, from, to)?);
        Ok(RangeInput { source, reference, range_ms, extended: v.extended, span })
    }

    fn subquery(&mut self, s: &Subquery, span: Span, grid: &Grid) -> Result<RangeInput> {
        let reference = self.reference(&s.offset, s.at, span)?;
        let range_ms = self.extent_ms(&s.range, span, false)?;
        let step = match &s.step {
            Some(step) => self.extent_ms(step, span, false)?,
            None => 0,
        };
        let step = if step > 0 { step } else { self.options.subquery_step.as_millis() as i64 };
        // Steps are multiples of the step, whatever the query's start; the first one lies inside the range.
        let open = reference.first(grid).saturating_sub(range_ms);
        let mut start = step * (open / step);
        if start <= open {
            start += step;
        }
        let last = reference.last(grid);
        let mut series = Vec::new();
        if last >= start {
            let steps = ((last - start) / step + 1) as usize;
            if steps > self.options.samples_max {
                return Err(EvalError::limit(format!(
                    "subquery has {steps} steps, more than the sample limit"
                )));
            }
            self.charge(steps)?;
            let inner = Grid { start, step, steps };
            match self.with_buckets(Buckets::Needed, |e| e.eval(&s.expr, &inner))? {
                Out::Vector(frame) => series = range_series_of(&frame, &inner),
                _ => return Err(EvalError::data("a subquery needs an instant vector")),
            }
        }
        let source = Source::Computed(series);
        Ok(RangeInput { source, reference, range_ms, extended: None, span })
    }

    /// A range vector as the result of an instant query.
    pub fn matrix_at(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Series>> {
        let input = self.range_input(expr, grid)?;
        let end = input.reference.first(grid);
        let start = end.saturating_sub(input.range_ms);
        let mut out = Vec::new();
        let mut buffer = RangeSeries::default();
        for at in 0..input.len() {
            let one = self.read_series(&input, at, &mut buffer)?;
            let mut samples = one.columns.to_samples();
            match input.extended {
                None => samples.retain(|s| s.ts.as_millis() > start && s.ts.as_millis() <= end),
                Some(kind) => samples = super::smooth::extend(one, start, end, kind)?,
            }
            if !samples.is_empty() {
                let labels = match one.drop_name {
                    true => super::without_name(&one.labels),
                    false => one.labels.clone(),
                };
                out.push(Series { labels, samples });
            }
        }
        Ok(out)
    }
}

/// Leaves counts and sums only. Since resets cannot be found in those alone, they are looked for now.
fn skip_buckets(histograms: &mut [Arc<Histogram>]) {
    let mut before: Option<Arc<Histogram>> = None;
    for histogram in histograms {
        let mut hint = histogram.counter_reset_hint;
        let stale = tradewatch_tsdb::is_stale(histogram.sum);
        if let Some(before) = before.as_ref().filter(|_| hint == CounterResetHint::Unknown && !stale) {
            let reset = histogram.detect_reset(before);
            hint = if reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
        }
        let bare = Histogram {
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            counter_reset_hint: hint,
            ..Histogram::default()
        };
        let whole = std::mem::replace(histogram, Arc::new(bare));
        if !stale {
            before = Some(whole);
        }
    }
}

/// The rows of a frame as raw samples.
fn range_series_of(frame: &Frame, grid: &Grid) -> Vec<RangeSeries> {
    let mut out = Vec::with_capacity(frame.len());
    for (row, about) in frame.rows.iter().enumerate() {
        let mut columns = Columns::default();
        for step in 0..grid.steps {
            match frame.cell(row, step) {
                Cell::Empty => {}
                Cell::Float(value) => {
                    columns.ts.push(grid.at(step));
                    columns.values.push(value);
                }
                Cell::Histogram(histogram) => {
                    columns.histogram_ts.push(grid.at(step));
                    columns.histograms.push(forget_resets(histogram));
                }
            }
        }
        let (labels, drop_name) = (about.labels.clone(), about.drop_name);
        let mut series = RangeSeries { labels, drop_name, columns, falls: Vec::new() };
        series.prepare(false);
        out.push(series);
    }
    out
}

/// A subquery may skip or repeat samples, so what they say about resets between each other no longer holds.
fn forget_resets(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.counter_reset_hint {
        CounterResetHint::Reset | CounterResetHint::NotReset => {
            let mut unknown = (**histogram).clone();
            unknown.counter_reset_hint = CounterResetHint::Unknown;
            Arc::new(unknown)
        }
        _ => histogram.clone(),
    }
}
