//! Who is told, and how.
//!
//! One file per kind of receiver. A secret that is missing does not cost the file: it is a fault, the
//! receiver is kept as broken, and the others work.

mod discord;
mod email;
mod http;
mod pagerduty;
mod secret;
mod slack;
mod telegram;
mod text;
mod twilio;
mod webhook;

use std::time::Duration;

pub use discord::Discord;
pub use email::{Email, EmailTls};
pub use http::{HttpConfig, OAuth2, TlsConfig};
pub use pagerduty::{PagerDuty, PagerDutyKey};
pub use secret::{Credential, Secret};
pub use slack::{Slack, SlackAction, SlackField};
pub use telegram::Telegram;
pub use text::{Text, Texts};
pub use twilio::Twilio;
pub use webhook::Webhook;

use crate::yaml::{Fields, Node, Reader};

/// A named receiver with everything that it delivers through.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The name that routes use.
    pub name: String,
    /// In the order of the file.
    pub integrations: Vec<Integration>,
}

/// One way of delivery, and what all ways have.
#[derive(Clone, Debug)]
pub struct Integration {
    /// A short name for logs and metrics, for example `slack`.
    pub kind: String,
    /// Whether resolutions are told.
    pub send_resolved: bool,
    /// How to speak HTTP; the default where it is not spoken.
    pub http: HttpConfig,
    /// Time for one attempt; zero leaves it to the sender.
    pub timeout: Duration,
    /// At most so many notifications; what comes on top waits and is folded.
    pub rate_limit: Option<RateLimit>,
    /// Alerts in one message; 0 is no limit.
    pub max_alerts: usize,
    /// Line in the file, 0 for what no file names.
    pub line: usize,
    /// Why it cannot be used; its notifications wait until that is mended.
    pub broken: Option<String>,
    /// The way.
    pub channel: Channel,
}

/// The way of delivery with its own settings.
#[derive(Clone, Debug)]
pub enum Channel {
    /// HTTP POST of the Alertmanager webhook form.
    Webhook(Webhook),
    /// Slack: an incoming webhook or a bot.
    Slack(Box<Slack>),
    /// PagerDuty: Events API v2, or v1 with a service key.
    PagerDuty(Box<PagerDuty>),
    /// Mail by SMTP.
    Email(Box<Email>),
    /// A Telegram bot.
    Telegram(Telegram),
    /// A Discord webhook.
    Discord(Discord),
    /// SMS by Twilio.
    Twilio(Twilio),
    /// Text for one person at the terminal.
    Terminal,
    /// Parsed and kept, not delivered by this version; the config's warnings name it.
    Undelivered,
}

impl Integration {
    /// Text at the terminal.
    pub fn terminal() -> Integration {
        Integration {
            kind: "terminal".to_owned(),
            send_resolved: true,
            http: HttpConfig::default(),
            timeout: Duration::ZERO,
            rate_limit: None,
            max_alerts: 0,
            line: 0,
            broken: None,
            channel: Channel::Terminal,
        }
    }

    /// Whether this version delivers it at all.
    pub fn is_delivered(&self) -> bool {
        !matches!(self.channel, Channel::Undelivered)
    }

    /// Whether several groups may share one message when the rate limit holds them up. An incident of
    /// PagerDuty is one group, opened and closed by its key, so there each waits for its turn.
    pub fn folds(&self) -> bool {
        !matches!(self.channel, Channel::PagerDuty(_))
    }

    /// Every secret that it needs.
    pub fn credentials(&self) -> Vec<&Credential> {
        let mut all = match &self.channel {
            Channel::Webhook(webhook) => vec![&webhook.url],
            Channel::Slack(slack) => vec![&slack.url].into_iter().chain(&slack.token).collect(),
            Channel::PagerDuty(pagerduty) => match &pagerduty.key {
                PagerDutyKey::Routing(key) | PagerDutyKey::Service(key) => vec![key],
            },
            Channel::Email(email) => email.password.iter().filter(|_| !email.user.is_empty()).collect(),
            Channel::Telegram(telegram) => vec![&telegram.token, &telegram.chat],
            Channel::Discord(discord) => vec![&discord.url],
            Channel::Twilio(twilio) => vec![&twilio.token],
            Channel::Terminal | Channel::Undelivered => Vec::new(),
        };
        all.extend(self.http.basic_auth.iter().chain(&self.http.authorization).map(|(_, found)| found));
        all.extend(self.http.headers.iter().map(|(_, found)| found));
        all.extend(self.http.oauth2.iter().filter_map(|oauth2| oauth2.client_secret.as_ref()));
        all
    }

