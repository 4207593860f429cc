//! `--web.config.file`: TLS, users and headers, in the format of Prometheus' exporter toolkit.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use md5::{Digest, Md5};
use serde::Deserialize;

use crate::config;
use crate::config::scalar::{Secret, Unsupported};
use crate::error::Error;
use crate::net::tls;

/// Logins whose outcome is remembered: bcrypt is slow on purpose, a dashboard asks often.
const LOGINS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsServer>,
    http_server_config: HttpServer,
    basic_auth_users: BTreeMap<String, Secret>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsServer {
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca_file: Option<String>,
    min_version: Option<Unsupported>,
    max_version: Option<Unsupported>,
    cipher_suites: Option<Unsupported>,
    prefer_server_cipher_suites: Option<Unsupported>,
    curve_preferences: Option<Unsupported>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpServer {
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

/// Who may come in, and over what.
#[derive(Clone, Default)]
pub struct WebConfig {
    /// TLS, if the file asks for it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Headers of every answer.
    pub headers: Vec<(String, String)>,
    users: BTreeMap<String, Secret>,
    logins: Arc<Mutex<HashMap<[u8; 16], bool>>>,
    /// A hash that no password meets: an unknown user costs as much time as a wrong password.
    nobody: String,
}

impl std::fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebConfig {{ tls: {}, users: {} }}", self.tls.is_some(), self.users.len())
    }
}

impl WebConfig {
    /// Reads and checks the file; certificates are read now, too.
    ///
    /// # Errors
    /// File, line and column, or the file that cannot be used.
    pub fn load(path: &Path) -> Result<WebConfig, Error> {
        let text = config::read_limited(path)?;
        let file: File =
            if text.trim().is_empty() { File::default() } else { config::from_yaml(&text, path)? };
        let wrong = |what: String| Error::config(format!("{}: {what}", path.display()));
        let folder = path.parent().unwrap_or(Path::new("."));
        let tls = match &file.tls_server_config {
            None => None,
            Some(tls) => {
                if tls.cert_file.is_empty() || tls.key_file.is_empty() {
                    return Err(wrong("tls_server_config needs cert_file and key_file".into()));
                }
                for (set, name) in [
                    (tls.min_version.is_some(), "min_version"),
                    (tls.max_version.is_some(), "max_version"),
                    (tls.cipher_suites.is_some(), "cipher_suites"),
                    (tls.prefer_server_cipher_suites.is_some(), "prefer_server_cipher_suites"),
                    (tls.curve_preferences.is_some(), "curve_preferences"),
                ] {
                    if set {
                        tracing::warn!(
                            "{}: tls_server_config.{name} has no effect; TLS 1.2 and 1.3 are spoken",
                            path.display()
                        );
                    }
                }
                let (needs_ca, require) = match tls.client_auth_type.as_str() {
                    "" | "NoClientCert" => (false, false),
                    "VerifyClientCertIfGiven" => (true, false),
                    "RequireAndVerifyClientCert" => (true, true),
                    other => {
                        return Err(wrong(format!(
                            "client_auth_type {other:?} is not supported; use NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                        )));
                    }
                };
                let ca = tls.client_ca_file.as_deref().filter(|_| needs_ca);
                if needs_ca && ca.is_none() {
                    return Err(wrong(format!(
                        "client_auth_type {} needs client_ca_file",
                        tls.client_auth_type
                    )));
                }
                Some(Arc::new(tls::server(folder, &tls.cert_file, &tls.key_file, ca, require)?))
            }
        };
        for (user, hash) in &file.basic_auth_users {
            let hash = hash.expose();
            if !(hash.len() == 60 && hash.starts_with("$2")) {
                return Err(wrong(format!(
                    "basic_auth_users: the password of {user:?} is not a bcrypt hash"
                )));
            }
        }
        let _ = file.http_server_config.http2; // HTTP/1.1 is spoken either way.
        let nobody = if file.basic_auth_users.is_empty() {
            String::new()
        } else {
            bcrypt::hash("", 10).map_err(|error| Error::internal(format!("bcrypt: {error}")))?
        };
        Ok(WebConfig {
            tls,
            headers: file.http_server_config.headers.into_iter().collect(),
            users: file.basic_auth_users,
            logins: Arc::default(),
            nobody,
        })
    }

    /// Whether a user must be named.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// The user that `headers` prove, if any.
    ///
    /// # Cost
    /// Tens of milliseconds of computing at the first sight of a password: call it where that may be.
    pub fn login(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, packed) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = base64::engine::general_purpose::STANDARD.decode(packed.trim()).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (user, password) = pair.split_once(':')?;
        let hash = self.users.get(user).map_or(self.nobody.as_str(), Secret::expose);
        // The key only tells attempts apart, and a foreign hash file is a key of its own.
        let key: [u8; 16] = Md5::digest(format!("{user}\0{password}\0{hash}")).into();
        let known = self.logins.lock().expect("no panic while logins are locked").get(&key).copied();
        let right = known.unwrap_or_else(|| {
            let right = bcrypt::verify(password, hash).unwrap_or(false) && self.users.contains_key(user);
            let mut logins = self.logins.lock().expect("no panic while logins are locked");
            if logins.len() >= LOGINS_MAX {
                logins.clear();
            }
            logins.insert(key, right);
            right
        });
        right.then(|| user.to_owned())
    }
}
