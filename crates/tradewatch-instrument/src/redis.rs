//! redis-rs, measured: a connection like any other, so that every command works on it.

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::clients::Cache;
use crate::labels::{ErrorKind, TIMEOUT};

/// A connection whose commands are measured; lookups (`GET`, `HGET`, `MGET` …) count hits and misses as well.
///
/// Time limits are the wrapped connection's: `ConnectionManagerConfig::set_response_timeout`.
///
/// ```no_run
/// # use tradewatch_instrument::{Clients, Vocabulary, redis::Measured};
/// # async fn example(clients: Clients, url: &str) -> Result<(), redis::RedisError> {
/// use redis::AsyncTypedCommands;
/// let plain = redis::Client::open(url)?.get_connection_manager().await?;
/// let mut redis = Measured::new(plain, clients.cache("signal_service"));
/// let price = redis.get("price:AAPL").await?;     // `redis_cache_hits_total{cache_key="price"}`, or a miss.
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Measured<C> {
    inner: C,
    cache: Cache,
}

/// The most letters of a command's name that is a series; longer ones are `other`.
const NAME_BYTES_MAX: usize = 16;

impl<C> Measured<C> {
    /// Measures `inner`.
    pub fn new(inner: C, cache: Cache) -> Measured<C> {
        Measured { inner, cache }
    }

    /// The connection itself.
    pub fn into_inner(self) -> C {
        self.inner
    }
}

impl<C: ConnectionLike + Send> ConnectionLike for Measured<C> {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let Measured { inner, cache } = self;
        Box::pin(async move {
            let name = name(cmd);
            let work = async { inner.req_packed_command(cmd).await?.extract_error() };
            let answer = cache.operation(name.as_str()).run(work).await?;
            count_lookups(cache, name.as_str(), cmd, &answer);
            Ok(answer)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let Measured { inner, cache } = self;
        let work = inner.req_packed_commands(pipeline, offset, count);
        // The answers go to the caller, refusals among them: which command was refused is theirs to say.
        let judge = |result: &redis::RedisResult<Vec<Value>>| match result {
            Ok(answers) => answers.iter().find_map(refusal),
            Err(error) => Some(error.error_kind()),
        };
        Box::pin(async move { cache.operation("pipeline").run_judged(work, judge).await })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

fn refusal(answer: &Value) -> Option<&'static str> {
    match answer {
        Value::ServerError(error) => Some(kind_of_code(Some(error.code()))),
        _ => None,
    }
}

/// A command's name in lower case, on the stack.
struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
}

impl Name {
    fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.bytes[..self.len]) {
            Ok(name) if !name.is_empty() => name,
            _ => "other",
        }
    }
}

fn argument(cmd: &Cmd, at: usize) -> &[u8] {
    match cmd.args_iter().nth(at) {
        Some(redis::Arg::Simple(bytes)) => bytes,
        _ => b"",
    }
}

fn name(cmd: &Cmd) -> Name {
    let word = argument(cmd, 0);
    let mut name = Name { bytes: [0; NAME_BYTES_MAX], len: 0 };
    // A command's name is letters; anything else would make a series of what a caller made up.
    if word.len() <= NAME_BYTES_MAX && word.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'.') {
        name.len = word.len();
        name.bytes[..word.len()].copy_from_slice(word);
        name.bytes.make_ascii_lowercase();
    }
    name
}

/// Hits and misses by the kind of key, which is what stands before its first `:`.
fn count_lookups(cache: &Cache, name: &str, cmd: &Cmd, answer: &Value) {
    let kind = |at: usize| {
        let key = argument(cmd, at);
        let end = key.iter().position(|byte| *byte == b':').unwrap_or(key.len());
        std::str::from_utf8(&key[..end]).unwrap_or_default()
    };
    let is_hit = |value: &Value| !matches!(value, Value::Nil);
    match (name, answer) {
        ("get" | "getex" | "getdel" | "hget", value) => cache.found(kind(1), is_hit(value)),
        ("exists", Value::Int(found)) => cache.found(kind(1), *found > 0),
        ("hgetall", Value::Array(values)) => cache.found(kind(1), !values.is_empty()),
        ("hgetall", Value::Map(values)) => cache.found(kind(1), !values.is_empty()),
        ("mget", Value::Array(values)) => {
            for (at, value) in values.iter().enumerate() {
                cache.found(kind(at + 1), is_hit(value));
            }
        }
        ("hmget", Value::Array(values)) => {
            values.iter().for_each(|value| cache.found(kind(1), is_hit(value)));
        }
        _ => {}
    }
}

impl ErrorKind for redis::RedisError {
    fn error_kind(&self) -> &'static str {
        if self.is_timeout() {
            TIMEOUT
        } else if self.is_connection_refusal() {
            "connection_refused"
        } else if self.is_connection_dropped() || self.is_io_error() {
            "connection"
        } else {
            kind_of_code(self.code())
        }
    }
}

fn kind_of_code(code: Option<&str>) -> &'static str {
    match code {
        Some("WRONGTYPE") => "wrong_type",
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => "permission_denied",
        Some("OOM") => "out_of_memory",
        Some("READONLY") => "read_only",
        Some("LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN") => "unavailable",
        Some(_) => "server",
        None => "client",
    }
}
