//! Where an expression stands, and Grafana's variables in it.

use tradewatch_alert::yaml::Node;
use tradewatch_promql::Span;

use crate::finding::Place;
use crate::read::{Document, json};

/// Stands for the text of a variable within a string: no label has it.
pub const VARIABLE: char = '\u{e000}';
/// Stands for a variable where a name belongs.
pub const VARIABLE_NAME: &str = "tw_variable";

/// What an expression is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The condition of an alert.
    Alert,
    /// A recording rule.
    Record,
    /// A query of a panel.
    Panel,
}

/// An expression in its file.
pub struct Site<'a> {
    /// The file.
    pub document: &'a Document,
    /// What it belongs to: `alert X`.
    pub object: String,
    /// The scalar that holds it.
    pub node: &'a Node,
    /// The text that was parsed: that of the scalar with variables replaced.
    pub text: String,
    /// What it is for.
    pub role: Role,
    /// Replaced parts: bytes of `text`, bytes of the scalar.
    pub replaced: Vec<(Span, Span)>,
}

impl<'a> Site<'a> {
    /// An expression of a rule.
    pub fn rule(document: &'a Document, object: String, node: &'a Node, role: Role) -> Site<'a> {
        let text = node.text().unwrap_or("").to_owned();
        Site { document, object, node, text, role, replaced: Vec::new() }
    }

    /// A query of a panel; variables are replaced.
    pub fn panel(document: &'a Document, object: String, node: &'a Node) -> Site<'a> {
        let (text, replaced) = substitute(node.text().unwrap_or(""));
        Site { document, object, node, text, role: Role::Panel, replaced }
    }

    /// The text of a part.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Whether a variable stands in a part.
    pub fn has_variable(&self, span: Span) -> bool {
        self.replaced.iter().any(|(new, _)| new.start < span.end && span.start < new.end)
    }

    /// The place of a part.
    pub fn place(&self, span: Span) -> Place {
        let start = self.original(span.start as usize);
        let end = self.original(span.end as usize).max(start);
        let source = self.node.text().unwrap_or("");
        if self.role == Role::Panel {
            let (line, column) = json::locate(&self.document.text, self.node, start);
            let flat = |text: &str| text.replace(['\n', '\r', '\t'], " ");
            return Place {
                file: self.document.path.clone(),
                line,
                column,
                object: self.object.clone(),
                excerpt: flat(source),
                mark_start: source.get(..start).map_or(0, |text| text.chars().count()),
                mark_len: source.get(start..end).map_or(1, |text| text.chars().count()).max(1),
            };
        }
        let (line, column) = self.node.locate(&self.document.text, start);
        let marked = source.get(start..end).unwrap_or("");
        let first = marked.lines().next().unwrap_or("").trim_end().chars().count().max(1);
        self.document.place_at(line, column, first, &self.object)
    }

    /// From a byte of the text to one of the scalar.
    fn original(&self, at: usize) -> usize {
        let mut shift = 0isize;
        for (new, old) in &self.replaced {
            if at <= new.start as usize {
                break;
            }
            if at < new.end as usize {
                return old.start as usize;
            }
            shift = old.end as isize - new.end as isize;
        }
        (at as isize + shift).max(0) as usize
    }
}

/// Replaces Grafana's variables by something that parses: a duration in brackets, a mark in strings, a name elsewhere.
pub fn substitute(source: &str) -> (String, Vec<(Span, Span)>) {
    let mut text = String::with_capacity(source.len());
    let mut replaced = Vec::new();
    let (mut quote, mut brackets, mut at) = (None, 0usize, 0);
    while let Some(c) = source[at..].chars().next() {
        let variable = match c {
            '$' => dollar(&source[at..]),
            '[' if source[at..].starts_with("[[") => double_brackets(&source[at..]),
            _ => None,
        };
        if let Some((name, len)) = variable {
            let start = text.len();
            let numeric = name.ends_with("_ms") || name.ends_with("_s");
            let after_offset = text.trim_end().ends_with("offset");
            match (quote, brackets, name.starts_with("__")) {
                (Some(_), _, _) => text.push(VARIABLE),
                (None, 1.., _) => text.push_str(if numeric { "300" } else { "5m" }),
                (None, 0, true) => text.push_str("300"),
                (None, 0, false) if after_offset => text.push_str("5m"),
                (None, 0, false) => text.push_str(VARIABLE_NAME),
            }
            replaced.push((Span::new(start, text.len()), Span::new(at, at + len)));
            at += len;
            // A number behind a variable within brackets is its unit: `[${window}m]`.
            if brackets > 0 && quote.is_none() {
                at += source[at..].chars().take_while(|c| c.is_ascii_alphabetic()).count();
            }
            continue;
        }
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), '\\') => {
                text.push(c);
                at += 1;
                if let Some(next) = source[at..].chars().next() {
                    text.push(next);
                    at += next.len_utf8();
                }
                continue;
            }
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '[') => brackets += 1,
            (None, ']') => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        text.push(c);
        at += c.len_utf8();
    }
    (text, replaced)
}

/// `$name` or `${name:format}`: the name and the length of the whole.
fn dollar(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix("${") {
        let end = inner.find('}')?;
        let name = inner[..end].split([':', '.']).next().unwrap_or("");
        return (!name.is_empty()).then_some((name, end + 3));
    }
    let len = text[1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
    let name = &text[1..1 + len];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, len + 1))
}

/// `[[name]]`.
fn double_brackets(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("[[")?;
    let end = inner.find("]]")?;
    let name = inner[..end].split(':').next().unwrap_or("");
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then_some((name, end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_something_that_parses() {
        for (source, expected) in [
            ("rate(x[$__rate_interval])", "rate(x[5m])"),
            ("rate(x[${window}m] offset $ago)", "rate(x[5m] offset 5m)"),
            ("sum by ($by) (x{a=~\"$a|^b$\"})", "sum by (tw_variable) (x{a=~\"\u{e000}|^b$\"})"),
            (
                "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
                "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
            ),
            ("x * $__interval_ms", "x * 300"),
            ("x{a=\"[[b]]\"}", "x{a=\"\u{e000}\"}"),
        ] {
            let (text, _) = substitute(source);
            assert_eq!(text, expected);
            assert!(tradewatch_promql::parse(&text).is_ok(), "{text}");
        }
    }
}
