//! The calendar against the published tables, session by session, and at every edge.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use tradewatch_calendar::{CRYPTO, Calendar, FOREX, HORIZON_WARNING, Overlay, Phase, Session};

/// An interval of time.
type Interval = (Timestamp, Timestamp);
/// Date, open, close, break, and extended hours.
type Listed = (Date, Timestamp, Timestamp, Option<Interval>, Option<Interval>);

/// Every session of the oracle (see `data/NOTICE`) in UTC.
fn oracle(text: &str) -> Vec<Listed> {
    let mut sessions = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (month, hours) = (words.next().expect("month"), words.next().expect("hours"));
        let (regular, extended) = hours.split_once('(').unwrap_or((hours, ""));
        let minutes = |text: &str| -> Vec<i64> {
            let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '-');
            numbers.filter(|n| !n.is_empty()).map(|n| n.parse().expect("minutes")).collect()
        };
        let (regular, extended) = (minutes(regular), minutes(extended));
        for day in words {
            let date: Date = format!("{month}-{day}").parse().expect("date");
            let midnight = date.to_zoned(TimeZone::UTC).expect("in range").timestamp();
            let at = |minutes: i64| midnight + SignedDuration::from_mins(minutes);
            let recess = (regular.len() == 4).then(|| (at(regular[1]), at(regular[2])));
            let extended = (extended.len() == 2).then(|| (at(extended[0]), at(extended[1])));
            sessions.push((date, at(regular[0]), at(regular[regular.len() - 1]), recess, extended));
        }
    }
    sessions.sort();
    sessions
}

const ORACLES: &[(&str, &str, usize)] = &[
    ("BVMF", include_str!("../data/BVMF.txt"), 3225),
    ("CMES", include_str!("../data/CMES.txt"), 3359),
    ("XAMS", include_str!("../data/XAMS.txt"), 3330),
    ("XASX", include_str!("../data/XASX.txt"), 3292),
    ("XBOM", include_str!("../data/XBOM.txt"), 2972),
    ("XETR", include_str!("../data/XETR.txt"), 3300),
    ("XFRA", include_str!("../data/XFRA.txt"), 3300),
    ("XHKG", include_str!("../data/XHKG.txt"), 3201),
    ("XKRX", include_str!("../data/XKRX.txt"), 3193),
    ("XLON", include_str!("../data/XLON.txt"), 3285),
    ("XNAS", include_str!("../data/XNYS.txt"), 3268),
    ("XNYS", include_str!("../data/XNYS.txt"), 3268),
    ("XPAR", include_str!("../data/XPAR.txt"), 3330),
    ("XSES", include_str!("../data/XSES.txt"), 3010),
    ("XSWX", include_str!("../data/XSWX.txt"), 3269),
    ("XTKS", include_str!("../data/XTKS.txt"), 3173),
    ("XTSE", include_str!("../data/XTSE.txt"), 3262),
];

#[test]
fn every_session_of_every_oracle() {
    let calendar = Calendar::new();
    for (mic, text, count) in ORACLES {
        let expected = oracle(text);
        assert_eq!(expected.len(), *count, "{mic}");
        let got: Vec<_> = calendar
            .sessions(mic, Timestamp::MIN, Timestamp::MAX)
            .map(|s| (s.date, s.open, s.close, s.recess, s.extended))
            .collect();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got, expected, "{mic}");
        }
        assert_eq!(got.len(), expected.len(), "{mic}");
        println!("{mic}: {count} of {count} sessions agree with the published table");
    }
}

