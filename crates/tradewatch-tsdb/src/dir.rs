//! The only way to the disk: one flat directory of files that are written at known offsets.
//!
//! [`FsDir`] is the real one, [`MemDir`](crate::MemDir) the one that fails on demand.

use std::fmt::{self, Debug};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// A directory of one store.
///
/// What was written survives the death of the process; only what was synced survives a loss of power.
/// A new name, a rename and a removal are durable after [`Dir::sync`].
pub trait Dir: Debug + Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> String;
    /// Where it is in the file system, if it is there.
    fn path(&self) -> Option<&Path> {
        None
    }
    /// The names of its files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; one of the same name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DirFile>>;
    /// A file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DirFile>>;
    /// Gives a file another name, in place of a file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file that does not change any more the same name in `target` too, without copying it.
    ///
    /// # Errors
    /// `Unsupported` where that cannot be done: then it has to be copied.
    fn link(&self, name: &str, target: &dyn Dir) -> io::Result<()> {
        let _ = (name, target);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync(&self) -> io::Result<()>;
    /// Claims the directory for this process.
    fn lock(&self) -> io::Result<Lock>;
}

/// A file of a [`Dir`].
pub trait DirFile: Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`; an error if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; after an error any part of it may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// All of its bytes, for a file that is not written any more.
    fn map(&self) -> io::Result<Mapped>;
    /// Cuts it to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes its bytes durable. After an error nothing written since the last success can be relied on.
    fn sync(&self) -> io::Result<()>;
}

/// The bytes of a file, shared.
#[derive(Clone)]
pub struct Mapped(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Mapped {
    /// From anything that owns bytes.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Mapped {
        Mapped(Arc::new(bytes))
    }
}

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

/// The outcome of [`Dir::lock`].
#[derive(Debug)]
pub enum Lock {
    /// The directory is ours until this is dropped.
    Held(Box<dyn LockGuard>),
    /// Somebody else has it.
    Taken {
        /// Who, as far as is known.
        holder: String,
    },
}

/// Keeps a directory locked while it lives.
pub trait LockGuard: Debug + Send + Sync {}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct FsDir {
    path: PathBuf,
}

impl FsDir {
    /// Opens `path`, which is created with its parents if it is not there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(path: impl AsRef<Path>) -> io::Result<FsDir> {
        std::fs::create_dir_all(path.as_ref())?;
        Ok(FsDir { path: path.as_ref().to_owned() })
    }
}

impl Dir for FsDir {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DirFile>> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        Ok(Arc::new(FsFile(options.open(self.path.join(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DirFile>> {
        Ok(Arc::new(FsFile(OpenOptions::new().read(true).write(true).open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn link(&self, name: &str, target: &dyn Dir) -> io::Result<()> {
        let target = target.path().ok_or(io::ErrorKind::Unsupported)?;
        std::fs::hard_link(self.path.join(name), target.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {
                // The content is for the message alone, and a full disk must not keep a store from opening;
                // the lock itself vanishes with the process.
                let pid = format!("{}\n", std::process::id());
                let _ = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
                Ok(Lock::Held(Box::new(FsLock { _file: file })))
            }
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = match pid.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                Ok(Lock::Taken { holder })
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Holds the lock until it is closed.
#[derive(Debug)]
struct FsLock {
    _file: File,
}

impl LockGuard for FsLock {}

#[derive(Debug)]
struct FsFile(File);

impl DirFile for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn map(&self) -> io::Result<Mapped> {
        // SAFETY: the file is complete and never written again; the directory is locked, so that no other store
        // cuts it, and removing it leaves the mapped pages alone.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&self.0) }?;
        Ok(Mapped::new(map))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
