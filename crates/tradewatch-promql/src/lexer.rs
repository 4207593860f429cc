//! Query text to tokens.
//!
//! The language needs three ways of reading: plain, inside braces (where keywords are label names) and
//! inside brackets (where only durations are). A failed token is a token of its own that ends the list, so
//! that the parser reports whichever mistake comes first.

use crate::error::Span;

/// Words that mean something, in the order of [`KEYWORDS`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Keyword {
    And,
    Or,
    Unless,
    Atan2,
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
    Limitk,
    LimitRatio,
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Ignoring,
    Offset,
    Smoothed,
    Anchored,
    On,
    Without,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("and", Keyword::And),
    ("or", Keyword::Or),
    ("unless", Keyword::Unless),
    ("atan2", Keyword::Atan2),
    ("avg", Keyword::Avg),
    ("bottomk", Keyword::Bottomk),
    ("count", Keyword::Count),
    ("count_values", Keyword::CountValues),
    ("group", Keyword::Group),
    ("max", Keyword::Max),
    ("min", Keyword::Min),
    ("quantile", Keyword::Quantile),
    ("stddev", Keyword::Stddev),
    ("stdvar", Keyword::Stdvar),
    ("sum", Keyword::Sum),
    ("topk", Keyword::Topk),
    ("limitk", Keyword::Limitk),
    ("limit_ratio", Keyword::LimitRatio),
    ("bool", Keyword::Bool),
    ("by", Keyword::By),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("ignoring", Keyword::Ignoring),
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("on", Keyword::On),
    ("without", Keyword::Without),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
    ("max_of", Keyword::MaxOf),
    ("min_of", Keyword::MinOf),
];

impl Keyword {
    fn of(word: &str) -> Option<Keyword> {
        KEYWORDS.iter().find(|(text, _)| word.eq_ignore_ascii_case(text)).map(|&(_, k)| k)
    }

    /// Whether the word may also name a metric.
    pub fn names_metric(self) -> bool {
        use Keyword::*;
        !matches!(self, Bool | GroupLeft | GroupRight | Ignoring | On | Atan2)
    }
}

