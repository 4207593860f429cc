//! JSON over HTTP between services, on any [`Net`].
//!
//! One small client with time-outs and kept connections; one way to serve a router that ends within a deadline.

use super::{Error, Listener, Net, Shutdown, Stream};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of an answer that are read before giving up.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Idle connections kept per peer.
const IDLE_MAX: usize = 4;
/// How long a service that was asked to end may finish the requests it is answering.
pub const DRAIN: Duration = Duration::from_secs(2);

/// A client: cheap to clone, one per service.
#[derive(Clone, Debug)]
pub struct Client {
    net: Net,
    timeout: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
    idle: Arc<Mutex<BTreeMap<String, Vec<SendRequest<Full<Bytes>>>>>>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The request, for messages: `GET http://127.0.0.1:8011/v2/clock`.
    pub what: String,
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON, whatever the status.
    ///
    /// # Errors
    /// `is_decode` with the place and the beginning of the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let start: String = self.text().chars().take(120).collect();
            Error::decode(&self.what, format!("HTTP {}, {error}, in `{start}`", self.status.as_u16()))
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }
}

impl Client {
    /// A client over `net` whose calls fail after `timeout`, connecting and reading included.
    pub fn new(net: Net, timeout: Duration) -> Client {
        Client { net, timeout, headers: Vec::new(), idle: Arc::default() }
    }

    /// The same client (and connections) with another time-out.
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout, ..self.clone() }
    }

    /// The same client with `name: value` on every request.
    ///
    /// # Panics
    /// If `name` or `value` cannot be a header: they are constants or checked configuration.
    pub fn with_header(&self, name: &str, value: &str) -> Client {
        let mut headers = self.headers.clone();
        headers.push((
            HeaderName::try_from(name).expect("a valid header name"),
            HeaderValue::try_from(value).expect("a valid header value"),
        ));
        Client { headers, ..self.clone() }
    }

    /// GET `url`.
    ///
    /// # Errors
    /// `is_connect`, `is_timeout`, `is_lost`. Any HTTP status is an `Ok`.
    pub async fn get(&self, url: &str) -> Result<Response, Error> {
        self.request(Method::GET, url, None).await
    }

    /// POST `body` as JSON to `url`. Errors as [`Client::get`].
    pub async fn post(&self, url: &str, body: &impl serde::Serialize) -> Result<Response, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::usage(format!("POST {url}"), error))?;
        self.request(Method::POST, url, Some(bytes.into())).await
    }

    /// DELETE `url`. Errors as [`Client::get`].
    pub async fn delete(&self, url: &str) -> Result<Response, Error> {
        self.request(Method::DELETE, url, None).await
    }

    /// Any method with an optional JSON body. Errors as [`Client::get`].
    pub async fn request(&self, method: Method, url: &str, body: Option<Bytes>) -> Result<Response, Error> {
        let what = format!("{method} {url}");
        match tokio::time::timeout(self.timeout, self.exchange(&what, method, url, body)).await {
            Ok(done) => done,
            Err(_) => Err(Error::timeout(what, self.timeout)),
        }
    }

    async fn exchange(
        &self,
        what: &str,
        method: Method,
        url: &str,
        body: Option<Bytes>,
    ) -> Result<Response, Error> {
        let (authority, mut request) = self.build(what, method, url, body)?;
        // A kept connection may have been closed by the peer; then the request comes back unsent.
        while let Some(mut sender) = self.take_idle(&authority) {
            match sender.try_send_request(request).await {
                Ok(answer) => return self.read(what, authority, sender, answer).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::lost(what, error.into_error())),
                },
            }
        }
        let stream = self.net.connect(&authority).await.map_err(|error| Error::connect(what, error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| Error::lost(what, e))?;
        tokio::spawn(async move {
            let _ = connection.await; // A broken connection shows at the request.
        });
        let answer = sender.send_request(request).await.map_err(|error| Error::lost(what, error))?;
        self.read(what, authority, sender, answer).await
    }

    fn build(
        &self,
        what: &str,
        method: Method,
        url: &str,
        body: Option<Bytes>,
    ) -> Result<(String, Request<Full<Bytes>>), Error> {
        let uri: Uri = url.parse().map_err(|error| Error::usage(what, error))?;
        if uri.scheme_str() != Some("http") {
            return Err(Error::usage(what, "only http:// addresses are supported between services"));
        }
        let host = uri.authority().ok_or_else(|| Error::usage(what, "the address has no host"))?;
        let authority = format!("{}:{}", host.host(), host.port_u16().unwrap_or(80));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request =
            Request::builder().method(method).uri(path).header(http::header::HOST, host.as_str());
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(|e| Error::usage(what, e))?;
        Ok((authority, request))
    }

    async fn read(
        &self,
        what: &str,
        authority: String,
        sender: SendRequest<Full<Bytes>>,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<Response, Error> {
        let (parts, body) = answer.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Error::too_large(what, BODY_BYTES_MAX));
            }
            Err(error) => return Err(Error::lost(what, error)),
        };
        self.keep_idle(authority, sender);
        Ok(Response { what: what.to_owned(), status: parts.status, headers: parts.headers, body })
    }

    fn take_idle(&self, authority: &str) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().expect("nobody panics while holding the pool");
        let senders = idle.get_mut(authority)?;
        while let Some(sender) = senders.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep_idle(&self, authority: String, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().expect("nobody panics while holding the pool");
        let senders = idle.entry(authority).or_default();
        if !sender.is_closed() && senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }
}

