//! Telegram: <https://core.telegram.org/bots/api#sendmessage>; answers and `retry_after` at
//! <https://core.telegram.org/bots/api#making-requests>, limits at
//! <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this> (20 messages a minute to a group).

use std::time::Duration;

use serde_json::{Value as Json, json};
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::Telegram;
use tradewatch_alert::template::notice::{Escape, escape_html};

use super::peer::{Peer, Post, judge};
use super::send::{Job, shorten};

/// Longest text that Telegram takes.
const TEXT_CHARS_MAX: usize = 4096;

/// Sends once.
pub(super) async fn send(job: &Job<'_>, telegram: &Telegram, peer: &Peer) -> Result<String, Failure> {
    let token = job.secrets.get(&telegram.token).await?;
    let chat = job.secrets.get(&telegram.chat).await?;
    let url = format!("{}/bot{token}/sendMessage", telegram.api_url.trim_end_matches('/'));
    let html = telegram.parse_mode == "HTML";
    let (escape, plain) = match html {
        true => (Escape::Html, escape_html(job.phone)),
        false => (Escape::None, job.phone.to_owned()),
    };
    let mut text = job.expand(&telegram.texts, "message", escape, &plain).trim().to_owned();
    let mut mode = telegram.parse_mode.as_str();
    if text.chars().count() > TEXT_CHARS_MAX {
        // Cut markup would be refused: what is too long goes as plain text.
        let whole = job.expand(&telegram.texts, "message", Escape::None, job.phone);
        (text, mode) = (shorten(whole.trim(), TEXT_CHARS_MAX), "");
    }
    let mut body = json!({
        "chat_id": chat.parse::<i64>().map_or_else(|_| Json::from(chat.as_str()), Json::from),
        "text": text,
        "disable_notification": telegram.silent,
        "link_preview_options": {"is_disabled": true},
    });
    if !mode.is_empty() {
        body["parse_mode"] = mode.into();
    }
    if let Some(thread) = telegram.thread_id {
        body["message_thread_id"] = thread.into();
    }
    let answer = peer.post(Post::json(&url, &body), job.delivery, job.timeout).await?;
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    judge(&answer).map_err(|mut failure| {
        if let Some(seconds) = json["parameters"]["retry_after"].as_u64() {
            failure.retry_after = Some(Duration::from_secs(seconds.min(3600)));
        }
        if let Some(chat) = json["parameters"]["migrate_to_chat_id"].as_i64() {
            failure.reason = format!("the group has become a supergroup: write chat_id: {chat}");
        }
        failure
    })
}
