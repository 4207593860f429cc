//! Raw samples of a series, and the windows that slide over them.

use std::collections::VecDeque;
use std::sync::Arc;

use tradewatch_tsdb::{Columns, Histogram, Labels, is_stale};

use super::select::{RangeInput, Reference};
use crate::ast::Extended;
use crate::frame::Grid;

/// A series without staleness markers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSeries {
    pub labels: Labels,
    pub drop_name: bool,
    pub columns: Columns,
    /// Where a float is less than the one before: the resets of a counter, found once for all windows.
    pub falls: Vec<usize>,
}

impl RangeSeries {
    /// Drops staleness markers, and start timestamps where they do not count; then looks for falls.
    pub fn prepare(&mut self, with_starts: bool) {
        let columns = &mut self.columns;
        if !with_starts {
            columns.starts.clear();
            columns.histogram_starts.clear();
        }
        if columns.values.iter().any(|&value| is_stale(value)) {
            let keep: Vec<bool> = columns.values.iter().map(|&value| !is_stale(value)).collect();
            keep_only(&mut columns.ts, &keep);
            keep_only(&mut columns.values, &keep);
            keep_only(&mut columns.starts, &keep);
        }
        if columns.histograms.iter().any(|histogram| is_stale(histogram.sum)) {
            let keep: Vec<bool> = columns.histograms.iter().map(|h| !is_stale(h.sum)).collect();
            keep_only(&mut columns.histogram_ts, &keep);
            keep_only(&mut columns.histograms, &keep);
            keep_only(&mut columns.histogram_starts, &keep);
        }
        self.falls.clear();
        let pairs = self.columns.values.windows(2).enumerate();
        self.falls.extend(pairs.filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| at + 1));
    }
}

/// Keeps the items whose place is marked; columns that are empty as a whole stay so.
fn keep_only<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    items.retain(|_| *keep.next().expect("as long as the items"));
}

/// The samples of one window. Start timestamps are empty where unknown.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Window<'a> {
    pub ts: &'a [i64],
    pub values: &'a [f64],
    pub starts: &'a [i64],
    /// Where the window begins among the samples of the series, and the falls of the whole series.
    pub first: usize,
    pub falls: &'a [usize],
    pub histogram_ts: &'a [i64],
    pub histograms: &'a [Arc<Histogram>],
    pub histogram_starts: &'a [i64],
    /// The window is `(start, end]`; extended windows hold samples beyond both.
    pub start: i64,
    pub end: i64,
    /// The time of the evaluation, which `offset` does not move.
    pub now: i64,
}

impl Window<'_> {
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histogram_ts.is_empty()
    }
}

/// Slides windows over one series.
pub(crate) struct Sliding<'a> {
    series: &'a RangeSeries,
    reference: Reference,
    range_ms: i64,
    before_ms: i64,
    after_ms: i64,
    floats: (usize, usize),
    histograms: (usize, usize),
}

impl<'a> Sliding<'a> {
    pub fn new(series: &'a RangeSeries, input: &RangeInput, lookback_ms: i64) -> Sliding<'a> {
        let (before_ms, after_ms) = match input.extended {
            None => (0, 0),
            Some(Extended::Anchored) => (lookback_ms, 0),
            Some(Extended::Smoothed) => (lookback_ms, lookback_ms),
        };
        Sliding {
            series,
            reference: input.reference,
            range_ms: input.range_ms,
            before_ms,
            after_ms,
            floats: (0, 0),
            histograms: (0, 0),
        }
    }

    /// The window of this step; steps have to be asked for in ascending order.
    pub fn window(&mut self, grid: &Grid, step: usize) -> Window<'a> {
        let end = self.reference.at(grid, step);
        let start = end.saturating_sub(self.range_ms);
        let (from, to) = (start.saturating_sub(self.before_ms), end.saturating_add(self.after_ms));
        let slide = |ts: &[i64], (mut low, mut high): (usize, usize)| {
            while low < ts.len() && ts[low] <= from {
                low += 1;
            }
            high = high.max(low);
            while high < ts.len() && ts[high] <= to {
                high += 1;
            }
            (low, high)
        };
        let columns = &self.series.columns;
        self.floats = slide(&columns.ts, self.floats);
        let (low, high) = self.floats;
        self.histograms = slide(&columns.histogram_ts, self.histograms);
        let (h_low, h_high) = self.histograms;
        let part = |starts: &'a [i64], low: usize, high: usize| -> &'a [i64] {
            if starts.is_empty() { &[] } else { &starts[low..high] }
        };
        Window {
            ts: &columns.ts[low..high],
            values: &columns.values[low..high],
            starts: part(&columns.starts, low, high),
            first: low,
            falls: &self.series.falls,
            histogram_ts: &columns.histogram_ts[h_low..h_high],
            histograms: &columns.histograms[h_low..h_high],
            histogram_starts: part(&columns.histogram_starts, h_low, h_high),
            start,
            end,
            now: grid.at(step),
        }
    }
}

/// The largest or smallest value of windows that slide forward, in constant time per sample.
///
/// Holds the candidates: values that no later value of the window beats, the best one first.
pub(crate) struct Extremes<'a> {
    values: &'a [f64],
    max: bool,
    candidates: VecDeque<usize>,
    seen: usize,
}

impl<'a> Extremes<'a> {
    pub fn new(values: &'a [f64], max: bool) -> Extremes<'a> {
        Extremes { values, max, candidates: VecDeque::new(), seen: 0 }
    }

    /// The extreme of `values[low..high]`, NaN only if nothing else is there; neither bound may go back.
    pub fn of(&mut self, low: usize, high: usize) -> Option<f64> {
        if low >= high {
            return None;
        }
        for at in self.seen.max(low)..high {
            let value = self.values[at];
            if value.is_nan() {
                continue;
            }
            let beaten = |&before: &usize| {
                let before = self.values[before];
                if self.max { before < value } else { before > value }
            };
            while self.candidates.back().is_some_and(beaten) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(at);
        }
        self.seen = self.seen.max(high);
        while self.candidates.front().is_some_and(|&at| at < low) {
            self.candidates.pop_front();
        }
        Some(self.candidates.front().map_or(f64::NAN, |&at| self.values[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_slide() {
        let values = [3.0, f64::NAN, 5.0, 1.0, 1.0, f64::NAN, f64::NAN, -2.0, 9.0, 4.0];
        for max in [false, true] {
            for width in 1..=values.len() {
                let mut extremes = Extremes::new(&values, max);
                for high in 1..=values.len() {
                    let low = high.saturating_sub(width);
                    let numbers = values[low..high].iter().copied().filter(|v| !v.is_nan());
                    let expected = numbers.reduce(if max { f64::max } else { f64::min }).unwrap_or(f64::NAN);
                    let got = extremes.of(low, high).expect("not empty");
                    assert_eq!(got.to_bits(), expected.to_bits(), "{low}..{high}, max {max}");
                }
            }
        }
    }
}
