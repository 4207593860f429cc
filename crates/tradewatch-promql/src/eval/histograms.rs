//! Functions of histograms, classic (one series per bucket) and native.

use std::collections::HashMap;

use tradewatch_tsdb::histogram::Bucket;
use tradewatch_tsdb::{Histogram, Labels};

use super::labels::text_of;
use super::{Buckets, Evaluator, Out, metric_name};
use crate::annotate::{Annotations, Monotonicity};
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::error::Span;
use crate::frame::{Cell, Frame, Grid};
use crate::number::{format_g, kahan_inc};

/// Relative differences between classic buckets below this are taken for rounding errors.
const BUCKET_TOLERANCE: f64 = 1e-12;

/// A classic histogram: its labels without `le`, and its buckets from low to high.
struct Classic {
    labels: Labels,
    drop_name: bool,
    buckets: Vec<(f64, usize)>,
}

/// The histograms of a vector.
struct Sorted {
    input: Frame,
    classic: Vec<Classic>,
    by_labels: HashMap<Labels, usize>,
    span: Span,
}

impl Evaluator<'_> {
    pub fn histogram_function(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let inside = match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => Buckets::Skip,
            "histogram_stdvar" | "histogram_stddev" => self.buckets,
            _ => Buckets::Needed,
        };
        self.with_buckets(inside, |evaluator| evaluator.histogram_function_inside(call, grid))
    }

    fn histogram_function_inside(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        match call.function.name {
            "histogram_count" => self.map_histograms(&call.args[0], grid, |h| h.count),
            "histogram_sum" => self.map_histograms(&call.args[0], grid, |h| h.sum),
            "histogram_avg" => self.map_histograms(&call.args[0], grid, |h| h.sum / h.count),
            "histogram_stdvar" => self.map_histograms(&call.args[0], grid, variance),
            "histogram_stddev" => self.map_histograms(&call.args[0], grid, |h| variance(h).sqrt()),
            "histogram_fraction" => self.histogram_fraction(call, grid),
            "histogram_quantile" => {
                let q = self.scalar(&call.args[0], grid)?;
                let mut quantiles = vec![(q, call.args[0].span, None)];
                self.histogram_quantiles(&call.args[1], &mut quantiles, grid)
            }
            _ => {
                let label = text_of(&call.args[1])?;
                let mut quantiles = Vec::new();
                for arg in &call.args[2..] {
                    quantiles.push((self.scalar(arg, grid)?, arg.span, Some(label)));
                }
                self.histogram_quantiles(&call.args[0], &mut quantiles, grid)
            }
        }
    }

    fn map_histograms(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        function: impl Fn(&Histogram) -> f64,
    ) -> Result<Out> {
        let mut frame = self.vector(arg, grid)?;
        for row in 0..frame.len() {
            for step in 0..grid.steps {
                match frame.cell(row, step) {
                    Cell::Empty => {}
                    Cell::Float(_) => frame.clear(row, step),
                    Cell::Histogram(histogram) => {
                        let value = function(histogram);
                        frame.set_float(row, step, value);
                    }
                }
            }
        }
        frame.drop_histograms();
        frame.drop_empty_rows();
        self.drop_names(&mut frame)?;
        Ok(Out::Vector(frame))
    }

    /// Tells classic from native histograms.
    fn sort_histograms(&mut self, arg: &Expr, grid: &Grid) -> Result<Sorted> {
        let input = self.vector(arg, grid)?;
        let span = arg.unparen().span;
        let mut sorted = Sorted { input, classic: Vec::new(), by_labels: HashMap::new(), span };
        for (row, about) in sorted.input.rows.iter().enumerate() {
            if !sorted.input.floats(row).iter().any(|&v| !crate::frame::is_absent(v)) {
                continue;
            }
            let label = about.labels.get("le").unwrap_or("");
            let Ok(bound) = label.parse::<f64>() else {
                let name = if self.options.delayed_name_removal { metric_name(&about.labels) } else { "" };
                self.annotations.bad_bucket_label(span, name, label);
                continue;
            };
            let labels = about.labels.without(&["le"]);
            let group = *sorted.by_labels.entry(labels.clone()).or_insert_with(|| {
                sorted.classic.push(Classic { labels, drop_name: true, buckets: Vec::new() });
                sorted.classic.len() - 1
            });
            sorted.classic[group].buckets.push((bound, row));
        }
        for classic in &mut sorted.classic {
            classic.buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        }
        Ok(sorted)
    }

    fn histogram_quantiles(
        &mut self,
        arg: &Expr,
        quantiles: &mut [(Vec<f64>, Span, Option<&str>)],
        grid: &Grid,
    ) -> Result<Out> {
        for (values, span, _) in quantiles.iter() {
            for &q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                self.annotations.invalid_quantile(*span, q);
            }
        }
        let sorted = self.sort_histograms(arg, grid)?;
        let delayed = self.options.delayed_name_removal;
        let mut rows: HashMap<Labels, usize> = HashMap::new();
        let mut out = Frame::new(grid.steps);
        let mut clash = false;
        self.each_histogram(&sorted, grid, |notes, step, labels, histogram| {
            for (values, _, label) in quantiles.iter() {
                let q = values[step];
                let value = match &histogram {
                    Either::Native(h) => native_quantile(q, h, metric_name(labels), sorted.span, notes),
                    Either::Classic(buckets) => {
                        let (value, fixed) = classic_quantile(q, &mut buckets.to_vec());
                        if let Some(fixed) = fixed {
                            let ts = grid.at(step);
                            let found = Monotonicity { from_ms: ts, to_ms: ts, ..fixed };
                            notes.monotonicity(
                                sorted.span,
                                if delayed { metric_name(labels) } else { "" },
                                found,
                            );
                        }
                        value
                    }
                };
                let labels = match label {
                    Some(label) => labels.with(label, &quantile_text(q)),
                    None => labels.clone(),
                };
                let row = *rows.entry(labels.clone()).or_insert_with(|| out.push(labels, true));
                clash |= out.is_present(row, step);
                out.set_float(row, step, value);
            }
        });
        if clash {
            return Err(EvalError::data("vector cannot contain metrics with the same labelset"));
        }
        self.drop_names(&mut out)?;
        Ok(Out::Vector(out))
    }

    fn histogram_fraction(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let lower = self.scalar(&call.args[0], grid)?;
        let upper = self.scalar(&call.args[1], grid)?;
        let sorted = self.sort_histograms(&call.args[2], grid)?;
        let mut rows: HashMap<Labels, usize> = HashMap::new();
        let mut out = Frame::new(grid.steps);
        self.each_histogram(&sorted, grid, |notes, step, labels, histogram| {
            let (lower, upper) = (lower[step], upper[step]);
            let value = match &histogram {
                Either::Native(h) => {
                    native_fraction(lower, upper, h, metric_name(labels), sorted.span, notes)
                }
                Either::Classic(buckets) => classic_fraction(lower, upper, &mut buckets.to_vec()),
            };
            let row = *rows.entry(labels.clone()).or_insert_with(|| out.push(labels.clone(), true));
            out.set_float(row, step, value);
        });
        self.drop_names(&mut out)?;
        Ok(Out::Vector(out))
    }

    /// Calls back for each histogram at each step, unless a native and a classic one share labels there.
    fn each_histogram(
        &mut self,
        sorted: &Sorted,
        grid: &Grid,
        mut each: impl FnMut(&mut Annotations, usize, &Labels, Either<'_>),
    ) {
        let delayed = self.options.delayed_name_removal;
        let notes = &mut self.annotations;
        let mut clashes = vec![false; sorted.classic.len() * grid.steps];
        if sorted.input.has_histograms() {
            for (row, about) in sorted.input.rows.iter().enumerate() {
                let group = sorted.by_labels.get(&about.labels).copied();
                for step in 0..grid.steps {
                    let Some(histogram) = sorted.input.histogram(row, step) else { continue };
                    let clash = group.filter(|&group| {
                        let buckets = &sorted.classic[group].buckets;
                        buckets.iter().any(|&(_, row)| matches!(sorted.input.cell(row, step), Cell::Float(_)))
                    });
                    if let Some(group) = clash {
                        clashes[group * grid.steps + step] = true;
                        let name = if delayed { metric_name(&about.labels) } else { "" };
                        notes.mixed_classic_native(sorted.span, name);
                        continue;
                    }
                    each(notes, step, &about.labels, Either::Native(histogram));
                }
            }
        }
        let mut buckets = Vec::new();
        for (group, classic) in sorted.classic.iter().enumerate() {
            debug_assert!(classic.drop_name);
            for step in 0..grid.steps {
                if clashes[group * grid.steps + step] {
                    continue;
                }
                buckets.clear();
                for &(bound, row) in &classic.buckets {
                    if let Cell::Float(count) = sorted.input.cell(row, step) {
                        buckets.push((bound, count));
                    }
                }
                if !buckets.is_empty() {
                    each(notes, step, &classic.labels, Either::Classic(&buckets));
                }
            }
        }
    }
}

