//! The syntax tree of `/api/v1/parse_query`, in the form that Prometheus' own pages read.

use serde_json::{Value as Json, json};
use tradewatch_promql::Expr;
use tradewatch_promql::ast::ExprKind;

/// The tree of `expr`.
pub fn of(expr: &Expr) -> Json {
    match &expr.kind {
        ExprKind::Number(number) => {
            json!({"type": "numberLiteral", "val": tradewatch_promql::format_float(number.value)})
        }
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text}),
        ExprKind::Paren(inner) => json!({"type": "parenExpr", "expr": of(inner)}),
        _ => {
            let kind = match &expr.kind {
                ExprKind::Vector(_) => "vectorSelector",
                ExprKind::Matrix(_) => "matrixSelector",
                ExprKind::Subquery(_) => "subquery",
                ExprKind::Unary(..) => "unaryExpr",
                ExprKind::Binary(_) => "binaryExpr",
                ExprKind::Aggregate(_) => "aggregation",
                _ => "call",
            };
            let children: Vec<Json> = expr.children().into_iter().map(of).collect();
            let mut node = json!({"type": kind, "text": expr.to_string(), "children": children});
            if let ExprKind::Call(call) = &expr.kind {
                node["func"] = json!({"name": call.function.name});
            }
            node
        }
    }
}
