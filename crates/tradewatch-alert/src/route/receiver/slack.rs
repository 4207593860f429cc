//! `slack_configs`.

use super::{Channel, Credential, Entry, Text, Texts};
use crate::yaml::{Node, Reader};

/// One entry of `slack_configs`.
#[derive(Clone, Debug)]
pub struct Slack {
    /// The incoming webhook, or `chat.postMessage` with a token.
    pub url: Credential,
    /// A bot's token.
    pub token: Option<Credential>,
    /// The fields that are templates.
    pub texts: Texts,
    /// Whether names are linked.
    pub link_names: bool,
    /// Fields with Slack's markup.
    pub mrkdwn_in: Vec<String>,
    /// The attachment's fields.
    pub fields: Vec<SlackField>,
    /// Its buttons.
    pub actions: Vec<SlackAction>,
}

/// A field of an attachment: `title`, `value`.
#[derive(Clone, Debug)]
pub struct SlackField {
    /// Its texts.
    pub texts: Texts,
    /// Whether it may stand beside another.
    pub short: bool,
}

/// A button: `type`, `text`, `url`, `style`, `name`, `value`.
#[derive(Clone, Debug)]
pub struct SlackAction {
    /// Its texts.
    pub texts: Texts,
    /// What is asked before: `text`, `title`, `ok_text`, `dismiss_text`.
    pub confirm: Option<Texts>,
}

const APP_URL: &str = "https://slack.com/api/chat.postMessage";

const TEXTS: [(&str, &str); 16] = [
    ("channel", ""),
    ("username", r#"{{ template "slack.default.username" . }}"#),
    ("icon_emoji", r#"{{ template "slack.default.iconemoji" . }}"#),
    ("icon_url", r#"{{ template "slack.default.iconurl" . }}"#),
    ("color", r#"{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}"#),
    ("title", r#"{{ template "slack.default.title" . }}"#),
    ("title_link", r#"{{ template "slack.default.titlelink" . }}"#),
    ("pretext", r#"{{ template "slack.default.pretext" . }}"#),
    ("text", r#"{{ template "slack.default.text" . }}"#),
    ("fallback", r#"{{ template "slack.default.fallback" . }}"#),
    ("callback_id", r#"{{ template "slack.default.callbackid" . }}"#),
    ("footer", r#"{{ template "slack.default.footer" . }}"#),
    ("image_url", ""),
    ("thumb_url", ""),
    ("message_text", ""),
    ("thread_ts", ""),
];

impl Slack {
    pub(super) fn texts_mut(&mut self) -> Vec<&mut Text> {
        let own = self.texts.iter_mut();
        let fields = self.fields.iter_mut().flat_map(|field| field.texts.iter_mut());
        let actions = self
            .actions
            .iter_mut()
            .flat_map(|a| a.texts.iter_mut().chain(a.confirm.iter_mut().flat_map(Texts::iter_mut)));
        own.chain(fields).chain(actions).collect()
    }
}

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let globals = entry.globals;
    let token = Credential::read(&mut entry.fields, "app_token", "app_token_file", reader);
    let app_url = entry.text("app_url", reader).or_else(|| globals.slack_app_url.clone());
    let inline = Credential::read(&mut entry.fields, "api_url", "api_url_file", reader);
    // What the entry says itself goes before what is said for all.
    let token = token.or_else(|| globals.slack_token.clone().filter(|_| inline.is_none()));
    let url = match (inline, &token) {
        (Some(url), _) => url,
        (None, Some(_)) => {
            let mut url = Credential::missing("app_url");
            url.value.0 = app_url.unwrap_or_else(|| APP_URL.to_owned());
            url
        }
        (None, None) => entry.secret("api_url", "api_url_file", globals.slack_url.as_ref(), reader),
    };
    let wrong = url.wrong_url().or_else(|| token.as_ref().and_then(Credential::wrong));
    if let Some(wrong) = wrong.filter(|_| entry.broken.is_none()) {
        entry.fault(wrong, "", reader);
    }
    let texts = Texts::read(&mut entry.fields, &TEXTS, reader);
    let short_fields = entry.bool("short_fields", reader);
    let fields = match entry.fields.take("fields") {
        Some(list) => {
            let items = reader.list(list, "fields").iter();
            items.filter_map(|node| read_field(node, short_fields, reader)).collect()
        }
        None => Vec::new(),
    };
    let actions = match entry.fields.take("actions") {
        Some(list) => {
            let items = reader.list(list, "actions").iter();
            items.filter_map(|node| read_action(node, reader)).collect()
        }
        None => Vec::new(),
    };
    let mrkdwn_in = match entry.fields.take("mrkdwn_in") {
        Some(node) => reader.texts(node, "mrkdwn_in"),
        None => ["fallback", "pretext", "text"].map(str::to_owned).into(),
    };
    let link_names = entry.bool("link_names", reader);
    entry.ignore(&["update_message", "message_strategy"], reader);
    vec![Channel::Slack(Box::new(Slack { url, token, texts, link_names, mrkdwn_in, fields, actions }))]
}

fn read_field(node: &Node, short_fields: bool, reader: &mut Reader<'_>) -> Option<SlackField> {
    let mut fields = reader.fields(node, "a Slack field")?;
    let texts = Texts::read(&mut fields, &[("title", ""), ("value", "")], reader);
    let short = fields.take("short").and_then(|n| reader.bool(n, "short")).unwrap_or(short_fields);
    fields.finish(reader);
    for name in ["title", "value"] {
        if texts.get(name).is_none_or(|text| text.text.is_empty()) {
            reader.error(node, format!("missing {name} in Slack field configuration"), format!("add {name}"));
        }
    }
    Some(SlackField { texts, short })
}

fn read_action(node: &Node, reader: &mut Reader<'_>) -> Option<SlackAction> {
    let mut fields = reader.fields(node, "a Slack action")?;
    let names = ["type", "text", "url", "style", "name", "value"].map(|name| (name, ""));
    let texts = Texts::read(&mut fields, &names, reader);
    let confirm = fields.take("confirm").and_then(|node| {
        let mut fields = reader.fields(node, "confirm")?;
        let names = ["text", "title", "ok_text", "dismiss_text"].map(|name| (name, ""));
        let texts = Texts::read(&mut fields, &names, reader);
        fields.finish(reader);
        Some(texts)
    });
    fields.finish(reader);
    let has = |name: &str| texts.get(name).is_some_and(|text| !text.text.is_empty());
    for name in ["type", "text"] {
        if !has(name) {
            reader.error(
                node,
                format!("missing {name} in Slack action configuration"),
                format!("add {name}"),
            );
        }
    }
    if !has("url") && !has("name") {
        reader.error(node, "missing name or url in Slack action configuration", "add url");
    }
    Some(SlackAction { texts, confirm })
}
