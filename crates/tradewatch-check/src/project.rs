//! All files together, and the checks run over them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::expr::abs::{Abs, Label};
use crate::expr::site::{Role, Site};
use crate::expr::{Facts, Interpreter};
use crate::finding::{Finding, Place, Report, Severity};
use crate::look::{self, panel::Judged};
use crate::read::dashboard::Panel;
use crate::read::routing::RoutingFile;
use crate::read::rules::Rule;
use crate::read::scrape::ScrapeFile;
use crate::read::{Content, Document, Input};
use crate::suppress::{self, Ignore};
use crate::world::World;

/// Recording rules that read each other are followed this deep.
const RECORDING_DEPTH: usize = 6;

/// Files that belong together.
pub struct Project {
    /// In the order given.
    pub documents: Vec<Document>,
}

/// What the caller knows and wants.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Patterns of `rule_files` that name no file.
    pub missing_rule_files: BTreeSet<String>,
    /// Rule files among the inputs that the `prometheus.yml` among them does not load.
    pub unlisted_rule_files: BTreeSet<String>,
    /// Runbooks that exist, by name; `None` where that is not known.
    pub runbooks: Option<BTreeSet<String>>,
    /// Alerts with a drill; `None` where drills are not asked for.
    pub drills: Option<BTreeSet<String>>,
    /// Rules are evaluated as the scrape that feeds them commits, as tradewatch does.
    pub event_driven: bool,
    /// Files that are read for what they tell of others, and not judged.
    pub context: BTreeSet<String>,
    /// Findings to suppress, with reasons.
    pub ignores: Vec<Ignore>,
}

impl Project {
    /// Reads files; what is broken in them is found by [`check`].
    pub fn read(inputs: Vec<Input>) -> Project {
        Project { documents: inputs.into_iter().map(Document::read).collect() }
    }

    /// Every rule, with its file.
    pub fn rules(&self) -> impl Iterator<Item = (&Document, &Rule)> {
        self.documents.iter().flat_map(|document| {
            let rules: &[Rule] = match &document.content {
                Content::Rules(file) => &file.rules,
                _ => &[],
            };
            rules.iter().map(move |rule| (document, rule))
        })
    }

    /// Every panel, with its file.
    pub fn panels(&self) -> impl Iterator<Item = (&Document, &Panel)> {
        self.documents.iter().flat_map(|document| {
            let panels: &[Panel] = match &document.content {
                Content::Dashboard(dashboard) => &dashboard.panels,
                _ => &[],
            };
            panels.iter().map(move |panel| (document, panel))
        })
    }

    /// The first `prometheus.yml`.
    pub fn scrape(&self) -> Option<(&Document, &ScrapeFile)> {
        self.documents.iter().find_map(|document| match &document.content {
            Content::Scrape(file) => Some((document, file.as_ref())),
            _ => None,
        })
    }

    /// The first `alertmanager.yml`.
    pub fn routing(&self) -> Option<(&Document, &RoutingFile)> {
        self.documents.iter().find_map(|document| match &document.content {
            Content::Routing(file) => Some((document, file.as_ref())),
            _ => None,
        })
    }

    /// The names of all series that rules and panels read, to ask a server for them.
    pub fn names_used(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut take = |expr: &tradewatch_promql::Expr| {
            for info in expr.selectors() {
                let exact = info
                    .selector
                    .matchers
                    .iter()
                    .find(|m| m.name() == "__name__" && m.op() == tradewatch_tsdb::MatchOp::Equal);
                names.extend(exact.map(|matcher| matcher.value().to_owned()));
            }
        };
        for (_, rule) in self.rules() {
            if let Some(expr) = &rule.expr {
                take(expr);
            }
        }
        for (_, panel) in self.panels() {
            for query in &panel.queries {
                if let Ok(expr) = tradewatch_promql::parse(&crate::expr::site::substitute(&query.text).0) {
                    take(&expr);
                }
            }
        }
        names
    }
}

/// Looks at everything.
pub fn check(project: &Project, mut world: World, options: &Options) -> Report {
    let mut findings = problems(project);
    record(project, &mut world);
    let recorded = project.scrape().is_some() || world.knows_metrics();
    let mut used = BTreeSet::new();
    let mut judged = Judged::new();
    let mut looked = Vec::new();
    let mut watch = look::alert::Watch::default();
    let mut rules = 0;
    for (document, rule) in project.rules() {
        rules += 1;
        let Some(expr) = &rule.expr else { continue };
        let role = if rule.alerting { Role::Alert } else { Role::Record };
        let site = Site::rule(document, rule.title(), &rule.expr_node, role);
        let mut interpreter = Interpreter::new(&world, &site, recorded);
        let value = interpreter.run(expr);
        let (found, facts) = (interpreter.findings, interpreter.facts);
        findings.extend(found);
        used.extend(facts.names.iter().cloned());
        if rule.alerting {
            watch.add(&facts);
            look::panel::learn(&mut judged, &facts.comparisons);
            looked.push((document, rule, site, value, facts));
        }
    }
    for (document, rule, site, value, facts) in &looked {
        let look = look::alert::Look {
            document,
            rule,
            site,
            value,
            facts,
            world: &world,
            project,
            options,
            watch: &watch,
        };
        findings.extend(look.findings());
    }
    findings.extend(look::alert::doubled(project));
    let panels = dashboards(project, &world, recorded, &judged, &mut findings, &mut used);
    findings.extend(look::route::findings(project, options));
    findings.extend(look::scrape::findings(project, &world, options));
    findings.extend(look::catalog::budgets(project, &world));
    findings.extend(look::catalog::unused(project, &world, &used));
    findings.retain(|finding| !options.context.contains(&finding.place.file));
    finish(&mut findings);
    suppress::apply(project, options, &mut findings);
    Report {
        findings,
        rules,
        panels,
        files: project.documents.len() - options.context.len(),
        knowledge: world.sources().to_vec(),
    }
}

