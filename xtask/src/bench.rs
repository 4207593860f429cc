//! How long it takes from a condition at a target to a webhook: ours beside Prometheus with Alertmanager, in one run.
//!
//! One target, one event: a gauge turns to 1 at a random moment, both systems scrape it, both tell a webhook of this
//! process. The rival runs at its most aggressive: rules evaluated as often as it scrapes, `group_wait: 0s`. Each trial is
//! an alert of its own, so that no grouping of earlier ones stands in its way. Then the same for what the SDK pushes.

pub mod engine;
mod workload;

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tradewatch_metrics::{Gauge, Metrics, Push, PushOptions, Registry, open_label};

/// How long one trial may take before it counts as lost.
const TRIAL_MAX: Duration = Duration::from_secs(20);
/// How long all parts may take until the first alert has come through.
const START_MAX: Duration = Duration::from_secs(60);
/// Most trials of a run.
pub const TRIALS_MAX: usize = 500;

/// What to run.
pub struct Options {
    /// Trials at each setting.
    pub trials: usize,
    /// Our binary.
    pub tradewatch: PathBuf,
    /// The rival's binary.
    pub prometheus: PathBuf,
    /// Its Alertmanager.
    pub alertmanager: PathBuf,
}

/// Trials at each setting unless told otherwise.
pub const TRIALS: u64 = 40;
/// Where Debian puts the rival.
pub const PROMETHEUS: &str = "/usr/bin/prometheus";
/// And its Alertmanager.
pub const ALERTMANAGER: &str = "/usr/bin/prometheus-alertmanager";

impl Options {
    /// Our release build beside Debian's packages.
    pub fn shipped(root: &Path) -> Options {
        Options {
            trials: TRIALS as usize,
            tradewatch: root.join("target/release/tradewatch"),
            prometheus: PROMETHEUS.into(),
            alertmanager: ALERTMANAGER.into(),
        }
    }
}

open_label!(
    /// A trial of the benchmark.
    pub struct Trial("trial"), budget = 512
);

/// What the pushing service tells.
#[derive(Metrics)]
struct Pushed {
    /// 1 from the moment of the trial on.
    #[metric(unit = "bool")]
    fault: Gauge<(Trial,)>,
}

/// The three settings with what they must reach: name, scrape interval, limits of median and worst in seconds.
const SETTINGS: [(&str, u64, f64, f64); 3] = [
    ("scraped each 1 s", 1_000, 0.6, 1.2),
    ("scraped each 100 ms", 100, 0.06, f64::INFINITY),
    ("pushed", 0, 0.02, f64::INFINITY),
];

