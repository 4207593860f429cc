//! Series as test files write them: `up{job="x"} 1 1x3 _ stale 0+10x5 {{schema:0 count:2 buckets:[1 1]}}`.
//!
//! The language of the acceptance tests and of rule unit tests. `axN` is `a` once and N times more; `a+bxN` adds
//! `b` each time; `_` leaves a point out.

use std::sync::Arc;

use tradewatch_tsdb::histogram::{CounterResetHint, Span as BucketSpan};
use tradewatch_tsdb::{Histogram, Labels, STALE_NAN, Value};

use crate::error::{ParseError, Span};
use crate::lexer::{Tok, lex, unquote};

/// How many points one series may have.
const POINTS_MAX: u64 = 1_000_000;

/// One point of a series.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its value; `None` where the point is left out.
    pub value: Option<Value>,
    /// The histogram says what is known about resets, so a comparison looks at that too.
    pub hint_set: bool,
}

/// Reads labels and points.
///
/// ```
/// let (labels, points) = tradewatch_promql::series::parse_series("up{job=\"x\"} 1 2+3x2").unwrap();
/// assert_eq!(labels.get("job"), Some("x"));
/// assert_eq!(points.len(), 4);
/// ```
///
/// # Errors
/// With the place, if the line is not a series.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<Point>), ParseError> {
    let (labels, end) = labels(line)?;
    let mut points = Points { line, at: end, out: Vec::new() };
    points.run()?;
    Ok((labels, points.out))
}

/// Reads the labels at the start of a line, and where they end.
fn labels(line: &str) -> Result<(Labels, usize), ParseError> {
    let tokens = lex(line);
    let text = |span: Span| &line[span.start as usize..span.end as usize];
    let error = |span: Span, message: &str| Err(ParseError::new(line, span, message));
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    let mut end = 0;
    let named = matches!(tokens[0].tok, Tok::Ident | Tok::MetricIdent | Tok::Keyword(_) | Tok::Number)
        && text(tokens[0].span).starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    if named {
        pairs.push(("__name__".into(), text(tokens[0].span).into()));
        end = tokens[0].span.end as usize;
        at = 1;
    }
    let braces_follow = line[end..].starts_with('{') && !line[end..].starts_with("{{");
    if !named && !braces_follow {
        return error(tokens[0].span, "expected a metric name or label set");
    }
    if braces_follow {
        at += 1;
        loop {
            if tokens[at].tok == Tok::RightBrace {
                break;
            }
            let name = match tokens[at].tok {
                Tok::Ident => text(tokens[at].span).to_string(),
                Tok::Str => unquote(text(tokens[at].span)),
                _ => return error(tokens[at].span, "expected a label name or \"}\""),
            };
            if tokens[at].tok == Tok::Str && tokens[at + 1].tok != Tok::Assign {
                pairs.push(("__name__".into(), name));
                at += 1;
            } else {
                if tokens[at + 1].tok != Tok::Assign {
                    return error(tokens[at + 1].span, "expected \"=\"");
                }
                if tokens[at + 2].tok != Tok::Str {
                    return error(tokens[at + 2].span, "expected a string");
                }
                pairs.push((name, unquote(text(tokens[at + 2].span))));
                at += 3;
            }
            match tokens[at].tok {
                Tok::Comma => at += 1,
                Tok::RightBrace => {}
                _ => return error(tokens[at].span, "expected \",\" or \"}\""),
            }
        }
        end = tokens[at].span.end as usize;
    }
    Ok((Labels::from_pairs(pairs), end))
}

struct Points<'a> {
    line: &'a str,
    at: usize,
    out: Vec<Point>,
}

