//! Selectors: does anything expose this metric, with these labels and values?

use std::collections::BTreeSet;

use tradewatch_promql::Span;
use tradewatch_promql::ast::VectorSelector;
use tradewatch_tsdb::{MatchOp, Matcher};

use super::Interpreter;
use super::abs::{Abs, Label, LabelSet, Meaning, Values};
use super::site::{VARIABLE, VARIABLE_NAME};
use crate::finding::Severity;
use crate::world::Series;

/// Values that a message lists.
const LISTED_MAX: usize = 8;

/// Why no series of a candidate is selected.
enum Refusal {
    NoLabel(usize),
    NoValue(usize),
}

impl Interpreter<'_> {
    pub(super) fn select(&mut self, selector: &VectorSelector, span: Span) -> Abs {
        let (names, others): (Vec<&Matcher>, Vec<&Matcher>) =
            selector.matchers.iter().partition(|matcher| matcher.name() == "__name__");
        let variable =
            |text: &str| text.contains(VARIABLE) || text == VARIABLE_NAME || text.contains(VARIABLE_NAME);
        if names.iter().any(|matcher| variable(matcher.value())) {
            return Abs::default();
        }
        let exact = names
            .iter()
            .find(|matcher| matcher.op() == MatchOp::Equal)
            .map(|matcher| matcher.value().to_owned());
        let wanted: Vec<String> = match &exact {
            Some(name) => vec![name.clone()],
            None if names.is_empty() => return self.nameless(&others),
            None => {
                let matched = |name: &&str| names.iter().all(|matcher| matcher.matches(name));
                self.world.names().filter(matched).map(str::to_owned).collect()
            }
        };
        if wanted.is_empty() {
            let shown = names.iter().map(|matcher| matcher.to_string()).collect::<Vec<_>>().join(",");
            let probe = names.first().map_or("", |matcher| matcher.value());
            if self.world.is_missing(probe, None, self.recorded) {
                let message = format!("no metric has a name that matches {shown}");
                self.say("TW003", Severity::Error, span, message, String::new(), String::new());
            }
            return Abs::tainted();
        }
        self.facts.names.extend(wanted.iter().cloned());
        let mut result: Option<Abs> = None;
        let mut refused: Vec<(Vec<Refusal>, Series)> = Vec::new();
        let world = self.world;
        let candidates: Vec<&Series> = wanted.iter().flat_map(|name| world.find(name)).collect();
        for series in &candidates {
            let reasons = refusals(series, &others);
            if reasons.is_empty() {
                let abs = Abs { labels: narrowed(&series.abs, &others), ..series.abs.clone() };
                result = Some(result.map_or_else(|| abs.clone(), |known: Abs| merge(&known, &abs)));
            } else {
                refused.push((reasons, (*series).clone()));
            }
        }
        if let Some(found) = &result {
            self.watch(&wanted, found);
            if others.iter().any(|matcher| matcher.name() == "mic") || found.labels.known.contains_key("mic")
            {
                self.facts.calendar = true;
            }
        }
        let name = exact.as_deref().unwrap_or("");
        match result {
            Some(abs) if abs.meaning == Meaning::RawHistogram => self.raw_histogram(name, span),
            Some(abs) => {
                self.unseen(&abs, &candidates, &others, span);
                abs
            }
            None if candidates.is_empty() => self.unknown_name(name, &others, span),
            None => self.refuse(refused, &others, span),
        }
    }

    /// A selector without a name: only its labels are known.
    fn nameless(&mut self, matchers: &[&Matcher]) -> Abs {
        Abs { labels: narrowed(&Abs::default(), matchers), ..Abs::default() }
    }

    /// Remembers which jobs an expression on `up` watches.
    fn watch(&mut self, names: &[String], abs: &Abs) {
        if names.iter().any(|name| name == "up") {
            match abs.labels.known.get("job").and_then(Label::listed) {
                Some(jobs) => self.facts.watched_jobs.extend(jobs.iter().cloned()),
                None => {
                    self.facts.watched_jobs.insert(String::new());
                }
            }
        }
    }

    fn raw_histogram(&mut self, name: &str, span: Span) -> Abs {
        let message = format!("raw histogram: no series is called {name}");
        let why = "a histogram is exposed as its _bucket, _sum and _count series; its bare name selects nothing, so this has no data"
            .to_owned();
        let fix = format!(
            "histogram_quantile(0.95, sum by (le) (rate({name}_bucket[5m]))), or rate({name}_sum[5m]) / rate({name}_count[5m]) for the mean"
        );
        self.say("TW007", Severity::Error, span, message, why, fix);
        Abs::tainted()
    }

    fn unknown_name(&mut self, name: &str, matchers: &[&Matcher], span: Span) -> Abs {
        let unknown = Abs { labels: narrowed(&Abs::default(), matchers), ..Abs::default() };
        // Names of the trading calendar come from the monitor itself.
        if matchers.iter().any(|matcher| matcher.name() == "mic") {
            self.facts.calendar = true;
        }
        let jobs: Vec<&&Matcher> = matchers.iter().filter(|matcher| matcher.name() == "job").collect();
        let pinned = (!jobs.is_empty()).then(|| {
            let allowed = self.world.jobs().filter(|job| jobs.iter().all(|matcher| matcher.matches(job)));
            allowed.map(str::to_owned).collect::<BTreeSet<String>>()
        });
        if !self.world.is_missing(name, pinned.as_ref(), self.recorded) {
            return unknown;
        }
        let at = self.find_in(span, name);
        let message = format!("nothing emits {name}");
        let (mut why, mut fix) =
            ("no series of this name can exist, so this selects nothing, ever".to_owned(), String::new());
        if let Some(near) = self.world.suggest(name) {
            fix = format!("did you mean {near}?");
        }
        let severity = if self.alternative { Severity::Info } else { Severity::Error };
        if self.alternative {
            why = "the other side of `or` may stand in for it".to_owned();
        }
        self.say("TW003", severity, at, message, why, fix);
        Abs { tainted: true, ..unknown }
    }

    fn refuse(&mut self, mut refused: Vec<(Vec<Refusal>, Series)>, matchers: &[&Matcher], span: Span) -> Abs {
        refused.sort_by_key(|(reasons, _)| reasons.len());
        let Some((reasons, series)) = refused.first() else { return Abs::tainted() };
        let name = series.name.clone();
        let abs = series.abs.clone();
        for reason in reasons {
            let (Refusal::NoLabel(at) | Refusal::NoValue(at)) = reason;
            let matcher = matchers[*at];
            let label = matcher.name();
            let place = self.find_in(span, label);
            let place = Span::new(
                place.start as usize,
                (span.end as usize)
                    .min(place.end as usize + matcher.op().as_str().len() + matcher.value().len() + 2),
            );
            match reason {
                Refusal::NoLabel(_) => {
                    let names = abs.labels.names();
                    let has = if names.is_empty() {
                        "it has no labels".to_owned()
                    } else {
                        format!("its labels are {}", names.join(", "))
                    };
                    let why = format!("{has}; {matcher} matches none of its series");
                    let near = tradewatch_catalog::nearest(label, names.iter().copied());
                    let fix = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
                    self.say(
                        "TW004",
                        Severity::Error,
                        place,
                        format!("{name} has no label {label:?}"),
                        why,
                        fix,
                    );
                }
                Refusal::NoValue(_) => {
                    let known = abs.labels.known.get(label).and_then(Label::listed);
                    let (message, why, near) = match known {
                        Some(values) => {
                            let all = refused_values(&refused, label, values);
                            let near =
                                tradewatch_catalog::nearest(matcher.value(), all.iter().map(String::as_str));
                            let near = near.map(str::to_owned);
                            let listed = list(&all);
                            (
                                format!("no series of {name} has {matcher}"),
                                format!("the values of {label} are {listed}"),
                                near,
                            )
                        }
                        None => {
                            let edges = abs.edges.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
                            (
                                format!("{name} has no bucket {matcher}"),
                                format!("its edges are {edges}, +Inf"),
                                None,
                            )
                        }
                    };
                    let fix = near.map(|near| format!("did you mean {near:?}?")).unwrap_or_default();
                    self.say("TW005", Severity::Error, place, message, why, fix);
                }
            }
        }
        // What the selector would have given is anybody's guess: only what an aggregation keeps is known after this.
        let labels = LabelSet { open: true, ..narrowed(&abs, matchers) };
        Abs { tainted: true, labels, ..abs }
    }

    /// A value that no series has today, where others may come: told, but no error.
    fn unseen(&mut self, found: &Abs, candidates: &[&Series], matchers: &[&Matcher], span: Span) {
        for matcher in matchers {
            if matcher.op() != MatchOp::Equal
                || matcher.value().is_empty()
                || matcher.value().contains(VARIABLE)
            {
                continue;
            }
            let mut seen: BTreeSet<&String> = BTreeSet::new();
            for series in candidates {
                match series.abs.labels.known.get(matcher.name()).map(|label| &label.values) {
                    Some(Values::Seen(values) | Values::Closed(values)) => seen.extend(values),
                    _ => return,
                }
            }
            if seen.is_empty() || seen.iter().any(|value| matcher.matches(value)) || found.labels.open {
                continue;
            }
            let near = tradewatch_catalog::nearest(matcher.value(), seen.iter().map(|value| value.as_str()));
            // Numbers are alike without being meant: 500 is no slip of 200.
            let near = near.filter(|_| matcher.value().parse::<f64>().is_err());
            let same_but_case = seen.iter().any(|value| value.eq_ignore_ascii_case(matcher.value()));
            let severity = if near.is_some() || same_but_case { Severity::Warning } else { Severity::Info };
            let listed = list(&seen.iter().map(|value| (*value).clone()).collect());
            let why = format!("the values seen are {listed}; it may still come with its first event");
            let fix = near.map(|near| format!("did you mean {near:?}?")).unwrap_or_default();
            let name = candidates.first().map_or("", |series| series.name.as_str());
            let at = self.find_in(span, matcher.name());
            self.say("TW005", severity, at, format!("no series of {name} has {matcher} now"), why, fix);
        }
    }
}

