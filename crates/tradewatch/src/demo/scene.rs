//! The announced scene of faults: each acts on the world, and each is taken back.
//!
//! A fault is a killed process, a closed socket, a locked file, a damaged model or a request that any operator could
//! send. None touches a metric, a rule or the store.

use super::inject::Taken;
use super::supervisor::Supervisor;
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tradewatch_platforms::runtime::Net;
use tradewatch_platforms::runtime::http::Client;

/// How long the scene takes; a shorter `--for` leaves the end of it out and says so.
pub const SCENE: Duration = Duration::from_secs(108);

/// What the scene can reach.
pub struct Stage {
    /// The processes.
    pub supervisor: Arc<Mutex<Supervisor>>,
    /// The platform's database file; a PostgreSQL is not ours to lock.
    pub database: Option<PathBuf>,
    /// The model file that the signal service watches.
    pub model: PathBuf,
    /// The model that is released in the scene.
    pub next_model: PathBuf,
    /// Key and secret of the account at the paper broker.
    pub account: (String, String),
    /// What faults of drills took away.
    pub taken: Mutex<Taken>,
    /// Where the monitor answers; the scene marks there what it does.
    pub monitor: std::net::SocketAddr,
    /// Prints one line.
    pub say: fn(&str),
}

enum Act {
    Kill(&'static str),
    Start(&'static str),
    Post(&'static str, &'static str, Json),
    /// A request that may rightly be refused.
    Ask(&'static str, &'static str),
    Delete(&'static str, &'static str),
    LockDatabase(Duration),
    Model(Model),
    /// An order at the broker that the gateway knows nothing of.
    PastTheGateway(&'static str),
}

enum Model {
    Damaged,
    Missing,
    Next,
}

fn script() -> Vec<(u64, &'static str, Act)> {
    use Act::{Delete, Kill, LockDatabase, PastTheGateway, Post, Start};
    let none = || json!({});
    vec![
        (
            1,
            "somebody buys a share at the broker, past the gateway, and sells it again",
            PastTheGateway("buy"),
        ),
        (
            4,
            "a symbol more is subscribed, and given back",
            Post("market-data-service", "/api/v1/subscribe", json!({ "symbols": ["AAPL"] })),
        ),
        (6, "", Delete("market-data-service", "/api/v1/subscribe/AAPL")),
        (7, "", PastTheGateway("sell")),
        (
            8,
            "the feed drops its connections and takes no new ones for 5 s",
            Post("market-feed", "/control/faults", json!({ "kind": "refuse", "for_seconds": 5 })),
        ),
        (8, "", Post("market-feed", "/control/faults", json!({ "kind": "disconnect", "for_seconds": 1 }))),
        (
            17,
            "the feed loses some messages of TSLA",
            Post(
                "market-feed",
                "/control/faults",
                json!({ "kind": "gap", "symbol": "TSLA", "messages": 5, "for_seconds": 2 }),
            ),
        ),
        (
            20,
            "the broker answers 6 of 10 calls with errors for 8 s",
            Post(
                "paper-broker",
                "/control/faults",
                json!({ "kind": "error", "share": 0.6, "for_seconds": 8 }),
            ),
        ),
        (31, "the broker is gone", Kill("paper-broker")),
        (36, "the broker is back", Start("paper-broker")),
        (
            39,
            "the circuit breaker is reset, if broker errors tripped it",
            Act::Ask("execution-gateway", "/api/v1/breaker/reset"),
        ),
        (42, "another program locks the database for 4 s", LockDatabase(Duration::from_secs(4))),
        (49, "the price cache is gone", Kill("price-cache")),
        (53, "the price cache is back", Start("price-cache")),
        (57, "a damaged model is offered", Act::Model(Model::Damaged)),
        (60, "the model file is missing", Act::Model(Model::Missing)),
        (63, "a new model is released", Act::Model(Model::Next)),
        (67, "dry run on", Post("execution-gateway", "/api/v1/mode", json!({ "dry_run": true }))),
        (71, "dry run off", Post("execution-gateway", "/api/v1/mode", json!({ "dry_run": false }))),
        (
            74,
            "the circuit breaker is tripped by hand",
            Post(
                "execution-gateway",
                "/api/v1/breaker/trip",
                json!({ "by": "scene", "comment": "announced" }),
            ),
        ),
        (78, "the circuit breaker is reset", Post("execution-gateway", "/api/v1/breaker/reset", none())),
        (
            82,
            "risk tightens the limits of the day, and takes it back",
            Post(
                "execution-gateway",
                "/api/v1/limits",
                json!({ "daily_loss": 4000, "drawdown_ratio": 0.08, "gross_exposure": 90000 }),
            ),
        ),
        (84, "", Post("execution-gateway", "/api/v1/limits", none())),
        (86, "the signal service is killed", Kill("signal-service")),
        (91, "the signal service is started", Start("signal-service")),
        (97, "the execution gateway is killed", Kill("execution-gateway")),
        (102, "the execution gateway is started", Start("execution-gateway")),
    ]
}

/// The seconds of the scene at which something fails that a monitor should tell of, and at which it is over.
const INCIDENTS: [(u64, u64); 10] =
    [(8, 13), (17, 19), (20, 28), (31, 36), (42, 46), (49, 53), (57, 63), (74, 78), (86, 91), (97, 102)];

/// Plays the scene, or what of it fits before `end`.
///
/// # Errors
/// If an act cannot be performed; the scene then stops, since what follows would prove nothing.
pub async fn play(stage: &Stage, end: Instant) -> Result<()> {
    let begin = Instant::now();
    if begin + SCENE > end {
        (stage.say)("the scene is longer than this run; its end is left out");
    }
    for (second, line, act) in script() {
        let at = begin + Duration::from_secs(second);
        if at + Duration::from_secs(6) > end {
            break;
        }
        sleep_until(at).await;
        if !line.is_empty() {
            (stage.say)(line);
            if let Some((_, over)) = INCIDENTS.iter().find(|(begin, _)| *begin == second) {
                stage.mark(line, Duration::from_secs(over - second)).await?;
            }
        }
        stage.perform(act).await.with_context(|| format!("scene, second {second}: {line}"))?;
    }
    Ok(())
}

impl Stage {
    async fn perform(&self, act: Act) -> Result<()> {
        match act {
            Act::Kill(name) => {
                let mut supervisor = self.supervisor.lock().await;
                match supervisor.spec(name) {
                    Some(_) => supervisor.kill(name).await,
                    None => {
                        (self.say)("left out: the cache is a Redis of yours");
                        Ok(())
                    }
                }
            }
            Act::Start(name) => {
                let mut supervisor = self.supervisor.lock().await;
                match supervisor.spec(name) {
                    Some(_) => supervisor.start(name).await.map(|_| ()),
                    None => Ok(()),
                }
            }
            Act::Post(name, path, body) => {
                let url = self.url(name, path).await?;
                let answer = client().post(&url, &body).await?;
                anyhow::ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
                Ok(())
            }
            Act::Ask(name, path) => {
                let url = self.url(name, path).await?;
                client().post(&url, &json!({})).await?;
                Ok(())
            }
            Act::Delete(name, path) => {
                let url = self.url(name, path).await?;
                let answer = client().delete(&url).await?;
                anyhow::ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
                Ok(())
            }
            Act::LockDatabase(duration) => match &self.database {
                Some(file) => tradewatch_platforms::faults::lock_database(file, duration).await,
                None => {
                    (self.say)("left out: the database is a PostgreSQL of yours");
                    Ok(())
                }
            },
            Act::Model(model) => self.offer(model).await,
            Act::PastTheGateway(side) => self.order_past_the_gateway(side).await,
        }
    }

    /// Sends an order straight to the broker; it refuses some by chance, so it is asked a few times.
    pub(super) async fn order_past_the_gateway(&self, side: &str) -> Result<()> {
        let url = self.url("paper-broker", "/v2/orders").await?;
        let (key, secret) = &self.account;
        let client = client().with_header("APCA-API-KEY-ID", key).with_header("APCA-API-SECRET-KEY", secret);
        let order =
            json!({ "symbol": "AAPL", "qty": "1", "side": side, "type": "market", "time_in_force": "day" });
        for _ in 0..5 {
            if client.post(&url, &order).await?.is_success() {
                break;
            }
        }
        Ok(())
    }

    /// Marks an incident, as a person would: it is seen on the charts, and a backtest is held against it.
    async fn mark(&self, what: &str, lasts: Duration) -> Result<()> {
        let now = tradewatch_server::clock::now();
        let mark = json!({
            "time": now.as_millis(),
            "timeEnd": (now + lasts).as_millis(),
            "tags": ["incident", "scene"],
            "text": what,
        });
        let url = format!("http://{}/api/annotations", self.monitor);
        let answer = client().post(&url, &mark).await?;
        anyhow::ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    pub(super) async fn url(&self, name: &str, path: &str) -> Result<String> {
        let supervisor = self.supervisor.lock().await;
        let spec = supervisor.spec(name).with_context(|| format!("no service is called {name:?}"))?;
        Ok(format!("http://{}{path}", spec.addr))
    }

    /// Puts another file in the model's place, as a release does, and asks for a reload. A refusal is the point here.
    async fn offer(&self, model: Model) -> Result<()> {
        let next =
            std::fs::read(&self.next_model).with_context(|| format!("read {}", self.next_model.display()))?;
        match model {
            Model::Damaged => {
                let mut damaged = next;
                if let Some(byte) = damaged.last_mut() {
                    *byte ^= 1;
                }
                replace(&self.model, &damaged)?;
            }
            Model::Missing => std::fs::remove_file(&self.model)
                .with_context(|| format!("remove {}", self.model.display()))?,
            Model::Next => replace(&self.model, &next)?,
        }
        self.reload_model().await
    }

    /// Asks for the model to be read again, whatever comes of it.
    pub(super) async fn reload_model(&self) -> Result<()> {
        let url = self.url("signal-service", "/api/v1/model/reload").await?;
        client().post(&url, &json!({})).await?;
        Ok(())
    }
}

/// Writes beside `path` and renames, so that nobody reads half a file.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("replace {}", path.display()))
}

pub(super) fn client() -> Client {
    Client::new(Net::Tcp, Duration::from_secs(5))
}
