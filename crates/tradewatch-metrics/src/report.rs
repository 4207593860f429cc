//! What the SDK tells about itself: as counters in each scrape, and as problems to who wants to log them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::encode::{Own, Page, write_own};
use crate::observer::FAILURES;
use crate::registry::{Families, Head};
use crate::slab;

/// The most texts about unknown names kept between two scrapes.
const UNKNOWN_TEXTS_MAX: usize = 16;
/// The longest of them, in characters.
const UNKNOWN_CHARS_MAX: usize = 200;

/// Something that was refused since the last report; see [`Registry::on_problem`](crate::Registry::on_problem).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// The label or metric concerned; empty if it is none in particular.
    pub subject: String,
    /// How often it happened since the last report.
    pub count: u64,
    /// An example, if there is one.
    pub example: Option<String>,
}

/// The kind of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Values of an open label beyond its budget, empty, or too long.
    LabelOverflow,
    /// Values of an open label that name one thing: a UUID, an order id.
    IdentifierLabelValue,
    /// Values that an instrument does not take.
    RejectedValue,
    /// Exemplars that no format can show.
    RejectedExemplar,
    /// Series that are not counted since the process has used up its cells.
    RefusedSeries,
    /// A callback hung, panicked or failed.
    Callback,
    /// The dynamic interface was given a name, label or value that nobody declared.
    Unknown,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { subject, count, .. } = self;
        match self.kind {
            ProblemKind::LabelOverflow => {
                write!(
                    f,
                    "label {subject}: {count} values did not fit and count as __overflow__; raise its budget or label by something else"
                )
            }
            ProblemKind::IdentifierLabelValue => {
                write!(
                    f,
                    "label {subject}: {count} values name one thing each and count as __overflow__; put ids into exemplars or logs"
                )
            }
            ProblemKind::RejectedValue => {
                write!(
                    f,
                    "metric {subject}: {count} values left out that are not finite, or negative where only growth is possible"
                )
            }
            ProblemKind::RejectedExemplar => {
                write!(f, "metric {subject}: {count} exemplars left out that no format can show")
            }
            ProblemKind::RefusedSeries => {
                write!(
                    f,
                    "{count} series are not counted: the process has used up its cells; lower the budgets of labels"
                )
            }
            ProblemKind::Callback => {
                write!(f, "metric {subject}: its callback failed {count} times and its series are left out")
            }
            ProblemKind::Unknown => write!(f, "{count} calls by a name, label or value that nobody declared"),
        }?;
        match &self.example {
            Some(example) => write!(f, " (such as {example:?})"),
            None => Ok(()),
        }
    }
}

type Hook = Arc<dyn Fn(&Problem) + Send + Sync>;

/// What a registry reports.
#[derive(Default)]
pub(crate) struct Report {
    /// By reason, as in [`UNKNOWN_REASONS`].
    unknown: [AtomicU64; 4],
    texts: Mutex<Vec<String>>,
    hook: Mutex<Option<Hook>>,
    /// How far each problem was reported.
    told: Mutex<HashMap<(ProblemKind, String), u64>>,
}

/// Why a call by name moved nothing.
#[derive(Clone, Copy)]
pub(crate) enum UnknownReason {
    Name,
    Ambiguous,
    Labels,
    Kind,
}

const UNKNOWN_REASONS: [&str; 4] = ["name", "ambiguous", "labels", "kind"];

const OVERFLOWS: Own = Own {
    name: "tradewatch_sdk_label_overflow_total",
    help: "Label values that did not fit into the budget of their label.",
    labels: &["label"],
};
const IDENTIFIERS: Own = Own {
    name: "tradewatch_sdk_identifier_label_values_total",
    help: "Label values refused since they name one thing: a UUID, an order id, a long number.",
    labels: &["label"],
};
const OVERFLOWED: Own = Own {
    name: "tradewatch_sdk_overflow_events_total",
    help: "What was counted under labels that did not fit into their budget.",
    labels: &["metric"],
};
const REJECTED: Own = Own {
    name: "tradewatch_sdk_rejected_values_total",
    help: "Values refused: not finite, or negative for a counter.",
    labels: &["metric"],
};
const REJECTED_EXEMPLARS: Own = Own {
    name: "tradewatch_sdk_rejected_exemplars_total",
    help: "Exemplars refused: more than 128 bytes of labels, or a name that is none.",
    labels: &["metric"],
};
const REFUSED: Own = Own {
    name: "tradewatch_sdk_refused_series_total",
    help: "Series that are not counted: the process has used up its cells.",
    labels: &[],
};
const CALLBACKS: Own = Own {
    name: "tradewatch_sdk_callback_failures_total",
    help: "Scrapes that left a metric out since its callback did not answer in time, panicked or failed.",
    labels: &["metric", "reason"],
};

