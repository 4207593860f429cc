//! The parts of a running monitor, wired together, and the one way to change its configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tradewatch_alert::budget::{self, Budget, Plan};
use tradewatch_alert::rules::{Group, RuleSpec};
use tradewatch_calendar::Overlay;
use tradewatch_tsdb::{Db, Timestamp};

use crate::annotations::Annotations;
use crate::audit::{Action, Actor, Audit, Entry};
use crate::clock;
use crate::config::Config;
use crate::dashboards::Dashboards;
use crate::drills::Drills;
use crate::error::Error;
use crate::hub::{Event, Hub};
use crate::inputs::Inputs;
use crate::markets::{self, Markets};
use crate::notify::{Notifier, Outside, Routes};
use crate::options::Options;
use crate::push::Pushes;
use crate::query::Queries;
use crate::rules::{self, Around, Message, Runner, Shared};
use crate::scrape::discovery::Discovery;
use crate::scrape::manager::Manager;
use crate::scrape::target;
use crate::telemetry::{Own, StoreFigures};
use crate::web::alerts;
use crate::web::web_config::WebConfig;

/// How often target files are looked at.
/// How often it is looked who is to be asked for targets.
const DISCOVERY_EVERY: Duration = Duration::from_millis(500);
const TARGET_FILES_EVERY: Duration = Duration::from_secs(5);
/// How often dashboard files are looked at.
const DASHBOARDS_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at which metrics rules read that nobody has.
const INPUTS_EVERY: Duration = Duration::from_secs(60);
const INPUTS_FIRST: Duration = Duration::from_secs(5);
/// How often silences are looked at that are about to end.
const SILENCES_EVERY: Duration = Duration::from_secs(1);
/// How often the store cuts its log and drops what is past retention.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// The outcome of the last reload.
#[derive(Clone, Debug)]
pub struct ConfigStatus {
    /// Whether it succeeded.
    pub ok: bool,
    /// The last success.
    pub at: Timestamp,
    /// What was wrong, if it failed.
    pub error: String,
    /// What is in force and has no effect, or was left out.
    pub warnings: Vec<String>,
}

/// A running monitor.
pub struct Monitor {
    /// What it was started with.
    pub options: Options,
    /// The store.
    pub db: Db,
    /// Queries on it.
    pub queries: Queries,
    /// Its own metrics.
    pub own: Arc<Own>,
    /// Who hears of what.
    pub hub: Arc<Hub>,
    /// The targets.
    pub scrapes: Manager,
    /// Those that others name.
    pub discovery: Discovery,
    /// What is pushed.
    pub pushes: Pushes,
    /// The rule groups.
    pub groups: Shared,
    /// Notifications.
    pub notifier: Arc<Notifier>,
    /// Dashboard files.
    pub dashboards: Dashboards,
    /// Marks on charts.
    pub annotations: Annotations,
    /// When each alert was last proven.
    pub drills: Drills,
    /// What people did.
    pub audit: Audit,
    /// The calendar in force, and what people lay over it.
    pub markets: Markets,
    /// What rules read and nobody has.
    pub inputs: Inputs,
    /// The list of alerts that all pages share.
    pub pages: alerts::Shared,
    /// Users and TLS.
    pub web: WebConfig,
    /// When it started.
    pub started: Timestamp,
    /// Where people reach it.
    pub external_url: String,
    /// Somebody asked over HTTP that the process ends.
    pub quit: Notify,
    /// Turns true when the monitor stops.
    pub stop: watch::Receiver<bool>,
    config: RwLock<Arc<Config>>,
    status: Mutex<ConfigStatus>,
    reloading: tokio::sync::Mutex<()>,
}

/// Everything that a configuration consists of, read and checked.
pub struct Loaded {
    config: Config,
    routes: Routes,
    groups: Vec<(Group, Vec<Option<Budget>>)>,
    outside: Outside,
    overlay: Overlay,
    /// Venues that options, rules and routes name.
    venues: Vec<String>,
    warnings: Vec<String>,
    /// Broken rules, left out.
    broken: Vec<String>,
    /// Rules that are labelled `rts6` and cannot be in time; at the start they are in force all the same.
    late: Vec<String>,
}

