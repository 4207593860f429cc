//! `email_configs`, and what `global` says about SMTP.

use super::{Channel, Credential, Entry, Text, Texts, TlsConfig};
use crate::yaml::{Fields, Node, Reader};

/// One entry of `email_configs`.
#[derive(Clone, Debug)]
pub struct Email {
    /// The relay's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: EmailTls,
    /// Whose certificates are trusted, and more.
    pub tls: TlsConfig,
    /// The name we give; empty leaves it to the machine's.
    pub hello: String,
    /// User name; empty is no authentication.
    pub user: String,
    /// Its password.
    pub password: Option<Credential>,
    /// `to`, `from`, `html`, `text`.
    pub texts: Texts,
    /// Headers by name; they replace ours.
    pub headers: Texts,
    /// Whether mails of one group make a thread; by day where it is told.
    pub threading: Option<String>,
}

/// How a connection to a relay is protected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EmailTls {
    /// TLS from the first byte, as on port 465.
    Implicit,
    /// STARTTLS, or nothing is sent.
    StartTls,
    /// None: `require_tls: false`.
    Plain,
}

/// What `global` says.
#[derive(Default)]
pub(super) struct Globals {
    from: Option<String>,
    hello: Option<String>,
    smarthost: Option<String>,
    user: Option<String>,
    password: Option<Credential>,
    secret: Option<Credential>,
    require_tls: Option<bool>,
    implicit: Option<bool>,
    tls: TlsConfig,
}

impl Globals {
    pub fn read(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Globals {
        let mut text = |name: &'static str| fields.take(name).and_then(|n| reader.text(n, name));
        let (from, hello) = (text("smtp_from"), text("smtp_hello"));
        let (smarthost, user) = (text("smtp_smarthost"), text("smtp_auth_username"));
        text("smtp_auth_identity");
        let mut bool = |name: &'static str| fields.take(name).and_then(|n| reader.bool(n, name));
        let (require_tls, implicit) = (bool("smtp_require_tls"), bool("smtp_force_implicit_tls"));
        Globals {
            from,
            hello,
            smarthost,
            user,
            password: Credential::read(fields, "smtp_auth_password", "smtp_auth_password_file", reader),
            secret: Credential::read(fields, "smtp_auth_secret", "smtp_auth_secret_file", reader),
            require_tls,
            implicit,
            tls: fields.take("smtp_tls_config").map(|n| TlsConfig::read(n, reader)).unwrap_or_default(),
        }
    }
}

impl Email {
    pub(super) fn texts_mut(&mut self) -> Vec<&mut Text> {
        self.texts.iter_mut().chain(self.headers.iter_mut()).collect()
    }
}

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let node = entry.node;
    let globals = &entry.globals.email;
    let from = globals.from.as_deref().unwrap_or("");
    let table = [("to", ""), ("from", from), ("html", ""), ("text", "")];
    let mut texts = Texts::read(&mut entry.fields, &table, reader);
    for name in ["to", "from"] {
        if texts.get(name).is_none_or(|text| text.text.is_empty()) {
            let fix = if name == "to" { "add to" } else { "add from, or smtp_from under global" };
            reader.error(node, format!("missing {name} address in email config"), fix);
        }
    }
    // Both forms by default, so that a phone and a mail program each show what they can.
    let given = |name: &str| texts.get(name).is_some_and(Text::is_set);
    let (html, text) = (given("html"), given("text"));
    if !html {
        texts.iter_mut_named("html", |t| *t = Text::own(r#"{{ template "email.default.html" . }}"#));
    }
    if !html && !text {
        texts.iter_mut_named("text", |t| *t = Text::own(r#"{{ template "email.default.text" . }}"#));
    }
    let mut headers =
        entry.fields.take("headers").map(|n| Texts::of_map(n, "headers", reader)).unwrap_or_default();
    let has_subject = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("subject"));
    if !has_subject {
        headers.default("Subject", r#"{{ template "email.default.subject" . }}"#);
    }
    let user = entry.text("auth_username", reader).or_else(|| globals.user.clone()).unwrap_or_default();
    entry.text("auth_identity", reader);
    let password = Credential::read(&mut entry.fields, "auth_password", "auth_password_file", reader);
    let secret = Credential::read(&mut entry.fields, "auth_secret", "auth_secret_file", reader);
    let password = password.or_else(|| globals.password.clone());
    if !user.is_empty() {
        match &password {
            Some(found) => {
                if let Some(wrong) = found.wrong() {
                    entry.fault(wrong, "", reader);
                }
            }
            None if secret.is_some() || globals.secret.is_some() => {
                let message = "auth_secret asks for CRAM-MD5, which this version does not speak";
                entry.fault(message, "add auth_password_file", reader);
            }
            None => entry.fault("auth_username without a password", "add auth_password_file", reader),
        }
    }
    let smarthost = entry.text("smarthost", reader).or_else(|| globals.smarthost.clone());
    let (host, port) = read_smarthost(entry, smarthost.as_deref(), reader);
    let own = entry.fields.take("require_tls").and_then(|n| reader.bool(n, "require_tls"));
    let require_tls = own.or(globals.require_tls).unwrap_or(true);
    let own = entry.fields.take("force_implicit_tls").and_then(|n| reader.bool(n, "force_implicit_tls"));
    let security = match own.or(globals.implicit) {
        Some(true) => EmailTls::Implicit,
        None if port == 465 => EmailTls::Implicit,
        _ if require_tls => EmailTls::StartTls,
        _ => EmailTls::Plain,
    };
    let tls = entry.fields.take("tls_config").map(|n| TlsConfig::read(n, reader));
    let threading = entry.fields.take("threading").and_then(|n| read_threading(n, reader));
    let email = Email {
        host,
        port,
        security,
        tls: tls.unwrap_or_else(|| globals.tls.clone()),
        hello: entry.text("hello", reader).or_else(|| globals.hello.clone()).unwrap_or_default(),
        user,
        password,
        texts,
        headers,
        threading,
    };
    vec![Channel::Email(Box::new(email))]
}

fn read_smarthost(
    entry: &mut Entry<'_, '_, '_>,
    text: Option<&str>,
    reader: &mut Reader<'_>,
) -> (String, u16) {
    let Some(text) = text else {
        reader.error(entry.node, "missing smarthost in email config", "add smarthost: host:587");
        return (String::new(), 25);
    };
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => {
            (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
        }
        _ => {
            reader.error(entry.node, format!("address {text:?}: missing port in address"), "write host:587");
            (String::new(), 25)
        }
    }
}

/// `{enabled: true, thread_by_date: daily}`.
fn read_threading(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let mut fields = reader.fields(node, "threading")?;
    let enabled = fields.take("enabled").and_then(|n| reader.bool(n, "enabled")).unwrap_or(false);
    let by = fields.take("thread_by_date").and_then(|n| reader.text(n, "thread_by_date"));
    fields.finish(reader);
    enabled.then(|| by.unwrap_or_else(|| "daily".to_owned()))
}
