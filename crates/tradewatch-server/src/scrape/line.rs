//! One line of an exposition at a time, as a scrape needs it.
//!
//! A scrape sees the same series again and again. So the reader splits a line into the bytes that name
//! the series and its value, and parses the name only when [`super::Ingest`] has not met those bytes
//! before. It takes what Prometheus takes; the strict parsers are in `tradewatch-metrics`.

use std::fmt;

use super::fingerprint::Fingerprint;

/// Longest line; a longer one fails the scrape.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Which text format a body is in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: time stamps in milliseconds.
    Text,
    /// OpenMetrics 1.0: time stamps in seconds, ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// The format that a `Content-Type` names; anything unknown is read as text.
    pub fn of_content_type(content_type: &str) -> Format {
        if content_type.trim_start().to_ascii_lowercase().starts_with("application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// What is wrong with a body, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Line, counted from 1.
    pub line: usize,
    /// Byte in the line, counted from 1.
    pub column: usize,
    /// What was met.
    pub message: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// A sample: the bytes that name the series, its value, its own time stamp in milliseconds.
    Sample {
        /// Name and label set as written.
        series: &'a [u8],
        /// The value.
        value: f64,
        /// Milliseconds since the Unix epoch, if the target gave a time.
        ts: Option<i64>,
        /// What stands behind `#`, to be read by [`Lines::parse_exemplar`].
        exemplar: Option<&'a [u8]>,
    },
    /// `# TYPE`, `# HELP` or `# UNIT`: the whole line, to be read by [`Descriptor::parse`] when it is new.
    Descriptor(&'a [u8]),
}

/// Walks over the lines of a body.
pub struct Lines<'a> {
    rest: &'a [u8],
    format: Format,
    /// The line that was returned last, counted from 1.
    pub number: usize,
    ended: bool,
}

impl<'a> Lines<'a> {
    /// Reads `body` from its beginning.
    pub fn new(body: &'a [u8], format: Format) -> Lines<'a> {
        Lines { rest: body, format, number: 0, ended: false }
    }

    fn error(&self, column: usize, message: impl Into<String>) -> LineError {
        LineError { line: self.number, column: column + 1, message: message.into() }
    }

    /// The next line that says something, `None` at the end.
    ///
    /// # Errors
    /// Line, column and what was met; the rest of the body cannot be trusted then.
    pub fn next_line(&mut self) -> Result<Option<Line<'a>>, LineError> {
        loop {
            if self.rest.is_empty() {
                if self.format == Format::OpenMetrics && !self.ended {
                    self.number += 1;
                    return Err(self.error(0, "the body ends without # EOF, so it may be cut off"));
                }
                return Ok(None);
            }
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let line = &self.rest[..end];
            self.rest = &self.rest[(end + 1).min(self.rest.len())..];
            self.number += 1;
            if self.ended {
                return Err(self.error(0, "text after # EOF"));
            }
            if line.len() > LINE_BYTES_MAX {
                return Err(self.error(0, format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let start = blanks(line, 0);
            match line.get(start) {
                None => continue,
                Some(b'#') => {
                    if line == b"# EOF" && self.format == Format::OpenMetrics {
                        self.ended = true;
                    } else if is_descriptor(&line[start..]) {
                        return Ok(Some(Line::Descriptor(&line[start..])));
                    }
                }
                Some(_) => return self.sample(line, start).map(Some),
            }
        }
    }

    /// The value in the next line, if that is this series, one blank and a plain decimal: most lines, at the cost of
    /// looking at each byte once. Everything else is left to [`Lines::next_line`].
    #[inline]
    pub fn next_known(&mut self, series: &Fingerprint) -> Option<f64> {
        let len = series.len as usize;
        if self.rest.get(len) != Some(&b' ') || self.ended || Fingerprint::of(&self.rest[..len]) != *series {
            return None;
        }
        let (value, digits) = plain_decimal(&self.rest[len + 1..])?;
        let end = len + 1 + digits;
        match self.rest.get(end) {
            Some(b'\n') => self.rest = &self.rest[end + 1..],
            None => self.rest = &[],
            Some(_) => return None,
        }
        self.number += 1;
        Some(value)
    }

    fn sample(&self, line: &'a [u8], start: usize) -> Result<Line<'a>, LineError> {
        if !matches!(line[start], b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | b'{') {
            return Err(self.error(start, format!("{} where a metric name belongs", quote(&line[start..]))));
        }
        let end = self.series_end(line, start)?;
        let from = blanks(line, end);
        let to = token_end(line, from);
        let text = std::str::from_utf8(&line[from..to]).unwrap_or("");
        let value = parse_value(text).ok_or_else(|| match &line[from..to] {
            b"" => self.error(from, "a value is missing"),
            met => self.error(from, format!("{} is not a value", quote(met))),
        })?;
        let from = blanks(line, to);
        let to = token_end(line, from);
        let ts = match &line[from..to] {
            b"" => None,
            [b'#', ..] if self.format == Format::OpenMetrics => None,
            met => Some(
                self.timestamp(met)
                    .ok_or_else(|| self.error(from, format!("{} is not a time stamp", quote(met))))?,
            ),
        };
        // What follows in OpenMetrics is an exemplar; in text nothing may follow.
        let rest = blanks(line, if ts.is_some() { to } else { from });
        if self.format == Format::Text && rest < line.len() {
            return Err(self.error(rest, format!("{} after the time stamp", quote(&line[rest..]))));
        }
        let exemplar = match line.get(rest) {
            Some(b'#') => Some(&line[rest + 1..]),
            _ => None,
        };
        Ok(Line::Sample { series: &line[start..end], value, ts, exemplar })
    }

    /// The labels, the value and the time in milliseconds of an exemplar; `None` if it is not one.
    pub fn parse_exemplar(&self, text: &[u8]) -> Option<(Vec<(String, String)>, f64, Option<i64>)> {
        let text = &text[blanks(text, 0)..];
        let end = self.series_end(text, 0).ok().filter(|_| text.first() == Some(&b'{'))?;
        // Labels are parsed behind a name.
        let named = [b"exemplar", &text[..end]].concat();
        let mut labels = self.parse_series(&named).ok()?;
        labels.remove(0);
        let from = blanks(text, end);
        let to = token_end(text, from);
        let value = parse_value(std::str::from_utf8(&text[from..to]).ok()?)?;
        let from = blanks(text, to);
        let to = token_end(text, from);
        let ts = if from == to { None } else { Some(self.timestamp(&text[from..to])?) };
        (blanks(text, to) == text.len()).then_some((labels, value, ts))
    }

    fn timestamp(&self, met: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(met).ok()?;
        match self.format {
            Format::Text => text.parse().ok(),
            Format::OpenMetrics => {
                let seconds: f64 = text.parse().ok()?;
                let millis = (seconds * 1000.0).round();
                (millis.is_finite() && millis.abs() < 9.0e15).then_some(millis as i64)
            }
        }
    }

    /// Where the bytes that name the series end.
    fn series_end(&self, line: &[u8], start: usize) -> Result<usize, LineError> {
        let mut at = start;
        while at < line.len() && !matches!(line[at], b'{' | b' ' | b'\t') {
            at += 1;
        }
        // Blanks may stand between a name and its label set.
        let open = blanks(line, at);
        if line.get(open) != Some(&b'{') {
            return Ok(at);
        }
        at = open + 1;
        loop {
            match memchr::memchr2(b'"', b'}', &line[at..]) {
                None => return Err(self.error(open, "the label set is not closed")),
                Some(found) if line[at + found] == b'}' => return Ok(at + found + 1),
                Some(found) => {
                    let quote_at = at + found;
                    at = quote_at + 1;
                    loop {
                        match memchr::memchr2(b'"', b'\\', &line[at..]) {
                            None => return Err(self.error(quote_at, "the quoted text is not closed")),
                            Some(found) if line[at + found] == b'"' => {
                                at += found + 1;
                                break;
                            }
                            Some(found) => at = (at + found + 2).min(line.len()),
                        }
                    }
                }
            }
        }
    }

    /// Parses the bytes that name a series, as [`Lines::next_line`] returned them for the current line.
    ///
    /// # Errors
    /// As [`Lines::next_line`]; columns count from the start of the series.
    pub fn parse_series(&self, series: &[u8]) -> Result<Vec<(String, String)>, LineError> {
        SeriesParser { line: self, text: series, at: 0 }.parse()
    }
}

struct SeriesParser<'a, 'b> {
    line: &'a Lines<'b>,
    text: &'a [u8],
    at: usize,
}

impl SeriesParser<'_, '_> {
    fn error(&self, message: impl Into<String>) -> LineError {
        self.line.error(self.at, message)
    }

    fn parse(mut self) -> Result<Vec<(String, String)>, LineError> {
        let mut labels = Vec::with_capacity(8);
        let name = self.word(true);
        if !name.is_empty() {
            labels.push(("__name__".to_owned(), name));
        }
        self.at = blanks(self.text, self.at);
        if self.at == self.text.len() {
            if labels.is_empty() {
                return Err(self.error("a metric name is missing"));
            }
            return Ok(labels);
        }
        if self.text[self.at] != b'{' {
            return Err(self.error(format!("{} in a metric name", quote(&self.text[self.at..]))));
        }
        self.at += 1;
        loop {
            self.at = blanks(self.text, self.at);
            match self.text.get(self.at) {
                Some(b'}') => break,
                Some(b'"') => {
                    let name = self.quoted()?;
                    self.at = blanks(self.text, self.at);
                    if self.text.get(self.at) == Some(&b'=') {
                        self.value(name, &mut labels)?;
                    } else if labels.iter().any(|(known, _)| known == "__name__") {
                        return Err(self.error("a second metric name"));
                    } else {
                        labels.push(("__name__".to_owned(), name));
                    }
                }
                Some(_) => {
                    let name = self.word(false);
                    if name.is_empty() {
                        return Err(self
                            .error(format!("{} where a label name belongs", quote(&self.text[self.at..]))));
                    }
                    self.at = blanks(self.text, self.at);
                    self.value(name, &mut labels)?;
                }
                None => return Err(self.error("the label set is not closed")),
            }
            self.at = blanks(self.text, self.at);
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.error("a comma or } is missing after the label")),
            }
        }
        if !labels.iter().any(|(name, _)| name == "__name__") {
            return Err(self.error("a metric name is missing"));
        }
        Ok(labels)
    }

    fn word(&mut self, colons: bool) -> String {
        let from = self.at;
        while let Some(byte) = self.text.get(self.at) {
            let fits = byte.is_ascii_alphabetic()
                || *byte == b'_'
                || (colons && *byte == b':')
                || (self.at > from && byte.is_ascii_digit());
            if !fits {
                break;
            }
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn value(&mut self, name: String, labels: &mut Vec<(String, String)>) -> Result<(), LineError> {
        if self.text.get(self.at) != Some(&b'=') {
            return Err(self.error(format!("= is missing after label {name:?}")));
        }
        self.at = blanks(self.text, self.at + 1);
        if self.text.get(self.at) != Some(&b'"') {
            return Err(self.error(format!("the value of label {name:?} is not quoted")));
        }
        let value = self.quoted()?;
        if labels.iter().any(|(known, _)| *known == name) {
            return Err(self.error(format!("label {name:?} stands there twice")));
        }
        labels.push((name, value));
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, LineError> {
        let from = self.at;
        let mut out = Vec::new();
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                None => return Err(self.error("the quoted text is not closed")),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.text.get(self.at) {
                        Some(b'n') => out.push(b'\n'),
                        Some(b'\\') => out.push(b'\\'),
                        Some(b'"') => out.push(b'"'),
                        // As in Prometheus, an unknown escape stands for itself.
                        Some(other) => out.extend([b'\\', *other]),
                        None => return Err(self.error("the quoted text is not closed")),
                    }
                }
                Some(byte) => out.push(*byte),
            }
            self.at += 1;
        }
        self.at += 1;
        String::from_utf8(out).map_err(|_| LineError {
            line: self.line.number,
            column: from + 1,
            message: "the quoted text is not UTF-8".into(),
        })
    }
}

/// What `# TYPE`, `# HELP` and `# UNIT` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// The kind of a family.
    Type(String, String),
    /// Its help, unescaped.
    Help(String, String),
    /// Its unit.
    Unit(String, String),
}

impl Descriptor {
    /// Reads a [`Line::Descriptor`]; `None` if it is only a comment after all.
    pub fn parse(line: &[u8]) -> Option<Descriptor> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix('#')?.trim_start();
        let (word, rest) = text.split_once([' ', '\t'])?;
        let rest = rest.trim_start();
        let (family, value) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            (&quoted[..end], quoted[end + 1..].trim_start())
        } else {
            rest.split_once([' ', '\t']).unwrap_or((rest, ""))
        };
        let family = family.to_owned();
        match word {
            "TYPE" => Some(Descriptor::Type(family, value.trim().to_owned())),
            "UNIT" => Some(Descriptor::Unit(family, value.trim().to_owned())),
            "HELP" => Some(Descriptor::Help(family, unescape_help(value))),
            _ => None,
        }
    }
}