fn refused_values(
    refused: &[(Vec<Refusal>, Series)],
    label: &str,
    first: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut all = first.clone();
    for (_, series) in refused {
        all.extend(series.abs.labels.known.get(label).and_then(Label::listed).into_iter().flatten().cloned());
    }
    all
}

/// The first of some values, for messages.
pub(super) fn list(values: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = values.iter().take(LISTED_MAX).map(|value| format!("{value:?}")).collect();
    if values.len() > LISTED_MAX {
        shown.push(format!("and {} more", values.len() - LISTED_MAX));
    }
    shown.join(", ")
}

fn refusals(series: &Series, matchers: &[&Matcher]) -> Vec<Refusal> {
    let mut reasons = Vec::new();
    for (at, matcher) in matchers.iter().enumerate() {
        if matcher.value().contains(VARIABLE) {
            continue;
        }
        let Some(label) = series.abs.labels.known.get(matcher.name()) else {
            if !series.abs.labels.open && !matcher.matches_empty() {
                reasons.push(Refusal::NoLabel(at));
            }
            continue;
        };
        if matcher.name() == "le" && !has_edge(&series.abs.edges, matcher) {
            reasons.push(Refusal::NoValue(at));
        }
        let possible = match &label.values {
            Values::Closed(values) => values.iter().any(|value| matcher.matches(value)),
            Values::Seen(_) | Values::Any => true,
        };
        if !possible && (label.always || !matcher.matches_empty()) {
            reasons.push(Refusal::NoValue(at));
        }
    }
    reasons
}