/// Runs all settings and prints the table.
///
/// # Errors
/// A part does not start, an alert is lost, or a limit is missed.
pub fn alerts(root: &Path, options: &Options) -> Result<()> {
    let ours = &options.tradewatch;
    if !ours.exists() {
        bail!("build it first: cargo build --release --bin tradewatch");
    }
    let folder = root.join("target/bench-alerts");
    let mut rows = Vec::new();
    for (name, interval, median_max, worst_max) in SETTINGS {
        println!("{name}: {} trials", options.trials);
        let folder = folder.join(interval.to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let times = match interval {
            0 => pushed(ours, &folder, options.trials)?,
            _ => scraped(ours, &folder, interval, options)?,
        };
        rows.push((name, median_max, worst_max, times));
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "\nfrom the condition at the target to the webhook; {} trials each; load {}",
        options.trials,
        load.split(' ').next().unwrap_or("?")
    );
    for (name, path) in [("prometheus", &options.prometheus), ("alertmanager", &options.alertmanager)] {
        println!("{name}: {}", version(path));
    }
    println!(
        "\n| setting | system | median | p95 | worst | ratio of medians | target |\n|---|---|---|---|---|---|---|"
    );
    let mut missed = Vec::new();
    for (name, median_max, worst_max, times) in &rows {
        let ours = Figures::of(&times["tradewatch"]);
        let rival = times.get("prometheus").map(|times| Figures::of(times));
        let met = ours.median <= *median_max && ours.worst <= *worst_max;
        let worst = if worst_max.is_finite() { format!(", worst ≤ {worst_max} s") } else { String::new() };
        let ratio = rival.as_ref().map_or("".into(), |rival| format!("{:.2}", ours.median / rival.median));
        println!(
            "| {name} | tradewatch | {ours} | {ratio} | median ≤ {median_max} s{worst}: {} |",
            if met { "met" } else { "missed" }
        );
        if let Some(rival) = &rival {
            println!("| {name} | prometheus + alertmanager | {rival} | | |");
        }
        if !met {
            missed.push(*name);
        }
    }
    if !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

struct Figures {
    median: f64,
    p95: f64,
    worst: f64,
}

impl Figures {
    fn of(times: &[f64]) -> Figures {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
        Figures { median: at(0.5), p95: at(0.95), worst: at(1.0) }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s | {:.3} s | {:.3} s", self.median, self.p95, self.worst)
    }
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

/// A child that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(binary: &Path, folder: &Path, args: &[String]) -> Result<Running> {
    let log =
        fs::File::create(folder.join(format!("{}.log", binary.file_name().unwrap_or_default().display())))?;
    let child = Command::new(binary)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    Ok(Running(child))
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Answers requests on a port of its own: `answer` gets path and body and gives the body of the answer.
fn serve(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = converse(stream, &*answer);
            });
        }
    });
    Ok(addr)
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(&str, &str) -> String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let more = stream.read(&mut chunk)?;
        if more == 0 {
            return Ok(());
        }
        read.extend_from_slice(&chunk[..more]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let body = answer(head.split(' ').nth(1).unwrap_or(""), body);
        read.clear();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

/// What came in: which system told of which trial, and when.
type Heard = (String, usize, Instant);

/// A webhook under a path for each system.
fn webhook(tell: Sender<Heard>) -> Result<SocketAddr> {
    serve(move |path, body| {
        let now = Instant::now();
        let trial = body.split("\"trial\":\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        if let Some(trial) = trial.filter(|_| body.contains("\"status\":\"firing\"")) {
            let _ = tell.send((path.trim_matches('/').to_owned(), trial, now));
        }
        String::new()
    })
}

const RULES: &str = "groups:\n- name: bench\n  rules:\n  - alert: Fault\n    expr: fault == 1\n    for: 0s\n";

fn routes(webhook: SocketAddr, system: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\nreceivers:\n- name: hook\n  webhook_configs: [{{url: 'http://{webhook}/{system}', send_resolved: false}}]\n"
    )
}

/// Starts us in `folder` on what `prometheus_yml` says.
fn monitor(
    ours: &Path,
    folder: &Path,
    prometheus_yml: &str,
    webhook: SocketAddr,
    listen: SocketAddr,
) -> Result<Running> {
    fs::write(folder.join("rules.yml"), RULES)?;
    let (config, routing) = (folder.join("tradewatch.yml"), folder.join("tradewatch-routes.yml"));
    fs::write(&config, prometheus_yml)?;
    fs::write(&routing, routes(webhook, "tradewatch"))?;
    let args = [
        "serve".into(),
        format!("--config={}", config.display()),
        format!("--alertmanager-config={}", routing.display()),
        format!("--listen={listen}"),
        format!("--data-dir={}", folder.join("tradewatch").display()),
        "--web.enable-push-receiver".into(),
    ];
    start(ours, folder, &args)
}

