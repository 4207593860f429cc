//! One alerting rule: from a vector to alerts and their states.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tradewatch_promql::format_float;
use tradewatch_tsdb::{Labels, Timestamp, Value};

use super::file::{RuleKind, RuleSpec};
use super::restore::Ghosts;
use super::session::{self, Clock};
use super::{Answer, Surroundings};
use crate::alert::{Alert, State};
use crate::template;

/// How long a resolved alert is still told to those who listen, as in Prometheus.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// An alert within its rule.
#[derive(Clone, Debug)]
pub struct ActiveAlert {
    /// Its identity, with `alertname`.
    pub labels: Labels,
    /// Its texts, expanded at the last evaluation that produced it.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: State,
    /// The value at the last evaluation that produced it.
    pub value: Value,
    /// When its condition began to hold.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
    last_sent_at: Option<Timestamp>,
    /// When `for` is over as far as the calendar knows, where it counts session time.
    session_end: Option<Timestamp>,
    /// The labels of `ALERTS` and `ALERTS_FOR_STATE` as long as the state stays.
    series: Option<(State, Labels, Labels)>,
}

impl ActiveAlert {
    /// The labels of `ALERTS` and `ALERTS_FOR_STATE`.
    fn series(&mut self) -> (Labels, Labels) {
        if let Some((state, alerts, for_state)) = &self.series
            && *state == self.state
        {
            return (alerts.clone(), for_state.clone());
        }
        let state = [("__name__", "ALERTS"), ("alertstate", self.state.as_str())];
        let alerts = Labels::from_pairs(self.labels.iter().chain(state));
        let for_state = self.labels.with("__name__", "ALERTS_FOR_STATE");
        self.series = Some((self.state, alerts.clone(), for_state.clone()));
        (alerts, for_state)
    }

    /// The value as the API shows it.
    pub fn value_text(&self) -> String {
        value_text(&self.value)
    }

    /// Whether those who listen must hear of it now.
    fn needs_sending(&self, now: Timestamp, resend_delay: Duration) -> bool {
        if self.state == State::Pending || self.fired_at.is_none() {
            return false;
        }
        let Some(sent) = self.last_sent_at else { return true };
        self.resolved_at.is_some_and(|resolved| resolved > sent) || sent + resend_delay <= now
    }

    fn to_alert(
        &self,
        now: Timestamp,
        around: &Surroundings,
        generator_url: &str,
        interval: Duration,
    ) -> Alert {
        let valid = now + 4 * around.resend_delay.max(interval);
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.fired_at.unwrap_or(self.active_at),
            ends_at: self.resolved_at.unwrap_or(valid),
            generator_url: generator_url.to_owned(),
            value: short_value(&self.value),
            every: interval,
        }
    }
}

/// A value as people read it, with four digits that count; a histogram is not read on a phone.
fn short_value(value: &Value) -> Option<String> {
    let Value::Float(value) = value else { return None };
    let digits = 3 - value.abs().log10().floor().clamp(-300.0, 300.0) as i32;
    let scale = 10f64.powi(digits);
    let rounded = if value.is_finite() && *value != 0.0 && digits > 0 {
        (value * scale).round() / scale
    } else {
        *value
    };
    Some(format_float(rounded))
}

/// A value as the API shows it: `1e+06` for floats, the text of a histogram.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::Float(value) => {
            // Prometheus prints with an exponent here (`%e`), unlike in query answers.
            if value.is_finite() { exponent(*value) } else { format_float(*value) }
        }
        Value::Histogram(histogram) => histogram.to_string(),
    }
}

