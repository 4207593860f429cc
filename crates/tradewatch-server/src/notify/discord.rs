//! Discord: <https://discord.com/developers/docs/resources/webhook#execute-webhook>; limits of an embed at
//! <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>, of rates at
//! <https://discord.com/developers/docs/topics/rate-limits>.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tradewatch_alert::notify::Failure;
use tradewatch_alert::route::Discord;

use super::peer::{Peer, Post, judge};
use super::send::{Job, shorten};

const TITLE_CHARS_MAX: usize = 256;
const DESCRIPTION_CHARS_MAX: usize = 4096;
const CONTENT_CHARS_MAX: usize = 2000;
const RED: u32 = 0x99_2d_22;
const GREEN: u32 = 0x2e_cc_71;

/// Sends once.
pub(super) async fn send(job: &Job<'_>, discord: &Discord, peer: &Peer) -> Result<String, Failure> {
    let url = job.secrets.get(&discord.url).await?;
    let title = job.text_or(&discord.texts, "title", &job.headline());
    let message = job.text_or(&discord.texts, "message", job.phone);
    let mut body = json!({
        "content": shorten(&job.text(&discord.texts, "content"), CONTENT_CHARS_MAX),
        "embeds": [{
            "title": shorten(&title, TITLE_CHARS_MAX),
            "description": shorten(&message, DESCRIPTION_CHARS_MAX),
            "color": if job.delivery.message.is_firing() { RED } else { GREEN },
        }],
        // A label such as @everyone wakes nobody.
        "allowed_mentions": {"parse": ["users", "roles"]},
    });
    for name in ["username", "avatar_url"] {
        let text = job.text(&discord.texts, name);
        if !text.is_empty() {
            body[name] = text.into();
        }
    }
    let answer = peer.post(Post::json(&url, &body), job.delivery, job.timeout).await?;
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    judge(&answer).map_err(|mut failure| {
        if let Some(seconds) = json["retry_after"].as_f64().filter(|s| (0.0..=3600.0).contains(s)) {
            failure.retry_after = failure.retry_after.max(Some(Duration::from_secs_f64(seconds)));
        }
        failure
    })
}
