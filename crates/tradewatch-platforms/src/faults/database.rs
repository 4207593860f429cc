//! Locking the database of a platform from outside.

use anyhow::Context;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// How long to wait for writers that are at it before giving up.
const BUSY: Duration = Duration::from_secs(5);

/// An exclusive transaction on an SQLite file; nobody else writes until it is dropped.
#[derive(Debug)]
pub struct DatabaseLock {
    connection: Connection,
}

impl DatabaseLock {
    /// Locks the database at `path`, which must exist.
    ///
    /// # Errors
    /// If the file cannot be opened, or others do not let go of it within five seconds.
    /// # Cost
    /// Blocks the thread for that long at worst.
    pub fn take(path: &Path) -> anyhow::Result<DatabaseLock> {
        let what = || format!("cannot lock {}", path.display());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).with_context(what)?;
        connection.busy_timeout(BUSY).with_context(what)?;
        connection.execute_batch("BEGIN EXCLUSIVE").with_context(what)?;
        Ok(DatabaseLock { connection })
    }
}

impl Drop for DatabaseLock {
    fn drop(&mut self) {
        // Closing the connection would roll back, too; this names an error if there is one.
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::warn!(%error, "unlocking the database failed");
        }
    }
}

/// Locks the database at `path` for `lasting`, then lets it go. Dropping the future lets it go at once.
///
/// # Errors
/// As [`DatabaseLock::take`].
pub async fn lock_database(path: &Path, lasting: Duration) -> anyhow::Result<()> {
    let _lock = DatabaseLock::take(path)?;
    tokio::time::sleep(lasting).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orders.db");
        assert!(DatabaseLock::take(&path).is_err(), "there is no file, and none is made");
        let other = Connection::open(&path).expect("opens");
        other.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        other.busy_timeout(Duration::from_millis(1)).expect("set");
        other.execute_batch("CREATE TABLE orders (id TEXT) STRICT").expect("writes");
        let lock = DatabaseLock::take(&path).expect("locks");
        let refused = other.execute_batch("INSERT INTO orders VALUES ('a')").expect_err("locked");
        assert!(refused.to_string().contains("locked"), "{refused}");
        drop(lock);
        other.execute_batch("INSERT INTO orders VALUES ('a')").expect("writes again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timed_lock_lets_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orders.db");
        let other = Connection::open(&path).expect("opens");
        other.execute_batch("CREATE TABLE orders (id TEXT) STRICT").expect("writes");
        lock_database(&path, Duration::from_secs(3600)).await.expect("locks");
        other.execute_batch("INSERT INTO orders VALUES ('a')").expect("writes again");
    }
}
