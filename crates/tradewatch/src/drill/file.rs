//! `drills.yml`: what each alert is proven with.
//!
//! A drill names faults of the world, how long they last, what has to fire by when and clear by when, and what may
//! follow besides. Whatever else fires fails the drill. A drill that expects nothing shows that a fault pages nobody.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_saphyr::{Location, Spanned};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tradewatch_platforms::trading_platform::ServiceName;

/// Where a platform's drills stand in its folder.
pub const DRILLS: &str = "drills.yml";
/// Drills of one platform; more are refused.
const DRILLS_MAX: usize = 1_000;
/// The longest that one of the times of a drill may be.
const TIME_MAX: Duration = Duration::from_secs(86_400);

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillFile {
    /// A platform that is marked so refuses every drill.
    #[serde(default)]
    pub production: bool,
    /// The drills, in the order in which they are told.
    pub drills: Vec<Drill>,
}

/// One drill.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Names it on the command line and in reports.
    pub name: Spanned<String>,
    /// What happens, in one sentence.
    pub about: String,
    /// Normal trading before the fault; what fires in it fails the drill.
    #[serde(default = "settle", deserialize_with = "time")]
    pub settle: Duration,
    /// How long the faults last.
    #[serde(rename = "for", deserialize_with = "time")]
    pub lasts: Duration,
    /// How long it is watched after the end of the faults where nothing is expected.
    #[serde(default = "rest", deserialize_with = "time")]
    pub rest: Duration,
    /// Whether it needs an open market: an alert that keeps to the session, or the orders of one.
    #[serde(default)]
    pub session: bool,
    /// Settings of the platform that differ, as in a service's configuration file.
    #[serde(default)]
    pub config: Json,
    /// What goes wrong.
    pub faults: Vec<Spanned<Fault>>,
    /// What has to be told; nothing if the fault must page nobody.
    pub expect: Vec<Expectation>,
    /// What may be told besides, because it follows from the fault.
    #[serde(default)]
    pub may: Vec<Spanned<String>>,
}

/// One thing that goes wrong. Exactly one of the kinds is given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// A service ends without a word; it is started again.
    pub kill: Option<String>,
    /// A service ends without a word and is started at once.
    pub restart: Option<String>,
    /// A service keeps its port and answers nothing.
    pub hang: Option<String>,
    /// Another program holds the database.
    pub lock_database: Option<bool>,
    /// A fault of the market feed, as its `/control/faults` takes it.
    pub feed: Option<Json>,
    /// A fault of the broker, as its `/control/faults` takes it.
    pub broker: Option<Json>,
    /// What lies where the signal service looks for its model.
    pub model: Option<ModelFault>,
    /// A request that an operator or a client could send.
    pub post: Option<Post>,
    /// An order at the broker that the gateway knows nothing of.
    pub order_past_the_gateway: Option<String>,
    /// A command of the user's own, by its name in the file of hooks; live only.
    pub hook: Option<String>,
    /// So long after the first.
    #[serde(deserialize_with = "time", skip_serializing)]
    pub after: Duration,
    /// Again and again, until the faults are taken away.
    #[serde(deserialize_with = "some_time", skip_serializing)]
    pub every: Option<Duration>,
}

/// What happens to the model file.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFault {
    /// It is gone.
    Missing,
    /// One byte of it is another.
    Damaged,
}

/// A request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// To which service.
    pub to: String,
    /// To which path of it.
    pub path: String,
    /// With which body.
    #[serde(default)]
    pub body: Json,
    /// The request that takes it back, if it has to be.
    #[serde(default)]
    pub undo: Option<Undo>,
}

/// The request that takes another one back; it goes to the same service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// To which path.
    pub path: String,
    /// With which body.
    #[serde(default)]
    pub body: Json,
}

/// An alert that has to fire and to clear.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Its name.
    pub alert: Spanned<String>,
    /// Labels that it has, some of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// From the fault to the notification.
    #[serde(deserialize_with = "time")]
    pub fires_within: Duration,
    /// From the end of the fault to the notification that it is over.
    #[serde(deserialize_with = "time")]
    pub clears_within: Duration,
    /// The alert that rightly holds it back: it fires, is not told, and clears.
    #[serde(default)]
    pub held_back_by: Option<Spanned<String>>,
}

fn settle() -> Duration {
    Duration::from_secs(30)
}

fn rest() -> Duration {
    Duration::from_secs(60)
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let time = crate::duration(&text).map_err(serde::de::Error::custom)?;
    if time > TIME_MAX {
        return Err(serde::de::Error::custom(format!("{text:?} is longer than a day")));
    }
    Ok(time)
}

fn some_time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    time(from).map(Some)
}

