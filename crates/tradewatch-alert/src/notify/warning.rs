//! A warning before a silence ends that hides what still fires.
//!
//! A silence that ends is news to nobody until the pager goes: so its owner is told while there is time to fix the
//! cause, to lengthen the silence, or to hand over. The warning is an alert like others, routed by its labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tradewatch_tsdb::{Labels, Timestamp};

use super::silence::Active;
use super::{Notifier, Silence};
use crate::alert::{Alert, Fingerprint};

/// The `alertname` of the warning.
pub const SILENCE_ENDS: &str = "SilenceEndsSoon";
/// The warning comes this long before the end, or a quarter of the silence's length, whichever is shorter.
pub const SILENCE_WARNING: Duration = Duration::from_secs(15 * 60);
/// Names of hidden alerts in a warning.
const NAMES_MAX: usize = 5;

/// Whether an alert is the warning that belongs to the silence `id`: no silence hides the word of its own end.
pub(super) fn is_own_warning(labels: &Labels, id: &str) -> bool {
    labels.get("alertname") == Some(SILENCE_ENDS) && labels.get("silence") == Some(id)
}

impl Silence {
    /// When its owner is warned, should it hide something that fires.
    pub fn warns_at(&self) -> Timestamp {
        self.ends_at - SILENCE_WARNING.min(self.ends_at.since(self.starts_at) / 4)
    }
}

impl Notifier {
    /// Whether [`Notifier::warn_of_silences`] may have something to do.
    pub fn has_ending_silences(&self, now: Timestamp) -> bool {
        let ending = |s: &Active| s.silence.state(now) == "active" && s.silence.warns_at() <= now;
        self.active_silences.values().any(ending) || self.warnings().any(|(_, alert)| !alert.is_resolved(now))
    }

    /// Makes the warnings that are due, and ends those whose reason has gone.
    pub fn warn_of_silences(&mut self, now: Timestamp) {
        let due: Vec<Alert> = self
            .active_silences
            .values()
            .filter(|active| active.silence.state(now) == "active" && active.silence.warns_at() <= now)
            .filter_map(|active| self.warning(active, now))
            .collect();
        let current: BTreeSet<Fingerprint> = due.iter().map(Alert::fingerprint).collect();
        let over = |(fingerprint, alert): &(&Fingerprint, &Alert)| {
            alert.name() == SILENCE_ENDS && !alert.is_resolved(now) && !current.contains(fingerprint)
        };
        let ended = |(_, alert): (&Fingerprint, &Alert)| Alert { ends_at: now, ..alert.clone() };
        let ended: Vec<Alert> = self.warnings().filter(over).map(ended).collect();
        if !due.is_empty() || !ended.is_empty() {
            self.update(now, &due);
            self.update(now, &ended);
        }
    }

    /// The warnings that are held, by what is known of every silence: no walk over all alerts.
    fn warnings(&self) -> impl Iterator<Item = (&Fingerprint, &Alert)> {
        self.silences.values().filter_map(|silence| {
            let fingerprint = Fingerprint::of(&labels(silence));
            self.alerts.get_pair(&fingerprint)
        })
    }

    fn warning(&self, active: &Active, now: Timestamp) -> Option<Alert> {
        let silence = &active.silence;
        let hidden: Vec<&Alert> = self
            .preview(&active.matchers, now)
            .into_iter()
            .filter(|alert| alert.name() != SILENCE_ENDS)
            .collect();
        let worst = hidden.iter().map(|alert| alert.severity()).min()?;
        let mut names: Vec<&str> = hidden.iter().map(|alert| alert.name()).collect();
        names.sort_unstable();
        names.dedup();
        let others = names.len().saturating_sub(NAMES_MAX);
        names.truncate(NAMES_MAX);
        let more = if others > 0 { format!(" and {others} others") } else { String::new() };
        let summary = format!(
            "The silence of {} ends at {} and hides {} that fire{}: {}{more}",
            silence.created_by,
            silence.ends_at,
            match hidden.len() {
                1 => "1 alert".to_owned(),
                count => format!("{count} alerts"),
            },
            if hidden.len() == 1 { "s" } else { "" },
            names.join(", "),
        );
        let description = format!(
            "They are told at that moment. Mend the cause, lengthen the silence, or hand over. Its comment: {} \
             The worst hidden alert is {}.",
            silence.comment,
            serde_json::to_value(worst).ok()?.as_str()?,
        );
        Some(Alert {
            labels: labels(silence),
            annotations: BTreeMap::from([
                ("summary".to_owned(), summary),
                ("description".to_owned(), description),
                ("runbook_url".to_owned(), "/runbooks/SilenceEndsSoon".to_owned()),
            ]),
            starts_at: silence.warns_at().max(hidden.iter().map(|alert| alert.starts_at).min()?),
            ends_at: silence.ends_at,
            generator_url: String::new(),
            value: None,
            every: Duration::ZERO,
        })
    }
}

