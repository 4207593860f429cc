//! `pagerduty_configs`.

use super::{Channel, Credential, Entry, Text, Texts};
use crate::yaml::Reader;

/// One entry of `pagerduty_configs`.
#[derive(Clone, Debug)]
pub struct PagerDuty {
    /// Which API, with its key.
    pub key: PagerDutyKey,
    /// Where to POST, if not to PagerDuty itself.
    pub url: Option<String>,
    /// The fields that are templates.
    pub texts: Texts,
    /// Further details of the incident.
    pub details: Texts,
    /// `href`, `src`, `alt`.
    pub images: Vec<Texts>,
    /// `href`, `text`.
    pub links: Vec<Texts>,
}

/// A key says which API is spoken; both may be templates.
#[derive(Clone, Debug)]
pub enum PagerDutyKey {
    /// Events API v2.
    Routing(Credential),
    /// The older integration of the type Prometheus.
    Service(Credential),
}

const TEXTS: [(&str, &str); 8] = [
    ("client", r#"{{ template "pagerduty.default.client" . }}"#),
    ("client_url", r#"{{ template "pagerduty.default.clientURL" . }}"#),
    ("description", r#"{{ template "pagerduty.default.description" . }}"#),
    ("severity", "error"),
    ("source", ""),
    ("class", ""),
    ("component", ""),
    ("group", ""),
];

const DETAILS: [(&str, &str); 4] = [
    ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
    ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

impl PagerDuty {
    pub(super) fn texts_mut(&mut self) -> Vec<&mut Text> {
        let more = self.images.iter_mut().chain(&mut self.links).flat_map(Texts::iter_mut);
        self.texts.iter_mut().chain(self.details.iter_mut()).chain(more).collect()
    }
}

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let node = entry.node;
    let service = Credential::read(&mut entry.fields, "service_key", "service_key_file", reader);
    let routing = Credential::read(&mut entry.fields, "routing_key", "routing_key_file", reader);
    let key = match (routing, service) {
        (Some(_), Some(service)) => {
            let message = "at most one of routing_key and service_key must be configured";
            reader.error(node, message, "keep one");
            PagerDutyKey::Service(service)
        }
        (Some(routing), None) => PagerDutyKey::Routing(routing),
        (None, Some(service)) => PagerDutyKey::Service(service),
        (None, None) => PagerDutyKey::Routing(Credential::missing("routing_key")),
    };
    let (PagerDutyKey::Routing(found) | PagerDutyKey::Service(found)) = &key;
    match found.wrong() {
        Some(_) if found.line == 0 => {
            let message =
                "one of routing_key, routing_key_file, service_key or service_key_file must be configured";
            entry.fault(message, "add routing_key_file", reader);
        }
        Some(wrong) => entry.fault(wrong, "", reader),
        None => {}
    }
    let url = entry.text("url", reader).or_else(|| entry.globals.pagerduty_url.clone());
    let mut texts = Texts::read(&mut entry.fields, &TEXTS, reader);
    // Alertmanager takes the client for the source.
    if texts.get("source").is_some_and(|source| source.text.is_empty()) {
        let client = texts.get("client").map(|client| client.text.clone()).unwrap_or_default();
        texts.iter_mut_named("source", |source| *source = Text::own(&client));
    }
    let mut details =
        entry.fields.take("details").map(|n| Texts::of_map(n, "details", reader)).unwrap_or_default();
    for (name, text) in DETAILS {
        details.default(name, text);
    }
    let mut list = |name: &'static str, table: &[(&'static str, &str)]| -> Vec<Texts> {
        let Some(node) = entry.fields.take(name) else { return Vec::new() };
        let mut all = Vec::new();
        for item in reader.list(node, name).to_vec() {
            let Some(mut fields) = reader.fields(&item, name) else { continue };
            all.push(Texts::read(&mut fields, table, reader));
            fields.finish(reader);
        }
        all
    };
    let images = list("images", &[("href", ""), ("src", ""), ("alt", "")]);
    let links = list("links", &[("href", ""), ("text", "")]);
    vec![Channel::PagerDuty(Box::new(PagerDuty { key, url, texts, details, images, links }))]
}