/// What is wrong with the files themselves.
fn problems(project: &Project) -> Vec<Finding> {
    let mut out = Vec::new();
    for document in &project.documents {
        for problem in &document.problems {
            let place = document.place_at(problem.line, problem.column, 0, "");
            let (id, severity) =
                if problem.warning { ("TW002", Severity::Warning) } else { ("TW001", Severity::Error) };
            let (message, fix) = (problem.message.clone(), problem.fix.clone());
            out.push(Finding { id, severity, message, why: String::new(), fix, place, suppressed: None });
        }
    }
    out
}

/// Follows the recording rules, in as many rounds as they build on each other.
fn record(project: &Project, world: &mut World) {
    let default = project.scrape().map(|(_, file)| file.evaluation_interval);
    for _ in 0..RECORDING_DEPTH {
        let mut made: BTreeMap<String, (Abs, Option<Duration>)> = BTreeMap::new();
        for (document, rule) in project.rules().filter(|(_, rule)| !rule.alerting) {
            let Some(expr) = &rule.expr else { continue };
            let site = Site::rule(document, rule.title(), &rule.expr_node, Role::Record);
            let mut abs = Interpreter::new(world, &site, false).run(expr);
            for (name, node) in &rule.labels {
                let value = node.text().unwrap_or("").to_owned();
                abs.labels.known.insert(name.clone(), Label::closed([value]));
            }
            // What is wrong in the rule is said there; its readers start afresh.
            abs.tainted = false;
            let interval = rule.interval.or(default);
            made.entry(rule.name.clone())
                .and_modify(|(known, _)| *known = known.or(&abs))
                .or_insert((abs, interval));
        }
        let known = made
            .keys()
            .map(|name| world.find(name).iter().map(|s| s.abs.clone()).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        let same = made.values().zip(&known).all(|((abs, _), known)| known.first() == Some(abs));
        for (name, (abs, interval)) in made {
            world.add_recorded(&name, abs, interval);
        }
        if same {
            break;
        }
    }
}

/// Looks at every panel; gives how many there are.
fn dashboards(
    project: &Project,
    world: &World,
    recorded: bool,
    judged: &Judged,
    findings: &mut Vec<Finding>,
    used: &mut BTreeSet<String>,
) -> usize {
    let mut panels = 0;
    for document in &project.documents {
        let Content::Dashboard(dashboard) = &document.content else { continue };
        for panel in &dashboard.panels {
            panels += 1;
            let object = look::panel::object(panel);
            let mut shown = Vec::new();
            for query in &panel.queries {
                let site = Site::panel(document, object.clone(), &query.node);
                match tradewatch_promql::parse(&site.text) {
                    Ok(expr) => {
                        let mut interpreter = Interpreter::new(world, &site, recorded);
                        let value = interpreter.run(&expr);
                        let Facts { names, .. } = interpreter.facts;
                        findings.append(&mut interpreter.findings);
                        used.extend(names);
                        shown.push(look::panel::Shown { query, site, value });
                    }
                    // With a variable in it, the query may well parse once Grafana has filled it in.
                    Err(_) if !site.replaced.is_empty() => {}
                    Err(error) => {
                        let place = site.place(error.span());
                        let message = format!("the query cannot be parsed: {}", error.message());
                        findings.push(Finding {
                            id: "TW001",
                            severity: Severity::Error,
                            message,
                            why: String::new(),
                            fix: String::new(),
                            place,
                            suppressed: None,
                        });
                    }
                }
            }
            findings.extend(look::panel::findings(document, panel, &shown, judged));
        }
        findings.extend(look::panel::variables(document, dashboard));
    }
    panels
}

/// One finding for each thing: panels ask the same metric three times, and so do rules.
fn finish(findings: &mut Vec<Finding>) {
    let mut seen: BTreeSet<(String, String, &'static str, String)> = BTreeSet::new();
    findings.retain(|finding| {
        let Place { file, object, line, .. } = &finding.place;
        let place = if object.is_empty() { line.to_string() } else { object.clone() };
        seen.insert((file.clone(), place, finding.id, finding.message.clone()))
    });
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.place.file.clone(), f.place.line, f.place.column, f.id);
        key(a).cmp(&key(b))
    });
}