fn labels(silence: &Silence) -> Labels {
    Labels::from_pairs([
        ("alertname", SILENCE_ENDS),
        ("component", "monitoring"),
        ("owner", &silence.created_by),
        ("platform", "tradewatch"),
        ("severity", "warning"),
        ("silence", &silence.id),
    ])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::notify::{Options, SilenceMatcher};
    use crate::route::Config;

    const START: Timestamp = Timestamp::from_millis(1_795_183_200_000);

    fn at(minutes: u64) -> Timestamp {
        START + Duration::from_secs(60 * minutes)
    }

    fn alert(name: &str, until: Timestamp) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", name), ("severity", "critical")]),
            annotations: BTreeMap::new(),
            starts_at: START,
            ends_at: until,
            generator_url: String::new(),
            value: None,
            every: Duration::ZERO,
        }
    }

    fn silence(name: &str, value: &str) -> Silence {
        let matcher =
            SilenceMatcher { name: name.into(), value: value.into(), is_regex: true, is_equal: true };
        Silence {
            id: String::new(),
            matchers: vec![matcher],
            starts_at: START,
            ends_at: at(120),
            created_by: "ada".into(),
            comment: "broker maintenance.".into(),
            updated_at: START,
            status: Default::default(),
        }
    }

    fn warnings(notifier: &Notifier, now: Timestamp) -> Vec<String> {
        let firing = notifier.alerts(now).into_iter().filter(|view| view.firing);
        let own = firing.filter(|view| view.alert.name() == SILENCE_ENDS && view.silenced_by.is_empty());
        own.map(|view| view.alert.annotations["summary"].clone()).collect()
    }

    #[test]
    fn the_owner_is_warned_before_a_silence_that_hides_something_ends() {
        let mut notifier = Notifier::new(Arc::new(Config::terminal()), Options::default());
        notifier.update(START, &[alert("Down", at(600)), alert("Slow", at(600))]);
        // The second one hides nothing, and nobody needs to hear of its end; the first would hide its own warning.
        let id = notifier.set_silence(silence("alertname", ".+"), START).expect("valid");
        notifier.set_silence(silence("alertname", "Other"), START).expect("valid");
        notifier.warn_of_silences(at(104));
        assert!(warnings(&notifier, at(104)).is_empty());
        notifier.warn_of_silences(at(105));
        let said = warnings(&notifier, at(105));
        assert_eq!(
            said,
            ["The silence of ada ends at 2026-11-20T16:00:00.000Z and hides 2 alerts that fire: Down, Slow"]
        );
        let told = notifier.poll(at(105));
        assert_eq!(told.len(), 1, "the warning alone is told");
        // It is lengthened: the warning is over, and comes back before the new end.
        let longer = Silence { id: id.clone(), ends_at: at(240), ..silence("alertname", ".+") };
        notifier.set_silence(longer, at(106)).expect("valid");
        notifier.warn_of_silences(at(106));
        assert!(warnings(&notifier, at(106)).is_empty());
        notifier.warn_of_silences(at(230));
        assert_eq!(warnings(&notifier, at(230)).len(), 1);
        // What it hid is over.
        notifier.update(at(231), &[alert("Down", at(231)), alert("Slow", at(231))]);
        notifier.warn_of_silences(at(231));
        assert!(warnings(&notifier, at(231)).is_empty());
    }

    #[test]
    fn a_short_silence_warns_late() {
        let short = Silence { ends_at: at(4), ..silence("a", "b") };
        assert_eq!(short.warns_at(), at(3));
        assert_eq!(silence("a", "b").warns_at(), at(105));
    }
}
