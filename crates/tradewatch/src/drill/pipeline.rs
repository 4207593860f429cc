//! Scrapes, rules and notifications of a platform's shipped files on virtual time, each a plain call with the time.
//!
//! Everything is the code of `serve`: the text of a scrape goes through the same ingest into a store, the same groups
//! evaluate it, the same notifier routes, groups and holds back. Only sockets and threads are absent.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tradewatch_alert::notify::{Notifier, Options as NotifierOptions};
use tradewatch_alert::notify::{Silence, SilenceMatcher};
use tradewatch_alert::route::{Calendars, Config as Routing};
use tradewatch_alert::rules::{Group, RuleFile, Surroundings, engine_query};
use tradewatch_calendar::Calendar;
use tradewatch_metrics::{Collected, Collector, Descriptor, Format as Page, Registry};
use tradewatch_platforms::trading_platform::{ServiceName, sim};
use tradewatch_promql::ast::{BinaryOp, Expr, ExprKind};
use tradewatch_promql::{Engine, EngineOptions};
use tradewatch_server::Ingest;
use tradewatch_server::config::Config;
use tradewatch_server::markets::{Live, MarketSeries};
use tradewatch_server::scrape::IngestOptions;
use tradewatch_server::scrape::line::Format;
use tradewatch_tsdb::{Db, Labels, Timestamp};

/// How often the store lets go of what no rule reads any more.
const COMPACT_EVERY: Duration = Duration::from_secs(600);
/// The job that scrapes the monitor; its page carries the clocks of the markets.
const MONITOR_JOB: &str = "tradewatch";
/// The venues of the platform.
const MICS: [&str; 2] = ["XNYS", tradewatch_calendar::CRYPTO];

/// What a platform's folder says, read once and shared by all runs.
#[derive(Clone)]
pub struct Files {
    targets: Vec<(ServiceName, Labels)>,
    /// The monitor's own target.
    monitor: Labels,
    rules: Vec<(String, RuleFile)>,
    evaluation_interval: Duration,
    routing: Arc<Routing>,
}

impl Files {
    /// Reads `prometheus.yml`, the rule files of the platform that it names, and `alertmanager.yml`.
    ///
    /// # Errors
    /// One line with file, line and column.
    pub fn load(platforms: &Path, platform: &str) -> Result<Files> {
        let folder = platforms.join(platform);
        let config = Config::load(&folder.join("prometheus.yml"))?;
        let (mut targets, mut monitor) = (Vec::new(), None);
        for job in &config.file.scrape_configs {
            let name = job.job_name.as_ref().map_or("", |name| name.value.as_str());
            let Some(group) = job.static_configs.first() else { continue };
            let Some(address) = group.targets.first() else { continue };
            let own = [("job", name), ("instance", address.as_str())];
            let labels = group.labels.iter().map(|(name, value)| (name.0.as_str(), value.as_str()));
            let labels = Labels::from_pairs(own.into_iter().chain(labels));
            match ServiceName::parse(name) {
                Some(service) => targets.push((service, labels)),
                None if name == MONITOR_JOB => monitor = Some(labels),
                None => bail!("{}: no service of the platform answers job {name:?}", folder.display()),
            }
        }
        let mut rules = Vec::new();
        // The monitor's own rules belong to another folder and are proven there.
        for path in config.rule_files.iter().filter(|path| path.starts_with(folder.join("rules"))) {
            let shown = path.display().to_string();
            let (file, errors) = RuleFile::parse(&shown, &std::fs::read_to_string(path)?);
            if let Some(error) = errors.first() {
                bail!("{error}");
            }
            rules.push((shown, file));
        }
        let path = folder.join("alertmanager.yml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut routing = routing(&path.display().to_string(), &text)?;
        // What a receiver would be told is heard here; a shipped one may have no integration at all.
        let ear = routing_of_ear()?;
        for receiver in &mut routing.receivers {
            receiver.integrations.clone_from(&ear.receivers[0].integrations);
        }
        Ok(Files {
            targets,
            monitor: monitor.with_context(|| format!("{}: no job {MONITOR_JOB:?}", folder.display()))?,
            rules,
            evaluation_interval: config.evaluation_interval(),
            routing: Arc::new(routing),
        })
    }

    /// The names of all alerting rules, in the order of the files.
    pub fn alerts(&self) -> Vec<String> {
        let groups = self.rules.iter().flat_map(|(_, file)| &file.groups);
        let rules = groups.flat_map(|group| &group.rules).filter(|rule| rule.is_alerting());
        rules.map(|rule| rule.name.clone()).collect()
    }

    /// How long ago something can have been that an alert still depends on: what its expression reads, then its `for`.
    /// `None` if an expression leaves it open.
    pub fn memory(&self) -> Option<Duration> {
        let rules = self.rules.iter().flat_map(|(_, file)| &file.groups).flat_map(|group| &group.rules);
        let memories = rules.map(|rule| {
            let reaches = rule.expr.selectors().into_iter().map(|selector| selector.reach_ms);
            let reach = reaches.collect::<Option<Vec<i64>>>()?.into_iter().max().unwrap_or_default();
            Some(Duration::from_millis(reach.unsigned_abs()) + rule.hold() + rule.keep_firing())
        });
        memories.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Moves every threshold out of reach, for the proof that drills depend on the rules.
    ///
    /// # Errors
    /// If a rule has no comparison with a number: then nothing of it can be moved.
    pub fn move_thresholds_out_of_reach(&mut self) -> Result<()> {
        for (path, file) in &mut self.rules {
            for rule in file.groups.iter_mut().flat_map(|group| &mut group.rules) {
                let moved = out_of_reach(&mut rule.expr);
                if rule.is_alerting() && moved == 0 {
                    bail!("{path}:{}: {} compares nothing with a number", rule.line, rule.name);
                }
            }
        }
        Ok(())
    }
}

/// Moves the number of each comparison to where no value gets; answers how many there were.
fn out_of_reach(expr: &mut Expr) -> usize {
    const FAR: f64 = 1e300;
    match &mut expr.kind {
        ExprKind::Binary(binary) => {
            let never = match binary.op {
                BinaryOp::Gtr | BinaryOp::Gte | BinaryOp::Eq => FAR,
                BinaryOp::Lss | BinaryOp::Lte => -FAR,
                _ => return out_of_reach(&mut binary.lhs) + out_of_reach(&mut binary.rhs),
            };
            match (&mut binary.lhs.kind, &mut binary.rhs.kind) {
                (_, ExprKind::Number(number)) => number.value = never,
                // The number stands on the left: what is above it is what the other is below.
                (ExprKind::Number(number), _) if binary.op == BinaryOp::Eq => number.value = never,
                (ExprKind::Number(number), _) => number.value = -never,
                _ => return out_of_reach(&mut binary.lhs) + out_of_reach(&mut binary.rhs),
            }
            1
        }
        ExprKind::Paren(inner) => out_of_reach(inner),
        _ => 0,
    }
}

fn routing(path: &str, text: &str) -> Result<Routing> {
    let (routing, _) = Routing::parse(path, text).map_err(|errors| match errors.first() {
        Some(error) => anyhow::anyhow!("{error}"),
        None => anyhow::anyhow!("{path}: not a routing configuration"),
    })?;
    Ok(routing)
}

/// The configuration of a receiver that is told of everything, resolutions included.
fn routing_of_ear() -> Result<Routing> {
    let text = "route: {receiver: ear}\nreceivers:\n- name: ear\n  webhook_configs: [{url: 'http://127.0.0.1:9/', send_resolved: true}]\n";
    routing("ear", text)
}

/// One alert of a notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The alert.
    pub labels: Labels,
    /// Whether it fires, else it is over.
    pub firing: bool,
}

/// An alert of a rule now.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The alert.
    pub labels: Labels,
    /// Whether it fires, else it is pending.
    pub firing: bool,
    /// The name of the alert that holds it back.
    pub held_back_by: Option<String>,
}