#[test]
fn the_edges_of_every_session_are_half_open() {
    let calendar = Calendar::new();
    let tick = SignedDuration::from_millis(1);
    for (mic, text, _) in ORACLES {
        for (_, open, close, recess, extended) in oracle(text) {
            let mut parts = vec![(open, close)];
            if let Some((from, to)) = recess {
                parts = vec![(open, from), (to, close)];
                assert_eq!(calendar.phase(mic, from), Phase::Break, "{mic} {from}");
                assert_eq!(calendar.phase(mic, to - tick), Phase::Break, "{mic} {to}");
            }
            if let Some((pre, post)) = extended {
                let edges = [
                    (pre - tick, Phase::Closed),
                    (pre, Phase::Pre),
                    (open - tick, Phase::Pre),
                    (close, Phase::Post),
                    (post - tick, Phase::Post),
                    (post, Phase::Closed),
                ];
                for (at, phase) in edges {
                    assert_eq!(calendar.phase(mic, at), phase, "{mic} {at}");
                }
            }
            for (open, close) in parts {
                assert_eq!(calendar.phase(mic, open), Phase::Open, "{mic} {open}");
                assert_eq!(calendar.phase(mic, close - tick), Phase::Open, "{mic} {close}");
                assert_eq!(calendar.phase(mic, close).is_open(), Some(false), "{mic} {close}");
                assert_eq!(calendar.phase(mic, open - tick).is_open(), Some(false), "{mic} {open}");
                assert_eq!(calendar.next_close(mic, open), Some(close));
                assert_eq!(calendar.next_open(mic, open - tick), Some(open));
                assert_ne!(calendar.next_open(mic, open), Some(open), "the next one is after now");
                let standing = calendar.standing(mic, close - tick);
                assert_eq!(standing.trading, Some((Some(open), Some(close))), "{mic} {open}");
                assert_eq!(standing.seconds_to_close(close - tick), Some(0.001));
                assert_eq!(calendar.standing(mic, close).seconds_since_open(close), None);
                let hour = SignedDuration::from_hours(1);
                assert_eq!(
                    calendar.trading_time(mic, open - tick, open + tick),
                    Some(tick),
                    "{mic} {open}: half of it is trading"
                );
                assert_eq!(calendar.trading_time(mic, open, close), Some(close.duration_since(open)));
                assert!(calendar.trading_time(mic, close - hour, close + tick) <= Some(hour));
            }
        }
    }
}

fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Zoned>().expect("zoned time").timestamp()
}

#[test]
fn known_days_of_new_york() {
    let calendar = Calendar::new();
    let phase = |text: &str| calendar.phase("XNYS", at(&format!("{text}[America/New_York]")));
    // A usual Friday, the weekend, the DST changes (same local hours on both sides).
    assert_eq!(phase("2026-11-20T09:29:59.999-05:00"), Phase::Pre);
    assert_eq!(phase("2026-11-20T09:30-05:00"), Phase::Open);
    assert_eq!(phase("2026-11-21T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2026-03-06T09:30-05:00"), Phase::Open);
    assert_eq!(phase("2026-03-09T09:30-04:00"), Phase::Open);
    assert_eq!(phase("2026-03-09T09:29-04:00"), Phase::Pre);
    // Days of mourning, announced days ahead; a half day; Juneteenth since 2022.
    assert_eq!(phase("2018-12-05T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2025-01-09T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2024-11-29T12:59-05:00"), Phase::Open);
    assert_eq!(phase("2024-11-29T13:00-05:00"), Phase::Post);
    assert_eq!(phase("2024-11-29T17:00-05:00"), Phase::Closed);
    assert_eq!(phase("2021-06-18T12:00-04:00"), Phase::Open);
    assert_eq!(phase("2022-06-20T12:00-04:00"), Phase::Closed);
    // Friday's close to Monday's open.
    let friday = at("2026-11-20T16:00-05:00[America/New_York]");
    assert_eq!(calendar.next_open("XNYS", friday), Some(at("2026-11-23T09:30-05:00[America/New_York]")));
}

#[test]
fn corrections_of_the_published_tables_are_pinned() {
    let calendar = Calendar::new();
    for date in ["2023-09-01", "2023-09-08"] {
        let noon = at(&format!("{date}T11:00+08:00[Asia/Hong_Kong]"));
        assert_eq!(calendar.phase("XHKG", noon), Phase::Closed, "{date}: typhoon or rainstorm");
    }
    // The day between was traded.
    assert_eq!(calendar.phase("XHKG", at("2023-09-07T11:00+08:00[Asia/Hong_Kong]")), Phase::Open);
    // Bombay: both special Saturdays of the source, the Sunday of the budget, and an evening of Muhurat trading.
    let bombay = |text: &str| calendar.phase("XBOM", at(&format!("{text}+05:30[Asia/Kolkata]")));
    for date in ["2024-01-20", "2025-02-01", "2026-02-01", "2020-02-01", "2015-02-28"] {
        assert_eq!(bombay(&format!("{date}T09:15")), Phase::Open, "{date}");
        assert_eq!(bombay(&format!("{date}T15:30")), Phase::Closed, "{date}");
    }
    assert_eq!(bombay("2024-11-01T11:00"), Phase::Closed);
    assert_eq!(bombay("2024-11-01T18:00"), Phase::Open);
    assert_eq!(bombay("2024-11-01T19:00"), Phase::Closed);
    assert_eq!(bombay("2024-05-18T11:00"), Phase::Break);
    assert_eq!(bombay("2024-05-18T12:00"), Phase::Open);
    // Its holidays are published to 2026 only.
    assert_eq!(bombay("2026-12-31T12:00"), Phase::Open);
    assert_eq!(bombay("2027-01-04T12:00"), Phase::Unknown);
}

