//! Label matchers as `alertmanager.yml`, `amtool` and the silence form write them.

use tradewatch_tsdb::{Labels, MatchOp, Matcher};

/// Reads one entry of a `matchers` list: a single matcher, or `{a="b", c=~"d"}`.
pub fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    let trimmed = text.trim();
    // The braces are optional, each on its own: Alertmanager takes them off before it looks.
    let inner = trimmed.strip_prefix('{').unwrap_or(trimmed);
    let mut rest = inner.strip_suffix('}').unwrap_or(inner).trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (matcher, after) = read(rest)?;
        matchers.push(matcher);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("a comma belongs before {after:?}")),
        };
    }
    if matchers.is_empty() && inner_missing(trimmed) {
        return Err("an empty matcher".to_owned());
    }
    Ok(matchers)
}

fn inner_missing(text: &str) -> bool {
    !text.starts_with('{')
}

/// One matcher and what follows it.
///
/// A name that Prometheus has always had is read by Alertmanager's older rules, in which a value may stand
/// without quotes; any other name by the newer ones, in which quotes are Go's and nothing reserved stands
/// outside of them. Where both could read a text, Alertmanager prefers the older reading too.
fn read(text: &str) -> Result<(Matcher, &str), String> {
    let is_quoted = text.starts_with('"');
    let (name, rest) = if is_quoted {
        quoted(text, go_escape)?
    } else {
        let end = text.find(|c: char| is_reserved(c) && !matches!(c, '\\' | '\'' | '`'));
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        (name.to_owned(), rest)
    };
    if name.is_empty() {
        return Err(format!("bad matcher format: {text:?} has no label name"));
    }
    let classic = !is_quoted && is_classic(&name);
    if !is_quoted && name.contains(is_reserved) {
        return Err(format!("bad matcher format: {text:?}: put the name in quotes"));
    }
    let rest = rest.trim_start();
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let Some((sign, op)) = operators.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
        return Err(format!("bad matcher format: {text:?}; write for example {name}=\"value\""));
    };
    let rest = rest[sign.len()..].trim_start();
    let (value, rest) = if rest.starts_with('"') {
        quoted(rest, if classic { classic_escape } else { go_escape })?
    } else {
        let (value, rest) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
        let value = value.trim_end();
        // Alertmanager's older rules know escapes without quotes too.
        let read = if classic { unquoted(value) } else { Some(value.to_owned()) };
        let value = read.filter(|value| classic || !(value.is_empty() || value.contains(is_reserved)));
        let value = value.ok_or_else(|| format!("bad matcher format: {text:?}: put the value in quotes"))?;
        (value, rest)
    };
    let matcher = Matcher::new(&name, op, &value).map_err(|e| e.to_string())?;
    Ok((matcher, rest))
}

/// What needs quotes by the newer rules.
fn is_reserved(c: char) -> bool {
    c.is_whitespace() || matches!(c, '{' | '}' | '!' | '=' | '~' | ',' | '\\' | '"' | '\'' | '`')
}

fn is_classic(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.chars().enumerate().all(|(at, c)| begins(c) || at > 0 && c.is_ascii_digit())
}

/// OpenMetrics: `\n`, `\"`, `\\`; any other backslash stands for itself.
fn classic_escape(c: char, _: &mut std::str::CharIndices<'_>, into: &mut String) -> Option<()> {
    match c {
        'n' => into.push('\n'),
        '"' | '\\' => into.push(c),
        c => into.extend(['\\', c]),
    }
    Some(())
}

/// Go's string literals.
fn go_escape(c: char, rest: &mut std::str::CharIndices<'_>, into: &mut String) -> Option<()> {
    let mut number = |digits: usize| -> Option<u32> {
        let text: String = rest.by_ref().map(|(_, c)| c).take(digits).collect();
        u32::from_str_radix(&text, 16).ok()
    };
    let plain = match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\\' | '"' => c,
        'u' => char::from_u32(number(4)?)?,
        'U' => char::from_u32(number(8)?)?,
        // Bytes: those of one character follow each other, as in \xc3\xa9.
        'x' => return bytes(number(2)?, rest, into),
        _ => return None,
    };
    into.push(plain);
    Some(())
}

/// The character that begins with the byte `first`, of which the others follow as `\xNN`.
fn bytes(first: u32, rest: &mut std::str::CharIndices<'_>, into: &mut String) -> Option<()> {
    let mut all = vec![u8::try_from(first).ok()?];
    while std::str::from_utf8(&all).is_err() && all.len() < 4 {
        let next: String = rest.by_ref().map(|(_, c)| c).take(4).collect();
        all.push(u8::from_str_radix(next.strip_prefix("\\x")?, 16).ok()?);
    }
    into.push_str(std::str::from_utf8(&all).ok()?);
    Some(())
}