    /// Its templated texts.
    pub(super) fn texts_mut(&mut self) -> Vec<&mut Text> {
        match &mut self.channel {
            Channel::Webhook(_) | Channel::Terminal | Channel::Undelivered => Vec::new(),
            Channel::Slack(slack) => slack.texts_mut(),
            Channel::PagerDuty(pagerduty) => pagerduty.texts_mut(),
            Channel::Email(email) => email.texts_mut(),
            Channel::Telegram(telegram) => telegram.texts.iter_mut().collect(),
            Channel::Discord(discord) => discord.texts.iter_mut().collect(),
            Channel::Twilio(twilio) => twilio.texts.iter_mut().collect(),
        }
    }
}

/// At most `count` notifications in `per`, evenly refilled; `count` may go at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Notifications.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

impl RateLimit {
    const fn secs(count: u32, secs: u64) -> RateLimit {
        RateLimit { count, per: Duration::from_secs(secs) }
    }

    /// `20/1m`; `none` is no limit.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<RateLimit> {
        let text = node.text().unwrap_or("");
        if text == "none" {
            return None;
        }
        let parsed = text.split_once('/').and_then(|(count, per)| {
            let count = count.trim().parse().ok().filter(|count| *count > 0)?;
            let per = crate::duration::parse(per.trim()).ok().filter(|per| !per.is_zero())?;
            Some(RateLimit { count, per })
        });
        if parsed.is_none() {
            let message = format!("rate_limit is {}", node.describe());
            reader.error(node, message, "write for example 20/1m, or none");
        }
        parsed
    }
}

/// What `global` gives to receivers that do not say it themselves.
#[derive(Default)]
pub(super) struct Globals {
    http: HttpConfig,
    slack_url: Option<Credential>,
    slack_token: Option<Credential>,
    slack_app_url: Option<String>,
    pagerduty_url: Option<String>,
    telegram_url: Option<String>,
    telegram_token: Option<Credential>,
    email: email::Globals,
}

/// Settings of `global` for receivers that this version does not deliver.
const GLOBAL_OTHERS: [&str; 22] = [
    "jira_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "opsgenie_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "victorops_api_key",
    "victorops_api_key_file",
    "victorops_api_url",
    "webex_api_url",
    "wechat_api_corp_id",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_url",
    "discord_webhook_url",
    "msteams_webhook_url",
    "incidentio_url",
];

impl Globals {
    pub fn read(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Globals {
        let globals = Globals {
            http: fields.take("http_config").map(|n| HttpConfig::read(n, reader)).unwrap_or_default(),
            slack_url: Credential::read(fields, "slack_api_url", "slack_api_url_file", reader),
            slack_token: Credential::read(fields, "slack_app_token", "slack_app_token_file", reader),
            slack_app_url: fields.take("slack_app_url").and_then(|n| reader.text(n, "slack_app_url")),
            pagerduty_url: fields.take("pagerduty_url").and_then(|n| reader.text(n, "pagerduty_url")),
            telegram_url: fields.take("telegram_api_url").and_then(|n| reader.text(n, "telegram_api_url")),
            telegram_token: Credential::read(fields, "telegram_bot_token", "telegram_bot_token_file", reader),
            email: email::Globals::read(fields, reader),
        };
        for name in GLOBAL_OTHERS {
            fields.take(name);
        }
        globals
    }
}

/// Alertmanager's receiver kinds that this version does not deliver.
const UNDELIVERED: [&str; 12] = [
    "incidentio_configs",
    "jira_configs",
    "mattermost_configs",
    "msteams_configs",
    "msteamsv2_configs",
    "opsgenie_configs",
    "pushover_configs",
    "rocketchat_configs",
    "sns_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
];

/// One entry of `…_configs` while it is read.
struct Entry<'r, 'n, 'g> {
    node: &'n Node,
    fields: Fields<'n>,
    globals: &'g Globals,
    /// The receiver's name.
    receiver: &'r str,
    /// The first thing that makes it unusable.
    broken: Option<String>,
}

impl Entry<'_, '_, '_> {
    /// Notes that the receiver cannot be used as it stands; the rest of the file can.
    fn fault(&mut self, message: impl Into<String>, fix: &str, reader: &mut Reader<'_>) {
        let message = message.into();
        reader.fault(self.node, format!("receiver {:?}: {message}", self.receiver), fix);
        self.broken.get_or_insert(message);
    }

    fn text(&mut self, name: &'static str, reader: &mut Reader<'_>) -> Option<String> {
        self.fields.take(name).and_then(|node| reader.text(node, name)).filter(|text| !text.is_empty())
    }

    fn bool(&mut self, name: &'static str, reader: &mut Reader<'_>) -> bool {
        self.fields.take(name).and_then(|node| reader.bool(node, name)).unwrap_or(false)
    }

    /// The secret of this entry, else that of `global`, else a fault.
    fn secret(
        &mut self,
        name: &'static str,
        file: &'static str,
        global: Option<&Credential>,
        reader: &mut Reader<'_>,
    ) -> Credential {
        match Credential::read(&mut self.fields, name, file, reader).or_else(|| global.cloned()) {
            Some(found) => {
                let wrong = if name.ends_with("url") { found.wrong_url() } else { found.wrong() };
                if let Some(wrong) = wrong {
                    self.fault(wrong, "", reader);
                }
                found
            }
            None => {
                let message = format!("one of {name} or {file} must be configured");
                self.fault(message, &format!("add {name}"), reader);
                Credential::missing(name)
            }
        }
    }

    /// Fields of Alertmanager that change nothing here.
    fn ignore(&mut self, names: &[&'static str], reader: &mut Reader<'_>) {
        for name in names {
            if let Some((key, _)) = self.fields.take_entry(name) {
                reader.warn(key, format!("{name} is not used by this version"), "");
            }
        }
    }
}

