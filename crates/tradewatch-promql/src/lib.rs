//! PromQL: text to expression, expression and store to vector.
//!
//! [`parse`] gives an [`Expr`] whose nodes know their place in the text; an [`Engine`] evaluates it against a
//! [`Db`](tradewatch_tsdb::Db) at one time or over steps.
//!
//! Invariants: nothing here reads the clock; the depth of a tree is bounded by the parser, so evaluation cannot
//! exhaust the stack; labels are built once per series, never per step.

mod annotate;
pub mod ast;
mod check;
pub mod duration;
mod engine;
pub mod error;
mod eval;
mod frame;
pub mod functions;
mod hash;
mod lexer;
mod number;
mod parser;
mod print;
pub mod series;
mod value;

pub use ast::{Expr, ExprKind, SelectorInfo, ValueType};
pub use engine::{Engine, EngineOptions, EvalError};
pub use error::{ParseError, Span};
pub use number::{format_float, format_g};
pub use parser::{NESTING_MAX, OPERATORS_MAX, parse, parse_selector};
pub use print::{prettify, quote};
pub use value::{QueryResult, QueryStats, QueryValue, VectorSample};
