//! What of a stretch of the calendar is simulated, and where the incidents fall.

use crate::drill::Drill;
use anyhow::{Context, Result, ensure};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use std::collections::{BTreeMap, BTreeSet};
use tradewatch_calendar::{Calendar, Overlay, Session};
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::{Rng, Seed};

/// The venue whose sessions the platform keeps; crypto never rests.
const MIC: &str = "XNYS";
/// A stretch begins with so many minutes in which the platform starts and settles.
const LEAD_MINUTES: i64 = 2;
/// So many minutes before and after each edge of a phase are simulated.
const EDGE_MINUTES: i64 = 10;
/// Rules must forget within this time, and after an opening as much is simulated: then nothing that it set off is left.
pub const MEMORY_MINUTES: i64 = 22;
/// Closed hours without an edge are sampled for so many minutes.
const SAMPLE_MINUTES: i64 = MEMORY_MINUTES;
/// How long a maintenance takes, and the silence that announces it.
const MAINTENANCE_MINUTES: i64 = 10;
/// Days before and after a holiday, a half day or a change of clocks that count as around it.
const AROUND_DAYS: i64 = 7;
/// Incidents keep so far away from the edges of a session, in minutes: there their alerts rightly wait.
const INCIDENT_MARGIN_MINUTES: i64 = 20;

/// How much of the open hours is simulated.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Hours {
    /// Every session from before its opening to after its close, and each night's sample.
    All,
    /// The edges of sessions around holidays, half days and changes of clocks.
    Edges,
}

/// What happens in a stretch besides trading.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// The market as on any day.
    Nothing,
    /// Little moves: a summer's lunch.
    QuietLunch,
    /// Every service is restarted in turn, announced by a silence of its alerts.
    Maintenance,
}

/// Time that is simulated second by second.
#[derive(Clone, PartialEq, Debug)]
pub struct Stretch {
    /// The first second.
    pub from: Timestamp,
    /// The second after the last.
    pub to: Timestamp,
    /// Which kind of time it is; the figures are added up by it.
    pub kind: &'static str,
    /// What happens in it.
    pub happening: Happening,
}

/// A drill's fault at a time of the calendar.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Which drill.
    pub drill: Drill,
    /// When its run begins; the fault follows after its time of normal trading.
    pub from: Timestamp,
}

/// What is simulated.
#[derive(Debug)]
pub struct Plan {
    /// Without incidents: nothing may be told.
    pub stretches: Vec<Stretch>,
    /// Each must be found.
    pub incidents: Vec<Incident>,
    /// The clock of the markets, with the halts of the plan.
    pub clock: MarketClockConfig,
    /// What the calendar holds, for people.
    pub days: BTreeMap<&'static str, usize>,
    /// How long the days are.
    pub passed: SignedDuration,
}

impl Plan {
    /// Plans the days `from..=to`; what is random follows from `seed`.
    ///
    /// # Errors
    /// If the days lie beyond the calendar's horizon, or hold no session though an incident needs one.
    pub fn new(
        from: Date,
        to: Date,
        hours: Hours,
        drills: &[Drill],
        incidents: usize,
        seed: u64,
    ) -> Result<Plan> {
        ensure!(from <= to, "--from {from} is after --to {to}");
        let zone = Calendar::new().zone(MIC).context("the venue has a zone")?;
        let begin = from.to_zoned(zone.clone())?.timestamp();
        let end = to.tomorrow()?.to_zoned(zone.clone())?.timestamp();
        let horizon = Calendar::new().horizon(MIC).context("the venue has a horizon")?;
        ensure!(
            horizon.from <= begin && end <= horizon.to,
            "the sessions of {MIC} are known from {} to {}; choose days within",
            horizon.from,
            horizon.to
        );
        let mut rng = Seed(seed).stream("quiet/plan");
        let sessions: Vec<Session> = Calendar::new().sessions(MIC, begin, end).collect();
        let special = special_days(from, to, &zone, &sessions)?;
        let overlay = halts(&sessions, &mut rng)?;
        let clock = MarketClockConfig::Overlaid { overlay: overlay.clone() };
        let days = count_days(&sessions, &special, &overlay);
        let mut planner = Planner { stretches: Vec::new(), rng, begin, end };
        planner.halts(&overlay)?;
        match hours {
            Hours::All => planner.whole_sessions(&sessions),
            Hours::Edges => planner.edges_around(&sessions, &special),
        }
        planner.changes_of_clocks(&special);
        planner.maintenance(from, to, hours)?;
        planner.closed_hours(&sessions, hours);
        let incidents = planner.incidents(&sessions, drills, incidents)?;
        Ok(Plan { stretches: planner.stretches, incidents, clock, days, passed: end.duration_since(begin) })
    }
}

