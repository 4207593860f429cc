//! Regular expressions as PromQL means them: RE2's language, anchored at both ends, `.` takes newlines.
//!
//! Two dialects differ in small things, and a matcher that silently means something else is a wrong
//! answer: [`translate`] turns RE2's spelling into that of `regex-syntax` (ASCII classes, literal
//! braces, `[` inside brackets) and refuses what RE2 refuses.

use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, HirKind};

use crate::error::{Error, Kind};

/// The longest pattern taken.
pub const REGEX_BYTES_MAX: usize = 16 * 1024;
/// The memory one compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The highest count in `{n,m}`, as RE2 has it.
const REPEAT_MAX: u32 = 1000;
/// As many literal alternatives are kept as a set; beyond it the automaton decides.
const LITERALS_MAX: usize = 4096;

/// A compiled pattern that matches whole strings.
///
/// # Source
/// Prometheus `model/labels/regexp.go`: `^(?s:pattern)$` in RE2's language.
///
/// ```
/// use tradewatch_tsdb::Regex;
/// let regex = Regex::new("(.*)-service").unwrap();
/// assert!(regex.is_match("signal-service") && !regex.is_match("signal-service-2"));
/// assert_eq!(regex.expand("signal-service", "${1}_x").as_deref(), Some("signal_x"));
/// ```
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: String,
    program: meta::Regex,
    literals: Option<Vec<String>>,
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// `is_bad_regex` if RE2 would refuse it, or if it is larger than [`REGEX_BYTES_MAX`] or compiles to megabytes.
    pub fn new(pattern: &str) -> Result<Regex, Error> {
        let bad = |reason: String| Error::new(Kind::BadRegex { pattern: pattern.to_owned(), reason });
        if pattern.len() > REGEX_BYTES_MAX {
            let shown: String = pattern.chars().take(40).collect();
            let reason = format!("{} bytes; the limit is {REGEX_BYTES_MAX}", pattern.len());
            return Err(Error::new(Kind::BadRegex { pattern: shown + "…", reason }));
        }
        let translated = translate(pattern).map_err(bad)?;
        // Parsed alone first: `a)(b` must not be healed by the group around it.
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .build()
            .parse(&translated)
            .map_err(|e| bad(last_line(&e.to_string())))?;
        let program = meta::Builder::new()
            .configure(meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)).onepass(true))
            .syntax(syntax::Config::new().dot_matches_new_line(true))
            .build(&format!("^(?:{translated})$"))
            .map_err(|e| bad(last_line(&e.to_string())))?;
        let mut literals = literals(&hir);
        if let Some(set) = &mut literals {
            set.sort();
            set.dedup();
        }
        Ok(Regex { pattern: pattern.to_owned(), program, literals })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.literals {
            Some(set) => set.binary_search_by(|literal| literal.as_str().cmp(text)).is_ok(),
            None => self.program.is_match(text),
        }
    }

    /// Fills `template` from the groups of a match: `$1`, `${1}`, `$name`, `${name}`, and `$$` for a dollar.
    ///
    /// `None` if `text` does not match. A group that does not exist, or took no part, is empty.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let mut groups = self.program.create_captures();
        self.program.captures(text, &mut groups);
        if !groups.is_match() {
            return None;
        }
        let group = |name: &str| -> &str {
            let span = match name.parse::<usize>() {
                Ok(index) => groups.get_group(index),
                Err(_) => groups.get_group_by_name(name),
            };
            span.map_or("", |span| &text[span.range()])
        };
        Some(fill(template, group))
    }

    /// Every string that matches, sorted, where they are few and plain: `a|b|c`, `v[12]`.
    pub(crate) fn literals(&self) -> Option<&[String]> {
        self.literals.as_deref()
    }
}

/// The last line of a many-line message, which holds the reason.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Replaces `$name` and `${name}` in `template`, as Go's `Regexp.Expand` does.
fn fill<'a>(template: &str, group: impl Fn(&str) -> &'a str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (braced, body) = match rest.strip_prefix('{') {
            Some(body) => (true, body),
            None => (false, rest),
        };
        let len = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
        let closed = !braced || body[len..].starts_with('}');
        if len == 0 || !closed {
            out.push('$'); // Malformed: Go leaves it as it stands.
            continue;
        }
        out.push_str(group(&body[..len]));
        rest = &body[len + usize::from(braced)..];
    }
    out.push_str(rest);
    out
}

/// The finite set of strings that `hir` matches, if it is small.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|r| r.len()).sum();
            let chars = || class.ranges().iter().flat_map(|r| r.start()..=r.end());
            (count <= 64).then(|| chars().map(String::from).collect())
        }
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(literals(part)?);
                if all.len() > LITERALS_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let tails = literals(part)?;
                if all.len() * tails.len() > LITERALS_MAX {
                    return None;
                }
                all = all
                    .iter()
                    .flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}")))
                    .collect();
            }
            Some(all)
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = literals(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        _ => None,
    }
}