#[test]
fn breaks_are_without_trading_and_belong_to_their_session() {
    let calendar = Calendar::new();
    let noon = at("2026-11-19T12:00+09:00[Asia/Tokyo]");
    assert_eq!(calendar.phase("XTKS", noon), Phase::Break);
    assert_eq!(calendar.next_open("XTKS", noon), Some(at("2026-11-19T12:30+09:00[Asia/Tokyo]")));
    let session = calendar.session_at("XTKS", noon).expect("within the session");
    assert_eq!(session.open, at("2026-11-19T09:00+09:00[Asia/Tokyo]"));
    // Tokyo trades until 15:30 since 2024-11-05.
    assert_eq!(session.close, at("2026-11-19T15:30+09:00[Asia/Tokyo]"));
    // The maintenance hour of the CME.
    let phase = |text: &str| calendar.phase("CMES", at(&format!("{text}[America/Chicago]")));
    assert_eq!(phase("2026-11-19T15:59-06:00"), Phase::Open);
    assert_eq!(phase("2026-11-19T16:30-06:00"), Phase::Closed);
    assert_eq!(phase("2026-11-19T17:00-06:00"), Phase::Open);
}

#[test]
fn beyond_the_horizon_nothing_is_claimed() {
    let calendar = Calendar::new();
    let horizon = calendar.horizon("XNYS").expect("known");
    assert_eq!(horizon.from, at("2015-01-01T00:00-05:00[America/New_York]"));
    assert_eq!(horizon.to, at("2028-01-01T00:00-05:00[America/New_York]"));
    let tick = SignedDuration::from_millis(1);
    assert_eq!(calendar.phase("XNYS", horizon.from - tick), Phase::Unknown);
    assert_eq!(calendar.phase("XNYS", horizon.from), Phase::Closed);
    assert_eq!(calendar.phase("XNYS", horizon.to - tick), Phase::Closed);
    assert_eq!(calendar.phase("XNYS", horizon.to), Phase::Unknown);
    assert_eq!(calendar.next_open("XNYS", horizon.to - tick), None);
    assert_eq!(calendar.next_open("XNYS", horizon.from - tick), None);
    assert_eq!(calendar.phase("XXXX", horizon.from), Phase::Unknown);
    assert_eq!(calendar.horizon("XXXX"), None);
}

#[test]
fn crypto_never_closes() {
    let calendar = Calendar::new();
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        assert_eq!(calendar.phase(CRYPTO, now), Phase::Open);
        assert_eq!(calendar.next_close(CRYPTO, now), None);
    }
    assert_eq!(calendar.sessions(CRYPTO, Timestamp::MIN, Timestamp::MAX).count(), 0);
}

