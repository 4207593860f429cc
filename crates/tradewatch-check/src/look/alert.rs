//! Alerts: what they conclude, what they say, when they speak.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_alert::budget;
use tradewatch_alert::yaml::Node;
use tradewatch_promql::ast::BinaryOp;
use tradewatch_promql::format_float;

use super::follows_market;
use crate::expr::abs::{Abs, Label, Meaning, Unit};
use crate::expr::site::Site;
use crate::expr::{Comparison, Facts};
use crate::finding::{Finding, Severity};
use crate::project::{Options, Project};
use crate::read::Document;
use crate::read::rules::Rule;
use crate::world::World;

/// What all alerts together look at.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Jobs whose `up` some alert compares; the empty text stands for all.
    pub jobs: BTreeSet<String>,
    /// Families whose absence some alert looks for.
    pub absent: BTreeSet<String>,
}

impl Watch {
    /// Takes in what one alert looks at.
    pub fn add(&mut self, facts: &Facts) {
        self.jobs.extend(facts.watched_jobs.iter().cloned());
        self.absent.extend(facts.absent.iter().cloned());
    }

    /// Whether an alert tells when the targets behind a value are gone.
    fn sees(&self, value: &Abs) -> bool {
        let jobs = value.labels.known.get("job").and_then(Label::listed);
        let watched = |job: &String| self.jobs.contains("") || self.jobs.contains(job);
        match jobs {
            Some(jobs) => jobs.iter().all(watched),
            None => !self.jobs.is_empty(),
        }
    }
}

/// An alert and what its expression gives.
pub struct Look<'a> {
    /// The file.
    pub document: &'a Document,
    /// The rule.
    pub rule: &'a Rule,
    /// Where its expression stands.
    pub site: &'a Site<'a>,
    /// What it gives.
    pub value: &'a Abs,
    /// What was met in it.
    pub facts: &'a Facts,
    /// Everything known.
    pub world: &'a World,
    /// All files.
    pub project: &'a Project,
    /// What the caller wants.
    pub options: &'a Options,
    /// What all alerts look at.
    pub watch: &'a Watch,
}

