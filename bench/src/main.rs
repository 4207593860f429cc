//! Measures the SDK beside its rivals in one run and prints the table; see README.md.

mod http_layer;
mod inputs;
mod measure;
mod ours;
mod rival_metrics;
mod rival_prometheus;
mod rival_prometheus_client;

use std::process::ExitCode;

use measure::{Op, Variant, measure, median, thread_cpu_ns};

/// A library and its operations.
pub struct Subject {
    library: &'static str,
    /// Increment of a resolved counter.
    counter: Op,
    /// Increment of a counter whose three labels are typed values; only we have that.
    labelled: Option<Op>,
    /// Increment of a counter with three labels given per call, the symbol as text.
    named: Op,
    /// Observation into a resolved histogram of twelve edges.
    histogram: Op,
    /// Start and stop of a timer.
    timer: Op,
    /// Builds 100,000 counters and returns a scrape.
    counters: Box<dyn Fn() -> Box<dyn FnMut() -> usize>>,
    /// Builds 10,000 histograms and returns a scrape.
    histograms: Box<dyn Fn() -> Box<dyn FnMut() -> usize>>,
}

/// One operation of the table: its variants, ours first, and the ratio to the best rival that is the target.
struct Row {
    name: &'static str,
    variants: Vec<Variant>,
    target_one: f64,
    target_two: f64,
}

fn main() -> ExitCode {
    // `-- http` measures the HTTP layer alone.
    if std::env::args().nth(1).as_deref() == Some("http") {
        return ExitCode::from(u8::from(http_layer::report(31) > 0));
    }
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(31);
    let subjects = [
        ours::subject(),
        rival_prometheus::subject(),
        rival_prometheus_client::subject(),
        rival_metrics::subject(),
    ];
    println!("{rounds} rounds of 2 ms, interleaved; median CPU ns an operation; x = ours / best rival\n");
    println!("| operation | threads | ours | best rival | x | target | |\n|---|---|---|---|---|---|---|");
    let mut missed = 0;
    for row in rows(&subjects) {
        let costs = measure(&row.variants, rounds);
        let ones: Vec<f64> = costs.iter().map(|cost| cost.one).collect();
        let twos: Vec<f64> = costs.iter().map(|cost| cost.two).collect();
        missed += print(row.name, "1", &row.variants, &ones, row.target_one, "ns");
        missed += print(row.name, "2", &row.variants, &twos, row.target_two, "ns");
    }
    missed += encode("scrape of 100,000 counters", &subjects, |subject| (subject.counters)(), 0.3);
    missed += encode("scrape of 10,000 histograms", &subjects, |subject| (subject.histograms)(), 0.3);
    missed += http_layer::report(rounds);
    println!("\nReading a body of 100,000 counters, ns a series: {}", reading());
    println!("\n{missed} targets missed");
    ExitCode::from(u8::from(missed > 0))
}

fn rows(subjects: &[Subject]) -> Vec<Row> {
    let all = |op: fn(&Subject) -> &Op| -> Vec<Variant> {
        subjects.iter().map(|s| Variant { library: s.library, op: op(s).clone() }).collect()
    };
    let row = |name, variants, target_one, target_two| Row { name, variants, target_one, target_two };
    let mut typed = all(|subject| &subject.named);
    typed[0].op = subjects[0].labelled.clone().expect("we have typed labels");
    vec![
        row("counter, resolved", all(|subject| &subject.counter), 0.5, 0.5),
        row("counter, 3 labels per call, typed", typed, 0.3, 0.3),
        row("counter, 3 labels per call, symbol by name", all(|subject| &subject.named), 0.3, 0.3),
        row("histogram, 12 edges", all(|subject| &subject.histogram), 0.75, 0.75),
        row("timer guard", all(|subject| &subject.timer), 0.7, 0.7),
    ]
}

/// Prints one line and returns whether the target was missed.
fn print(name: &str, threads: &str, variants: &[Variant], costs: &[f64], target: f64, unit: &str) -> u32 {
    let rivals = costs.iter().zip(variants).skip(1);
    let (best, variant) = rivals.min_by(|a, b| a.0.total_cmp(b.0)).expect("there are rivals");
    let ratio = costs[0] / best;
    let met = ratio <= target;
    let mark = if met { "met" } else { "MISSED" };
    println!(
        "| {name} | {threads} | {:.2} {unit} | {best:.2} {unit} {} | {ratio:.2} | {target} | {mark} |",
        costs[0], variant.library
    );
    u32::from(!met)
}

/// What a scraper pays: each series parsed, and each known one compared.
fn reading() -> String {
    let body = ours::body();
    let read = |known: &[&str]| {
        let mut parser = tradewatch_metrics::parse::text(&body);
        let (mut samples, mut known) = (0u32, known.iter());
        let start = thread_cpu_ns();
        loop {
            if samples > 0
                && let Some(series) = known.next()
            {
                parser
                    .next_if_series(series)
                    .expect("the next line is this series")
                    .expect("the line is good");
                samples += 1;
                continue;
            }
            match parser.next() {
                Some(entry) => {
                    let entry = entry.expect("we wrote the body");
                    samples += u32::from(matches!(entry, tradewatch_metrics::parse::Entry::Sample(_)));
                }
                None => break,
            }
        }
        assert!(samples >= 100_000);
        (thread_cpu_ns() - start) / f64::from(samples)
    };
    let text = std::str::from_utf8(&body).expect("the body is UTF-8");
    let lines = text.lines().filter(|line| line.starts_with("orders_total{"));
    let series: Vec<&str> = lines.filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    let parsed = median((0..7).map(|_| read(&[])).collect());
    let compared = median((0..7).map(|_| read(&series[1..])).collect());
    format!("parsed {parsed:.0}, compared {compared:.0}")
}

fn encode(
    name: &str,
    subjects: &[Subject],
    build: impl Fn(&Subject) -> Box<dyn FnMut() -> usize>,
    target: f64,
) -> u32 {
    let mut scrapes: Vec<_> = subjects.iter().map(&build).collect();
    let mut costs = vec![Vec::new(); scrapes.len()];
    for _ in 0..7 {
        for (scrape, costs) in scrapes.iter_mut().zip(&mut costs) {
            let start = thread_cpu_ns();
            assert!(scrape() > 1_000_000, "the body holds every series");
            costs.push((thread_cpu_ns() - start) / 1e6);
        }
    }
    let costs: Vec<f64> = costs.into_iter().map(median).collect();
    let nothing: Op = std::sync::Arc::new(|_| {});
    let variants: Vec<Variant> =
        subjects.iter().map(|s| Variant { library: s.library, op: nothing.clone() }).collect();
    print(name, "1", &variants, &costs, target, "ms")
}