impl Loaded {
    /// Reads all files that `options` names.
    ///
    /// # Errors
    /// One line for each thing that makes the configuration unusable as a whole.
    pub fn read(options: &Options) -> Result<Loaded, Error> {
        let config = match &options.config_file {
            Some(path) => Config::load(path)?,
            None => Config::empty(),
        };
        let mut warnings = config.warnings.clone();
        let routes = Routes::read(options)?;
        warnings.extend(routes.warnings().iter().cloned());
        let mut files: Vec<PathBuf> = config.rule_files.clone();
        files.extend(options.rule_files.iter().cloned());
        let (groups, errors, unreadable) =
            rules::read_files(&files, config.evaluation_interval(), config.rule_query_offset());
        let mut broken = unreadable;
        for error in errors {
            if error.warning { warnings.push(error.to_string()) } else { broken.push(error.to_string()) }
        }
        let outside = Outside::of(&config)?;
        let external_labels = external_labels(&config);
        let feeds = target::feeds(&config);
        let plan = Plan { feeds: &feeds, routes: routes.config(), external_labels: &external_labels };
        let budgets = budget::budgets(&groups, &plan);
        // Without a configuration nothing is known of what feeds a rule, so nothing can be said of its time.
        let late = match options.config_file {
            Some(_) => budget::violations(&groups, &budgets).iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        let overlay = match &options.calendar_overlay {
            Some(path) => markets::read_overlay(path)?,
            None => Overlay::default(),
        };
        let known = options.calendar.mics();
        let venues = markets::used(&options.mics, markets::rules_of(&groups), routes.config(), &known);
        warnings.extend(markets::ending(&options.calendar, &venues, clock::now()));
        let groups = groups.into_iter().zip(budgets).collect();
        Ok(Loaded { config, routes, groups, outside, overlay, venues, warnings, broken, late })
    }

    /// What is wrong, line by line; a reload with any of it is refused.
    pub fn errors(&self) -> Vec<&str> {
        self.broken.iter().chain(&self.late).map(String::as_str).collect()
    }

    /// What has no effect, or not the one that its writer may expect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The alerting rules with their latency budgets: file, rule, budget.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &RuleSpec, &Budget)> {
        self.groups.iter().flat_map(|(group, budgets)| {
            let rules = group.rules().map(|(spec, ..)| spec).zip(budgets);
            rules.filter_map(|(spec, budget)| Some((group.file(), spec, budget.as_ref()?)))
        })
    }
}

/// Labels that are added to what leaves the monitor.
fn external_labels(config: &Config) -> BTreeMap<String, String> {
    let labels = config.file.global.external_labels.iter();
    labels.map(|(name, value)| (name.0.clone(), value.clone())).collect()
}

impl Monitor {
    /// Wires all parts and starts their tasks; they end when `stop` turns true.
    ///
    /// # Errors
    /// A file in the data directory cannot be opened.
    pub fn start(
        options: Options,
        db: Db,
        loaded: Loaded,
        web: WebConfig,
        external_url: String,
        stop: watch::Receiver<bool>,
        tasks: &mut tokio::task::JoinSet<()>,
    ) -> Result<Arc<Monitor>, Error> {
        let started = clock::now();
        let markets = Markets::open(options.calendar.clone(), &options.mics, options.data_dir.as_deref())?;
        let live = markets.live().clone();
        let own =
            Arc::new(Own::new(started, live.clone()).map_err(|error| Error::internal(error.to_string()))?);
        let queries = Queries::new(db.clone(), options.query.clone(), own.clone());
        let (to_rules, inbox) = mpsc::unbounded_channel();
        let hub = Arc::new(Hub::new(own.clone(), to_rules.clone()));
        let groups = Shared::default();
        let (told, hears) = mpsc::unbounded_channel();
        let runner =
            Runner::new(queries.clone(), live.clone(), own.clone(), groups.clone(), (to_rules, inbox), told);
        let notifier =
            Notifier::open(&options, &loaded.routes, &external_url, own.clone(), hub.clone(), live, started)?;
        let monitor = Arc::new(Monitor {
            scrapes: Manager::new(db.clone(), hub.clone()),
            discovery: Discovery::new(options.name_servers.clone()),
            pushes: Pushes::new(db.clone(), hub.clone(), own.clone()),
            dashboards: Dashboards::new(options.dashboards.clone()),
            annotations: Annotations::open(options.data_dir.as_deref())?,
            drills: Drills::open(options.data_dir.as_deref())?,
            audit: Audit::open(options.data_dir.as_deref())?,
            markets,
            inputs: Inputs::default(),
            pages: alerts::Shared::default(),
            options,
            db,
            queries,
            own,
            hub,
            groups,
            notifier,
            web,
            started,
            external_url,
            quit: Notify::new(),
            stop: stop.clone(),
            config: RwLock::new(Arc::new(Config::empty())),
            status: Mutex::new(ConfigStatus {
                ok: true,
                at: started,
                error: String::new(),
                warnings: Vec::new(),
            }),
            reloading: tokio::sync::Mutex::new(()),
        });
        tasks.spawn(runner.run(stop.clone()));
        tasks.spawn(monitor.notifier.clone().run(hears, stop.clone()));
        tasks.spawn(monitor.clone().maintain(stop.clone()));
        tasks.spawn(monitor.clone().discover(stop.clone()));
        monitor.apply(loaded);
        if let Some(options) = monitor.options.heartbeat.clone() {
            tasks.spawn(crate::heartbeat::start(monitor.clone(), options, stop)?);
        }
        Ok(monitor)
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().expect("no panic while the configuration is locked").clone()
    }