/// The kinds of token.
#[derive(Clone, PartialEq, Debug)]
pub enum Tok {
    Eof,
    /// A mistake in the text; always the last token.
    Bad(String),
    Ident,
    /// An identifier with a colon in it.
    MetricIdent,
    Str,
    Number,
    Duration,
    Keyword(Keyword),
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    At,
    Assign,
    EqRegex,
    NeqRegex,
    Eq,
    Neq,
    Lte,
    Lss,
    Gte,
    Gtr,
    TrimUpper,
    TrimLower,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// One token and its place.
#[derive(Clone, Debug)]
pub struct Token {
    pub tok: Tok,
    pub span: Span,
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_alpha(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphabetic()
}

fn is_alnum(b: u8) -> bool {
    is_alpha(b) || b.is_ascii_digit()
}

/// All tokens of the query; the last one is `Eof` or `Bad`.
pub fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer { input, at: 0, tokens: Vec::new(), parens: 0, brace: false, bracket: None };
    lexer.run();
    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
    brace: bool,
    /// Inside brackets; whether a colon was seen there.
    bracket: Option<bool>,
}

impl Lexer<'_> {
    fn byte(&self, ahead: usize) -> u8 {
        self.input.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &str {
        &self.input[self.at..]
    }

    fn push(&mut self, tok: Tok, len: usize) {
        self.tokens.push(Token { tok, span: Span::new(self.at, self.at + len) });
        self.at += len;
    }

    fn bad(&mut self, start: usize, message: String) -> bool {
        let end = self.input.len().min(self.at.max(start + 1));
        self.tokens.push(Token { tok: Tok::Bad(message), span: Span::new(start, end.max(start)) });
        false
    }

    fn current(&self) -> char {
        self.rest().chars().next().unwrap_or('\0')
    }

    fn run(&mut self) {
        loop {
            while self.at < self.input.len() && is_space(self.byte(0)) {
                self.at += 1;
            }
            if self.byte(0) == b'#' && self.at < self.input.len() && self.bracket.is_none() {
                let len = self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
                self.at += len;
                continue;
            }
            if self.at >= self.input.len() {
                self.finish();
                return;
            }
            let go_on = if self.brace {
                self.inside_braces()
            } else if self.bracket.is_some() {
                self.inside_brackets()
            } else {
                self.plain()
            };
            if !go_on {
                return;
            }
        }
    }

    fn finish(&mut self) {
        let at = self.at;
        if self.brace {
            self.bad(at, "unexpected end of input inside braces".into());
        } else if self.bracket.is_some() {
            self.bad(at, "unexpected end of input in duration expression".into());
        } else if self.parens != 0 {
            self.bad(at, "unclosed left parenthesis".into());
        } else {
            self.push(Tok::Eof, 0);
        }
    }

    /// Operators that plain text and brackets share.
    fn arithmetic(&mut self) -> bool {
        let tok = match self.byte(0) {
            b'+' => Tok::Add,
            b'-' => Tok::Sub,
            b'*' => Tok::Mul,
            b'/' => Tok::Div,
            b'%' => Tok::Mod,
            b'^' => Tok::Pow,
            b',' => Tok::Comma,
            b'(' => {
                self.parens += 1;
                Tok::LeftParen
            }
            _ => return false,
        };
        self.push(tok, 1);
        true
    }

    fn right_paren(&mut self) -> bool {
        if self.parens == 0 {
            return self.bad(self.at, "unexpected right parenthesis ')'".into());
        }
        self.parens -= 1;
        self.push(Tok::RightParen, 1);
        true
    }

    fn plain(&mut self) -> bool {
        if self.arithmetic() {
            return true;
        }
        let (tok, len) = match (self.byte(0), self.byte(1)) {
            (b'=', b'=') => (Tok::Eq, 2),
            (b'=', b'~') => return self.bad(self.at, "unexpected character after '=': '~'".into()),
            (b'=', _) => (Tok::Assign, 1),
            (b'!', b'=') => (Tok::Neq, 2),
            (b'!', _) => {
                let after = self.input[self.at + 1..].chars().next();
                let shown = after.map_or("end of input".to_string(), |c| format!("{c:?}"));
                return self.bad(self.at, format!("unexpected character after '!': {shown}"));
            }
            (b'<', b'=') => (Tok::Lte, 2),
            (b'<', b'/') => (Tok::TrimUpper, 2),
            (b'<', _) => (Tok::Lss, 1),
            (b'>', b'=') => (Tok::Gte, 2),
            (b'>', b'/') => (Tok::TrimLower, 2),
            (b'>', _) => (Tok::Gtr, 1),
            (b'@', _) => (Tok::At, 1),
            (b'{', _) => {
                self.brace = true;
                (Tok::LeftBrace, 1)
            }
            (b'[', _) => {
                self.bracket = Some(false);
                (Tok::LeftBracket, 1)
            }
            (b']', _) => return self.bad(self.at, "unexpected right bracket ']'".into()),
            (b')', _) => return self.right_paren(),
            (b'"' | b'\'' | b'`', _) => return self.string(),
            (b, next) if b.is_ascii_digit() || (b == b'.' && next.is_ascii_digit()) => return self.number(),
            (b, _) if is_alpha(b) || b == b':' => return self.word(),
            _ => {
                let c = self.current();
                return self.bad(self.at, format!("unexpected character: {c:?}"));
            }
        };
        self.push(tok, len);
        true
    }

    fn word(&mut self) -> bool {
        let len = self.rest().bytes().take_while(|&b| is_alnum(b) || b == b':').count();
        let word = &self.rest()[..len];
        let tok = if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
            Tok::Number
        } else {
            match Keyword::of(word) {
                Some(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
                    if !self.rest()[len..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
                {
                    Tok::Ident
                }
                Some(keyword) => Tok::Keyword(keyword),
                None if word.contains(':') => Tok::MetricIdent,
                None => Tok::Ident,
            }
        };
        self.push(tok, len);
        true
    }

    fn inside_braces(&mut self) -> bool {
        let (tok, len) = match (self.byte(0), self.byte(1)) {
            (b',', _) => (Tok::Comma, 1),
            (b'=', b'~') => (Tok::EqRegex, 2),
            (b'=', _) => (Tok::Assign, 1),
            (b'!', b'~') => (Tok::NeqRegex, 2),
            (b'!', b'=') => (Tok::Neq, 2),
            (b'!', _) => {
                return self.bad(self.at, "unexpected character after '!' inside braces".into());
            }
            (b'{', _) => return self.bad(self.at, "unexpected left brace '{'".into()),
            (b'}', _) => {
                self.brace = false;
                (Tok::RightBrace, 1)
            }
            (b'"' | b'\'' | b'`', _) => return self.string(),
            (b, _) if is_alpha(b) => {
                let len = self.rest().bytes().take_while(|&b| is_alnum(b)).count();
                (Tok::Ident, len)
            }
            _ => {
                let c = self.current();
                return self.bad(self.at, format!("unexpected character inside braces: {c:?}"));
            }
        };
        self.push(tok, len);
        true
    }

    fn inside_brackets(&mut self) -> bool {
        if self.arithmetic() {
            return true;
        }
        match self.byte(0) {
            b']' => {
                self.bracket = None;
                self.push(Tok::RightBracket, 1);
                true
            }
            b':' => {
                if self.bracket == Some(true) {
                    return self.bad(self.at, "unexpected repeated colon in duration expression".into());
                }
                self.bracket = Some(true);
                self.push(Tok::Colon, 1);
                true
            }
            b')' => self.right_paren(),
            b'0'..=b'9' | b'.' => self.number(),
            b if is_alpha(b) => {
                let len = self.rest().bytes().take_while(|&b| is_alpha(b)).count();
                match Keyword::of(&self.rest()[..len]) {
                    Some(k @ (Keyword::Step | Keyword::Range | Keyword::MaxOf | Keyword::MinOf)) => {
                        self.push(Tok::Keyword(k), len);
                        true
                    }
                    _ => {
                        let word = self.rest()[..len].to_string();
                        self.bad(self.at, format!("unexpected {word:?} in duration expression"))
                    }
                }
            }
            _ => {
                let c = self.current();
                self.bad(self.at, format!("unexpected character in duration expression: {c:?}"))
            }
        }
    }

    fn number(&mut self) -> bool {
        let start = self.at;
        let bytes = self.rest().as_bytes();
        if let Some(len) = scan_number(bytes) {
            self.push(Tok::Number, len);
            return true;
        }
        if let Some(len) = scan_duration(bytes) {
            self.push(Tok::Duration, len);
            return true;
        }
        let len = bytes.iter().take_while(|&&b| is_alnum(b) || b == b'.').count().max(1);
        let text = self.rest()[..len].to_string();
        self.at += len;
        self.bad(start, format!("bad number or duration syntax: {text:?}"))
    }

    fn string(&mut self) -> bool {
        let start = self.at;
        let quote = self.byte(0);
        let bytes = self.input.as_bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at) {
                None => {
                    let kind = if quote == b'`' { "raw" } else { "quoted" };
                    self.at = at;
                    return self.bad(start, format!("unterminated {kind} string"));
                }
                Some(b'\n') if quote != b'`' => {
                    self.at = at;
                    return self.bad(start, "unterminated quoted string".into());
                }
                Some(&b) if b == quote => break,
                Some(b'\\') if quote != b'`' => match escape_len(&bytes[at..], quote) {
                    Ok(len) => at += len,
                    Err(message) => {
                        self.at = (at + 2).min(bytes.len());
                        return self.bad(at, message);
                    }
                },
                Some(_) => at += 1,
            }
        }
        self.push(Tok::Str, at + 1 - start);
        true
    }
}