fn unescape_help(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('\\')) => out.push('\\'),
            ('\\', Some('"')) => out.push('"'),
            _ => {
                out.push(c);
                continue;
            }
        }
        chars.next();
    }
    out
}

fn is_descriptor(line: &[u8]) -> bool {
    let after = &line[blanks(line, 1)..];
    after.starts_with(b"TYPE ") || after.starts_with(b"HELP ") || after.starts_with(b"UNIT ")
}

fn blanks(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

fn token_end(line: &[u8], mut at: usize) -> usize {
    while at < line.len() && !matches!(line[at], b' ' | b'\t') {
        at += 1;
    }
    at
}

/// A decimal whose value needs no rounding but one, and the number of its bytes; `None` for all others.
#[inline]
fn plain_decimal(text: &[u8]) -> Option<(f64, usize)> {
    /// Powers of ten that a float holds exactly.
    const POWERS: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
        1e18,
    ];
    /// More digits may be more than 64 bits.
    const DIGITS_MAX: usize = 18;
    let is_negative = text.first() == Some(&b'-');
    let from = usize::from(is_negative);
    let (mut mantissa, mut at, mut point) = (0u64, from, None);
    while let Some(byte) = text.get(at) {
        match byte {
            b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            b'.' if point.is_none() => point = Some(at),
            _ => break,
        }
        at += 1;
        if at - from > DIGITS_MAX + 1 {
            return None;
        }
    }
    let digits = at - from - usize::from(point.is_some());
    if digits == 0 || digits > DIGITS_MAX || mantissa > 1 << 53 {
        return None;
    }
    let decimals = point.map_or(0, |point| at - point - 1);
    // Both are exact, so that the quotient is the float nearest to the decimal.
    let value = mantissa as f64 / POWERS[decimals];
    Some((if is_negative { -value } else { value }, at))
}

