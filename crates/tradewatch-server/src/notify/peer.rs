//! HTTP towards a vendor: credentials, headers, one attempt, and what its answer means.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tradewatch_alert::notify::{Delivery, Failure};
use tradewatch_alert::route::{self, HttpConfig, OAuth2};

use super::secret::Secrets;
use super::{final_failure, passing};
use crate::config::HttpClientConfig;
use crate::config::file::TlsConfig;
use crate::config::scalar::Secret;
use crate::net::HttpClient;
use crate::net::client::{Answer, Ask};
use crate::net::proxy::Proxy;

/// Biggest answer of a receiver that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Answer text that goes into the ledger.
const REASON_CHARS_MAX: usize = 200;
/// A token is fetched anew this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// One peer with its credentials.
pub struct Peer {
    config: HttpConfig,
    secrets: Secrets,
    client: Mutex<Option<HttpClient>>,
    token: tokio::sync::Mutex<Option<(String, Instant)>>,
}

/// What is posted.
pub struct Post<'a> {
    /// Where; a secret.
    pub url: &'a str,
    /// `application/json` or a form.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// An `Authorization` that the vendor's way of use asks for; `http_config` goes before it.
    pub authorization: Option<String>,
}

impl<'a> Post<'a> {
    /// JSON without further credentials.
    pub fn json(url: &'a str, body: &serde_json::Value) -> Post<'a> {
        Post {
            url,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
            authorization: None,
        }
    }
}

impl Peer {
    /// A peer of `config`.
    pub fn new(config: &HttpConfig, secrets: &Secrets) -> Peer {
        Peer {
            config: config.clone(),
            secrets: secrets.clone(),
            client: Mutex::new(None),
            token: tokio::sync::Mutex::new(None),
        }
    }

    /// The client; built when it is first used, so that a certificate that comes later is taken up.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn client(&self) -> Result<HttpClient, String> {
        let mut kept = self.client.lock().expect("no panic while the client is locked");
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let tls = tls_config(&self.config.tls);
        let built = HttpClient::new(self.client_config(Some(tls))).map_err(|error| error.to_string())?;
        *kept = Some(built.clone());
        Ok(built)
    }

    fn client_config(&self, tls: Option<TlsConfig>) -> HttpClientConfig {
        let secret = |secret: &route::Secret| Secret::from(secret.0.clone());
        let headers = self.config.proxy_headers.iter().map(|(name, value)| (name.clone(), secret(value)));
        let proxy = match &self.config.proxy_url {
            Some(url) => Some(Proxy {
                url: secret(url),
                without: self.config.no_proxy.clone(),
                headers: headers.collect(),
            }),
            None => self.config.proxy_from_environment.then(|| Proxy::from_environment(headers.collect())),
        };
        HttpClientConfig {
            tls,
            folder: self.secrets.folder().to_owned(),
            follow_redirects: self.config.follow_redirects,
            proxy,
            ..HttpClientConfig::default()
        }
    }

    /// Posts once.
    ///
    /// # Errors
    /// No complete answer. Nobody knows then whether the vendor has taken it, so it may be told twice,
    /// under the same key.
    pub async fn post(
        &self,
        post: Post<'_>,
        delivery: &Delivery,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let client = self.client().map_err(passing)?;
        let headers = self.headers(&post, delivery).await?;
        let ask = Ask {
            method: Method::POST,
            url: post.url,
            headers: &[],
            body: Bytes::from(post.body),
            compression: false,
            body_bytes_max: ANSWER_BYTES_MAX,
            timeout,
        };
        // Addresses hold tokens: they are cut out of what failed.
        let path = post.url.splitn(4, '/').nth(3).unwrap_or("").to_owned();
        let answer = client.ask_with(ask, &headers).await.map_err(|why| {
            let why = why.replace(post.url, "<url>");
            passing(if path.len() > 4 { why.replace(&path, "<secret>") } else { why })
        })?;
        if answer.status == StatusCode::UNAUTHORIZED {
            *self.token.lock().await = None;
        }
        Ok(answer)
    }