impl Look<'_> {
    /// Everything about the alert as a whole.
    pub fn findings(&self) -> Vec<Finding> {
        let mut out = Vec::new();
        for comparison in &self.facts.comparisons {
            self.comparison(comparison, &mut out);
        }
        self.silence(&mut out);
        self.each_idle(&mut out);
        self.said_duration(&mut out);
        self.texts(&mut out);
        self.templates(&mut out);
        self.times(&mut out);
        out
    }

    fn say(
        &self,
        out: &mut Vec<Finding>,
        id: &'static str,
        severity: Severity,
        at: &Node,
        message: String,
        why: &str,
        fix: String,
    ) {
        let place = self.document.place(at, &self.rule.title());
        out.push(Finding { id, severity, message, why: why.to_owned(), fix, place, suppressed: None });
    }

    fn comparison(&self, comparison: &Comparison, out: &mut Vec<Finding>) {
        let Comparison { span, op, constant, value, judged } = comparison;
        if *judged || value.tainted {
            return;
        }
        let text = self.site.slice(*span);
        let mut say = |id, severity, message: String, why: String, fix: String| {
            let place = self.site.place(*span);
            out.push(Finding { id, severity, message, why, fix, place, suppressed: None });
        };
        let c = format_float(*constant);
        if value.meaning == Meaning::Counter {
            let name = value.families.iter().next().cloned().unwrap_or_default();
            let why = format!(
                "{name} counts since its process started: once above {c} it stays there until a restart, whatever happens now"
            );
            let fix = format!("compare what came lately: increase({name}[5m]) {} {c}", op.symbol());
            say("TW009", Severity::Error, format!("a counter compared as it is: {text}"), why, fix);
            return;
        }
        if value.meaning != Meaning::Rate
            || value.unit != Unit::PerSecond
            || !matches!(op, BinaryOp::Gtr | BinaryOp::Gte)
        {
            return;
        }
        let Some(window) = value.window_ms.filter(|ms| *ms > 0) else { return };
        let seconds = window as f64 / 1000.0;
        let in_window = format_float((constant * seconds * 100.0).round() / 100.0);
        let window = tradewatch_alert::duration::format(Duration::from_millis(window as u64));
        let own = self.own_labels(value);
        let each = if own.is_empty() { String::new() } else { format!(" for each {}", own.join(", ")) };
        if let Some(claim) = self.percent_claim() {
            let why = format!(
                "rate is in events per second{each}: this is {c} a second, or {in_window} in {window}, whatever the total; the text says {claim:?}"
            );
            let fix = "divide by the rate of all: sum(rate(bad[5m])) / sum(rate(all[5m]))".to_owned();
            say("TW016", Severity::Error, format!("a rate per second told as a share: {text}"), why, fix);
            return;
        }
        let per_series = !value.aggregated && !own.is_empty();
        let whole = constant.fract() == 0.0 && (1.0..=20.0).contains(constant);
        let share = *constant > 0.0 && *constant < 1.0 && self.selects_some(value);
        let why = format!("rate is in events per second{each}: {c} means {in_window} events in {window}");
        if whole && (seconds >= 1800.0 || per_series) {
            let fix = format!("if {c} in {window} is meant: increase(…[{window}]) {} {c}", op.symbol());
            say(
                "TW016",
                Severity::Warning,
                format!("a rate per second compared with a count: {text}"),
                why,
                fix,
            );
        } else if share && per_series {
            let fix =
                "if a share is meant, divide by the rate of all: sum(rate(bad[5m])) / sum(rate(all[5m]))"
                    .to_owned();
            say(
                "TW016",
                Severity::Warning,
                format!("a rate per second compared like a share: {text}"),
                why,
                fix,
            );
        }
    }

    /// The labels of a value that are not those of its target.
    fn own_labels(&self, value: &Abs) -> Vec<String> {
        if value.labels.open && value.labels.known.is_empty() {
            return Vec::new();
        }
        let target: BTreeSet<&str> =
            self.world.find("up").iter().flat_map(|series| series.abs.labels.names()).collect();
        let single = |label: &Label| label.listed().is_some_and(|values| values.len() == 1);
        let own = value.labels.known.iter().filter(|(name, label)| {
            !target.contains(name.as_str()) && !["job", "instance"].contains(&name.as_str()) && !single(label)
        });
        own.map(|(name, _)| name.clone()).collect()
    }

    /// Whether a matcher of the expression picks some outcomes of several.
    fn selects_some(&self, value: &Abs) -> bool {
        let selectors = self.rule.expr.as_ref().map(|expr| expr.selectors()).unwrap_or_default();
        let target: BTreeSet<&str> =
            self.world.find("up").iter().flat_map(|series| series.abs.labels.names()).collect();
        let names: BTreeSet<String> = value.families.clone();
        selectors.iter().any(|info| {
            let about =
                info.selector.name.as_ref().is_some_and(|name| names.contains(name) || names.is_empty());
            about
                && info.selector.matchers.iter().any(|m| m.name() != "__name__" && !target.contains(m.name()))
        })
    }

    /// Where the texts speak of a percentage of the value.
    fn percent_claim(&self) -> Option<String> {
        self.rule.annotations.iter().find_map(|(_, node)| {
            let text = node.text()?;
            let template = text.contains("humanizePercentage");
            let digits =
                |at: usize| text[..at].trim_end().ends_with(|c: char| c.is_ascii_digit() || c == '}');
            let sign = text.match_indices('%').find(|(at, _)| digits(*at)).map(|(at, _)| at);
            let word = text.to_lowercase().find(" percent");
            if !template && sign.is_none() && word.is_none() {
                return None;
            }
            let line = text.lines().next().unwrap_or("").trim();
            Some(line.chars().take(60).collect())
        })
    }

    /// Rules that wait for something to stop.
    fn silence(&self, out: &mut Vec<Finding>) {
        let mut shut = false;
        let mut blind = false;
        for comparison in &self.facts.comparisons {
            let Comparison { span, op, constant, value, judged } = comparison;
            if *judged || value.tainted {
                continue;
            }
            let activity = matches!(value.meaning, Meaning::Rate | Meaning::Increase)
                && (matches!(op, BinaryOp::Eq | BinaryOp::Lte) && *constant == 0.0
                    || matches!(op, BinaryOp::Lss | BinaryOp::Lte));
            let state = value.meaning == Meaning::Gauge
                && value.unit == Unit::Bool
                && (*op == BinaryOp::Eq && *constant == 0.0
                    || *op == BinaryOp::Lss && *constant <= 1.0
                    || *op == BinaryOp::Neq && *constant == 1.0)
                && !value.families.contains("up");
            let stale = value.meaning == Meaning::Age && matches!(op, BinaryOp::Gtr | BinaryOp::Gte);
            let text = self.site.slice(*span);
            if (activity || stale) && !shut && follows_market(value) && !self.knows_calendar() {
                shut = true;
                let what = if stale { "grows" } else { "falls to nothing" };
                let why = format!(
                    "it {what} every night, weekend and holiday: the alert fires whenever the market is shut"
                );
                let fix = "add  and on() tradewatch_market_open{mic=\"XNYS\"} == 1   (or the label trading_calendar: XNYS)".to_owned();
                let message = format!("{} fires whenever the market is shut", self.rule.name);
                let place = self.site.place(*span);
                out.push(Finding {
                    id: "TW021",
                    severity: Severity::Warning,
                    message,
                    why,
                    fix,
                    place,
                    suppressed: None,
                });
            }
            let guarded = self.facts.defaulted
                || value
                    .families
                    .iter()
                    .any(|name| self.watch.absent.contains(name) || self.facts.absent.contains(name));
            let lost = activity
                && !stale
                && (value.lazy && *op != BinaryOp::Lss || follows_market(value) && !self.watch.sees(value));
            if (lost || state && !self.watch.sees(value)) && !guarded && !blind {
                blind = true;
                let name = value.families.iter().next().cloned().unwrap_or_default();
                let (message, why) = if state {
                    (
                        format!("{text} says nothing when the process itself is gone"),
                        format!(
                            "a process that is dead exposes no {name}: nothing equals 0, and no alert watches up of its job"
                        ),
                    )
                } else {
                    (
                        format!("{text} says nothing when there are no series"),
                        "a label set appears with its first event: before that, and after its target is gone, there is nothing to compare with 0".to_owned(),
                    )
                };
                let fix = if state {
                    "watch the target as well: up{job=\"…\"} == 0, or absent(…)".to_owned()
                } else {
                    format!("add  or absent({name})")
                };
                let place = self.site.place(*span);
                out.push(Finding {
                    id: "TW017",
                    severity: Severity::Warning,
                    message,
                    why,
                    fix,
                    place,
                    suppressed: None,
                });
            }
        }
    }

    /// `rate(x) == 0` without aggregation fires for each label set that rests.
    fn each_idle(&self, out: &mut Vec<Finding>) {
        for Comparison { span, op, constant, value, judged } in &self.facts.comparisons {
            let rests = matches!(value.meaning, Meaning::Rate | Meaning::Increase) && *constant == 0.0;
            if *judged || value.tainted || value.aggregated || !rests {
                continue;
            }
            let own = self.own_labels(value);
            if own.is_empty() {
                continue;
            }
            if matches!(op, BinaryOp::Eq | BinaryOp::Lte) {
                let told = self.rule.annotations.iter().filter_map(|(_, node)| node.text());
                let told: BTreeSet<String> = told.flat_map(template_labels).map(|(label, _)| label).collect();
                // Who names the label in the text wants one alert for each of its values.
                if own.iter().any(|label| told.contains(label)) {
                    continue;
                }
                let list = own.join(", ");
                let why = format!(
                    "nothing is added up: each {{{list}}} is judged alone, and a single one that rests is enough"
                );
                let inner = self.site.slice(*span).split(op.symbol()).next().unwrap_or("").trim();
                let fix =
                    format!("sum({inner}) {} 0, or name the label in the text if each is meant", op.symbol());
                let place = self.site.place(*span);
                let message = format!("fires for each {{{list}}} that is idle");
                out.push(Finding {
                    id: "TW040",
                    severity: Severity::Warning,
                    message,
                    why,
                    fix,
                    place,
                    suppressed: None,
                });
            } else if *op == BinaryOp::Gtr && value.lazy {
                let list = own.join(", ");
                let why = format!(
                    "a new {{{list}}} appears with its first event, already at 1: rate sees no growth until the second"
                );
                let fix = "let the service set the label sets it knows to 0 at its start".to_owned();
                let place = self.site.place(*span);
                let message = "the first event of a new series is missed".to_owned();
                out.push(Finding {
                    id: "TW043",
                    severity: Severity::Info,
                    message,
                    why,
                    fix,
                    place,
                    suppressed: None,
                });
            }
        }
    }

    /// A text that says how long, and another `for`.
    fn said_duration(&self, out: &mut Vec<Finding>) {
        if self.rule.hold.is_zero() {
            return;
        }
        let windows: Vec<i64> =
            self.facts.comparisons.iter().filter_map(|comparison| comparison.value.window_ms).collect();
        let selectors = self.rule.expr.as_ref().map(|expr| expr.selectors()).unwrap_or_default();
        let ranges: Vec<i64> = selectors.iter().filter_map(|info| info.range?.literal_ms()).collect();
        for (_, node) in &self.rule.annotations {
            let Some((text, said)) = node.text().and_then(said_duration) else { continue };
            let ms = said.as_millis() as i64;
            if said == self.rule.hold || windows.contains(&ms) || ranges.contains(&ms) {
                continue;
            }
            let held = tradewatch_alert::duration::format(self.rule.hold);
            let message = format!("the text says {text:?}, the rule waits {held}");
            let why = "who reads it at night takes the fault for younger or older than it is";
            self.say(
                out,
                "TW042",
                Severity::Warning,
                node,
                message,
                why,
                format!("write {held} in the text, or change for"),
            );
        }
    }

    /// Whether anything keeps the alert quiet while the market is shut.
    fn knows_calendar(&self) -> bool {
        self.facts.calendar
            || self.rule.label("trading_calendar").is_some()
            || super::route::is_timed(self.project, self.rule)
    }

    /// Severity, summary, runbook, drill.
    fn texts(&self, out: &mut Vec<Finding>) {
        let rule = self.rule;
        let at = &rule.node;
        let has_label = ["severity", "priority", "level"]
            .iter()
            .any(|name| rule.label(name).is_some_and(|text| !text.is_empty()));
        if !has_label {
            let why = "nobody can route it, sort it, or know whether to get up for it";
            self.say(
                out,
                "TW022",
                Severity::Warning,
                at,
                "no severity".to_owned(),
                why,
                "add  labels: {severity: …}".to_owned(),
            );
        }
        let told = |names: &[&str]| {
            names.iter().any(|name| rule.annotation(name).is_some_and(|text| !text.trim().is_empty()))
        };
        if !told(&["summary", "message", "title"]) {
            let severity = if told(&["description"]) { Severity::Info } else { Severity::Warning };
            let why = "who is woken reads the summary first: what is wrong, in one line";
            self.say(
                out,
                "TW023",
                severity,
                at,
                "no summary".to_owned(),
                why,
                "add  annotations: {summary: …}".to_owned(),
            );
        }
        let runbook = rule.annotations.iter().find(|(name, _)| name.to_lowercase().starts_with("runbook"));
        match runbook.and_then(|(_, node)| Some((node, node.text()?))) {
            None => {
                let why =
                    "what to do first has to be found out at night, by somebody who did not write the rule";
                self.say(
                    out,
                    "TW024",
                    Severity::Warning,
                    at,
                    "no runbook".to_owned(),
                    why,
                    "add  annotations: {runbook_url: …}".to_owned(),
                );
            }
            Some((node, text)) => {
                let name = text.rsplit('/').next().unwrap_or("").trim_end_matches(".md");
                let local = text.contains("/runbooks/")
                    && (text.starts_with('/')
                        || text.contains("externalURL")
                        || text.contains("ExternalURL"));
                let known = self.options.runbooks.as_ref().filter(|_| local && !name.contains("{{"));
                if known.is_some_and(|known| !known.contains(name)) {
                    let why = "the platform has no runbook of that name";
                    self.say(
                        out,
                        "TW024",
                        Severity::Warning,
                        node,
                        format!("runbook {name} does not exist"),
                        why,
                        format!("write runbooks/{name}.md"),
                    );
                }
            }
        }
        if self.options.drills.as_ref().is_some_and(|drills| !drills.contains(&rule.name)) {
            let why = "nothing proves that it fires, and that it clears";
            self.say(
                out,
                "TW025",
                Severity::Error,
                at,
                "no drill".to_owned(),
                why,
                "add a drill for it to the platform".to_owned(),
            );
        }
    }

    /// Labels that the texts name.
    fn templates(&self, out: &mut Vec<Finding>) {
        if self.value.labels.open {
            return;
        }
        let texts = self.rule.annotations.iter().chain(&self.rule.labels);
        for (field, node) in texts {
            let Some(text) = node.text() else { continue };
            for (label, offset) in template_labels(text) {
                if self.value.labels.can_have(&label) || label == "alertname" {
                    continue;
                }
                let (line, column) = node.locate(&self.document.text, offset);
                let place = self.document.place_at(line, column, label.chars().count(), &self.rule.title());
                let names = self.value.labels.names();
                let has = if names.is_empty() {
                    "no labels".to_owned()
                } else {
                    format!("the labels {}", names.join(", "))
                };
                let why =
                    format!("the expression gives {has}: {field} shows nothing, or <no value>, in its place");
                let near = tradewatch_catalog::nearest(&label, names.iter().copied());
                let set_by_rule = self.rule.label(&label).is_some();
                let fix = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None if set_by_rule => {
                        "labels that the rule sets are not among $labels: write the text itself".to_owned()
                    }
                    None => format!("keep it in the expression: by ({label})"),
                };
                let message = format!("the alert has no label {label:?} for its {field}");
                out.push(Finding {
                    id: "TW026",
                    severity: Severity::Error,
                    message,
                    why,
                    fix,
                    place,
                    suppressed: None,
                });
            }
        }
    }

    /// `for`, and what was promised.
    fn times(&self, out: &mut Vec<Finding>) {
        let scrape = self.project.scrape();
        let interval = self.rule.interval.or(scrape.map(|(_, file)| file.evaluation_interval));
        let shown = tradewatch_alert::duration::format;
        if let Some(interval) = interval {
            let hold = self.rule.hold;
            if !hold.is_zero() && hold < interval && !self.options.event_driven {
                let at = self.rule.hold_node.as_ref().unwrap_or(&self.rule.node);
                let message =
                    format!("for: {} is shorter than one evaluation ({})", shown(hold), shown(interval));
                let why =
                    "it ends at the next evaluation at the earliest: one bad sample waits as long as two";
                self.say(
                    out,
                    "TW020",
                    Severity::Warning,
                    at,
                    message,
                    why,
                    format!("write 0s, or {} and more", shown(interval)),
                );
            }
        }
        if !self.rule.spec.as_ref().is_some_and(budget::claims_rts6) {
            return;
        }
        let scrape_interval = self.world.interval_of(&self.facts.names).unwrap_or(Duration::from_secs(60));
        // Where rules are evaluated as the scrape that feeds them commits, the interval is only an upper bound.
        let evaluation = if self.options.event_driven {
            Duration::ZERO
        } else {
            interval.unwrap_or(Duration::from_secs(60))
        };
        let wait = super::route::grouping(self.project, self.rule).unwrap_or_default();
        // `for` ends at an evaluation: the first one that is not before it.
        let step = if evaluation.is_zero() { scrape_interval } else { evaluation };
        let held = match step.as_nanos() {
            0 => self.rule.hold,
            step_ns => step * u32::try_from(self.rule.hold.as_nanos().div_ceil(step_ns)).unwrap_or(u32::MAX),
        };
        let worst = scrape_interval + evaluation + held + wait;
        if worst > budget::RTS6_LIMIT {
            let at = self
                .rule
                .labels
                .iter()
                .find(|(name, _)| name == "rts6")
                .map_or(&self.rule.node, |(_, node)| node);
            let message = format!("promised within {}, at worst {}", shown(budget::RTS6_LIMIT), shown(worst));
            let why = format!(
                "scrape {} + evaluation {} + for {} + grouping {}; RTS 6, Article 16(5), allows five seconds",
                shown(scrape_interval),
                shown(evaluation),
                shown(self.rule.hold),
                shown(wait)
            );
            self.say(
                out,
                "TW027",
                Severity::Error,
                at,
                message,
                &why,
                "shorten the longest part, or drop the promise".to_owned(),
            );
        }
    }
}

