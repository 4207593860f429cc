//! tokio-postgres, measured and limited in time.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Socket, Statement};
use tradewatch_metrics::InFlight;

use crate::call::{CallError, within};
use crate::clients::Database;
use crate::labels::{ErrorKind, TIMEOUT};
use crate::statement::kind_of_statement;

/// Why a call failed.
pub type Error = CallError<tokio_postgres::Error>;
type Result<T> = std::result::Result<T, Error>;
type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A client whose statements are measured and wait for at most a limit each.
///
/// A statement that is late is given up here; the server goes on with it unless `statement_timeout` ends it there,
/// too, and the connection is used again after it.
pub struct Client {
    inner: tokio_postgres::Client,
    database: Database,
    limit: Duration,
}

/// A statement that was prepared.
pub struct Prepared {
    statement: Statement,
    kind: &'static str,
}

/// A statement's text, or a prepared one.
#[derive(Clone, Copy)]
pub enum Query<'a> {
    /// The text, prepared by the server for this call.
    Text(&'a str),
    /// Prepared before.
    Prepared(&'a Prepared),
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(text: &'a str) -> Query<'a> {
        Query::Text(text)
    }
}

impl<'a> From<&'a Prepared> for Query<'a> {
    fn from(prepared: &'a Prepared) -> Query<'a> {
        Query::Prepared(prepared)
    }
}

impl Query<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Query::Text(text) => kind_of_statement(text),
            Query::Prepared(prepared) => prepared.kind,
        }
    }
}

/// Runs a method of the client with whichever statement it is.
macro_rules! call {
    ($self:ident.$method:ident($query:ident, $parameters:expr)) => {{
        let query = $query.into();
        let work = async {
            match query {
                Query::Text(text) => $self.inner.$method(text, $parameters).await,
                Query::Prepared(prepared) => $self.inner.$method(&prepared.statement, $parameters).await,
            }
        };
        $self.database.query(query.kind()).run(within($self.limit, work)).await
    }};
}

impl Client {
    /// Connects, measured as `connect`, and runs the connection as a task; it counts as open until it ends.
    ///
    /// # Errors
    /// `Timeout` after `limit`, or what the server or the network says.
    pub async fn connect<T>(
        config: &tokio_postgres::Config,
        tls: T,
        database: &Database,
        limit: Duration,
    ) -> Result<Client>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let (inner, connection) = database.query("connect").run(within(limit, config.connect(tls))).await?;
        let open: InFlight<'static> = database.connection();
        tokio::spawn(async move {
            let _ = connection.await; // A broken connection shows at the next statement.
            drop(open);
        });
        Ok(Client { inner, database: database.clone(), limit })
    }

    /// Measures a client that was connected elsewhere.
    pub fn new(inner: tokio_postgres::Client, database: &Database, limit: Duration) -> Client {
        Client { inner, database: database.clone(), limit }
    }

    /// The client itself, for what is not measured: `COPY`, notifications, `is_closed`.
    pub fn inner(&self) -> &tokio_postgres::Client {
        &self.inner
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// `Timeout`, or what the server or the network says; so with all that follow.
    pub async fn query<'q>(
        &self,
        query: impl Into<Query<'q>>,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>> {
        call!(self.query(query, parameters))
    }

    /// The one row of a query.
    ///
    /// # Errors
    /// As of [`Client::query`], and if there is not exactly one row.
    pub async fn query_one<'q>(
        &self,
        query: impl Into<Query<'q>>,
        parameters: Parameters<'_>,
    ) -> Result<Row> {
        call!(self.query_one(query, parameters))
    }

    /// The row of a query, if there is one.
    ///
    /// # Errors
    /// As of [`Client::query`], and if there is more than one row.
    pub async fn query_opt<'q>(
        &self,
        query: impl Into<Query<'q>>,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>> {
        call!(self.query_opt(query, parameters))
    }

    /// How many rows a statement changed.
    ///
    /// # Errors
    /// As of [`Client::query`].
    pub async fn execute<'q>(&self, query: impl Into<Query<'q>>, parameters: Parameters<'_>) -> Result<u64> {
        call!(self.execute(query, parameters))
    }

    /// Several statements, measured as the first.
    ///
    /// # Errors
    /// As of [`Client::query`].
    pub async fn batch_execute(&self, sql: &str) -> Result<()> {
        let work = within(self.limit, self.inner.batch_execute(sql));
        self.database.query(kind_of_statement(sql)).run(work).await
    }

    /// Prepares a statement, measured as `prepare`.
    ///
    /// # Errors
    /// As of [`Client::query`].
    pub async fn prepare(&self, sql: &str) -> Result<Prepared> {
        let work = within(self.limit, self.inner.prepare(sql));
        let statement = self.database.query("prepare").run(work).await?;
        Ok(Prepared { statement, kind: kind_of_statement(sql) })
    }

    /// Begins, runs `work` on a client whose statements are measured alike, and commits; rolls back if it fails, or
    /// if this future is dropped.
    ///
    /// # Errors
    /// Those of `work`, and of `BEGIN` and `COMMIT`.
    pub async fn transaction<T>(&mut self, work: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        self.batch_execute("BEGIN").await?;
        let mut open = OpenTransaction(Some(self));
        let result = work(open.client()).await;
        let client = open.0.take().expect("taken only here");
        match result {
            Ok(value) => client.batch_execute("COMMIT").await.map(|()| value),
            Err(error) => {
                let _ = client.batch_execute("ROLLBACK").await; // The error that led here is the one to tell.
                Err(error)
            }
        }
    }
}