/// Runs trials against `raise`, which makes the condition of a trial true; the times of each system in seconds.
fn trials(
    count: usize,
    systems: &[&str],
    phase: Duration,
    heard: &Receiver<Heard>,
    raise: impl Fn(usize),
) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for trial in 0..=count {
        // The first trial waits for all parts to be up and is not counted.
        let limit = if trial == 0 { START_MAX } else { TRIAL_MAX };
        std::thread::sleep(Duration::from_millis(150) + phase.mul_f64(random()));
        let raised = Instant::now();
        raise(trial);
        let mut missing: Vec<&str> = systems.to_vec();
        while !missing.is_empty() {
            let left = limit.saturating_sub(raised.elapsed());
            let Ok((system, of, at)) = heard.recv_timeout(left) else {
                bail!("trial {trial}: {} did not tell within {limit:?}", missing.join(" and "));
            };
            let Some(found) = missing.iter().position(|one| *one == system).filter(|_| of == trial) else {
                continue;
            };
            missing.swap_remove(found);
            if trial > 0 {
                times.entry(system).or_default().push((at - raised).as_secs_f64());
            }
        }
    }
    Ok(times)
}

/// A number from 0 to 1: the phase of a trial.
fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn scraped(
    ours: &Path,
    folder: &Path,
    interval: u64,
    options: &Options,
) -> Result<BTreeMap<String, Vec<f64>>> {
    let raised: Arc<Vec<AtomicBool>> =
        Arc::new((0..=options.trials).map(|_| AtomicBool::new(false)).collect());
    let shown = raised.clone();
    let target = serve(move |_, _| {
        let lines = shown.iter().enumerate();
        let lines = lines
            .map(|(at, on)| format!("fault{{trial=\"{at}\"}} {}\n", u8::from(on.load(Ordering::SeqCst))));
        format!("# TYPE fault gauge\n{}", lines.collect::<String>())
    })?;
    let (tell, heard) = channel();
    let webhook = webhook(tell)?;
    let (us, rival, manager) = (free_port()?, free_port()?, free_port()?);
    let yml = format!(
        "global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms, evaluation_interval: {interval}ms}}\nrule_files: [rules.yml]\nscrape_configs:\n- job_name: bench\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    let _us = monitor(ours, folder, &yml, webhook, us)?;
    let (config, routing) = (folder.join("prometheus.yml"), folder.join("alertmanager.yml"));
    fs::write(
        &config,
        format!("{yml}alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{manager}']}}]}}]}}\n"),
    )?;
    fs::write(&routing, routes(webhook, "prometheus"))?;
    let args = [
        format!("--config.file={}", routing.display()),
        format!("--storage.path={}", folder.join("alertmanager").display()),
        format!("--web.listen-address={manager}"),
        "--cluster.listen-address=".into(),
    ];
    let _manager = start(&options.alertmanager, folder, &args)?;
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address={rival}"),
    ];
    let _rival = start(&options.prometheus, folder, &args)?;
    let phase = Duration::from_millis(interval);
    trials(options.trials, &["tradewatch", "prometheus"], phase, &heard, |trial| {
        raised[trial].store(true, Ordering::SeqCst);
    })
}

fn pushed(ours: &Path, folder: &Path, count: usize) -> Result<BTreeMap<String, Vec<f64>>> {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    let registry = REGISTRY.get_or_init(Registry::new).clone();
    let metrics = Pushed::register(&registry)?;
    let gauges: Vec<_> =
        (0..=count).map(|trial| metrics.fault.at((Trial::intern(&trial.to_string()),))).collect();
    gauges.iter().for_each(|gauge| gauge.set(0.0));
    let (tell, heard) = channel();
    let (webhook, us) = (webhook(tell)?, free_port()?);
    let _us =
        monitor(ours, folder, "global: {evaluation_interval: 1m}\nrule_files: [rules.yml]\n", webhook, us)?;
    let push = PushOptions {
        monitor: us.to_string(),
        job: "bench".into(),
        instance: "bench".into(),
        families: vec!["fault".into()],
        ..PushOptions::default()
    };
    let _push = Push::start(push, registry)?;
    trials(count, &["tradewatch"], Duration::from_millis(50), &heard, |trial| gauges[trial].set(1.0))
}
