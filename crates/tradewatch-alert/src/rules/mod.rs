//! Recording and alerting rules: the file, the group, the states.
//!
//! The meaning is Prometheus'. The label [`TRADING_CALENDAR`] lets `for` count session time. Where it differs
//! otherwise, it is so that nothing flaps or is lost by our fault: `for` survives a restart for every duration, a rule that cannot be evaluated keeps its
//! alerts, and what vanished while the monitor was down is resolved and not forgotten.

mod alerting;
mod file;
mod group;
mod restore;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_calendar::Calendar;
use tradewatch_promql::{Engine, Expr, QueryValue};
use tradewatch_tsdb::{Db, Labels, Timestamp, Value};

pub(crate) use alerting::exponent;
pub use alerting::{ActiveAlert, AlertChange};
pub use file::{GroupSpec, RuleFile, RuleKind, RuleSpec, TRADING_CALENDAR};
pub use group::{Evaluation, Group, Health, RuleOutcome, RuleStatus};

/// Ask: one instant query. Comes from the server, or from a test.
pub type Query = Arc<dyn Fn(&Expr, Timestamp) -> Result<Answer, String> + Send + Sync>;

/// What a query gave.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// A scalar is a vector of one sample without labels.
    pub vector: Vec<(Labels, Value)>,
    /// Warnings of the evaluation.
    pub warnings: Vec<String>,
    /// Notes of the evaluation.
    pub infos: Vec<String>,
}

/// A query that an engine answers from a store.
pub fn engine_query(engine: Arc<Engine>, db: Db) -> Query {
    Arc::new(move |expr, at| {
        let result = engine.instant(&db, expr, at).map_err(|error| error.to_string())?;
        let vector = match result.value {
            QueryValue::Vector(samples) => samples.into_iter().map(|s| (s.labels, s.value)).collect(),
            QueryValue::Scalar { value, .. } => vec![(Labels::empty(), Value::Float(value))],
            QueryValue::String { .. } | QueryValue::Matrix(_) => {
                return Err("rule result is not a vector or scalar".to_owned());
            }
        };
        Ok(Answer { vector, warnings: result.warnings, infos: result.infos })
    })
}

/// What a group evaluates in.
#[derive(Clone)]
pub struct Surroundings {
    /// Asks the store.
    pub query: Query,
    /// Takes the samples; a sample of one rule is visible to the next rule of its group.
    pub db: Db,
    /// `external_labels` of `prometheus.yml`.
    pub external_labels: BTreeMap<String, String>,
    /// Where the monitor is reached; begins the links in alerts.
    pub external_url: String,
    /// A firing alert is told to the notifier again after this time; Prometheus' default is a minute.
    pub resend_delay: Duration,
    /// How old a state in the store may be to be taken up after a restart.
    pub outage_tolerance: Duration,
    /// Counts `for` of the rules that ask for session time, overlay included; the committed tables by default.
    pub calendar: Arc<Calendar>,
    /// Reads a stopwatch for the evaluation times that the API shows; the crate has no clock.
    pub stopwatch: fn() -> Duration,
}

impl Surroundings {
    /// Prometheus' defaults around a query and a store; the stopwatch stands still.
    pub fn new(query: Query, db: Db) -> Surroundings {
        Surroundings {
            query,
            db,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            resend_delay: Duration::from_secs(60),
            outage_tolerance: Duration::from_secs(3600),
            calendar: Arc::default(),
            stopwatch: || Duration::ZERO,
        }
    }
}
