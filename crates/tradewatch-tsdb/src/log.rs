//! Files of framed records: how they are written, and how they are read back when something is wrong.
//!
//! Each record has a header with a checksum of its own, so that a damaged record is skipped by its
//! length, and a damaged header by searching for the next one that is whole. The header's checksum covers
//! the place of the record too: bytes that look like a record somewhere else are not taken for one.
//! Layout: `docs/formats/wal.md`.

use std::io;
use std::sync::Arc;

use crc32fast::Hasher;

use crate::dir::DirFile;
use crate::error::{Error, Kind};

/// The newest version of the format, and the one written.
pub const FORMAT_VERSION: u32 = 2;
/// The bytes of a file's header.
pub const FILE_HEADER_BYTES: usize = 32;
/// The bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 24;
/// The longest payload of a record.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

const FILE_MAGIC: &[u8; 8] = b"TWATCHDB";
const RECORD_MAGIC: &[u8; 4] = b"TWrc";
/// As many bytes are read at a time.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What a file holds; the number stands in its header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// Records in the order of their commits.
    Segment = 1,
    /// The whole state before the segment of the same number, but for what is in blocks.
    Checkpoint = 2,
    /// Chunks that do not change any more, and their index; it holds no records.
    Block = 3,
}

/// A part of a file that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where the unreadable part begins.
    pub offset: u64,
    /// How long it is; zero if something is missing there.
    pub bytes: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Whether it was the unfinished end of the newest file, which has been cut off.
    pub is_torn_tail: bool,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damage { file, offset, bytes, reason, is_torn_tail } = self;
        if *bytes == 0 {
            return write!(f, "{file}: something is missing at offset {offset}: {reason}");
        }
        let done = if *is_torn_tail { "cut off" } else { "skipped" };
        write!(f, "{file}: {bytes} bytes at offset {offset} {done}: {reason}")
    }
}

/// Identifies a file: its kind and number are part of every checksum in it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FileId {
    pub kind: FileKind,
    pub number: u64,
}

impl FileId {
    /// The first bytes of the file.
    pub fn header(self) -> [u8; FILE_HEADER_BYTES] {
        self.header_of(FORMAT_VERSION)
    }

    /// The first bytes of a file of some version.
    fn header_of(self, version: u32) -> [u8; FILE_HEADER_BYTES] {
        let mut header = [0u8; FILE_HEADER_BYTES];
        header[..8].copy_from_slice(FILE_MAGIC);
        header[8..12].copy_from_slice(&version.to_le_bytes());
        header[12..16].copy_from_slice(&(self.kind as u32).to_le_bytes());
        header[16..24].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Appends a record that will stand at `offset`.
    pub fn put_record(self, out: &mut Vec<u8>, offset: u64, seq: u64, payload: &[u8]) {
        let at = out.len();
        out.extend_from_slice(RECORD_MAGIC);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let crc = self.header_crc(&out[at..], offset);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(payload);
    }

    fn header_crc(self, header: &[u8], offset: u64) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(header);
        hasher.update(&(self.kind as u32).to_le_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.finalize()
    }
}

/// Refuses a file whose header says, under a right checksum, that it is newer than we are.
///
/// This much of the header stays as it is for ever: magic, version, and the checksum in the last four bytes.
pub fn check_version(file: &dyn DirFile, shown: &str) -> Result<(), Error> {
    let Some(header) = read_header(file).map_err(|e| Error::io(format!("read {shown}"), e))? else {
        return Ok(());
    };
    let found = u32_at(&header, 8);
    if is_intact(&header) && found > FORMAT_VERSION {
        return Err(Error::new(Kind::NewerFormat { file: shown.to_owned(), found, known: FORMAT_VERSION }));
    }
    Ok(())
}

fn read_header(file: &dyn DirFile) -> io::Result<Option<[u8; FILE_HEADER_BYTES]>> {
    let mut header = [0u8; FILE_HEADER_BYTES];
    if file.len()? < FILE_HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut header)?;
    Ok(Some(header))
}

fn is_intact(header: &[u8; FILE_HEADER_BYTES]) -> bool {
    &header[..8] == FILE_MAGIC && u32_at(header, 28) == crc32fast::hash(&header[..28])
}

/// Reads files one after the other, and notes what could not be read.
#[derive(Debug)]
pub struct Scanner {
    pub damage: Vec<Damage>,
    pub records: u64,
    /// The sequence number that the next record of a segment must have.
    pub next_seq: u64,
    /// Whether damage since the last whole record explains that some are missing.
    is_gap_explained: bool,
    /// The newest record of a segment, until the next one shows that it is not void.
    held: Option<Held>,
}

