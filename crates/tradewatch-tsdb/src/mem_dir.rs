//! A directory in memory that loses, tears, reorders and refuses, on demand and from a seed.
//!
//! It is as unkind as a disk may be: after a loss of power, of everything written since the last sync
//! any subset of sectors may be there; a failed sync forgets what it should have written, as Linux does;
//! names become durable only by a sync of the directory, and in the order in which they were made.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::dir::{Dir, DirFile, Lock, LockGuard, Mapped};

/// A write is torn at multiples of this many bytes of the file.
const SECTOR_BYTES: u64 = 512;

/// A directory in memory, with faults. Clones share it, also across [`MemDir::kill`].
#[derive(Clone, Debug)]
pub struct MemDir {
    state: Arc<Mutex<State>>,
    /// False once the process that this handle belongs to is dead: nothing it does has an effect.
    alive: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    /// Names as the process sees them, and as the disk has them.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_ops: Vec<NameOp>,
    next_file: u64,
    locked: bool,
    faults: Faults,
    random: u64,
}

/// What shall go wrong from now on.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every sync of a file fails, and forgets what it should have made durable.
    pub sync_fails: bool,
    /// The bytes that all files together may take; a write beyond is done in part and fails.
    pub bytes_max: Option<u64>,
    /// Every write of a file fails, before anything or after everything was written.
    pub write_fails: bool,
    /// Cutting a file fails.
    pub set_len_fails: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What a read returns.
    current: Vec<u8>,
    /// What the disk is sure to have.
    durable: Vec<u8>,
    /// What it may have beyond that.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Debug)]
enum NameOp {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

impl MemDir {
    /// An empty directory; `seed` decides what a loss of power leaves.
    pub fn new(seed: u64) -> MemDir {
        let state = State { random: seed, ..State::default() };
        MemDir { state: Arc::new(Mutex::new(state)), alive: Arc::new(AtomicBool::new(true)) }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The process dies: everything written stays, the lock is free, and the old handles are dead.
    /// Returns the handle of the next process, without faults.
    pub fn kill(&self) -> MemDir {
        self.alive.store(false, Ordering::SeqCst);
        let mut state = self.state();
        state.locked = false;
        state.faults = Faults::default();
        drop(state);
        MemDir { state: self.state.clone(), alive: Arc::new(AtomicBool::new(true)) }
    }

    /// The power fails: of what was not synced, each sector and each name is there or not.
    /// Returns the handle of the next process, without faults.
    pub fn lose_power(&self) -> MemDir {
        let next = self.kill();
        let mut state = next.state();
        let made = state.name_ops.len() as u64;
        let kept = state.below(made + 1) as usize;
        let ops: Vec<NameOp> = std::mem::take(&mut state.name_ops).into_iter().take(kept).collect();
        ops.iter().for_each(|op| op.apply(&mut state.durable_names));
        state.names = state.durable_names.clone();
        let live: Vec<u64> = state.names.values().copied().collect();
        let mut files = std::mem::take(&mut state.files);
        files.retain(|id, _| live.contains(id));
        for content in files.values_mut() {
            for change in std::mem::take(&mut content.pending) {
                state.maybe_apply(&mut content.durable, change);
            }
            content.current = content.durable.clone();
        }
        state.files = files;
        drop(state);
        next
    }

    /// The bytes of a file as a process would read them, for tests that look or damage.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.files[state.names.get(name)?].current.clone())
    }

    /// Replaces the bytes of a file, durably: a flipped bit, a cut.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = match state.names.get(name) {
            Some(id) => *id,
            None => state.link(name),
        };
        state.durable_names.insert(name.to_owned(), id);
        state.files.insert(id, Content { current: bytes.clone(), durable: bytes, pending: Vec::new() });
    }

    /// The bytes that all files take.
    pub fn total_bytes(&self) -> u64 {
        self.state().total_bytes()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the directory is locked")
    }

    fn living(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.alive.load(Ordering::SeqCst) {
            Ok(self.state())
        } else {
            Err(io::Error::other("the process is dead"))
        }
    }
}

impl State {
    /// SplitMix64: enough for choosing sectors.
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn total_bytes(&self) -> u64 {
        self.names.values().map(|id| self.files[id].current.len() as u64).sum()
    }

