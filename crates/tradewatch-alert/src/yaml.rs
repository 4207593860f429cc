//! YAML as a tree in which every node knows its place.
//!
//! Configuration is read from this tree and not through `serde`, since a serde struct ends at the
//! first thing wrong: one broken rule must not hide the others, and each error must name its place.

pub use serde_saphyr::granit_parser::ScalarStyle;
use serde_saphyr::granit_parser::{Event, Parser, Span};

use crate::error::ConfigError;

/// Nodes in one document, aliases expanded: an alias bomb ends here.
const NODES_MAX: usize = 500_000;

/// One value of the document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of the source that hold it, quotes included.
    pub bytes: (usize, usize),
    /// What it is.
    pub kind: Kind,
}

/// The kinds of value.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `null`, `~` or nothing at all.
    Null,
    /// A text, number or truth value, unescaped.
    Scalar {
        /// Its text.
        text: String,
        /// How it is written.
        style: ScalarStyle,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// The text of a scalar; null reads as the empty text, as it does for Go.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Null => Some(""),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Scalar { text, .. } => format!("{text:?}"),
            Kind::List(items) => format!("a list of {}", items.len()),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Where byte `offset` of a scalar's text stands in the file, as line and column.
    ///
    /// Folding and indentation change only white space, so the place is found by counting what is
    /// not white space; in quotes an escape counts as one character.
    pub fn locate(&self, source: &str, offset: usize) -> (usize, usize) {
        let Kind::Scalar { text, style } = &self.kind else { return (self.line, self.column) };
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let mut wanted = before.chars().filter(|c| !c.is_whitespace()).count();
        let at_end = text.get(offset..).is_none_or(|rest| rest.trim().is_empty());
        let raw = source.get(self.bytes.0..self.bytes.1).unwrap_or("");
        let (mut line, mut column) = (self.line, self.column);
        let mut chars = raw.chars().peekable();
        let quoted = matches!(style, ScalarStyle::DoubleQuoted | ScalarStyle::SingleQuoted);
        if quoted && chars.next().is_some() {
            column += 1;
        }
        while let Some(&c) = chars.peek() {
            if c == '\n' {
                if wanted == 0 && at_end {
                    break;
                }
                chars.next();
                line += 1;
                column = 1;
                continue;
            }
            if !c.is_whitespace() {
                if wanted == 0 {
                    break;
                }
                wanted -= 1;
            } else if wanted == 0 && at_end {
                break;
            }
            chars.next();
            column += 1;
            let pair = (c == '\\' && *style == ScalarStyle::DoubleQuoted)
                || (c == '\'' && *style == ScalarStyle::SingleQuoted);
            if pair && chars.next().is_some() {
                column += 1;
            }
        }
        (line, column)
    }
}

/// The first document of `source`; `None` when it is empty. The flag says that more followed.
pub fn parse(path: &str, source: &str) -> Result<(Option<Node>, bool), ConfigError> {
    let mut builder = Builder { path, anchors: Vec::new(), nodes: 0, parser: Parser::new_from_str(source) };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::DocumentStart(..) if root.is_some() => return Ok((root, true)),
            Event::StreamEnd => return Ok((root, false)),
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => root = Some(builder.node(event, span)?),
        }
    }
}

struct Builder<'a> {
    path: &'a str,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
}

impl<'a> Builder<'a> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<(Event<'a>, Span), ConfigError> {
        loop {
            match self.parser.next() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(found)) => return Ok(found),
                Some(Err(e)) => {
                    let (line, column) = (e.marker().line(), e.marker().col() + 1);
                    return Err(self.error(line, column, format!("not valid YAML: {}", e.info())));
                }
                None => return Ok((Event::StreamEnd, Span::empty(Default::default()))),
            }
        }
    }

    fn error(&self, line: usize, column: usize, message: String) -> ConfigError {
        let path = self.path.to_owned();
        ConfigError { path, line, column, message, fix: String::new(), warning: false }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, ConfigError> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let mut end = span.end;
        self.count(1, line, column)?;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let text = text.into_owned();
                (if null { Kind::Null } else { Kind::Scalar { text, style } }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        end = span.end;
                        break;
                    }
                    items.push(self.node(event, span)?);
                }
                (Kind::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let mut entries = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::MappingEnd {
                        end = span.end;
                        break;
                    }
                    let key = self.node(event, span)?;
                    let (event, span) = self.next()?;
                    entries.push((key, self.node(event, span)?));
                }
                (Kind::Map(merged(entries)), anchor)
            }
            Event::Alias(id) => {
                let found = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id);
                let Some((_, node)) = found else {
                    return Err(self.error(line, column, "alias to an anchor that is still open".to_owned()));
                };
                let node = Node { line, column, ..node.clone() };
                self.count(size(&node), line, column)?;
                return Ok(node);
            }
            other => {
                return Err(self.error(line, column, format!("unexpected {other:?}")));
            }
        };
        let bytes = (span.start.byte_offset().unwrap_or(0), end.byte_offset().unwrap_or(0));
        let node = Node { line, column, bytes, kind };
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, line: usize, column: usize) -> Result<(), ConfigError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(self.error(line, column, format!("more than {NODES_MAX} values, aliases expanded")));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Null | Kind::Scalar { .. } => 1,
        Kind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|(k, v)| size(k) + size(v)).sum::<usize>(),
    }
}