    async fn headers(&self, post: &Post<'_>, delivery: &Delivery) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| -> Result<(), Failure> {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| passing(format!("header {name} has a value that cannot be sent")))?;
            value.set_sensitive(true);
            headers.append(name, value);
            Ok(())
        };
        set(CONTENT_TYPE, post.content_type)?;
        set(HeaderName::from_static("idempotency-key"), &delivery.key)?;
        set(HeaderName::from_static("x-tradewatch-attempt"), &delivery.attempt.to_string())?;
        for (name, value) in &self.config.headers {
            let found = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| passing(format!("http_headers: {name:?} is not the name of a header")))?;
            set(found, &self.secrets.get(value).await?)?;
        }
        if let Some(value) = self.authorization().await?.or_else(|| post.authorization.clone()) {
            set(AUTHORIZATION, &value)?;
        }
        Ok(headers)
    }

    async fn authorization(&self) -> Result<Option<String>, Failure> {
        use base64::Engine as _;
        if let Some((user, password)) = &self.config.basic_auth {
            let password = self.secrets.get(password).await?;
            let packed = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            return Ok(Some(format!("Basic {packed}")));
        }
        if let Some((kind, credentials)) = &self.config.authorization {
            return Ok(Some(format!("{kind} {}", self.secrets.get(credentials).await?)));
        }
        let Some(oauth2) = &self.config.oauth2 else { return Ok(None) };
        let mut kept = self.token.lock().await;
        if let Some((token, until)) = &*kept
            && *until > Instant::now()
        {
            return Ok(Some(format!("Bearer {token}")));
        }
        let (token, lives) = self.fetch_token(oauth2).await?;
        *kept = Some((token.clone(), Instant::now() + lives.saturating_sub(TOKEN_MARGIN)));
        Ok(Some(format!("Bearer {token}")))
    }

    /// RFC 6749, section 4.4: client credentials.
    async fn fetch_token(&self, oauth2: &OAuth2) -> Result<(String, Duration), Failure> {
        let failed = |why: &str| passing(format!("oauth2: no token: {why}"));
        let tls = tls_config(&oauth2.tls);
        let client =
            HttpClient::new(self.client_config(Some(tls))).map_err(|error| failed(&error.to_string()))?;
        let secret = match &oauth2.client_secret {
            Some(secret) => Some(self.secrets.get(secret).await?),
            None => None,
        };
        let scope = oauth2.scopes.join(" ");
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &oauth2.client_id)
            .extend_pairs(secret.iter().map(|secret| ("client_secret", secret)))
            .extend_pairs(Some(("scope", &scope)).filter(|(_, scope)| !scope.is_empty()))
            .extend_pairs(&oauth2.endpoint_params)
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
        let ask = Ask {
            method: Method::POST,
            url: &oauth2.token_url,
            headers: &headers,
            body: Bytes::from(form),
            compression: false,
            body_bytes_max: ANSWER_BYTES_MAX,
            timeout: super::send::TIMEOUT,
        };
        let answer = client.ask(ask).await.map_err(|why| failed(&why))?;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = json["access_token"].as_str().filter(|_| answer.status.is_success());
        let token = token.ok_or_else(|| failed(answer.status.as_str()))?;
        // A token that names no end is fetched for each attempt.
        let lives = json["expires_in"].as_u64().unwrap_or(0);
        Ok((token.to_owned(), Duration::from_secs(lives)))
    }
}

fn tls_config(tls: &route::TlsConfig) -> TlsConfig {
    TlsConfig {
        ca: tls.ca.clone(),
        ca_file: tls.ca_file.clone(),
        cert: tls.cert.clone(),
        cert_file: tls.cert_file.clone(),
        key: tls.key.as_ref().map(|key| Secret::from(key.0.clone())),
        key_file: tls.key_file.clone(),
        server_name: tls.server_name.clone(),
        insecure_skip_verify: Some(tls.insecure_skip_verify),
        ..TlsConfig::default()
    }
}

/// What an answer says in one line, short enough for the ledger.
pub fn summary(answer: &Answer) -> String {
    let said: String = String::from_utf8_lossy(&answer.body).chars().take(REASON_CHARS_MAX).collect();
    format!("{} {}", answer.status, said.trim().replace(['\n', '\r'], " ")).trim().to_owned()
}

/// The meaning of a status that all vendors share: 2xx is taken; 5xx, 408, 425 and 429 may pass; the rest is
/// final.
///
/// # Errors
/// Why it was not taken.
pub fn judge(answer: &Answer) -> Result<String, Failure> {
    let reason = summary(answer);
    let status = answer.status;
    if status.is_success() {
        return Ok(reason);
    }
    if status.is_redirection() {
        return Err(final_failure(format!("{reason}: what is posted does not follow this redirect")));
    }
    let passes = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY];
    let retriable = status.is_server_error() || passes.contains(&status);
    Err(Failure { retriable, reason, retry_after: answer.retry_after })
}
