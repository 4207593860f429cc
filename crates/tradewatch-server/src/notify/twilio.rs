//! SMS by Twilio: <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>; errors at
//! <https://www.twilio.com/docs/api/errors/20429> (429: not processed, try again after a wait).

use base64::Engine as _;
use serde_json::Value as Json;
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::Twilio;

use super::peer::{Peer, Post, judge};
use super::send::{Job, shorten};

/// Longest body that Twilio takes; it makes several SMS of it.
const BODY_CHARS_MAX: usize = 1600;

/// Sends once.
pub(super) async fn send(job: &Job<'_>, twilio: &Twilio, peer: &Peer) -> Result<String, Failure> {
    let token = job.secrets.get(&twilio.token).await?;
    let base = twilio.api_url.trim_end_matches('/');
    let url = format!("{base}/2010-04-01/Accounts/{}/Messages.json", twilio.account_sid);
    let text = job.text_or(&twilio.texts, "message", job.phone);
    let sender = match twilio.from.is_empty() {
        false => ("From", &twilio.from),
        true => ("MessagingServiceSid", &twilio.messaging_service_sid),
    };
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("To", &twilio.to)
        .append_pair(sender.0, sender.1)
        .append_pair("Body", &shorten(text.trim(), BODY_CHARS_MAX))
        .finish();
    let packed = base64::engine::general_purpose::STANDARD.encode(format!("{}:{token}", twilio.user));
    let post = Post {
        url: &url,
        content_type: "application/x-www-form-urlencoded",
        body: body.into_bytes(),
        authorization: Some(format!("Basic {packed}")),
    };
    let answer = peer.post(post, job.delivery, job.timeout).await?;
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    match judge(&answer) {
        Ok(_) => Ok(format!("{} {}", answer.status, json["sid"].as_str().unwrap_or("without a sid"))),
        Err(mut failure) => {
            if let (Some(code), Some(message)) = (json["code"].as_i64(), json["message"].as_str()) {
                failure.reason = format!("{} Twilio error {code}: {}", answer.status, shorten(message, 200));
            }
            Err(failure)
        }
    }
}
