//! The short text of a notification: fit for a phone, complete enough to act on.

use jiff::tz::TimeZone;
use tradewatch_tsdb::Timestamp;

use crate::alert::Severity;
use crate::notify::{Message, MessageAlert};

/// What the text needs beyond the message.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time of sending.
    pub now: Timestamp,
    /// The zone in which times are shown.
    pub zone: TimeZone,
    /// Its name as people say it, for example `New York`.
    pub zone_name: String,
    /// The venue's session, for example `session open (XNYS)`.
    pub session: Option<String>,
    /// From the fault to now, where it is known.
    pub detected_in: Option<std::time::Duration>,
    /// Names of alerts that this one holds back.
    pub held_back: Vec<String>,
    /// Columns; the time stands at the right edge of the first line. 0 puts it behind the title.
    pub width: usize,
    /// The attempt; a repeat says so.
    pub attempt: u32,
}

impl Context {
    /// UTC, without session or width.
    pub fn utc(now: Timestamp) -> Context {
        Context {
            now,
            zone: TimeZone::UTC,
            zone_name: "UTC".to_owned(),
            session: None,
            detected_in: None,
            held_back: Vec::new(),
            width: 0,
            attempt: 1,
        }
    }

    fn clock(&self, at: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return at.to_string() };
        let local = instant.to_zoned(self.zone.clone());
        let today = jiff::Timestamp::from_millisecond(self.now.as_millis())
            .is_ok_and(|now| now.to_zoned(self.zone.clone()).date() == local.date());
        local.strftime(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
    }
}

/// Alerts of one message that are named one by one.
const NAMED_MAX: usize = 5;

/// The text of a message, four lines for a single alert.
pub fn phone(message: &Message, context: &Context) -> String {
    let Some(first) = message.alerts.first() else { return String::new() };
    let mut lines = vec![headline(message, first, context)];
    lines.extend(first.annotations.get("description").filter(|text| !text.is_empty()).cloned());
    let links = links(message, first);
    if !links.is_empty() {
        lines.push(links);
    }
    lines.push(footer(message, first, context));
    lines.join("\n")
}

fn headline(message: &Message, first: &MessageAlert, context: &Context) -> String {
    let word = match (message.is_firing(), first.severity()) {
        (false, _) => "RESOLVED",
        (true, Severity::Critical) => "CRITICAL",
        (true, Severity::High) => "HIGH",
        (true, Severity::Warning) => "WARNING",
        (true, Severity::Info) => "INFO",
    };
    let name = first.labels.get("alertname").map_or("alert", String::as_str);
    let summary = first.annotations.get("summary").filter(|text| !text.is_empty());
    let title = match summary {
        Some(summary) => format!("{word}  {name} — {summary}"),
        None => format!("{word}  {}", named(first)),
    };
    let mut right = format!("{} {}", context.clock(context.now), context.zone_name);
    if let Some(session) = &context.session {
        right += &format!(", {session}");
    }
    let used = title.chars().count() + right.chars().count();
    let gap = context.width.saturating_sub(used).max(3);
    format!("{title}{}{right}", " ".repeat(gap))
}

/// The alert's name and what it is about.
fn named(alert: &MessageAlert) -> String {
    let name = alert.labels.get("alertname").map_or("alert", String::as_str);
    let what = ["symbol", "service", "instance", "job"].iter().find_map(|label| alert.labels.get(*label));
    what.map_or_else(|| name.to_owned(), |what| format!("{name} {what}"))
}

/// The alert's name and what it is about, or its summary where it has one.
pub fn named_first(alert: &MessageAlert) -> String {
    let name = alert.labels.get("alertname").map_or("alert", String::as_str);
    match alert.annotations.get("summary").filter(|text| !text.is_empty()) {
        Some(summary) => format!("{name}: {summary}"),
        None => named(alert),
    }
}

fn links(message: &Message, first: &MessageAlert) -> String {
    let link =
        |names: &[&str]| names.iter().find_map(|name| first.annotations.get(*name)).filter(|l| !l.is_empty());
    let mut parts = Vec::new();
    if let Some(runbook) = link(&["runbook_url", "runbook"]) {
        let begin = first
            .annotations
            .get("first_check")
            .map_or_else(|| "Runbook ".to_owned(), |check| format!("First: {check} "));
        parts.push(format!("{begin}→ {runbook}"));
    }
    if let Some(dashboard) = link(&["dashboard_url", "dashboard"]) {
        parts.push(format!("See it → {dashboard}"));
    }
    if message.is_firing() && !message.external_url.is_empty() {
        let base = message.external_url.trim_end_matches('/');
        parts.push(format!("Acknowledge or silence → {base}/alerts?alert={}", first.fingerprint));
    }
    parts.join("   ")
}