/// Whether `le` can have a value: `0.5` and `0.50` are the same edge.
fn has_edge(edges: &[f64], matcher: &Matcher) -> bool {
    match matcher.value().parse::<f64>() {
        Ok(edge) if matcher.op() == MatchOp::Equal && edge.is_finite() && !edges.is_empty() => {
            edges.iter().any(|known| (known - edge).abs() <= 1e-9 * edge.abs())
        }
        _ => true,
    }
}

/// The labels after the matchers have had their say.
fn narrowed(abs: &Abs, matchers: &[&Matcher]) -> LabelSet {
    let mut labels = abs.labels.clone();
    for matcher in matchers {
        let name = matcher.name();
        if matcher.value().contains(VARIABLE) {
            continue;
        }
        if matcher.op() == MatchOp::Equal {
            if matcher.value().is_empty() {
                labels.known.remove(name);
            } else {
                labels.known.insert(name.to_owned(), Label::closed([matcher.value().to_owned()]));
            }
            continue;
        }
        if !labels.known.contains_key(name) && labels.open && !matcher.matches_empty() {
            labels.known.insert(name.to_owned(), Label::any());
        }
        if let Some(label) = labels.known.get_mut(name) {
            label.always |= !matcher.matches_empty();
            match &mut label.values {
                Values::Closed(values) => values.retain(|value| matcher.matches(value)),
                Values::Seen(values) => {
                    values.retain(|value| matcher.matches(value));
                    if values.is_empty() {
                        label.values = Values::Any;
                    }
                }
                Values::Any => {}
            }
        }
    }
    labels
}

/// The same metric of two jobs, or two metrics of one selector.
fn merge(a: &Abs, b: &Abs) -> Abs {
    Abs { lazy: a.lazy || b.lazy, ..a.or(b) }
}
