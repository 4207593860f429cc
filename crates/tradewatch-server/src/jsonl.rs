//! Append-only files of JSON lines: what people said (annotations, acknowledgements) and what was sent.
//!
//! A line is whole or not there: a torn tail is cut at the next start and reported. Lines written before
//! a `kill -9` are there afterwards; [`JsonLines::sync`] makes them survive a loss of power.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// An open file of JSON lines; without a path everything is forgotten at the end.
#[derive(Debug)]
pub struct JsonLines {
    file: Option<(PathBuf, File)>,
    /// Lines since the last rewrite.
    pub lines: usize,
}

impl JsonLines {
    /// Keeps nothing.
    pub fn in_memory() -> JsonLines {
        JsonLines { file: None, lines: 0 }
    }

    /// Opens or creates `path` and reads what stands there; a line that cannot be read is skipped with a warning.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(JsonLines, Vec<T>), Error> {
        let failed = |error: std::io::Error| Error::start(format!("{}: {error}", path.display()));
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        let bytes = std::fs::read(path).map_err(failed)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        if whole < bytes.len() {
            tracing::warn!(
                "{}: the last line was cut off by a crash; {} bytes are dropped",
                path.display(),
                bytes.len() - whole
            );
            file.set_len(whole as u64).map_err(failed)?;
            file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        }
        let mut items = Vec::new();
        for (number, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(item) => items.push(item),
                Err(error) => tracing::warn!("{}:{}: skipped: {error}", path.display(), number + 1),
            }
        }
        let lines = items.len();
        Ok((JsonLines { file: Some((path.to_owned(), file)), lines }, items))
    }

    /// Adds one line; after this it survives `kill -9`.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn append<T: Serialize>(&mut self, item: &T) -> Result<(), Error> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(item)
            .map_err(|error| Error::internal(format!("{}: {error}", path.display())))?;
        line.push(b'\n');
        // One write: a crash leaves the line whole or cut, never mixed with another.
        file.write_all(&line).map_err(|error| Error::internal(format!("{}: {error}", path.display())))?;
        self.lines += 1;
        Ok(())
    }

    /// Adds several lines in one write.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn append_all<T: Serialize>(&mut self, items: &[T]) -> Result<(), Error> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let failed = |error: std::io::Error| Error::internal(format!("{}: {error}", path.display()));
        let mut bytes = Vec::new();
        for item in items {
            serde_json::to_writer(&mut bytes, item).map_err(|error| failed(error.into()))?;
            bytes.push(b'\n');
        }
        file.write_all(&bytes).map_err(failed)?;
        self.lines += items.len();
        Ok(())
    }

    /// Makes all lines survive a loss of power.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn sync(&self) -> Result<(), Error> {
        let Some((path, file)) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| Error::internal(format!("{}: {error}", path.display())))
    }

    /// Replaces the whole content by `items`, atomically.
    ///
    /// # Errors
    /// The disk does not take it; the old content stays.
    pub fn rewrite<'a, T: Serialize + 'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), Error> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let failed = |error: std::io::Error| Error::internal(format!("{}: {error}", path.display()));
        let beside = path.with_extension("new");
        let mut bytes = Vec::new();
        let mut lines = 0;
        for item in items {
            serde_json::to_writer(&mut bytes, item).map_err(|error| failed(error.into()))?;
            bytes.push(b'\n');
            lines += 1;
        }
        let mut new = File::create(&beside).map_err(failed)?;
        new.write_all(&bytes).and_then(|()| new.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, &path).map_err(failed)?;
        *file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        self.lines = lines;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let (mut lines, none) = JsonLines::open::<u32>(&path).expect("opens");
        assert!(none.is_empty());
        lines.append(&1).expect("writes");
        lines.append(&2).expect("writes");
        drop(lines);
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes.extend(b"{\"torn");
        std::fs::write(&path, bytes).expect("writes");
        let (mut lines, found) = JsonLines::open::<u32>(&path).expect("opens");
        assert_eq!(found, [1, 2]);
        lines.append(&3).expect("writes");
        assert_eq!(JsonLines::open::<u32>(&path).expect("opens").1, [1, 2, 3]);
        lines.rewrite(&[7]).expect("rewrites");
        lines.append(&8).expect("writes");
        assert_eq!(JsonLines::open::<u32>(&path).expect("opens").1, [7, 8]);
    }
}
