//! Connections through an HTTP proxy: CONNECT for `https`, whole addresses in the request line for `http`.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;

use crate::config::scalar::Secret;

/// Longest answer of a proxy to CONNECT.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// The proxy of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `http://user:password@host:port`; empty asks the environment for each address.
    pub url: Secret,
    /// What is reached without it: hosts, domains with a leading dot, addresses, networks.
    pub without: Vec<String>,
    /// Headers for the proxy itself.
    pub headers: Vec<(String, Secret)>,
}

impl Proxy {
    /// The proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name for every address.
    pub fn from_environment(headers: Vec<(String, Secret)>) -> Proxy {
        Proxy { url: Secret::default(), without: Vec::new(), headers }
    }

    /// The proxy's address for `to`; `None` where it is reached directly.
    fn address(&self, to: &Uri) -> Result<Option<Uri>, String> {
        let variable = |name: &str| {
            let found = std::env::var(name.to_uppercase()).or_else(|_| std::env::var(name.to_lowercase()));
            found.unwrap_or_default()
        };
        let (url, without) = match self.url.expose() {
            "" => {
                let name = if to.scheme_str() == Some("https") { "https_proxy" } else { "http_proxy" };
                let without = variable("no_proxy");
                (variable(name), without.split(',').map(|one| one.trim().to_owned()).collect())
            }
            url => (url.to_owned(), self.without.clone()),
        };
        if url.is_empty() || is_exempt(to, &without) {
            return Ok(None);
        }
        let found: Uri = url.parse().map_err(|_| "the proxy's address is no URL".to_owned())?;
        match (found.scheme_str(), found.host()) {
            (Some("http"), Some(_)) => Ok(Some(found)),
            _ => Err("the proxy's address must be http://host:port".to_owned()),
        }
    }
}

/// Whether `without` lists the host of `to`.
fn is_exempt(to: &Uri, without: &[String]) -> bool {
    let host = to.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 });
    let address: Option<IpAddr> = host.parse().ok();
    without.iter().filter(|one| !one.is_empty()).any(|one| {
        if one == "*" {
            return true;
        }
        if let (Some((network, bits)), Some(address)) = (one.split_once('/'), address) {
            return network.parse().is_ok_and(|n| bits.parse().is_ok_and(|b| is_within(address, n, b)));
        }
        let (name, wanted) = match one.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
            Some((name, Ok(port))) if !name.contains(':') => (name, Some(port)),
            _ => (one.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        let ends = host.len() > name.len()
            && host.ends_with(name)
            && host.as_bytes()[host.len() - name.len() - 1] == b'.';
        wanted.is_none_or(|wanted| wanted == port) && (host.eq_ignore_ascii_case(name) || ends)
    })
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            (u64::from(a.to_bits() ^ n.to_bits()) >> (32 - bits)) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if (1..=128).contains(&bits) => {
            ((a.to_bits() ^ n.to_bits()) >> (128 - bits)) == 0
        }
        _ => false,
    }
}

/// Connects directly or through a proxy.
#[derive(Clone, Debug)]
pub struct Connector {
    tcp: HttpConnector,
    proxy: Option<Arc<Proxy>>,
}

impl Connector {
    /// A connector that uses `proxy` where there is one.
    pub fn new(tcp: HttpConnector, proxy: Option<Proxy>) -> Connector {
        Connector { tcp, proxy: proxy.map(Arc::new) }
    }
}

/// A connection, and whether requests on it carry whole addresses.
#[derive(Debug)]
pub struct Stream {
    io: TokioIo<TcpStream>,
    whole_addresses: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.whole_addresses)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let proxy = self.proxy.clone();
        let mut tcp = self.tcp.clone();
        Box::pin(async move {
            let address = match &proxy {
                Some(proxy) => proxy.address(&to)?,
                None => None,
            };
            let Some((proxy, address)) = proxy.zip(address) else {
                return Ok(Stream { io: tcp.call(to).await?, whole_addresses: false });
            };
            let io = tcp.call(address.clone()).await.map_err(|error| format!("the proxy: {error}"))?;
            if to.scheme_str() != Some("https") {
                return Ok(Stream { io, whole_addresses: true });
            }
            let mut stream = io.into_inner();
            tunnel(&mut stream, &to, &address, &proxy).await?;
            Ok(Stream { io: TokioIo::new(stream), whole_addresses: false })
        })
    }
}

/// Asks the proxy to connect to the host of `to`.
async fn tunnel(stream: &mut TcpStream, to: &Uri, address: &Uri, proxy: &Proxy) -> Result<(), BoxError> {
    let host = to.host().unwrap_or("");
    let port = to.port_u16().unwrap_or(443);
    let mut ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    let user = address.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    if let Some((user, _)) = user {
        let packed = base64::engine::general_purpose::STANDARD.encode(user);
        ask += &format!("Proxy-Authorization: Basic {packed}\r\n");
    }
    for (name, value) in &proxy.headers {
        if !value.expose().contains(['\r', '\n']) && !name.contains(['\r', '\n', ':']) {
            ask += &format!("{name}: {}\r\n", value.expose());
        }
    }
    stream.write_all(format!("{ask}\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err("the proxy's answer does not end".into());
        }
        answer.push(stream.read_u8().await.map_err(|error| format!("the proxy hung up: {error}"))?);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or("");
    match line.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
        true => Ok(()),
        false => Err(format!("the proxy refuses: {line}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_proxy_lists_is_reached_directly() {
        let proxy = Proxy {
            url: Secret::from("http://proxy:3128".to_owned()),
            without: ["localhost", ".example.org", "10.0.0.0/8", "h:81", "192.168.1.7"]
                .map(str::to_owned)
                .into(),
            headers: Vec::new(),
        };
        for (url, direct) in [
            ("http://localhost/x", true),
            ("https://a.example.org/x", true),
            ("https://example.org/x", true),
            ("https://badexample.org/x", false),
            ("http://10.9.8.7:80/", true),
            ("http://11.9.8.7:80/", false),
            ("http://h:81/", true),
            ("http://h:82/", false),
            ("http://192.168.1.7/", true),
            ("https://hooks.slack.com/x", false),
        ] {
            let found = proxy.address(&url.parse().expect("a URL")).expect("a proxy");
            assert_eq!(found.is_none(), direct, "{url}");
        }
    }
}
