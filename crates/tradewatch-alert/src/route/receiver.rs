//! Who is told, and how.

use std::fmt;
use std::time::Duration;

use crate::yaml::{Kind, Node, Reader};

/// A named receiver with everything that it delivers through.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The name that routes use.
    pub name: String,
    /// In the order of the file.
    pub integrations: Vec<Integration>,
}

/// One way of delivery.
#[derive(Clone, Debug)]
pub enum Integration {
    /// HTTP POST of the Alertmanager webhook form.
    Webhook(Box<Webhook>),
    /// Text for one person at the terminal.
    Terminal {
        /// Whether resolutions are told.
        send_resolved: bool,
    },
    /// Parsed and kept, not delivered by this version; the config's warnings name it.
    Undelivered {
        /// The key in the file, for example `slack_configs`.
        kind: String,
    },
}

impl Integration {
    /// Whether resolutions are told.
    pub fn send_resolved(&self) -> bool {
        match self {
            Integration::Webhook(webhook) => webhook.send_resolved,
            Integration::Terminal { send_resolved } => *send_resolved,
            Integration::Undelivered { .. } => false,
        }
    }

    /// A short name for logs and metrics.
    pub fn kind(&self) -> &str {
        match self {
            Integration::Webhook(_) => "webhook",
            Integration::Terminal { .. } => "terminal",
            Integration::Undelivered { kind } => kind,
        }
    }
}

/// A text that never shows itself: `Debug` prints `<secret>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "<secret>" })
    }
}

/// One entry of `webhook_configs`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Whether resolutions are told; on unless switched off.
    pub send_resolved: bool,
    /// Where to POST; empty when `url_file` says it.
    pub url: Secret,
    /// A file that holds the address.
    pub url_file: Option<String>,
    /// Alerts in one message; 0 is no limit.
    pub max_alerts: usize,
    /// For one attempt; zero leaves it to the sender.
    pub timeout: Duration,
    /// How to speak HTTP.
    pub http: HttpConfig,
}

/// Prometheus' `http_config`.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// User name and password.
    pub basic_auth: Option<(String, Secret)>,
    /// A file that holds the password of `basic_auth`.
    pub password_file: Option<String>,
    /// Scheme and credentials of the Authorization header.
    pub authorization: Option<(String, Secret)>,
    /// A file that holds the credentials.
    pub credentials_file: Option<String>,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Proxy address.
    pub proxy_url: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            basic_auth: None,
            password_file: None,
            authorization: None,
            credentials_file: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            proxy_url: None,
            headers: Vec::new(),
        }
    }
}

/// Prometheus' `tls_config`.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// Authorities, as a file.
    pub ca_file: Option<String>,
    /// Own certificate, as a file.
    pub cert_file: Option<String>,
    /// Own key, as a file.
    pub key_file: Option<String>,
    /// The name expected in the certificate.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// Alertmanager's receiver kinds that this version does not deliver.
const UNDELIVERED: [&str; 18] = [
    "discord_configs",
    "email_configs",
    "incidentio_configs",
    "jira_configs",
    "mattermost_configs",
    "msteams_configs",
    "msteamsv2_configs",
    "opsgenie_configs",
    "pagerduty_configs",
    "pushover_configs",
    "rocketchat_configs",
    "slack_configs",
    "sns_configs",
    "telegram_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
    "twilio_configs",
];

impl Receiver {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Receiver> {
        let mut fields = reader.fields(node, "a receiver")?;
        let name = fields.take("name").and_then(|n| reader.text(n, "name")).filter(|n| !n.is_empty());
        let mut integrations = Vec::new();
        if let Some(list) = fields.take("webhook_configs") {
            for item in reader.list(list, "webhook_configs") {
                integrations.extend(Webhook::read(item, reader).map(|w| Integration::Webhook(Box::new(w))));
            }
        }
        for kind in UNDELIVERED {
            let Some((key, list)) = fields.take_entry(kind) else { continue };
            let count = reader.list(list, kind).len();
            integrations.extend((0..count).map(|_| Integration::Undelivered { kind: kind.to_owned() }));
            if count > 0 {
                let receiver = name.as_deref().unwrap_or("");
                reader.warn(
                    key,
                    format!("receiver {receiver:?}: {kind} is not delivered by this version"),
                    "add a webhook_configs entry beside it, or send alerts to an Alertmanager as well",
                );
            }
        }
        fields.finish(reader);
        let Some(name) = name else {
            reader.error(node, "missing name in receiver", "add name");
            return None;
        };
        Some(Receiver { name, integrations })
    }
}

impl Webhook {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Webhook> {
        let mut fields = reader.fields(node, "a webhook_configs entry")?;
        let send_resolved = fields.take("send_resolved").and_then(|n| reader.bool(n, "send_resolved"));
        let url_node = fields.take("url");
        let url = url_node.and_then(|n| reader.text(n, "url")).unwrap_or_default();
        let url_file = fields.take("url_file").and_then(|n| reader.text(n, "url_file"));
        let max_alerts = fields.take("max_alerts").and_then(|n| reader.integer(n, "max_alerts")).unwrap_or(0);
        let timeout = fields.take("timeout").and_then(|n| reader.duration(n, "timeout")).unwrap_or_default();
        let http = fields.take("http_config").map(|n| HttpConfig::read(n, reader)).unwrap_or_default();
        fields.finish(reader);
        match (url.is_empty(), &url_file) {
            (true, None) => {
                reader.error(node, "one of url or url_file must be configured", "add url");
                return None;
            }
            (false, Some(_)) => {
                reader.error(node, "at most one of url and url_file must be configured", "keep one");
                return None;
            }
            _ => {}
        }
        if let Some(at) = url_node
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            // The address may hold a token, so it is not repeated.
            reader.error(
                at,
                "unsupported scheme in url",
                "write an address that begins with http:// or https://",
            );
            return None;
        }
        let max_alerts = usize::try_from(max_alerts).unwrap_or(0);
        Some(Webhook {
            send_resolved: send_resolved.unwrap_or(true),
            url: Secret(url),
            url_file,
            max_alerts,
            timeout,
            http,
        })
    }
}

