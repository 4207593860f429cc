//! Measures the SDK beside its rivals in one run and prints the table; see README.md.

mod http_layer;
mod inputs;
mod measure;
mod memory;
mod ours;
mod rival_fast_telemetry;
mod rival_fastmetrics;
mod rival_measured;
mod rival_metrics;
mod rival_opentelemetry;
mod rival_prometheus;
mod rival_prometheus_client;

use std::process::ExitCode;

use measure::{Op, Variant, measure, median, thread_cpu_ns};

/// Writes what was built into one of the buffers and returns how many bytes that are.
type Scrape = Box<dyn FnMut(&mut Body) -> usize>;
/// Builds series and returns a scrape of them.
type Build = Box<dyn Fn() -> Scrape>;

/// What a scrape writes to, kept for the next; each library takes the one it can.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    text: String,
}

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
    /// Observation into a resolved histogram with exponential buckets, if there is one.
    native: Option<Op>,
    /// Start and stop of a timer.
    timer: Op,
    /// The same of a timer that times one call in 64, if there is one.
    sampled: Option<Op>,
    /// 100,000 counters.
    counters: Build,
    /// 10,000 histograms.
    histograms: Build,
}

const COUNTERS: f64 = 100_000.0;
const HISTOGRAMS: f64 = 10_000.0;

/// What is asked of us.
#[derive(Clone, Copy)]
enum Target {
    /// At most this, as a ratio to the best rival.
    Ratio(f64),
    /// At most this, in the line's unit.
    Value(f64),
    /// Nothing; the line informs.
    None,
}

/// One operation of the table: its variants, ours first.
struct Row {
    name: &'static str,
    variants: Vec<Variant>,
    target: Target,
}

fn main() -> ExitCode {
    // `-- http` measures the HTTP layer alone.
    if std::env::args().nth(1).as_deref() == Some("http") {
        return ExitCode::from(u8::from(http_layer::report(31) > 0));
    }
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(31);
    let subjects = [
        ours::subject(),
        rival_prometheus::subject(),
        rival_prometheus_client::subject(),
        rival_metrics::subject(),
        rival_measured::subject(),
        rival_opentelemetry::subject(),
        rival_fastmetrics::subject(),
        rival_fast_telemetry::subject(),
    ];
    println!("{rounds} rounds of 2 ms, interleaved; median CPU ns an operation; x = ours / best rival\n");
    println!("| operation | threads | ours | best rival | x | target | |\n|---|---|---|---|---|---|---|");
    let mut table = Table::default();
    for row in rows(&subjects) {
        let costs = measure(&row.variants, rounds);
        let libraries: Vec<&str> = row.variants.iter().map(|variant| variant.library).collect();
        let ones: Vec<f64> = costs.iter().map(|cost| cost.one).collect();
        let twos: Vec<f64> = costs.iter().map(|cost| cost.two).collect();
        table.print(row.name, "1", &libraries, &ones, row.target, "ns");
        table.print(row.name, "2", &libraries, &twos, row.target, "ns");
    }
    scrape_and_memory(&subjects, &mut table);
    table.missed += http_layer::report(rounds);
    println!(
        "\nAll figures: CPU ns an operation on one thread and on each of two at once, ms a scrape, bytes a series\n"
    );
    println!("{}", table.all);
    println!("Reading a body of 100,000 counters, ns a series: {}", reading());
    println!("\n{} targets missed", table.missed);
    ExitCode::from(u8::from(table.missed > 0))
}

fn rows(subjects: &[Subject]) -> Vec<Row> {
    let all = |op: fn(&Subject) -> Option<&Op>| -> Vec<Variant> {
        let known = subjects.iter().filter_map(|s| Some((s.library, op(s)?)));
        known.map(|(library, op)| Variant { library, op: op.clone() }).collect()
    };
    let row = |name, variants, target| Row { name, variants, target };
    let mut typed = all(|subject| Some(&subject.named));
    typed[0].op = subjects[0].labelled.clone().expect("we have typed labels");
    vec![
        row("counter, resolved", all(|subject| Some(&subject.counter)), Target::Ratio(0.5)),
        row("counter, 3 labels per call, typed", typed, Target::Ratio(0.3)),
        row("counter, 3 labels per call, symbol by name", all(|s| Some(&s.named)), Target::Ratio(0.3)),
        row("native histogram, schema 3", all(|subject| subject.native.as_ref()), Target::Ratio(0.6)),
        row("histogram, 12 edges", all(|subject| Some(&subject.histogram)), Target::Ratio(0.75)),
        row("timer guard", all(|subject| Some(&subject.timer)), Target::Ratio(0.7)),
        row("timer guard, 1 call in 64", all(|subject| subject.sampled.as_ref()), Target::Value(2.0)),
    ]
}

