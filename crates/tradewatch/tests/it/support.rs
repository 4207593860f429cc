//! A demo in a folder and on ports of its own, and a webhook that writes down what arrives.

use axum::{Json, Router, extract::State, routing::post};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tradewatch_platforms::runtime::Net;
use tradewatch_platforms::runtime::http::Client;

/// How long anything may take that a slow machine only delays.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports of one demo: the services' base, and the monitor's.
pub struct Ports {
    pub base: u16,
    pub monitor: u16,
}

impl Ports {
    /// Thirteen ports that are free now and that no other test of this process is given.
    pub fn free() -> Ports {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        loop {
            // Below the range from which the kernel gives out ports by itself.
            let slot = NEXT.fetch_add(1, Ordering::Relaxed) + (std::process::id() % 500) as u16;
            let base = 12_000 + (slot % 1_000) * 16;
            let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if (base..base + 14).all(free) {
                return Ports { base, monitor: base + 13 };
            }
        }
    }
}

/// A running demo; dropped, it is ended with all its children.
pub struct Demo {
    pub folder: Arc<TempDir>,
    pub ports: Ports,
    child: Child,
}

impl Demo {
    pub async fn start(args: &[&str]) -> Demo {
        Demo::start_in(Arc::new(TempDir::new().unwrap()), Ports::free(), args).await
    }

    pub async fn start_in(folder: Arc<TempDir>, ports: Ports, args: &[&str]) -> Demo {
        Demo::start_with(folder, ports, args, Stdio::null()).await
    }

    pub async fn start_with(folder: Arc<TempDir>, ports: Ports, args: &[&str], stdout: Stdio) -> Demo {
        let child = command(&folder, &ports, args).stdout(stdout).stderr(Stdio::inherit()).spawn().unwrap();
        let mut demo = Demo { folder, ports, child };
        let begin = Instant::now();
        while !demo.ready().await {
            assert!(begin.elapsed() < PATIENCE, "the demo is not ready after {PATIENCE:?}");
            assert!(demo.child.try_wait().unwrap().is_none(), "the demo ended while starting");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        demo
    }

    async fn ready(&self) -> bool {
        let all_up = self.query("count(up == 1)").await;
        all_up.is_some_and(|data| data["result"][0]["value"][1] == "5")
    }

    pub fn monitor(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.monitor).into()
    }

    /// The `data` of an instant query, if the monitor answers.
    pub async fn query(&self, expr: &str) -> Option<Value> {
        self.get(&format!("/api/v1/query?query={}", encode(expr)))
            .await
            .map(|mut answer| answer["data"].take())
    }

    /// The `data` of an instant query about another time.
    pub async fn query_at(&self, expr: &str, at: f64) -> Option<Value> {
        self.get(&format!("/api/v1/query?query={}&time={at}", encode(expr)))
            .await
            .map(|mut answer| answer["data"].take())
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = client().get(&format!("http://{}{path}", self.monitor())).await.ok()?;
        answer.json().ok()
    }

    /// Runs another command of the same executable against this demo.
    pub fn command(&self, args: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_tradewatch"))
            .args(args)
            .args(["--data-dir", &self.folder.path().to_string_lossy()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the demo has ended.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < within, "the demo still runs after {within:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processes of the services.
    pub fn pids(&self) -> Vec<u32> {
        let list = String::from_utf8(self.command(&["service", "list"]).stdout).unwrap();
        list.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tradewatch demo` in `folder` on `ports`.
pub fn command(folder: &TempDir, ports: &Ports, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradewatch"));
    command
        .arg("demo")
        .args(["--data-dir", &folder.path().to_string_lossy()])
        .args(["--port-base", &ports.base.to_string()])
        .args(["--listen", &format!("127.0.0.1:{}", ports.monitor)])
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::null());
    command
}

pub fn client() -> Client {
    Client::new(Net::Tcp, Duration::from_secs(10))
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// Waits until `probe` gives something.
pub async fn eventually<T>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < within, "waited {within:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A receiver of notifications in Alertmanager's webhook format.
#[derive(Clone)]
pub struct Webhook {
    pub url: String,
    received: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl Webhook {
    pub async fn listen() -> Webhook {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new()
            .route(
                "/hook",
                post(
                    async |State(received): State<Arc<Mutex<Vec<(Instant, Value)>>>>,
                           Json(body): Json<Value>| {
                        received.lock().unwrap().push((Instant::now(), body));
                    },
                ),
            )
            .with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Webhook { url, received }
    }

    /// When a notification first carried `alert` in `status`, not counting what came before `since`.
    pub fn first(&self, alert: &str, status: &str, since: Instant) -> Option<Instant> {
        let received = self.received.lock().unwrap();
        let carries = |body: &Value| {
            body["alerts"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["labels"]["alertname"] == alert && one["status"] == status)
        };
        received.iter().find(|(at, body)| *at >= since && carries(body)).map(|(at, _)| *at)
    }

    /// Every alert of every notification with its status, sorted.
    pub fn told(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let alerts = received.iter().flat_map(|(_, body)| body["alerts"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut told: Vec<String> = alerts
            .map(|one| format!("{} {}", text(&one["labels"]["alertname"]), text(&one["status"])))
            .collect();
        told.sort();
        told
    }
}
