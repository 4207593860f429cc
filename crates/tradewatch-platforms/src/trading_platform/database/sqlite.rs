//! SQLite: calls are made inline, waits for a lock are not.
//!
//! SQLite's own busy handler would block the thread, and with it every other task of the service. So the
//! handler is off, and a statement that meets a lock is tried again after an asynchronous pause.

use super::{Error, Row, Statement, Value, schema};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use std::sync::Mutex;
use std::time::Duration;

/// Pause between two tries at a locked file.
const RETRY: Duration = Duration::from_millis(5);

/// A database in a file, opened when it is first needed and again after it went away.
#[derive(Debug)]
pub struct Sqlite {
    path: String,
    busy: Duration,
    durable: bool,
    connection: Mutex<Option<Connection>>,
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Int(value) => ToSqlOutput::from(*value),
            Value::Text(value) => ToSqlOutput::from(value.as_str()),
        })
    }
}

impl Sqlite {
    pub fn new(path: &str, busy: Duration, durable: bool) -> Sqlite {
        Sqlite { path: path.to_owned(), busy, durable, connection: Mutex::new(None) }
    }

    pub async fn write(&self, statements: &[Statement]) -> Result<(), Error> {
        self.patiently(|connection| {
            // Immediate: a lock is met before anything was done, so trying again repeats nothing.
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for (text, values) in statements {
                transaction.prepare_cached(text)?.execute(rusqlite::params_from_iter(values))?;
            }
            transaction.commit()
        })
        .await
    }

    pub async fn read(&self, query: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.patiently(|connection| {
            let mut statement = connection.prepare_cached(query)?;
            let columns = statement.column_count();
            let mut rows = statement.query(rusqlite::params_from_iter(&values))?;
            let mut answer = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = (0..columns).map(|at| Ok(cell(row.get_ref(at)?)));
                answer.push(Row(cells.collect::<rusqlite::Result<_>>()?));
            }
            Ok(answer)
        })
        .await
    }

    async fn patiently<T>(
        &self,
        mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let deadline = tokio::time::Instant::now() + self.busy;
        loop {
            match self.once(&mut work) {
                Ok(answer) => return Ok(answer),
                Err(error) if is_busy(&error) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(self.told(&error)),
            }
        }
    }

    fn once<T>(&self, work: &mut impl FnMut(&mut Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let mut slot = self.connection.lock().expect("nobody panics while holding the connection");
        // A file that was removed or replaced would go on answering from its unlinked inode.
        if slot.is_some() && !self.is_shared_memory() && !std::path::Path::new(&self.path).exists() {
            *slot = None;
        }
        let connection = match slot.as_mut() {
            Some(connection) => connection,
            None => slot.insert(self.open()?),
        };
        let answer = work(connection);
        if let Err(error) = &answer
            && !is_busy(error)
            && !is_refusal(error)
        {
            *slot = None;
        }
        answer
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(&self.path, OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI)?;
        connection.busy_timeout(Duration::ZERO)?;
        if !self.is_shared_memory() {
            connection.pragma_update(None, "journal_mode", "WAL")?;
        }
        connection.pragma_update(None, "synchronous", if self.durable { "NORMAL" } else { "OFF" })?;
        for statement in schema::SCHEMA {
            connection.execute(statement, [])?;
        }
        Ok(connection)
    }

    fn is_shared_memory(&self) -> bool {
        self.path.contains("mode=memory")
    }

    fn told(&self, error: &rusqlite::Error) -> Error {
        let (database, why) = (format!("sqlite:{}", self.path), error.to_string());
        if is_refusal(error) {
            Error::Refused { database, why }
        } else {
            Error::Unavailable { database, why }
        }
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Int(0),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the statement itself is at fault, so that trying again or elsewhere would not help.
fn is_refusal(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::ApiMisuse
                | ErrorCode::Unknown
        ),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Database, Options};
    use super::*;
    use crate::runtime::Net;

    fn database(path: &std::path::Path) -> Database {
        let options = Options {
            url: format!("sqlite:{}", path.display()).into(),
            busy_timeout_ms: 60,
            ..Options::default()
        };
        Database::new(&options, Net::Tcp).expect("a good URL")
    }

    const PUT: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    const GET: &str = "SELECT value FROM settings WHERE name = $1";

    #[tokio::test]
    async fn all_statements_or_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = database(&dir.path().join("a.db"));
        database.write(&[(PUT, vec!["a".into(), "1".into()])]).await.expect("writable");
        let error = database
            .write(&[
                (PUT, vec!["a".into(), "2".into()]),
                ("INSERT INTO nothing VALUES ($1)", vec![1.into()]),
            ])
            .await
            .expect_err("no such table");
        assert!(!error.is_unavailable() && error.to_string().contains("nothing"), "{error}");
        let rows = database.read(GET, vec!["a".into()]).await.expect("readable");
        assert_eq!(rows, [Row(vec![Value::Text("1".into())])]);
    }

    #[tokio::test]
    async fn a_locked_file_is_told_and_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.db");
        let database = database(&path);
        database.heartbeat("test", 1).await.expect("free");
        let thief = Connection::open(&path).expect("the same file");
        thief.execute_batch("BEGIN EXCLUSIVE").expect("locks");
        let error = database.heartbeat("test", 2).await.expect_err("locked");
        assert!(error.is_unavailable(), "{error}");
        drop(thief);
        database.heartbeat("test", 3).await.expect("free again");
    }

    #[tokio::test]
    async fn a_removed_folder_is_told_and_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("sub");
        std::fs::create_dir(&folder).expect("writable");
        let database = database(&folder.join("a.db"));
        database.heartbeat("test", 1).await.expect("there");
        std::fs::remove_dir_all(&folder).expect("writable");
        assert!(database.heartbeat("test", 2).await.expect_err("gone").is_unavailable());
        std::fs::create_dir(&folder).expect("writable");
        database.heartbeat("test", 3).await.expect("there again, empty");
    }

    #[test]
    fn other_urls_are_refused() {
        let options = Options { url: "mysql://x".into(), ..Options::default() };
        let error = Database::new(&options, Net::Tcp).expect_err("not ours");
        assert!(error.to_string().contains("mysql://x"), "{error}");
    }
}
