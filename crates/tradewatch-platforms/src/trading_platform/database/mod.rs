//! The platform's database: SQLite in one file by default, PostgreSQL with a URL.
//!
//! Both speak the same few statements: `$1, $2, …` in order of appearance, integers and text only, and
//! `INSERT … ON CONFLICT`. So there is one interface and no trait; what differs is how a statement is sent
//! and what a lost connection looks like.
//!
//! Nothing is queued here: while the database is away every call fails within [`Options::busy_timeout_ms`]
//! or [`Options::call_timeout_ms`], and the first call after its return works, without a restart.

mod postgres;
mod schema;
mod sqlite;

use crate::runtime::Net;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tradewatch_instrument::Secret;

/// How to reach the database and how long to wait for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://user@host:port/database`.
    pub url: Secret<String>,
    /// Longest wait for another process' lock on the SQLite file, in milliseconds.
    pub busy_timeout_ms: u64,
    /// Longest wait for an answer of PostgreSQL, connecting included, in milliseconds.
    pub call_timeout_ms: u64,
    /// Whether SQLite waits for the disk. A simulation does not.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            url: "sqlite:trading.db".into(),
            busy_timeout_ms: 250,
            call_timeout_ms: 1_000,
            durable: true,
        }
    }
}

/// A value in a statement or in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer; money and quantities are billionths.
    Int(i64),
    /// Text.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The integer in column `at`; 0 where there is text.
    pub fn int(&self, at: usize) -> i64 {
        match self.0.get(at) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }

    /// The text in column `at`; empty where there is an integer.
    pub fn text(&self, at: usize) -> &str {
        match self.0.get(at) {
            Some(Value::Text(value)) => value,
            _ => "",
        }
    }
}

/// A statement and its values.
pub type Statement = (&'static str, Vec<Value>);

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, is locked, or did not answer in time. Later it may.
    #[error("database {database} is unavailable: {why}")]
    Unavailable {
        /// Which, without password.
        database: String,
        /// What was met.
        why: String,
    },
    /// The database answered and refused the statement.
    #[error("database {database} refused a statement: {why}")]
    Refused {
        /// Which, without password.
        database: String,
        /// What it said.
        why: String,
    },
    /// The URL is neither `sqlite:…` nor `postgres://…`.
    #[error("database URL {url:?} is not sqlite:PATH or postgres://USER@HOST:PORT/NAME")]
    Url {
        /// What was given.
        url: String,
    },
}

impl Error {
    /// Whether trying again later makes sense.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}

/// A connection that comes back by itself. One per service.
#[derive(Debug)]
pub enum Database {
    /// A file, or memory shared by name.
    Sqlite(Box<sqlite::Sqlite>),
    /// A server.
    Postgres(Box<postgres::Postgres>),
}

impl Database {
    /// Prepares a connection; nothing is opened before the first call.
    ///
    /// # Errors
    /// If the URL has neither form.
    pub fn new(options: &Options, net: Net) -> Result<Database, Error> {
        let url = options.url.expose().as_str();
        if let Some(path) = url.strip_prefix("sqlite:") {
            let busy = Duration::from_millis(options.busy_timeout_ms);
            return Ok(Database::Sqlite(Box::new(sqlite::Sqlite::new(path, busy, options.durable))));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let timeout = Duration::from_millis(options.call_timeout_ms);
            return Ok(Database::Postgres(Box::new(postgres::Postgres::new(url, timeout, net)?)));
        }
        Err(Error::Url { url: postgres::redacted(url) })
    }

    /// `SQLite` or `PostgreSQL`.
    pub fn kind(&self) -> &'static str {
        match self {
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "PostgreSQL",
        }
    }

    /// Carries out all statements or none.
    ///
    /// # Errors
    /// `is_unavailable`, or refused.
    pub async fn write(&self, statements: &[Statement]) -> Result<(), Error> {
        match self {
            Database::Sqlite(database) => database.write(statements).await,
            Database::Postgres(database) => database.write(statements).await,
        }
    }

    /// The rows of one query.
    ///
    /// # Errors
    /// `is_unavailable`, or refused.
    pub async fn read(&self, query: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        match self {
            Database::Sqlite(database) => database.read(query, values).await,
            Database::Postgres(database) => database.read(query, values).await,
        }
    }

    /// Proves that `service` can write now: the check behind the connection gauge.
    ///
    /// A read would not do: a file that another process has locked, or a disk that is full, still answers reads.
    ///
    /// # Errors
    /// `is_unavailable`, or refused.
    pub async fn heartbeat(&self, service: &'static str, now: i64) -> Result<(), Error> {
        self.write(&[(schema::HEARTBEAT, vec![service.into(), now.into()])]).await
    }
}