/// A record whose commit may have been refused: if the next one has the same number, it was.
///
/// A write can fail after all of it was done, and the cut that follows can be lost; the next commit then
/// takes the number again.
#[derive(Debug)]
struct Held {
    seq: u64,
    payload: Vec<u8>,
    shown: String,
    offset: u64,
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner { damage: Vec::new(), records: 0, next_seq: 1, is_gap_explained: false, held: None }
    }

    /// Gives the payload of every whole record of a file to `apply`, which says whether it makes sense.
    pub fn scan(
        &mut self,
        file: &Arc<dyn DirFile>,
        id: FileId,
        shown: &str,
        mut apply: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let mut window = Window::new(file.clone())?;
        let end = window.len;
        match read_header(file.as_ref())? {
            None => {
                if end > 0 {
                    self.note(shown, 0, end, "the header of the file is cut short");
                }
                return Ok(());
            }
            // Version 1 is the same without blocks.
            Some(header) if header != id.header() && header != id.header_of(1) => {
                self.note(shown, 0, FILE_HEADER_BYTES as u64, "the header of the file is damaged");
            }
            Some(_) => {}
        }
        let mut at = FILE_HEADER_BYTES as u64;
        while at < end {
            let reason = match window.record(id, at)? {
                Found::Whole { seq, len } => {
                    let next = at + (RECORD_HEADER_BYTES + len) as u64;
                    self.follow(id, shown, at, seq);
                    let payload = window.bytes(at + RECORD_HEADER_BYTES as u64, len)?;
                    if self.held.as_ref().is_some_and(|held| held.seq != seq) {
                        self.release(&mut apply);
                    }
                    let (payload, shown) = (payload.to_vec(), shown.to_owned());
                    self.held = Some(Held { seq, payload, shown, offset: at });
                    if id.kind == FileKind::Checkpoint {
                        self.release(&mut apply);
                    }
                    at = next;
                    continue;
                }
                Found::BadPayload { len } => {
                    let next = at + (RECORD_HEADER_BYTES + len) as u64;
                    self.note(shown, at, next - at, "the checksum of the record is wrong");
                    at = next;
                    continue;
                }
                Found::CutShort => "the record is cut short",
                Found::BadHeader => "the header of the record is damaged",
            };
            // Where the next record begins is not known: look for one.
            let next = window.search(id, at + 1)?.unwrap_or(end);
            self.note(shown, at, next - at, reason);
            at = next;
        }
        Ok(())
    }

    /// Gives the record that is held back to `apply`; after the last file the caller must.
    pub fn release(&mut self, mut apply: impl FnMut(&[u8]) -> bool) {
        let Some(held) = self.held.take() else { return };
        if !apply(&held.payload) {
            let bytes = (RECORD_HEADER_BYTES + held.payload.len()) as u64;
            let reason = "the record has a right checksum and a content that makes no sense";
            self.note(&held.shown, held.offset, bytes, reason);
        }
    }

    /// Notes a place; a length of zero says that something is missing there.
    pub fn note(&mut self, shown: &str, offset: u64, bytes: u64, reason: &str) {
        self.is_gap_explained = true;
        let (file, reason) = (shown.to_owned(), reason.to_owned());
        self.damage.push(Damage { file, offset, bytes, reason, is_torn_tail: false });
    }

    /// Takes note of a whole record: the numbers of commits have no gaps.
    fn follow(&mut self, id: FileId, shown: &str, at: u64, seq: u64) {
        self.records += 1;
        if id.kind == FileKind::Checkpoint {
            // Its records all have the number of the commit that follows the checkpoint.
            self.next_seq = seq;
            return;
        }
        if seq > self.next_seq && !self.is_gap_explained {
            let missing = seq - self.next_seq;
            self.note(shown, at, 0, &format!("{missing} records before this one are missing"));
        }
        self.next_seq = self.next_seq.max(seq + 1);
        self.is_gap_explained = false;
    }
}

enum Found {
    Whole { seq: u64, len: usize },
    BadPayload { len: usize },
    CutShort,
    BadHeader,
}

/// A file, read a megabyte at a time.
struct Window {
    file: Arc<dyn DirFile>,
    len: u64,
    base: u64,
    buf: Vec<u8>,
}

impl Window {
    fn new(file: Arc<dyn DirFile>) -> io::Result<Window> {
        let len = file.len()?;
        Ok(Window { file, len, base: 0, buf: Vec::new() })
    }

    /// `count` bytes at `offset`; the caller knows that they are within the file.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let is_in = offset >= self.base && offset + count as u64 <= self.base + self.buf.len() as u64;
        if !is_in {
            let size = (WINDOW_BYTES.max(count) as u64).min(self.len - offset) as usize;
            self.buf.resize(size, 0);
            self.base = offset;
            if let Err(error) = self.file.read_at(offset, &mut self.buf) {
                self.buf.clear();
                return Err(error);
            }
        }
        let from = (offset - self.base) as usize;
        Ok(&self.buf[from..from + count])
    }

    /// What stands at `offset`.
    fn record(&mut self, id: FileId, offset: u64) -> io::Result<Found> {
        let left = self.len - offset;
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(Found::CutShort);
        }
        let header = self.bytes(offset, RECORD_HEADER_BYTES)?;
        let (len, seq) = (u32_at(header, 4) as usize, u64_at(header, 8));
        let (payload_crc, header_crc) = (u32_at(header, 16), u32_at(header, 20));
        let is_header = &header[..4] == RECORD_MAGIC && id.header_crc(&header[..20], offset) == header_crc;
        if !is_header || len > RECORD_BYTES_MAX {
            return Ok(Found::BadHeader);
        }
        if len as u64 > left - RECORD_HEADER_BYTES as u64 {
            return Ok(Found::CutShort);
        }
        let payload = self.bytes(offset + RECORD_HEADER_BYTES as u64, len)?;
        Ok(if crc32fast::hash(payload) == payload_crc {
            Found::Whole { seq, len }
        } else {
            Found::BadPayload { len }
        })
    }

    /// The next place from `offset` on where a whole record begins.
    fn search(&mut self, id: FileId, offset: u64) -> io::Result<Option<u64>> {
        let mut at = offset;
        while at + RECORD_HEADER_BYTES as u64 <= self.len {
            let step = (64 * 1024).min(self.len - at) as usize;
            let magic = self.bytes(at, step)?.windows(4).position(|bytes| bytes == RECORD_MAGIC);
            match magic {
                Some(position) => {
                    at += position as u64;
                    if let Found::Whole { .. } = self.record(id, at)? {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                // The magic may lie across the end of the step.
                None => at += (step as u64).saturating_sub(3).max(1),
            }
        }
        Ok(None)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