fn footer(message: &Message, first: &MessageAlert, context: &Context) -> String {
    let parse =
        |text: &str| text.parse().ok().map(|at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond()));
    let mut parts = Vec::new();
    if let Some(since) = parse(&first.starts_at) {
        match parse(&first.ends_at).filter(|_| !first.is_firing()) {
            Some(end) => parts.push(format!(
                "From {} to {} ({})",
                context.clock(since),
                context.clock(end),
                short(end.since(since))
            )),
            None => parts.push(format!("Since {}", context.clock(since))),
        }
    }
    if let Some(value) = first.value.as_ref().filter(|_| first.is_firing()) {
        parts.push(format!("value {value}"));
    }
    if let Some(took) = context.detected_in {
        parts.push(format!("detected in {:.1} s", took.as_secs_f64()));
    }
    let total = message.alerts.len() + message.truncated_alerts;
    if total > 1 {
        let others = message.alerts.iter().skip(1).map(|alert| {
            let name = named(alert);
            if alert.is_firing() || !message.is_firing() { name } else { format!("{name} resolved") }
        });
        let mut others: Vec<String> = others.take(NAMED_MAX).collect();
        if total - 1 > others.len() {
            others.push(format!("{} more", total - 1 - others.len()));
        }
        parts.push(format!("group of {total} ({})", others.join(", ")));
    }
    if !context.held_back.is_empty() {
        parts.push(format!("{} held back", context.held_back.join(", ")));
    }
    if context.attempt > 1 {
        parts.push(format!("attempt {}", context.attempt));
    }
    parts.join(" · ")
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`.
fn short(duration: std::time::Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, _) => format!("{:.1} s", duration.as_secs_f64()),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use expect_test::expect;

    use super::*;

    fn alert(name: &str, pairs: &[(&str, &str)], annotations: &[(&str, &str)], status: &str) -> MessageAlert {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut labels = map(pairs);
        labels.insert("alertname".to_owned(), name.to_owned());
        MessageAlert {
            status: status.to_owned(),
            labels,
            annotations: map(annotations),
            starts_at: "2026-11-20T19:03:06.400Z".to_owned(),
            ends_at: match status {
                "firing" => "0001-01-01T00:00:00Z".to_owned(),
                _ => "2026-11-20T21:13:00Z".to_owned(),
            },
            generator_url: String::new(),
            fingerprint: "050fbeb6f7db488a".to_owned(),
            value: None,
        }
    }

    fn message(alerts: Vec<MessageAlert>) -> Message {
        Message {
            receiver: "desk".to_owned(),
            status: alerts[0].status.clone(),
            alerts,
            group_labels: BTreeMap::new(),
            common_labels: BTreeMap::new(),
            common_annotations: BTreeMap::new(),
            external_url: "http://m:9090/".to_owned(),
            version: "4".to_owned(),
            group_key: String::new(),
            truncated_alerts: 0,
        }
    }

    fn context() -> Context {
        Context {
            zone: TimeZone::get("America/New_York").expect("bundled"),
            zone_name: "New York".to_owned(),
            session: Some("session open (XNYS)".to_owned()),
            ..Context::utc(Timestamp::from_millis(1_795_201_387_000))
        }
    }

    #[test]
    fn one_alert_is_four_lines() {
        let lost = alert(
            "ExecutionGatewayLost",
            &[("severity", "critical")],
            &[
                ("summary", "trading disabled"),
                ("description", "execution-gateway (127.0.0.1:8002) does not answer. 3 open orders."),
                ("runbook_url", "http://m:9090/runbooks/ExecutionGatewayLost"),
                ("first_check", "is the process alive?"),
                ("dashboard_url", "http://m:9090/dashboards/health"),
            ],
            "firing",
        );
        let lost = MessageAlert { value: Some("0.3142".to_owned()), ..lost };
        let context = Context {
            width: 112,
            detected_in: Some(Duration::from_millis(600)),
            held_back: vec!["NoOrdersSubmitted".to_owned()],
            ..context()
        };
        expect![[r#"
            CRITICAL  ExecutionGatewayLost — trading disabled                         14:03:07 New York, session open (XNYS)
            execution-gateway (127.0.0.1:8002) does not answer. 3 open orders.
            First: is the process alive? → http://m:9090/runbooks/ExecutionGatewayLost   See it → http://m:9090/dashboards/health   Acknowledge or silence → http://m:9090/alerts?alert=050fbeb6f7db488a
            Since 14:03:06 · value 0.3142 · detected in 0.6 s · NoOrdersSubmitted held back"#]].assert_eq(&phone(&message(vec![lost]), &context));
    }

    #[test]
    fn a_group_names_its_alerts_and_a_repeat_says_so() {
        let stale =
            |symbol, status| alert("PriceStale", &[("severity", "warning"), ("symbol", symbol)], &[], status);
        let mut alerts: Vec<MessageAlert> = ["AAPL", "MSFT", "TSLA", "AMZN", "GOOGL", "BTC/USD", "ETH/USD"]
            .map(|s| stale(s, "firing"))
            .into();
        alerts[2].status = "resolved".to_owned();
        let mut message = message(alerts);
        message.truncated_alerts = 93;
        expect![[r#"
            WARNING  PriceStale AAPL   14:03:07 New York
            Acknowledge or silence → http://m:9090/alerts?alert=050fbeb6f7db488a
            Since 14:03:06 · group of 100 (PriceStale MSFT, PriceStale TSLA resolved, PriceStale AMZN, PriceStale GOOGL, PriceStale BTC/USD, 94 more) · attempt 3"#]].assert_eq(&phone(&message, &Context { attempt: 3, session: None, ..context() }));
    }

    #[test]
    fn the_all_clear_says_how_long() {
        let over =
            alert("BreakerTripped", &[("severity", "page")], &[("summary", "breaker open")], "resolved");
        expect![[r#"
            RESOLVED  BreakerTripped — breaker open   14:03:07 New York, session open (XNYS)
            From 14:03:06 to 16:13:00 (2 h 9 min)"#]]
        .assert_eq(&phone(&message(vec![over.clone()]), &context()));
        // The next day the date is named too.
        let later = Context { now: context().now + Duration::from_secs(86_400), ..context() };
        expect![[r#"
            RESOLVED  BreakerTripped — breaker open   14:03:07 New York, session open (XNYS)
            From 2026-11-20 14:03:06 to 2026-11-20 16:13:00 (2 h 9 min)"#]]
        .assert_eq(&phone(&message(vec![over]), &later));
    }
}
