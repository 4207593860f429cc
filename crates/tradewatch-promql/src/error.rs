//! What goes wrong while reading a query, and where.

use std::fmt;

/// A range of bytes in the query text.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A range from two byte offsets.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Line and column, both from 1 and the column in bytes, of a byte offset.
pub fn line_column(input: &str, offset: usize) -> (usize, usize) {
    let before = &input.as_bytes()[..offset.min(input.len())];
    let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
    (line, column)
}

/// A query that cannot be read.
///
/// `{}` prints one line, `1:7: parse error: …`; `{:#}` adds the line of the query and a caret below the place.
#[derive(Clone, PartialEq, Eq)]
pub struct ParseError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    span: Span,
    line: usize,
    column: usize,
    message: String,
    text: String,
}

impl ParseError {
    pub(crate) fn new(input: &str, span: Span, message: impl Into<String>) -> ParseError {
        let start = (span.start as usize).min(input.len());
        let (line, column) = line_column(input, start);
        let text = input.lines().nth(line - 1).unwrap_or("").to_string();
        ParseError(Box::new(Inner { span, line, column, message: message.into(), text }))
    }

    /// The bytes of the query that the error is about.
    pub fn span(&self) -> Span {
        self.0.span
    }

    /// Line of the place, from 1.
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// Column of the place in bytes, from 1.
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line of the query and a caret below the place.
    pub fn caret(&self) -> String {
        let inner = &*self.0;
        let before: String = inner
            .text
            .char_indices()
            .take_while(|(at, _)| at + 1 < inner.column)
            .map(|(_, c)| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let width = (inner.span.end.saturating_sub(inner.span.start) as usize)
            .min((inner.text.len() + 1).saturating_sub(inner.column))
            .max(1);
        let line = format!("  {}", inner.text);
        format!("{}\n  {}{}", line.trim_end(), before, "^".repeat(width))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.0.line, self.0.column, self.0.message)?;
        if f.alternate() { write!(f, "\n{}", self.caret()) } else { Ok(()) }
    }
}

impl fmt::Debug for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParseError({self})")
    }
}

impl std::error::Error for ParseError {}
