//! Where a receiver's secrets are read: at each attempt anew, so that a rotated one is taken up.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::Credential;

use super::passing;

/// Longest file with a secret.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads secrets; names of files are relative to the configuration's folder.
#[derive(Clone, Debug)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// Secrets of the configuration in `folder`.
    pub fn new(folder: &Path) -> Secrets {
        Secrets { folder: folder.to_owned() }
    }

    /// The folder of relative names.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The secret, without white space around it where a file holds it.
    ///
    /// # Errors
    /// What is missing, by the name of the field; never a part of a secret.
    pub fn read(&self, credential: &Credential) -> Result<String, String> {
        let field = credential.field;
        if let Some(file) = &credential.file {
            let path = self.folder.join(file);
            let mut text = String::new();
            let opened = std::fs::File::open(&path);
            let read = opened.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
            read.map_err(|error| format!("{field} {}: {}", path.display(), super::plain_io(&error)))?;
            let text = text.trim();
            return match text.len() as u64 {
                0 => Err(format!("{field} {} is empty", path.display())),
                n if n > FILE_BYTES_MAX => {
                    Err(format!("{field} {} is longer than {FILE_BYTES_MAX} bytes", path.display()))
                }
                _ => Ok(text.to_owned()),
            };
        }
        match credential.value.variable() {
            None => Ok(credential.value.0.clone()),
            Some(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(value),
                _ => Err(format!("{field}: the environment variable {name} is not set")),
            },
        }
    }

    /// The same while others go on.
    pub async fn get(&self, credential: &Credential) -> Result<String, Failure> {
        if credential.file.is_none() {
            return self.read(credential).map_err(passing);
        }
        let (secrets, credential) = (self.clone(), credential.clone());
        let read = tokio::task::spawn_blocking(move || secrets.read(&credential)).await;
        read.unwrap_or_else(|error| Err(error.to_string())).map_err(passing)
    }

    /// What is wrong with a secret, for the start. An address must be one.
    pub fn check(&self, credential: &Credential) -> Result<(), String> {
        let value = self.read(credential)?;
        let is_url = credential.field.ends_with("url") || credential.field.ends_with("url_file");
        let http = value.starts_with("http://") || value.starts_with("https://");
        match is_url && (!http || value.parse::<http::Uri>().is_err()) {
            true => Err(format!("{}: what it holds is no http:// or https:// address", credential.field)),
            false => Ok(()),
        }
    }
}
