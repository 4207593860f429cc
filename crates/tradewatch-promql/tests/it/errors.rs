//! Queries that cannot be read: what is wrong, and where.

use expect_test::{Expect, expect};
use tradewatch_promql::parse;

fn check(query: &str, expected: Expect) {
    let error = parse(query).expect_err("not a query");
    expected.assert_eq(&format!("{error:#}"));
}

#[test]
fn errors_have_line_column_and_caret() {
    check(
        "",
        expect![[r#"
        1:1: parse error: no expression found in input
  
          ^"#]],
    );
    check(
        "sum(rate(orders_total[5m])",
        expect![[r#"
        1:27: parse error: unclosed left parenthesis
          sum(rate(orders_total[5m])
                                    ^"#]],
    );
    check(
        "sum(\n  orders_total +\n) by (x)",
        expect![[r#"
        3:1: parse error: unexpected ")"
          ) by (x)
          ^"#]],
    );
    check(
        "up{job=\"a\" instance=\"b\"}",
        expect![[r#"
        1:12: parse error: unexpected identifier "instance" in label matching, expected "," or "}"
          up{job="a" instance="b"}
                     ^^^^^^^^"#]],
    );
    check(
        "up{job=~\"(\"}",
        expect![[r#"
        1:4: parse error: bad regular expression "(": unclosed group
          up{job=~"("}
             ^^^^^^^^"#]],
    );
    check(
        "rate(up)",
        expect![[r#"
        1:6: parse error: expected type range vector in call to function "rate", got instant vector
          rate(up)
               ^^"#]],
    );
    check(
        "foo[5m",
        expect![[r#"
        1:7: parse error: unexpected end of input in duration expression
          foo[5m
                ^"#]],
    );
    check(
        "foo[5minutes]",
        expect![[r#"
        1:5: parse error: bad number or duration syntax: "5minutes"
          foo[5minutes]
              ^^^^^^^^"#]],
    );
    check(
        "\tfoo{bar}",
        expect![[r#"
        1:9: parse error: unexpected "}" in label matching, expected label matching operator
          	foo{bar}
          	       ^"#]],
    );
    check(
        "unknown(x)",
        expect![[r#"
        1:1: parse error: unknown function with name "unknown"
          unknown(x)
          ^^^^^^^"#]],
    );
    check(
        "a == on(x) 1",
        expect![[r#"
        1:1: parse error: vector matching only allowed between instant vectors
          a == on(x) 1
          ^^^^^^^^^^^^"#]],
    );
    check(
        "1 == 1",
        expect![[r#"
        1:3: parse error: comparisons between scalars must use BOOL modifier
          1 == 1
            ^^"#]],
    );
    check(
        "{x=\"\"}",
        expect![[r#"
        1:1: parse error: vector selector must contain at least one non-empty matcher
          {x=""}
          ^^^^^^"#]],
    );
    check(
        "topk(x)",
        expect![[r#"
        1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1
          topk(x)
          ^^^^^^^"#]],
    );
    check(
        "foo offset 5m offset 5m",
        expect![[r#"
        1:15: parse error: offset may not be set multiple times
          foo offset 5m offset 5m
                        ^^^^^^"#]],
    );
    check(
        "foo @ NaN",
        expect![[r#"
        1:5: parse error: timestamp out of bounds for @ modifier: NaN
          foo @ NaN
              ^^^^^"#]],
    );
    check(
        "\"abc",
        expect![[r#"
        1:1: parse error: unterminated quoted string
          "abc
          ^^^^"#]],
    );
    check(
        "foo ? bar",
        expect![[r#"
        1:5: parse error: unexpected character: '?'
          foo ? bar
              ^"#]],
    );
    check(
        "abs(x, y)",
        expect![[r#"
        1:1: parse error: expected 1 argument(s) in call to "abs", got 2
          abs(x, y)
          ^^^^^^^^^"#]],
    );
    check(
        "x and on(a) group_left b",
        expect![[r#"
        1:1: parse error: no grouping allowed for "and" operation
          x and on(a) group_left b
          ^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check(
        "µ",
        expect![[r#"
        1:1: parse error: unexpected character: 'µ'
          µ
          ^"#]],
    );
}
