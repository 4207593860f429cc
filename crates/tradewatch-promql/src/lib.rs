//! PromQL: text to expression, expression and store to vector.
