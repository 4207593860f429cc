//! Reading an exposition: text 0.0.4 as leniently as Prometheus' scraper, OpenMetrics 1.0 strictly, and
//! Prometheus protobuf ([`protobuf`]).
//!
//! The parser is pulled, entry by entry, and copies nothing but escaped text:
//!
//! ```
//! use tradewatch_metrics::parse::{self, Entry};
//!
//! let body = b"# TYPE orders_total counter\norders_total{side=\"buy\"} 3\n";
//! let mut parser = parse::text(body);
//! let mut seen = 0.0;
//! while let Some(entry) = parser.next() {
//!     if let Entry::Sample(sample) = entry? {
//!         assert_eq!((sample.name.as_ref(), sample.labels[0].1.as_ref()), ("orders_total", "buy"));
//!         seen += sample.value;
//!     }
//! }
//! assert_eq!(seen, 3.0);
//! # Ok::<(), parse::ParseError>(())
//! ```
//!
//! Names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*` are taken in quotes, as Prometheus 3 does:
//! `{"order.latency","venue.name"="XNAS"} 1`. After an error the parser ends: what follows a line that cannot
//! be read cannot be trusted.

use std::borrow::Cow;
use std::fmt;

mod lexer;
mod proto;
mod strict;

use lexer::Lexer;
use strict::Strict;

pub use proto::{
    BucketSpan, Families, Family, HistogramValue, Metric, NativeValue, ProtoExemplar, Value, protobuf,
};

/// What bounds a body that a stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line, in bytes.
    pub line_bytes_max: usize,
    /// The most labels of one sample or exemplar.
    pub labels_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { line_bytes_max: 64 * 1024, labels_max: 128 }
    }
}

/// The most code points that names and values of an exemplar's labels may have together, in OpenMetrics.
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// The kind of a family, as its TYPE line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FamilyKind {
    /// Not said, or said to be unknown (`untyped` in text 0.0.4).
    #[default]
    Unknown,
    /// `counter`.
    Counter,
    /// `gauge`.
    Gauge,
    /// `histogram`.
    Histogram,
    /// `gaugehistogram`; OpenMetrics only.
    GaugeHistogram,
    /// `summary`.
    Summary,
    /// `info`; OpenMetrics only.
    Info,
    /// `stateset`; OpenMetrics only.
    StateSet,
}

impl FamilyKind {
    /// The word of the TYPE line in OpenMetrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            FamilyKind::Unknown => "unknown",
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
            FamilyKind::GaugeHistogram => "gaugehistogram",
            FamilyKind::Summary => "summary",
            FamilyKind::Info => "info",
            FamilyKind::StateSet => "stateset",
        }
    }

    /// The suffixes of a family's samples in OpenMetrics.
    const fn suffixes(self) -> &'static [&'static str] {
        match self {
            FamilyKind::Unknown | FamilyKind::Gauge | FamilyKind::StateSet => &[""],
            FamilyKind::Counter => &["_total", "_created"],
            FamilyKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
            FamilyKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            FamilyKind::Summary => &["", "_sum", "_count", "_created"],
            FamilyKind::Info => &["_info"],
        }
    }
}

/// Name and value of a label; owned only if the text had escapes.
pub type LabelPair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One line that says something.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'p, 'a> {
    /// `# HELP`.
    Help {
        /// The family.
        family: Cow<'a, str>,
        /// The text, unescaped.
        help: Cow<'a, str>,
    },
    /// `# TYPE`.
    Type {
        /// The family.
        family: Cow<'a, str>,
        /// Its kind.
        kind: FamilyKind,
    },
    /// `# UNIT`; OpenMetrics only.
    Unit {
        /// The family.
        family: Cow<'a, str>,
        /// The unit; may be empty.
        unit: &'a str,
    },
    /// A sample.
    Sample(Sample<'p, 'a>),
}

/// One sample of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'p, 'a> {
    /// The series' name, suffix included.
    pub name: Cow<'a, str>,
    /// Its labels, in the order of the line.
    pub labels: &'p [LabelPair<'a>],
    /// Name and labels as written: equal bytes are the same series, so a scraper that keeps them parses a
    /// series once; see [`Parser::next_if_series`].
    pub series: &'a str,
    /// The kind of the family it belongs to.
    pub kind: FamilyKind,
    /// Whether it is the `_created` of its family: the value is when counting began, in Unix seconds.
    pub is_created: bool,
    /// The value. Any NaN is the one quiet NaN.
    pub value: f64,
    /// The explicit timestamp, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// The exemplar; OpenMetrics only.
    pub exemplar: Option<Exemplar<'p, 'a>>,
}

/// What follows the series in its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'p, 'a> {
    /// The value.
    pub value: f64,
    /// The explicit timestamp, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// The exemplar.
    pub exemplar: Option<Exemplar<'p, 'a>>,
}

