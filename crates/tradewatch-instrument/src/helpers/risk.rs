//! Risk: checks, breaches of limits, exposure, drawdown.

use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics, RegisterError, Registry, open_label};

use crate::labels::ErrorType;
use crate::running::{End, Running};

open_label!(struct LimitType("limit_type"), budget = 32);
open_label!(struct Severity("severity"), budget = 8);
open_label!(struct RiskType("risk_type"), budget = 16);
open_label!(struct Symbol("symbol"), budget = 256);
open_label!(struct AccountId("account_id"), budget = 32);
open_label!(struct Timeframe("timeframe"), budget = 8);

#[derive(Metrics, Clone)]
struct RiskMetrics {
    /// Breaches of risk limits.
    risk_limit_breaches_total: Counter<(LimitType, Severity)>,
    /// Present exposure, by kind of risk.
    current_risk_exposure: Gauge<(RiskType, Symbol)>,
    /// Fall from the peak, in percent.
    #[metric(unit = "percent", legacy_name = "the documents and their dashboards name it so")]
    drawdown_percentage: Gauge<(AccountId, Timeframe)>,
    /// Time of one risk check, however it ended.
    #[buckets(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)]
    risk_check_duration_seconds: Histogram<(LimitType,)>,
    /// Risk checks that could not be carried out, by the kind of error. A breach is no error.
    risk_check_errors_total: Counter<(LimitType, ErrorType)>,
}

/// The risk checks of a process.
#[derive(Clone)]
pub struct Risk {
    registry: Registry,
    metrics: RiskMetrics,
}

impl Risk {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Risk, RegisterError> {
        Ok(Risk { metrics: RiskMetrics::register(registry)?, registry: registry.clone() })
    }

    /// Starts a check of this limit. That it finds a breach is a success of the check; see [`Risk::breach`].
    pub fn check<'a>(&'a self, limit: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.registry.stopwatch(), move |end| {
            let limit = LimitType::intern(limit);
            self.metrics.risk_check_duration_seconds.at((limit,)).observe_duration(end.took);
            if let Some(error) = end.error {
                self.metrics.risk_check_errors_total.at((limit, error)).inc();
            }
        })
    }

    /// Counts a breach.
    pub fn breach(&self, limit: &str, severity: &str) {
        let labels = (LimitType::intern(limit), Severity::intern(severity));
        self.metrics.risk_limit_breaches_total.at(labels).inc();
    }

    /// Sets an exposure: `portfolio_var`, `leverage` …
    pub fn exposure(&self, kind: &str, symbol: &str, value: f64) {
        self.metrics.current_risk_exposure.at((RiskType::intern(kind), Symbol::intern(symbol))).set(value);
    }

    /// Sets a drawdown, in percent.
    pub fn drawdown(&self, account: &str, timeframe: &str, percent: f64) {
        let labels = (AccountId::intern(account), Timeframe::intern(timeframe));
        self.metrics.drawdown_percentage.at(labels).set(percent);
    }
}
