//! The table of functions: names, arguments and results. What each one computes is in `eval`.

use crate::ast::ValueType::{self, Matrix, Scalar, String as Str, Vector};

/// A function of the language.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one repeats for optional arguments.
    pub args: &'static [ValueType],
    /// How many of the arguments beyond `args.len() - 1` may be given: 0 for a fixed number, -1 for any.
    pub variadic: i32,
    /// The type of its result.
    pub returns: ValueType,
    /// Experimental in Prometheus (there behind a feature flag).
    pub experimental: bool,
}

const fn f(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: 0, returns, experimental: false }
}

const fn v(name: &'static str, args: &'static [ValueType], variadic: i32) -> Function {
    Function { name, args, variadic, returns: Vector, experimental: false }
}

const fn x(function: Function) -> Function {
    Function { experimental: true, ..function }
}

/// All functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    f("abs", &[Vector], Vector),
    f("absent", &[Vector], Vector),
    f("absent_over_time", &[Matrix], Vector),
    f("acos", &[Vector], Vector),
    f("acosh", &[Vector], Vector),
    f("asin", &[Vector], Vector),
    f("asinh", &[Vector], Vector),
    f("atan", &[Vector], Vector),
    f("atanh", &[Vector], Vector),
    f("avg_over_time", &[Matrix], Vector),
    f("ceil", &[Vector], Vector),
    f("changes", &[Matrix], Vector),
    f("clamp", &[Vector, Scalar, Scalar], Vector),
    f("clamp_max", &[Vector, Scalar], Vector),
    f("clamp_min", &[Vector, Scalar], Vector),
    f("cos", &[Vector], Vector),
    f("cosh", &[Vector], Vector),
    f("count_over_time", &[Matrix], Vector),
    v("day_of_month", &[Vector], 1),
    v("day_of_week", &[Vector], 1),
    v("day_of_year", &[Vector], 1),
    v("days_in_month", &[Vector], 1),
    f("deg", &[Vector], Vector),
    f("delta", &[Matrix], Vector),
    f("deriv", &[Matrix], Vector),
    x(f("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector)),
    x(f("end", &[], Scalar)),
    f("exp", &[Vector], Vector),
    f("first_over_time", &[Matrix], Vector),
    f("floor", &[Vector], Vector),
    f("histogram_avg", &[Vector], Vector),
    f("histogram_count", &[Vector], Vector),
    f("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    f("histogram_quantile", &[Scalar, Vector], Vector),
    x(v("histogram_quantiles", &[Vector, Str, Scalar, Scalar], 9)),
    f("histogram_stddev", &[Vector], Vector),
    f("histogram_stdvar", &[Vector], Vector),
    f("histogram_sum", &[Vector], Vector),
    v("hour", &[Vector], 1),
    f("idelta", &[Matrix], Vector),
    f("increase", &[Matrix], Vector),
    x(v("info", &[Vector, Vector], 1)),
    f("irate", &[Matrix], Vector),
    v("label_join", &[Vector, Str, Str, Str], -1),
    f("label_replace", &[Vector, Str, Str, Str, Str], Vector),
    f("last_over_time", &[Matrix], Vector),
    f("ln", &[Vector], Vector),
    f("log10", &[Vector], Vector),
    f("log2", &[Vector], Vector),
    x(f("mad_over_time", &[Matrix], Vector)),
    x(f("max_of", &[Scalar, Scalar], Scalar)),
    f("max_over_time", &[Matrix], Vector),
    x(f("min_of", &[Scalar, Scalar], Scalar)),
    f("min_over_time", &[Matrix], Vector),
    v("minute", &[Vector], 1),
    v("month", &[Vector], 1),
    f("pi", &[], Scalar),
    f("predict_linear", &[Matrix, Scalar], Vector),
    f("present_over_time", &[Matrix], Vector),
    f("quantile_over_time", &[Scalar, Matrix], Vector),
    f("rad", &[Vector], Vector),
    x(f("range", &[], Scalar)),
    f("rate", &[Matrix], Vector),
    f("resets", &[Matrix], Vector),
    v("round", &[Vector, Scalar], 1),
    f("scalar", &[Vector], Scalar),
    f("sgn", &[Vector], Vector),
    f("sin", &[Vector], Vector),
    f("sinh", &[Vector], Vector),
    f("sort", &[Vector], Vector),
    x(v("sort_by_label", &[Vector, Str], -1)),
    x(v("sort_by_label_desc", &[Vector, Str], -1)),
    f("sort_desc", &[Vector], Vector),
    f("sqrt", &[Vector], Vector),
    x(f("start", &[], Scalar)),
    x(f("start_timestamp", &[Vector], Vector)),
    f("stddev_over_time", &[Matrix], Vector),
    f("stdvar_over_time", &[Matrix], Vector),
    x(f("step", &[], Scalar)),
    f("sum_over_time", &[Matrix], Vector),
    f("tan", &[Vector], Vector),
    f("tanh", &[Vector], Vector),
    f("time", &[], Scalar),
    f("timestamp", &[Vector], Vector),
    x(f("ts_of_first_over_time", &[Matrix], Vector)),
    x(f("ts_of_last_over_time", &[Matrix], Vector)),
    x(f("ts_of_max_over_time", &[Matrix], Vector)),
    x(f("ts_of_min_over_time", &[Matrix], Vector)),
    f("vector", &[Scalar], Vector),
    v("year", &[Vector], 1),
];

/// Finds a function by its exact name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(FUNCTIONS.iter().all(|function| find(function.name) == Some(function)));
    }
}
