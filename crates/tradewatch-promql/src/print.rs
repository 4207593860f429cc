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
            write!(f, " {} {}", Operator(b), b.rhs)?;
        }
        Ok(())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Head(self).fmt(f)?;
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

/// Lines longer than this are broken.
const LINE_MAX: usize = 100;

/// Writes an expression over several lines where one would be long, as Prometheus formats queries.
///
/// ```
/// let expr = tradewatch_promql::parse("sum(rate(orders_total[5m])) / sum(x)").unwrap();
/// assert_eq!(tradewatch_promql::prettify(&expr), "sum(rate(orders_total[5m])) / sum(x)");
/// ```
pub fn prettify(expr: &Expr) -> String {
    pretty(expr, 0)
}

fn pretty(expr: &Expr, level: usize) -> String {
    let indent = "  ".repeat(level);
    let line = expr.to_string();
    if line.len() <= LINE_MAX {
        return format!("{indent}{line}");
    }
    match &expr.kind {
        ExprKind::Binary(_) => pretty_chain(expr, level),
        ExprKind::Aggregate(a) => {
            let mut out = format!("{indent}{}(\n", Head(a));
            if let Some(param) = &a.param {
                out.push_str(&format!("{},\n", pretty(param, level + 1)));
            }
            format!("{out}{}\n{indent})", pretty(&a.expr, level + 1))
        }
        ExprKind::Call(call) => {
            let args: Vec<String> = call.args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", call.function.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", pretty(inner, level + 1)),
        ExprKind::Unary(op, inner) => {
            let sign = if *op == UnaryOp::Plus { '+' } else { '-' };
            format!("{indent}{sign}{}", pretty(inner, level).trim_start())
        }
        ExprKind::Subquery(s) => format!("{}{}", pretty(&s.expr, level), Suffix(s)),
        _ => format!("{indent}{line}"),
    }
}

/// Each operator of a chain on a line of its own, what is on its left one level deeper.
fn pretty_chain(expr: &Expr, level: usize) -> String {
    let mut chain = Vec::new();
    let mut leaf = expr;
    while let ExprKind::Binary(b) = &leaf.kind {
        if leaf.to_string().len() <= LINE_MAX {
            break;
        }
        chain.push(b);
        leaf = &b.lhs;
    }
    let mut out = pretty(leaf, level + chain.len());
    for (deep, b) in chain.into_iter().enumerate().rev() {
        let indent = "  ".repeat(level + deep);
        out = format!("{out}\n{indent}{}\n{}", Operator(b), pretty(&b.rhs, level + deep + 1));
    }
    out
}

/// An operator with its modifiers.
struct Operator<'a>(&'a Binary);

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.op.symbol(), if self.0.return_bool { " bool" } else { "" })?;
        self.0.matching.as_ref().map_or(Ok(()), |matching| write_matching(f, matching))
    }
}

/// An aggregation up to its parenthesis.
struct Head<'a>(&'a Aggregate);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.name())?;
        if self.0.without {
            write!(f, " without ({}) ", label_list(&self.0.grouping))
        } else if !self.0.grouping.is_empty() {
            write!(f, " by ({}) ", label_list(&self.0.grouping))
        } else {
            Ok(())
        }
    }
}

/// The brackets of a subquery and what follows them.
struct Suffix<'a>(&'a Subquery);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.0.range)?;
        if let Some(step) = &self.0.step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        write_at(f, self.0.at)?;
        write_offset(f, &self.0.offset)
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
            ExprKind::Subquery(s) => write!(f, "{}{}", s.expr, Suffix(s)),
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
