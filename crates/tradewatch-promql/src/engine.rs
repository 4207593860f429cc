//! The evaluation of a whole query: limits, the last clean-up, and the form of the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_tsdb::{Db, Sample, Series, Timestamp, Value};

use crate::annotate::Annotations;
use crate::ast::{AggregateOp, Expr, ExprKind, ValueType};
use crate::eval::{Evaluator, Out};
use crate::frame::{Cell, Frame, Grid};
use crate::value::{QueryResult, QueryStats, QueryValue, VectorSample};

/// How queries are evaluated, and what one may cost.
#[derive(Clone)]
pub struct EngineOptions {
    /// How old the last sample of a series may be to count as its current value.
    pub lookback: Duration,
    /// The step of subqueries that name none.
    pub subquery_step: Duration,
    /// How many samples a query may hold in memory.
    pub samples_max: usize,
    /// How many series one selector may find.
    pub series_max: usize,
    /// How many steps a range query may have.
    pub steps_max: usize,
    /// Asked every now and then; the query ends with an error once it answers `true`.
    pub deadline: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Metric names go at the end of a query rather than in each function, as behind
    /// `--enable-feature=promql-delayed-name-removal` of Prometheus.
    pub delayed_name_removal: bool,
    /// Start timestamps of counters count as resets, as behind the feature flag of Prometheus.
    pub start_timestamps: bool,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            samples_max: 50_000_000,
            series_max: 1_000_000,
            steps_max: 11_000,
            deadline: None,
            delayed_name_removal: false,
            start_timestamps: false,
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("lookback", &self.lookback)
            .field("samples_max", &self.samples_max)
            .field("series_max", &self.series_max)
            .field("steps_max", &self.steps_max)
            .finish_non_exhaustive()
    }
}

/// Why a query was given up.
#[derive(Clone, PartialEq, Eq)]
pub struct EvalError {
    kind: ErrorKind,
    message: String,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum ErrorKind {
    /// The query and the data do not fit.
    Data,
    /// Over a limit.
    Limit,
    /// Over the deadline.
    Deadline,
}

impl EvalError {
    pub(crate) fn data(message: impl Into<String>) -> EvalError {
        EvalError { kind: ErrorKind::Data, message: message.into() }
    }

    pub(crate) fn limit(message: impl Into<String>) -> EvalError {
        EvalError { kind: ErrorKind::Limit, message: message.into() }
    }

    pub(crate) fn too_many_samples(max: usize) -> EvalError {
        EvalError::limit(format!(
            "query processing would load more than {max} samples into memory in expression evaluation"
        ))
    }

    pub(crate) fn deadline() -> EvalError {
        EvalError { kind: ErrorKind::Deadline, message: "query timed out in expression evaluation".into() }
    }

    /// The query would hold more series, samples or steps than allowed.
    pub fn is_limit(&self) -> bool {
        self.kind == ErrorKind::Limit
    }

