//! The dead man's switch: it runs elsewhere, hears the beats of monitors, and speaks up when they stop.
//!
//! What is dead cannot say so. So a monitor posts a beat every so often ([`crate::heartbeat`]), or an Alertmanager
//! posts its `Watchdog`; whoever runs this, on another machine, is told when no beat has come for too long, and told
//! again when they come back. What is known is in one file, so that a restart neither forgets a silence nor repeats it.

mod state;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use md5::{Digest, Md5};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tradewatch_tsdb::{Labels, Timestamp};

pub use state::{Expected, Known, State, Turn};

use crate::clock;
use crate::config::HttpClientConfig;
use crate::config::scalar::{PromDuration, Secret};
use crate::error::Error;
use crate::net::client::{Ask, without_login};
use crate::net::{HttpClient, listen};
use crate::options::TerminalHook;
use crate::web::respond::json_response;
use crate::web::web_config::WebConfig;

/// Senders that one process awaits.
pub const EXPECTED_MAX: usize = 1_000;
/// Biggest body of a beat.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Time for one attempt at a webhook, and the shortest and longest wait between two.
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Beats that come thick and fast do not make the disk busy.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What a dead man's switch is started with.
#[derive(Clone)]
pub struct Options {
    /// Where beats come in.
    pub listen: SocketAddr,
    /// Whose beats, and how often.
    pub expected: Vec<Expected>,
    /// Webhooks that are told, in Alertmanager's form.
    pub webhooks: Vec<Secret>,
    /// A silence is said again after this time.
    pub repeat: Duration,
    /// Where what is known is kept; without it a restart knows nothing.
    pub state_file: Option<PathBuf>,
    /// TLS and users, as for the monitor.
    pub web_config: Option<PathBuf>,
    /// Lets everybody beat from everywhere.
    pub insecure: bool,
    /// Takes the lines for the terminal; standard output where there is none.
    pub terminal: Option<TerminalHook>,
}