/// Go's `%e` with the shortest digits: `1e+00`, `4.2e-03`.
pub(crate) fn exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A change of state, for the live view.
#[derive(Clone, Debug)]
pub struct AlertChange {
    /// The alert after the change.
    pub alert: ActiveAlert,
    /// Where it was.
    pub from: State,
    /// Where it is.
    pub to: State,
    /// When the rule asked for the change: the end of `for`, or the evaluation where there is none.
    pub due_at: Timestamp,
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts {
    pub active: BTreeMap<Labels, ActiveAlert>,
    /// The texts of the last vector, by its labels: while a value stays the same, so do they.
    expanded: HashMap<Labels, Expanded>,
}

/// The labels and annotations of an alert, and the value that they were made for.
#[derive(Clone, Debug)]
struct Expanded {
    value: Value,
    labels: Labels,
    annotations: BTreeMap<String, String>,
}

/// What one evaluation of one rule gave.
#[derive(Default)]
pub(super) struct Outcome {
    pub samples: Vec<(Labels, Value)>,
    pub changes: Vec<AlertChange>,
    pub warnings: Vec<String>,
}

impl Alerts {
    /// Alerts of rules that are gone.
    pub fn orphans(active: BTreeMap<Labels, ActiveAlert>) -> Alerts {
        Alerts { active, expanded: HashMap::new() }
    }

    /// The rule may say something else from now on.
    pub fn forget_texts(&mut self) {
        self.expanded.clear();
    }

