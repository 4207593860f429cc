//! Secrets: where they stand, and that they never show.

use std::fmt;

use crate::yaml::{Fields, Reader};

/// A text that never shows itself: `Debug` prints `<secret>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "<secret>" })
    }
}

impl Secret {
    /// The variable that is meant when the whole value reads `${NAME}`.
    ///
    /// Alertmanager takes such a value literally, and no vendor gives out a key of that form, so a
    /// file that works there means the same here.
    pub fn variable(&self) -> Option<&str> {
        let name = self.0.strip_prefix("${")?.strip_suffix('}')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then_some(name)
    }
}

/// A secret that stands in the configuration, in an environment variable or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The field of the configuration, for messages.
    pub field: &'static str,
    /// The value or `${NAME}`; empty when a file holds it.
    pub value: Secret,
    /// The file that holds it.
    pub file: Option<String>,
    /// Line in the configuration.
    pub line: usize,
}

impl Credential {
    /// Takes `name` or `file` out of the fields; both at once is an error.
    pub(crate) fn read(
        fields: &mut Fields<'_>,
        name: &'static str,
        file: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Credential> {
        let value = fields.take(name);
        let place = fields.take(file);
        if let (Some(value), Some(_)) = (value, place) {
            reader.error(value, format!("at most one of {name} and {file} must be configured"), "keep one");
        }
        if let Some(node) = value {
            let text = reader.text(node, name)?;
            return Some(Credential { field: name, value: Secret(text), file: None, line: node.line });
        }
        let node = place?;
        let path = reader.text(node, file)?;
        Some(Credential { field: file, value: Secret::default(), file: Some(path), line: node.line })
    }

    pub(super) fn missing(field: &'static str) -> Credential {
        Credential { field, value: Secret::default(), file: None, line: 0 }
    }

    /// What is wrong with it as far as the file shows.
    pub(super) fn wrong(&self) -> Option<String> {
        match &self.file {
            Some(path) if path.is_empty() => Some(format!("{} names no file", self.field)),
            None if self.value.0.is_empty() => Some(format!("{} is empty", self.field)),
            None if self.value.0 == "<secret>" => {
                Some(format!("{} is <secret>, as a page shows it, and not the secret", self.field))
            }
            _ => None,
        }
    }

    /// The same for an address, which is a secret too and not repeated.
    pub(super) fn wrong_url(&self) -> Option<String> {
        let plain = self.file.is_none() && self.value.variable().is_none();
        let http = self.value.0.starts_with("http://") || self.value.0.starts_with("https://");
        let scheme =
            || format!("unsupported scheme in {}: it must begin with http:// or https://", self.field);
        self.wrong().or_else(|| (plain && !http).then(scheme))
    }
}