/// A histogram of either kind.
enum Either<'a> {
    Native(&'a Histogram),
    /// Upper bounds and cumulative counts, ascending.
    Classic(&'a [(f64, f64)]),
}

/// The value of a `quantile` label: always recognisable as a float.
fn quantile_text(q: f64) -> String {
    let text = format_g(q);
    if q.is_finite() && !text.contains(['e', '.']) { text + ".0" } else { text }
}

fn variance(h: &Histogram) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut lost) = (0.0, 0.0);
    for bucket in h.all_buckets().iter().filter(|b| b.count != 0.0) {
        let value = if h.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = value - mean;
        (sum, lost) = kahan_inc(bucket.count * delta * delta, sum, lost);
    }
    (sum + lost) / h.count
}

/// Adds up buckets with the same bound.
fn coalesce(buckets: &mut Vec<(f64, f64)>) {
    buckets.dedup_by(|now, before| {
        let same = now.0 == before.0;
        if same {
            before.1 += now.1;
        }
        same
    });
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < BUCKET_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < BUCKET_TOLERANCE
}

/// Makes counts ascend; tells how far they had to be corrected beyond rounding errors.
fn force_monotonic(buckets: &mut [(f64, f64)]) -> Option<Monotonicity> {
    let mut fixed: Option<Monotonicity> = None;
    let mut before = buckets[0].1;
    for (bound, count) in &mut buckets[1..] {
        if *count == before {
            continue;
        }
        if almost_equal(before, *count) {
            *count = before;
        } else if *count < before {
            let lost = before - *count;
            *count = before;
            let found = fixed.get_or_insert(Monotonicity {
                from_ms: 0,
                to_ms: 0,
                min_bucket: *bound,
                max_bucket: *bound,
                max_diff: 0.0,
                count: 1,
            });
            found.min_bucket = found.min_bucket.min(*bound);
            found.max_bucket = found.max_bucket.max(*bound);
            found.max_diff = found.max_diff.max(lost);
        } else {
            before = *count;
        }
    }
    fixed
}