#[test]
fn a_virtual_session_repeats_from_its_start() {
    let start = at("2026-11-21T03:04:05.678Z[UTC]"); // A Saturday night: the table would say closed.
    let minutes = |n: i64| SignedDuration::from_mins(n);
    let calendar = Calendar::new().with_virtual_session(
        "XNYS",
        start,
        Duration::from_secs(600),
        Duration::from_secs(60),
    );
    let tick = SignedDuration::from_millis(1);
    assert_eq!(calendar.phase("XNYS", start - tick), Phase::Closed);
    for round in [0, 1, 1000] {
        let open = start + minutes(11 * round);
        assert_eq!(calendar.phase("XNYS", open), Phase::Open);
        assert_eq!(calendar.phase("XNYS", open + minutes(10) - tick), Phase::Open);
        assert_eq!(calendar.phase("XNYS", open + minutes(10)), Phase::Closed);
        assert_eq!(calendar.phase("XNYS", open + minutes(11) - tick), Phase::Closed);
        assert_eq!(calendar.next_open("XNYS", open - tick), Some(open));
        assert_eq!(calendar.next_close("XNYS", open), Some(open + minutes(10)));
    }
    let sessions: Vec<Session> = calendar.sessions("XNYS", start + minutes(5), start + minutes(23)).collect();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions[2].open, start + minutes(22));
    assert_eq!(calendar.sessions("XNYS", start - minutes(5), start).count(), 0);
    // The other venues keep their tables, and without a closed time it never closes again.
    assert_eq!(calendar.phase("XNAS", start), Phase::Closed);
    let always = Calendar::new().with_virtual_session("XNYS", start, Duration::from_secs(60), Duration::ZERO);
    assert_eq!(always.phase("XNYS", start + minutes(1)), Phase::Open);
    assert_eq!(always.phase("XNYS", start.checked_add(200_000.hours()).expect("in range")), Phase::Open);
}

#[test]
fn every_venue_is_listed_with_name_and_zone() {
    let calendar = Calendar::new();
    let mics = calendar.mics();
    assert_eq!(mics.len(), ORACLES.len() + 2, "and CRYPTO and FOREX");
    for mic in mics {
        assert!(calendar.name(mic).is_some_and(|name| !name.is_empty()), "{mic}");
        assert!(calendar.zone(mic).is_some() && calendar.horizon(mic).is_some(), "{mic}");
    }
}

#[test]
fn forex_trades_from_sunday_to_friday_in_new_york() {
    let calendar = Calendar::new();
    let phase = |text: &str| calendar.phase(FOREX, at(&format!("{text}[America/New_York]")));
    assert_eq!(phase("2026-11-20T16:59:59.999-05:00"), Phase::Open);
    assert_eq!(phase("2026-11-20T17:00-05:00"), Phase::Closed);
    assert_eq!(phase("2026-11-22T16:59:59.999-05:00"), Phase::Closed);
    assert_eq!(phase("2026-11-22T17:00-05:00"), Phase::Open);
    assert_eq!(phase("2026-11-25T03:00-05:00"), Phase::Open);
    // The clocks change on a Sunday morning: the week begins at 17:00 of the new time.
    assert_eq!(phase("2026-03-08T16:59-04:00"), Phase::Closed);
    assert_eq!(phase("2026-03-08T17:00-04:00"), Phase::Open);
    let saturday = at("2026-11-21T12:00-05:00[America/New_York]");
    assert_eq!(calendar.next_open(FOREX, saturday), Some(at("2026-11-22T17:00-05:00[America/New_York]")));
    assert_eq!(calendar.next_close(FOREX, saturday), Some(at("2026-11-27T17:00-05:00[America/New_York]")));
    // Seven days at any phase of the week hold five of trading.
    for hours in 0..168 {
        let from = saturday + SignedDuration::from_hours(hours);
        let time = calendar.trading_time(FOREX, from, from + SignedDuration::from_hours(168));
        assert_eq!(time, Some(SignedDuration::from_hours(120)));
    }
}

#[test]
fn trading_time_is_counted_over_nights_weekends_and_breaks() {
    let calendar = Calendar::new();
    let hours = |n: i64| Some(SignedDuration::from_hours(n));
    let friday = at("2026-11-20T15:00-05:00[America/New_York]");
    let monday = at("2026-11-23T10:30-05:00[America/New_York]");
    assert_eq!(calendar.trading_time("XNYS", friday, monday), hours(2));
    assert_eq!(calendar.trading_time(CRYPTO, friday, monday), Some(monday.duration_since(friday)));
    assert_eq!(calendar.trading_time("XNYS", monday, friday), hours(0));
    let (morning, evening) =
        (at("2026-11-19T08:00+09:00[Asia/Tokyo]"), at("2026-11-19T18:00+09:00[Asia/Tokyo]"));
    assert_eq!(calendar.trading_time("XTKS", morning, evening), Some(SignedDuration::from_mins(330)));
    let end = calendar.horizon("XNYS").expect("known").to;
    assert_eq!(calendar.trading_time("XNYS", end - SignedDuration::from_hours(1), end), hours(0));
    assert_eq!(calendar.trading_time("XNYS", friday, end + SignedDuration::from_secs(1)), None);
    assert_eq!(calendar.trading_time("XXXX", friday, monday), None);
}

