//! Slack: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks> and
//! <https://docs.slack.dev/reference/methods/chat.postMessage>; limits at
//! <https://docs.slack.dev/apis/web-api/rate-limits> (one message a second, short bursts more).

use serde_json::{Map, Value as Json, json};
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::{Slack, Texts};

use super::final_failure;
use super::peer::{Peer, Post, judge};
use super::send::{Job, shorten};

/// Slack cuts longer titles itself, without saying so.
const TITLE_CHARS_MAX: usize = 1024;
/// Errors of the Web API that may pass; the others are about the request.
const PASSING: [&str; 6] = [
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
];

/// Sends once.
pub(super) async fn send(job: &Job<'_>, slack: &Slack, peer: &Peer) -> Result<String, Failure> {
    let url = job.secrets.get(&slack.url).await?;
    let mut post = Post::json(&url, &body(job, slack));
    if let Some(token) = &slack.token {
        post.authorization = Some(format!("Bearer {}", job.secrets.get(token).await?));
    }
    let answer = peer.post(post, job.delivery, job.timeout).await?;
    let said = judge(&answer)?;
    // The Web API answers 200 to everything; a webhook answers `ok`.
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    match json["error"].as_str() {
        Some(error) if json["ok"] == false => Err(Failure {
            retriable: PASSING.contains(&error),
            retry_after: answer.retry_after,
            ..final_failure(format!("Slack: {error}"))
        }),
        _ => Ok(said),
    }
}

fn body(job: &Job<'_>, slack: &Slack) -> Json {
    let mut attachment = Map::new();
    for name in [
        "title_link",
        "pretext",
        "text",
        "fallback",
        "callback_id",
        "image_url",
        "thumb_url",
        "footer",
        "color",
    ] {
        let fallback = if name == "text" { job.phone } else { "" };
        put(&mut attachment, name, job.text_or(&slack.texts, name, fallback));
    }
    let title = job.text_or(&slack.texts, "title", &job.headline());
    put(&mut attachment, "title", shorten(&title, TITLE_CHARS_MAX));
    attachment.insert("mrkdwn_in".to_owned(), json!(slack.mrkdwn_in));
    if !slack.fields.is_empty() {
        let field = |field: &tradewatch_alert::route::SlackField| {
            json!({
                "title": job.text(&field.texts, "title"),
                "value": job.text(&field.texts, "value"),
                "short": field.short,
            })
        };
        attachment.insert("fields".to_owned(), slack.fields.iter().map(field).collect());
    }
    if !slack.actions.is_empty() {
        let action = |action: &tradewatch_alert::route::SlackAction| {
            let mut one = all(job, &action.texts);
            if let Some(confirm) = &action.confirm {
                one.insert("confirm".to_owned(), Json::Object(all(job, confirm)));
            }
            Json::Object(one)
        };
        attachment.insert("actions".to_owned(), slack.actions.iter().map(action).collect());
    }
    let mut message = Map::new();
    for name in ["channel", "username", "icon_emoji", "icon_url", "thread_ts"] {
        put(&mut message, name, job.text(&slack.texts, name));
    }
    put(&mut message, "text", job.text(&slack.texts, "message_text"));
    if slack.link_names {
        message.insert("link_names".to_owned(), true.into());
    }
    message.insert("attachments".to_owned(), json!([attachment]));
    Json::Object(message)
}

fn put(into: &mut Map<String, Json>, name: &str, text: String) {
    if !text.is_empty() {
        into.insert(name.to_owned(), text.into());
    }
}

fn all(job: &Job<'_>, texts: &Texts) -> Map<String, Json> {
    let mut map = Map::new();
    for (name, _) in texts.iter() {
        put(&mut map, name, job.text(texts, name));
    }
    map
}
