//! `/federate`: the newest samples of chosen series as text, for another Prometheus to scrape.
//!
//! As Prometheus does it: every family is untyped, a series without an `instance` gets an empty one, so that the
//! scraper's own does not take its place, and the external labels of this monitor are added where a series has no
//! such label. Native histograms have no form in this text and are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tradewatch_promql::format_float;
use tradewatch_tsdb::{Labels, Timestamp, Value, is_stale};

use super::params::Params;
use super::respond::ApiError;
use crate::clock;
use crate::monitor::Monitor;
use crate::query::Overrides;

/// `GET /federate?match[]=SELECTOR`.
///
/// # Errors
/// No selector, or one that cannot be read; all turns of queries are taken.
pub async fn federate(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, ApiError> {
    let matchers = Params::new(raw.as_deref(), None).matchers(true)?;
    let external = monitor.around().external_labels;
    let now = clock::now();
    let start = now - monitor.options.query.lookback.saturating_sub(Duration::from_millis(1));
    let body = monitor.queries.turn(Overrides::default(), move |queries| {
        let mut found: BTreeMap<Labels, (Timestamp, f64)> = BTreeMap::new();
        for one in &matchers {
            for (labels, sample) in queries.db().select_last(one, start, now) {
                if let Value::Float(value) = sample.value
                    && !is_stale(value)
                {
                    found.insert(labels, (sample.ts, value));
                }
            }
        }
        text(&found, &external)
    });
    let mut response = body.await?.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// The samples as text, family by family.
fn text(samples: &BTreeMap<Labels, (Timestamp, f64)>, external: &BTreeMap<String, String>) -> String {
    let mut families: BTreeMap<&str, Vec<(&Labels, &(Timestamp, f64))>> = BTreeMap::new();
    for (labels, sample) in samples {
        families.entry(labels.name().unwrap_or_default()).or_default().push((labels, sample));
    }
    let mut out = String::new();
    for (name, series) in families {
        let plain = is_plain(name, true);
        let shown = if plain { name.to_owned() } else { quoted(name) };
        out += &format!("# TYPE {shown} untyped\n");
        for (labels, (ts, value)) in series {
            let known: BTreeSet<&str> = labels.iter().map(|(name, _)| name).collect();
            let own = labels.iter().filter(|(name, _)| *name != "__name__");
            let added = external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let instance = [("instance", "")].into_iter().filter(|_| !external.contains_key("instance"));
            let added = added.chain(instance).filter(|(name, _)| !known.contains(name));
            let mut inside: Vec<String> = if plain { Vec::new() } else { vec![shown.clone()] };
            inside.extend(own.chain(added).map(|(name, value)| {
                let name = if is_plain(name, false) { name.to_owned() } else { quoted(name) };
                format!("{name}={}", quoted(value))
            }));
            let before = if plain { shown.as_str() } else { "" };
            let inside = inside.join(",");
            out += &format!("{before}{{{inside}}} {} {}\n", format_float(*value), ts.as_millis());
        }
    }
    out
}

/// Whether `name` may stand without quotes; a metric's may hold colons.
fn is_plain(name: &str, metric: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (metric && byte == b':');
    !name.is_empty() && name.bytes().all(fits) && !name.as_bytes()[0].is_ascii_digit()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn families_stand_together_and_labels_are_added_where_they_are_missing() {
        let series = [
            (Labels::from_pairs([("__name__", "up"), ("instance", "a:1"), ("site", "ny")]), 1.0),
            (Labels::from_pairs([("__name__", "up"), ("note", "say \"hi\"\n\\")]), 0.0),
            (Labels::from_pairs([("__name__", "orders:rate1m")]), f64::INFINITY),
            (Labels::from_pairs([("__name__", "order.rate"), ("a.b", "1")]), 0.5),
        ];
        let samples = series.map(|(labels, value)| (labels, (Timestamp::from_millis(1_500), value)));
        let external = BTreeMap::from([("site".to_owned(), "ld".to_owned())]);
        expect![[r#"
            # TYPE "order.rate" untyped
            {"order.rate","a.b"="1",site="ld",instance=""} 0.5 1500
            # TYPE orders:rate1m untyped
            orders:rate1m{site="ld",instance=""} +Inf 1500
            # TYPE up untyped
            up{instance="a:1",site="ny"} 1 1500
            up{note="say \"hi\"\n\\",site="ld",instance=""} 0 1500
        "#]]
        .assert_eq(&text(&BTreeMap::from(samples), &external));
    }
}