    /// Takes the vector of `now`; on error nothing changes but for an exceeded limit.
    pub fn evaluate(
        &mut self,
        now: Timestamp,
        rule: &RuleSpec,
        answer: Answer,
        limit: usize,
        around: &Surroundings,
        ghosts: &mut Ghosts,
    ) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        let mut produced = HashSet::new();
        let mut fresh = Vec::new();
        let before = std::mem::take(&mut self.expanded);
        let timeless = rule.is_timeless();
        for (metric, value) in answer.vector {
            let same = before.get(&metric).filter(|before| timeless && same_value(&before.value, &value));
            let (labels, annotations) = match same {
                Some(before) => (before.labels.clone(), before.annotations.clone()),
                None => expand(rule, &metric, &value, now, around, &mut outcome.warnings),
            };
            if timeless {
                let expanded = Expanded {
                    value: value.clone(),
                    labels: labels.clone(),
                    annotations: annotations.clone(),
                };
                self.expanded.insert(metric, expanded);
            }
            if !produced.insert(labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels".to_owned()
                );
            }
            fresh.push((labels, annotations, value));
        }
        for (labels, annotations, value) in fresh {
            if outcome.warnings.is_empty() {
                outcome.warnings.extend(session::ignorance(rule, &labels, &around.calendar, now));
            }
            self.take(now, labels, annotations, value, rule, around, ghosts, &mut outcome.changes);
        }
        self.expire(now, rule, &produced, &mut outcome.changes);
        self.resolve_ghosts(now, rule, around, ghosts, &mut outcome.changes);
        let alive = self.active.values().filter(|alert| alert.state != State::Inactive).count();
        if limit > 0 && alive > limit {
            self.active.clear();
            return Err(format!("exceeded limit of {limit} with {alive} alerts"));
        }
        for alert in self.active.values_mut().filter(|alert| alert.state != State::Inactive) {
            let (alerts, for_state) = alert.series();
            outcome.samples.push((alerts, Value::Float(1.0)));
            outcome.samples.push((for_state, Value::Float(alert.active_at.as_secs_f64())));
        }
        Ok(outcome)
    }

    /// One element of the vector: a known alert goes on, a new one begins.
    fn take(
        &mut self,
        now: Timestamp,
        labels: Labels,
        annotations: BTreeMap<String, String>,
        value: Value,
        rule: &RuleSpec,
        around: &Surroundings,
        ghosts: &mut Ghosts,
        changes: &mut Vec<AlertChange>,
    ) {
        let identity = labels.clone();
        let (clock, hold) = (Clock::of(rule, &identity, &around.calendar), rule.hold());
        let known = self.active.get_mut(&labels).filter(|alert| alert.state != State::Inactive);
        let mut from = State::Inactive;
        let alert = match known {
            Some(alert) => {
                from = alert.state;
                alert.annotations = annotations;
                alert.value = value;
                alert.keep_firing_since = None;
                alert
            }
            None => {
                let restored = ghosts.claim(&labels, now, hold, &clock);
                let alert = ActiveAlert {
                    labels: labels.clone(),
                    annotations,
                    state: State::Pending,
                    value,
                    active_at: restored.as_ref().map_or(now, |r| r.active_at),
                    fired_at: None,
                    resolved_at: None,
                    keep_firing_since: None,
                    last_sent_at: None,
                    session_end: None,
                    series: None,
                };
                let alert = self.active.entry(labels).insert_entry(alert).into_mut();
                let end = clock.end(alert.active_at, hold);
                if restored.is_some_and(|r| r.was_firing) && (end <= now || clock.is_session()) {
                    alert.state = State::Firing;
                    alert.fired_at = Some(end.min(now));
                }
                alert
            }
        };
        if alert.state == State::Pending {
            let end = clock.end(alert.active_at, hold);
            alert.session_end = clock.is_session().then_some(end);
            if end <= now {
                alert.state = State::Firing;
                alert.fired_at = Some(now);
            }
        }
        if alert.state != from {
            let held = alert.state == State::Firing && !(hold.is_zero() && from == State::Inactive);
            let due_at = if held { clock.end(alert.active_at, hold).min(now) } else { now };
            changes.push(AlertChange { alert: alert.clone(), from, to: alert.state, due_at });
        }
    }

    /// Alerts that the vector no longer holds.
    fn expire(
        &mut self,
        now: Timestamp,
        rule: &RuleSpec,
        produced: &HashSet<Labels>,
        changes: &mut Vec<AlertChange>,
    ) {
        let keep_firing = rule.keep_firing();
        self.active.retain(|labels, alert| {
            if produced.contains(labels) {
                return true;
            }
            match alert.state {
                State::Inactive => alert.resolved_at.is_some_and(|at| now.since(at) <= RESOLVED_RETENTION),
                State::Pending => {
                    let alert = ActiveAlert { state: State::Inactive, ..alert.clone() };
                    changes.push(AlertChange {
                        alert,
                        from: State::Pending,
                        to: State::Inactive,
                        due_at: now,
                    });
                    false
                }
                State::Firing => {
                    if !keep_firing.is_zero() {
                        let since = *alert.keep_firing_since.get_or_insert(now);
                        if now.since(since) < keep_firing {
                            return true;
                        }
                    }
                    alert.state = State::Inactive;
                    alert.resolved_at = Some(now);
                    let alert = alert.clone();
                    changes.push(AlertChange {
                        alert,
                        from: State::Firing,
                        to: State::Inactive,
                        due_at: now,
                    });
                    true
                }
            }
        });
    }

    /// Alerts of before a restart that did not come back in time: resolved now, and not forgotten.
    fn resolve_ghosts(
        &mut self,
        now: Timestamp,
        rule: &RuleSpec,
        around: &Surroundings,
        ghosts: &mut Ghosts,
        changes: &mut Vec<AlertChange>,
    ) {
        for (labels, ghost) in ghosts.departed(now) {
            if !ghost.was_firing || self.active.contains_key(&labels) {
                continue;
            }
            let end = Clock::of(rule, &labels, &around.calendar).end(ghost.active_at, rule.hold());
            let fired_at = end.min(ghost.last_at);
            let mut alert = ActiveAlert {
                labels: labels.clone(),
                annotations: BTreeMap::new(),
                state: State::Firing,
                value: Value::Float(f64::NAN),
                active_at: ghost.active_at,
                fired_at: Some(fired_at),
                resolved_at: None,
                keep_firing_since: None,
                last_sent_at: None,
                session_end: None,
                series: None,
            };
            if now.since(ghost.last_at) < rule.keep_firing() {
                alert.keep_firing_since = Some(ghost.last_at);
            } else {
                alert.state = State::Inactive;
                alert.resolved_at = Some(now);
                changes.push(AlertChange {
                    alert: alert.clone(),
                    from: State::Firing,
                    to: State::Inactive,
                    due_at: now,
                });
            }
            self.active.insert(labels, alert);
        }
    }

    /// The alerts that those who listen must hear of now; they are taken as told.
    pub fn take_due(
        &mut self,
        now: Timestamp,
        around: &Surroundings,
        generator_url: &str,
        interval: Duration,
    ) -> Vec<Alert> {
        let due = self.active.values_mut().filter(|alert| alert.needs_sending(now, around.resend_delay));
        due.map(|alert| {
            alert.last_sent_at = Some(now);
            alert.to_alert(now, around, generator_url, interval)
        })
        .collect()
    }

    /// When `for` or `keep_firing_for` of one of them ends next.
    pub fn next_end(&self, rule: &RuleSpec) -> Option<Timestamp> {
        let ends = self.active.values().filter_map(|alert| match alert.state {
            State::Pending => Some(alert.session_end.unwrap_or(alert.active_at + rule.hold()))
                .filter(|end| *end < Timestamp::MAX),
            State::Firing => alert.keep_firing_since.map(|since| since + rule.keep_firing()),
            State::Inactive => None,
        });
        ends.min()
    }

    /// Ends every firing alert: its rule is gone.
    pub fn retire(&mut self, now: Timestamp, around: &Surroundings, generator_url: &str) -> Vec<Alert> {
        let firing = self.active.values_mut().filter(|alert| alert.state == State::Firing);
        firing
            .map(|alert| {
                alert.state = State::Inactive;
                alert.resolved_at = Some(now);
                alert.to_alert(now, around, generator_url, Duration::ZERO)
            })
            .collect()
    }
}