impl Points<'_> {
    fn rest(&self) -> &str {
        &self.line[self.at..]
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let end = self.rest().find(char::is_whitespace).map_or(self.line.len(), |len| self.at + len);
        Err(ParseError::new(self.line, Span::new(self.at, end), message))
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn run(&mut self) -> Result<(), ParseError> {
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.at += blank;
            if self.rest().is_empty() {
                return Ok(());
            }
            if blank == 0 {
                return self.error("expected a space before the next value");
            }
            if self.rest().starts_with("{{") {
                self.histograms()?;
            } else if self.accept("_") {
                let times = if self.accept("x") { self.count()? } else { 1 };
                self.push(times, Point { value: None, hint_set: false })?;
            } else if self.accept("stale") {
                self.push(1, Point { value: Some(Value::Float(STALE_NAN)), hint_set: false })?;
            } else {
                self.floats()?;
            }
        }
    }

    fn push(&mut self, times: u64, point: Point) -> Result<(), ParseError> {
        if times > POINTS_MAX || self.out.len() as u64 + times > POINTS_MAX {
            return self.error(format!("more than {POINTS_MAX} points in one series"));
        }
        self.out.extend(std::iter::repeat_n(point, times as usize));
        Ok(())
    }

    fn count(&mut self) -> Result<u64, ParseError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        match self.rest()[..digits].parse::<u64>() {
            Ok(count) if count <= POINTS_MAX => {
                self.at += digits;
                Ok(count)
            }
            _ => self.error("invalid repetition in series values"),
        }
    }

    fn floats(&mut self) -> Result<(), ParseError> {
        let mut value = self.number()?;
        let sign = self.rest().starts_with(['+', '-']);
        let step = if sign { self.number()? } else { 0.0 };
        let mut times = 0;
        if self.accept("x") {
            times = self.count()?;
        } else if sign {
            return self.error("expected \"x\" and a count behind the step");
        }
        for _ in 0..=times {
            self.push(1, Point { value: Some(Value::Float(value)), hint_set: false })?;
            value += step;
        }
        Ok(())
    }

    /// A number with an optional sign.
    fn number(&mut self) -> Result<f64, ParseError> {
        let bytes = self.rest().as_bytes();
        let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let mut len = usize::from(matches!(get(0), b'+' | b'-'));
        let word = get(len).to_ascii_lowercase();
        if word == b'i' || word == b'n' {
            len += 3;
        } else {
            while get(len).is_ascii_digit() || get(len) == b'.' {
                len += 1;
                if matches!(get(len), b'e' | b'E') {
                    len += 1;
                    len += usize::from(matches!(get(len), b'+' | b'-'));
                }
            }
        }
        match self.rest().get(..len).map(str::parse::<f64>) {
            Some(Ok(number)) => {
                self.at += len;
                Ok(number)
            }
            _ => self.error("expected a number, \"stale\", \"_\" or a histogram"),
        }
    }

    fn histograms(&mut self) -> Result<(), ParseError> {
        let (mut value, mut hint_set) = self.histogram()?;
        let sign = self.rest().bytes().next().filter(|b| matches!(b, b'+' | b'-'));
        let mut step = None;
        if sign.is_some() {
            self.at += 1;
            let (by, set) = self.histogram()?;
            step = Some(by);
            hint_set = set;
        }
        let times = if self.accept("x") { self.count()? } else { 0 };
        for at in 0..=times {
            if let Some(step) = step.as_ref().filter(|_| at > 0) {
                let combined = if sign == Some(b'-') { value.sub(step) } else { value.add(step) };
                if combined.is_err() {
                    return self.error("cannot combine exponential and custom buckets");
                }
            }
            let point = Point { value: Some(Value::Histogram(Arc::new(value.clone()))), hint_set };
            self.push(1, point)?;
        }
        Ok(())
    }

    /// `{{key:value …}}`, and whether it holds a hint about resets.
    fn histogram(&mut self) -> Result<(Histogram, bool), ParseError> {
        if !self.accept("{{") {
            return self.error("expected a histogram");
        }
        let Some(len) = self.rest().find("}}") else {
            return self.error("histogram description is not closed by }}");
        };
        let body = self.rest()[..len].to_string();
        let mut h = Histogram::default();
        let mut hint_set = false;
        let (mut offset, mut negative_offset) = (0, 0);
        let mut rest = body.trim();
        while !rest.is_empty() {
            let Some((key, value)) = rest.split_once(':') else {
                return self.error(format!("missing `:` in histogram description at {rest:?}"));
            };
            let end = match value.starts_with('[') {
                true => value.find(']').map(|end| end + 1),
                false => Some(value.find(' ').unwrap_or(value.len())),
            };
            let Some(end) = end else { return self.error("bucket list is not closed by ]") };
            let (value, after) = value.split_at(end);
            rest = after.trim_start();
            let number = value.parse::<f64>();
            let list = || -> Option<Vec<f64>> {
                let inner = value.strip_prefix('[')?.strip_suffix(']')?;
                inner.split_whitespace().map(|n| n.parse().ok()).collect()
            };
            let understood = match (key, number) {
                ("schema", Ok(n)) => {
                    h.schema = n as i32;
                    true
                }
                ("sum", Ok(n)) => {
                    h.sum = n;
                    true
                }
                ("count", Ok(n)) => {
                    h.count = n;
                    true
                }
                ("z_bucket", Ok(n)) => {
                    h.zero_count = n;
                    true
                }
                ("z_bucket_w", Ok(n)) => {
                    h.zero_threshold = n;
                    true
                }
                ("offset", Ok(n)) => {
                    offset = n as i32;
                    true
                }
                ("n_offset", Ok(n)) => {
                    negative_offset = n as i32;
                    true
                }
                ("custom_values", _) => list().map(|l| h.custom_values = l).is_some(),
                ("buckets", _) => list().map(|l| h.positive_buckets = l).is_some(),
                ("n_buckets", _) => list().map(|l| h.negative_buckets = l).is_some(),
                ("counter_reset_hint", _) => {
                    hint_set = true;
                    hint(value).map(|found| h.counter_reset_hint = found).is_some()
                }
                _ => false,
            };
            if !understood {
                return self.error(format!("bad histogram description: {key}:{value}"));
            }
        }
        let spans = |offset: i32, buckets: &[f64]| match buckets.len() {
            0 => Vec::new(),
            length => vec![BucketSpan { offset, length: length as u32 }],
        };
        h.positive_spans = spans(offset, &h.positive_buckets);
        h.negative_spans = spans(negative_offset, &h.negative_buckets);
        self.at += len + 2;
        Ok((h, hint_set))
    }
}

