//! Pushes what alerts hang on at the moment it changes, instead of waiting for the next scrape.
//!
//! A thread of its own reads the named families every few milliseconds and posts their text to the monitor when it
//! differs from what the monitor has. The code that moves a metric does nothing for it and cannot forget it: the hot path
//! stays what it is. While the monitor does not answer, the newest state is tried again with a growing pause; scrapes go
//! on as before and bring what a push could not.
//!
//! It is meant for families that move rarely and matter at once: rejected orders, a tripped breaker, a lost session.
//! It speaks plain HTTP, to a monitor on the same host or in a network that is trusted as the scrapes are.

#![allow(clippy::disallowed_methods)] // An edge module: it waits, and it times its requests.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::encode::Format;
use crate::registry::Registry;

/// The longest text that is pushed; families that take more are left to the scrapes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const CONNECT_MAX: Duration = Duration::from_millis(250);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The longest pause between two attempts while the monitor does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is pushed, and where.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Host and port of the monitor, which must run with `--web.enable-push-receiver`.
    pub monitor: String,
    /// The `job` label of this service in the monitor's `prometheus.yml`.
    pub job: String,
    /// The `instance` label of this process there: most often its scrape address.
    pub instance: String,
    /// The families to push, by the names of their declaration.
    pub families: Vec<String>,
    /// How often they are looked at.
    pub every: Duration,
}

impl Default for PushOptions {
    fn default() -> PushOptions {
        PushOptions {
            monitor: "127.0.0.1:9090".to_owned(),
            job: String::new(),
            instance: String::new(),
            families: Vec::new(),
            every: Duration::from_millis(5),
        }
    }
}

/// What became of pushes until now.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStats {
    /// Taken by the monitor.
    pub taken: u64,
    /// Answered with a refusal; not tried again.
    pub refused: u64,
    /// Attempts without an answer; tried again.
    pub failed: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// A running push; it ends when this is dropped.
#[must_use = "pushing stops when this is dropped"]
pub struct Push {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Push {
    /// Starts to push the families of `registry` that `options` name.
    ///
    /// # Errors
    /// A family that the registry does not have, no job or instance, or no thread to be had. Whether the monitor answers
    /// is not waited for.
    ///
    /// # Cost
    /// One text of the named families each [`PushOptions::every`], and a request when it changed; never more than a
    /// third of the time is spent on requests.
    pub fn start(options: PushOptions, registry: Registry) -> io::Result<Push> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let known = registry.describe();
        for family in &options.families {
            if !known.iter().any(|descriptor| descriptor.name == *family) {
                return Err(wrong(format!("{family:?} is not a family of the registry; register it first")));
            }
        }
        if options.families.is_empty() || options.job.is_empty() || options.instance.is_empty() {
            return Err(wrong("name the job, the instance and at least one family".to_owned()));
        }
        let shared = Arc::new(Shared::default());
        let mut pusher = Pusher {
            head: format!(
                "POST /api/tradewatch/v1/push/{}/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: ",
                encoded(&options.job),
                encoded(&options.instance),
                options.monitor,
                Format::Text004.content_type(),
            ),
            options,
            registry,
            shared: shared.clone(),
            stream: None,
        };
        let thread = std::thread::Builder::new().name("push".to_owned()).spawn(move || pusher.run())?;
        Ok(Push { shared, thread: Some(thread) })
    }

    /// What became of pushes until now.
    pub fn stats(&self) -> PushStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        PushStats { taken: read(&shared.taken), refused: read(&shared.refused), failed: read(&shared.failed) }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Pusher {
    options: PushOptions,
    registry: Registry,
    head: String,
    shared: Arc<Shared>,
    stream: Option<TcpStream>,
}

impl Pusher {
    fn run(&mut self) {
        let (mut now, mut known) = (Vec::new(), Vec::new());
        let mut failures = 0u32;
        while !self.shared.stop.load(Ordering::Relaxed) {
            now.clear();
            self.registry.encode_only(&self.options.families, Format::Text004, &mut now);
            let mut pause = self.options.every.max(Duration::from_millis(1));
            if now != known && now.len() <= BODY_BYTES_MAX {
                let began = Instant::now();
                match self.post(&now) {
                    Ok(status) => {
                        failures = 0;
                        let taken = (200..300).contains(&status);
                        let count = if taken { &self.shared.taken } else { &self.shared.refused };
                        count.fetch_add(1, Ordering::Relaxed);
                        // A refusal would be one again: the next change is the next attempt.
                        std::mem::swap(&mut now, &mut known);
                    }
                    Err(_) => {
                        failures += 1;
                        self.stream = None;
                        self.shared.failed.fetch_add(1, Ordering::Relaxed);
                        pause =
                            pause.max(Duration::from_millis(25) * 2u32.pow(failures.min(6))).min(PAUSE_MAX);
                    }
                }
                pause = pause.max(2 * began.elapsed());
            }
            // Returns early when it is unparked, which happens at the end alone.
            std::thread::park_timeout(pause);
        }
    }

    /// Posts a text; gives the status. An answer of 5xx counts as none.
    fn post(&mut self, body: &[u8]) -> io::Result<u16> {
        let mut request = Vec::with_capacity(self.head.len() + body.len() + 16);
        write!(request, "{}{}\r\n\r\n", self.head, body.len())?;
        request.extend_from_slice(body);
        let kept = self.stream.is_some();
        let status = match self.exchange(&request) {
            // The monitor may have closed a connection that was idle.
            Err(_) if kept => {
                self.stream = None;
                self.exchange(&request)
            }
            other => other,
        }?;
        if status >= 500 {
            return Err(io::Error::other(format!("the monitor answered {status}")));
        }
        Ok(status)
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.options.monitor)?,
        };
        stream.write_all(request)?;
        let (status, keep) = answer(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(status)
    }
}

fn connect(monitor: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{monitor} has no address"));
    for addr in monitor.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, CONNECT_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                stream.set_write_timeout(Some(ANSWER_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads an answer; whether the connection can take the next request.
fn answer(stream: &mut TcpStream) -> io::Result<(u16, bool)> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let more = stream.read(&mut chunk)?;
        if more == 0 || read.len() > ANSWER_BYTES_MAX {
            return Err(wrong("the answer has no end"));
        }
        read.extend_from_slice(&chunk[..more]);
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| wrong("the answer has no status"))?;
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = match field("content-length:") {
        Some(length) => length.parse().ok(),
        None => (status == 204).then_some(0),
    };
    // Anything but a body of known length is not read: the connection ends with it.
    let Some(length) = length.filter(|length: &usize| *length <= ANSWER_BYTES_MAX) else {
        return Ok((status, false));
    };
    let mut rest = length.saturating_sub(read.len() - end);
    while rest > 0 {
        let more = stream.read(&mut chunk)?;
        if more == 0 {
            return Err(wrong("the answer is cut off"));
        }
        rest = rest.saturating_sub(more);
    }
    Ok((status, field("connection:") != Some("close")))
}

/// One segment of a path.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