impl DrillFile {
    /// Reads and checks a file; `alerts` are the names of the platform's alerting rules, where they are known.
    ///
    /// # Errors
    /// One line: file, line and column, what is wrong, and what to write instead.
    pub fn load(path: &Path, alerts: Option<&[String]>) -> Result<DrillFile> {
        let text = tradewatch_server::config::read_limited(path)?;
        let file: DrillFile = tradewatch_server::config::from_yaml(&text, path)?;
        if file.drills.len() > DRILLS_MAX {
            bail!(
                "{}: {} drills are more than the {DRILLS_MAX} that are read",
                path.display(),
                file.drills.len()
            );
        }
        let mut names = BTreeSet::new();
        for drill in &file.drills {
            let name = &drill.name;
            let fail = |at: Location, why: String| {
                bail!("{}:{}:{}: drill {:?}: {why}", path.display(), at.line(), at.column(), name.value)
            };
            if !names.insert(&name.value) {
                fail(name.referenced, "the name is taken twice; give each drill its own".to_owned())?;
            }
            if drill.faults.is_empty() {
                fail(
                    name.referenced,
                    "`faults` is empty, so nothing would happen; name at least one".to_owned(),
                )?;
            }
            for fault in &drill.faults {
                if let Err(error) = fault.value.check() {
                    fail(fault.referenced, format!("{error:#}"))?;
                }
            }
            let holding = drill.expect.iter().filter_map(|expected| expected.held_back_by.as_ref());
            let expected = drill.expect.iter().map(|expected| &expected.alert);
            for alert in expected.chain(holding).chain(&drill.may) {
                let Some(alerts) = alerts else { break };
                if !alerts.contains(&alert.value) {
                    let near = tradewatch_catalog::nearest(&alert.value, alerts.iter().map(String::as_str));
                    let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                    fail(
                        alert.referenced,
                        format!("no rule of the platform is called {:?}{hint}", alert.value),
                    )?;
                }
            }
        }
        Ok(file)
    }

    /// Refuses a platform that is marked as production.
    ///
    /// # Errors
    /// It is.
    pub fn refuse_production(&self, path: &Path) -> Result<()> {
        if self.production {
            bail!(
                "{} is marked `production: true`: drills do real harm and are refused; drill a platform of your own",
                path.display()
            );
        }
        Ok(())
    }

    /// The alerts that a drill proves.
    pub fn drilled(&self) -> BTreeSet<&str> {
        self.drills
            .iter()
            .flat_map(|drill| &drill.expect)
            .map(|expected| expected.alert.value.as_str())
            .collect()
    }

    /// Those of `alerts` that no drill proves.
    pub fn unproven(&self, alerts: &[String]) -> Vec<String> {
        let drilled = self.drilled();
        alerts.iter().filter(|alert| !drilled.contains(alert.as_str())).cloned().collect()
    }
}

impl Drill {
    /// How long it takes at most: until the last deadline.
    pub fn length(&self) -> Duration {
        let fires = self.expect.iter().map(|one| one.fires_within).max().unwrap_or_default();
        let clears = self.expect.iter().map(|one| one.clears_within).max().unwrap_or(self.rest);
        self.settle + self.lasts.max(fires) + clears
    }
}

impl Post {
    /// The body of the request that is sent `since` seconds after the first: `{n}` in it is that number, so that each
    /// of many requests is another one.
    ///
    /// # Errors
    /// Never for what can be read: the number stands within a text.
    pub fn body_at(&self, since: u64) -> Result<Json> {
        let body = if self.body.is_null() { Json::Object(serde_json::Map::new()) } else { self.body.clone() };
        Ok(serde_json::from_str(&body.to_string().replace("{n}", &since.to_string()))?)
    }
}

impl Fault {
    /// Whether it is to happen `since` seconds after the first.
    pub fn is_due(&self, since: u64) -> bool {
        match (since.checked_sub(self.after.as_secs()), self.every) {
            (Some(0), _) => true,
            (Some(since), Some(every)) => since % every.as_secs().max(1) == 0,
            _ => false,
        }
    }

    fn check(&self) -> Result<()> {
        let kinds = [
            self.kill.is_some(),
            self.restart.is_some(),
            self.hang.is_some(),
            self.lock_database.is_some(),
            self.feed.is_some(),
            self.broker.is_some(),
            self.model.is_some(),
            self.post.is_some(),
            self.order_past_the_gateway.is_some(),
            self.hook.is_some(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            bail!(
                "a fault is exactly one of kill, restart, hang, lock_database, feed, broker, model, post, order_past_the_gateway, hook"
            );
        }
        let services = [
            self.kill.as_ref(),
            self.restart.as_ref(),
            self.hang.as_ref(),
            self.post.as_ref().map(|post| &post.to),
        ];
        for name in services.into_iter().flatten() {
            service(name)?;
        }
        if let Some(fault) = &self.feed {
            let _: tradewatch_platforms::feed::Fault =
                serde_json::from_value(fault.clone()).context("not a fault of the feed")?;
        }
        if let Some(fault) = &self.broker {
            let fault: tradewatch_platforms::broker::Fault =
                serde_json::from_value(fault.clone()).context("not a fault of the broker")?;
            if let Some(problem) = fault.problem() {
                bail!("fault of the broker: {problem}");
            }
        }
        match self.order_past_the_gateway.as_deref() {
            None | Some("buy" | "sell") => Ok(()),
            Some(other) => bail!("order_past_the_gateway is {other:?}; write buy or sell"),
        }
    }
}

/// A service by its name.
///
/// # Errors
/// If there is none of that name; lists those that there are.
pub fn service(name: &str) -> Result<ServiceName> {
    ServiceName::parse(name).with_context(|| {
        let known = ServiceName::ALL.map(ServiceName::as_str).join(", ");
        format!("no service is called {name:?}; there are {known}")
    })
}
