//! What the alerts were worth, held against the incidents.
//!
//! - An alert *found* an incident if it began to fire while the incident lasted, or within the grace after it, and the
//!   incident names it, or names none. What fired before the incident began did not find it. Each firing finds one
//!   incident: one that names it before others, and of those the one that began last.
//! - *Precision* of an alert: of the times that it fired, the share that found an incident.
//! - *Recall* of an alert: of the incidents that name it, the share that it found. Overall: of all incidents, the share
//!   that at least one alert found.
//! - *Time to detect*: from the beginning of an incident to the first message about an alert that found it; where no
//!   message went out, to its firing.
//! - A *false page*: a message went out, and the alert found no incident.

use std::collections::BTreeMap;
use std::time::Duration;

use tradewatch_alert::Severity;
use tradewatch_alert::replay::{Episode, Report};
use tradewatch_tsdb::Timestamp;

use super::incidents::Incident;

/// One alert, over all rules of its name.
#[derive(Clone, Debug)]
pub struct Score {
    pub severity: Severity,
    /// Times it was pending, those that came to fire included.
    pub pending: usize,
    /// Times it fired.
    pub fired: usize,
    /// How many of these were told to a receiver.
    pub told: usize,
    /// How many found an incident.
    pub right: usize,
    /// Told, and no incident was found.
    pub false_pages: usize,
    /// Time that it fired, all its episodes together.
    pub firing: Duration,
    /// Incidents that it found.
    pub found: usize,
    /// Incidents that name it, and how many of them it found.
    pub named: usize,
    pub found_named: usize,
    /// From the beginning of each incident that it found to the first message.
    pub detect: Vec<Duration>,
    /// Evaluations of its rules that failed.
    pub failures: u64,
}

/// All alerts of a report.
#[derive(Clone, Debug)]
pub struct Scores {
    pub alerts: BTreeMap<String, Score>,
    /// Per incident: the first alert that found it, and after which time.
    pub incidents: Vec<Option<(String, Duration)>>,
    pub fired: usize,
    pub right: usize,
    pub told: usize,
    pub false_pages: usize,
    pub notices: usize,
}

impl Scores {
    /// Holds `report`, which ends at `end`, against `incidents`.
    pub fn new(
        report: &Report,
        incidents: &[Incident],
        (from, end): (Timestamp, Timestamp),
        grace: Duration,
    ) -> Scores {
        let mut alerts: BTreeMap<String, Score> = BTreeMap::new();
        for rule in &report.rules {
            let score = alerts.entry(rule.name.clone()).or_insert_with(|| Score::new(rule.severity));
            score.severity = score.severity.min(rule.severity);
            score.failures += rule.failures;
        }
        // By alert and incident: the first message.
        let mut found: BTreeMap<(String, usize), Duration> = BTreeMap::new();
        let by_time = Incidents::new(incidents, grace);
        for episode in &report.episodes {
            let name = &report.rules[episode.rule].name;
            let score = alerts.get_mut(name).expect("entered above");
            score.pending += 1;
            let Some(fired) = episode.fired_at else { continue };
            score.fired += 1;
            score.told += usize::from(episode.told_at.is_some());
            score.firing += episode.ended_at.unwrap_or(end).min(end).since(fired.max(from));
            let may_be = by_time.at(fired).filter(|at| incidents[*at].found_by(episode, grace));
            // One firing finds one incident: one that names it before others, and of those the latest.
            let best =
                may_be.max_by_key(|at| (incidents[*at].alerts.contains(name), incidents[*at].from, *at));
            if let Some(at) = best {
                let after = detected(episode, fired).since(incidents[at].from);
                let first = found.entry((name.clone(), at)).or_insert(after);
                *first = after.min(*first);
            }
            let right = best.is_some();
            score.right += usize::from(right);
            score.false_pages += usize::from(!right && episode.told_at.is_some());
        }
        let mut first: Vec<Option<(String, Duration)>> = vec![None; incidents.len()];
        for ((name, at), after) in found {
            let score = alerts.get_mut(&name).expect("entered above");
            score.found += 1;
            score.found_named += usize::from(incidents[at].alerts.contains(&name));
            score.detect.push(after);
            if first[at].as_ref().is_none_or(|(_, best)| after < *best) {
                first[at] = Some((name, after));
            }
        }
        for (name, score) in &mut alerts {
            score.named = incidents.iter().filter(|incident| incident.alerts.contains(name)).count();
            score.detect.sort();
        }
        let sum = |of: fn(&Score) -> usize| alerts.values().map(of).sum();
        Scores {
            fired: sum(|s| s.fired),
            right: sum(|s| s.right),
            told: sum(|s| s.told),
            false_pages: sum(|s| s.false_pages),
            notices: report.notices.len(),
            incidents: first,
            alerts,
        }
    }