/// The quantile of a classic histogram, linear within its bucket.
fn classic_quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> (f64, Option<Monotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let fixed = force_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if buckets.len() < 2 || observations == 0.0 {
        return (f64::NAN, fixed);
    }
    let mut rank = q * observations;
    // A count or a rank that is not a number is never reached.
    let at = buckets[..last].partition_point(|bucket| {
        let reached = bucket.1 >= rank;
        !reached
    });
    let value = if at == last {
        buckets[last - 1].0
    } else if at == 0 && buckets[0].0 <= 0.0 {
        buckets[0].0
    } else {
        let (end, mut count) = buckets[at];
        let mut start = 0.0;
        if at > 0 {
            start = buckets[at - 1].0;
            count -= buckets[at - 1].1;
            rank -= buckets[at - 1].1;
        }
        start + (end - start) * (rank / count)
    };
    (value, fixed)
}

fn classic_fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below = 0.0;
    let (mut low, mut high) = (None, None);
    for &(end, cumulative) in buckets.iter() {
        let at = |value: f64| {
            if start == f64::NEG_INFINITY {
                cumulative
            } else {
                below + (cumulative - below) * (value - start) / (end - start)
            }
        };
        for (limit, rank) in [(lower, &mut low), (upper, &mut high)] {
            if rank.is_none() {
                if start >= limit {
                    *rank = Some(below);
                } else if end > limit {
                    *rank = Some(at(limit));
                }
            }
        }
        if low.is_some() && high.is_some() {
            break;
        }
        below = cumulative;
        start = end;
    }
    let cap = |rank: Option<f64>| rank.filter(|&rank| rank <= count).unwrap_or(count);
    (cap(high) - cap(low)) / count
}

