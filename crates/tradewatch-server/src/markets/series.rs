//! What the market does, as series that any rule can join.

use tradewatch_calendar::{Calendar, Phase};
use tradewatch_metrics::{Collected, Collector, Descriptor, LabelDescriptor, MetricKind};
use tradewatch_tsdb::Timestamp;

use super::Live;
use crate::clock;

/// Halted symbols of a venue that are exposed at a time, in the order of their names; the rest is left out. Where more stand
/// still, the venue does: halt `*`.
pub const HALTED_SERIES_MAX: usize = 300;
/// Venues that are exposed: more than are known.
const VENUES_MAX: usize = 32;

/// Exposes the market at each scrape: of the venues in use, or of those that are named.
pub struct MarketSeries {
    live: Live,
    only: Option<Vec<String>>,
    families: Families,
}

#[derive(Clone)]
struct Families {
    open: Descriptor,
    phase: Descriptor,
    since_open: Descriptor,
    to_close: Descriptor,
    halted: Descriptor,
    horizon: Descriptor,
}

impl Families {
    fn new() -> Families {
        let label = |name: &str, budget| LabelDescriptor {
            name: name.to_owned(),
            values: None,
            budget: Some(budget),
        };
        let gauge = |name: &str, more: Option<LabelDescriptor>, help: &str| {
            let mut descriptor =
                Descriptor::new(&format!("tradewatch_market_{name}"), MetricKind::Gauge, help);
            descriptor.labels = std::iter::once(label("mic", VENUES_MAX)).chain(more).collect();
            descriptor
        };
        let phases = LabelDescriptor {
            name: "phase".to_owned(),
            values: Some(Phase::ALL.iter().map(|phase| phase.as_str().to_owned()).collect()),
            budget: None,
        };
        Families {
            open: gauge(
                "open",
                None,
                "1 while the venue is open, 0 while it is closed; absent where that is not known.",
            ),
            phase: gauge("phase", Some(phases), "1 for what the venue does, 0 for what it does not."),
            since_open: gauge(
                "seconds_since_open",
                None,
                "Time since trading began, or began again after a break; absent while there is none, infinite where it never closes.",
            ),
            to_close: gauge(
                "seconds_to_close",
                None,
                "Time until trading ends, for good or for a break; absent while there is none, infinite where it never closes.",
            ),
            halted: gauge(
                "halted",
                Some(label("symbol", HALTED_SERIES_MAX)),
                "1 while trading of the symbol is halted, of * the whole venue; absent otherwise.",
            ),
            horizon: gauge(
                "horizon_seconds",
                None,
                "Time until the table of sessions ends; negative once nobody knows them; absent where none is needed.",
            ),
        }
    }
}

impl MarketSeries {
    /// Of the venues in use.
    pub fn of_used(live: Live) -> MarketSeries {
        MarketSeries { live, only: None, families: Families::new() }
    }

    /// Of these venues.
    pub fn of(live: Live, mics: Vec<String>) -> MarketSeries {
        MarketSeries { only: Some(mics), ..MarketSeries::of_used(live) }
    }

    /// The series as they stand at `now`, for callers that have a clock of their own.
    pub fn collect_at(&self, out: &mut Collected, now: Timestamp) {
        let Ok(at) = jiff::Timestamp::from_millisecond(now.as_millis()) else { return };
        let calendar = self.live.calendar();
        let mics = self.only.clone().unwrap_or_else(|| self.live.used());
        for mic in mics.iter().filter(|mic| calendar.horizon(mic).is_some()).take(VENUES_MAX) {
            self.venue(out, &calendar, mic, at);
        }
    }

    fn venue(&self, out: &mut Collected, calendar: &Calendar, mic: &str, at: jiff::Timestamp) {
        let families = &self.families;
        let own = [("mic", mic)];
        let standing = calendar.standing(mic, at);
        let number = |open| f64::from(u8::from(open));
        // Unknown is not closed: rules must not take silence for a shut market.
        if let Some(open) = standing.phase.is_open() {
            out.family(&families.open).sample(&own, number(open));
        }
        for phase in Phase::ALL {
            let labels = [("mic", mic), ("phase", phase.as_str())];
            out.family(&families.phase).sample(&labels, number(phase == standing.phase));
        }
        for (family, seconds) in [
            (&families.since_open, standing.seconds_since_open(at)),
            (&families.to_close, standing.seconds_to_close(at)),
        ] {
            if let Some(seconds) = seconds {
                out.family(family).sample(&own, seconds);
            }
        }
        if let Some(left) = calendar.horizon_left(mic, at) {
            out.family(&families.horizon).sample(&own, left.as_secs_f64());
        }
        let mut halted: Vec<&str> =
            calendar.halts(mic, at).map(|halt| halt.symbol.as_deref().unwrap_or("*")).collect();
        halted.sort_unstable();
        halted.dedup();
        for symbol in halted.into_iter().take(HALTED_SERIES_MAX) {
            out.family(&families.halted).sample(&[("mic", mic), ("symbol", symbol)], 1.0);
        }
    }
}

