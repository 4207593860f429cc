//! The expression tree. Every node knows its bytes in the query; equality ignores them.

use std::sync::Arc;

use tradewatch_tsdb::Matcher;

use crate::duration::Extent;
use crate::error::Span;
use crate::functions::Function;

/// What an expression evaluates to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// A number without labels.
    Scalar,
    /// A string.
    String,
    /// One sample per series.
    Vector,
    /// A range of samples per series.
    Matrix,
}

impl ValueType {
    /// The name that error messages use.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }
}

/// An expression and its place in the query.
#[derive(Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
    /// The whole query, kept at its root so that remarks can name line and column.
    pub(crate) source: Option<Arc<str>>,
}

// A chain of operators leans to the left and may be long, so copies and comparisons follow it in loops.

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        let (mut left, mut right) = (self, other);
        while let (ExprKind::Binary(a), ExprKind::Binary(b)) = (&left.kind, &right.kind) {
            let same = a.op == b.op && a.return_bool == b.return_bool && a.matching == b.matching;
            if !same || a.rhs != b.rhs {
                return false;
            }
            (left, right) = (&a.lhs, &b.lhs);
        }
        left.kind == right.kind
    }
}

impl Clone for Expr {
    fn clone(&self) -> Expr {
        let mut chain = Vec::new();
        let mut leaf = self;
        while let ExprKind::Binary(binary) = &leaf.kind {
            chain.push((binary, leaf));
            leaf = &binary.lhs;
        }
        let mut out = Expr { kind: leaf.kind.clone(), span: leaf.span, source: leaf.source.clone() };
        for (b, expr) in chain.into_iter().rev() {
            let binary = Binary {
                op: b.op,
                lhs: out,
                rhs: b.rhs.clone(),
                return_bool: b.return_bool,
                matching: b.matching.clone(),
                returns: b.returns,
            };
            let kind = ExprKind::Binary(Box::new(binary));
            out = Expr { kind, span: expr.span, source: expr.source.clone() };
        }
        out
    }
}

/// The kinds of expression.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// `1`, `0x10`, `1h`, `-Inf`.
    Number(Number),
    /// `"text"`.
    String(String),
    /// `up{job="x"} offset 5m`.
    Vector(VectorSelector),
    /// `up[5m]`.
    Matrix(MatrixSelector),
    /// `up[1h:5m]`.
    Subquery(Box<Subquery>),
    /// `-x`, `+x`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + on (b) c`.
    Binary(Box<Binary>),
    /// `sum by (a) (b)`.
    Aggregate(Box<Aggregate>),
    /// `rate(x[5m])`.
    Call(Box<Call>),
    /// `(x)`.
    Paren(Box<Expr>),
}

/// A number as written.
#[derive(Copy, Clone, Debug)]
pub struct Number {
    /// Its value, seconds for a duration.
    pub value: f64,
    /// Written as a duration.
    pub duration: bool,
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        let same = self.value == other.value || (self.value.is_nan() && other.value.is_nan());
        same && self.duration == other.duration
    }
}

/// The time of `@`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// `@ 1609746000`, in milliseconds.
    Millis(i64),
    /// `@ start()`.
    Start,
    /// `@ end()`.
    End,
}

/// `anchored` and `smoothed`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Extended {
    /// Real samples at or before both ends of the range.
    Anchored,
    /// Values interpolated at both ends of the range.
    Smoothed,
}

/// An instant vector selector, or the inner part of a range selector.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The name in front of the braces.
    pub name: Option<String>,
    /// All matchers, that of `name` last.
    pub matchers: Vec<Matcher>,
    /// `offset`.
    pub offset: Extent,
    /// `@`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub extended: Option<Extended>,
}

impl PartialEq for VectorSelector {
    fn eq(&self, other: &VectorSelector) -> bool {
        // The order of matchers means nothing, and printing sorts them.
        let sorted = |v: &VectorSelector| {
            let mut texts: Vec<String> = v.matchers.iter().map(|m| m.to_string()).collect();
            texts.sort();
            texts
        };
        self.name == other.name
            && self.offset == other.offset
            && self.at == other.at
            && self.extended == other.extended
            && sorted(self) == sorted(other)
    }
}

/// A range vector selector.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// The series; holds `offset`, `@` and `anchored` of the whole.
    pub selector: VectorSelector,
    /// Where the inner selector stands.
    pub inner_span: Span,
    /// The length of the range.
    pub range: Extent,
}

impl PartialEq for MatrixSelector {
    fn eq(&self, other: &MatrixSelector) -> bool {
        self.selector == other.selector && self.range == other.range
    }
}

/// A subquery.
#[derive(Clone, PartialEq, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// The length of the range.
    pub range: Extent,
    /// The step; `None` takes the default.
    pub step: Option<Extent>,
    /// `offset`.
    pub offset: Extent,
    /// `@`.
    pub at: Option<At>,
}

/// Signs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    /// `+x`.
    Plus,
    /// `-x`.
    Minus,
}

/// Operators between two operands.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Neq,
    Lss,
    Lte,
    Gtr,
    Gte,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Add => "+",
            Sub => "-",
            Mul => "*",
            Div => "/",
            Mod => "%",
            Pow => "^",
            Atan2 => "atan2",
            Eq => "==",
            Neq => "!=",
            Lss => "<",
            Lte => "<=",
            Gtr => ">",
            Gte => ">=",
            TrimUpper => "</",
            TrimLower => ">/",
            And => "and",
            Or => "or",
            Unless => "unless",
        }
    }

    /// `==` and its like.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Neq | Lss | Lte | Gtr | Gte)
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        use BinaryOp::*;
        matches!(self, And | Or | Unless)
    }

    /// Higher binds tighter.
    pub(crate) fn binding(self) -> u8 {
        use BinaryOp::*;
        match self {
            Or => 1,
            And | Unless => 2,
            Eq | Neq | Lss | Lte | Gtr | Gte | TrimUpper | TrimLower => 3,
            Add | Sub => 4,
            Mul | Div | Mod | Atan2 => 5,
            Pow => 6,
        }
    }
}