    fn link(&mut self, name: &str) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, Content::default());
        self.do_name(NameOp::Link(name.to_owned(), id));
        id
    }

    fn do_name(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.name_ops.push(op);
    }

    /// Applies each sector of a change, or not.
    fn maybe_apply(&mut self, durable: &mut Vec<u8>, change: Change) {
        match change {
            Change::SetLen(len) => {
                if self.below(2) == 0 {
                    durable.resize(len as usize, 0);
                }
            }
            Change::Write { offset, bytes } => {
                // Mostly all or nothing, as disks mostly do; sometimes sector by sector.
                let whole = match self.below(4) {
                    0 => Some(true),
                    1 => Some(false),
                    _ => None,
                };
                let mut at = 0;
                while at < bytes.len() {
                    let to_boundary = SECTOR_BYTES - (offset + at as u64) % SECTOR_BYTES;
                    let end = bytes.len().min(at + to_boundary as usize);
                    if whole.unwrap_or_else(|| self.below(2) == 0) {
                        put(durable, offset + at as u64, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Change::SetLen(len) => content.resize(len as usize, 0),
            Change::Write { offset, bytes } => put(content, offset, &bytes),
        }
    }
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameOp::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameOp::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            NameOp::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset as usize..end].copy_from_slice(bytes);
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Dir for MemDir {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.living()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DirFile>> {
        let mut state = self.living()?;
        if state.faults.bytes_max.is_some_and(|max| state.total_bytes() >= max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.link(name);
        Ok(Arc::new(MemFile { dir: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DirFile>> {
        let id = *self.living()?.names.get(name).ok_or_else(|| not_found(name))?;
        Ok(Arc::new(MemFile { dir: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.living()?;
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        state.do_name(NameOp::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.living()?;
        if !state.names.contains_key(name) {
            return Err(not_found(name));
        }
        state.do_name(NameOp::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.living()?;
        if state.faults.sync_fails {
            return Err(io::Error::other("sync of the directory failed"));
        }
        state.durable_names = state.names.clone();
        state.name_ops.clear();
        Ok(())
    }

    fn lock(&self) -> io::Result<Lock> {
        let mut state = self.living()?;
        if state.locked {
            return Ok(Lock::Taken { holder: "another store in this process".to_owned() });
        }
        state.locked = true;
        Ok(Lock::Held(Box::new(MemLock { dir: self.clone() })))
    }
}

#[derive(Debug)]
struct MemLock {
    dir: MemDir,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.dir.living() {
            state.locked = false;
        }
    }
}

#[derive(Debug)]
struct MemFile {
    dir: MemDir,
    id: u64,
}

impl DirFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.dir.living()?.files[&self.id].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.dir.living()?;
        let current = &state.files[&self.id].current;
        let end = offset as usize + buf.len();
        let bytes = current.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.dir.living()?;
        let fails = state.faults.write_fails;
        if fails && state.below(2) == 0 {
            return Err(io::Error::other("input/output error"));
        }
        let total = state.total_bytes();
        let room = state.faults.bytes_max.map_or(u64::MAX, |max| max.saturating_sub(total));
        let content = state.files.get_mut(&self.id).expect("an open file exists");
        let grows = (offset + bytes.len() as u64).saturating_sub(content.current.len() as u64);
        let fits = bytes.len() - (grows.saturating_sub(room) as usize).min(bytes.len());
        put(&mut content.current, offset, &bytes[..fits]);
        content.pending.push(Change::Write { offset, bytes: bytes[..fits].to_vec() });
        match fits < bytes.len() {
            _ if fails => Err(io::Error::other("input/output error")),
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn map(&self) -> io::Result<Mapped> {
        Ok(Mapped::new(self.dir.living()?.files[&self.id].current.clone()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.dir.living()?;
        if state.faults.set_len_fails {
            return Err(io::Error::other("cannot cut the file"));
        }
        let content = state.files.get_mut(&self.id).expect("an open file exists");
        content.current.resize(len as usize, 0);
        content.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.dir.living()?;
        let fails = state.faults.sync_fails;
        let mut content = state.files.remove(&self.id).expect("an open file exists");
        let pending = std::mem::take(&mut content.pending);
        if fails {
            // The kernel marks the pages clean although they never reached the disk (some may have):
            // a later sync that succeeds says nothing about them.
            pending.into_iter().for_each(|change| state.maybe_apply(&mut content.durable, change));
        } else {
            pending.into_iter().for_each(|change| change.apply(&mut content.durable));
        }
        state.files.insert(self.id, content);
        if fails { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }
}
