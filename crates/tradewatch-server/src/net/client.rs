//! The HTTP client of scrapes and deliveries: keep-alive, gzip, a bound on every answer.

use std::error::Error as StdError;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::proxy::Connector;
use super::tls;
use crate::config::HttpClientConfig;
use crate::error::Error;

const REDIRECTS_MAX: usize = 5;
/// The longest wait that a peer can ask for.
const RETRY_AFTER_SECS_MAX: f64 = 3600.0;
const IDLE_MAX: Duration = Duration::from_secs(300);

/// An address without the login in it, and that login as the value of `Authorization`.
///
/// `https://user:password@host/path` is how people write down the address of a service with a password.
pub fn without_login(url: &str) -> (String, Option<String>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (login, host) = rest[..end].rsplit_once('@')?;
        Some((format!("{scheme}://{host}{}", &rest[end..]), login))
    });
    let Some((plain, login)) = parts else { return (url.to_owned(), None) };
    // What cannot stand in an address is written as %3A and the like.
    let mut decoded = Vec::with_capacity(login.len());
    let mut bytes = login.as_bytes();
    while let [first, rest @ ..] = bytes {
        let digits = rest.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        decoded.push(escaped.unwrap_or(*first));
        bytes = if escaped.is_some() { &rest[2..] } else { rest };
    }
    let packed = base64::engine::general_purpose::STANDARD.encode(decoded);
    (plain, Some(format!("Basic {packed}")))
}

/// Speaks HTTP/1.1 to peers that share credentials and trust.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    config: HttpClientConfig,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`, empty if there was none.
    pub content_type: String,
    /// `Retry-After` from now, at most an hour.
    pub retry_after: Option<Duration>,
    /// The body, unpacked.
    pub body: Bytes,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// GET or POST.
    pub method: Method,
    /// Where.
    pub url: &'a str,
    /// Headers beside those of the client.
    pub headers: &'a [(&'static str, String)],
    /// The body, empty for GET.
    pub body: Bytes,
    /// Whether gzip is asked for.
    pub compression: bool,
    /// Biggest body that is taken, unpacked.
    pub body_bytes_max: u64,
    /// Time for the whole of it.
    pub timeout: Duration,
}

impl HttpClient {
    /// A client for peers of `config`.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn new(config: HttpClientConfig) -> Result<HttpClient, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(config.tls.as_ref(), &config.folder)?)
            .https_or_http();
        let builder = match config.tls.as_ref().and_then(|tls| tls.server_name.clone()) {
            None => builder,
            Some(name) => {
                let name = rustls::pki_types::ServerName::try_from(name.clone())
                    .map_err(|error| Error::config(format!("tls_config.server_name {name:?}: {error}")))?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(2)
            .pool_timer(TokioTimer::new())
            .http1_max_headers(128)
            .build(builder.enable_http1().wrap_connector(Connector::new(tcp, config.proxy.clone())));
        Ok(HttpClient { client, config })
    }

    /// Asks and reads the whole answer, within the time and size that `ask` allows.
    ///
    /// # Errors
    /// One line that says what failed; never a credential.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        self.ask_with(ask, &HeaderMap::new()).await
    }

