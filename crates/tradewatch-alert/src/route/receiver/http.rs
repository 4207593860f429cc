//! `http_config` and `tls_config`, as all of Prometheus' programs write them.

use super::{Credential, Secret};
use crate::yaml::{Fields, Kind, Node, Reader};

/// Prometheus' `http_config`.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// User name and password.
    pub basic_auth: Option<(String, Credential)>,
    /// Scheme and credentials of the Authorization header.
    pub authorization: Option<(String, Credential)>,
    /// Credentials that are fetched.
    pub oauth2: Option<Box<OAuth2>>,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// The proxy.
    pub proxy_url: Option<Secret>,
    /// Hosts, domains, addresses and networks that are reached without it.
    pub no_proxy: Vec<String>,
    /// Whether the environment names the proxy.
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    pub proxy_headers: Vec<(String, Secret)>,
    /// Further headers.
    pub headers: Vec<(String, Credential)>,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            proxy_url: None,
            no_proxy: Vec::new(),
            proxy_from_environment: false,
            proxy_headers: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// The client credentials grant of OAuth 2.0.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// With what secret.
    pub client_secret: Option<Credential>,
    /// For what.
    pub scopes: Vec<String>,
    /// Where.
    pub token_url: String,
    /// Further parameters.
    pub endpoint_params: Vec<(String, String)>,
    /// TLS towards the token's server.
    pub tls: TlsConfig,
}

/// Prometheus' `tls_config`.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// Authorities, as PEM.
    pub ca: Option<String>,
    /// Authorities, as a file.
    pub ca_file: Option<String>,
    /// Own certificate, as PEM.
    pub cert: Option<String>,
    /// Own certificate, as a file.
    pub cert_file: Option<String>,
    /// Own key, as PEM.
    pub key: Option<Secret>,
    /// Own key, as a file.
    pub key_file: Option<String>,
    /// The name expected in the certificate.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

impl HttpConfig {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> HttpConfig {
        let mut http = HttpConfig::default();
        let Some(mut fields) = reader.fields(node, "http_config") else { return http };
        if let Some(node) = fields.take("basic_auth")
            && let Some(mut auth) = reader.fields(node, "basic_auth")
        {
            let user = auth.take("username").and_then(|n| reader.text(n, "username")).unwrap_or_default();
            let password = Credential::read(&mut auth, "password", "password_file", reader);
            http.basic_auth = Some((user, password.unwrap_or_else(|| Credential::missing("password"))));
            auth.finish(reader);
        }
        if let Some(node) = fields.take("authorization")
            && let Some(mut auth) = reader.fields(node, "authorization")
        {
            let kind = auth.take("type").and_then(|n| reader.text(n, "type"));
            let found = Credential::read(&mut auth, "credentials", "credentials_file", reader);
            let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
            http.authorization = Some((kind, found.unwrap_or_else(|| Credential::missing("credentials"))));
            auth.finish(reader);
        }
        if let Some(token) = Credential::read(&mut fields, "bearer_token", "bearer_token_file", reader) {
            http.authorization = Some(("Bearer".to_owned(), token));
        }
        http.oauth2 = fields.take("oauth2").and_then(|n| OAuth2::read(n, reader)).map(Box::new);
        let ways = [http.basic_auth.is_some(), http.authorization.is_some(), http.oauth2.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            reader.error(
                node,
                "at most one of basic_auth, oauth2, bearer_token and authorization must be configured",
                "keep one",
            );
        }
        if let Some(node) = fields.take("tls_config") {
            http.tls = TlsConfig::read(node, reader);
        }
        if let Some(follow) = fields.take("follow_redirects").and_then(|n| reader.bool(n, "follow_redirects"))
        {
            http.follow_redirects = follow;
        }
        // One request at a time gains nothing from HTTP/2.
        fields.take("enable_http2");
        http.read_proxy(&mut fields, reader);
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