impl Options {
    /// Awaits nobody on a free port of the loopback address.
    pub fn new() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            expected: Vec::new(),
            webhooks: Vec::new(),
            repeat: Duration::from_secs(3600),
            state_file: None,
            web_config: None,
            insecure: false,
            terminal: None,
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

/// A running dead man's switch.
pub struct Deadman {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct Shared {
    options: Options,
    web: WebConfig,
    state: Mutex<State>,
    /// Something changed: for the clock, and for each webhook.
    changed: Notify,
    news: watch::Sender<u64>,
}

impl Deadman {
    /// Listens and waits.
    ///
    /// # Errors
    /// Nobody or too many are expected, two have one name, the port is taken, the file is not ours, or the address
    /// is open to everybody without protection.
    pub async fn start(options: Options) -> Result<Deadman, Error> {
        let names: std::collections::BTreeSet<&str> =
            options.expected.iter().map(|one| one.name.as_str()).collect();
        if names.is_empty() || names.len() != options.expected.len() || names.len() > EXPECTED_MAX {
            return Err(Error::start(format!(
                "a dead man's switch awaits 1 to {EXPECTED_MAX} senders of different names; {} are given",
                options.expected.len()
            )));
        }
        let web = match &options.web_config {
            Some(path) => WebConfig::load(path)?,
            None => WebConfig::default(),
        };
        if !options.listen.ip().is_loopback() && !web.has_users() && !options.insecure {
            return Err(Error::start(format!(
                "{} is open to everybody, who could beat in the place of the dead: protect it with --web.config.file, or say --insecure",
                options.listen
            )));
        }
        let now = clock::now();
        let text = match &options.state_file {
            None => String::new(),
            Some(path) => match std::fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.map_err(|error| Error::start(format!("{}: {error}", path.display())))?,
            },
        };
        let state = State::new(options.expected.clone(), &text, now).map_err(|error| {
            let path = options.state_file.clone().unwrap_or_default();
            Error::start(format!(
                "{}: {error}; it is not the file of a dead man's switch, name another",
                path.display()
            ))
        })?;
        let client = HttpClient::new(HttpClientConfig::default())?;
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| Error::start(format!("cannot listen on {}: {error}", options.listen)))?;
        let addr =
            listener.local_addr().map_err(|error| Error::start(format!("{}: {error}", options.listen)))?;
        let (stop, stopped) = watch::channel(false);
        let webhooks = options.webhooks.clone();
        let tls = web.tls.clone();
        let shared = Arc::new(Shared {
            options,
            web,
            state: Mutex::new(state),
            changed: Notify::new(),
            news: watch::Sender::new(0),
        });
        shared.write()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::serve(listener, tls, router(shared.clone()), stopped.clone()));
        tasks.spawn(shared.clone().watch(stopped.clone()));
        for url in webhooks {
            tasks.spawn(shared.clone().tell(url, client.clone(), stopped.clone()));
        }
        Ok(Deadman { addr, shared, stop, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops and writes down what is known.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ =
            tokio::time::timeout(TIMEOUT, async { while self.tasks.join_next().await.is_some() {} }).await;
        if let Err(error) = self.shared.write() {
            tracing::error!("{error}");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn write(&self) -> Result<(), Error> {
        match &self.options.state_file {
            None => Ok(()),
            Some(path) => self.state().write(path),
        }
    }

    /// Says on the terminal what turned, and wakes those who tell others.
    fn turned(&self, turns: &[Turn]) {
        for turn in turns {
            let state = self.state();
            let name = match turn {
                Turn::Silent(name) | Turn::Back(name, _) => name,
            };
            let Some((one, known)) = state.all().find(|(one, _)| one.name == *name) else { continue };
            let line = match turn {
                Turn::Silent(_) => format!("CRITICAL  MonitorSilent — {}", silent_text(one, known)),
                Turn::Back(_, since) => format!(
                    "RESOLVED  MonitorSilent — {name} beats again; it was silent from {} to {}",
                    since,
                    clock::now()
                ),
            };
            drop(state);
            match &self.options.terminal {
                Some(hook) => hook(&line),
                // A closed terminal is no reason to fall silent elsewhere.
                None => {
                    let _ = writeln!(std::io::stdout(), "{line}");
                }
            }
        }
        if !turns.is_empty() {
            if let Err(error) = self.write() {
                tracing::error!("what is known cannot be written down: {error}");
            }
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// Notices who fell silent, and keeps the file up to date.
    async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut write = tokio::time::interval(WRITE_EVERY);
        loop {
            let turns = self.state().tick(clock::now());
            self.turned(&turns);
            let next = self.state().next_tick();
            let wait = next.map_or(Duration::from_secs(60), clock::until).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => return,
                () = self.changed.notified() => {
                    tokio::select! {
                        () = crate::stop::stopped(&mut stop) => return,
                        _ = write.tick() => {}
                    }
                    if let Err(error) = self.write() {
                        tracing::error!("what is known cannot be written down: {error}");
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tells one webhook whatever it must hear, until it has heard it.
    async fn tell(self: Arc<Self>, url: Secret, client: HttpClient, mut stop: watch::Receiver<bool>) {
        let key: String = Md5::digest(url.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut news = self.news.subscribe();
        let mut wait = Duration::ZERO;
        loop {
            let mut failed = false;
            let owed = self.state().owed(&key, self.options.repeat, clock::now());
            for (one, known) in owed {
                match post(&client, &url, &one, &known).await {
                    Ok(()) => {
                        self.state().told(&key, &one.name, known.silent_since.is_some(), clock::now());
                        if let Err(error) = self.write() {
                            tracing::error!("what is known cannot be written down: {error}");
                        }
                    }
                    Err(why) => {
                        failed = true;
                        tracing::warn!("a webhook was not told of {}, it is tried again: {why}", one.name);
                    }
                }
            }
            wait = if failed { (wait * 2).clamp(RETRY_MIN, RETRY_MAX) } else { Duration::ZERO };
            let pause = if failed { wait } else { self.options.repeat.min(Duration::from_secs(60)) };
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => return,
                _ = news.changed(), if !failed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

fn silent_text(one: &Expected, known: &Known) -> String {
    let last = known.last_beat.map(Timestamp::from_millis);
    let heard = last.map_or("never heard".to_owned(), |at| format!("last heard {at}"));
    let why = if known.reason.is_empty() { String::new() } else { format!(", {}", known.reason) };
    format!("{} has fallen silent: {heard}, a beat is due every {}{why}", one.name, PromDuration(one.every))
}

/// The message, in the form of Alertmanager's webhook.
fn message(one: &Expected, known: &Known) -> Json {
    let silent = known.silent_since.is_some();
    let status = if silent { "firing" } else { "resolved" };
    let labels = json!({"alertname": "MonitorSilent", "monitor": one.name, "severity": "critical"});
    let summary = if silent { silent_text(one, known) } else { format!("{} beats again", one.name) };
    let annotations = json!({
        "summary": summary,
        "description": "Nothing watches what this monitor watched: it is dead, cut off, or sick and says so by its silence. First: does its page answer?",
        "runbook_url": "/runbooks/MonitorSilent",
    });
    let since = known.silent_since.or(known.told.values().min().copied()).unwrap_or_default();
    let ends = if silent { "0001-01-01T00:00:00Z".to_owned() } else { clock::now().to_string() };
    let pairs = [("alertname", "MonitorSilent"), ("monitor", one.name.as_str()), ("severity", "critical")];
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{monitor={:?}}}", one.name),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "deadman",
        "groupLabels": {"monitor": one.name},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": Timestamp::from_millis(since).to_string(),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": tradewatch_alert::Fingerprint::of(&Labels::from_pairs(pairs)).to_string(),
        }],
    })
}

async fn post(client: &HttpClient, url: &Secret, one: &Expected, known: &Known) -> Result<(), String> {
    let (plain, login) = without_login(url.expose());
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(login.map(|login| ("authorization", login)));
    let asked = client.ask(Ask {
        method: Method::POST,
        url: &plain,
        headers: &headers,
        body: Bytes::from(message(one, known).to_string()),
        compression: false,
        body_bytes_max: 64 << 10,
        timeout: TIMEOUT,
    });
    let answer = asked.await.map_err(|why| why.replace(&plain, "<url>"))?;
    if answer.status.is_success() { Ok(()) } else { Err(answer.status.to_string()) }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page).post(beat_of_the_only_one).put(beat_of_the_only_one))
        .route("/beat/{name}", get(page).post(beat).put(beat))
        .route("/-/healthy", get(|| async { "The dead man's switch is healthy.\n" }))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

/// Whether the request may beat; a password is compared slowly on purpose.
async fn admit(shared: &Arc<Shared>, headers: &HeaderMap) -> Result<(), Response> {
    if !shared.web.has_users() {
        return Ok(());
    }
    let (web, headers) = (shared.web.clone(), headers.clone());
    let user = tokio::task::spawn_blocking(move || web.login(&headers)).await.ok().flatten();
    user.map(|_| ()).ok_or_else(|| {
        let mut response = (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response();
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        response
    })
}

async fn beat_of_the_only_one(
    Extract(shared): Extract<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match &shared.options.expected[..] {
        [only] => {
            let name = only.name.clone();
            take(&shared, &name, &headers, &body).await
        }
        _ => (StatusCode::NOT_FOUND, "several are awaited: beat at /beat/NAME\n").into_response(),
    }
}

async fn beat(
    Extract(shared): Extract<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    take(&shared, &name, &headers, &body).await
}

async fn take(shared: &Arc<Shared>, name: &str, headers: &HeaderMap, body: &Bytes) -> Response {
    if let Err(refused) = admit(shared, headers).await {
        return refused;
    }
    if !shared.state().expects(name) {
        return (StatusCode::NOT_FOUND, format!("nobody called {name:?} is awaited\n")).into_response();
    }
    // An Alertmanager also posts that its Watchdog is resolved: that is no sign of life of what it watches.
    let said: Option<Json> = serde_json::from_slice(body).ok();
    let gave_up = said.is_some_and(|said| said["status"] == "resolved");
    let now = clock::now();
    let turn = match gave_up {
        true => shared.state().gave_up(name, now),
        false => shared.state().beat(name, now),
    };
    shared.turned(turn.as_slice());
    shared.changed.notify_one();
    (StatusCode::OK, "ok\n").into_response()
}

async fn page(Extract(shared): Extract<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refused) = admit(&shared, &headers).await {
        return refused;
    }
    let time = |at: Option<i64>| at.map(|at| Timestamp::from_millis(at).to_string());
    let all: Vec<Json> = shared
        .state()
        .all()
        .map(|(one, known)| {
            json!({
                "name": one.name,
                "every": PromDuration(one.every).to_string(),
                "grace": PromDuration(one.grace).to_string(),
                "lastBeat": time(known.last_beat),
                "silentSince": time(known.silent_since),
                "reason": known.reason,
                "receiversTold": known.told.len(),
            })
        })
        .collect();
    json_response(StatusCode::OK, Json::Array(all).to_string())
}

/// So that somebody watches this one, too.
async fn metrics(Extract(shared): Extract<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refused) = admit(&shared, &headers).await {
        return refused;
    }
    let mut text = String::from(
        "# HELP tradewatch_deadman_silent 1 while no beats come from the sender.\n# TYPE tradewatch_deadman_silent gauge\n",
    );
    let state = shared.state().clone();
    for (one, known) in state.all() {
        let silent = u8::from(known.silent_since.is_some());
        text.push_str(&format!("tradewatch_deadman_silent{{monitor=\"{}\"}} {silent}\n", one.name));
    }
    text.push_str("# HELP tradewatch_deadman_last_beat_timestamp_seconds Unix time of the last beat.\n# TYPE tradewatch_deadman_last_beat_timestamp_seconds gauge\n");
    for (one, known) in state.all() {
        if let Some(at) = known.last_beat {
            let seconds = at as f64 / 1_000.0;
            text.push_str(&format!(
                "tradewatch_deadman_last_beat_timestamp_seconds{{monitor=\"{}\"}} {seconds}\n",
                one.name
            ));
        }
    }
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
