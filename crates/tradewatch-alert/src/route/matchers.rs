//! Label matchers as `alertmanager.yml`, `amtool` and the silence form write them.

use tradewatch_tsdb::{Labels, MatchOp, Matcher};

/// Reads one entry of a `matchers` list: a single matcher, or `{a="b", c=~"d"}`.
pub fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('{').map(|rest| {
        rest.strip_suffix('}').ok_or_else(|| format!("{text:?} opens with {{ and does not close"))
    });
    let mut rest = match inner {
        Some(inner) => inner?.trim(),
        None => trimmed,
    };
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

fn read(text: &str) -> Result<(Matcher, &str), String> {
    let (name, rest) = if text.starts_with('"') {
        quoted(text)?
    } else {
        let end =
            text.find(|c: char| matches!(c, '=' | '!' | '~' | ',' | '{' | '}' | '"') || c.is_whitespace());
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        (name.to_owned(), rest)
    };
    if name.is_empty() {
        return Err(format!("bad matcher format: {text:?} has no label name"));
    }
    let rest = rest.trim_start();
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let Some((sign, op)) = operators.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
        return Err(format!("bad matcher format: {text:?}; write for example {name}=\"value\""));
    };
    let rest = rest[sign.len()..].trim_start();
    let (value, rest) = if rest.starts_with('"') {
        quoted(rest)?
    } else {
        let (value, rest) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
        (value.trim_end().to_owned(), rest)
    };
    let matcher = Matcher::new(&name, op, &value).map_err(|e| e.to_string())?;
    Ok((matcher, rest))
}

/// A quoted text and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
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
    let parts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
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
        "#]]
        .assert_eq(&out);
    }
}
