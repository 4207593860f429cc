//! Writes the exposition of registries with random contents, for foreign readers to judge.
//!
//! `random_registries FOLDER COUNT SEED` writes `N.prom` (text 0.0.4) and `N.om` (OpenMetrics 1.0), and beside them
//! `N.sum`: what a reader must find, one line a series that was moved: name, labels, value.

use std::collections::BTreeMap;
use std::path::Path;

use tradewatch_metrics::*;

#[derive(Label, Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

#[derive(Label, Clone, Copy)]
#[label(name = "status")]
enum Status {
    Success,
    #[label(value = "failed \"hard\"\\\n")]
    Failed,
}

open_label!(struct Any("any"), budget = 2_000);

#[derive(Metrics)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Counts "things" \ and more.
    things_total: Counter<(Any, Side)>,
    /// Money, in fractions.
    fees_usd_total: Counter<(Side, Status)>,
    /// A level.
    level: Gauge<(Any,)>,
    /// Jobs at work.
    jobs: UpDownCounter<(Side,)>,
    /// A wait.
    #[buckets(0.001, 0.1, 1.0, 1e7)]
    wait_seconds: Histogram<(Side, Any)>,
    /// A wait, natively.
    #[native(schema = 3)]
    #[buckets(0.5, 2.0)]
    both_seconds: NativeHistogram<(Status,)>,
    /// A wait, natively only.
    native_seconds: NativeHistogram,
    /// Wait in the queue.
    #[quantiles(0.5, 0.99)]
    queue_seconds: Summary<(Side,)>,
    /// Facts.
    #[labels("a", "b")]
    build_info: Info<2>,
}

/// Xorshift: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Of any size, and exact in a few digits as often as not.
    fn size(&mut self) -> f64 {
        let digits = self.below(1_000_000) as f64;
        if self.below(2) == 0 { digits / 1000.0 } else { digits * 10f64.powi(self.below(40) as i32 - 20) }
    }

    /// Letters of all kinds, and what must be escaped.
    fn text(&mut self) -> String {
        const LETTERS: [char; 14] =
            ['a', 'Z', '0', ' ', '"', '\\', '\n', '{', '}', ',', '=', '#', 'é', '\u{1F4C8}'];
        (0..self.below(12)).map(|_| LETTERS[self.below(LETTERS.len() as u64) as usize]).collect()
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { Side::Buy } else { Side::Sell }
    }

    fn status(&mut self) -> Status {
        if self.below(2) == 0 { Status::Success } else { Status::Failed }
    }
}

fn name<L: Label>(label: L) -> String {
    L::value_at(label.index()).unwrap_or(OVERFLOW).to_owned()
}

/// What readers must find: the value of each series, by name and labels.
type Expected = BTreeMap<(String, Vec<(&'static str, String)>), f64>;

fn fill(m: &Desk, random: &mut Random) -> Expected {
    let mut expected = Expected::new();
    for _ in 0..random.below(60) {
        let (any, side, status) = (Any::intern(&random.text()), random.side(), random.status());
        let size = random.size();
        let exemplar = Exemplar::trace(random.next().into());
        match random.below(9) {
            0 => {
                let by = random.below(1 << 40);
                m.things_total.at((any, side)).inc_with_exemplar(by, &exemplar);
                let labels = vec![("any", any.as_str().to_owned()), ("side", name(side))];
                *expected.entry(("desk_things_total".to_owned(), labels)).or_default() += by as f64;
            }
            1 => m.fees_usd_total.at((side, status)).add(size),
            2 => {
                let level =
                    [size, -size, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0][random.below(6) as usize];
                m.level.at((any,)).set(level);
                expected.insert(("desk_level".to_owned(), vec![("any", any.as_str().to_owned())]), level);
            }
            3 => {
                let by = random.below(100) as i64 - 50;
                m.jobs.at((side,)).add(by);
                *expected.entry(("desk_jobs".to_owned(), vec![("side", name(side))])).or_default() +=
                    by as f64;
            }
            4 => {
                m.wait_seconds.at((side, any)).observe_with_exemplar(size, &exemplar);
                let labels = vec![("side", name(side)), ("any", any.as_str().to_owned())];
                *expected.entry(("desk_wait_seconds_count".to_owned(), labels)).or_default() += 1.0;
            }
            5 => {
                m.both_seconds.at((status,)).observe(size);
                let labels = vec![("status", name(status))];
                *expected.entry(("desk_both_seconds_count".to_owned(), labels)).or_default() += 1.0;
            }
            6 => m.native_seconds.observe(if random.below(9) == 0 { f64::NAN } else { size }),
            7 => m.queue_seconds.at((side,)).observe(size),
            _ => m.build_info.set([&random.text(), "1.0"]),
        }
    }
    expected
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t")
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, seed] = arguments.as_slice() else {
        eprintln!("random_registries FOLDER COUNT SEED");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<u64>().map_err(std::io::Error::other);
    let mut random = Random(number(seed)? | 1);
    for at in 0..number(count)? {
        let registry = Registry::new();
        let m = Desk::register(&registry).map_err(std::io::Error::other)?;
        let expected = fill(&m, &mut random);
        let path = |extension: &str| Path::new(folder).join(format!("{at}.{extension}"));
        for (extension, format) in [("prom", Format::Text004), ("om", Format::OpenMetrics1)] {
            let mut body = Vec::new();
            registry.encode(format, &mut body);
            std::fs::write(path(extension), body)?;
        }
        let lines: String = expected
            .iter()
            .map(|((name, labels), value)| {
                let labels: String = labels.iter().map(|(n, v)| format!("\t{n}\t{}", escape(v))).collect();
                format!("{value}\t{name}{labels}\n")
            })
            .collect();
        std::fs::write(path("sum"), lines)?;
    }
    Ok(())
}