/// The lines printed, and what they are made of.
#[derive(Default)]
struct Table {
    missed: u32,
    /// Every variant of every line.
    all: String,
}

impl Table {
    /// Prints one line; the first of the libraries is ours.
    fn print(
        &mut self,
        name: &str,
        threads: &str,
        libraries: &[&str],
        costs: &[f64],
        target: Target,
        unit: &str,
    ) {
        let rivals = costs.iter().zip(libraries).skip(1);
        let (best, library) = rivals.min_by(|a, b| a.0.total_cmp(b.0)).expect("there are rivals");
        let ratio = costs[0] / best;
        let (met, asked) = match target {
            Target::Ratio(most) => (ratio <= most, format!("{most} x")),
            Target::Value(most) => (costs[0] <= most, format!("{most} {unit}")),
            Target::None => (true, String::new()),
        };
        let mark = match target {
            Target::None => "",
            _ if met => "met",
            _ => "MISSED",
        };
        println!(
            "| {name} | {threads} | {:.2} {unit} | {best:.2} {unit} {library} | {ratio:.2} | {asked} | {mark} |",
            costs[0]
        );
        let each: Vec<String> = libraries.iter().zip(costs).map(|(l, c)| format!("{l} {c:.2}")).collect();
        self.all += &format!("- {name}, {threads}: {}\n", each.join(", "));
        self.missed += u32::from(!met);
    }
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

/// Scrapes of many series, and the memory that they take.
fn scrape_and_memory(subjects: &[Subject], table: &mut Table) {
    let libraries: Vec<&str> = subjects.iter().map(|subject| subject.library).collect();
    let counters: Vec<_> = subjects.iter().map(|s| Series::build(&s.counters, COUNTERS)).collect();
    let histograms: Vec<_> = subjects.iter().map(|s| Series::build(&s.histograms, HISTOGRAMS)).collect();
    let mut scrapes = |name, series: &[Series], target| {
        let costs: Vec<f64> = series.iter().map(|series| series.cost_ms).collect();
        table.print(name, "1", &libraries, &costs, target, "ms");
    };
    scrapes("scrape of 100,000 counters", &counters, Target::Value(2.5));
    scrapes("scrape of 10,000 histograms", &histograms, Target::Ratio(0.3));
    let mut memory = |name, series: &[Series], bytes: fn(&Series) -> f64, target| {
        let bytes: Vec<f64> = series.iter().map(bytes).collect();
        table.print(name, "1", &libraries, &bytes, target, "B");
    };
    // 32 B and 8 B a thread; 128 B and 8 B a bucket and thread, with thirteen buckets.
    memory("memory of a counter series", &counters, |s| s.created, Target::Value(40.0));
    memory("the same, once scraped", &counters, |s| s.scraped, Target::None);
    memory("memory of a histogram, 12 edges", &histograms, |s| s.created, Target::Value(232.0));
    memory("the same, once scraped", &histograms, |s| s.scraped, Target::None);
}

/// Many series of one library: what a scrape costs, and bytes of heap for each.
struct Series {
    cost_ms: f64,
    created: f64,
    scraped: f64,
}

impl Series {
    fn build(build: &Build, count: f64) -> Series {
        let before = memory::live();
        let mut scrape = build();
        let created = (memory::live() - before) / count;
        let mut body = Body::default();
        assert!(scrape(&mut body) > 1_000_000, "the body holds every series");
        drop(std::mem::take(&mut body));
        let scraped = (memory::live() - before) / count;
        scrape(&mut body);
        let costs = (0..7).map(|_| {
            let start = thread_cpu_ns();
            scrape(&mut body);
            (thread_cpu_ns() - start) / 1e6
        });
        Series { cost_ms: median(costs.collect()), created, scraped }
    }
}