impl HttpConfig {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> HttpConfig {
        let mut http = HttpConfig::default();
        let Some(mut fields) = reader.fields(node, "http_config") else { return http };
        if let Some(node) = fields.take("basic_auth")
            && let Some(mut auth) = reader.fields(node, "basic_auth")
        {
            let user = auth.take("username").and_then(|n| reader.text(n, "username")).unwrap_or_default();
            let password = auth.take("password").and_then(|n| reader.text(n, "password")).unwrap_or_default();
            http.basic_auth = Some((user, Secret(password)));
            http.password_file = auth.take("password_file").and_then(|n| reader.text(n, "password_file"));
            auth.finish(reader);
        }
        if let Some(node) = fields.take("authorization")
            && let Some(mut auth) = reader.fields(node, "authorization")
        {
            let kind = auth.take("type").and_then(|n| reader.text(n, "type"));
            let credentials = auth.take("credentials").and_then(|n| reader.text(n, "credentials"));
            let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
            http.authorization = Some((kind, Secret(credentials.unwrap_or_default())));
            http.credentials_file =
                auth.take("credentials_file").and_then(|n| reader.text(n, "credentials_file"));
            auth.finish(reader);
        }
        if let Some(token) = fields.take("bearer_token").and_then(|n| reader.text(n, "bearer_token")) {
            http.authorization = Some(("Bearer".to_owned(), Secret(token)));
        }
        if let Some(file) = fields.take("bearer_token_file").and_then(|n| reader.text(n, "bearer_token_file"))
        {
            http.authorization = Some(("Bearer".to_owned(), Secret::default()));
            http.credentials_file = Some(file);
        }
        if let Some(node) = fields.take("oauth2") {
            reader.warn(node, "oauth2 is not used by this version", "use authorization or basic_auth");
        }
        if let Some(node) = fields.take("tls_config") {
            http.tls = TlsConfig::read(node, reader);
        }
        if let Some(follow) = fields.take("follow_redirects").and_then(|n| reader.bool(n, "follow_redirects"))
        {
            http.follow_redirects = follow;
        }
        fields.take("enable_http2");
        http.proxy_url = fields.take("proxy_url").and_then(|n| reader.text(n, "proxy_url"));
        if let Some((key, _)) = http.proxy_url.as_ref().and_then(|_| fields.take_entry("proxy_url")) {
            reader.warn(
                key,
                "proxy_url is not used by this version",
                "let the receiver be reachable directly",
            );
        }
        for name in ["proxy_from_environment", "no_proxy", "proxy_connect_header"] {
            if let Some((key, _)) = fields.take_entry(name) {
                reader.warn(key, format!("{name} is not used by this version"), "");
            }
        }
        if let Some(node) = fields.take("http_headers")
            && let Kind::Map(entries) = &node.kind
        {
            for (key, value) in entries {
                http.headers.extend(read_header(key, value, reader));
            }
        }
        fields.finish(reader);
        http
    }
}

fn read_header(key: &Node, value: &Node, reader: &mut Reader<'_>) -> Vec<(String, Secret)> {
    let name = key.text().unwrap_or("").to_owned();
    let Some(mut fields) = reader.fields(value, "a header") else { return Vec::new() };
    let mut texts = Vec::new();
    for list in ["values", "secrets"] {
        if let Some(node) = fields.take(list) {
            texts.extend(reader.texts(node, list));
        }
    }
    if let Some(files) = fields.take("files") {
        reader.warn(files, "header values from files are not used by this version", "use secrets");
    }
    fields.finish(reader);
    texts.into_iter().map(|text| (name.clone(), Secret(text))).collect()
}

impl TlsConfig {
    fn read(node: &Node, reader: &mut Reader<'_>) -> TlsConfig {
        let mut tls = TlsConfig::default();
        let Some(mut fields) = reader.fields(node, "tls_config") else { return tls };
        tls.ca_file = fields.take("ca_file").and_then(|n| reader.text(n, "ca_file"));
        tls.cert_file = fields.take("cert_file").and_then(|n| reader.text(n, "cert_file"));
        tls.key_file = fields.take("key_file").and_then(|n| reader.text(n, "key_file"));
        tls.server_name = fields.take("server_name").and_then(|n| reader.text(n, "server_name"));
        if let Some(skip) = fields.take("insecure_skip_verify") {
            tls.insecure_skip_verify = reader.bool(skip, "insecure_skip_verify").unwrap_or(false);
        }
        for name in ["ca", "cert", "key"] {
            if let Some(node) = fields.take(name) {
                reader.warn(
                    node,
                    format!("an inline {name} is not used by this version"),
                    format!("use {name}_file"),
                );
            }
        }
        for name in ["min_version", "max_version"] {
            fields.take(name);
        }
        fields.finish(reader);
        tls
    }
}
