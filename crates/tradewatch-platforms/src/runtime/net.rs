//! Connections between services: TCP, or pipes in memory.
//!
//! The virtual network is a registry of ports. Connecting to a port nobody listens on is refused, a service
//! that ends takes its connections with it, and a frozen one accepts connections but never answers: what a
//! killed and what a stopped process look like from outside.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Bytes that a virtual connection holds per direction before the writer waits.
pub const PIPE_BYTES_MAX: usize = 256 * 1024;
/// Virtual connections that wait to be accepted; more are refused.
pub const BACKLOG_MAX: usize = 128;
/// First port that the virtual network hands out for port 0.
const VIRTUAL_PORT_FIRST: u16 = 49_152;

/// Where a service listens and connects: cheap to clone, the same code for both forms.
#[derive(Clone, Debug)]
pub enum Net {
    /// The operating system's TCP.
    Tcp,
    /// Pipes in memory, for a whole platform in one thread.
    Virtual(Arc<VirtualNet>),
}

impl Net {
    /// A new, empty virtual network.
    pub fn new_virtual() -> Net {
        Net::Virtual(Arc::new(VirtualNet::default()))
    }

    /// Listens on `addr` (`127.0.0.1:8010`; port 0 takes a free one).
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken, `InvalidInput` if `addr` is no address.
    pub async fn bind(&self, addr: &str) -> io::Result<Listener> {
        let line = Arc::new(Line::default());
        match self {
            Net::Tcp => Ok(Listener { inner: ListenerInner::Tcp(TcpListener::bind(addr).await?), line }),
            Net::Virtual(net) => net.bind(parse(addr)?, line),
        }
    }

    /// Connects to `addr` (`127.0.0.1:8010`).
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens there. There is no time-out: wrap the call.
    pub async fn connect(&self, addr: &str) -> io::Result<Stream> {
        match self {
            Net::Tcp => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::new(StreamInner::Tcp(stream), None))
            }
            Net::Virtual(net) => net.connect(parse(addr)?),
        }
    }
}

