//! Raw samples of a series, and the windows that slide over them.

use std::collections::VecDeque;
use std::sync::Arc;

use tradewatch_tsdb::{Histogram, Labels, Sample, Series, Timestamp, Value};

use super::select::{RangeInput, Reference};
use crate::ast::Extended;
use crate::frame::Grid;

/// Float samples, column by column.
#[derive(Clone, Default, Debug)]
pub(crate) struct Points {
    pub ts: Vec<i64>,
    pub values: Vec<f64>,
    /// Start timestamps, 0 where unknown; empty if no sample has one.
    pub starts: Vec<i64>,
}

/// Histogram samples, column by column.
#[derive(Clone, Default, Debug)]
pub(crate) struct HistogramPoints {
    pub ts: Vec<i64>,
    pub values: Vec<Arc<Histogram>>,
    /// As in [`Points`].
    pub starts: Vec<i64>,
}

/// A series without staleness markers.
#[derive(Clone, Debug)]
pub(crate) struct RangeSeries {
    pub labels: Labels,
    pub drop_name: bool,
    pub floats: Points,
    pub histograms: HistogramPoints,
    /// Where a float is less than the one before: the resets of a counter, found once for all windows.
    pub falls: Vec<usize>,
}

/// Indexes of values less than the one before.
pub(crate) fn falls(values: &[f64]) -> Vec<usize> {
    let pairs = values.windows(2).enumerate();
    pairs.filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| at + 1).collect()
}

impl RangeSeries {
    pub fn from_series(series: Series, with_starts: bool) -> RangeSeries {
        let mut floats = Points::default();
        floats.ts.reserve(series.samples.len());
        floats.values.reserve(series.samples.len());
        let mut histograms = HistogramPoints::default();
        let with_starts = with_starts && series.samples.iter().any(|s| s.start.is_some());
        for sample in series.samples {
            if sample.value.is_stale() {
                continue;
            }
            let starts = match sample.value {
                Value::Float(value) => {
                    floats.ts.push(sample.ts.as_millis());
                    floats.values.push(value);
                    &mut floats.starts
                }
                Value::Histogram(histogram) => {
                    histograms.ts.push(sample.ts.as_millis());
                    histograms.values.push(histogram);
                    &mut histograms.starts
                }
            };
            if with_starts {
                starts.push(sample.start.map_or(0, Timestamp::as_millis));
            }
        }
        let falls = falls(&floats.values);
        RangeSeries { labels: series.labels, drop_name: false, floats, histograms, falls }
    }

    /// All samples in the order of time.
    pub fn samples(&self) -> Vec<Sample> {
        let floats = self.floats.ts.iter().zip(&self.floats.values);
        let histograms = self.histograms.ts.iter().zip(&self.histograms.values);
        let sample = |ts: i64, value: Value| Sample { ts: Timestamp::from_millis(ts), value, start: None };
        let mut out: Vec<Sample> = floats
            .map(|(&ts, &value)| sample(ts, Value::Float(value)))
            .chain(histograms.map(|(&ts, value)| sample(ts, Value::Histogram(value.clone()))))
            .collect();
        if !self.histograms.ts.is_empty() {
            out.sort_by_key(|sample| sample.ts);
        }
        out
    }
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
        let (floats, histograms) = (&self.series.floats, &self.series.histograms);
        self.floats = slide(&floats.ts, self.floats);
        let (low, high) = self.floats;
        self.histograms = slide(&histograms.ts, self.histograms);
        let (h_low, h_high) = self.histograms;
        let part = |starts: &'a [i64], low: usize, high: usize| -> &'a [i64] {
            if starts.is_empty() { &[] } else { &starts[low..high] }
        };
        Window {
            ts: &floats.ts[low..high],
            values: &floats.values[low..high],
            starts: part(&floats.starts, low, high),
            first: low,
            falls: &self.series.falls,
            histogram_ts: &histograms.ts[h_low..h_high],
            histograms: &histograms.values[h_low..h_high],
            histogram_starts: part(&histograms.starts, h_low, h_high),
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