/// A kind of receiver: its key, whether it tells the end by default, its rate, and how it is read.
struct Kind {
    key: &'static str,
    send_resolved: bool,
    rate_limit: Option<RateLimit>,
    read: fn(&mut Entry<'_, '_, '_>, &mut Reader<'_>) -> Vec<Channel>,
}

/// The rates are what the vendors ask senders to keep to, cited where each is sent.
const KINDS: [Kind; 7] = [
    Kind { key: "webhook_configs", send_resolved: true, rate_limit: None, read: webhook::read },
    Kind {
        key: "slack_configs",
        send_resolved: false,
        rate_limit: Some(RateLimit::secs(10, 10)),
        read: slack::read,
    },
    Kind { key: "pagerduty_configs", send_resolved: true, rate_limit: None, read: pagerduty::read },
    Kind { key: "email_configs", send_resolved: false, rate_limit: None, read: email::read },
    Kind {
        key: "telegram_configs",
        send_resolved: true,
        rate_limit: Some(RateLimit::secs(20, 60)),
        read: telegram::read,
    },
    Kind {
        key: "discord_configs",
        send_resolved: true,
        rate_limit: Some(RateLimit::secs(5, 2)),
        read: discord::read,
    },
    Kind {
        key: "twilio_configs",
        send_resolved: false,
        rate_limit: Some(RateLimit::secs(10, 60)),
        read: twilio::read,
    },
];

impl Receiver {
    pub(super) fn read(node: &Node, globals: &Globals, reader: &mut Reader<'_>) -> Option<Receiver> {
        let mut fields = reader.fields(node, "a receiver")?;
        let name = fields.take("name").and_then(|n| reader.text(n, "name")).filter(|n| !n.is_empty());
        let mut integrations = Vec::new();
        for kind in &KINDS {
            let Some(list) = fields.take(kind.key) else { continue };
            for item in reader.list(list, kind.key) {
                let receiver = name.as_deref().unwrap_or("");
                integrations.extend(read_entry(kind, item, receiver, globals, reader));
            }
        }
        for key in UNDELIVERED {
            let Some((at, list)) = fields.take_entry(key) else { continue };
            let count = reader.list(list, key).len();
            let undelivered = Integration {
                kind: key.trim_end_matches("_configs").to_owned(),
                send_resolved: false,
                line: at.line,
                channel: Channel::Undelivered,
                ..Integration::terminal()
            };
            integrations.extend(std::iter::repeat_n(undelivered, count));
            if count > 0 {
                let receiver = name.as_deref().unwrap_or("");
                reader.warn(
                    at,
                    format!("receiver {receiver:?}: {key} is not delivered by this version"),
                    "add another receiver beside it, or send alerts to an Alertmanager as well",
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

fn read_entry(
    kind: &Kind,
    node: &Node,
    receiver: &str,
    globals: &Globals,
    reader: &mut Reader<'_>,
) -> Vec<Integration> {
    let Some(fields) = reader.fields(node, kind.key) else { return Vec::new() };
    let mut entry = Entry { node, fields, globals, receiver, broken: None };
    let send_resolved = entry.fields.take("send_resolved").and_then(|n| reader.bool(n, "send_resolved"));
    let rate_limit = match entry.fields.take("rate_limit") {
        Some(node) => RateLimit::read(node, reader),
        None => kind.rate_limit,
    };
    let timeout = entry.fields.take("timeout").and_then(|n| reader.duration(n, "timeout"));
    let max_alerts = entry.fields.take("max_alerts").and_then(|n| reader.integer(n, "max_alerts"));
    let http = entry.fields.take("http_config").map(|n| HttpConfig::read(n, reader));
    let channels = (kind.read)(&mut entry, reader);
    let Entry { fields, broken, .. } = entry;
    fields.finish(reader);
    let integration = |channel| Integration {
        kind: kind.key.trim_end_matches("_configs").to_owned(),
        send_resolved: send_resolved.unwrap_or(kind.send_resolved),
        http: http.clone().unwrap_or_else(|| globals.http.clone()),
        timeout: timeout.unwrap_or_default(),
        rate_limit,
        max_alerts: max_alerts.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        line: node.line,
        broken: broken.clone(),
        channel,
    };
    channels.into_iter().map(integration).collect()
}