fn hint(word: &str) -> Option<CounterResetHint> {
    Some(match word {
        "unknown" => CounterResetHint::Unknown,
        "reset" => CounterResetHint::Reset,
        "not_reset" => CounterResetHint::NotReset,
        "gauge" => CounterResetHint::Gauge,
        _ => return None,
    })
}

/// Writes a histogram as [`parse_series`] reads it.
pub fn format_histogram(h: &Histogram) -> String {
    let mut h = h.clone();
    h.compact();
    let mut parts = Vec::new();
    let g = crate::number::format_g;
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (name, value) in
        [("count", h.count), ("sum", h.sum), ("z_bucket", h.zero_count), ("z_bucket_w", h.zero_threshold)]
    {
        if value != 0.0 {
            parts.push(format!("{name}:{}", g(value)));
        }
    }
    let list = |values: &[f64]| values.iter().map(|&v| g(v)).collect::<Vec<_>>().join(" ");
    if !h.custom_values.is_empty() {
        parts.push(format!("custom_values:[{}]", list(&h.custom_values)));
    }
    match h.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::Reset => parts.push("counter_reset_hint:reset".into()),
        CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".into()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".into()),
    }
    for (offset, name, spans, buckets) in [
        ("offset", "buckets", &h.positive_spans, &h.positive_buckets),
        ("n_offset", "n_buckets", &h.negative_spans, &h.negative_buckets),
    ] {
        // Gaps between spans are written as empty buckets.
        let mut dense = Vec::new();
        let mut counts = buckets.iter();
        for (at, span) in spans.iter().enumerate() {
            match at {
                0 if span.offset != 0 => parts.push(format!("{offset}:{}", span.offset)),
                0 => {}
                _ => dense.extend(std::iter::repeat_n(0.0, span.offset.max(0) as usize)),
            }
            dense.extend(counts.by_ref().take(span.length as usize));
        }
        if !dense.is_empty() {
            parts.push(format!("{name}:[{}]", list(&dense)));
        }
    }
    format!("{{{{{}}}}}", parts.join(" "))
}