/// Resolves `<<: *base`: the mapping's own keys win.
fn merged(entries: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
    let is_merge =
        |key: &Node| matches!(&key.kind, Kind::Scalar { text, style: ScalarStyle::Plain } if text == "<<");
    if !entries.iter().any(|(key, _)| is_merge(key)) {
        return entries;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_merge(key));
    for (_, value) in merges {
        let bases = match value.kind {
            Kind::List(items) => items,
            _ => vec![value],
        };
        for base in bases {
            let Kind::Map(entries) = base.kind else { continue };
            for (key, value) in entries {
                if own.iter().all(|(k, _)| k.text() != key.text()) {
                    own.push((key, value));
                }
            }
        }
    }
    own
}

/// Collects what is wrong while a document is read.
pub(crate) struct Reader<'a> {
    pub path: &'a str,
    pub source: &'a str,
    pub errors: Vec<ConfigError>,
    /// How many of them cost only the thing at their place.
    faults: usize,
}

impl<'a> Reader<'a> {
    pub fn new(path: &'a str, source: &'a str) -> Reader<'a> {
        Reader { path, source, errors: Vec::new(), faults: 0 }
    }

    pub fn error(&mut self, at: &Node, message: impl Into<String>, fix: impl Into<String>) {
        self.error_at((at.line, at.column), message, fix);
    }

    pub fn error_at(&mut self, at: (usize, usize), message: impl Into<String>, fix: impl Into<String>) {
        let path = self.path.to_owned();
        let (line, column) = at;
        self.errors.push(ConfigError {
            path,
            line,
            column,
            message: message.into(),
            fix: fix.into(),
            warning: false,
        });
    }

    pub fn warn(&mut self, at: &Node, message: impl Into<String>, fix: impl Into<String>) {
        self.error(at, message, fix);
        if let Some(last) = self.errors.last_mut() {
            last.warning = true;
        }
    }

    /// An error that costs only the thing at its place; the rest of the file is used.
    pub fn fault(&mut self, at: &Node, message: impl Into<String>, fix: impl Into<String>) {
        self.error(at, message, fix);
        self.faults += 1;
    }

    /// Everything found, in the order of the file.
    pub fn sorted(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|e| (e.line, e.column));
        self.errors
    }

    /// How many errors there are so far, to see whether a part added one.
    pub fn failures(&self) -> usize {
        self.errors.iter().filter(|e| !e.warning).count() - self.faults
    }

    /// The entries of a mapping; null is an empty one.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        let entries: &[(Node, Node)] = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => &[],
            _ => {
                self.error(
                    node,
                    format!("{what} is {}", node.describe()),
                    "write it as a mapping of names to values",
                );
                return None;
            }
        };
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in entries {
            match key.text() {
                Some(name) if seen.contains(&name) => {
                    self.error(
                        key,
                        format!("key {name:?} is already set in this mapping"),
                        "keep one of the two",
                    );
                }
                Some(name) => seen.push(name),
                None => self.error(key, format!("a key of {what} is {}", key.describe()), "keys are names"),
            }
        }
        Some(Fields { what, entries, taken: Vec::new() })
    }

    /// The items of a list; null is an empty one.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            Kind::Null => &[],
            _ => {
                self.error(node, format!("{what} is {}", node.describe()), "write it as a list");
                &[]
            }
        }
    }

    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.text() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.error(node, format!("{what} is {}", node.describe()), "write it as text");
                None
            }
        }
    }

    pub fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        self.list(node, what).iter().filter_map(|item| self.text(item, what)).collect()
    }

    pub fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.text() {
            Some("true" | "True" | "TRUE" | "yes" | "on") => Some(true),
            Some("false" | "False" | "FALSE" | "no" | "off") => Some(false),
            _ => {
                self.error(node, format!("{what} is {}", node.describe()), "write true or false");
                None
            }
        }
    }

    pub fn integer(&mut self, node: &Node, what: &str) -> Option<i64> {
        let found = node.text().and_then(|text| text.parse().ok());
        if found.is_none() {
            self.error(node, format!("{what} is {}", node.describe()), "write a whole number");
        }
        found
    }

    pub fn duration(&mut self, node: &Node, what: &str) -> Option<std::time::Duration> {
        let parsed = match node.text() {
            Some(text) => crate::duration::parse(text),
            None => Err(node.describe()),
        };
        match parsed {
            Ok(duration) => Some(duration),
            Err(message) => {
                self.error(node, format!("{what}: {message}"), "write for example 30s, 5m or 1h30m");
                None
            }
        }
    }

    /// A mapping of names to texts, in the order of the file.
    pub fn pairs(&mut self, node: &Node, what: &'static str) -> Vec<(String, String, Node)> {
        let Some(fields) = self.fields(node, what) else { return Vec::new() };
        let mut pairs = Vec::new();
        for (key, value) in fields.entries {
            let Some(name) = key.text() else { continue };
            if let Some(text) = self.text(value, &format!("{what} {name:?}")) {
                pairs.push((name.to_owned(), text, value.clone()));
            }
        }
        pairs
    }
}

