//! Remarks on a query's data: warnings and infos, each with the place in the query that it is about.

use std::collections::BTreeMap;

use tradewatch_tsdb::Timestamp;

use crate::error::{Span, line_column};
use crate::number::{format_g, format_g_digits};
use crate::print::quote;

/// How grave a remark is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    Warning,
    Info,
}

/// All remarks of one evaluation. Remarks with the same text are one; the last place wins.
#[derive(Clone, Default, Debug)]
pub(crate) struct Annotations {
    notes: BTreeMap<(Level, String), Note>,
}

#[derive(Clone, Debug)]
struct Note {
    span: Span,
    monotonicity: Option<Monotonicity>,
}

/// How far the buckets of classic histograms had to be corrected.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Monotonicity {
    pub from_ms: i64,
    pub to_ms: i64,
    pub min_bucket: f64,
    pub max_bucket: f64,
    pub max_diff: f64,
    pub count: usize,
}

impl Monotonicity {
    fn merge(self, other: Monotonicity) -> Monotonicity {
        Monotonicity {
            from_ms: self.from_ms.min(other.from_ms),
            to_ms: self.to_ms.max(other.to_ms),
            min_bucket: self.min_bucket.min(other.min_bucket),
            max_bucket: self.max_bucket.max(other.max_bucket),
            max_diff: self.max_diff.max(other.max_diff),
            count: self.count + other.count,
        }
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", quote(name)) }
}

impl Annotations {
    pub fn warn(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Warning, span, text.into());
    }

    pub fn info(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Info, span, text.into());
    }

    fn add(&mut self, level: Level, span: Span, text: String) {
        self.notes.insert((level, text), Note { span, monotonicity: None });
    }

    pub fn monotonicity(&mut self, span: Span, name: &str, found: Monotonicity) {
        let text = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(name)
        );
        let note = self.notes.entry((Level::Info, text)).or_insert(Note { span, monotonicity: None });
        note.span = span;
        note.monotonicity = Some(note.monotonicity.map_or(found, |before| before.merge(found)));
    }

    pub fn invalid_quantile(&mut self, span: Span, q: f64) {
        self.warn(span, format!("quantile value should be between 0 and 1, got {}", format_g(q)));
    }

    pub fn invalid_ratio(&mut self, span: Span, ratio: f64, cap: f64) {
        let (ratio, cap) = (format_g(ratio), format_g(cap));
        self.warn(span, format!("ratio value should be between -1 and 1, got {ratio}, capping to {cap}"));
    }

    pub fn bad_bucket_label(&mut self, span: Span, name: &str, label: &str) {
        let (label, name) = (quote(label), for_metric(name));
        self.warn(span, format!("bucket label \"le\" is missing or has a malformed value of {label}{name}"));
    }

    pub fn mixed_floats_histograms(&mut self, span: Span, name: &str) {
        let name = quote(name);
        self.warn(span, format!("encountered a mix of histograms and floats for metric name {name}"));
    }

    pub fn mixed_floats_histograms_aggregation(&mut self, span: Span) {
        self.warn(span, "encountered a mix of histograms and floats for aggregation");
    }

    pub fn mixed_classic_native(&mut self, span: Span, name: &str) {
        let name = for_metric(name);
        self.warn(span, format!("vector contains a mix of classic and native histograms{name}"));
    }

    pub fn not_a_counter(&mut self, span: Span, name: &str) {
        self.warn(span, format!("this native histogram metric is not a counter: {}", quote(name)));
    }

    pub fn not_a_gauge(&mut self, span: Span, name: &str) {
        self.warn(span, format!("this native histogram metric is not a gauge: {}", quote(name)));
    }

    pub fn mixed_exponential_custom(&mut self, span: Span, name: &str) {
        let name = quote(name);
        let what = "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.warn(span, format!("{what} for metric name {name}"));
    }

    pub fn incompatible_bucket_layout(&mut self, span: Span, op: &str) {
        self.warn(span, format!("incompatible bucket layout encountered for binary operator {op}"));
    }

    pub fn sort_in_range_query(&mut self, span: Span) {
        self.warn(span, "sort is ineffective for range queries since results are always ordered by labels");
    }

    pub fn possible_non_counter(&mut self, span: Span, name: &str) {
        let what = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(span, format!("{what} {}", quote(name)));
    }

    pub fn incompatible_types(&mut self, span: Span, left: &str, op: &str, right: &str) {
        let quoted = quote(op);
        let what = "incompatible sample types encountered for binary operator";
        self.info(span, format!("{what} {quoted}: {left} {op} {right}"));
    }

    pub fn histogram_ignored_in_aggregation(&mut self, span: Span, op: &str) {
        self.info(span, format!("ignored histogram in {op} aggregation"));
    }

    pub fn histogram_ignored_in_range(&mut self, span: Span, name: &str) {
        let what = "ignored histograms in a range containing both floats and histograms";
        self.info(span, format!("{what} for metric name {}", quote(name)));
    }

    pub fn nan_result(&mut self, span: Span, name: &str) {
        let name = for_metric(name);
        self.info(span, format!("input to histogram_quantile has NaN observations, result is NaN{name}"));
    }

    pub fn nan_skew(&mut self, span: Span, name: &str) {
        let name = for_metric(name);
        let what = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(span, format!("{what}{name}"));
    }

    pub fn nan_fraction(&mut self, span: Span, name: &str) {
        let name = for_metric(name);
        let what = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(span, format!("{what}{name}"));
    }

    pub fn counter_reset_collision(&mut self, span: Span, operation: &str) {
        self.warn(span, format!("conflicting counter resets during histogram {operation}"));
    }

    pub fn mismatched_custom_buckets(&mut self, span: Span, operation: &str) {
        self.info(span, format!("mismatched custom buckets were reconciled during {operation}"));
    }

    pub fn start_time_overlap(&mut self, span: Span, name: &str) {
        let what = "sample has start time that overlaps with previous sample timestamp";
        self.warn(span, format!("{what} for metric {}", quote(name)));
    }

    /// Warnings and infos as text that ends with line and column.
    pub fn render(&self, query: Option<&str>) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for ((level, text), note) in &self.notes {
            let mut shown = match level {
                Level::Warning => format!("PromQL warning: {text}"),
                Level::Info => format!("PromQL info: {text}"),
            };
            if let Some(m) = &note.monotonicity {
                shown.push_str(&format!(
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    format_g(m.min_bucket),
                    format_g(m.max_bucket),
                    format_g_digits(m.max_diff, 2),
                    m.count,
                    rfc3339_seconds(m.from_ms),
                    rfc3339_seconds(m.to_ms)
                ));
            }
            if let Some(query) = query {
                let (line, column) = line_column(query, note.span.start as usize);
                shown.push_str(&format!(" ({line}:{column})"));
            }
            match level {
                Level::Warning => warnings.push(shown),
                Level::Info => infos.push(shown),
            }
        }
        (warnings, infos)
    }
}

fn rfc3339_seconds(ms: i64) -> String {
    let text = Timestamp::from_millis(ms / 1000 * 1000).to_string();
    text.replace(".000Z", "Z")
}
