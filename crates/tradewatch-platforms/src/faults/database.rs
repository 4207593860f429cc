//! Loss of the database: another connection holds the SQLite file.

use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// How long the lock may be waited for: a busy service gives way within a few transactions.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Locks the SQLite file at `path` against writers for `duration`, as a careless backup does.
///
/// # Errors
/// If there is no such database, or it cannot be locked.
pub async fn lock_database(path: &Path, duration: Duration) -> anyhow::Result<()> {
    anyhow::ensure!(path.exists(), "there is no database at {}", path.display());
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    tokio::time::sleep(duration).await;
    connection.execute_batch("ROLLBACK")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_write_while_it_is_locked() {
        crate::runtime::run_virtual(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("trading.db");
            let other = Connection::open(&path).unwrap();
            other.pragma_update(None, "journal_mode", "WAL").unwrap();
            other.busy_timeout(Duration::ZERO).unwrap();
            other.execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
            let lock = tokio::spawn(async move { lock_database(&path, Duration::from_secs(4)).await });
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(other.execute_batch("INSERT INTO t VALUES (1)").is_err(), "a write went through the lock");
            lock.await.unwrap().unwrap();
            other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        });
    }

    #[test]
    fn a_missing_database_is_named() {
        crate::runtime::run_virtual(async {
            let error = lock_database(Path::new("no/such.db"), Duration::ZERO).await.unwrap_err();
            assert!(error.to_string().contains("no/such.db"), "{error}");
        });
    }
}