/// RE2's spelling in `regex-syntax`'s, or why RE2 refuses it.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut repeatable = Repeat::Nothing;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                rest = escape(tail, &mut out, false)?;
                repeatable = Repeat::Atom;
                continue;
            }
            '[' => {
                rest = brackets(tail, &mut out)?;
                repeatable = Repeat::Atom;
                continue;
            }
            '(' => {
                check_flags(tail)?;
                out.push('(');
                repeatable = Repeat::Nothing;
            }
            '*' | '+' | '?' => {
                if repeatable == Repeat::Repeated && c != '?' {
                    return Err(format!("invalid nested repetition operator before {rest:?}"));
                }
                out.push(c);
                // One `?` after a repetition makes it lazy; whatever follows that is nested.
                repeatable = if repeatable == Repeat::Nothing { Repeat::Nothing } else { Repeat::Repeated };
            }
            '{' => match repetition(tail) {
                Some(len) => {
                    let counts = tail[..len - 1].split(',').filter(|count| !count.is_empty());
                    let is_small = |count: &str| count.parse::<u32>().is_ok_and(|n| n <= REPEAT_MAX);
                    if !counts.into_iter().all(is_small) {
                        return Err(format!("invalid repeat count: `{}`", &rest[..len + 1]));
                    }
                    if repeatable == Repeat::Repeated {
                        return Err(format!("invalid nested repetition operator before {rest:?}"));
                    }
                    out.push_str(&rest[..len + 1]);
                    rest = &rest[len + 1..];
                    repeatable = Repeat::Repeated;
                    continue;
                }
                None => {
                    out.push_str("\\{");
                    repeatable = Repeat::Atom;
                }
            },
            '}' | ']' => {
                out.push('\\');
                out.push(c);
                repeatable = Repeat::Atom;
            }
            '|' => {
                out.push('|');
                repeatable = Repeat::Nothing;
            }
            _ => {
                out.push(c);
                repeatable = Repeat::Atom;
            }
        }
        rest = tail;
    }
    Ok(out)
}

/// What a repetition operator would find before it.
#[derive(Copy, Clone, PartialEq)]
enum Repeat {
    Nothing,
    Atom,
    Repeated,
}

/// The length up to and with `}` if `text` continues a counted repetition `{n}`, `{n,}`, `{n,m}`.
fn repetition(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let (low, high) = text[..end].split_once(',').unwrap_or((&text[..end], ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(end + 1)
}

/// Refuses the group flags that RE2 does not know (`x`, `u`, `R`, and look-around).
fn check_flags(after_paren: &str) -> Result<(), String> {
    let Some(body) = after_paren.strip_prefix('?') else { return Ok(()) };
    if body.starts_with("P<") || (body.starts_with('<') && !body.starts_with("<=") && !body.starts_with("<!"))
    {
        return Ok(());
    }
    let end = body.find([':', ')']).unwrap_or(body.len());
    if body[..end].bytes().all(|b| b"imsU-".contains(&b)) {
        return Ok(());
    }
    Err(format!("invalid or unsupported Perl syntax: (?{}", &body[..end]))
}

/// Copies one escape; `tail` begins after the backslash. Returns what follows.
fn escape<'a>(tail: &'a str, out: &mut String, in_brackets: bool) -> Result<&'a str, String> {
    let Some(c) = tail.chars().next() else { return Err("trailing backslash at end of expression".into()) };
    let after = &tail[c.len_utf8()..];
    let class = |inner: &str| if in_brackets { inner.to_owned() } else { format!("[{inner}]") };
    match c {
        'd' => out.push_str(&class("0-9")),
        'w' => out.push_str(&class("0-9A-Za-z_")),
        's' => out.push_str(&class(r"\t\n\x0C\r ")),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str(r"[^\t\n\x0C\r ]"),
        'b' | 'B' if !in_brackets => out.push_str(&format!(r"(?-u:\{c})")),
        'A' | 'z' if !in_brackets => {
            out.push('\\');
            out.push(c);
        }
        'Q' if !in_brackets => {
            let end = after.find(r"\E").unwrap_or(after.len());
            out.push_str(&regex_syntax::escape(&after[..end]));
            return Ok(after[end..].strip_prefix(r"\E").unwrap_or(""));
        }
        'p' | 'P' | 'x' if after.starts_with('{') => {
            let end = after.find('}').ok_or_else(|| format!(r"invalid escape sequence: `\{tail}`"))? + 1;
            out.push('\\');
            out.push_str(&tail[..end + 1]);
            return Ok(&after[end..]);
        }
        'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'p' | 'P' | 'x' => {
            out.push('\\');
            out.push(c);
        }
        '0'..='7' => {
            // Octal, up to three digits; a lone 1 to 7 would be a back-reference, which RE2 has not.
            let len = after.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
            if c != '0' && len == 0 {
                return Err(format!(r"invalid escape sequence: `\{c}`"));
            }
            let code = u32::from_str_radix(&tail[..len + 1], 8).expect("three octal digits fit");
            out.push_str(&format!(r"\x{{{code:x}}}"));
            return Ok(&after[len..]);
        }
        c if c.is_ascii_punctuation() => out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4]))),
        c => return Err(format!(r"invalid escape sequence: `\{c}`")),
    }
    Ok(after)
}