    /// The share of firings that found an incident; `None` if nothing fired.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.fired)
    }

    /// How many incidents were found.
    pub fn found(&self) -> usize {
        self.incidents.iter().flatten().count()
    }

    /// The share of incidents that were found; `None` without incidents.
    pub fn recall(&self) -> Option<f64> {
        share(self.found(), self.incidents.len())
    }

    /// Times to detect, shortest first.
    pub fn detect(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> = self.incidents.iter().flatten().map(|(_, after)| *after).collect();
        all.sort();
        all
    }
}

impl Score {
    fn new(severity: Severity) -> Score {
        Score {
            severity,
            pending: 0,
            fired: 0,
            told: 0,
            right: 0,
            false_pages: 0,
            firing: Duration::ZERO,
            found: 0,
            named: 0,
            found_named: 0,
            detect: Vec::new(),
            failures: 0,
        }
    }

    /// The share of its firings that found an incident; `None` if it never fired.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.fired)
    }

    /// The share of the incidents that name it which it found; `None` if none does.
    pub fn recall(&self) -> Option<f64> {
        share(self.found_named, self.named)
    }
}

/// When people heard of it.
fn detected(episode: &Episode, fired: Timestamp) -> Timestamp {
    episode.told_at.unwrap_or(fired)
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The middle of sorted times; of an even number the earlier one.
pub fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Incidents by time.
struct Incidents<'a> {
    incidents: &'a [Incident],
    grace: Duration,
    /// Positions in the order of their beginning, and the longest of them.
    order: Vec<usize>,
    longest: Duration,
}

impl Incidents<'_> {
    fn new(incidents: &[Incident], grace: Duration) -> Incidents<'_> {
        let mut order: Vec<usize> = (0..incidents.len()).collect();
        order.sort_by_key(|at| incidents[*at].from);
        let longest = incidents.iter().map(|incident| incident.to.since(incident.from)).max();
        Incidents { incidents, grace, order, longest: longest.unwrap_or_default() }
    }

    /// Those that may have been under way at `at`.
    fn at(&self, at: Timestamp) -> impl Iterator<Item = usize> + '_ {
        let first = at - self.longest - self.grace;
        let from = self.order.partition_point(|one| self.incidents[*one].from < first);
        let begun = move |one: &usize| self.incidents[*one].from <= at;
        self.order[from..].iter().copied().take_while(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tradewatch_alert::replay::RuleReport;
    use tradewatch_tsdb::Labels;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn each_figure_by_hand() {
        let rule = |name: &str| RuleReport {
            name: name.to_owned(),
            file: "r.yml".to_owned(),
            group: "g".to_owned(),
            line: 1,
            severity: Severity::Critical,
            evaluations: 0,
            failures: 0,
            errors: BTreeMap::new(),
            warnings: Default::default(),
        };
        let episode = |rule: usize, fired: i64, ended: i64, told: Option<i64>| Episode {
            rule,
            labels: Labels::from_pairs([("alertname", ["Lost", "Slow"][rule])]),
            active_at: at(fired),
            fired_at: Some(at(fired)),
            ended_at: Some(at(ended)),
            told_at: told.map(at),
        };
        let report = Report {
            rules: vec![rule("Lost"), rule("Slow")],
            episodes: vec![
                episode(0, 110, 160, Some(115)),
                episode(0, 500, 560, Some(501)),
                // Before the incident that it would have to find.
                episode(1, 90, 400, Some(91)),
                // Within the grace, and inhibited.
                episode(1, 220, 230, None),
            ],
            notices: Vec::new(),
            dropped: 0,
            unread: 0,
            samples_read: 0,
            began: at(0),
            ended_at: None,
        };
        let incident = |name: &str, from, to, alerts: &[&str]| Incident {
            name: name.to_owned(),
            from: at(from),
            to: at(to),
            alerts: alerts.iter().map(|alert| (*alert).to_owned()).collect(),
            labels: BTreeMap::new(),
        };
        let incidents =
            [incident("feed", 100, 200, &["Lost", "Slow"]), incident("nobody saw", 800, 900, &["Lost"])];
        let scores = Scores::new(&report, &incidents, (at(0), at(1000)), Duration::from_secs(30));
        let (lost, slow) = (&scores.alerts["Lost"], &scores.alerts["Slow"]);
        assert_eq!((lost.fired, lost.right, lost.false_pages, lost.found, lost.named), (2, 1, 1, 1, 2));
        assert_eq!((lost.precision(), lost.recall()), (Some(0.5), Some(0.5)));
        assert_eq!(lost.firing, Duration::from_secs(110));
        assert_eq!((slow.fired, slow.right, slow.false_pages, slow.told), (2, 1, 1, 1));
        assert_eq!((scores.precision(), scores.recall()), (Some(0.5), Some(0.5)));
        assert_eq!(scores.incidents[0], Some(("Lost".to_owned(), Duration::from_secs(15))));
        assert_eq!(
            (scores.incidents[1].as_ref(), median(&scores.detect())),
            (None, Some(Duration::from_secs(15)))
        );
    }
}
