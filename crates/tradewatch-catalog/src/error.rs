//! Why a catalogue cannot be used.

use std::fmt;

/// What is wrong in a catalogue file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    file: String,
    line: usize,
    column: usize,
    message: String,
    syntax: bool,
}

impl Error {
    pub(crate) fn at(file: &str, text: &str, offset: usize, message: String, syntax: bool) -> Error {
        let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error { file: file.to_owned(), line, column, message, syntax }
    }

    /// Whether the text is no TOML of a catalogue's form; else it says something that cannot be.
    pub fn is_syntax(&self) -> bool {
        self.syntax
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for Error {}
