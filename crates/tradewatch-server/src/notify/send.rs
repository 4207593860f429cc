//! One attempt at one receiver: a webhook or the terminal.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::tz::TimeZone;
use tradewatch_alert::Fingerprint;
use tradewatch_alert::notify::{Delivery, Failure, Message, Notifier};
use tradewatch_alert::route::{self, HttpConfig, Integration, Webhook};
use tradewatch_alert::text;
use tradewatch_calendar::Calendar;
use tradewatch_tsdb::Timestamp;

use super::{final_failure, passing};
use crate::clock;
use crate::config::HttpClientConfig;
use crate::config::file::{Authorization, BasicAuth, TlsConfig};
use crate::config::scalar::Secret;
use crate::net::HttpClient;
use crate::net::client::Ask;
use crate::options::TerminalHook;

/// Time for one attempt where the receiver's configuration gives none.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Biggest answer of a receiver that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// In a storm bigger than this a text does not name what it holds back.
const HELD_BACK_ALERTS_MAX: usize = 500;
/// Answer text that goes into the ledger.
const REASON_CHARS_MAX: usize = 200;

/// What a text needs beside the message.
pub struct Context {
    /// Where the terminal receiver writes.
    pub terminal: Option<TerminalHook>,
    /// Sessions.
    pub calendar: Calendar,
    /// Venues; the first gives the time zone.
    pub mics: Vec<String>,
}

/// How each receiver is reached.
#[derive(Default)]
pub struct Senders {
    receivers: HashMap<String, Vec<Sender>>,
}

enum Sender {
    Webhook {
        webhook: Box<Webhook>,
        client: Box<HttpClient>,
        folder: PathBuf,
    },
    Terminal,
    /// It cannot be used; the reason was told at the start.
    Broken(String),
}

impl Senders {
    /// Senders for all receivers; one that cannot be used fails alone.
    pub fn new(routes: &route::Config, folder: &Path) -> Senders {
        let sender = |integration: &Integration| match integration {
            Integration::Terminal { .. } => Sender::Terminal,
            Integration::Undelivered { kind } => {
                Sender::Broken(format!("this version does not deliver {kind}"))
            }
            Integration::Webhook(webhook) => match HttpClient::new(client_config(&webhook.http, folder)) {
                Ok(client) => Sender::Webhook {
                    webhook: webhook.clone(),
                    client: Box::new(client),
                    folder: folder.to_owned(),
                },
                Err(error) => Sender::Broken(error.to_string()),
            },
        };
        let receivers = routes
            .receivers
            .iter()
            .map(|receiver| (receiver.name.clone(), receiver.integrations.iter().map(sender).collect()))
            .collect();
        Senders { receivers }
    }

    /// What is wrong with single receivers, one line each.
    pub fn check(routes: &route::Config, folder: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for receiver in &routes.receivers {
            for integration in &receiver.integrations {
                let Integration::Webhook(webhook) = integration else { continue };
                if let Err(error) = HttpClient::new(client_config(&webhook.http, folder)) {
                    lines.push(format!("receiver {:?}: {error}", receiver.name));
                }
                if let Some(file) = &webhook.url_file
                    && let Err(error) = std::fs::read_to_string(folder.join(file))
                {
                    lines.push(format!("receiver {:?}: url_file {file}: {error}", receiver.name));
                }
            }
        }
        lines
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// Why it failed and whether another attempt makes sense.
    pub async fn send(
        &self,
        delivery: &Delivery,
        context: &Context,
        held_back: Vec<String>,
    ) -> Result<(), Failure> {
        let sender = self.receivers.get(&delivery.receiver).and_then(|all| all.get(delivery.integration));
        match sender {
            None => Err(final_failure("the receiver is gone from the configuration")),
            Some(Sender::Broken(reason)) => Err(final_failure(reason.clone())),
            Some(Sender::Terminal) => {
                let text = phone_text(delivery, context, held_back);
                match &context.terminal {
                    Some(hook) => hook(&text),
                    // A closed terminal is no reason to fall silent elsewhere.
                    None => {
                        let _ = writeln!(std::io::stdout(), "{text}\n");
                    }
                }
                Ok(())
            }
            Some(Sender::Webhook { webhook, client, folder }) => {
                post(delivery, webhook, client, folder).await
            }
        }
    }
}

async fn post(
    delivery: &Delivery,
    webhook: &Webhook,
    client: &HttpClient,
    folder: &Path,
) -> Result<(), Failure> {
    let url = match &webhook.url_file {
        None => webhook.url.0.clone(),
        Some(file) => {
            let text = tokio::fs::read_to_string(folder.join(file)).await;
            text.map_err(|error| passing(format!("url_file {file}: {error}")))?.trim().to_owned()
        }
    };
    let body = serde_json::to_vec(&delivery.message).map_err(|error| final_failure(error.to_string()))?;
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("idempotency-key", delivery.key.clone()),
        ("x-tradewatch-attempt", delivery.attempt.to_string()),
    ];
    for (name, value) in &webhook.http.headers {
        // A header name lives as long as the configuration; there are few of them.
        if let Some(known) = KNOWN_HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            headers.push((known, value.0.clone()));
        }
    }
    let timeout = if webhook.timeout.is_zero() { TIMEOUT } else { webhook.timeout };
    let answer = client
        .ask(Ask {
            method: Method::POST,
            url: &url,
            headers: &headers,
            body: Bytes::from(body),
            compression: false,
            body_bytes_max: ANSWER_BYTES_MAX,
            timeout,
        })
        .await
        // The URL of a webhook is a secret: it is cut out of what failed.
        .map_err(|why| passing(why.replace(&url, "<url>")))?;
    if answer.status.is_success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&answer.body).chars().take(REASON_CHARS_MAX).collect();
    let reason = format!("{} {}", answer.status, said.trim().replace('\n', " ")).trim().to_owned();
    let retriable = answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
    Err(Failure { retriable, reason, retry_after: answer.retry_after })
}

