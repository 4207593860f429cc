//! The calendar against the published tables, session by session, and at every edge.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use tradewatch_calendar::{CRYPTO, Calendar, Phase, Session};

/// Every session of the oracle (see `data/NOTICE`): open, close and break in UTC.
fn oracle(text: &str) -> Vec<(Date, Timestamp, Timestamp, Option<(Timestamp, Timestamp)>)> {
    let mut sessions = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (month, hours) = (words.next().expect("month"), words.next().expect("hours"));
        let minutes: Vec<i64> =
            hours.split(',').flat_map(|part| part.split("..")).map(|m| m.parse().expect("minutes")).collect();
        for day in words {
            let date: Date = format!("{month}-{day}").parse().expect("date");
            let midnight = date.to_zoned(TimeZone::UTC).expect("in range").timestamp();
            let at = |i: usize| midnight + SignedDuration::from_mins(minutes[i]);
            let recess = (minutes.len() == 4).then(|| (at(1), at(2)));
            sessions.push((date, at(0), at(minutes.len() - 1), recess));
        }
    }
    sessions.sort();
    sessions
}

const ORACLES: &[(&str, &str, usize)] = &[
    ("CMES", include_str!("../data/CMES.txt"), 3359),
    ("XASX", include_str!("../data/XASX.txt"), 3292),
    ("XETR", include_str!("../data/XETR.txt"), 3300),
    ("XHKG", include_str!("../data/XHKG.txt"), 3201),
    ("XLON", include_str!("../data/XLON.txt"), 3285),
    ("XNAS", include_str!("../data/XNYS.txt"), 3268),
    ("XNYS", include_str!("../data/XNYS.txt"), 3268),
    ("XPAR", include_str!("../data/XPAR.txt"), 3330),
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
            .map(|s| (s.date, s.open, s.close, s.recess))
            .collect();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got, expected, "{mic}");
        }
        assert_eq!(got.len(), expected.len(), "{mic}");
    }
}

#[test]
fn the_edges_of_every_session_are_half_open() {
    let calendar = Calendar::new();
    let tick = SignedDuration::from_millis(1);
    for (mic, text, _) in ORACLES {
        for (_, open, close, recess) in oracle(text) {
            let mut parts = vec![(open, close)];
            if let Some((from, to)) = recess {
                parts = vec![(open, from), (to, close)];
            }
            for (open, close) in parts {
                assert_eq!(calendar.phase(mic, open), Phase::Open, "{mic} {open}");
                assert_eq!(calendar.phase(mic, close - tick), Phase::Open, "{mic} {close}");
                assert_eq!(calendar.phase(mic, close), Phase::Closed, "{mic} {close}");
                assert_ne!(calendar.phase(mic, open - tick), Phase::Open, "{mic} {open}");
                assert_eq!(calendar.next_close(mic, open), Some(close));
                assert_eq!(calendar.next_open(mic, open - tick), Some(open));
                assert_ne!(calendar.next_open(mic, open), Some(open), "the next one is after now");
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
    assert_eq!(phase("2026-11-20T09:29:59.999-05:00"), Phase::Closed);
    assert_eq!(phase("2026-11-20T09:30-05:00"), Phase::Open);
    assert_eq!(phase("2026-11-21T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2026-03-06T09:30-05:00"), Phase::Open);
    assert_eq!(phase("2026-03-09T09:30-04:00"), Phase::Open);
    assert_eq!(phase("2026-03-09T09:29-04:00"), Phase::Closed);
    // Days of mourning, announced days ahead; a half day; Juneteenth since 2022.
    assert_eq!(phase("2018-12-05T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2025-01-09T12:00-05:00"), Phase::Closed);
    assert_eq!(phase("2024-11-29T12:59-05:00"), Phase::Open);
    assert_eq!(phase("2024-11-29T13:00-05:00"), Phase::Closed);
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
}

#[test]
fn breaks_are_closed_and_belong_to_their_session() {
    let calendar = Calendar::new();
    let noon = at("2026-11-19T12:00+09:00[Asia/Tokyo]");
    assert_eq!(calendar.phase("XTKS", noon), Phase::Closed);
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
    assert_eq!(mics.len(), ORACLES.len() + 1);
    for mic in mics {
        assert!(calendar.name(mic).is_some_and(|name| !name.is_empty()), "{mic}");
        assert!(calendar.zone(mic).is_some() && calendar.horizon(mic).is_some(), "{mic}");
    }
}
