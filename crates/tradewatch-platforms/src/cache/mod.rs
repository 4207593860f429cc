//! The price cache: a small server of the Redis protocol.
//!
//! It stands in for Redis where none is installed and speaks to the same clients; a real Redis takes its place
//! with a URL. Everything is kept in memory, within [`Config::memory_bytes_max`]; a write that does not fit gets
//! Redis' out-of-memory error. One database, no persistence, no replication, no scripts.

mod command;
mod resp;
mod store;

use crate::runtime::{Clock, Error, Listener, Net, Shutdown, Stream, Tasks, http};
use command::{Conversation, Session};
use resp::{Parser, Reply};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tradewatch_instrument::Secret;

/// Published messages that wait for one subscriber; a slower one is disconnected.
const PUSHES_MAX: usize = 1_024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Configuration of the cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: String,
    /// Password that clients have to give, if any.
    pub password: Option<Secret<String>>,
    /// Bytes of keys and values at most.
    pub memory_bytes_max: usize,
    /// Connections at once; more are told so and closed.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: "127.0.0.1:8012".to_owned(),
            password: None,
            memory_bytes_max: 64 * 1024 * 1024,
            connections_max: 256,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    store: Store,
    /// Subscribers by channel and connection.
    channels: BTreeMap<Vec<u8>, BTreeMap<u64, mpsc::Sender<Reply>>>,
    connections: usize,
    connections_seen: u64,
    commands: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the store")
    }
}

/// A cache that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    config: Config,
    clock: Clock,
}

/// Listens on the configured address.
///
/// # Errors
/// `is_bind` if it is taken.
pub async fn bind(config: Config, clock: Clock, net: &Net) -> Result<Bound, Error> {
    let listener = http::bind(net, &config.listen).await?;
    Ok(Bound { listener, config, clock })
}

/// Runs the cache until `shutdown`.
///
/// # Errors
/// `is_bind` if the address is taken.
pub async fn run(config: Config, clock: Clock, net: Net, shutdown: Shutdown) -> Result<(), Error> {
    bind(config, clock, &net).await?.run(shutdown).await;
    Ok(())
}

impl Bound {
    /// The address that is listened on.
    ///
    /// # Panics
    /// If the operating system has lost the socket.
    pub fn addr(&self) -> String {
        self.listener.local_addr().expect("a bound socket has an address").to_string()
    }

    /// Serves until `shutdown`. Dropping the future ends it, and every connection, as the end of its process would.
    pub async fn run(mut self, shutdown: Shutdown) {
        let _cut = self.listener.cut_on_drop();
        let tasks = Tasks::new();
        let state = State {
            store: Store::new(self.config.memory_bytes_max),
            channels: BTreeMap::new(),
            connections: 0,
            connections_seen: 0,
            commands: 0,
        };
        let shared = Arc::new(Shared { config: self.config, clock: self.clock, state: Mutex::new(state) });
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                (stream, _) = self.listener.accept() => tasks.spawn(converse(stream, shared.clone())),
            }
        }
    }
}

/// Serves one connection to its end.
async fn converse(mut stream: Stream, shared: Arc<Shared>) {
    let id = {
        let mut state = shared.state();
        state.connections += 1;
        state.connections_seen += 1;
        (state.connections <= shared.config.connections_max).then_some(state.connections_seen)
    };
    match id {
        None => {
            let _ = stream.write_all(b"-ERR max number of clients reached\r\n").await; // It is leaving anyway.
        }
        Some(id) => {
            let (sender, pushes) = mpsc::channel(PUSHES_MAX);
            let session = Session::new(id, sender);
            let _ = serve(&mut stream, &shared, session, pushes).await; // A broken connection just ends.
            shared.state().forget(id);
        }
    }
    shared.state().connections -= 1;
}

async fn serve(
    stream: &mut Stream,
    shared: &Shared,
    mut session: Session,
    mut pushes: mpsc::Receiver<Reply>,
) -> std::io::Result<()> {
    let mut parser = Parser::default();
    let mut read = Vec::with_capacity(READ_BYTES);
    let mut out = Vec::new();
    loop {
        tokio::select! {
            biased;
            count = stream.read_buf(&mut read) => {
                if count? == 0 {
                    return Ok(());
                }
                parser.feed(&read);
                read.clear();
            }
            push = pushes.recv() => match push {
                Some(push) => push.write(session.version, &mut out),
                None => return Ok(()),
            },
        }
        let end = answer_all(&mut parser, shared, &mut session, &mut out);
        stream.write_all(&out).await?;
        out.clear();
        if end {
            return stream.shutdown().await;
        }
    }
}

/// Answers every whole request; returns whether the conversation is over.
fn answer_all(parser: &mut Parser, shared: &Shared, session: &mut Session, out: &mut Vec<u8>) -> bool {
    loop {
        let request = match parser.next_request() {
            Ok(Some(request)) => request,
            Ok(None) => return false,
            Err(error) => {
                Reply::Error(format!("ERR {error}")).write(session.version, out);
                return true;
            }
        };
        if request.is_empty() {
            continue;
        }
        let mut state = shared.state();
        let now = shared.clock.now();
        state.store.expire(now);
        state.commands += 1;
        let conversation = Conversation { state: &mut state, session, config: &shared.config, now };
        for reply in conversation.answer(request) {
            reply.write(session.version, out);
        }
        if session.is_over {
            return true;
        }
    }
}

impl State {
    fn forget(&mut self, id: u64) {
        self.channels.retain(|_, subscribers| {
            subscribers.remove(&id);
            !subscribers.is_empty()
        });
    }
}
