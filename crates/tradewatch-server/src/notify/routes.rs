//! `alertmanager.yml` with its template files, checked as a whole and ready to send.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tradewatch_alert::notify::{Delivery, Message, MessageAlert};
use tradewatch_alert::route::{self, Calendars, Channel};
use tradewatch_alert::template::notice::Set;
use tradewatch_alert::{ConfigError, Severity};
use tradewatch_calendar::Calendar;

use super::send::Senders;
use super::words;
use crate::clock;
use crate::error::Error;
use crate::markets::Live;
use crate::options::Options;

/// Template files of one configuration.
const TEMPLATE_FILES_MAX: usize = 1_000;

/// Routes and receivers that can be put in force.
pub struct Routes {
    config: Arc<route::Config>,
    senders: Arc<Senders>,
    warnings: Vec<String>,
    faults: Vec<String>,
}

impl Routes {
    /// Reads what `options` name; without a file everything goes to the terminal.
    ///
    /// # Errors
    /// What makes the file unusable as a whole, a line each: a broken tree, a template that cannot be
    /// compiled, an unknown calendar. A receiver without its secret is no such thing.
    pub fn read(options: &Options) -> Result<Routes, Error> {
        let Some(path) = &options.alertmanager_file else {
            let config = route::Config::terminal();
            let senders = Senders::new(&config, Set::default(), Path::new(""));
            return Ok(Routes {
                config: Arc::new(config),
                senders: Arc::new(senders),
                warnings: Vec::new(),
                faults: Vec::new(),
            });
        };
        let shown = path.display().to_string();
        let text = crate::config::read_limited(path)?;
        let (mut config, found) = parse_routes(&shown, &text, &options.calendar)?;
        if options.terminal_always {
            config.add_terminal();
        }
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        let (set, mut warnings) = read_templates(&config.templates, &folder)?;
        config.compile(&set).map_err(all)?;
        let senders = Senders::new(&config, set, &folder);
        let (faults, softer): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| !one.warning);
        warnings.extend(softer.iter().map(ToString::to_string));
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.extend(senders.check().into_iter().map(|(line, why)| format!("{shown}:{line}: {why}")));
        Ok(Routes { config: Arc::new(config), senders: Arc::new(senders), warnings, faults })
    }

    /// The same routes, whose time intervals ask the calendar in force.
    pub fn with_calendar(mut self, live: &Live) -> Routes {
        let live = live.clone();
        Arc::make_mut(&mut self.config).calendars =
            Calendars::new(move |mic, at| is_open(&live.calendar(), mic, at));
        self
    }

    /// The routes.
    pub fn config(&self) -> &Arc<route::Config> {
        &self.config
    }

    /// What works, but not as its writer may think.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Receivers that cannot be used as they stand; the others work.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(super) fn into_parts(self) -> (Arc<route::Config>, Arc<Senders>) {
        (self.config, self.senders)
    }
}

/// Reads a configuration and gives it the calendars; receivers and templates are not looked at.
///
/// # Errors
/// Every error with its place.
pub fn parse_routes(
    path: &str,
    text: &str,
    calendar: &Calendar,
) -> Result<(route::Config, Vec<ConfigError>), Error> {
    let (mut config, found) = route::Config::parse(path, text).map_err(all)?;
    let unknown = config.unknown_calendars(&calendar.mics());
    if !unknown.is_empty() {
        return Err(all(unknown));
    }
    let calendar = calendar.clone();
    config.calendars = Calendars::new(move |mic, at| is_open(&calendar, mic, at));
    Ok((config, found))
}

fn all(errors: Vec<ConfigError>) -> Error {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Error::config(lines.join("\n"))
}

fn is_open(calendar: &Calendar, mic: &str, at: tradewatch_tsdb::Timestamp) -> Option<bool> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    calendar.phase(mic, at).is_open()
}

