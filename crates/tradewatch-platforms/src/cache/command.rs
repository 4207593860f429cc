//! The commands of the cache.

use super::resp::{Reply, Request};
use super::store::{OutOfMemory, Value, glob};
use super::{Config, State};
use crate::runtime::Nanos;
use crate::runtime::clock::{MILLISECOND, SECOND};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc;

/// Commands queued by one MULTI.
const QUEUED_MAX: usize = 1_024;
/// Channels that one connection may subscribe to.
const SUBSCRIPTIONS_MAX: usize = 1_024;
/// Unfinished SCANs that one connection may have; the oldest is forgotten.
const SCANS_MAX: usize = 64;
/// Keys that one SCAN step looks at.
const SCAN_COUNT: (usize, usize) = (10, 10_000);

/// What the cache remembers of one connection.
#[derive(Debug)]
pub struct Session {
    id: u64,
    /// Protocol version, 2 or 3.
    pub version: u8,
    /// Whether the connection is to be closed after the answer.
    pub is_over: bool,
    authenticated: bool,
    name: Vec<u8>,
    queued: Option<Vec<Request>>,
    pushes: mpsc::Sender<Reply>,
    /// The keys that SCAN steps ended at, by cursor, oldest first.
    scans: VecDeque<(i64, Vec<u8>)>,
    cursors_given: i64,
}

impl Session {
    /// A new connection.
    pub fn new(id: u64, pushes: mpsc::Sender<Reply>) -> Session {
        Session {
            id,
            version: 2,
            is_over: false,
            authenticated: false,
            name: Vec::new(),
            queued: None,
            pushes,
            scans: VecDeque::new(),
            cursors_given: 0,
        }
    }
}

impl Session {
    /// Remembers where a SCAN stopped; returns its cursor.
    fn keep_scan(&mut self, last: Vec<u8>) -> i64 {
        if self.scans.len() >= SCANS_MAX {
            self.scans.pop_front();
        }
        self.cursors_given += 1;
        self.scans.push_back((self.cursors_given, last));
        self.cursors_given
    }
}

/// One request with everything it may touch.
pub struct Conversation<'a> {
    /// Keys, channels, counts.
    pub state: &'a mut State,
    /// The connection.
    pub session: &'a mut Session,
    /// Password and limits.
    pub config: &'a Config,
    /// Now.
    pub now: Nanos,
}

type Outcome = Result<Reply, Reply>;

fn error(text: impl Into<String>) -> Reply {
    Reply::Error(text.into())
}

fn syntax() -> Reply {
    error("ERR syntax error")
}