    /// The deadline passed.
    pub fn is_deadline(&self) -> bool {
        self.kind == ErrorKind::Deadline
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvalError({:?}, {})", self.kind, self.message)
    }
}

impl std::error::Error for EvalError {}

pub(crate) type Result<T> = std::result::Result<T, EvalError>;

/// Evaluates expressions against a store.
///
/// ```
/// use tradewatch_promql::{Engine, EngineOptions, QueryValue, parse};
/// use tradewatch_tsdb::{Db, Labels, Timestamp};
///
/// let db = Db::in_memory();
/// let mut appender = db.appender();
/// let up = appender.series(&Labels::from_pairs([("__name__", "up"), ("job", "feed")]));
/// appender.append(up, Timestamp::from_millis(1_000), 1.0).unwrap();
/// appender.commit().unwrap();
///
/// let engine = Engine::new(EngineOptions::default());
/// let result = engine.instant(&db, &parse("sum(up)").unwrap(), Timestamp::from_millis(2_000)).unwrap();
/// let QueryValue::Vector(vector) = result.value else { panic!("a sum is a vector") };
/// assert_eq!(vector[0].value.as_float(), Some(1.0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Engine {
        Engine { options }
    }

    /// Evaluates at one time.
    ///
    /// # Errors
    /// Over a limit or the deadline, or if query and data do not fit (as with two series of one label set).
    pub fn instant(&self, db: &Db, expr: &Expr, at: Timestamp) -> Result<QueryResult> {
        let ms = in_bounds(at)?;
        let grid = Grid { start: ms, step: 1, steps: 1 };
        let mut evaluator = Evaluator::new(db, &self.options, ms, ms, 0);
        let value = if expr.value_type() == ValueType::Matrix {
            QueryValue::Matrix(evaluator.matrix(expr.unparen(), &grid)?)
        } else {
            match evaluator.eval_top(expr, &grid)? {
                Out::Scalar(values) => QueryValue::Scalar { ts: at, value: values[0] },
                Out::Text(value) => {
                    let shown = |c| crate::lexer::raw_byte(c).map_or(c, |_| char::REPLACEMENT_CHARACTER);
                    QueryValue::String { ts: at, value: value.chars().map(shown).collect() }
                }
                Out::Vector(mut frame) => {
                    self.clean_up(&mut frame)?;
                    let mut vector = vector_of(&frame, at);
                    if !has_order(expr) {
                        vector.sort_by(|a, b| a.labels.cmp(&b.labels));
                    }
                    QueryValue::Vector(vector)
                }
            }
        };
        Ok(self.result(value, &evaluator, expr))
    }

    /// Evaluates at each step from `start` to `end`, both included.
    ///
    /// # Errors
    /// As [`Engine::instant`]; also for a step of zero, too many steps, and expressions that are neither vector nor scalar.
    pub fn range(
        &self,
        db: &Db,
        expr: &Expr,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<QueryResult> {
        let (from, to) = (in_bounds(start)?, in_bounds(end)?);
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        if step == 0 {
            return Err(EvalError::data(
                "zero or negative query resolution step widths are not accepted; try a positive integer",
            ));
        }
        let kind = expr.value_type();
        if !matches!(kind, ValueType::Vector | ValueType::Scalar) {
            let got = kind.documented();
            return Err(EvalError::data(format!(
                "invalid expression type {got:?} for range query, must be Scalar or instant Vector"
            )));
        }
        if to < from {
            return Err(EvalError::data("end timestamp must not be before start time"));
        }
        let steps = (to - from) / step + 1;
        if steps > self.options.steps_max as i64 {
            return Err(EvalError::limit(format!(
                "exceeded maximum resolution of {} points per timeseries: {steps} steps; use a larger step",
                self.options.steps_max
            )));
        }
        let grid = Grid { start: from, step, steps: steps as usize };
        let mut evaluator = Evaluator::new(db, &self.options, from, to, step);
        let mut frame = match evaluator.eval_top(expr, &grid)? {
            Out::Vector(frame) => frame,
            Out::Scalar(values) => {
                let mut frame = Frame::new(grid.steps);
                frame.push(tradewatch_tsdb::Labels::empty(), false);
                frame.floats_mut(0).copy_from_slice(&values);
                frame
            }
            Out::Text(_) => unreachable!("checked above"),
        };
        self.clean_up(&mut frame)?;
        let value = QueryValue::Matrix(matrix_of(&frame, &grid));
        Ok(self.result(value, &evaluator, expr))
    }

    fn clean_up(&self, frame: &mut Frame) -> Result<()> {
        for row in &mut frame.rows {
            if row.drop_name {
                row.labels = crate::eval::without_name(&row.labels);
            }
        }
        if frame.merge_equal_rows() {
            return Ok(());
        }
        Err(EvalError::data("vector cannot contain metrics with the same labelset"))
    }

    fn result(&self, value: QueryValue, evaluator: &Evaluator<'_>, expr: &Expr) -> QueryResult {
        let annotations: &Annotations = &evaluator.annotations;
        let (warnings, infos) = annotations.render(expr.text());
        let stats = QueryStats { series: evaluator.series_read, samples: evaluator.samples_read };
        QueryResult { value, warnings, infos, stats }
    }
}

/// Times farther from 1970 than this are refused, so that sums of times cannot overflow: 285,000 years.
pub(crate) const TIME_MS_MAX: i64 = (1 << 53) - 1;

fn in_bounds(ts: Timestamp) -> Result<i64> {
    let ms = ts.as_millis();
    if (-TIME_MS_MAX..=TIME_MS_MAX).contains(&ms) {
        return Ok(ms);
    }
    Err(EvalError::limit(format!("time {ms} ms is out of bounds; the limit is {TIME_MS_MAX} ms from 1970")))
}

/// Whether something in the expression puts its result into an order that counts.
fn has_order(expr: &Expr) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match &expr.kind {
            ExprKind::Call(call) if call.function.name.starts_with("sort") => return true,
            ExprKind::Aggregate(a) if matches!(a.op, AggregateOp::Topk | AggregateOp::Bottomk) => {
                return true;
            }
            _ => open.extend(expr.children()),
        }
    }
    false
}

fn value_of(cell: Cell<'_>) -> Option<Value> {
    match cell {
        Cell::Empty => None,
        Cell::Float(value) => Some(Value::Float(value)),
        Cell::Histogram(histogram) => Some(Value::Histogram(histogram.clone())),
    }
}

fn vector_of(frame: &Frame, at: Timestamp) -> Vec<VectorSample> {
    let mut out = Vec::with_capacity(frame.len());
    for (row, about) in frame.rows.iter().enumerate() {
        if let Some(value) = value_of(frame.cell(row, 0)) {
            out.push(VectorSample { labels: about.labels.clone(), ts: at, value });
        }
    }
    out
}

fn matrix_of(frame: &Frame, grid: &Grid) -> Vec<Series> {
    let mut out = Vec::with_capacity(frame.len());
    for (row, about) in frame.rows.iter().enumerate() {
        let sample = |step: usize| {
            let value = value_of(frame.cell(row, step))?;
            Some(Sample { ts: Timestamp::from_millis(grid.at(step)), value, start: None })
        };
        let samples: Vec<Sample> = (0..grid.steps).filter_map(sample).collect();
        if !samples.is_empty() {
            out.push(Series { labels: about.labels.clone(), samples });
        }
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    out
}
