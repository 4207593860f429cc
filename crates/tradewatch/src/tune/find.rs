//! Rules that compare something with a constant, and where the constant stands.

use tradewatch_alert::rules::RuleSpec;
use tradewatch_promql::ast::{BinaryOp, Expr, ExprKind, UnaryOp};

/// A comparison of a rule that can be tuned.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Whether the alert fires when the value is above the threshold.
    pub above: bool,
    /// The threshold.
    pub threshold: f64,
    /// The bytes of the constant in the expression's text, its sign included.
    pub constant: (usize, usize),
    /// What is compared, as an expression of its own; with what else the rule asks for.
    pub measured: String,
}

/// The comparison of `rule` with a constant.
///
/// # Errors
/// Why there is none, for people.
pub fn comparison(rule: &RuleSpec) -> Result<Comparison, String> {
    let text = rule.expr.text().ok_or("it has no text")?;
    let mut expr = &rule.expr;
    loop {
        match &expr.kind {
            ExprKind::Paren(inner) => expr = inner,
            ExprKind::Binary(binary) => match binary.op {
                // What is on the left gives the values; the right side says when.
                BinaryOp::And | BinaryOp::Unless => expr = &binary.lhs,
                BinaryOp::Gtr | BinaryOp::Gte | BinaryOp::Lss | BinaryOp::Lte => break,
                BinaryOp::Eq | BinaryOp::Neq => return Err("it asks for a state, not for a level".to_owned()),
                _ => return Err("it compares nothing with a constant".to_owned()),
            },
            _ => return Err("it compares nothing with a constant".to_owned()),
        }
    }
    let ExprKind::Binary(binary) = &expr.kind else { unreachable!("the loop ends at one") };
    if binary.return_bool {
        return Err("`bool` makes it fire whatever the value".to_owned());
    }
    let (measured, constant, flipped) = match (number(&binary.lhs), number(&binary.rhs)) {
        (None, Some(value)) => (&binary.lhs, (value, &binary.rhs), false),
        (Some(value), None) => (&binary.rhs, (value, &binary.lhs), true),
        _ => return Err("it compares nothing with a constant".to_owned()),
    };
    let greater = matches!(binary.op, BinaryOp::Gtr | BinaryOp::Gte);
    let span = |expr: &Expr| (expr.span.start as usize, expr.span.end as usize);
    let (from, to) = span(expr);
    let (inner_from, inner_to) = span(measured);
    let measured = format!("{}({}){}", &text[..from], &text[inner_from..inner_to], &text[to..]);
    Ok(Comparison { above: greater != flipped, threshold: constant.0, constant: span(constant.1), measured })
}

/// The value of a number with or without a sign.
fn number(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(number) => Some(number.value),
        ExprKind::Unary(UnaryOp::Minus, inner) => number(inner).map(|value| -value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewatch_alert::rules::RuleFile;

    fn found(expr: &str) -> Result<(bool, f64, String, String), String> {
        let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: {expr:?}}}]}}]");
        let (file, errors) = RuleFile::parse("r.yml", &text);
        assert!(errors.is_empty(), "{errors:?}");
        let one = comparison(&file.groups[0].rules[0])?;
        Ok((one.above, one.threshold, expr[one.constant.0..one.constant.1].to_owned(), one.measured))
    }

    #[test]
    fn comparisons_are_found_with_what_is_around_them() {
        let of = |above: bool, value: f64, text: &str, measured: &str| {
            Ok((above, value, text.to_owned(), measured.to_owned()))
        };
        assert_eq!(found("rate(a[5m]) > 0.1"), of(true, 0.1, "0.1", "(rate(a[5m]))"));
        assert_eq!(found("a < -5"), of(false, -5.0, "-5", "(a)"));
        assert_eq!(found("0.5 > a"), of(false, 0.5, "0.5", "(a)"));
        assert_eq!(found("(a / b >= 2) and on () c == 1"), of(true, 2.0, "2", "((a / b)) and on () c == 1"));
        assert_eq!(found("a > 1 unless b > 2"), of(true, 1.0, "1", "(a) unless b > 2"));
        for expr in ["up == 0", "a > b", "absent(a)", "a > bool 1", "a > 1 or b > 1"] {
            assert!(found(expr).is_err(), "{expr}");
        }
    }
}
