//! A vendor's server that does what a script says, with or without TLS, and keeps what it was sent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a vendor does with one request, after it has read all of it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Nothing, for as long as the client waits.
    Silence,
    /// The connection is reset.
    Reset,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn form(&self) -> HashMap<String, String> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A running vendor.
pub struct Vendor {
    pub addr: SocketAddr,
    /// The authority that signed its certificate, as PEM.
    pub ca: String,
    pub script: Arc<Mutex<VecDeque<Act>>>,
    pub seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Vendor {
    /// A vendor with a certificate for `name`; without TLS where that is empty.
    pub async fn start(name: &str, usual: Act) -> Vendor {
        let (acceptor, ca) = match name {
            "" => (None, String::new()),
            name => {
                let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = rustls::ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .expect("TLS 1.2 and 1.3")
                    .with_no_client_auth()
                    .with_single_cert(vec![pair.cert.der().clone()], key)
                    .expect("a pair");
                (Some(TlsAcceptor::from(Arc::new(config))), pair.cert.pem())
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let script: Arc<Mutex<VecDeque<Act>>> = Arc::default();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = (script.clone(), seen.clone());
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared, usual) = (acceptor.clone(), shared.clone(), usual.clone());
                open.spawn(async move {
                    let next = || {
                        let scripted = shared.0.lock().expect("not poisoned").pop_front();
                        // What it does when the script is at its end.
                        scripted.unwrap_or_else(|| usual.clone())
                    };
                    match acceptor {
                        None => talk(stream, next, &shared.1).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => talk(stream, next, &shared.1).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Vendor { addr, ca, script, seen, task }
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub fn plan(&self, acts: Vec<Act>) {
        *self.script.lock().expect("not poisoned") = acts.into();
    }
}

/// How a connection is reset.
trait Resets {
    fn reset(&self);
}

impl Resets for TcpStream {
    fn reset(&self) {
        // No lingering: closing sends RST.
        socket_linger_zero(self);
    }
}

impl Resets for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) {
        socket_linger_zero(self.get_ref().0);
    }
}

fn socket_linger_zero(stream: &TcpStream) {
    stream.set_zero_linger().expect("a socket");
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Resets>(
    mut stream: S,
    next: impl Fn() -> Act,
    seen: &Mutex<Vec<Request>>,
) -> Option<()> {
    loop {
        let request = read(&mut stream).await?;
        seen.lock().expect("not poisoned").push(request);
        match next() {
            Act::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
                headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
                stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Act::Silence => {
                // Until the client gives up.
                let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_u8()).await;
                return None;
            }
            Act::Reset => {
                stream.reset();
                return None;
            }
        }
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).expect("ASCII");
    let mut lines = text.lines();
    let line = lines.next()?.to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).expect("UTF-8");
    Some(Request { at: Instant::now(), line, headers, body })
}