/// What is special of a day.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Special {
    Holiday(Date),
    HalfDay(Date),
    /// Clocks change at this instant.
    Clocks(Timestamp),
}

/// Holidays, half days, and the changes of clocks in New York and London.
fn special_days(from: Date, to: Date, zone: &TimeZone, sessions: &[Session]) -> Result<BTreeSet<Special>> {
    let mut special = BTreeSet::new();
    let open: BTreeSet<Date> = sessions.iter().map(|session| session.date).collect();
    let mut day = from;
    while day <= to {
        let weekday = day.weekday().to_monday_zero_offset();
        if weekday < 5 && !open.contains(&day) {
            special.insert(Special::Holiday(day));
        }
        day = day.tomorrow()?;
    }
    let short = sessions.iter().filter(|session| session.is_special);
    special.extend(short.map(|session| Special::HalfDay(session.date)));
    let begin = from.to_zoned(zone.clone())?.timestamp();
    let end = to.tomorrow()?.to_zoned(zone.clone())?.timestamp();
    for name in ["America/New_York", "Europe/London"] {
        let zone = TimeZone::get(name).with_context(|| format!("the time zone {name}"))?;
        let changes = zone.following(begin).map(|change| change.timestamp());
        special.extend(changes.take_while(|at| *at < end).map(Special::Clocks));
    }
    Ok(special)
}

fn count_days(
    sessions: &[Session],
    special: &BTreeSet<Special>,
    overlay: &str,
) -> BTreeMap<&'static str, usize> {
    let count = |wanted: fn(&Special) -> bool| special.iter().filter(|one| wanted(one)).count();
    BTreeMap::from([
        ("sessions", sessions.len()),
        ("holidays", count(|one| matches!(one, Special::Holiday(_)))),
        ("half days", count(|one| matches!(one, Special::HalfDay(_)))),
        ("changes of clocks", count(|one| matches!(one, Special::Clocks(_)))),
        ("halts", overlay.lines().count()),
    ])
}

/// One halt of the whole venue, a quarter of an hour in some session.
fn halts(sessions: &[Session], rng: &mut Rng) -> Result<String> {
    if sessions.is_empty() {
        return Ok(String::new());
    }
    let session = &sessions[rng.below(sessions.len() as u64) as usize];
    let minutes = session.close.duration_since(session.open).as_mins();
    let after = 60 + rng.below((minutes - 120).unsigned_abs().max(1)) as i64;
    let from = session.open + after.minutes();
    let line = format!("{MIC} halt * {from} {} market-wide circuit breaker\n", from + 15.minutes());
    Overlay::parse(&line).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(line)
}

struct Planner {
    stretches: Vec<Stretch>,
    rng: Rng,
    begin: Timestamp,
    end: Timestamp,
}

impl Planner {
    fn add(&mut self, from: Timestamp, to: Timestamp, kind: &'static str, happening: Happening) {
        let from = from - LEAD_MINUTES.minutes();
        self.stretches.push(Stretch { from, to, kind, happening });
    }

    fn halts(&mut self, overlay: &str) -> Result<()> {
        let overlay = Overlay::parse(overlay).map_err(|error| anyhow::anyhow!("{error}"))?;
        for entry in overlay.entries() {
            if let tradewatch_calendar::Change::Halt(halt) = &entry.change
                && let Some(to) = halt.to
            {
                let (from, to) = (halt.from - EDGE_MINUTES.minutes(), to + MEMORY_MINUTES.minutes());
                self.add(from, to, "halts", Happening::Nothing);
            }
        }
        Ok(())
    }

