//! Queries: evaluated on threads of their own, at most so many at a time, each with an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tradewatch_promql::{Engine, EngineOptions, EvalError, Expr, ParseError, QueryResult, parse};
use tradewatch_tsdb::{Db, Timestamp};

use crate::options::QueryOptions;
use crate::telemetry::Own;

/// Longest query text.
pub const QUERY_BYTES_MAX: usize = 256 << 10;

/// Evaluates queries within limits.
#[derive(Clone)]
pub struct Queries {
    db: Db,
    options: QueryOptions,
    permits: Arc<Semaphore>,
    own: Arc<Own>,
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
        Queries { db, options, permits, own }
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
        match when {
            When::At(at) => engine.instant(&self.db, expr, at),
            When::Steps { start, end, step } => engine.range(&self.db, expr, start, end, step),
        }
        .map_err(QueryError::Eval)
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