/// Copies a bracket expression; `tail` begins after `[`. Returns what follows its `]`.
fn brackets<'a>(tail: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('[');
    let mut rest = tail;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let Some(c) = rest.chars().next() else { return Err(format!("missing closing ]: `[{tail}`")) };
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return Ok(after);
            }
            '\\' => rest = escape(after, out, true)?,
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").expect("just seen") + 2;
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
            }
            // Literal in RE2; nested classes and set operators in regex-syntax.
            '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                rest = after;
            }
            '-' if first || after.starts_with(']') => {
                out.push_str("\\-");
                rest = after;
            }
            c => {
                out.push(c);
                rest = after;
            }
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_strings_as_re2_does() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("a|b|", &["a", "b", ""], &["ab"]),
            ("a.b", &["a\nb", "axb"], &["ab", "xaxb"]),
            (r"\d+", &["12"], &["٣", ""]),
            (r"[\d_]+", &["1_2"], &["a"]),
            (r"[\D]", &["a"], &["1"]),
            (r"\w+", &["a_1"], &["é"]),
            ("[[a]+", &["[a["], &["b"]),
            ("[a&&b]+", &["a&b"], &["c"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a-]+", &["a-a"], &["b"]),
            ("[[:alpha:]]+", &["ab"], &["1"]),
            ("a{", &["a{"], &["a"]),
            ("a{2}", &["aa"], &["a{2}"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("(?i)aapl", &["AAPL", "aapl"], &["aap"]),
            (r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]),
            (r"BTC/USD|ETH\/USD", &["BTC/USD", "ETH/USD"], &["BTC"]),
            (r"\<x\>", &["<x>"], &["x"]),
            ("5..", &["500", "503"], &["50", "5000"]),
            ("v[12]", &["v1", "v2"], &["v3"]),
            ("(?:x|y)?z", &["z", "xz", "yz"], &["x"]),
            ("a+?", &["a", "aaa"], &[""]),
            (r"\x41\x{42}\103", &["ABC"], &[]),
            (r"\x{4A}\p{Greek}[\p{Lu}\x{2f}]\pN", &["JαA1", "Jα/1"], &["Jαa1"]),
            ("a{2,3}b{1,}", &["aab", "aaabb"], &["ab"]),
        ];
        for (pattern, yes, no) in cases {
            let regex = Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            for text in *yes {
                assert!(regex.is_match(text), "{pattern} must match {text:?}");
            }
            for text in *no {
                assert!(!regex.is_match(text), "{pattern} must not match {text:?}");
            }
            if regex.literals.is_some() {
                for text in yes.iter().chain(*no) {
                    assert_eq!(regex.is_match(text), regex.program.is_match(text), "{pattern} on {text:?}");
                }
            }
        }
    }

    #[test]
    fn refuses_what_re2_refuses() {
        let long = "(a|b".repeat(8000);
        for pattern in [
            "(", "a)(b", "a**", "a{2}{3}", "(?x)a", "(?=a)", "[a", "\\", "\\y", r"\1", "*", "a{1001}",
            r"\p{Gr", &long,
        ] {
            let error = Regex::new(pattern).expect_err(pattern);
            assert!(error.is_bad_regex() && error.to_string().lines().count() == 1, "{error}");
        }
        assert!(Regex::new("((a{1000}){1000}){10}").expect_err("megabytes").is_bad_regex());
    }

    #[test]
    fn literal_sets() {
        let set = |pattern: &str| Regex::new(pattern).expect(pattern).literals().map(|l| l.join(","));
        assert_eq!(set("b|a|b").as_deref(), Some("a,b"));
        assert_eq!(set("x(1|2)(3|4)").as_deref(), Some("x13,x14,x23,x24"));
        assert_eq!(set("AAPL|MSFT|BTC/USD").as_deref(), Some("AAPL,BTC/USD,MSFT"));
        assert_eq!(set("a.*"), None);
        assert_eq!(set("[a-z]{9}"), None);
    }

    #[test]
    fn expands_templates() {
        let regex = Regex::new("(?P<host>.*):(.*)(x)?").expect("valid");
        let expand = |template: &str| regex.expand("db:9090", template).expect("matches");
        assert_eq!(expand("$1-${2}-$host-$3-$9-$$-$"), "db-9090-db---$-$");
        assert_eq!(expand("$1x|${1}x"), "|dbx");
        assert_eq!(regex.expand("db", "$1"), None);
    }
}
