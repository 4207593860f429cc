//! `webhook_configs`.

use super::{Channel, Credential, Entry};
use crate::yaml::Reader;

/// One entry of `webhook_configs`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to POST.
    pub url: Credential,
}

pub(super) fn read(entry: &mut Entry<'_, '_, '_>, reader: &mut Reader<'_>) -> Vec<Channel> {
    let url = entry.secret("url", "url_file", None, reader);
    entry.ignore(&["payload"], reader);
    vec![Channel::Webhook(Webhook { url })]
}