#[test]
fn the_end_of_a_table_is_announced() {
    let calendar = Calendar::new();
    let (soon, later) = (at("2026-11-05T00:00Z[UTC]"), at("2026-10-30T00:00Z[UTC]"));
    assert!(calendar.horizon_left("XBOM", soon).is_some_and(|left| left < HORIZON_WARNING));
    assert!(calendar.horizon_left("XBOM", later).is_some_and(|left| left > HORIZON_WARNING));
    assert_eq!(calendar.horizon_left(CRYPTO, soon), None);
    assert_eq!(calendar.horizon_left("XXXX", soon), None);
}

#[test]
fn extended_hours_are_known_where_a_source_has_them() {
    let calendar = Calendar::new();
    let known: Vec<&str> =
        calendar.mics().into_iter().filter(|mic| calendar.knows_extended_hours(mic)).collect();
    assert_eq!(known, [CRYPTO, FOREX, "XNAS", "XNYS"]);
}

#[test]
fn an_overlay_closes_shortens_opens_and_halts() {
    let text = "\
# announced on 2026-11-19
XNYS closed 2026-11-23 day of mourning
XNYS hours 2026-11-24 09:30-13:00 storm
XNYS hours 2026-11-28 10:00-12:00 Saturday test session
XNYS halt AAPL 2026-11-20T10:31:00-05:00 2026-11-20T10:36:00-05:00 LULD pause
XNYS halt * 2026-11-20T11:00:00-05:00 2026-11-20T11:15:00-05:00 level 1 circuit breaker
CMES halt ESZ6 2026-11-20T11:00:00-05:00 - end not known
";
    let overlay = Overlay::parse(text).expect("well-formed");
    assert_eq!(Overlay::parse(&overlay.to_string()).expect("printed"), overlay);
    let plain = Calendar::new();
    let calendar = plain.clone().with_overlay(overlay);
    let phase = |text: &str| calendar.phase("XNYS", at(&format!("{text}-05:00[America/New_York]")));
    assert_eq!(phase("2026-11-23T12:00"), Phase::Closed);
    assert_eq!(phase("2026-11-24T12:59"), Phase::Open);
    assert_eq!(phase("2026-11-24T13:00"), Phase::Closed);
    assert_eq!(phase("2026-11-28T10:00"), Phase::Open);
    assert_eq!(phase("2026-11-20T10:59:59.999"), Phase::Open);
    assert_eq!(phase("2026-11-20T11:00"), Phase::Halted);
    assert_eq!(phase("2026-11-20T11:15"), Phase::Open);
    let (from, to) =
        (at("2026-11-20T10:30-05:00[America/New_York]"), at("2026-11-24T10:30-05:00[America/New_York]"));
    // Friday from 10:30 without the quarter of an hour, nothing on Monday, Tuesday until 10:30.
    assert_eq!(calendar.trading_time("XNYS", from, to), Some(SignedDuration::from_mins(330 - 15 + 60)));
    assert_eq!(plain.trading_time("XNYS", from, to), Some(SignedDuration::from_mins(330 + 390 + 60)));
    let paused = at("2026-11-20T10:33-05:00[America/New_York]");
    assert!(calendar.is_halted("XNYS", "AAPL", paused) && !calendar.is_halted("XNYS", "MSFT", paused));
    assert!(!calendar.is_halted("XNAS", "AAPL", paused));
    assert!(!calendar.is_halted("XNYS", "AAPL", paused + SignedDuration::from_mins(3)));
    assert!(calendar.is_halted("XNYS", "MSFT", at("2026-11-20T11:05-05:00[America/New_York]")));
    assert!(calendar.is_halted("CMES", "ESZ6", at("2027-11-20T11:05-05:00[America/New_York]")));
    // Laid over once more, the earlier facts are gone.
    let again = calendar.with_overlay(Overlay::default());
    assert_eq!(again.sessions("XNYS", from, to).count(), plain.sessions("XNYS", from, to).count());
}