fn parse(addr: &str) -> io::Result<SocketAddr> {
    let addr = addr.replace("localhost", "127.0.0.1");
    addr.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{addr}` is no address:port")))
}

/// Ports and who listens on them, in memory.
#[derive(Debug, Default)]
pub struct VirtualNet {
    ports: Mutex<BTreeMap<u16, Port>>,
}

#[derive(Debug)]
struct Port {
    pending: mpsc::Sender<Stream>,
    line: Arc<Line>,
}

impl VirtualNet {
    /// Breaks every connection to `port`, as a failing cable does; the listener stays.
    pub fn cut(&self, port: u16) {
        if let Some(port) = self.live_ports().get(&port) {
            port.line.cut_now();
        }
    }

    /// Stops (`true`) or resumes (`false`) the service on `port`: connections stand, nothing is read or written.
    pub fn freeze(&self, port: u16, frozen: bool) {
        if let Some(port) = self.live_ports().get(&port) {
            port.line.freeze(frozen);
        }
    }

    fn live_ports(&self) -> MutexGuard<'_, BTreeMap<u16, Port>> {
        let mut ports = self.ports.lock().expect("nobody panics while holding the registry");
        ports.retain(|_, port| !port.pending.is_closed());
        ports
    }

    fn bind(self: &Arc<Self>, mut addr: SocketAddr, line: Arc<Line>) -> io::Result<Listener> {
        let mut ports = self.live_ports();
        if addr.port() == 0 {
            let free = (VIRTUAL_PORT_FIRST..u16::MAX).find(|port| !ports.contains_key(port));
            addr.set_port(
                free.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no virtual port is free"))?,
            );
        } else if ports.contains_key(&addr.port()) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{addr} is taken (virtual network)"),
            ));
        }
        let (pending, incoming) = mpsc::channel(BACKLOG_MAX);
        ports.insert(addr.port(), Port { pending, line: line.clone() });
        Ok(Listener { inner: ListenerInner::Virtual { incoming, addr }, line })
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        let ports = self.live_ports();
        let refused =
            || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {addr}"));
        let port = ports.get(&addr.port()).ok_or_else(refused)?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES_MAX);
        let far = Stream::new(StreamInner::Virtual(far), Some(port.line.clone()));
        port.pending.try_send(far).map_err(|_| refused())?;
        Ok(Stream::new(StreamInner::Virtual(near), None))
    }
}

/// Accepts connections. Hand it to [`serve`](super::http::serve), or use it with `axum::serve`.
#[derive(Debug)]
pub struct Listener {
    inner: ListenerInner,
    line: Arc<Line>,
}

#[derive(Debug)]
enum ListenerInner {
    Tcp(TcpListener),
    Virtual { incoming: mpsc::Receiver<Stream>, addr: SocketAddr },
}

impl Listener {
    /// The address listened on, with the port really taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            ListenerInner::Tcp(listener) => listener.local_addr(),
            ListenerInner::Virtual { addr, .. } => Ok(*addr),
        }
    }

    /// The next connection. Errors of `accept` itself (too many open files) are waited out.
    pub async fn accept(&mut self) -> (Stream, SocketAddr) {
        match &mut self.inner {
            ListenerInner::Tcp(listener) => loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let _ = stream.set_nodelay(true);
                        return (Stream::new(StreamInner::Tcp(stream), Some(self.line.clone())), peer);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed; trying again in 0.1 s");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            },
            ListenerInner::Virtual { incoming, .. } => match incoming.recv().await {
                Some(stream) => (stream, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
                None => std::future::pending().await,
            },
        }
    }

    /// Something that breaks all connections accepted here when it is dropped, as the end of a process does.
    pub fn cut_on_drop(&self) -> CutOnDrop {
        CutOnDrop(self.line.clone())
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    fn accept(&mut self) -> impl Future<Output = (Stream, SocketAddr)> + Send {
        Listener::accept(self)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(self)
    }
}

/// Breaks the connections of its listener when dropped.
#[derive(Debug)]
pub struct CutOnDrop(Arc<Line>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut_now();
    }
}

/// What the accepted connections of one listener share: whether they still work.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<LineState>,
}

#[derive(Debug, Default)]
struct LineState {
    frozen: bool,
    streams_opened: u64,
    /// Streams numbered below this are broken.
    cut_below: u64,
    /// Who waits on a stream, by stream and direction.
    wakers: BTreeMap<(u64, Direction), Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Read,
    Write,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().expect("nobody panics while holding a line")
    }

    fn cut_now(&self) {
        let mut state = self.lock();
        state.cut_below = state.streams_opened;
        wake_all(state);
    }

    fn freeze(&self, frozen: bool) {
        let mut state = self.lock();
        state.frozen = frozen;
        wake_all(state);
    }

    /// Ready(Ok) if the stream may be used now; leaves a waker for the next change in any case.
    fn poll(&self, id: u64, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if id < state.cut_below {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the connection was cut",
            )));
        }
        match state.wakers.get_mut(&(id, direction)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                state.wakers.insert((id, direction), cx.waker().clone());
            }
        }
        if state.frozen { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

fn wake_all(mut state: MutexGuard<'_, LineState>) {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    for waker in wakers.into_values() {
        waker.wake();
    }
}

/// One connection, TCP or in memory.
#[derive(Debug)]
pub struct Stream {
    inner: StreamInner,
    line: Option<(Arc<Line>, u64)>,
}

#[derive(Debug)]
enum StreamInner {
    Tcp(TcpStream),
    Virtual(DuplexStream),
}

impl Stream {
    fn new(inner: StreamInner, line: Option<Arc<Line>>) -> Stream {
        let line = line.map(|line| {
            let id = {
                let mut state = line.lock();
                state.streams_opened += 1;
                state.streams_opened - 1
            };
            (line, id)
        });
        Stream { inner, line }
    }

    fn poll_line(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.line {
            Some((line, id)) => line.poll(*id, direction, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some((line, id)) = &self.line {
            let mut state = line.lock();
            state.wakers.remove(&(*id, Direction::Read));
            state.wakers.remove(&(*id, Direction::Write));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_line(Direction::Read, cx))?;
        match &mut self.inner {
            StreamInner::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            StreamInner::Virtual(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_line(Direction::Write, cx))?;
        match &mut self.inner {
            StreamInner::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            StreamInner::Virtual(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_line(Direction::Write, cx))?;
        match &mut self.inner {
            StreamInner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            StreamInner::Virtual(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            StreamInner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            StreamInner::Virtual(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn echo_once(net: Net) {
        let mut listener = net.bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound").to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await;
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.expect("client writes");
            stream.write_all(&bytes).await.expect("client reads");
        });
        let mut client = net.connect(&addr).await.expect("somebody listens");
        client.write_all(b"ping").await.expect("open");
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.expect("echo");
        assert_eq!(&bytes, b"ping");
        server.await.expect("server ended");
        let refused = net.connect(&addr).await.expect_err("nobody listens any more");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn both_forms_connect_and_refuse() {
        echo_once(Net::Tcp).await;
        echo_once(Net::new_virtual()).await;
    }

    #[tokio::test]
    async fn a_taken_port_is_refused() {
        for net in [Net::Tcp, Net::new_virtual()] {
            let first = net.bind("127.0.0.1:0").await.expect("a free port");
            let addr = first.local_addr().expect("bound").to_string();
            let taken = net.bind(&addr).await.expect_err("taken");
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cut_and_frozen_lines_show_at_the_client() {
        let net = Arc::new(VirtualNet::default());
        let world = Net::Virtual(net.clone());
        let mut listener = world.bind("127.0.0.1:8010").await.expect("free");
        let mut client = world.connect("localhost:8010").await.expect("listens");
        let (mut server, _) = listener.accept().await;
        net.freeze(8010, true);
        client.write_all(b"x").await.expect("goes into the pipe");
        let mut byte = [0; 1];
        let waited = tokio::time::timeout(Duration::from_secs(60), server.read_exact(&mut byte)).await;
        assert!(waited.is_err(), "a frozen service reads nothing");
        net.freeze(8010, false);
        server.read_exact(&mut byte).await.expect("thawed");
        let reader = tokio::spawn(async move { server.read_exact(&mut [0; 1]).await });
        tokio::task::yield_now().await;
        net.cut(8010);
        let broken = reader.await.expect("no panic").expect_err("cut while reading");
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut byte).await.expect("end of stream"), 0);
        assert!(world.connect("127.0.0.1:8010").await.is_ok(), "the listener is still there");
    }
}