/// Answers requests with `router` until `shutdown`, then lets running requests finish for at most [`DRAIN`].
///
/// Dropping the future breaks every connection at once, as the end of a process does. WebSockets are broken
/// when the future ends.
pub async fn serve(listener: Listener, router: axum::Router, shutdown: Shutdown) {
    let _cut = listener.cut_on_drop();
    let stop = shutdown.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.wait().await });
    let serving = std::future::IntoFuture::into_future(serving);
    let deadline = async {
        shutdown.wait().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        _ = serving => {}
        () = deadline => tracing::warn!("requests were still running {DRAIN:?} after shutdown; dropped"),
    }
}

/// Listens on `addr`, with an error that names it.
///
/// # Errors
/// `is_bind`.
pub async fn bind(net: &Net, addr: &str) -> Result<Listener, Error> {
    net.bind(addr).await.map_err(|error| Error::bind(addr, error))
}

const _: fn(Stream) = |stream| {
    fn is_io<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(_: T) {}
    is_io(stream);
};

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use serde_json::{Value, json};

    async fn serve_on(net: &Net) -> (String, super::super::Trigger, tokio::task::JoinHandle<()>) {
        let listener = net.bind("127.0.0.1:0").await.expect("free");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = axum::Router::new()
            .route("/echo", post(|body: axum::Json<Value>| async move { body }))
            .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }));
        let (trigger, shutdown) = Shutdown::new();
        let server = tokio::spawn(serve(listener, router, shutdown));
        (url, trigger, server)
    }

    async fn calls(net: Net) {
        let (url, trigger, server) = serve_on(&net).await;
        let client = Client::new(net, Duration::from_secs(5));
        for n in 0..3 {
            let answer = client.post(&format!("{url}/echo"), &json!({"n": n})).await.expect("served");
            assert_eq!(answer.json::<Value>().expect("JSON"), json!({"n": n}));
        }
        assert_eq!(client.get(&format!("{url}/none")).await.expect("served").status, 404);
        let quick = client.with_timeout(Duration::from_millis(20));
        assert!(quick.get(&format!("{url}/slow")).await.expect_err("slow").is_timeout());
        trigger.fire();
        server.await.expect("ends");
        let gone = client.get(&format!("{url}/echo")).await.expect_err("gone");
        assert!(gone.is_connect() || gone.is_lost(), "{gone}");
    }

    #[tokio::test]
    async fn calls_over_tcp() {
        calls(Net::Tcp).await;
    }

    #[tokio::test(start_paused = true)]
    async fn calls_over_the_virtual_net() {
        calls(Net::new_virtual()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_server_breaks_its_requests() {
        let net = Net::new_virtual();
        let (url, _trigger, server) = serve_on(&net).await;
        let client = Client::new(net, Duration::from_secs(3600));
        let call = tokio::spawn(async move { client.get(&format!("{url}/slow")).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.abort();
        let error = call.await.expect("no panic").expect_err("killed");
        assert!(error.is_lost(), "{error}");
    }
}