/// The series of the market at the virtual time.
struct VirtualMarkets {
    series: MarketSeries,
    /// In milliseconds since the epoch.
    now: Arc<AtomicI64>,
}

impl Collector for VirtualMarkets {
    fn families(&self) -> Vec<Descriptor> {
        self.series.families()
    }

    fn collect(&self, out: &mut Collected) {
        self.series.collect_at(out, Timestamp::from_millis(self.now.load(Ordering::Relaxed)));
    }
}

/// A running pipeline.
pub struct Pipeline {
    db: Db,
    targets: Vec<(ServiceName, Ingest)>,
    /// What of the monitor's own page rules of other platforms read: the clocks of the markets. And who scrapes it.
    markets: Registry,
    now: Arc<AtomicI64>,
    clock: Ingest,
    groups: Vec<Group>,
    around: Surroundings,
    notifier: Notifier,
    compacted: Timestamp,
    text: Vec<u8>,
}

impl Pipeline {
    /// An empty store, and rules that have never been evaluated. `calendar` is the clock of the simulated markets.
    ///
    /// # Errors
    /// Never for what is shipped: the monitor's own metrics cannot be declared.
    pub fn new(files: &Files, calendar: Calendar, now: Timestamp) -> Result<Pipeline> {
        let db = Db::in_memory();
        let ingest = |labels: &Labels| {
            let target = labels.clone();
            Ingest::new(
                db.clone(),
                IngestOptions { target, honor_timestamps: true, ..IngestOptions::default() },
            )
        };
        let mut groups = Vec::new();
        for (path, file) in &files.rules {
            let new = |spec| Group::new(path, spec, files.evaluation_interval, Duration::ZERO);
            groups.extend(file.groups.iter().map(new));
        }
        let engine = Arc::new(Engine::new(EngineOptions::default()));
        let mut routing = Routing::clone(&files.routing);
        let open = calendar.clone();
        routing.calendars = Calendars::new(move |mic, at| {
            open.phase(mic, jiff::Timestamp::from_millisecond(at.as_millis()).ok()?).is_open()
        });
        let virtual_now = Arc::new(AtomicI64::new(now.as_millis()));
        let live = Live::new(calendar.clone(), MICS.map(str::to_owned).to_vec());
        let markets = Registry::new();
        let clocks = VirtualMarkets { series: MarketSeries::of_used(live), now: virtual_now.clone() };
        markets.add_collector(clocks).context("the clocks of the markets")?;
        let mut around = Surroundings::new(engine_query(engine, db.clone()), db.clone());
        around.calendar = Arc::new(calendar);
        Ok(Pipeline {
            targets: files.targets.iter().map(|(service, labels)| (*service, ingest(labels))).collect(),
            markets,
            now: virtual_now,
            clock: ingest(&files.monitor),
            groups,
            around,
            notifier: Notifier::new(Arc::new(routing), NotifierOptions::default()),
            compacted: now,
            text: Vec::new(),
            db,
        })
    }

