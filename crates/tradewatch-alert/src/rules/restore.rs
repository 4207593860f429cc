//! What the store remembers of alerts from before a restart.
//!
//! Prometheus takes up `for` only when it is at least ten minutes, and forgets what it had called
//! firing. Here every alert that was alive when the monitor ended is a ghost at first: when its
//! rule produces it again, it goes on where it was; when its rule does not for a while, it is
//! resolved, and those who were told of it hear so.

use std::collections::BTreeMap;
use std::time::Duration;

use tradewatch_tsdb::{Db, Labels, Matcher, Timestamp};

use super::file::RuleSpec;
use super::session::Clock;

/// The least time that ghosts are waited for: the targets must have been scraped again. A group waits one interval if
/// that is longer, and no more: an inhibitor that is over holds its target for one interval of the target's group, so a
/// slow twin that ended in the outage as well is gone before it is free to speak.
const WAIT_MIN: Duration = Duration::from_secs(10);

/// An alert that was alive when the monitor ended.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    pub active_at: Timestamp,
    pub was_firing: bool,
    /// Its last sample.
    pub last_at: Timestamp,
}

/// How an alert goes on after a restart.
pub(super) struct Restored {
    pub active_at: Timestamp,
    pub was_firing: bool,
}

/// The ghosts of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Ghosts {
    waiting: BTreeMap<Labels, Ghost>,
    until: Option<Timestamp>,
}

impl Ghosts {
    /// Reads the store at the first evaluation of `rule`, which happens at `now`.
    pub fn read(db: &Db, rule: &RuleSpec, now: Timestamp, tolerance: Duration, interval: Duration) -> Ghosts {
        let from = now - tolerance;
        let select = |name: &str, more: Option<Matcher>| {
            let mut matchers =
                vec![Matcher::equal("__name__", name), Matcher::equal("alertname", &rule.name)];
            let fixed = rule.labels.iter().filter(|(_, text)| !text.contains("{{"));
            matchers.extend(fixed.map(|(name, text)| Matcher::equal(name, text)));
            matchers.extend(more);
            db.select(&matchers, from, now)
        };
        let mut waiting = BTreeMap::new();
        for series in select("ALERTS_FOR_STATE", None) {
            let Some(last) = series.samples.last() else { continue };
            let Some(active_at) = last.value.as_float().filter(|v| v.is_finite()) else { continue };
            let ghost =
                Ghost { active_at: Timestamp::from_secs_f64(active_at), was_firing: false, last_at: last.ts };
            waiting.insert(series.labels.without(&["__name__"]), ghost);
        }
        if !waiting.is_empty() {
            for series in select("ALERTS", Some(Matcher::equal("alertstate", "firing"))) {
                let labels = series.labels.without(&["__name__", "alertstate"]);
                let (Some(last), Some(ghost)) = (series.samples.last(), waiting.get_mut(&labels)) else {
                    continue;
                };
                ghost.was_firing = !last.value.is_stale() && last.ts >= ghost.last_at;
            }
        }
        Ghosts { waiting, until: Some(now + WAIT_MIN.max(interval)) }
    }

    /// The alert is there again: how it goes on.
    pub fn claim(
        &mut self,
        labels: &Labels,
        now: Timestamp,
        hold: Duration,
        clock: &Clock<'_>,
    ) -> Option<Restored> {
        let ghost = self.waiting.remove(labels)?;
        // A calendar may know more by now than when the alert began to fire; that does not take it back.
        let fired =
            clock.end(ghost.active_at, hold) <= ghost.last_at || (ghost.was_firing && clock.is_session());
        let active_at = match fired {
            true => ghost.active_at,
            // The time without a monitor does not count towards `for`.
            false => clock.resumed(ghost.active_at, ghost.last_at, now),
        };
        Some(Restored { active_at, was_firing: ghost.was_firing })
    }

    /// Lets go of ghosts that another rule has taken up: two rules may share a name, and their alerts
    /// differ only in labels that the expression gives.
    pub fn leave_to_others(&mut self, db: &Db, now: Timestamp) {
        if self.until.is_none_or(|until| now < until) {
            return;
        }
        self.waiting.retain(|labels, ghost| {
            let exact = labels.iter().map(|(name, value)| Matcher::equal(name, value));
            let matchers: Vec<Matcher> =
                exact.chain([Matcher::equal("__name__", "ALERTS_FOR_STATE")]).collect();
            let newer = db.select(&matchers, ghost.last_at + Duration::from_millis(1), now);
            !newer
                .iter()
                .any(|s| s.labels.len() == labels.len() + 1 && s.samples.iter().any(|s| !s.value.is_stale()))
        });
    }

    /// Those that did not come back, once the wait is over.
    pub fn departed(&mut self, now: Timestamp) -> BTreeMap<Labels, Ghost> {
        if self.until.is_some_and(|until| now >= until) {
            return std::mem::take(&mut self.waiting);
        }
        BTreeMap::new()
    }

    /// The series that must end when their ghosts depart.
    pub fn departing_series(&self, now: Timestamp) -> Vec<Labels> {
        if self.until.is_none_or(|until| now < until) {
            return Vec::new();
        }
        let series = |(labels, ghost): (&Labels, &Ghost)| {
            let state = if ghost.was_firing { "firing" } else { "pending" };
            [
                labels.with("__name__", "ALERTS").with("alertstate", state),
                labels.with("__name__", "ALERTS_FOR_STATE"),
            ]
        };
        self.waiting.iter().flat_map(series).collect()
    }
}