#[test]
fn a_bad_line_of_an_overlay_names_its_place_and_what_belongs_there() {
    for (text, expected) in [
        (
            "\n# fine\nXXXX closed 2026-11-23 why",
            "line 3, column 1: `XXXX` is not a venue that is known, as XNYS",
        ),
        ("XNYS shut 2026-11-23 why", "line 1, column 6: `shut` is not `closed`, `hours` or `halt`"),
        (
            "CRYPTO closed 2026-11-23 why",
            "line 1, column 8: CRYPTO has no table of days that could change; only a halt is possible there",
        ),
        ("XNYS closed 2026-13-23 why", "line 1, column 13: `2026-13-23` is not a date, as 2026-11-27"),
        ("XNYS closed 2026-11-23", "line 1, column 23: the line ends where the reason is expected"),
        (
            "XNYS hours 2026-11-23 13:00-09:30 why",
            "line 1, column 23: `13:00-09:30` is not hours, as 09:30-13:00 or 09:00-11:30,12:30-15:00",
        ),
        (
            "XNYS halt AAPL 2026-11-20T10:31:00Z 2026-11-20T10:30:00Z why",
            "line 1, column 37: the halt ends before it begins",
        ),
        (
            "XNYS halt AAPL soon - why",
            "line 1, column 16: `soon` is not a time with offset, as 2026-11-20T10:31:00-05:00",
        ),
    ] {
        assert_eq!(Overlay::parse(text).expect_err(text).to_string(), expected);
    }
    let many = "XNYS closed 2026-11-23 x\n".repeat(tradewatch_calendar::OVERLAY_ENTRIES_MAX + 1);
    assert!(Overlay::parse(&many).expect_err("too many").to_string().contains("more than 10000 facts"));
}

/// A clock told by hand: `for` of a rule, counted.
#[test]
fn the_clock_of_a_session_stands_while_nobody_trades() {
    let overlay = "XNYS halt AAPL 2026-11-20T10:00-05:00 2026-11-20T10:30-05:00 news\n\
        XNYS halt * 2026-11-20T10:20-05:00 2026-11-20T10:40-05:00 level 1\n\
        CRYPTO halt BTC/USD 2026-11-20T10:00Z - maintenance";
    let calendar = Calendar::new().with_overlay(Overlay::parse(overlay).expect("well-formed"));
    let new_york = |text: &str| at(&format!("{text}[America/New_York]"));
    let minutes = |n: i64| SignedDuration::from_mins(n);
    let venue = calendar.clock("XNYS", None);
    // Two minutes before the close, five needed: three more on Monday.
    let friday = new_york("2026-11-20T15:58");
    assert_eq!(venue.reaches(friday, minutes(5)), Some(new_york("2026-11-23T09:33")));
    assert_eq!(venue.reaches(friday, minutes(2)), Some(new_york("2026-11-20T16:00")), "at the close itself");
    // Without a `for`: at once while it is open, else at the open.
    assert_eq!(venue.reaches(friday, minutes(0)), Some(friday));
    let (close, open) = (new_york("2026-11-20T16:00"), new_york("2026-11-23T09:30"));
    assert_eq!(venue.reaches(close, minutes(0)), Some(open));
    assert_eq!(venue.counted(friday, open), minutes(2));
    assert_eq!(venue.counted(friday, open + minutes(1)), minutes(3));
    // Half a day, and the change to summer time over a weekend.
    let half = new_york("2026-11-27T12:59");
    assert_eq!(venue.reaches(half, minutes(2)), Some(new_york("2026-11-30T09:31")));
    assert_eq!(
        venue.reaches(new_york("2026-03-06T15:59"), minutes(2)),
        Some(new_york("2026-03-09T09:31-04:00"))
    );
    // The halts of a symbol and of its venue overlap; another symbol knows only the latter.
    let ten = new_york("2026-11-20T09:59");
    assert_eq!(calendar.clock("XNYS", Some("AAPL")).reaches(ten, minutes(2)), Some(ten + minutes(42)));
    assert_eq!(calendar.clock("XNYS", Some("MSFT")).reaches(ten, minutes(22)), Some(ten + minutes(42)));
    assert_eq!(calendar.clock("CRYPTO", Some("ETH/USD")).reaches(ten, minutes(2)), Some(ten + minutes(2)));
    assert_eq!(calendar.clock("CRYPTO", Some("BTC/USD")).reaches(ten, minutes(2)), None, "no end is known");
    // Beyond the horizon, and where nothing is known, it goes.
    let end = calendar.horizon("XNYS").expect("known").to;
    assert_eq!(venue.reaches(end + minutes(1), minutes(5)), Some(end + minutes(6)));
    assert_eq!(venue.counted(end - minutes(300), end + minutes(5)), minutes(5));
    assert_eq!(calendar.clock("XXXX", None).counted(friday, open), open.duration_since(friday));
    // An endless halt of a session that repeats for ever ends the search.
    let made = Calendar::new()
        .with_virtual_session("XNYS", friday, Duration::from_secs(600), Duration::from_secs(60))
        .with_overlay(Overlay::parse("XNYS halt * 2026-11-20T21:05Z - why").expect("well-formed"));
    assert_eq!(made.clock("XNYS", None).reaches(friday, minutes(6)), Some(friday + minutes(6)));
    assert_eq!(made.clock("XNYS", None).reaches(friday, minutes(60)), None);
}