/// Headers that a receiver's configuration may set.
const KNOWN_HEADERS: [&str; 6] =
    ["x-api-key", "x-auth-token", "x-request-id", "x-source", "x-scope-orgid", "x-webhook-token"];

fn client_config(http: &HttpConfig, folder: &Path) -> HttpClientConfig {
    let secret = |secret: &route::Secret| Secret::from(secret.0.clone());
    let basic_auth = http.basic_auth.as_ref().map(|(username, password)| BasicAuth {
        username: username.clone(),
        username_file: None,
        password: http.password_file.is_none().then(|| secret(password)),
        password_file: http.password_file.clone(),
    });
    let authorization = http.authorization.as_ref().map(|(kind, credentials)| Authorization {
        kind: Some(kind.clone()),
        credentials: http.credentials_file.is_none().then(|| secret(credentials)),
        credentials_file: http.credentials_file.clone(),
    });
    let tls = &http.tls;
    HttpClientConfig {
        basic_auth,
        authorization,
        tls: Some(TlsConfig {
            ca_file: tls.ca_file.clone(),
            cert_file: tls.cert_file.clone(),
            key_file: tls.key_file.clone(),
            server_name: tls.server_name.clone(),
            insecure_skip_verify: Some(tls.insecure_skip_verify),
            ..TlsConfig::default()
        }),
        folder: folder.to_owned(),
        follow_redirects: http.follow_redirects,
    }
}

/// The text for a person at the terminal.
fn phone_text(delivery: &Delivery, context: &Context, held_back: Vec<String>) -> String {
    let now = clock::now();
    let own = delivery.message.alerts.first().and_then(|alert| alert.labels.get("mic"));
    let mic = own.or(context.mics.first());
    let zone = mic.and_then(|mic| context.calendar.zone(mic));
    let zone_name = zone
        .as_ref()
        .and_then(|zone| zone.iana_name())
        .map(|name| name.rsplit('/').next().unwrap_or(name).replace('_', " "));
    let session = mic.and_then(|mic| {
        let at = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        Some(format!("session {} ({mic})", context.calendar.phase(mic, at).as_str()))
    });
    text::phone(
        &delivery.message,
        &text::Context {
            zone: zone.unwrap_or(TimeZone::UTC),
            zone_name: zone_name.unwrap_or_else(|| "UTC".to_owned()),
            session,
            held_back,
            attempt: delivery.attempt,
            ..text::Context::utc(now)
        },
    )
}

/// Which alerts hold back which others, by name.
pub fn held_back(machine: &Notifier, now: Timestamp) -> HashMap<Fingerprint, Vec<String>> {
    let mut by_source: HashMap<Fingerprint, Vec<String>> = HashMap::new();
    if machine.groups().iter().map(|group| group.alerts.len()).sum::<usize>() > HELD_BACK_ALERTS_MAX {
        return by_source;
    }
    for view in machine.alerts(now) {
        if let Some(source) = view.inhibited_by.filter(|_| view.firing) {
            by_source.entry(source).or_default().push(view.alert.name().to_owned());
        }
    }
    by_source
}

/// The names that the alerts of one delivery hold back.
pub fn names_held_back(delivery: &Delivery, held_back: &HashMap<Fingerprint, Vec<String>>) -> Vec<String> {
    let sources = delivery.message.alerts.iter().filter_map(|alert| Fingerprint::parse(&alert.fingerprint));
    let mut names: Vec<String> =
        sources.filter_map(|source| held_back.get(&source)).flatten().cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// From the latest event that a message tells of to `now`.
pub fn latency(message: &Message, now: Timestamp) -> Option<Duration> {
    let events =
        message.alerts.iter().map(|alert| if alert.is_firing() { &alert.starts_at } else { &alert.ends_at });
    let latest = events.filter_map(|text| text.parse::<jiff::Timestamp>().ok()).max()?;
    Some(now.since(Timestamp::from_millis(latest.as_millisecond())))
}
