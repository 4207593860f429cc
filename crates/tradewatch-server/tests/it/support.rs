//! Targets, receivers and a client for tests: real sockets on free ports, waits with a deadline.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tradewatch_server::config::HttpClientConfig;
use tradewatch_server::net::HttpClient;
use tradewatch_server::net::client::{Answer, Ask};
use tradewatch_server::{Options, Server};

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Asks until the answer is there; the last look is what a failure shows.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(mut look: impl FnMut() -> F) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > end => panic!("not within {PATIENCE:?}; seen last: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// An HTTP server that answers with what a closure says.
pub struct Peer {
    pub addr: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub async fn start(answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> Peer {
        Peer::start_at("127.0.0.1:0".parse().expect("an address"), answer).await
    }

    pub async fn start_at(
        addr: SocketAddr,
        answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static,
    ) -> Peer {
        let listener = TcpListener::bind(addr).await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let app = Router::new().fallback(move |request: Request| {
            let answer = answer.clone();
            async move { answer(request) }
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Peer { addr, task }
    }

    /// A target whose body can be changed.
    pub async fn with_text(text: &str) -> (Peer, Arc<Mutex<String>>) {
        let text = Arc::new(Mutex::new(text.to_owned()));
        let shown = text.clone();
        let peer = Peer::start(move |_| shown.lock().expect("not poisoned").clone().into_response()).await;
        (peer, text)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a webhook was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub headers: HeaderMap,
    pub body: Json,
}

/// A webhook that keeps what it is told and answers as it is told to.
pub struct Webhook {
    pub peer: Peer,
    pub told: Arc<Mutex<Vec<Told>>>,
    pub status: Arc<Mutex<StatusCode>>,
}

impl Webhook {
    pub async fn start() -> Webhook {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let status = Arc::new(Mutex::new(StatusCode::OK));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let (kept, answer) = (told.clone(), status.clone());
        let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let (kept, answer) = (kept.clone(), answer.clone());
            async move {
                let body = serde_json::from_slice(&body).unwrap_or(Json::Null);
                kept.lock().expect("not poisoned").push(Told { headers, body });
                *answer.lock().expect("not poisoned")
            }
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Webhook { peer: Peer { addr, task }, told, status }
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().expect("not poisoned").clone()
    }
}

/// A folder with the files of a monitor.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }
}

/// Options on a free port, with `prometheus.yml` of that text.
pub fn options(folder: &Folder, prometheus_yml: &str) -> Options {
    let mut options = Options {
        config_file: Some(folder.write("prometheus.yml", prometheus_yml)),
        listen: "127.0.0.1:0".parse().expect("an address"),
        terminal: Some(Arc::new(|_| {})),
        ..Options::default()
    };
    options.web.enable_lifecycle = true;
    options
}

/// One job `gw` at 100 ms steps for `addr`, with `more` in the job.
pub fn job(addr: SocketAddr, more: &str) -> String {
    format!(
        "global: {{evaluation_interval: 1s}}\nrule_files: ['rules*.yml']\nscrape_configs:\n- job_name: gw\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n{more}  static_configs:\n  - targets: ['{addr}']\n"
    )
}

pub async fn start(options: Options) -> Server {
    Server::start(options).await.expect("starts")
}

pub async fn ask(
    method: Method,
    url: &str,
    headers: &[(&'static str, String)],
    body: impl Into<Bytes>,
) -> Answer {
    let client = HttpClient::new(HttpClientConfig::default()).expect("a client");
    let ask = Ask {
        method,
        url,
        headers,
        body: body.into(),
        compression: false,
        body_bytes_max: 64 << 20,
        timeout: PATIENCE,
    };
    client.ask(ask).await.expect(url)
}

pub fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.addr())
}

pub async fn get(server: &Server, path: &str) -> Answer {
    ask(Method::GET, &url(server, path), &[], "").await
}

pub async fn get_json(server: &Server, path: &str) -> Json {
    let answer = get(server, path).await;
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{path}: {error}: {}", String::from_utf8_lossy(&answer.body)))
}

pub async fn post_json(server: &Server, path: &str, body: &Json) -> Answer {
    ask(Method::POST, &url(server, path), &[("content-type", "application/json".into())], body.to_string())
        .await
}

/// Percent-encodes a query for an URL.
pub fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The values of an instant query by their labels, as text.
pub async fn query(server: &Server, expr: &str) -> Vec<(String, f64)> {
    use tradewatch_promql::QueryValue;
    match server.query(expr).await.expect(expr).value {
        QueryValue::Vector(samples) => samples
            .into_iter()
            .map(|s| (s.labels.to_string(), s.value.as_float().unwrap_or(f64::NAN)))
            .collect(),
        QueryValue::Scalar { value, .. } => vec![("scalar".into(), value)],
        other => panic!("{expr}: {other:?}"),
    }
}

/// Waits until a query gives exactly these values, in any order.
pub async fn until_query(server: &Server, expr: &str, expected: &[f64]) {
    eventually(|| async {
        let mut seen: Vec<f64> = query(server, expr).await.into_iter().map(|(_, value)| value).collect();
        seen.sort_by(f64::total_cmp);
        if seen == expected { Ok(()) } else { Err(format!("{expr}: {seen:?}")) }
    })
    .await;
}

pub fn body_of(response: impl IntoResponse) -> Response<Body> {
    response.into_response()
}