#[test]
fn the_clock_read_forwards_and_backwards_agrees() {
    let calendar = Calendar::new();
    for (mic, zone) in [("XNYS", "America/New_York"), ("XTKS", "Asia/Tokyo"), (FOREX, "America/New_York")] {
        let clock = calendar.clock(mic, None);
        for step in 0..200i64 {
            let from = at(&format!("2026-03-05T00:00[{zone}]")) + SignedDuration::from_mins(step * 37);
            for amount in [1, 59, 400, 1_500].map(SignedDuration::from_mins) {
                let end = clock.reaches(from, amount).expect("within the horizon");
                assert_eq!(clock.counted(from, end), amount, "{mic} {from}");
                let began = clock.began(from, end, amount);
                assert!(from <= began && began < end, "{mic} {from}");
                assert_eq!(clock.counted(began, end), amount, "{mic} {from}");
                assert_eq!(Some(clock.counted(from, end)), calendar.trading_time(mic, from, end));
            }
        }
    }
}

/// What the clock counts is what the phases say, minute by minute: weeks with a change of the clocks, holidays, half
/// days, breaks, halts and the end of a table.
#[test]
fn the_clock_goes_exactly_while_the_phase_is_open_or_unknown() {
    let overlay = "XNYS halt * 2026-11-25T10:31-05:00 2026-11-25T11:02-05:00 level 1\n\
        XNYS closed 2026-11-23 mourning\nXTKS hours 2026-11-24 09:00-11:30 storm\n\
        CRYPTO halt * 2026-11-21T00:00Z 2026-11-21T04:00Z maintenance";
    let calendar = Calendar::new().with_overlay(Overlay::parse(overlay).expect("well-formed"));
    let minute = SignedDuration::from_mins(1);
    let mut checked = 0;
    for (mic, from) in [
        ("XNYS", "2026-11-18T00:00Z"),
        ("XNYS", "2026-03-04T00:00Z"),
        ("XTKS", "2026-11-18T00:00Z"),
        ("XHKG", "2026-12-21T00:00Z"),
        ("XLON", "2026-10-21T00:00Z"),
        ("CMES", "2026-10-28T00:00Z"),
        ("XBOM", "2026-12-26T00:00Z"),
        (FOREX, "2026-03-04T00:00Z"),
        (CRYPTO, "2026-11-18T00:00Z"),
        ("XXXX", "2026-11-18T00:00Z"),
    ] {
        let from: jiff::Timestamp = from.parse().expect("a time");
        let clock = calendar.clock(mic, None);
        let mut counted = vec![0i64];
        for n in 0..14 * 24 * 60 {
            let phase = calendar.phase(mic, from + minute * n);
            counted
                .push(counted[counted.len() - 1] + i64::from(matches!(phase, Phase::Open | Phase::Unknown)));
        }
        for (a, b) in (0..200).map(|n| (n * 97 % 20_000, n * 97 % 20_000 + n * 13 % 7_000)) {
            let b = b.min(counted.len() - 1);
            let (begin, end) = (from + minute * a as i32, from + minute * b as i32);
            let expected = SignedDuration::from_mins(counted[b] - counted[a]);
            assert_eq!(clock.counted(begin, end), expected, "{mic} from {begin} to {end}");
            checked += 1;
        }
    }
    assert_eq!(checked, 2_000);
}
