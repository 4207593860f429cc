//! `discord_configs`.

use super::{Channel, Credential, Entry, Texts};
use crate::yaml::Reader;

/// One entry of `discord_configs`.
#[derive(Clone, Debug)]
pub struct Discord {
    /// The webhook.
    pub url: Credential,
    /// `title`, `message`, `content`, `username`, `avatar_url`.
    pub texts: Texts,
}

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let url = entry.secret("webhook_url", "webhook_url_file", None, reader);
    let table = [
        ("title", r#"{{ template "discord.default.title" . }}"#),
        ("message", r#"{{ template "discord.default.message" . }}"#),
        ("content", r#"{{ template "discord.default.content" . }}"#),
        ("username", ""),
        ("avatar_url", ""),
    ];
    let texts = Texts::read(&mut entry.fields, &table, reader);
    vec![Channel::Discord(Discord { url, texts })]
}
