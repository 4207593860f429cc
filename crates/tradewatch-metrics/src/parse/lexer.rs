//! The words of a line: names, labels, numbers, and where they stand.

use std::borrow::Cow;

use super::{Dialect, FamilyKind, LabelPair, Limits, ParseError, RawPoint};

/// How much of a bad line an error shows, in characters.
const EXCERPT_CHARS_MAX: usize = 120;

pub(super) struct Lexer<'a> {
    /// The body as far as it is UTF-8.
    text: &'a str,
    /// Whether something that is not UTF-8 follows `text`.
    cut: bool,
    pos: usize,
    line: usize,
    line_start: usize,
    pub(super) dialect: Dialect,
    pub(super) limits: Limits,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(body: &'a [u8], dialect: Dialect, limits: Limits) -> Lexer<'a> {
        let (text, cut) = match std::str::from_utf8(body) {
            Ok(text) => (text, false),
            Err(error) => {
                let valid = std::str::from_utf8(&body[..error.valid_up_to()]);
                (valid.expect("valid up to there, by the error's word"), true)
            }
        };
        Lexer { text, cut, pos: 0, line: 0, line_start: usize::MAX, dialect, limits }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    #[inline]
    fn at(&self, pos: usize) -> Option<u8> {
        self.text.as_bytes().get(pos).copied()
    }

    /// Counts the line that begins here; more than once for the same place is the same line.
    pub(super) fn begin_line(&mut self) {
        let fresh = self.pos == 0 || self.at(self.pos - 1) == Some(b'\n');
        if fresh && self.line_start != self.pos {
            self.line += 1;
            self.line_start = self.pos;
        }
    }

    /// Ends the line: nothing but blanks (in text) before its end.
    pub(super) fn end_line(&mut self) -> Result<(), ParseError> {
        if self.dialect == Dialect::Text {
            self.skip_blanks();
        }
        match self.peek() {
            Some(b'\n') => self.pos += 1,
            None => self.check_utf8()?,
            Some(_) => return Err(self.error("unexpected text after the end of the line's last part")),
        }
        if self.pos - self.line_start > self.limits.line_bytes_max {
            return Err(self.limit(format!("the line has more than {} bytes", self.limits.line_bytes_max)));
        }
        Ok(())
    }

    /// The text ends here; it should not if more follows that is not UTF-8.
    pub(super) fn check_utf8(&self) -> Result<(), ParseError> {
        if self.cut { Err(self.error("not UTF-8")) } else { Ok(()) }
    }

    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
    }

    pub(super) fn skip_line(&mut self) {
        self.pos = self.line_end();
    }

    fn line_end(&self) -> usize {
        let rest = &self.text.as_bytes()[self.pos..];
        self.pos + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
    }

    /// Moves behind `series` if the line begins with it and a value follows.
    #[inline]
    pub(super) fn skip_series(&mut self, series: &str) -> bool {
        let end = self.pos + series.len();
        let matches = self.text.as_bytes()[self.pos..].starts_with(series.as_bytes())
            && self.at(end) == Some(b' ')
            && !matches!(self.at(end + 1), Some(b' ' | b'\t' | b'{') | None);
        if matches {
            self.begin_line();
            self.pos = end;
        }
        matches
    }

    /// The gap between two parts of a line: one blank in OpenMetrics, any number (or none) in text.
    fn gap(&mut self, before: &str) -> Result<(), ParseError> {
        if self.dialect == Dialect::Text {
            self.skip_blanks();
            return Ok(());
        }
        if self.peek() != Some(b' ') {
            return Err(self.error(&format!("expected one blank before {before}")));
        }
        self.pos += 1;
        Ok(())
    }

    /// Name and labels, and all of it as written.
    pub(super) fn series(
        &mut self,
        labels: &mut Vec<LabelPair<'a>>,
    ) -> Result<(Cow<'a, str>, &'a str), ParseError> {
        let start = self.pos;
        let bare = self.word(|byte| byte == b':');
        if bare.is_empty() && self.peek() != Some(b'{') {
            return Err(self.error("a series begins with a name ([a-zA-Z_:][a-zA-Z0-9_:]*) or {"));
        }
        let mut end = self.pos;
        let mut name = (!bare.is_empty()).then_some(Cow::Borrowed(bare));
        if self.dialect == Dialect::Text {
            self.skip_blanks();
        }
        if self.peek() == Some(b'{') {
            self.labels(labels, Some(&mut name))?;
            end = self.pos;
        }
        let name = name.ok_or_else(|| self.error("the series has no name"))?;
        if name.is_empty() {
            return Err(self.error("the series' name is empty"));
        }
        Ok((name, &self.text[start..end]))
    }

    /// A word of letters, digits, underscores and what `also` allows, not beginning with a digit.
    fn word(&mut self, also: impl Fn(u8) -> bool) -> &'a str {
        let start = self.pos;
        while let Some(byte) = self.peek() {
            let good = byte == b'_'
                || byte.is_ascii_alphabetic()
                || also(byte)
                || (self.pos > start && byte.is_ascii_digit());
            if !good {
                break;
            }
            self.pos += 1;
        }
        &self.text[start..self.pos]
    }

    /// `{a="b","quoted name"="c"}`; `name` takes a quoted word that stands alone, if it is given and empty.
    fn labels(
        &mut self,
        labels: &mut Vec<LabelPair<'a>>,
        mut name: Option<&mut Option<Cow<'a, str>>>,
    ) -> Result<(), ParseError> {
        let text = self.dialect == Dialect::Text;
        self.pos += 1;
        let mut first = true;
        loop {
            if text {
                self.skip_blanks();
            }
            // An empty set, and in text also a comma before the end.
            if self.peek() == Some(b'}') && (first || text) {
                self.pos += 1;
                return Ok(());
            }
            first = false;
            let quoted = self.peek() == Some(b'"');
            let word = if quoted { self.quoted()? } else { Cow::Borrowed(self.word(|_| false)) };
            if text {
                self.skip_blanks();
            }
            match (self.peek(), &mut name) {
                (Some(b'='), _) => {
                    let value = self.label_value(&word, quoted)?;
                    self.push_label(labels, word, value)?;
                }
                (_, Some(name)) if quoted && name.is_none() => **name = Some(word),
                _ if quoted => return Err(self.error("expected = after the label's name")),
                _ if word.is_empty() => return Err(self.error("expected a label's name")),
                _ => return Err(self.error(&format!("expected = after label {word}"))),
            }
            if text {
                self.skip_blanks();
            }
            match self.peek() {
                Some(b',') => self.pos += 1,
                Some(b'}') => {
                    self.pos += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected , or } after a label")),
            }
        }
    }

    fn label_value(&mut self, label: &str, quoted: bool) -> Result<Cow<'a, str>, ParseError> {
        if label.is_empty() && !quoted {
            return Err(self.error("expected a label's name ([a-zA-Z_][a-zA-Z0-9_]*)"));
        }
        self.pos += 1;
        if self.dialect == Dialect::Text {
            self.skip_blanks();
        }
        if self.peek() != Some(b'"') {
            return Err(self.error(&format!("the value of label {label} is not in double quotes")));
        }
        self.quoted()
    }

    fn push_label(
        &mut self,
        labels: &mut Vec<LabelPair<'a>>,
        name: Cow<'a, str>,
        value: Cow<'a, str>,
    ) -> Result<(), ParseError> {
        if name.is_empty() {
            return Err(self.error("a label's name is empty"));
        }
        if name == "__name__" || labels.iter().any(|(earlier, _)| *earlier == name) {
            return Err(self.error(&format!("label {name} is given twice")));
        }
        if labels.len() >= self.limits.labels_max {
            return Err(self.limit(format!("more than {} labels", self.limits.labels_max)));
        }
        labels.push((name, value));
        Ok(())
    }

    /// Text in double quotes, unescaped.
    fn quoted(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let start = self.pos + 1;
        let mut pos = start;
        let mut escaped = false;
        loop {
            match self.at(pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    // The next byte is not looked at, so that an escaped quote does not end the text. A line
                    // end is never escaped.
                    pos += if matches!(self.at(pos + 1), None | Some(b'\n')) { 1 } else { 2 };
                }
                Some(b'\n') | None => {
                    self.check_utf8_at(pos)?;
                    return Err(self.error("the quoted text has no end"));
                }
                Some(_) => pos += 1,
            }
        }
        let raw = &self.text[start..pos];
        self.pos = pos + 1;
        Ok(if escaped { unescape(raw, true) } else { Cow::Borrowed(raw) })
    }

    fn check_utf8_at(&self, pos: usize) -> Result<(), ParseError> {
        if pos >= self.text.len() { self.check_utf8() } else { Ok(()) }
    }

    /// Everything after the series: value, timestamp, exemplar.
    #[inline]
    pub(super) fn point(&mut self, exemplar_labels: &mut Vec<LabelPair<'a>>) -> Result<RawPoint, ParseError> {
        self.gap("the value")?;
        let value = self.number("value")?;
        let mut point = RawPoint { value, timestamp: None, millis: None, exemplar: None };
        if matches!(self.peek(), Some(b'\n') | None) {
            return Ok(point);
        }
        self.gap("the timestamp")?;
        if self.dialect == Dialect::Text {
            if !matches!(self.peek(), Some(b'\n') | None) {
                let millis = self.millis()?;
                point.millis = Some(millis);
                point.timestamp = Some(millis as f64);
            }
            return Ok(point);
        }
        if self.peek() != Some(b'#') {
            let seconds = self.seconds()?;
            point.timestamp = Some(seconds);
            point.millis = Some((seconds * 1000.0) as i64);
            if matches!(self.peek(), Some(b'\n') | None) {
                return Ok(point);
            }
            self.gap("the exemplar")?;
        }
        point.exemplar = Some(self.exemplar(exemplar_labels)?);
        Ok(point)
    }

    fn exemplar(&mut self, labels: &mut Vec<LabelPair<'a>>) -> Result<(f64, Option<i64>), ParseError> {
        if self.peek() != Some(b'#') {
            return Err(self.error("expected # and an exemplar"));
        }
        self.pos += 1;
        self.gap("the exemplar's labels")?;
        if self.peek() != Some(b'{') {
            return Err(self.error("an exemplar begins with its labels in braces"));
        }
        self.labels(labels, None)?;
        self.gap("the exemplar's value")?;
        let value = self.number("exemplar's value")?;
        if matches!(self.peek(), Some(b'\n') | None) {
            return Ok((value, None));
        }
        self.gap("the exemplar's timestamp")?;
        let seconds = self.seconds()?;
        Ok((value, Some((seconds * 1000.0) as i64)))
    }

    /// The characters up to the next blank or line end.
    fn token(&mut self) -> &'a str {
        let start = self.pos;
        while !matches!(self.peek(), Some(b' ' | b'\t' | b'\n') | None) {
            self.pos += 1;
        }
        &self.text[start..self.pos]
    }

    fn number(&mut self, what: &str) -> Result<f64, ParseError> {
        let start = self.pos;
        let token = self.token();
        match parse_number(token) {
            Some(value) => Ok(value),
            None => {
                self.pos = start;
                Err(self.error(&match token {
                    "" => format!("the {what} is missing"),
                    token => format!("the {what} is not a number: {:?}", clipped(token)),
                }))
            }
        }
    }

    fn millis(&mut self) -> Result<i64, ParseError> {
        let start = self.pos;
        let token = self.token();
        token.parse().map_err(|_| {
            self.pos = start;
            self.error(&format!("the timestamp is not a whole number of milliseconds: {:?}", clipped(token)))
        })
    }

    fn seconds(&mut self) -> Result<f64, ParseError> {
        let start = self.pos;
        let seconds = self.number("timestamp")?;
        if !seconds.is_finite() {
            self.pos = start;
            return Err(self.error("the timestamp is not a finite number of seconds"));
        }
        Ok(seconds)
    }

    /// The word after `#`; `None` (the line skipped) if it is a plain comment of text 0.0.4.
    pub(super) fn comment_word(&mut self) -> Result<Option<&'a str>, ParseError> {
        self.pos += 1;
        if self.dialect == Dialect::Open {
            self.gap("the comment")?;
        } else if !matches!(self.peek(), Some(b' ' | b'\t')) {
            self.skip_line();
            return Ok(None);
        }
        if self.dialect == Dialect::Text {
            self.skip_blanks();
        }
        let word = self.token();
        // `# HELP` alone is a comment in text; `# HELPER x` is always one.
        if self.dialect == Dialect::Text && matches!(self.peek(), Some(b'\n') | None) {
            return Ok(None);
        }
        Ok(Some(word))
    }

    /// The family's name in a metadata line.
    pub(super) fn family(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.gap("the family's name")?;
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        let name = self.word(|byte| byte == b':');
        if name.is_empty() {
            return Err(
                self.error("expected a metric's name ([a-zA-Z_:][a-zA-Z0-9_:]*, or anything in quotes)")
            );
        }
        if !matches!(self.peek(), Some(b' ' | b'\t' | b'\n') | None) {
            return Err(self.error("expected a blank after the metric's name"));
        }
        Ok(Cow::Borrowed(name))
    }

    /// The rest of a metadata line.
    pub(super) fn metadata_text(&mut self) -> Result<&'a str, ParseError> {
        if self.dialect == Dialect::Open {
            self.gap("the text")?;
        } else {
            self.skip_blanks();
        }
        let start = self.pos;
        self.skip_line();
        Ok(&self.text[start..self.pos])
    }

    pub(super) fn help(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let raw = self.metadata_text()?;
        let quotes = self.dialect == Dialect::Open;
        Ok(if raw.contains('\\') { unescape(raw, quotes) } else { Cow::Borrowed(raw) })
    }

    pub(super) fn kind(&mut self) -> Result<FamilyKind, ParseError> {
        let mut word = self.metadata_text()?;
        let open = self.dialect == Dialect::Open;
        if !open {
            word = word.trim_end_matches([' ', '\t']);
        }
        Ok(match word {
            "counter" => FamilyKind::Counter,
            "gauge" => FamilyKind::Gauge,
            "histogram" => FamilyKind::Histogram,
            "summary" => FamilyKind::Summary,
            "untyped" if !open => FamilyKind::Unknown,
            "unknown" if open => FamilyKind::Unknown,
            "gaugehistogram" if open => FamilyKind::GaugeHistogram,
            "info" if open => FamilyKind::Info,
            "stateset" if open => FamilyKind::StateSet,
            _ => return Err(self.error(&format!("{:?} is not a type of metric", clipped(word)))),
        })
    }

    /// An error at the place reached.
    #[cold]
    pub(super) fn error(&self, message: &str) -> ParseError {
        // Whatever was expected here, the reason it is missing is that the text stops being text.
        let message = if self.cut && self.pos >= self.text.len() { "not UTF-8" } else { message };
        self.error_at(self.pos, message.to_owned(), false)
    }

    /// An error about the line that was just read.
    #[cold]
    pub(super) fn line_error(&self, message: String) -> ParseError {
        self.error_at(self.line_start, message, false)
    }

    #[cold]
    fn limit(&self, message: String) -> ParseError {
        self.error_at(self.pos, message, true)
    }

    fn error_at(&self, pos: usize, message: String, limit: bool) -> ParseError {
        let start = self.line_start.min(self.text.len());
        let rest = &self.text[start..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let column = self.text[start..pos.max(start)].chars().count() + 1;
        ParseError { line: self.line.max(1), column, message, excerpt: clipped(line), limit, offset: None }
    }
}

fn clipped(text: &str) -> String {
    let mut clipped: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// Decimal numbers, infinities and NaN in any case; no underscores and no other radix.
#[inline]
pub(super) fn parse_number(token: &str) -> Option<f64> {
    // Most values are small whole numbers, which need no general conversion.
    if token.len() <= 15 && !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(token.bytes().fold(0u64, |value, byte| value * 10 + u64::from(byte - b'0')) as f64);
    }
    let value: f64 = token.parse().ok()?;
    Some(if value.is_nan() { f64::NAN } else { value })
}

/// `\\`, `\n` and (where they mean something) `\"`; any other backslash stands for itself.
fn unescape(raw: &str, quotes: bool) -> Cow<'_, str> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}
