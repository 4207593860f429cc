//! PostgreSQL over the platform's own network type, reconnecting with the next call.

use super::{Error, Row, Statement, Value, schema};
use crate::runtime::{Net, Tasks};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::error::DbError;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};

/// A server, connected when it is first needed and again after it went away.
pub struct Postgres {
    config: Config,
    address: String,
    timeout: Duration,
    net: Net,
    client: Mutex<Option<Client>>,
    tasks: Tasks,
}

/// What a call met before it is told.
enum Failure {
    Server(tokio_postgres::Error),
    Told(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Server(error)
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Postgres {
    pub fn new(url: &str, timeout: Duration, net: Net) -> Result<Postgres, Error> {
        let config: Config = url.parse().map_err(|_| Error::Url { url: redacted(url) })?;
        let Some(tokio_postgres::config::Host::Tcp(host)) = config.get_hosts().first() else {
            return Err(Error::Url { url: redacted(url) });
        };
        let address = format!("{host}:{}", config.get_ports().first().copied().unwrap_or(5432));
        Ok(Postgres { config, address, timeout, net, client: Mutex::new(None), tasks: Tasks::new() })
    }

    pub async fn write(&self, statements: &[Statement]) -> Result<(), Error> {
        let call = async {
            let mut slot = self.client.lock().await;
            // Taken out: a call that is given up half-way leaves no connection in an unknown state behind.
            let mut client = self.connected(slot.take()).await?;
            let answer = carry_out(&mut client, statements).await;
            self.put_back(&mut slot, client, answer.as_ref().err());
            Ok(answer?)
        };
        self.timely(call).await
    }

    pub async fn read(&self, query: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        let call = async {
            let mut slot = self.client.lock().await;
            let client = self.connected(slot.take()).await?;
            let answer = client.query(query, &parameters(&values)).await;
            self.put_back(&mut slot, client, answer.as_ref().err());
            Ok(answer?.iter().map(row).collect())
        };
        self.timely(call).await
    }

    async fn timely<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure::Told(error))) => Err(error),
            Ok(Err(Failure::Server(error))) => Err(self.told(&error)),
            Err(_) => Err(self.unavailable(format!("no answer within {:?}", self.timeout))),
        }
    }

    fn put_back(&self, slot: &mut Option<Client>, client: Client, error: Option<&tokio_postgres::Error>) {
        let usable = error.is_none_or(|error| error.as_db_error().is_some_and(is_refusal));
        *slot = (usable && !client.is_closed()).then_some(client);
    }

    async fn connected(&self, client: Option<Client>) -> Result<Client, Failure> {
        if let Some(client) = client.filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let stream = self.net.connect(&self.address).await;
        let stream = stream.map_err(|error| Failure::Told(self.unavailable(error.to_string())))?;
        let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
        self.tasks.spawn(async move {
            let _ = connection.await; // A broken connection shows at the next call.
        });
        // Services start together, and `IF NOT EXISTS` alone does not keep two of them from colliding.
        let schema = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7274387); SET LOCAL client_min_messages = warning; {}; COMMIT",
            schema::SCHEMA.join("; ")
        );
        client.batch_execute(&schema).await?;
        Ok(client)
    }

    fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { database: format!("postgres://{}", self.address), why }
    }

    fn told(&self, error: &tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(refusal) if is_refusal(refusal) => Error::Refused {
                database: format!("postgres://{}", self.address),
                why: refusal.message().to_owned(),
            },
            Some(other) => self.unavailable(other.message().to_owned()),
            None => self.unavailable(error.to_string()),
        }
    }
}

async fn carry_out(client: &mut Client, statements: &[Statement]) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    for (text, values) in statements {
        transaction.execute(*text, &parameters(values)).await?;
    }
    transaction.commit().await
}

/// Whether the statement is at fault rather than the server: classes 22, 23 and 42 of SQLSTATE.
fn is_refusal(error: &DbError) -> bool {
    matches!(error.code().code().get(..2), Some("22" | "23" | "42"))
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| match value {
            Value::Int(value) => value as &(dyn ToSql + Sync),
            Value::Text(value) => value as &(dyn ToSql + Sync),
        })
        .collect()
}

fn row(row: &tokio_postgres::Row) -> Row {
    let cells = row.columns().iter().enumerate().map(|(at, column)| match *column.type_() {
        Type::INT8 => Value::Int(row.get::<_, Option<i64>>(at).unwrap_or_default()),
        _ => Value::Text(row.get::<_, Option<String>>(at).unwrap_or_default()),
    });
    Row(cells.collect())
}

/// The URL without who asks and what lets them in.
pub fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(redacted("postgres://u:secret@h:1/db"), "postgres://…@h:1/db");
        assert_eq!(redacted("postgres://h"), "postgres://h");
    }

    #[tokio::test]
    async fn nobody_there_is_unavailable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let url = format!("postgres://u@127.0.0.1:{port}/db");
        let database = Postgres::new(&url, Duration::from_secs(1), Net::Tcp).expect("a good URL");
        assert!(database.read("SELECT 1", Vec::new()).await.expect_err("refused").is_unavailable());
    }
}