    /// The same with further headers, which replace those of `ask`.
    ///
    /// # Errors
    /// One line that says what failed; never a credential.
    pub async fn ask_with(&self, ask: Ask<'_>, more: &HeaderMap) -> Result<Answer, String> {
        match tokio::time::timeout(ask.timeout, self.ask_untimed(&ask, more)).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "no complete answer within {} (timeout)",
                crate::config::scalar::PromDuration(ask.timeout)
            )),
        }
    }

    async fn ask_untimed(&self, ask: &Ask<'_>, more: &HeaderMap) -> Result<Answer, String> {
        let mut uri: Uri = ask.url.parse().map_err(|error| format!("{:?} is not a URL: {error}", ask.url))?;
        let home = uri.authority().cloned();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::new(Full::new(ask.body.clone()));
            *request.method_mut() = ask.method.clone();
            *request.uri_mut() = uri.clone();
            let headers = request.headers_mut();
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("tradewatch/", env!("CARGO_PKG_VERSION"))),
            );
            if ask.compression {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            for (name, value) in ask.headers {
                headers.insert(
                    *name,
                    HeaderValue::from_str(value)
                        .map_err(|_| format!("header {name} has a value that cannot be sent"))?,
                );
            }
            // A redirect to another host gets no credentials.
            if uri.authority() == home.as_ref() {
                more.keys().for_each(|name| drop(headers.remove(name)));
                headers.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            if uri.authority() == home.as_ref()
                && let Some(value) = self.authorization().await?
            {
                headers.insert(AUTHORIZATION, value);
            }
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = response.into_parts();
            // What is posted goes on only where its body goes too.
            let keeps =
                matches!(head.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            let follows = self.config.follow_redirects && (ask.method == Method::GET || keeps);
            if head.status.is_redirection() && follows {
                let next = redirect(&uri, &head.headers)?;
                // No secret and no alert goes to a host that nobody configured.
                if ask.method == Method::GET || next.authority() == home.as_ref() {
                    uri = next;
                    continue;
                }
            }
            let packed = read_limited(body, ask.body_bytes_max).await?;
            let body = if head.headers.get(CONTENT_ENCODING).is_some_and(|v| v.as_bytes() == b"gzip") {
                unpack(&packed, ask.body_bytes_max)?
            } else {
                packed
            };
            let text = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
            let retry_after = retry_after(&text(RETRY_AFTER));
            return Ok(Answer { status: head.status, content_type: text(CONTENT_TYPE), retry_after, body });
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    /// The `Authorization` header; files are read anew each time, so that a rotated secret is taken up.
    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let folder = &self.config.folder;
        let value = if let Some(basic) = &self.config.basic_auth {
            let user = match &basic.username_file {
                Some(name) => secret_file(folder, name).await?,
                None => basic.username.clone(),
            };
            let password = match (&basic.password, &basic.password_file) {
                (Some(password), _) => password.expose().to_owned(),
                (None, Some(name)) => secret_file(folder, name).await?,
                (None, None) => String::new(),
            };
            let packed = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {packed}")
        } else if let Some(other) = &self.config.authorization {
            let credentials = match (&other.credentials, &other.credentials_file) {
                (Some(credentials), _) => credentials.expose().to_owned(),
                (None, Some(name)) => secret_file(folder, name).await?,
                (None, None) => return Ok(None),
            };
            format!("{} {credentials}", other.kind.as_deref().unwrap_or("Bearer"))
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| "the credentials hold bytes that no header can carry".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn secret_file(folder: &Path, name: &str) -> Result<String, String> {
    let path = folder.join(name);
    let text =
        tokio::fs::read_to_string(&path).await.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Seconds or a date, as HTTP has both.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0).or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
        Some((at - crate::clock::now().as_millis()).max(0) as f64 / 1000.0)
    })?;
    Some(Duration::from_secs_f64(seconds.min(RETRY_AFTER_SECS_MAX)))
}

fn redirect(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let to = headers.get(LOCATION).and_then(|v| v.to_str().ok()).ok_or("a redirect without Location")?;
    let whole = if to.starts_with('/') {
        let (scheme, host) =
            (from.scheme_str().unwrap_or("http"), from.authority().map_or("", |a| a.as_str()));
        format!("{scheme}://{host}{to}")
    } else {
        to.to_owned()
    };
    whole.parse().map_err(|error| format!("redirect to {to:?}: {error}"))
}

async fn read_limited(mut body: hyper::body::Incoming, bytes_max: u64) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| format!("the answer broke off after {} bytes: {}", read.len(), chain(&error)))?;
        if let Some(data) = frame.data_ref() {
            if read.len() as u64 + data.len() as u64 > bytes_max {
                return Err(too_big(bytes_max));
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read.freeze())
}

fn unpack(packed: &[u8], bytes_max: u64) -> Result<Bytes, String> {
    let mut body = Vec::with_capacity(packed.len().saturating_mul(4).min(bytes_max as usize));
    flate2::read::MultiGzDecoder::new(packed)
        .take(bytes_max + 1)
        .read_to_end(&mut body)
        .map_err(|error| format!("the gzip body is broken: {error}"))?;
    if body.len() as u64 > bytes_max { Err(too_big(bytes_max)) } else { Ok(body.into()) }
}

fn too_big(bytes_max: u64) -> String {
    format!("the body is bigger than body_size_limit {}", crate::config::scalar::ByteSize(bytes_max))
}

/// An error with its causes, on one line, without saying the same twice.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // The outermost layer says only that a client failed to connect.
    if text.starts_with("client error")
        && let Some(inner) = cause
    {
        text = inner.to_string();
        cause = inner.source();
    }
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_becomes_a_header() {
        let of = |url: &str| without_login(url);
        assert_eq!(of("http://h:1/p?a=b@c"), ("http://h:1/p?a=b@c".to_owned(), None));
        // user:pass and us:p@ss+
        let (url, login) = of("https://user:pass@h/p");
        assert_eq!((url.as_str(), login.as_deref()), ("https://h/p", Some("Basic dXNlcjpwYXNz")));
        let (url, login) = of("https://us:p%40ss+@h");
        assert_eq!((url.as_str(), login.as_deref()), ("https://h", Some("Basic dXM6cEBzcys=")));
    }
}
