//! Financial goals: how far, and whether reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics, RegisterError, Registry, open_label};

use crate::labels::ErrorType;
use crate::running::{End, Running};

open_label!(struct GoalId("goal_id"), budget = 32);
open_label!(struct GoalType("goal_type"), budget = 16);
open_label!(struct UserId("user_id"), budget = 32);

type Labels = (GoalId, GoalType, UserId);

#[derive(Metrics, Clone)]
struct GoalMetrics {
    /// Progress to the goal, in percent.
    #[metric(unit = "percent", legacy_name = "the documents and their dashboards name it so")]
    goal_progress_percentage: Gauge<Labels>,
    /// Present value of what the goal is about.
    goal_current_value: Gauge<Labels>,
    /// What the goal is.
    goal_target_value: Gauge<Labels>,
    /// Goals reached.
    goals_achieved_total: Counter<(GoalType, UserId)>,
    /// Time of one evaluation, however it ended.
    #[buckets(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)]
    goal_evaluation_duration_seconds: Histogram<(GoalType,)>,
    /// Evaluations that did not succeed, by the kind of error.
    goal_evaluation_errors_total: Counter<(GoalType, ErrorType)>,
}

/// The goals of a process.
#[derive(Clone)]
pub struct Goals {
    registry: Registry,
    metrics: GoalMetrics,
}

/// One goal. Keep it: it remembers that it was reached, so that this counts once.
#[derive(Clone)]
pub struct Goal {
    of: Goals,
    labels: Labels,
    reached: Arc<AtomicBool>,
}

impl Goals {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Goals, RegisterError> {
        Ok(Goals { metrics: GoalMetrics::register(registry)?, registry: registry.clone() })
    }

    /// A goal: few and long-lived, named by a person; a UUID is no name.
    pub fn goal(&self, id: &str, kind: &str, user: &str) -> Goal {
        let labels = (GoalId::intern(id), GoalType::intern(kind), UserId::intern(user));
        Goal { of: self.clone(), labels, reached: Arc::default() }
    }
}

impl Goal {
    /// Starts to work out where the goal stands.
    pub fn evaluate(&self) -> Running<impl FnOnce(End) + '_> {
        Running::start(self.of.registry.stopwatch(), |end| {
            let (m, kind) = (&self.of.metrics, self.labels.1);
            m.goal_evaluation_duration_seconds.at((kind,)).observe_duration(end.took);
            if let Some(error) = end.error {
                m.goal_evaluation_errors_total.at((kind, error)).inc();
            }
        })
    }

    /// Where the goal stands: sets the three gauges and counts it as reached when it is, once until it falls below.
    ///
    /// The progress to a target of 0 is 0 until it is reached. Returns whether it was reached just now.
    pub fn update(&self, current: f64, target: f64) -> bool {
        let m = &self.of.metrics;
        let is_reached = current >= target;
        let progress =
            if target != 0.0 { current / target * 100.0 } else { f64::from(u8::from(is_reached)) * 100.0 };
        m.goal_progress_percentage.at(self.labels).set(progress);
        m.goal_current_value.at(self.labels).set(current);
        m.goal_target_value.at(self.labels).set(target);
        let just_now = !self.reached.swap(is_reached, Ordering::Relaxed) && is_reached;
        if just_now {
            m.goals_achieved_total.at((self.labels.1, self.labels.2)).inc();
        }
        just_now
    }
}
