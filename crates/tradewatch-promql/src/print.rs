//! Expression to text, in the form that Prometheus prints.

use std::fmt;

use tradewatch_tsdb::{MatchOp, Matcher};

use crate::ast::*;
use crate::duration::{Extent, format_seconds};

/// A quoted string as Go writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => match crate::lexer::raw_byte(c) {
                Some(byte) => out.push_str(&format!("\\x{byte:02x}")),
                None => out.push(c),
            },
        }
    }
    out.push('"');
    out
}

/// Whether a label name may stand without quotes.
pub(crate) fn is_plain_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

fn label_list(labels: &[String]) -> String {
    let shown = |label: &String| if is_plain_label(label) { label.clone() } else { quote(label) };
    labels.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn matcher_text(matcher: &Matcher) -> String {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let name = matcher.name();
    let name = if is_plain_label(name) { name.to_string() } else { quote(name) };
    format!("{name}{op}{}", quote(matcher.value()))
}

fn write_selector(f: &mut fmt::Formatter<'_>, v: &VectorSelector) -> fmt::Result {
    f.write_str(v.name.as_deref().unwrap_or(""))?;
    let named = usize::from(v.name.is_some());
    let mut shown: Vec<String> = v.matchers[..v.matchers.len() - named].iter().map(matcher_text).collect();
    shown.sort();
    if !shown.is_empty() || v.name.is_none() {
        write!(f, "{{{}}}", shown.join(","))?;
    }
    Ok(())
}

fn write_at(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
        Some(At::Millis(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            write!(f, " @ {sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
        }
    }
}

fn write_extended(f: &mut fmt::Formatter<'_>, extended: Option<Extended>) -> fmt::Result {
    f.write_str(match extended {
        None => "",
        Some(Extended::Anchored) => " anchored",
        Some(Extended::Smoothed) => " smoothed",
    })
}

fn write_offset(f: &mut fmt::Formatter<'_>, offset: &Extent) -> fmt::Result {
    if *offset == Extent::ZERO { Ok(()) } else { write!(f, " offset {offset}") }
}

fn write_matching(f: &mut fmt::Formatter<'_>, m: &Matching) -> fmt::Result {
    let side = match m.cardinality {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        _ => None,
    };
    if !m.labels.is_empty() || m.on || side.is_some() {
        let word = if m.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", label_list(&m.labels))?;
    }
    if let Some(side) = side {
        write!(f, " group_{side} ({})", label_list(&m.include))?;
    }
    match (m.fill_left, m.fill_right) {
        (Some(a), Some(b)) if a == b => write!(f, " fill ({})", crate::format_float(a.0))?,
        (a, b) => {
            for (value, word) in [(a, "left"), (b, "right")] {
                if let Some(value) = value {
                    write!(f, " fill_{word} ({})", crate::format_float(value.0))?;
                }
            }
        }
    }
    Ok(())
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A chain of operators leans to the left and may be long, so it is followed in a loop.
        let mut chain = vec![self];
        while let ExprKind::Binary(inner) = &chain.last().expect("never empty").lhs.kind {
            chain.push(inner);
        }
        chain.last().expect("never empty").lhs.fmt(f)?;
        for b in chain.into_iter().rev() {
            write!(f, " {}{}", b.op.symbol(), if b.return_bool { " bool" } else { "" })?;
            if let Some(matching) = &b.matching {
                write_matching(f, matching)?;
            }
            write!(f, " {}", b.rhs)?;
        }
        Ok(())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if self.without {
            write!(f, " without ({}) ", label_list(&self.grouping))?;
        } else if !self.grouping.is_empty() {
            write!(f, " by ({}) ", label_list(&self.grouping))?;
        }
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(n) => f.write_str(&format_seconds(n.value, n.duration)),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Vector(v) => {
                write_selector(f, v)?;
                write_at(f, v.at)?;
                write_extended(f, v.extended)?;
                write_offset(f, &v.offset)
            }
            ExprKind::Matrix(m) => {
                write_selector(f, &m.selector)?;
                write!(f, "[{}]", m.range)?;
                write_extended(f, m.selector.extended)?;
                write_at(f, m.selector.at)?;
                write_offset(f, &m.selector.offset)
            }
            ExprKind::Subquery(s) => {
                write!(f, "{}[{}:", s.expr, s.range)?;
                if let Some(step) = &s.step {
                    write!(f, "{step}")?;
                }
                f.write_str("]")?;
                write_at(f, s.at)?;
                write_offset(f, &s.offset)
            }
            ExprKind::Unary(UnaryOp::Plus, inner) => write!(f, "+{inner}"),
            ExprKind::Unary(UnaryOp::Minus, inner) => write!(f, "-{inner}"),
            ExprKind::Binary(b) => b.fmt(f),
            ExprKind::Aggregate(a) => a.fmt(f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (at, arg) in call.args.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{arg}")?;
                }
                f.write_str(")")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}
