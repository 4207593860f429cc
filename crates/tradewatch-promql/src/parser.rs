//! Tokens to expression, by precedence climbing.
//!
//! Depth is bounded: parentheses, calls and signs nest at most [`NESTING_MAX`] deep, and a chain of operators
//! (which leans to the left) may be [`OPERATORS_MAX`] long; everything that walks a tree follows that chain in a loop.

use tradewatch_tsdb::{MatchOp, Matcher};

use crate::ast::*;
use crate::check;
use crate::duration::{DurationExpr, DurationOp, Extent, SECONDS_MAX, parse_duration_ms};
use crate::error::{ParseError, Span};
use crate::functions;
use crate::lexer::{Keyword, Tok, Token, is_label_name, lex, unquote};
use crate::print::quote;

/// How deep expressions may nest.
pub const NESTING_MAX: usize = 150;
/// How many operators and modifiers one query may hold.
pub const OPERATORS_MAX: usize = 5_000;
/// How long a query may be.
pub const QUERY_BYTES_MAX: usize = 4 << 20;

type Result<T> = std::result::Result<T, ParseError>;

/// Reads a query.
///
/// # Errors
/// With the place, if the text is not PromQL or its types do not fit.
pub fn parse(input: &str) -> Result<Expr> {
    let mut parser = Parser::new(input)?;
    if parser.peek() == &Tok::Eof {
        return Err(parser.error(parser.token().span, "no expression found in input"));
    }
    let mut expr = parser.expr(0)?;
    if parser.peek() != &Tok::Eof {
        return Err(parser.unexpected("", ""));
    }
    check::check(input, &expr)?;
    expr.source = Some(input.into());
    Ok(expr)
}

/// Reads a vector selector such as `up{job="x"}`, as the `match[]` parameter of the HTTP API holds it.
///
/// # Errors
/// With the place, if the text is not a plain selector.
pub fn parse_selector(input: &str) -> Result<Vec<Matcher>> {
    let expr = parse(input)?;
    match expr.kind {
        ExprKind::Vector(v) if v.offset == Extent::ZERO && v.at.is_none() && v.extended.is_none() => {
            Ok(v.matchers)
        }
        _ => Err(ParseError::new(input, expr.span, "expected a series selector such as up{job=\"x\"}")),
    }
}

