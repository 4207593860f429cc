//! Text → store → rule → notification on virtual time: no socket, no clock, the same each time.

use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use tradewatch_alert::notify::{self, Notifier};
use tradewatch_alert::route;
use tradewatch_alert::rules::{Answer, Group, RuleFile, Surroundings};
use tradewatch_promql::{Engine, QueryValue};
use tradewatch_server::scrape::{Ingest, IngestOptions};
use tradewatch_tsdb::{Db, Labels, Matcher, Timestamp};

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: TooManyRejects\n    expr: rate(rejects_total[5s]) > 1\n    for: 2s\n  - alert: Lost\n    expr: up == 0\n    labels: {severity: critical}\n";

#[test]
fn one_thread_takes_text_to_a_notification() {
    let db = Db::in_memory();
    let options = IngestOptions {
        target: Labels::from_pairs([("job", "gw")]),
        honor_timestamps: true,
        ..IngestOptions::default()
    };
    let mut ingest = Ingest::new(db.clone(), options);
    let (asked, engine) = (db.clone(), Engine::default());
    let query = Arc::new(move |expr: &tradewatch_promql::Expr, at: Timestamp| {
        let result = engine.instant(&asked, expr, at).map_err(|error| error.to_string())?;
        let QueryValue::Vector(vector) = result.value else { return Err("a vector".to_owned()) };
        Ok(Answer { vector: vector.into_iter().map(|s| (s.labels, s.value)).collect(), ..Answer::default() })
    });
    let around = Surroundings::new(query, db.clone());
    let (file, errors) = RuleFile::parse("rules.yml", RULES);
    assert!(errors.is_empty(), "{errors:?}");
    let mut group = Group::new("rules.yml", &file.groups[0], Duration::from_secs(1), Duration::ZERO);
    let mut notifier = Notifier::new(Arc::new(route::Config::terminal()), notify::Options::default());
    let mut log = String::new();
    let mut rejects = 0;
    for second in 0..20i64 {
        let now = Timestamp::from_millis(1_700_000_000_000 + second * 1_000);
        rejects += if (5..10).contains(&second) { 3 } else { 0 };
        let body = format!("# TYPE rejects_total counter\nrejects_total {rejects}\n");
        let text = if second == 15 { "rejects_total one\n" } else { &body };
        let scraped = ingest.scrape_body(now, text.as_bytes()).expect("in memory");
        if let Some(error) = scraped.error {
            log += &format!("{second:>2} s  scrape failed: {error}\n");
        }
        let evaluation = group.evaluate(now, &around);
        notifier.update(now, &evaluation.alerts);
        for delivery in notifier.poll(now) {
            let names: Vec<&str> =
                delivery.message.alerts.iter().map(|alert| alert.labels["alertname"].as_str()).collect();
            log += &format!("{second:>2} s  {} {}\n", delivery.message.status, names.join(", "));
            notifier.delivered(now, delivery.id);
        }
    }
    expect![[r#"
         8 s  firing TooManyRejects
        12 s  resolved TooManyRejects
        15 s  scrape failed: line 1, column 15: "one" is not a value
        15 s  firing Lost
        16 s  resolved Lost
    "#]]
    .assert_eq(&log);
}

#[test]
fn unchanged_lines_cost_no_new_series_and_order_does_not_matter() {
    let db = Db::in_memory();
    let mut ingest = Ingest::new(db.clone(), IngestOptions::default());
    let at = |second: i64| Timestamp::from_millis(second * 1_000);
    let scrape = |ingest: &mut Ingest, second, text: &str| {
        let scraped = ingest.scrape_body(at(second), text.as_bytes()).expect("in memory");
        (scraped.samples, scraped.added, scraped.vanished, scraped.error)
    };
    assert_eq!(scrape(&mut ingest, 1, "a 1\nb{x=\"1\"} 2\nc 3\n"), (3, 3, 0, None));
    assert_eq!(scrape(&mut ingest, 2, "a 2\nb{x=\"1\"} 2\nc 3\n"), (3, 0, 0, None));
    assert_eq!(scrape(&mut ingest, 3, "c 3\na 2\nd 9\nb{x=\"1\"} 2\n"), (4, 1, 0, None));
    assert_eq!(scrape(&mut ingest, 4, "a 2\nd 9\n"), (2, 0, 2, None));
    // The same series written in another way is the same series.
    assert_eq!(scrape(&mut ingest, 5, "a{} 2\nd 9\n").3, None);
    let found = db.select(&[Matcher::equal("__name__", "a")], at(0), at(10));
    let values: Vec<f64> = found[0].samples.iter().filter_map(|s| s.value.as_float()).collect();
    assert_eq!(values, [1.0, 2.0, 2.0, 2.0, 2.0], "no staleness marker in between");
}

#[test]
fn bodies_with_the_same_lines_are_stored_like_any_others() {
    let db = Db::in_memory();
    let mut ingest = Ingest::new(db.clone(), IngestOptions::default());
    let value = |n: i64, second: i64| (n * 1000 + second * 7) as f64 / 4.0;
    for second in 1..=40i64 {
        let mut body = String::from("# TYPE a gauge\n");
        for n in 0..30 {
            match (second, n) {
                // Away for a while, written in another way, and between others.
                (12..=13, 7) => continue,
                (20, 9) => body += &format!("a{{n=\"{n}\"}}   {:e}\n", value(n, second)),
                (25, 11) => body += &format!("b 1\na{{n=\"{n}\"}} {}\n", value(n, second)),
                _ => body += &format!("a{{n=\"{n}\"}} {}\n", value(n, second)),
            }
        }
        let scraped = ingest.scrape_body(Timestamp::from_millis(second * 1000), body.as_bytes());
        let scraped = scraped.expect("in memory");
        assert_eq!((&scraped.error, scraped.refused), (&None, 0));
        assert_eq!(
            scraped.samples,
            if matches!(second, 12..=13) { 29 } else { 30 + u64::from(second == 25) }
        );
    }
    let found = db.select(&[Matcher::equal("__name__", "a")], Timestamp::MIN, Timestamp::MAX);
    assert_eq!(found.len(), 30);
    for series in found {
        let n: i64 = series.labels.get("n").and_then(|n| n.parse().ok()).expect("a number");
        let mut seconds: Vec<i64> = (1..=40).collect();
        if n == 7 {
            seconds.retain(|second| *second != 13); // Second 12 has the marker of its end.
        }
        let got: Vec<(i64, f64)> = series
            .samples
            .iter()
            .map(|sample| (sample.ts.as_millis() / 1000, sample.value.as_float().expect("a float")))
            .collect();
        assert_eq!(got.iter().map(|(second, _)| *second).collect::<Vec<_>>(), seconds);
        for (second, got) in got {
            let is_end = n == 7 && second == 12;
            assert!(
                if is_end { tradewatch_tsdb::is_stale(got) } else { got == value(n, second) },
                "{n} at {second}"
            );
        }
    }
}