    /// Scrapes every target, evaluates every group and answers what is told, as `serve` does it each second.
    ///
    /// # Errors
    /// If the store takes nothing, or a rule fails: both are faults of ours and prove nothing.
    pub fn second(&mut self, second: &sim::Second) -> Result<Vec<Told>> {
        let now = Timestamp::from_millis(second.now / 1_000_000);
        for (service, ingest) in &mut self.targets {
            self.text.clear();
            let fetched = if second.platform.answers(*service) {
                second.encode(*service, &mut self.text);
                Ok((self.text.as_slice(), Format::Text))
            } else {
                Err("no answer".to_owned())
            };
            ingest.scrape(now, fetched, Duration::ZERO)?;
        }
        self.now.store(now.as_millis(), Ordering::Relaxed);
        self.text.clear();
        self.markets.encode(Page::Text004, &mut self.text);
        self.clock
            .scrape(now, Ok((self.text.as_slice(), Format::Text)), Duration::ZERO)
            .context("the clocks of the markets")?;
        for group in &mut self.groups {
            let evaluation = group.evaluate(now, &self.around);
            if let Some(error) = evaluation.store_error {
                bail!("the store took nothing: {error}");
            }
            if let Some(warning) = evaluation.warnings.first() {
                bail!("group {}: {warning}", group.name());
            }
            self.notifier.update(now, &evaluation.alerts);
        }
        let mut told = Vec::new();
        for delivery in self.notifier.poll(now) {
            for alert in &delivery.message.alerts {
                let labels = Labels::from_pairs(alert.labels.iter());
                told.push(Told { labels, firing: alert.status == "firing" });
            }
            self.notifier.delivered(now, delivery.id);
        }
        if now >= self.compacted + COMPACT_EVERY {
            self.db.compact(now).context("the store lets go of old samples")?;
            self.compacted = now;
        }
        Ok(told)
    }

    /// Hides alerts with these labels until `until`, as an operator does before a maintenance.
    ///
    /// # Errors
    /// If there are too many silences already.
    pub fn silence(
        &mut self,
        wanted: &[(&str, &str)],
        comment: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<()> {
        let matcher = |(name, value): &(&str, &str)| SilenceMatcher {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            is_regex: false,
            is_equal: true,
        };
        let silence = Silence {
            id: String::new(),
            matchers: wanted.iter().map(matcher).collect(),
            starts_at: now,
            ends_at: until,
            created_by: "operations".to_owned(),
            comment: comment.to_owned(),
            updated_at: now,
            status: Default::default(),
        };
        self.notifier.set_silence(silence, now).context("silence")?;
        Ok(())
    }

    /// Every alert that is pending or fires.
    pub fn standing(&self, now: Timestamp) -> Vec<Standing> {
        let mut standing = Vec::new();
        for group in &self.groups {
            for (_, _, alerts) in group.rules() {
                for alert in alerts.into_iter().filter(|alert| alert.resolved_at.is_none()) {
                    let view = self.notifier.alert(tradewatch_alert::Fingerprint::of(&alert.labels), now);
                    let by = view.and_then(|view| view.inhibited_by);
                    let by = by.and_then(|by| self.notifier.alert(by, now));
                    standing.push(Standing {
                        labels: alert.labels.clone(),
                        firing: alert.fired_at.is_some(),
                        held_back_by: by.map(|view| view.alert.name().to_owned()),
                    });
                }
            }
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comparison_with_a_number_is_moved_to_where_no_value_gets() {
        let moved = |text: &str| {
            let mut expr = tradewatch_promql::parse(text).expect(text);
            let count = out_of_reach(&mut expr);
            format!("{count}: {expr}")
        };
        let all = [
            moved("a > 2"),
            moved("a <= 2"),
            moved("2 < a"),
            moved("2 == a"),
            moved("(sum(a) == 0 or absent(b)) and on() min_over_time(c[5m]) == 1"),
            moved("a / b > 0.1 and c < 3"),
            moved("a > b"),
        ];
        expect_test::expect![[r#"
            1: a > 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
            1: a <= -1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
            1: 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 < a
            1: 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 == a
            2: (sum(a) == 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 or absent(b)) and on () min_over_time(c[5m]) == 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
            2: a / b > 1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 and c < -1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
            0: a > b"#]]
        .assert_eq(&all.join("\n"));
    }
}
