//! `prometheus.yml`: targets, rule files, and who is told.

use crate::finding::{Finding, Severity};
use crate::project::{Options, Project};
use crate::world::World;

/// Everything about the scrape configuration.
pub fn findings(project: &Project, world: &World, options: &Options) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some((document, file)) = project.scrape() else { return out };
    let mut say =
        |id, severity, node: &tradewatch_alert::yaml::Node, message: String, why: &str, fix: &str| {
            let place = document.place(node, "");
            out.push(Finding {
                id,
                severity,
                message,
                why: why.to_owned(),
                fix: fix.to_owned(),
                place,
                suppressed: None,
            });
        };
    for (job, address, why, unresolved) in world.unreached() {
        let target = file.jobs.iter().filter(|one| one.name == *job).flat_map(|job| &job.targets);
        let node = target
            .clone()
            .find(|target| target.address == *address)
            .map_or(&file.node, |target| &target.node);
        let (severity, message) = if *unresolved {
            (Severity::Error, format!("{address} has no address"))
        } else {
            (Severity::Warning, format!("{address} does not answer"))
        };
        let text = format!("{why}; what job {job} exposes is not known, so nothing is said about it");
        say("TW032", severity, node, message, &text, "");
    }
    for job in &file.jobs {
        if job.targets.is_empty() && !job.discovered {
            say(
                "TW032",
                Severity::Error,
                &job.node,
                format!("job {} has no targets", job.name),
                "it scrapes nothing",
                "add static_configs or a service discovery",
            );
        }
        for target in &job.targets {
            let address = &target.address;
            if address.contains("://") || address.contains('/') {
                say(
                    "TW032",
                    Severity::Error,
                    &target.node,
                    format!("{address} is a URL, not an address"),
                    "a target is host:port; scheme and path are settings of the job",
                    "write host:port, and scheme or metrics_path beside it",
                );
            }
        }
    }
    for (pattern, node) in &file.rule_files {
        if options.missing_rule_files.contains(pattern) {
            say(
                "TW035",
                Severity::Error,
                node,
                format!("rule file {pattern} does not exist"),
                "none of its rules is ever loaded",
                "write it, or mend the path: it counts from the folder of this file",
            );
        }
    }
    if file.rule_files.is_empty()
        && let Some((rules, _)) = project.rules().next()
    {
        let place = rules.place_at(1, 1, 0, "");
        let message = format!("{} has no rule_files", document.path);
        let (why, fix) = ("none of these rules is ever loaded".to_owned(), "add rule_files".to_owned());
        out.push(Finding {
            id: "TW035",
            severity: Severity::Error,
            message,
            why,
            fix,
            place,
            suppressed: None,
        });
    }
    let alerts: Vec<_> = project.rules().filter(|(_, rule)| rule.alerting).collect();
    for path in &options.unlisted_rule_files {
        let Some((rules, _)) = project.rules().find(|(document, _)| document.path == *path) else { continue };
        let place = rules.place_at(1, 1, 0, "");
        let message = format!("{} does not list this file under rule_files", document.path);
        let why = "its rules are never loaded".to_owned();
        let fix = "add it to rule_files".to_owned();
        out.push(Finding {
            id: "TW035",
            severity: Severity::Warning,
            message,
            why,
            fix,
            place,
            suppressed: None,
        });
    }
    if !alerts.is_empty()
        && !file.rule_files.is_empty()
        && !file.has_alertmanager
        && project.routing().is_none()
    {
        let place = document.place(&file.rule_files[0].1, "");
        let message = "alerts are evaluated and nobody is told".to_owned();
        let why = "there is no Alertmanager under alerting, and no alertmanager.yml beside it".to_owned();
        let fix = "add alerting: {alertmanagers: […]}".to_owned();
        out.push(Finding {
            id: "TW035",
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