fn same_value(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::Float(a), Value::Float(b)) if a.to_bits() == b.to_bits())
}

/// The labels and annotations of the alert that one element of the vector makes.
fn expand(
    rule: &RuleSpec,
    metric: &Labels,
    value: &Value,
    now: Timestamp,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> (Labels, BTreeMap<String, String>) {
    let RuleKind::Alerting { annotations, templates, .. } = &rule.kind else {
        return (metric.clone(), BTreeMap::new());
    };
    let query = around.query.clone();
    let context = template::Context {
        labels: metric.clone(),
        value: value.clone(),
        external_labels: around.external_labels.clone(),
        external_url: around.external_url.clone(),
        at: now,
        query: std::sync::Arc::new(move |text, at| {
            let expr = tradewatch_promql::parse(text).map_err(|e| e.to_string())?;
            query(&expr, at).map(|answer| answer.vector)
        }),
    };
    let mut text = |name: &str, written: &str, compiled: &BTreeMap<String, template::Template>| {
        let Some(template) = compiled.get(name) else { return written.to_owned() };
        template.expand(&context).unwrap_or_else(|error| {
            warnings.push(format!("rule {:?}: expanding {name}: {error}", rule.name));
            format!("<error expanding template: {error}>")
        })
    };
    let own: Vec<(String, String)> = rule
        .labels
        .iter()
        .map(|(name, written)| (name.clone(), text(name, written, &templates.labels)))
        .collect();
    let kept =
        metric.iter().filter(|(name, _)| *name != "__name__").map(|(n, v)| (n.to_owned(), v.to_owned()));
    let name = [("alertname".to_owned(), rule.name.clone())];
    let labels = Labels::from_pairs(kept.chain(own).chain(name));
    let annotations = annotations
        .iter()
        .map(|(name, written)| (name.clone(), text(name, written, &templates.annotations)))
        .collect();
    (labels, annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_whole_numbers_whole() {
        let shown = |value: f64| short_value(&Value::Float(value)).expect("a number");
        let cases =
            [(0.0, "0"), (1.0, "1"), (0.314159, "0.3142"), (-12.34567, "-12.35"), (1234567.8, "1234567.8")];
        for (value, text) in cases {
            assert_eq!(shown(value), text);
        }
        assert_eq!(
            (shown(1.5e-7), shown(f64::NAN), shown(f64::INFINITY)),
            ("0.00000015".into(), "NaN".into(), "+Inf".into())
        );
    }
}
