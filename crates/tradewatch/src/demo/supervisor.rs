//! The demo's child processes: started, stopped, killed, hung, and never restarted by themselves.
//!
//! A child ends when its standard input closes, so that none outlives the demo however the demo dies.

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a child may take to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(4);
/// How long a child may take until it answers.
const READY_MAX: Duration = Duration::from_secs(20);

/// What the demo can run.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its name on the command line.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What the start-up list says behind the address.
    pub note: String,
    /// Arguments after the executable.
    pub args: Vec<String>,
}

/// How a child is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The process is there.
    Running,
    /// Stopped by a signal; it holds its port and does not answer.
    Hung,
    /// Ended on request.
    Stopped,
    /// Ended by `kill`.
    Killed,
    /// Ended by itself.
    Exited,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Hung => "hung",
            State::Stopped => "stopped",
            State::Killed => "killed",
            State::Exited => "ended by itself",
        })
    }
}

struct Process {
    spec: ServiceSpec,
    child: Option<Child>,
    state: State,
}

/// The children by name.
pub struct Supervisor {
    executable: PathBuf,
    logs: PathBuf,
    order: Vec<String>,
    processes: BTreeMap<String, Process>,
}

/// One row of `tradewatch service list`.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How it is doing.
    pub state: State,
    /// Its process, while there is one.
    pub pid: Option<u32>,
}

impl Supervisor {
    /// Knows `specs`, starts nothing yet. Each child's output goes to a file below `logs`.
    pub fn new(executable: PathBuf, logs: PathBuf, specs: Vec<ServiceSpec>) -> Self {
        let order = specs.iter().map(|spec| spec.name.clone()).collect();
        let processes = specs
            .into_iter()
            .map(|spec| (spec.name.clone(), Process { spec, child: None, state: State::Stopped }))
            .collect();
        Self { executable, logs, order, processes }
    }

    /// The names in the order in which they start.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    /// What is known of `name`.
    pub fn spec(&self, name: &str) -> Option<&ServiceSpec> {
        self.processes.get(name).map(|process| &process.spec)
    }

    /// Starts `name`, or wakes it if it hangs, and waits until it accepts connections. Returns the time that took.
    ///
    /// # Errors
    /// If it is running, if its port is taken, or if it ends or stays silent; the last lines of its log are in the message.
    pub async fn start(&mut self, name: &str) -> Result<Duration> {
        let log_path = self.logs.join(format!("{name}.log"));
        let executable = self.executable.clone();
        let process = self.find(name)?;
        let begin = Instant::now();
        match process.state() {
            State::Running => bail!("{name} is running"),
            State::Hung => {
                process.signal(Signal::CONT)?;
                process.state = State::Running;
                return Ok(begin.elapsed());
            }
            State::Stopped | State::Killed | State::Exited => {}
        }
        if tokio::net::TcpStream::connect(process.spec.addr).await.is_ok() {
            bail!(
                "{name}: port {} is taken by another program; stop it or move the demo with --port-base",
                process.spec.addr
            );
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("open {}", log_path.display()))?;
        let child = Command::new(executable)
            .args(&process.spec.args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the whole group; the demo stops its children itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        process.child = Some(child);
        process.state = State::Running;
        let addr = process.spec.addr;
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            if process.state() == State::Exited {
                bail!("{name} ended while starting: {}", last_lines(&log_path));
            }
            if begin.elapsed() > READY_MAX {
                // A process that serves nobody must not stand in the way of the next start.
                process.signal(Signal::KILL)?;
                process.end(State::Killed).await;
                bail!("{name} does not listen on {addr} after {READY_MAX:?}: {}", last_lines(&log_path));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(begin.elapsed())
    }

    /// Asks `name` to end and waits for it; kills it if it takes too long.
    ///
    /// # Errors
    /// If it is not running.
    pub async fn stop(&mut self, name: &str) -> Result<()> {
        let process = self.find(name)?;
        match process.state() {
            State::Running => process.signal(Signal::TERM)?,
            State::Hung => {
                process.signal(Signal::TERM)?;
                process.signal(Signal::CONT)?;
            }
            state => bail!("{name} is not running: it is {state}"),
        }
        process.end(State::Stopped).await;
        Ok(())
    }

    /// Kills `name` (SIGKILL): no goodbye, nothing flushed.
    ///
    /// # Errors
    /// If it is not running.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let process = self.find(name)?;
        match process.state() {
            State::Running | State::Hung => process.signal(Signal::KILL)?,
            state => bail!("{name} is not running: it is {state}"),
        }
        process.end(State::Killed).await;
        Ok(())
    }

    /// Freezes `name` (SIGSTOP): its port stays open and nothing answers. `start` wakes it.
    ///
    /// # Errors
    /// If it is not running.
    pub fn hang(&mut self, name: &str) -> Result<()> {
        let process = self.find(name)?;
        match process.state() {
            State::Running => process.signal(Signal::STOP)?,
            State::Hung => bail!("{name} hangs already; `tradewatch service start {name}` wakes it"),
            state => bail!("{name} is not running: it is {state}"),
        }
        process.state = State::Hung;
        Ok(())
    }

    /// Every child and how it is doing.
    pub fn list(&mut self) -> Vec<Row> {
        let order = self.order.clone();
        order
            .into_iter()
            .filter_map(|name| {
                let process = self.processes.get_mut(&name)?;
                let state = process.state();
                Some(Row { name, addr: process.spec.addr, state, pid: process.pid() })
            })
            .collect()
    }

    /// Ends all children, last started first, all at the same time and within one grace.
    pub async fn stop_all(&mut self) {
        for name in self.order.iter().rev() {
            if let Some(process) = self.processes.get_mut(name)
                && matches!(process.state(), State::Running | State::Hung)
            {
                // A child that is gone by now needs no signal.
                let _ = process.signal(Signal::TERM);
                let _ = process.signal(Signal::CONT);
            }
        }
        let deadline = Instant::now() + STOP_GRACE;
        for process in self.processes.values_mut() {
            process.end_by(State::Stopped, deadline).await;
        }
    }

    fn find(&mut self, name: &str) -> Result<&mut Process> {
        let known = self.order.join(", ");
        self.processes
            .get_mut(name)
            .ok_or_else(|| anyhow!("no service is called {name:?}; there are: {known}"))
    }
}

impl Process {
    fn state(&mut self) -> State {
        if let Some(child) = &mut self.child
            && let Ok(Some(_)) = child.try_wait()
        {
            self.child = None;
            self.state = State::Exited;
        }
        self.state
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or_else(|| anyhow!("{} has ended", self.spec.name))?;
        kill_process(pid, signal).with_context(|| format!("signal {}", self.spec.name))
    }

    async fn end(&mut self, state: State) {
        self.end_by(state, Instant::now() + STOP_GRACE).await;
    }

    async fn end_by(&mut self, state: State, deadline: Instant) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            if timeout_at(deadline, child.wait()).await.is_err() {
                // It ignored the request; what follows cannot fail on a child of ours.
                let _ = child.kill().await;
            }
            self.state = state;
        }
    }
}

fn last_lines(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    match lines[lines.len().saturating_sub(3)..] {
        [] => format!("nothing in {}", log.display()),
        ref last => format!("{} ({})", last.join(" | "), log.display()),
    }
}