pub(crate) struct Parser<'a> {
    input: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(input: &'a str) -> Result<Parser<'a>> {
        if input.len() > QUERY_BYTES_MAX {
            let message = format!("query of {} bytes is longer than {QUERY_BYTES_MAX}", input.len());
            return Err(ParseError::new("", Span::default(), message));
        }
        Ok(Parser { input, tokens: lex(input), at: 0, depth: 0, operators: 0 })
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Tok {
        &self.token().tok
    }

    fn peek_after(&self) -> &Tok {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].tok
    }

    fn next(&mut self) -> Token {
        let token = self.token().clone();
        self.at += 1;
        token
    }

    fn text(&self, span: Span) -> &'a str {
        &self.input[span.start as usize..span.end as usize]
    }

    fn last_end(&self) -> Span {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.input, span, message)
    }

    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.token();
        if let Tok::Bad(message) = &token.tok {
            return self.error(token.span, message.clone());
        }
        let mut message = format!("unexpected {}", self.describe(token));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error(token.span, message)
    }

    fn describe(&self, token: &Token) -> String {
        let text = self.text(token.span);
        match token.tok {
            Tok::Eof => "end of input".into(),
            Tok::Ident => format!("identifier {text:?}"),
            Tok::MetricIdent => format!("metric identifier {text:?}"),
            Tok::Str => format!("string {text:?}"),
            Tok::Number => format!("number {text:?}"),
            Tok::Duration => format!("duration {text:?}"),
            Tok::Keyword(_) => format!("<{text}>"),
            _ => format!("{text:?}"),
        }
    }

    fn accept(&mut self, tok: &Tok) -> bool {
        let found = self.peek() == tok;
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, tok: &Tok, context: &str, expected: &str) -> Result<Token> {
        if self.peek() == tok { Ok(self.next()) } else { Err(self.unexpected(context, expected)) }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            let message = format!("expression is nested more than {NESTING_MAX} levels deep");
            return Err(self.error(self.token().span, message));
        }
        Ok(())
    }

    fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = format!("expression holds more than {OPERATORS_MAX} operators");
            return Err(self.error(self.token().span, message));
        }
        Ok(())
    }

    /// An expression whose operators bind at least as tightly as `binding`.
    fn expr(&mut self, binding: u8) -> Result<Expr> {
        self.deeper()?;
        let mut lhs = self.operand()?;
        while let Some(op) = binary_op(self.peek()).filter(|op| op.binding() >= binding) {
            self.count_operator()?;
            lhs = self.binary(lhs, op)?;
        }
        self.depth -= 1;
        Ok(lhs)
    }

    fn binary(&mut self, lhs: Expr, op: BinaryOp) -> Result<Expr> {
        let op_span = self.next().span;
        let (return_bool, matching) = self.binary_modifiers()?;
        let rhs = self.expr(if op == BinaryOp::Pow { op.binding() } else { op.binding() + 1 })?;
        let span = lhs.span.to(rhs.span);
        let returns = ValueType::Vector;
        let mut binary = Binary { op, lhs, rhs, return_bool, matching: Some(matching), returns };
        check::binary(self.input, &mut binary, op_span, span)?;
        Ok(Expr { kind: ExprKind::Binary(Box::new(binary)), span, source: None })
    }

    fn binary_modifiers(&mut self) -> Result<(bool, Matching)> {
        let mut matching = Matching::plain();
        let return_bool = self.accept(&Tok::Keyword(Keyword::Bool));
        let on = self.peek() == &Tok::Keyword(Keyword::On);
        if on || self.peek() == &Tok::Keyword(Keyword::Ignoring) {
            self.next();
            matching.on = on;
            matching.labels = self.grouping()?;
            let cardinality = match self.peek() {
                Tok::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                Tok::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = cardinality {
                self.next();
                matching.cardinality = cardinality;
                if self.peek() == &Tok::LeftParen {
                    matching.include = self.grouping()?;
                }
            }
        }
        if self.accept(&Tok::Keyword(Keyword::Fill)) {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
        } else if self.accept(&Tok::Keyword(Keyword::FillLeft)) {
            matching.fill_left = Some(self.fill_value()?);
            if self.accept(&Tok::Keyword(Keyword::FillRight)) {
                matching.fill_right = Some(self.fill_value()?);
            }
        } else if self.accept(&Tok::Keyword(Keyword::FillRight)) {
            matching.fill_right = Some(self.fill_value()?);
            if self.accept(&Tok::Keyword(Keyword::FillLeft)) {
                matching.fill_left = Some(self.fill_value()?);
            }
        }
        Ok((return_bool, matching))
    }

    fn fill_value(&mut self) -> Result<Fill> {
        self.expect(&Tok::LeftParen, "fill value", "\"(\"")?;
        let negative = match self.peek() {
            Tok::Add => Some(1.0),
            Tok::Sub => Some(-1.0),
            _ => None,
        };
        self.at += usize::from(negative.is_some());
        if !matches!(self.peek(), Tok::Number | Tok::Duration) {
            return Err(self.unexpected("fill value", "number"));
        }
        let number = self.number()?;
        self.expect(&Tok::RightParen, "fill value", "\")\"")?;
        Ok(Fill(number.value * negative.unwrap_or(1.0)))
    }

    fn grouping(&mut self) -> Result<Vec<String>> {
        self.expect(&Tok::LeftParen, "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.peek() == &Tok::RightParen && (labels.is_empty() || self.last_was_comma()) {
                break;
            }
            let token = self.token().clone();
            let label = match token.tok {
                Tok::Ident | Tok::MetricIdent | Tok::Keyword(_) => self.text(token.span).to_string(),
                Tok::Str => unquote(self.text(token.span)),
                _ => return Err(self.unexpected("grouping opts", "label")),
            };
            if !is_label_name(&label) {
                let message = format!("invalid label name for grouping: {}", quote(&label));
                return Err(self.error(token.span, message));
            }
            self.next();
            labels.push(label);
            if !self.accept(&Tok::Comma) && self.peek() != &Tok::RightParen {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
            if self.peek() == &Tok::RightParen {
                break;
            }
        }
        self.next();
        Ok(labels)
    }

    fn last_was_comma(&self) -> bool {
        self.tokens[self.at - 1].tok == Tok::Comma
    }

    /// A sign and what it applies to, or a primary expression with its modifiers.
    fn operand(&mut self) -> Result<Expr> {
        let sign = match self.peek() {
            Tok::Add => UnaryOp::Plus,
            Tok::Sub => UnaryOp::Minus,
            _ => {
                let primary = self.primary()?;
                return self.modifiers(primary);
            }
        };
        let start = self.next().span;
        let inner = self.expr(BinaryOp::Pow.binding())?;
        let span = start.to(inner.span);
        if let ExprKind::Number(number) = inner.kind {
            let value = if sign == UnaryOp::Minus { -number.value } else { number.value };
            return Ok(Expr { kind: ExprKind::Number(Number { value, ..number }), span, source: None });
        }
        check::unary(self.input, &inner, span)?;
        Ok(Expr { kind: ExprKind::Unary(sign, Box::new(inner)), span, source: None })
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.token().clone();
        match token.tok {
            Tok::LeftParen => {
                self.next();
                let inner = self.expr(0)?;
                let close = self.expect(&Tok::RightParen, "", "")?;
                let span = token.span.to(close.span);
                Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span, source: None })
            }
            Tok::Number | Tok::Duration => {
                let number = self.number()?;
                Ok(Expr { kind: ExprKind::Number(number), span: token.span, source: None })
            }
            Tok::Str => {
                self.next();
                Ok(Expr {
                    kind: ExprKind::String(unquote(self.text(token.span))),
                    span: token.span,
                    source: None,
                })
            }
            Tok::LeftBrace => self.selector(None, token.span),
            Tok::Keyword(keyword) => {
                if let Some(op) = aggregate_op(keyword) {
                    let by = matches!(self.peek_after(), Tok::Keyword(Keyword::By | Keyword::Without));
                    if by || self.peek_after() == &Tok::LeftParen {
                        return self.aggregate(op);
                    }
                }
                let callable = matches!(
                    keyword,
                    Keyword::Start
                        | Keyword::End
                        | Keyword::Step
                        | Keyword::Range
                        | Keyword::MaxOf
                        | Keyword::MinOf
                );
                if callable && self.peek_after() == &Tok::LeftParen {
                    return self.call();
                }
                if !keyword.names_metric() {
                    return Err(self.unexpected("", ""));
                }
                self.named_selector()
            }
            Tok::Ident if self.peek_after() == &Tok::LeftParen => self.call(),
            Tok::Ident | Tok::MetricIdent => self.named_selector(),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn number(&mut self) -> Result<Number> {
        let token = self.next();
        let text = self.text(token.span);
        if token.tok == Tok::Duration {
            let ms = parse_duration_ms(text).map_err(|message| self.error(token.span, message))?;
            return Ok(Number { value: ms as f64 / 1000.0, duration: true });
        }
        let value = parse_number(text)
            .ok_or_else(|| self.error(token.span, format!("error parsing number: {text:?}")))?;
        Ok(Number { value, duration: false })
    }

    fn named_selector(&mut self) -> Result<Expr> {
        let token = self.next();
        let name = self.text(token.span).to_string();
        self.selector(Some(name), token.span)
    }

    fn selector(&mut self, name: Option<String>, start: Span) -> Result<Expr> {
        let mut matchers = Vec::new();
        if self.peek() == &Tok::LeftBrace {
            matchers = self.label_matchers()?;
        }
        let span = start.to(self.last_end());
        if let Some(name) = &name {
            if let Some(other) = matchers.iter().find(|m| m.name() == "__name__") {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value());
                return Err(self.error(span, message));
            }
            let matcher = Matcher::new("__name__", MatchOp::Equal, name);
            matchers.push(matcher.map_err(|e| self.error(start, e.to_string()))?);
        }
        let selector = VectorSelector { name, matchers, offset: Extent::ZERO, at: None, extended: None };
        Ok(Expr { kind: ExprKind::Vector(selector), span, source: None })
    }

    fn label_matchers(&mut self) -> Result<Vec<Matcher>> {
        self.next();
        let mut matchers = Vec::new();
        if self.accept(&Tok::RightBrace) {
            return Ok(matchers);
        }
        loop {
            let token = self.token().clone();
            let label = match token.tok {
                Tok::Ident => self.text(token.span).to_string(),
                Tok::Str => unquote(self.text(token.span)),
                _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
            };
            self.next();
            let op = match self.peek() {
                Tok::Assign => Some(MatchOp::Equal),
                Tok::Neq => Some(MatchOp::NotEqual),
                Tok::EqRegex => Some(MatchOp::Regex),
                Tok::NeqRegex => Some(MatchOp::NotRegex),
                _ if token.tok == Tok::Str => None,
                _ => return Err(self.unexpected("label matching", "label matching operator")),
            };
            let matcher = match op {
                None => Matcher::new("__name__", MatchOp::Equal, &label),
                Some(op) => {
                    self.next();
                    let value = self.expect(&Tok::Str, "label matching", "string")?;
                    Matcher::new(&label, op, &unquote(self.text(value.span)))
                }
            };
            let span = token.span.to(self.last_end());
            matchers.push(matcher.map_err(|e| self.error(span, e.to_string()))?);
            let comma = self.accept(&Tok::Comma);
            if self.accept(&Tok::RightBrace) {
                return Ok(matchers);
            }
            if !comma {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, Span)> {
        self.expect(&Tok::LeftParen, "", "\"(\"")?;
        let mut args = Vec::new();
        if self.peek() == &Tok::RightParen {
            return Ok((args, self.next().span));
        }
        loop {
            args.push(self.expr(0)?);
            if self.peek() == &Tok::RightParen {
                return Ok((args, self.next().span));
            }
            let comma = self.expect(&Tok::Comma, "", "")?;
            if self.peek() == &Tok::RightParen {
                return Err(self.error(comma.span, "trailing commas not allowed in function call args"));
            }
        }
    }

    fn call(&mut self) -> Result<Expr> {
        let token = self.next();
        let name = self.text(token.span);
        let function = functions::find(name)
            .ok_or_else(|| self.error(token.span, format!("unknown function with name {name:?}")))?;
        let (args, close) = self.arguments()?;
        let span = token.span.to(close);
        let call = Call { function, args };
        check::call(self.input, &call, span)?;
        Ok(Expr { kind: ExprKind::Call(Box::new(call)), span, source: None })
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr> {
        let start = self.next().span;
        let mut modifier = self.aggregate_modifier()?;
        if self.peek() != &Tok::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let (mut args, _) = self.arguments()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        let span = start.to(self.last_end());
        let wanted = 1 + usize::from(op.parameter().is_some());
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        if args.len() != wanted {
            let got = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}"
            );
            return Err(self.error(span, message));
        }
        let expr = args.pop().expect("the number of arguments was checked");
        let param = args.pop();
        let (without, grouping) = modifier.unwrap_or((false, Vec::new()));
        let aggregate = Aggregate { op, without, grouping, param, expr };
        check::aggregate(self.input, &aggregate)?;
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span, source: None })
    }

    fn aggregate_modifier(&mut self) -> Result<Option<(bool, Vec<String>)>> {
        let without = match self.peek() {
            Tok::Keyword(Keyword::By) => false,
            Tok::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next();
        Ok(Some((without, self.grouping()?)))
    }

    /// Ranges, `offset`, `@`, `anchored` and `smoothed` behind an expression.
    fn modifiers(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            expr = match self.peek() {
                Tok::LeftBracket => self.range(expr)?,
                Tok::Keyword(Keyword::Offset) => self.offset(expr)?,
                Tok::Keyword(Keyword::Anchored) => self.extended(expr, Extended::Anchored)?,
                Tok::Keyword(Keyword::Smoothed) => self.extended(expr, Extended::Smoothed)?,
                Tok::At => self.at_modifier(expr)?,
                _ => return Ok(expr),
            };
            self.count_operator()?;
        }
    }

    fn range(&mut self, expr: Expr) -> Result<Expr> {
        let open = self.next().span;
        let range = self.positive_duration()?;
        let kind = if self.accept(&Tok::Colon) {
            let step = match self.peek() {
                Tok::RightBracket => None,
                _ => Some(self.positive_duration()?),
            };
            let close = self.expect(&Tok::RightBracket, "subquery selector", "\"]\"")?.span;
            let span = expr.span.to(close);
            check::subquery(self.input, &expr, span)?;
            let sub = Subquery { expr, range, step, offset: Extent::ZERO, at: None };
            return Ok(Expr { kind: ExprKind::Subquery(Box::new(sub)), span, source: None });
        } else {
            let close = self.expect(&Tok::RightBracket, "subquery or range", "\":\" or \"]\"")?.span;
            let message = match &expr.kind {
                ExprKind::Vector(v) if v.offset != Extent::ZERO => "no offset modifiers allowed before range",
                ExprKind::Vector(v) if v.at.is_some() => "no @ modifiers allowed before range",
                ExprKind::Vector(_) => "",
                _ => "ranges only allowed for vector selectors",
            };
            if !message.is_empty() {
                return Err(self.error(open.to(close), message));
            }
            expr.kind
        };
        let span = expr.span.to(self.last_end());
        let ExprKind::Vector(selector) = kind else { unreachable!("checked above") };
        let matrix = MatrixSelector { selector, inner_span: expr.span, range };
        Ok(Expr { kind: ExprKind::Matrix(matrix), span, source: None })
    }

    fn extended(&mut self, mut expr: Expr, extended: Extended) -> Result<Expr> {
        let span = self.next().span;
        let word = if extended == Extended::Anchored { "anchored" } else { "smoothed" };
        let slot = match &mut expr.kind {
            ExprKind::Vector(v) => &mut v.extended,
            ExprKind::Matrix(m) => &mut m.selector.extended,
            ExprKind::Subquery(_) => {
                return Err(self.error(span, format!("{word} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(span, format!("{word} modifier not implemented"))),
        };
        if slot.is_some_and(|before| before != extended) {
            return Err(self.error(span, "anchored and smoothed modifiers cannot be used together"));
        }
        *slot = Some(extended);
        expr.span = expr.span.to(span);
        Ok(expr)
    }

    fn offset(&mut self, mut expr: Expr) -> Result<Expr> {
        let keyword = self.next().span;
        let offset = self.offset_duration()?;
        let end = self.last_end();
        let slot = match &mut expr.kind {
            ExprKind::Vector(v) => &mut v.offset,
            ExprKind::Matrix(m) => &mut m.selector.offset,
            ExprKind::Subquery(s) => &mut s.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(self.error(keyword, message));
            }
        };
        if *slot != Extent::ZERO {
            return Err(self.error(keyword, "offset may not be set multiple times"));
        }
        *slot = offset;
        expr.span = expr.span.to(end);
        Ok(expr)
    }

    fn at_modifier(&mut self, mut expr: Expr) -> Result<Expr> {
        let sign_at = self.next().span;
        let at = match self.peek() {
            Tok::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                let at = if *keyword == Keyword::Start { At::Start } else { At::End };
                self.next();
                self.expect(&Tok::LeftParen, "@", "\"(\"")?;
                self.expect(&Tok::RightParen, "@", "\")\"")?;
                at
            }
            _ => {
                let sign = match self.peek() {
                    Tok::Add => 1.0,
                    Tok::Sub => -1.0,
                    _ => 0.0,
                };
                self.at += usize::from(sign != 0.0);
                if !matches!(self.peek(), Tok::Number | Tok::Duration) {
                    return Err(self.unexpected("@", "timestamp"));
                }
                let number = self.number()?;
                let seconds = if sign < 0.0 { -number.value } else { number.value };
                if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
                    let message = format!("timestamp out of bounds for @ modifier: {seconds}");
                    return Err(self.error(sign_at.to(self.last_end()), message));
                }
                At::Millis((seconds * 1000.0).round() as i64)
            }
        };
        let slot = match &mut expr.kind {
            ExprKind::Vector(v) => &mut v.at,
            ExprKind::Matrix(m) => &mut m.selector.at,
            ExprKind::Subquery(s) => &mut s.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(self.error(sign_at, message));
            }
        };
        if slot.is_some() {
            return Err(self.error(sign_at, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        expr.span = expr.span.to(self.last_end());
        Ok(expr)
    }

    fn positive_duration(&mut self) -> Result<Extent> {
        let start = self.token().span;
        let expr = self.duration(0)?;
        let span = start.to(self.last_end());
        if let DurationExpr::Number { seconds, .. } = expr
            && (seconds <= 0.0 || seconds.is_nan())
        {
            return Err(self.error(span, "duration must be greater than 0"));
        }
        Ok(extent(expr))
    }

    /// What may follow `offset`: a literal, a call or a parenthesis, each with a sign; operators only behind a parenthesis.
    fn offset_duration(&mut self) -> Result<Extent> {
        let start = self.at;
        let signed = matches!(self.peek(), Tok::Add | Tok::Sub);
        let negative = self.peek() == &Tok::Sub;
        self.at += usize::from(signed);
        let expr = match self.peek() {
            Tok::Number | Tok::Duration | Tok::Keyword(_) => self.duration_operand()?,
            Tok::LeftParen if signed => self.duration_operand()?,
            Tok::LeftParen => {
                self.at = start;
                return Ok(extent(self.duration(0)?));
            }
            Tok::Add | Tok::Sub => {
                self.at = start;
                return Ok(extent(self.duration(0)?));
            }
            _ => return Err(self.unexpected("offset", "number, duration, step(), or range()")),
        };
        Ok(extent(if negative { negate(expr) } else { expr }))
    }

    fn duration(&mut self, binding: u8) -> Result<DurationExpr> {
        let depth = self.depth;
        self.deeper()?;
        let mut lhs = match self.peek() {
            Tok::Add | Tok::Sub => {
                let negative = self.next().tok == Tok::Sub;
                let inner = self.duration(DurationOp::Pow.binding())?;
                if negative { negate(inner) } else { inner }
            }
            _ => self.duration_operand()?,
        };
        while let Some(op) = duration_op(self.peek()).filter(|op| op.binding() >= binding) {
            // Each operator deepens the tree by one, and nothing needs long chains here.
            self.deeper()?;
            let op_span = self.next().span;
            let rhs = self.duration(if op == DurationOp::Pow { op.binding() } else { op.binding() + 1 })?;
            let zero = matches!(rhs, DurationExpr::Number { seconds, .. } if seconds == 0.0);
            match op {
                DurationOp::Div if zero => return Err(self.error(op_span, "division by zero")),
                DurationOp::Mod if zero => return Err(self.error(op_span, "modulo by zero")),
                _ => lhs = DurationExpr::Binary(op, Box::new(lhs), Box::new(rhs)),
            }
        }
        self.depth = depth;
        Ok(lhs)
    }

    fn duration_operand(&mut self) -> Result<DurationExpr> {
        const EXPECTED: &str = "number, duration, step(), or range()";
        match *self.peek() {
            Tok::Number | Tok::Duration => {
                let span = self.token().span;
                let number = self.number()?;
                if number.value.is_nan() || number.value.abs() > SECONDS_MAX {
                    return Err(self.error(span, "duration out of range"));
                }
                Ok(DurationExpr::Number { seconds: number.value, duration: number.duration })
            }
            Tok::LeftParen => {
                self.next();
                let inner = self.duration(0)?;
                self.expect(&Tok::RightParen, "duration expression", "\")\"")?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            Tok::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.next();
                self.expect(&Tok::LeftParen, "duration expression", "\"(\"")?;
                self.expect(&Tok::RightParen, "duration expression", "\")\"")?;
                Ok(if keyword == Keyword::Step { DurationExpr::Step } else { DurationExpr::Range })
            }
            Tok::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.next();
                self.expect(&Tok::LeftParen, "duration expression", "\"(\"")?;
                let a = Box::new(self.duration(0)?);
                self.expect(&Tok::Comma, "duration expression", "\",\"")?;
                let b = Box::new(self.duration(0)?);
                self.expect(&Tok::RightParen, "duration expression", "\")\"")?;
                let min = keyword == Keyword::MinOf;
                Ok(if min { DurationExpr::MinOf(a, b) } else { DurationExpr::MaxOf(a, b) })
            }
            _ => Err(self.unexpected("subquery or range selector", EXPECTED)),
        }
    }
}

fn negate(expr: DurationExpr) -> DurationExpr {
    match expr {
        DurationExpr::Number { seconds, duration } => DurationExpr::Number { seconds: -seconds, duration },
        other => DurationExpr::Negative(Box::new(other)),
    }
}

fn extent(expr: DurationExpr) -> Extent {
    match expr {
        DurationExpr::Number { seconds, .. } => Extent::Fixed((seconds * 1e9).round() as i64),
        other => Extent::Computed(Box::new(other)),
    }
}

/// Reads a number as Go does: decimal, hexadecimal, octal with a leading zero, underscores between digits.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return i64::from_str_radix(&lower, 8).ok().map(|n| n as f64);
    }
    match lower.as_str() {
        "inf" => Some(f64::INFINITY),
        "nan" => Some(f64::NAN),
        _ => lower.parse::<f64>().ok().filter(|value| value.is_finite()),
    }
}