    /// What rules need of the configuration that is in force.
    pub fn around(&self) -> Around {
        Around {
            external_labels: external_labels(&self.config()),
            external_url: self.external_url.clone(),
            resend_delay: self.options.resend_delay,
        }
    }

    /// The outcome of the last reload.
    pub fn config_status(&self) -> ConfigStatus {
        self.status.lock().expect("no panic while the status is locked").clone()
    }

    /// Reads all files again and puts them in force; if anything in them is wrong, nothing changes. Who asked for it
    /// stands in the log of what people did.
    ///
    /// # Errors
    /// What is wrong, one line each.
    pub async fn reload(self: &Arc<Self>, asked_by: Actor) -> Result<(), Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let monitor = self.clone();
        let read = tokio::task::spawn_blocking(move || Loaded::read(&monitor.options)).await;
        let read = read.unwrap_or_else(|error| {
            Err(Error::internal(format!("reading the configuration broke off: {error}")))
        });
        let read = read.and_then(|loaded| match loaded.errors()[..] {
            [] => Ok(loaded),
            ref errors => Err(Error::config(errors.join("\n"))),
        });
        let deed = Entry::new(clock::now().as_millis(), asked_by, Action::Reload, "configuration");
        match read {
            Ok(loaded) => {
                self.apply(loaded);
                self.note_deed(deed);
                tracing::info!("configuration reloaded");
                Ok(())
            }
            Err(error) => {
                tracing::error!("reload refused, the configuration of before stays in force: {error}");
                let mut status = self.status.lock().expect("no panic while the status is locked");
                status.ok = false;
                status.error = error.to_string();
                drop(status);
                self.own.metrics.config_last_reload_successful.set(0.0);
                self.note_deed(deed.refused(error.to_string()));
                Err(error)
            }
        }
    }

    fn apply(&self, loaded: Loaded) {
        let Loaded { config, routes, groups, outside, overlay, venues, mut warnings, broken, late } = loaded;
        self.markets.configure(overlay, venues);
        for line in &broken {
            tracing::error!("left out: {line}");
        }
        for line in &warnings {
            tracing::warn!("{line}");
        }
        for line in &late {
            tracing::error!("{line}");
        }
        for line in routes.faults() {
            tracing::error!("this receiver cannot be used, the others work: {line}");
        }
        let faults = routes.faults().to_vec();
        warnings.splice(0..0, broken.into_iter().chain(late).chain(faults));
        let config = Arc::new(config);
        *self.config.write().expect("no panic while the configuration is locked") = config.clone();
        let around = self.around();
        self.notifier.configure(routes.with_calendar(self.markets.live()), outside);
        self.hub.tell_rules(Message::Replace(groups, around));
        for line in self.sync_targets() {
            tracing::error!("{line}");
            warnings.push(line);
        }
        let now = clock::now();
        *self.status.lock().expect("no panic while the status is locked") =
            ConfigStatus { ok: true, at: now, error: String::new(), warnings };
        self.own.metrics.config_last_reload_successful.set(1.0);
        self.own.metrics.config_last_reload_success_timestamp_seconds.set(now.as_secs_f64());
    }

    fn sync_targets(&self) -> Vec<String> {
        let failed = self.discovery.errors().into_iter();
        let mut errors: Vec<String> = failed.map(|(job, why)| format!("job {job:?}: {why}")).collect();
        errors.extend(self.scrapes.sync(target::discover(&self.config(), &self.discovery.told())));
        errors
    }

    /// Asks those who name targets, each at its own pace.
    async fn discover(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(DISCOVERY_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => return,
                _ = look.tick() => {}
            }
            let config = self.config();
            let changed = tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => return,
                changed = self.discovery.refresh(&config) => changed,
            };
            if changed {
                self.sync_targets().iter().for_each(|line| tracing::warn!("{line}"));
            }
        }
    }

    /// Does what has to be done every so often.
    async fn maintain(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut target_files = tokio::time::interval(TARGET_FILES_EVERY);
        let mut dashboards = tokio::time::interval(DASHBOARDS_EVERY);
        let mut sync = tokio::time::interval(self.options.sync_interval.max(Duration::from_millis(10)));
        let mut compact = tokio::time::interval(COMPACT_EVERY);
        let mut silences = tokio::time::interval(SILENCES_EVERY);
        // The first look when each target had its first scrape.
        let first = tokio::time::Instant::now() + INPUTS_FIRST;
        let mut inputs = tokio::time::interval_at(first, INPUTS_EVERY);
        let mut last_errors = Vec::new();
        let mut synced = true;
        let mut compacting: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => return,
                _ = sync.tick() => {
                    let db = self.db.clone();
                    let result = tokio::task::spawn_blocking(move || db.sync()).await;
                    // Said once when it begins, not every second.
                    match result {
                        Ok(Err(error)) if synced => {
                            synced = false;
                            tracing::error!("the store cannot be synced: {error}");
                        }
                        Ok(Ok(())) => synced = true,
                        _ => {}
                    }
                }
                _ = compact.tick() => {
                    // Not waited for: to merge blocks may take long, and samples are synced meanwhile.
                    if compacting.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                        let db = self.db.clone();
                        let now = clock::now();
                        compacting = Some(tokio::task::spawn_blocking(move || {
                            if let Err(error) = db.compact(now) {
                                tracing::warn!("the store cannot be compacted: {error}");
                            }
                        }));
                    }
                }
                _ = inputs.tick() => {
                    let monitor = self.clone();
                    let _ = tokio::task::spawn_blocking(move || monitor.inputs.look(&monitor)).await;
                }
                _ = silences.tick() => self.notifier.warn_of_silences(),
                _ = dashboards.tick() => {
                    if self.dashboards.refresh() {
                        self.hub.tell_pages(Event::Dashboards);
                    }
                }
                _ = target_files.tick() => {
                    if self.config().file.scrape_configs.iter().any(|job| !job.file_sd_configs.is_empty()) {
                        let errors = self.sync_targets();
                        if errors != last_errors {
                            errors.iter().for_each(|line| tracing::error!("{line}"));
                            last_errors = errors;
                        }
                    }
                }
            }
        }
    }

    /// Brings the metrics that are read only when somebody looks up to date.
    pub fn refresh_own(&self) {
        let now = clock::now();
        let stats = self.db.stats();
        self.own.take_store(StoreFigures::of(&stats));
        let targets = self.scrapes.targets();
        let up = targets.iter().filter(|target| target.status().health == target::Health::Up).count();
        self.own.metrics.targets_current.set(targets.len() as f64);
        self.own.metrics.targets_up_current.set(up as f64);
        let (mut pending, mut firing) = (0, 0);
        let groups = self.groups.lock().expect("no panic while groups are listed").clone();
        for group in groups {
            let group = group.lock();
            for (_, _, alerts) in group.rules() {
                pending +=
                    alerts.iter().filter(|alert| alert.state == tradewatch_alert::State::Pending).count();
                firing +=
                    alerts.iter().filter(|alert| alert.state == tradewatch_alert::State::Firing).count();
            }
        }
        self.own.metrics.alerts_pending_current.set(pending as f64);
        self.own.metrics.alerts_firing_current.set(firing as f64);
        self.notifier.refresh_own(now);
    }

    /// The runbook `name`, from the first folder that has it.
    ///
    /// # Errors
    /// There is none.
    pub fn runbook(&self, name: &str) -> Result<String, Error> {
        let missing = || Error::not_found(format!("there is no runbook {name:?}"));
        let plain = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !name.starts_with('.');
        if !plain {
            return Err(missing());
        }
        let file = if name.ends_with(".md") { name.to_owned() } else { format!("{name}.md") };
        let find = |folder: &PathBuf| std::fs::read_to_string(Path::new(folder).join(&file)).ok();
        self.options.runbooks.iter().find_map(find).ok_or_else(missing)
    }
}