    fn read_proxy(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        let url = fields.take("proxy_url");
        self.proxy_url = url.and_then(|n| reader.text(n, "proxy_url")).filter(|u| !u.is_empty()).map(Secret);
        if let Some(at) = url.filter(|_| self.proxy_url.as_ref().is_some_and(|u| !u.0.starts_with("http://")))
        {
            reader.error(at, "proxy_url must begin with http://", "write http://host:port");
        }
        let without = fields.take("no_proxy").and_then(|n| reader.text(n, "no_proxy")).unwrap_or_default();
        self.no_proxy =
            without.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
        let environment = fields.take("proxy_from_environment");
        self.proxy_from_environment =
            environment.and_then(|n| reader.bool(n, "proxy_from_environment")).unwrap_or(false);
        if let Some(at) = environment.filter(|_| self.proxy_from_environment && self.proxy_url.is_some()) {
            reader.error(at, "proxy_from_environment and proxy_url exclude each other", "keep one");
        }
        if let Some(node) = fields.take("proxy_connect_header")
            && let Kind::Map(entries) = &node.kind
        {
            for (key, values) in entries {
                let name = key.text().unwrap_or("").to_owned();
                let values = reader.texts(values, "proxy_connect_header");
                self.proxy_headers.extend(values.into_iter().map(|value| (name.clone(), Secret(value))));
            }
        }
    }
}

impl OAuth2 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<OAuth2> {
        let mut fields = reader.fields(node, "oauth2")?;
        let mut text =
            |name: &'static str| fields.take(name).and_then(|n| reader.text(n, name)).unwrap_or_default();
        let (client_id, token_url) = (text("client_id"), text("token_url"));
        let client_secret = Credential::read(&mut fields, "client_secret", "client_secret_file", reader);
        let scopes = fields.take("scopes").map(|n| reader.texts(n, "scopes")).unwrap_or_default();
        let params = fields.take("endpoint_params").map(|n| reader.pairs(n, "endpoint_params"));
        let endpoint_params =
            params.unwrap_or_default().into_iter().map(|(name, value, _)| (name, value)).collect();
        let tls = fields.take("tls_config").map(|n| TlsConfig::read(n, reader)).unwrap_or_default();
        for name in ["proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header"] {
            if let Some((key, _)) = fields.take_entry(name) {
                reader.warn(key, format!("{name} is not used for tokens by this version"), "");
            }
        }
        fields.finish(reader);
        if client_id.is_empty() || token_url.is_empty() {
            reader.error(node, "oauth2 needs client_id and token_url", "add the missing one");
        }
        Some(OAuth2 { client_id, client_secret, scopes, token_url, endpoint_params, tls })
    }
}

fn read_header(key: &Node, value: &Node, reader: &mut Reader<'_>) -> Vec<(String, Credential)> {
    let name = key.text().unwrap_or("").to_owned();
    let Some(mut fields) = reader.fields(value, "a header") else { return Vec::new() };
    let mut found = Vec::new();
    for list in ["values", "secrets", "files"] {
        let Some(node) = fields.take(list) else { continue };
        for text in reader.texts(node, list) {
            let mut one = Credential { line: node.line, ..Credential::missing("http_headers") };
            match list {
                "files" => one.file = Some(text),
                _ => one.value = Secret(text),
            }
            found.push((name.clone(), one));
        }
    }
    fields.finish(reader);
    found
}

impl TlsConfig {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> TlsConfig {
        let Some(mut fields) = reader.fields(node, "tls_config") else { return TlsConfig::default() };
        let mut text = |name: &'static str| {
            fields.take(name).and_then(|n| reader.text(n, name)).filter(|text| !text.is_empty())
        };
        let mut tls = TlsConfig {
            ca: text("ca"),
            ca_file: text("ca_file"),
            cert: text("cert"),
            cert_file: text("cert_file"),
            key: text("key").map(Secret),
            key_file: text("key_file"),
            server_name: text("server_name"),
            insecure_skip_verify: false,
        };
        if let Some(skip) = fields.take("insecure_skip_verify") {
            tls.insecure_skip_verify = reader.bool(skip, "insecure_skip_verify").unwrap_or(false);
        }
        for name in ["min_version", "max_version"] {
            if let Some(node) = fields.take(name)
                && !matches!(node.text(), Some("TLS12" | "TLS13" | ""))
            {
                reader.warn(node, format!("{name} {}: only TLS 1.2 and 1.3 are spoken", node.describe()), "");
            }
        }
        fields.finish(reader);
        tls
    }
}