/// The quantile of a native histogram: exponential within its bucket, linear for custom bounds and around zero.
fn native_quantile(q: f64, h: &Histogram, name: &str, span: Span, notes: &mut Annotations) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    // Observations that are not numbers are in no bucket, so ranks can be counted from below only.
    let forward = h.sum.is_nan() || q < 0.5;
    let mut buckets = h.all_buckets();
    if !forward {
        buckets.reverse();
    }
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    let mut count = 0.0;
    let mut found: Option<Bucket> = None;
    let mut rest = buckets.iter();
    for bucket in rest.by_ref() {
        found = Some(*bucket);
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    let mut bucket = found.unwrap_or(Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
        index: 0,
    });
    if h.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        natural_zero(h, &mut bucket);
    }
    count = count.min(h.count);
    if count < rank {
        if h.sum.is_nan() {
            notes.nan_result(span, name);
            return f64::NAN;
        }
        return bucket.upper;
    }
    rank = if forward { rank - (count - bucket.count) } else { count - rank };
    if h.sum.is_nan() {
        let total = count + rest.map(|b| b.count).sum::<f64>();
        if total < h.count {
            notes.nan_skew(span, name);
        }
    }
    let fraction = rank / bucket.count;
    if h.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (low + (high - low) * fraction).exp2()
    } else {
        -(high + (low - high) * (1.0 - fraction)).exp2()
    }
}

/// Zero bounds the zero bucket if there are buckets on one side of it only.
fn natural_zero(h: &Histogram, bucket: &mut Bucket) {
    match (h.negative_buckets.is_empty(), h.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

fn native_fraction(
    lower: f64,
    upper: f64,
    h: &Histogram,
    name: &str,
    span: Span,
    notes: &mut Annotations,
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let buckets = h.all_buckets();
    let mut below = 0.0;
    let (mut low, mut high) = (None, None);
    for &bucket in &buckets {
        let mut b = bucket;
        let zero = b.lower <= 0.0 && b.upper >= 0.0;
        if zero {
            natural_zero(h, &mut b);
        }
        let linear = h.uses_custom_buckets() || zero;
        let at = |value: f64| {
            if linear && b.lower == f64::NEG_INFINITY {
                b.count
            } else {
                below + b.count * b.fraction_below(value, linear)
            }
        };
        for (limit, rank) in [(lower, &mut low), (upper, &mut high)] {
            if rank.is_none() {
                if b.lower >= limit {
                    *rank = Some(below);
                } else if b.upper > limit {
                    *rank = Some(at(limit));
                }
            }
        }
        if low.is_some() && high.is_some() {
            break;
        }
        below += b.count;
    }
    let mut count = h.count;
    if h.sum.is_nan() {
        count = buckets.iter().map(|b| b.count).sum();
        if count < h.count {
            notes.nan_fraction(span, name);
        }
    }
    let cap = |rank: Option<f64>| rank.filter(|&rank| rank <= count).unwrap_or(count);
    (cap(high) - cap(low)) / h.count
}