/// A transaction that is dropped is rolled back before the next statement: the request is queued at once.
struct OpenTransaction<'a>(Option<&'a Client>);

impl OpenTransaction<'_> {
    fn client(&self) -> &Client {
        self.0.expect("there until the end of the transaction")
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            let rollback = client.inner.batch_execute("ROLLBACK");
            let mut rollback = std::pin::pin!(rollback);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = rollback.as_mut().poll(&mut context); // Polled once it is sent; the answer is nobody's.
        }
    }
}

impl ErrorKind for tokio_postgres::Error {
    /// The condition's name of SQLSTATE where it is a usual one, else its class; `connection` and the like for what
    /// never reached the server.
    fn error_kind(&self) -> &'static str {
        if let Some(code) = self.code() {
            return kind_of_code(code);
        }
        if self.is_closed() {
            return "connection";
        }
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.error_kind();
            }
            source = error.source();
        }
        if self.to_string().contains("timed out") { TIMEOUT } else { "client" }
    }
}

fn kind_of_code(code: &SqlState) -> &'static str {
    const NAMED: &[(&SqlState, &str)] = &[
        (&SqlState::UNIQUE_VIOLATION, "unique_violation"),
        (&SqlState::FOREIGN_KEY_VIOLATION, "foreign_key_violation"),
        (&SqlState::NOT_NULL_VIOLATION, "not_null_violation"),
        (&SqlState::CHECK_VIOLATION, "check_violation"),
        (&SqlState::T_R_SERIALIZATION_FAILURE, "serialization_failure"),
        (&SqlState::T_R_DEADLOCK_DETECTED, "deadlock_detected"),
        (&SqlState::QUERY_CANCELED, "query_canceled"),
        (&SqlState::LOCK_NOT_AVAILABLE, "lock_not_available"),
        (&SqlState::TOO_MANY_CONNECTIONS, "too_many_connections"),
        (&SqlState::UNDEFINED_TABLE, "undefined_table"),
        (&SqlState::UNDEFINED_COLUMN, "undefined_column"),
        (&SqlState::SYNTAX_ERROR, "syntax_error"),
    ];
    if let Some((_, name)) = NAMED.iter().find(|(known, _)| *known == code) {
        return name;
    }
    match code.code().get(..2) {
        Some("08") => "connection_exception",
        Some("22") => "data_exception",
        Some("23") => "integrity_constraint_violation",
        Some("25" | "40") => "transaction",
        Some("28") => "invalid_authorization",
        Some("42") => "access_rule_violation",
        Some("53" | "54") => "insufficient_resources",
        Some("57") => "operator_intervention",
        _ => "server",
    }
}
