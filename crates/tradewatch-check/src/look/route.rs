//! Routes: where each alert goes, and what leads nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use tradewatch_alert::route::{Config, InhibitSource, Route};
use tradewatch_tsdb::{MatchOp, Matcher};

use crate::finding::{Finding, Severity};
use crate::project::{Options, Project};
use crate::read::Document;
use crate::read::routing::RoutingFile;
use crate::read::rules::Rule;

/// Whether a matcher holds for every, some or no alert of a rule.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Holds {
    Yes,
    Maybe,
    No,
}

/// What a rule's own labels say about a matcher; labels of series are not known here.
fn holds(matcher: &Matcher, rule: &Rule) -> Holds {
    let value =
        if matcher.name() == "alertname" { Some(rule.name.as_str()) } else { rule.label(matcher.name()) };
    match value {
        Some(text) if text.contains("{{") => Holds::Maybe,
        Some(text) if matcher.matches(text) => Holds::Yes,
        Some(_) => Holds::No,
        // A severity comes from the rule; any other label may come from the series.
        None if matcher.name() == "severity" && !matcher.matches_empty() => Holds::No,
        None => Holds::Maybe,
    }
}

fn all_hold(matchers: &[Matcher], rule: &Rule) -> Holds {
    let mut result = Holds::Yes;
    for matcher in matchers {
        match holds(matcher, rule) {
            Holds::No => return Holds::No,
            Holds::Maybe => result = Holds::Maybe,
            Holds::Yes => {}
        }
    }
    result
}

/// The routes that an alert of `rule` can end at.
fn ends<'c>(config: &'c Config, rule: &Rule, at: usize, out: &mut Vec<&'c Route>) -> Holds {
    let route = &config.routes[at];
    let own = all_hold(&route.matchers, rule);
    if own == Holds::No {
        return Holds::No;
    }
    let mut taken = Holds::No;
    for child in &route.children {
        let child_holds = ends(config, rule, *child, out);
        if child_holds == Holds::Yes && !config.routes[*child].continues {
            return own;
        }
        taken = match (taken, child_holds) {
            (Holds::Yes, _) | (_, Holds::Yes) => Holds::Yes,
            (Holds::Maybe, _) | (_, Holds::Maybe) => Holds::Maybe,
            _ => Holds::No,
        };
    }
    if taken != Holds::Yes {
        out.push(route);
    }
    own
}

fn routes_of<'p>(project: &'p Project, rule: &Rule) -> Vec<&'p Route> {
    let mut out = Vec::new();
    if let Some(config) = project.routing().and_then(|(_, file)| file.config.as_ref())
        && !config.routes.is_empty()
    {
        ends(config, rule, 0, &mut out);
    }
    out
}

/// The longest that an alert of the rule can wait in its group: `group_wait`, or `group_interval` where it joins one
/// that has been told already.
pub fn grouping(project: &Project, rule: &Rule) -> Option<Duration> {
    routes_of(project, rule).iter().map(|route| route.group_wait.max(route.group_interval)).max()
}

/// Whether every route of the rule's alerts is silent at times.
pub fn is_timed(project: &Project, rule: &Rule) -> bool {
    let routes = routes_of(project, rule);
    let timed = |route: &&Route| !route.mute_intervals.is_empty() || !route.active_intervals.is_empty();
    !routes.is_empty() && routes.iter().all(timed)
}

/// Whether an alert of the rule can be a source.
fn sources_hold(sources: &[InhibitSource], rule: &Rule) -> bool {
    sources.iter().any(|source| all_hold(&source.matchers, rule) != Holds::No)
}

/// Whether one alert holds the other back.
pub fn inhibits(project: &Project, source: &Rule, target: &Rule) -> bool {
    let config = project.routing().and_then(|(_, file)| file.config.as_ref());
    config.is_some_and(|config| {
        config
            .inhibit_rules
            .iter()
            .any(|rule| sources_hold(&rule.sources, source) && all_hold(&rule.target, target) != Holds::No)
    })
}

/// Everything about the routing file.
pub fn findings(project: &Project, options: &Options) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some((document, file)) = project.routing() else { return out };
    // tradewatch fills in ${NAME} from its environment; an Alertmanager does not.
    if !options.event_driven {
        unexpanded(document, file, &mut out);
    }
    let Some(config) = &file.config else { return out };
    let rules: Vec<&Rule> = project.rules().map(|(_, rule)| rule).filter(|rule| rule.alerting).collect();
    let mut say = |line: usize, severity, message: String, why: &str, fix: String| {
        let indent = document
            .text
            .lines()
            .nth(line.saturating_sub(1))
            .map_or(0, |text| text.len() - text.trim_start().len());
        let place = document.place_at(line, indent + 1, 0, "");
        out.push(Finding {
            id: "TW033",
            severity,
            message,
            why: why.to_owned(),
            fix,
            place,
            suppressed: None,
        });
    };
    shadowed(config, &mut say);
    if !rules.is_empty() {
        for route in config.routes.iter().skip(1) {
            if rules.iter().all(|rule| all_hold(&route.matchers, rule) == Holds::No) {
                let shown = route.matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ");
                let fix = suggestion(&route.matchers, &rules);
                say(
                    route.line,
                    Severity::Warning,
                    format!("no alert ever takes the route {shown}"),
                    "no rule sets labels that these matchers accept",
                    fix,
                );
            }
        }
        for rule in &config.inhibit_rules {
            let sources = rule.sources.iter().map(|source| (&source.matchers, "source"));
            for (matchers, side) in sources.chain([(&rule.target, "target")]) {
                if !matchers.is_empty() && rules.iter().all(|rule| all_hold(matchers, rule) == Holds::No) {
                    let shown = matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ");
                    let fix = suggestion(matchers, &rules);
                    say(
                        rule.line,
                        Severity::Warning,
                        format!("the {side} of this inhibition names no alert: {shown}"),
                        "no rule makes such an alert, so it never holds anything back",
                        fix,
                    );
                }
            }
        }
        unheard(project, config, file, &rules, &mut say);
    }
    out
}