/// How many series of each side share one group.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Cardinality {
    /// The default.
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of both sides find each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Matching {
    /// `group_left`, `group_right` or neither.
    pub cardinality: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels taken from the "one" side.
    pub include: Vec<String>,
    /// `fill_left`.
    pub fill_left: Option<Fill>,
    /// `fill_right`.
    pub fill_right: Option<Fill>,
}

impl Matching {
    pub(crate) fn plain() -> Matching {
        Matching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        }
    }
}

/// A value in place of a missing series.
#[derive(Copy, Clone, Debug)]
pub struct Fill(pub f64);

impl PartialEq for Fill {
    fn eq(&self, other: &Fill) -> bool {
        self.0 == other.0 || (self.0.is_nan() && other.0.is_nan())
    }
}

/// A binary expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// The left operand.
    pub lhs: Expr,
    /// The right operand.
    pub rhs: Expr,
    /// `bool`: 0 and 1 rather than a filter.
    pub return_bool: bool,
    /// Between two vectors only.
    pub matching: Option<Matching>,
    /// A scalar between scalars, else a vector; kept, so that nobody has to walk down a long chain for it.
    pub(crate) returns: ValueType,
}

/// Aggregation operators.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum AggregateOp {
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
}

impl AggregateOp {
    /// As it is written.
    pub fn name(self) -> &'static str {
        use AggregateOp::*;
        match self {
            Avg => "avg",
            Bottomk => "bottomk",
            Count => "count",
            CountValues => "count_values",
            Group => "group",
            Max => "max",
            Min => "min",
            Quantile => "quantile",
            Stddev => "stddev",
            Stdvar => "stdvar",
            Sum => "sum",
            Topk => "topk",
            Limitk => "limitk",
            LimitRatio => "limit_ratio",
        }
    }

    /// The type of the first of two arguments, if there are two.
    pub fn parameter(self) -> Option<ValueType> {
        use AggregateOp::*;
        match self {
            Topk | Bottomk | Quantile | Limitk | LimitRatio => Some(ValueType::Scalar),
            CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Keeps some series as they are rather than computing new ones.
    pub fn selects(self) -> bool {
        use AggregateOp::*;
        matches!(self, Topk | Bottomk | Limitk | LimitRatio)
    }
}

/// An aggregation.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// `without` rather than `by`.
    pub without: bool,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// The k of `topk` and its like.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
}

/// A function call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// Which function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// A selector of an expression, for planning and checking.
#[derive(Clone, Debug)]
pub struct SelectorInfo<'a> {
    /// The series that it takes.
    pub selector: &'a VectorSelector,
    /// The length of its range, zero for an instant selector.
    pub range: Option<&'a Extent>,
    /// Where it stands.
    pub span: Span,
    /// How far before the evaluation time it reads at most, in milliseconds, without the lookback of instant selectors;
    /// `None` where `@` or a computed duration leave it open.
    pub reach_ms: Option<i64>,
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            return match &expr.kind {
                ExprKind::Number(_) => ValueType::Scalar,
                ExprKind::String(_) => ValueType::String,
                ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
                ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => {
                    expr = inner;
                    continue;
                }
                ExprKind::Binary(b) => b.returns,
                ExprKind::Call(call) => call.function.returns,
            };
        }
    }

    /// The text it was parsed from, if it is a whole query.
    pub fn text(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The expression without parentheses around it.
    pub fn unparen(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The expressions directly inside.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => vec![],
            ExprKind::Subquery(sub) => vec![&sub.expr],
            ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => vec![inner],
            ExprKind::Binary(b) => vec![&b.lhs, &b.rhs],
            ExprKind::Aggregate(a) => a.param.iter().chain([&a.expr]).collect(),
            ExprKind::Call(call) => call.args.iter().collect(),
        }
    }

    /// All selectors, in the order of the text.
    pub fn selectors(&self) -> Vec<SelectorInfo<'_>> {
        let mut found = Vec::new();
        let mut open = vec![(self, Some(0i64))];
        while let Some((expr, before)) = open.pop() {
            let reach = |offset: &Extent, at: &Option<At>, range: Option<&Extent>| -> Option<i64> {
                if at.is_some() {
                    return None;
                }
                Some(before? + offset.literal_ms()? + range.map_or(Some(0), Extent::literal_ms)?)
            };
            match &expr.kind {
                ExprKind::Vector(v) => found.push(SelectorInfo {
                    selector: v,
                    range: None,
                    span: expr.span,
                    reach_ms: reach(&v.offset, &v.at, None),
                }),
                ExprKind::Matrix(m) => found.push(SelectorInfo {
                    selector: &m.selector,
                    range: Some(&m.range),
                    span: expr.span,
                    reach_ms: reach(&m.selector.offset, &m.selector.at, Some(&m.range)),
                }),
                ExprKind::Subquery(s) => open.push((&s.expr, reach(&s.offset, &s.at, Some(&s.range)))),
                _ => open.extend(expr.children().into_iter().rev().map(|child| (child, before))),
            }
        }
        found
    }
}