/// An example of what was counted, pointing to a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar<'p, 'a> {
    /// Its labels.
    pub labels: &'p [LabelPair<'a>],
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Text,
    Open,
}

/// Reads text format 0.0.4 as Prometheus' scraper does: blanks and empty lines anywhere, comments ignored.
pub fn text(body: &[u8]) -> Parser<'_> {
    Parser::new(body, Dialect::Text, false, Limits::default())
}

/// Reads OpenMetrics 1.0, strictly: the grammar to the letter, families and groups in one piece, histograms
/// complete and ascending, `# EOF` at the end.
pub fn openmetrics(body: &[u8]) -> Parser<'_> {
    Parser::new(body, Dialect::Open, true, Limits::default())
}

/// Reads OpenMetrics 1.0 as a scraper does: the grammar and `# EOF`, not what the samples say together.
pub fn openmetrics_lenient(body: &[u8]) -> Parser<'_> {
    Parser::new(body, Dialect::Open, false, Limits::default())
}

/// Reads one body; see the module.
pub struct Parser<'a> {
    lexer: Lexer<'a>,
    labels: Vec<LabelPair<'a>>,
    exemplar_labels: Vec<LabelPair<'a>>,
    /// The family of the last metadata line.
    family: Cow<'a, str>,
    kind: FamilyKind,
    strict: Option<Box<Strict>>,
    ended: bool,
    saw_eof: bool,
}

enum Line<'a> {
    Help(Cow<'a, str>, Cow<'a, str>),
    Type(Cow<'a, str>, FamilyKind),
    Unit(Cow<'a, str>, &'a str),
    Sample { name: Cow<'a, str>, series: &'a str, point: RawPoint },
}

