//! The running demo's control socket: one line of JSON in, one line of JSON out.
//!
//! A Unix socket in the data directory, so that only its owner reaches it.

use super::scene::Stage;
use crate::drill::Fault;
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The longest request line that is read.
const REQUEST_BYTES_MAX: usize = 4096;

/// What can be asked of a running demo.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// All services and their states.
    List,
    /// Start a service, or wake a hung one.
    Start {
        /// Which.
        name: String,
    },
    /// Ask a service to end.
    Stop {
        /// Which.
        name: String,
    },
    /// End a service without warning.
    Kill {
        /// Which.
        name: String,
    },
    /// Freeze a service.
    Hang {
        /// Which.
        name: String,
    },
    /// Make a fault happen.
    Inject {
        /// Which.
        fault: Box<Fault>,
        /// How long it lasts at most.
        seconds: u64,
    },
    /// End a fault.
    TakeBack {
        /// Which.
        fault: Box<Fault>,
    },
    /// Where the gateway listens, for commands that speak to it.
    Address {
        /// Which.
        name: String,
    },
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// One line to show.
    pub message: String,
    /// The services, for `List`.
    #[serde(default)]
    pub services: Vec<serde_json::Value>,
}

/// Where the socket of a demo with this data directory lies.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Answers requests until the future is dropped; a request that is under way then is given up, so that it does not
/// keep the demo from ending.
///
/// # Errors
/// If the socket cannot be made.
pub async fn serve(data_dir: &Path, stage: Arc<Stage>) -> Result<()> {
    let path = socket_path(data_dir);
    // The data directory is locked by us, so a socket found here belongs to a demo that is dead.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let stage = stage.clone();
        connections.spawn(async move {
            if let Err(error) = answer(stream, &stage).await {
                tracing::debug!(%error, "control connection");
            }
        });
    }
}

async fn answer(stream: UnixStream, stage: &Stage) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let limited = tokio::io::AsyncReadExt::take(read, REQUEST_BYTES_MAX as u64);
    BufReader::new(limited).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => perform(request, stage).await.unwrap_or_else(|error| Reply {
            error: Some(format!("{error:#}")),
            message: String::new(),
            services: Vec::new(),
        }),
        Err(error) => Reply {
            error: Some(format!("not a request: {error}")),
            message: String::new(),
            services: Vec::new(),
        },
    };
    write.write_all(format!("{}\n", serde_json::to_string(&reply)?).as_bytes()).await?;
    Ok(())
}

async fn perform(request: Request, stage: &Stage) -> Result<Reply> {
    let say = |message: String| Reply { error: None, message, services: Vec::new() };
    let supervisor = || stage.supervisor.lock();
    Ok(match request {
        Request::List => Reply {
            error: None,
            message: String::new(),
            services: supervisor().await.list().iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
        },
        Request::Start { name } => {
            let took = supervisor().await.start(&name).await?;
            say(format!("{name} started, listening after {:.1} s", took.as_secs_f64()))
        }
        Request::Stop { name } => {
            supervisor().await.stop(&name).await?;
            say(format!("{name} stopped"))
        }
        Request::Kill { name } => {
            supervisor().await.kill(&name).await?;
            say(format!("{name} killed"))
        }
        Request::Hang { name } => {
            supervisor().await.hang(&name)?;
            say(format!(
                "{name} hangs: it keeps its port and answers nothing; `tradewatch service start {name}` wakes it"
            ))
        }
        Request::Address { name } => {
            let supervisor = supervisor().await;
            let spec = supervisor.spec(&name).ok_or_else(|| anyhow!("no service is called {name:?}"))?;
            say(spec.addr.to_string())
        }
        Request::Inject { fault, seconds } => {
            stage.inject(&fault, seconds).await?;
            say("the fault is there".into())
        }
        Request::TakeBack { fault } => {
            stage.take_back(&fault).await?;
            say("the fault is gone".into())
        }
    })
}

/// Asks the demo that runs with this data directory.
///
/// # Errors
/// If none runs there, or it refuses; the message says what to do.
pub async fn ask(data_dir: &Path, request: &Request) -> Result<Reply> {
    let path = socket_path(data_dir);
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        anyhow!("no demo runs with the data directory {} ({error}); start `tradewatch demo`, or name its --data-dir", data_dir.display())
    })?;
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await?;
    let reply: Reply = serde_json::from_str(&line).context("the demo's answer")?;
    if let Some(error) = reply.error {
        bail!("{error}");
    }
    Ok(reply)
}

/// The table of `tradewatch service list`.
pub fn table(rows: &[serde_json::Value]) -> String {
    let mut text = format!("{:<22} {:<22} {:<9} {}\n", "service", "address", "state", "pid");
    for row in rows {
        let field = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        let pid = if row["pid"].is_null() { "–".to_owned() } else { field("pid") };
        text += &format!("{:<22} {:<22} {:<9} {pid}\n", field("name"), field("addr"), field("state"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::supervisor::{Row, State};
    use super::*;

    #[test]
    fn the_table_names_each_service_and_its_state() {
        let row = Row {
            name: "orchestrator".into(),
            addr: ([127, 0, 0, 1], 8003).into(),
            state: State::Killed,
            pid: None,
        };
        let text = table(&[serde_json::to_value(&row).unwrap()]);
        expect_test::expect![[r#"
            service                address                state     pid
            orchestrator           127.0.0.1:8003         killed    –
        "#]]
        .assert_eq(&text);
    }
}