fn wrong_type() -> Reply {
    error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

impl From<OutOfMemory> for Reply {
    fn from(_: OutOfMemory) -> Reply {
        error("OOM command not allowed when used memory > 'maxmemory'.")
    }
}

const OK: Reply = Reply::Status("OK");

impl Conversation<'_> {
    /// Answers one request; most with one reply, subscriptions with one per channel.
    pub fn answer(mut self, request: Request) -> Vec<Reply> {
        let name = upper(&request[0]);
        let open = self.session.authenticated || self.config.password.is_none();
        if !open && !matches!(name.as_str(), "AUTH" | "HELLO" | "QUIT") {
            return vec![error("NOAUTH Authentication required.")];
        }
        match name.as_str() {
            "SUBSCRIBE" => return self.subscribe(&request[1..]),
            "UNSUBSCRIBE" => return self.unsubscribe(&request[1..]),
            _ => {}
        }
        if let Some(queued) = self.session.queued.as_mut()
            && !matches!(name.as_str(), "EXEC" | "DISCARD" | "MULTI" | "QUIT")
        {
            if queued.len() >= QUEUED_MAX {
                return vec![error(format!("ERR a transaction holds at most {QUEUED_MAX} commands"))];
            }
            queued.push(request);
            return vec![Reply::Status("QUEUED")];
        }
        vec![self.run(&name, &request)]
    }

    fn run(&mut self, name: &str, request: &[Vec<u8>]) -> Reply {
        let args = &request[1..];
        if args.len() < args_min(name) {
            return error(format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()));
        }
        self.connection_command(name, args)
            .or_else(|| self.text_command(name, args))
            .or_else(|| self.key_command(name, args))
            .or_else(|| self.hash_command(name, args))
            .unwrap_or_else(|| {
                let shown: String = String::from_utf8_lossy(&request[0]).chars().take(64).collect();
                Err(error(format!("ERR unknown command '{shown}'")))
            })
            .unwrap_or_else(|refusal| refusal)
    }

    fn connection_command(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Outcome> {
        Some(match name {
            "PING" => Ok(args.first().map_or(Reply::Status("PONG"), |text| Reply::Bulk(text.clone()))),
            "ECHO" => Ok(Reply::Bulk(args[0].clone())),
            "HELLO" => self.hello(args),
            "AUTH" => self.auth(args).map(|()| OK),
            "SELECT" => match integer(&args[0]) {
                Ok(0) => Ok(OK),
                Ok(_) => Err(error("ERR DB index is out of range")),
                Err(refusal) => Err(refusal),
            },
            "CLIENT" => self.client(args),
            "COMMAND" => Ok(match args.first().map(|word| upper(word)).as_deref() {
                Some("COUNT") => Reply::Integer(0),
                Some("DOCS") => Reply::Map(Vec::new()),
                _ => Reply::Array(Vec::new()),
            }),
            "CONFIG" => match upper(&args[0]).as_str() {
                "GET" => Ok(Reply::Map(Vec::new())),
                _ => Err(error("ERR this cache has no settings at run time")),
            },
            "QUIT" => {
                self.session.is_over = true;
                Ok(OK)
            }
            "RESET" => {
                self.state.forget(self.session.id);
                *self.session = Session::new(self.session.id, self.session.pushes.clone());
                Ok(Reply::Status("RESET"))
            }
            "TIME" => {
                let seconds = self.now.div_euclid(SECOND).to_string();
                let micros = (self.now.rem_euclid(SECOND) / 1_000).to_string();
                Ok(Reply::Array(vec![Reply::text(seconds), Reply::text(micros)]))
            }
            "INFO" => Ok(Reply::text(self.info())),
            "MULTI" if self.session.queued.is_some() => Err(error("ERR MULTI calls can not be nested")),
            "MULTI" => {
                self.session.queued = Some(Vec::new());
                Ok(OK)
            }
            "DISCARD" => {
                self.session.queued.take().map(|_| OK).ok_or_else(|| error("ERR DISCARD without MULTI"))
            }
            "EXEC" => match self.session.queued.take() {
                None => Err(error("ERR EXEC without MULTI")),
                Some(queued) => Ok(Reply::Array(
                    queued.iter().map(|request| self.run(&upper(&request[0]), request)).collect(),
                )),
            },
            "PUBLISH" => Ok(self.publish(&args[0], &args[1])),
            _ => return None,
        })
    }

    fn text_command(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Outcome> {
        let in_units =
            |count: i64, unit: Nanos| count.checked_mul(unit).and_then(|wait| self.now.checked_add(wait));
        Some(match name {
            "GET" => {
                self.text(&args[0]).map(|text| text.map_or(Reply::Nil, |text| Reply::Bulk(text.clone())))
            }
            "MGET" => {
                let get = |key: &Vec<u8>| match self.state.store.get(key) {
                    Some(Value::Text(text)) => Reply::Bulk(text.clone()),
                    _ => Reply::Nil,
                };
                Ok(Reply::Array(args.iter().map(get).collect()))
            }
            "SET" => self.set(args),
            "SETNX" if self.state.store.get(&args[0]).is_some() => Ok(Reply::Integer(0)),
            "SETNX" => self.put(&args[0], &args[1], None).map(|()| Reply::Integer(1)),
            "SETEX" | "PSETEX" => {
                let unit = if name == "SETEX" { SECOND } else { MILLISECOND };
                let at = integer(&args[1]).map(|count| in_units(count, unit).filter(|_| count > 0));
                match at {
                    Ok(Some(at)) => self.put(&args[0], &args[2], Some(at)).map(|()| OK),
                    Ok(None) => {
                        Err(error(format!("ERR invalid expire time in '{}' command", name.to_lowercase())))
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            "MSET" if !args.len().is_multiple_of(2) => {
                Err(error("ERR wrong number of arguments for 'mset' command"))
            }
            "MSET" => args.chunks(2).try_for_each(|pair| self.put(&pair[0], &pair[1], None)).map(|()| OK),
            "INCR" => self.add(&args[0], 1),
            "DECR" => self.add(&args[0], -1),
            "INCRBY" => integer(&args[1]).and_then(|by| self.add(&args[0], by)),
            "STRLEN" => {
                self.text(&args[0]).map(|text| Reply::Integer(text.map_or(0, |text| text.len() as i64)))
            }
            _ => return None,
        })
    }

    fn key_command(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Outcome> {
        Some(match name {
            "DEL" | "UNLINK" => {
                Ok(Reply::Integer(args.iter().filter(|key| self.state.store.remove(key)).count() as i64))
            }
            "EXISTS" => Ok(Reply::Integer(
                args.iter().filter(|key| self.state.store.get(key).is_some()).count() as i64,
            )),
            "EXPIRE" => self.expire_in(&args[0], &args[1], SECOND),
            "PEXPIRE" => self.expire_in(&args[0], &args[1], MILLISECOND),
            "PERSIST" => {
                let had = matches!(self.state.store.expires(&args[0]), Some(Some(_)));
                self.state.store.set_expiry(&args[0], None);
                Ok(Reply::Integer(i64::from(had)))
            }
            "TTL" => Ok(self.time_left(&args[0], SECOND)),
            "PTTL" => Ok(self.time_left(&args[0], MILLISECOND)),
            "TYPE" => Ok(match self.state.store.get(&args[0]) {
                None => Reply::Status("none"),
                Some(Value::Text(_)) => Reply::Status("string"),
                Some(Value::Hash(_)) => Reply::Status("hash"),
            }),
            "KEYS" => {
                let keys = self.state.store.keys_after(None).filter(|key| glob(&args[0], key));
                Ok(Reply::Array(keys.map(|key| Reply::Bulk(key.to_vec())).collect()))
            }
            "SCAN" => self.scan(args),
            "DBSIZE" => Ok(Reply::Integer(self.state.store.keys() as i64)),
            "FLUSHALL" | "FLUSHDB" => {
                self.state.store.clear();
                Ok(OK)
            }
            _ => return None,
        })
    }

    fn hash_command(&mut self, name: &str, args: &[Vec<u8>]) -> Option<Outcome> {
        if !matches!(name, "HSET" | "HMSET" | "HGET" | "HMGET" | "HGETALL" | "HDEL" | "HLEN") {
            return None;
        }
        let mut fields = match self.state.store.get(&args[0]) {
            None => BTreeMap::new(),
            Some(Value::Hash(fields)) => fields.clone(),
            Some(Value::Text(_)) => return Some(Err(wrong_type())),
        };
        let bulk = |value: Option<&Vec<u8>>| value.map_or(Reply::Nil, |value| Reply::Bulk(value.clone()));
        Some(match name {
            "HGET" => Ok(bulk(fields.get(&args[1]))),
            "HMGET" => Ok(Reply::Array(args[1..].iter().map(|field| bulk(fields.get(field))).collect())),
            "HLEN" => Ok(Reply::Integer(fields.len() as i64)),
            "HGETALL" => Ok(Reply::Map(
                fields.into_iter().map(|(name, value)| (Reply::Bulk(name), Reply::Bulk(value))).collect(),
            )),
            "HSET" | "HMSET" if args.len().is_multiple_of(2) => {
                Err(error("ERR wrong number of arguments for 'hset' command"))
            }
            "HSET" | "HMSET" => {
                let before = fields.len();
                fields.extend(args[1..].chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())));
                let added = fields.len() - before;
                let reply = if name == "HSET" { Reply::Integer(added as i64) } else { OK };
                self.put_hash(&args[0], fields).map(|()| reply)
            }
            _ => {
                let removed = args[1..].iter().filter(|field| fields.remove(*field).is_some()).count();
                self.put_hash(&args[0], fields).map(|()| Reply::Integer(removed as i64))
            }
        })
    }

    fn put_hash(&mut self, key: &[u8], fields: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Reply> {
        if fields.is_empty() {
            self.state.store.remove(key);
            return Ok(());
        }
        let expires = self.state.store.expires(key).flatten();
        Ok(self.state.store.set(key, Value::Hash(fields), expires)?)
    }

    fn put(&mut self, key: &[u8], text: &[u8], expires: Option<Nanos>) -> Result<(), Reply> {
        Ok(self.state.store.set(key, Value::Text(text.to_vec()), expires)?)
    }

    fn text(&self, key: &[u8]) -> Result<Option<&Vec<u8>>, Reply> {
        match self.state.store.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Hash(_)) => Err(wrong_type()),
        }
    }

    fn set(&mut self, args: &[Vec<u8>]) -> Outcome {
        let (mut expires, mut keep, mut only_new, mut only_old, mut get) = (None, false, false, false, false);
        let mut options = args[2..].iter();
        while let Some(option) = options.next() {
            let option = upper(option);
            let unit = match option.as_str() {
                "EX" | "EXAT" => SECOND,
                "PX" | "PXAT" => MILLISECOND,
                "NX" => {
                    only_new = true;
                    continue;
                }
                "XX" => {
                    only_old = true;
                    continue;
                }
                "GET" => {
                    get = true;
                    continue;
                }
                "KEEPTTL" => {
                    keep = true;
                    continue;
                }
                _ => return Err(syntax()),
            };
            let count = integer(options.next().ok_or_else(syntax)?)?;
            let base = if option.ends_with("AT") { 0 } else { self.now };
            let at = count.checked_mul(unit).and_then(|wait| base.checked_add(wait)).filter(|_| count > 0);
            expires = Some(at.ok_or_else(|| error("ERR invalid expire time in 'set' command"))?);
        }
        if only_new && only_old || keep && expires.is_some() {
            return Err(syntax());
        }
        let old = if get { self.text(&args[0])?.cloned() } else { None };
        let exists = self.state.store.get(&args[0]).is_some();
        let before = || old.map_or(Reply::Nil, Reply::Bulk);
        if only_new && exists || only_old && !exists {
            return Ok(before());
        }
        if keep {
            expires = self.state.store.expires(&args[0]).flatten();
        }
        self.put(&args[0], &args[1], expires)?;
        Ok(if get { before() } else { OK })
    }

    fn add(&mut self, key: &[u8], by: i64) -> Outcome {
        let old = match self.text(key)? {
            None => 0,
            Some(text) => integer(text)?,
        };
        let sum = old.checked_add(by).ok_or_else(|| error("ERR increment or decrement would overflow"))?;
        let expires = self.state.store.expires(key).flatten();
        self.put(key, sum.to_string().as_bytes(), expires)?;
        Ok(Reply::Integer(sum))
    }

    fn expire_in(&mut self, key: &[u8], count: &[u8], unit: Nanos) -> Outcome {
        let count = integer(count)?;
        let at = count.checked_mul(unit).and_then(|wait| self.now.checked_add(wait));
        let at = at.ok_or_else(|| error("ERR invalid expire time in 'expire' command"))?;
        let found = self.state.store.set_expiry(key, Some(at));
        self.state.store.expire(self.now);
        Ok(Reply::Integer(i64::from(found)))
    }

    fn time_left(&self, key: &[u8], unit: Nanos) -> Reply {
        Reply::Integer(match self.state.store.expires(key) {
            None => -2,
            Some(None) => -1,
            // Rounded to the nearest, as Redis does.
            Some(Some(at)) => (at - self.now + unit / 2) / unit,
        })
    }

    /// Steps through the keys in order. A cursor stands for the key where a step stopped; the order of keys makes
    /// going on exact, even while keys come and go.
    fn scan(&mut self, args: &[Vec<u8>]) -> Outcome {
        let cursor = integer(&args[0]).map_err(|_| error("ERR invalid cursor"))?;
        let (mut pattern, mut count) = (b"*".to_vec(), SCAN_COUNT.0);
        for pair in args[1..].chunks(2) {
            match (upper(&pair[0]).as_str(), pair.get(1)) {
                ("MATCH", Some(wanted)) => pattern = wanted.clone(),
                ("COUNT", Some(wanted)) => count = integer(wanted)?.clamp(1, SCAN_COUNT.1 as i64) as usize,
                _ => return Err(syntax()),
            }
        }
        let after = match self.session.scans.iter().position(|(given, _)| *given == cursor) {
            Some(at) => self.session.scans.remove(at).map(|(_, key)| key),
            None if cursor == 0 => None,
            None => return Err(error("ERR invalid cursor")),
        };
        let step: Vec<Vec<u8>> =
            self.state.store.keys_after(after.as_deref()).take(count + 1).map(<[u8]>::to_vec).collect();
        let more = step.len() > count;
        let seen = &step[..step.len().min(count)];
        let next = match seen.last().filter(|_| more) {
            Some(last) => self.session.keep_scan(last.clone()),
            None => 0,
        };
        let found =
            seen.iter().filter(|key| glob(&pattern, key)).map(|key| Reply::Bulk(key.clone())).collect();
        Ok(Reply::Array(vec![Reply::text(next.to_string()), Reply::Array(found)]))
    }

    fn hello(&mut self, args: &[Vec<u8>]) -> Outcome {
        let version = match args.first() {
            None => self.session.version,
            Some(version) => match integer(version) {
                Ok(2) => 2,
                Ok(3) => 3,
                _ => return Err(error("NOPROTO unsupported protocol version")),
            },
        };
        let mut options = args.iter().skip(1);
        while let Some(option) = options.next() {
            match (upper(option).as_str(), options.next()) {
                ("AUTH", Some(user)) => {
                    let password = options.next().ok_or_else(syntax)?;
                    self.auth(&[user.clone(), password.clone()])?;
                }
                ("SETNAME", Some(name)) => self.session.name.clone_from(name),
                _ => return Err(syntax()),
            }
        }
        if self.config.password.is_some() && !self.session.authenticated {
            return Err(error("NOAUTH HELLO must be called with the client already authenticated"));
        }
        self.session.version = version;
        let pair = |name: &str, value: Reply| (Reply::text(name), value);
        Ok(Reply::Map(vec![
            pair("server", Reply::text("redis")),
            pair("version", Reply::text("7.0.0")),
            pair("proto", Reply::Integer(version.into())),
            pair("id", Reply::Integer(self.session.id as i64)),
            pair("mode", Reply::text("standalone")),
            pair("role", Reply::text("master")),
            pair("modules", Reply::Array(Vec::new())),
        ]))
    }

    fn auth(&mut self, args: &[Vec<u8>]) -> Result<(), Reply> {
        let given = args.last().map(Vec::as_slice).unwrap_or_default();
        match &self.config.password {
            None => {
                Err(error("ERR AUTH <password> called without any password configured for the default user."))
            }
            Some(password) if password.expose().as_bytes() == given => {
                self.session.authenticated = true;
                Ok(())
            }
            Some(_) => Err(error("WRONGPASS invalid username-password pair or user is disabled.")),
        }
    }

    fn client(&mut self, args: &[Vec<u8>]) -> Outcome {
        match (upper(&args[0]).as_str(), args.get(1)) {
            ("SETINFO" | "NO-EVICT" | "NO-TOUCH", _) => Ok(OK),
            ("SETNAME", Some(name)) => {
                self.session.name.clone_from(name);
                Ok(OK)
            }
            ("GETNAME", _) => Ok(Reply::Bulk(self.session.name.clone())),
            ("ID", _) => Ok(Reply::Integer(self.session.id as i64)),
            (other, _) => Err(error(format!("ERR unknown subcommand '{other}'"))),
        }
    }

    fn info(&self) -> String {
        let store = &self.state.store;
        format!(
            "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nserver:tradewatch price cache\r\n\
             # Clients\r\nconnected_clients:{}\r\n\
             # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\
             # Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n\
             # Keyspace\r\ndb0:keys={}\r\n",
            self.state.connections,
            store.bytes(),
            store.bytes_max(),
            self.state.connections_seen,
            self.state.commands,
            store.keys(),
        )
    }

    fn publish(&mut self, channel: &[u8], text: &[u8]) -> Reply {
        let Some(subscribers) = self.state.channels.get_mut(channel) else { return Reply::Integer(0) };
        let message = Reply::Push(vec![
            Reply::text("message"),
            Reply::Bulk(channel.to_vec()),
            Reply::Bulk(text.to_vec()),
        ]);
        subscribers.retain(|_, queue| queue.try_send(message.clone()).is_ok());
        Reply::Integer(subscribers.len() as i64)
    }

    fn subscriptions(&self) -> usize {
        self.state.channels.values().filter(|subscribers| subscribers.contains_key(&self.session.id)).count()
    }

    fn subscribe(self, channels: &[Vec<u8>]) -> Vec<Reply> {
        if channels.is_empty() {
            return vec![error("ERR wrong number of arguments for 'subscribe' command")];
        }
        let mut replies = Vec::new();
        for channel in channels {
            if self.subscriptions() >= SUBSCRIPTIONS_MAX {
                replies.push(error(format!(
                    "ERR a connection subscribes to at most {SUBSCRIPTIONS_MAX} channels"
                )));
                continue;
            }
            let subscribers = self.state.channels.entry(channel.clone()).or_default();
            subscribers.insert(self.session.id, self.session.pushes.clone());
            let count = Reply::Integer(self.subscriptions() as i64);
            replies.push(Reply::Push(vec![Reply::text("subscribe"), Reply::Bulk(channel.clone()), count]));
        }
        replies
    }

    fn unsubscribe(self, channels: &[Vec<u8>]) -> Vec<Reply> {
        let id = self.session.id;
        let channels: Vec<Vec<u8>> = if channels.is_empty() {
            let of_us = self.state.channels.iter().filter(|(_, subscribers)| subscribers.contains_key(&id));
            of_us.map(|(channel, _)| channel.clone()).collect()
        } else {
            channels.to_vec()
        };
        let confirm = |channel: Reply, count| {
            Reply::Push(vec![Reply::text("unsubscribe"), channel, Reply::Integer(count)])
        };
        if channels.is_empty() {
            return vec![confirm(Reply::Nil, 0)];
        }
        let mut replies = Vec::new();
        for channel in channels {
            if let Some(subscribers) = self.state.channels.get_mut(&channel) {
                subscribers.remove(&id);
                if subscribers.is_empty() {
                    self.state.channels.remove(&channel);
                }
            }
            replies.push(confirm(Reply::Bulk(channel), self.subscriptions() as i64));
        }
        replies
    }
}

/// Arguments that a command needs at least; what is not listed needs none, or is not known.
fn args_min(name: &str) -> usize {
    match name {
        "SETEX" | "PSETEX" | "HSET" | "HMSET" => 3,
        "SET" | "SETNX" | "INCRBY" | "EXPIRE" | "PEXPIRE" | "HGET" | "HMGET" | "HDEL" | "PUBLISH" => 2,
        "ECHO" | "AUTH" | "SELECT" | "CLIENT" | "CONFIG" | "GET" | "MGET" | "MSET" | "INCR" | "DECR"
        | "STRLEN" | "DEL" | "UNLINK" | "EXISTS" | "PERSIST" | "TTL" | "PTTL" | "TYPE" | "KEYS" | "SCAN"
        | "HGETALL" | "HLEN" => 1,
        _ => 0,
    }
}

fn upper(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_ascii_uppercase()
}

fn integer(text: &[u8]) -> Result<i64, Reply> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| error("ERR value is not an integer or out of range"))
}
