//! The engine beside Prometheus and VictoriaMetrics in one run: ingestion, memory, queries, disk, start after a kill.
//!
//! All three scrape the same targets of this process at the same time and see the same bodies; the targets count who
//! asked, and a run in which somebody skipped scrapes is void. For starts and queries the two others are stopped
//! (SIGSTOP), so that each has the machine alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::workload::{self, Frames};
use super::{Running, free_port, start, version};

/// What a system may take until it answers.
const START_MAX: Duration = Duration::from_secs(120);
/// Prometheus waits five seconds before its first scrape: what happens before this does not count.
const WARM_UP: Duration = Duration::from_secs(12);
/// Step of the history.
const STEP_MS: i64 = 15_000;
/// A block of Prometheus.
const BLOCK_MS: i64 = 2 * 3_600_000;

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Ours; the release build unless named.
    #[arg(long)]
    tradewatch: Option<PathBuf>,
    /// The first rival.
    #[arg(long, default_value = super::PROMETHEUS)]
    prometheus: PathBuf,
    /// What turns a text into its blocks.
    #[arg(long, default_value = "/usr/bin/promtool")]
    promtool: PathBuf,
    /// The second rival.
    #[arg(long, default_value = "/usr/bin/victoria-metrics")]
    victoria_metrics: PathBuf,
    /// Series that are scraped each second.
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Seconds for which they are.
    #[arg(long, default_value_t = 90)]
    seconds: u64,
    /// Series that are asked for.
    #[arg(long, default_value_t = 10_000)]
    query_series: usize,
    /// Hours of them, at 15 s.
    #[arg(long, default_value_t = 1)]
    hours: i64,
    /// Rounds of each query.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Series of the flood, and milliseconds between two of its scrapes.
    #[arg(long, default_value_t = 300_000)]
    flood_series: usize,
    /// Milliseconds between two scrapes of the flood.
    #[arg(long, default_value_t = 100)]
    flood_interval: u64,
    /// Only this part.
    #[arg(long)]
    only: Option<Part>,
}

/// A part of the benchmark.
#[derive(Copy, Clone, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Scrapes each second, then a kill.
    Ingest,
    /// As many samples as go in.
    Flood,
    /// Dashboards and alerts on history.
    Queries,
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    Tradewatch,
    Prometheus,
    VictoriaMetrics,
}

const SYSTEMS: [System; 3] = [System::Tradewatch, System::Prometheus, System::VictoriaMetrics];

impl System {
    fn name(self) -> &'static str {
        ["tradewatch", "prometheus", "victoria-metrics"][self as usize]
    }

    /// Where it says that it can be asked.
    fn ready(self) -> &'static str {
        if self == System::VictoriaMetrics { "/health" } else { "/-/ready" }
    }
}

/// A row of the table: what was measured of each system, and what ours must be of the better rival's.
struct Row {
    what: String,
    unit: &'static str,
    values: [f64; 3],
    /// Ours divided by the better rival's is at most this, or at least this where more is better.
    target: Target,
}

enum Target {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
    /// Ours divided by the third system's.
    OfVictoriaMetrics(f64),
    None,
}