#[derive(Clone, Copy)]
struct RawPoint {
    value: f64,
    /// As written: milliseconds in text, seconds in OpenMetrics.
    timestamp: Option<f64>,
    millis: Option<i64>,
    exemplar: Option<(f64, Option<i64>)>,
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], dialect: Dialect, strict: bool, limits: Limits) -> Parser<'a> {
        Parser {
            lexer: Lexer::new(body, dialect, limits),
            labels: Vec::new(),
            exemplar_labels: Vec::new(),
            family: Cow::Borrowed(""),
            kind: FamilyKind::Unknown,
            strict: strict.then(Box::default),
            ended: false,
            saw_eof: false,
        }
    }

    /// Uses other limits than the default ones.
    pub fn with_limits(mut self, limits: Limits) -> Parser<'a> {
        self.lexer.limits = limits;
        self
    }

    /// The next entry; `None` at the end, and after an error.
    ///
    /// Not an `Iterator`: a sample borrows the parser's label buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Entry<'_, 'a>, ParseError>> {
        if self.ended {
            return None;
        }
        match self.line() {
            Ok(Some(line)) => Some(Ok(self.entry(line))),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    /// If the next line begins with these bytes as its series, reads what follows and nothing else.
    ///
    /// `series` is a [`Sample::series`] of an earlier body. `None`, with nothing consumed, if the line is
    /// another one, or if the parser is strict, which needs to see the labels. This is what makes a scrape of
    /// known series cost a comparison of bytes: no label is parsed, nothing is hashed.
    #[inline]
    pub fn next_if_series(&mut self, series: &str) -> Option<Result<Point<'_, 'a>, ParseError>> {
        if self.ended || self.strict.is_some() || !self.lexer.skip_series(series) {
            return None;
        }
        self.exemplar_labels.clear();
        match self
            .lexer
            .point(&mut self.exemplar_labels)
            .and_then(|point| self.lexer.end_line().map(|()| point))
        {
            Ok(point) => {
                let exemplar = exemplar(&self.exemplar_labels, point);
                Some(Ok(Point { value: point.value, timestamp: point.millis, exemplar }))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    fn entry(&mut self, line: Line<'a>) -> Entry<'_, 'a> {
        match line {
            Line::Help(family, help) => Entry::Help { family, help },
            Line::Type(family, kind) => Entry::Type { family, kind },
            Line::Unit(family, unit) => Entry::Unit { family, unit },
            Line::Sample { name, series, point } => {
                let (kind, is_created) = self.belongs(&name);
                Entry::Sample(Sample {
                    name,
                    labels: &self.labels,
                    series,
                    kind,
                    is_created,
                    value: point.value,
                    timestamp: point.millis,
                    exemplar: exemplar(&self.exemplar_labels, point),
                })
            }
        }
    }

    /// Reads one line that says something.
    fn line(&mut self) -> Result<Option<Line<'a>>, ParseError> {
        let open = self.lexer.dialect == Dialect::Open;
        loop {
            self.lexer.begin_line();
            let Some(byte) = self.lexer.peek() else { return self.end() };
            if self.saw_eof {
                return Err(self.lexer.error("nothing follows # EOF"));
            }
            let line = match byte {
                b'\n' if open => return Err(self.lexer.error("OpenMetrics has no blank lines")),
                b' ' | b'\t' if open => return Err(self.lexer.error("a line begins with a name, { or #")),
                b'\n' => None,
                b' ' | b'\t' => {
                    self.lexer.skip_blanks();
                    continue;
                }
                b'#' => self.comment()?,
                _ => Some(self.sample()?),
            };
            self.lexer.end_line()?;
            match &line {
                Some(Line::Help(family, _)) => self.metadata(family.clone(), None),
                Some(Line::Type(family, kind)) => self.metadata(family.clone(), Some(*kind)),
                Some(Line::Unit(family, _)) => self.metadata(family.clone(), None),
                _ => {}
            }
            if let Some(line) = line {
                if let Some(strict) = &mut self.strict {
                    strict
                        .line(&line, &self.labels, &self.exemplar_labels)
                        .map_err(|m| self.lexer.line_error(m))?;
                }
                return Ok(Some(line));
            }
        }
    }

    fn metadata(&mut self, family: Cow<'a, str>, kind: Option<FamilyKind>) {
        if self.family != family {
            self.family = family;
            self.kind = FamilyKind::Unknown;
        }
        self.kind = kind.unwrap_or(self.kind);
    }

    fn end(&mut self) -> Result<Option<Line<'a>>, ParseError> {
        self.lexer.check_utf8()?;
        if self.lexer.dialect == Dialect::Open && !self.saw_eof {
            return Err(self.lexer.error("the body does not end with # EOF; it may have been cut off"));
        }
        Ok(None)
    }

    /// The kind of the family that a sample belongs to, and whether it is its `_created`.
    fn belongs(&self, name: &str) -> (FamilyKind, bool) {
        let Some(suffix) = name.strip_prefix(self.family.as_ref()) else {
            return (FamilyKind::Unknown, false);
        };
        let mut suffixes = self.kind.suffixes().iter();
        let text = self.lexer.dialect == Dialect::Text;
        // In text 0.0.4 the family of a counter has its `_total` already.
        if suffixes.any(|known| *known == suffix) || (text && suffix.is_empty()) {
            return (self.kind, suffix == "_created");
        }
        (FamilyKind::Unknown, false)
    }

    fn sample(&mut self) -> Result<Line<'a>, ParseError> {
        self.labels.clear();
        self.exemplar_labels.clear();
        let (name, series) = self.lexer.series(&mut self.labels)?;
        let point = self.lexer.point(&mut self.exemplar_labels)?;
        Ok(Line::Sample { name, series, point })
    }

    fn comment(&mut self) -> Result<Option<Line<'a>>, ParseError> {
        let open = self.lexer.dialect == Dialect::Open;
        let Some(word) = self.lexer.comment_word()? else { return Ok(None) };
        match word {
            "EOF" if open => {
                self.saw_eof = true;
                if let Some(strict) = &mut self.strict {
                    strict.end().map_err(|message| self.lexer.line_error(message))?;
                }
                Ok(None)
            }
            "HELP" => {
                let family = self.lexer.family()?;
                Ok(Some(Line::Help(family, self.lexer.help()?)))
            }
            "TYPE" => {
                let family = self.lexer.family()?;
                Ok(Some(Line::Type(family, self.lexer.kind()?)))
            }
            "UNIT" if open => {
                let family = self.lexer.family()?;
                Ok(Some(Line::Unit(family, self.lexer.metadata_text()?)))
            }
            _ if open => Err(self.lexer.error("a comment is HELP, TYPE, UNIT or EOF")),
            _ => {
                self.lexer.skip_line();
                Ok(None)
            }
        }
    }
}

fn exemplar<'p, 'a>(labels: &'p [LabelPair<'a>], point: RawPoint) -> Option<Exemplar<'p, 'a>> {
    point.exemplar.map(|(value, timestamp)| Exemplar { labels, value, timestamp })
}

/// What could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    column: usize,
    message: String,
    excerpt: String,
    limit: bool,
    /// The place in a body without lines.
    offset: Option<usize>,
}

impl ParseError {
    fn in_bytes(offset: usize, message: String, limit: bool) -> ParseError {
        ParseError { line: 0, column: 0, message, excerpt: String::new(), limit, offset: Some(offset) }
    }

    /// The byte, counted from 0, where a body without lines could not be read; `None` for the text formats.
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }

    /// The line, counted from 1; 0 if the body has no lines.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1; 0 if the body has no lines.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The line's text, shortened.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    /// Whether the text is well-formed so far but beyond a limit.
    pub fn is_limit(&self) -> bool {
        self.limit
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.offset {
            return write!(f, "byte {offset}: {}", self.message);
        }
        write!(f, "line {}, column {}: {}: {:?}", self.line, self.column, self.message, self.excerpt)
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests;