    /// Sessions with the minutes around them; lunch by itself, since less happens then.
    fn whole_sessions(&mut self, sessions: &[Session]) {
        for session in sessions {
            let before = session.open - EDGE_MINUTES.minutes();
            let after = session.close + EDGE_MINUTES.minutes();
            let (lunch, back) = (session.open + 150.minutes(), session.open + 210.minutes());
            if back < session.close {
                self.add(before, lunch, "sessions", Happening::Nothing);
                self.add(lunch, back, "quiet lunches", Happening::QuietLunch);
                self.add(back, after, "sessions", Happening::Nothing);
            } else {
                self.add(before, after, "sessions", Happening::Nothing);
            }
            self.extended(session);
        }
    }

    /// The edges of the extended hours.
    fn extended(&mut self, session: &Session) {
        for edge in session.extended.into_iter().flat_map(|(pre, post)| [pre, post]) {
            let (from, to) = (edge - EDGE_MINUTES.minutes(), edge + EDGE_MINUTES.minutes());
            self.add(from, to, "edges of extended hours", Happening::Nothing);
        }
    }

    fn edges_around(&mut self, sessions: &[Session], special: &BTreeSet<Special>) {
        for session in sessions {
            let far = |day: Date| (session.date - day).get_days().abs();
            let near = special.iter().map(|one| match *one {
                Special::Holiday(day) | Special::HalfDay(day) => far(day),
                Special::Clocks(at) => far(at.to_zoned(TimeZone::UTC).date()),
            });
            let Some(near) = near.min().filter(|near| i64::from(*near) <= AROUND_DAYS) else { continue };
            // Both edges of the days beside it; of the others of the two weeks one edge of one day in five.
            let (opening, close) = match near {
                0 | 1 => (true, true),
                _ if !self.rng.chance(0.2) => continue,
                _ => (self.rng.chance(0.5), self.rng.chance(0.5)),
            };
            // Most end when nothing but the slowest rule could still fire; that one has its time once in ten.
            let long = if self.rng.chance(0.1) { MEMORY_MINUTES } else { 12 };
            if opening {
                self.add(
                    session.open - 2.minutes(),
                    session.open + long.minutes(),
                    "openings",
                    Happening::Nothing,
                );
            }
            if close {
                self.add(
                    session.close - 2.minutes(),
                    session.close + 12.minutes(),
                    "closes",
                    Happening::Nothing,
                );
            }
        }
    }

    fn changes_of_clocks(&mut self, special: &BTreeSet<Special>) {
        for one in special {
            if let Special::Clocks(at) = *one {
                let (from, to) = (at - EDGE_MINUTES.minutes(), at + EDGE_MINUTES.minutes());
                self.add(from, to, "changes of clocks", Happening::Nothing);
            }
        }
    }

