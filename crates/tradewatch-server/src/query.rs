//! Queries: evaluated on threads of their own, at most so many at a time, each with an end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Semaphore;
use tradewatch_promql::{Engine, EngineOptions, EvalError, Expr, ParseError, QueryResult, parse};
use tradewatch_tsdb::{Db, Timestamp};

use crate::clock;
use crate::options::QueryOptions;
use crate::telemetry::Own;

/// Longest query text.
pub const QUERY_BYTES_MAX: usize = 256 << 10;
/// Slow queries that are kept to be looked at; the oldest go first.
const SLOW_MAX: usize = 200;
/// Bytes of a slow query's text that are kept.
const SLOW_TEXT_BYTES_MAX: usize = 4 << 10;

type Answered = Result<QueryResult, EvalError>;

/// Evaluates queries within limits.
#[derive(Clone)]
pub struct Queries {
    db: Db,
    options: QueryOptions,
    permits: Arc<Semaphore>,
    own: Arc<Own>,
    slow: Arc<Mutex<VecDeque<SlowQuery>>>,
}

/// A query that took longer than `--query.log-slower-than`.
#[derive(Clone, Debug, Serialize)]
pub struct SlowQuery {
    /// When it began, in milliseconds.
    pub began: i64,
    /// How long its evaluation took.
    pub seconds: f64,
    /// The query, cut after 4 KiB.
    pub query: String,
    /// First time asked for, in milliseconds.
    pub start: i64,
    /// Last time asked for, in milliseconds.
    pub end: i64,
    /// Between two times, in seconds; 0 for one time.
    pub step: f64,
    /// Samples that were read.
    pub samples: u64,
    /// Why there was no answer, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum QueryError {
    /// It cannot be read.
    Parse(String),
    /// It cannot be evaluated, or costs too much.
    Eval(EvalError),
    /// It waited too long for its turn.
    Busy(String),
    /// Its evaluation broke off; a fault of ours.
    Internal(String),
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueryError::Eval(error) => error.fmt(f),
            QueryError::Parse(text) | QueryError::Busy(text) | QueryError::Internal(text) => {
                f.write_str(text)
            }
        }
    }
}

impl From<ParseError> for QueryError {
    fn from(error: ParseError) -> QueryError {
        QueryError::Parse(error.to_string())
    }
}

/// What is asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At one time.
    At(Timestamp),
    /// At each step from the first to the last.
    Steps {
        /// First step.
        start: Timestamp,
        /// Not after this.
        end: Timestamp,
        /// Between two steps.
        step: Duration,
    },
}

/// What a request may set for itself.
#[derive(Copy, Clone, Debug, Default)]
pub struct Overrides {
    /// Instead of the default; never longer than it.
    pub timeout: Option<Duration>,
    /// Instead of the default.
    pub lookback: Option<Duration>,
}

impl Queries {
    /// Queries on `db`.
    pub fn new(db: Db, options: QueryOptions, own: Arc<Own>) -> Queries {
        let permits = Arc::new(Semaphore::new(options.concurrency.max(1)));
        Queries { db, options, permits, own, slow: Arc::default() }
    }

    /// The queries that took too long, the newest first; at most 200.
    pub fn slow(&self) -> Vec<SlowQuery> {
        self.slow.lock().expect("no panic while slow queries are locked").iter().rev().cloned().collect()
    }

    /// Writes down a query that took longer than it should.
    fn note(&self, expr: &Expr, when: When, began: Timestamp, took: Duration, result: &Answered) {
        let Some(bound) = self.options.log_slower_than.filter(|bound| took > *bound) else { return };
        let (start, end, step) = match when {
            When::At(at) => (at, at, Duration::ZERO),
            When::Steps { start, end, step } => (start, end, step),
        };
        let mut query = expr.to_string();
        query.truncate(query.floor_char_boundary(SLOW_TEXT_BYTES_MAX));
        let slow = SlowQuery {
            began: began.as_millis(),
            seconds: took.as_secs_f64(),
            query,
            start: start.as_millis(),
            end: end.as_millis(),
            step: step.as_secs_f64(),
            samples: result.as_ref().map_or(0, |result| result.stats.samples as u64),
            error: result.as_ref().err().map(ToString::to_string),
        };
        tracing::warn!(
            seconds = slow.seconds,
            samples = slow.samples,
            start = %start,
            end = %end,
            step = slow.step,
            error = slow.error.as_deref().unwrap_or(""),
            "a query took longer than {bound:?}: {}",
            slow.query
        );
        let mut kept = self.slow.lock().expect("no panic while slow queries are locked");
        if kept.len() == SLOW_MAX {
            kept.pop_front();
        }
        kept.push_back(slow);
    }

    /// An engine whose queries end after `timeout`.
    pub fn engine(&self, overrides: Overrides) -> Engine {
        let timeout = overrides.timeout.unwrap_or(self.options.timeout).min(self.options.timeout);
        let end = Instant::now() + timeout;
        Engine::new(EngineOptions {
            lookback: overrides.lookback.unwrap_or(self.options.lookback),
            samples_max: self.options.samples_max,
            deadline: Some(Arc::new(move || Instant::now() >= end)),
            ..EngineOptions::default()
        })
    }

    /// Parses a query.
    ///
    /// # Errors
    /// Place and reason.
    pub fn parse(text: &str) -> Result<Expr, QueryError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(QueryError::Parse(format!(
                "a query of {} bytes is longer than {QUERY_BYTES_MAX}",
                text.len()
            )));
        }
        Ok(parse(text)?)
    }

    /// Evaluates at once on this thread, for callers that have one to spare.
    ///
    /// # Errors
    /// A limit is broken or query and data do not fit.
    pub fn run_here(&self, expr: &Expr, when: When, overrides: Overrides) -> Result<QueryResult, QueryError> {
        let engine = self.engine(overrides);
        let (began, clock) = (clock::now(), Instant::now());
        let result = match when {
            When::At(at) => engine.instant(&self.db, expr, at),
            When::Steps { start, end, step } => engine.range(&self.db, expr, start, end, step),
        };
        self.note(expr, when, began, clock.elapsed(), &result);
        result.map_err(QueryError::Eval)
    }

    /// Evaluates when its turn comes.
    ///
    /// # Errors
    /// A limit is broken, query and data do not fit, or all turns are taken for too long.
    pub async fn run(&self, expr: Expr, when: When, overrides: Overrides) -> Result<QueryResult, QueryError> {
        self.turn(overrides, move |queries| queries.run_here(&expr, when, overrides)).await?
    }

    /// Runs any reading of the store on a thread of its own when its turn comes.
    ///
    /// # Errors
    /// All turns are taken for too long.
    pub async fn turn<T: Send + 'static>(
        &self,
        overrides: Overrides,
        read: impl FnOnce(&Queries) -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let timeout = overrides.timeout.unwrap_or(self.options.timeout).min(self.options.timeout);
        let permit = match tokio::time::timeout(timeout, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => {
                return Err(QueryError::Busy(format!(
                    "no turn within {timeout:?}: {} queries run at a time",
                    self.options.concurrency
                )));
            }
        };
        let queries = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let _running = queries.own.metrics.queries_running_current.track();
            read(&queries)
        });
        done.await.map_err(|error| QueryError::Internal(format!("the evaluation broke off: {error}")))
    }

    /// The store that is asked.
    pub fn db(&self) -> &Db {
        &self.db
    }
}
