//! One attempt at one receiver, whatever its kind.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tradewatch_alert::notify::{Delivery, Failure};
use tradewatch_alert::route::{self, Channel, Integration, Texts};
use tradewatch_alert::template::notice::{Data, Escape, Set};
use tradewatch_alert::text::named_first;
use tradewatch_tsdb::Timestamp;

use super::email::{self, Partial};
use super::peer::{Peer, Post, judge};
use super::secret::Secrets;
use super::words::{Context, phone_text};
use super::{discord, final_failure, pagerduty, passing, slack, telegram, twilio};
use crate::clock;

/// Time for one attempt where the receiver's configuration gives none.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How each receiver is reached.
pub struct Senders {
    receivers: HashMap<String, Vec<Sender>>,
    secrets: Secrets,
    set: Set,
}

struct Sender {
    integration: Integration,
    peer: Peer,
    partial: Partial,
}

/// One attempt with all that its text needs.
pub struct Job<'a> {
    /// What is told.
    pub delivery: &'a Delivery,
    /// The same for templates.
    pub data: &'a Data,
    /// The same as a short text.
    pub phone: &'a str,
    /// Now.
    pub now: Timestamp,
    /// For this attempt.
    pub timeout: Duration,
    /// Where secrets are read.
    pub secrets: &'a Secrets,
    /// The templates.
    pub set: &'a Set,
}

impl Default for Senders {
    fn default() -> Senders {
        Senders { receivers: HashMap::new(), secrets: Secrets::new(Path::new("")), set: Set::default() }
    }
}

impl Senders {
    /// Senders for all receivers of a configuration in `folder`, whose template files are in `set`.
    pub fn new(routes: &route::Config, set: Set, folder: &Path) -> Senders {
        let secrets = Secrets::new(folder);
        let sender = |integration: &Integration| Sender {
            peer: Peer::new(&integration.http, &secrets),
            integration: integration.clone(),
            partial: Partial::default(),
        };
        let receivers = routes
            .receivers
            .iter()
            .map(|receiver| (receiver.name.clone(), receiver.integrations.iter().map(sender).collect()))
            .collect();
        Senders { receivers, secrets, set }
    }

    /// What is wrong with single receivers as far as it shows before they are needed, with their line in
    /// the file; they fail alone, and each attempt looks anew.
    pub fn check(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (name, senders) in &self.receivers {
            for Sender { integration, peer, .. } in senders.iter().filter(|s| s.integration.broken.is_none())
            {
                let mut note = |line: usize, why: String| {
                    found.push((line, format!("receiver {name:?}: {}: {why}", integration.kind)));
                };
                for credential in integration.credentials() {
                    if let Err(why) = self.secrets.check(credential) {
                        note(credential.line.max(integration.line), why);
                    }
                }
                let tls = match &integration.channel {
                    Channel::Email(email) => email::tls(email, self.secrets.folder()).map(drop),
                    Channel::Terminal | Channel::Undelivered => Ok(()),
                    _ => peer.client().map(drop),
                };
                if let Err(why) = tls {
                    note(integration.line, why);
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Makes one attempt; gives what the receiver answered.
    ///
    /// # Errors
    /// Why it failed and whether another attempt makes sense.
    pub async fn send(
        &self,
        delivery: &Delivery,
        context: &Context,
        held_back: Vec<String>,
    ) -> Result<String, Failure> {
        let sender = self.receivers.get(&delivery.receiver).and_then(|all| all.get(delivery.integration));
        let Some(Sender { integration, peer, partial }) = sender else {
            return Err(final_failure("the receiver is gone from the configuration"));
        };
        if let Some(reason) = &integration.broken {
            return Err(passing(reason.clone()));
        }
        let now = clock::now();
        let phone = phone_text(delivery, context, held_back, now);
        let data = Data::new(&delivery.message, &phone, now);
        let timeout = if integration.timeout.is_zero() { TIMEOUT } else { integration.timeout };
        let secrets = &self.secrets;
        let job = Job { delivery, data: &data, phone: &phone, now, timeout, secrets, set: &self.set };
        match &integration.channel {
            Channel::Webhook(webhook) => {
                let url = secrets.get(&webhook.url).await?;
                let body = serde_json::to_vec(&delivery.message);
                let body = body.map_err(|error| final_failure(error.to_string()))?;
                let post = Post { url: &url, content_type: "application/json", body, authorization: None };
                judge(&peer.post(post, delivery, timeout).await?)
            }
            Channel::Slack(slack) => slack::send(&job, slack, peer).await,
            Channel::PagerDuty(pagerduty) => pagerduty::send(&job, pagerduty, peer).await,
            Channel::Email(email) => email::send(&job, email, partial).await,
            Channel::Telegram(telegram) => telegram::send(&job, telegram, peer).await,
            Channel::Discord(discord) => discord::send(&job, discord, peer).await,
            Channel::Twilio(twilio) => twilio::send(&job, twilio, peer).await,
            Channel::Terminal => {
                match &context.terminal {
                    Some(hook) => hook(&phone),
                    // A closed terminal is no reason to fall silent elsewhere.
                    None => drop(writeln!(std::io::stdout(), "{phone}\n")),
                }
                Ok("written to the terminal".to_owned())
            }
            Channel::Undelivered => {
                Err(final_failure(format!("this version does not deliver {}", integration.kind)))
            }
        }
    }
}

impl Job<'_> {
    /// A field's text; nothing where it is absent or its template fails.
    pub fn text(&self, texts: &Texts, name: &str) -> String {
        self.expand(texts, name, Escape::None, "")
    }

    /// A field's text, or `fallback` where its template fails: a notification with poor words is better
    /// than none.
    pub fn text_or(&self, texts: &Texts, name: &str, fallback: &str) -> String {
        self.expand(texts, name, Escape::None, fallback)
    }

    /// The same with a say in what is escaped.
    pub fn expand(&self, texts: &Texts, name: &str, escape: Escape, fallback: &str) -> String {
        let Some(text) = texts.get(name).filter(|text| !text.text.is_empty()) else { return String::new() };
        let expanded = match text.notice() {
            Some(notice) => notice.expand(self.data, escape),
            None => {
                self.set.compile(&text.text).map_err(|e| e.message).and_then(|n| n.expand(self.data, escape))
            }
        };
        expanded.unwrap_or_else(|why| {
            let receiver = &self.delivery.receiver;
            tracing::error!(%receiver, "the template of {name} fails, our own words take its place: {why}");
            fallback.to_owned()
        })
    }

    /// What it is about, in a line.
    pub fn headline(&self) -> String {
        let message = &self.delivery.message;
        let name = message.alerts.first().map_or_else(|| "alert".to_owned(), named_first);
        match message.alerts.len() + message.truncated_alerts {
            0 | 1 => format!("[{}] {name}", message.status.to_uppercase()),
            n => format!("[{}] {name} and {} more", message.status.to_uppercase(), n - 1),
        }
    }
}

/// The text in at most `chars` characters; a cut shows as `…`.
pub fn shorten(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