const UNKNOWN: Own = Own {
    name: "tradewatch_sdk_unknown_names_total",
    help: "Calls of the dynamic interface by a name, label or value that nobody declared.",
    labels: &["reason"],
};

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Report {
    /// Counts a call by name that moved nothing. `text` is only made while there is room for it.
    #[cold]
    pub(crate) fn unknown(&self, reason: UnknownReason, text: impl FnOnce() -> String) {
        self.unknown[reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < UNKNOWN_TEXTS_MAX {
            let text: String = text().chars().take(UNKNOWN_CHARS_MAX).collect();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }

    /// Writes the SDK's own counters.
    pub(crate) fn write(&self, families: &Families, page: &mut Page<'_>) {
        // Sorted by label; two label types of one name are one series.
        let same = || families.refusals.chunk_by(|a, b| a.0 == b.0);
        let rows = same().map(|same| ([same[0].0], same.iter().map(|(_, of)| get(&of.all)).sum()));
        write_own(page, &OVERFLOWS, rows);
        let rows = same().map(|same| ([same[0].0], same.iter().map(|(_, of)| get(&of.identifiers)).sum()));
        write_own(page, &IDENTIFIERS, rows.filter(|(_, count)| *count > 0));
        let counts: [(&Own, fn(&Head) -> &AtomicU64); 3] = [
            (&OVERFLOWED, |head| &head.overflowed),
            (&REJECTED, |head| &head.rejected),
            (&REJECTED_EXEMPLARS, |head| &head.rejected_exemplars),
        ];
        for (own, of) in counts {
            let heads = families.list.iter().map(|family| family.head());
            let rows = heads.map(|head| ([head.descriptor.name.as_str()], get(of(head))));
            write_own(page, own, rows.filter(|(_, count)| *count > 0));
        }
        let refused = get(&slab::REFUSED);
        write_own(page, &REFUSED, (refused > 0).then_some(([], refused)).into_iter());
        let observed = families.list.iter().filter_map(|family| family.observed());
        let failures = observed.flat_map(|core| {
            let name = core.head().descriptor.name.as_str();
            let observer = core.observer().get();
            let row = move |(at, reason)| Some(([name, reason], observer?.failures(at)));
            FAILURES.into_iter().enumerate().filter_map(row)
        });
        write_own(page, &CALLBACKS, failures);
        let unknown =
            UNKNOWN_REASONS.into_iter().zip(&self.unknown).map(|(reason, count)| ([reason], get(count)));
        write_own(page, &UNKNOWN, unknown.filter(|(_, count)| *count > 0));
    }

    pub(crate) fn set_hook(&self, hook: Hook) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    /// What happened since the last time; nothing if nobody wants to know.
    pub(crate) fn problems(&self, families: &Families) -> Vec<Problem> {
        if self.hook.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Vec::new();
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = Vec::new();
        let mut add = |kind, subject: &str, total: u64, example: Option<String>| {
            let before = told.get(&(kind, subject.to_owned())).copied().unwrap_or(0);
            if total > before {
                told.insert((kind, subject.to_owned()), total);
                problems.push(Problem { kind, subject: subject.to_owned(), count: total - before, example });
            }
        };
        for (label, of) in &families.refusals {
            let (all, identifiers) = (get(&of.all), get(&of.identifiers));
            let example = |of: &OnceLock<Box<str>>| of.get().map(|example| example.to_string());
            let others = all.saturating_sub(identifiers);
            add(ProblemKind::IdentifierLabelValue, label, identifiers, example(&of.identifier));
            add(ProblemKind::LabelOverflow, label, others, example(&of.example));
        }
        for family in &families.list {
            let head = family.head();
            let name = &head.descriptor.name;
            add(ProblemKind::RejectedValue, name, get(&head.rejected), None);
            add(ProblemKind::RejectedExemplar, name, get(&head.rejected_exemplars), None);
            if let Some(observer) = family.observed().and_then(|core| core.observer().get()) {
                let failures = (0..FAILURES.len()).map(|reason| observer.failures(reason)).sum();
                add(ProblemKind::Callback, name, failures, observer.last_error());
            }
        }
        add(ProblemKind::RefusedSeries, "", get(&slab::REFUSED), None);
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let text = (!texts.is_empty()).then(|| texts.drain(..).collect::<Vec<_>>().join("; "));
        add(ProblemKind::Unknown, "", self.unknown.iter().map(get).sum(), text);
        problems
    }

    pub(crate) fn tell(&self, problems: Vec<Problem>) {
        if problems.is_empty() {
            return;
        }
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            problems.iter().for_each(|problem| hook(problem));
        }
    }
}