fn binary_op(tok: &Tok) -> Option<BinaryOp> {
    Some(match tok {
        Tok::Add => BinaryOp::Add,
        Tok::Sub => BinaryOp::Sub,
        Tok::Mul => BinaryOp::Mul,
        Tok::Div => BinaryOp::Div,
        Tok::Mod => BinaryOp::Mod,
        Tok::Pow => BinaryOp::Pow,
        Tok::Eq => BinaryOp::Eq,
        Tok::Neq => BinaryOp::Neq,
        Tok::Lss => BinaryOp::Lss,
        Tok::Lte => BinaryOp::Lte,
        Tok::Gtr => BinaryOp::Gtr,
        Tok::Gte => BinaryOp::Gte,
        Tok::TrimUpper => BinaryOp::TrimUpper,
        Tok::TrimLower => BinaryOp::TrimLower,
        Tok::Keyword(Keyword::And) => BinaryOp::And,
        Tok::Keyword(Keyword::Or) => BinaryOp::Or,
        Tok::Keyword(Keyword::Unless) => BinaryOp::Unless,
        Tok::Keyword(Keyword::Atan2) => BinaryOp::Atan2,
        _ => return None,
    })
}

fn duration_op(tok: &Tok) -> Option<DurationOp> {
    Some(match tok {
        Tok::Add => DurationOp::Add,
        Tok::Sub => DurationOp::Sub,
        Tok::Mul => DurationOp::Mul,
        Tok::Div => DurationOp::Div,
        Tok::Mod => DurationOp::Mod,
        Tok::Pow => DurationOp::Pow,
        _ => return None,
    })
}

fn aggregate_op(keyword: Keyword) -> Option<AggregateOp> {
    Some(match keyword {
        Keyword::Avg => AggregateOp::Avg,
        Keyword::Bottomk => AggregateOp::Bottomk,
        Keyword::Count => AggregateOp::Count,
        Keyword::CountValues => AggregateOp::CountValues,
        Keyword::Group => AggregateOp::Group,
        Keyword::Max => AggregateOp::Max,
        Keyword::Min => AggregateOp::Min,
        Keyword::Quantile => AggregateOp::Quantile,
        Keyword::Stddev => AggregateOp::Stddev,
        Keyword::Stdvar => AggregateOp::Stdvar,
        Keyword::Sum => AggregateOp::Sum,
        Keyword::Topk => AggregateOp::Topk,
        Keyword::Limitk => AggregateOp::Limitk,
        Keyword::LimitRatio => AggregateOp::LimitRatio,
        _ => return None,
    })
}
