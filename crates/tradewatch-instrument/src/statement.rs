//! What an SQL statement is.

/// What a statement does, by its first word; `other` for what is none of these.
pub(crate) fn kind_of_statement(sql: &str) -> &'static str {
    const KINDS: [&str; 18] = [
        "select",
        "insert",
        "update",
        "delete",
        "with",
        "begin",
        "commit",
        "rollback",
        "savepoint",
        "create",
        "alter",
        "drop",
        "truncate",
        "copy",
        "set",
        "listen",
        "vacuum",
        "pragma",
    ];
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(word)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_what_their_first_word_says() {
        for (sql, kind) in [
            ("SELECT 1", "select"),
            ("  \n(select 1)", "select"),
            ("-- a comment\n  Insert into t values (1)", "insert"),
            ("insert/* now */into t", "insert"),
            ("explain select 1", "other"),
            ("-- nothing", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of_statement(sql), kind, "{sql}");
        }
    }
}
