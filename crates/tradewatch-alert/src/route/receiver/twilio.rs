//! `twilio_configs`: SMS. Alertmanager has no such receiver; the fields follow its manner.

use super::{Channel, Credential, Entry, Texts};
use crate::yaml::Reader;

/// One number of an entry of `twilio_configs`; each is told, tried again and settled on its own, so
/// that nobody gets a second SMS because another number failed.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// Where the API is.
    pub api_url: String,
    /// The account.
    pub account_sid: String,
    /// The name under which the token is valid: an API key's SID, or the account's.
    pub user: String,
    /// The token or the API key's secret.
    pub token: Credential,
    /// The sender's number, or empty with `messaging_service_sid`.
    pub from: String,
    /// Twilio's messaging service that picks the sender.
    pub messaging_service_sid: String,
    /// The receiver's number.
    pub to: String,
    /// `message`.
    pub texts: Texts,
}

const API_URL: &str = "https://api.twilio.com";
/// Numbers in one entry.
const NUMBERS_MAX: usize = 50;

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let node = entry.node;
    let api_url = entry.text("api_url", reader).unwrap_or_else(|| API_URL.to_owned());
    let account_sid = entry.text("account_sid", reader).unwrap_or_default();
    if account_sid.is_empty() {
        entry.fault("missing account_sid", "add account_sid", reader);
    }
    let key_sid = entry.text("api_key_sid", reader);
    let token = match key_sid {
        Some(_) => entry.secret("api_key_secret", "api_key_secret_file", None, reader),
        None => entry.secret("auth_token", "auth_token_file", None, reader),
    };
    let from = entry.text("from", reader).unwrap_or_default();
    let service = entry.text("messaging_service_sid", reader).unwrap_or_default();
    if from.is_empty() == service.is_empty() {
        reader.error(node, "one of from and messaging_service_sid must be configured", "add from");
    }
    let numbers = match entry.fields.take("to") {
        Some(node) if matches!(node.kind, crate::yaml::Kind::List(_)) => reader.texts(node, "to"),
        Some(node) => {
            let text = reader.text(node, "to").unwrap_or_default();
            text.split(',').map(|number| number.trim().to_owned()).filter(|n| !n.is_empty()).collect()
        }
        None => Vec::new(),
    };
    if numbers.is_empty() || numbers.len() > NUMBERS_MAX {
        let message = format!("to has {} numbers, 1 to {NUMBERS_MAX} may be told", numbers.len());
        reader.error(node, message, "write to: ['+14155550100']");
    }
    let message = ("message", r#"{{ template "twilio.default.message" . }}"#);
    let texts = Texts::read(&mut entry.fields, &[message], reader);
    let one = |to: String| {
        Channel::Twilio(Twilio {
            api_url: api_url.clone(),
            user: key_sid.clone().unwrap_or_else(|| account_sid.clone()),
            account_sid: account_sid.clone(),
            token: token.clone(),
            from: from.clone(),
            messaging_service_sid: service.clone(),
            to,
            texts: texts.clone(),
        })
    };
    numbers.into_iter().map(one).collect()
}