/// The entries of one mapping while they are taken out by name.
pub(crate) struct Fields<'n> {
    what: &'static str,
    entries: &'n [(Node, Node)],
    taken: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The value of `name`; absent and null are the same.
    pub fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.take_entry(name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The key and the value of `name`, even when the value is null.
    pub fn take_entry(&mut self, name: &'static str) -> Option<(&'n Node, &'n Node)> {
        self.taken.push(name);
        self.entries.iter().find(|(key, _)| key.text() == Some(name)).map(|(key, value)| (key, value))
    }

    /// Reports every key that nobody took.
    pub fn finish(self, reader: &mut Reader<'_>) {
        for (key, _) in self.entries {
            let Some(name) = key.text() else { continue };
            if self.taken.contains(&name) {
                continue;
            }
            let near = self
                .taken
                .iter()
                .filter(|known| distance(known, name) <= 2 && name.len() > 2)
                .min_by_key(|known| distance(known, name));
            let fix = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("remove it; known are {}", self.taken.join(", ")),
            };
            reader.error(key, format!("unknown field {name:?} in {}", self.what), fix);
        }
    }
}

/// Edits between two names.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, needle: &str) -> String {
        let (root, _) = parse("f.yml", source).expect("valid");
        let root = root.expect("not empty");
        let Kind::Map(entries) = &root.kind else { panic!("a mapping") };
        let value = &entries[0].1;
        let text = value.text().expect("a scalar");
        let offset = text.find(needle).expect("present");
        let (line, column) = value.locate(source, offset);
        format!("{line}:{column}")
    }

    #[test]
    fn a_place_inside_a_scalar_is_found_in_the_file() {
        assert_eq!(place("expr: up == 0\n", "=="), "1:10");
        assert_eq!(place("expr: 'it''s == 0'\n", "=="), "1:14");
        assert_eq!(place("expr: \"a\\\"b == 0\"\n", "=="), "1:13");
        assert_eq!(place("expr: |\n    up\n      == 0\n", "=="), "3:7");
        assert_eq!(place("expr: >-\n    up\n    == 0\n", "=="), "3:5");
        assert_eq!(place("# é\nexpr: é == 0\n", "=="), "2:9");
    }

    #[test]
    fn errors_name_their_place() {
        let error = parse("f.yml", "a: [1\nb: 2\n").expect_err("broken");
        assert!(error.to_string().starts_with("f.yml:"), "{error}");
        let (root, more) =
            parse("f.yml", "a: &x {b: 1}\nc:\n  <<: *x\n  limits: 2\n---\nx: 1\n").expect("valid");
        assert!(more);
        let mut reader = Reader::new("f.yml", "");
        let root = root.expect("not empty");
        let mut fields = reader.fields(&root, "test").expect("a mapping");
        let c = fields.take("c").expect("present");
        let mut inner = reader.fields(c, "inner").expect("a mapping");
        assert_eq!(inner.take("b").and_then(Node::text), Some("1"));
        inner.take("limit");
        inner.finish(&mut reader);
        assert_eq!(
            reader.errors[0].to_string(),
            "f.yml:4:3: unknown field \"limits\" in inner; did you mean \"limit\"?"
        );
    }
}