/// A value without quotes by the older rules; `None` when a quote stands in it.
fn unquoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((_, c)) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next() {
                Some((_, c)) => classic_escape(c, &mut chars, &mut value)?,
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Some(value)
}

type Escape = fn(char, &mut std::str::CharIndices<'_>, &mut String) -> Option<()>;

/// A quoted text and what follows it.
fn quoted(text: &str, escape: Escape) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    chars.next();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c)) => escape(c, &mut chars, &mut value)
                    .ok_or_else(|| format!("an escape that is not understood in {text:?}"))?,
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(format!("a quote is not closed in {text:?}"))
}

/// Whether every matcher holds; an absent label is the empty text.
pub(crate) fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

/// `{a="b",c=~"d"}`, as it stands in group keys.
pub(crate) fn print(matchers: &[Matcher]) -> String {
    let print = |matcher: &Matcher| {
        let text = matcher.to_string();
        let name = matcher.name();
        // Only what is reserved puts a name in quotes here; elsewhere Prometheus' rules are stricter.
        match name.contains(is_reserved) || name.is_empty() {
            true => text,
            false => {
                let quoted = format!("{name:?}");
                let rest = text.strip_prefix(&quoted).or_else(|| text.strip_prefix(name));
                format!("{name}{}", rest.unwrap_or(&text))
            }
        }
    };
    let parts: Vec<String> = matchers.iter().map(print).collect();
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn reads_what_alertmanager_reads() {
        let mut out = String::new();
        for text in [
            r#"severity="critical""#,
            "severity = critical",
            r#"job=~"a|b""#,
            "job!~^x.*",
            r#"{a="b", c!="d"}"#,
            r#"a="x,y",b=z"#,
            r#""a b"="quote \" back \\ line \n""#,
            "{}",
            "",
            "severity",
            "=x",
            r#"a="b"#,
            r#"a="b" c="d""#,
            "a=~[",
            // Each of these was compared with what Debian's amtool reads.
            r"a=b\n",
            r#"a="b\t""#,
            "a=b c}",
            "{a=b",
            "a:b!=b!,",
            "a!~'b'",
            r#"a=b"c"#,
            "a==",
            // The rest is newer than it.
            "é=~é",
            "a-b=b c",
            r#"a-b="b\t\u00e9\xc3\xa9""#,
            r#""a\n"=b"#,
            r#"a-b="\z""#,
            "a`b=c",
        ] {
            match parse(text) {
                Ok(matchers) => out += &format!("{text} -> {}\n", print(&matchers)),
                Err(e) => out += &format!("{text} -> error: {e}\n"),
            }
        }
        expect![[r#"
            severity="critical" -> {severity="critical"}
            severity = critical -> {severity="critical"}
            job=~"a|b" -> {job=~"a|b"}
            job!~^x.* -> {job!~"^x.*"}
            {a="b", c!="d"} -> {a="b",c!="d"}
            a="x,y",b=z -> {a="x,y",b="z"}
            "a b"="quote \" back \\ line \n" -> {"a b"="quote \" back \\ line \n"}
            {} -> {}
             -> error: an empty matcher
            severity -> error: bad matcher format: "severity"; write for example severity="value"
            =x -> error: bad matcher format: "=x" has no label name
            a="b -> error: a quote is not closed in "\"b"
            a="b" c="d" -> error: a comma belongs before "c=\"d\""
            a=~[ -> error: bad regular expression "[": missing closing ]: `[`
            a=b\n -> {a="b\n"}
            a="b\t" -> {a="b\\t"}
            a=b c} -> {a="b c"}
            {a=b -> {a="b"}
            a:b!=b!, -> {a:b!="b!"}
            a!~'b' -> {a!~"'b'"}
            a=b"c -> error: bad matcher format: "a=b\"c": put the value in quotes
            a== -> {a="="}
            é=~é -> {é=~"é"}
            a-b=b c -> error: bad matcher format: "a-b=b c": put the value in quotes
            a-b="b\t\u00e9\xc3\xa9" -> {a-b="b\téé"}
            "a\n"=b -> {"a\n"="b"}
            a-b="\z" -> error: an escape that is not understood in "\"\\z\""
            a`b=c -> error: bad matcher format: "a`b=c": put the name in quotes
        "#]]
        .assert_eq(&out);
    }
}
