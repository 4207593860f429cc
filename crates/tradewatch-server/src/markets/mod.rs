//! The calendar that is in force: the committed tables, the overlay file, and what people said since.
//!
//! One handle is shared by all who ask: rules, routes, series, pages. A change holds for all of them at once.

mod facts;
mod series;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use tradewatch_alert::rules::{Group, RuleSpec};
use tradewatch_calendar::{Calendar, HORIZON_WARNING, Overlay};
use tradewatch_tsdb::{Matcher, Timestamp};

use crate::error::Error;
use facts::Facts;
pub use facts::{Asked, FACTS_MAX, Fact, HALT_MAX};
pub use series::{HALTED_SERIES_MAX, MarketSeries};

/// The calendar in force, shared; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<RwLock<InForce>>);

#[derive(Debug, Default)]
struct InForce {
    calendar: Arc<Calendar>,
    used: Vec<String>,
}

impl Live {
    /// A handle on a calendar; `used` are the venues that are spoken of, the first one gives the time zone.
    pub fn new(calendar: Calendar, used: Vec<String>) -> Live {
        Live(Arc::new(RwLock::new(InForce { calendar: Arc::new(calendar), used })))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, InForce> {
        self.0.read().unwrap_or_else(|broken| broken.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, InForce> {
        self.0.write().unwrap_or_else(|broken| broken.into_inner())
    }

    /// The calendar as it stands.
    pub fn calendar(&self) -> Arc<Calendar> {
        self.read().calendar.clone()
    }

    /// The venues in use: those that the options name, and those that rules and routes ask for.
    pub fn used(&self) -> Vec<String> {
        self.read().used.clone()
    }
}

/// The calendar with what lies over it.
#[derive(Debug)]
pub struct Markets {
    live: Live,
    base: Calendar,
    layers: Mutex<Layers>,
}

#[derive(Debug)]
struct Layers {
    file: Overlay,
    facts: Facts,
}

impl Markets {
    /// Opens `calendar.jsonl` in the data directory; without one, facts are forgotten at the end.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(base: Calendar, mics: &[String], folder: Option<&Path>) -> Result<Markets, Error> {
        let live = Live::new(base.clone(), mics.to_vec());
        let layers = Mutex::new(Layers { file: Overlay::default(), facts: Facts::open(folder)? });
        let markets = Markets { live, base, layers };
        markets.put_in_force(&markets.layers());
        Ok(markets)
    }

    fn layers(&self) -> std::sync::MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// The handle on what is in force.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The calendar as it stands.
    pub fn calendar(&self) -> Arc<Calendar> {
        self.live.calendar()
    }

    /// Takes over what a configuration says: the facts of its overlay file, and the venues in use.
    pub fn configure(&self, file: Overlay, used: Vec<String>) {
        let mut layers = self.layers();
        layers.file = file;
        self.put_in_force(&layers);
        self.live.write().used = used;
    }

    /// The facts of the overlay file, and those that people added.
    pub fn facts(&self) -> (Overlay, Vec<Fact>) {
        let layers = self.layers();
        (layers.file.clone(), layers.facts.all().to_vec())
    }

    /// Lays one more fact over the calendar; in force at once.
    ///
    /// # Errors
    /// It says nothing that can be, there are too many, or the disk does not take it.
    pub fn add(&self, asked: &Asked, now: Timestamp) -> Result<Fact, Error> {
        let mut layers = self.layers();
        let entry = asked.entry(&self.base, now)?;
        let fact = layers.facts.add(entry, asked, now)?;
        self.put_in_force(&layers);
        Ok(fact)
    }

    /// Takes back a fact that somebody added.
    ///
    /// # Errors
    /// There is none of that number, or the disk does not take it.
    pub fn remove(&self, id: u64) -> Result<Fact, Error> {
        let mut layers = self.layers();
        let fact = layers.facts.remove(id)?;
        self.put_in_force(&layers);
        Ok(fact)
    }

    fn put_in_force(&self, layers: &Layers) {
        let mut overlay = layers.file.clone();
        for fact in layers.facts.all() {
            // What was added was checked; a file of the largest size leaves no room, which is said.
            if let Err(error) = overlay.push(fact.entry.clone()) {
                tracing::error!("the calendar goes on without {}: {error}", fact.entry);
            }
        }
        self.live.write().calendar = Arc::new(self.base.clone().with_overlay(overlay));
    }
}

/// Reads an overlay file.
///
/// # Errors
/// It cannot be read, or the first line that is no fact: file, line, column, what belongs there.
pub fn read_overlay(path: &Path) -> Result<Overlay, Error> {
    let text = crate::config::read_limited(path)?;
    Overlay::parse(&text).map_err(|error| {
        Error::config(format!("{}:{}:{}: {}", path.display(), error.line, error.column, error.message()))
    })
}

/// The venues that are named: by the options, by rules (label `trading_calendar`, or a matcher of `mic` on a series of
/// the market), by the routes' time intervals. Only those that are known, each once, the options' first.
pub fn used<'a>(
    mics: &[String],
    rules: impl Iterator<Item = &'a RuleSpec>,
    routes: &tradewatch_alert::route::Config,
    known: &[&str],
) -> Vec<String> {
    let mut named: BTreeSet<&str> = routes.trading_calendars().collect();
    for rule in rules {
        named.extend(rule.trading_calendar());
        for selector in rule.expr.selectors() {
            let matchers = &selector.selector.matchers;
            let market = matchers
                .iter()
                .any(|m| m.name() == "__name__" && m.value().starts_with("tradewatch_market_"));
            let on_mic: Vec<&Matcher> = matchers.iter().filter(|m| m.name() == "mic").collect();
            if market && !on_mic.is_empty() {
                named.extend(known.iter().copied().filter(|mic| on_mic.iter().all(|m| m.matches(mic))));
            }
        }
    }
    let options: Vec<&str> = mics.iter().map(String::as_str).collect();
    let more = named.into_iter().filter(|mic| !options.contains(mic));
    let all = options.iter().copied().chain(more);
    all.filter(|mic| known.contains(mic)).map(str::to_owned).collect()
}

/// What should be said about tables that end soon or have ended: the venues in use, the nearest end first.
pub fn ending(calendar: &Calendar, used: &[String], now: Timestamp) -> Vec<String> {
    let Ok(at) = jiff::Timestamp::from_millisecond(now.as_millis()) else { return Vec::new() };
    let left = used.iter().filter_map(|mic| Some((calendar.horizon_left(mic, at)?, mic)));
    let mut soon: Vec<_> = left.filter(|(left, _)| *left < HORIZON_WARNING).collect();
    soon.sort();
    let line = |(left, mic): (jiff::SignedDuration, &String)| {
        let days = left.as_hours() / 24;
        let when = if left.is_negative() {
            format!("ended {} days ago", -days)
        } else {
            format!("ends in {days} days")
        };
        format!(
            "the calendar of {mic} {when}: beyond it nobody knows its sessions, `for` counts all time and nothing is muted; take a release with newer tables"
        )
    };
    soon.into_iter().map(line).collect()
}

/// The rules of groups.
pub fn rules_of(groups: &[Group]) -> impl Iterator<Item = &RuleSpec> {
    groups.iter().flat_map(|group| group.rules().map(|(spec, ..)| spec))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tradewatch_alert::rules::RuleFile;

    use super::*;

    #[test]
    fn venues_are_in_use_that_somebody_names() {
        let text = r#"groups: [{name: g, rules: [
          {alert: A, expr: up == 0, labels: {trading_calendar: XASX}},
          {alert: B, expr: up == 0, labels: {trading_calendar: '{{ $labels.mic }}'}},
          {alert: C, expr: 'tradewatch_market_open{mic="XTKS"} == 1 and on() tradewatch_market_phase{mic=~"XP.."} == 1'},
          {alert: D, expr: 'orders_total{mic="XLON"} > 0 and on() tradewatch_market_open == 1'}]}]"#;
        let (file, errors) = RuleFile::parse("r.yml", text);
        assert!(errors.is_empty(), "{errors:?}");
        let group = Group::new("r.yml", &file.groups[0], Duration::from_secs(60), Duration::ZERO);
        let routes = tradewatch_alert::route::Config::terminal();
        let calendar = Calendar::new();
        let mics = ["XNYS".to_owned(), "NOPE".to_owned(), "XASX".to_owned()];
        let groups = [group];
        assert_eq!(
            used(&mics, rules_of(&groups), &routes, &calendar.mics()),
            ["XNYS", "XASX", "XPAR", "XTKS"]
        );
    }

    #[test]
    fn a_table_that_ends_within_sixty_days_is_told_with_the_days() {
        let calendar = Calendar::new();
        let used = ["XNYS", "XBOM", "CRYPTO", "XSES"].map(str::to_owned);
        let told = |at: &str| {
            let at: jiff::Timestamp = at.parse().expect("a time");
            ending(&calendar, &used, Timestamp::from_millis(at.as_millisecond()))
        };
        assert_eq!(told("2026-10-01T00:00:00Z"), Vec::<String>::new());
        let soon = told("2026-11-20T12:00:00Z");
        assert_eq!(soon.len(), 2, "{soon:?}");
        assert!(soon.iter().all(|line| line.contains("ends in 41 days")), "{soon:?}");
        let over = told("2027-01-10T12:00:00Z");
        assert!(over.len() == 2 && over[0].contains("ended 9 days ago"), "{over:?}");
    }
}
