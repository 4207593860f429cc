//! PromQL: text to expression, expression and store to vector.
//!
//! [`parse`] gives an [`Expr`] whose nodes know their place in the text.

pub mod ast;
mod check;
pub mod duration;
pub mod error;
pub mod functions;
mod lexer;
mod number;
mod parser;
mod print;

pub use ast::{Expr, ExprKind, SelectorInfo, ValueType};
pub use error::{ParseError, Span};
pub use number::format_float;
pub use parser::{NESTING_MAX, OPERATORS_MAX, parse, parse_selector};
pub use print::quote;