impl Collector for MarketSeries {
    fn families(&self) -> Vec<Descriptor> {
        let Families { open, phase, since_open, to_close, halted, horizon } = self.families.clone();
        vec![open, phase, since_open, to_close, halted, horizon]
    }

    fn collect(&self, out: &mut Collected) {
        self.collect_at(out, clock::now());
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tradewatch_calendar::Overlay;
    use tradewatch_metrics::{Format, Registry};

    use super::*;

    /// The series as they stand at an instant.
    struct At(MarketSeries, Timestamp);

    impl Collector for At {
        fn families(&self) -> Vec<Descriptor> {
            self.0.families()
        }

        fn collect(&self, out: &mut Collected) {
            self.0.collect_at(out, self.1);
        }
    }

    /// What is not zero, without the horizon and the prefix of the names.
    fn shown(overlay: &str, mics: &[&str], at: &str) -> String {
        let body = page(overlay, mics, at);
        let lines =
            body.lines().filter(|line| line.starts_with("tradewatch_market") && !line.ends_with("} 0"));
        let lines = lines.filter(|line| !line.starts_with("tradewatch_market_horizon"));
        lines.map(|line| format!("{}\n", line.trim_start_matches("tradewatch_market_"))).collect()
    }

    fn page(overlay: &str, mics: &[&str], at: &str) -> String {
        let calendar = Calendar::new().with_overlay(Overlay::parse(overlay).expect("well-formed"));
        let live = Live::new(calendar, mics.iter().map(|mic| (*mic).to_owned()).collect());
        let at: jiff::Timestamp = at.parse().expect("a time");
        let registry = Registry::new();
        let now = Timestamp::from_millis(at.as_millisecond());
        registry.add_collector(At(MarketSeries::of_used(live), now)).expect("the declaration is right");
        let mut body = Vec::new();
        registry.encode(Format::Text004, &mut body);
        String::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn the_edges_of_a_session_are_half_open_to_the_millisecond() {
        let at = |at| shown("", &["XNYS", "NOPE"], at);
        expect![[r#"
            phase{mic="XNYS",phase="pre"} 1
        "#]]
        .assert_eq(&at("2026-11-20T14:29:59.999Z"));
        expect![[r#"
            open{mic="XNYS"} 1
            phase{mic="XNYS",phase="open"} 1
            seconds_to_close{mic="XNYS"} 23400
        "#]]
        .assert_eq(&at("2026-11-20T14:30:00Z"));
        expect![[r#"
            open{mic="XNYS"} 1
            phase{mic="XNYS",phase="open"} 1
            seconds_since_open{mic="XNYS"} 23399.999
            seconds_to_close{mic="XNYS"} 0.001
        "#]]
        .assert_eq(&at("2026-11-20T20:59:59.999Z"));
        expect![[r#"
            phase{mic="XNYS",phase="post"} 1
        "#]]
        .assert_eq(&at("2026-11-20T21:00:00Z"));
        assert!(page("", &["XNYS"], "2026-11-20T14:30:00Z").contains("seconds_since_open{mic=\"XNYS\"} 0\n"));
        // An hour earlier in summer; and a half day.
        assert!(at("2026-07-20T13:30:00Z").contains("seconds_to_close{mic=\"XNYS\"} 23400"));
        assert!(at("2026-11-27T17:59:00Z").contains("seconds_to_close{mic=\"XNYS\"} 60"));
    }

    #[test]
    fn what_never_closes_what_is_halted_and_what_nobody_knows() {
        let overlay = "XNYS halt AAPL 2026-11-20T15:00:00Z 2026-11-20T16:00:00Z news\nXNYS halt AAPL 2026-11-20T15:10:00Z - more\nXTKS halt * 2026-11-20T01:00:00Z 2026-11-20T02:00:00Z system";
        expect![[r#"
            halted{mic="XNYS",symbol="AAPL"} 1
            open{mic="XNYS"} 1
            open{mic="CRYPTO"} 1
            phase{mic="XNYS",phase="open"} 1
            phase{mic="CRYPTO",phase="open"} 1
            seconds_since_open{mic="XNYS"} 2700
            seconds_since_open{mic="CRYPTO"} +Inf
            seconds_to_close{mic="XNYS"} 20700
            seconds_to_close{mic="CRYPTO"} +Inf
        "#]]
        .assert_eq(&shown(overlay, &["XNYS", "CRYPTO"], "2026-11-20T15:15:00Z"));
        expect![[r#"
            halted{mic="XTKS",symbol="*"} 1
            phase{mic="XTKS",phase="halted"} 1
        "#]]
        .assert_eq(&shown(overlay, &["XTKS"], "2026-11-20T01:30:00Z"));
        expect![[r#"
            phase{mic="XNYS",phase="unknown"} 1
        "#]]
        .assert_eq(&shown("", &["XNYS"], "2029-11-20T15:15:00Z"));
    }
}
