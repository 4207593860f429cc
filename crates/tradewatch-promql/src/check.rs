//! Types: which expression may stand where.

use crate::ast::*;
use crate::error::{ParseError, Span};

type Result<T> = std::result::Result<T, ParseError>;

fn error<T>(input: &str, span: Span, message: impl Into<String>) -> Result<T> {
    Err(ParseError::new(input, span, message))
}

fn expect(input: &str, expr: &Expr, want: ValueType, context: &str) -> Result<()> {
    let got = expr.value_type();
    if got == want {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", want.documented(), got.documented());
    error(input, expr.span, message)
}

pub(crate) fn unary(input: &str, inner: &Expr, span: Span) -> Result<()> {
    let got = inner.value_type();
    if matches!(got, ValueType::Scalar | ValueType::Vector) {
        return Ok(());
    }
    let message = format!(
        "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
        got.documented()
    );
    error(input, span, message)
}

pub(crate) fn subquery(input: &str, inner: &Expr, span: Span) -> Result<()> {
    let got = inner.value_type();
    if got == ValueType::Vector {
        return Ok(());
    }
    let message = format!("subquery is only allowed on instant vector, got {} instead", got.documented());
    error(input, span, message)
}

pub(crate) fn aggregate(input: &str, aggregate: &Aggregate) -> Result<()> {
    expect(input, &aggregate.expr, ValueType::Vector, "aggregation expression")?;
    match (&aggregate.param, aggregate.op.parameter()) {
        (Some(param), Some(want)) => expect(input, param, want, "aggregation parameter"),
        _ => Ok(()),
    }
}

/// Checks a binary expression; drops the matching where an operand is a scalar.
pub(crate) fn binary(input: &str, b: &mut Binary, op_span: Span, span: Span) -> Result<()> {
    let (left, right) = (b.lhs.value_type(), b.rhs.value_type());
    let matching = b.matching.as_mut().expect("the parser sets it");
    if b.return_bool && !b.op.is_comparison() {
        return error(input, op_span, "bool modifier can only be used on comparison operators");
    }
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    b.returns = if scalars { ValueType::Scalar } else { ValueType::Vector };
    if b.op.is_comparison() && !b.return_bool && scalars {
        return error(input, op_span, "comparisons between scalars must use BOOL modifier");
    }
    if matching.on
        && let Some(label) = matching.labels.iter().find(|l| matching.include.contains(l))
    {
        let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
        return error(input, op_span, message);
    }
    for (side, got) in [(&b.lhs, left), (&b.rhs, right)] {
        if !matches!(got, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return error(input, side.span, message);
        }
    }
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if left != ValueType::Vector || right != ValueType::Vector {
        if !matching.labels.is_empty() {
            return error(input, span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return error(input, span, "filling in missing series only allowed between instant vectors");
        }
        b.matching = None;
        if b.op.is_set() {
            let message = format!("set operator {:?} not allowed in binary scalar expression", b.op.symbol());
            return error(input, span, message);
        }
        return Ok(());
    }
    if b.op.is_set() {
        if matching.cardinality != Cardinality::OneToOne {
            return error(input, span, format!("no grouping allowed for {:?} operation", b.op.symbol()));
        }
        if fills {
            return error(input, span, "filling in missing series not allowed for set operators");
        }
        matching.cardinality = Cardinality::ManyToMany;
    }
    Ok(())
}

pub(crate) fn call(input: &str, call: &Call, span: Span) -> Result<()> {
    let function = call.function;
    let (name, wanted, got) = (function.name, function.args.len(), call.args.len());
    if function.variadic == 0 {
        if wanted != got {
            let message = format!("expected {wanted} argument(s) in call to {name:?}, got {got}");
            return error(input, span, message);
        }
    } else {
        let least = wanted - 1;
        if got < least {
            let message = format!("expected at least {least} argument(s) in call to {name:?}, got {got}");
            return error(input, span, message);
        }
        let most = least as i64 + i64::from(function.variadic);
        if function.variadic > 0 && got as i64 > most {
            let message = format!("expected at most {most} argument(s) in call to {name:?}, got {got}");
            return error(input, span, message);
        }
    }
    let context = format!("call to function {name:?}");
    for (at, arg) in call.args.iter().enumerate() {
        expect(input, arg, function.args[at.min(wanted - 1)], &context)?;
    }
    if name == "info"
        && let Some(labels) = call.args.get(1)
    {
        match &labels.kind {
            ExprKind::Vector(v) if v.name.is_none() => {}
            ExprKind::Vector(_) => {
                return error(
                    input,
                    labels.span,
                    "expected label selectors only, got vector selector instead",
                );
            }
            _ => return error(input, labels.span, "expected label selectors only"),
        }
    }
    Ok(())
}

/// Finds selectors that would take every series there is.
pub(crate) fn check(input: &str, expr: &Expr) -> Result<()> {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match &expr.kind {
            ExprKind::Vector(v) => selector(input, v, expr.span)?,
            ExprKind::Matrix(m) => selector(input, &m.selector, m.inner_span)?,
            ExprKind::Call(call) if call.function.name == "info" => open.push(&call.args[0]),
            _ => open.extend(expr.children()),
        }
    }
    Ok(())
}

fn selector(input: &str, v: &VectorSelector, span: Span) -> Result<()> {
    if v.name.is_some() || v.matchers.iter().any(|m| !m.matches_empty()) {
        return Ok(());
    }
    error(input, span, "vector selector must contain at least one non-empty matcher")
}
