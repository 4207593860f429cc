//! rusqlite, measured.

use rusqlite::{ErrorCode, Params, Row};

use crate::clients::Database;
use crate::labels::ErrorKind;
use crate::statement::kind_of_statement;

/// A connection whose statements are measured. It counts as open until it is dropped.
///
/// How long a statement waits for another's lock is the connection's `busy_timeout`; what it could not wait for is
/// the error `busy`.
pub struct Connection {
    inner: rusqlite::Connection,
    database: Database,
    _open: tradewatch_metrics::InFlight<'static>,
}

impl Connection {
    /// Measures `inner`.
    pub fn new(inner: rusqlite::Connection, database: &Database) -> Connection {
        Connection { inner, database: database.clone(), _open: database.connection() }
    }

    /// The connection itself, for what is not measured.
    pub fn inner(&self) -> &rusqlite::Connection {
        &self.inner
    }

    /// How many rows a statement changed.
    ///
    /// # Errors
    /// What SQLite says; so with all that follow.
    pub fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
        let call = self.database.query(kind_of_statement(sql));
        call.run_sync(|| self.inner.prepare_cached(sql)?.execute(parameters))
    }

    /// Several statements, measured as the first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.database.query(kind_of_statement(sql)).run_sync(|| self.inner.execute_batch(sql))
    }

    /// The first row of a query, read by `read`. That there is none is no failure of the query.
    ///
    /// # Errors
    /// What SQLite or `read` says.
    pub fn query_row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let call = self.database.query(kind_of_statement(sql));
        call.run_sync(|| match self.inner.prepare_cached(sql)?.query_row(parameters, read) {
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            result => result.map(Some),
        })
    }

    /// Every row of a query, read by `read`; the time is that until the last row.
    ///
    /// # Errors
    /// What SQLite or `read` says.
    pub fn query<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let call = self.database.query(kind_of_statement(sql));
        call.run_sync(|| self.inner.prepare_cached(sql)?.query_map(parameters, read)?.collect())
    }

    /// Begins, runs `work` and commits; rolls back if it fails or panics. `BEGIN IMMEDIATE`, so that two writers wait
    /// for each other at the beginning.
    ///
    /// # Errors
    /// Those of `work`, of `BEGIN` and of `COMMIT`.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        struct Open<'a>(&'a Connection);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                if !self.0.inner.is_autocommit() {
                    let _ = self.0.execute_batch("ROLLBACK"); // What led here is the error to tell.
                }
            }
        }
        self.execute_batch("BEGIN IMMEDIATE")?;
        let open = Open(self);
        let value = work(open.0)?;
        open.0.execute_batch("COMMIT")?;
        Ok(value)
    }
}

impl ErrorKind for rusqlite::Error {
    fn error_kind(&self) -> &'static str {
        match self.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "busy",
            Some(ErrorCode::OperationInterrupted) => "interrupted",
            Some(ErrorCode::ConstraintViolation) => "constraint_violation",
            Some(ErrorCode::DiskFull) => "disk_full",
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => "io",
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "corrupt",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "permission_denied",
            Some(_) => "server",
            None => "client",
        }
    }
}