/// `$labels.x`, `.Labels.x` and `index $labels "x"` in a text, with the byte of the name. Within `range`, `with` and
/// `define` the labels are others.
pub fn template_labels(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open = text.find("{{");
    while let Some(start) = open {
        let end = text[start..].find("}}").map_or(text.len(), |end| start + end);
        let action = &text[start..end];
        if ["range", "with", "define", "query"].iter().any(|word| action.contains(word)) {
            return found;
        }
        for prefix in ["$labels.", "$.Labels.", ".Labels.", "index $labels \"", "index .Labels \""] {
            for (at, _) in action.match_indices(prefix) {
                let begin = start + at + prefix.len();
                let len =
                    text[begin..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
                let name = text[begin..begin + len].to_owned();
                if !name.is_empty() && !found.contains(&(name.clone(), begin)) {
                    found.push((name, begin));
                }
            }
        }
        open = text[end..].find("{{").map(|next| end + next);
    }
    found
}

/// `for more than 5 minutes` in a text: the words and the time.
fn said_duration(text: &str) -> Option<(&str, Duration)> {
    for lead in ["for more than ", "for over ", "for at least ", "for longer than ", "down for ", "down "] {
        let Some(at) = text.find(lead) else { continue };
        let rest = &text[at + lead.len()..];
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let Ok(count) = rest[..digits].parse::<u64>() else { continue };
        let unit = rest[digits..].trim_start();
        let word: String = unit.chars().take_while(char::is_ascii_alphabetic).collect();
        let seconds = match word.as_str() {
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            _ => continue,
        };
        let end = text.len() - unit.len() + word.len();
        return Some((&text[at..end], Duration::from_secs(count.saturating_mul(seconds))));
    }
    None
}

/// Alerts of one severity that fire for the same series.
pub fn doubled(project: &Project) -> Vec<Finding> {
    let rules: Vec<(&Document, &Rule)> =
        project.rules().filter(|(_, rule)| rule.alerting && rule.expr.is_some()).collect();
    let mut out = Vec::new();
    for (at, (document, narrow)) in rules.iter().enumerate() {
        let doubles = rules.iter().enumerate().find(|(other, (_, wide))| {
            *other != at
                && narrow.label("severity") == wide.label("severity")
                && covers(wide, narrow)
                // Of two equal ones the later is the double.
                && (!covers(narrow, wide) || *other < at)
                && !super::route::inhibits(project, wide, narrow)
                && !super::route::inhibits(project, narrow, wide)
        });
        let Some((_, (_, wide))) = doubles else { continue };
        let message = format!("fires together with {} for the same series", wide.name);
        let why = "the same fault makes two notifications of the same severity".to_owned();
        let fix = format!("drop one, exclude these series from {}, or inhibit one by the other", wide.name);
        let place = document.place(&narrow.node, &narrow.title());
        out.push(Finding {
            id: "TW036",
            severity: Severity::Warning,
            message,
            why,
            fix,
            place,
            suppressed: None,
        });
    }
    out
}

/// Whether whenever `narrow` is true `wide` is, by their selectors.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let (Some(a), Some(b)) = (&wide.expr, &narrow.expr) else { return false };
    let mut differing = BTreeSet::new();
    if !crate::expr::same_shape(a, b, &mut differing) {
        return false;
    }
    let (a, b) = (a.selectors(), b.selectors());
    // Only plain conditions: in a ratio a narrower selector is another figure, not a part of it.
    if a.len() != 1
        || wide
            .expr
            .as_ref()
            .is_some_and(|expr| expr.to_string().contains(" by ") || expr.to_string().contains('('))
    {
        return differing.is_empty() && a.len() == b.len();
    }
    a.iter().zip(&b).all(|(wide, narrow)| {
        wide.selector.matchers.iter().all(|matcher| {
            narrow.selector.matchers.iter().any(|other| {
                other == matcher
                    || other.name() == matcher.name()
                        && other.op() == tradewatch_tsdb::MatchOp::Equal
                        && matcher.matches(other.value())
            })
        })
    })
}
