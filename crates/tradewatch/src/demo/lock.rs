//! One demo per data directory.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held while a demo runs in a data directory; the kernel gives it back however the demo ends.
pub struct DataLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl DataLock {
    /// Makes the directory if there is none, and takes it.
    ///
    /// # Errors
    /// If it cannot be written to, or if another demo holds it; then nothing in it is touched.
    pub fn take(data_dir: &Path) -> Result<DataLock> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
        let path = data_dir.join("demo.lock");
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(|| {
                format!("data directory {} cannot be written to: open {}", data_dir.display(), path.display())
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).context("read who holds the data directory")?;
                bail!(
                    "data directory {} is in use by process {}; stop it or choose another --data-dir",
                    data_dir.display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(DataLock(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let first = DataLock::take(&data).unwrap();
        let error = DataLock::take(&data).err().unwrap().to_string();
        assert!(error.contains(&format!("in use by process {};", std::process::id())), "{error}");
        drop(first);
        DataLock::take(&data).unwrap();
    }
}