    /// On a Saturday of each month, at noon UTC; of the first month only where little is simulated.
    fn maintenance(&mut self, from: Date, to: Date, hours: Hours) -> Result<()> {
        let mut day = from;
        let mut last = None;
        while day <= to {
            let month = (day.year(), day.month());
            if day.weekday() == jiff::civil::Weekday::Saturday && last != Some(month) {
                let at = day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC)?.timestamp();
                let until = at + (MAINTENANCE_MINUTES + MEMORY_MINUTES).minutes();
                self.add(at, until, "maintenance", Happening::Maintenance);
                last = Some(month);
                if hours == Hours::Edges {
                    break;
                }
            }
            day = day.tomorrow()?;
        }
        Ok(())
    }

    /// Some minutes of each night, weekend and holiday.
    fn closed_hours(&mut self, sessions: &[Session], hours: Hours) {
        let mut closed_since = self.begin;
        let ends = sessions.iter().map(|session| (session.open, session.close));
        for (open, close) in ends.chain([(self.end, self.end)]) {
            let room = open.duration_since(closed_since).as_mins() - SAMPLE_MINUTES - 2 * EDGE_MINUTES;
            let share = if hours == Hours::All { 1.0 } else { 0.02 };
            if room > 0 && self.rng.chance(share) {
                let after = EDGE_MINUTES + self.rng.below(room.unsigned_abs()) as i64;
                let from = closed_since + after.minutes();
                self.add(from, from + SAMPLE_MINUTES.minutes(), "closed hours", Happening::Nothing);
            }
            closed_since = close;
        }
    }

    /// Drills in turn, each at a random time at which its alert can fire.
    fn incidents(&mut self, sessions: &[Session], drills: &[Drill], count: usize) -> Result<Vec<Incident>> {
        let kinds: Vec<&Drill> = drills.iter().filter(|drill| !drill.expect.is_empty()).collect();
        ensure!(count == 0 || !kinds.is_empty(), "no drill expects an alert, so there are no incidents");
        let mut incidents = Vec::new();
        for (at, drill) in kinds.iter().cycle().take(count).enumerate() {
            let length = drill.length().as_secs() as i64;
            let margin = INCIDENT_MARGIN_MINUTES * 60;
            let (from, room) = if drill.session {
                let roomy = |session: &&Session| session_seconds(session) > length + 2 * margin;
                let roomy: Vec<&Session> = sessions.iter().filter(roomy).collect();
                ensure!(!roomy.is_empty(), "no session is long enough for the drill {}", drill.name.value);
                let session = roomy[self.rng.below(roomy.len() as u64) as usize];
                (session.open + margin.seconds(), session_seconds(session) - length - 2 * margin)
            } else {
                (self.begin, self.end.duration_since(self.begin).as_secs() - length)
            };
            ensure!(room > 0, "incident {at}: the days are too short for the drill {}", drill.name.value);
            let after = self.rng.below(room.unsigned_abs()) as i64;
            incidents.push(Incident { drill: Drill::clone(drill), from: from + after.seconds() });
        }
        Ok(incidents)
    }
}

fn session_seconds(session: &Session) -> i64 {
    session.close.duration_since(session.open).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(hours: Hours) -> Plan {
        let day = |text: &str| text.parse().expect("a date");
        Plan::new(day("2026-01-01"), day("2026-12-31"), hours, &[], 0, 7).expect("a plan")
    }

    #[test]
    fn the_year_holds_what_the_exchange_published() {
        let days = plan(Hours::All).days;
        let wanted =
            [("changes of clocks", 4), ("half days", 2), ("halts", 1), ("holidays", 10), ("sessions", 251)];
        assert_eq!(days, BTreeMap::from(wanted));
    }

    #[test]
    fn the_full_size_holds_every_second_of_every_session_and_the_small_one_both_edges_of_special_days() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (full, edges) = (plan(Hours::All), plan(Hours::Edges));
        let holds = |plan: &Plan, at: Timestamp| {
            plan.stretches.iter().any(|s| s.from + LEAD_MINUTES.minutes() <= at && at < s.to)
        };
        for session in Calendar::new().sessions(MIC, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")) {
            let mut minute = session.open - EDGE_MINUTES.minutes();
            while minute < session.close + EDGE_MINUTES.minutes() {
                assert!(holds(&full, minute), "{minute} is not simulated");
                minute += 10.minutes();
            }
        }
        // The close of a half day, the Monday after a change of clocks, the day after Thanksgiving's eve.
        for edge in
            ["2026-11-27T18:00:00Z", "2026-03-09T13:30:00Z", "2026-11-02T14:30:00Z", "2026-11-25T21:00:00Z"]
        {
            assert!(holds(&edges, at(edge)), "{edge} is not simulated");
        }
        assert!(!holds(&edges, at("2026-06-10T16:00:00Z")), "nothing is special about that Wednesday");
        let count = |plan: &Plan, what| plan.stretches.iter().filter(|one| one.happening == what).count();
        assert_eq!((count(&full, Happening::Maintenance), count(&edges, Happening::Maintenance)), (12, 1));
    }
}