/// The nearest value that rules do set.
fn suggestion(matchers: &[Matcher], rules: &[&Rule]) -> String {
    let wrong = matchers.iter().find(|matcher| rules.iter().all(|rule| holds(matcher, rule) == Holds::No));
    let Some(matcher) = wrong else { return String::new() };
    let values: BTreeSet<&str> = match matcher.name() {
        "alertname" => rules.iter().map(|rule| rule.name.as_str()).collect(),
        name => rules.iter().filter_map(|rule| rule.label(name)).collect(),
    };
    if let Some(near) = tradewatch_catalog::nearest(matcher.value(), values.iter().copied()) {
        return format!("did you mean {near:?}?");
    }
    if matcher.name() == "alertname" || values.is_empty() {
        return "remove it, or write the rule that it waits for".to_owned();
    }
    format!("{} is one of {}", matcher.name(), values.into_iter().collect::<Vec<_>>().join(", "))
}

/// A route behind a sibling that takes everything it could get.
fn shadowed(config: &Config, say: &mut dyn FnMut(usize, Severity, String, &str, String)) {
    for parent in &config.routes {
        for (at, child) in parent.children.iter().enumerate() {
            let route = &config.routes[*child];
            let before = parent.children[..at].iter().map(|child| &config.routes[*child]);
            let taker = before.into_iter().find(|earlier| {
                let covers = |matcher: &Matcher| {
                    route.matchers.iter().any(|own| {
                        own == matcher
                            || own.name() == matcher.name()
                                && own.op() == MatchOp::Equal
                                && matcher.matches(own.value())
                    })
                };
                !earlier.continues && earlier.matchers.iter().all(covers)
            });
            if let Some(taker) = taker {
                let message = format!(
                    "this route is never reached: the one at line {} takes its alerts first",
                    taker.line
                );
                say(
                    route.line,
                    Severity::Error,
                    message,
                    "routes are tried in order, and the first that matches ends the search",
                    "move it up, or add continue: true above".to_owned(),
                );
            }
        }
    }
}

/// Alerts that end at a receiver which delivers to nobody.
fn unheard(
    project: &Project,
    config: &Config,
    file: &RoutingFile,
    rules: &[&Rule],
    say: &mut dyn FnMut(usize, Severity, String, &str, String),
) {
    let silent: BTreeSet<&str> =
        file.receivers.iter().filter(|(_, _, delivers)| !delivers).map(|(name, ..)| name.as_str()).collect();
    for (name, node, _) in file.receivers.iter().filter(|(_, _, delivers)| !delivers) {
        let unheard: Vec<&str> = rules
            .iter()
            .filter(|rule| rule.expr.as_ref().is_some_and(|expr| !expr.selectors().is_empty()))
            .filter(|rule| !matches!(rule.label("severity"), None | Some("none" | "info")))
            .filter(|rule| {
                let routes = routes_of(project, rule);
                !routes.is_empty()
                    && routes.iter().all(|route| silent.contains(route.receiver.as_str()))
                    && routes.iter().any(|route| route.receiver == *name)
            })
            .map(|rule| rule.name.as_str())
            .collect();
        if let Some(first) = unheard.first() {
            let more =
                if unheard.len() > 1 { format!(" and {} more", unheard.len() - 1) } else { String::new() };
            let message = format!("nobody is told of {first}{more}: receiver {name:?} delivers to nothing");
            let why =
                "a receiver without webhook_configs, email_configs or another integration drops what it gets";
            say(
                node.line,
                Severity::Warning,
                message,
                why,
                "add an integration, or route these alerts elsewhere".to_owned(),
            );
        }
    }
    let used: BTreeSet<&str> = config.routes.iter().map(|route| route.receiver.as_str()).collect();
    for (name, node, _) in &file.receivers {
        if !used.contains(name.as_str()) {
            let why = "no route names it";
            say(
                node.line,
                Severity::Warning,
                format!("receiver {name:?} is never used"),
                why,
                "add a route, or remove it".to_owned(),
            );
        }
    }
}

/// Environment variables, which an Alertmanager takes as text.
fn unexpanded(document: &Document, file: &RoutingFile, out: &mut Vec<Finding>) {
    for node in &file.texts {
        let Some(text) = node.text() else { continue };
        let Some(at) = text.find("${") else { continue };
        let name: String =
            text[at + 2..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if name.is_empty() || !text[at + 2 + name.len()..].starts_with(['}', ':']) {
            continue;
        }
        let message = format!("${{{name}}} is not expanded here");
        let why =
            "Alertmanager takes the text as it stands; the receiver gets the name of the variable".to_owned();
        let fix =
            "use the _file variant of the setting, or fill the file in before it is deployed".to_owned();
        let place = document.place(node, "");
        out.push(Finding {
            id: "TW037",
            severity: Severity::Error,
            message,
            why,
            fix,
            place,
            suppressed: None,
        });
    }
}
