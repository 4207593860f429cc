//! How long it takes at worst until somebody is told.

use std::time::Duration;

use serde::Serialize;

use crate::route::Route;
use crate::rules::RuleSpec;

/// What RTS 6 (EU 2017/589), Article 16(5), allows.
pub const RTS6_LIMIT: Duration = Duration::from_secs(5);

/// The parts of the worst case from a fault to its notification.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Until a scrape sees the fault: a whole interval, as the last one may just have passed.
    pub scrape: Duration,
    /// Until the rule is evaluated.
    pub evaluation: Duration,
    /// `for`, as the evaluations that count it allow.
    pub hold: Duration,
    /// `group_wait` of the route.
    pub grouping: Duration,
    /// For an alert that joins a group that has been told already: its `group_interval`, where
    /// that is longer than `group_wait`.
    pub joining: Duration,
}

impl Budget {
    /// The worst case of an alert that begins its group.
    pub fn total(&self) -> Duration {
        self.scrape + self.evaluation + self.hold + self.grouping
    }

    /// The worst case of an alert that joins a group.
    pub fn total_joining(&self) -> Duration {
        self.scrape + self.evaluation + self.hold + self.joining
    }
}

/// The budget of a rule.
///
/// `scrape_interval` is that of the slowest target that feeds it; `evaluation_interval` is the
/// rule's, or zero when its group is evaluated as the scrape that feeds it commits.
pub fn budget(
    rule: &RuleSpec,
    scrape_interval: Duration,
    evaluation_interval: Duration,
    route: &Route,
) -> Budget {
    let grouping = route.group_wait;
    let hold = held(rule.hold(), scrape_interval, evaluation_interval);
    let joining = grouping.max(route.group_interval);
    Budget { scrape: scrape_interval, evaluation: evaluation_interval, hold, grouping, joining }
}

/// The worst case of a rule whose alert begins its group; see [`budget`].
pub fn worst_case(
    rule: &RuleSpec,
    scrape_interval: Duration,
    evaluation_interval: Duration,
    group_wait: Duration,
) -> Duration {
    scrape_interval
        + evaluation_interval
        + held(rule.hold(), scrape_interval, evaluation_interval)
        + group_wait
}

/// `for` ends at an evaluation: the first one that is not before it.
fn held(hold: Duration, scrape_interval: Duration, evaluation_interval: Duration) -> Duration {
    let step = if evaluation_interval.is_zero() { scrape_interval } else { evaluation_interval };
    if step.is_zero() || hold.is_zero() {
        return hold;
    }
    let steps = hold.as_nanos().div_ceil(step.as_nanos());
    step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// Whether the rule claims to meet RTS 6 (`rts6: "true"`).
pub fn claims_rts6(rule: &RuleSpec) -> bool {
    rule.labels.get("rts6").is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleFile;

    fn rule(hold: &str) -> RuleSpec {
        let text = format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: up == 0, for: {hold}, labels: {{rts6: 'true'}}}}]}}]"
        );
        let (mut file, errors) = RuleFile::parse("r.yml", &text);
        assert!(errors.is_empty(), "{errors:?}");
        file.groups.remove(0).rules.remove(0)
    }

    #[test]
    fn the_worst_case_adds_up() {
        let secs = Duration::from_secs;
        let wait = Duration::ZERO;
        assert!(claims_rts6(&rule("0s")));
        // Evaluated as the scrape commits.
        assert_eq!(worst_case(&rule("0s"), secs(1), Duration::ZERO, wait), secs(1));
        assert_eq!(worst_case(&rule("0s"), secs(1), Duration::ZERO, secs(30)), secs(31));
        // `for: 1m` counted by evaluations 15 s apart, as Prometheus in its usual configuration.
        assert_eq!(worst_case(&rule("1m"), secs(15), secs(15), secs(30)), secs(120));
        // An evaluation each 25 s reaches a minute only at the third.
        assert_eq!(worst_case(&rule("1m"), secs(10), secs(25), wait), secs(10 + 25 + 75));
        let config = crate::route::Config::terminal();
        let budget = budget(&rule("0s"), secs(1), Duration::ZERO, &config.routes[0]);
        assert_eq!((budget.total(), budget.total_joining()), (secs(1), secs(2)));
        assert!(budget.total_joining() <= RTS6_LIMIT);
    }
}
