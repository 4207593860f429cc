//! JSON as a tree in which every value knows its place.
//!
//! A dashboard is found by line and column like everything else, and what is broken in it is named with both.

use tradewatch_alert::yaml::{Kind, Node, ScalarStyle};

/// Levels of nesting; deeper is refused rather than followed.
const DEPTH_MAX: usize = 200;

/// What is wrong with a JSON text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads one JSON document.
///
/// # Errors
/// The first thing wrong.
pub fn parse(source: &str) -> Result<Node, JsonError> {
    let mut reader = Reader { source, at: 0, line: 1, line_start: 0 };
    reader.blank();
    let node = reader.value(0)?;
    reader.blank();
    match reader.peek() {
        None => Ok(node),
        Some(c) => Err(reader.error(format!("{c:?} after the end of the document"))),
    }
}

/// Where byte `offset` of the unescaped text of a JSON string stands, as line and column of the file.
pub fn locate(source: &str, node: &Node, offset: usize) -> (usize, usize) {
    let raw = source.get(node.bytes.0..node.bytes.1).unwrap_or("");
    let mut column = node.column + 1;
    let mut decoded = 0;
    let mut chars = raw.chars().skip(1).peekable();
    while decoded < offset {
        let Some(c) = chars.next() else { break };
        if c != '\\' {
            column += 1;
            decoded += c.len_utf8();
            continue;
        }
        match chars.next() {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                column += 6;
                decoded +=
                    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).map_or(2, char::len_utf8);
            }
            _ => {
                column += 2;
                decoded += 1;
            }
        }
    }
    (node.line, column)
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        Some(c)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n' | '\u{feff}')) {
            self.bump();
        }
    }

    fn column(&self) -> usize {
        self.source[self.line_start..self.at].chars().count() + 1
    }

    fn error(&self, message: impl Into<String>) -> JsonError {
        JsonError { line: self.line, column: self.column(), message: message.into() }
    }

    fn value(&mut self, depth: usize) -> Result<Node, JsonError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        let (line, column, start) = (self.line, self.column(), self.at);
        let kind = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Kind::Scalar { text: self.string()?, style: ScalarStyle::DoubleQuoted },
            Some(c) if c == '-' || c.is_ascii_alphanumeric() => self.word()?,
            Some(c) => return Err(self.error(format!("{c:?} begins no value"))),
            None => return Err(self.error("the document ends where a value belongs")),
        };
        Ok(Node { line, column, bytes: (start, self.at), kind })
    }

    fn word(&mut self) -> Result<Kind, JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')) {
            self.bump();
        }
        match &self.source[start..self.at] {
            "null" => Ok(Kind::Null),
            text if matches!(text, "true" | "false") || text.parse::<f64>().is_ok() => {
                Ok(Kind::Scalar { text: text.to_owned(), style: ScalarStyle::Plain })
            }
            text => Err(self.error(format!("{text:?} is no JSON value; is a quote missing?"))),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, JsonError> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.blank();
            if self.peek() == Some(']') && items.is_empty() {
                self.bump();
                break;
            }
            items.push(self.value(depth + 1)?);
            self.blank();
            match self.bump() {
                Some(',') => {}
                Some(']') => break,
                _ => return Err(self.error("a comma or ] belongs here")),
            }
        }
        Ok(Kind::List(items))
    }

    fn object(&mut self, depth: usize) -> Result<Kind, JsonError> {
        self.bump();
        let mut entries = Vec::new();
        loop {
            self.blank();
            if self.peek() == Some('}') && entries.is_empty() {
                self.bump();
                break;
            }
            if self.peek() != Some('"') {
                return Err(self.error("a name in double quotes belongs here"));
            }
            let key = self.value(depth + 1)?;
            self.blank();
            if self.bump() != Some(':') {
                return Err(self.error("a colon belongs after a name"));
            }
            self.blank();
            let value = self.value(depth + 1)?;
            entries.push((key, value));
            self.blank();
            match self.bump() {
                Some(',') => {}
                Some('}') => break,
                _ => return Err(self.error("a comma or } belongs here")),
            }
        }
        Ok(Kind::Map(entries))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => self.escape(&mut text)?,
                Some(c) => text.push(c),
                None => return Err(self.error("a text is not closed")),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), JsonError> {
        let c = match self.bump() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('u') => {
                let first = self.hex()?;
                if (0xd800..0xdc00).contains(&first) && self.source[self.at..].starts_with("\\u") {
                    self.bump();
                    self.bump();
                    let second = self.hex()?;
                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff))
                        .unwrap_or('\u{fffd}')
                } else {
                    char::from_u32(first).unwrap_or('\u{fffd}')
                }
            }
            _ => return Err(self.error("an escape that JSON does not have")),
        };
        text.push(c);
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| c.to_digit(16));
            value =
                value * 16 + digit.ok_or_else(|| self.error("four hexadecimal digits belong after \\u"))?;
            self.bump();
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_place() {
        let source = "{\n  \"a\": [1, {\"b\": \"x\\n\\\"y\\u00e9z\"}]\n}";
        let Kind::Map(root) = parse(source).unwrap().kind else { panic!("an object") };
        let Kind::List(items) = &root[0].1.kind else { panic!("a list") };
        let Kind::Map(inner) = &items[1].kind else { panic!("an object") };
        let text = &inner[0].1;
        assert_eq!(text.text(), Some("x\n\"yéz"));
        assert_eq!((text.line, text.column), (2, 18));
        assert_eq!(locate(source, text, 3), (2, 24), "after the line break and the quote");
        assert_eq!(locate(source, text, 6), (2, 31), "after é");
    }

    #[test]
    fn what_is_broken_is_named_with_its_place() {
        for (source, line, column) in [
            ("{", 1, 2),
            ("[1,]", 1, 4),
            ("{\"a\" 1}", 1, 7),
            ("\"x", 1, 3),
            ("{}\nx", 2, 1),
            ("[tru]", 1, 5),
            ("\"\\u12g4\"", 1, 6),
        ] {
            let error = parse(source).expect_err(source);
            assert_eq!((error.line, error.column), (line, column), "{source}: {}", error.message);
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