/// The files that the patterns under `templates` name, in order; a later one replaces what an earlier one
/// defines.
fn read_templates(patterns: &[String], folder: &Path) -> Result<(Set, Vec<String>), Error> {
    let mut set = Set::default();
    let mut warnings = Vec::new();
    let mut read = 0;
    for pattern in patterns {
        let whole = folder.join(pattern);
        let paths = glob::glob(&whole.to_string_lossy())
            .map_err(|error| Error::config(format!("templates: {pattern:?}: {error}")))?;
        let paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
        if paths.is_empty() {
            warnings.push(format!("templates: no file is named {}", whole.display()));
        }
        for path in paths {
            read += 1;
            if read > TEMPLATE_FILES_MAX {
                return Err(Error::config(format!("templates: more than {TEMPLATE_FILES_MAX} files")));
            }
            let text = crate::config::read_limited(&path)?;
            set = set.with_file(&text).map_err(|wrong| {
                let before = &text[..wrong.offset.min(text.len())];
                let line = 1 + before.matches('\n').count();
                let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
                Error::config(format!("{}:{line}:{column}: {}", path.display(), wrong.message))
            })?;
        }
    }
    Ok((set, warnings))
}

/// What one way of delivery answered to a test notification.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The kind of delivery, with its line in the file.
    pub kind: String,
    /// Line in the file.
    pub line: usize,
    /// What was told: `firing` or `resolved`.
    pub status: String,
    /// The answer, or why there was none that helps.
    pub outcome: Result<String, String>,
}

/// Sends a clearly marked test notification to every way of delivery of one receiver, through the code that
/// real ones take. PagerDuty is told the end as well, so that no incident stays open.
///
/// # Errors
/// There is no such receiver.
pub async fn try_receiver(routes: &Routes, receiver: &str, options: &Options) -> Result<Vec<Trial>, Error> {
    let Some(found) = routes.config.receiver(receiver) else {
        let known: Vec<&str> = routes.config.receivers.iter().map(|r| r.name.as_str()).collect();
        return Err(Error::not_found(format!(
            "there is no receiver {receiver:?}; there are {}",
            known.join(", ")
        )));
    };
    let context = words::Context {
        terminal: options.terminal.clone(),
        live: Live::new(options.calendar.clone(), options.mics.clone()),
    };
    let now = clock::now();
    let mut trials = Vec::new();
    for (position, integration) in found.integrations.iter().enumerate() {
        let ends = matches!(integration.channel, Channel::PagerDuty(_));
        for status in ["firing", "resolved"].into_iter().take(if ends { 2 } else { 1 }) {
            let delivery = Delivery {
                created: now,
                id: 0,
                key: format!("test-{}-{position}-{status}", now.as_millis()),
                receiver: receiver.to_owned(),
                integration: position,
                attempt: 1,
                not_before: now,
                severity: Severity::Info,
                message: test_message(receiver, status, now, &options.web.external_url),
            };
            let outcome = routes.senders.send(&delivery, &context, Vec::new()).await;
            trials.push(Trial {
                kind: integration.kind.clone(),
                line: integration.line,
                status: status.to_owned(),
                outcome: outcome.map_err(|failure| match failure.retriable {
                    true => format!("{}; a real one is tried again", failure.reason),
                    false => format!("{}; a real one is not tried again", failure.reason),
                }),
            });
        }
    }
    Ok(trials)
}

fn test_message(
    receiver: &str,
    status: &str,
    now: tradewatch_tsdb::Timestamp,
    external_url: &Option<String>,
) -> Message {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let labels = map(&[("alertname", "TestNotification"), ("severity", "info"), ("test", "true")]);
    let annotations = map(&[
        ("summary", "TEST: nothing is wrong"),
        ("description", "Sent by `tradewatch notify test` to see whether this receiver works."),
    ]);
    let ends_at = if status == "resolved" { now.to_string() } else { "0001-01-01T00:00:00Z".to_owned() };
    let alert = MessageAlert {
        status: status.to_owned(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        starts_at: now.to_string(),
        ends_at,
        generator_url: String::new(),
        fingerprint: "0000000000000000".to_owned(),
        value: None,
    };
    Message {
        receiver: receiver.to_owned(),
        status: status.to_owned(),
        alerts: vec![alert],
        group_labels: map(&[("alertname", "TestNotification")]),
        common_labels: labels,
        common_annotations: annotations,
        external_url: external_url.clone().unwrap_or_default(),
        version: "4".to_owned(),
        group_key: "{}:{alertname=\"TestNotification\"}".to_owned(),
        truncated_alerts: 0,
    }
}