/// A value as Go reads it, without its underscores and hexadecimal forms.
fn parse_value(text: &str) -> Option<f64> {
    match text.as_bytes().first()? {
        b'0'..=b'9' | b'+' | b'-' | b'.' | b'N' | b'n' | b'I' | b'i' => text.parse().ok(),
        _ => None,
    }
}

/// A few of the bytes that were met, fit for one line of a message.
fn quote(met: &[u8]) -> String {
    const SHOWN_MAX: usize = 32;
    let shown = String::from_utf8_lossy(&met[..met.len().min(SHOWN_MAX)]);
    if met.len() > SHOWN_MAX { format!("{shown:?}…") } else { format!("{shown:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(format: Format, body: &[u8], expected: Expect) {
        let mut lines = Lines::new(body, format);
        let mut shown = String::new();
        loop {
            let line = match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => line,
                Err(error) => {
                    shown += &format!("error {error}\n");
                    break;
                }
            };
            shown += &match line {
                Line::Descriptor(text) => format!("{:?}\n", Descriptor::parse(text)),
                Line::Sample { series, value, ts, exemplar } => match lines.parse_series(series) {
                    Ok(labels) => {
                        let exemplar = exemplar.map(|text| format!(" # {:?}", lines.parse_exemplar(text)));
                        format!("{labels:?} {value} {ts:?}{}\n", exemplar.unwrap_or_default())
                    }
                    Err(error) => format!("error {error}\n"),
                },
            };
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn plain_decimals_are_what_the_standard_library_reads() {
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (digits, decimals) = ((seed >> 33) % 18, (seed >> 40) % 10);
            let number = (seed >> 7) % 10u64.pow(digits as u32 + 1);
            let text = match decimals {
                0 => format!("-{number}"),
                _ => format!("{}.{:0w$}", number / 1000, number % 1000, w = decimals as usize),
            };
            let Some((value, len)) = plain_decimal(format!("{text}\n").as_bytes()) else { continue };
            assert_eq!(len, text.len());
            assert_eq!(value.to_bits(), text.parse::<f64>().expect("a number").to_bits(), "{text}");
        }
        for odd in ["", ".", "-", "-.", "1e3", "NaN", "+1", "99999999999999999999", "1.2.3"] {
            let read = plain_decimal(odd.as_bytes());
            assert!(read.is_none_or(|(_, len)| len < odd.len()), "{odd}: {read:?}");
        }
    }

    #[test]
    fn a_known_line_is_read_without_its_labels() {
        let known = |line: &str, name: &str| {
            let mut lines = Lines::new(line.as_bytes(), Format::Text);
            let value = lines.next_known(&Fingerprint::of(name.as_bytes()));
            (value, lines.number, lines.next_line().is_ok())
        };
        assert_eq!(known("a{b=\"c\"} -1.50\n", "a{b=\"c\"}"), (Some(-1.5), 1, true));
        assert_eq!(known("a 7", "a"), (Some(7.0), 1, true));
        // Something else behind the name, or another name.
        for line in ["a {b=\"c\"} 1", "a 7 1000", "a  7", "a 1e3", "a +Inf", "a\t1", "b 1", " a 1", "aa 1"] {
            assert_eq!(known(line, "a"), (None, 0, true), "{line}");
        }
    }

    #[test]
    fn text_is_read() {
        check(
            Format::Text,
            b"# HELP a_total Said \\\\ and \\n done.\n# TYPE a_total counter\n# just a comment\n\na_total 3\na_total{b=\"x\\\"y\\\\\\n}\" , c = \"\"} +Inf 123\n  a:b\t-1.5e3  -7\r\n{\"utf.8\",\"l.x\"=\"v\",} NaN\nlast 1",
            expect![[r#"
                Some(Help("a_total", "Said \\ and \n done."))
                Some(Type("a_total", "counter"))
                [("__name__", "a_total")] 3 None
                [("__name__", "a_total"), ("b", "x\"y\\\n}"), ("c", "")] inf Some(123)
                [("__name__", "a:b")] -1500 Some(-7)
                [("__name__", "utf.8"), ("l.x", "v")] NaN None
                [("__name__", "last")] 1 None
            "#]],
        );
    }

    #[test]
    fn open_metrics_is_read() {
        check(
            Format::OpenMetrics,
            b"# UNIT a_seconds seconds\na_seconds_bucket{le=\"1.0\"} 3 1.5 # {trace_id=\"x\"} 0.5 1.2\na_seconds_count 3 # {t=\"x\"} 1\nb 3 # x\n# EOF\n",
            expect![[r#"
                Some(Unit("a_seconds", "seconds"))
                [("__name__", "a_seconds_bucket"), ("le", "1.0")] 3 Some(1500) # Some(([("trace_id", "x")], 0.5, Some(1200)))
                [("__name__", "a_seconds_count")] 3 None # Some(([("t", "x")], 1.0, None))
                [("__name__", "b")] 3 None # None
            "#]],
        );
        check(
            Format::OpenMetrics,
            b"a 1\n",
            expect![[r#"
            [("__name__", "a")] 1 None
            error line 2, column 1: the body ends without # EOF, so it may be cut off
        "#]],
        );
        check(
            Format::OpenMetrics,
            b"a 1\n# EOF\nb 2\n",
            expect![[r#"
            [("__name__", "a")] 1 None
            error line 3, column 1: text after # EOF
        "#]],
        );
    }

    #[test]
    fn rubbish_is_named_with_its_place() {
        check(
            Format::Text,
            b"<html>\n",
            expect![[r#"
                error line 1, column 1: "<html>" where a metric name belongs
            "#]],
        );
        check(
            Format::Text,
            b"ok 1\na{b=\"c\n",
            expect![[r#"
            [("__name__", "ok")] 1 None
            error line 2, column 5: the quoted text is not closed
        "#]],
        );
        check(
            Format::Text,
            b"a{b=\"c\" 1\n",
            expect![[r#"
            error line 1, column 2: the label set is not closed
        "#]],
        );
        check(
            Format::Text,
            b"a one\n",
            expect![[r#"
            error line 1, column 3: "one" is not a value
        "#]],
        );
        check(
            Format::Text,
            b"a\n",
            expect![[r#"
            error line 1, column 2: a value is missing
        "#]],
        );
        check(
            Format::Text,
            b"a 1 2 3\n",
            expect![[r#"
            error line 1, column 7: "3" after the time stamp
        "#]],
        );
        check(
            Format::Text,
            b"a 1 soon\n",
            expect![[r#"
            error line 1, column 5: "soon" is not a time stamp
        "#]],
        );
        check(
            Format::Text,
            b"a{b=c} 1\n",
            expect![[r#"
            error line 1, column 5: the value of label "b" is not quoted
        "#]],
        );
        check(
            Format::Text,
            b"a{b=\"1\",b=\"2\"} 1\n",
            expect![[r#"
            error line 1, column 14: label "b" stands there twice
        "#]],
        );
        check(
            Format::Text,
            b"a{b=\"1\"c=\"2\"} 1\n",
            expect![[r#"
            error line 1, column 8: a comma or } is missing after the label
        "#]],
        );
        check(
            Format::Text,
            b"{b=\"1\"} 1\n",
            expect![[r#"
            error line 1, column 7: a metric name is missing
        "#]],
        );
        check(
            Format::Text,
            b"a{b=\"\xff\"} 1\n",
            expect![[r#"
            error line 1, column 5: the quoted text is not UTF-8
        "#]],
        );
        check(
            Format::Text,
            b"a-b 1\n",
            expect![[r#"
            error line 1, column 2: "-b" in a metric name
        "#]],
        );
        check(
            Format::Text,
            b"a{b=\"c\\",
            expect![[r#"
            error line 1, column 5: the quoted text is not closed
        "#]],
        );
    }
}
