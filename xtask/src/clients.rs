//! Outside clients against a running demo: the broker's own Python client, the reference parsers, promtool, and a real
//! Prometheus that scrapes the services from the shipped configuration.

use crate::ci::{Run, command, python_env};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PORT_BASE: u16 = 18_100;
const MONITOR: u16 = 19_190;
const PROMETHEUS: u16 = 19_191;
/// How long the demo and Prometheus may take until all targets are up.
const UP_MAX: Duration = Duration::from_secs(90);

/// A child that is asked to end when the stage is over.
struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    /// Ends the child as Ctrl-C would, and fails if it does not end well.
    fn interrupt(mut self) -> Result<()> {
        command(Path::new("."), "kill", &["-INT", &self.child.id().to_string()], &[])?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a demo and lets each client at it.
///
/// # Errors
/// What a client found wrong.
pub fn run(run: &Run) -> Result<()> {
    let folder = run.root.join("target/outside-clients");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let demo = Command::new(run.root.join(run.executable()))
        .args(["demo", "--listen", &format!("127.0.0.1:{MONITOR}"), "--port-base", &PORT_BASE.to_string()])
        .args(["--data-dir", &folder.join("demo").to_string_lossy()])
        .current_dir(&run.root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start the demo")?;
    let demo = Running { name: "the demo", child: demo };
    five_up(MONITOR)?;

    let metrics: Vec<String> = (1..=4)
        .map(|offset| PORT_BASE + offset)
        .chain([MONITOR])
        .map(|port| format!("http://127.0.0.1:{port}/metrics"))
        .collect();
    for url in &metrics {
        let line = format!("curl -fsS {url} | promtool check metrics");
        command(&run.root, "sh", &["-c", &line], &[]).with_context(|| format!("promtool on {url}"))?;
    }
    println!("promtool check metrics accepts {} targets", metrics.len());

    let python = python_env(run).join("bin/python").to_string_lossy().into_owned();
    let clients = run.root.join("xtask/clients");
    let mut args = vec!["read_metrics.py"];
    args.extend(metrics.iter().map(String::as_str));
    command(&clients, &python, &args, &[])?;
    let (broker, feed) =
        (format!("http://127.0.0.1:{}", PORT_BASE + 11), format!("http://127.0.0.1:{}", PORT_BASE + 10));
    command(&clients, &python, &["alpaca_trade.py", &broker, &feed], &[])?;

    let monitor = format!("--alertmanager.url=http://127.0.0.1:{MONITOR}");
    command(&run.root, "amtool", &[&monitor, "alert", "query"], &[]).context("amtool against the monitor")?;
    command(
        &run.root,
        "promtool",
        &["query", "instant", &format!("http://127.0.0.1:{MONITOR}"), "count(up)"],
        &[],
    )?;

    let prometheus = scrape_with_prometheus(run, &folder)?;
    drop(prometheus);
    demo.interrupt()
}

/// A real Prometheus with the configuration that keeps the documents' intervals; returns once all its targets are up.
fn scrape_with_prometheus(run: &Run, folder: &Path) -> Result<Running> {
    let platform = run.root.join("platforms/trading-platform");
    let mut text = std::fs::read_to_string(platform.join("prometheus.documents.yml"))?;
    for offset in 1..=4 {
        text = text
            .replace(&format!("127.0.0.1:{}", 8000 + offset), &format!("127.0.0.1:{}", PORT_BASE + offset));
    }
    text = text.replace("127.0.0.1:9090", &format!("127.0.0.1:{MONITOR}"));
    text = text.replace("- rules/", &format!("- {}/rules/", platform.display()));
    text = text.replace("- ../tradewatch/", &format!("- {}/platforms/tradewatch/", run.root.display()));
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(folder.join("prometheus.log"))?;
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{PROMETHEUS}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("start Prometheus")?;
    let running = Running { name: "Prometheus", child };
    five_up(PROMETHEUS).context("a real Prometheus with the shipped configuration")?;
    println!("Prometheus has all 5 targets up");
    Ok(running)
}

/// Waits until the server on `port` has five targets up.
fn five_up(port: u16) -> Result<()> {
    let begin = Instant::now();
    loop {
        let output = Command::new("curl")
            .args(["-fsS", "-G", "--max-time", "2", "--data-urlencode", "query=count(up == 1)"])
            .arg(format!("http://127.0.0.1:{port}/api/v1/query"))
            .output()?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if answer["data"]["result"][0]["value"][1] == "5" {
            return Ok(());
        }
        if begin.elapsed() > UP_MAX {
            bail!("not all 5 targets are up on port {port} after {UP_MAX:?}: {answer}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