impl Row {
    fn print(&self) -> bool {
        let [ours, rivals @ ..] = self.values;
        let better = match self.target {
            Target::RatioAtLeast(_) => rivals[0].max(rivals[1]),
            Target::OfVictoriaMetrics(_) => rivals[1],
            _ => rivals[0].min(rivals[1]),
        };
        let ratio = ours / better;
        let (met, target) = match self.target {
            Target::RatioAtMost(most) => (ratio <= most, format!("≤ {most}×")),
            Target::OfVictoriaMetrics(most) => (ratio <= most, format!("≤ {most}× VictoriaMetrics")),
            Target::RatioAtLeast(least) => (ratio >= least, format!("≥ {least}×")),
            Target::AtMost(most) => (ours <= most, format!("≤ {most} {}", self.unit)),
            Target::None => (true, String::new()),
        };
        let verdict = match self.target {
            Target::None => "",
            _ if met => ": met",
            _ => ": missed",
        };
        let shown =
            self.values.map(|value| if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") });
        println!(
            "| {} ({}) | {} | {} | {} | {ratio:.2} | {target}{verdict} |",
            self.what, self.unit, shown[0], shown[1], shown[2]
        );
        met
    }
}

/// Runs the parts and prints the table.
///
/// # Errors
/// A system does not start, somebody skipped scrapes, or a target is missed.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let ours = options.tradewatch.clone().unwrap_or_else(|| root.join("target/release/tradewatch"));
    let binaries = [ours, options.prometheus.clone(), options.victoria_metrics.clone()];
    for binary in &binaries {
        if !binary.exists() {
            bail!("{} is not there; build it, or name it by its flag", binary.display());
        }
    }
    let folder = root.join("target/bench-engine");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let bench = Bench { options, binaries, folder };
    let runs = |part| options.only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    let mut void = Vec::new();
    if runs(Part::Ingest) {
        bench.ingest(&mut rows, &mut void)?;
    }
    if runs(Part::Flood) {
        bench.flood(&mut rows)?;
    }
    if runs(Part::Queries) {
        bench.queries(&mut rows)?;
    }
    for (system, binary) in SYSTEMS.iter().zip(&bench.binaries) {
        println!("{}: {}", system.name(), version(binary));
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load at the end: {}", load.split(' ').next().unwrap_or("?"));
    println!(
        "\n| | tradewatch | prometheus | victoria-metrics | ratio | target |\n|---|---|---|---|---|---|"
    );
    let missed = rows.iter().map(|row| !row.print()).filter(|missed| *missed).count();
    if !void.is_empty() {
        bail!("void: {}", void.join("; "));
    }
    if missed > 0 {
        bail!("{missed} targets missed");
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    binaries: [PathBuf; 3],
    folder: PathBuf,
}

/// A running system.
struct Server {
    system: System,
    addr: SocketAddr,
    child: Running,
    http: Http,
}

impl Server {
    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Resident bytes.
    fn resident(&self) -> Result<f64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid()))?;
        let pages: f64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Ok(pages * 4096.0)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        Command::new("kill").args([signal, &self.pid().to_string()]).status()?;
        Ok(())
    }

    /// The answer to an instant query as text.
    fn ask(&mut self, query: &str, time: f64) -> Result<String> {
        self.http.get(&format!("/api/v1/query?nocache=1&time={time:.3}&query={}", escaped(query)))
    }

    /// The number that an instant query gives, if it gives one.
    fn number(&mut self, query: &str, time: f64) -> Option<f64> {
        let text = self.ask(query, time).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Bench<'_> {
    /// Starts a system on `config`, in a folder of its own within `part`; waits until it is ready.
    fn start(&self, part: &str, system: System, addr: SocketAddr, config: &str) -> Result<Server> {
        let folder = self.folder.join(part).join(system.name());
        fs::create_dir_all(&folder)?;
        let (yml, data) = (folder.join("prometheus.yml"), folder.join("data"));
        fs::write(&yml, config)?;
        let (yml, data) = (yml.display().to_string(), data.display().to_string());
        let args = match system {
            System::Tradewatch => {
                vec![
                    "serve".into(),
                    format!("--config={yml}"),
                    format!("--listen={addr}"),
                    format!("--data-dir={data}"),
                ]
            }
            System::Prometheus => vec![
                format!("--config.file={yml}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={addr}"),
                "--storage.tsdb.retention.time=30d".into(),
            ],
            System::VictoriaMetrics => vec![
                format!("-promscrape.config={yml}"),
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr={addr}"),
                "-retentionPeriod=1".into(),
                "-search.latencyOffset=1s".into(),
                "-search.maxPointsPerTimeseries=100000".into(),
            ],
        };
        let child = start(&self.binaries[system as usize], &folder, &args)?;
        let mut server = Server { system, addr, child, http: Http::new(addr) };
        let began = Instant::now();
        while server.http.get(system.ready()).is_err() {
            if began.elapsed() > START_MAX || server.child.0.try_wait()?.is_some() {
                bail!("{} does not start; see {}", system.name(), folder.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    /// Lets `one` run alone.
    fn alone(servers: &[Server], one: System) -> Result<()> {
        for server in servers {
            server.signal(if server.system == one { "-CONT" } else { "-STOP" })?;
        }
        Ok(())
    }

    /// CPU and memory of scraping each second, then the start after a kill.
    fn ingest(&self, rows: &mut Vec<Row>, void: &mut Vec<String>) -> Result<()> {
        let Options { series, seconds, .. } = *self.options;
        println!("{series} series scraped each second for {seconds} s by all three");
        let targets = Targets::new(series, 10, false)?;
        let total = targets.series as f64;
        let mut servers = Vec::new();
        for system in SYSTEMS {
            let config = targets.config(system, "1s");
            servers.push(self.start("ingest", system, free_port()?, &config)?);
        }
        std::thread::sleep(WARM_UP);
        let cpu_of = |servers: &[Server]| servers.iter().map(Server::cpu).collect::<Result<Vec<f64>>>();
        let resident = |servers: &[Server]| -> Result<[f64; 3]> {
            let kib = servers.iter().map(|server| Ok(server.resident()? / total / 1024.0));
            kib.collect::<Result<Vec<f64>>>()?.try_into().ok().context("three systems")
        };
        let (began, cpu, asked) = (Instant::now(), cpu_of(&servers)?, targets.asked());
        sleep_until(began, Duration::from_secs(30).min(Duration::from_secs(seconds)));
        let early = resident(&servers)?;
        sleep_until(began, Duration::from_secs(seconds));
        let (late, cpu_after, asked_after) = (resident(&servers)?, cpu_of(&servers)?, targets.asked());
        let mut costs = [0.0; 3];
        for (at, server) in servers.iter().enumerate() {
            let scrapes = (asked_after[at] - asked[at]) as f64;
            let millions = scrapes * total / 10.0 / 1e6;
            costs[at] = (cpu_after[at] - cpu[at]) / millions;
            let expected = seconds as f64 * 10.0;
            // Its clock may tick once more or less between the two looks.
            if scrapes < expected - 10.0 {
                void.push(format!("{} skipped scrapes: {scrapes} of {expected}", server.system.name()));
            }
        }
        rows.push(Row {
            what: format!("ingest, {series} series each second, no scrape skipped"),
            unit: "CPU s per million samples",
            values: costs,
            target: Target::RatioAtMost(0.25),
        });
        rows.push(Row {
            what: "resident for each series after 30 s".into(),
            unit: "KiB",
            values: early,
            target: Target::AtMost(0.7),
        });
        rows.push(Row {
            what: format!("resident for each series after {seconds} s"),
            unit: "KiB",
            values: late,
            target: Target::AtMost(0.9),
        });
        self.kill(&targets, servers, rows)
    }

    /// Kills each system and starts it again: how long until it answers, and how much is lost.
    fn kill(&self, targets: &Targets, mut servers: Vec<Server>, rows: &mut Vec<Row>) -> Result<()> {
        let (mut ready, mut lost) = ([0.0; 3], [0.0; 3]);
        for (at, system) in SYSTEMS.into_iter().enumerate() {
            Self::alone(&servers, system)?;
            // It must catch up with what it missed while it stood still.
            std::thread::sleep(Duration::from_secs(3));
            let Server { addr, child, .. } = servers.remove(at);
            let killed = now();
            drop(child);
            let began = Instant::now();
            let mut server = self.start("ingest", system, addr, &targets.config(system, "1s"))?;
            let newest = loop {
                match server.number("max(timestamp(up{job=\"bench\"}))", killed) {
                    Some(newest) => break newest,
                    None if began.elapsed() > START_MAX => bail!("{} does not answer", system.name()),
                    None => {}
                }
            };
            ready[at] = began.elapsed().as_secs_f64();
            lost[at] = killed - newest;
            servers.insert(at, server);
        }
        rows.push(Row {
            what: "ready after kill -9".into(),
            unit: "s",
            values: ready,
            target: Target::OfVictoriaMetrics(2.0),
        });
        rows.push(Row {
            what: "newest sample before the kill is this much older; scrapes come each 1 s".into(),
            unit: "s",
            values: lost,
            target: Target::AtMost(1.2),
        });
        Self::alone(&servers, System::Tradewatch)
    }

    /// Offers each system alone more than it can take.
    fn flood(&self, rows: &mut Vec<Row>) -> Result<()> {
        let Options { flood_series: series, flood_interval: interval, .. } = *self.options;
        println!("{series} series offered each {interval} ms to one after the other");
        let targets = Targets::new(series, 30, true)?;
        let (mut rates, mut costs) = ([0.0; 3], [0.0; 3]);
        for (at, system) in SYSTEMS.into_iter().enumerate() {
            let config = targets.config(system, &format!("{interval}ms"));
            let mut server = self.start("flood", system, free_port()?, &config)?;
            std::thread::sleep(WARM_UP);
            // What a rival tells of itself: a scrape that it gave up in the middle stores nothing.
            let (began, cpu) = (now(), server.cpu()?);
            std::thread::sleep(Duration::from_secs(12));
            let (cpu, until) = (server.cpu()? - cpu, now());
            std::thread::sleep(Duration::from_secs(2));
            let taken = "sum(sum_over_time(scrape_samples_post_metric_relabeling{job=\"bench\"}[10s]))";
            let samples = server.number(taken, until).context("it answers")?;
            rates[at] = samples / 10.0 / 1e6;
            costs[at] = cpu / (samples / 10.0 * (until - began) / 1e6);
        }
        rows.push(Row {
            what: format!("sustained, {:.1} million offered", series as f64 / interval as f64 / 1000.0),
            unit: "million samples a second",
            values: rates,
            target: Target::RatioAtLeast(3.0),
        });
        rows.push(Row {
            what: "the same".into(),
            unit: "CPU s per million samples",
            values: costs,
            target: Target::None,
        });
        Ok(())
    }

    /// The same history into all three, then the queries.
    fn queries(&self, rows: &mut Vec<Row>) -> Result<()> {
        let Options { query_series: series, hours, rounds, .. } = *self.options;
        let to = (now() as i64 / 3600) * 3_600_000;
        let from = to - hours * 3_600_000;
        println!("{series} series at 15 s for {hours} h into all three");
        let mut servers = Vec::new();
        let samples = self.import(series, from, to)?;
        for system in SYSTEMS {
            let mut server =
                self.start("queries", system, free_port()?, "global: {scrape_interval: 1m}\n")?;
            if system == System::VictoriaMetrics {
                self.import_victoria_metrics(&mut server, series, from, to)?;
            }
            servers.push(server);
        }
        let data = |system: System| self.folder.join("queries").join(system.name()).join("data");
        let disk = SYSTEMS.map(|system| bytes_below(&data(system)) as f64 / samples as f64);
        rows.push(Row {
            what: format!("on disk, {hours} h"),
            unit: "bytes per sample",
            values: disk,
            target: Target::RatioAtMost(0.9),
        });
        let queries = fs::read_to_string(self.folder.join("../../bench/workload/queries.tsv"))?;
        let queries: Vec<&str> = queries.lines().filter_map(|line| Some(line.split_once('\t')?.1)).collect();
        let at = (to - STEP_MS) as f64 / 1000.0;
        for range in [0, 1, 6, 24].into_iter().filter(|range| *range <= hours) {
            let paths: Vec<String> = queries
                .iter()
                .map(|query| match range {
                    0 => format!("/api/v1/query?nocache=1&time={at}&query={}", escaped(query)),
                    hours => format!(
                        "/api/v1/query_range?nocache=1&start={}&end={at}&step=15&query={}",
                        at - hours as f64 * 3600.0,
                        escaped(query)
                    ),
                })
                .collect();
            let (mut medians, mut p95s) = ([0.0; 3], [0.0; 3]);
            let mut counts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (place, system) in SYSTEMS.into_iter().enumerate() {
                Self::alone(&servers, system)?;
                let mut times = Vec::new();
                for (number, path) in paths.iter().enumerate() {
                    let mut of_query = Vec::new();
                    for round in 0..=rounds {
                        let began = Instant::now();
                        let answer = servers[place].http.get(path)?;
                        of_query.push(began.elapsed().as_secs_f64() * 1000.0);
                        if round == 0 {
                            counts.entry(number).or_default().push(answer.matches("\"metric\":").count());
                        }
                    }
                    of_query.remove(0); // Nothing is warm at the first.
                    of_query.sort_by(f64::total_cmp);
                    times.push(of_query[of_query.len() / 2]);
                }
                times.sort_by(f64::total_cmp);
                medians[place] = times[times.len() / 2];
                p95s[place] = times[((times.len() as f64 * 0.95).ceil() as usize).min(times.len()) - 1];
            }
            for (number, counts) in counts.iter().filter(|(_, counts)| counts.iter().any(|n| *n != counts[0]))
            {
                println!("series in the answers differ, {counts:?}: {}", queries[*number]);
            }
            let what = if range == 0 { "instant".to_owned() } else { format!("{range} h at 15 s") };
            let what = format!("{} queries, {series} series, {what}", queries.len());
            let (median, p95) = (Target::RatioAtMost(0.4), Target::RatioAtMost(0.6));
            rows.push(Row { what: format!("{what}: median"), unit: "ms", values: medians, target: median });
            rows.push(Row { what: format!("{what}: p95"), unit: "ms", values: p95s, target: p95 });
        }
        Self::alone(&servers, System::Tradewatch)
    }

    /// Imports the history into the folders of ours and of Prometheus, block by block; the number of samples.
    fn import(&self, series: usize, from: i64, to: i64) -> Result<u64> {
        let mut models = workload::models(series, 10, true);
        let file = self.folder.join("history.om");
        let (mut samples, mut begin) = (0, from);
        let data = |system: System| self.folder.join("queries").join(system.name()).join("data");
        while begin < to {
            let end = ((begin / BLOCK_MS + 1) * BLOCK_MS).min(to);
            let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(&file)?);
            samples += workload::write_history(&mut models, begin, end, STEP_MS, true, &mut out)?;
            out.write_all(b"# EOF\n")?;
            out.flush()?;
            let mut promtool = Command::new(&self.options.promtool);
            promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file);
            let mut ours = Command::new(&self.binaries[System::Tradewatch as usize]);
            ours.arg("import").arg(&file).arg("--data-dir").arg(data(System::Tradewatch));
            fs::create_dir_all(data(System::Prometheus))?;
            for command in [promtool.arg(data(System::Prometheus)), &mut ours] {
                let output = command.output().with_context(|| format!("run {command:?}"))?;
                if !output.status.success() {
                    bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
                }
            }
            begin = end;
        }
        fs::remove_file(file)?;
        Ok(samples)
    }

    fn import_victoria_metrics(&self, server: &mut Server, series: usize, from: i64, to: i64) -> Result<()> {
        let mut models = workload::models(series, 10, true);
        let mut begin = from;
        while begin < to {
            let end = (begin + 20 * STEP_MS).min(to);
            let mut body = Vec::new();
            workload::write_history(&mut models, begin, end, STEP_MS, false, &mut body)?;
            server.http.post("/api/v1/import/prometheus", &body)?;
            begin = end;
        }
        server.http.get("/internal/force_flush")?;
        server.http.get("/internal/force_merge")?;
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    }
}

/// Ten or more targets in this process.
struct Targets {
    addrs: Vec<SocketAddr>,
    series: usize,
    asked: Arc<[AtomicU64; 3]>,
}

impl Targets {
    /// `is_fixed`: the bodies do not change, so that giving them costs little.
    fn new(series: usize, targets: usize, is_fixed: bool) -> Result<Targets> {
        let asked: Arc<[AtomicU64; 3]> = Arc::default();
        let (mut addrs, mut total) = (Vec::new(), 0);
        for model in workload::models(series, targets, false) {
            total += model.len();
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addrs.push(listener.local_addr()?);
            let (frames, asked) = (Arc::new(Frames::new(model)), asked.clone());
            let fixed = Arc::new(OnceLock::new());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (frames, asked, fixed) = (frames.clone(), asked.clone(), fixed.clone());
                    std::thread::spawn(move || {
                        let body = || match is_fixed {
                            true => Arc::clone(fixed.get_or_init(|| frames.body(0))),
                            false => frames.body((now() * 1000.0) as i64),
                        };
                        let _ = serve_target(&stream, body, &asked);
                    });
                }
            });
        }
        Ok(Targets { addrs, series: total, asked })
    }

    /// How often each system has asked.
    fn asked(&self) -> [u64; 3] {
        std::array::from_fn(|at| self.asked[at].load(Relaxed))
    }

    fn config(&self, system: System, interval: &str) -> String {
        let targets: Vec<String> = self.addrs.iter().map(|addr| format!("'{addr}'")).collect();
        format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\nscrape_configs:\n- job_name: bench\n  metrics_path: /{}\n  static_configs: [{{targets: [{}]}}]\n",
            system.name(),
            targets.join(", ")
        )
    }
}

