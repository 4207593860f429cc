//! What a text says beyond the message: the venue's session, what is held back, how late it is.

use std::collections::HashMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use tradewatch_alert::Fingerprint;
use tradewatch_alert::notify::{Delivery, Message, Notifier};
use tradewatch_alert::rules::TRADING_CALENDAR;
use tradewatch_alert::text;
use tradewatch_tsdb::Timestamp;

use crate::markets::Live;
use crate::options::TerminalHook;

/// In a storm bigger than this a text does not name what it holds back.
const HELD_BACK_ALERTS_MAX: usize = 500;

/// What a text needs beside the message.
pub struct Context {
    /// Where the terminal receiver writes.
    pub terminal: Option<TerminalHook>,
    /// Sessions; the first venue in use gives the time zone.
    pub live: Live,
}

/// The short text of a delivery.
pub fn phone_text(delivery: &Delivery, context: &Context, held_back: Vec<String>, now: Timestamp) -> String {
    let (calendar, used) = (context.live.calendar(), context.live.used());
    let first = delivery.message.alerts.first();
    let own = first.and_then(|alert| alert.labels.get(TRADING_CALENDAR).or(alert.labels.get("mic")));
    let mic = own.or(used.first());
    let zone = mic.and_then(|mic| calendar.zone(mic));
    let zone_name = zone
        .as_ref()
        .and_then(|zone| zone.iana_name())
        .map(|name| name.rsplit('/').next().unwrap_or(name).replace('_', " "));
    let session = mic.and_then(|mic| {
        let at = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        Some(format!("session {} ({mic})", calendar.phase(mic, at).as_str()))
    });
    text::phone(
        &delivery.message,
        &text::Context {
            zone: zone.unwrap_or(TimeZone::UTC),
            zone_name: zone_name.unwrap_or_else(|| "UTC".to_owned()),
            session,
            held_back,
            attempt: delivery.attempt,
            ..text::Context::utc(now)
        },
    )
}

/// Which alerts hold back which others, by name.
pub fn held_back(machine: &Notifier, now: Timestamp) -> HashMap<Fingerprint, Vec<String>> {
    let mut by_source: HashMap<Fingerprint, Vec<String>> = HashMap::new();
    if machine.groups().iter().map(|group| group.alerts.len()).sum::<usize>() > HELD_BACK_ALERTS_MAX {
        return by_source;
    }
    for view in machine.alerts(now) {
        if let Some(source) = view.inhibited_by.filter(|_| view.firing) {
            by_source.entry(source).or_default().push(view.alert.name().to_owned());
        }
    }
    by_source
}

/// The names that the alerts of one delivery hold back.
pub fn names_held_back(delivery: &Delivery, held_back: &HashMap<Fingerprint, Vec<String>>) -> Vec<String> {
    let sources = delivery.message.alerts.iter().filter_map(|alert| Fingerprint::parse(&alert.fingerprint));
    let mut names: Vec<String> =
        sources.filter_map(|source| held_back.get(&source)).flatten().cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// From the latest event that a message tells of to `now`.
pub fn latency(message: &Message, now: Timestamp) -> Option<Duration> {
    let events =
        message.alerts.iter().map(|alert| if alert.is_firing() { &alert.starts_at } else { &alert.ends_at });
    let latest = events.filter_map(|text| text.parse::<jiff::Timestamp>().ok()).max()?;
    Some(now.since(Timestamp::from_millis(latest.as_millisecond())))
}
