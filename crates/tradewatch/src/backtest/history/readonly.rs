//! The folder of a store that is only read, while its monitor runs or not.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tradewatch_tsdb::{Dir, DirFile, FsDir, Lock, LockGuard, Mapped};

/// How often a folder is looked at anew whose files come and go.
const TRIES_MAX: usize = 50;

/// The files of a folder as they were at one moment: what is opened stays readable when its name goes, what is written
/// later is not seen. Nothing reaches the disk.
#[derive(Debug)]
pub struct ReadOnlyDir {
    place: String,
    files: BTreeMap<String, Arc<Frozen>>,
}

impl ReadOnlyDir {
    /// Opens all files of `folder`.
    ///
    /// A store that dies at any moment can be opened, and so can a list of files that did not change while they were
    /// opened.
    ///
    /// # Errors
    /// Those of the file system; also when files come and go all the time.
    pub fn new(folder: &Path) -> io::Result<ReadOnlyDir> {
        let dir = FsDir::new(folder)?;
        let place = folder.display().to_string();
        for _ in 0..TRIES_MAX {
            let names = sorted(dir.list()?);
            let mut files = BTreeMap::new();
            for name in &names {
                match dir.open(name) {
                    Ok(file) => {
                        let len = AtomicU64::new(file.len()?);
                        files.insert(name.clone(), Arc::new(Frozen { file, len }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) => return Err(error),
                }
            }
            if files.len() == names.len() && sorted(dir.list()?) == names {
                return Ok(ReadOnlyDir { place, files });
            }
        }
        Err(io::Error::other(format!("the files of {place} changed each time they were looked at")))
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn refused() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl Dir for ReadOnlyDir {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DirFile>> {
        Err(refused())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DirFile>> {
        match self.files.get(name) {
            Some(file) => Ok(file.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> io::Result<Lock> {
        Ok(Lock::Held(Box::new(NoLock)))
    }
}

#[derive(Debug)]
struct NoLock;

impl LockGuard for NoLock {}

/// A file, as long as it was.
#[derive(Debug)]
struct Frozen {
    file: Arc<dyn DirFile>,
    len: AtomicU64,
}

impl DirFile for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Relaxed))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(buf.len() as u64) > self.len.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn map(&self) -> io::Result<Mapped> {
        self.file.map()
    }

    /// A torn end is left out, not cut off.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.len.fetch_min(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