/// Length of the escape sequence that `bytes` begins with.
fn escape_len(bytes: &[u8], quote: u8) -> Result<usize, String> {
    let (digits, base, from) = match bytes.get(1) {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\') => return Ok(2),
        Some(&b) if b == quote => return Ok(2),
        Some(b'0'..=b'7') => (3, 8, 1),
        Some(b'x') => (2, 16, 2),
        Some(b'u') => (4, 16, 2),
        Some(b'U') => (8, 16, 2),
        None => return Err("escape sequence not terminated".into()),
        Some(&b) => return Err(format!("unknown escape sequence {:?}", b as char)),
    };
    let mut value: u64 = 0;
    for at in from..from + digits {
        let Some(digit) = bytes.get(at).and_then(|&b| (b as char).to_digit(base)) else {
            return Err("illegal character in escape sequence".into());
        };
        value = value * u64::from(base) + u64::from(digit);
    }
    let limit = if digits == 8 || digits == 4 { 0x10ffff } else { 255 };
    if value > limit || (digits >= 4 && (0xd800..0xe000).contains(&value)) {
        return Err("escape sequence is an invalid Unicode code point".into());
    }
    Ok(from + digits)
}

/// Bytes that form no character, as `\xff` makes them, are kept as private characters from here on, so that they
/// print as they were written, equal nothing in a store, and can be told apart where names have to be valid.
const RAW_BYTES: u32 = 0x10_ff00;

