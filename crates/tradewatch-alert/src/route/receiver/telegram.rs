//! `telegram_configs`.

use super::{Channel, Credential, Entry, Texts};
use crate::yaml::Reader;

/// One entry of `telegram_configs`.
#[derive(Clone, Debug)]
pub struct Telegram {
    /// Where the API is.
    pub api_url: String,
    /// The bot.
    pub token: Credential,
    /// The chat: a number, or `@name` of a channel; a file may hold it.
    pub chat: Credential,
    /// The topic in it.
    pub thread_id: Option<i64>,
    /// `message`.
    pub texts: Texts,
    /// Without a sound.
    pub silent: bool,
    /// `HTML`, `Markdown`, `MarkdownV2` or empty.
    pub parse_mode: String,
}

const API_URL: &str = "https://api.telegram.org";

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let globals = entry.globals;
    let api_url = entry.text("api_url", reader).or_else(|| globals.telegram_url.clone());
    let token = entry.secret("bot_token", "bot_token_file", globals.telegram_token.as_ref(), reader);
    let chat = entry.secret("chat_id", "chat_id_file", None, reader);
    let thread_id =
        entry.fields.take("message_thread_id").and_then(|n| reader.integer(n, "message_thread_id"));
    let message = ("message", r#"{{ template "telegram.default.message" . }}"#);
    let texts = Texts::read(&mut entry.fields, &[message], reader);
    let mode = entry.fields.take("parse_mode");
    let parse_mode = match mode.map(|node| (node, node.text().unwrap_or(""))) {
        None => "HTML",
        Some((_, known @ ("HTML" | "Markdown" | "MarkdownV2" | ""))) => known,
        Some((node, _)) => {
            let message = format!("unknown parse_mode {}", node.describe());
            reader.error(node, message, "must be Markdown, MarkdownV2, HTML or empty");
            "HTML"
        }
    };
    let telegram = Telegram {
        api_url: api_url.unwrap_or_else(|| API_URL.to_owned()),
        token,
        chat,
        thread_id,
        texts,
        silent: entry.bool("disable_notifications", reader),
        parse_mode: parse_mode.to_owned(),
    };
    vec![Channel::Telegram(telegram)]
}
