//! Queries cut, spliced and mangled from the acceptance files: whatever comes, nothing panics.
//!
//! `TRADEWATCH_FUZZ_ROUNDS` sets how many (2,000 by default), `TRADEWATCH_FUZZ_SEED` where they begin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tradewatch_promql::{Engine, EngineOptions, parse};
use tradewatch_tsdb::Timestamp;

use crate::support::{Random, corpus, store};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

const PIECES: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "@",
    "\"",
    "'",
    "`",
    "\\",
    "#",
    "\n",
    " ",
    "=~",
    "!~",
    "==",
    "bool ",
    "on()",
    "ignoring(a)",
    " group_left ",
    " offset ",
    " offset -",
    "[5m]",
    "[5m:]",
    "[5m:1m]",
    "[step()]",
    "1e",
    "0x",
    "NaN",
    "Inf",
    "-",
    "+",
    "^",
    "%",
    "</",
    ">/",
    " and ",
    " or ",
    " unless ",
    " atan2 ",
    "sum",
    "by (a)",
    "topk(",
    "rate(",
    "µ",
    "\u{10ffff}",
    " anchored",
    " smoothed",
    "fill(0)",
    "start()",
    "1h30m",
    "_",
    ".",
    "__name__",
    "count_values(\"a\",",
    "label_replace(",
    "quantile(",
    "histogram_quantile(",
    "info(",
    "limit_ratio(",
];

fn mangled(random: &mut Random, corpus: &[String]) -> String {
    let mut text: Vec<char> = corpus[random.below(corpus.len())].chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        let end = (at + random.below(12)).min(text.len());
        match random.below(5) {
            0 => drop(text.drain(at..end)),
            1 => {
                let piece = PIECES[random.below(PIECES.len())];
                text.splice(at..at, piece.chars());
            }
            2 => {
                let other: Vec<char> = corpus[random.below(corpus.len())].chars().collect();
                let from = random.below(other.len());
                text.splice(at..end, other[from..].iter().copied());
            }
            3 => {
                let copy = text[at..end].to_vec();
                text.splice(at..at, copy);
            }
            _ => {
                if let Some(c) = text.get_mut(at) {
                    *c = char::from((random.next() & 0x7f) as u8);
                }
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn mangled_queries_never_panic() {
    let corpus = corpus();
    let db = store(
        15,
        "metric{a=\"1\",instance=\"x\",job=\"j\"} 1 2 3 _ stale 1 NaN Inf -Inf 5 6\n\
         metric{a=\"2\",instance=\"y\",job=\"j\"} 0+1x20\n\
         metric_bucket{le=\"1\"} 0+1x20\n\
         metric_bucket{le=\"+Inf\"} 0+2x20\n\
         http_requests_total{job=\"a\",instance=\"0\",group=\"c\"} 0+10x20\n\
         target_info{instance=\"x\",job=\"j\",b=\"c\"} 1x20\n\
         hist {{schema:0 count:3 sum:6 buckets:[1 2]}}+{{schema:0 count:3 sum:6 buckets:[1 2]}}x9 1 2 3\n\
         nhcb {{schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]}}x5 {{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}x5\n\
         wide {{schema:8 count:3 sum:6 offset:-2000 buckets:[1 2] n_offset:5 n_buckets:[1] z_bucket:2 z_bucket_w:0.001}}x5\n",
    );
    let engine = Engine::new(EngineOptions { samples_max: 200_000, ..EngineOptions::default() });
    let rounds = setting("TRADEWATCH_FUZZ_ROUNDS", 2_000);
    let seed = setting("TRADEWATCH_FUZZ_SEED", 1);
    let names = ["metric", "hist", "nhcb", "wide", "metric_bucket"];
    for round in 0..rounds {
        let mut random = Random(seed.wrapping_add(round));
        let mut query = mangled(&mut random, &corpus);
        // Half of the rounds read data that is there.
        if random.below(2) == 0 {
            let name = names[random.below(names.len())];
            for old in ["http_requests", "testhistogram", "native_histogram", "foo", "bar", "testmetric"] {
                query = query.replace(old, name);
            }
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let Ok(expr) = parse(&query) else { return };
            let printed = expr.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{printed} does not read: {error}"));
            assert_eq!(again, expr, "{printed}");
            let at = Timestamp::from_millis(150_000);
            let _ = engine.instant(&db, &expr, at);
            let _ = engine.range(&db, &expr, Timestamp::from_millis(-30_000), at, Duration::from_secs(30));
        }));
        assert!(result.is_ok(), "seed {}: {query:?}", seed.wrapping_add(round));
    }
}

#[test]
fn mangled_series_never_panic() {
    let lines = [
        "up{job=\"x\"} 1 2+3x2 _ _x3 stale -1-2x4 NaN +Inf -Inf 1e-3",
        "h {{schema:0 sum:3 count:22 z_bucket:1 z_bucket_w:0.01 offset:-3 buckets:[5 10 7] n_buckets:[1]}}+{{count:1}}x5",
        "{\"a.b\", c='d'} {{schema:-53 custom_values:[1 2] buckets:[1 2 3] counter_reset_hint:gauge}}x2",
    ];
    let pieces = [
        "{{",
        "}}",
        "x",
        "_",
        "stale",
        "+",
        "-",
        ":",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "1e999",
        "x99999999999",
        " ",
        "µ",
        "NaN",
        "0x1",
    ];
    for round in 0..setting("TRADEWATCH_FUZZ_ROUNDS", 2_000) {
        let mut random = Random(setting("TRADEWATCH_FUZZ_SEED", 1).wrapping_add(round));
        let mut text: Vec<char> = lines[random.below(lines.len())].chars().collect();
        for _ in 0..=random.below(5) {
            let at = random.below(text.len() + 1);
            let end = (at + random.below(6)).min(text.len());
            let piece = if random.below(3) == 0 { "" } else { pieces[random.below(pieces.len())] };
            text.splice(at..end, piece.chars());
        }
        let line: String = text.into_iter().collect();
        if let Ok((labels, points)) = tradewatch_promql::series::parse_series(&line) {
            assert!(labels.len() < 10 && points.len() < 1_100_000, "{line}");
        }
    }
}