/// The byte that a private character stands for.
pub(crate) fn raw_byte(c: char) -> Option<u8> {
    u8::try_from((c as u32).checked_sub(RAW_BYTES)?).ok()
}

/// Whether a name may be that of a label: not empty, and valid text.
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| raw_byte(c).is_some())
}

fn keep_raw_bytes(mut bytes: &[u8]) -> String {
    let mut out = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return out;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                out.extend(char::from_u32(RAW_BYTES + u32::from(rest[0])));
                bytes = &rest[1..];
            }
        }
    }
}

/// The text of a string token, which the lexer has checked.
pub fn unquote(token: &str) -> String {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return inner.to_string();
    }
    let bytes = inner.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let number = |from: usize, len: usize, base: u32| {
            std::str::from_utf8(&bytes[at + from..at + from + len])
                .ok()
                .and_then(|s| u32::from_str_radix(s, base).ok())
                .unwrap_or(0xfffd)
        };
        let mut push_char = |code: u32| {
            let c = char::from_u32(code).unwrap_or('\u{fffd}');
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        };
        match bytes[at + 1] {
            b'x' => {
                let byte = number(2, 2, 16) as u8;
                out.push(byte);
                at += 4;
            }
            b'0'..=b'7' => {
                let byte = number(1, 3, 8) as u8;
                out.push(byte);
                at += 4;
            }
            b'u' => {
                push_char(number(2, 4, 16));
                at += 6;
            }
            b'U' => {
                push_char(number(2, 8, 16));
                at += 10;
            }
            other => {
                out.push(match other {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    same => same,
                });
                at += 2;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| keep_raw_bytes(error.as_bytes()))
}

/// Length of a number at the start, unless what follows makes it something else.
fn scan_number(bytes: &[u8]) -> Option<usize> {
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let hex = get(0) == b'0' && matches!(get(1), b'x' | b'X');
    let mut at = if hex { 2 } else { 0 };
    let (mut dot, mut exponent) = (false, false);
    loop {
        let b = get(at);
        match b {
            b'_' if at > 0 => {
                if matches!(get(at + 1), b'.' | b'_' | b'e' | b'E' | 0) {
                    return None;
                }
                at += 1;
            }
            _ if b.is_ascii_digit() || (hex && b.is_ascii_hexdigit()) => at += 1,
            b'.' => {
                if dot || hex || matches!(get(at + 1), b'_' | b'.') {
                    return None;
                }
                dot = true;
                at += 1;
            }
            b'e' | b'E' => {
                if exponent {
                    return None;
                }
                exponent = true;
                at += 1;
                if matches!(get(at), b'+' | b'-') {
                    at += 1;
                }
                if matches!(get(at), b'.' | b'_' | b'e' | b'E' | 0) {
                    return None;
                }
            }
            _ => break,
        }
    }
    (at > 0 && !is_alnum(get(at))).then_some(at)
}

/// Length of a duration such as `1h30m` at the start. Units out of order are found when it is parsed.
fn scan_duration(bytes: &[u8]) -> Option<usize> {
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let mut at = 0;
    while get(at).is_ascii_digit() {
        while get(at).is_ascii_digit() {
            at += 1;
        }
        if !matches!(get(at), b's' | b'm' | b'h' | b'd' | b'w' | b'y') {
            return None;
        }
        at += 1;
        if get(at) == b's' {
            at += 1;
        }
    }
    (at > 0 && !is_alnum(get(at))).then_some(at)
}