fn serve_target(
    mut stream: &TcpStream,
    body: impl Fn() -> Arc<Vec<u8>>,
    asked: &[AtomicU64; 3],
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut path = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or("/").to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        let body = body();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)?;
        if let Some(system) = SYSTEMS.iter().find(|system| path[1..] == *system.name()) {
            asked[*system as usize].fetch_add(1, Relaxed);
        }
    }
}

/// Asks one server, over one connection while it lives.
struct Http {
    addr: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    fn new(addr: SocketAddr) -> Http {
        Http { addr, stream: None }
    }

    fn get(&mut self, path: &str) -> Result<String> {
        self.ask("GET", path, &[])
    }

    fn post(&mut self, path: &str, body: &[u8]) -> Result<String> {
        self.ask("POST", path, body)
    }

    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<String> {
        let answer = self.try_ask(method, path, body);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn try_ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.addr)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(START_MAX))?;
                self.stream.insert(BufReader::with_capacity(256 << 10, stream))
            }
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(body)?;
        let (mut line, mut status, mut length, mut is_chunked) = (String::new(), String::new(), 0, false);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("the connection was closed");
            }
            let text = line.trim_end().to_ascii_lowercase();
            if status.is_empty() {
                status = text;
            } else if text.is_empty() {
                break;
            } else if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            } else if text.starts_with("transfer-encoding:") {
                is_chunked = true;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        while is_chunked {
            line.clear();
            stream.read_line(&mut line)?;
            let count = usize::from_str_radix(line.trim(), 16).context("the length of a chunk")?;
            let from = answer.len();
            answer.resize(from + count, 0);
            stream.read_exact(&mut answer[from..])?;
            stream.read_exact(&mut [0; 2])?;
            is_chunked = count > 0;
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match status.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(answer),
            _ => bail!("{path}: {status}: {answer}"),
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn sleep_until(began: Instant, after: Duration) {
    std::thread::sleep(after.saturating_sub(began.elapsed()));
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |about| about.len()),
    };
    entries.flatten().map(bytes).sum()
}
